//! The console: the page at `/`, built from `console/`.

use std::sync::LazyLock;

use poem::endpoint::make;
use poem::web::Path;
use poem::{IntoEndpoint, Request, Response, RouteMethod, handler};

use super::page::{File, SCRIPT, STYLE, Site, TEXT, confined_for};
use super::resource::read_only;

const PAGE: &str = include_str!("../../console/dist/index.html");

/// The files of the page.
const FILES: &[File] = &[
    ("console.js", SCRIPT, include_bytes!("../../console/dist/console/console.js")),
    ("shared.js", SCRIPT, include_bytes!("../../console/dist/console/shared.js")),
    ("editor.js", SCRIPT, include_bytes!("../../console/dist/console/editor.js")),
    ("plot.js", SCRIPT, include_bytes!("../../console/dist/console/plot.js")),
    ("dialogs.js", SCRIPT, include_bytes!("../../console/dist/console/dialogs.js")),
    ("views.js", SCRIPT, include_bytes!("../../console/dist/console/views.js")),
    ("console.css", STYLE, include_bytes!("../../console/dist/console/console.css")),
    ("licenses.txt", TEXT, include_bytes!("../../console/dist/licenses.txt")),
];

static CONSOLE: LazyLock<Site<1>> = LazyLock::new(|| Site::new([PAGE], &["./console/"], FILES));

/// `GET /`
pub(super) fn page() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make(async |request: Request| {
        let [page] = &CONSOLE.pages;
        Ok::<_, poem::Error>(confined_for(page, &request).await)
    }))
}

/// `GET /console/{hash}/{file}`
pub(super) fn file() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(serve_file)
}

#[handler]
fn serve_file(Path((hash, name)): Path<(String, String)>, request: &Request) -> Response {
    CONSOLE.file(&hash, &name, request)
}
