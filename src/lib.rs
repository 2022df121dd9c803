//! Records served over HTTP and searched with a small, safe filter language.
//!
//! The modules are listed in the order of their dependencies: each imports only from those above it.
//! ARCHITECTURE.md describes them, and a test checks the order.

// The code that pest generates without its `std` feature refers to `alloc`. With `std`, every rule would check
// the remaining stack, which is not needed: the scan limits the depth before pest starts.
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
