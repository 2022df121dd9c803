//! All differences between SQLite and PostgreSQL in statements.

use sea_query::{
    Expr, ExprTrait, Func, InsertStatement, PostgresQueryBuilder, QueryStatementWriter,
    SqliteQueryBuilder, Value as SqlValue, Values,
};

use super::ast::{Direction, Matching};
use super::facet::{CalendarPart, Facet, Interval};
use super::plan::{Part, SortKey};
use super::schema::Field;
use super::trigram;
use super::value::{Type, Value};

/// A test of a text by a pattern, in PostgreSQL.
const PATTERN_TEST: &str = "$1 LIKE $2";

/// What ends a statement that PostgreSQL plans each time, for its values.
pub const FOR_VALUES: &str = " /* planned for its values */";

/// Whether a statement must be planned for its values each time. A plan for any values assumes that many texts match a
/// pattern, and then reads the whole table in order for a rare one.
pub fn depends_on_values(sql: &str) -> bool {
    sql.contains(" LIKE ") || sql.ends_with(FOR_VALUES)
}

/// The times to read a record by access path, in that of reading one of a scan of the table.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// In the order of the ids.
    pub by_id: f64,
    /// The entry of another index, without the record.
    pub entry: f64,
    /// The record of an entry, in the order of the index.
    pub in_order: f64,
    /// The record of an entry, in any order.
    pub found: f64,
    /// To sort it.
    pub sorted: f64,
}

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite, 3.35 or later.
    Sqlite,
    /// PostgreSQL, 13 or later.
    Postgres,
}

impl Dialect {
    /// Builds the SQL of a statement and its values.
    pub fn build(self, statement: &impl QueryStatementWriter) -> (String, Values) {
        match self {
            Dialect::Sqlite => statement.build(SqliteQueryBuilder),
            Dialect::Postgres => statement.build(PostgresQueryBuilder),
        }
    }

    /// Builds an insert of several rows, for a transaction that is rolled back if the insert fails. SQLite would copy each
    /// page that the statement changes to a file, to undo the rows before the failure: half the time of an import.
    pub fn build_rows(self, insert: &InsertStatement) -> (String, Values) {
        let (sql, values) = self.build(insert);
        match self {
            Dialect::Sqlite => (sql.replacen("INSERT INTO", "INSERT OR FAIL INTO", 1), values),
            Dialect::Postgres => (sql, values),
        }
    }

    /// Returns the costs of access paths, as `make plans` measures them.
    pub fn costs(self) -> Costs {
        match self {
            Dialect::Sqlite => {
                Costs { by_id: 1.0, entry: 0.5, in_order: 25.0, found: 22.0, sorted: 0.3 }
            }
            Dialect::Postgres => {
                Costs { by_id: 2.0, entry: 0.3, in_order: 4.0, found: 5.0, sorted: 0.5 }
            }
        }
    }

    /// Whether the planner has statistics of the values.
    pub fn has_statistics(self) -> bool {
        self == Dialect::Postgres
    }

    /// Whether an index has the order of a key. In the order of an index, SQLite's nulls are the least values and
    /// PostgreSQL's the greatest, but they come last in both directions.
    pub fn reads_in_order(self, key: &SortKey) -> bool {
        let natural = match self {
            Dialect::Sqlite => Direction::Descending,
            Dialect::Postgres => Direction::Ascending,
        };
        !key.field.nullable || key.direction == natural
    }

    /// Hides a column from the planner: an expression is not looked up in an index, and no index has its order.
    pub fn hidden(self, column: Expr) -> Expr {
        match self {
            Dialect::Sqlite => Expr::cust_with_expr("+?", column),
            Dialect::Postgres => Func::coalesce([column.clone(), column]).into(),
        }
    }

    /// Whether tables are ordered by id, so that each index contains the ids. Then a page selects ids first, and sorts and
    /// limits them without reading records that are not on the page. PostgreSQL would read the page a second time.
    pub fn stores_by_id(self) -> bool {
        self == Dialect::Sqlite
    }

    /// Converts a value to the form that the engine stores and compares. SQLite has no timestamps: there
    /// they are text of fixed width, `2024-01-31T12:00:00.000000Z`, which sorts by time.
    pub fn value(self, value: &Value) -> SqlValue {
        match (value, self) {
            (Value::Text(text), _) => SqlValue::from(text.as_str()),
            (Value::Integer(number), _) => SqlValue::from(*number),
            (Value::Boolean(flag), _) => SqlValue::from(*flag),
            (Value::Date(date), _) => SqlValue::from(*date),
            (Value::Timestamp(_), Dialect::Sqlite) => SqlValue::from(value.to_string()),
            (Value::Timestamp(instant), Dialect::Postgres) => SqlValue::from(*instant),
            (Value::Id(id), _) => SqlValue::from(*id),
        }
    }

    /// Returns the null of a field's type, from which PostgreSQL infers the type of a parameter.
    pub fn null(self, field: &Field) -> SqlValue {
        match (field.ty, self) {
            (Type::Text, _) | (Type::Timestamp, Dialect::Sqlite) => SqlValue::String(None),
            (Type::Integer, _) => SqlValue::BigInt(None),
            (Type::Boolean, _) => SqlValue::Bool(None),
            (Type::Date, _) => SqlValue::ChronoDate(None),
            (Type::Timestamp, Dialect::Postgres) => SqlValue::ChronoDateTimeUtc(None),
            (Type::Id, _) => SqlValue::Uuid(None),
        }
    }

    /// Builds `year(column)` or `month(column)` as an integer, or the column itself.
    pub fn part(self, column: Expr, part: Part) -> Expr {
        let template = match (part, self) {
            (Part::Whole, _) => return column,
            (Part::Year, Dialect::Postgres) => "CAST(EXTRACT(YEAR FROM $1) AS integer)",
            (Part::Month, Dialect::Postgres) => "CAST(EXTRACT(MONTH FROM $1) AS integer)",
            (Part::Year, Dialect::Sqlite) => "CAST(substr(?, 1, 4) AS integer)",
            (Part::Month, Dialect::Sqlite) => "CAST(substr(?, 6, 2) AS integer)",
        };
        Expr::cust_with_expr(template, column)
    }

    /// Builds the key by which a facet groups records; null if the field is null. It neither overflows
    /// nor depends on the time zone of a session.
    pub fn key(self, facet: &Facet) -> Expr {
        let field = facet.field();
        let column = Expr::col(field.name);
        match (facet.interval(), self) {
            (Some(Interval::Width(width)), _) => {
                // Division truncates, but the number of a bucket must be rounded down.
                let (zero, one) = (|| Expr::cust("0"), || Expr::cust("1"));
                let column = column.cast_as("bigint");
                let below_zero = column.clone().add(one()).div(Expr::val(width)).sub(one());
                let number = column.clone().div(Expr::val(width));
                Expr::case(column.lt(zero()), below_zero).finally(number).into()
            }
            (Some(Interval::Calendar(part)), _) => self.first_day(column, field.ty, part),
            // The driver reads 32-bit and 64-bit integers as different types.
            (None, Dialect::Postgres) if field.ty == Type::Integer => column.cast_as("bigint"),
            (None, _) => column,
        }
    }

    /// Builds the key for a query with a filter. SQLite would otherwise scan an index on the key and read
    /// every record for the filter; for an expression it uses no index.
    pub fn key_of_some(self, facet: &Facet) -> Expr {
        let key = self.key(facet);
        match self {
            Dialect::Sqlite => self.hidden(key),
            Dialect::Postgres => key,
        }
    }

    /// Builds the first day of the part of the calendar that contains a date or timestamp.
    fn first_day(self, column: Expr, ty: Type, part: CalendarPart) -> Expr {
        if (part, ty) == (CalendarPart::Day, Type::Date) {
            return column;
        }
        if self == Dialect::Postgres {
            // PostgreSQL would convert a date to a timestamp in the time zone of the session.
            let moment = match ty {
                Type::Timestamp => Expr::cust_with_expr("$1 AT TIME ZONE 'UTC'", column),
                _ => column.cast_as("timestamp"),
            };
            return Expr::cust_with_exprs(
                "CAST(date_trunc($1, $2) AS date)",
                [Expr::Constant(part.as_str().into()), moment],
            );
        }
        // Both types are text that starts with the date.
        let template = match part {
            CalendarPart::Day => "substr(?, 1, 10)",
            // Six days back, then forward to Monday.
            CalendarPart::Week => "date(substr(?, 1, 10), '-6 days', 'weekday 1')",
            CalendarPart::Month => "substr(?, 1, 7) || '-01'",
            CalendarPart::Year => "substr(?, 1, 4) || '-01-01'",
            CalendarPart::Quarter => {
                let month = self.part(column.clone(), Part::Month);
                let template = "substr(?, 1, 5) || printf('%02d-01', (? - 1) / 3 * 3 + 1)";
                return Expr::cust_with_exprs(template, [column, month]);
            }
        };
        Expr::cust_with_expr(template, column)
    }

    /// Builds a test whether two values differ, where null is a value like others.
    pub fn differs(self, left: Expr, right: Expr) -> Expr {
        let template = match self {
            Dialect::Sqlite => "? IS NOT ?",
            Dialect::Postgres => "$1 IS DISTINCT FROM $2",
        };
        Expr::cust_with_exprs(template, [left, right])
    }

    /// Builds a test whether the column contains the text. Neither function supports wildcards.
    pub fn contains(self, column: Expr, text: &str) -> Expr {
        let function = match self {
            Dialect::Sqlite => "instr",
            Dialect::Postgres => "strpos",
        };
        Expr::from(Func::cust(function).args([column, Expr::val(text)])).gt(Expr::cust("0"))
    }

    /// Whether text is searched by a pattern where a field has an index of trigrams. PostgreSQL uses the index for
    /// patterns alone. It knows the trigrams of words, and would read all of the index for a text without one.
    pub fn matches_by_pattern(self, text: &str) -> bool {
        let mut words = text.split(|character: char| !character.is_alphanumeric());
        self == Dialect::Postgres && words.any(trigram::is_long_enough)
    }

    /// Builds a test of PostgreSQL whether the column contains the text or ends with it.
    pub fn pattern(column: Expr, matching: Matching, text: &str) -> Expr {
        let mut pattern = String::with_capacity(text.len() + 2);
        pattern.push('%');
        for character in text.chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        if matching == Matching::Contains {
            pattern.push('%');
        }
        Expr::cust_with_exprs(PATTERN_TEST, [column, Expr::val(pattern)])
    }

    /// Builds a test whether the column ends with the text. The text must not be empty, because
    /// `substr(…, -0)` returns the whole column.
    pub fn ends_with(self, column: Expr, text: &str) -> Expr {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let end = match self {
            // The limits of the language are far below `i64::MAX`.
            Dialect::Sqlite => Func::cust("substr").args([column, Expr::val(-length)]),
            Dialect::Postgres => {
                Func::cust("right").args([column, Expr::val(length).cast_as("int4")])
            }
        };
        Expr::from(end).eq(text)
    }
}
