//! The error for a path without a route, with the known path that the client likely means.

use crate::error::{Error, Kind};
use crate::query::diagnostic::nearest;

/// The paths that are served below `/docs` and beside it. The OpenAPI document has all others.
const UNDOCUMENTED: [&str; 3] = ["/docs", "/docs/guide/", "/openapi.json"];

/// The prefix of the current version of the API, which clients sometimes leave out.
const PREFIX: &str = "/api/v1";

/// All known paths, with `{placeholders}`.
pub(super) struct Known(Vec<String>);

impl Known {
    /// Returns the paths of an OpenAPI document, and those that it does not have.
    pub(super) fn of(specification: &serde_json::Value) -> Self {
        let documented = specification.get("paths").and_then(|paths| paths.as_object());
        let documented = documented.into_iter().flat_map(|paths| paths.keys().cloned());
        Self(documented.chain(UNDOCUMENTED.map(str::to_owned)).collect())
    }

    /// Returns the error for an unknown path.
    pub(super) fn error(&self, path: &str) -> Error {
        let similar = self.similar(path).or_else(|| self.similar(&format!("{PREFIX}{path}")));
        let detail = match similar {
            Some(similar) => format!("unknown path; did you mean {similar}?"),
            None => "unknown path; see /docs for the routes".to_owned(),
        };
        Error::new(Kind::UnknownRoute, detail)
    }

    /// Returns the path that differs least from an unknown one: by slashes, or by a few letters in its segments.
    fn similar(&self, path: &str) -> Option<String> {
        let sent = segments(path);
        let candidates = self.0.iter().filter_map(|known| {
            let known_segments = segments(known);
            let is_as_long = known_segments.len() == sent.len();
            let pairs = known_segments.into_iter().zip(&sent).filter(|_| is_as_long);
            let mut changed = 0;
            let corrected = pairs.map(|(known, sent)| {
                if known == *sent || known.starts_with('{') {
                    return Some(*sent);
                }
                changed += 1;
                nearest(sent, [known])
            });
            let corrected: Option<Vec<&str>> = corrected.collect();
            let corrected = corrected.filter(|corrected| !corrected.is_empty())?;
            let end = if known.ends_with('/') { "/" } else { "" };
            Some((changed, format!("/{}{end}", corrected.join("/"))))
        });
        candidates.min_by_key(|(changed, _)| *changed).map(|(_, similar)| similar)
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_path_is_named() {
        let paths = ["/api/v1/movies", "/api/v1/movies/{id}", "/api/v1/movies/{id}/match"];
        let known = Known(paths.into_iter().chain(UNDOCUMENTED).map(str::to_owned).collect());
        for (path, expected) in [
            ("/api/v1/movie", "did you mean /api/v1/movies?"),
            ("/api/v1/movies/", "did you mean /api/v1/movies?"),
            ("/api//v1/Movies", "did you mean /api/v1/movies?"),
            ("/api/v2/movies", "did you mean /api/v1/movies?"),
            ("/movies", "did you mean /api/v1/movies?"),
            ("/api/v1/movie/17", "did you mean /api/v1/movies/17?"),
            ("/movie/17/match", "did you mean /api/v1/movies/17/match?"),
            ("/doc", "did you mean /docs?"),
            ("/api/v1/cinemas", "see /docs for the routes"),
            ("/", "see /docs for the routes"),
            ("", "see /docs for the routes"),
            ("/a/b/c/d/e/f", "see /docs for the routes"),
        ] {
            let detail = known.error(path).detail;
            assert_eq!(detail, format!("unknown path; {expected}"), "{path}");
        }
    }
}
