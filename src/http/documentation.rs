//! The OpenAPI document and Swagger UI, served from the binary.

use std::sync::LazyLock;

use poem::endpoint::{make, make_sync};
use poem::http::StatusCode;
use poem::http::header::LOCATION;
use poem::web::Path;
use poem::{IntoEndpoint, Request, Response, RouteMethod, handler};

use super::page::{File, Fixed, POLICY, SCRIPT, STYLE, Site, TEXT, confined, confined_for};
use super::resource::read_only;
use super::specification::specification_for;
use crate::identity::Anonymous;
use crate::record::Catalogue;

const PAGE: &str = include_str!("../../openapi/swagger-ui/index.html");

/// The page to which an issuer sends a browser with an authorization code.
const REDIRECTED: &str = include_str!("../../openapi/swagger-ui/oauth2-redirect.html");

/// The page, relative to `/docs/`. It is not one literal, because the test of the image takes a literal that starts
/// with two dots for an included file.
const PAGE_FROM_FOLDER: &str = concat!("..", "/docs");

/// The files of the page.
const FILES: &[File] = &[
    (
        "swagger-ui-bundle.js",
        SCRIPT,
        include_bytes!("../../openapi/swagger-ui/swagger-ui-bundle.js"),
    ),
    ("swagger-ui.css", STYLE, include_bytes!("../../openapi/swagger-ui/swagger-ui.css")),
    ("start.css", STYLE, include_bytes!("../../openapi/swagger-ui/start.css")),
    ("start.js", SCRIPT, include_bytes!("../../openapi/swagger-ui/start.js")),
    ("oauth2-redirect.js", SCRIPT, include_bytes!("../../openapi/swagger-ui/oauth2-redirect.js")),
    (
        "favicon-32x32.png",
        "image/png",
        include_bytes!("../../openapi/swagger-ui/favicon-32x32.png"),
    ),
    ("LICENSE.txt", TEXT, include_bytes!("../../openapi/swagger-ui/LICENSE")),
    (
        "LICENSES.txt",
        TEXT,
        include_bytes!("../../openapi/swagger-ui/swagger-ui-bundle.js.LICENSE.txt"),
    ),
    ("NOTICE.txt", TEXT, include_bytes!("../../openapi/swagger-ui/NOTICE")),
];

/// The page, and the one to which an issuer sends a browser.
static SWAGGER_UI: LazyLock<Site<2>> =
    LazyLock::new(|| Site::new([PAGE, REDIRECTED], &["docs/", ""], FILES));

/// `GET /openapi.json`
pub(super) fn specification(
    catalogue: Catalogue,
    anonymous: Option<Anonymous>,
) -> impl IntoEndpoint<Endpoint = RouteMethod> + use<> {
    let file = LazyLock::new(move || {
        let text = specification_for(catalogue, anonymous.as_ref()).to_string();
        Fixed::new("application/json", "public, max-age=60", text)
    });
    read_only(make_sync(move |request| file.respond(&request)))
}

/// `GET /docs`
pub(super) fn page() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make(async |request: Request| {
        let [page, _] = &SWAGGER_UI.pages;
        Ok::<_, poem::Error>(confined_for(page, &request).await)
    }))
}

/// `GET /docs/oauth2-redirect`, to which an issuer sends a browser with an authorization code. It accepts any query, which
/// the script of the page reads.
pub(super) fn redirected() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    RouteMethod::new().get(make_sync(|request| {
        let [_, redirected] = &SWAGGER_UI.pages;
        confined(redirected.respond(&request), POLICY)
    }))
}

/// `GET /docs/`. It redirects, because the relative URLs of the page would resolve to other paths here.
pub(super) fn redirect() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make_sync(|_| {
        let moved = Response::builder().status(StatusCode::PERMANENT_REDIRECT);
        moved.header(LOCATION, PAGE_FROM_FOLDER).finish()
    }))
}

/// `GET /docs/{hash}/{file}`
pub(super) fn file() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(serve_file)
}

#[handler]
fn serve_file(Path((hash, name)): Path<(String, String)>, request: &Request) -> Response {
    SWAGGER_UI.file(&hash, &name, request)
}
