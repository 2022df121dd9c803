//! Which columns, alone or in pairs, tell the rows of a file apart.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::column::Column;
use super::count;
use crate::query::{Argument, Type};
use crate::record::declaration::MAX_KEY_CHARACTERS;

/// The most values that are remembered at a time, 8 bytes of each. After that no more rows are compared.
const MAX_REMEMBERED: usize = 4_000_000;

/// Of how many columns pairs are made: more columns would make very many.
const MAX_PAIRED: usize = 10;

/// The candidates that no row has ruled out.
#[derive(Default)]
pub(super) struct Keys {
    hashing: RandomState,
    candidates: Vec<Candidate>,
    remembered: usize,
    compared: u64,
    is_full: bool,
}

/// One or two columns whose values were different in each row.
struct Candidate {
    columns: Vec<usize>,
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
            let is_new =
                hashes.is_some_and(|hashes| candidate.seen.insert(self.hashing.hash_one(hashes)));
            match is_new {
                true => self.remembered += 1,
                false => self.remembered -= candidate.seen.len(),
            }
            is_new
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
        let mut keys: Vec<&[usize]> = Vec::new();
        for Candidate { columns: key, .. } in &self.candidates {
            let parts: Vec<&Column> = key.iter().filter_map(|at| columns.get(*at)).collect();
            let is_possible = parts.iter().all(|column| {
                // Few rows differ in their dates by chance.
                let is_date = matches!(column.ty(), Type::Date | Type::Timestamp);
                let is_telling = column.ty() != Type::Boolean && !(is_date && key.len() == 1);
                column.field.is_some() && column.is_required(rows) && is_telling
            });
            let texts = parts.iter().filter(|column| column.ty() == Type::Text);
            let characters: i64 = texts.map(|column| column.length().1).sum();
            // A column that is unique alone makes every pair unique.
            let is_least =
                !keys.iter().any(|least| least.iter().all(|column| key.contains(column)));
            if is_possible && is_least && characters <= MAX_KEY_CHARACTERS {
                keys.push(key);
            }
        }
        let names = |key: &[usize]| {
            let names = key.iter().filter_map(|at| columns.get(*at)?.field.as_deref());
            format!("[{}]", names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "))
        };
        let compared = count(self.compared);
        let limit = if self.is_full { "the first " } else { "" };
        let (Some((best, others)), true) = (keys.split_first(), self.compared > 1) else {
            return format!(
                "# No column, and no two of the first {MAX_PAIRED}, are known to be unique in {limit}{compared}.\n\
                 # unique = [[\"…\"]]\n"
            );
        };
        let mut text = format!("# Different in each of {limit}{compared}.");
        if !others.is_empty() {
            let others: Vec<String> =
                others.iter().take(MAX_PAIRED).map(|key| names(key)).collect();
            text.push_str(&format!(" So are: {}.", others.join(", ")));
        }
        format!("{text}\nunique = [{}]\n", names(best))
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
    singles.chain(pairs).map(|columns| Candidate { columns, seen: HashSet::new() }).collect()
}
