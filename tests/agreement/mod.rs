//! Compares the evaluator, SQLite and PostgreSQL on random queries. They must agree on the records that a
//! filter finds, on their order, on each page, and on the counts of facets. The tests use a hand-written
//! record type with many difficult cases, and generated record types.

mod collection;
mod declared;
mod facets;
mod generate;
mod specimen;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::collection::{Collection, Tally, stores};
use self::specimen::specimens;

/// The number of queries unless `AGREE_CASES` is set.
const CASES: u32 = 2500;

/// The number of queries on the same rows.
const CASES_PER_BATCH: u32 = 250;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_engines_agree() {
    let cases: u32 = from_environment("AGREE_CASES").unwrap_or(CASES);
    let seed: u64 = from_environment("AGREE_SEED").unwrap_or(1);
    let runtime = Runtime::new().unwrap();
    let (stores, _databases) = runtime.block_on(stores(&[specimens()]));
    let tally = Tally::default();
    for batch in 0..cases.div_ceil(CASES_PER_BATCH) {
        println!("batch {batch} of seed {seed}");
        let mut runner = runner(seed, batch, CASES_PER_BATCH.min(cases - batch * CASES_PER_BATCH));
        let filled = Collection::random(specimens(), &stores, &mut runner);
        let specimens = runtime.block_on(filled);
        specimens.agree(&runtime, &mut runner, &tally).unwrap_or_else(|error| panic!("{error}"));
    }
    tally.assess(2);
}

fn runner(seed: u64, batch: u32, cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&batch.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
