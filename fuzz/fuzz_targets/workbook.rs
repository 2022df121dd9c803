//! Imports workbooks whose parts are arbitrary: the sheet, and after U+001F the shared texts and the styles.

#![no_main]

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use cinequery::app::transfer::{Format, inspect};
use cinequery::record::{Author, Catalogue};
use libfuzzer_sys::fuzz_target;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

static SPECIMENS: LazyLock<Catalogue> = LazyLock::new(|| {
    // The service catches the panics of the reader of workbooks. The fuzzer would end at the first one.
    std::panic::set_hook(Box::new(|_| {}));
    let files = [("specimens.toml", include_str!("../../tests/agreement/specimens.toml"))];
    Catalogue::parse(files).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
});

const PARTS: [(&str, &str); 3] = [
    (
        "_rels/.rels",
        "<Relationships><Relationship Id=\"r\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>",
    ),
    (
        "xl/workbook.xml",
        "<workbook xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>",
    ),
    (
        "xl/_rels/workbook.xml.rels",
        "<Relationships><Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
    ),
];

fuzz_target!(|bytes: &[u8]| {
    let schema = SPECIMENS.schemas()[0];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let own = ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"];
    let parts = own.into_iter().zip(bytes.split(|byte| *byte == 0x1F));
    let fixed = PARTS.into_iter().map(|(name, text)| (name, text.as_bytes()));
    for (name, content) in fixed.chain(parts) {
        archive.start_file(name, SimpleFileOptions::default()).expect("a part");
        archive.write_all(content).expect("memory");
    }
    let file = archive.finish().expect("an archive").into_inner();
    let _ = inspect(Cursor::new(file), Format::Xlsx, schema, Author::Client);
});
