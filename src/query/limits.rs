//! The limits of the language, published in the OpenAPI description and in `grammar/README.md`.

/// The longest filter or order, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// The most parentheses and `not`s that may be open at one place.
pub const MAX_DEPTH: usize = 32;

/// The most predicates in one filter.
pub const MAX_PREDICATES: usize = 200;

/// The most items in one `in (…)`.
pub const MAX_IN_ITEMS: usize = 1000;

/// The first year a date may lie in.
pub const MIN_YEAR: i32 = 1;

/// The last year a date may lie in.
pub const MAX_YEAR: i32 = 9999;

/// The most problems that are reported at once.
pub const MAX_DIAGNOSTICS: usize = 20;

/// How far a filter goes towards the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Its length, up to [`MAX_TEXT_BYTES`].
    pub text_bytes: usize,
    /// The most parentheses and `not`s that are open at one place, up to [`MAX_DEPTH`].
    pub depth: usize,
    /// Its predicates, up to [`MAX_PREDICATES`].
    pub predicates: usize,
    /// The items of its longest list, up to [`MAX_IN_ITEMS`].
    pub in_items: usize,
}
