//! Record types as files: what is read, and what is reported of mistakes.

use cinequery::query::Schema;
use cinequery::record::{BUILT_IN, Catalogue, Movie, Record};

/// Everything a schema says.
fn facts(schema: &Schema) -> String {
    let Schema { name, collection, description, fields, select_list, unique, searches, .. } =
        schema;
    let searches: Vec<_> = searches.iter().map(|s| (s.name, s.description, s.filter)).collect();
    format!("{name} {collection} {description} {fields:#?} {select_list} {unique:?} {searches:#?}")
}

#[test]
fn the_built_in_declaration_is_the_schema_of_movies() {
    let [schema] = Catalogue::built_in().schemas() else { panic!("one record type") };
    assert_eq!(facts(schema), facts(Movie::SCHEMA));
    assert_eq!(
        schema.indexes,
        [&["genre", "expiry_date"][..], &["expiry_date"], &["release_year"]]
    );
    assert_eq!(Catalogue::built_in(), Catalogue::built_in());
    assert_eq!(Catalogue::parse([("movies.toml", BUILT_IN)]).unwrap().schemas().len(), 1);
}
