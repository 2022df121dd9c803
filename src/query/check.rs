//! Tree and schema to plan, or everything that is wrong with the tree.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::ast::{self, At, ClockBase, Comparison, Expr, Literal, Operand, Subject, Test};
use super::diagnostic::{Code, Fault, Span, did_you_mean};
use super::format;
use super::limits::MAX_IN_ITEMS;
use super::literal;
use super::plan::{Condition, Parameter, Part, Plan, Side, Slot, SortKey, Term};
use super::schema::{Schema, Type};
use super::value::{Value, text_value};

/// What is wrong with a query, by the text it is wrong in.
#[derive(Debug, Default)]
pub struct Faults {
    /// In the filter.
    pub filter: Vec<Fault>,
    /// In the order.
    pub order_by: Vec<Fault>,
}

/// Checks a query against the schema of the record it asks about.
///
/// # Errors
/// Every problem of the filter and the order.
pub fn check(query: &ast::Query, schema: &'static Schema) -> Result<Plan, Faults> {
    let mut checker =
        Checker { schema, parameters: Vec::new(), uses_clock: false, faults: Vec::new() };
    let filter = query.filter.as_ref().and_then(|expr| checker.expr(expr));
    let filter_faults = std::mem::take(&mut checker.faults);
    let order = checker.order(&query.order_by);
    if !filter_faults.is_empty() || !checker.faults.is_empty() {
        return Err(Faults { filter: filter_faults, order_by: checker.faults });
    }
    let Checker { parameters, uses_clock, .. } = checker;
    Ok(Plan { schema, filter, order, parameters, uses_clock })
}

/// `None` from any of its functions means that a fault has been noted.
struct Checker {
    schema: &'static Schema,
    parameters: Vec<Parameter>,
    uses_clock: bool,
    faults: Vec<Fault>,
}

impl Checker {
    fn refuse<T>(&mut self, fault: Fault) -> Option<T> {
        self.faults.push(fault);
        None
    }

    fn expr(&mut self, expr: &Expr) -> Option<Condition<Slot>> {
        match expr {
            Expr::All(terms) => self.exprs(terms).map(Condition::All),
            Expr::Any(terms) => self.exprs(terms).map(Condition::Any),
            Expr::Not(inner) => self.expr(inner).map(negate),
            Expr::Predicate(predicate) => self.predicate(predicate),
        }
    }

    /// All of them are checked even when the first has failed.
    fn exprs(&mut self, exprs: &[Expr]) -> Option<Vec<Condition<Slot>>> {
        let checked: Vec<_> = exprs.iter().map(|expr| self.expr(expr)).collect();
        checked.into_iter().collect()
    }

    fn predicate(&mut self, predicate: &ast::Predicate) -> Option<Condition<Slot>> {
        let subject = &predicate.subject;
        let place = predicate.test.span;
        let term = self.term(subject)?;
        match &predicate.test.node {
            Test::Flag if term.ty() == Type::Boolean => Some(Condition::Flag(term.field)),
            Test::Flag => {
                let (name, ty) = (subject_text(&subject.node), term.ty());
                let message = format!("`{name}` is {} and cannot stand alone", ty.with_article());
                self.refuse(
                    Fault::new(Code::OperatorMismatch, subject.span, message)
                        .help(format!("compare it, as in {name} = {}", ty.example())),
                )
            }
            Test::Compare { operator, operand } => {
                self.operator(subject, term, operator.as_str(), place)?;
                let side = self.side(operand, subject, term, *operator)?;
                Some(Condition::Compare(term, *operator, side))
            }
            Test::Between { negated, low, high } => {
                self.operator(subject, term, "between", place)?;
                let sides = (
                    self.side(low, subject, term, Comparison::GreaterOrEqual),
                    self.side(high, subject, term, Comparison::LessOrEqual),
                );
                let (low_side, high_side) = (sides.0?, sides.1?);
                if let (Side::Value(Slot::Value(l)), Side::Value(Slot::Value(h))) =
                    (&low_side, &high_side)
                    && l > h
                {
                    let span = low.span.to(high.span);
                    let message = format!("nothing lies between {l} and {h}");
                    return self.refuse(
                        Fault::new(Code::ReversedBounds, span, message)
                            .help("the lower bound stands first"),
                    );
                }
                let range = Condition::All(vec![
                    Condition::Compare(term, Comparison::GreaterOrEqual, low_side),
                    Condition::Compare(term, Comparison::LessOrEqual, high_side),
                ]);
                Some(if *negated { negate(range) } else { range })
            }
            Test::In { negated, items } => {
                self.operator(subject, term, "in", place)?;
                let list = Condition::In(term, self.items(items, subject, term, place)?);
                Some(if *negated { negate(list) } else { list })
            }
            Test::Match { negated, matching, operand } => {
                self.operator(subject, term, matching.as_str(), place)?;
                let text = self.item(operand, subject, term)?;
                let found = Condition::Match(term.field, *matching, text);
                Some(if *negated { negate(found) } else { found })
            }
            Test::Null { negated } => {
                let null = Condition::Null(term.field);
                Some(if *negated { negate(null) } else { null })
            }
        }
    }

    /// Whether the operator exists for the type of the subject.
    fn operator(
        &mut self,
        subject: &At<Subject>,
        term: Term,
        operator: &str,
        place: Span,
    ) -> Option<()> {
        let ty = term.ty();
        if ty.operators().contains(&operator) {
            return Some(());
        }
        let name = subject_text(&subject.node);
        let message = format!("`{operator}` does not exist for `{name}`, {}", ty.with_article());
        self.refuse(Fault::new(Code::OperatorMismatch, place, message).help(operators(ty)))
    }

    fn term(&mut self, subject: &At<Subject>) -> Option<Term> {
        let Subject { function, field: name } = &subject.node;
        let part = match function {
            None => Some(Part::Whole),
            Some(function) => self.function(function),
        };
        let Some(field) = self.schema.field(&name.node) else {
            let message = format!("{} has no field `{}`", self.schema.name, name.node);
            let help = did_you_mean(&name.node, self.schema.names());
            return self.refuse(Fault::new(Code::UnknownField, name.span, message).help(help));
        };
        let part = part?;
        if part != Part::Whole && field.ty != Type::Date {
            let message = format!(
                "{} takes a date, and `{}` is {}",
                function.as_ref().map_or("it", |f| f.node.as_str()),
                field.name,
                field.ty.with_article()
            );
            return self.refuse(Fault::new(Code::TypeMismatch, name.span, message));
        }
        Some(Term { field, part })
    }

    fn function(&mut self, name: &At<String>) -> Option<Part> {
        let known = Part::FUNCTIONS;
        if let Some((_, part)) = known.iter().find(|(f, _)| f.eq_ignore_ascii_case(&name.node)) {
            return Some(*part);
        }
        let message = format!("there is no function `{}`", name.node);
        let help = did_you_mean(&name.node, known.iter().map(|(f, _)| *f));
        self.refuse(Fault::new(Code::UnknownFunction, name.span, message).help(help))
    }

    /// The right side of a comparison.
    fn side(
        &mut self,
        operand: &At<Operand>,
        subject: &At<Subject>,
        term: Term,
        operator: Comparison,
    ) -> Option<Side<Slot>> {
        let mismatch = |found: &str| {
            let name = subject_text(&subject.node);
            let message = format!("`{name}` is {}, and {found}", term.ty().with_article());
            Fault::new(Code::TypeMismatch, operand.span, message)
        };
        match &operand.node {
            Operand::Literal(Literal::Null) => {
                let name = subject_text(&subject.node);
                let message = "a comparison with null is never true";
                let test = if operator == Comparison::NotEqual { "is not null" } else { "is null" };
                self.refuse(
                    Fault::new(Code::NullComparison, operand.span, message)
                        .help(format!("write {name} {test}")),
                )
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => Some(self.parameter(name, operand.span, term)?),
            Operand::Subject(other) => {
                let Some(other_term) = self.term(&At::new(other.clone(), operand.span)) else {
                    // What is no field was perhaps meant as text.
                    if let Some(fault) = self.faults.last_mut()
                        && term.ty() == Type::Text
                        && other.function.is_none()
                    {
                        fault.help = Some(quotes(other));
                    }
                    return None;
                };
                if other_term.ty() != term.ty() {
                    let name = subject_text(other);
                    let fault =
                        mismatch(&format!("`{name}` is {}", other_term.ty().with_article()));
                    return self.refuse(fault);
                }
                return Some(Side::Term(other_term));
            }
            Operand::Clock(clock) => {
                self.uses_clock = true;
                let ty = match clock.base {
                    ClockBase::Today => Type::Date,
                    ClockBase::Now => Type::Timestamp,
                };
                if ty != term.ty() {
                    let found = format!("`{}` is {}", clock.base.as_str(), ty.with_article());
                    return self.refuse(mismatch(&found));
                }
                Some(Slot::Clock(*clock, operand.span))
            }
        }
        .map(Side::Value)
    }

    fn items(
        &mut self,
        items: &[At<Operand>],
        subject: &At<Subject>,
        term: Term,
        place: Span,
    ) -> Option<Vec<Slot>> {
        if items.is_empty() {
            let message = "the list is empty, and nothing is in it";
            return self.refuse(Fault::new(Code::EmptyList, place, message));
        }
        if items.len() > MAX_IN_ITEMS {
            let message = format!("the list has {} items", items.len());
            let help = format!("at most {MAX_IN_ITEMS} are allowed");
            return self.refuse(Fault::new(Code::TooManyItems, place, message).help(help));
        }
        let slots: Vec<_> = items.iter().map(|item| self.item(item, subject, term)).collect();
        let mut slots: Vec<Slot> = slots.into_iter().collect::<Option<_>>()?;
        // A parameter counts once: its value may be long, and a list can name it a thousand times.
        let mut seen = BTreeSet::new();
        slots.retain(|slot| match slot {
            Slot::Parameter(position) => seen.insert(*position),
            _ => true,
        });
        Some(slots)
    }

    /// A place that takes only a literal or a parameter.
    fn item(&mut self, operand: &At<Operand>, subject: &At<Subject>, term: Term) -> Option<Slot> {
        match &operand.node {
            Operand::Literal(Literal::Null) => {
                let message = "null is equal to nothing and part of nothing";
                let help = format!("write {} is null", subject_text(&subject.node));
                self.refuse(Fault::new(Code::NullComparison, operand.span, message).help(help))
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => self.parameter(name, operand.span, term),
            Operand::Subject(_) | Operand::Clock(_) => {
                let message = "only a literal or a $parameter can stand here";
                let fault = Fault::new(Code::LiteralExpected, operand.span, message);
                self.refuse(match &operand.node {
                    Operand::Subject(word) if term.ty() == Type::Text => fault.help(quotes(word)),
                    _ => fault.help("compare with = or < instead, joined by or"),
                })
            }
        }
    }

    fn literal(
        &mut self,
        literal: &Literal,
        place: Span,
        subject: &At<Subject>,
        term: Term,
    ) -> Option<Slot> {
        let ty = term.ty();
        let value = match (literal, ty) {
            (Literal::Text(text), Type::Text) => match text_value(text) {
                Ok(value) => value,
                Err((message, _)) => {
                    return self.refuse(Fault::new(Code::InvalidCharacter, place, message));
                }
            },
            (Literal::Text(text), Type::Id) if Uuid::try_parse(text).is_ok() => {
                Value::Id(Uuid::try_parse(text).ok()?)
            }
            (Literal::Integer(number), Type::Integer) => {
                return self.integer(*number, place, term);
            }
            (Literal::Boolean(flag), Type::Boolean) => Value::Boolean(*flag),
            (Literal::Date(date), Type::Date) => Value::Date(*date),
            (Literal::Timestamp(instant), Type::Timestamp) => Value::Timestamp(*instant),
            _ => {
                let name = subject_text(&subject.node);
                let written = format::literal_text(literal);
                let message = format!("`{name}` is {}, and {written} is not", ty.with_article());
                let meant = match (literal, ty) {
                    (Literal::Text(text), Type::Date) => {
                        literal::date(text).ok().map(|d| d.to_string())
                    }
                    (Literal::Text(text), Type::Integer) => {
                        text.parse::<i64>().ok().map(|n| n.to_string())
                    }
                    (Literal::Date(date), Type::Timestamp) => Some(format!("{date}T00:00:00Z")),
                    (Literal::Integer(number), Type::Text) => Some(format!("\"{number}\"")),
                    _ => None,
                };
                let meant = meant.unwrap_or_else(|| format!("{}, say", ty.example()));
                let help = format!("write {meant}; {}", operators(ty));
                return self.refuse(Fault::new(Code::TypeMismatch, place, message).help(help));
            }
        };
        Some(Slot::Value(value))
    }

    fn integer(&mut self, number: i64, place: Span, term: Term) -> Option<Slot> {
        let range = term.column_range();
        if range.contains(&number) {
            return Some(Slot::Value(Value::Integer(number)));
        }
        let message = format!("{number} does not fit into `{term}`");
        let help = format!("it holds {} to {}", range.start(), range.end());
        self.refuse(Fault::new(Code::OutOfRange, place, message).help(help))
    }

    fn parameter(&mut self, name: &str, place: Span, term: Term) -> Option<Slot> {
        let Some(position) = self.parameters.iter().position(|known| known.name == name) else {
            let position = self.parameters.len();
            self.parameters.push(Parameter { name: name.to_owned(), term, span: place });
            return Some(Slot::Parameter(position));
        };
        let known = self.parameters.get_mut(position)?;
        let first = known.term;
        if first.ty() == term.ty() {
            // The value must fit everywhere it is used.
            if known.term.column_range().contains(term.column_range().start()) {
                known.term = term;
            }
            return Some(Slot::Parameter(position));
        }
        let message = format!(
            "`${name}` is used as {} and as {}",
            first.ty().with_article(),
            term.ty().with_article()
        );
        self.refuse(
            Fault::new(Code::ConflictingParameter, place, message)
                .help("use two parameters of different names"),
        )
    }

    /// The keys with `id` after them, which makes every order total.
    fn order(&mut self, keys: &[ast::OrderKey]) -> Vec<SortKey> {
        let mut order: Vec<SortKey> = Vec::with_capacity(keys.len() + 1);
        let id = At::from("id".to_owned());
        let tie_breaker = ast::OrderKey { field: id, direction: ast::Direction::Ascending };
        for key in keys.iter().chain([&tie_breaker]) {
            let ast::OrderKey { field: At { node: name, span }, direction } = key;
            let fault = match self.schema.field(name) {
                Some(field) if order.iter().any(|earlier| earlier.field == field) => {
                    if std::ptr::eq(key, &tie_breaker) {
                        continue;
                    }
                    let message = format!("`{name}` is in the order already");
                    Fault::new(Code::RepeatedOrderKey, *span, message)
                }
                Some(field) => {
                    order.push(SortKey { field, direction: *direction });
                    continue;
                }
                None => {
                    let message = format!("{} has no field `{name}`", self.schema.name);
                    let help = did_you_mean(name, self.schema.names());
                    Fault::new(Code::UnknownField, *span, message).help(help)
                }
            };
            self.faults.push(fault);
        }
        order
    }
}

fn negate(condition: Condition<Slot>) -> Condition<Slot> {
    Condition::Not(Box::new(condition))
}

fn operators(ty: Type) -> String {
    format!("{} fields have {}", ty.as_str(), ty.operators().join(", "))
}

fn quotes(word: &Subject) -> String {
    format!("text stands in quotes: \"{}\"", subject_text(word))
}

fn subject_text(subject: &Subject) -> String {
    match &subject.function {
        None => subject.field.node.clone(),
        Some(function) => format!("{}({})", function.node, subject.field.node),
    }
}
