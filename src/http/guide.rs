//! The manual at `/docs/guide`: the Markdown files of `docs/` and `grammar/` as HTML pages.
//!
//! Pages are rendered from the files in the binary, so an instance without internet access has the manual of its own
//! version, and no page differs from its file. They have no scripts.

use std::fmt::Write as _;
use std::sync::LazyLock;

use poem::endpoint::make_sync;
use poem::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, LOCATION, VARY};
use poem::http::{HeaderValue, StatusCode};
use poem::web::Path;
use poem::{IntoEndpoint, Request, Response, RouteMethod, handler};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::body::is_media_type;
use super::envelope::{Rendered, error_response};
use super::page::{Fixed, HTML, POLICY};
use super::resource::read_only;
use crate::error::{Error, Kind};

/// A file of the manual.
struct Source {
    /// The last part of its URL, without `.html`.
    name: &'static str,
    /// Its path from this file.
    file: &'static str,
    text: &'static str,
}

macro_rules! sources {
    ($($title:literal: $($name:literal = $path:literal),+;)+) => {
        /// The files under the titles of the navigation.
        const SOURCES: &[(&str, &[Source])] = &[$(
            ($title, &[$(Source {
                name: $name,
                file: $path,
                text: include_str!($path),
            }),+]),
        )+];
    };
}

sources! {
    "Manual":
        "index" = "../../docs/README.md";
    "Use it":
        "tour" = "../../docs/tour.md",
        "spreadsheets" = "../../docs/spreadsheets.md",
        "api" = "../../docs/api.md",
        "browser" = "../../docs/browser.md",
        "console" = "../../docs/console.md",
        "language" = "../../grammar/README.md",
        "records" = "../../docs/records.md",
        "clients" = "../../docs/clients/README.md",
        "legacy" = "../../docs/legacy.md",
        "compare" = "../../docs/compare.md",
        "performance" = "../../docs/performance.md";
    "Run it":
        "configuration" = "../../docs/configuration.md",
        "containers" = "../../docs/operate/containers.md",
        "checklist" = "../../docs/operate/checklist.md",
        "observability" = "../../docs/operate/observability.md",
        "systemd" = "../../docs/operate/systemd.md",
        "sizing" = "../../docs/operate/sizing.md",
        "upgrade" = "../../docs/operate/upgrade.md",
        "troubleshooting" = "../../docs/operate/troubleshooting.md",
        "backup" = "../../docs/operate/backup.md",
        "proxy" = "../../docs/operate/proxy.md",
        "migrations" = "../../docs/migrations.md",
        "security" = "../../docs/security.md",
        "reliability" = "../../docs/reliability.md";
    "Diagnostics":
        "codes" = "../../grammar/codes/README.md",
        "conflicting_parameter" = "../../grammar/codes/conflicting_parameter.md",
        "empty" = "../../grammar/codes/empty.md",
        "empty_list" = "../../grammar/codes/empty_list.md",
        "foreign_operator" = "../../grammar/codes/foreign_operator.md",
        "invalid_character" = "../../grammar/codes/invalid_character.md",
        "invalid_date" = "../../grammar/codes/invalid_date.md",
        "invalid_duration" = "../../grammar/codes/invalid_duration.md",
        "invalid_escape" = "../../grammar/codes/invalid_escape.md",
        "invalid_number" = "../../grammar/codes/invalid_number.md",
        "invalid_parameter" = "../../grammar/codes/invalid_parameter.md",
        "invalid_timestamp" = "../../grammar/codes/invalid_timestamp.md",
        "literal_expected" = "../../grammar/codes/literal_expected.md",
        "missing_parameter" = "../../grammar/codes/missing_parameter.md",
        "mixed_and_or" = "../../grammar/codes/mixed_and_or.md",
        "null_comparison" = "../../grammar/codes/null_comparison.md",
        "operator_mismatch" = "../../grammar/codes/operator_mismatch.md",
        "out_of_range" = "../../grammar/codes/out_of_range.md",
        "repeated_order_key" = "../../grammar/codes/repeated_order_key.md",
        "reserved_word" = "../../grammar/codes/reserved_word.md",
        "reversed_bounds" = "../../grammar/codes/reversed_bounds.md",
        "text_too_long" = "../../grammar/codes/text_too_long.md",
        "too_deep" = "../../grammar/codes/too_deep.md",
        "too_many_items" = "../../grammar/codes/too_many_items.md",
        "too_many_predicates" = "../../grammar/codes/too_many_predicates.md",
        "type_mismatch" = "../../grammar/codes/type_mismatch.md",
        "unbalanced_parenthesis" = "../../grammar/codes/unbalanced_parenthesis.md",
        "unexpected_token" = "../../grammar/codes/unexpected_token.md",
        "unknown_field" = "../../grammar/codes/unknown_field.md",
        "unknown_function" = "../../grammar/codes/unknown_function.md",
        "unknown_parameter" = "../../grammar/codes/unknown_parameter.md",
        "unsupported_arithmetic" = "../../grammar/codes/unsupported_arithmetic.md",
        "unterminated" = "../../grammar/codes/unterminated.md";
}

/// The URL of the documentation of the operations, from a page.
const OPERATIONS: &str = concat!("..", "/../docs");

/// Groups of more pages are closed in the navigation.
const MAX_SHOWN: usize = 20;

const STYLE: (&str, &str) = ("guide.css", include_str!("guide.css"));

/// The pictures of the pages: path in the repository, the last part of the URL, content.
const PICTURES: &[(&str, &str, &str)] = &[(
    "docs/pictures/performance.svg",
    "performance.svg",
    include_str!("../../docs/pictures/performance.svg"),
)];

/// The documents outside the manual that a page may link to: path in the repository, URL from a page. A literal that
/// starts with two dots would be an included file, for the test of the image.
const OTHERS: &[(&str, &str)] = &[("openapi/v1.json", concat!("..", "/../openapi.json"))];

/// The files by the last part of their URLs.
static FILES: LazyLock<Vec<(String, Fixed)>> = LazyLock::new(|| {
    let files = files().into_iter().map(|(name, media_type, text)| {
        let file = Fixed::new(media_type, "no-cache", text);
        (name, file)
    });
    files.collect()
});

/// The manual as files: name, media type, content.
pub fn files() -> Vec<(String, &'static str, String)> {
    let pages = sources().map(|source| (format!("{}.html", source.name), HTML, page(source)));
    let (name, style) = STYLE;
    let style = (name.to_owned(), "text/css; charset=utf-8", style.to_owned());
    let pictures = PICTURES.iter().map(|(_, name, content)| {
        ((*name).to_owned(), "image/svg+xml; charset=utf-8", (*content).to_owned())
    });
    pages.chain([style]).chain(pictures).collect()
}

fn sources() -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().flat_map(|(_, sources)| *sources)
}

impl Source {
    /// Its path in the repository, which links are relative to.
    fn path(&self) -> &'static str {
        self.file.trim_start_matches(['.', '/'])
    }

    /// The heading of the file.
    fn title(&self) -> String {
        let line = self.text.lines().find_map(|line| line.strip_prefix("# "));
        line.unwrap_or(self.name).replace('`', "")
    }

    /// The URL of a link in this file, relative to its page. Links to files that are not in the manual have none.
    fn url(&self, link: &str) -> Option<String> {
        if link.starts_with("https://") || link.starts_with("http://") || link.starts_with('#') {
            return Some(link.to_owned());
        }
        let (file, fragment) = link.split_once('#').map_or((link, ""), |(file, to)| (file, to));
        let mut parts: Vec<&str> = self.path().split('/').collect();
        parts.pop();
        for part in file.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." => {}
                _ => parts.push(part),
            }
        }
        let path = parts.join("/");
        let page = sources().find(|source| source.path() == path);
        let page = page.map(|source| format!("{}.html", source.name));
        let pictures = PICTURES.iter().map(|(path, url, _)| (*path, *url));
        let mut others = OTHERS.iter().copied().chain(pictures);
        let other = others.find(|(other, _)| *other == path).map(|(_, url)| url.to_owned());
        let url = page.or(other)?;
        Some(if fragment.is_empty() { url } else { format!("{url}#{fragment}") })
    }
}

/// The identifier of a heading, as on GitHub: links in the files are written for that.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// The file as HTML, with identifiers for its headings and the links of the manual.
fn body(source: &'static Source) -> String {
    let mut events: Vec<Event> = Parser::new_ext(source.text, Options::ENABLE_TABLES).collect();
    let mut is_link_kept = true;
    let mut heading: Option<(usize, String)> = None;
    for at in 0..events.len() {
        let Some(event) = events.get_mut(at) else { break };
        match event {
            Event::Start(Tag::Link { dest_url, .. }) => match source.url(dest_url) {
                Some(url) => *dest_url = CowStr::from(url),
                None => {
                    is_link_kept = false;
                    *event = Event::Text(CowStr::Borrowed(""));
                }
            },
            Event::End(TagEnd::Link) if !is_link_kept => {
                is_link_kept = true;
                *event = Event::Text(CowStr::Borrowed(""));
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                if let Some(url) = source.url(dest_url) {
                    *dest_url = CowStr::from(url);
                }
            }
            Event::Start(Tag::Heading { .. }) => heading = Some((at, String::new())),
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, title)) = &mut heading {
                    title.push_str(text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let Some((start, title)) = heading.take() else { continue };
                if let Some(Event::Start(Tag::Heading { id, .. })) = events.get_mut(start) {
                    *id = Some(CowStr::from(anchor(&title)));
                }
            }
            _ => {}
        }
    }
    let mut rendered = String::new();
    html::push_html(&mut rendered, events.into_iter());
    rendered
}

/// The navigation, with a mark at the current page, if there is one.
fn navigation(current: Option<&str>) -> String {
    let mut shown = String::new();
    for (title, sources) in SOURCES {
        // The codes are many, so they are shown only on their own pages.
        let is_current = |source: &Source| current == Some(source.name);
        let is_open = sources.len() < MAX_SHOWN || sources.iter().any(is_current);
        let open = if is_open { " open" } else { "" };
        let _ = write!(shown, "<details{open}><summary>{title}</summary>\n<ul>\n");
        for source in *sources {
            let mark = if is_current(source) { " aria-current=\"page\"" } else { "" };
            let _ = writeln!(
                shown,
                "<li><a href=\"{}.html\"{mark}>{}</a></li>",
                source.name,
                source.title()
            );
        }
        shown.push_str("</ul></details>\n");
    }
    shown
}

fn page(source: &'static Source) -> String {
    document(&source.title(), Some(source.name), &body(source))
}

fn document(title: &str, current: Option<&str>, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · cinequery</title>\n<link rel=\"stylesheet\" href=\"{}\">\n</head>\n<body>\n\
         <nav aria-label=\"Manual\">\n<p><a href=\"{OPERATIONS}\">Operations</a></p>\n{}</nav>\n<main>\n{body}</main>\n</body>\n</html>\n",
        STYLE.0,
        navigation(current),
    )
}

/// `GET /docs/guide` and `GET /docs/guide/`
pub(super) fn redirect(to: &'static str) -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(make_sync(move |_| {
        Response::builder().status(StatusCode::PERMANENT_REDIRECT).header(LOCATION, to).finish()
    }))
}

/// `GET /docs/guide/{file}`
pub(super) fn file() -> impl IntoEndpoint<Endpoint = RouteMethod> {
    read_only(serve_file)
}

#[handler]
fn serve_file(Path(name): Path<String>, request: &Request) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, file)) => {
            let mut response = file.respond(request);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
            response
        }
        None => unknown_page(request),
    }
}

/// Returns a page for browsers and a problem for other clients.
fn unknown_page(request: &Request) -> Response {
    let accepted = request.headers().get_all(ACCEPT).iter();
    let is_browser = accepted
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.split(',').any(|range| is_media_type(range, "text/html")));
    let mut response = if is_browser {
        // The name is not repeated: a client has chosen it.
        let body = "<h1>Unknown page</h1>\n<p>The manual has no such page. Select one in the navigation.</p>\n";
        Response::builder()
            .status(StatusCode::NOT_FOUND)
            .content_type(HTML)
            .header(CONTENT_SECURITY_POLICY, POLICY)
            .extension(Rendered)
            .body(document("Unknown page", None, body))
    } else {
        let detail = "the manual has no such page; see /docs/guide";
        error_response(Error::new(Kind::UnknownRoute, detail))
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails this way has failed"
)]
mod tests {
    use super::*;

    /// Each link of a page leads to a page of the manual and a heading there.
    #[test]
    fn links_lead_somewhere() {
        let files = files();
        let find = |name: &str| files.iter().find(|(file, ..)| file == name).map(|(.., text)| text);
        for (name, _, text) in &files {
            for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                if link.starts_with("http")
                    || link == OPERATIONS
                    || OTHERS.iter().any(|(_, url)| *url == link)
                {
                    continue;
                }
                let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() { Some(text) } else { find(file) };
                assert!(target.is_some(), "{name} links to {link}");
                let id = format!("id=\"{fragment}\"");
                let is_there = fragment.is_empty() || target.is_some_and(|text| text.contains(&id));
                assert!(is_there, "{name} links to {link}: no such heading");
            }
        }
    }

    /// The manual has every page of the documents and every code.
    #[test]
    fn every_document_is_a_page() {
        fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        let root = format!("{}/", env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        for folder in ["docs", "grammar"] {
            walk(std::path::Path::new(&format!("{root}{folder}")), &mut found);
        }
        for file in found {
            let path = file.strip_prefix(&root).unwrap();
            assert!(
                sources().any(|source| source.path() == path),
                "the manual has no page for {path}"
            );
        }
    }
}
