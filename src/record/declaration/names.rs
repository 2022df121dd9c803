//! The rules for names. A name meets SQL, JSON, URLs, OpenAPI, GraphQL, CSV and shells: one rule for all of them.

use super::{Mistake, quoted};
use crate::query::ast::is_reserved;
use crate::query::compile::FOLDED;
use crate::query::diagnostic::Span;

/// The longest name in bytes: PostgreSQL truncates identifiers to so many.
pub const MAX_NAME: usize = 63;

/// The longest name of a field in bytes. With the ending of its folded column it is as long as a name may be.
pub const MAX_FIELD_NAME: usize = MAX_NAME - FOLDED.len();

/// The fields that the service adds to every record type.
pub const MANAGED: [&str; 4] = ["id", "version", "created_at", "updated_at"];

/// Collections that would hide a route or a table of the service.
const RESERVED_COLLECTIONS: &[&str] = &[
    "batch",
    "changes",
    "feed",
    "graphql",
    "mcp",
    "me",
    "queries",
    "query",
    "revocations",
    "saved_queries",
    "schema",
    "token",
    "usage",
    "usage_batches",
    "users",
];

/// Prefixes of the names of tables of the service, of SQLite and of PostgreSQL.
const RESERVED_PREFIXES: &[&str] = &["cinequery_", "pg_", "sqlite_"];

/// Columns that PostgreSQL has in every table.
const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// The schemas of the OpenAPI document that no record type is the origin of.
const SCHEMAS: &[&str] = &[
    "BatchItem",
    "BatchOperation",
    "BatchReport",
    "BatchRequest",
    "BatchResult",
    "BoundValue",
    "CalendarUnit",
    "Candidate",
    "CandidateKind",
    "Canonical",
    "CatalogueSchema",
    "Change",
    "ChangeKind",
    "ChangePage",
    "Collection",
    "ColumnMatch",
    "Completion",
    "Count",
    "CurrentUser",
    "DateOrder",
    "Diagnostic",
    "DiagnosticCode",
    "Direction",
    "Explanation",
    "ExpressionNode",
    "ExpressionType",
    "FacetItem",
    "FacetRest",
    "Facets",
    "FieldChange",
    "FieldSchema",
    "FieldType",
    "FileEncoding",
    "FileFormat",
    "FilterMatch",
    "FunctionSchema",
    "Health",
    "HistoryPage",
    "ImportColumn",
    "ImportExample",
    "ImportProblem",
    "ImportReport",
    "ImportedFile",
    "LanguageLimits",
    "LegacyMovie",
    "MethodName",
    "MovieList",
    "NamedParameter",
    "Offset",
    "OnConflict",
    "OperandNode",
    "OperandType",
    "OperatorNode",
    "OrderKeyNode",
    "PasswordChange",
    "PositionEncoding",
    "Problem",
    "QueryCheck",
    "Readiness",
    "Reason",
    "RecordType",
    "RequestClass",
    "RestoreRequest",
    "Revision",
    "RevocationForm",
    "RevocationRequest",
    "Role",
    "RunRequest",
    "SavedParameter",
    "SavedQuery",
    "SavedQueryDraft",
    "SavedQueryPage",
    "SearchRequest",
    "SearchSchema",
    "SignInMethod",
    "Suggestion",
    "SyntaxTree",
    "Tested",
    "Throttle",
    "Token",
    "TokenRequest",
    "Usage",
    "UsagePage",
    "UsedLimit",
    "UsedLimits",
    "User",
    "UserDraft",
    "UserPage",
    "UserPatch",
    "Verdict",
    "Violation",
];

/// The kind of thing that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    RecordType,
    Collection,
    Field,
    Search,
}

/// The schemas of the OpenAPI document that a record type is the origin of.
pub(super) fn schemas_of(name: &str) -> [String; 7] {
    ["", "BulkReport", "Draft", "Patch", "Page", "Field", "Restored"]
        .map(|ending| format!("{name}{ending}"))
}

/// What operations are called after a record type: `getMovieFacets` would be that of a type `MovieFacets` too.
pub(super) fn operations_of(name: &str) -> [String; 5] {
    ["Facets", "History", "Queries", "Query", "QueryWithBody"]
        .map(|ending| format!("{name}{ending}"))
}

/// Operations of the service that are called like one on records, such as `getSchema`.
const OPERATIONS: &[&str] = &["Liveness", "Me", "Schema"];

/// Returns what is wrong with a name, if anything.
pub(super) fn check(named: Named, name: &str, span: Span) -> Option<Mistake> {
    let (what, longest) = match named {
        Named::RecordType => ("name of a record type", MAX_NAME),
        Named::Collection => ("name of a collection", MAX_NAME),
        Named::Field => ("name of a field", MAX_FIELD_NAME),
        Named::Search => ("name of a search", MAX_NAME),
    };
    let mistake = |message: String| Some(Mistake::new(span, message));
    let name_in_quotes = quoted(name);
    if named == Named::RecordType {
        if !is_word(name, longest, |c| c.is_ascii_uppercase(), |c| c.is_ascii_alphanumeric()) {
            let rule = format!(
                "start with a capital letter, then letters and digits, at most {longest}: `Movie`"
            );
            return mistake(format!("{name_in_quotes} is not a {what}"))
                .map(|mistake| mistake.help(rule));
        }
        let mut schemas = schemas_of(name).into_iter();
        let taken = match schemas.find(|schema| SCHEMAS.contains(&schema.as_str())) {
            Some(schema) => format!("a schema `{schema}`"),
            None if OPERATIONS.contains(&name) => format!("an operation `get{name}`"),
            None => return None,
        };
        return mistake(format!("{name_in_quotes} cannot be used: the API has {taken}"));
    }
    let is_small = |c: char| c.is_ascii_lowercase();
    if !is_word(name, longest, is_small, |c| is_small(c) || c.is_ascii_digit() || c == '_') {
        let rule = format!(
            "start with a small letter, then small letters, digits and `_`, at most {longest}"
        );
        let similar = identifier(name).filter(|name| check(named, name, span).is_none());
        let similar = similar.map(|name| format!(": `{name}`")).unwrap_or_default();
        return mistake(format!("{name_in_quotes} is not a {what}"))
            .map(|mistake| mistake.help(format!("{rule}{similar}")));
    }
    let reason = if name.contains("__") {
        "`__` is reserved".to_owned()
    } else if name.ends_with(FOLDED) {
        format!("names of columns that the service adds end with `{FOLDED}`")
    } else if is_reserved(name) {
        "it is a keyword of the filter language".to_owned()
    } else {
        match named {
            Named::Collection => {
                let prefix = RESERVED_PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
                match prefix {
                    Some(prefix) => format!("names of internal tables start with `{prefix}`"),
                    None if name.ends_with("_pkey") => {
                        "names of primary keys of PostgreSQL end with `_pkey`".to_owned()
                    }
                    None if RESERVED_COLLECTIONS.contains(&name) => {
                        "the service has a route or a table of that name".to_owned()
                    }
                    None => return None,
                }
            }
            Named::Field if MANAGED.contains(&name) => {
                return mistake(format!(
                    "{name_in_quotes} is a field that the service adds itself"
                ))
                .map(|mistake| mistake.help("remove it, or choose another name"));
            }
            Named::Field if SYSTEM_COLUMNS.contains(&name) => {
                "PostgreSQL has a column of that name in every table".to_owned()
            }
            _ => return None,
        }
    };
    mistake(format!("{name_in_quotes} cannot be a {what}: {reason}"))
}

fn is_word(
    name: &str,
    longest: usize,
    first: impl Fn(char) -> bool,
    others: impl Fn(char) -> bool,
) -> bool {
    name.len() <= longest && name.starts_with(first) && name.chars().all(others)
}

/// A text as a name of the kind that fields have, such as `release_year` of `Release Year`. It may still be reserved.
fn identifier(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut was_small = false;
    for c in text.chars().take(MAX_NAME) {
        if c.is_ascii_alphanumeric() {
            // `releaseYear` has two words.
            if c.is_ascii_uppercase() && was_small {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        was_small = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = name.get(..MAX_FIELD_NAME).unwrap_or(name).trim_end_matches('_');
    if name.is_empty() { None } else { Some(name.to_owned()) }
}

/// A text as the name of a field, if it has letters from which one can be made.
pub fn field_name(text: &str) -> Option<String> {
    let name = identifier(text)?;
    let candidates =
        [name.clone(), format!("{}_value", name.get(..MAX_FIELD_NAME - 6).unwrap_or(&name))];
    candidates.into_iter().find(|name| check(Named::Field, name, Span::default()).is_none())
}

/// Plurals in -ies whose singular does not end in -y.
const WORDS_IN_IE: &[&str] = &["cookies", "movies", "pies", "selfies", "ties", "zombies"];

/// A name for the record type of a collection, such as `Movie` of `movies`.
pub fn record_name(collection: &str) -> String {
    let singular = match (collection.strip_suffix("ies"), collection.strip_suffix('s')) {
        (Some(start), _) if WORDS_IN_IE.contains(&collection) => format!("{start}ie"),
        (Some(start), _) => format!("{start}y"),
        (None, Some(start)) if !start.ends_with('s') => start.to_owned(),
        _ => collection.to_owned(),
    };
    let name: String = singular
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect();
    match check(Named::RecordType, &name, Span::default()) {
        None => name,
        // The API has a schema of that name.
        Some(_) => format!("{name}Record"),
    }
}

/// Checks the name of a collection.
///
/// # Errors
/// Why it cannot be one.
pub fn check_collection(name: &str) -> Result<(), Mistake> {
    check(Named::Collection, name, Span::new(0, name.len())).map_or(Ok(()), Err)
}

/// A text as the name of a collection, if it has letters from which one can be made.
pub fn collection_name(text: &str) -> Option<String> {
    identifier(text).filter(|name| check_collection(name).is_ok())
}
