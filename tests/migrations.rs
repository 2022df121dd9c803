//! Migrations from the tables of one declaration to those of the next, on both databases.

use std::time::Duration;

use cinequery::error::Result;
use cinequery::query::text::fold;
use cinequery::query::{Field, Schema, Type, Value};
use cinequery::record::saved_queries;
use cinequery::store::{By, State, Step, Store};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::json;
use sqlx::Connection;

use crate::command_line::{folder, folder_of, run};
use crate::support::declaration::{Row, declare, field, insert, optional, with_default};
use crate::support::{Database, movies, on_both};

async fn serve(store: &Store, schemas: &[&'static Schema]) -> Result<()> {
    store.migrate(schemas).await
}

async fn migrate(store: &Store, schemas: &[&'static Schema], drops: &[&str]) -> Result<()> {
    let drops: Vec<String> = drops.iter().map(|name| (*name).to_owned()).collect();
    store.migrate_all(schemas, &drops).await
}

async fn plan(store: &Store, schemas: &[&'static Schema], drops: &[&str]) -> Vec<Step> {
    let drops: Vec<String> = drops.iter().map(|name| (*name).to_owned()).collect();
    store.plan(schemas, &drops).await.unwrap()
}

async fn state(store: &Store, schemas: &[&'static Schema]) -> State {
    store.state(schemas).await.unwrap()
}

/// The message of an error for the operator.
fn cause(outcome: Result<()>) -> String {
    outcome.unwrap_err().cause.unwrap().to_string()
}

/// The indexes of a table except that of its primary key, as `unique: columns`, sorted.
async fn indexes(database: &Database, table: &str) -> Vec<String> {
    let sql = if database.url().starts_with("sqlite") {
        format!(
            "SELECT CASE i.\"unique\" WHEN 1 THEN 'unique ' ELSE '' END || \
             (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) \
             FROM pragma_index_list('{table}') i WHERE origin != 'pk'"
        )
    } else {
        format!(
            "SELECT CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || \
             (SELECT string_agg(a.attname::text, ',' ORDER BY k.n) \
              FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, n) \
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) \
             FROM pg_index i WHERE i.indrelid = '{table}'::regclass AND NOT i.indisprimary \
             AND i.indisvalid"
        )
    };
    let rows = database.rows(&sql).await.into_iter();
    let mut found: Vec<String> = rows.map(|row| row[0].clone().unwrap()).collect();
    found.sort();
    found
}

/// The columns of a table: name, type, whether it is required.
async fn columns(database: &Database, table: &str) -> Vec<Vec<Option<String>>> {
    let sql = if database.url().starts_with("sqlite") {
        format!(
            "SELECT name, type, CAST(\"notnull\" AS text) FROM pragma_table_info('{table}') ORDER BY name"
        )
    } else {
        format!(
            "SELECT attname::text, format_type(atttypid, atttypmod) || attcollation::text, \
             attnotnull::text FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped \
             ORDER BY attname::text COLLATE \"C\""
        )
    };
    database.rows(&sql).await
}

/// The values of these fields in all records, by id.
async fn values(
    database: &Database,
    table: &str,
    names: impl Iterator<Item = &str>,
) -> Vec<Vec<Option<String>>> {
    let id = if database.url().starts_with("sqlite") { "hex(id)" } else { "id::text" };
    let names: Vec<String> = names
        .filter(|name| *name != "id")
        .map(|name| format!("CAST(\"{name}\" AS text)"))
        .collect();
    database.rows(&format!("SELECT {id}, {} FROM {table} ORDER BY 1", names.join(", "))).await
}

async fn assert_folded(database: &Database, schema: &Schema) {
    for field in schema.fields.iter().filter(|field| field.searchable) {
        let folded = format!("{}_folded", field.name);
        let names = [field.name, &folded];
        for row in values(database, schema.collection, names.into_iter()).await {
            assert_eq!(row[1].as_deref().map(fold), row[2], "{}", field.name);
        }
    }
}

/// Checks that SQLite has a number for the trigrams of each record.
async fn assert_numbered(database: &Database, schema: &Schema) {
    if !database.url().starts_with("sqlite") {
        return;
    }
    for field in schema.fields.iter().filter(|field| field.trigram) {
        let sql = format!(
            "SELECT CAST(count(*) AS text) FROM {of} \
             FULL JOIN cinequery__{of}__{name}__numbers AS n USING (id) \
             WHERE {of}.version IS NULL OR n.number IS NULL",
            of = schema.collection,
            name = field.name
        );
        assert_eq!(database.rows(&sql).await, [[Some("0".to_owned())]], "{}", field.name);
    }
}

/// A change of a declaration, and the expected steps.
struct Case {
    before: &'static Schema,
    /// Records that exist before the change.
    rows: &'static [Row],
    after: &'static Schema,
    plan: &'static [&'static str],
    /// Who applies it, on SQLite and on PostgreSQL.
    by: [By; 2],
    /// A record that only the new declaration can write.
    new: Row,
}

async fn check(case: Case) {
    let Case { before, rows, after, plan: expected, by, new } = case;
    on_both(async |database| {
        let store = database.open().await;
        migrate(&store, &[before], &[]).await.unwrap();
        for row in rows {
            insert(&database, before, row).await.unwrap();
        }
        let name_before = |name: &'static str| {
            let renamed = after.fields.iter().find(|field| field.renamed_from == Some(name));
            renamed.map_or(name, |field| field.name)
        };
        let stored = values(&database, before.collection, before.names()).await;
        let steps = plan(&store, &[after], &[]).await;
        let sentences: Vec<&str> = steps.iter().map(|step| step.sentence.as_str()).collect();
        assert_eq!(sentences, expected);
        let by = by[usize::from(!database.url().starts_with("sqlite"))];
        let is_manual = steps.iter().any(|step| step.by == By::Migrate);
        assert_eq!(is_manual, by == By::Migrate, "{steps:#?}");
        // Neither a plan nor an error changes anything.
        assert_eq!(sentences.len(), plan(&store, &[after], &[]).await.len());
        assert_eq!(plan(&store, &[before], &[]).await, []);
        if !steps.is_empty() {
            let missing = steps.len();
            assert_eq!(state(&store, &[after]).await, State::Behind { missing, by });
        }
        if by == By::Migrate {
            // Only narrower bounds are left to `migrate`.
            let is_stricter = |step: &Step| {
                let starts = ["accept "];
                starts.iter().any(|start| step.sentence.starts_with(start))
            };
            let served = serve(&store, &[after]).await;
            if steps.iter().all(is_stricter) {
                served.unwrap();
                assert_eq!(plan(&store, &[after], &[]).await.len(), steps.len());
            } else {
                let message = cause(served);
                assert!(message.contains("`cinequery migrate`"), "{message}");
            }
            assert_eq!(plan(&store, &[before], &[]).await, []);
            migrate(&store, &[after], &[]).await.unwrap();
        } else {
            serve(&store, &[after]).await.unwrap();
        }
        assert_eq!(plan(&store, &[after], &[]).await, []);
        assert_eq!(state(&store, &[after]).await, State::Current);
        serve(&store, &[after]).await.unwrap();
        let names = before.names().map(name_before);
        assert_eq!(values(&database, before.collection, names).await, stored);
        assert_folded(&database, after).await;
        if by == By::Serve {
            // An instance of the old declaration continues to work.
            insert(&database, before, rows[0]).await.unwrap();
            serve(&store, &[after]).await.unwrap();
            assert_folded(&database, after).await;
        }
        insert(&database, after, new).await.unwrap();
        // The tables are the same as for a new database.
        let fresh = match database.url().starts_with("sqlite") {
            true => Database::sqlite(),
            false => Database::postgres().await,
        };
        serve(&fresh.open().await, &[after]).await.unwrap();
        assert_eq!(
            indexes(&database, after.collection).await,
            indexes(&fresh, after.collection).await
        );
    })
    .await;
}

fn text(name: &'static str) -> Field {
    field(name, Type::Text)
}

fn integer(name: &'static str) -> Field {
    field(name, Type::Integer)
}

const ROWS: &[Row] = &[
    &[("name", "'Straße'"), ("size", "7")],
    &[("name", "'it''s'"), ("size", "2147483647")],
    &[("name", "'ÉCLAIR'"), ("size", "-5")],
];

/// The declaration that most cases start from: two required fields.
fn things() -> &'static Schema {
    declare("things", vec![text("name"), integer("size")], &[], &[])
}

#[tokio::test]
async fn nothing_is_done_for_the_same_declaration() {
    let case = Case {
        before: things(),
        rows: ROWS,
        after: things(),
        plan: &[],
        by: [By::Serve; 2],
        new: &[("name", "'x'"), ("size", "1")],
    };
    check(case).await;
}

#[tokio::test]
async fn fields_are_added() {
    let added = vec![
        text("name"),
        integer("size"),
        optional("note", Type::Text),
        optional("day", Type::Date),
        with_default("flag", Value::Boolean(true)),
        with_default("word", Value::Text("It's a \\ \"STRASSE\"".to_owned())),
        with_default("least", Value::Integer(i64::MIN)),
        with_default("moment", moment()),
        Field { nullable: true, ..with_default("key", Value::Id(uuid::Uuid::nil())) },
        with_default("first", Value::Date("0001-01-01".parse().unwrap())),
        Field { nullable: true, ..with_default("order", Value::Integer(-1)) },
    ];
    let case = Case {
        before: things(),
        rows: ROWS,
        after: declare("things", added, &[], &[&["day", "order"]]),
        plan: &[
            "add things.note, which is null in existing records",
            "add things.day, which is null in existing records",
            "add things.flag, with the default \"true\" in existing records too",
            "add things.word, with the default \"It's a \\\\ \\\"STRASSE\\\"\" in existing records too",
            "add things.least, with the default \"-9223372036854775808\" in existing records too",
            "add things.moment, with the default \"2024-01-31T12:00:00.000001Z\" in existing records too",
            "add things.key, with the default \"00000000-0000-0000-0000-000000000000\" in existing records too",
            "add things.first, with the default \"0001-01-01\" in existing records too",
            "add things.order, with the default \"-1\" in existing records too",
            "build an index on day, order of things",
        ],
        by: [By::Serve; 2],
        new: &[
            ("name", "'x'"),
            ("size", "1"),
            ("day", "'9999-12-31'"),
            ("flag", "false"),
            ("word", "'w'"),
            ("least", "9223372036854775807"),
            ("moment", "'2024-01-31T12:00:00.000000Z'"),
            ("first", "'2024-01-31'"),
        ],
    };
    check(case).await;
}

fn moment() -> Value {
    Value::Timestamp("2024-01-31T12:00:00.000001Z".parse().unwrap())
}

#[tokio::test]
async fn required_fields_become_optional() {
    let case = Case {
        before: things(),
        rows: ROWS,
        after: declare(
            "things",
            vec![optional("name", Type::Text), optional("size", Type::Integer)],
            &[],
            &[],
        ),
        plan: &["allow null in things.name, things.size"],
        by: [By::Serve; 2],
        new: &[],
    };
    check(case).await;
}

#[tokio::test]
async fn a_field_that_is_not_declared_is_kept() {
    let case = Case {
        before: declare(
            "things",
            vec![text("name"), integer("size"), with_default("flag", Value::Boolean(true))],
            &[],
            &[&["size"]],
        ),
        rows: &[&[("name", "'a'"), ("size", "1"), ("flag", "false")]],
        after: declare("things", vec![integer("size")], &[], &[]),
        plan: &["allow null in things.name", "drop the index on size of things"],
        by: [By::Serve; 2],
        new: &[("size", "2")],
    };
    check(case).await;
}

#[tokio::test]
async fn bounds_become_wider() {
    let bounded = |high: i64, longest: i64| {
        let name = Field { bounds: 1..=longest, ..text("name") };
        let size = Field { bounds: -5..=high, ..integer("size") };
        declare("things", vec![name, size], &[], &[])
    };
    let case = Case {
        before: bounded(i64::from(i32::MAX), 10),
        rows: ROWS,
        after: bounded(i64::from(i32::MAX) + 1, 11),
        plan: &[
            "accept 1 to 11 characters in things.name",
            "store things.size in 64 bits",
            "accept values from -5 to 2147483648 in things.size",
        ],
        by: [By::Serve, By::Migrate],
        new: &[("name", "'12345678901'"), ("size", "2147483648")],
    };
    check(case).await;
    let case = Case {
        before: bounded(2_147_483_600, 10),
        rows: &ROWS[..1],
        after: bounded(2_147_483_601, 10),
        plan: &["accept values from -5 to 2147483601 in things.size"],
        by: [By::Serve; 2],
        new: &[("name", "'x'"), ("size", "2147483601")],
    };
    check(case).await;
}

#[tokio::test]
async fn indexes_come_and_go() {
    let with =
        |unique, indexes| declare("things", vec![text("name"), integer("size")], unique, indexes);
    let case = Case {
        before: with(&[], &[&["name"], &["size", "name"]]),
        rows: ROWS,
        after: with(&[], &[&["size", "name"], &["size"]]),
        plan: &["build an index on size of things", "drop the index on name of things"],
        by: [By::Serve; 2],
        new: ROWS[0],
    };
    check(case).await;
    let case = Case {
        before: with(&[&["size"]], &[]),
        rows: ROWS,
        after: with(&[&["name", "size"]], &[]),
        plan: &[
            "build a unique index on name, size of things",
            "build an index on name_folded of things",
            "drop the index on size of things",
        ],
        by: [By::Migrate; 2],
        new: &[("name", "'new'"), ("size", "7")],
    };
    check(case).await;
}

#[tokio::test]
async fn indexes_of_trigrams_come_and_go() {
    // One has an index before and after, so that PostgreSQL has the extension.
    let with = |is_there| {
        let name = Field { trigram: is_there, ..text("name") };
        let note = Field { trigram: true, ..optional("note", Type::Text) };
        declare("things", vec![name, integer("size"), note], &[], &[])
    };
    for (before, after, plan) in [
        (false, true, &["build an index on the trigrams of name_folded of things"]),
        (true, false, &["drop the index on the trigrams of name_folded of things"]),
    ] {
        let case = Case {
            before: with(before),
            rows: ROWS,
            after: with(after),
            plan,
            by: [By::Serve; 2],
            new: &[("name", "'x'"), ("size", "1")],
        };
        check(case).await;
    }
}

#[tokio::test]
async fn text_becomes_searchable_and_is_so_no_more() {
    let silent = || Field { searchable: false, ..text("name") };
    let case = Case {
        before: declare("things", vec![silent(), integer("size")], &[], &[]),
        rows: ROWS,
        after: things(),
        plan: &[
            "add a column for searching things.name",
            "fill the column for searching things.name",
        ],
        by: [By::Serve; 2],
        new: &[("name", "'x'"), ("size", "1")],
    };
    check(case).await;
    let case = Case {
        before: things(),
        rows: ROWS,
        after: declare("things", vec![silent(), integer("size")], &[], &[]),
        plan: &["stop writing the column for searching things.name"],
        by: [By::Serve; 2],
        new: &[("name", "'x'"), ("size", "1")],
    };
    check(case).await;
}

#[tokio::test]
async fn a_field_is_renamed() {
    let title = Field { renamed_from: Some("name"), ..text("title") };
    let case = Case {
        before: declare("things", vec![text("name"), integer("size")], &[&["name"]], &[&["size"]]),
        rows: ROWS,
        after: declare("things", vec![title, integer("size")], &[&["title"]], &[&["size"]]),
        plan: &["rename things.name to title"],
        by: [By::Migrate; 2],
        new: &[("title", "'x'"), ("size", "1")],
    };
    check(case).await;
}

#[tokio::test]
async fn a_field_becomes_required() {
    let case = Case {
        before: declare(
            "things",
            vec![optional("name", Type::Text), optional("size", Type::Integer)],
            &[],
            &[],
        ),
        rows: ROWS,
        after: things(),
        plan: &["require a value in things.name", "require a value in things.size"],
        by: [By::Migrate; 2],
        new: ROWS[0],
    };
    check(case).await;
}

/// A declaration whose rules existing records break, and the start of the message.
#[tokio::test]
async fn narrower_rules_list_the_records_that_break_them() {
    let name = |bounds| Field { bounds, ..text("name") };
    let of = |fields| declare("things", fields, &[], &[]);
    let cases = [
        (
            of(vec![name(1..=5), integer("size")]),
            0,
            "things.name must have 1 to 5 characters; 2 records break this rule:\n",
        ),
        (
            of(vec![name(1..=9), Field { bounds: 0..=i64::MAX, ..integer("size") }]),
            2,
            "things.size must have values from 0; 1 record breaks this rule:\n",
        ),
        (
            declare(
                "things",
                vec![text("name"), integer("size"), with_default("rank", Value::Integer(1))],
                &[&["rank"]],
                &[],
            ),
            0,
            "rank must be unique in things; 3 records break this rule:\n",
        ),
    ];
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[things()]).await.unwrap();
        let mut ids = Vec::new();
        for row in ROWS {
            ids.push(insert(&database, things(), row).await.unwrap());
        }
        for (after, broken, rule) in &cases {
            let message = cause(migrate(&store, &[after], &[]).await);
            assert!(message.contains(rule), "{message}");
            assert!(message.contains(&ids[*broken].to_string()), "{message}");
            assert_eq!(plan(&store, &[things()], &[]).await, []);
        }
        for _ in 0..30 {
            insert(&database, things(), ROWS[0]).await.unwrap();
        }
        let unique =
            declare("things", vec![text("name"), integer("size")], &[&["size", "name"]], &[]);
        let message = cause(migrate(&store, &[unique], &[]).await);
        let (rule, listed) = message.split_once("; 31 records break this rule:\n").unwrap();
        assert!(rule.ends_with("size, name must be unique in things"), "{message}");
        let listed: Vec<&str> = listed.lines().map(str::trim).collect();
        assert_eq!((listed.len(), listed[0]), (6, ids[0].to_string().as_str()), "{message}");
        assert_eq!(listed[5], "and 26 more");
        // No records are listed, because all records prevent this step.
        let required = of(vec![text("name"), integer("size"), integer("rank")]);
        let message = cause(migrate(&store, &[required], &[]).await);
        let reason = "things.rank is required and has no default, and the table has 33 records. Give it a default";
        assert!(message.contains(reason), "{message}");
        assert!(!message.contains(&ids[0].to_string()), "{message}");
        assert_eq!(plan(&store, &[things()], &[]).await, []);
    })
    .await;
}

/// Records are counted before the steps, when columns have their old names or do not exist yet.
#[tokio::test]
async fn records_are_checked_as_they_will_be() {
    let title = || Field { renamed_from: Some("name"), ..text("title") };
    let short = Field { bounds: 1..=5, ..title() };
    let cases = [
        (
            declare("things", vec![short, integer("size")], &[], &[]),
            Some("things.title must have 1 to 5 characters; 2 records break this rule:\n"),
        ),
        (
            declare(
                "things",
                vec![title(), integer("size"), with_default("rank", Value::Integer(1))],
                &[&["rank", "title"]],
                &[],
            ),
            Some("rank, title must be unique in things; 2 records break this rule:\n"),
        ),
        // Nulls are not equal.
        (
            declare(
                "things",
                vec![
                    title(),
                    optional("other", Type::Text),
                    optional("rank", Type::Integer),
                    integer("size"),
                ],
                &[&["title", "rank"]],
                &[],
            ),
            None,
        ),
    ];
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[things()]).await.unwrap();
        for row in ROWS.iter().chain([&ROWS[1]]) {
            insert(&database, things(), row).await.unwrap();
        }
        for (after, rule) in &cases {
            match (migrate(&store, &[after], &[]).await, rule) {
                (outcome, Some(rule)) => {
                    let message = cause(outcome);
                    assert!(message.contains(rule), "{message}");
                }
                (outcome, None) => outcome.unwrap(),
            }
        }
        assert_eq!(state(&store, &[cases[2].0]).await, State::Current);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_type_is_rejected_with_a_recipe() {
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[things()]).await.unwrap();
        insert(&database, things(), ROWS[0]).await.unwrap();
        let after = declare("things", vec![text("name"), text("size")], &[], &[]);
        for message in
            [cause(migrate(&store, &[after], &[]).await), cause(serve(&store, &[after]).await)]
        {
            let reason = "things.size is an integer in the database and a text in the declaration, and the \
                          table has 1 record. ";
            assert!(message.contains(reason), "{message}");
            assert!(message.contains("--drop things.size"), "{message}");
        }
    })
    .await;
}

/// Without records, the type of a field can be changed to any other.
#[tokio::test]
async fn a_type_is_changed_while_there_are_no_records() {
    const FIELDS: &[(&str, Type)] = &[
        ("a", Type::Text),
        ("b", Type::Integer),
        ("c", Type::Boolean),
        ("d", Type::Date),
        ("e", Type::Timestamp),
        ("f", Type::Id),
    ];
    // The first three fields are required, and some of the fields are part of keys.
    let of = |shift: usize| {
        let fields = FIELDS.iter().enumerate().map(|(number, (name, _))| {
            let ty = FIELDS[(number + shift) % FIELDS.len()].1;
            if number < 3 { field(name, ty) } else { optional(name, ty) }
        });
        declare("things", fields.collect(), &[&["a", "b"]], &[&["d"], &["c", "e"]])
    };
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[of(0)]).await.unwrap();
        for shift in 1..FIELDS.len() {
            let after = of(shift);
            assert!(matches!(state(&store, &[after]).await, State::Behind { by: By::Migrate, .. }));
            let message = cause(serve(&store, &[after]).await);
            assert!(message.contains("only `cinequery migrate` applies"), "{message}");
            assert!(message.contains("drop things.f, to add it as "), "{message}");
            migrate(&store, &[after], &[]).await.unwrap();
            assert_eq!(state(&store, &[after]).await, State::Current);
            let fresh = declare(
                "others",
                after.declared().map(copy).collect(),
                after.unique,
                after.indexes,
            );
            serve(&store, &[after, fresh]).await.unwrap();
            // A folded column that is added is nullable.
            let columns = async |table| {
                let mut columns = columns(&database, table).await;
                columns.retain(|column| !column[0].as_ref().unwrap().ends_with("_folded"));
                columns
            };
            assert_eq!(columns("things").await, columns("others").await);
            assert_eq!(indexes(&database, "things").await, indexes(&database, "others").await);
            migrate(&store, &[after], &["others"]).await.unwrap();
        }
        // A record that is created after the records were counted keeps its values.
        serve(&store, &[things()]).await.unwrap_err();
        migrate(&store, &[], &["things"]).await.unwrap();
        serve(&store, &[things()]).await.unwrap();
        let after = declare("things", vec![text("name"), optional("size", Type::Text)], &[], &[]);
        let steps = plan(&store, &[after], &[]).await;
        insert(&database, things(), ROWS[0]).await.unwrap();
        let script = steps.iter().flat_map(|step| step.sql.clone()).collect::<Vec<_>>().join(";");
        assert!(database.try_sql(&format!("BEGIN; {script}; COMMIT")).await.is_err());
        let stored = values(&database, "things", ["size"].into_iter()).await;
        assert_eq!(stored[0][1].as_deref(), Some("7"));
    })
    .await;
}

fn copy(known: &Field) -> Field {
    Field {
        nullable: known.nullable,
        bounds: known.bounds.clone(),
        trigram: known.trigram,
        ..field(known.name, known.ty)
    }
}

#[tokio::test]
async fn what_is_dropped_is_counted() {
    let before = declare(
        "things",
        vec![text("name"), integer("size"), optional("note", Type::Text)],
        &[&["name"]],
        &[&["note", "size"]],
    );
    let after = declare("things", vec![integer("size")], &[], &[]);
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[before]).await.unwrap();
        for row in ROWS {
            insert(&database, before, row).await.unwrap();
        }
        insert(&database, before, &[("name", "'n'"), ("size", "0"), ("note", "'N'")])
            .await
            .unwrap();
        for (drop, problem) in [
            ("movies.version", "every collection has this field"),
            ("things.size", "it is declared"),
            ("things", "it is declared"),
            ("things.none", "nothing of that name"),
            ("users", "nothing of that name"),
            ("", "nothing of that name"),
        ] {
            let message = cause(migrate(&store, &[after], &[drop]).await);
            assert!(message.contains(problem), "{message}");
        }
        let drops = ["things.note", "things.name"];
        let sentences = plan(&store, &[after], &drops).await;
        let sentences: Vec<String> = sentences.into_iter().map(|step| step.sentence).collect();
        assert_eq!(sentences, ["drop things.note with 1 value", "drop things.name with 4 values"]);
        migrate(&store, &[after], &drops).await.unwrap();
        assert_eq!(plan(&store, &[after], &[]).await, []);
        assert_eq!(indexes(&database, "things").await, [""; 0]);
        let fresh = declare("others", vec![integer("size")], &[], &[]);
        serve(&store, &[after, fresh]).await.unwrap();
        assert_eq!(columns(&database, "things").await, columns(&database, "others").await);
        let steps = plan(&store, &[], &["things"]).await;
        assert_eq!(steps[0].sentence, "drop the table things with 4 records and 0 saved queries");
        migrate(&store, &[], &["things"]).await.unwrap();
        // It can be declared again.
        serve(&store, &[before]).await.unwrap();
        // A model recorded by a newer version is not interpreted.
        database.run_sql("UPDATE cinequery_records SET declaration = '{}'").await;
        let message = cause(serve(&store, &[before]).await);
        assert!(message.contains("by a newer version?"), "{message}");
    })
    .await;
}

/// A collection that is dropped and declared again does not have the previous saved queries.
#[tokio::test]
async fn saved_queries_are_dropped_with_their_collection() {
    on_both(async |database| {
        let store = database.open().await;
        let others = declare("others", vec![integer("size")], &[], &[]);
        serve(&store, &[things(), others]).await.unwrap();
        for (collection, name) in [("things", "one"), ("things", "two"), ("others", "one")] {
            let (collection, name) = (format!("'{collection}'"), format!("'{name}'"));
            let row = [("collection", &*collection), ("name", &*name), ("parameters", "'[]'")];
            insert(&database, saved_queries(), &row).await.unwrap();
        }
        let steps = plan(&store, &[others], &["things"]).await;
        assert_eq!(steps[0].sentence, "drop the table things with 0 records and 2 saved queries");
        let left = async || database.rows("SELECT collection FROM saved_queries").await;
        assert_eq!(left().await.len(), 3);
        migrate(&store, &[others], &["things"]).await.unwrap();
        assert_eq!(left().await, [[Some("others".to_owned())]]);
    })
    .await;
}

/// Records that are created while a text is not declared get its default, but not the folded one.
#[tokio::test]
async fn text_that_is_declared_again_is_folded() {
    let word = |name| with_default(name, Value::Text("WORD".to_owned()));
    let silent = |name| Field { searchable: false, ..word(name) };
    let of = |fields| declare("things", fields, &[], &[]);
    let without = of(vec![integer("size")]);
    let cases = [
        ("searchable from the start", vec![word("word")], word("word")),
        ("searchable later", vec![silent("word"), word("word")], word("word")),
        (
            "under another name",
            vec![silent("word"), word("word")],
            Field { renamed_from: Some("word"), ..word("term") },
        ),
    ];
    for (case, before, again) in cases {
        println!("{case}");
        let before: Vec<&Schema> =
            before.into_iter().map(|word| of(vec![integer("size"), word])).collect();
        let again = of(vec![integer("size"), again]);
        on_both(async |database| {
            let store = database.open().await;
            for schema in &before {
                serve(&store, &[schema]).await.unwrap();
            }
            // Instances of the first declaration stopped long ago.
            let long_ago = "UPDATE cinequery_records SET declaration = \
                            replace(declaration, '\"settling\":\"20', '\"settling\":\"19')";
            database.run_sql(long_ago).await;
            serve(&store, &[without]).await.unwrap();
            insert(&database, without, &[("size", "1")]).await.unwrap();
            migrate(&store, &[again], &[]).await.unwrap();
            assert_folded(&database, again).await;
            assert_eq!(plan(&store, &[again], &[]).await, []);
        })
        .await;
    }
}

/// An instance without search writes records after the folded column was filled.
#[tokio::test]
async fn text_that_an_older_instance_writes_is_folded_at_the_next_start() {
    let silent = Field { searchable: false, ..text("name") };
    let before = declare("things", vec![silent, integer("size")], &[], &[]);
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[before]).await.unwrap();
        for _ in 0..400 {
            insert(&database, before, ROWS[0]).await.unwrap();
        }
        serve(&store, &[things()]).await.unwrap();
        assert_folded(&database, things()).await;
        insert(&database, before, ROWS[2]).await.unwrap();
        let now = crate::support::declaration::now();
        let update =
            format!("UPDATE things SET name = 'GEÄNDERT', updated_at = '{now}' WHERE size = 7");
        database.run_sql(&update).await;
        serve(&store, &[things()]).await.unwrap();
        assert_folded(&database, things()).await;
        // After a day such records are not looked for any more.
        let yesterday = "UPDATE cinequery_records SET declaration = \
                         replace(declaration, '\"settling\":\"20', '\"settling\":\"19')";
        database.run_sql(yesterday).await;
        serve(&store, &[things()]).await.unwrap();
        let declaration = database.rows("SELECT declaration FROM cinequery_records").await;
        let declaration = format!("{declaration:?}");
        assert!(!declaration.contains("settling"), "{declaration}");
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_index_is_built_again() {
    let database = Database::postgres().await;
    let store = database.open().await;
    serve(&store, &[things()]).await.unwrap();
    for _ in 0..2 {
        insert(&database, things(), ROWS[0]).await.unwrap();
    }
    let after = declare("things", vec![text("name"), integer("size")], &[], &[&["size"]]);
    // An invalid index of this name, as an interrupted build leaves it.
    let failing = "CREATE UNIQUE INDEX CONCURRENTLY cinequery_things_size ON things (size)";
    assert!(database.try_sql(failing).await.is_err());
    let invalid = "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid";
    assert_eq!(database.rows(invalid).await, [[Some("1".to_owned())]]);
    serve(&store, &[after]).await.unwrap();
    assert_eq!(database.rows(invalid).await, [[Some("0".to_owned())]]);
    assert_eq!(indexes(&database, "things").await, ["size"]);
    // The index was built, but the migration was interrupted before it recorded the step.
    serve(&store, &[things()]).await.unwrap();
    database.run_sql("CREATE INDEX cinequery_things_size ON things (size)").await;
    serve(&store, &[after]).await.unwrap();
    // An index that the service did not create.
    serve(&store, &[things()]).await.unwrap();
    database.run_sql("CREATE INDEX cinequery_things_size ON things (name)").await;
    let message = cause(serve(&store, &[after]).await);
    assert!(
        message.contains("\"cinequery_things_size\" that cinequery did not create"),
        "{message}"
    );
    database.run_sql("DROP INDEX cinequery_things_size").await;
    serve(&store, &[after]).await.unwrap();
}

/// The server continues with the statement of a process that was killed.
#[tokio::test]
async fn a_build_that_goes_on_without_its_process_is_waited_for() {
    let database = Database::postgres().await;
    let store = database.open().await;
    serve(&store, &[things()]).await.unwrap();
    let after = declare("things", vec![text("name"), integer("size")], &[], &[&["size"]]);
    let mut writer = Held::open(&database, "BEGIN; LOCK TABLE things IN ROW EXCLUSIVE MODE").await;
    let orphan =
        database.try_sql("CREATE INDEX CONCURRENTLY cinequery_things_size ON things (size)");
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        writer.commit().await;
    };
    let start = async {
        while database.rows("SELECT ''::text FROM pg_index WHERE NOT indisvalid").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        serve(&store, &[after]).await.unwrap();
    };
    let all = futures_util::future::join3(orphan, release, start);
    let (built, ..) = tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    built.unwrap();
    assert_eq!(indexes(&database, "things").await, ["size"]);
}

#[tokio::test]
async fn a_transaction_that_goes_on_without_its_process_is_waited_for() {
    let after = declare(
        "things",
        vec![text("name"), integer("size"), optional("day", Type::Date)],
        &[],
        &[],
    );
    let other = Database::postgres().await;
    serve(&other.open().await, &[after]).await.unwrap();
    let declaration = other.rows("SELECT declaration FROM cinequery_records").await;
    let declaration = declaration[0][0].clone().unwrap();
    let database = Database::postgres().await;
    let store = database.open().await;
    serve(&store, &[things()]).await.unwrap();
    let step = format!(
        "BEGIN; UPDATE cinequery_records SET declaration = '{declaration}'; \
         ALTER TABLE things ADD COLUMN day date"
    );
    let mut orphan = Held::open(&database, step.leak()).await;
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        orphan.commit().await;
    };
    let (served, ()) = futures_util::future::join(serve(&store, &[after]), release).await;
    served.unwrap();
    assert_eq!(state(&store, &[after]).await, State::Current);
}

/// If a step fails or the process is killed, the steps before it stay applied and recorded.
#[tokio::test]
async fn an_interrupted_migration_goes_on_where_it_was() {
    let silent = Field { searchable: false, ..text("name") };
    let before = declare("things", vec![silent, integer("size")], &[], &[]);
    let after = declare(
        "things",
        vec![text("name"), optional("size", Type::Integer), optional("note", Type::Text)],
        &[],
        &[&["size"]],
    );
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[before]).await.unwrap();
        for row in ROWS {
            insert(&database, before, row).await.unwrap();
        }
        database.run_sql("CREATE INDEX cinequery_things_size ON things (version)").await;
        let message = cause(serve(&store, &[after]).await);
        assert!(message.starts_with("cannot build an index on size of things: "), "{message}");
        let left = plan(&store, &[after], &[]).await;
        let left: Vec<&str> = left.iter().map(|step| step.sentence.as_str()).collect();
        assert_eq!(left, ["build an index on size of things"]);
        // The state after a kill before the column was filled.
        let declarations = database.rows("SELECT declaration FROM cinequery_records").await;
        let declaration = declarations[0][0].clone().unwrap();
        let mut table: serde_json::Value = serde_json::from_str(&declaration).unwrap();
        let folded = &mut table["columns"][1]["folded"];
        assert!(folded["state"]["settling"].is_string(), "{declaration}");
        folded["state"] = "pending".into();
        let interrupted = format!("UPDATE cinequery_records SET declaration = '{table}'");
        database.run_sql(&interrupted).await;
        database.run_sql("UPDATE things SET name_folded = NULL").await;
        database.run_sql("DROP INDEX cinequery_things_size").await;
        serve(&store, &[after]).await.unwrap();
        assert_eq!(state(&store, &[after]).await, State::Current);
        assert_folded(&database, after).await;
    })
    .await;
}

/// An index build must not wait for instances that wait for the migration.
#[tokio::test]
async fn an_index_is_built_while_other_instances_wait() {
    let database = Database::postgres().await;
    let store = database.open().await;
    serve(&store, &[things()]).await.unwrap();
    let after =
        declare("things", vec![text("name"), integer("size")], &[], &[&["size"], &["name"]]);
    // The build waits for this transaction. Instances that start meanwhile wait for the build.
    let mut writer = Held::open(&database, "BEGIN; LOCK TABLE things IN ROW EXCLUSIVE MODE").await;
    let instances = futures_util::future::join_all((0..3).map(async |_| {
        let store = database.open().await;
        serve(&store, &[after]).await.unwrap();
    }));
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(indexes(&database, "things").await, [""; 0]);
        writer.commit().await;
    };
    let both = futures_util::future::join(instances, release);
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("they wait for each other");
    assert_eq!(indexes(&database, "things").await, ["name", "size"]);
}

#[tokio::test]
async fn eight_instances_start_with_a_new_declaration() {
    let after = declare(
        "things",
        vec![
            optional("name", Type::Text),
            integer("size"),
            with_default("flag", Value::Boolean(false)),
        ],
        &[],
        &[&["size"], &["flag", "size"]],
    );
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[things()]).await.unwrap();
        for row in ROWS {
            insert(&database, things(), row).await.unwrap();
        }
        let start = async |_| serve(&database.open().await, &[after]).await.unwrap();
        futures_util::future::join_all((0..8).map(start)).await;
        assert_eq!(state(&store, &[after]).await, State::Current);
        assert_eq!(indexes(&database, "things").await, ["flag,size", "size"]);
    })
    .await;
}

/// A table in use is changed when the other transactions have ended, and they are not blocked for long.
#[tokio::test]
async fn a_step_waits_for_the_transactions_of_others() {
    let after = declare(
        "things",
        vec![optional("name", Type::Text), integer("size"), optional("note", Type::Text)],
        &[],
        &[],
    );
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[things()]).await.unwrap();
        let busy = if database.url().starts_with("sqlite") {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN; LOCK TABLE things IN ACCESS SHARE MODE"
        };
        let mut other = Held::open(&database, busy).await;
        let release = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            other.commit().await;
        };
        let (served, ()) = futures_util::future::join(serve(&store, &[after]), release).await;
        served.unwrap();
        assert_eq!(state(&store, &[after]).await, State::Current);
    })
    .await;
}

/// A connection of another program, with an open transaction.
enum Held {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Held {
    async fn open(database: &Database, sql: &'static str) -> Self {
        let mut held = if database.url().starts_with("sqlite") {
            Self::Sqlite(sqlx::SqliteConnection::connect(&database.url()).await.unwrap())
        } else {
            Self::Postgres(sqlx::PgConnection::connect(&database.url()).await.unwrap())
        };
        held.run(sql).await;
        held
    }

    async fn commit(&mut self) {
        self.run("COMMIT").await;
    }

    async fn run(&mut self, sql: &'static str) {
        let sql = sqlx::raw_sql(sql);
        match self {
            Self::Sqlite(connection) => drop(sql.execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sql.execute(connection).await.unwrap()),
        }
    }
}

/// Objects that an operator has added to a table survive a rebuild by SQLite.
#[tokio::test]
async fn a_rebuilt_table_keeps_what_was_added_to_it() {
    let database = Database::sqlite();
    let store = database.open().await;
    serve(&store, &[things()]).await.unwrap();
    database
        .run_sql(
            "CREATE TABLE log (thing BLOB NOT NULL REFERENCES things (id)) STRICT;
             CREATE INDEX own ON things (name, version);
             CREATE VIEW names AS SELECT name FROM things;
             CREATE TRIGGER logged AFTER INSERT ON things BEGIN INSERT INTO log VALUES (NEW.id); END",
        )
        .await;
    insert(&database, things(), ROWS[0]).await.unwrap();
    let after = declare("things", vec![optional("name", Type::Text), integer("size")], &[], &[]);
    serve(&store, &[after]).await.unwrap();
    insert(&database, after, &[("size", "1")]).await.unwrap();
    assert_eq!(indexes(&database, "things").await, ["name,version"]);
    let names = database.rows("SELECT name FROM names ORDER BY 1").await;
    assert_eq!(names, [[None], [Some("Straße".to_owned())]]);
    let count = database.rows("SELECT CAST(count(*) AS text) FROM log").await;
    assert_eq!(count, [[Some("2".to_owned())]]);
    assert!(
        database.try_sql("PRAGMA foreign_keys = ON; INSERT INTO log VALUES (X'00')").await.is_err()
    );
}

#[tokio::test]
async fn a_table_that_is_in_the_way_is_reported() {
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[]).await.unwrap();
        database.run_sql("CREATE TABLE things (a integer)").await;
        assert_eq!(state(&store, &[things()]).await, State::Foreign);
        let message = cause(serve(&store, &[things()]).await);
        assert!(message.contains("\"things\" that cinequery did not create"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn index_names_are_short_and_unique() {
    const LONG: &str = "a_field_with_a_name_that_is_quite_long_but_not_too_long";
    on_both(async |database| {
        let store = database.open().await;
        let one = declare(
            "things",
            vec![integer("a_b"), integer("c"), integer("a"), integer("b_c"), integer(LONG)],
            &[],
            &[&["a_b", "c"], &["a", "b_c"], &[LONG, "a"], &[LONG, "c"]],
        );
        // An index of the first has the name of this table.
        let two = declare("things_a", vec![integer("b")], &[], &[&["b"]]);
        let one_more = declare("things_a_b", vec![integer("b")], &[], &[]);
        serve(&store, &[one, two, one_more]).await.unwrap();
        assert_eq!(indexes(&database, "things").await.len(), 4);
        assert_eq!(indexes(&database, "things_a").await.len(), 1);
        assert_eq!(state(&store, &[one, two, one_more]).await, State::Current);
        // A unique key of the same columns: its index is built before the other one is dropped.
        let fields =
            vec![integer("a_b"), integer("c"), integer("a"), integer("b_c"), integer(LONG)];
        let unique = declare("things", fields, &[&["a_b", "c"], &[LONG, "a"]], &[]);
        migrate(&store, &[unique, two, one_more], &[]).await.unwrap();
        migrate(&store, &[one, two, one_more], &[]).await.unwrap();
        assert_eq!(state(&store, &[one, two, one_more]).await, State::Current);
    })
    .await;
}

/// The name of an index consists of names of a collection and its fields, so that two indexes, or an index and a table,
/// could get one name.
#[tokio::test]
async fn names_of_indexes_and_tables_do_not_collide() {
    let of = |collection, fields: &[&'static str], unique, indexes| {
        declare(collection, fields.iter().copied().map(integer).collect(), unique, indexes)
    };
    let cases: [&[&Schema]; 5] = [
        &[of("a", &["b"], &[], &[&["b"]]), of("a_b", &["c"], &[], &[&["c"]])],
        &[of("a_b", &["c"], &[], &[&["c"]]), of("a", &["b", "b_c"], &[], &[&["b"], &["b_c"]])],
        &[of("saved", &["queries"], &[], &[&["queries"]])],
        &[of("usage_of", &["batches"], &[&["batches"]], &[])],
        &[of("a", &["pkey"], &[], &[&["pkey"]]), of("a_pkeys", &["b"], &[], &[&["b"]])],
    ];
    for schemas in cases {
        on_both(async |database| {
            let store = database.open().await;
            serve(&store, schemas).await.unwrap();
            assert_eq!(state(&store, schemas).await, State::Current);
            for schema in schemas {
                let count = schema.unique.len() + schema.indexes.len();
                assert_eq!(indexes(&database, schema.collection).await.len(), count, "{schemas:?}");
            }
        })
        .await;
        // One collection after the other, in either order.
        on_both(async |database| {
            let store = database.open().await;
            for number in (0..schemas.len()).rev() {
                serve(&store, &schemas[number..]).await.unwrap();
            }
            assert_eq!(state(&store, schemas).await, State::Current);
        })
        .await;
    }
}

/// An index keeps its name if its field is renamed, so a later field with the former name needs another one.
#[tokio::test]
async fn an_index_gets_a_free_name_after_its_field_was_renamed() {
    let optional = |name| optional(name, Type::Integer);
    let renamed = |name, from| Field { renamed_from: Some(from), ..optional(name) };
    // Each field has an index.
    let of = |fields: Vec<Field>| {
        let indexes = fields.iter().map(|field| &*vec![field.name].leak());
        let indexes: Vec<&'static [&'static str]> = indexes.collect();
        declare("things", fields, &[], indexes.leak())
    };
    let declarations = [
        of(vec![optional("a")]),
        of(vec![renamed("b", "a")]),
        of(vec![optional("b"), optional("a")]),
        of(vec![optional("b"), renamed("c", "a")]),
        of(vec![optional("b"), optional("c"), optional("a")]),
        of(vec![renamed("d", "b"), optional("c"), optional("a")]),
        of(vec![optional("d"), optional("c"), optional("a"), optional("b")]),
    ];
    on_both(async |database| {
        let store = database.open().await;
        for schema in declarations {
            migrate(&store, &[schema], &[]).await.unwrap();
            assert_eq!(state(&store, &[schema]).await, State::Current);
            let mut expected: Vec<&str> = schema.indexes.iter().map(|index| index[0]).collect();
            expected.sort_unstable();
            assert_eq!(indexes(&database, "things").await, expected);
        }
    })
    .await;
}

/// Texts that would end a literal if they were not escaped.
#[tokio::test]
async fn defaults_are_quoted() {
    let mut runner = TestRunner::deterministic();
    let hostile = proptest::collection::vec(
        proptest::sample::select(vec![
            "'",
            "''",
            "\\",
            "\\'",
            "\"",
            "--",
            ";",
            "$1",
            "?",
            "/*",
            "*/",
            "E'",
            "\n",
            "\r",
            "é",
            "\u{1F3AC}",
            "x",
            "%s",
            "$$",
            ":a",
            "{}",
            "\u{7f}",
            "DROP TABLE things",
            " ",
        ]),
        0..8,
    );
    let texts: Vec<String> =
        (0..120).map(|_| hostile.new_tree(&mut runner).unwrap().current().concat()).collect();
    let fields = |searchable| {
        texts.iter().enumerate().map(move |(number, text)| {
            let name: &'static str = format!("f{number}").leak();
            Field { searchable, ..with_default(name, Value::Text(text.clone())) }
        })
    };
    on_both(async |database| {
        if database.url().starts_with("postgres") {
            let name = database.url().rsplit('/').next().unwrap().to_owned();
            database
                .run_sql(&format!("ALTER DATABASE {name} SET standard_conforming_strings = off"))
                .await;
        }
        let store = database.open().await;
        let before = declare("things", vec![integer("size")], &[], &[]);
        serve(&store, &[before]).await.unwrap();
        insert(&database, before, &[("size", "1")]).await.unwrap();
        let after = declare(
            "things",
            std::iter::once(integer("size")).chain(fields(true)).collect(),
            &[],
            &[],
        );
        serve(&store, &[after]).await.unwrap();
        // SQLite writes the defaults again when it rebuilds the table.
        let optional = declare(
            "things",
            std::iter::once(optional("size", Type::Integer)).chain(fields(true)).collect(),
            &[],
            &[],
        );
        serve(&store, &[optional]).await.unwrap();
        insert(&database, before, &[("size", "2")]).await.unwrap();
        let names: Vec<&str> = after.names().filter(|name| name.starts_with('f')).collect();
        let rows = values(&database, "things", names.into_iter()).await;
        assert_eq!(rows.len(), 2);
        for row in rows {
            let stored: Vec<&str> = row[1..].iter().map(|text| text.as_deref().unwrap()).collect();
            assert_eq!(stored, texts);
        }
        assert_folded(&database, after).await;
        assert_eq!(plan(&store, &[optional], &[]).await, []);
    })
    .await;
}

/// A random declaration. The type of a field of the same name is always the same.
fn random_declaration(runner: &mut TestRunner) -> &'static Schema {
    const NAMES: [(&str, Type); 6] = [
        ("name", Type::Text),
        ("note", Type::Text),
        ("size", Type::Integer),
        ("flag", Type::Boolean),
        ("day", Type::Date),
        ("end", Type::Timestamp),
    ];
    const KEYS: [&[&str]; 5] =
        [&["name"], &["size", "name"], &["flag"], &["day", "end", "note"], &["note"]];
    let mut pick = |most: usize| (0..most).new_tree(runner).unwrap().current();
    let fields: Vec<Field> = NAMES
        .iter()
        .filter_map(|(name, ty)| {
            if pick(4) == 0 {
                return None;
            }
            let default = match ty {
                Type::Text => Value::Text("A".to_owned()),
                Type::Integer => Value::Integer(1),
                Type::Boolean => Value::Boolean(true),
                Type::Date => Value::Date("2024-01-31".parse().unwrap()),
                _ => moment(),
            };
            let kind = pick(4);
            let bounds = [0..=10, -10..=i64::MAX, i64::MIN..=i64::MAX][pick(3)].clone();
            Some(Field {
                nullable: pick(2) == 0,
                default: (pick(2) == 0).then_some(default),
                searchable: *ty == Type::Text && kind < 2,
                trigram: *ty == Type::Text && kind == 0,
                bounds,
                ..field(name, *ty)
            })
        })
        .collect();
    let is_there =
        |key: &&&[&str]| key.iter().all(|name| fields.iter().any(|field| field.name == *name));
    let mut keys = || -> &'static [&'static [&'static str]] {
        let keys = KEYS.iter().filter(is_there).filter(|_| pick(3) == 0).copied();
        keys.collect::<Vec<_>>().leak()
    };
    let (unique, indexes) = (keys(), keys());
    declare("things", fields, unique, indexes)
}

#[tokio::test]
async fn any_declaration_follows_any_other() {
    on_both(async |database| {
        let mut runner = TestRunner::deterministic();
        let store = database.open().await;
        let (mut current, mut applied, mut rejected) = (None, 0, 0);
        for number in 0..80 {
            let schema = random_declaration(&mut runner);
            let outcome = migrate(&store, &[schema], &[]).await;
            if outcome.is_err() {
                // Records break a new rule, so the previous declaration is still the one that is applied.
                let problems = plan(&store, &[schema], &[]).await;
                assert!(problems.iter().any(|step| step.problem.is_some()), "{outcome:?}");
                assert_eq!(plan(&store, current.as_slice(), &[]).await, []);
                database.run_sql("DELETE FROM things").await;
                rejected += 1;
                continue;
            }
            current = Some(schema);
            applied += 1;
            let again = plan(&store, &[schema], &[]).await;
            assert_eq!(again, [], "{schema:#?}");
            assert_folded(&database, schema).await;
            assert_numbered(&database, schema).await;
            let (text, size) = (format!("'N{number}'"), number.to_string());
            let row = [
                ("name", text.as_str()),
                ("note", &text),
                ("size", &size),
                ("flag", "true"),
                ("day", "'2024-01-31'"),
                ("end", "'2024-01-31T12:00:00.000000Z'"),
            ];
            // Records may have the same flag where the new declaration requires it to be unique.
            if let Err(error) = insert(&database, schema, &row).await {
                assert!(error.as_database_error().unwrap().is_unique_violation(), "{error}");
            }
        }
        assert!(applied > 20 && rejected > 5, "{applied} applied, {rejected} rejected");
    })
    .await;
}

/// The tables of the version before declarations, with rows in each.
fn previous(database: &Database) -> &'static str {
    match database.url().starts_with("sqlite") {
        true => include_str!("fixtures/0005_sqlite.sql"),
        false => include_str!("fixtures/0005_postgres.sql"),
    }
}

#[tokio::test]
async fn a_database_of_the_previous_version_loses_nothing() {
    const TABLES: [(&str, &str); 6] = [
        (
            "movies",
            "id, title, title_folded, genre, genre_folded, release_year, expiry_date, version, created_at, updated_at",
        ),
        (
            "saved_queries",
            "id, collection, name, description, filter, order_by, parameters, version, created_at, updated_at",
        ),
        ("users", "name, password_hash, role, version, created_at, updated_at"),
        ("revocations", "revision, token_id, subject, revoked_at, expires_at"),
        ("usage", "subject, day, class, requests, throttled"),
        ("usage_batches", "id, added_at"),
    ];
    on_both(async |database| {
        let store = database.open().await;
        database.run_sql(previous(&database)).await;
        let contents = async || {
            let mut contents = Vec::new();
            for (table, columns) in TABLES {
                let id = |name: &str| match (name, database.url().starts_with("sqlite")) {
                    ("id", true) => "hex(id)".to_owned(),
                    (name, _) => format!("CAST({name} AS text)"),
                };
                let columns: Vec<String> = columns.split(", ").map(id).collect();
                let sql = format!("SELECT {} FROM {table} ORDER BY 1, 2", columns.join(", "));
                let rows = database.rows(&sql).await;
                assert!(!rows.is_empty(), "{table}");
                contents.push(rows);
            }
            contents
        };
        let before = contents().await;
        let schemas = [movies()];
        let sentences = plan(&store, &schemas, &[]).await;
        let sentences: Vec<String> = sentences.into_iter().map(|step| step.sentence).collect();
        assert_eq!(
            sentences,
            [
                "apply the migration 0006_records",
                "apply the migration 0007_changes",
                "apply the migration 0008_idempotency",
                "apply the migration 0009_import_progress",
                "apply the migration 0010_sessions",
                "build an index on the trigrams of title_folded of movies",
            ]
        );
        // The extension of PostgreSQL for the index is not there yet.
        let missing = if database.url().starts_with("sqlite") { 6 } else { 5 };
        assert_eq!(state(&store, &schemas).await, State::Behind { missing, by: By::Serve });
        serve(&store, &schemas).await.unwrap();
        assert_eq!(contents().await, before);
        assert_eq!(state(&store, &schemas).await, State::Current);
        let insert_as_before = "INSERT INTO movies (id, title, title_folded, genre, genre_folded, \
             release_year, expiry_date, version, created_at, updated_at) \
             SELECT ID, 'New', 'new', 'drama', 'drama', 2000, '2030-01-01', 1, created_at, updated_at \
             FROM movies LIMIT 1";
        let id = if database.url().starts_with("sqlite") { "randomblob(16)" } else { "gen_random_uuid()" };
        database.run_sql(&insert_as_before.replace("ID", id)).await;
        assert!(database.try_sql(&insert_as_before.replace("ID", id)).await.is_err());
        // The first change of the declaration after that.
        let mut fields: Vec<Field> = vec![optional("tagline", Type::Text)];
        fields.extend(movies().declared().map(copy));
        let after = declare("movies", fields, movies().unique, movies().indexes);
        let sentences = plan(&store, &[after], &[]).await;
        assert_eq!(sentences.len(), 1, "{sentences:?}");
        serve(&store, &[after]).await.unwrap();
    })
    .await;
}

/// `migrations/movies.json` describes the table that the migrations in SQL create.
#[tokio::test]
async fn the_first_movies_are_as_a_declaration_would_make_them() {
    on_both(async |database| {
        let store = database.open().await;
        serve(&store, &[movies()]).await.unwrap();
        assert_eq!(plan(&store, &[movies()], &[]).await, []);
        let fields = movies().declared().map(copy);
        let declared = declare("films", fields.collect(), movies().unique, movies().indexes);
        serve(&store, &[movies(), declared]).await.unwrap();
        assert_eq!(columns(&database, "movies").await, columns(&database, "films").await);
        assert_eq!(indexes(&database, "movies").await, indexes(&database, "films").await);
        let rules = if database.url().starts_with("sqlite") {
            "SELECT sql FROM sqlite_schema WHERE name = 'TABLE'"
        } else {
            "SELECT conname::text || pg_get_constraintdef(oid) FROM pg_constraint \
             WHERE conrelid = 'TABLE'::regclass AND contype = 'c' ORDER BY 1"
        };
        // Quotes of names and spaces are not compared.
        let plain = |rows: Vec<Vec<Option<String>>>| {
            let texts = rows.into_iter().flatten().flatten();
            let texts: String = texts.map(|text| text.replace("films", "movies") + ";").collect();
            texts.chars().filter(|c| !c.is_whitespace() && *c != '"').collect::<String>()
        };
        let of = async |table: &str| plain(database.rows(&rules.replace("TABLE", table)).await);
        assert_eq!(of("movies").await, of("films").await);
    })
    .await;
}

#[tokio::test]
async fn the_command_line_prints_the_plan() {
    on_both(async |database| {
        database.open().await.close().await;
        database.run_sql(previous(&database)).await;
        let folder = folder();
        let url = database.url();
        let migrate = |arguments: &[&str]| {
            let all = [&["migrate", "--database", &url][..], arguments].concat();
            run(folder.path(), &all)
        };
        for _ in 0..2 {
            let (code, plan, log) = migrate(&["--plan"]);
            assert_eq!((code, log.as_str()), (0, ""));
            for line in [
                "1. apply the migration 0006_records\n",
                "   applied by: `serve` at start, or `migrate`\n   locks: all access",
                "     CREATE TABLE cinequery_records (\n",
            ] {
                assert!(plan.contains(line), "{plan}");
            }
        }
        assert_eq!(migrate(&[]).0, 0);
        let (code, plan, _) = migrate(&["--plan"]);
        assert_eq!((code, plan.as_str()), (0, "nothing to do: the tables are as declared\n"));
        // A field that is no longer declared, and one that was optional.
        let mut table: serde_json::Value =
            serde_json::from_str(include_str!("../migrations/movies.json")).unwrap();
        let note = |table: &serde_json::Value| {
            format!(
                "INSERT INTO cinequery_records VALUES ('movies', '{table}', '{}') ON CONFLICT \
                 (collection) DO UPDATE SET declaration = excluded.declaration",
                crate::support::declaration::now()
            )
        };
        let trigrams = json!({"name": "cinequery_movies_title_folded_trigram",
                              "columns": ["title_folded"], "trigram": true});
        table["indexes"].as_array_mut().unwrap().push(trigrams);
        let columns = table["columns"].as_array_mut().unwrap();
        columns.push(json!({"name": "tagline", "type": "text", "nullable": true}));
        database.run_sql("ALTER TABLE movies ADD COLUMN tagline text").await;
        database.run_sql("UPDATE movies SET tagline = 'x' WHERE release_year = 1949").await;
        database.run_sql(&note(&table)).await;
        let (code, _, log) = migrate(&["--log", "warn"]);
        assert!(code == 0 && log.contains("movies.tagline is in the database"), "{log}");
        let (code, plan, _) = migrate(&["--plan", "--drop", "movies.tagline"]);
        assert!(code == 0 && plan.contains("1. drop movies.tagline with 1 value\n"), "{plan}");
        assert_eq!(migrate(&["--drop", "movies.tagline"]).0, 0);
        table["columns"].as_array_mut().unwrap().pop();
        table["columns"][1]["nullable"] = json!(true);
        database.run_sql(&note(&table)).await;
        let of = |command: &str| {
            let settings = ["--auth", "open", "--database", &url, "--log", "error"];
            let secret = ["--jwt-secret", crate::support::SECRET, "--listen", "127.0.0.1:0"];
            run(folder.path(), &[&[command][..], &settings, &secret].concat())
        };
        let (code, report, _) = of("check");
        assert!(code == 4 && report.contains("`serve` does not start before"), "{report}");
        let (code, _, log) = of("serve");
        assert!(code == 1 && log.contains("require a value in movies.title"), "{log}");
        assert_eq!(migrate(&[]).0, 0);
        assert_eq!(of("check").0, 0);
        let (code, _, log) = migrate(&["--drop", "movies.title"]);
        assert!(code == 1 && log.contains("cannot drop movies.title: it is declared"), "{log}");
        let (code, _, log) = migrate(&["--plan", "--drop", "movies.tagline"]);
        assert!(code == 1 && log.contains("cannot drop movies.tagline"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn movies_of_another_declaration_start_on_a_new_database() {
    on_both(async |database| {
        // Other fields than the built-in movies, and another type of one.
        let own = declare(
            "movies",
            vec![field("name", Type::Text), optional("expiry_date", Type::Timestamp)],
            &[&["name"]],
            &[],
        );
        let store = database.open().await;
        assert!(matches!(state(&store, &[own]).await, State::Behind { by: By::Serve, .. }));
        serve(&store, &[own]).await.unwrap();
        assert_eq!(state(&store, &[own]).await, State::Current);
        assert_eq!(plan(&store, &[own], &[]).await, []);
    })
    .await;
    on_both(async |database| {
        // An empty table of movies is replaced, one with records is kept.
        let own = declare("movies", vec![field("name", Type::Text)], &[&["name"]], &[]);
        let store = database.open().await;
        serve(&store, &[]).await.unwrap();
        assert_eq!(plan(&store, &[own], &[]).await.len(), 1);
        serve(&store, &[own]).await.unwrap();
        assert_eq!(state(&store, &[own]).await, State::Current);
    })
    .await;
}

#[tokio::test]
async fn a_former_name_that_does_not_fit_is_a_problem() {
    on_both(async |database| {
        let of = |fields| declare("things", fields, &[], &[]);
        let named = |name, from| Field { renamed_from: Some(from), ..optional(name, Type::Text) };
        let store = database.open().await;
        let before = of(vec![optional("old", Type::Text), optional("b", Type::Text)]);
        serve(&store, &[before]).await.unwrap();
        let cases = [
            // Both columns exist, so it is unclear which one has the values of the field.
            (of(vec![named("b", "old")]), "has both"),
            // A misspelt name would lose the values.
            (of(vec![optional("b", Type::Text), named("new", "odl")]), "did you mean \"old\"?"),
        ];
        for (after, said) in cases {
            for outcome in [serve(&store, &[after]).await, migrate(&store, &[after], &[]).await] {
                let message = cause(outcome);
                assert!(message.contains(said), "{message}");
            }
        }
        assert_eq!(plan(&store, &[before], &[]).await, []);
        // A completed rename is not an error.
        let after = of(vec![optional("b", Type::Text), named("new", "old")]);
        migrate(&store, &[after], &[]).await.unwrap();
        serve(&store, &[after]).await.unwrap();
    })
    .await;
}

const NOTES: &str = "name = \"Note\"\ncollection = \"notes\"\n[fields.text]\ntype = \"text\"\n";
const TAGS: &str = "name = \"Tag\"\ncollection = \"tags\"\n[fields.name]\ntype = \"text\"\n";

#[tokio::test]
async fn a_collection_without_its_declaration_is_reported_and_can_be_dropped() {
    on_both(async |database| {
        let records = folder_of(&[("notes.toml", NOTES), ("tags.toml", TAGS)]);
        let settings = ["--database", &database.url(), "--records", records.path().to_str().unwrap()];
        let here = folder();
        let run = |arguments: &[&str]| run(here.path(), &[arguments, &settings].concat());
        let check = || run(&["check", "--auth", "open", "--jwt-secret", crate::support::SECRET]);
        let (code, _, log) = run(&["migrate", "--log", "warn"]);
        assert_eq!((code, log.as_str()), (0, ""));
        std::fs::remove_file(records.path().join("tags.toml")).unwrap();
        let (code, _, log) = run(&["migrate", "--log", "warn"]);
        assert_eq!(code, 0);
        let warning = "tags is in the database but not declared; its records are kept. To drop it, run \
                       `cinequery migrate --drop tags`";
        assert!(log.contains(warning) && !log.contains("movies"), "{log}");
        let (code, report, _) = check();
        let line = "not declared   tags: kept in the database; to drop one, run `cinequery migrate --drop NAME`\n";
        assert!(code == 0 && report.contains(line), "{report}");
        let (code, plan, _) = run(&["migrate", "--plan"]);
        let kept = "nothing to do: the tables are as declared\n\
                    not declared, and kept: tags (drop it with `--drop tags`)\n";
        assert_eq!((code, plan.as_str()), (0, kept));

        // The table of movies is reported only if it has records.
        let movie = [("title", "'x'"), ("genre", "'x'"), ("release_year", "2000"), ("expiry_date", "'2030-01-01'")];
        insert(&database, movies(), &movie).await.unwrap();
        let (_, report, _) = check();
        assert!(report.contains("not declared   movies, tags: kept"), "{report}");

        // The last collection.
        std::fs::remove_file(records.path().join("notes.toml")).unwrap();
        let (code, _, log) = run(&["migrate"]);
        assert!(code == 1 && log.contains("the folder has no declarations"), "{log}");
        let drops = ["--drop", "notes", "--drop", "tags"];
        let (code, plan, log) = run(&[&["migrate", "--plan"], &drops[..]].concat());
        assert_eq!(code, 0, "{log}");
        let first = "1. drop the table notes with 0 records and 0 saved queries\n";
        assert!(plan.starts_with(first) && plan.contains("2. drop the table tags "), "{plan}");
        assert!(plan.ends_with("\nnot declared, and kept: movies (drop it with `--drop movies`)\n"), "{plan}");
        let (code, _, log) = run(&[&["migrate"], &drops[..]].concat());
        assert_eq!(code, 0, "{log}");
        let noted = database.rows("SELECT collection FROM cinequery_records").await;
        assert!(noted.is_empty(), "{noted:?}");
        std::fs::write(records.path().join("notes.toml"), NOTES).unwrap();
        let (code, _, log) = run(&["migrate", "--drop", "notes"]);
        let advice = "cannot drop notes: it is declared; remove its declaration from the folder";
        assert!(code == 1 && log.contains(advice), "{log}");
    })
    .await;
}
