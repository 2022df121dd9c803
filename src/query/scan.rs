//! The lexical scan that runs before the grammar: one pass, no recursion. It bounds what the parser may be given and finds what the parser could only call
//! "unexpected": open strings and parentheses, characters without a meaning, operators of other
//! languages. All of them are reported at once.

use super::diagnostic::{Code, Fault, Span};
use super::limits::{MAX_DEPTH, MAX_TEXT_BYTES};

/// What people write out of habit, and what to write here. Longer spellings stand before their
/// prefixes.
const FOREIGN: &[(&str, &str)] = &[
    ("===", "write `=`"),
    ("==", "write `=`"),
    ("=~", "write `contains`, `starts with` or `ends with`"),
    ("<=>", "write `=`"),
    ("<>", "write `!=`"),
    ("!==", "write `!=`"),
    ("!~", "write `not contains`"),
    ("=<", "write `<=`"),
    ("=>", "write `>=`"),
    ("&&", "write `and`"),
    ("&", "write `and`"),
    ("||", "write `or`"),
    ("|", "write `or`"),
    ("--", "there are no comments and no double signs"),
    ("/*", "there are no comments"),
    ("//", "there are no comments"),
    ("“", "write a straight quote, `\"`"),
    ("”", "write a straight quote, `\"`"),
    ("„", "write a straight quote, `\"`"),
    ("‘", "write a straight quote, `'`"),
    ("’", "write a straight quote, `'`"),
    ("≠", "write `!=`"),
    ("≤", "write `<=`"),
    ("≥", "write `>=`"),
    ("~", "write `contains`, `starts with` or `ends with`"),
    (";", "there are no statements to separate"),
    ("[", "a list stands in parentheses"),
    ("]", "a list stands in parentheses"),
    ("/", "there is no division; a date is written YYYY-MM-DD"),
];

/// Scans the text.
///
/// # Errors
/// Every lexical problem; when the text is too long or too deep, that one alone, since nothing
/// after it was looked at.
pub(super) fn scan(text: &str) -> Result<(), Vec<Fault>> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes", text.len());
        let span = Span::new(text.floor_char_boundary(MAX_TEXT_BYTES), text.len());
        return Err(vec![
            Fault::new(Code::TextTooLong, span, message)
                .help(format!("at most {MAX_TEXT_BYTES} bytes are read")),
        ]);
    }
    if text.trim_ascii().is_empty() {
        return Err(vec![
            Fault::new(Code::Empty, Span::new(0, text.len()), "there is nothing here")
                .help("leave the parameter out"),
        ]);
    }
    let mut scanner = Scanner { text, at: 0, nesting: Nesting::default(), faults: Vec::new() };
    match scanner.run() {
        Err(too_deep) => Err(vec![too_deep]),
        Ok(()) if scanner.faults.is_empty() => Ok(()),
        Ok(()) => Err(scanner.faults),
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    nesting: Nesting,
    faults: Vec<Fault>,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            let start = self.at;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
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
                        let message = "this `)` closes nothing";
                        let advice = "remove it, or open one before it";
                        self.fault(Code::UnbalancedParenthesis, start, message, advice);
                    }
                }
                _ => self.operator(),
            }
            if self.nesting.depth > MAX_DEPTH {
                let span = Span::new(start, self.at);
                let message = "too many parentheses and `not`s are open here";
                return Err(Fault::new(Code::TooDeep, span, message)
                    .help(format!("at most {MAX_DEPTH} may be open at one place")));
            }
        }
        for (start, _) in &self.nesting.open {
            let span = Span::new(*start, start + 1);
            let fault = Fault::new(Code::UnbalancedParenthesis, span, "this `(` is never closed");
            self.faults.push(fault.help("close it with `)`"));
        }
        Ok(())
    }

    /// Steps over a string or a quoted name; whether its escapes are known is the parser's concern.
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
                    let message = "text cannot hold the character U+0000";
                    self.faults.push(Fault::new(Code::InvalidCharacter, span, message));
                }
                _ if byte == quote => {
                    self.at = position + 1;
                    return;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        let quote = char::from(quote);
        let message = format!("the text after this {quote} is never closed");
        self.fault(Code::Unterminated, start, message, &format!("end it with {quote}"));
    }

    fn operator(&mut self) {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(character) = rest.chars().next() else { return };
        if let Some((spelling, advice)) = FOREIGN.iter().find(|(s, _)| rest.starts_with(s)) {
            self.at += spelling.len();
            let message = format!("`{spelling}` is not part of the language");
            self.fault(Code::ForeignOperator, start, message, advice);
        } else if rest.starts_with("!=") {
            self.at += 2;
        } else {
            self.at += character.len_utf8();
            match character {
                '=' | '<' | '>' | ',' | '+' | '-' | '.' | ':' => {}
                '!' => {
                    let message = "`!` is not part of the language";
                    self.fault(Code::ForeignOperator, start, message, "write `not`");
                }
                _ => {
                    let message = format!("the character {character:?} has no meaning here");
                    let advice = "text stands in quotes; names have letters, digits and `_`";
                    self.fault(Code::InvalidCharacter, start, message, advice);
                }
            }
        }
        self.nesting.other();
    }

    /// Reports what lies between `start` and here.
    fn fault(&mut self, code: Code, start: usize, message: impl Into<String>, help: &str) {
        let span = Span::new(start, self.at);
        self.faults.push(Fault::new(code, span, message).help(help));
    }
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let word = bytes.iter().skip(start).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
    start + word.count()
}

/// How deep the parser would be at this place: parentheses, and `not`s whose operand has not ended.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// For each open parenthesis where it stands and how many `not`s stood directly before it.
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

    /// False when nothing is open.
    fn close(&mut self) -> bool {
        let Some((_, before)) = self.open.pop() else { return false };
        self.depth = self.depth.saturating_sub(1 + self.pending);
        self.pending = before;
        self.after_operand = true;
        true
    }
}
