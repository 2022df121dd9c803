//! The vectors of the language, `grammar/vectors.json`, which every implementation must satisfy.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cinequery::query::{
    Argument, Arguments, BoundQuery, Code, Diagnostic, Fault, Field, Shape, compile, format, parse,
    prepare,
};
use cinequery::record::Members;
use cinequery::store::{NewRecord, Record, Store, Write};
use serde::Deserialize;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::support::records::as_stored;
use crate::support::{on_both, screenings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vectors {
    #[serde(rename = "$schema")]
    _schema: String,
    now: DateTime<Utc>,
    record: Shown,
    catalogue: Vec<Stored>,
    pub cases: Vec<Case>,
}

/// The record type of the cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    name: String,
    fields: Vec<ShownField>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct ShownField {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    nullable: bool,
}

/// A record of the catalogue. The draft rejects unknown fields.
#[derive(Deserialize)]
struct Stored {
    id: Uuid,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(flatten)]
    written: serde_json::Map<String, Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(rename = "about")]
    _about: Option<String>,
    filter: Option<Text>,
    order_by: Option<Text>,
    now: Option<DateTime<Utc>>,
    #[serde(default)]
    parameters: BTreeMap<String, Json>,
    #[serde(default)]
    query_string: BTreeMap<String, String>,
    canonical: Option<Text>,
    matches: Option<Vec<usize>>,
    order: Option<Vec<usize>>,
    #[serde(default)]
    pub warnings: Vec<Problem>,
    #[serde(default)]
    pub problems: Vec<Problem>,
    fix: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub code: String,
    parameter: Option<String>,
    start: i32,
    end: i32,
    line: Option<i32>,
    column: Option<i32>,
}

/// A text. Long texts are written as a repeated piece.
#[derive(Deserialize)]
#[serde(from = "Written")]
struct Text(String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Out(String),
    Short(Repeated),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeated {
    #[serde(default)]
    before: String,
    repeat: String,
    times: usize,
    #[serde(default)]
    after: String,
}

impl From<Written> for Text {
    fn from(written: Written) -> Self {
        Text(match written {
            Written::Out(text) => text,
            Written::Short(Repeated { before, repeat, times, after }) => {
                before + &repeat.repeat(times) + &after
            }
        })
    }
}

pub fn read() -> Vectors {
    serde_json::from_str(include_str!("../../grammar/vectors.json")).unwrap()
}

impl Case {
    /// Returns the text of the case.
    fn text(&self) -> &str {
        match (&self.filter, &self.order_by) {
            (Some(Text(text)), None) | (None, Some(Text(text))) => text,
            _ => panic!("a case has either a filter or an order"),
        }
    }

    /// Returns the name of the text in problems.
    fn parameter(&self) -> &'static str {
        if self.filter.is_some() { "filter" } else { "order_by" }
    }

    /// Returns the filter and the order, of which a case has one.
    pub fn texts(&self) -> (Option<&str>, Option<&str>) {
        let [filter, order_by] = [&self.filter, &self.order_by]
            .map(|text| text.as_ref().map(|Text(text)| text.as_str()));
        (filter, order_by)
    }

    fn arguments(&self) -> Arguments {
        let json = self.parameters.iter().map(|(name, value)| (name, value.clone().into()));
        let texts = self.query_string.iter();
        let texts = texts.map(|(name, value)| (name, Argument::Untyped(value.clone())));
        json.chain(texts).map(|(name, value)| (name.clone(), value)).collect()
    }

    /// Prepares a text instead of the case's own. Returns its query and warnings.
    fn query(
        &self,
        text: &str,
        now: DateTime<Utc>,
    ) -> Result<(BoundQuery, Vec<Diagnostic>), Vec<Diagnostic>> {
        let is_filter = self.filter.is_some();
        let (filter, order_by) = if is_filter { (Some(text), None) } else { (None, Some(text)) };
        let prepared = prepare(filter, order_by, screenings())?;
        let query = prepared.bind(&self.arguments(), self.now.unwrap_or(now))?;
        Ok((query, prepared.warnings))
    }

    /// Parses the text. Returns its canonical form and warnings.
    fn read(&self) -> Result<(String, Vec<Diagnostic>), Vec<Diagnostic>> {
        let text = self.text();
        let locate = |faults: Vec<Fault>| -> Vec<Diagnostic> {
            faults.into_iter().map(|fault| fault.locate(self.parameter(), text)).collect()
        };
        if self.order_by.is_some() {
            let keys = parse::order_by(text).map_err(locate)?;
            let canonical = format::order_by(&keys);
            assert_eq!(parse::order_by(&canonical).unwrap(), keys, "{canonical}");
            return Ok((canonical, Vec::new()));
        }
        let parsed = parse::filter(text).map_err(locate)?;
        let canonical = format::filter(&parsed.expr);
        assert_eq!(parse::filter(&canonical).unwrap().expr, parsed.expr, "{canonical}");
        Ok((canonical, locate(parsed.warnings)))
    }

    /// Checks the text against the case. Returns a message if they differ.
    fn check(&self, now: DateTime<Utc>) -> Result<(), String> {
        // A case without records tests only the grammar.
        let is_checked = self.canonical.is_none() || self.matches.is_some() || self.order.is_some();
        let checked = if is_checked { self.query(self.text(), now).map(|_| ()) } else { Ok(()) };
        let found = checked.and_then(|()| self.read());
        let holds = match (&self.canonical, &found) {
            (Some(Text(canonical)), Ok((found, warnings))) => {
                canonical == found
                    && self.problems.is_empty()
                    && self.agree(&self.warnings, warnings)
            }
            (None, Err(problems)) => self.agree(&self.problems, problems),
            _ => false,
        };
        if holds { Ok(()) } else { Err(format!("{}\n    {found:?}", self.text())) }
    }

    /// Compares expected and found problems. Their order is not part of the language.
    fn agree(&self, expected: &[Problem], found: &[Diagnostic]) -> bool {
        let name = |problem: &Problem| {
            problem.parameter.clone().unwrap_or_else(|| self.parameter().to_owned())
        };
        let mut expected: Vec<&Problem> = expected.iter().collect();
        expected.sort_by_key(|problem| (name(problem), problem.start));
        let mut found: Vec<&Diagnostic> = found.iter().collect();
        found.sort_by_key(|found| (found.parameter.clone(), found.start));
        expected.len() == found.len()
            && expected.into_iter().zip(found).all(|(problem, found)| {
                name(problem) == found.parameter
                    && problem.code == found.code.as_str()
                    && (problem.start, problem.end) == (found.start, found.end)
                    && problem.line.is_none_or(|line| line == found.line)
                    && problem.column.is_none_or(|column| column == found.column)
            })
    }
}

/// Fails with all failures, so that one run shows the effects of a change.
fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} cases fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn every_case_has_its_result() {
    let vectors = read();
    report(vectors.cases.iter().filter_map(|case| case.check(vectors.now).err()).collect());
}

#[test]
fn every_correction_is_suggested_and_accepted() {
    let vectors = read();
    let fixed = vectors.cases.iter().filter_map(|case| case.fix.as_deref().map(|fix| (case, fix)));
    let failures = fixed.filter_map(|(case, fix)| {
        let found = match case.query(case.text(), vectors.now) {
            Ok((_, found)) | Err(found) => found,
        };
        let suggested = corrected(case.text(), found);
        match case.query(fix, vectors.now) {
            Ok((_, warnings)) if warnings.is_empty() && suggested == fix => None,
            Ok((_, found)) | Err(found) => Some(format!(
                "{}\n    expected  {fix}\n    suggested {suggested}\n    {found:?}",
                case.text()
            )),
        }
    });
    report(failures.collect());
}

/// Applies every suggestion, the last one first, so that the places of the others stay valid.
fn corrected(text: &str, found: Vec<Diagnostic>) -> String {
    let mut edits: Vec<_> = found.into_iter().filter_map(|found| found.suggestion).collect();
    edits.sort_by_key(|edit| edit.start);
    edits.into_iter().rev().fold(text.to_owned(), |mut text, edit| {
        text.replace_range(edit.start as usize..edit.end as usize, &edit.text);
        text
    })
}

#[test]
fn the_record_of_the_vectors_is_a_screening() {
    let shown = |field: &Field| ShownField {
        name: field.name.to_owned(),
        ty: field.ty.as_str().to_owned(),
        nullable: field.nullable,
    };
    let record = read().record;
    assert_eq!(record.name, screenings().name);
    assert_eq!(record.fields, screenings().fields.iter().map(shown).collect::<Vec<_>>());
}

#[test]
fn the_schema_of_the_vectors_has_every_code() {
    let schema: Json =
        serde_json::from_str(include_str!("../../grammar/vectors.schema.json")).unwrap();
    let codes = &schema["$defs"]["problem"]["properties"]["code"]["enum"];
    assert_eq!(*codes, Code::ALL.iter().map(|(code, _)| code.as_str()).collect::<Json>());
}

/// Writes the catalogue through the store.
async fn fill(store: &Store, catalogue: &[Stored]) {
    for Stored { id, version, created_at, updated_at, written } in catalogue {
        assert_eq!(written.len(), screenings().writable().count(), "{id}");
        let members = Members(written.clone().into_iter().collect());
        let draft = as_stored(screenings(), members);
        let (row, created_at) = (draft.row().clone(), Some(*created_at));
        let record = NewRecord { id: *id, version: *version, row, created_at };
        store.write_one(screenings(), Write::Create(record), *updated_at).await.unwrap();
    }
}

#[tokio::test]
async fn every_case_finds_the_same_records_on_both_engines() {
    on_both(async |database| {
        let store = database.store().await;
        let vectors = read();
        fill(&store, &vectors.catalogue).await;
        let mut failures = Vec::new();
        for case in &vectors.cases {
            let Some(expected) = case.matches.as_ref().or(case.order.as_ref()) else { continue };
            let (query, _) = case.query(case.text(), vectors.now).unwrap();
            let statement = compile(&query, Shape::Page { limit: 1000 }, store.dialect());
            let records = store.fetch(screenings(), statement).await.unwrap();
            let number = |record: &Record| {
                1 + vectors.catalogue.iter().position(|stored| stored.id == record.id()).unwrap()
            };
            let found: Vec<usize> = records.iter().map(number).collect();
            if found != *expected {
                let text = case.text();
                failures.push(format!("{text}\n    expected {expected:?}\n    found    {found:?}"));
            }
        }
        report(failures);
    })
    .await;
}
