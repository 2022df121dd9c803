//! A movie catalogue served over HTTP and searched with a small, safe filter language.
//!
//! The modules stand here in the order of their dependencies: each imports only from those above
//! it. ARCHITECTURE.md is the map, and a test keeps the order.

// `record!` names this crate by its name, inside it as well as outside.
extern crate self as cinequery;

pub mod config;
pub mod telemetry;

pub mod query;

pub mod error;

pub mod record;

pub mod store;

pub mod identity;

pub mod app;

pub mod http;

pub mod cli;
