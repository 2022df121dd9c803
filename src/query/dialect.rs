//! Every difference between SQLite and PostgreSQL that a statement can show.

use sea_query::{
    Expr, ExprTrait, Func, PostgresQueryBuilder, QueryStatementWriter, SqliteQueryBuilder,
    Value as SqlValue, Values,
};

use super::facet::{CalendarPart, Facet, Interval};
use super::plan::Part;
use super::schema::Field;
use super::value::{Type, Value};

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite, 3.35 or later.
    Sqlite,
    /// PostgreSQL, 13 or later.
    Postgres,
}

impl Dialect {
    /// Writes the statement out, values apart.
    pub fn build(self, statement: &impl QueryStatementWriter) -> (String, Values) {
        match self {
            Dialect::Sqlite => statement.build(SqliteQueryBuilder),
            Dialect::Postgres => statement.build(PostgresQueryBuilder),
        }
    }

    /// Whether a page is found as ids first, and the records then by these. SQLite's tables are
    /// ordered by id, so each of its indexes holds the ids too: it sorts and cuts without looking at a
    /// record that is not on the page. PostgreSQL would look the page up a second time.
    pub fn finds_ids_first(self) -> bool {
        self == Dialect::Sqlite
    }

    /// The value as the engine stores and compares it. SQLite has no instants: there they are text
    /// of one width, `2024-01-31T12:00:00.000000Z`, which sorts as time does.
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

    /// The null of the field's type; PostgreSQL infers parameter types from it.
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

    /// `year(column)` or `month(column)` as an integer; the column itself when whole.
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

    /// The key by which a facet groups records; null where the field is. No step of it overflows, and
    /// none depends on the time zone of a session.
    pub fn key(self, facet: &Facet) -> Expr {
        let field = facet.field();
        let column = Expr::col(field.name);
        match (facet.interval(), self) {
            (Some(Interval::Width(width)), _) => {
                // Division truncates, and a bucket's number is rounded down.
                let (zero, one) = (|| Expr::cust("0"), || Expr::cust("1"));
                let column = column.cast_as("bigint");
                let below_zero = column.clone().add(one()).div(Expr::val(width)).sub(one());
                let number = column.clone().div(Expr::val(width));
                Expr::case(column.lt(zero()), below_zero).finally(number).into()
            }
            (Some(Interval::Calendar(part)), _) => self.first_day(column, field.ty, part),
            // A driver reads the integers of 32 and of 64 bits as different types.
            (None, Dialect::Postgres) if field.ty == Type::Integer => column.cast_as("bigint"),
            (None, _) => column,
        }
    }

    /// The same key for some of the records only. SQLite would go through all of them in the order of
    /// an index on the key, and look each up for the filter; of an expression it knows no index.
    pub fn key_of_some(self, facet: &Facet) -> Expr {
        let key = self.key(facet);
        match self {
            Dialect::Sqlite => Expr::cust_with_expr("+?", key),
            Dialect::Postgres => key,
        }
    }

    /// The first day of the part of the calendar that a date or a timestamp lies in.
    fn first_day(self, column: Expr, ty: Type, part: CalendarPart) -> Expr {
        if (part, ty) == (CalendarPart::Day, Type::Date) {
            return column;
        }
        if self == Dialect::Postgres {
            // A date would become a timestamp with the time zone of the session.
            let moment = match ty {
                Type::Timestamp => Expr::cust_with_expr("$1 AT TIME ZONE 'UTC'", column),
                _ => column.cast_as("timestamp"),
            };
            return Expr::cust_with_exprs(
                "CAST(date_trunc($1, $2) AS date)",
                [Expr::Constant(part.as_str().into()), moment],
            );
        }
        // Both types are text that begins with the date.
        let template = match part {
            CalendarPart::Day => "substr(?, 1, 10)",
            // Back to the day behind the Monday before, and on to the next Monday.
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

    /// Whether the column holds the text. Neither function knows wildcards.
    pub fn contains(self, column: Expr, text: &str) -> Expr {
        let function = match self {
            Dialect::Sqlite => "instr",
            Dialect::Postgres => "strpos",
        };
        Expr::from(Func::cust(function).args([column, Expr::val(text)])).gt(Expr::cust("0"))
    }

    /// Whether the column ends with the text, which must not be empty: `substr(…, -0)` is all of it.
    pub fn ends_with(self, column: Expr, text: &str) -> Expr {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let end = match self {
            // No text is that long: the limits of the language are far below.
            Dialect::Sqlite => Func::cust("substr").args([column, Expr::val(-length)]),
            Dialect::Postgres => {
                Func::cust("right").args([column, Expr::val(length).cast_as("int4")])
            }
        };
        Expr::from(end).eq(text)
    }
}
