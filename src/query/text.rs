//! Unicode: the normal form that is stored and compared, and the folding that makes search
//! indifferent to case.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;

/// Names the folding below. It is recorded in the database, and when it changes (a new Unicode
/// version in the tables of `icu_casemap` and `icu_normalizer`, say) every folded column is computed
/// anew when the service migrates.
pub const FOLDING: &str = "nfc-casefold-nfc/unicode-18";

/// The text in Unicode Normalization Form C.
pub fn nfc(text: &str) -> Cow<'_, str> {
    ComposingNormalizer::new_nfc().normalize(text)
}

/// The form in which `contains`, `starts with` and `ends with` compare:
/// NFC(casefold(NFC(text))), with full Unicode case folding (Unicode 3.13, D144).
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded = CaseMapper::new().fold_string(&nfc(text)).into_owned();
    nfc(&folded).into_owned()
}

/// The least text that is greater, by code point, than every text that starts with `prefix`; `None`
/// when there is none. It turns a prefix match into a range that an index can serve.
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The surrogates are no characters: `char::from_u32` refuses them, and the range skips them.
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}
