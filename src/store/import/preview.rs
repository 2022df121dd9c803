//! What an import would do, found out by reading only.

use tokio::sync::mpsc;

use super::rows::{Known, Lines, ROWS, existing, id_of, natural_key, with_ids};
use super::{Conflict, Message, Next, Tally, batch};
use crate::error::Result;
use crate::query::Schema;
use crate::record::Draft;
use crate::store::{Record, Store};

impl Store {
    /// Counts what an import of these records would do, without writing anything or waiting for writes. Unique keys other
    /// than the natural one are not looked at.
    ///
    /// # Errors
    /// Any database error.
    pub async fn preview(
        &self,
        schema: &'static Schema,
        policy: Conflict,
        mut records: mpsc::Receiver<Message>,
    ) -> Result<Tally> {
        let store = self.transfers();
        let (mut tally, mut lines) = (Tally::default(), Lines::default());
        loop {
            let (rows, next) = batch(&mut records).await;
            for rows in rows.chunks(ROWS) {
                let known = match with_ids(schema, rows, store.dialect()) {
                    Some(select) if policy == Conflict::Update => {
                        store.fetch(schema, select).await?
                    }
                    _ => Vec::new(),
                };
                let there = match schema.natural_key() {
                    [] => Vec::new(),
                    _ => {
                        let statement = existing(schema, rows, store.dialect(), false);
                        store.fetch(schema, statement).await?
                    }
                };
                for (line, draft) in rows {
                    let own = known.iter().find(|record| Some(record.id()) == id_of(draft));
                    tally.add(match own.map(|record| Known::of(schema, draft, record)) {
                        Some(Known::Stale(version)) => Tally {
                            conflicting: 1,
                            conflicts: vec![Known::stale(draft, version).on_line(*line)],
                            ..Tally::default()
                        },
                        Some(Known::Renamed) => Tally { updated: 1, ..Tally::default() },
                        _ => one(schema, policy, &mut lines, &there, *line, draft),
                    });
                }
            }
            if next != Next::More {
                return Ok(tally);
            }
        }
    }
}

/// Counts what an import would do with one row.
fn one(
    schema: &'static Schema,
    policy: Conflict,
    lines: &mut Lines,
    there: &[Record],
    line: u64,
    draft: &Draft,
) -> Tally {
    let key = natural_key(schema, draft);
    let names = schema.natural_key();
    let has_key = |record: &Record| {
        let own = draft.row().iter().filter(|(field, _)| names.contains(&field.name));
        own.clone().all(|(field, value)| record.value(field.name) == value.as_ref())
    };
    let record = there.iter().find(|record| has_key(record));
    // A null never conflicts.
    let is_whole = !key.is_empty() && key.iter().all(Option::is_some);
    if !is_whole || !(lines.has(&key) || record.is_some()) {
        lines.remember(line, &key);
        return Tally { inserted: 1, ..Tally::default() };
    }
    let taken = || vec![lines.taken(line, &key)];
    let repeated = u64::from(lines.has(&key));
    let tally = match policy {
        Conflict::Fail => Tally { conflicting: 1, conflicts: taken(), ..Tally::default() },
        Conflict::Skip => Tally { skipped: 1, existing: taken(), ..Tally::default() },
        Conflict::Update => {
            let sent = draft.update();
            let has = |record: &Record| {
                sent.iter().all(|(field, value)| record.value(field.name) == value.as_ref())
            };
            let existing = if lines.has(&key) { taken() } else { Vec::new() };
            lines.remember(line, &key);
            match record.is_some_and(has) {
                true => Tally { skipped: 1, existing, ..Tally::default() },
                false => Tally { updated: 1, existing, ..Tally::default() },
            }
        }
    };
    Tally { repeated, ..tally }
}
