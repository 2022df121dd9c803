//! Generates random rows and queries. Most values in a query are values of a row, parts of them, or neighbours
//! of them, so that most queries find some of the rows.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use cinequery::query::ast::{
    Clock, ClockBase, Comparison, Direction, Expr, Literal, Matching, Name, Offset, Operand,
    OrderKey, Predicate, Spanned, Subject, Test, Unit,
};
use cinequery::query::text::{is_blank, nfc, trimmed};
use cinequery::query::{Argument, Arguments, Field, Schema, Type, Value, format};
use cinequery::record::Members;
use cinequery::store::Record;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use serde_json::Value as Json;
use uuid::Uuid;

/// Texts with unusual case folding, composition, order or escaping.
const SCRAPS: &[&str] = &[
    "a",
    "A",
    "b",
    "ß",
    "ẞ",
    "ss",
    "SS",
    "é",
    "É",
    "e\u{301}",
    "\u{301}",
    "İ",
    "i\u{307}",
    "ı",
    "I",
    "Σ",
    "σ",
    "ς",
    "ﬃ",
    "FFI",
    "ff",
    "%",
    "_",
    "\\",
    "'",
    "\"",
    "*",
    "`",
    "$1",
    "?",
    " ",
    "--",
    "🎬",
    "𐐀",
    "𐐨",
    "\u{FF5E}",
    "\u{FFFD}",
    "\u{10FFFF}",
    "\u{D7FF}",
    "\u{E000}",
    "Å",
    "\u{212B}",
    "A\u{30A}",
    "K",
    "\u{212A}",
    "ǅ",
    "ǆ",
    "ǰ",
    "ΐ",
    "가",
    "\u{1100}\u{1161}",
    "ﷺ",
    "and",
    "null",
    "\u{200D}",
];

const DAYS: &[&str] = &[
    "0001-01-01",
    "0001-12-31",
    "0999-12-31",
    "1970-01-01",
    "2023-12-31",
    "2024-01-01",
    "2024-02-28",
    "2024-02-29",
    "2024-03-01",
    "2024-12-31",
    "2025-02-28",
    "9999-01-01",
    "9999-12-31",
];

const MOMENTS: &[&str] = &[
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2024-02-29T12:00:00Z",
    "2024-02-29T12:00:00.000001Z",
    "2024-02-29T12:00:00.1Z",
    "9999-12-31T23:59:59.999999Z",
];

/// A part of a date.
type Part = fn(&NaiveDate) -> i64;

/// The functions of the language that take a date.
const PARTS: &[(&str, Part)] =
    &[("year", |day| day.year().into()), ("month", |day| day.month().into())];

/// Generates a record as clients send it. Optional fields may be null or absent.
pub(super) fn row(schema: &'static Schema) -> impl Strategy<Value = Members<Json>> {
    let member = |field: &'static Field| {
        let value = value(field).prop_map(|value| Some(Json::from(&value)));
        let mut kinds = vec![(8, value.boxed())];
        if field.nullable {
            kinds.push((2, Just(Some(Json::Null)).boxed()));
        }
        if !field.is_required() {
            kinds.push((1, Just(None).boxed()));
        }
        let member = Union::new_weighted(kinds);
        member.prop_map(|value| value.map(|value| (field.name.to_owned(), value)))
    };
    let members: Vec<_> = schema.writable().map(member).collect();
    members.prop_map(|members| Members(members.into_iter().flatten().collect()))
}

/// Generates a value within the bounds of the field.
fn value(field: &'static Field) -> BoxedStrategy<Value> {
    let (low, high) = (*field.bounds.start(), *field.bounds.end());
    match field.ty {
        Type::Text => text().prop_map(move |text| Value::Text(fitted(&text, low, high))).boxed(),
        Type::Integer => integer(low, high).prop_map(Value::Integer).boxed(),
        ty => any_value(ty),
    }
}

/// Truncates or pads the text to a length from `least` to `most` characters, without outer white space, so that it is
/// stored as it is.
fn fitted(text: &str, least: i64, most: i64) -> String {
    let count = |bound: i64| usize::try_from(bound).unwrap();
    let text: String = nfc(text).chars().take(count(most)).collect();
    let mut text = if is_blank(&text) { String::new() } else { trimmed(&text).to_owned() };
    let missing = count(least).saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n('a', missing));
    text
}

/// Generates any value of the type.
fn any_value(ty: Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Text => text().prop_map(Value::Text).boxed(),
        Type::Integer => integer(i64::MIN, i64::MAX).prop_map(Value::Integer).boxed(),
        Type::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Type::Date => day().prop_map(Value::Date).boxed(),
        Type::Timestamp => moment().prop_map(Value::Timestamp).boxed(),
        Type::Id => any::<[u8; 16]>().prop_map(|id| Value::Id(Uuid::from_bytes(id))).boxed(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::collection::vec(select(SCRAPS), 0..5).prop_map(|scraps| scraps.concat()),
        1 => "\\PC{0,6}".prop_map(String::from),
    ]
}

fn integer(low: i64, high: i64) -> impl Strategy<Value = i64> {
    let edges = vec![low, low.saturating_add(1), high.saturating_sub(1), high];
    prop_oneof![2 => select(edges), 4 => -3..=3_i64, 1 => 1..=9999_i64, 1 => low..=high]
        .prop_map(move |number| number.clamp(low, high))
}

fn day() -> impl Strategy<Value = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    prop_oneof![
        5 => select(DAYS).prop_map(|day| day.parse().unwrap()),
        1 => (0..3_652_059_i64).prop_map(move |days| first + TimeDelta::days(days)),
    ]
}

fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        5 => select(MOMENTS).prop_map(|moment| moment.parse().unwrap()),
        1 => (-62_135_596_800_000_000..253_402_300_800_000_000_i64)
            .prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap()),
    ]
}

/// A query about the rows.
#[derive(Clone)]
pub(super) struct Query {
    pub filter: Option<Expr>,
    pub order_by: Vec<OrderKey>,
    /// Values for two parameters of each type.
    pub arguments: Arguments,
    pub limit: i64,
}

/// Writes the filter and order as a client would send them.
impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let filter = self.filter.as_ref().map(format::filter).unwrap_or_default();
        write!(f, "{filter} | {} | limit {}", format::order_by(&self.order_by), self.limit)
    }
}

/// Generates queries about these rows.
pub(super) fn query(
    schema: &'static Schema,
    rows: &[Record],
) -> impl Strategy<Value = Query> + use<> {
    let values = Values::of(schema, rows);
    let names: Vec<&str> = schema.names().collect();
    let direction = select(vec![Direction::Ascending, Direction::Descending]);
    let keys = (Just(names).prop_shuffle(), prop::collection::vec(direction, 0..4));
    let order_by = keys.prop_map(|(names, directions)| {
        let keys = names.into_iter().zip(directions);
        keys.map(|(name, direction)| OrderKey {
            field: Name::from(name).into(),
            direction: direction.into(),
        })
        .collect()
    });
    (prop::option::weighted(0.95, filter(&values)), order_by, values.arguments(), 1..30_i64)
        .prop_map(|(filter, order_by, arguments, limit)| Query {
            filter,
            order_by,
            arguments,
            limit,
        })
}

fn filter(values: &Values) -> impl Strategy<Value = Expr> + use<> {
    let predicates = values.schema.fields.iter().map(|field| predicate(field, values).boxed());
    Union::new(predicates).prop_recursive(4, 20, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(Expr::all),
            list.prop_map(Expr::any),
            inner.prop_map(Expr::negate),
        ]
    })
}

/// Generates a predicate about a field; for a date also about its year and its month.
fn predicate(field: &'static Field, values: &Values) -> BoxedStrategy<Expr> {
    let name = Spanned::from(Name::from(field.name));
    let whole = Subject { function: None, field: name.clone() };
    let (low, high) = (*field.column_range().start(), *field.column_range().end());
    let asked = |subject: Subject, test: BoxedStrategy<Test>| {
        test.prop_map(move |test| {
            let subject = subject.clone().into();
            Expr::Predicate(Box::new(Predicate { subject, test: test.into() }))
        })
        .boxed()
    };
    let values = values.about(field);
    let mut kinds = vec![asked(whole, test(field.ty, field.searchable, (low, high), &values))];
    if field.ty == Type::Date {
        for (function, part) in PARTS {
            let function = Some(Spanned::from(Name::from(*function)));
            let subject = Subject { function, field: name.clone() };
            let range = (i32::MIN.into(), i32::MAX.into());
            kinds.push(asked(subject, test(Type::Integer, false, range, &values.part(*part))));
        }
    }
    Union::new(kinds).boxed()
}

fn test(ty: Type, is_searchable: bool, range: (i64, i64), values: &Values) -> BoxedStrategy<Test> {
    let comparisons = match ty {
        Type::Boolean => vec![Comparison::Equal, Comparison::NotEqual],
        _ => Comparison::ALL.to_vec(),
    };
    let operand = operand(ty, range, values);
    let item = prop_oneof![6 => values.literal(ty, range), 1 => parameter(ty)];
    let items = prop::collection::vec(item.clone().prop_map(Spanned::from), 1..5);
    let mut kinds = vec![
        (
            6,
            (select(comparisons), operand.clone())
                .prop_map(|(operator, operand)| Test::Compare { operator, operand: operand.into() })
                .boxed(),
        ),
        (
            2,
            (any::<bool>(), items).prop_map(|(negated, items)| Test::In { negated, items }).boxed(),
        ),
        (1, any::<bool>().prop_map(|negated| Test::Null { negated }).boxed()),
    ];
    if ty == Type::Boolean {
        kinds.push((3, Just(Test::Flag).boxed()));
    } else {
        let bounds = (any::<bool>(), operand.clone(), operand);
        kinds
            .push((2, bounds.prop_map(|(negated, low, high)| between(negated, low, high)).boxed()));
    }
    if is_searchable {
        let matching = (any::<bool>(), select(Matching::ALL.to_vec()), item);
        kinds.push((
            8,
            matching
                .prop_map(|(negated, matching, operand)| Test::Match {
                    negated,
                    matching,
                    operand: operand.into(),
                })
                .boxed(),
        ));
    }
    Union::new_weighted(kinds).boxed()
}

/// Swaps literal bounds in the wrong order, because the language rejects them.
fn between(negated: bool, low: Operand, high: Operand) -> Test {
    let is_reversed = match (&low, &high) {
        (Operand::Literal(Literal::Text(low)), Operand::Literal(Literal::Text(high))) => low > high,
        (Operand::Literal(Literal::Integer(low)), Operand::Literal(Literal::Integer(high))) => {
            low > high
        }
        (Operand::Literal(Literal::Date(low)), Operand::Literal(Literal::Date(high))) => low > high,
        (Operand::Literal(Literal::Timestamp(low)), Operand::Literal(Literal::Timestamp(high))) => {
            low > high
        }
        _ => false,
    };
    let (low, high) = if is_reversed { (high, low) } else { (low, high) };
    Test::Between { negated, low: low.into(), high: high.into() }
}

fn operand(ty: Type, range: (i64, i64), values: &Values) -> BoxedStrategy<Operand> {
    let mut kinds = vec![(12, values.literal(ty, range)), (2, parameter(ty).boxed())];
    let of_type = |ty| values.schema.fields.iter().filter(move |field| field.ty == ty);
    let subject = |function: Option<&str>, field: &Field| Subject {
        function: function.map(|function| Name::from(function).into()),
        field: Name::from(field.name).into(),
    };
    let mut subjects: Vec<Subject> = of_type(ty).map(|field| subject(None, field)).collect();
    if ty == Type::Integer {
        let parts = |field| PARTS.iter().map(move |(part, _)| subject(Some(part), field));
        subjects.extend(of_type(Type::Date).flat_map(parts));
    }
    kinds.push((3, select(subjects).prop_map(Operand::Subject).boxed()));
    let base = match ty {
        Type::Date => Some(ClockBase::Today),
        Type::Timestamp => Some(ClockBase::Now),
        _ => None,
    };
    if let Some(base) = base {
        let offset = (-900..=900, select(Unit::ALL.to_vec()))
            .prop_map(|(count, unit)| Offset { count, unit });
        let clock = prop::option::of(offset).prop_map(move |offset| Clock { base, offset });
        kinds.push((3, clock.prop_map(Operand::Clock).boxed()));
    }
    Union::new_weighted(kinds).boxed()
}

/// Generates one of the two parameters of this type.
fn parameter(ty: Type) -> impl Strategy<Value = Operand> + Clone {
    (1..=2).prop_map(move |number| Operand::Parameter(format!("{}{number}", ty.as_str()).into()))
}

/// The values of the rows.
#[derive(Clone)]
struct Values {
    schema: &'static Schema,
    rows: Vec<(&'static Field, Value)>,
    /// The values of the field that a predicate is about. Most operands are one of these or near one, because
    /// others would often find all rows or none.
    own: Vec<Value>,
}

impl Values {
    fn of(schema: &'static Schema, rows: &[Record]) -> Self {
        let values = rows.iter().flat_map(Record::fields);
        let values = values.filter_map(|(field, value)| Some((field, value.cloned()?)));
        Self { schema, rows: values.collect(), own: Vec::new() }
    }

    /// Returns the values for a predicate about this field.
    fn about(&self, field: &Field) -> Self {
        let own = self.rows.iter().filter(|(other, _)| *other == field);
        Self { own: own.map(|(_, value)| value.clone()).collect(), ..self.clone() }
    }

    /// Returns the values for a predicate about a part of the date field.
    fn part(&self, part: Part) -> Self {
        let own = self.own.iter().filter_map(|value| match value {
            Value::Date(day) => Some(Value::Integer(part(day))),
            _ => None,
        });
        Self { own: own.collect(), ..self.clone() }
    }

    /// Generates a value of the rows, or any value of the type if the rows have none.
    fn present(&self, ty: Type) -> BoxedStrategy<Value> {
        let of_type = self.rows.iter().filter(|(_, value)| value.ty() == ty);
        let of_type: Vec<Value> = of_type.map(|(_, value)| value.clone()).collect();
        match (self.own.is_empty(), of_type.is_empty()) {
            (false, _) => prop_oneof![4 => select(self.own.clone()), 1 => select(of_type)].boxed(),
            (true, false) => select(of_type).boxed(),
            (true, true) => any_value(ty),
        }
    }

    /// Generates a value of the type that is a value of a row or near one.
    fn value(&self, ty: Type, (low, high): (i64, i64)) -> BoxedStrategy<Value> {
        let present = self.present(ty);
        match ty {
            Type::Text => prop_oneof![
                2 => present.clone(),
                4 => (present, any::<(u8, u8, u8)>()).prop_map(|(value, cut)| Value::Text(part(&value.to_string(), cut))),
                1 => text().prop_map(Value::Text),
            ]
            .boxed(),
            Type::Integer => {
                prop_oneof![3 => present, 2 => integer(low, high).prop_map(Value::Integer)].boxed()
            }
            Type::Date => prop_oneof![3 => present, 2 => day().prop_map(Value::Date)].boxed(),
            Type::Timestamp => {
                prop_oneof![3 => present, 2 => moment().prop_map(Value::Timestamp)].boxed()
            }
            Type::Boolean | Type::Id => present,
        }
    }

    fn literal(&self, ty: Type, range: (i64, i64)) -> BoxedStrategy<Operand> {
        self.value(ty, range).prop_map(|value| Operand::Literal(value.into())).boxed()
    }

    fn arguments(&self) -> impl Strategy<Value = Arguments> + use<> {
        let types =
            [Type::Text, Type::Integer, Type::Boolean, Type::Date, Type::Timestamp, Type::Id];
        let named: Vec<_> = types
            .into_iter()
            .flat_map(|ty| [(ty, 1), (ty, 2)])
            .map(|(ty, number)| {
                let range = (i32::MIN.into(), i32::MAX.into());
                self.value(ty, range).prop_map(move |value| {
                    (format!("{}{number}", ty.as_str()), Argument::Untyped(value.to_string()))
                })
            })
            .collect();
        named.prop_map(|named| named.into_iter().collect())
    }
}

/// Returns a part of a text, possibly in another case, as a search term.
fn part(text: &str, (start, length, case): (u8, u8, u8)) -> String {
    let characters: Vec<char> = text.chars().collect();
    let start = usize::from(start) % (characters.len() + 1);
    let length = usize::from(length) % (characters.len() + 1 - start);
    let part: String = characters[start..start + length].iter().collect();
    match case % 3 {
        0 => part,
        1 => part.to_lowercase(),
        _ => part.to_uppercase(),
    }
}
