//! `cinequery import`: records from a file of JSON objects, one a line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::{Outcome, explain, migrate, open, operator};
use crate::app::transfer;
use crate::config::DatabaseSettings;
use crate::record::{All, Draft, Members, Record, Records, Visitor};
use crate::store::{Conflict, Message, Missing, Store, Tally};

/// The longest line that is read, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Records on their way from the file to the database.
const QUEUE: usize = 256;

/// Refused lines that are listed; more are counted.
const MAX_LISTED: u64 = 100;

/// The exit code when rows were refused.
const REFUSED: u8 = 2;

#[derive(Args)]
pub(super) struct Import {
    /// The file: one JSON object a line, in UTF-8
    file: PathBuf,
    /// What to do with a record that is there already (for movies: the same title and year)
    #[arg(long, value_enum, default_value = "fail")]
    on_conflict: OnConflict,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE", default_value = "movies")]
    table: String,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnConflict {
    /// Import nothing at all if there is one, or any row is refused
    Fail,
    /// Leave it as it is
    Skip,
    /// Write over it
    Update,
}

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let file =
            File::open(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(format!("{} is a folder", self.file.display()));
        }
        let store = open(&self.database, Missing::Create).await?;
        migrate(&store).await?;
        let policy = match self.on_conflict {
            OnConflict::Fail => Conflict::Fail,
            OnConflict::Skip => Conflict::Skip,
            OnConflict::Update => Conflict::Update,
        };
        let load = Load { store: store.clone(), file, policy };
        let Some(import) = All::visit(&self.table, load) else {
            let tables: Vec<_> = All::schemas().iter().map(|schema| schema.table).collect();
            return Err(format!(
                "there is no type {:?}; there are: {}",
                self.table,
                tables.join(", ")
            ));
        };
        let report = import.await?;
        store.close().await;
        Ok(report.print(policy, &self.file))
    }
}

struct Load {
    store: Store,
    file: File,
    policy: Conflict,
}

impl Visitor for Load {
    type Output = futures_util::future::BoxFuture<'static, Result<Report, String>>;

    fn visit<R: Record>(self) -> Self::Output {
        Box::pin(load::<R>(self.store, self.file, self.policy, progress()))
    }
}

/// Imports what a reader gives, one JSON object a line.
pub(super) async fn load<R: Record>(
    store: Store,
    file: impl Read + Send + 'static,
    policy: Conflict,
    progress: ProgressBar,
) -> Result<Report, String> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let lines = tokio::task::spawn_blocking(move || {
        read::<R>(BufReader::new(file), policy, &sender, &progress)
    });
    let written = transfer::import::<R>(&store, &operator(), policy, receiver).await;
    let lines = lines.await.map_err(|error| error.to_string())?;
    let tally = written.map_err(explain)?;
    Ok(Report { lines: lines?, tally })
}

/// What was read.
#[derive(Default)]
struct Lines {
    refused: u64,
    unknown: BTreeSet<String>,
}

/// What an import has done.
pub(super) struct Report {
    lines: Lines,
    tally: Tally,
}

impl Report {
    fn print(&self, policy: Conflict, file: &Path) -> ExitCode {
        let Self { lines, tally } = self;
        if !lines.unknown.is_empty() {
            let names: Vec<_> = lines.unknown.iter().map(String::as_str).collect();
            eprintln!("warning: columns that are not imported were ignored: {}", names.join(", "));
        }
        let conflicts = tally.conflicts.len() as u64;
        let listed = tally.conflicts.iter().zip(0..MAX_LISTED);
        for (line, _) in listed {
            eprintln!("line {line}: a record with the same natural key exists already");
        }
        let more = lines.refused.saturating_sub(MAX_LISTED) + conflicts.saturating_sub(MAX_LISTED);
        if more > 0 {
            eprintln!("and {more} more");
        }
        let refused = lines.refused.saturating_add(conflicts);
        if policy == Conflict::Fail && refused > 0 {
            eprintln!("nothing was imported from {}: {refused} rows refused", file.display());
        } else {
            let Tally { inserted, updated, skipped, .. } = tally;
            eprintln!(
                "{inserted} created, {updated} updated, {skipped} skipped, {refused} refused"
            );
        }
        if refused > 0 { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS }
    }
}

/// Reads the lines and sends the records on. Blank lines are passed over.
fn read<R: Record>(
    mut file: impl BufRead,
    policy: Conflict,
    records: &mpsc::Sender<Message<R>>,
    progress: &ProgressBar,
) -> Result<Lines, String> {
    let mut lines = Lines::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut limited = (&mut file).take(MAX_LINE_BYTES + 1);
        let length = limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if length == 0 {
            break;
        }
        let draft = if line.len() as u64 > MAX_LINE_BYTES {
            file.skip_until(b'\n').map_err(|error| error.to_string())?;
            Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"))
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            read_line::<R>(&line, &mut lines.unknown)
        };
        match draft {
            Ok(draft) => {
                if records.blocking_send(Message::Record(number, draft)).is_err() {
                    // The database has failed and says why.
                    return Ok(lines);
                }
            }
            Err(message) => {
                lines.refused += 1;
                if lines.refused <= MAX_LISTED {
                    progress.suspend(|| eprintln!("line {number}: {message}"));
                }
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    // Without the end nothing is committed, and under `fail` a refused row means just that.
    if policy != Conflict::Fail || lines.refused == 0 {
        let _ = records.blocking_send(Message::End);
    }
    Ok(lines)
}

fn read_line<R: Record>(line: &[u8], unknown: &mut BTreeSet<String>) -> Result<Draft<R>, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let members: Members = serde_json::from_str(text).map_err(|error| {
        // serde counts lines within this one.
        let error = error.to_string();
        format!("not a JSON object on one line: {}", error.split(" at line ").next().unwrap_or(""))
    })?;
    let (draft, others) = Draft::read_among_others(members);
    unknown.extend(others);
    draft.map_err(|violations| {
        let texts = violations.iter().map(|v| format!("{} {}", v.pointer, v.detail));
        texts.collect::<Vec<_>>().join("; ")
    })
}

/// Progress with its rate on a terminal; nothing elsewhere.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
