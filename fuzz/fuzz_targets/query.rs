//! Runs the whole filter language on arbitrary text. The text is either rejected with positions inside
//! it, or compiled to SQL that contains none of it. An input is a filter, optionally followed by U+001F and
//! an `order_by`. A first character U+0001 or U+0002 is not part of the filter: it selects a record type
//! other than the movies.

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

/// The record types. The first character of an input selects one by its index in this list; index 0, the
/// movies, is the default.
static RECORD_TYPES: LazyLock<Catalogue> = LazyLock::new(|| {
    let files = [
        ("movies.toml", BUILT_IN),
        ("screenings.toml", include_str!("../../examples/screenings/screenings.toml")),
        ("specimens.toml", include_str!("../../tests/agreement/specimens.toml")),
    ];
    Catalogue::parse(files).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
});

/// A leap day, so that adding months or years clamps the day.
const NOW: DateTime<Utc> = DateTime::from_timestamp(1_709_208_000, 0).expect("2024-02-29T12:00Z");

fuzz_target!(|bytes: &[u8]| {
    let input = String::from_utf8_lossy(bytes);
    let (schema, input) = chosen(&input);
    let (filter, order_by) = match input.split_once(SEPARATOR) {
        // An empty filter is an error of its own. Without this case no `order_by` would run without it.
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

/// Returns the record type that an input selects, and the rest of the input.
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
    /// Asserts that there are not too many diagnostics, and that their positions are inside the text.
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

    /// Asserts that completion in the middle of the filter returns a range of it and no empty candidate.
    fn complete(&self) {
        let Some(filter) = self.filter else { return };
        let caret = filter.floor_char_boundary(filter.len() / 2);
        let found = complete(filter, caret, self.schema);
        assert!(filter.get(found.start..found.end).is_some(), "{found:?} is not in the text");
        assert!(found.candidates.iter().all(|candidate| !candidate.text.is_empty()), "{found:?}");
    }

    /// Asserts that an accepted text compiles to SQL and has a canonical form with the same meaning.
    fn accepted(&self, prepared: &Prepared<'_>) {
        let query = self.bound(prepared);
        let statements = query.as_ref().map(statements);

        if let Some(expr) = &prepared.ast.filter {
            match parse::filter(&format::explicit(expr)) {
                Ok(explicit) => {
                    assert_eq!(explicit.expr, *expr);
                    assert!(explicit.warnings.is_empty());
                }
                // The explicit form has more parentheses than the text, so it can exceed the limits.
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
        // Escapes make some characters longer, so the canonical form can exceed the length limit.
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

    /// Binds the parameters: first without values, which must report every parameter as missing, then with
    /// an example for each. Returns `None` if `today` or `now` plus an offset is outside the calendar.
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

/// Compiles the query for every dialect and shape. Column names contain neither `?`, `$`, quotes nor
/// non-ASCII letters. So each `?` or `$` in the SQL is a placeholder, and a quote or a non-ASCII letter
/// would come from the user's text.
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
