//! What proxies say of a request in `X-Forwarded-For` and `Forwarded` (RFC 7239).

/// The values of these header fields, one for each line. What is not text is an empty value: it is an unknown
/// node, and not absent.
#[derive(Debug, Clone, Default)]
pub struct Forwarded<'a> {
    /// Those of `X-Forwarded-For`.
    pub x_forwarded_for: Vec<&'a str>,
    /// Those of `Forwarded`.
    pub forwarded: Vec<&'a str>,
}

impl Forwarded<'_> {
    /// The nodes that proxies were called from, that of the last proxy last.
    ///
    /// `X-Forwarded-For` wins over `Forwarded`: nearly every proxy appends to the former, and one that does
    /// not know the latter passes on whatever its client wrote there.
    pub(super) fn nodes(&self) -> Vec<String> {
        if self.x_forwarded_for.is_empty() {
            self.forwarded.iter().flat_map(|value| elements(value)).collect()
        } else {
            let nodes = self.x_forwarded_for.iter().flat_map(|value| value.split(','));
            nodes.map(str::to_owned).collect()
        }
    }
}

/// The node of each element: the value of `for`, without its quotes. An element without one is an unknown
/// node.
fn elements(value: &str) -> Vec<String> {
    let node = |element: &str| {
        let pairs = split(element, ';').into_iter().flatten();
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        found.map(|(_, node)| unquoted(node.trim())).unwrap_or_default()
    };
    // A quote that a client left open would swallow what its proxy appended: nothing of it is believed.
    split(value, ',')
        .map_or_else(|| vec![String::new()], |elements| elements.into_iter().map(node).collect())
}

/// Splits at a separator that is not inside quotes; `None` if a quote is left open.
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

/// The text of a token or of a quoted string (RFC 9110, section 5.6.4).
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
