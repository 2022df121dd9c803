//! The headers `X-Forwarded-For` and `Forwarded` (RFC 7239), in which proxies report the client of a request.

/// The values of these header fields, one per field line. A value that is not text becomes an empty value: an
/// unknown node, which is not the same as no node.
#[derive(Debug, Clone, Default)]
pub struct Forwarded<'a> {
    /// The values of `X-Forwarded-For`.
    pub x_forwarded_for: Vec<&'a str>,
    /// The values of `Forwarded`.
    pub forwarded: Vec<&'a str>,
}

impl Forwarded<'_> {
    /// Returns the nodes that called the proxies, in order of the proxies.
    ///
    /// `X-Forwarded-For` takes precedence over `Forwarded`. Nearly every proxy appends to the former. A proxy that
    /// does not know the latter passes on a header of its client, which may be forged.
    pub(super) fn nodes(&self) -> Vec<String> {
        if self.x_forwarded_for.is_empty() {
            self.forwarded.iter().flat_map(|value| elements(value)).collect()
        } else {
            let nodes = self.x_forwarded_for.iter().flat_map(|value| value.split(','));
            nodes.map(str::to_owned).collect()
        }
    }
}

/// Returns the node of each element: the value of `for`, without quotes. An element without `for` is an unknown
/// node.
fn elements(value: &str) -> Vec<String> {
    let node = |element: &str| {
        let pairs = split(element, ';').into_iter().flatten();
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        found.map(|(_, node)| unquoted(node.trim())).unwrap_or_default()
    };
    // An open quote of a client would include the text that its proxy appended, so the whole value is ignored.
    split(value, ',')
        .map_or_else(|| vec![String::new()], |elements| elements.into_iter().map(node).collect())
}

/// Splits text at separators outside quotes. Returns `None` if a quote is left open.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|c: char| {
        let escapes = is_quoted && c == '\\' && !is_escaped;
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = escapes;
        c == separator && !is_quoted
    });
    let parts = parts.collect();
    (!is_quoted).then_some(parts)
}

/// Returns the text of a token or of a quoted string (RFC 9110, section 5.6.4).
fn unquoted(value: &str) -> String {
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(quoted) = quoted else { return value.to_owned() };
    let mut is_escape = false;
    let kept = quoted.chars().filter(|c| {
        is_escape = *c == '\\' && !is_escape;
        !is_escape
    });
    kept.collect()
}
