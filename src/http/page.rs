//! Pages and their files, served from the binary: cached by browsers, compressed once, under a strict policy.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, REFERRER_POLICY,
};
use poem::http::{HeaderValue, StatusCode, Uri};
use poem::web::headers::{self, HeaderMapExt};
use poem::{Request, Response};
use sha2::{Digest, Sha256};

use super::envelope::{Shared, accepts_gzip, error_response};
use crate::app::App;
use crate::error::{Error, Kind};
use crate::identity::Method;

/// The content security policy: a page may load resources of this service only. Icons are `data:` URLs.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The media type of pages.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// The media type of scripts.
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The media type of style sheets.
pub(super) const STYLE: &str = "text/css; charset=utf-8";

/// The media type of licences.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A file of a page: its name in the page, its media type, its content.
pub(super) type File = (&'static str, &'static str, &'static [u8]);

/// Pages with the files that they load from one folder. The URLs of the files contain a hash of all of them, so that
/// browsers can cache the files forever and still load the files of a new version. A script finds the others beside it.
pub(super) struct Site<const PAGES: usize> {
    pub(super) pages: [Fixed; PAGES],
    hash: String,
    files: Vec<(&'static str, Fixed)>,
}

impl<const PAGES: usize> Site<PAGES> {
    /// Creates a site. The pages name the files in quotes, after one of the prefixes, such as `docs/`.
    pub(super) fn new(pages: [&str; PAGES], prefixes: &[&str], files: &[File]) -> Self {
        let hash = hash_of(files.iter().flat_map(|(name, _, content)| [name.as_bytes(), content]));
        let pages = pages.map(|page| {
            let mut page = page.to_owned();
            for (name, ..) in files {
                for prefix in prefixes {
                    let from = format!("\"{prefix}{name}\"");
                    page = page.replace(&from, &format!("\"{prefix}{hash}/{name}\""));
                }
            }
            Fixed::new(HTML, "no-cache", page)
        });
        let files = files.iter().map(|(name, media_type, content)| {
            (*name, Fixed::new(media_type, "public, max-age=31536000, immutable", *content))
        });
        Self { pages, hash, files: files.collect() }
    }

    /// Returns a file by the hash of the site and its name.
    pub(super) fn file(&self, hash: &str, name: &str, request: &Request) -> Response {
        match self.files.iter().find(|(known, _)| hash == self.hash && *known == name) {
            Some((_, file)) => file.respond(request),
            None => error_response(Error::new(Kind::UnknownRoute, "unknown file; reload the page")),
        }
    }
}

/// Returns the start of the SHA-256 of parts, in hexadecimal digits.
fn hash_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
        let hash = hash_of([&*content]);
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

/// Returns a page that may only do what this policy allows, and whose URL no other site learns.
pub(super) fn confined(mut page: Response, policy: HeaderValue) -> Response {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

/// Responds with a page that can sign users in.
pub(super) async fn confined_for(page: &Fixed, request: &Request) -> Response {
    let policy = match request.data::<App>() {
        Some(app) => policy_of(app).await,
        None => POLICY,
    };
    confined(page.respond(request), policy)
}

/// Returns the policy of a page. If it signs users in at another service, it may also connect to the origin at which it
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_change_with_every_file() {
        let page = |files: &[File]| {
            let site = Site::new([r#"<script src="./start.js">"#], &["./"], files);
            let [page] = site.pages;
            (page.content, site.hash)
        };
        let (content, hash) = page(&[("start.js", SCRIPT, b"import"), ("more.js", SCRIPT, b"1")]);
        assert_eq!(content, format!(r#"<script src="./{hash}/start.js">"#));
        for other in [
            &[("start.js", SCRIPT, &b"import"[..]), ("more.js", SCRIPT, &b"2"[..])][..],
            &[("start.js", SCRIPT, b"imports"), ("more.js", SCRIPT, b"1")],
            &[("start.js", SCRIPT, b"import"), ("other.js", SCRIPT, b"1")],
            &[("start.js", SCRIPT, b"import")],
        ] {
            assert_ne!(page(other).1, hash);
        }
    }
}
