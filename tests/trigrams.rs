//! Indexes of trigrams, on both databases: after every kind of write they find what the evaluator finds, and searches
//! use them where they help.

use cinequery::app::bulk::{self, BulkRequest};
use cinequery::app::selection::Selection;
use cinequery::app::transfer::{Format, begin};
use cinequery::clock::timestamp_now;
use cinequery::identity::Identity;
use cinequery::query::compile::compile_for_candidates;
use cinequery::query::evaluate::{Truth, compare as compare_records, evaluate};
use cinequery::query::text::{is_blank, trimmed};
use cinequery::query::{Argument, Arguments, BoundQuery, Dialect, Schema, Shape, compile, prepare};
use cinequery::record::{Draft, Members, Patch};
use cinequery::store::{Conflict, Expected, Record, State, Store};
use proptest::prelude::{Just, any};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use proptest::{collection, prop_oneof, sample};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::command_line::{folder_of, run};
use crate::support::records::as_stored;
use crate::support::records::declared;
use crate::support::{Database, all, identity, on_both};

const NOTES: &str = r#"
name = "Note"
collection = "notes"
unique = [["number"]]
[fields.number]
type = "integer"
[fields.title]
type = "text"
length = [0, 200]
trigram = true
[fields.body]
type = "text"
length = [0, 200]
required = false
trigram = true
"#;

fn notes() -> &'static Schema {
    declared(&[NOTES]).find("notes").unwrap()
}

fn caller() -> Identity {
    identity(&["notes:read", "notes:write"])
}

/// Pieces of texts and of needles: what an index or a pattern might treat specially, characters of two, three and four
/// bytes, and some that the folding changes.
const PIECES: &[&str] = &[
    "the",
    "night",
    " ",
    "a",
    "b",
    "1",
    "%",
    "_",
    "\\",
    "\"",
    "\"\"",
    "'",
    "*",
    "^",
    "(",
    ")",
    "{",
    "+",
    "-",
    ":",
    " NEAR ",
    " AND ",
    " OR ",
    "NOT",
    "ß",
    "É",
    "İ",
    "ﬁ",
    "Σ",
    "привет",
    "日本語",
    "🎬",
    "👨‍👩‍👧",
    "e\u{301}",
    "\u{308}",
    "\u{200D}",
    "\u{FFFD}",
    "\u{FFFF}",
    "\u{E000}",
    "\u{10FFFF}",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![6 => sample::select(PIECES).prop_map(str::to_owned), 1 => any::<char>()
        .prop_filter("control characters are rejected", |character| !character.is_control())
        .prop_map(String::from)];
    // As they are stored: without outer white space.
    collection::vec(piece, 0..9).prop_map(|pieces| match pieces.concat() {
        text if is_blank(&text) => String::new(),
        text => trimmed(&text).to_owned(),
    })
}

/// A needle: a part of one of the texts, or another text.
fn needle(texts: Vec<String>) -> impl Strategy<Value = String> {
    let part = (sample::select(texts), any::<(usize, usize)>()).prop_map(|(text, (from, to))| {
        let characters: Vec<char> = text.chars().collect();
        let count = characters.len() + 1;
        let (from, to) = (from % count, to % count);
        characters[from.min(to)..from.max(to)].iter().collect()
    });
    prop_oneof![4 => part, 1 => text(), 1 => Just(String::new())]
}

struct Notes {
    database: Database,
    store: Store,
    runner: TestRunner,
    last: i64,
}

impl Notes {
    async fn on(database: Database) -> Self {
        let store = database.open().await;
        store.migrate(&[notes()]).await.unwrap();
        Self { database, store, runner: TestRunner::deterministic(), last: 0 }
    }

    fn random<T>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn note(&mut self) -> Json {
        self.last += 1;
        let (title, body) = (self.random(text()), self.random(proptest::option::of(text())));
        json!({"number": self.last, "title": title, "body": body})
    }

    async fn create(&mut self, count: usize) {
        for _ in 0..count {
            let draft = draft(self.note());
            self.store.insert(Uuid::now_v7(), &draft, timestamp_now()).await.unwrap();
        }
    }

    async fn import(&mut self, notes: Vec<Json>, policy: Conflict) -> bool {
        let file: String = notes.iter().map(|note| format!("{note}\n")).collect();
        let import = begin(&self.store, &caller(), self::notes()).unwrap();
        let report = import.run(std::io::Cursor::new(file), Format::Ndjson, policy, |_| ()).await;
        report.is_ok_and(|report| report.rejected == 0)
    }

    /// Gives some of the records other titles, and some the same.
    async fn update(&mut self, every: usize) {
        for record in all(&self.store, notes()).await.into_iter().step_by(every) {
            let title = self.random(prop_oneof![text().prop_map(Some), Just(None)]);
            let title = title.unwrap_or_else(|| record.value("title").unwrap().to_string());
            let members: Members<Json> = serde_json::from_value(json!({"title": title})).unwrap();
            let row = Patch::read(notes(), members).unwrap();
            let now = timestamp_now();
            let updated = self.store.update(notes(), record.id(), row.row(), &Expected::Any, now);
            updated.await.unwrap();
        }
    }

    async fn delete(&mut self, every: usize) {
        for record in all(&self.store, notes()).await.into_iter().step_by(every) {
            self.store.delete(notes(), record.id(), &Expected::Any).await.unwrap();
        }
    }

    /// Compares searches for random needles with the evaluator.
    async fn check(&mut self, stage: &str) {
        let records = all(&self.store, notes()).await;
        let texts = records.iter().flat_map(|record| {
            ["title", "body"].map(|name| record.value(name).map(ToString::to_string))
        });
        let mut texts: Vec<String> = texts.flatten().collect();
        texts.push(String::new());
        for number in 0..60 {
            let (one, other) = (self.random(needle(texts.clone())), self.random(text()));
            let filter = [
                "title contains $one",
                "title ends with $one",
                "body contains $one and title contains $other",
                "not body contains $one",
                "title contains $one or body ends with $one",
                "(title contains $one and body contains $one) or title = $one",
            ][number % 6];
            let order = ["id", "number desc", "title, id"][number % 3];
            let query = bound(filter, order, &one, &other);
            let expected = matching(&query, &records);
            let shape = Shape::Page { limit: 1000 };
            let dialect = self.store.dialect();
            let mut statements = vec![
                ("chosen", self.store.statement(&query, shape).await.unwrap()),
                ("plain", compile(&query, shape, dialect)),
            ];
            if dialect == Dialect::Sqlite {
                statements.push(("candidates", compile_for_candidates(&query, shape)));
            }
            for (kind, statement) in statements {
                let found = self.store.fetch(notes(), statement).await.unwrap();
                let found: Vec<Uuid> = found.iter().map(Record::id).collect();
                assert_eq!(
                    found, expected,
                    "{stage}: {filter}, {order}, {one:?}, {other:?}, {kind}"
                );
            }
            let count = self.store.statement(&query, Shape::Count).await.unwrap();
            let count = self.store.count(count).await.unwrap();
            assert_eq!(count, i64::try_from(expected.len()).unwrap(), "{stage}: {filter} {one:?}");
        }
        self.check_tables(stage).await;
    }

    /// Checks the tables of SQLite.
    async fn check_tables(&self, stage: &str) {
        if self.store.dialect() == Dialect::Postgres {
            return;
        }
        let checks = ["title", "body"].map(|field| {
            format!(
                "SELECT CAST(count(*) AS text) FROM notes \
                 FULL JOIN cinequery__notes__{field}__numbers AS n USING (id) \
                 WHERE notes.version IS NULL OR n.number IS NULL"
            )
        });
        for check in checks {
            assert_eq!(self.database.rows(&check).await, [[Some("0".to_owned())]], "{stage}");
        }
        assert_eq!(
            self.database.rows("PRAGMA integrity_check").await,
            [[Some("ok".to_owned())]],
            "{stage}"
        );
    }
}

fn draft(note: Json) -> Draft {
    let members: Members<Json> = serde_json::from_value(note).unwrap();
    as_stored(notes(), members)
}

fn bound(filter: &str, order: &str, one: &str, other: &str) -> BoundQuery {
    let text = |text: &str| Argument::Text(text.to_owned());
    let mut arguments = Arguments::from([("one".to_owned(), text(one))]);
    if filter.contains("$other") {
        arguments.insert("other".to_owned(), text(other));
    }
    let prepared = prepare(Some(filter), Some(order), notes()).unwrap();
    prepared.bind(&arguments, timestamp_now()).unwrap()
}

/// The ids of the records that the evaluator finds, in order.
fn matching(query: &BoundQuery, records: &[Record]) -> Vec<Uuid> {
    let is_match = |record: &&Record| evaluate(query, *record) == Truth::True;
    let mut found: Vec<&Record> = records.iter().filter(is_match).collect();
    found.sort_by(|left, right| compare_records(&query.order, *left, *right));
    found.into_iter().map(Record::id).collect()
}

#[tokio::test]
async fn indexes_follow_every_write() {
    on_both(async |database| {
        let mut notes = Notes::on(database).await;
        notes.check("empty").await;
        notes.create(100).await;
        notes.check("created").await;
        let file: Vec<Json> = (0..300).map(|_| notes.note()).collect();
        assert!(notes.import(file.clone(), Conflict::Fail).await);
        notes.check("imported").await;
        notes.update(3).await;
        notes.check("updated").await;
        notes.delete(4).await;
        notes.check("deleted").await;
        // Half of them exist, with other texts.
        let mut changed: Vec<Json> = file.into_iter().step_by(2).collect();
        for note in &mut changed {
            note["title"] = json!(notes.random(text()));
        }
        assert!(notes.import(changed.clone(), Conflict::Update).await);
        notes.check("upserted").await;
        assert!(!notes.import(changed, Conflict::Fail).await);
        notes.check("rolled back").await;
        let matched = bulk_delete(&notes.store, "title contains $one").await;
        assert!(matched > 0);
        notes.check("deleted by a filter").await;
        // The greatest numbers are free again.
        let last = all(&notes.store, self::notes()).await.into_iter().rev().take(80);
        for record in last {
            notes.store.delete(self::notes(), record.id(), &Expected::Any).await.unwrap();
        }
        notes.create(150).await;
        notes.check("created again").await;
    })
    .await;
}

async fn bulk_delete(store: &Store, filter: &str) -> i64 {
    let query = bound(filter, "id", "the", "");
    let count = compile(&query, Shape::Count, store.dialect());
    let matched = store.count(count).await.unwrap();
    let mut selection = Selection::filter(filter);
    selection.parameters = Arguments::from([("one".to_owned(), Argument::Text("the".to_owned()))]);
    let request = BulkRequest { selection, expected: Some(matched), patch: None };
    bulk::write(store, &caller(), notes(), request, None).await.unwrap();
    matched
}

#[tokio::test]
async fn an_index_is_built_for_existing_records_and_dropped() {
    let without = declared(&[&NOTES.replace("trigram = true", "")]).find("notes").unwrap();
    let relaxed = NOTES.replacen("[0, 200]", "[0, 200]\nrequired = false", 1);
    let relaxed = declared(&[&relaxed]);
    on_both(async |database| {
        let mut notes = Notes::on(database).await;
        notes.create(200).await;
        notes.store.migrate(&[without]).await.unwrap();
        assert_eq!(indexes(&notes.database).await, Vec::<String>::new());
        notes.create(100).await;
        notes.delete(5).await;
        notes.store.migrate(&[self::notes()]).await.unwrap();
        assert_eq!(notes.store.state(&[self::notes()]).await.unwrap(), State::Current);
        assert_eq!(indexes(&notes.database).await.len(), 2);
        notes.check("built").await;
        notes.update(4).await;
        notes.create(70).await;
        notes.check("built and changed").await;
        // SQLite copies the table.
        notes.store.migrate(relaxed.schemas()).await.unwrap();
        notes.create(70).await;
        notes.update(5).await;
        notes.check("copied").await;
        notes.store.migrate(&[]).await.unwrap();
        let drop = ["notes".to_owned()];
        notes.store.migrate_all(&[], &drop).await.unwrap();
        assert_eq!(indexes(&notes.database).await, Vec::<String>::new());
    })
    .await;
}

/// The names of the indexes of trigrams.
async fn indexes(database: &Database) -> Vec<String> {
    let sql = match database.url().starts_with("sqlite") {
        true => "SELECT name FROM sqlite_schema WHERE name LIKE '%trigrams'",
        false => "SELECT indexname::text FROM pg_indexes WHERE indexdef LIKE '%gin_trgm_ops%'",
    };
    database.rows(sql).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

#[tokio::test]
async fn a_renamed_field_keeps_its_index() {
    on_both(async |database| {
        let mut notes = Notes::on(database).await;
        notes.create(150).await;
        let renamed =
            NOTES.replacen("[fields.title]", "[fields.name]\nrenamed_from = \"title\"", 1);
        let renamed = declared(&[&renamed]).find("notes").unwrap();
        notes.store.migrate_all(&[renamed], &[]).await.unwrap();
        let back = NOTES.replacen("[fields.title]", "[fields.title]\nrenamed_from = \"name\"", 1);
        let back = declared(&[&back]).find("notes").unwrap();
        notes.store.migrate_all(&[back], &[]).await.unwrap();
        notes.create(100).await;
        notes.update(3).await;
        notes.check("renamed twice").await;
    })
    .await;
}

#[tokio::test]
async fn a_role_that_cannot_create_the_extension_works_without_it() {
    let mut database = Database::postgres().await;
    let role = database.url().rsplit('/').next().unwrap().replace("test_", "limited_");
    database
        .run_sql(&format!("CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}"))
        .await;
    let limited = database.url().replace("//test@", &format!("//{role}@"));
    let folder = folder_of(&[("notes.toml", NOTES)]);
    let records = folder.path().to_str().unwrap();
    let arguments = ["migrate", "--database", &limited, "--records", records];
    let (code, _, log) = run(folder.path(), &arguments);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("pg_trgm") && log.contains("permission denied"), "{log}");
    assert_eq!(indexes(&database).await, Vec::<String>::new());
    database.location = limited.parse().unwrap();
    let mut notes = Notes::on(database).await;
    assert_eq!(notes.store.state(&[self::notes()]).await.unwrap(), State::Current);
    notes.create(100).await;
    notes.check("without the extension").await;
}

#[tokio::test]
async fn a_selective_text_is_searched_by_the_index() {
    let count = 3000;
    on_both(async |database| {
        let mut notes = Notes::on(database).await;
        let file = (0..count).map(|number| {
            json!({"number": number, "title": format!("the title {number:04} of them"), "body": null})
        });
        assert!(notes.import(file.collect(), Conflict::Fail).await);
        if notes.store.dialect() == Dialect::Postgres {
            notes.database.run_sql("VACUUM ANALYZE notes").await;
        }
        for (filter, is_served) in [
            ("title contains $one", true),
            ("title ends with $one", true),
            ("number > 5 and title contains $one", true),
            ("not title contains $one", false),
            ("body is null or title contains $one", false),
        ] {
            for order in ["id", "number", "title desc"] {
                for (needle, is_selective) in [("TITLE 2345", true), ("the t", false)] {
                    let query = bound(filter, order, needle, "");
                    let shape = Shape::Page { limit: 21 };
                    let statement = notes.store.statement(&query, shape).await.unwrap();
                    let plan = notes.store.explain(&statement).await.unwrap();
                    let uses = plan.indexes.iter().any(|name| name.contains("trigram"));
                    // For frequent text PostgreSQL may choose either.
                    let is_free = !is_selective && notes.store.dialect() == Dialect::Postgres;
                    assert!(
                        uses == (is_served && is_selective) || is_free,
                        "{filter}, {order}, {needle}: {plan:#?}"
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_missing_table_of_trigrams_does_not_prevent_a_search() {
    let database = Database::sqlite();
    let mut notes = Notes::on(database).await;
    notes.create(100).await;
    let without = declared(&[&NOTES.replace("trigram = true", "")]).find("notes").unwrap();
    notes.database.open().await.migrate(&[without]).await.unwrap();
    let query = bound("title contains $one", "id", "the", "");
    let statement = notes.store.statement(&query, Shape::Page { limit: 20 }).await.unwrap();
    notes.store.fetch(self::notes(), statement).await.unwrap();
}
