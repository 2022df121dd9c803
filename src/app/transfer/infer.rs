//! A declaration that fits a file of records. The file may be of any size: of each column only a summary is kept.

mod column;
mod keys;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Cursor, Read};

use self::column::Column;
use self::keys::Keys;
use super::csv::{Rows, not_utf8, unguarded};
use super::import::without_mark;
use super::ndjson::Lines;
use super::row::MAX_ROW_BYTES;
use super::{Format, read_error};
use crate::error::{Error, Kind, Result};
use crate::query::Argument;
use crate::record::declaration::{MANAGED, MAX_FIELDS, record_name};

/// The most columns that are looked at. More names can only be a mistake, such as a value in the place of a name.
const MAX_COLUMNS: usize = 200;

/// What to do with a file that has other delimiters than commas.
const WITH_COMMAS: &str = "Save the file with commas to import it.";

/// What may separate the cells of a row.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// A declaration of the collection that fits the records of a file, with comments that say why.
///
/// # Errors
/// [`Kind::InvalidBody`] when the input breaks off, or has no column from which a field could be made.
pub fn infer(input: impl Read, format: Format, collection: &str) -> Result<String> {
    let input = without_mark(BufReader::new(input)).map_err(read_error)?;
    let mut file = Summary::default();
    match format {
        Format::Csv => file.read_csv(input)?,
        Format::Ndjson => file.read_ndjson(input)?,
    }
    file.declaration(collection)
}

/// What is known of a file while it is read.
#[derive(Default)]
struct Summary {
    rows: u64,
    columns: Vec<Column>,
    keys: Keys,
    /// Rows that could not be read, and why the first could not.
    unread: u64,
    first_unread: String,
    /// The number of ignored columns, which follow the first [`MAX_COLUMNS`].
    more_columns: usize,
    /// Of CSV, what separates the cells.
    delimiter: Option<u8>,
}

impl Summary {
    fn read_csv(&mut self, mut input: impl BufRead) -> Result<()> {
        let mut start = Vec::new();
        let mut limited = (&mut input).take(MAX_ROW_BYTES as u64);
        limited.read_until(b'\n', &mut start).map_err(read_error)?;
        let delimiter = delimiter_of(&start);
        self.delimiter = Some(delimiter);
        let mut rows = Rows::new(Cursor::new(start).chain(input), delimiter);
        let Some((line, cells)) = rows.next().map_err(read_error)? else {
            return Err(invalid("the file is empty; the first line has the names of the columns"));
        };
        let names = cells.and_then(|cells| {
            let texts = cells.into_iter().map(|cell| std::str::from_utf8(cell).map_err(not_utf8));
            texts.map(|name| Ok(Column::new(name?.trim()))).collect()
        });
        self.columns = names.map_err(|detail| invalid(&format!("line {line}: {detail}")))?;
        let count = self.columns.len();
        self.more_columns = count.saturating_sub(MAX_COLUMNS);
        self.columns.truncate(MAX_COLUMNS);
        while let Some((line, cells)) = rows.next().map_err(read_error)? {
            let texts = cells.and_then(|cells| {
                let texts =
                    cells.into_iter().map(|cell| std::str::from_utf8(cell).map_err(not_utf8));
                texts.collect::<std::result::Result<Vec<&str>, String>>()
            });
            match texts {
                // Spreadsheets end a file with empty rows.
                Ok(texts) if texts.iter().all(|text| text.trim().is_empty()) => {}
                Ok(texts) if texts.len() != count => {
                    let found = texts.len();
                    self.skip(line, &format!("expected {count} cells, found {found}"));
                }
                Ok(texts) => {
                    self.rows += 1;
                    let values: Vec<Argument> = texts.into_iter().map(cell).collect();
                    for (column, value) in self.columns.iter_mut().zip(&values) {
                        column.add(value);
                    }
                    self.keys.add(&values);
                }
                Err(detail) => self.skip(line, &detail),
            }
        }
        Ok(())
    }

    fn read_ndjson(&mut self, input: impl BufRead) -> Result<()> {
        let mut lines = Lines::new(input);
        let mut positions: HashMap<String, usize> = HashMap::new();
        while let Some(row) = lines.next().map_err(read_error)? {
            let members = match row.fields {
                Ok(members) => members,
                Err(detail) => {
                    self.skip(row.line, &detail);
                    continue;
                }
            };
            self.rows += 1;
            let mut values = vec![Argument::NULL; self.columns.len()];
            for (name, value) in members {
                let position = match positions.get(name.as_ref()) {
                    Some(position) => *position,
                    None if self.columns.len() == MAX_COLUMNS => {
                        self.more_columns += 1;
                        continue;
                    }
                    None => {
                        let position = self.columns.len();
                        self.columns.push(Column::new(&name));
                        values.push(Argument::NULL);
                        positions.insert(name.into_owned(), position);
                        position
                    }
                };
                if let Some(column) = self.columns.get_mut(position) {
                    column.add(&value);
                }
                if let Some(place) = values.get_mut(position) {
                    *place = value;
                }
            }
            self.keys.add(&values);
        }
        Ok(())
    }

    fn skip(&mut self, line: u64, detail: &str) {
        self.unread += 1;
        if self.unread == 1 {
            self.first_unread = format!("line {line}: {detail}");
        }
    }

    fn declaration(mut self, collection: &str) -> Result<String> {
        if self.rows == 0 && self.unread > 0 {
            return Err(invalid(&format!("no row can be read; {}", self.first_unread)));
        }
        self.name_fields();
        let fields: Vec<String> =
            self.columns.iter().map(|column| column.declare(self.rows)).collect();
        if self.columns.iter().all(|column| column.field.is_none()) {
            return Err(invalid("no column has a name and values of a type that fields have"));
        }
        let mut text = self.remarks();
        text.extend(self.import_advice(collection));
        text.push_str(&format!(
            "name = \"{}\"\ncollection = \"{collection}\"\ndescription = \"\"\n\n",
            record_name(collection)
        ));
        text.push_str(&self.keys.declare(&self.columns, self.rows));
        for field in fields {
            text.push('\n');
            text.push_str(&field);
        }
        Ok(text)
    }

    /// Gives the columns that become fields their names, each once.
    fn name_fields(&mut self) {
        // An export of this service has the fields that the service adds. They are no part of a declaration.
        let headers: Vec<&str> = self.columns.iter().map(|column| column.header.as_str()).collect();
        let is_export = MANAGED.iter().all(|name| headers.contains(name));
        let mut count = 0;
        for column in &mut self.columns {
            if is_export && MANAGED.contains(&column.header.as_str()) {
                column.leave_out("the service adds this field itself");
            } else if column.header.is_empty() {
                column.leave_out("it has no name");
            } else if count == MAX_FIELDS {
                column.leave_out(&format!("a record type has at most {MAX_FIELDS} fields"));
            }
            count += usize::from(column.is_kept());
        }
        let kept: Vec<&mut Column> =
            self.columns.iter_mut().filter(|column| column.is_kept()).collect();
        let wanted: Vec<String> = kept.iter().map(|column| column.wanted()).collect();
        // A header that is a valid field name is kept, even if it follows others that would get the same name.
        let (named, others): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|column| column.wanted() == column.header);
        let mut taken = Vec::new();
        for column in named.into_iter().chain(others) {
            column.name_field(&mut taken, &wanted);
        }
    }

    /// Returns a comment on how to import the file, if its names differ from those of the fields.
    fn import_advice(&self, collection: &str) -> Option<String> {
        let mut headers = HashSet::new();
        let is_importable = self.columns.iter().all(|Column { header, field, .. }| {
            let is_field = field.as_ref().is_none_or(|field| field == header);
            is_field && (header.is_empty() || headers.insert(header))
        });
        if is_importable {
            return None;
        }
        if self.delimiter.is_none() {
            let advice = "Some names in the file are not field names. To import the file, rename these members.";
            return Some(format!("# {advice}\n"));
        }
        // A column without a field gets an empty name, which an import ignores.
        let fields = self.columns.iter().map(|column| column.field.as_deref().unwrap_or_default());
        let more = std::iter::repeat_n("", self.more_columns);
        let header = fields.chain(more).collect::<Vec<_>>().join(",");
        Some(format!(
            "# Some names in the header are not field names. To import the file, replace its header:\n\
             # (echo '{header}'; tail -n +2 FILE) | cinequery import - --format csv --collection {collection}\n"
        ))
    }

    /// What is to be said of the file, as comments.
    fn remarks(&self) -> String {
        let Self { rows, unread, first_unread, .. } = self;
        let mut lines = vec![
            format!(
                "Inferred from {}. It only knows this file: check types, lengths, ranges",
                count(*rows)
            ),
            "and keys, and `cinequery records check` the result.".to_owned(),
        ];
        match self.delimiter {
            Some(b';') => lines.push(format!("The columns are separated by `;`. {WITH_COMMAS}")),
            Some(b'\t') => lines.push(format!("The columns are separated by tabs. {WITH_COMMAS}")),
            _ => {}
        }
        if *unread > 0 {
            // The reason may quote the file.
            let reason: String =
                first_unread.chars().filter(|c| !c.is_control()).take(150).collect();
            lines.push(format!("{} could not be read. The first: {reason}", count(*unread)));
        }
        if self.more_columns > 0 {
            lines.push(format!("Columns after the first {MAX_COLUMNS} were ignored."));
        }
        lines.into_iter().map(|line| format!("# {line}\n")).collect()
    }
}

/// A cell as a value. An import reads empty cells as null where a field may be null.
fn cell(text: &str) -> Argument {
    match unguarded(text) {
        "" => Argument::NULL,
        plain if plain.len() == text.len() => Argument::Untyped(text.to_owned()),
        // An apostrophe keeps spreadsheets from running it, which only texts need.
        plain => Argument::Text(plain.to_owned()),
    }
}

/// The delimiter that the first line has most of, outside quotes.
fn delimiter_of(line: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut is_quoted = false;
    for byte in line {
        is_quoted ^= *byte == b'"';
        let position = DELIMITERS.iter().position(|delimiter| delimiter == byte);
        if let Some(count) = position.and_then(|at| counts.get_mut(at)).filter(|_| !is_quoted) {
            *count += 1;
        }
    }
    // The first of those that are equal: a comma where there is none.
    let best = DELIMITERS.into_iter().zip(counts).rev().max_by_key(|(_, count)| *count);
    best.map_or(b',', |(delimiter, _)| delimiter)
}

fn count(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::InvalidBody, detail)
}
