//! The specification and Swagger UI, served from the binary.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::endpoint::make_sync;
use poem::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, LOCATION, REFERRER_POLICY,
};
use poem::http::{HeaderValue, StatusCode};
use poem::web::Path;
use poem::web::headers::{self, HeaderMapExt};
use poem::{IntoEndpoint, Request, Response, RouteMethod, handler};
use sha2::{Digest, Sha256};

use super::envelope::{Shared, accepts_gzip, refused};
use super::resource::read_only;
use crate::error::{Error, Kind};

/// The page may load what this service serves, and nothing else. Swagger UI draws its icons from
/// `data:` addresses.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const PAGE: &str = include_str!("../../openapi/swagger-ui/index.html");

/// The page, relative to `/docs/`. A literal that begins with two dots would be an included file, for the test of
/// the image.
const PAGE_FROM_FOLDER: &str = concat!("..", "/docs");

const TEXT: &str = "text/plain; charset=utf-8";

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
    ("start.css", "text/css; charset=utf-8", include_bytes!("../../openapi/swagger-ui/start.css")),
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
    ("LICENSE.txt", TEXT, include_bytes!("../../openapi/swagger-ui/LICENSE")),
    (
        "LICENSES.txt",
        TEXT,
        include_bytes!("../../openapi/swagger-ui/swagger-ui-bundle.js.LICENSE.txt"),
    ),
    ("NOTICE.txt", TEXT, include_bytes!("../../openapi/swagger-ui/NOTICE")),
];

/// The page, and its files under names that change with their content: a browser that has one keeps
/// it, and never takes that of another version for it.
static SWAGGER_UI: LazyLock<(Fixed, Vec<(String, Fixed)>)> = LazyLock::new(|| {
    let mut page = PAGE.to_owned();
    let mut files = Vec::new();
    for (name, media_type, content) in FILES {
        let file = Fixed::new(media_type, "public, max-age=31536000, immutable", *content);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let hashed = format!("{stem}.{}.{extension}", file.hash);
        page = page.replace(&format!("docs/{name}"), &format!("docs/{hashed}"));
        files.push((hashed, file));
    }
    (Fixed::new("text/html; charset=utf-8", "no-cache", page), files)
});

/// What stays as it is while the service runs: compressed once, and known by its hash.
struct Fixed {
    media_type: &'static str,
    caching: &'static str,
    content: Bytes,
    compressed: Bytes,
    hash: String,
}

impl Fixed {
    fn new(media_type: &'static str, caching: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes whatever is written.
        let compressed = encoder.write_all(&content).and_then(|()| encoder.finish());
        let compressed = compressed.unwrap_or_default().into();
        let digest = Sha256::digest(&content);
        let hash = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, caching, content, compressed, hash }
    }

    fn answer(&self, request: &Request) -> Response {
        // Weak, as compressed and plain are not the same bytes.
        let tag = format!("W/\"{}\"", self.hash);
        let answer = Response::builder().header(CACHE_CONTROL, self.caching).header(ETAG, &tag);
        let asked = request.headers().typed_get::<headers::IfNoneMatch>();
        if asked.zip(tag.parse().ok()).is_some_and(|(asked, tag)| !asked.precondition_passes(&tag))
        {
            return answer.status(StatusCode::NOT_MODIFIED).finish();
        }
        let answer = answer.content_type(self.media_type);
        let mut answer = if accepts_gzip(request.headers()) {
            answer.header(CONTENT_ENCODING, "gzip").body(self.compressed.clone())
        } else {
            answer.body(self.content.clone())
        };
        answer.extensions_mut().insert(Shared);
        answer
    }
}

/// `GET /openapi.json`
pub(super) fn specification(
    specification: &serde_json::Value,
) -> impl IntoEndpoint<Endpoint = RouteMethod> + use<> {
    let text = specification.to_string();
    let file =
        LazyLock::new(move || Fixed::new("application/json", "public, max-age=60", text.clone()));
    read_only(make_sync(move |request| file.answer(&request)))
}

/// `GET /docs`
pub(super) fn page() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make_sync(|request| {
        let mut answer = SWAGGER_UI.0.answer(&request);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer
    }))
}

/// `GET /docs/`, where the relative URLs of the page would resolve to other paths.
pub(super) fn redirect() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make_sync(|_| {
        let moved = Response::builder().status(StatusCode::PERMANENT_REDIRECT);
        moved.header(LOCATION, PAGE_FROM_FOLDER).finish()
    }))
}

/// `GET /docs/{file}`
pub(super) fn file() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(serve_file)
}

#[handler]
fn serve_file(Path(name): Path<String>, request: &Request) -> Response {
    match SWAGGER_UI.1.iter().find(|(known, _)| *known == name) {
        Some((_, file)) => file.answer(request),
        None => refused(Error::new(Kind::UnknownRoute, "the documentation has no such file")),
    }
}
