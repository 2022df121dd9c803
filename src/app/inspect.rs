//! Looking into the language: the fields there are, what is wrong with a query, how the database
//! answers it, how an unfinished one goes on.

mod check;
mod complete;
mod explain;
mod schema;
mod tree;

pub use self::check::{Canonical, Check, NamedParameter, check};
pub use self::complete::{Completion, complete};
pub use self::explain::{BoundValue, Explanation, UsedLimit, UsedLimits, explain};
pub use self::schema::{
    CatalogueSchema, FieldSchema, FunctionSchema, LanguageLimits, RecordSchema, describe,
};
pub use self::tree::{
    ExpressionNode, ExpressionType, OperandNode, OperandType, OperatorNode, OrderKeyNode,
    SyntaxTree,
};
use crate::error::{Error, Kind, Result};
use crate::identity::{Access, Identity};
use crate::query::Schema;
use crate::query::diagnostic::did_you_mean;
use crate::record::Catalogue;

/// The record type whose collection has that name, the first when none is named, for a caller who
/// may read its records.
fn readable(
    catalogue: Catalogue,
    caller: &Identity,
    record: Option<&str>,
) -> Result<&'static Schema> {
    let schemas = catalogue.schemas();
    let is_meant = |schema: &&&Schema| record.is_none_or(|name| schema.collection == name);
    let schema = schemas.iter().copied().find(|schema| is_meant(&schema)).ok_or_else(|| {
        let name = record.unwrap_or_default();
        let help = did_you_mean(name, schemas.iter().map(|schema| schema.collection));
        Error::new(Kind::InvalidParameter, format!("there is no record {name:?}; {help}"))
    })?;
    caller.require(Access::Read, schema)?;
    Ok(schema)
}
