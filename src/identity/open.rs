//! The provider that believes everybody: a name is enough. Tokens then serve to monitor and
//! throttle, not to protect.

use futures_util::future::BoxFuture;

use super::{Credentials, Identity, Provider, record_scopes};
use crate::error::{Error, Result, Violation};
use crate::query::Schema;
use crate::query::text::nfc;

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

/// What keeps a text from being the name of somebody, if anything does.
pub fn name_problem(name: &str) -> Option<String> {
    let has_length = |name: &str| (1..=MAX_NAME).contains(&name.chars().count());
    // It is kept composed, which may be longer; a long text is not composed only to be refused.
    let is_name = has_length(name) && has_length(&nfc(name));
    // An address cannot end in `.` or `..`: they are steps of a path (RFC 3986, section 5.2.4).
    let is_dots = name.chars().all(|c| c == '.');
    (!is_name || is_dots || name.chars().any(char::is_control)).then(|| {
        format!(
            "must have 1 to {MAX_NAME} characters, none of them a control character, and not dots alone"
        )
    })
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
}
