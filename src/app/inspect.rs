//! Tools for writing queries: the fields and operators, checks, plans of the database, completion.

mod check;
mod complete;
mod explain;
mod schema;
mod tree;

pub use self::check::{Canonical, Check, NamedParameter, check};
pub use self::complete::{Completion, complete};
pub use self::explain::{BoundValue, Explanation, UsedLimit, UsedLimits, explain};
pub use self::schema::{
    CatalogueSchema, FieldSchema, FunctionSchema, LanguageLimits, RecordType, SearchSchema,
    describe,
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

/// Returns the record type of a collection, by default the first one, if the caller may read its records.
fn readable(
    catalogue: Catalogue,
    caller: &Identity,
    collection: Option<&str>,
) -> Result<&'static Schema> {
    let schema = match collection {
        Some(name) => catalogue.find(name),
        None => catalogue.schemas().first().copied(),
    };
    let schema = schema.ok_or_else(|| {
        let name = collection.unwrap_or_default();
        let help = did_you_mean(name, catalogue.schemas().iter().map(|schema| schema.collection));
        Error::new(Kind::InvalidParameter, format!("unknown collection {name:?}; {help}"))
    })?;
    caller.require(Access::Read, schema)?;
    Ok(schema)
}
