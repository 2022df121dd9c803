//! `cinequery openapi`: prints the OpenAPI document.

use std::process::ExitCode;

use super::{Outcome, print};
use crate::http::specification;
use crate::record::Catalogue;

pub(super) fn run(catalogue: Catalogue) -> Outcome {
    let document = specification(catalogue);
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
