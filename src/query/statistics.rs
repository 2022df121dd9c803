//! Statistics of a collection: the number of its records and a random sample of them, by which the number of records
//! that match a condition is estimated.
//!
//! Each field of the sample is sorted, so a comparison is a range of it. Conditions are joined as sets of
//! records, so the estimate of `a and b` does not assume that `a` and `b` are independent.

use std::cmp::Ordering;
use std::ops::{Not, Range};

use fixedbitset::FixedBitSet;

use super::ast::{Comparison, Direction, Matching};
use super::evaluate::{Fields, decides, part_of};
use super::plan::{Condition, Part, Side, SortKey, Term};
use super::schema::{Field, Schema};
use super::text::{after_prefix, fold};
use super::value::Value;

/// The maximum number of records of a sample.
pub const MAX_SAMPLE: usize = 4096;

#[expect(clippy::cast_precision_loss, reason = "numbers of a sample are below 2^53")]
fn real(number: usize) -> f64 {
    number as f64
}

/// What is known about the records of a collection.
#[derive(Debug)]
pub struct Statistics {
    /// The number of records of the collection.
    records: f64,
    /// The number of records of the sample.
    size: usize,
    /// In the order of the schema.
    columns: Vec<Column>,
}

/// The values of a field in the sample.
#[derive(Debug)]
struct Column {
    name: &'static str,
    values: Sorted,
    /// The folded forms of a searchable text.
    folded: Option<Sorted>,
}

/// The values of a column in their order, without nulls.
#[derive(Debug, Default)]
struct Sorted {
    values: Vec<Value>,
    /// The record of each value.
    owners: Vec<u16>,
    /// The records that have a value.
    known: FixedBitSet,
    /// The position of each record's value; [`u16::MAX`] for null.
    positions: Vec<u16>,
}

/// The records for which a condition is true, and those for which it is false. It is unknown for the others.
struct Split {
    matching: FixedBitSet,
    failing: FixedBitSet,
}

impl Statistics {
    /// Creates statistics from the number of records and a random sample, of which at most [`MAX_SAMPLE`] records are
    /// used. `None` if the sample is empty.
    pub fn of(schema: &'static Schema, records: u64, sample: &[impl Fields]) -> Option<Self> {
        let sample = sample.get(..MAX_SAMPLE).unwrap_or(sample);
        let columns = schema.fields.iter().map(|field| Column {
            name: field.name,
            values: Sorted::of(sample, |record| record.field(field)),
            folded: field.searchable.then(|| {
                let folded = |value: Value| Value::Text(fold(&value.to_string()));
                Sorted::of(sample, |record| record.field(field).map(folded))
            }),
        });
        #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
        let records = records as f64;
        let columns = columns.collect();
        (!sample.is_empty()).then_some(Self { records, size: sample.len(), columns })
    }

    /// Returns the number of records of the collection.
    pub fn records(&self) -> f64 {
        self.records
    }

    /// Estimates the number of records for which all conditions are true. It is never 0: a condition without a match in
    /// the sample may have some in the collection.
    pub fn number<'a>(&self, conditions: impl IntoIterator<Item = &'a Condition<Value>>) -> f64 {
        let matching = conditions.into_iter().map(|condition| self.matching(condition));
        self.number_of(&matching.reduce(|one, next| &one & &next).unwrap_or_else(|| self.all()))
    }

    /// Estimates the number of records of which these are the sample's. It is never 0.
    pub(super) fn number_of(&self, records: &FixedBitSet) -> f64 {
        real(records.count_ones(..)).max(0.5) * self.weight()
    }

    /// Estimates how many of the records of `within` come, in the order of these keys, before the first of `matching`, and
    /// how many have the same value of the only key as that one. The first number is 0 if they are as few as when the
    /// matching ones are distributed evenly.
    pub(super) fn until_match(
        &self,
        keys: &[SortKey],
        within: &FixedBitSet,
        matching: &FixedBitSet,
    ) -> (f64, f64) {
        /// With even distances between the matches, the first comes later once in fifty times (the exponential
        /// distribution, e^-4).
        const USUAL_DISTANCES: f64 = 4.0;
        let Some((first, others)) = keys.split_first() else { return (0.0, 0.0) };
        let (earlier, run) = self.column(first.field).first_run(first.direction, matching);
        let is_within = |owner: &&u16| within.contains(usize::from(**owner));
        let mut before = earlier.iter().filter(is_within).count();
        let mut group = 0;
        if others.is_empty() {
            group = run.iter().filter(is_within).count().saturating_sub(1);
        } else if run.len() > 1 {
            let mut run: Vec<u16> = run.iter().filter(is_within).copied().collect();
            run.sort_unstable_by(|left, right| self.compare(others, *left, *right));
            before +=
                run.iter().take_while(|owner| !matching.contains(usize::from(**owner))).count();
        }
        let matches = matching.count_ones(..);
        let usual = USUAL_DISTANCES * real(within.count_ones(..)) / real(matches + 1);
        ((real(before) - usual).max(0.0) * self.weight(), real(group) * self.weight())
    }

    /// Compares two records of the sample by their values.
    fn compare(&self, keys: &[SortKey], left: u16, right: u16) -> Ordering {
        let by_key = |key: &SortKey| {
            let column = self.column(key.field);
            let order = column.value(left).cmp(&column.value(right));
            if key.direction == Direction::Ascending { order } else { order.reverse() }
        };
        keys.iter().map(by_key).fold(Ordering::Equal, Ordering::then)
    }

    /// How many records of the collection each of the sample stands for.
    fn weight(&self) -> f64 {
        self.records / real(self.size)
    }

    /// Returns the records of the sample for which a condition is true.
    pub(super) fn matching(&self, condition: &Condition<Value>) -> FixedBitSet {
        self.split(condition).matching
    }

    fn split(&self, condition: &Condition<Value>) -> Split {
        match condition {
            Condition::All(terms) => {
                let terms = terms.iter().map(|term| self.split(term));
                terms.reduce(Split::and).unwrap_or_else(|| Split::of(self.all(), &self.all()))
            }
            Condition::Any(terms) => {
                let terms = terms.iter().map(|term| self.split(term));
                terms
                    .reduce(Split::or)
                    .unwrap_or_else(|| Split::of(FixedBitSet::new(), &self.all()))
            }
            Condition::Not(inner) => !self.split(inner),
            Condition::Flag(field) => {
                let column = self.column(field);
                Split::of(column.equal(&Value::Boolean(true)), &column.known)
            }
            Condition::Null(field) => {
                let mut null = self.all();
                null.difference_with(&self.column(field).known);
                Split::of(null, &self.all())
            }
            Condition::Compare(left, operator, Side::Value(value)) => {
                let column = self.column(left.field);
                let matching = match left.part {
                    Part::Whole => column.compared(*operator, value),
                    part => column
                        .select(|own| decides(*operator, part_of(part, own.clone()).cmp(value))),
                };
                Split::of(matching, &column.known)
            }
            Condition::Compare(left, operator, Side::Term(right)) => {
                self.compared(*left, *operator, *right)
            }
            Condition::In(term, values) => {
                let column = self.column(term.field);
                let matching = match term.part {
                    Part::Whole => {
                        let equal = values.iter().map(|value| column.equal(value));
                        equal.reduce(|one, next| &one | &next).unwrap_or_default()
                    }
                    part => column.select(|own| values.contains(&part_of(part, own.clone()))),
                };
                Split::of(matching, &column.known)
            }
            Condition::Beyond(fields, operator, values) => {
                let columns: Vec<&Sorted> = fields.iter().map(|field| self.column(field)).collect();
                let is_beyond = |owner: &u16| {
                    let own = columns.iter().map(|column| column.value(*owner));
                    decides(*operator, own.cmp(values.iter().map(Some)))
                };
                let all = self.all();
                let owners = (0..).take(self.size).filter(is_beyond);
                let mut matching = FixedBitSet::with_capacity(self.size);
                owners.for_each(|owner| matching.insert(owner.into()));
                Split::of(matching, &all)
            }
            Condition::Match(field, matching, needle) => {
                let column = self.folded(field);
                Split::of(column.matching(*matching, &needle.to_string()), &column.known)
            }
        }
    }

    fn compared(&self, left: Term, operator: Comparison, right: Term) -> Split {
        let (left_column, right_column) = (self.column(left.field), self.column(right.field));
        let matches = left_column.owners.iter().zip(&left_column.values).filter(|(owner, own)| {
            right_column.value(**owner).is_some_and(|other| {
                let order = match (left.part, right.part) {
                    (Part::Whole, Part::Whole) => (*own).cmp(other),
                    (left, right) => {
                        part_of(left, (*own).clone()).cmp(&part_of(right, other.clone()))
                    }
                };
                decides(operator, order)
            })
        });
        let matching = left_column.records(matches.map(|(owner, _)| owner));
        Split::of(matching, &(&left_column.known & &right_column.known))
    }

    /// Returns all records of the sample.
    pub(super) fn all(&self) -> FixedBitSet {
        let mut all = FixedBitSet::with_capacity(self.size);
        all.insert_range(..);
        all
    }

    fn column(&self, field: &Field) -> &Sorted {
        self.find(field).map_or(Sorted::EMPTY, |column| &column.values)
    }

    fn folded(&self, field: &Field) -> &Sorted {
        self.find(field).and_then(|column| column.folded.as_ref()).unwrap_or(Sorted::EMPTY)
    }

    fn find(&self, field: &Field) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == field.name)
    }
}

impl Sorted {
    const EMPTY: &Self = &Self {
        values: Vec::new(),
        owners: Vec::new(),
        known: FixedBitSet::new(),
        positions: Vec::new(),
    };

    /// Sorts the values of the records, which are at most [`MAX_SAMPLE`].
    fn of<R>(sample: &[R], value: impl Fn(&R) -> Option<Value>) -> Self {
        let owned = (0..).zip(sample).filter_map(|(owner, record)| Some((value(record)?, owner)));
        let mut pairs: Vec<(Value, u16)> = owned.collect();
        pairs.sort_unstable();
        let mut known = FixedBitSet::with_capacity(sample.len());
        pairs.iter().for_each(|(_, owner)| known.insert((*owner).into()));
        let (values, owners): (Vec<Value>, Vec<u16>) = pairs.into_iter().unzip();
        let mut positions = vec![u16::MAX; sample.len()];
        for (position, owner) in (0..).zip(&owners) {
            if let Some(own) = positions.get_mut(usize::from(*owner)) {
                *own = position;
            }
        }
        Self { values, owners, known, positions }
    }

    /// Returns the value of a record.
    fn value(&self, owner: u16) -> Option<&Value> {
        self.values.get(usize::from(*self.positions.get(usize::from(owner))?))
    }

    /// Returns the first records in an order that have the same value as one of these, and the records before them.
    fn first_run(&self, direction: Direction, wanted: &FixedBitSet) -> (&[u16], &[u16]) {
        let is_wanted = |owner: &u16| wanted.contains(usize::from(*owner));
        let found = match direction {
            Direction::Ascending => self.owners.iter().position(is_wanted),
            Direction::Descending => self.owners.iter().rposition(is_wanted),
        };
        let Some(value) = found.and_then(|found| self.values.get(found)) else {
            return (&self.owners, &[]);
        };
        let start = self.values.partition_point(|own| own < value);
        let end = self.values.partition_point(|own| own <= value);
        let run = self.owners.get(start..end).unwrap_or_default();
        let before = match direction {
            Direction::Ascending => self.owners.get(..start),
            Direction::Descending => self.owners.get(end..),
        };
        (before.unwrap_or_default(), run)
    }

    fn compared(&self, operator: Comparison, value: &Value) -> FixedBitSet {
        let below = || self.values.partition_point(|own| own < value);
        let not_above = || self.values.partition_point(|own| own <= value);
        let end = self.values.len();
        match operator {
            Comparison::Equal => self.range(below()..not_above()),
            Comparison::NotEqual => self.without(self.range(below()..not_above())),
            Comparison::Less => self.range(0..below()),
            Comparison::LessOrEqual => self.range(0..not_above()),
            Comparison::Greater => self.range(not_above()..end),
            Comparison::GreaterOrEqual => self.range(below()..end),
        }
    }

    fn equal(&self, value: &Value) -> FixedBitSet {
        self.compared(Comparison::Equal, value)
    }

    fn matching(&self, matching: Matching, needle: &str) -> FixedBitSet {
        fn text(value: &Value) -> &str {
            if let Value::Text(text) = value { text } else { "" }
        }
        match matching {
            Matching::Contains => self.select(|own| text(own).contains(needle)),
            Matching::EndsWith => self.select(|own| text(own).ends_with(needle)),
            Matching::StartsWith => {
                let start = |bound: &str| self.values.partition_point(|own| text(own) < bound);
                let end = after_prefix(needle).map_or(self.values.len(), |end| start(&end));
                self.range(start(needle)..end)
            }
        }
    }

    /// Returns the records of a range of values. A long one is found by its complement.
    fn range(&self, range: Range<usize>) -> FixedBitSet {
        let owners = |range: Range<usize>| self.owners.get(range).unwrap_or_default().iter();
        if range.len() <= self.values.len() / 2 {
            return self.records(owners(range));
        }
        self.without(
            self.records(owners(0..range.start).chain(owners(range.end..self.values.len()))),
        )
    }

    fn select(&self, test: impl Fn(&Value) -> bool) -> FixedBitSet {
        let selected = self.values.iter().zip(&self.owners).filter(|(value, _)| test(value));
        self.records(selected.map(|(_, owner)| owner))
    }

    /// Returns the records with values, without these.
    fn without(&self, records: FixedBitSet) -> FixedBitSet {
        let mut others = self.known.clone();
        others.difference_with(&records);
        others
    }

    fn records<'a>(&self, owners: impl Iterator<Item = &'a u16>) -> FixedBitSet {
        let mut records = FixedBitSet::with_capacity(self.known.len());
        owners.for_each(|owner| records.insert((*owner).into()));
        records
    }
}

impl Split {
    /// Splits the records for which a condition is known.
    fn of(matching: FixedBitSet, known: &FixedBitSet) -> Self {
        let mut failing = known.clone();
        failing.difference_with(&matching);
        Self { matching, failing }
    }

    fn and(self, other: Self) -> Self {
        Self { matching: &self.matching & &other.matching, failing: &self.failing | &other.failing }
    }

    fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }
}

impl Not for Split {
    type Output = Self;

    fn not(self) -> Self {
        Self { matching: self.failing, failing: self.matching }
    }
}
