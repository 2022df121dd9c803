//! The provider that believes everybody: a name is enough. Tokens then serve to monitor and
//! throttle, not to protect.

use futures_util::future::BoxFuture;

use super::{Credentials, Identity, Provider, record_scopes};
use crate::error::{Error, Result, Violation};
use crate::query::Schema;

/// The longest name, in characters.
const MAX_NAME: usize = 100;

/// Grants reading and writing of every record type, and never administration.
#[derive(Debug)]
pub struct Open {
    scopes: Vec<String>,
}

impl Open {
    /// Opens these record types to everybody.
    pub fn new(schemas: &[&'static Schema]) -> Self {
        Self { scopes: record_scopes(schemas) }
    }
}

impl Provider for Open {
    fn sign_in(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity>> {
        let name = credentials.username;
        let length = name.chars().count();
        let is_name = (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control);
        let identity = if is_name {
            Ok(Identity { subject: name, scopes: self.scopes.clone() })
        } else {
            let detail =
                format!("must have 1 to {MAX_NAME} characters, none of them a control character");
            Err(Error::record(vec![Violation::new("username", detail)]))
        };
        Box::pin(std::future::ready(identity))
    }
}
