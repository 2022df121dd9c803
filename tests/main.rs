//! All tests are in one binary, so that they share one PostgreSQL cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a test that fails this way has failed"
)]

mod access;
mod agreement;
mod anonymous;
mod architecture;
mod backup;
mod batch;
mod bulk;
mod catalogue;
mod clients;
mod command_line;
mod console;
mod contract;
mod cors;
mod declarations;
mod deploy;
mod english;
mod examples;
mod facets;
mod failures;
mod faults;
mod filters;
mod history;
mod http;
mod idempotency;
mod inspect;
mod journal;
mod language;
mod legacy;
mod migrations;
mod movies;
mod observability;
mod oidc;
mod paper;
mod paths;
mod proxies;
mod proxy;
mod records;
mod recovery;
mod request_lines;
mod resumed;
mod rolling;
mod saved;
mod sessions;
mod spreadsheets;
mod store;
mod support;
mod throttle;
mod tokens;
mod traces;
mod transfer;
mod trigrams;
mod usage;
mod users;
mod why;
