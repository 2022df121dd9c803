//! Any text through the whole language: it is rejected with places inside of it, or it becomes SQL
//! that holds nothing of it. An input is a filter, and after the first U+001F an order. A first character
//! U+0001 or U+0002 is not part of the filter: it chooses a record type other than the movies.

#![no_main]

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cinequery::query::complete::complete;
use cinequery::query::{
    Argument, Arguments, Code, Diagnostic, Dialect, Prepared, BoundQuery, Schema, Shape, Statement,
    compile, format, limits, parse, prepare,
};
use cinequery::record::{BUILT_IN, Catalogue};
use libfuzzer_sys::fuzz_target;

const SEPARATOR: char = '\u{1F}';

/// The movies and the other record types, each chosen by its position here as the first character of an
/// input.
static RECORD_TYPES: LazyLock<Catalogue> = LazyLock::new(|| {
    let files = [
        ("movies.toml", BUILT_IN),
        ("screenings.toml", include_str!("../../examples/screenings/screenings.toml")),
        ("specimens.toml", include_str!("../../tests/agreement/specimens.toml")),
    ];
    Catalogue::parse(files).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
});

/// A day that months and years clamp.
const NOW: DateTime<Utc> = DateTime::from_timestamp(1_709_208_000, 0).expect("2024-02-29T12:00Z");

fuzz_target!(|bytes: &[u8]| {
    let input = String::from_utf8_lossy(bytes);
    let (schema, input) = chosen(&input);
    let (filter, order_by) = match input.split_once(SEPARATOR) {
        // Otherwise no order could be tried without the faults of a filter beside it.
        Some(("", order_by)) => (None, Some(order_by)),
        Some((filter, order_by)) => (Some(filter), Some(order_by)),
        None => (Some(input), None),
    };
    let texts = Texts { schema, filter, order_by };
    texts.complete();
    match prepare(filter, order_by, schema) {
        Err(found) => {
            assert!(!found.is_empty(), "rejected without a reason");
            texts.hold(&found);
        }
        Ok(prepared) => {
            texts.hold(&prepared.warnings);
            texts.accepted(&prepared);
        }
    }
});

/// The record type that an input is about, and the rest of the input.
fn chosen(input: &str) -> (&'static Schema, &str) {
    let schemas = RECORD_TYPES.schemas();
    for (position, &schema) in (0_u8..).zip(schemas).skip(1) {
        if let Some(rest) = input.strip_prefix(char::from(position)) {
            return (schema, rest);
        }
    }
    (schemas[0], input)
}

struct Texts<'a> {
    schema: &'static Schema,
    filter: Option<&'a str>,
    order_by: Option<&'a str>,
}

impl Texts<'_> {
    /// Problems are few, and each lies where it says.
    fn hold(&self, found: &[Diagnostic]) {
        assert!(found.len() <= limits::MAX_DIAGNOSTICS, "{} problems", found.len());
        for problem in found {
            let text = match problem.parameter.as_str() {
                "filter" => self.filter,
                "order_by" => self.order_by,
                other => panic!("no value was given for {other}"),
            };
            let text = text.unwrap_or_default();
            let place = |byte: i32| usize::try_from(byte).expect("places are not negative");
            let (start, end) = (place(problem.start), place(problem.end));
            assert!(text.get(start..end).is_some(), "{start}..{end} is not in the text");
            let before = &text[..start];
            let line = before.split('\n').next_back().unwrap_or_default();
            assert_eq!(place(problem.line), before.split('\n').count());
            assert_eq!(place(problem.column), line.chars().count() + 1);
            assert!(!problem.message.is_empty(), "{} without a message", problem.code.as_str());
            if let Some(edit) = &problem.suggestion {
                let place = place(edit.start)..place(edit.end);
                assert!(text.get(place).is_some(), "{edit:?} is not in the text");
            }
        }
    }

    /// A filter that ends in its middle goes on with words of the place that they replace.
    fn complete(&self) {
        let Some(filter) = self.filter else { return };
        let caret = filter.floor_char_boundary(filter.len() / 2);
        let found = complete(filter, caret, self.schema);
        assert!(filter.get(found.start..found.end).is_some(), "{found:?} is not in the text");
        assert!(found.candidates.iter().all(|candidate| !candidate.text.is_empty()), "{found:?}");
    }

    /// What is accepted has a canonical form that means the same, and becomes SQL.
    fn accepted(&self, prepared: &Prepared<'_>) {
        let query = self.bound(prepared);
        let statements = query.as_ref().map(statements);

        if let Some(expr) = &prepared.ast.filter {
            match parse::filter(&format::explicit(expr)) {
                Ok(explicit) => {
                    assert_eq!(explicit.expr, *expr);
                    assert!(explicit.warnings.is_empty());
                }
                // These are more parentheses than were written, and there can be too many.
                Err(faults) => assert!(
                    faults
                        .iter()
                        .all(|fault| { matches!(fault.code, Code::TooDeep | Code::TextTooLong) })
                ),
            }
        }
        let canonical = prepared.ast.filter.as_ref().map(format::filter);
        let order = &prepared.ast.order_by;
        let canonical_order = (!order.is_empty()).then(|| format::order_by(order));
        let is_short = |text: &Option<String>| {
            text.as_ref().is_none_or(|text| text.len() <= limits::MAX_TEXT_BYTES)
        };
        // Escapes make some characters longer than they were.
        if !is_short(&canonical) || !is_short(&canonical_order) {
            return;
        }
        let again = prepare(canonical.as_deref(), canonical_order.as_deref(), self.schema)
            .unwrap_or_else(|found| panic!("{canonical:?}, {canonical_order:?}: {found:?}"));
        assert_eq!(again.ast, prepared.ast, "{canonical:?}, {canonical_order:?}");
        let again_texts = Texts {
            schema: self.schema,
            filter: canonical.as_deref(),
            order_by: canonical_order.as_deref(),
        };
        let again = again_texts.bound(&again);
        assert_eq!(again.as_ref().map(self::statements), statements, "{canonical:?}");
    }

    /// Without values every parameter is missing; with some the query is whole, unless `today` or
    /// `now` with its offset leaves the calendar.
    fn bound(&self, prepared: &Prepared<'_>) -> Option<BoundQuery> {
        let parameters = &prepared.plan.parameters;
        let mut arguments = Arguments::new();
        if !parameters.is_empty() {
            let found = prepared.bind(&arguments, NOW).expect_err("parameters have no values");
            self.hold(&found);
            let (missing, others): (Vec<_>, Vec<_>) =
                found.iter().partition(|problem| problem.code == Code::MissingParameter);
            assert_eq!(missing.len(), parameters.len().min(limits::MAX_DIAGNOSTICS));
            assert!(others.iter().all(|problem| problem.code == Code::OutOfRange), "{found:?}");
        }
        for parameter in parameters {
            let example = parameter.term.ty().example().trim_matches('"');
            arguments.insert(parameter.name.clone(), Argument::Untyped(example.to_owned()));
        }
        prepared
            .bind(&arguments, NOW)
            .map_err(|found| {
                self.hold(&found);
                assert!(found.iter().all(|problem| problem.code == Code::OutOfRange), "{found:?}");
            })
            .ok()
    }
}

/// In every dialect and shape. Names of columns have none of the characters that are looked for, so
/// a `?` or `$` is a placeholder, and a quote or a letter beyond ASCII came from a text.
fn statements(query: &BoundQuery) -> Vec<Statement> {
    let dialects = [Dialect::Sqlite, Dialect::Postgres];
    let shapes = [Shape::Page { limit: 21 }, Shape::Count];
    let all = dialects.into_iter().flat_map(|dialect| shapes.map(|shape| (dialect, shape)));
    all.map(|(dialect, shape)| {
        let statement = compile(query, shape, dialect);
        let sql = &statement.sql;
        let placeholder = if dialect == Dialect::Sqlite { '?' } else { '$' };
        assert_eq!(sql.matches(placeholder).count(), statement.values.0.len(), "{sql}");
        assert!(sql.is_ascii() && !sql.contains('\''), "{sql}");
        statement
    })
    .collect()
}
