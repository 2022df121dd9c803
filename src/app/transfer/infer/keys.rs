//! Which columns, alone or in pairs, tell the rows of a file apart.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::column::Column;
use super::count;
use crate::query::{Argument, Type};
use crate::record::declaration::MAX_KEY_CHARACTERS;

/// The most values that are remembered at a time, 8 bytes of each. After that no more rows are compared.
const MAX_REMEMBERED: usize = 4_000_000;

/// How many rows may repeat the values of another before a candidate is ruled out. A few are mistakes in the data.
const MAX_REPEATS: u64 = 10;

/// Of how many rows one may repeat another where a candidate is nearly unique.
const MIN_ROWS_PER_REPEAT: u64 = 20;

/// Of how many columns pairs are made: more columns would make very many.
const MAX_PAIRED: usize = 10;

/// How many of the other candidates are listed.
const MAX_LISTED: usize = 3;

/// The candidates that no row has ruled out.
#[derive(Default)]
pub(super) struct Keys {
    hashing: RandomState,
    candidates: Vec<Candidate>,
    remembered: usize,
    compared: u64,
    is_full: bool,
}

/// One or two columns whose values were different in each row, or in nearly each.
struct Candidate {
    columns: Vec<usize>,
    repeats: u64,
    /// Hashes of the values. That two are equal by chance is unlikely, and would only hide a candidate.
    seen: HashSet<u64>,
}

impl Keys {
    /// Adds the values of a row, by column.
    pub(super) fn add(&mut self, row: &[Argument]) {
        if self.compared == 0 {
            // A column that the first row lacks has a null there, and is no key.
            self.candidates = candidates(row);
        }
        self.is_full |= self.remembered > MAX_REMEMBERED;
        if self.is_full {
            return;
        }
        self.compared += 1;
        let hashes: Vec<Option<u64>> = row.iter().map(|value| self.hash(value)).collect();
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain_mut(|candidate| {
            let hashes: Option<Vec<u64>> = candidate
                .columns
                .iter()
                .map(|column| hashes.get(*column).copied().flatten())
                .collect();
            // A key has no nulls.
            let Some(hashes) = hashes else {
                self.remembered -= candidate.seen.len();
                return false;
            };
            if candidate.seen.insert(self.hashing.hash_one(hashes)) {
                self.remembered += 1;
                return true;
            }
            candidate.repeats += 1;
            let is_left = candidate.repeats <= MAX_REPEATS;
            if !is_left {
                self.remembered -= candidate.seen.len();
            }
            is_left
        });
        self.candidates = candidates;
    }

    fn hash(&self, value: &Argument) -> Option<u64> {
        match value {
            Argument::Untyped(text) | Argument::Text(text) => Some(self.hashing.hash_one(text)),
            Argument::Integer(number) => Some(self.hashing.hash_one(number)),
            Argument::Boolean(flag) => Some(self.hashing.hash_one(flag)),
            Argument::Unsupported(_) => None,
        }
    }

    /// The unique key that is declared, and the others as comments.
    pub(super) fn declare(&self, columns: &[Column], rows: u64) -> String {
        let mut keys: Vec<&Candidate> = Vec::new();
        // The best first: those without repeats, and of them the shorter.
        let mut candidates: Vec<&Candidate> = self.candidates.iter().collect();
        candidates.sort_by_key(|candidate| candidate.repeats);
        for candidate in candidates {
            let key = &candidate.columns;
            let parts: Vec<&Column> = key.iter().filter_map(|at| columns.get(*at)).collect();
            // Few rows differ in their dates by chance.
            let is_date = |column: &&Column| matches!(column.ty(), Type::Date | Type::Timestamp);
            let is_possible = !parts.iter().all(is_date)
                && parts.iter().all(|column| {
                    let is_telling = column.ty() != Type::Boolean && column.is_required(rows);
                    column.field.is_some() && is_telling
                });
            let texts = parts.iter().filter(|column| column.ty() == Type::Text);
            let characters: i64 = texts.map(|column| column.length().1).sum();
            // A column that is unique alone makes every pair unique.
            let includes = |least: &&Candidate| least.columns.iter().all(|at| key.contains(at));
            let is_likely = candidate.repeats <= self.compared / MIN_ROWS_PER_REPEAT;
            let is_short = characters <= MAX_KEY_CHARACTERS;
            if is_possible && is_likely && is_short && !keys.iter().any(includes) {
                keys.push(candidate);
            }
        }
        let names = |candidate: &Candidate| {
            let fields = candidate.columns.iter();
            let fields = fields.filter_map(|at| columns.get(*at)?.field.as_deref());
            let fields = fields.map(|name| format!("{name:?}"));
            format!("[{}]", fields.collect::<Vec<_>>().join(", "))
        };
        let of_rows =
            format!("{}{}", if self.is_full { "the first " } else { "" }, count(self.compared));
        let (Some((best, others)), true) = (keys.split_first(), self.compared > 1) else {
            return format!(
                "# In {of_rows} no column, and no pair of columns, is known to be unique.\n"
            );
        };
        let key = names(best);
        if best.repeats > 0 {
            return format!(
                "# Nearly unique ({} repeated, of {of_rows}); an import reports those.\n\
                 # unique = [{key}]\n",
                best.repeats
            );
        }
        let mut text = format!("# No two of {of_rows} have the same values.");
        let others = others.iter().filter(|other| other.repeats == 0);
        let others: Vec<String> = others.take(MAX_LISTED).map(|other| names(other)).collect();
        if !others.is_empty() {
            text.push_str(&format!(" Also unique: {}.", others.join(", ")));
        }
        format!("{text}\nunique = [{key}]\n")
    }
}

/// Every column with a value, alone, and pairs of the first of them.
fn candidates(row: &[Argument]) -> Vec<Candidate> {
    let columns = || (0..row.len()).filter(|at| row.get(*at) != Some(&Argument::NULL));
    let singles = columns().map(|column| vec![column]);
    let paired = || columns().take(MAX_PAIRED);
    let pairs = paired().flat_map(|first| {
        paired().filter(move |second| *second > first).map(move |second| vec![first, second])
    });
    singles
        .chain(pairs)
        .map(|columns| Candidate { columns, repeats: 0, seen: HashSet::new() })
        .collect()
}
