//! Record types as files: a TOML declaration is read into a [`Schema`].
//!
//! ```toml
//! name = "Movie"                            # in OpenAPI and in generated clients
//! collection = "movies"                     # in URLs and scopes; the table
//! description = "A movie of the catalogue."
//! unique = [["title", "release_year"]]      # the first is the natural key that imports match on
//! indexes = [["release_year"]]
//!
//! [fields.title]                            # in the order of the file
//! type = "text"                             # text, integer, boolean, date, timestamp or id
//! length = [1, 300]
//!
//! [fields.release_year]
//! type = "integer"
//! range = [1870, 9999]
//!
//! [searches.recent]
//! description = "Movies of this decade."
//! filter = "release_year >= 2020"
//! ```
//!
//! `name`, `collection`, one field and the `type` of each field are required. The service adds the fields `id`,
//! `version`, `created_at` and `updated_at`.

mod document;
mod field;
mod json_schema;
mod keys;
mod names;
mod start;

use std::fmt;
use std::ops::RangeInclusive;

use self::document::{Content, Entry, Node, Table, flag_of, place_in_string};
pub use self::json_schema::json_schema;
pub use self::names::{
    MANAGED, MAX_FIELD_NAME, MAX_NAME, check_collection, collection_name, field_name, record_name,
};
use self::names::{Named, check};
pub use self::start::start;
use super::UNBOUNDED;
use crate::clock::timestamp_now;
use crate::query::diagnostic::{Span, did_you_mean, line_and_column};
use crate::query::{Arguments, Code, Field, Schema, Search, Type, prepare};

/// The longest file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// The most record types of a service.
pub const MAX_RECORD_TYPES: usize = 100;

/// The most fields of a record type, without those that the service adds. A text may need a second column, and an
/// import binds all columns of a hundred rows at once: SQLite takes 32,766 values.
pub const MAX_FIELDS: usize = 100;

/// The longest text that a field may allow, in characters.
pub const MAX_LENGTH: i64 = 100_000;

/// How many characters a text may have where `length` is absent. So it fits into an index.
pub const DEFAULT_LENGTH: RangeInclusive<i64> = 1..=500;

/// The most unique keys, and the most indexes, of a record type.
pub const MAX_KEYS: usize = 30;

/// The most fields of a unique key or an index.
pub const MAX_KEY_FIELDS: usize = 8;

/// The most characters that the texts of a unique key or an index may have together. An entry of a PostgreSQL
/// index has at most 2,704 bytes, and a character up to four.
pub const MAX_KEY_CHARACTERS: i64 = 600;

/// The most searches of a record type.
pub const MAX_SEARCHES: usize = 50;

/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1000;

/// The most mistakes that are reported of one file.
pub const MAX_MISTAKES: usize = 20;

/// The keys of a declaration.
const KEYS: &[&str] =
    &["name", "collection", "description", "unique", "indexes", "journal", "fields", "searches"];

/// The keys of a search.
const SEARCH_KEYS: &[&str] = &["description", "filter"];

/// The keys of a declaration, a field or a search whose value is a text.
const TEXT_KEYS: &[&str] = &["name", "collection", "description", "filter", "type", "renamed_from"];

/// The keys whose value is true or false.
const FLAG_KEYS: &[&str] = &["journal", "required", "search", "trigram", "read_only"];

/// Something that is wrong with a declaration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the file that it is about.
    pub span: Span,
    /// What was found and what was expected.
    pub message: String,
    /// What to do, where that can be said.
    pub help: Option<String>,
}

impl Mistake {
    /// A mistake without advice.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: shown(&message.into()), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shown(&help.into()));
        self
    }
}

/// A message as it is shown: it may quote the file, and so have control characters, or be very long.
fn shown(message: &str) -> String {
    const LONGEST: usize = 500;
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let cut = if message.chars().nth(LONGEST).is_some() { "…" } else { "" };
    message.chars().take(LONGEST).map(plain).chain(cut.chars()).collect()
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The mistakes of one file, in its order; at most [`MAX_MISTAKES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file, or the folder, as it is shown.
    pub file: String,
    /// Its text; empty when it could not be read.
    pub source: String,
    /// The mistakes.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// A file, or a folder, that could not be read.
    pub(super) fn unreadable(file: impl Into<String>, mistake: Mistake) -> Self {
        Self { file: file.into(), source: String::new(), list: vec![mistake] }
    }
}

/// A mistake a line: `movies.toml:3:9: expected …, found …; did you mean …?`
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.list.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            f.write_str(&self.file)?;
            if !self.source.is_empty() {
                let (line, column) = line_and_column(&self.source, mistake.span.start);
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {mistake}")?;
        }
        Ok(())
    }
}

/// A record type with the places that other declarations may conflict with.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) schema: &'static Schema,
    name: Span,
    collection: Span,
}

impl Declared {
    /// Returns the conflict with a record type that was declared before, if there is one.
    pub(super) fn conflict(&self, earlier: &Self, file: &str) -> Option<Mistake> {
        let (own, other) = (self.schema, earlier.schema);
        if own.collection == other.collection {
            let message = format!("the collection `{}` is also declared in {file}", own.collection);
            return Some(Mistake::new(self.collection, message));
        }
        let is_operation =
            |name: &str, of: &str| names::operations_of(of).iter().any(|o| o == name);
        if is_operation(own.name, other.name) || is_operation(other.name, own.name) {
            let message = format!(
                "the API would have two operations of one name: see `{}` in {file}",
                other.name
            );
            return Some(Mistake::new(self.name, message).help("choose another name"));
        }
        // Generated clients have a file for each, and some file systems ignore case.
        let taken = names::schemas_of(other.name);
        let is_taken = |name: &String| taken.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        names::schemas_of(own.name).into_iter().find(is_taken).map(|schema| {
            let message = if own.name.eq_ignore_ascii_case(other.name) {
                format!("the name `{}` is also declared in {file}", own.name)
            } else {
                format!("the API would have two schemas `{schema}`: see `{}` in {file}", other.name)
            };
            Mistake::new(self.name, message).help("choose another name")
        })
    }
}

/// Reads a declaration. The schema is never freed, as services have it for as long as they run.
///
/// # Errors
/// All mistakes at once, but those in searches only when the fields are without one.
pub(super) fn read(source: &str) -> Result<Declared, Vec<Mistake>> {
    if source.len() > MAX_FILE_BYTES {
        return Err(vec![Mistake::new(Span::default(), too_long())]);
    }
    let mut reader = Reader { source, mistakes: Vec::new() };
    let declared = reader.declaration(&document::parse(source)?);
    let mut mistakes = reader.mistakes;
    match declared {
        Some(declared) if mistakes.is_empty() => Ok(declared),
        _ => {
            mistakes.sort_by_key(|mistake| mistake.span.start);
            mistakes.truncate(MAX_MISTAKES);
            Err(mistakes)
        }
    }
}

/// Why a file is not read.
pub(super) fn too_long() -> String {
    format!("the file is longer than {} KiB", MAX_FILE_BYTES / 1024)
}

/// A name or another text of the file in a message, cut where it is long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 70;
    let is_cut = text.chars().nth(LONGEST).is_some();
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}{}", if is_cut { "…" } else { "" })
}

/// A text for as long as the process runs.
fn keep(text: &str) -> &'static str {
    text.to_owned().leak()
}

/// What reads a declaration and collects its mistakes.
struct Reader<'a> {
    source: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn declaration(&mut self, root: &Table) -> Option<Declared> {
        let start = Span::default();
        self.known_keys(root, KEYS, "a declaration");
        let name = self.required(root, "name", start, "name = \"Movie\"");
        let name = name.and_then(|entry| self.name(Named::RecordType, entry));
        let collection = self.required(root, "collection", start, "collection = \"movies\"");
        let collection = collection.and_then(|entry| self.name(Named::Collection, entry));
        let description = self.description(root);
        let before_fields = self.mistakes.len();
        let fields = self.required(root, "fields", start, "[fields.title]");
        let place = fields.map_or(start, |entry| entry.span);
        let declared = fields.and_then(|entry| self.table(entry, None));
        let fields = declared.map(|declared| self.fields(place, declared)).unwrap_or_default();
        let declared = declared.unwrap_or(&[]);
        let has_good_fields = self.mistakes.len() == before_fields;
        let keys = self.keys(root, declared, &fields);
        let searches =
            find(root, "searches").and_then(|entry| self.table(entry, None)).unwrap_or(&[]);
        let named = self.searches(searches);
        let journal = self.flag(root, "journal", true);
        let (name, collection) = (name?, collection?);
        let extras = Extras { searches: named, journal };
        let schema = build(name.0, collection.0, description, fields, keys, extras);
        if has_good_fields {
            self.check_searches(searches, schema);
        }
        Some(Declared { schema, name: name.1, collection: collection.1 })
    }

    fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Reports keys that mean nothing here.
    fn known_keys(&mut self, table: &[Entry], known: &[&str], what: &str) {
        let unknown = table.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        // As many as are shown: a file can have very many.
        for entry in unknown.take(MAX_MISTAKES) {
            let message = format!("unknown key {} in {what}", quoted(&entry.key));
            let help = did_you_mean(&entry.key, known.iter().copied());
            self.report(Mistake::new(entry.span, message).help(help));
        }
    }

    /// The entry of that key, which must be there.
    fn required<'a>(
        &mut self,
        table: &'a [Entry],
        key: &str,
        place: Span,
        example: &str,
    ) -> Option<&'a Entry> {
        let found = find(table, key);
        if found.is_none() {
            let message = format!("the key `{key}` is missing");
            self.report(Mistake::new(place, message).help(format!("add `{example}`")));
        }
        found
    }

    /// Reports a value of the wrong kind, and the value to write instead if it is known.
    fn unexpected(&mut self, node: &Node, key: &str, expected: &str, value: Option<String>) {
        let message = format!("`{key}`: expected {expected}, found {}", node.content.kind());
        let mistake = Mistake::new(node.span, message);
        self.report(match value {
            Some(value) => mistake.help(format!("write `{key} = {value}`")),
            None => mistake,
        });
    }

    fn text<'a>(&mut self, entry: &'a Entry) -> Option<&'a str> {
        if let Content::Text(text) = &entry.node.content {
            return Some(text);
        }
        let written = self.source.get(entry.node.span.start..entry.node.span.end);
        let is_short = matches!(
            entry.node.content,
            Content::Integer(_) | Content::Boolean(_) | Content::Moment(_)
        );
        let value = written.filter(|_| is_short).map(|written| format!("\"{written}\""));
        self.unexpected(&entry.node, &entry.key, "a text", value);
        None
    }

    fn flag(&mut self, table: &[Entry], key: &str, default: bool) -> bool {
        match find(table, key) {
            Some(Entry { node: Node { content: Content::Boolean(flag), .. }, .. }) => *flag,
            Some(Entry { node, .. }) => {
                let intended = match &node.content {
                    Content::Text(text) => flag_of(text),
                    _ => None,
                };
                self.unexpected(node, key, "true or false", intended.map(|flag| flag.to_string()));
                default
            }
            None => default,
        }
    }

    /// Returns the table that is the value of a key. A text in its place is probably the value of the key `inner`.
    fn table<'a>(&mut self, entry: &'a Entry, inner: Option<&str>) -> Option<&'a [Entry]> {
        let Entry { key, node, .. } = entry;
        let text = match &node.content {
            Content::Table(table) => return Some(table),
            Content::Text(_) => self.source.get(node.span.start..node.span.end),
            _ => None,
        };
        let intended = inner.zip(text).map(|(inner, text)| format!("{{ {inner} = {text} }}"));
        self.unexpected(node, key, "a table", intended);
        None
    }

    /// The name that is the value of a key.
    fn name(&mut self, named: Named, entry: &Entry) -> Option<(&'static str, Span)> {
        let name = self.text(entry)?;
        match check(named, name, entry.node.span) {
            Some(mistake) => {
                self.report(mistake);
                None
            }
            None => Some((keep(name), entry.node.span)),
        }
    }

    /// One sentence or a few; empty when absent.
    fn description(&mut self, table: &[Entry]) -> &'static str {
        let Some(entry) = find(table, "description") else { return "" };
        let text = self.text(entry).unwrap_or_default().trim();
        let length = text.chars().count();
        let is_control = |c: &char| c.is_control() && *c != '\n';
        if length > MAX_DESCRIPTION {
            let message = format!(
                "`description`: expected at most {MAX_DESCRIPTION} characters, found {length}"
            );
            self.report(Mistake::new(entry.node.span, message));
        } else if let Some(control) = text.chars().find(is_control) {
            let message =
                format!("`description`: the control character {control:?} is not allowed");
            self.report(Mistake::new(entry.node.span, message));
        }
        keep(text)
    }

    /// The names of searches with what belongs to each.
    fn searches(&mut self, searches: &[Entry]) -> Vec<Search> {
        if let Some(entry) = searches.get(MAX_SEARCHES) {
            let message =
                format!("expected at most {MAX_SEARCHES} searches, found {}", searches.len());
            self.report(Mistake::new(entry.span, message));
        }
        let mut read = Vec::new();
        for entry in searches.iter().take(MAX_SEARCHES) {
            self.mistakes.extend(check(Named::Search, &entry.key, entry.span));
            let Some(table) = self.table(entry, Some("filter")) else { continue };
            self.known_keys(table, SEARCH_KEYS, "a search");
            let description = self.description(table);
            let filter =
                self.required(table, "filter", entry.span, "filter = \"title contains 'star'\"");
            let filter = filter.and_then(|entry| self.text(entry));
            read.extend(filter.map(|filter| Search {
                name: keep(&entry.key),
                description,
                filter: keep(filter),
            }));
        }
        read
    }

    /// Checks the filters of searches as the service would.
    fn check_searches(&mut self, searches: &[Entry], schema: &'static Schema) {
        for search in searches.iter().take(MAX_SEARCHES) {
            let Content::Table(table) = &search.node.content else { continue };
            let Some(Entry { node, .. }) = find(table, "filter") else { continue };
            let Content::Text(filter) = &node.content else { continue };
            let checked = prepare(Some(filter), None, schema);
            // A search has no parameters, so it can be bound without values.
            let checked =
                checked.and_then(|prepared| prepared.bind(&Arguments::default(), timestamp_now()));
            for problem in checked.err().unwrap_or_default() {
                let [start, end] =
                    [problem.start, problem.end].map(|at| usize::try_from(at).unwrap_or(0));
                let place = place_in_string(self.source, node.span, filter, Span::new(start, end));
                self.report(match problem.code {
                    Code::MissingParameter => {
                        let message = "`filter`: a search has no parameters";
                        Mistake::new(place, message).help("write a value")
                    }
                    _ => {
                        let message = format!("`filter`: {}", problem.message);
                        let help = problem.help.as_deref().map(shown);
                        Mistake { help, ..Mistake::new(place, message) }
                    }
                });
            }
        }
    }
}

/// The entry of that key.
fn find<'a>(table: &'a [Entry], key: &str) -> Option<&'a Entry> {
    table.iter().find(|entry| entry.key == key)
}

/// Unique keys and indexes: the names of fields of each.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) unique: Vec<Vec<&'static str>>,
    pub(super) indexes: Vec<Vec<&'static str>>,
}

/// What a declaration has beside its fields and keys.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) searches: Vec<Search>,
    pub(super) journal: bool,
}

/// A record type with the fields that the service adds. It lasts as long as the process.
pub(super) fn build(
    name: &'static str,
    collection: &'static str,
    description: &'static str,
    declared: Vec<Field>,
    keys: Keys,
    extras: Extras,
) -> &'static Schema {
    let [id, rest @ ..] = managed();
    let fields: Vec<Field> = [id].into_iter().chain(declared).chain(rest).collect();
    let columns: Vec<String> = fields.iter().map(|field| format!("{:?}", field.name)).collect();
    let lists = |lists: Vec<Vec<&'static str>>| {
        let lists: Vec<&'static [&'static str]> =
            lists.into_iter().map(|list| &*list.leak()).collect();
        &*lists.leak()
    };
    Box::leak(Box::new(Schema {
        name,
        collection,
        description,
        fields: fields.leak(),
        select_list: columns.join(", ").leak(),
        unique: lists(keys.unique),
        indexes: lists(keys.indexes),
        searches: extras.searches.leak(),
        journal: extras.journal,
    }))
}

/// The fields that the service adds to every record type.
fn managed() -> [Field; 4] {
    let field = |name, ty, description, example| Field {
        name,
        description,
        ty,
        bounds: UNBOUNDED,
        nullable: false,
        default: None,
        writable: false,
        managed: true,
        searchable: false,
        trigram: false,
        renamed_from: None,
        example,
    };
    let [id, version, created_at, updated_at] = names::MANAGED;
    let instant = "2026-01-31T12:00:00.000000Z";
    [
        field(
            id,
            Type::Id,
            "The identifier: a UUIDv7, which sorts by the time of creation.",
            "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50",
        ),
        field(version, Type::Integer, "The number of writes, which is also the ETag.", "1"),
        field(created_at, Type::Timestamp, "The time of creation, in UTC.", instant),
        field(updated_at, Type::Timestamp, "The time of the last write, in UTC.", instant),
    ]
}
