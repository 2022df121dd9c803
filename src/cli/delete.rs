//! `cinequery delete`: deletes all records that match a filter.

use clap::Args;

use super::Outcome;
use super::matching::Matching;

const EXAMPLES: &str = "\
Examples:
  cinequery delete --filter 'expiry_date < today' --dry-run
  cinequery delete --filter 'expiry_date < today' --expect 12";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Delete {
    #[command(flatten)]
    matching: Matching,
}

impl Delete {
    pub(super) async fn run(self) -> Outcome {
        self.matching.run("deleted", |_| Ok(None)).await
    }
}
