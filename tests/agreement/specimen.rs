//! A record type made to be difficult: every type, nearly everything nullable, two fields of most types,
//! and no bounds.

use std::sync::LazyLock;

use cinequery::query::Schema;
use cinequery::record::Catalogue;

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
