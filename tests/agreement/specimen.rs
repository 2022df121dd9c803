//! A record made to be difficult: every type, nearly everything nullable, two fields of most types,
//! and no bounds.

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::store::Migrations;

use crate::support::screening;

cinequery::record! {
    /// A record that exists to be searched.
    pub struct Specimen in "specimens", unique by [label] {
        /// What it is told apart by.
        label: String, 1..=40;
        /// A text.
        name: Option<String>, 0..=60;
        /// Another text.
        note: Option<String>, 0..=60;
        /// An integer of 64 bits.
        number: Option<i64>;
        /// An integer of 32 bits.
        small: Option<i32>, -2_147_483_648..=2_147_483_647;
        /// A boolean.
        flag: Option<bool>;
        /// Another boolean.
        mark: Option<bool>;
        /// A date.
        day: Option<NaiveDate>;
        /// Another date.
        end: Option<NaiveDate>;
        /// A timestamp.
        moment: Option<DateTime<Utc>>;
    }
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
    screening::migrations().with(1001, "specimens", SQLITE, POSTGRES)
}
