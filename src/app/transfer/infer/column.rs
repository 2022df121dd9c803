//! What is known of a column: which types all of its values have, and their bounds.

use super::count;
use crate::app::transfer::cell::flag;
use crate::query::{Argument, Type, Value};
use crate::record::declaration::{MAX_FIELD_NAME, MAX_LENGTH, field_name};

/// The types of fields, those with the fewest values first. All that can be written is a text.
const TYPES: [Type; 6] =
    [Type::Boolean, Type::Integer, Type::Date, Type::Timestamp, Type::Id, Type::Text];

/// The longest value that is shown as an example, in characters.
const MAX_EXAMPLE: usize = 60;

/// As much of a header as is kept, in characters.
const MAX_HEADER: usize = 100;

/// A column while the file is read.
pub(super) struct Column {
    /// Its name in the file.
    pub(super) header: String,
    /// The field that is made of it.
    pub(super) field: Option<String>,
    /// Why none is.
    reason: Option<String>,
    values: u64,
    /// How many of them are integers, and how many dates.
    integer_values: u64,
    date_values: u64,
    /// The types that all values so far have.
    types: Vec<Type>,
    lengths: Bounds,
    integers: Bounds,
    example: Option<String>,
    shapes: Shapes,
    /// Values with control characters, which a record cannot have.
    control: u64,
}

/// The least and the greatest.
#[derive(Clone, Copy, Default)]
struct Bounds(Option<(i64, i64)>);

impl Bounds {
    fn add(&mut self, number: i64) {
        let (low, high) = self.0.unwrap_or((number, number));
        self.0 = Some((low.min(number), high.max(number)));
    }
}

/// What all texts of a column look like.
#[derive(Clone, Copy)]
struct Shapes {
    /// A date in another form.
    date: bool,
    /// A number with a fraction or an exponent.
    decimal: bool,
    /// A number with leading zeros, such as a postal code.
    code: bool,
    /// A boolean in a form that an import does not read, such as `on`.
    flag: bool,
}

/// What other programs write for true and false, and an import does not read.
const FLAGS: [&str; 6] = ["on", "off", "t", "f", "y", "n"];

impl Column {
    pub(super) fn new(header: &str) -> Self {
        Self {
            header: header.chars().take(MAX_HEADER).collect(),
            field: None,
            reason: None,
            values: 0,
            integer_values: 0,
            date_values: 0,
            types: TYPES.to_vec(),
            lengths: Bounds::default(),
            integers: Bounds::default(),
            example: None,
            shapes: Shapes { date: true, decimal: true, code: true, flag: true },
            control: 0,
        }
    }

    /// Adds the value of a row.
    pub(super) fn add(&mut self, value: &Argument) {
        if *value == Argument::NULL || self.reason.is_some() {
            return;
        }
        self.values += 1;
        self.integer_values += u64::from(value.read(Type::Integer).is_ok());
        self.date_values += u64::from(value.read(Type::Date).is_ok());
        let mut types = std::mem::take(&mut self.types);
        types.retain(|ty| self.has_type(value, *ty));
        self.types = types;
        if self.types.is_empty() {
            let reason = match value {
                Argument::Unsupported(kind) => format!("no type has a value such as {kind}"),
                _ => "its values have several types".to_owned(),
            };
            self.leave_out(&reason);
        }
        if let Some(text) = value.text() {
            self.shapes.add(text);
        }
    }

    /// Whether the value has the type. Notes its bounds if so.
    fn has_type(&mut self, value: &Argument, ty: Type) -> bool {
        // A number with leading zeros would lose them.
        let is_code = || value.text().is_some_and(is_code);
        let flag = value.text().filter(|_| ty == Type::Boolean).and_then(flag);
        // An import reads a number as a text where the others are texts.
        let number = match (value, ty) {
            (Argument::Integer(number), Type::Text) => Some(Value::Text(number.to_string())),
            _ => None,
        };
        match number.or(flag.map(Value::Boolean)).map_or_else(|| value.read(ty), Ok) {
            Ok(Value::Integer(_)) if is_code() => false,
            Ok(Value::Integer(number)) => {
                self.integers.add(number);
                self.note(&number.to_string());
                true
            }
            Ok(Value::Text(text)) => {
                self.lengths.add(i64::try_from(text.chars().count()).unwrap_or(i64::MAX));
                self.control += u64::from(text.chars().any(char::is_control));
                self.note(&text);
                true
            }
            Ok(value) => {
                self.note(&value.to_string());
                true
            }
            Err(_) => false,
        }
    }

    /// Keeps a value as an example.
    fn note(&mut self, text: &str) {
        let is_short = text.chars().nth(MAX_EXAMPLE).is_none();
        if self.example.is_none() && is_short && !text.chars().any(char::is_control) {
            self.example = Some(text.to_owned());
        }
    }

    pub(super) fn leave_out(&mut self, reason: &str) {
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// Returns whether the declaration has a field for the column.
    pub(super) fn is_kept(&self) -> bool {
        self.reason.is_none()
    }

    /// Returns the field name that its header suggests.
    pub(super) fn wanted(&self) -> String {
        field_name(&self.header).unwrap_or_else(|| "column".to_owned())
    }

    /// Names its field. If the wanted name is taken, a number follows it, and no other column wants that name.
    pub(super) fn name_field(&mut self, taken: &mut Vec<String>, wanted: &[String]) {
        let name = self.wanted();
        let start = name.get(..MAX_FIELD_NAME - 4).unwrap_or(&name).trim_end_matches('_');
        let mut numbered = (2..)
            .map(|number| format!("{start}_{number}"))
            .filter(|name| !taken.contains(name) && !wanted.contains(name));
        self.field = if taken.contains(&name) { numbered.next() } else { Some(name) };
        taken.extend(self.field.clone());
    }

    /// The type that is declared.
    pub(super) fn ty(&self) -> Type {
        match self.values {
            0 => Type::Text,
            _ => self.types.first().copied().unwrap_or(Type::Text),
        }
    }

    /// Whether each of so many rows has a value.
    pub(super) fn is_required(&self, rows: u64) -> bool {
        rows > 0 && self.values == rows
    }

    /// How many characters its texts may have.
    pub(super) fn length(&self) -> (i64, i64) {
        match self.lengths.0 {
            None => (1, 500),
            Some((low, high)) => {
                let steps = (1..=4).map(|exponent| 10_i64.pow(exponent));
                let mut steps = steps.flat_map(|step| [step, 2 * step, 5 * step]);
                let roomy = steps.find(|step| *step >= high.saturating_mul(2));
                (low.min(1), roomy.unwrap_or(MAX_LENGTH))
            }
        }
    }

    /// The field as it is declared, or a comment that says why there is none. It is required if each of so many rows has a
    /// value, unless it must be optional.
    pub(super) fn declare(&self, rows: u64, is_optional: bool) -> String {
        let Some(name) = &self.field else {
            let reason = self.reason.as_deref().unwrap_or_default();
            return format!("# Left out: the column {:?}. The reason: {reason}.\n", self.header);
        };
        let ty = self.ty();
        let mut text = String::new();
        if *name != self.header {
            text.push_str(&format!("# From the column {:?}.\n", self.header));
        }
        text.push_str(&self.remarks(ty, rows));
        text.push_str(&format!("[fields.{name}]\ntype = \"{}\"\n", ty.as_str()));
        match (ty, self.integers.0) {
            (Type::Text, _) => {
                let (low, high) = self.length();
                text.push_str(&format!("length = [{low}, {high}]\n"));
            }
            (Type::Integer, Some((low, high))) => {
                let (low, high) = (low.min(0), high.max(0));
                text.push_str(&format!("range = [{}, {}]\n", roomy(low), roomy(high)));
            }
            _ => {}
        }
        if is_optional || !self.is_required(rows) {
            text.push_str("required = false\n");
        }
        let example = self.example.as_ref().map(|example| match ty {
            Type::Text | Type::Id => quoted(example),
            _ => example.clone(),
        });
        if let Some(example) = example {
            text.push_str(&format!("example = {example}\n"));
        }
        text
    }

    /// Returns a remark if nearly all values have another type: a few mistakes in the file would make texts of dates.
    fn exceptions(&self) -> Option<String> {
        let of = |count: u64, ty: Type| {
            let is_nearly_all =
                count < self.values && count.saturating_mul(10) >= self.values.saturating_mul(9);
            let (values, name) = (self.values, ty.as_str());
            is_nearly_all.then(|| {
                format!("{count} of {values} values have the type {name}; declare it to reject the others")
            })
        };
        of(self.integer_values, Type::Integer).or_else(|| of(self.date_values, Type::Date))
    }

    /// What makes the declaration likely, as comments.
    fn remarks(&self, ty: Type, rows: u64) -> String {
        let nulls = rows.saturating_sub(self.values);
        let values = match (self.values, nulls) {
            (0, _) => "no values".to_owned(),
            (_, 0) => "a value in each row".to_owned(),
            _ => format!("null in {}", count(nulls)),
        };
        let bounds = match (ty, self.lengths.0, self.integers.0) {
            _ if self.values == 0 => String::new(),
            (Type::Text, Some((low, high)), _) => format!("; {low} to {high} characters"),
            (Type::Integer, _, Some((low, high))) => format!("; {low} to {high}"),
            _ => String::new(),
        };
        let mut lines = vec![format!("{values}{bounds}")];
        if ty == Type::Text && self.values > 0 {
            lines.extend(self.shapes.remark().map(str::to_owned));
            lines.extend(self.exceptions());
            if self.control > 0 {
                lines
                    .push(format!("{} values have control characters; remove those", self.control));
            }
        }
        lines.into_iter().map(|line| format!("# {line}\n")).collect()
    }
}

impl Shapes {
    fn add(&mut self, text: &str) {
        let digits = text.chars().filter(char::is_ascii_digit).count();
        let separators = text.chars().filter(|c| matches!(c, '/' | '.' | '-')).count();
        self.date &= separators == 2 && (3..=8).contains(&digits) && text.len() == digits + 2;
        self.flag &= FLAGS.iter().any(|flag| text.eq_ignore_ascii_case(flag));
        self.code &= is_code(text) || text.chars().all(|c| c.is_ascii_digit());
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        self.decimal &= is_number && text.parse::<f64>().is_ok();
    }

    fn remark(self) -> Option<&'static str> {
        if self.flag {
            Some("these look like booleans; written as yes and no they can have the type boolean")
        } else if self.date {
            Some("these look like dates; with --dates dmy or mdy they can have the type date")
        } else if self.code {
            Some("numbers with leading zeros, which an integer would lose")
        } else if self.decimal {
            Some("numbers with a fraction; there is no type for them, so they are texts")
        } else {
            None
        }
    }
}

/// Whether it is a number with leading zeros or a sign that an integer would not keep.
fn is_code(text: &str) -> bool {
    let digits = text.trim_start_matches('-');
    digits.len() > 1 && digits.starts_with('0') || text == "-0"
}

/// The bound with as many digits all of which are 9, and its sign.
fn roomy(bound: i64) -> i64 {
    let digits = bound.unsigned_abs().checked_ilog10().map_or(0, |log| log + 1);
    let nines = 10_i64.checked_pow(digits).map(|power| power - 1);
    match (nines, bound < 0) {
        (Some(nines), false) => nines,
        (Some(nines), true) => -nines,
        (None, false) => i64::MAX,
        (None, true) => i64::MIN,
    }
}

/// A text as TOML writes it. It has no control characters, so the escapes of JSON are those of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
