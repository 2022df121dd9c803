//! A record type made to be difficult: every type, nearly everything nullable, two fields of most types,
//! and no bounds.

use std::sync::LazyLock;

use cinequery::query::Schema;
use cinequery::record::Catalogue;
use cinequery::store::Migrations;

use crate::support;
use crate::support::records::declared;

const DECLARATION: &str = r#"
name = "Specimen"
collection = "specimens"
unique = [["label"]]

[fields]
label = { type = "text", length = [1, 40] }
name = { type = "text", length = [0, 60], required = false }
note = { type = "text", length = [0, 60], required = false }
number = { type = "integer", required = false }
small = { type = "integer", range = [-2147483648, 2147483647], required = false }
flag = { type = "boolean", required = false }
mark = { type = "boolean", required = false }
day = { type = "date", required = false }
end = { type = "date", required = false }
moment = { type = "timestamp", required = false }
"#;

/// The record type.
pub(super) fn specimens() -> &'static Schema {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| declared(&[DECLARATION]));
    CATALOGUE.schemas()[0]
}

const SQLITE: &str = "
    CREATE TABLE specimens (
        id BLOB NOT NULL PRIMARY KEY,
        label TEXT NOT NULL UNIQUE, label_folded TEXT NOT NULL,
        name TEXT, name_folded TEXT, note TEXT, note_folded TEXT,
        number INTEGER, small INTEGER, flag INTEGER, mark INTEGER, day TEXT, \"end\" TEXT, moment TEXT,
        version INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;";

const POSTGRES: &str = "
    CREATE TABLE specimens (
        id uuid NOT NULL PRIMARY KEY,
        label text COLLATE \"C\" NOT NULL UNIQUE, label_folded text COLLATE \"C\" NOT NULL,
        name text COLLATE \"C\", name_folded text COLLATE \"C\",
        note text COLLATE \"C\", note_folded text COLLATE \"C\",
        number bigint, small integer, flag boolean, mark boolean, day date, \"end\" date,
        moment timestamptz,
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL
    );";

/// The tables of the tests and that of the specimens.
pub(super) fn migrations() -> Migrations {
    support::migrations().with(1001, "specimens", SQLITE, POSTGRES)
}
