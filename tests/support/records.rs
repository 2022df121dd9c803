//! The record types of the tests: the built-in movies, and screenings with nullable fields.

use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, Utc};
use cinequery::app::search::{self, About, SearchRequest};
use cinequery::clock::timestamp_now;
use cinequery::error::Result;
use cinequery::identity::Identity;
use cinequery::query::{Argument, Arguments, Schema, Shape, compile, prepare};
use cinequery::record::{BUILT_IN, Catalogue, Draft, Members};
use cinequery::store::{Record, Store};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The declaration of the screenings.
pub const SCREENINGS: &str = include_str!("../../examples/screenings/screenings.toml");

/// Parses these declarations into a catalogue.
pub fn declared(files: &[&str]) -> Catalogue {
    let files = files.iter().map(|source| ("test.toml", *source));
    Catalogue::parse(files).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
}

/// Returns the catalogue of movies and screenings.
pub fn catalogue() -> Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| declared(&[BUILT_IN, SCREENINGS]));
    *CATALOGUE
}

/// Returns a record as an earlier version may have stored it: of the types of its fields, but with any text.
pub fn as_stored<V: Into<Argument>>(schema: &'static Schema, members: Members<V>) -> Draft {
    let mut members: Vec<(String, Argument)> =
        members.0.into_iter().map(|(name, value)| (name, value.into())).collect();
    let fields = schema.declared().map(|field| {
        let position = members.iter().position(|(name, _)| name == field.name);
        let value = match position.map(|position| members.remove(position).1) {
            None => field.default.clone(),
            Some(Argument::NULL) => None,
            Some(value) => Some(value.read(field.ty).unwrap()),
        };
        (field, value)
    });
    Draft::of(schema, fields.collect())
}

pub fn movies() -> &'static Schema {
    catalogue().find("movies").unwrap()
}

pub fn screenings() -> &'static Schema {
    catalogue().find("screenings").unwrap()
}

/// A record that a test deserializes.
pub trait Read: DeserializeOwned {
    fn schema() -> &'static Schema;
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Screening {
    pub id: Uuid,
    pub film: String,
    pub hall: Option<String>,
    pub seats: Option<i32>,
    pub subtitled: Option<bool>,
    pub starts_at: DateTime<Utc>,
    pub sale_ends: Option<NaiveDate>,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Read for Screening {
    fn schema() -> &'static Schema {
        screenings()
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Movie {
    pub title: String,
    pub genre: String,
    pub release_year: i32,
    pub expiry_date: NaiveDate,
}

impl Read for Movie {
    fn schema() -> &'static Schema {
        movies()
    }
}

/// A page of deserialized records.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
    pub total: Option<i64>,
    pub as_of: Option<DateTime<Utc>>,
}

/// Searches records of the type `T`.
pub async fn search<T: Read>(
    store: &Store,
    caller: &Identity,
    request: SearchRequest,
) -> Result<Page<T>> {
    search_in(store, caller, T::schema(), request).await
}

/// Searches a collection.
pub async fn search_in<T: DeserializeOwned>(
    store: &Store,
    caller: &Identity,
    schema: &'static Schema,
    request: SearchRequest,
) -> Result<Page<T>> {
    let page = search::search(store, caller, schema, request).await?;
    let items = page.read()?;
    let About { next_cursor, total, as_of, .. } = page.about;
    Ok(Page { items, next_cursor, total, as_of })
}

/// Returns the first thousand records of a collection, in order of creation.
pub async fn all(store: &Store, schema: &'static Schema) -> Vec<Record> {
    let prepared = prepare(None, None, schema).unwrap();
    let query = prepared.bind(&Arguments::default(), timestamp_now()).unwrap();
    let statement = compile(&query, Shape::Page { limit: 1000 }, store.dialect());
    store.fetch(schema, statement).await.unwrap()
}
