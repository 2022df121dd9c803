//! Imports arbitrary bytes as a file of records, without a database. The first byte selects what is known of the file, the
//! second the order of dates; the rest is the file.

#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use cinequery::app::transfer::{Encoding, Format, Hints, Options, Order, infer, inspect};
use cinequery::record::{Author, Catalogue};
use libfuzzer_sys::fuzz_target;

/// A record type with a field of every type.
static SPECIMENS: LazyLock<Catalogue> = LazyLock::new(|| {
    let files = [("specimens.toml", include_str!("../../tests/agreement/specimens.toml"))];
    Catalogue::parse(files).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
});

const FORMATS: [Option<Format>; 5] =
    [None, Some(Format::Csv), Some(Format::Ndjson), Some(Format::Json), Some(Format::Xlsx)];

fuzz_target!(|bytes: &[u8]| {
    let [first, second, file @ ..] = bytes else { return };
    let pick = |byte: u8, count: usize| usize::from(byte) % count;
    let options = Options {
        hints: Hints {
            format: FORMATS[pick(*first, FORMATS.len())],
            encoding: [None, None, Some(Encoding::Utf16), Some(Encoding::Windows1252)]
                [pick(*first / 16, 4)],
            sheet: None,
            header_row: [None, Some(1), Some(3)][pick(*second / 4, 3)],
        },
        mapping: ["", "a=code", "year(a)=size,\"a,b\"=code"][pick(*second / 16, 3)]
            .parse()
            .unwrap_or_default(),
        dates: [None, Some(Order::Dmy), Some(Order::Mdy)][pick(*second, 3)],
        ..Options::default()
    };
    let schema = SPECIMENS.schemas()[0];
    let file = file.to_vec();
    if let Ok(report) = inspect(Cursor::new(file.clone()), options.clone(), schema, Author::Client) {
        assert!(report.errors.len() <= 100 * 20 && report.preview.is_some());
        let counted: i64 = report.problems.iter().map(|problem| problem.count).sum();
        assert!(counted >= report.rejected, "each rejected row has a problem");
    }
    if let Ok(declaration) = infer(Cursor::new(file), options, "things") {
        Catalogue::parse([("things.toml", declaration.as_str())])
            .unwrap_or_else(|mistakes| panic!("{}\n{declaration}", mistakes[0]));
    }
});
