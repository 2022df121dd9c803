//! The record types of a service, as a list that is made once at start.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::declaration::{
    Declared, MAX_FILE_BYTES, MAX_RECORD_TYPES, Mistake, Mistakes, read, too_long,
};
use crate::query::Schema;
use crate::query::diagnostic::Span;

/// The declaration of the built-in record type.
pub const BUILT_IN: &str = include_str!("../../records/movies.toml");

/// The record types of a service, in order. The first one is the default of requests that name none. Copying is cheap,
/// because the schemas live as long as the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Catalogue(&'static [&'static Schema]);

impl Catalogue {
    /// A catalogue of these record types. It is never freed, as services have one for as long as they run.
    pub fn of(schemas: Vec<&'static Schema>) -> Self {
        Self(schemas.leak())
    }

    /// The built-in record type.
    pub fn built_in() -> Self {
        // Schemas are equal to themselves alone, so they are made once. A test keeps the file free of mistakes.
        static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::of(read(BUILT_IN).map(|declared| declared.schema).into_iter().collect())
        });
        *CATALOGUE
    }

    /// Loads the record types that the files `*.toml` of a folder declare, in the order of the files' names, or the
    /// record type of a single file. Ignores hidden files and follows links, because Kubernetes mounts a ConfigMap as
    /// links into a hidden folder.
    ///
    /// # Errors
    /// Returns the mistakes of all files at once, also those between files. A folder that cannot be read or has no
    /// declaration counts as a file.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistakes>> {
        let catalogue = Self::load_or_empty(path)?;
        if catalogue.schemas().is_empty() {
            return Err(unreadable(
                path,
                "the folder has no declarations (*.toml)".to_owned(),
                "add one: `cinequery records init movies` prints the built-in one",
            ));
        }
        Ok(catalogue)
    }

    /// Loads a folder like [`Catalogue::load`], but returns an empty catalogue for a folder without declarations. A service
    /// cannot start with it, but the collection that was the only one can be dropped.
    ///
    /// # Errors
    /// Returns the mistakes of all files at once, also those between files. A folder that cannot be read counts as a file.
    pub fn load_or_empty(path: &Path) -> Result<Self, Vec<Mistakes>> {
        let failed = |message: String, help: &str| unreadable(path, message, help);
        // A path that does not exist has the name of a file or of a folder.
        let is_file = path.is_file() || (!path.exists() && is_declaration(path));
        let paths = if is_file { Ok(vec![path.to_owned()]) } else { declarations_in(path) };
        let paths = paths.map_err(|error| {
            failed(
                format!("cannot read the folder: {error}"),
                "create it and add a declaration to it: `cinequery records init NAME` prints one",
            )
        })?;
        if paths.len() > MAX_RECORD_TYPES {
            let message =
                format!("expected at most {MAX_RECORD_TYPES} declarations, found {}", paths.len());
            return Err(failed(message, "remove some"));
        }
        let files = paths.iter().map(|path| {
            let name = path.display().to_string();
            match source(path) {
                Ok(source) => Ok((name, source)),
                Err(message) => {
                    Err(Mistakes::unreadable(name, Mistake::new(Span::default(), message)))
                }
            }
        });
        Self::assemble(files)
    }

    /// The record types that files declare, each given by its name and its text.
    ///
    /// # Errors
    /// The mistakes of all files at once, also those between files.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<Mistakes>> {
        let owned = |(name, source): (&str, &str)| Ok((name.to_owned(), source.to_owned()));
        Self::assemble(files.into_iter().map(owned))
    }

    fn assemble(
        files: impl Iterator<Item = Result<(String, String), Mistakes>>,
    ) -> Result<Self, Vec<Mistakes>> {
        let mut declarations: Vec<(String, Declared)> = Vec::new();
        let mut wrong = Vec::new();
        for file in files {
            let (file, source) = match file {
                Ok(file) => file,
                Err(unreadable) => {
                    wrong.push(unreadable);
                    continue;
                }
            };
            let checked = read(&source).and_then(|declared| {
                let mut earlier = declarations.iter();
                match earlier.find_map(|(file, earlier)| declared.conflict(earlier, file)) {
                    Some(conflict) => Err(vec![conflict]),
                    None => Ok(declared),
                }
            });
            match checked {
                Ok(declared) => declarations.push((file, declared)),
                Err(list) => wrong.push(Mistakes { file, source, list }),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self::of(declarations.into_iter().map(|(_, declared)| declared.schema).collect()))
    }

    /// The record types.
    pub fn schemas(self) -> &'static [&'static Schema] {
        self.0
    }

    /// The record type of that collection.
    pub fn find(self, collection: &str) -> Option<&'static Schema> {
        self.0.iter().copied().find(|schema| schema.collection == collection)
    }
}

/// Returns the mistake of a folder as that of a file.
fn unreadable(folder: &Path, message: String, help: &str) -> Vec<Mistakes> {
    let mistake = Mistake::new(Span::default(), message).help(help);
    vec![Mistakes::unreadable(folder.display().to_string(), mistake)]
}

/// The declarations in a folder, by name.
fn declarations_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden =
            path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_declaration(&path) && !is_hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns whether a path has the name of a declaration.
fn is_declaration(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// The text of a file, or why there is none.
fn source(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read the file: {error}");
    let metadata = std::fs::metadata(path).map_err(failed)?;
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err("this is not a regular file".to_owned());
    }
    if metadata.len() > MAX_FILE_BYTES as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile is too long by one byte, and is rejected as such.
    let file = File::open(path).map_err(failed)?.take(MAX_FILE_BYTES as u64 + 1);
    BufReader::new(file).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
        format!("expected UTF-8, found another byte in line {}", lines + 1)
    })
}
