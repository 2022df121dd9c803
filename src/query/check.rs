//! Tree and schema to plan, or everything that is wrong with the tree.

use std::collections::BTreeSet;

use super::ast::{self, At, ClockBase, Comparison, Expr, Literal, Operand, Subject, Test};
use super::diagnostic::{Code, Fault, Span, nearest};
use super::format;
use super::limits::{MAX_DIAGNOSTICS, MAX_IN_ITEMS};
use super::literal;
use super::plan::{Condition, Parameter, Part, Plan, Side, Slot, SortKey, Term};
use super::schema::Schema;
use super::value::{Type, Value, text_value};

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

/// What people call days relative to the present one.
const RELATIVE_DAYS: [&str; 3] = ["tomorrow", "yesterday", "current_date"];

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
            Expr::Not(inner) => self.expr(&inner.node).map(negate),
            Expr::Predicate(predicate) => self.predicate(predicate),
        }
    }

    /// All of them are checked even when the first has failed, until there is enough to report.
    fn exprs(&mut self, exprs: &[At<Expr>]) -> Option<Vec<Condition<Slot>>> {
        let mut checked = Vec::with_capacity(exprs.len());
        for expr in exprs {
            if self.faults.len() < MAX_DIAGNOSTICS {
                checked.extend(self.expr(&expr.node));
            }
        }
        (checked.len() == exprs.len()).then_some(checked)
    }

    fn predicate(&mut self, predicate: &ast::Predicate) -> Option<Condition<Slot>> {
        let checked = self.test(predicate);
        if checked.is_none() {
            self.unknown_operands(&predicate.test.node);
        }
        checked
    }

    fn test(&mut self, predicate: &ast::Predicate) -> Option<Condition<Slot>> {
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
                let side = self.side(operand, subject, term, Some((*operator, place)))?;
                Some(Condition::Compare(term, *operator, side))
            }
            Test::Between { negated, low, high } => {
                self.operator(subject, term, "between", place)?;
                let sides =
                    (self.side(low, subject, term, None), self.side(high, subject, term, None));
                let (low_side, high_side) = (sides.0?, sides.1?);
                if let (Side::Value(Slot::Value(l)), Side::Value(Slot::Value(h))) =
                    (&low_side, &high_side)
                    && l > h
                {
                    let span = low.span.to(high.span);
                    let message = format!("nothing lies between {l} and {h}");
                    let swapped = [high, low].map(|bound| format::operand_text(&bound.node));
                    return self.refuse(
                        Fault::new(Code::ReversedBounds, span, message)
                            .help("the lower bound stands first")
                            .suggest(span, swapped.join(" and ")),
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

    /// Reports the names of a refused test that would be refused next.
    fn unknown_operands(&mut self, test: &Test) {
        let operands: Vec<&At<Operand>> = match test {
            Test::Compare { operand, .. } | Test::Match { operand, .. } => vec![operand],
            Test::Between { low, high, .. } => vec![low, high],
            Test::In { .. } | Test::Flag | Test::Null { .. } => Vec::new(),
        };
        for operand in operands {
            if let Operand::Subject(subject) = &operand.node
                && !self.faults.iter().any(|fault| fault.span.touches(operand.span))
            {
                self.term(&At::new(subject.clone(), operand.span));
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
        if term.operators().contains(&operator) {
            return Some(());
        }
        let name = subject_text(&subject.node);
        if ty.operators().contains(&operator) {
            let message =
                format!("`{operator}` does not exist for `{name}`, which is not searchable");
            let help = "its declaration has `search = false`; compare it with `=`";
            return self.refuse(Fault::new(Code::OperatorMismatch, place, message).help(help));
        }
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
            return self.refuse(
                Fault::new(Code::UnknownField, name.span, message)
                    .did_you_mean(&name.node, self.schema.names()),
            );
        };
        let part = part?;
        if part != Part::Whole && field.ty != Part::TAKES {
            let message = format!(
                "{} takes {}, and `{}` is {}",
                function.as_ref().map_or("it", |f| f.node.as_str()),
                Part::TAKES.with_article(),
                field.name,
                field.ty.with_article()
            );
            let dates = self.schema.fields.iter().filter(|field| field.ty == Type::Date);
            let dates = dates.map(|field| field.name).collect::<Vec<_>>().join(", ");
            let fault = Fault::new(Code::TypeMismatch, name.span, message);
            return self.refuse(fault.help(format!("there are the dates: {dates}")));
        }
        Some(Term { field, part })
    }

    fn function(&mut self, name: &At<ast::Name>) -> Option<Part> {
        let known = Part::FUNCTIONS;
        if let Some((_, part)) = known.iter().find(|(known, _)| *known == name.node) {
            return Some(*part);
        }
        let message = format!("there is no function `{}`", name.node);
        let fault = Fault::new(Code::UnknownFunction, name.span, message);
        if ["lower", "upper", "casefold"].iter().any(|case| case.eq_ignore_ascii_case(&name.node)) {
            let help = "`contains`, `starts with` and `ends with` are indifferent to case";
            return self.refuse(fault.help(help));
        }
        self.refuse(fault.did_you_mean(&name.node, known.iter().map(|(known, _)| *known)))
    }

    /// The right side of a comparison; `between` has two, and no operator for them.
    fn side(
        &mut self,
        operand: &At<Operand>,
        subject: &At<Subject>,
        term: Term,
        operator: Option<(Comparison, Span)>,
    ) -> Option<Side<Slot>> {
        let mismatch = |found: &str| {
            let name = subject_text(&subject.node);
            let message = format!("`{name}` is {}, and {found}", term.ty().with_article());
            Fault::new(Code::TypeMismatch, operand.span, message)
        };
        match &operand.node {
            Operand::Literal(Literal::Null) => {
                let name = subject_text(&subject.node);
                let is_unequal = matches!(operator, Some((Comparison::NotEqual, _)));
                let test = if is_unequal { "is not null" } else { "is null" };
                let message = "a comparison with null is never true";
                let fault = Fault::new(Code::NullComparison, operand.span, message)
                    .help(format!("write {name} {test}"));
                self.refuse(match operator {
                    Some((Comparison::Equal | Comparison::NotEqual, place)) => {
                        fault.suggest(place.to(operand.span), test)
                    }
                    _ => fault,
                })
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => Some(self.parameter(name, operand.span, term)?),
            Operand::Subject(other) => {
                let Some(other_term) = self.term(&At::new(other.clone(), operand.span)) else {
                    // What is no field was perhaps meant as a day or as text.
                    let word = other.field.node.to_ascii_lowercase();
                    let day = match (term.ty(), nearest(&word, RELATIVE_DAYS)) {
                        (Type::Date, Some("tomorrow")) => Some("today + 1d"),
                        (Type::Date, Some("yesterday")) => Some("today - 1d"),
                        (Type::Date, Some(_)) => Some("today"),
                        (Type::Timestamp, Some("tomorrow")) => Some("now + 1d"),
                        (Type::Timestamp, Some("yesterday")) => Some("now - 1d"),
                        (Type::Timestamp, Some(_)) => Some("now"),
                        _ => None,
                    };
                    if let Some(day) = day
                        && let Some(fault) = self.faults.pop()
                    {
                        let fault = fault.help(format!("write {day}"));
                        return self.refuse(fault.suggest(operand.span, day));
                    }
                    if term.ty() == Type::Text
                        && other.function.is_none()
                        && nearest(&other.field.node, self.schema.names()).is_none()
                        && let Some(fault) = self.faults.pop()
                    {
                        self.faults.push(in_quotes(fault, operand.span, other));
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
                    let fault = mismatch(&found);
                    return self.refuse(match term.ty() {
                        Type::Date => {
                            let meant = ast::Clock { base: ClockBase::Today, ..*clock };
                            let meant = format::operand_text(&Operand::Clock(meant));
                            fault.help(format!("write {meant}")).suggest(operand.span, meant)
                        }
                        // A day is no instant: which one of it was meant?
                        Type::Timestamp => fault.help(
                            "write an instant, as in 2024-01-31T00:00:00Z, or an offset, as in now - 1d",
                        ),
                        _ => fault,
                    });
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
            let fault = Fault::new(Code::EmptyList, place, message);
            return self.refuse(fault.help("name at least one value, or leave the test out"));
        }
        if items.len() > MAX_IN_ITEMS {
            let message = format!("the list has {} items", items.len());
            let help = format!("at most {MAX_IN_ITEMS} are allowed");
            return self.refuse(Fault::new(Code::TooManyItems, place, message).help(help));
        }
        let mut slots = Vec::with_capacity(items.len());
        for item in items {
            if self.faults.len() < MAX_DIAGNOSTICS {
                slots.extend(self.item(item, subject, term));
            }
        }
        if slots.len() < items.len() {
            return None;
        }
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
                let name = subject_text(&subject.node);
                let help = format!("test it apart: {name} is null, or {name} is not null");
                self.refuse(Fault::new(Code::NullComparison, operand.span, message).help(help))
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => self.parameter(name, operand.span, term),
            Operand::Subject(_) | Operand::Clock(_) => {
                let message = "only a literal or a $parameter can stand here";
                let fault = Fault::new(Code::LiteralExpected, operand.span, message);
                self.refuse(match &operand.node {
                    Operand::Subject(word) if term.ty() == Type::Text => {
                        in_quotes(fault, operand.span, word)
                    }
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
                Err(misread) => return self.refuse(misread.at(Code::InvalidCharacter, place)),
            },
            (Literal::Text(text), Type::Id) if literal::id(text).is_some() => {
                Value::Id(literal::id(text)?)
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
                    (Literal::Text(text), Type::Date) if text == "today" => Some(text.clone()),
                    (Literal::Text(text), Type::Timestamp) if text == "now" => Some(text.clone()),
                    (Literal::Text(text), Type::Date) => match literal::date(text) {
                        Ok(date) => Some(date.to_string()),
                        Err(misread) => misread.meant.filter(|meant| literal::date(meant).is_ok()),
                    },
                    (Literal::Text(text), Type::Timestamp) => {
                        literal::timestamp(text).ok().map(|_| text.clone())
                    }
                    (Literal::Text(text), Type::Integer) => {
                        text.parse::<i64>().ok().map(|n| n.to_string())
                    }
                    (Literal::Text(text), Type::Boolean) => {
                        text.parse::<bool>().ok().map(|flag| flag.to_string())
                    }
                    (Literal::Date(date), Type::Timestamp) => Some(format!("{date}T00:00:00Z")),
                    (Literal::Integer(number), Type::Text) => Some(format!("\"{number}\"")),
                    _ => None,
                };
                let fault = Fault::new(Code::TypeMismatch, place, message);
                let operators = operators(ty);
                return self.refuse(match meant {
                    Some(meant) => {
                        fault.help(format!("write {meant}; {operators}")).suggest(place, meant)
                    }
                    None => match (literal, ty) {
                        (Literal::Integer(year @ 1..=9999), Type::Date) => fault.help(format!(
                            "write year({name}) = {year}, or a date such as {}",
                            ty.example()
                        )),
                        _ => fault.help(format!("write {}, say; {operators}", ty.example())),
                    },
                });
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
        let id = At::from(ast::Name::from("id"));
        let ascending = At::from(ast::Direction::Ascending);
        let tie_breaker = ast::OrderKey { field: id, direction: ascending };
        let mut earlier_end = 0;
        for key in keys.iter().chain([&tie_breaker]) {
            if self.faults.len() >= MAX_DIAGNOSTICS {
                break;
            }
            let ast::OrderKey { field: At { node: name, span }, direction } = key;
            let key_end = direction.span.end;
            let fault = match self.schema.field(name) {
                Some(field) if order.iter().any(|earlier| earlier.field == field) => {
                    if std::ptr::eq(key, &tie_breaker) {
                        continue;
                    }
                    let message = format!("`{name}` is in the order already");
                    Fault::new(Code::RepeatedOrderKey, *span, message)
                        .help("remove it: only the first decides")
                        .suggest(Span::new(earlier_end, key_end), "")
                }
                Some(field) => {
                    order.push(SortKey { field, direction: direction.node });
                    earlier_end = key_end;
                    continue;
                }
                None => {
                    let message = format!("{} has no field `{name}`", self.schema.name);
                    Fault::new(Code::UnknownField, *span, message)
                        .did_you_mean(name, self.schema.names())
                }
            };
            earlier_end = key_end;
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

/// The fault of a word that was probably meant as text.
fn in_quotes(fault: Fault, place: Span, word: &Subject) -> Fault {
    let text = format!("\"{}\"", subject_text(word));
    fault.help(format!("text stands in quotes: {text}")).suggest(place, text)
}

fn subject_text(subject: &Subject) -> String {
    match &subject.function {
        None => subject.field.node.to_string(),
        Some(function) => format!("{}({})", function.node, subject.field.node),
    }
}
