//! One meaning, three engines: the evaluator, SQLite and PostgreSQL agree on which records a
//! generated filter finds, in which order, and on every page of a walk through them; and on how many
//! there are of each value and in each bucket. This holds for a record type made to be difficult, and
//! for generated ones.

mod collection;
mod declared;
mod facets;
mod generate;
mod specimen;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::collection::{Collection, Tally, stores};
use self::specimen::specimens;

/// How many questions are asked unless the environment says otherwise.
const CASES: u32 = 2500;

/// How many of them are asked of the same rows.
const CASES_A_BATCH: u32 = 250;

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
    for batch in 0..cases.div_ceil(CASES_A_BATCH) {
        println!("batch {batch} of seed {seed}");
        let mut runner = runner(seed, batch, CASES_A_BATCH.min(cases - batch * CASES_A_BATCH));
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
