//! The specification and Swagger UI, served from the binary.

use poem::endpoint::make_sync;
use poem::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use poem::web::Path;
use poem::{IntoEndpoint, Response, RouteMethod, handler};

use super::envelope::refused;
use super::resource::read_only;
use crate::error::{Error, Kind};

/// The page may load what this service serves, and nothing else. Swagger UI sets styles on elements
/// and draws its icons from `data:` addresses.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const PAGE: &str = include_str!("../../openapi/swagger-ui/index.html");

/// The files of the page: name, media type, content.
const FILES: &[(&str, &str, &[u8])] = &[
    (
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../openapi/swagger-ui/swagger-ui-bundle.js"),
    ),
    (
        "swagger-ui.css",
        "text/css; charset=utf-8",
        include_bytes!("../../openapi/swagger-ui/swagger-ui.css"),
    ),
    (
        "start.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../openapi/swagger-ui/start.js"),
    ),
    (
        "favicon-32x32.png",
        "image/png",
        include_bytes!("../../openapi/swagger-ui/favicon-32x32.png"),
    ),
];

/// `GET /openapi.json`
pub(super) fn specification(
    specification: &serde_json::Value,
) -> impl IntoEndpoint<Endpoint = RouteMethod> + use<> {
    let text = specification.to_string();
    read_only(make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .header(CACHE_CONTROL, "public, max-age=60")
            .body(text.clone())
    }))
}

/// `GET /docs`
pub(super) fn page() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make_sync(|_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(CONTENT_SECURITY_POLICY, POLICY)
            .body(PAGE)
    }))
}

/// `GET /docs/{file}`
pub(super) fn file() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(serve_file)
}

#[handler]
fn serve_file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some((_, media_type, content)) => Response::builder()
            .content_type(media_type)
            .header(CACHE_CONTROL, "public, max-age=3600")
            .body(*content),
        None => refused(Error::new(Kind::UnknownRoute, "the documentation has no such file")),
    }
}
