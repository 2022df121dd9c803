//! The limits of the language, published in the OpenAPI document and in `grammar/README.md`.

/// The maximum length of a filter or order, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// The maximum number of parentheses and `not`s that are open at one place.
pub const MAX_DEPTH: usize = 32;

/// The maximum number of predicates in a filter.
pub const MAX_PREDICATES: usize = 200;

/// The maximum number of filters of one request, which `and` joins.
pub const MAX_FILTERS: usize = 20;

/// The maximum number of items in a list.
pub const MAX_IN_ITEMS: usize = 1000;

/// The first year of a date.
pub const MIN_YEAR: i32 = 1;

/// The last year of a date.
pub const MAX_YEAR: i32 = 9999;

/// The maximum number of problems that are reported together.
pub const MAX_DIAGNOSTICS: usize = 20;

/// How much of each limit a filter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Its length, up to [`MAX_TEXT_BYTES`].
    pub text_bytes: usize,
    /// The greatest number of open parentheses and `not`s, up to [`MAX_DEPTH`].
    pub depth: usize,
    /// The number of its predicates, up to [`MAX_PREDICATES`].
    pub predicates: usize,
    /// The number of items of its longest list, up to [`MAX_IN_ITEMS`].
    pub in_items: usize,
}

impl Usage {
    /// Returns how much two filters use together.
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            text_bytes: self.text_bytes + other.text_bytes,
            depth: self.depth.max(other.depth),
            predicates: self.predicates + other.predicates,
            in_items: self.in_items.max(other.in_items),
        }
    }
}
