//! Record types as files: what is read, and what is reported of mistakes.

use cinequery::record::{BUILT_IN, Catalogue};

#[test]
fn the_built_in_declaration_is_free_of_mistakes() {
    assert_eq!(Catalogue::built_in(), Catalogue::built_in());
    assert_eq!(Catalogue::parse([("movies.toml", BUILT_IN)]).unwrap().schemas().len(), 1);
}
