//! Statistics of collections: samples of their records, by which statements choose access paths.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Store, plain};
use crate::error::Result;
use crate::query::statistics::{MAX_SAMPLE, Statistics};
use crate::query::{Dialect, Schema, Type};

/// How often samples are taken again.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The minimum number of records of a collection with statistics. Below it, every access path is fast.
const MIN_RECORDS: u64 = 1000;

/// The pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The expected number of records of a sample. A random sample is then below [`MAX_SAMPLE`] with near certainty: eight
/// standard deviations.
const SAMPLE: u64 = MAX_SAMPLE as u64 * 7 / 8;

/// The expected number of values of a sample: of a collection with many fields, fewer records are sampled.
const VALUES: u64 = 40_000;

/// The number of characters of a text that are sampled. Texts can be long, and a sample stays in memory.
const MAX_CHARACTERS: u32 = 100;

/// How often a sample is taken again with half the probability, if there are more records than was estimated.
const ATTEMPTS: u32 = 8;

/// The expected number of records that PostgreSQL reads for a sample. Of a larger table it reads random pages.
const MAX_READ: u64 = 1_000_000;

/// The number of different values of the random numbers by which SQLite chooses records.
const RANDOM: u64 = 1 << 24;

/// The latest statistics of the collections.
#[derive(Debug, Default)]
pub(super) struct Samples {
    latest: RwLock<HashMap<&'static str, Arc<Statistics>>>,
    /// Notified when a collection has changed so much that its sample is out of date.
    outdated: Notify,
}

impl Store {
    /// Samples the collections, then again from time to time and after large imports. It never returns.
    pub async fn keep_statistics(&self, schemas: &[&'static Schema]) {
        let store = self.transfers();
        loop {
            let mut pause = INTERVAL;
            for schema in schemas {
                if let Err(error) = store.sample(schema).await {
                    tracing::warn!(
                        collection = schema.collection,
                        cause = error.cause,
                        "no sample of the records taken; searches may be slower; retrying later"
                    );
                    pause = RETRY_AFTER;
                }
            }
            let outdated = self.shared.samples.outdated.notified();
            // Either way it is time.
            let _ = tokio::time::timeout(pause, outdated).await;
        }
    }

    /// Samples the records of a collection. The statistics are used from then on.
    ///
    /// # Errors
    /// Any database error.
    pub async fn sample(&self, schema: &'static Schema) -> Result<()> {
        let (dialect, table) = (self.dialect(), schema.collection);
        let number = match dialect {
            Dialect::Sqlite => format!("SELECT count(*) FROM \"{table}\""),
            // As the planner estimates it (plancat.c, `estimate_rel_size`): the density of the last ANALYZE, and the
            // present size.
            Dialect::Postgres => format!(
                "SELECT CASE WHEN reltuples > 0 AND relpages > 0 \
                 THEN (reltuples / relpages * pg_relation_size(oid) / current_setting('block_size')::int)::bigint \
                 ELSE (SELECT count(*) FROM \"{table}\") END \
                 FROM pg_class WHERE oid = to_regclass('\"{table}\"')"
            ),
        };
        let records = u64::try_from(self.count(plain(&number)).await?).unwrap_or_default();
        let statistics = if records < MIN_RECORDS {
            None
        } else {
            let (mut records, mut sample) = (records, Vec::new());
            for _ in 0..ATTEMPTS {
                sample = self.fetch(schema, plain(&choose(schema, records, dialect))).await?;
                if sample.len() < MAX_SAMPLE {
                    break;
                }
                // These are the first records, and not random ones.
                records *= 2;
            }
            Statistics::of(schema, records, &sample).map(Arc::new)
        };
        let mut latest = self.shared.samples.latest.write().unwrap_or_else(PoisonError::into_inner);
        match statistics {
            Some(statistics) => latest.insert(table, statistics),
            None => latest.remove(table),
        };
        Ok(())
    }

    /// Returns the latest statistics of a collection, if it has any.
    pub fn statistics(&self, schema: &Schema) -> Option<Arc<Statistics>> {
        let latest = self.shared.samples.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.get(schema.collection).cloned()
    }

    /// Notes how many records an import has written. If they are many, the collection is sampled again.
    pub fn note_writes(&self, schema: &Schema, records: u64) {
        #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
        let (written, least) = (records as f64, MIN_RECORDS as f64);
        let known = self.statistics(schema).map_or(0.0, |statistics| statistics.records());
        if written >= (known / 10.0).max(least) {
            self.shared.samples.outdated.notify_one();
        }
    }
}

/// Returns the statement that chooses the records of a sample, each with the same probability.
fn choose(schema: &Schema, records: u64, dialect: Dialect) -> String {
    let table = schema.collection;
    let columns = schema.fields.iter().map(|field| match field.ty {
        Type::Text => format!("substr(\"{0}\", 1, {MAX_CHARACTERS}) AS \"{0}\"", field.name),
        _ => format!("\"{}\"", field.name),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let wanted = SAMPLE.min(VALUES / (schema.fields.len() as u64).max(1));
    match dialect {
        Dialect::Sqlite => {
            let chosen = (wanted * RANDOM / records).clamp(1, RANDOM);
            // The smallest index has the ids.
            format!(
                "SELECT {columns} FROM \"{table}\" WHERE id IN (SELECT id FROM \"{table}\" \
                 WHERE random() & {} < {chosen} LIMIT {MAX_SAMPLE})",
                RANDOM - 1
            )
        }
        Dialect::Postgres => {
            let read = records.min(MAX_READ);
            format!(
                "SELECT {columns} FROM \"{table}\" TABLESAMPLE SYSTEM (100.0 * {read} / {records}) \
                 WHERE random() < {wanted}::float / {read} LIMIT {MAX_SAMPLE}"
            )
        }
    }
}
