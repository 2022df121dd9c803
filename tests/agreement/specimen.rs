//! A record type with many difficult cases. The fuzz target uses its declaration, too.

use std::sync::LazyLock;

use cinequery::query::Schema;
use cinequery::record::Catalogue;

use crate::support::records::declared;

/// Returns the record type.
pub(super) fn specimens() -> &'static Schema {
    static CATALOGUE: LazyLock<Catalogue> =
        LazyLock::new(|| declared(&[include_str!("specimens.toml")]));
    CATALOGUE.schemas()[0]
}
