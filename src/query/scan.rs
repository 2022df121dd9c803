//! The lexical scan that runs before the grammar: one pass, no recursion. It bounds what the parser may be given and finds what the parser could only call
//! "unexpected": open strings and parentheses, characters without a meaning, operators of other
//! languages. All of them are reported at once.

use super::diagnostic::{Code, Fault, Span};
use super::limits::{MAX_DEPTH, MAX_DIAGNOSTICS, MAX_TEXT_BYTES};

/// What people write out of habit, what stands for it here if anything does, and advice. Longer
/// spellings stand before their prefixes.
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
    ("&quot;", Some("\""), "the text is escaped as in HTML: write plain quotes"),
    ("&#39;", Some("'"), "the text is escaped as in HTML: write plain quotes"),
    ("&lt;", Some("<"), "the text is escaped as in HTML: write `<`"),
    ("&gt;", Some(">"), "the text is escaped as in HTML: write `>`"),
    ("&amp;", Some("and"), "the text is escaped as in HTML; write `and`"),
    ("&&", Some("and"), "write `and`"),
    ("&", Some("and"), "write `and`"),
    ("||", Some("or"), "write `or`"),
    ("|", Some("or"), "write `or`"),
    ("--", None, "there are no comments and no double signs"),
    ("/*", None, "there are no comments"),
    ("//", None, "there are no comments"),
    ("“", Some("\""), "write a straight quote, `\"`"),
    ("”", Some("\""), "write a straight quote, `\"`"),
    ("„", Some("\""), "write a straight quote, `\"`"),
    ("‘", Some("'"), "write a straight quote, `'`"),
    ("’", Some("'"), "write a straight quote, `'`"),
    ("−", Some("-"), "write a plain `-`"),
    ("–", Some("-"), "write a plain `-`"),
    ("≠", Some("!="), "write `!=`"),
    ("≤", Some("<="), "write `<=`"),
    ("≥", Some(">="), "write `>=`"),
    ("~", Some("contains"), "write `contains`, `starts with` or `ends with`"),
    (";", None, "there are no statements to separate"),
    ("[", Some("("), "a list stands in parentheses"),
    ("]", Some(")"), "a list stands in parentheses"),
    ("/", Some("-"), "there is no division; a date is written YYYY-MM-DD"),
    ("!", Some("not"), "write `not`"),
];

/// Scans the text: how many parentheses and `not`s are open in it where most are.
///
/// # Errors
/// Every lexical problem; when the text is too long or too deep, that one alone, since nothing
/// after it was looked at.
pub(super) fn scan(text: &str) -> Result<usize, Vec<Fault>> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes", text.len());
        let span = Span::new(text.floor_char_boundary(MAX_TEXT_BYTES), text.len());
        return Err(vec![
            Fault::new(Code::TextTooLong, span, message)
                .help(format!("at most {MAX_TEXT_BYTES} bytes are read")),
        ]);
    }
    if text.bytes().all(is_blank) {
        return Err(vec![
            Fault::new(Code::Empty, Span::new(0, text.len()), "there is nothing here")
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

/// How many parentheses are still to be closed, when nothing else is wrong with a text or it is blank.
/// Such a text is as bounded as one without problems.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let Err(faults) = scan(text) else { return Some(0) };
    let open = faults.iter().filter(|fault| fault.code == Code::UnbalancedParenthesis).count();
    let is_blank = matches!(faults.as_slice(), [only] if only.code == Code::Empty);
    (is_blank || open == faults.len()).then_some(open)
}

/// Where the string or quoted name begins that the text ends in.
pub(super) fn open_quote(text: &str) -> Option<usize> {
    let faults = scan(text).err()?;
    faults.iter().find(|fault| fault.code == Code::Unterminated).map(|fault| fault.span.start)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    nesting: Nesting,
    /// The end of a string that a letter follows directly: probably a quote inside of text.
    inner_quote: Option<usize>,
    faults: Vec<Fault>,
}

/// Whether the grammar takes the byte for WHITESPACE.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        // More would not be reported, and each costs as much as reading a line.
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
                        let message = "this `)` closes nothing";
                        self.faults.push(
                            Fault::new(Code::UnbalancedParenthesis, span, message)
                                .help("remove it, or open one before it")
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
                let message = "too many parentheses and `not`s are open here";
                return Err(Fault::new(Code::TooDeep, span, message)
                    .help(format!("at most {MAX_DEPTH} may be open at one place")));
            }
        }
        if self.at < bytes.len() {
            return Ok(());
        }
        for (start, _) in &self.nesting.open {
            let span = Span::new(*start, start + 1);
            let fault = Fault::new(Code::UnbalancedParenthesis, span, "this `(` is never closed");
            let end = Span::new(self.text.len(), self.text.len());
            self.faults.push(fault.help("close it with `)`").suggest(end, ")"));
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

    /// The problem of a string that is never closed, and where its end was probably meant.
    fn unterminated(&self, start: usize, quote: char) -> Fault {
        let inner = self
            .inner_quote
            .filter(|inner| self.text.get(*inner..).is_some_and(|rest| rest.starts_with(quote)));
        if let Some(inner) = inner {
            let message = format!("this {quote} ends the text, and a later one is never closed");
            return Fault::new(Code::Unterminated, Span::new(inner, inner + 1), message)
                .help(format!("a {quote} inside of text is written \\{quote}"))
                .suggest(Span::new(inner, inner), "\\");
        }
        let end = self.text.len();
        let message = format!("the text after this {quote} is never closed");
        let fault = Fault::new(Code::Unterminated, Span::new(start, end), message)
            .help(format!("end it with {quote}"));
        let body = self.text.get(start + 1..).unwrap_or_default();
        let other = if quote == '"' { '\'' } else { '"' };
        if body.ends_with(other) && body.matches(other).count() == 1 {
            return fault.suggest(Span::new(end - 1, end), quote.to_string());
        }
        // A parenthesis that is missing outside is rather meant than one inside.
        let is_closing = |c: char| c == ')' || c.is_ascii_whitespace();
        let text = match self.nesting.open.is_empty() {
            true => body,
            false => body.trim_end_matches(is_closing),
        };
        // What looks like more conditions was hardly meant as text.
        let is_connective = |word: &str| ["and", "or"].iter().any(|c| c.eq_ignore_ascii_case(word));
        let swallows = text.contains(['=', '<', '>', '(', ')', ',', '"', '\''])
            || text.split_ascii_whitespace().any(is_connective);
        if swallows || quote == '`' {
            return fault;
        }
        let place = start + 1 + text.len();
        fault.suggest(Span::new(place, place), quote.to_string())
    }

    /// What may be an operator of another language, or a character without a meaning.
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
                let message = format!("the character {character:?} has no meaning here");
                let fault = Fault::new(Code::InvalidCharacter, span, message);
                self.faults.push(if character.is_whitespace() {
                    fault.help("write a plain blank").suggest(span, " ")
                } else if character == '*' {
                    fault.help("write the condition alone; for all records leave it out")
                } else {
                    fault.help("text stands in quotes; names have letters, digits and `_`")
                });
            }
            return;
        };
        self.at += spelling.len();
        let span = Span::new(start, self.at);
        let message = format!("`{spelling}` is not part of the language");
        let fault = Fault::new(Code::ForeignOperator, span, message).help(*advice);
        let is_digit = |at: Option<usize>| {
            at.and_then(|at| self.text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
        };
        // Only between digits it was meant as that of a date.
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

    /// A word with blanks where it would otherwise run into its neighbours.
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

/// How deep the parser would be at this place: parentheses, and `not`s whose operand has not ended.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The greatest depth so far.
    deepest: usize,
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
