//! The lexical scan before the grammar: one pass without recursion.
//!
//! It limits length and depth before the parser runs. It also finds what the parser could only report
//! as unexpected: unclosed strings and parentheses, unknown characters and operators of other
//! languages. All of these problems are reported together.

use super::diagnostic::{Code, Fault, Span};
use super::limits::{MAX_DEPTH, MAX_DIAGNOSTICS, MAX_TEXT_BYTES};

/// Operators and signs of other languages, their replacements if there are any, and advice. Longer
/// spellings come before their prefixes.
const FOREIGN: &[(&str, Option<&str>, &str)] = &[
    ("===", Some("="), "write `=`"),
    ("==", Some("="), "write `=`"),
    ("=~", Some("contains"), "write `contains`, `starts with` or `ends with`"),
    ("<=>", Some("="), "write `=`"),
    ("<>", Some("!="), "write `!=`"),
    ("!==", Some("!="), "write `!=`"),
    ("!~", Some("not contains"), "write `not contains`"),
    ("=<", Some("<="), "write `<=`"),
    ("=>", Some(">="), "write `>=`"),
    ("=!", Some("!="), "write `!=`"),
    ("&quot;", Some("\""), "the text is HTML-escaped: write `\"`"),
    ("&#39;", Some("'"), "the text is HTML-escaped: write `'`"),
    ("&lt;", Some("<"), "the text is HTML-escaped: write `<`"),
    ("&gt;", Some(">"), "the text is HTML-escaped: write `>`"),
    ("&amp;", Some("and"), "the text is HTML-escaped: write `and`"),
    ("&&", Some("and"), "write `and`"),
    ("&", Some("and"), "write `and`"),
    ("||", Some("or"), "write `or`"),
    ("|", Some("or"), "write `or`"),
    ("--", None, "remove it: comments and double signs are not supported"),
    ("/*", None, "remove it: comments are not supported"),
    ("//", None, "remove it: comments are not supported"),
    ("“", Some("\""), "write a straight quote: `\"`"),
    ("”", Some("\""), "write a straight quote: `\"`"),
    ("„", Some("\""), "write a straight quote: `\"`"),
    ("‘", Some("'"), "write a straight quote: `'`"),
    ("’", Some("'"), "write a straight quote: `'`"),
    ("−", Some("-"), "write `-` (U+002D)"),
    ("–", Some("-"), "write `-` (U+002D)"),
    ("≠", Some("!="), "write `!=`"),
    ("≤", Some("<="), "write `<=`"),
    ("≥", Some(">="), "write `>=`"),
    ("~", Some("contains"), "write `contains`, `starts with` or `ends with`"),
    (";", None, "remove it: statements are not supported"),
    ("[]", None, "write a list in parentheses with at least one value, or remove the condition"),
    ("[", Some("("), "put a list in parentheses"),
    ("]", Some(")"), "put a list in parentheses"),
    ("/", Some("-"), "write a date as YYYY-MM-DD; division is not supported"),
    ("!", Some("not"), "write `not`"),
];

/// Scans the text and returns its depth: the greatest number of open parentheses and `not`s.
///
/// # Errors
/// Returns every lexical problem. If the text is too long or too deep, returns only that problem,
/// because the scan stops there.
pub(super) fn scan(text: &str) -> Result<usize, Vec<Fault>> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("expected at most {MAX_TEXT_BYTES} bytes, found {}", text.len());
        let span = Span::new(text.floor_char_boundary(MAX_TEXT_BYTES), text.len());
        return Err(vec![
            Fault::new(Code::TextTooLong, span, message)
                .help("split the search, or move long values into parameters"),
        ]);
    }
    if text.bytes().all(is_blank) {
        return Err(vec![
            Fault::new(Code::Empty, Span::new(0, text.len()), "the text is empty")
                .help("leave the parameter out"),
        ]);
    }
    let (nesting, faults) = (Nesting::default(), Vec::new());
    let mut scanner = Scanner { text, at: 0, nesting, inner_quote: None, faults };
    match scanner.run() {
        Err(too_deep) => Err(vec![too_deep]),
        Ok(()) if scanner.faults.is_empty() => Ok(scanner.nesting.deepest),
        Ok(()) => Err(scanner.faults),
    }
}

/// Returns the number of unclosed parentheses of a text that is blank or has no other problem. The
/// limits hold for such a text.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let Err(faults) = scan(text) else { return Some(0) };
    let open = faults.iter().filter(|fault| fault.code == Code::UnbalancedParenthesis).count();
    let is_blank = matches!(faults.as_slice(), [only] if only.code == Code::Empty);
    (is_blank || open == faults.len()).then_some(open)
}

/// Returns the start of the unclosed string or quoted name at the end of the text.
pub(super) fn open_quote(text: &str) -> Option<usize> {
    let faults = scan(text).err()?;
    faults.iter().find(|fault| fault.code == Code::Unterminated).map(|fault| fault.span.start)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    nesting: Nesting,
    /// The end of a string that is directly followed by a letter: probably a quote inside text.
    inner_quote: Option<usize>,
    faults: Vec<Fault>,
}

/// Whether the byte is WHITESPACE in the grammar.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        // More problems would not be reported, and locating each costs time.
        while self.faults.len() < MAX_DIAGNOSTICS
            && let Some(&byte) = bytes.get(self.at)
        {
            let start = self.at;
            match byte {
                _ if is_blank(byte) => self.at += 1,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    self.at = end_of_word(bytes, start);
                    self.nesting.word(bytes.get(start..self.at).unwrap_or_default());
                }
                b'0'..=b'9' | b'$' => {
                    self.at = end_of_word(bytes, start + 1);
                    self.nesting.other();
                }
                b'"' | b'\'' | b'`' => {
                    self.quoted(byte);
                    self.nesting.other();
                }
                b'(' => {
                    self.at += 1;
                    self.nesting.open(start);
                }
                b')' => {
                    self.at += 1;
                    if !self.nesting.close() {
                        let span = Span::new(start, self.at);
                        let message = "unmatched `)`";
                        self.faults.push(
                            Fault::new(Code::UnbalancedParenthesis, span, message)
                                .help("remove it, or add a `(` before it")
                                .suggest(span, ""),
                        );
                    }
                }
                b'=' | b'<' | b'>' | b',' | b'+' | b'-' | b'.' | b':'
                    if !bytes.get(start + 1).is_some_and(|next| b"=<>~-!".contains(next)) =>
                {
                    self.at += 1;
                    self.nesting.other();
                }
                _ => self.operator(),
            }
            self.nesting.deepest = self.nesting.deepest.max(self.nesting.depth);
            if self.nesting.depth > MAX_DEPTH {
                let span = Span::new(start, self.at);
                let message =
                    format!("expected at most {MAX_DEPTH} open parentheses and `not`s, found more");
                return Err(Fault::new(Code::TooDeep, span, message)
                    .help("remove parentheses: chains of `and` or of `or` need none"));
            }
        }
        if self.at < bytes.len() {
            return Ok(());
        }
        for (start, _) in &self.nesting.open {
            let span = Span::new(*start, start + 1);
            let fault = Fault::new(Code::UnbalancedParenthesis, span, "unmatched `(`");
            let end = Span::new(self.text.len(), self.text.len());
            self.faults.push(fault.help("close it with `)`").suggest(end, ")"));
        }
        Ok(())
    }

    /// Skips a string or a quoted name. The parser validates its escapes.
    fn quoted(&mut self, quote: u8) {
        let start = self.at;
        let mut rest = self.text.bytes().enumerate().skip(start + 1);
        while let Some((position, byte)) = rest.next() {
            match byte {
                b'\\' if quote != b'`' => {
                    rest.next();
                }
                0 => {
                    let span = Span::new(position, position + 1);
                    let message = "text cannot contain the character U+0000";
                    let fault = Fault::new(Code::InvalidCharacter, span, message);
                    self.faults.push(fault.help("remove it"));
                }
                _ if byte == quote => {
                    self.at = position + 1;
                    let is_letter = |at: Option<usize>| {
                        at.and_then(|at| self.text.as_bytes().get(at))
                            .is_some_and(u8::is_ascii_alphanumeric)
                    };
                    if is_letter(position.checked_sub(1)) && is_letter(Some(self.at)) {
                        self.inner_quote = Some(position);
                    }
                    return;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        let fault = self.unterminated(start, char::from(quote));
        self.faults.push(fault);
    }

    /// The problem of a string or quoted name that is not closed, with the likely place of its end.
    fn unterminated(&self, start: usize, quote: char) -> Fault {
        let inner = self
            .inner_quote
            .filter(|inner| self.text.get(*inner..).is_some_and(|rest| rest.starts_with(quote)));
        if let Some(inner) = inner {
            let message =
                format!("`{quote}` ends the text here, and a later `{quote}` is not closed");
            return Fault::new(Code::Unterminated, Span::new(inner, inner + 1), message)
                .help(format!("write a `{quote}` inside text as `\\{quote}`"))
                .suggest(Span::new(inner, inner), "\\");
        }
        let end = self.text.len();
        let fault = Fault::new(Code::Unterminated, Span::new(start, end), "unclosed quote");
        let fault = match quote {
            '`' => fault.help("close the name with a backtick"),
            // In a URL, a bare `&` ends the parameter and a bare `#` ends the query string.
            _ => fault.help(format!(
                "close the text with `{quote}`; in a URL, write `&` as `%26`, `#` as `%23` and `%` as \
                 `%25`"
            )),
        };
        let body = self.text.get(start + 1..).unwrap_or_default();
        let other = if quote == '"' { '\'' } else { '"' };
        if body.ends_with(other) && body.matches(other).count() == 1 {
            return fault.suggest(Span::new(end - 1, end), quote.to_string());
        }
        // A closing parenthesis at the end rather belongs to the filter than to the text.
        let is_closing = |c: char| c == ')' || c.is_ascii_whitespace();
        let text = match self.nesting.open.is_empty() {
            true => body,
            false => body.trim_end_matches(is_closing),
        };
        // Text that looks like more conditions is probably not part of the string.
        let is_connective = |word: &str| ["and", "or"].iter().any(|c| c.eq_ignore_ascii_case(word));
        let swallows = text.contains(['=', '<', '>', '(', ')', ',', '"', '\''])
            || text.split_ascii_whitespace().any(is_connective);
        if swallows || quote == '`' {
            return fault;
        }
        let place = start + 1 + text.len();
        fault.suggest(Span::new(place, place), quote.to_string())
    }

    /// Reads an operator of another language, or an unknown character.
    fn operator(&mut self) {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(character) = rest.chars().next() else { return };
        self.nesting.other();
        if rest.starts_with("!=") && !rest.starts_with("!==") {
            self.at += 2;
            return;
        }
        let Some((spelling, instead, advice)) = FOREIGN.iter().find(|(s, ..)| rest.starts_with(s))
        else {
            self.at += character.len_utf8();
            if !matches!(character, '=' | '<' | '>' | ',' | '+' | '-' | '.' | ':') {
                let span = Span::new(start, self.at);
                let message = format!("unexpected character {character:?}");
                let fault = Fault::new(Code::InvalidCharacter, span, message);
                self.faults.push(if character.is_whitespace() {
                    fault.help("write an ordinary space (U+0020)").suggest(span, " ")
                } else if character == '*' {
                    fault.help("remove it; to get all records, leave the filter out")
                } else {
                    fault.help("quote text; names consist of letters, digits and `_`")
                });
            }
            return;
        };
        self.at += spelling.len();
        let span = Span::new(start, self.at);
        let message = format!("`{spelling}` is not part of the filter language");
        let fault = Fault::new(Code::ForeignOperator, span, message).help(*advice);
        let is_digit = |at: Option<usize>| {
            at.and_then(|at| self.text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
        };
        // Only a `/` between digits is likely part of a date.
        let is_date = is_digit(start.checked_sub(1)) && is_digit(Some(self.at));
        self.faults.push(match instead {
            Some("-") if *spelling == "/" && !is_date => fault,
            Some(instead) => fault.suggest(span, self.spaced(instead, span)),
            None if self.text.get(self.at..).is_some_and(|rest| rest.bytes().all(is_blank)) => {
                fault.suggest(span, "")
            }
            None => fault,
        });
    }

    /// Adds blanks to a word that would otherwise be joined to its neighbours.
    fn spaced(&self, instead: &str, span: Span) -> String {
        let bytes = self.text.as_bytes();
        let joins = |byte: Option<&u8>| byte.is_some_and(|byte| !is_blank(*byte) && *byte != b')');
        if !instead.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return instead.to_owned();
        }
        let before = span.start.checked_sub(1).and_then(|last| bytes.get(last));
        let before = if joins(before) || before == Some(&b')') { " " } else { "" };
        let after = if joins(bytes.get(span.end)) { " " } else { "" };
        format!("{before}{instead}{after}")
    }
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let word = bytes.iter().skip(start).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
    start + word.count()
}

/// The parser's depth at a place: open parentheses, and `not`s whose operand has not ended.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The greatest depth so far.
    deepest: usize,
    /// For each open parenthesis: its place, and the number of `not`s directly before it.
    open: Vec<(usize, usize)>,
    /// `not`s since the last parenthesis or connective.
    pending: usize,
    /// Whether the last token ended an operand, so that `not` belongs to `not in` and its kind.
    after_operand: bool,
}

impl Nesting {
    fn word(&mut self, word: &[u8]) {
        if word.eq_ignore_ascii_case(b"not") {
            if !self.after_operand {
                self.pending += 1;
                self.depth += 1;
            }
        } else if word.eq_ignore_ascii_case(b"and") || word.eq_ignore_ascii_case(b"or") {
            self.depth = self.depth.saturating_sub(self.pending);
            self.pending = 0;
            self.after_operand = false;
        } else {
            self.after_operand = true;
        }
    }

    fn other(&mut self) {
        self.after_operand = true;
    }

    fn open(&mut self, position: usize) {
        self.open.push((position, self.pending));
        self.pending = 0;
        self.depth += 1;
        self.after_operand = false;
    }

    /// Returns false if no parenthesis is open.
    fn close(&mut self) -> bool {
        let Some((_, before)) = self.open.pop() else { return false };
        self.depth = self.depth.saturating_sub(1 + self.pending);
        self.pending = before;
        self.after_operand = true;
        true
    }
}
