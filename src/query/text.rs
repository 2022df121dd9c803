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
