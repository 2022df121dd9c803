//! The record types of a service, as a list that is made once at start.

use crate::query::Schema;

/// The record types of a service, in their order. The first is meant where a request names none. Copying is cheap:
/// the schemas live as long as the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Catalogue(&'static [&'static Schema]);

impl Catalogue {
    /// A catalogue of these record types. It is never freed, as services have one for as long as they run.
    pub fn of(schemas: Vec<&'static Schema>) -> Self {
        Self(schemas.leak())
    }

    /// That of a service without declarations: the movies.
    pub fn built_in() -> Self {
        Self::of(vec![super::movies()])
    }

    /// The record types.
    pub fn schemas(self) -> &'static [&'static Schema] {
        self.0
    }

    /// The record type of that collection.
    pub fn find(self, collection: &str) -> Option<&'static Schema> {
        self.0.iter().copied().find(|schema| schema.collection == collection)
    }
}
