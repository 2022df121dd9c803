//! Files of records on the command line. `-` is standard input or output, and `.gz` is compressed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, ErrorKind, IsTerminal, Read, Result as IoResult, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use crate::app::transfer::{Encoding, Format, Hints, Options, Order};
use crate::store::missing_folder;

/// How to read a file.
#[derive(Args)]
pub(super) struct FileSettings {
    /// Format: ndjson, json, csv or xlsx [default: recognised]
    #[arg(long)]
    format: Option<Format>,
    /// Encoding of a text file: utf-8, utf-16 or windows-1252 [default: recognised]
    #[arg(long)]
    encoding: Option<Encoding>,
    /// Sheet of a workbook [default: the first one with a value]
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Row of a table that is its header, counted from 1, below a title; rows above it are ignored [default: the first one
    /// that is not empty]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    header_row: Option<u32>,
    /// Order of day, month and year in dates such as 15/02/2030: dmy, mdy or ymd [default: such dates are rejected]
    #[arg(long, value_name = "ORDER")]
    dates: Option<Order>,
}

impl FileSettings {
    pub(super) fn options(self) -> Options {
        let Self { format, encoding, sheet, header_row, dates } = self;
        let hints = Hints { format, encoding, sheet, header_row };
        Options { hints, dates, ..Options::default() }
    }
}

/// The name of standard input and output.
pub(super) const STREAM: &str = "-";

/// The problem of a file that must not exist.
const EXISTS: &str = "the file exists and is not overwritten; remove it, or name another one";

/// The number of rows between two updates of the progress.
const STEP: u64 = 256;

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STREAM
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Returns the format of a file to write, by its name. Standard output, pipes, devices and names without an ending get
/// JSON lines.
///
/// # Errors
/// A message for a name with another ending.
pub(super) fn format(path: &Path) -> Result<Format, String> {
    let is_special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if is_stream(path) || is_special {
        return Ok(Format::default());
    }
    let name = if is_gzip(path) { path.with_extension("") } else { path.to_owned() };
    let Some(extension) = name.extension() else { return Ok(Format::default()) };
    let is = |format: &Format| extension.eq_ignore_ascii_case(format.extension());
    Format::ALL.into_iter().find(is).ok_or_else(|| {
        let known: Vec<String> =
            Format::ALL.iter().map(|format| format!(".{}", format.extension())).collect();
        let mut known = known;
        known.dedup();
        format!("{}: unknown ending; expected {}, or --format", path.display(), known.join(", "))
    })
}

/// Opens a file for reading, and decompresses it if its name ends in `.gz`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, String> {
    let plain: Box<dyn Read + Send> = if is_stream(path) {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(format!("{} is a folder", path.display()));
        }
        Box::new(file)
    };
    Ok(if is_gzip(path) { Box::new(MultiGzDecoder::new(plain)) } else { plain })
}

/// A file to write. A regular file gets its name only when it is complete.
pub(super) enum Output {
    Plain(Target),
    Gzip(Box<GzEncoder<Target>>),
}

/// The destination of the bytes.
pub(super) enum Target {
    Stdout,
    /// A device or a pipe.
    Special(File),
    Regular(NamedTempFile, PathBuf),
}

impl Output {
    /// Opens the file for writing. A regular file is first written under a temporary name in the same folder.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let is_special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let target = if is_stream(path) {
            Target::Stdout
        } else if is_special {
            Target::Special(OpenOptions::new().write(true).open(path).map_err(failed)?)
        } else {
            // Write the target of a symbolic link instead of replacing the link.
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if let Some(message) = missing_folder(&path) {
                return Err(format!("{}: {message}", path.display()));
            }
            let file = new_beside(&path).map_err(failed)?;
            if let Ok(old) = std::fs::metadata(&path) {
                file.as_file().set_permissions(old.permissions()).map_err(failed)?;
            }
            Target::Regular(file, path)
        };
        Ok(if is_gzip(path) {
            Output::Gzip(Box::new(GzEncoder::new(target, Compression::default())))
        } else {
            Output::Plain(target)
        })
    }

    /// Writes the next bytes. Returns false if the other end of a pipe is closed, as by `head`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> IoResult<bool> {
        still_read(match self {
            Output::Plain(target) => target.write_all(bytes),
            Output::Gzip(encoder) => encoder.write_all(bytes),
        })
    }

    /// Completes the file and gives it its name.
    pub(super) fn finish(self) -> IoResult<()> {
        let target = match self {
            Output::Plain(target) => Ok(target),
            Output::Gzip(encoder) => encoder.finish(),
        };
        let finished = target.and_then(|mut target| {
            target.flush()?;
            match target {
                Target::Regular(file, path) => {
                    file.as_file().sync_all()?;
                    file.persist(path)?;
                    Ok(())
                }
                Target::Stdout | Target::Special(_) => Ok(()),
            }
        });
        still_read(finished).map(|_| ())
    }
}

/// A file that must not exist. It gets its name only when it is complete.
pub(super) struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Creates the file under a temporary name in its folder, and opens it for writing.
    ///
    /// # Errors
    /// A message if a file with its name exists, it cannot be created, or it is standard output.
    pub(super) fn create(path: PathBuf) -> Result<(Self, BufWriter<File>), String> {
        let failed = |problem: &str| format!("{}: {problem}", path.display());
        if is_stream(&path) {
            return Err(failed("expected the name of a file, such as rejected.csv"));
        }
        if path.symlink_metadata().is_ok() {
            return Err(failed(EXISTS));
        }
        if let Some(problem) = missing_folder(&path) {
            return Err(failed(&problem));
        }
        let file = new_beside(&path).map_err(|error| failed(&error.to_string()))?;
        let output = file.reopen().map_err(|error| failed(&error.to_string()))?;
        Ok((Self { file, path }, BufWriter::new(output)))
    }

    /// Gives the file its name, and returns it. Without content there is no file.
    ///
    /// # Errors
    /// A message if a file with its name exists by now, or it cannot be completed.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, String> {
        let Self { file, path } = self;
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => format!("{}: {EXISTS}", path.display()),
            _ => format!("{}: {error}", path.display()),
        };
        if file.as_file().metadata().map_err(failed)?.len() == 0 {
            return Ok(None);
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist_noclobber(&path).map_err(|error| failed(error.error))?;
        Ok(Some(path))
    }
}

/// Creates a file under a temporary name in the folder of another file.
pub(super) fn new_beside(path: &Path) -> IoResult<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // The permissions of a file that a shell creates. The umask applies.
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn still_read(written: IoResult<()>) -> IoResult<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        match self {
            Target::Stdout => std::io::stdout().write(bytes),
            Target::Special(file) => file.write(bytes),
            Target::Regular(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        match self {
            Target::Stdout => std::io::stdout().flush(),
            Target::Special(file) => file.flush(),
            Target::Regular(file, _) => file.flush(),
        }
    }
}

/// Returns a progress display of bytes. It is hidden unless standard error is a terminal.
pub(super) fn bytes_progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{wide_bar} {bytes} of about {total_bytes}, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Writes a size with its unit, such as 412.0 MiB.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Returns a progress display with the rate of rows. It is hidden unless standard error is a terminal.
pub(super) fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Returns a progress display of rows, and what counts them.
pub(super) fn counting() -> (ProgressBar, impl Fn(u64) + Send + 'static) {
    let bar = progress();
    let shown = bar.clone();
    let count = move |count: u64| {
        if count.is_multiple_of(STEP) {
            shown.set_position(count);
        }
    };
    (bar, count)
}
