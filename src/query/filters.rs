//! The filters of one query, which `and` joins.
//!
//! Their places are those of one text, in which each filter starts after the end of the one before. So a place also
//! says which filter it is in.

use super::diagnostic::{Edit, Fault, Span};
use super::limits::{MAX_PREDICATES, MAX_TEXT_BYTES, Usage};
use super::{Code, parse};

/// The texts of the filters.
#[derive(Debug)]
pub(super) struct Filters<'a>(pub(super) Vec<&'a str>);

impl<'a> Filters<'a> {
    /// Returns the name of a filter in diagnostics: `filter`, or `filter[2]` for the second of several.
    pub(super) fn name(&self, position: usize) -> String {
        match self.0.len() {
            0 | 1 => "filter".to_owned(),
            _ => format!("filter[{}]", position + 1),
        }
    }

    /// Returns the text of a filter.
    pub(super) fn text(&self, position: usize) -> &'a str {
        self.0.get(position).copied().unwrap_or_default()
    }

    /// Parses each filter. The places of a tree are those of the query, and those of problems are in the filter's own
    /// text. The limits hold for all filters together.
    pub(super) fn parse(&self) -> Vec<Result<parse::Parsed, Vec<Fault>>> {
        let mut start = 0;
        let mut usage = Usage::default();
        let parsed = self.0.iter().map(|text| {
            let own_start = start;
            start += text.len() + 1;
            let mut parsed = parse::filter(text)?;
            usage = usage.joined(parsed.usage);
            if let Some(fault) = excess(usage) {
                return Err(vec![Fault { span: Span::new(0, text.len()), ..fault }]);
            }
            parsed.usage = usage;
            if own_start > 0 {
                parsed.expr.shift(own_start);
            }
            Ok(parsed)
        });
        parsed.collect()
    }

    /// Returns the problems of each filter, with their places in its text.
    pub(super) fn separate(&self, faults: Vec<Fault>) -> Vec<Vec<Fault>> {
        if let [_] | [] = self.0.as_slice() {
            return vec![faults];
        }
        let mut separate: Vec<Vec<Fault>> = self.0.iter().map(|_| Vec::new()).collect();
        for mut fault in faults {
            let mut start = 0;
            for (text, own) in self.0.iter().zip(&mut separate) {
                let end = start + text.len();
                if fault.span.start <= end {
                    let moved = |span: Span| Span::new(span.start - start, span.end - start);
                    fault.span = moved(fault.span);
                    fault.edit = fault.edit.map(|edit| Edit { span: moved(edit.span), ..edit });
                    own.push(fault);
                    break;
                }
                start = end + 1;
            }
        }
        separate
    }
}

/// The problem of filters that are within the limits, but not together.
fn excess(usage: Usage) -> Option<Fault> {
    let over = |code, limit: usize, unit: &str| {
        let message =
            format!("expected at most {limit} {unit} in all filters together, found more");
        Some(Fault::new(code, Span::default(), message))
    };
    if usage.predicates > MAX_PREDICATES {
        return over(Code::TooManyPredicates, MAX_PREDICATES, "predicates");
    }
    if usage.text_bytes > MAX_TEXT_BYTES {
        return over(Code::TextTooLong, MAX_TEXT_BYTES, "bytes");
    }
    None
}
