//! `cinequery openapi`: print the OpenAPI document.

use std::process::ExitCode;

use super::{Outcome, print};
use crate::http::specification;
use crate::record::All;

pub(super) fn run() -> Outcome {
    let document = specification::<All>();
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
