//! What operators see of the process: the log, the metrics, and the account of each request.

pub mod account;
pub mod audit;
pub mod fields;
pub mod log;
pub mod metrics;
mod process;
mod stage;
pub mod trace;
