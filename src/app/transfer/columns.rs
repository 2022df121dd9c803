//! The columns of a file, and the fields that they are read into.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use poem_openapi::{Enum, Object};
use serde::Serialize;

use super::row::MAX_NAME;
use crate::error::{Error, Kind, Result};
use crate::query::diagnostic::{did_you_mean, nearest};
use crate::query::limits::MAX_DIAGNOSTICS;
use crate::query::{Field, Schema};
use crate::record::Author;
use crate::record::declaration::MAX_FIELDS;

/// The maximum number of columns of a file. JSON objects may have other names in each row; further ones are ignored.
pub(super) const MAX_COLUMNS: usize = 1000;

/// The longest name of a member of JSON that is looked at, in bytes.
const MAX_COLUMN_BYTES: usize = 1000;

/// What reads the year of a date into a field: `year(Release Date)=release_year`.
const YEAR: (&str, &str) = ("year(", ")");

/// Names of columns with the fields that they are read into, such as `Name=title,Licence ends=expiry_date`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping(Vec<Entry>);

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    column: String,
    is_year: bool,
    field: String,
}

impl Mapping {
    /// Adds the entries of another mapping.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl FromStr for Mapping {
    type Err = String;

    /// Parses entries `COLUMN=FIELD`, separated by commas. A name with a comma or an equals sign is in double quotes.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let entries = split(text, ',').into_iter().map(|entry| {
            let expected = || {
                format!("expected COLUMN=FIELD, found {entry:?}; a name with a comma or = is in double quotes")
            };
            let mut sides = split(entry, '=').into_iter();
            let (Some(column), Some(field), None) = (sides.next(), sides.next(), sides.next()) else {
                return Err(expected());
            };
            let column = column.trim();
            let inner = column.strip_prefix(YEAR.0).and_then(|rest| rest.strip_suffix(YEAR.1));
            let (name, field) = (unquoted(inner.unwrap_or(column)), unquoted(field));
            if name.is_empty() || field.is_empty() {
                return Err(expected());
            }
            Ok(Entry { column: name, is_year: inner.is_some(), field })
        });
        entries.collect::<std::result::Result<_, _>>().map(Self)
    }
}

/// Values for fields of which a row has none, such as `genre=unknown,expiry_date=2030-12-31`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults(pub(super) Vec<(String, String)>);

impl Defaults {
    /// Returns the names of the fields with their values.
    pub fn into_entries(self) -> Vec<(String, String)> {
        self.0
    }

    /// Adds the values of other defaults.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl FromStr for Defaults {
    type Err = String;

    /// Parses entries `FIELD=VALUE`, separated by commas. A value with a comma is in double quotes.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let entries = split(text, ',').into_iter().map(|entry| {
            let entry = entry.trim();
            let sides = entry.split_once('=').filter(|(field, _)| !field.trim().is_empty());
            let (field, value) = sides.ok_or_else(|| {
                format!("expected FIELD=VALUE, found {entry:?}; a value with a comma is in double quotes")
            })?;
            Ok((field.trim().to_owned(), unquoted(value)))
        });
        let entries: Vec<(String, String)> = entries.collect::<std::result::Result<_, String>>()?;
        let mut names = HashSet::new();
        match entries.iter().find(|(name, _)| !names.insert(name)) {
            Some((name, _)) => Err(format!("the field {name:?} is set twice")),
            None => Ok(Self(entries)),
        }
    }
}

/// Numbers names that are repeated: `Title`, `Title (2)`.
pub(super) fn numbered(names: Vec<String>) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let name = |name: String| {
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 || name.is_empty() { name } else { format!("{name} ({count})") }
    };
    names.into_iter().map(name).collect()
}

/// Returns the name that a column has in the file, without the number of [`numbered`].
pub(super) fn unnumbered<'a>(name: &'a str, others: &[String]) -> &'a str {
    let parts = name.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    match parts {
        Some((start, number)) if is_number(number) && others.iter().any(|other| other == start) => {
            start
        }
        _ => name,
    }
}

/// Splits a text at a character outside double quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|c: char| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    })
    .collect()
}

/// Removes blanks and double quotes around a name. A double quote in it is written twice, as in CSV.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    let inner = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Writes a name for a mapping, in double quotes if it needs them.
fn quoted(name: &str) -> String {
    let is_plain =
        !name.contains([',', '=', '"']) && name.trim() == name && !name.starts_with(YEAR.0);
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// How a column was matched with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename = "ColumnMatch", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// The column has the name of the field.
    Same,
    /// The names differ in case, blanks and punctuation only.
    Similar,
    /// The mapping says so.
    Mapped,
    /// It has no field and is ignored.
    None,
}

/// The name of the column with the problems. A number follows it if a field or another column has the name.
pub(super) const PROBLEM: &str = "problem";

/// Whether a column has the problems of a file of rejected rows, which comes back corrected.
fn is_note(position: usize, name: &str) -> bool {
    position == 0 && name == PROBLEM
}

/// A column of a file, as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ImportColumn")]
pub struct Shown {
    /// The name of the column.
    pub name: String,
    /// The fields that it is read into.
    pub fields: Vec<String>,
    /// How the column was matched with the field.
    #[oai(rename = "match")]
    #[serde(rename = "match")]
    pub how: Match,
    /// An entry for the mapping that may be meant, such as `Name=title`. It is a guess, and not applied.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guess: Option<String>,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    how: Match,
}

/// A field that a column is read into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) field: &'static Field,
    /// Whether the column has dates, of which the field gets the year.
    pub(super) is_year: bool,
}

/// The columns of a file.
pub(super) struct Columns {
    schema: &'static Schema,
    author: Author,
    mapping: Mapping,
    /// The names of the header, if the file has one.
    names: Vec<String>,
    pub(super) list: Vec<Column>,
    positions: HashMap<String, usize>,
}

impl Columns {
    /// Starts with no columns.
    ///
    /// # Errors
    /// [`Kind::InvalidParameter`] if the mapping names a field that does not exist or cannot be written, or names one twice.
    pub(super) fn new(schema: &'static Schema, author: Author, mapping: Mapping) -> Result<Self> {
        for (position, entry) in mapping.0.iter().enumerate() {
            let name = &entry.field;
            let field = schema.field(name).filter(|field| author.writes(field));
            let fields =
                || schema.declared().filter(|field| author.writes(field)).map(|field| field.name);
            if field.is_none() {
                let names: Vec<&str> = fields().collect();
                let help = did_you_mean(name, names.iter().copied());
                let detail =
                    format!("the mapping has the field {name:?}, which cannot be written; {help}");
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
            if mapping.0.iter().take(position).any(|other| other.field == *name) {
                let detail =
                    format!("the mapping has the field {name:?} twice; map one column to it");
                return Err(Error::new(Kind::InvalidParameter, detail));
            }
        }
        Ok(Self {
            schema,
            author,
            mapping,
            names: Vec::new(),
            list: Vec::new(),
            positions: HashMap::new(),
        })
    }

    /// Adds the columns of a header.
    ///
    /// # Errors
    /// What is wrong with the names: two columns for one field, or a mapped column that is not there.
    pub(super) fn add_header(&mut self, names: &[String]) -> std::result::Result<(), String> {
        self.names = names.to_vec();
        for name in names {
            let own = unnumbered(name, names);
            let (targets, how) = match self.targets(name) {
                (targets, Match::Mapped) => (targets, Match::Mapped),
                _ => self.targets(own),
            };
            let repeated = self.list.iter().find(|other| {
                let is_taken = |target: &Target| {
                    other.targets.iter().any(|known| known.field.name == target.field.name)
                };
                targets.iter().any(is_taken)
            });
            if let Some(other) = repeated {
                return Err(if other.name == own {
                    format!(
                        "has the column {own:?} twice; map one of them, such as {:?}",
                        entry(name, "FIELD")
                    )
                } else {
                    let field = targets.first().map_or("", |target| target.field.name);
                    format!(
                        "has the columns {:?} and {name:?}, which are both for {field}; \
                             map one of them",
                        other.name
                    )
                });
            }
            self.list.push(Column { name: name.clone(), targets, how });
        }
        let names = || self.list.iter().map(|column| column.name.as_str());
        let is_there = |entry: &&Entry| names().any(|name| is_same(name, &entry.column));
        if let Some(Entry { column, .. }) = self.mapping.0.iter().find(|entry| !is_there(entry)) {
            let help =
                did_you_mean(column, names().filter(|name| !name.is_empty()).take(MAX_DIAGNOSTICS));
            return Err(format!("has no column {column:?}, which the mapping names; {help}"));
        }
        Ok(())
    }

    /// Returns the position of the column with this name, and adds it if it is new. `None` if there are too many.
    pub(super) fn position(&mut self, name: &str) -> Option<usize> {
        // A mapping cannot name a longer one, and no field has such a name.
        if name.len() > MAX_COLUMN_BYTES {
            return None;
        }
        if let Some(position) = self.positions.get(name) {
            return Some(*position);
        }
        let position = self.list.len();
        if position == MAX_COLUMNS {
            return None;
        }
        let (targets, how) = self.targets(name);
        self.list.push(Column { name: name.to_owned(), targets, how });
        self.positions.insert(name.to_owned(), position);
        Some(position)
    }

    /// Returns the fields for a column. A mapped column is only for the fields of the mapping, and a mapped field only
    /// for its column.
    fn targets(&self, name: &str) -> (Vec<Target>, Match) {
        // The mapping may name the second of two columns as `Title (2)`.
        let mapped: Vec<Target> = self
            .mapping
            .0
            .iter()
            .filter(|entry| {
                entry.column == name
                    || (!self.names.contains(&entry.column) && is_same(&entry.column, name))
            })
            .filter_map(|entry| {
                let field = self.schema.field(&entry.field)?;
                Some(Target { field, is_year: entry.is_year })
            })
            .collect();
        if !mapped.is_empty() {
            return (mapped, Match::Mapped);
        }
        let is_free = |field: &&'static Field| {
            self.author.writes(field)
                && !self.mapping.0.iter().any(|entry| entry.field == field.name)
        };
        let fields = || self.schema.declared().filter(is_free);
        let found = match fields().find(|field| field.name == name) {
            Some(field) => Some((field, Match::Same)),
            None => fields()
                .find(|field| !folded(name).is_empty() && folded(field.name) == folded(name))
                .map(|field| (field, Match::Similar)),
        };
        match found {
            Some((field, how)) => (vec![Target { field, is_year: false }], how),
            None => (Vec::new(), Match::None),
        }
    }

    /// Returns the required fields for which there is no column.
    pub(super) fn missing(&self) -> Vec<&'static Field> {
        let is_read = |field: &&'static Field| {
            let mut targets = self.list.iter().flat_map(|column| &column.targets);
            targets.any(|target| target.field.name == field.name)
        };
        let required =
            self.schema.declared().filter(|field| self.author.writes(field) && field.is_required());
        required.filter(|field| !is_read(field)).collect()
    }

    /// Returns how many fields a row has the names of, as if it were the header.
    pub(super) fn matched(&self, names: &[String]) -> usize {
        let names = names.iter().take(MAX_FIELDS);
        let targets = names.flat_map(|name| self.targets(name).0);
        targets.map(|target| target.field.name).collect::<HashSet<_>>().len()
    }

    /// Returns whether one of these has the name of a field, without the mapping.
    pub(super) fn has_name(&self, names: &[String]) -> bool {
        let is_named = |name: &String| matches!(self.targets(name).1, Match::Same | Match::Similar);
        names.iter().take(MAX_FIELDS).any(is_named)
    }

    /// Returns the field of a column that identifies the record of a row, as an export has them: `id` or `version`.
    pub(super) fn claim(&self, column: &Column) -> Option<&'static Field> {
        let is_claim =
            column.targets.is_empty() && ["id", "version"].contains(&column.name.as_str());
        self.schema.field(&column.name).filter(|field| is_claim && field.managed)
    }

    /// Returns the names of columns that are not read, sorted, at most [`MAX_DIAGNOSTICS`]. `finds` says whether the import
    /// finds records by the columns of [`Self::claim`].
    pub(super) fn ignored(&self, finds: bool) -> Vec<String> {
        let is_used = |column: &Column| finds && self.claim(column).is_some();
        let columns = self.list.iter().enumerate();
        let ignored = columns.filter(|(position, column)| {
            column.targets.is_empty() && !is_used(column) && !is_note(*position, &column.name)
        });
        let names =
            ignored.map(|(_, column)| column.name.chars().take(MAX_NAME).collect::<String>());
        let mut names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        names.sort();
        names.dedup();
        names.truncate(MAX_DIAGNOSTICS);
        names
    }

    /// Returns the columns for a report. `can_be` says whether all known values of a column fit a field; `None` if there
    /// are no values.
    pub(super) fn shown(&self, can_be: impl Fn(usize, &Field) -> Option<bool>) -> Vec<Shown> {
        let guesses = self.guesses(can_be);
        let columns = self.list.iter().enumerate().filter(|(_, column)| !column.name.is_empty());
        columns
            .map(|(position, column)| Shown {
                name: column.name.chars().take(MAX_NAME).collect(),
                fields: column.targets.iter().map(|target| target.field.name.to_owned()).collect(),
                how: column.how,
                guess: guesses
                    .get(&position)
                    .filter(|_| column.name.len() <= MAX_COLUMN_BYTES)
                    .map(|field| entry(&column.name, field)),
            })
            .collect()
    }

    /// Guesses which columns are meant for the missing fields: first by name, then the columns whose values fit, in the
    /// order of the file.
    fn guesses(
        &self,
        can_be: impl Fn(usize, &Field) -> Option<bool>,
    ) -> HashMap<usize, &'static str> {
        let mut missing = self.missing();
        let mut guesses = HashMap::new();
        // An id, a version or a time of the service is never the value of another field.
        let is_managed = |name: &str| {
            self.schema.fields.iter().any(|field| field.managed && is_same(field.name, name))
        };
        let is_free = |(position, column): &(usize, &Column)| {
            let is_named = column.targets.is_empty() && !column.name.is_empty();
            is_named && !is_managed(&column.name) && !is_note(*position, &column.name)
        };
        let free: Vec<(usize, &Column)> = self.list.iter().enumerate().filter(is_free).collect();
        for (position, column) in &free {
            let by_name = by_name(&column.name, &missing)
                .filter(|field| can_be(*position, field) != Some(false));
            if let Some(field) = by_name {
                missing.retain(|other| other.name != field.name);
                guesses.insert(*position, field.name);
            }
        }
        // Texts fit everything, so the other types choose first.
        missing.sort_by_key(|field| field.ty == crate::query::Type::Text);
        for field in missing {
            let mut fitting = free.iter().filter(|(position, _)| {
                !guesses.contains_key(position) && can_be(*position, field) == Some(true)
            });
            if let Some((position, _)) = fitting.next() {
                guesses.insert(*position, field.name);
            }
        }
        guesses
    }
}

/// Returns the field whose name is similar to that of a column or has a word of it.
fn by_name(column: &str, fields: &[&'static Field]) -> Option<&'static Field> {
    let wanted = folded(column);
    let near = nearest(&wanted, fields.iter().map(|field| field.name));
    let words: Vec<String> = column.split(|c: char| !c.is_alphanumeric()).map(folded).collect();
    let shares_word = |field: &&&'static Field| {
        let mut parts = field.name.split('_').filter(|part| part.len() > 2);
        parts.any(|part| {
            words
                .iter()
                .any(|word| word.len() > 2 && (word.starts_with(part) || part.starts_with(word)))
        })
    };
    let near = near.and_then(|name| fields.iter().find(|field| field.name == name));
    near.or_else(|| fields.iter().find(shares_word)).copied()
}

/// Writes an entry of a mapping.
pub(super) fn entry(column: &str, field: &str) -> String {
    format!("{}={field}", quoted(column))
}

/// Returns whether names are the same but for case, blanks and punctuation.
pub(super) fn is_same(name: &str, other: &str) -> bool {
    name == other || (!folded(name).is_empty() && folded(name) == folded(other))
}

/// Returns the letters and digits of a name in lower case: `Release Year`, `release-year` and `RELEASE_YEAR` are one name.
fn folded(name: &str) -> String {
    crate::query::text::fold(name).chars().filter(|c| c.is_alphanumeric()).collect()
}
