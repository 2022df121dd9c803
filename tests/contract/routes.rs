//! Checks that the OpenAPI document lists exactly the routes that the service has.

use std::collections::BTreeSet;

use cinequery::http::specification;

use crate::architecture::sources;
use crate::support::{Client, Database, catalogue};

/// Routes that are not operations: the pattern of the path, and why the document does not list it.
const UNDOCUMENTED: &[(&str, &str)] = &[
    ("/", "the console"),
    ("/console/:hash/:file", "the files of the console"),
    ("/docs", "a page for humans"),
    ("/docs/", "a redirect to the page"),
    ("/docs/:hash/:file", "the files of the page"),
    ("/docs/guide", "a redirect to the manual"),
    ("/docs/guide/", "a redirect to the manual"),
    ("/docs/guide/:file", "the pages of the manual"),
    ("/docs/oauth2-redirect", "the page to which an issuer of tokens sends a browser"),
    ("/openapi.json", "the document itself"),
];

#[tokio::test]
async fn each_path_has_the_methods_that_are_documented() {
    let client = Client::of(Database::sqlite()).await.with_token(None);
    let document = specification(catalogue());
    for (path, operations) in document["paths"].as_object().unwrap() {
        let mut expected: BTreeSet<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        // Methods that every path supports (RFC 9110, section 9.3).
        expected.insert("OPTIONS".to_owned());
        if expected.contains("GET") {
            expected.insert("HEAD".to_owned());
        }
        let path = path.replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057");
        let response =
            client.send(client.request("OPTIONS", &path.replace("{name}", "name"))).await;
        let allowed = response.header("allow").split(", ").map(str::to_owned).collect();
        assert_eq!((response.status, expected), (204, allowed), "{path}");
    }
}

/// The framework documents every operation that it serves. Other routes are added with `at` in the router; this test finds
/// them in the source.
#[test]
fn routes_without_operations_are_listed() {
    let sources = sources();
    // The listener for operators has its own routes.
    let is_public = |file: &str| file.starts_with("http") && file != "http/admin.rs";
    let of_http = sources.iter().filter(|(file, _)| is_public(file));
    let routes = of_http.flat_map(|(_, source)| source.split(".at(\"").skip(1));
    let served: BTreeSet<&str> = routes.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(served, UNDOCUMENTED.iter().map(|(path, _)| *path).collect());
}
