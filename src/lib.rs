//! Records served over HTTP and searched with a small, safe filter language.
//!
//! The modules stand here in the order of their dependencies: each imports only from those above
//! it. ARCHITECTURE.md is the map, and a test keeps the order.

// What pest generates without its `std` feature names it. That feature would have every rule ask how
// much stack is left; the scan has bounded the depth before pest starts.
extern crate alloc;

pub mod config;
pub mod telemetry;

pub mod clock;

pub mod query;

mod openapi;

pub mod error;

pub mod record;

pub mod store;

pub mod identity;

pub mod admission;

pub mod app;

pub mod http;

pub mod cli;
