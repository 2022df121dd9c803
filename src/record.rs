//! Record types: their declarations, the list of them, and records that clients send.
//!
//! A record type is a [`Schema`](crate::query::Schema), from which everything else follows: the fields of filters,
//! validation, the OpenAPI document and the columns of the table.
//!
//! ```
//! use cinequery::record::{Catalogue, Draft, Members};
//!
//! let declaration = r#"
//! name = "Book"
//! collection = "books"
//! unique = [["title"]]
//!
//! [fields.title]
//! type = "text"
//!
//! [fields.pages]
//! type = "integer"
//! range = [1, 9999]
//! required = false
//! "#;
//! let catalogue = Catalogue::parse([("books.toml", declaration)]).unwrap();
//! let books = catalogue.find("books").unwrap();
//!
//! let members = |json| serde_json::from_str::<Members>(json).unwrap();
//! let book = Draft::read(books, members(r#"{"title": "Solaris"}"#)).unwrap();
//! assert_eq!(book.row().len(), 2);
//!
//! // Every broken rule is reported at once, each with its member.
//! let broken = Draft::read(books, members(r#"{"pages": 0}"#)).unwrap_err();
//! let pointers: Vec<&str> = broken.iter().map(|rule| &*rule.pointer).collect();
//! assert_eq!(pointers, ["/title", "/pages"]);
//! ```

mod catalogue;
pub mod declaration;
mod draft;
pub mod json;
mod saved_query;

use std::ops::RangeInclusive;

pub use self::catalogue::{BUILT_IN, Catalogue};
pub use self::draft::{Author, Draft, Fields, Members, Patch, Row};
pub use self::saved_query::saved_queries;

/// The bounds of a field for which none are given.
pub const UNBOUNDED: RangeInclusive<i64> = i64::MIN..=i64::MAX;
