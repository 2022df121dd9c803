//! Completion of unfinished filters. Fields are those of a screening.

use cinequery::query::complete::{Candidate, Continuation, Kind, complete};
use cinequery::query::{Code, Diagnostic, Type, limits, prepare};
use proptest::prelude::*;

use crate::support::screenings;

/// Valid filters, token by token.
const FILTERS: &[&[&str]] = &[
    &["film", "=", "'x'", "and", "seats", ">=", "5", "or", "not", "subtitled"],
    &[
        "(",
        "film",
        "contains",
        "'a'",
        "or",
        "hall",
        "starts with",
        "'b'",
        ")",
        "and",
        "seats",
        "<",
        "9",
    ],
    &[
        "sale_ends",
        "between",
        "2024-01-01",
        "and",
        "today",
        "+",
        "30d",
        "and",
        "film",
        "!=",
        "hall",
    ],
    &[
        "not",
        "(",
        "not",
        "seats",
        "in",
        "(",
        "1",
        ",",
        "2",
        ")",
        ")",
        "or",
        "subtitled",
        "=",
        "true",
    ],
    &[
        "year(",
        "sale_ends",
        ")",
        "<=",
        "month(",
        "sale_ends",
        ")",
        "and",
        "hall",
        "is",
        "not",
        "null",
    ],
    &[
        "starts_at",
        "<",
        "now",
        "-",
        "1y",
        "or",
        "hall",
        "is",
        "null",
        "or",
        "film",
        "not",
        "ends with",
        "$e",
    ],
    &["film", "not", "in", "(", "'x'", ",", "$f", ")", "and", "film", "!=", "$f"],
    &[
        "id",
        "=",
        "'01890a5d-ac96-774b-bcce-b302099a8057'",
        "and",
        "seats",
        "not",
        "between",
        "-5",
        "and",
        "5",
    ],
    &[
        "seats",
        "=",
        "year(",
        "sale_ends",
        ")",
        "and",
        "subtitled",
        "in",
        "(",
        "true",
        ",",
        "false",
        ")",
    ],
    &[
        "created_at",
        ">",
        "starts_at",
        "and",
        "(",
        "(",
        "subtitled",
        ")",
        ")",
        "and",
        "version",
        "=",
        "1",
    ],
];

/// Writes a filter in two ways: with blanks between all tokens, and with as few blanks as possible.
/// Returns each token with its start.
fn written(tokens: &[&'static str]) -> [(String, Vec<(usize, &'static str)>); 2] {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-' | '+');
    [true, false].map(|is_wide| {
        let mut text = String::new();
        let mut places = Vec::new();
        for token in tokens {
            let is_joined = text.ends_with(is_word) && token.starts_with(is_word);
            if !text.is_empty() && (is_wide || is_joined) {
                text.push(' ');
            }
            places.push((text.len(), *token));
            text.push_str(token);
        }
        (text, places)
    })
}

/// Whether a token is a keyword, a field or an operator.
fn is_known(token: &str) -> bool {
    let is_value = token.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '\'' | '$'));
    !is_value && token.parse::<i64>().is_err()
}

fn offers(found: &Continuation, start: usize, token: &str) -> bool {
    found.start == start && found.candidates.iter().any(|c| c.text.starts_with(token))
}

#[test]
fn the_next_token_is_a_candidate() {
    for (text, tokens) in FILTERS.iter().flat_map(|tokens| written(tokens)) {
        assert!(prepare(Some(&text), None, screenings()).is_ok(), "{text}");
        for caret in 0..text.len() {
            let found = complete(&text[..caret], caret, screenings());
            let of_token =
                |(start, token): &&(usize, &str)| *start <= caret && caret <= start + token.len();
            let touched: Vec<_> = tokens.iter().filter(of_token).collect();
            let next = tokens.iter().find(|(start, _)| *start >= caret);
            let mut expected = touched.iter().copied().chain(next);
            let is_demanded = expected.clone().all(|(_, token)| is_known(token));
            let is_offered = expected.any(|(start, token)| {
                // A token after blanks can also start at the caret.
                offers(&found, (*start).min(caret), token)
            });
            assert!(!is_demanded || is_offered, "{}| of {text}: {found:?}", &text[..caret]);
        }
    }
}

/// Endings for an unfinished condition.
const ENDINGS: &[&str] = &[
    "",
    "$p",
    " $p",
    " $p and $p",
    " and $p",
    "($p)",
    " ($p)",
    "$p)",
    " null",
    " 1d",
    " 1d and $p",
    " subtitled",
    " in ($p)",
    " = $p",
    ") = $p",
    ")",
    "sale_ends) = $p",
    "sale_ends)",
    "sale_ends) and $p",
];

/// Whether the text is the start of a filter with valid names, operators and types.
fn can_continue(text: &str) -> bool {
    ENDINGS.iter().any(|ending| {
        (0..4).any(|open| {
            let whole = format!("{text}{ending}{}", ")".repeat(open));
            prepare(Some(&whole), None, screenings()).is_ok()
        })
    })
}

fn is_of_grammar(problem: &Diagnostic) -> bool {
    [Code::ReservedWord, Code::UnexpectedToken].contains(&problem.code)
}

#[test]
fn every_candidate_leads_to_a_valid_filter() {
    for (text, _) in FILTERS.iter().flat_map(|tokens| written(tokens)) {
        for caret in 0..=text.len() {
            let found = complete(&text, caret, screenings());
            assert!(found.start <= caret && caret <= found.end, "{text} at {caret}: {found:?}");
            for Candidate { text: candidate, .. } in &found.candidates {
                let inserted = format!("{}{candidate}", &text[..found.start]);
                assert!(can_continue(&inserted), "{inserted} of {text} at {caret}");
                // The candidate may make the text after it invalid, but never the text before it.
                let whole = format!("{inserted}{}", &text[found.end..]);
                let problems = prepare(Some(&whole), None, screenings()).err();
                for problem in problems.into_iter().flatten().filter(is_of_grammar) {
                    let start = usize::try_from(problem.start).unwrap();
                    assert!(start >= inserted.len(), "{whole}: {problem:?}");
                }
            }
            if let Some(values) = &found.values {
                let value = values.candidate("it's \"a\\b\"\n\u{7}").unwrap().text;
                assert!(
                    can_continue(&format!("{}{value}", &text[..found.start])),
                    "{text} at {caret}"
                );
            }
        }
    }
}

/// Tokens that no candidate has: values, names of no field, and operators in wrong places.
const OTHERS: [&str; 12] =
    ["'x'", "5", "2024-01-01", "$q", "flim", "year(flim)", "today", "null", "=", "and", ")", "in"];

/// Returns the candidates, and a value of the database if there may be some.
fn candidates(text: &str) -> (usize, Vec<String>) {
    let found = complete(text, text.len(), screenings());
    let values = found.values.as_ref().and_then(|values| values.candidate("x"));
    let candidates = found.candidates.into_iter().chain(values);
    (found.start, candidates.map(|candidate| candidate.text).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A walk that mostly follows the candidates. As long as the text can become a valid filter, each candidate keeps it so.
    #[test]
    fn candidates_of_any_start_of_a_valid_filter_lead_to_one(
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..4_u8), 1..12),
    ) {
        let mut text = String::new();
        for (choice, is_wide, kind) in steps {
            let (start, offered) = candidates(&text);
            for candidate in &offered {
                let inserted = format!("{}{candidate}", &text[..start]);
                prop_assert!(can_continue(&inserted), "{text:?} offers {candidate:?}");
            }
            if kind == 0 || offered.is_empty() {
                text.push_str(OTHERS[choice.index(OTHERS.len())]);
            } else {
                text.truncate(start);
                text.push_str(&offered[choice.index(offered.len())]);
            }
            if is_wide {
                text.push(' ');
            }
            if !can_continue(&text) {
                break;
            }
        }
    }
}

/// A text with its caret `|`, the replaced text, the candidates in order, and for values of the
/// database their field and their start.
type Case =
    (&'static str, &'static str, &'static [&'static str], Option<(&'static str, &'static str)>);

const FIELDS: [&str; 14] = [
    "id",
    "film",
    "hall",
    "seats",
    "subtitled",
    "starts_at",
    "sale_ends",
    "version",
    "created_at",
    "updated_at",
    "year(",
    "month(",
    "not",
    "(",
];
const OF_TEXT: [&str; 14] = [
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "between",
    "in",
    "contains",
    "starts with",
    "ends with",
    "is null",
    "is not null",
    "not",
];

const CASES: &[Case] = &[
    ("|", "", &FIELDS, None),
    ("film = 'x' and |", "", &FIELDS, None),
    ("s|", "s", &["seats", "subtitled", "starts_at", "sale_ends"], None),
    ("SE|", "SE", &["seats"], None),
    ("se|ts = 1", "sets", &["seats"], None),
    ("|sets = 1", "sets", &FIELDS, None),
    ("`no|", "`no", &["not"], None),
    ("film |", "", &OF_TEXT, None),
    ("film <|", "<", &["<", "<="], None),
    ("film !|", "!", &["!="], None),
    ("film |= 'x'", "=", &OF_TEXT, None),
    ("film s|", "s", &["starts with"], None),
    ("film starts  w|", "starts  w", &["starts with"], None),
    ("film not starts |", "starts ", &["starts with"], None),
    ("film not |", "", &["between", "in", "contains", "starts with", "ends with"], None),
    ("film is |", "", &["null", "not null"], None),
    ("film is no|", "no", &["not null"], None),
    ("film is not |", "", &["null"], None),
    (
        "seats |",
        "",
        &["=", "!=", "<", "<=", ">", ">=", "between", "in", "is null", "is not null", "not"],
        None,
    ),
    (
        "(subtitled |",
        "",
        &["=", "!=", "in", "is null", "is not null", "not", "and", "or", ")"],
        None,
    ),
    ("flim |", "", &[], None),
    ("hall = 'x' and flim |", "", &[], None),
    ("(flim |", "", &[], None),
    ("not flim a|", "a", &[], None),
    ("hall = flim |", "", &[], None),
    ("hall = flim a|", "a", &[], None),
    ("hall in ('x', flim |", "", &[], None),
    ("seats between 1 and flim |", "", &[], None),
    ("year(flim |", "", &[], None),
    ("seats = year |", "", &["("], None),
    ("year |", "", &["("], None),
    ("year(|", "", &["sale_ends"], None),
    ("year(sale_ends|", "sale_ends", &["sale_ends"], None),
    ("year(sale_ends |", "", &[")"], None),
    (
        "year(sale_ends) |",
        "",
        &["=", "!=", "<", "<=", ">", ">=", "between", "in", "is null", "is not null", "not"],
        None,
    ),
    ("film = |", "", &["hall"], Some(("film", ""))),
    ("film =|", "", &["hall"], Some(("film", ""))),
    ("film = h|", "h", &["hall"], Some(("film", "h"))),
    ("film = 'it\\'s |", "'it\\'s ", &[], Some(("film", "it's "))),
    ("film = 'it\\|", "'it\\", &[], None),
    ("film = \"Sta|r\" and seats = 1", "\"Star\"", &[], Some(("film", "Sta"))),
    ("film = |\"Star\" and seats = 1", "\"Star\"", &["hall"], Some(("film", ""))),
    // While a quote is missing, the end of the string is unknown.
    ("film = 'Sta| and hall = 'x'", "'Sta", &[], Some(("film", "Sta"))),
    ("film = 'x'|", "", &["and", "or"], None),
    ("film = $f and hall = |", "", &["film", "$f"], Some(("hall", ""))),
    ("film = $f and hall = $|", "$", &["$f"], None),
    ("film = $f and seats = |", "", &["version", "year(", "month("], None),
    ("film contains |", "", &[], Some(("film", ""))),
    ("film in ('x', |", "", &[], Some(("film", ""))),
    ("film in |", "", &["("], None),
    ("film in ('x' |", "", &[",", ")"], None),
    ("(film = 'x' |", "", &["and", "or", ")"], None),
    ("subtitled = |", "", &["true", "false"], None),
    ("subtitled in (|", "", &["true", "false"], None),
    ("sale_ends > |", "", &["today"], None),
    ("starts_at > |", "", &["now", "created_at", "updated_at"], None),
    ("starts_at in (|", "", &[], None),
    ("sale_ends > today |", "", &["+", "-", "and", "or"], None),
    ("sale_ends > today + |", "", &["30d", "2w", "6mo", "1y"], None),
    ("sale_ends > today + 12|", "12", &["12d", "12w", "12mo", "12y"], None),
    ("sale_ends > today + 3m|", "3m", &["3mo"], None),
    ("sale_ends > today + 30d |", "", &["and", "or"], None),
    ("seats between 1 |", "", &["and"], None),
    ("sale_ends between today |", "", &["+", "-", "and"], None),
    ("hall between film and |", "", &["film"], Some(("hall", ""))),
    ("seats = 19|94", "1994", &[], None),
    // There are no candidates after a problem of the scan or the grammar.
    ("film == 'x' and |", "", &[], None),
    ("film = = |", "", &[], None),
    ("film) and |", "", &[], None),
    // Other problems of values and names do not matter.
    ("flim is |", "", &["null", "not null"], None),
    ("flim = 'x' |", "", &["and", "or"], None),
    ("sale_ends = 2024-02-30 and flim = 'x' and hall |", "", &OF_TEXT, None),
];

#[test]
fn candidates_fit_the_place() {
    let mut failures = Vec::new();
    for (marked, replaced, candidates, values) in CASES {
        let (before, after) = marked.split_once('|').unwrap();
        let text = format!("{before}{after}");
        let found = complete(&text, before.len(), screenings());
        let texts: Vec<&str> = found.candidates.iter().map(|c| c.text.as_str()).collect();
        let wanted = found.values.as_ref().map(|v| (v.field.name, v.beginning.as_str()));
        let place = &text[found.start..found.end];
        if (place, &texts[..], wanted) != (replaced, candidates, *values) {
            failures.push(format!("{marked}\n    {place:?} {texts:?} {wanted:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn candidates_have_a_kind_and_a_type() {
    let found = complete("", 0, screenings()).candidates;
    let of = |text: &str| found.iter().find(|c| c.text == text).map(|c| (c.kind, c.detail));
    assert_eq!(of("sale_ends"), Some((Kind::Field, Some(Type::Date))));
    assert_eq!(of("year("), Some((Kind::Function, Some(Type::Integer))));
    assert_eq!(of("not"), Some((Kind::Keyword, None)));
}

#[test]
fn candidates_respect_the_limits() {
    let deep = "(".repeat(limits::MAX_DEPTH);
    let found = complete(&deep, deep.len(), screenings()).candidates;
    assert!(found.iter().all(|c| c.kind == Kind::Field), "{found:?}");
    let start = "film in ('x', ";
    let long = |room: usize| {
        let filler = "y".repeat(limits::MAX_TEXT_BYTES - "film = '' and hall = ".len() - room);
        format!("film = '{filler}' and hall = ")
    };
    for room in [3, 4] {
        let text = long(room);
        let found = complete(&text, text.len(), screenings());
        assert_eq!(found.candidates.len(), usize::from(room == 4));
        assert_eq!(found.values.unwrap().candidate("xx").is_some(), room == 4);
    }
    for text in [deep + "(", "x".repeat(9000), format!("{start}{}", "'a',".repeat(3000))] {
        let found = complete(&text, text.len(), screenings());
        assert!(found.values.is_none(), "{found:?}");
    }
}
