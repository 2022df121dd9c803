//! Unicode: the normal form for storage and comparison, and the case folding for search.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;

/// The name of the folding, which the database records. When it changes, for example with a new Unicode
/// version of `icu_casemap` or `icu_normalizer`, the next migration folds all texts again.
pub const FOLDING: &str = "nfc-casefold-nfc/unicode-18";

/// Normalizes text to Unicode Normalization Form C.
pub fn nfc(text: &str) -> Cow<'_, str> {
    ComposingNormalizer::new_nfc().normalize(text)
}

/// Folds text for `contains`, `starts with` and `ends with`: NFC(casefold(NFC(text))), with full Unicode
/// case folding (Unicode 3.13, D144).
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded = CaseMapper::new().fold_string(&nfc(text)).into_owned();
    nfc(&folded).into_owned()
}

/// Returns the text without outer white space, which is not visible and makes equal texts differ. White space
/// (Unicode `White_Space`, with the no-break space U+00A0) counts, and the invisible characters that spreadsheets and
/// pages leave around a text: U+200B, U+2060 and U+FEFF.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '\u{200B}' | '\u{2060}' | '\u{FEFF}')
    })
}

/// Returns whether a text shows nothing: it is empty, or all of its characters are white space or invisible
/// (Unicode `Default_Ignorable_Code_Point`, as far as texts have them, and the empty Braille pattern).
pub fn is_blank(text: &str) -> bool {
    let is_invisible = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '\u{00AD}'
                    | '\u{034F}'
                    | '\u{061C}'
                    | '\u{115F}'
                    | '\u{1160}'
                    | '\u{17B4}'
                    | '\u{17B5}'
            )
            || matches!(c, '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}')
            || matches!(c, '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}')
            || matches!(c, '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
            || matches!(c, '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}' | '\u{1D173}'..='\u{1D17A}')
    };
    text.chars().all(is_invisible)
}

/// Returns the smallest text that is greater, by code point, than every text that starts with `prefix`;
/// `None` if there is none. It turns a prefix match into a range that can use an index.
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // A range of `char`s skips the surrogates, which are not characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}
