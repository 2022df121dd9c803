//! The language: its vectors, advice, limits and properties.

mod cases;
mod codes;
mod completion;
mod vectors;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use cinequery::query::ast::{
    self, Clock, ClockBase, Comparison, Direction, Expr, Literal, Matching, Name, Offset, Operand,
    OrderKey, Predicate, Spanned, Subject, Test, Unit,
};
use cinequery::query::complete::complete;
use cinequery::query::diagnostic::Suggestion;
use cinequery::query::evaluate::{Fields, Truth, evaluate};
use cinequery::query::{
    Argument, Arguments, Code, Diagnostic, Dialect, Facet, Field, Schema, Shape, Type, Value,
    compile, format, limits, parse, prepare, text,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::support::{movies, screenings};

/// Returns the problems of a filter with its parameters, or its warnings if it is accepted.
fn problems(filter: &str, parameters: &[(&str, Argument)]) -> Vec<Diagnostic> {
    let arguments: Arguments =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    match prepare(Some(filter), None, screenings()) {
        Err(problems) => problems,
        Ok(prepared) => match prepared.bind(&arguments, Utc::now()) {
            Err(problems) => problems,
            Ok(_) => prepared.warnings,
        },
    }
}

#[test]
fn problems_say_what_was_expected_and_what_to_write() {
    let in_order = |text: &str| prepare(None, Some(text), screenings()).unwrap_err();
    let filters = cases::ADVICE.iter().map(|case| (problems(case.0, &[]), case));
    let orders = cases::ADVICE_ON_ORDERS.iter().map(|case| (in_order(case.0), case));
    let mut failures = Vec::new();
    for (found, (text, expected)) in filters.chain(orders) {
        let said: Vec<String> = found.iter().map(sentence).collect();
        if !said.iter().any(|sentence| sentence.contains(expected)) {
            failures.push(format!("{text}\n    expected {expected}\n    found    {said:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The message of a problem and its advice.
fn sentence(problem: &Diagnostic) -> String {
    let help = problem.help.iter().map(|help| format!("; {help}"));
    format!("{}{}", problem.message, help.collect::<String>())
}

#[test]
fn values_of_parameters_say_what_to_write() {
    let mut failures = Vec::new();
    for (ty, value, expected, suggestion) in cases::VALUES {
        let filter = if *ty == "date" { "sale_ends = $p" } else { "starts_at = $p" };
        let found = problems(filter, &[("p", Argument::Untyped((*value).to_owned()))]);
        let text = found[0].suggestion.as_ref().map(|suggestion| suggestion.text.as_str());
        if !sentence(&found[0]).contains(expected) || text != *suggestion {
            failures
                .push(format!("{value}\n    expected {expected} {suggestion:?}\n    {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // JSON has no query string, and a record has no arithmetic.
    let json = problems("starts_at = $p", &[("p", Argument::Text("now 1d".to_owned()))]);
    assert!(!sentence(&json[0]).contains("URL"), "{json:?}");
    for argument in [Argument::Text, Argument::Untyped] {
        let misread = argument("31/12/2027".to_owned()).read(Type::Date).unwrap_err();
        assert_eq!(misread.message, "expected a date (YYYY-MM-DD), found \"31/12/2027\"");
        assert_eq!(misread.help.unwrap(), "the year comes first: write 2027-12-31");
    }
}

#[test]
fn a_suggestion_that_fails_again_is_not_made() {
    for filter in cases::WITHOUT_SUGGESTION {
        let found = problems(filter, &[]);
        assert!(!found.is_empty(), "{filter} is accepted");
        for problem in found {
            assert!(problem.suggestion.is_none(), "{filter}: {problem:?}");
        }
    }
}

#[test]
fn suggestions_leave_no_new_problem_in_their_condition() {
    let vectors = vectors::read();
    for case in &vectors.cases {
        assert_suggestions(case.texts(), screenings());
    }
    cases::ADVICE
        .iter()
        .for_each(|(filter, _)| assert_suggestions((Some(filter), None), screenings()));
    cases::ADVICE_ON_ORDERS
        .iter()
        .for_each(|(order, _)| assert_suggestions((None, Some(order)), screenings()));
}

/// Checks that the text with each suggestion, or with all of them, is accepted or has no new problem in
/// the conditions that they change.
#[track_caller]
fn assert_suggestions((filter, order_by): (Option<&str>, Option<&str>), schema: &'static Schema) {
    let text = filter.or(order_by).unwrap_or_default();
    let read = |text: &str| {
        let (filter, order_by) = (filter.map(|_| text), order_by.map(|_| text));
        prepare(filter, order_by, schema).err().unwrap_or_default()
    };
    let words: &[&str] = if filter.is_some() { &[" and ", " or ", ","] } else { &[","] };
    let found = read(text);
    let known = |problem: &Diagnostic| {
        found.iter().any(|known| (known.code, &known.message) == (problem.code, &problem.message))
    };
    let suggested: Vec<_> =
        found.iter().filter_map(|problem| problem.suggestion.as_ref()).collect();
    let helps = |edits: &[&Suggestion]| {
        let mut edits = edits.to_vec();
        edits.sort_by_key(|edit| edit.start);
        let mut edited = text.to_owned();
        for edit in edits.iter().rev() {
            edited.replace_range(edit.start as usize..edit.end as usize, &edit.text);
        }
        let mut shift = 0;
        let places = edits.iter().map(|edit| {
            let start = (edit.start + shift) as usize;
            shift += i32::try_from(edit.text.len()).unwrap() - (edit.end - edit.start);
            let end = start + edit.text.len();
            match edit.text.trim() {
                // A connective belongs to no condition.
                "and" | "or" | "," => start..end,
                _ => condition(&edited, start, end, words),
            }
        });
        let places: Vec<_> = places.collect();
        let left = read(&edited);
        let is_near = |problem: &Diagnostic| {
            let (start, end) = (problem.start as usize, problem.end as usize);
            places.iter().any(|place| start < place.end && place.start < end)
        };
        left.iter().all(|problem| known(problem) || !is_near(problem))
    };
    for edit in &suggested {
        assert!(helps(&[edit]) || helps(&suggested), "{text}: {edit:?}\n{found:?}");
    }
}

/// The part of a text around a place, up to the next words or signs between conditions or keys.
fn condition(text: &str, start: usize, end: usize, words: &[&str]) -> std::ops::Range<usize> {
    let padded = |text: &str| format!(" {} ", text.to_ascii_lowercase());
    let (before, after) = (padded(&text[..start]), padded(&text[end..]));
    let from = words.iter().filter_map(|word| before.rfind(word).map(|at| at + word.len())).max();
    let to = words.iter().filter_map(|word| after.find(word)).min();
    let from = from.map_or(0, |at| (at - 1).min(start));
    from..to.map_or(text.len(), |at| (end + at).saturating_sub(1).max(end))
}

#[test]
fn columns_count_characters_and_spans_count_bytes() {
    let found = &problems("film = \"é\"\n  and hal = 'x'", &[])[0];
    assert_eq!((found.line, found.column, found.start, found.end), (2, 7, 18, 21), "{found:?}");
}

#[test]
fn parameters_are_typed_by_the_field_opposite() {
    let filter =
        "film = $f and seats = $s and starts_at > $t and sale_ends < $d and subtitled = $b";
    let text = |text: &str| Argument::Untyped(text.to_owned());
    let good = [
        ("f", text("x")),
        ("s", text("5")),
        ("t", text("2024-01-01T00:00:00Z")),
        ("d", text("2024-01-01")),
        ("b", text("true")),
    ];
    assert_eq!(problems(filter, &good), []);
    let json = [
        ("f", Argument::Text("x".into())),
        ("s", Argument::Integer(5)),
        ("t", Argument::Text("2024-01-01T00:00:00Z".into())),
        ("d", Argument::Text("2024-01-01".into())),
        ("b", Argument::Boolean(true)),
    ];
    assert_eq!(problems(filter, &json), []);

    let bad = [
        ("f", Argument::Integer(5)),
        ("s", Argument::Text("5".into())),
        ("t", text("2024-01-01")),
        ("d", text("2024-02-30")),
        ("b", text("yes")),
        ("g", text("x")),
    ];
    let found: BTreeSet<_> =
        problems(filter, &bad).into_iter().map(|d| (d.parameter, d.code.as_str())).collect();
    let expected = [
        ("p.b", "invalid_parameter"),
        ("p.d", "invalid_parameter"),
        ("p.f", "invalid_parameter"),
        ("p.g", "unknown_parameter"),
        ("p.s", "invalid_parameter"),
        ("p.t", "invalid_parameter"),
    ];
    let expected: BTreeSet<_> = expected.map(|(name, code)| (name.to_owned(), code)).into();
    assert_eq!(found, expected);
    for (name, value) in [
        ("d", "2024-+1-+1"),
        ("d", "+024-01-01"),
        ("s", "+5"),
        ("s", "5.0"),
        ("t", "2024-01-01 00:00:00Z"),
        ("t", "2024-01-01T00:00:00\u{2212}01:00"),
    ] {
        let mut arguments = good.clone();
        arguments.iter_mut().filter(|(known, _)| *known == name).for_each(|a| a.1 = text(value));
        let found = problems(filter, &arguments);
        assert_eq!(found[0].code, Code::InvalidParameter, "{value}");
    }
    let long = problems("film = $f", &[("f", text(&"x".repeat(limits::MAX_TEXT_BYTES + 1)))]);
    assert_eq!((long[0].code, long[0].parameter.as_str()), (Code::TextTooLong, "p.f"));
}

#[test]
fn both_texts_are_reported_together() {
    let found =
        prepare(Some("hal = 1 and seat = 2"), Some("sets, film, film"), screenings()).unwrap_err();
    let found: Vec<_> = found.iter().map(|d| (d.parameter.as_str(), d.code.as_str())).collect();
    let expected = [
        ("filter", "unknown_field"),
        ("filter", "unknown_field"),
        ("order_by", "unknown_field"),
        ("order_by", "repeated_order_key"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn problems_are_few_and_lie_on_characters() {
    // Neither text reaches `check`, which would limit both together.
    let (filter, order_by) = ("#".repeat(30), "#".repeat(30));
    let found = prepare(Some(&filter), Some(&order_by), movies()).unwrap_err();
    assert_eq!(found.len(), limits::MAX_DIAGNOSTICS);

    let long = format!("x{}", "é".repeat(limits::MAX_TEXT_BYTES / 2));
    let found = &problems(&long, &[])[0];
    assert!(long.get(found.start as usize..found.end as usize).is_some(), "{found:?}");
    assert_eq!(found.column as usize, limits::MAX_TEXT_BYTES / 2 + 1);
}

#[test]
fn every_code_has_a_case() {
    let vectors = vectors::read();
    let seen: BTreeSet<&str> = vectors
        .cases
        .iter()
        .flat_map(|case| case.problems.iter().chain(&case.warnings))
        .map(|problem| problem.code.as_str())
        .collect();
    let all: BTreeSet<&str> = Code::ALL.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(seen, all);
}

#[test]
fn limits_hold_exactly() {
    let nested = |depth: usize| format!("{}seats = 1{}", "(".repeat(depth), ")".repeat(depth));
    let denied = |depth: usize| format!("{}seats = 1", "not ".repeat(depth));
    let many = |count: usize| vec!["seats=1"; count].join(" or ");
    let list = |count: usize| format!("seats in ({})", vec!["1"; count].join(","));
    let long = |length: usize| format!("film = '{}'", "x".repeat(length - "film = ''".len()));
    let inside = |depth: usize| {
        format!("{}seats not in (1){}", "(".repeat(depth - 1), ")".repeat(depth - 1))
    };
    type Case<'a> = (&'a dyn Fn(usize) -> String, usize, &'a str);
    let cases: [Case<'_>; 6] = [
        (&nested, limits::MAX_DEPTH, "too_deep"),
        (&denied, limits::MAX_DEPTH, "too_deep"),
        (&inside, limits::MAX_DEPTH, "too_deep"),
        (&many, limits::MAX_PREDICATES, "too_many_predicates"),
        (&list, limits::MAX_IN_ITEMS, "too_many_items"),
        (&long, limits::MAX_TEXT_BYTES, "text_too_long"),
    ];
    for (text, limit, code) in cases {
        assert_eq!(problems(&text(limit), &[]), [], "{code} at the limit");
        let found = problems(&text(limit + 1), &[]);
        assert_eq!(found.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), [code]);
    }
}

/// A stack that must suffice for any text, in a build without optimisation.
const SMALL_STACK: usize = 512 * 1024;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(test).unwrap().join().unwrap();
}

#[test]
fn hostile_text_gets_its_code_without_stack() {
    on_a_small_stack(|| {
        let letters = "(){}[]'\"\\`$ nota=<>!&|-1.é\u{1F3AC}";
        let mut cases: Vec<(String, &str)> = vec![
            ("(".repeat(25), "unbalanced_parenthesis"),
            ("(".repeat(10_000), "text_too_long"),
            ("(".repeat(8192), "too_deep"),
            (")".repeat(8192), "unbalanced_parenthesis"),
            ("not ".repeat(10_000), "text_too_long"),
            ("not ".repeat(2048), "too_deep"),
            ("(not ".repeat(1600), "too_deep"),
            ("x".repeat(1 << 20), "text_too_long"),
            ("seats = 1 and ".repeat(500), "unexpected_token"),
        ];
        for letter in letters.chars() {
            let text = letter.to_string().repeat(8192 / letter.len_utf8());
            cases.push((text, ""));
        }
        for (text, code) in cases {
            let found = problems(&text, &[]);
            let start: String = text.chars().take(20).collect();
            assert!(!found.is_empty(), "{start}… is accepted");
            assert!(found.len() <= limits::MAX_DIAGNOSTICS, "{start}…: {}", found.len());
            assert!(code.is_empty() || found[0].code.as_str() == code, "{start}…: {:?}", found[0]);
        }
        // The widest and the deepest valid filters, through every stage.
        let wide = vec!["year(sale_ends) != 2024"; limits::MAX_PREDICATES].join(" or ");
        let long = vec!["seats = 1"; limits::MAX_PREDICATES].join(" and ");
        let mixed = vec!["(seats = 1 or not subtitled)"; limits::MAX_PREDICATES / 2].join(" and ");
        let nested = |text: &str| format!("{}{text}{}", "(".repeat(31), ")".repeat(31));
        let denied = format!("{}seats = 1", "not ".repeat(limits::MAX_DEPTH));
        for filter in [nested(&wide), nested(&long), mixed, denied] {
            let prepared = prepare(Some(&filter), None, screenings()).unwrap();
            let mut query = prepared.bind(&Arguments::new(), Utc::now()).unwrap();
            query.continue_after(&[Some(Value::Text("x".to_owned()))]);
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                for shape in
                    [Shape::Page { limit: 20 }, Shape::Count, Shape::CountUpTo { limit: 9 }]
                {
                    assert!(!compile(&query, shape, dialect).sql.is_empty());
                }
            }
            assert_eq!(evaluate(&query, &Nothing), Truth::Unknown);
            let printed = format::filter(prepared.ast.filter.as_ref().unwrap());
            assert_eq!(parse::filter(&printed).unwrap().expr, prepared.ast.filter.unwrap());
        }
    });
}

/// A record whose fields are all null.
struct Nothing;

impl Fields for Nothing {
    fn field(&self, _field: &Field) -> Option<Value> {
        None
    }
}

#[test]
fn user_text_is_never_part_of_the_statement() {
    let filter = "film = 'marker' or film contains \"Marker\" or hall in ('marker') or film = $m \
                  or hall starts with 'marker' or film ends with 'marker' or seats = 424242 \
                  or film < 'marker\\'; drop table screenings --'";
    let prepared = prepare(Some(filter), None, screenings()).unwrap();
    let arguments = Arguments::from([("m".to_owned(), Argument::Untyped("marker".into()))]);
    let mut query = prepared.bind(&arguments, Utc::now()).unwrap();
    query.continue_after(&[Some(Value::Text("marker".into()))]);
    let facet = Facet::of(screenings(), "seats", Some("424244")).unwrap();
    let limit = 424_243;
    let shapes = [Shape::Page { limit }, Shape::Groups { facet, limit }];
    let dialects = [Dialect::Sqlite, Dialect::Postgres];
    for (dialect, shape) in
        dialects.iter().flat_map(|dialect| shapes.map(|shape| (*dialect, shape)))
    {
        let statement = compile(&query, shape, dialect);
        for text in ["marker", "424242", "424243", "424244"] {
            assert!(!statement.sql.contains(text), "{}", statement.sql);
        }
        assert!(statement.values.iter().count() >= 8);
    }
}

#[test]
fn a_parameter_is_bound_once_in_a_list() {
    let filter = format!("film in ({})", vec!["$p"; 1000].join(","));
    let prepared = prepare(Some(&filter), None, screenings()).unwrap();
    let arguments = Arguments::from([("p".to_owned(), Argument::Text("x".repeat(1000)))]);
    let query = prepared.bind(&arguments, Utc::now()).unwrap();
    let statement = compile(&query, Shape::Count, Dialect::Postgres);
    assert_eq!(statement.values.iter().count(), 1);
}

#[test]
fn offsets_clamp_and_stay_in_the_calendar() {
    let now: DateTime<Utc> = "2024-01-31T10:00:00Z".parse().unwrap();
    let shifted = |offset: &str| {
        let filter = format!("sale_ends = today {offset}");
        let prepared = prepare(Some(&filter), None, screenings()).unwrap();
        let query = prepared.bind(&Arguments::new(), now).map_err(|found| found[0].code)?;
        let statement = compile(&query, Shape::Count, Dialect::Sqlite);
        Ok(format!("{:?}", statement.values.iter().next().unwrap()))
    };
    for (offset, expected) in [
        ("", "2024-01-31"),
        ("+ 30d", "2024-03-01"),
        ("- 2w", "2024-01-17"),
        ("+ 1mo", "2024-02-29"),
        ("- 2mo", "2023-11-30"),
        ("+ 1y", "2025-01-31"),
        ("+ 0d", "2024-01-31"),
        ("- 2023y", "0001-01-31"),
    ] {
        let found: Result<String, Code> = shifted(offset);
        assert_eq!(found, Ok(format!("ChronoDate(Some({expected}))")), "{offset}");
    }
    for offset in ["- 2024y", "+ 7976y", "+ 2147483647y", "- 2147483647w", "+ 2147483647mo"] {
        assert_eq!(shifted(offset), Err(Code::OutOfRange), "{offset}");
    }
}

/// Compares a digest of the folding of all characters. If it changes, the tables of a dependency have
/// changed: give [`text::FOLDING`] a new name, so that databases fold their columns again, and update
/// the digest.
#[test]
fn folding_is_what_its_name_says() {
    let mut digest = Sha256::new();
    for character in '\0'..=char::MAX {
        digest.update(text::fold(&character.to_string()));
    }
    let digest: String = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    assert_eq!((text::FOLDING, digest.as_str()), cases::FOLDING_DIGEST);
}

#[test]
fn folding_ignores_case_and_composition() {
    for (left, right) in [
        ("STRASSE", "straße"),
        ("ΌΣΟΣ", "όσος"),
        ("e\u{301}", "É"),
        ("İ", "i\u{307}"),
        ("ﬃ", "FFI"),
        ("\u{10400}", "\u{10428}"),
    ] {
        assert_eq!(text::fold(left), text::fold(right), "{left} {right}");
    }
    assert_ne!(text::fold("é"), text::fold("e"));
}

proptest! {
    #[test]
    fn a_formatted_query_parses_to_the_same(query in query()) {
        if let Some(filter) = &query.filter {
            let text = format::filter(filter);
            let parsed = parse::filter(&text).map_err(|f| TestCaseError::fail(format!("{text}: {f:?}")))?;
            prop_assert_eq!(&parsed.expr, filter, "{}", text);
            let explicit = parse::filter(&format::explicit(filter)).unwrap();
            prop_assert_eq!(&explicit.expr, filter);
            prop_assert!(explicit.warnings.is_empty());
        }
        if !query.order_by.is_empty() {
            let text = format::order_by(&query.order_by);
            prop_assert_eq!(parse::order_by(&text).unwrap(), query.order_by, "{}", text);
        }
    }

    #[test]
    fn a_part_of_a_filter_parses_to_the_same_alone(query in query()) {
        if let Some(filter) = &query.filter {
            let text = format::filter(filter);
            assert_parts(&parse::filter(&text).unwrap().expr, &text);
            let text = format::explicit(filter);
            assert_parts(&parse::filter(&text).unwrap().expr, &text);
        }
    }

    #[test]
    fn problems_of_any_text_lie_inside_it(filter in any_text(), order_by in any_text()) {
        if let Err(found) = prepare(Some(&filter), Some(&order_by), movies()) {
            prop_assert!(!found.is_empty());
            for problem in found {
                let text = if problem.parameter == "filter" { &filter } else { &order_by };
                let (start, end) = (problem.start as usize, problem.end as usize);
                prop_assert!(start <= end, "{problem:?}");
                prop_assert!(text.get(start..end).is_some(), "{problem:?}");
            }
        }
    }

    #[test]
    fn suggestions_for_any_text_help(filter in any_text(), order_by in any_text()) {
        assert_suggestions((Some(&filter), None), movies());
        assert_suggestions((None, Some(&order_by)), movies());
    }

    #[test]
    fn any_text_can_be_completed_anywhere(text in any_text()) {
        for (caret, _) in text.char_indices() {
            let found = complete(&text, caret, movies());
            prop_assert!(found.start <= caret && caret <= found.end, "{found:?}");
            prop_assert!(text.get(found.start..found.end).is_some(), "{found:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_range(prefix in "[a-c\u{10FFFF}\u{D7FF}é]{0,3}", text in "[a-c\u{10FFFF}\u{D7FF}é]{0,5}") {
        let in_range = text >= prefix
            && text::after_prefix(&prefix).is_none_or(|end| text < end);
        prop_assert_eq!(in_range, text.starts_with(&prefix));
    }

    #[test]
    fn folding_twice_is_folding_once(text in "\\PC{0,8}") {
        let once = text::fold(&text);
        prop_assert_eq!(text::fold(&once), once);
    }
}

/// Checks that each term is the text at its place.
fn assert_parts(expr: &Expr, text: &str) {
    let terms = match expr {
        Expr::All(terms) | Expr::Any(terms) => terms.as_slice(),
        Expr::Not(term) => std::slice::from_ref(&**term),
        Expr::Predicate(_) => &[],
    };
    for Spanned { node, span } in terms {
        let part = &text[span.start..span.end];
        assert_eq!(&parse::filter(part).unwrap().expr, node, "{part} in {text}");
        assert_parts(node, text);
    }
}

/// Generates text that the scan often accepts: pieces of the language in any order.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(cases::PIECES).prop_map(str::to_owned),
        1 => "\\PC{0,3}".prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.join(" "))
}

fn query() -> impl Strategy<Value = ast::Query> {
    let direction = prop::sample::select(vec![Direction::Ascending, Direction::Descending]);
    let key = (name(), direction).prop_map(|(field, direction)| OrderKey {
        field: Name::from(field).into(),
        direction: direction.into(),
    });
    (prop::option::of(expr()), prop::collection::vec(key, 0..4))
        .prop_map(|(filter, order_by)| ast::Query { filter, order_by })
}

fn expr() -> impl Strategy<Value = Expr> {
    let predicate = (subject(), test()).prop_map(|(subject, test)| {
        Expr::Predicate(Box::new(Predicate { subject: subject.into(), test: test.into() }))
    });
    predicate.prop_recursive(5, 40, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(Expr::all),
            list.prop_map(Expr::any),
            inner.prop_map(Expr::negate),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let reserved = prop::sample::select(vec!["and", "not", "today", "Null", "contains", "desc"]);
    prop_oneof!["[A-Za-z_][A-Za-z0-9_]{0,6}", reserved.prop_map(str::to_owned)]
}

fn subject() -> impl Strategy<Value = Subject> {
    // The name of a function is never in backticks, so it cannot be a keyword.
    let function = prop::option::of("f[a-z0-9_]{0,5}");
    (function, name()).prop_map(|(function, field)| Subject {
        function: function.map(|function| Name::from(function).into()),
        field: Name::from(field).into(),
    })
}

fn literal() -> impl Strategy<Value = Literal> {
    let days = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    let instants = DateTime::from_timestamp(0, 0).unwrap();
    prop_oneof![
        "\\PC{0,8}|[\u{1}-\u{1F}'\"\\\\]{0,6}".prop_map(Literal::Text),
        any::<i64>().prop_map(Literal::Integer),
        any::<bool>().prop_map(Literal::Boolean),
        (0..3_652_059_i64).prop_map(move |n| Literal::Date(days + TimeDelta::days(n))),
        (-62_135_596_800_000_000..253_402_300_800_000_000_i64)
            .prop_map(move |n| Literal::Timestamp(instants + TimeDelta::microseconds(n))),
        Just(Literal::Null),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    let unit = prop::sample::select(Unit::ALL.to_vec());
    let offset = (-i32::MAX..=i32::MAX, unit).prop_map(|(count, unit)| Offset { count, unit });
    let base = prop::sample::select(vec![ClockBase::Today, ClockBase::Now]);
    let clock = (base, prop::option::of(offset)).prop_map(|(base, offset)| Clock { base, offset });
    prop_oneof![
        literal().prop_map(Operand::Literal),
        "[a-z_][a-z0-9]{0,4}".prop_map(|name| Operand::Parameter(name.into())),
        subject().prop_map(Operand::Subject),
        clock.prop_map(Operand::Clock),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    let comparison = prop::sample::select(Comparison::ALL.to_vec());
    let matching = prop::sample::select(Matching::ALL.to_vec());
    let items = prop::collection::vec(operand().prop_map(Into::into), 0..4);
    prop_oneof![
        Just(Test::Flag),
        (comparison, operand())
            .prop_map(|(operator, operand)| Test::Compare { operator, operand: operand.into() }),
        (any::<bool>(), operand(), operand()).prop_map(|(negated, low, high)| Test::Between {
            negated,
            low: low.into(),
            high: high.into()
        }),
        (any::<bool>(), items).prop_map(|(negated, items)| Test::In { negated, items }),
        (any::<bool>(), matching, operand()).prop_map(|(negated, matching, operand)| Test::Match {
            negated,
            matching,
            operand: operand.into()
        }),
        any::<bool>().prop_map(|negated| Test::Null { negated }),
    ]
}

#[test]
fn the_reference_has_every_code_limit_and_operator() {
    let reference = include_str!("../../grammar/README.md");
    for (code, meaning) in Code::ALL {
        let name = code.as_str();
        let row = format!("| [`{name}`](codes/{name}.md) |{meaning} |");
        assert!(reference.contains(&row), "grammar/README.md should have: {row}");
    }
    for limit in [
        limits::MAX_TEXT_BYTES,
        limits::MAX_DEPTH,
        limits::MAX_PREDICATES,
        limits::MAX_IN_ITEMS,
        limits::MAX_DIAGNOSTICS,
    ] {
        assert!(reference.contains(&format!("| {limit}")), "{limit}");
    }
    for ty in [Type::Text, Type::Integer, Type::Boolean] {
        let operators = format!("`{}`", ty.operators().join(" "));
        assert!(reference.contains(&operators), "{operators}");
    }
}
