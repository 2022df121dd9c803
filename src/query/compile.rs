//! Compiles a bound query to one SQL statement. Text of the user appears only in bound values.

use std::fmt::Write;

use chrono::NaiveDate;
use sea_query::{
    Alias, Expr, ExprTrait, IntoColumnRef, LogicalChainOper, NullOrdering, Order, Query as Sql,
    SelectStatement, Value as SqlValue, Values,
};

use super::access::Access;
use super::ast::{Comparison, Direction, Matching};
use super::bind::BoundQuery;
use super::dialect::{Dialect, FOR_VALUES};
use super::facet::Facet;
use super::limits::{MAX_YEAR, MIN_YEAR};
use super::plan::{Condition, Part, Side, SortKey, Term};
use super::schema::{Field, Schema};
use super::shape::Shape;
use super::text::{after_prefix, fold};
use super::trigram::Candidates;
use super::value::{Type, Value};

/// A statement and its bound values.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The SQL, with a placeholder for each value.
    pub sql: String,
    /// The values, in the order of their placeholders.
    pub values: Values,
}

impl From<(String, Values)> for Statement {
    fn from((sql, values): (String, Values)) -> Self {
        Self { sql, values }
    }
}

/// A value of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The type for the engine.
    pub ty: Type,
    /// The value as JSON; a string if JSON has no such type.
    pub value: serde_json::Value,
}

impl Statement {
    /// Returns the values in the order of their placeholders.
    pub fn bound(&self) -> Vec<Bound> {
        self.values.iter().map(bound).collect()
    }
}

fn bound(value: &SqlValue) -> Bound {
    let (ty, value) = match value {
        SqlValue::Bool(Some(flag)) => (Type::Boolean, (*flag).into()),
        SqlValue::BigInt(Some(number)) => (Type::Integer, (*number).into()),
        // The limit of a page.
        SqlValue::BigUnsigned(Some(number)) => (Type::Integer, (*number).into()),
        SqlValue::String(Some(text)) => (Type::Text, text.as_str().into()),
        SqlValue::ChronoDate(Some(date)) => (Type::Date, date.to_string().into()),
        SqlValue::ChronoDateTimeUtc(Some(instant)) => {
            (Type::Timestamp, Value::Timestamp(*instant).to_string().into())
        }
        SqlValue::Uuid(Some(id)) => (Type::Id, id.to_string().into()),
        other => {
            unreachable!("`Dialect::value` creates no {other:?}, and conditions have no nulls")
        }
    };
    Bound { ty, value }
}

/// Page sizes that are written into the statement: common ones with one more row, which shows whether
/// there is a next page, and that of an export. PostgreSQL plans a bound LIMIT again each time. Literals
/// of all sizes would fill the statement cache.
const LITERAL_LIMITS: [u32; 4] = [21, 101, 1000, 1001];

/// Compiles a query.
pub fn compile(query: &BoundQuery, shape: Shape, dialect: Dialect) -> Statement {
    compile_for_access(query, shape, dialect, Access::default())
}

/// Compiles a query for an access path. The result is that of [`compile`].
pub fn compile_for_access(
    query: &BoundQuery,
    shape: Shape,
    dialect: Dialect,
    access: Access,
) -> Statement {
    let for_values = access.for_values;
    let mut statement = compile_by(Compiler { access, ..Compiler::of(dialect) }, query, shape);
    if for_values {
        statement.sql.push_str(FOR_VALUES);
    }
    statement
}

/// Compiles a query for SQLite that reads only the candidates of an index of trigrams, if there is one for the filter.
/// The result is that of [`compile`].
pub fn compile_for_candidates(query: &BoundQuery, shape: Shape) -> Statement {
    let Some(candidates) = Candidates::of(query) else {
        return compile(query, shape, Dialect::Sqlite);
    };
    let condition = Expr::cust_with_values(candidates.condition(), [candidates.sought]);
    let compiler = Compiler { candidates: Some(condition), ..Compiler::of(Dialect::Sqlite) };
    compile_by(Compiler { access: Access::of_candidates(), ..compiler }, query, shape)
}

fn compile_by(compiler: Compiler, query: &BoundQuery, shape: Shape) -> Statement {
    let dialect = compiler.dialect;
    let mut matching = Sql::select();
    matching.from(query.schema.collection);
    let filter = query.filter.as_ref();
    let limit = match shape {
        Shape::Count => {
            compiler.filter(&mut matching, filter);
            matching.expr(Expr::cust("count(*)"));
            return compiler.statement(&matching);
        }
        Shape::CountUpTo { limit } => {
            compiler.filter(&mut matching, filter);
            matching.expr(Expr::cust("1")).limit(u64::from(limit));
            let mut count = Sql::select();
            count.expr(Expr::cust("count(*)")).from_subquery(matching, "matching");
            return compiler.statement(&count);
        }
        Shape::Groups { facet, limit } => {
            compiler.filter(&mut matching, filter);
            let key = match filter {
                Some(_) => dialect.key_of_some(&facet),
                None => dialect.key(&facet),
            };
            groups(&mut matching, &facet, key);
            matching.limit(u64::from(limit));
            return compiler.statement(&matching);
        }
        Shape::LockedIds { limit } => {
            let conjuncts = compiler.filter(&mut matching, filter);
            compiler
                .order(&mut matching, &SortKey::varying(&SortKey::by_id(query.schema), &conjuncts));
            matching.column("id").limit(u64::from(limit));
            if dialect == Dialect::Postgres {
                matching.lock_exclusive();
            }
            return compiler.statement(&matching);
        }
        Shape::Page { limit } => limit,
    };
    let conjuncts = compiler.filter(&mut matching, filter.into_iter().chain(&query.after));
    let order = SortKey::varying(&query.order, &conjuncts);
    compiler.order(&mut matching, &order);
    if dialect.stores_by_id() && query.filter.is_some() && !query.order.is_empty() {
        matching.column("id").limit(u64::from(limit));
        let mut page = Sql::select();
        page.expr(Expr::cust(query.schema.select_list))
            .from(query.schema.collection)
            .and_where(Expr::col("id").in_subquery(matching));
        for key in &order {
            order_by(&mut page, *key, Expr::col(key.field.name));
        }
        return compiler.statement(&page);
    }
    matching.expr(Expr::cust(query.schema.select_list));
    if !LITERAL_LIMITS.contains(&limit) {
        matching.limit(u64::from(limit));
        return compiler.statement(&matching);
    }
    let mut statement = compiler.statement(&matching);
    // Writing to a String cannot fail; LIMIT is the last clause of a select.
    let _ = write!(statement.sql, " LIMIT {limit}");
    statement
}

/// Compiles a statement for the spelling of a text in the database: the text itself if a record has
/// it, else the most frequent text that differs from it only in case.
pub fn compile_respelling(
    schema: &Schema,
    field: &Field,
    text: &str,
    dialect: Dialect,
) -> Statement {
    let mut spelling = Sql::select();
    spelling
        .column(field.name)
        .from(schema.collection)
        .and_where(Expr::col(folded_column(field)).eq(fold(text)))
        .group_by_col(field.name)
        .order_by_expr(Expr::col(field.name).eq(text), Order::Desc)
        .order_by_expr(Expr::cust("count(*)"), Order::Desc)
        .order_by(field.name, Order::Asc)
        .limit(1);
    dialect.build(&spelling).into()
}

/// Compiles a statement for the values of a text field that start with a text, the most frequent
/// first. It ignores case.
pub fn compile_frequent(
    schema: &Schema,
    field: &'static Field,
    start: &str,
    limit: u32,
    dialect: Dialect,
) -> Statement {
    let compiler = Compiler::of(dialect);
    let starts = Condition::Match(field, Matching::StartsWith, Value::Text(fold(start)));
    let mut values = Sql::select();
    values.column(field.name).from(schema.collection);
    compiler.filter(&mut values, [&starts]);
    values
        .group_by_col(field.name)
        .order_by_expr(Expr::cust("count(*)"), Order::Desc)
        .order_by(field.name, Order::Asc)
        .limit(u64::from(limit));
    compiler.statement(&values)
}

/// The suffix of a folded column's name.
pub const FOLDED: &str = "_folded";

/// Returns the column with the folded form of a text field.
pub fn folded_column(field: &Field) -> Alias {
    Alias::new(format!("{}{FOLDED}", field.name))
}

struct Compiler {
    dialect: Dialect,
    access: Access,
    /// A condition that the filter implies.
    candidates: Option<Expr>,
    /// Whether it builds conditions that are not looked up in an index.
    hides_columns: bool,
}

impl Compiler {
    fn statement(&self, select: &SelectStatement) -> Statement {
        self.dialect.build(select).into()
    }

    fn of(dialect: Dialect) -> Self {
        Self { dialect, access: Access::default(), candidates: None, hides_columns: false }
    }

    /// Builds a column of the filter.
    fn column(&self, column: impl IntoColumnRef) -> Expr {
        let column = Expr::col(column);
        if self.hides_columns { self.dialect.hidden(column) } else { column }
    }

    /// Adds conditions that must all be true, and returns them without their conjunctions. It adds them as one link of a
    /// chain, because sea-query would copy the expression in `and_where`.
    fn filter<'a>(
        &self,
        select: &mut SelectStatement,
        conditions: impl IntoIterator<Item = &'a Condition<Value>>,
    ) -> Vec<&'a Condition<Value>> {
        let hiding = Self { hides_columns: true, ..Self::of(self.dialect) };
        let conjuncts: Vec<_> = conditions.into_iter().flat_map(Condition::conjuncts).collect();
        let built = conjuncts.iter().enumerate().map(|(position, condition)| {
            let visible = self.access.visible.as_ref();
            let is_visible = visible.is_none_or(|visible| visible.contains(&position));
            if is_visible { self.condition(condition) } else { hiding.condition(condition) }
        });
        let built = self.candidates.clone().into_iter().chain(built);
        if let Some(all) = built.reduce(ExprTrait::and) {
            select.and_or_where(LogicalChainOper::And(all));
        }
        conjuncts
    }

    /// Adds the order in which the matching records are found. Without the first key, no index has it.
    fn order(&self, select: &mut SelectStatement, keys: &[SortKey]) {
        for (position, key) in keys.iter().enumerate() {
            let column = Expr::col(key.field.name);
            let is_hidden = position == 0 && self.access.hides_order;
            order_by(select, *key, if is_hidden { self.dialect.hidden(column) } else { column });
        }
    }

    fn condition(&self, condition: &Condition<Value>) -> Expr {
        match condition {
            Condition::All(terms) => match terms.as_slice() {
                [
                    Condition::Compare(term, _, Side::Value(low)),
                    Condition::Compare(_, _, Side::Value(high)),
                ] if condition.is_between() => {
                    self.term(*term).between(self.value(low), self.value(high))
                }
                terms => self.chain(terms, true, ExprTrait::and),
            },
            Condition::Any(terms) => self.chain(terms, false, ExprTrait::or),
            Condition::Not(inner) => self.condition(inner).not(),
            Condition::Flag(field) => self.column(field.name).eq(true),
            Condition::Null(field) => self.column(field.name).is_null(),
            Condition::Compare(left, operator, Side::Value(Value::Integer(year)))
                if left.part == Part::Year =>
            {
                self.condition(&year_range(*left, *operator, *year))
            }
            Condition::Compare(left, operator, right) => {
                let left = self.term(*left);
                let right = match right {
                    Side::Value(value) => self.value(value),
                    Side::Term(term) => self.term(*term),
                };
                match operator {
                    Comparison::Equal => left.eq(right),
                    Comparison::NotEqual => left.ne(right),
                    Comparison::Less => left.lt(right),
                    Comparison::LessOrEqual => left.lte(right),
                    Comparison::Greater => left.gt(right),
                    Comparison::GreaterOrEqual => left.gte(right),
                }
            }
            Condition::In(term, values) => {
                self.term(*term).is_in(values.iter().map(|value| self.value(value)))
            }
            Condition::Match(field, matching, needle) => {
                self.matching(field, *matching, &needle.to_string())
            }
            Condition::Beyond(fields, operator, values) => {
                let fields = fields.iter().map(|field| self.column(field.name));
                let fields = Expr::tuple(fields);
                let values = Expr::tuple(values.iter().map(|value| self.value(value)));
                match operator {
                    Comparison::Less => fields.lt(values),
                    _ => fields.gt(values),
                }
            }
        }
    }

    /// Joins conditions by an operator; `of_none` is the result for an empty list.
    fn chain(
        &self,
        terms: &[Condition<Value>],
        of_none: bool,
        join: impl Fn(Expr, Expr) -> Expr,
    ) -> Expr {
        let terms = terms.iter().map(|term| self.condition(term));
        terms.reduce(join).unwrap_or_else(|| Expr::val(of_none))
    }

    fn matching(&self, field: &Field, matching: Matching, needle: &str) -> Expr {
        let column = || self.column(folded_column(field));
        match matching {
            // An empty needle is in every text; for null the result is unknown.
            _ if needle.is_empty() => column().gte(""),
            Matching::Contains | Matching::EndsWith
                if field.trigram && self.dialect.matches_by_pattern(needle) =>
            {
                Dialect::pattern(column(), matching, needle)
            }
            Matching::Contains => self.dialect.contains(column(), needle),
            Matching::EndsWith => self.dialect.ends_with(column(), needle),
            Matching::StartsWith => match after_prefix(needle) {
                Some(end) => column().gte(needle).and(column().lt(end)),
                None => column().gte(needle),
            },
        }
    }

    fn term(&self, term: Term) -> Expr {
        self.dialect.part(self.column(term.field.name), term.part)
    }

    fn value(&self, value: &Value) -> Expr {
        Expr::val(self.dialect.value(value))
    }
}

fn order_by(select: &mut SelectStatement, key: SortKey, column: Expr) {
    let order = match key.direction {
        Direction::Ascending => Order::Asc,
        Direction::Descending => Order::Desc,
    };
    // Only for nullable fields, because SQLite uses no index for `NULLS LAST`.
    if key.field.nullable {
        select.order_by_expr_with_nulls(column, order, NullOrdering::Last);
    } else {
        select.order_by_expr(column, order);
    }
}

/// Adds the columns and order of [`Shape::Groups`].
fn groups(select: &mut SelectStatement, facet: &Facet, key: Expr) {
    // Positions instead of expressions: PostgreSQL treats two copies of a key with bound values as
    // different expressions.
    let (first, second) = (|| Expr::cust("1"), || Expr::cust("2"));
    select
        .expr(key)
        .expr(Expr::cust("count(*)"))
        .expr(Expr::cust("count(*) OVER ()"))
        // PostgreSQL's sum of 64-bit integers is a decimal number.
        .expr(Expr::cust("CAST(sum(count(*)) OVER () AS bigint)"))
        .add_group_by([first()]);
    if facet.interval().is_none() {
        select.order_by_expr(second(), Order::Desc);
    }
    if facet.field().nullable {
        select.order_by_expr_with_nulls(first(), Order::Asc, NullOrdering::Last);
    } else {
        select.order_by_expr(first(), Order::Asc);
    }
}

/// Converts a comparison of `year(date)` to a comparison of the date, which can use an index. The result
/// is also unknown for a null date. For years outside the calendar it compares with the first day of
/// the calendar, so that null stays unknown.
fn year_range(term: Term, operator: Comparison, year: i64) -> Condition<Value> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let compare = |operator, date| {
        Condition::Compare(Term::whole(term.field), operator, Side::Value(Value::Date(date)))
    };
    let day = |year: i32, month, day| {
        NaiveDate::from_ymd_opt(year, month, day).expect("the years 1 to 9999 are in the calendar")
    };
    let first_day = day(MIN_YEAR, 1, 1);
    let (never, always) = (compare(Less, first_day), compare(GreaterOrEqual, first_day));
    let in_calendar = i32::try_from(year).ok().filter(|y| (MIN_YEAR..=MAX_YEAR).contains(y));
    let Some(in_calendar) = in_calendar else {
        let is_before = year < i64::from(MIN_YEAR);
        return match operator {
            NotEqual => always,
            Greater | GreaterOrEqual if is_before => always,
            Less | LessOrEqual if !is_before => always,
            _ => never,
        };
    };
    let (start, end) = (day(in_calendar, 1, 1), day(in_calendar, 12, 31));
    match operator {
        Equal => Condition::All(vec![compare(GreaterOrEqual, start), compare(LessOrEqual, end)]),
        NotEqual => Condition::Any(vec![compare(Less, start), compare(Greater, end)]),
        Less => compare(Less, start),
        LessOrEqual => compare(LessOrEqual, end),
        Greater => compare(Greater, end),
        GreaterOrEqual => compare(GreaterOrEqual, start),
    }
}
