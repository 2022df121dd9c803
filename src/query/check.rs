//! Checks a syntax tree against a schema: resolves names and types, and returns a plan or all problems.

mod advice;

use std::collections::BTreeSet;

use super::ast::{self, ClockBase, Comparison, Expr, Literal, Operand, Spanned, Subject, Test};
use super::diagnostic::{Code, Fault, Span};
use super::limits::{MAX_DIAGNOSTICS, MAX_IN_ITEMS};
use super::literal;
use super::parse::too_many_items;
use super::plan::{Condition, Parameter, Part, Plan, Side, Slot, SortKey, Term};
use super::schema::Schema;
use super::value::{Type, Value, text_value};

/// The problems of a query, by text.
#[derive(Debug, Default)]
pub struct Faults {
    /// The problems of the filter.
    pub filter: Vec<Fault>,
    /// The problems of the order.
    pub order_by: Vec<Fault>,
}

/// Checks a query against the schema of its record type.
///
/// # Errors
/// Returns every problem of the filter and the order.
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

/// Collects problems. Its functions return `None` after they have added one.
struct Checker {
    schema: &'static Schema,
    parameters: Vec<Parameter>,
    uses_clock: bool,
    faults: Vec<Fault>,
}

impl Checker {
    fn reject<T>(&mut self, fault: Fault) -> Option<T> {
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

    /// Checks all terms even if one fails, up to the limit of reported problems.
    fn exprs(&mut self, exprs: &[Spanned<Expr>]) -> Option<Vec<Condition<Slot>>> {
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
            Test::Flag => self.reject(advice::not_a_flag(subject, term.ty())),
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
                    return self.reject(advice::reversed_bounds((low, l), (high, h)));
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

    /// Reports unknown names in the operands of a rejected test, which would be rejected next.
    fn unknown_operands(&mut self, test: &Test) {
        // An item of a list cannot be a field.
        let operands =
            Some(test).filter(|test| !matches!(test, Test::In { .. })).map(Test::operands);
        for operand in operands.unwrap_or_default() {
            if let Operand::Subject(subject) = &operand.node
                && !self.faults.iter().any(|fault| fault.span.touches(operand.span))
            {
                self.term(&Spanned::new(subject.clone(), operand.span));
            }
        }
    }

    /// Checks that the operator exists for the type of the subject.
    fn operator(
        &mut self,
        subject: &Spanned<Subject>,
        term: Term,
        operator: &str,
        place: Span,
    ) -> Option<()> {
        let ty = term.ty();
        if term.operators().contains(&operator) {
            return Some(());
        }
        self.reject(match ty.operators().contains(&operator) {
            true => advice::not_searchable(operator, place, subject),
            false => advice::no_such_operator(operator, place, subject, ty),
        })
    }

    fn term(&mut self, subject: &Spanned<Subject>) -> Option<Term> {
        let Subject { function, field: name } = &subject.node;
        let part = match function {
            None => Some(Part::Whole),
            Some(function) => self.function(function),
        };
        let Some(field) = self.schema.field(&name.node) else {
            return self.reject(advice::unknown_field(name, self.schema));
        };
        let part = part?;
        if let Some(function) = function
            && field.ty != Part::TAKES
        {
            return self.reject(advice::function_of(function, field, name.span, self.schema));
        }
        Some(Term { field, part })
    }

    fn function(&mut self, name: &Spanned<ast::Name>) -> Option<Part> {
        let known = Part::FUNCTIONS;
        if let Some((_, part)) = known.iter().find(|(known, _)| *known == name.node) {
            return Some(*part);
        }
        self.reject(advice::unknown_function(name))
    }

    /// Checks the right side of a comparison. `between` has two, without an operator.
    fn side(
        &mut self,
        operand: &Spanned<Operand>,
        subject: &Spanned<Subject>,
        term: Term,
        operator: Option<(Comparison, Span)>,
    ) -> Option<Side<Slot>> {
        match &operand.node {
            Operand::Literal(Literal::Null) => {
                self.reject(advice::compared_with_null(operand.span, subject, operator))
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => Some(self.parameter(name, operand.span, term)?),
            Operand::Subject(other) => {
                let Some(other_term) = self.term(&Spanned::new(other.clone(), operand.span)) else {
                    // The problem of the unknown name has just been added; the name may be a value.
                    let fault = self.faults.pop()?;
                    let place = operand.span;
                    let fault = advice::likely_value(fault, place, other, term.ty(), self.schema);
                    return self.reject(fault);
                };
                if other_term.ty() != term.ty() {
                    let found = format!("\"{}\"", advice::subject_text(other));
                    let found = (found, other_term.ty());
                    return self.reject(advice::other_type(
                        operand.span,
                        subject,
                        term.ty(),
                        found,
                    ));
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
                    return self.reject(advice::other_clock(
                        clock,
                        ty,
                        operand.span,
                        subject,
                        term.ty(),
                    ));
                }
                Some(Slot::Clock(*clock, operand.span))
            }
        }
        .map(Side::Value)
    }

    fn items(
        &mut self,
        items: &[Spanned<Operand>],
        subject: &Spanned<Subject>,
        term: Term,
        place: Span,
    ) -> Option<Vec<Slot>> {
        if items.is_empty() {
            return self.reject(advice::empty_list(place));
        }
        if items.len() > MAX_IN_ITEMS {
            return self.reject(too_many_items(items.len(), place));
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
        // A parameter is bound once: its value may be long, and a list may repeat it a thousand times.
        let mut seen = BTreeSet::new();
        slots.retain(|slot| match slot {
            Slot::Parameter(position) => seen.insert(*position),
            _ => true,
        });
        Some(slots)
    }

    /// Checks an item of a list or the text to find: a literal or a parameter.
    fn item(
        &mut self,
        operand: &Spanned<Operand>,
        subject: &Spanned<Subject>,
        term: Term,
    ) -> Option<Slot> {
        match &operand.node {
            Operand::Literal(Literal::Null) => {
                self.reject(advice::null_as_item(operand.span, subject))
            }
            Operand::Literal(literal) => self.literal(literal, operand.span, subject, term),
            Operand::Parameter(name) => self.parameter(name, operand.span, term),
            Operand::Subject(_) | Operand::Clock(_) => {
                self.reject(advice::literal_expected(operand, term.ty()))
            }
        }
    }

    fn literal(
        &mut self,
        literal: &Literal,
        place: Span,
        subject: &Spanned<Subject>,
        term: Term,
    ) -> Option<Slot> {
        let ty = term.ty();
        let value = match (literal, ty) {
            (Literal::Text(text), Type::Text) => match text_value(text) {
                Ok(value) => value,
                Err(misread) => return self.reject(misread.at(Code::InvalidCharacter, place)),
            },
            (Literal::Text(text), Type::Id) if literal::id(text).is_some() => {
                Value::Id(literal::id(text)?)
            }
            (Literal::Integer(number), Type::Integer) => Value::Integer(*number),
            (Literal::Boolean(flag), Type::Boolean) => Value::Boolean(*flag),
            (Literal::Date(date), Type::Date) => Value::Date(*date),
            (Literal::Timestamp(instant), Type::Timestamp) => Value::Timestamp(*instant),
            _ => return self.reject(advice::other_literal(literal, place, subject, ty)),
        };
        Some(Slot::Value(value))
    }

    fn parameter(&mut self, name: &str, place: Span, term: Term) -> Option<Slot> {
        let Some(position) = self.parameters.iter().position(|known| known.name == name) else {
            let position = self.parameters.len();
            self.parameters.push(Parameter { name: name.to_owned(), term, span: place });
            return Some(Slot::Parameter(position));
        };
        let first = self.parameters.get(position)?.term;
        if first.ty() == term.ty() {
            return Some(Slot::Parameter(position));
        }
        self.reject(advice::conflicting_parameter(name, place, first.ty(), term.ty()))
    }

    /// Checks the keys and adds `id` as the last one, which makes every order total.
    fn order(&mut self, keys: &[ast::OrderKey]) -> Vec<SortKey> {
        let mut order: Vec<SortKey> = Vec::with_capacity(keys.len() + 1);
        let id = Spanned::from(ast::Name::from("id"));
        // In the direction of the key before, so that an index has the whole order.
        let direction = keys.last().map_or(ast::Direction::Ascending, |key| key.direction.node);
        let direction = Spanned::from(direction);
        let tie_breaker = ast::OrderKey { field: id, direction };
        let mut earlier_end = 0;
        for key in keys.iter().chain([&tie_breaker]) {
            if self.faults.len() >= MAX_DIAGNOSTICS {
                break;
            }
            let ast::OrderKey { field: Spanned { node: name, span }, direction } = key;
            let key_end = direction.span.end;
            let fault = match self.schema.field(name) {
                Some(field) if order.iter().any(|earlier| earlier.field == field) => {
                    if std::ptr::eq(key, &tie_breaker) {
                        continue;
                    }
                    let key = Span::new(earlier_end, key_end);
                    advice::repeated_key(name, *span, key)
                }
                Some(field) => {
                    order.push(SortKey { field, direction: direction.node });
                    earlier_end = key_end;
                    continue;
                }
                None => advice::unknown_field(&key.field, self.schema),
            };
            earlier_end = key_end;
            self.faults.push(fault);
        }
        order
    }
}

/// Negates a condition. A comparison gets the opposite operator, which an index may serve and which is unknown for null
/// too.
fn negate(condition: Condition<Slot>) -> Condition<Slot> {
    match condition {
        Condition::Compare(left, operator, right) => {
            Condition::Compare(left, operator.negated(), right)
        }
        other => Condition::Not(Box::new(other)),
    }
}
