//! A tour of cinequery with the client that progenitor makes of its OpenAPI document.

#[allow(clippy::all, unused, reason = "generated, and larger than what is shown here")]
mod cinequery {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

use std::env;

use chrono::NaiveDate;
use cinequery::types::{MovieDraft, MoviePatch, TokenRequest};
use cinequery::{Client, Error, ResponseValue};
use reqwest::header::{AUTHORIZATION, HeaderMap};

fn main() {}
