//! The OpenAPI document and Swagger UI, served from the binary.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::endpoint::{make, make_sync};
use poem::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, LOCATION, REFERRER_POLICY,
};
use poem::http::{HeaderValue, StatusCode, Uri};
use poem::web::Path;
use poem::web::headers::{self, HeaderMapExt};
use poem::{IntoEndpoint, Request, Response, RouteMethod, handler};
use sha2::{Digest, Sha256};

use super::envelope::{Shared, accepts_gzip, error_response};
use super::resource::read_only;
use super::specification::specification_for;
use crate::app::App;
use crate::error::{Error, Kind};
use crate::identity::{Anonymous, Method};
use crate::record::Catalogue;

/// The content security policy: the page may load resources of this service only. Swagger UI needs `data:` URLs for
/// its icons.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const PAGE: &str = include_str!("../../openapi/swagger-ui/index.html");

/// The page to which an issuer sends a browser with an authorization code.
const REDIRECTED: &str = include_str!("../../openapi/swagger-ui/oauth2-redirect.html");

/// The page, relative to `/docs/`. It is not one literal, because the test of the image takes a literal that starts
/// with two dots for an included file.
const PAGE_FROM_FOLDER: &str = concat!("..", "/docs");

const TEXT: &str = "text/plain; charset=utf-8";

/// The media type of pages.
pub(super) const HTML: &str = "text/html; charset=utf-8";

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
        "oauth2-redirect.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../openapi/swagger-ui/oauth2-redirect.js"),
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

/// The page and its files. The file names contain a hash of the content, so that browsers can cache the files forever
/// and still load the files of a new version.
static SWAGGER_UI: LazyLock<Pages> = LazyLock::new(|| {
    let (mut page, mut redirected) = (PAGE.to_owned(), REDIRECTED.to_owned());
    let mut files = Vec::new();
    for (name, media_type, content) in FILES {
        let file = Fixed::new(media_type, "public, max-age=31536000, immutable", *content);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let hashed = format!("{stem}.{}.{extension}", file.hash);
        page = page.replace(&format!("docs/{name}"), &format!("docs/{hashed}"));
        redirected = redirected.replace(&format!("\"{name}\""), &format!("\"{hashed}\""));
        files.push((hashed, file));
    }
    let [page, redirected] = [page, redirected].map(|text| Fixed::new(HTML, "no-cache", text));
    Pages { page, redirected, files }
});

/// The pages of Swagger UI and their files.
struct Pages {
    page: Fixed,
    redirected: Fixed,
    files: Vec<(String, Fixed)>,
}

/// Content that is constant while the process runs: compressed once, with a hash as its ETag.
pub(super) struct Fixed {
    media_type: &'static str,
    caching: &'static str,
    content: Bytes,
    compressed: Bytes,
    hash: String,
}

impl Fixed {
    pub(super) fn new(
        media_type: &'static str,
        caching: &'static str,
        content: impl Into<Bytes>,
    ) -> Self {
        let content = content.into();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let compressed = encoder.write_all(&content).and_then(|()| encoder.finish());
        let compressed = compressed.unwrap_or_default().into();
        let digest = Sha256::digest(&content);
        let hash = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, caching, content, compressed, hash }
    }

    pub(super) fn respond(&self, request: &Request) -> Response {
        // Weak, because the compressed and the plain response have different bytes.
        let tag = format!("W/\"{}\"", self.hash);
        let response = Response::builder().header(CACHE_CONTROL, self.caching).header(ETAG, &tag);
        let known = request.headers().typed_get::<headers::IfNoneMatch>();
        if known.zip(tag.parse().ok()).is_some_and(|(known, tag)| !known.precondition_passes(&tag))
        {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let response = response.content_type(self.media_type);
        let mut response = if accepts_gzip(request.headers()) {
            response.header(CONTENT_ENCODING, "gzip").body(self.compressed.clone())
        } else {
            response.body(self.content.clone())
        };
        response.extensions_mut().insert(Shared);
        response
    }
}

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
        let policy = match request.data::<App>() {
            Some(app) => policy_of(app).await,
            None => POLICY,
        };
        Ok::<_, poem::Error>(confined(SWAGGER_UI.page.respond(&request), policy))
    }))
}

/// `GET /docs/oauth2-redirect`, to which an issuer sends a browser with an authorization code. It accepts any query, which
/// the script of the page reads.
pub(super) fn redirected() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    RouteMethod::new()
        .get(make_sync(|request| confined(SWAGGER_UI.redirected.respond(&request), POLICY)))
}

/// Returns a page that may only do what this policy allows, and whose URL no other site learns.
fn confined(mut page: Response, policy: HeaderValue) -> Response {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

/// Returns the policy of the page. If it signs users in at another service, it may also connect to the origin at which it
/// obtains the token. An unreachable issuer is no reason to withhold the page.
async fn policy_of(app: &App) -> HeaderValue {
    let Ok(Method::Elsewhere(Some(server))) = app.method().await else { return POLICY };
    let origin = server
        .token_endpoint
        .parse::<Uri>()
        .ok()
        .and_then(|url| Some(format!("{}://{}", url.scheme_str()?, url.authority()?.as_str())));
    let Some(origin) = origin else { return POLICY };
    let own = POLICY;
    let policy = own
        .to_str()
        .unwrap_or_default()
        .replace("connect-src 'self'", &format!("connect-src 'self' {origin}"));
    HeaderValue::from_str(&policy).unwrap_or(POLICY)
}

/// `GET /docs/`. It redirects, because the relative URLs of the page would resolve to other paths here.
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
    match SWAGGER_UI.files.iter().find(|(known, _)| *known == name) {
        Some((_, file)) => file.respond(request),
        None => error_response(Error::new(Kind::UnknownRoute, "unknown file of the documentation")),
    }
}
