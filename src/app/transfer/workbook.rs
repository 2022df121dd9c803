//! Reading workbooks of Excel (ECMA-376, `.xlsx`): a ZIP archive of XML parts.
//!
//! A workbook of a few kilobytes can unpack to gigabytes, name one part a thousand times as a sheet, or say that it has
//! billions of texts. Readers for programs that trust their files allocate memory for that. This one reads only the parts
//! that it needs, one after the other, each byte against a budget; keeps each shared text once; and holds one row.

mod cells;
mod strings;
mod styles;

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use self::cells::{Book, Cells};
use self::strings::Strings;
use self::styles::Styles;
use super::row::{MAX_NAME, Row};
use crate::error::{Error, Kind, Result};

/// The maximum size of a workbook, packed and unpacked, in bytes. Passes over a sheet count by themselves.
pub const MAX_WORKBOOK_BYTES: u64 = 64 * 1024 * 1024;

/// The maximum number of parts and of sheets of a workbook.
const MAX_PARTS: u64 = 10_000;
const MAX_SHEETS: usize = 1000;

/// The longest piece of text, in bytes. A cell of Excel has at most 32,767 characters.
const MAX_PIECE: usize = 256 * 1024;

/// The end of the directory of an archive, the length of this record without its comment, and the longest comment.
const DIRECTORY_END: &[u8] = b"PK\x05\x06";
const DIRECTORY_END_BYTES: u64 = 22;
const MAX_COMMENT: u64 = 65_535;

type Archive = ZipArchive<BufReader<File>>;

/// An open part, as events of XML. More bytes than its budget end it with an error.
struct Part<'a>(Reader<BufReader<Box<dyn Read + 'a>>>, Vec<u8>);

/// A workbook, and the name of the sheet with the records.
pub(super) struct Workbook {
    archive: Archive,
    book: Book,
    path: String,
    pub(super) sheet: String,
}

/// A sheet: its name, and the path of its part.
struct Sheet {
    name: String,
    path: String,
}

impl Workbook {
    /// Opens a workbook: the named sheet, or the first one with a cell that is not empty.
    ///
    /// # Errors
    /// [`Kind::BodyTooLarge`]; [`Kind::InvalidBody`] if it is no workbook or has no such sheet.
    pub(super) fn open(input: impl Read, sheet: Option<&str>) -> Result<Self> {
        let mut file = tempfile::tempfile().map_err(Error::internal)?;
        let size = std::io::copy(&mut input.take(MAX_WORKBOOK_BYTES + 1), &mut file);
        let size = size.map_err(|error| match error.kind() {
            ErrorKind::StorageFull => super::no_room(error),
            _ => super::read_error(error),
        })?;
        if size > MAX_WORKBOOK_BYTES {
            return Err(too_large());
        }
        check_directory(&mut file)?;
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
        let mut budget = MAX_WORKBOOK_BYTES;
        let root = main_part(&mut archive, &mut budget)?;
        let (sheets, is_1904) = sheets(&mut archive, &root, &mut budget)?;
        let styles = part(&mut archive, &joined(&root, "styles.xml"), &mut budget)?;
        let styles = styles.map(|mut part| Styles::read(&mut part)).transpose()?;
        let strings = part(&mut archive, &joined(&root, "sharedStrings.xml"), &mut budget)?;
        let strings = strings.map(|mut part| Strings::read(&mut part)).transpose()?;
        let book = Book {
            strings: strings.unwrap_or_default(),
            styles: styles.unwrap_or_default(),
            is_1904,
        };
        let sheet = match sheet {
            Some(name) => sheets.into_iter().find(|known| known.name == name),
            None => first_filled(&mut archive, &book, sheets)?,
        };
        let Some(Sheet { name, path }) = sheet else {
            return Err(invalid(
                "the workbook has no such sheet; send the name of one that it has",
            ));
        };
        Ok(Self { archive, book, path, sheet: name })
    }

    /// Calls `visit` with each row that has a cell.
    ///
    /// # Errors
    /// [`Kind::InvalidBody`] if the sheet cannot be read; [`Kind::BodyTooLarge`].
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>) -> Result<()> {
        let mut budget = MAX_WORKBOOK_BYTES;
        let part = part(&mut self.archive, &self.path, &mut budget)?;
        let part = part.ok_or_else(|| invalid("the workbook lacks the part of the sheet"))?;
        Cells::new(part, &self.book).each(visit)
    }
}

/// Returns the first sheet with a cell that is not empty, or else the first.
fn first_filled(archive: &mut Archive, book: &Book, sheets: Vec<Sheet>) -> Result<Option<Sheet>> {
    let mut budget = MAX_WORKBOOK_BYTES;
    let mut first = None;
    for sheet in sheets {
        if let Some(part) = part(archive, &sheet.path, &mut budget)? {
            let mut is_filled = false;
            Cells::new(part, book).each(&mut |row| {
                is_filled = row.values.is_err() || !row.is_empty();
                if is_filled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if is_filled {
                return Ok(Some(sheet));
            }
        }
        first.get_or_insert(sheet);
    }
    Ok(first)
}

/// Returns the path of the main part, which `_rels/.rels` names.
fn main_part(archive: &mut Archive, budget: &mut u64) -> Result<String> {
    let relations = relations(archive, "_rels/.rels", budget)?;
    let main = relations.into_iter().find(|relation| relation.kind.ends_with("/officeDocument"));
    let path = main.map_or_else(|| "xl/workbook.xml".to_owned(), |main| main.target);
    Ok(path.trim_start_matches('/').to_owned())
}

/// Returns the sheets of the main part, and whether its days are counted from 1904.
fn sheets(archive: &mut Archive, root: &str, budget: &mut u64) -> Result<(Vec<Sheet>, bool)> {
    let (folder, name) = root.rsplit_once('/').unwrap_or(("", root));
    let relations = relations(archive, &joined(root, &format!("_rels/{name}.rels")), budget)?;
    let mut part = part(archive, root, budget)?
        .ok_or_else(|| invalid("the workbook cannot be read: it has no main part"))?;
    let (mut sheets, mut is_1904) = (Vec::new(), false);
    while let Some(event) = part.next()? {
        let (Event::Start(element) | Event::Empty(element)) = event else { continue };
        match element.local_name().as_ref() {
            b"workbookPr" => {
                is_1904 = attribute(&element, b"date1904")?
                    .is_some_and(|value| ["1", "true", "on"].contains(&value.as_str()));
            }
            b"sheet" => {
                let id = attribute(&element, b"r:id")?.unwrap_or_default();
                let relation = relations.iter().find(|relation| relation.id == id);
                // Sheets with a chart have no cells.
                let relation = relation.filter(|relation| relation.kind.ends_with("/worksheet"));
                let Some(relation) = relation else { continue };
                let path = match relation.target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None if folder.is_empty() => relation.target.clone(),
                    None => format!("{folder}/{}", relation.target),
                };
                let name = attribute(&element, b"name")?.unwrap_or_default();
                let name = name.chars().take(MAX_NAME).collect();
                if sheets.len() == MAX_SHEETS
                    || sheets.iter().any(|sheet: &Sheet| sheet.path == path)
                {
                    return Err(invalid("the workbook has too many sheets, or one of them twice"));
                }
                sheets.push(Sheet { name, path });
            }
            _ => {}
        }
    }
    Ok((sheets, is_1904))
}

/// A relation of a part to another.
struct Relation {
    id: String,
    kind: String,
    target: String,
}

fn relations(archive: &mut Archive, path: &str, budget: &mut u64) -> Result<Vec<Relation>> {
    let Some(mut part) = part(archive, path, budget)? else { return Ok(Vec::new()) };
    let mut relations = Vec::new();
    while let Some(event) = part.next()? {
        let (Event::Start(element) | Event::Empty(element)) = event else { continue };
        if element.local_name().as_ref() != b"Relationship" || relations.len() > 2 * MAX_SHEETS {
            continue;
        }
        let value = |name: &[u8]| attribute(&element, name).map(Option::unwrap_or_default);
        let relation =
            Relation { id: value(b"Id")?, kind: value(b"Type")?, target: value(b"Target")? };
        // Paths of parts are short.
        if relation.id.len() + relation.kind.len() + relation.target.len() < 2000 {
            relations.push(relation);
        }
    }
    Ok(relations)
}

/// Opens a part by its path, regardless of case; `None` if there is none.
fn part<'a>(archive: &'a mut Archive, path: &str, budget: &'a mut u64) -> Result<Option<Part<'a>>> {
    let position = archive.index_for_name(path).or_else(|| {
        let is_it = |name: &str| {
            name.len() == path.len() && name.replace('\\', "/").eq_ignore_ascii_case(path)
        };
        let mut names = archive.file_names();
        names.position(|name| name.is_ok_and(|name| is_it(&name)))
    });
    let Some(position) = position else { return Ok(None) };
    let file = archive.by_index(position).map_err(unreadable)?;
    let limited: Box<dyn Read + 'a> = Box::new(Limited { file, budget });
    let mut reader = Reader::from_reader(BufReader::new(limited));
    let config = reader.config_mut();
    config.check_end_names = false;
    config.trim_text(false);
    Ok(Some(Part(reader, Vec::new())))
}

/// A part whose bytes count against a budget.
struct Limited<'a, R> {
    file: R,
    budget: &'a mut u64,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.budget.checked_sub(read as u64);
        *self.budget = left.ok_or_else(|| std::io::Error::other(too_large()))?;
        Ok(read)
    }
}

impl Part<'_> {
    /// Returns the next event; `None` at the end.
    fn next(&mut self) -> Result<Option<Event<'static>>> {
        self.1.clear();
        // One large element would otherwise keep its memory.
        self.1.shrink_to(MAX_PIECE);
        match self.0.read_event_into(&mut self.1).map_err(malformed)? {
            Event::Eof => Ok(None),
            // Entities could stand for anything.
            Event::DocType(_) => {
                Err(invalid("the workbook cannot be read: it declares a document type"))
            }
            Event::Text(text) if text.len() > MAX_PIECE => {
                Err(invalid("the workbook cannot be read: it has a text that no cell can have"))
            }
            event => Ok(Some(event.into_owned())),
        }
    }
}

/// Returns an attribute of an element.
fn attribute(element: &BytesStart<'_>, name: &[u8]) -> Result<Option<String>> {
    let found = element.try_get_attribute(name).map_err(malformed)?;
    let value = found.map(|found| found.unescape_value().map(|value| value.into_owned()));
    value.transpose().map_err(malformed)
}

/// Checks the size of the directory, which is read as a whole: there must be one, with few parts.
fn check_directory(file: &mut File) -> Result<()> {
    let size = file.seek(SeekFrom::End(0)).map_err(Error::internal)?;
    let start = size.saturating_sub(DIRECTORY_END_BYTES + MAX_COMMENT);
    file.seek(SeekFrom::Start(start)).map_err(Error::internal)?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(Error::internal)?;
    let ends = tail.windows(DIRECTORY_END.len()).enumerate();
    let ends: Vec<usize> =
        ends.filter(|(_, bytes)| *bytes == DIRECTORY_END).map(|(place, _)| place).collect();
    if ends.is_empty() {
        return Err(invalid("the workbook cannot be read: it breaks off"));
    }
    // 65,535 parts mean that another record has their number.
    let is_large = ends.into_iter().any(|place| {
        let count = tail.get(place + 10..place + 12).and_then(|bytes| bytes.try_into().ok());
        count.is_none_or(|count| u64::from(u16::from_le_bytes(count)) > MAX_PARTS)
    });
    if is_large { Err(too_large()) } else { Ok(()) }
}

/// Returns the path of a part beside another one.
fn joined(beside: &str, name: &str) -> String {
    match beside.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
fn unreadable(error: zip::result::ZipError) -> Error {
    invalid(&format!(
        "the workbook cannot be read; save it again as .xlsx without a password ({error})"
    ))
}

/// Returns the error of malformed XML, or that of an exceeded budget.
fn malformed(error: impl Into<quick_xml::Error>) -> Error {
    match error.into() {
        quick_xml::Error::Io(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            match inner {
                Some(inner) => Error::new(inner.kind, inner.detail.clone()),
                None => invalid("the workbook cannot be read: a part breaks off"),
            }
        }
        other => {
            let text: String = other.to_string().chars().take(MAX_NAME).collect();
            invalid(&format!("the workbook cannot be read: {text}"))
        }
    }
}

fn too_large() -> Error {
    let mebibytes = MAX_WORKBOOK_BYTES / (1024 * 1024);
    let detail = format!(
        "the workbook is too large; expected at most {mebibytes} MiB, packed and unpacked, and {MAX_PARTS} parts; save \
         it as CSV"
    );
    Error::new(Kind::BodyTooLarge, detail)
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::InvalidBody, detail)
}
