//! The provider of `--auth open`, which accepts any name without a password. Its tokens identify clients for rate
//! limits and usage, and protect nothing.

use futures_util::future::BoxFuture;

use super::name::name_problem;
use super::{Credentials, Identity, Method, Provider, record_scopes};
use crate::error::{Error, Result, Violation};
use crate::query::Schema;
use crate::query::text::nfc;

/// Grants read and write access to every record type, and never administration.
#[derive(Debug)]
pub struct Open {
    scopes: Vec<String>,
}

impl Open {
    /// Grants every user access to these record types.
    pub fn new(schemas: &[&'static Schema]) -> Self {
        Self { scopes: record_scopes(schemas) }
    }
}

impl Provider for Open {
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
        let name = credentials.username;
        let identity = match name_problem(&name) {
            None => Ok(Identity { subject: nfc(&name).into_owned(), scopes: self.scopes.clone() }),
            Some(detail) => Err(Error::record(vec![Violation::new("username", detail)])),
        };
        Box::pin(std::future::ready(identity))
    }

    // No sessions: a name is enough for a new token, and clients without a password could fill the table.
    fn method(&self) -> BoxFuture<'_, Result<Method>> {
        Box::pin(std::future::ready(Ok(Method::Open)))
    }
}
