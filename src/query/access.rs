//! Access paths: how a statement reads the records, chosen by the statistics of the collection.
//!
//! SQLite's planner does not know how frequent a value is. PostgreSQL's forgets it when it plans a prepared statement
//! once for all values. So the path is chosen here by its cost: reading an order until the page is full, an index, the
//! whole table, or an index for each alternative of an `or` (Selinger et al., Access Path Selection in a Relational
//! Database Management System, 1979). The statement then hides the other paths from the planner.

use fixedbitset::FixedBitSet;

use super::ast::{Comparison, Matching};
use super::bind::BoundQuery;
use super::dialect::{Costs, Dialect};
use super::plan::{Condition, Part, Side, SortKey};
use super::schema::{Field, Schema};
use super::shape::Shape;
use super::statistics::Statistics;
use super::value::Value;

/// The maximum number of tests of a filter for which a path is chosen. Each is evaluated for the whole sample, which takes
/// up to 0.2 ms.
const MAX_TESTS: usize = 32;

/// What a statement hides from the planner of the database. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Access {
    /// The conditions that may be looked up in an index, by their position among [`Condition::conjuncts`]; `None` for all.
    pub(super) visible: Option<Vec<usize>>,
    /// Whether the matching records are sorted and not read in their order.
    pub(super) hides_order: bool,
    /// Whether the statement is planned each time, for its values.
    pub(super) for_values: bool,
}

/// An access path with its estimated cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// What makes the planner choose it.
    pub access: Access,
    /// The estimated time, in that of reading one record of a scan of the table.
    pub cost: f64,
}

/// A column of the database.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    /// That of a field.
    Own(&'static Field),
    /// That with the folded form of a text.
    Folded(&'static Field),
}

/// An index of a collection.
#[derive(Debug, Clone, Copy)]
enum Index {
    /// The primary key, by which SQLite stores the records.
    Id,
    Fields(&'static [&'static str]),
    /// The index for `starts with`.
    Folded(&'static Field),
}

impl Access {
    /// Returns what makes the planner choose only among indexes that are not of the collection's own fields.
    pub(super) fn of_candidates() -> Self {
        Self { visible: Some(Vec::new()), hides_order: true, for_values: false }
    }

    /// Returns the cheapest path of a query; `None` if there is no choice.
    pub fn cheapest(
        query: &BoundQuery,
        shape: Shape,
        dialect: Dialect,
        statistics: &Statistics,
    ) -> Option<Path> {
        let paths = Self::paths(query, shape, dialect, statistics);
        paths.into_iter().min_by(|left, right| left.cost.total_cmp(&right.cost))
    }

    /// Returns the paths of a query; none if there is no choice. PostgreSQL chooses well among the paths that sort, and
    /// among all for a pattern, because it plans such a statement for its values.
    pub fn paths(
        query: &BoundQuery,
        shape: Shape,
        dialect: Dialect,
        statistics: &Statistics,
    ) -> Vec<Path> {
        let Some(filter) = query.filter.as_ref().filter(|filter| filter.tests() <= MAX_TESTS)
        else {
            return Vec::new();
        };
        let has_order = matches!(shape, Shape::Page { .. } | Shape::LockedIds { .. });
        if dialect.has_statistics() && (!has_order || has_pattern(filter, dialect)) {
            return Vec::new();
        }
        let reading = Reading::of(query, filter, shape, dialect, statistics);
        let by_index = Index::all(query.schema).filter_map(|index| reading.by_index(index));
        let paths: Vec<Path> =
            by_index.chain(reading.by_alternatives()).chain([reading.by_scan()]).collect();
        let is_sorted = paths.iter().all(|path| path.access.hides_order);
        if dialect.has_statistics() && is_sorted { Vec::new() } else { paths }
    }
}

/// A condition that an index can look up.
#[derive(Clone, Copy)]
struct Lookup {
    column: Column,
    end: End,
}

/// The part of an index in which the entries of a condition are.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// One value.
    Equality,
    /// Several values, after which the next column of an index can be looked up too.
    List,
    /// A range with both ends.
    Both,
    Lower,
    Upper,
}

impl End {
    fn other(self) -> Option<Self> {
        match self {
            Self::Lower => Some(Self::Upper),
            Self::Upper => Some(Self::Lower),
            Self::Equality | Self::List | Self::Both => None,
        }
    }
}

impl Lookup {
    fn of(condition: &Condition<Value>) -> Option<Self> {
        let (column, end) = match condition {
            Condition::All(terms) if condition.is_between() => {
                (Self::of(terms.first()?)?.column, End::Both)
            }
            Condition::Compare(left, operator, Side::Value(_)) => {
                let end = match (operator, left.part) {
                    (Comparison::NotEqual, _) | (_, Part::Month) => return None,
                    (Comparison::Equal, Part::Whole) => End::Equality,
                    (Comparison::Equal, Part::Year) => End::Both,
                    (Comparison::Greater | Comparison::GreaterOrEqual, _) => End::Lower,
                    (Comparison::Less | Comparison::LessOrEqual, _) => End::Upper,
                };
                (Column::Own(left.field), end)
            }
            Condition::In(term, values) if term.part == Part::Whole => {
                let end = if values.len() == 1 { End::Equality } else { End::List };
                (Column::Own(term.field), end)
            }
            Condition::Flag(field) | Condition::Null(field) => (Column::Own(field), End::Equality),
            Condition::Match(field, Matching::StartsWith, _) => (Column::Folded(field), End::Both),
            Condition::Beyond(fields, operator, _) => {
                let is_lower = *operator == Comparison::Greater;
                let end = if is_lower { End::Lower } else { End::Upper };
                (Column::Own(fields.first()?), end)
            }
            _ => return None,
        };
        Some(Self { column, end })
    }
}

/// What a statement reads.
struct Reading<'q> {
    schema: &'static Schema,
    statistics: &'q Statistics,
    dialect: Dialect,
    costs: Costs,
    /// The conditions that all matching records satisfy, and how an index looks them up.
    conjuncts: Vec<&'q Condition<Value>>,
    /// The records of the sample for which each of them is true, and their estimated number in the collection.
    samples: Vec<FixedBitSet>,
    numbers: Vec<f64>,
    lookups: Vec<Option<Lookup>>,
    /// The keys of the order; none if the result has no order.
    order: Vec<SortKey>,
    limit: Option<f64>,
    /// The matching records of the sample, and their estimated number in the collection.
    sample: FixedBitSet,
    matching: f64,
    /// All columns of the filter and the order.
    columns: Vec<Column>,
}

impl<'q> Reading<'q> {
    fn of(
        query: &'q BoundQuery,
        filter: &'q Condition<Value>,
        shape: Shape,
        dialect: Dialect,
        statistics: &'q Statistics,
    ) -> Self {
        let mut conjuncts = filter.conjuncts();
        let (limit, order, further) = match shape {
            Shape::Page { limit } => {
                conjuncts.extend(query.after.iter().flat_map(Condition::conjuncts));
                (Some(limit), query.order.clone(), None)
            }
            Shape::LockedIds { limit } => (Some(limit), SortKey::by_id(query.schema), None),
            Shape::CountUpTo { limit } => (Some(limit), Vec::new(), None),
            Shape::Count => (None, Vec::new(), None),
            Shape::Groups { facet, .. } => (None, Vec::new(), Some(facet.field())),
        };
        let order = SortKey::varying(&order, &conjuncts);
        let keys = order.iter().map(|key| key.field).chain(further).map(Column::Own);
        let mut columns: Vec<Column> = keys.collect();
        conjuncts.iter().for_each(|condition| columns_of(condition, &mut columns));
        let samples = conjuncts.iter().map(|condition| statistics.matching(condition));
        let samples: Vec<FixedBitSet> = samples.collect();
        let sample = intersection(statistics, &samples);
        Self {
            schema: query.schema,
            statistics,
            dialect,
            costs: dialect.costs(),
            matching: statistics.number_of(&sample),
            sample,
            numbers: samples.iter().map(|sample| statistics.number_of(sample)).collect(),
            samples,
            lookups: conjuncts.iter().map(|condition| Lookup::of(condition)).collect(),
            conjuncts,
            order,
            limit: limit.map(f64::from),
            columns,
        }
    }

    /// Reads the part of an index that some of the conditions look up. `None` if it neither looks up a condition nor has
    /// the order.
    fn by_index(&self, index: Index) -> Option<Path> {
        let columns: Vec<Column> = index.columns(self.schema).collect();
        let (mut used, mut fixed): (Vec<usize>, usize) = (Vec::new(), 0);
        for (position, column) in columns.iter().enumerate() {
            let (own, end) = self.range(*column);
            used.extend(own);
            match end {
                // After a list, the index is not in order.
                Some(End::Equality) => fixed += usize::from(fixed == position),
                Some(End::List) => {}
                _ => break,
            }
        }
        let keys = self.keys_in_order(columns.get(fixed..).unwrap_or_default());
        let is_ordered = keys > 0;
        if used.is_empty() && !is_ordered {
            return None;
        }
        let entries = self.number(&used);
        let stops = is_ordered || !self.has_order();
        let read = if stops { self.until_full(entries, &used, keys) } else { entries };
        let fetched = self.fetched(&columns, entries);
        let each = match (index, is_ordered) {
            (Index::Id, _) => self.costs.by_id,
            (_, true) => self.costs.entry + self.costs.in_order * fetched / entries,
            (_, false) => self.costs.entry + self.costs.found * fetched / entries,
        };
        let sort = if is_ordered { 0.0 } else { self.sort() };
        Some(self.path(read * each + sort, !is_ordered, used))
    }

    /// Reads an index for each alternative of an `or`. `None` if no `or` has one for each.
    fn by_alternatives(&self) -> Option<Path> {
        let cost = |condition: &'q Condition<Value>| match condition {
            Condition::Any(alternatives) => {
                alternatives.iter().map(|alternative| self.least(alternative)).sum::<Option<f64>>()
            }
            _ => None,
        };
        let positions = self.conjuncts.iter().enumerate();
        let all = positions.filter_map(|(position, condition)| Some((cost(condition)?, position)));
        let (found, position) = all.min_by(|(left, _), (right, _)| left.total_cmp(right))?;
        let each = self.costs.entry + self.costs.found;
        Some(self.path(found * each + self.sort(), true, vec![position]))
    }

    /// Reads the whole table, or as much of it as the result needs if it has no order.
    fn by_scan(&self) -> Path {
        let records = self.statistics.records();
        let read = if self.has_order() { records } else { self.page(records) };
        let each = if self.is_covered() { self.costs.entry } else { 1.0 };
        self.path(read * each + self.sort(), true, Vec::new())
    }

    fn path(&self, cost: f64, sorts: bool, used: Vec<usize>) -> Path {
        let hides_order = sorts && self.has_order();
        let access = match self.dialect.has_statistics() {
            // With the values the planner chooses to read the order, and without the order it chooses well.
            true => Access {
                visible: hides_order.then(|| self.with_simple_conditions(&used)),
                hides_order,
                for_values: !hides_order,
            },
            false => Access { visible: Some(used), hides_order, for_values: false },
        };
        Path { access, cost }
    }

    /// Returns the conditions that stay visible to PostgreSQL: its planner has statistics of columns but not of expressions.
    /// An `or` that the path does not use is hidden, because the planner would also look up each of its alternatives.
    fn with_simple_conditions(&self, used: &[usize]) -> Vec<usize> {
        let conditions = self.conjuncts.iter().enumerate();
        let simple = conditions.filter(|(position, condition)| {
            used.contains(position) || !matches!(condition, Condition::Any(_))
        });
        simple.map(|(position, _)| position).collect()
    }

    fn has_order(&self) -> bool {
        self.limit.is_some() && !self.order.is_empty()
    }

    /// Returns the conditions by which an index looks up a range of a column: the one that finds the fewest records, and
    /// one for the other end of its range. SQLite would take the first of several.
    fn range(&self, column: Column) -> (Vec<usize>, Option<End>) {
        let least = |is_wanted: &dyn Fn(End) -> bool| {
            let lookups = self.lookups.iter().zip(&self.numbers).enumerate();
            let own = lookups.filter_map(|(position, (lookup, number))| {
                let Lookup { end, .. } = (*lookup).filter(|lookup| lookup.column == column)?;
                is_wanted(end).then_some((position, end, number))
            });
            own.min_by(|left, right| left.2.total_cmp(right.2))
        };
        let Some((position, end, _)) = least(&|_| true) else {
            return (Vec::new(), None);
        };
        let other = end.other().and_then(|other| least(&|end| end == other));
        // Of several equalities and lists, any is as good.
        let is_point = |end: End| matches!(end, End::Equality | End::List);
        let equal = self.lookups.iter().enumerate().filter(|(other, lookup)| {
            let is_own = lookup.is_some_and(|own| own.column == column && is_point(own.end));
            is_point(end) && is_own && *other != position
        });
        let others = other.map(|(position, ..)| position).into_iter();
        let others = others.chain(equal.map(|(position, _)| position));
        (std::iter::once(position).chain(others).collect(), Some(end))
    }

    /// Whether an index has all columns that are read.
    fn is_covered(&self) -> bool {
        self.dialect == Dialect::Sqlite
            && Index::all(self.schema).any(|index| {
                let columns: Vec<Column> = index.columns(self.schema).collect();
                self.covers(&columns)
            })
    }

    fn covers(&self, columns: &[Column]) -> bool {
        self.columns.iter().all(|column| column.is_id() || columns.contains(column))
    }

    /// Estimates for how many of the entries of an index the record is fetched.
    fn fetched(&self, columns: &[Column], entries: f64) -> f64 {
        match self.dialect {
            Dialect::Sqlite if self.covers(columns) => 0.0,
            // In a table without rowid, it is fetched before any other condition is tested.
            Dialect::Sqlite => entries,
            Dialect::Postgres => {
                let lookups = self.lookups.iter().enumerate().filter(|(_, lookup)| {
                    lookup.is_some_and(|lookup| columns.contains(&lookup.column))
                });
                self.number(&lookups.map(|(position, _)| position).collect::<Vec<_>>()).min(entries)
            }
        }
    }

    /// Returns how many keys of the order these columns of an index have, in their direction.
    fn keys_in_order(&self, columns: &[Column]) -> usize {
        let id = self.schema.field("id").filter(|_| self.dialect.stores_by_id());
        let columns = columns.iter().copied().chain(id.map(Column::Own));
        let Some(first) = self.order.first() else { return 0 };
        let is_in_order = |(key, column): &(&SortKey, Column)| {
            *column == Column::Own(key.field)
                && key.direction == first.direction
                && self.dialect.reads_in_order(key)
        };
        self.order.iter().zip(columns).take_while(is_in_order).count()
    }

    /// Returns the smallest estimated number of records that an index finds for an alternative; `None` without an index.
    fn least(&self, alternative: &'q Condition<Value>) -> Option<f64> {
        let indexed = alternative.conjuncts().into_iter().filter(|condition| {
            let lookup = Lookup::of(condition);
            lookup.is_some_and(|lookup| Index::any_on(self.schema, lookup.column))
        });
        indexed.map(|condition| self.statistics.number([condition])).min_by(f64::total_cmp)
    }

    /// Estimates how many records satisfy these conditions.
    fn number(&self, positions: &[usize]) -> f64 {
        self.statistics.number_of(&self.sample_of(positions))
    }

    fn sample_of(&self, positions: &[usize]) -> FixedBitSet {
        let samples = positions.iter().filter_map(|position| self.samples.get(*position));
        intersection(self.statistics, samples)
    }

    /// Estimates how many of the entries of an index are read in its order until the page is full, if it has this many
    /// keys of the order.
    fn until_full(&self, entries: f64, used: &[usize], keys: usize) -> f64 {
        // The first match may come late, for example for the oldest of the movies in the order of their years.
        let known = self.order.get(..keys).unwrap_or_default();
        let (before, group) =
            self.statistics.until_match(known, &self.sample_of(used), &self.sample);
        // Records that differ only in other keys are sorted, so they are read to the end of their group.
        let group = if keys < self.order.len() { group } else { 0.0 };
        (self.page(entries) + before + group).min(entries)
    }

    /// Estimates how many of the records must be read for a page, if the matching ones are distributed evenly.
    fn page(&self, records: f64) -> f64 {
        self.limit.map_or(records, |limit| (records * limit / self.matching).min(records))
    }

    fn sort(&self) -> f64 {
        if self.has_order() { self.matching * self.costs.sorted } else { 0.0 }
    }
}

impl Index {
    /// Returns the indexes of a collection, as migrations create them.
    fn all(schema: &'static Schema) -> impl Iterator<Item = Self> {
        let declared = schema.unique.iter().chain(schema.indexes).copied().map(Index::Fields);
        let first = schema.natural_key().first().and_then(|name| schema.field(name));
        let folded = first.filter(|field| field.searchable).map(Index::Folded);
        std::iter::once(Index::Id).chain(declared).chain(folded)
    }

    fn columns(self, schema: &'static Schema) -> impl Iterator<Item = Column> {
        let (names, folded): (&[&str], _) = match self {
            Index::Id => (&["id"], None),
            Index::Fields(names) => (names, None),
            Index::Folded(field) => (&[], Some(Column::Folded(field))),
        };
        names.iter().filter_map(|name| schema.field(name)).map(Column::Own).chain(folded)
    }

    /// Whether an index starts with a column.
    fn any_on(schema: &'static Schema, column: Column) -> bool {
        Self::all(schema).any(|index| index.columns(schema).next() == Some(column))
    }
}

impl Column {
    fn is_id(self) -> bool {
        matches!(self, Self::Own(field) if field.name == "id")
    }
}

/// Returns the records of a sample that are in each of these parts of it.
fn intersection<'s>(
    statistics: &Statistics,
    parts: impl IntoIterator<Item = &'s FixedBitSet>,
) -> FixedBitSet {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return statistics.all() };
    let mut all = first.clone();
    parts.for_each(|part| all.intersect_with(part));
    all
}

/// Adds the columns that a condition reads.
fn columns_of(condition: &Condition<Value>, into: &mut Vec<Column>) {
    match condition {
        Condition::All(terms) | Condition::Any(terms) => {
            terms.iter().for_each(|term| columns_of(term, into));
        }
        Condition::Not(inner) => columns_of(inner, into),
        Condition::Flag(field) | Condition::Null(field) => into.push(Column::Own(field)),
        Condition::Compare(left, _, right) => {
            into.push(Column::Own(left.field));
            if let Side::Term(right) = right {
                into.push(Column::Own(right.field));
            }
        }
        Condition::In(term, _) => into.push(Column::Own(term.field)),
        Condition::Match(field, ..) => into.push(Column::Folded(field)),
        Condition::Beyond(fields, ..) => into.extend(fields.iter().copied().map(Column::Own)),
    }
}

/// Whether PostgreSQL searches a text by a pattern.
fn has_pattern(condition: &Condition<Value>, dialect: Dialect) -> bool {
    match condition {
        Condition::All(terms) | Condition::Any(terms) => {
            terms.iter().any(|term| has_pattern(term, dialect))
        }
        Condition::Not(inner) => has_pattern(inner, dialect),
        Condition::Match(field, Matching::Contains | Matching::EndsWith, needle) => {
            field.trigram && dialect.matches_by_pattern(&needle.to_string())
        }
        _ => false,
    }
}
