//! What a record type is, and the list of them.
//!
//! A type is one `record!` declaration: a struct for what is read, and a [`Schema`] from which
//! everything else follows: the filter language, validation, the specification, the columns.

mod catalogue;
mod draft;
mod movie;
mod specification;
mod stored_query;

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use poem_openapi::types::Type as Documented;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

pub use self::catalogue::Catalogue;
pub use self::draft::{Draft, Fields, Members, Patch, Row};
pub use self::movie::Movie;
pub use self::specification::{Form, TEXT_PATTERN, describe};
pub use self::stored_query::StoredQuery;
use crate::query::evaluate;
use crate::query::{Field, Schema, Type, Value};

/// Every record type of the service. A new one is one name here.
pub type All = (Movie,);

/// A type of record: something with an id, a version and typed fields.
pub trait Record:
    Clone
    + std::fmt::Debug
    + PartialEq
    + Send
    + Sync
    + Unpin
    + Serialize
    + Documented
    + for<'r> sqlx::FromRow<'r, SqliteRow>
    + for<'r> sqlx::FromRow<'r, PgRow>
    + 'static
{
    /// Its names and fields.
    const SCHEMA: &'static Schema;

    /// Its id, a UUIDv7.
    fn id(&self) -> Uuid;

    /// How often it has been written; the ETag.
    fn version(&self) -> i64;

    /// The value of a field, `None` for null.
    fn value(&self, field: &str) -> Option<Value>;
}

impl<R: Record> evaluate::Fields for R {
    fn field(&self, field: &Field) -> Option<Value> {
        self.value(field.name)
    }
}

/// A set of record types: a tuple of them.
pub trait Records: 'static {
    /// Their schemas.
    fn schemas() -> Vec<&'static Schema>;

    /// Calls the visitor with the type whose table has that name.
    fn visit<V: Visitor>(table: &str, visitor: V) -> Option<V::Output>;
}

/// Something to be done with a record type that is known by name only.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<R: Record>(self) -> Self::Output;
}

macro_rules! record_sets {
    ($(($($record:ident),+))+) => {$(
        impl<$($record: Record),+> Records for ($($record,)+) {
            fn schemas() -> Vec<&'static Schema> {
                vec![$($record::SCHEMA),+]
            }

            fn visit<V: Visitor>(table: &str, visitor: V) -> Option<V::Output> {
                $(if $record::SCHEMA.collection == table {
                    return Some(visitor.visit::<$record>());
                })+
                None
            }
        }
    )+};
}

record_sets! { (A) (A, B) (A, B, C) (A, B, C, D) }

/// A Rust type that a field can have.
pub trait Column {
    /// The type in the language.
    const TYPE: Type;
    /// Whether there may be none.
    const NULLABLE: bool = false;

    /// The value in the language.
    fn value(&self) -> Option<Value>;
}

macro_rules! columns {
    ($($rust:ty => $ty:ident($convert:expr);)+) => {$(
        impl Column for $rust {
            const TYPE: Type = Type::$ty;

            fn value(&self) -> Option<Value> {
                let convert: fn(&$rust) -> _ = $convert;
                Some(Value::$ty(convert(self)))
            }
        }
    )+};
}

columns! {
    String => Text(Clone::clone);
    i32 => Integer(|number| i64::from(*number));
    i64 => Integer(|number| *number);
    bool => Boolean(|flag| *flag);
    NaiveDate => Date(|date| *date);
    DateTime<Utc> => Timestamp(|instant| *instant);
    Uuid => Id(|id| *id);
}

impl<T: Column> Column for Option<T> {
    const TYPE: Type = T::TYPE;
    const NULLABLE: bool = true;

    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(Column::value)
    }
}

/// The moment, to the microsecond that both databases store.
pub fn timestamp_now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// The bounds of a field for which none are given.
pub const UNBOUNDED: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// Declares a record type: the struct, its schema and how it is read from a row.
///
/// ```text
/// record! {
///     /// A sentence for the specification.
///     pub struct Movie in "movies", unique by [title, release_year] {
///         /// A sentence on the field.
///         title: String, 1..=300, such as "The Third Man";
///         expiry_date: NaiveDate, such as "2031-12-31";
///     }
///     searches {
///         /// What it finds.
///         soon: "expiry_date between today and today + 30d";
///     }
/// }
/// ```
///
/// The bounds are characters of a text and values of an integer. An `Option` may be null. `id`,
/// `version`, `created_at` and `updated_at` are added and kept by the service. What stands behind
/// `such as`, and the searches, are the examples of the specification; a record that is not served
/// needs none.
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident in $table:literal, unique by [$($key:ident),+]
            $(, indexes [$([$($column:ident),+]),+])? {
            $($(#[doc = $description:literal])+
                $field:ident: $rust:ty $(, $low:literal..=$high:literal)? $(, such as $example:literal)?;)+
        }
        $(searches {
            $($(#[doc = $finds:literal])+ $search:ident: $filter:literal;)+
        })?
    ) => {
        $crate::record! { @declare
            [$(#[doc = $about])+] $name, $table, [$($key),+], [$($([$($column),+]),+)?],
            [$($($crate::query::Search {
                name: stringify!($search),
                description: concat!($($finds),+).trim_ascii(),
                filter: $filter,
            }),+)?],
            /// The identity: a UUIDv7, which sorts by the time of creation.
            id: $crate::record::external::Uuid, false, $crate::record::UNBOUNDED,
                "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50";
            $($(#[doc = $description])+ $field: $rust, true,
                $crate::record!(@bounds $($low..=$high)?), concat!($($example)?);)+
            /// How often it has been written. It is the ETag.
            version: i64, false, $crate::record::UNBOUNDED, "1";
            /// When it was created, in UTC.
            created_at: $crate::record::external::DateTime<$crate::record::external::Utc>, false,
                $crate::record::UNBOUNDED, "2026-01-31T12:00:00.000000Z";
            /// When it was last written, in UTC.
            updated_at: $crate::record::external::DateTime<$crate::record::external::Utc>, false,
                $crate::record::UNBOUNDED, "2026-01-31T12:00:00.000000Z";
        }
    };
    (@bounds) => { $crate::record::UNBOUNDED };
    (@bounds $bounds:expr) => { $bounds };
    (@declare
        [$(#[doc = $about:literal])+] $name:ident, $table:literal, [$($key:ident),+],
        [$([$($column:ident),+]),*],
        [$($searches:expr),*],
        $($(#[doc = $description:literal])+
            $field:ident: $rust:ty, $writable:literal, $bounds:expr, $example:expr;)+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, $crate::record::external::Serialize)]
        #[serde(crate = "cinequery::record::external::serde")]
        pub struct $name {
            $($(#[doc = $description])+ pub $field: $rust,)+
        }

        impl $crate::record::Record for $name {
            const SCHEMA: &'static $crate::query::Schema = &$crate::query::Schema {
                name: stringify!($name),
                collection: $table,
                description: concat!($($about),+).trim_ascii(),
                fields: &[$($crate::query::Field {
                    name: stringify!($field),
                    description: concat!($($description),+).trim_ascii(),
                    ty: <$rust as $crate::record::Column>::TYPE,
                    bounds: $bounds,
                    nullable: <$rust as $crate::record::Column>::NULLABLE,
                    default: None,
                    writable: $writable,
                    managed: !$writable,
                    searchable: matches!(<$rust as $crate::record::Column>::TYPE, $crate::query::Type::Text),
                    renamed_from: None,
                    example: $example,
                }),+],
                select_list: concat!($(", \"", stringify!($field), "\""),+).split_at(2).1,
                unique: &[&[$(stringify!($key)),+]],
                indexes: &[$(&[$(stringify!($column)),+]),*],
                searches: &[$($searches),*],
            };

            fn id(&self) -> $crate::record::external::Uuid {
                self.id
            }

            fn version(&self) -> i64 {
                self.version
            }

            fn value(&self, field: &str) -> Option<$crate::query::Value> {
                match field {
                    $(stringify!($field) => $crate::record::Column::value(&self.$field),)+
                    _ => None,
                }
            }
        }

        // By position: statements name the columns in the order of the schema.
        impl<'r, R> $crate::record::external::FromRow<'r, R> for $name
        where
            R: $crate::record::external::SqlRow,
            usize: $crate::record::external::ColumnIndex<R>,
            $($rust: $crate::record::external::Decode<'r, R::Database>
                + $crate::record::external::SqlType<R::Database>,)+
        {
            fn from_row(row: &'r R) -> Result<Self, $crate::record::external::SqlError> {
                let mut column = 0..;
                let mut next = || column.next().unwrap_or_default();
                Ok(Self { $($field: row.try_get(next())?,)+ })
            }
        }

        impl $crate::record::external::Documented for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> $crate::record::external::MetaSchemaRef {
                $crate::record::external::MetaSchemaRef::Reference(stringify!($name).to_owned())
            }

            fn register(registry: &mut $crate::record::external::Registry) {
                let schema = <Self as $crate::record::Record>::SCHEMA;
                registry.create_schema::<Self, _>(stringify!($name).to_owned(), |_| {
                    $crate::record::describe(schema, $crate::record::Form::Record)
                });
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

/// What `record!` expands to names; a crate that declares a record needs no dependency but this one.
#[doc(hidden)]
pub mod external {
    pub use chrono::{DateTime, NaiveDate, Utc};
    pub use poem_openapi::registry::{MetaSchemaRef, Registry};
    pub use poem_openapi::types::Type as Documented;
    pub use serde::{self, Serialize};
    pub use sqlx::{
        ColumnIndex, Decode, Error as SqlError, FromRow, Row as SqlRow, Type as SqlType,
    };
    pub use uuid::Uuid;
}
