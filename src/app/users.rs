//! Administering those who sign in with a password.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use super::search::limit as page_limit;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Hasher, Identity, Role, name_problem, password_problem};
use crate::query::text::nfc;
use crate::store::{self, Expected, Store, UserChange};

/// Somebody who signs in with a password, which is never shown.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How often it has been written. It is the ETag.
    pub version: i64,
    /// When it was created, in UTC.
    pub created_at: DateTime<Utc>,
    /// When it was last written, in UTC.
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<store::User> for User {
    type Error = Error;

    fn try_from(stored: store::User) -> Result<Self> {
        let unknown = || Error::internal(format!("{:?} is no role", stored.role));
        let role = Role::of(&stored.role).ok_or_else(unknown)?;
        let store::User { name, version, created_at, updated_at, .. } = stored;
        Ok(Self { name, role, version, created_at, updated_at })
    }
}

/// Somebody to be added.
#[derive(Clone, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserDraft {
    /// The name: 1 to 100 characters, none of them a control character, and not dots alone.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// The password: at least 15 characters, at most 1024 bytes.
    #[oai(validator(min_length = 15, max_length = 1024))]
    pub password: String,
    /// What they may do.
    pub role: Role,
}

/// What is changed of a user; what is absent stays.
#[derive(Clone, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// Another password: at least 15 characters, at most 1024 bytes.
    #[oai(validator(min_length = 15, max_length = 1024))]
    pub password: Option<String>,
    /// Another role.
    pub role: Option<Role>,
}

/// A page of users.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct UserPage {
    /// The users, by name.
    pub items: Vec<User>,
    /// The name behind which the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Lists users by name.
///
/// # Errors
/// [`Kind::InvalidParameter`] for a limit out of range, [`Kind::InsufficientScope`]; the
/// database's.
pub async fn list(
    store: &Store,
    caller: &Identity,
    after: Option<&str>,
    limit: Option<i64>,
) -> Result<UserPage> {
    caller.require_admin()?;
    let limit = page_limit(limit)?;
    if after.is_some_and(|after| after.contains('\0')) {
        return Err(Error::new(Kind::InvalidParameter, "after is no `next_after` of a page"));
    }
    let mut stored = store.users(after, limit + 1).await?;
    let has_next = stored.len() > limit as usize;
    stored.truncate(limit as usize);
    let items: Vec<User> = stored.into_iter().map(User::try_from).collect::<Result<_>>()?;
    let next_after = items.last().filter(|_| has_next).map(|last| last.name.clone());
    Ok(UserPage { items, next_after })
}

/// Adds a user.
///
/// # Errors
/// [`Kind::InvalidRecord`], [`Kind::Duplicate`], [`Kind::InsufficientScope`]; the database's.
pub async fn add(
    store: &Store,
    hasher: &Hasher,
    caller: &Identity,
    draft: UserDraft,
) -> Result<User> {
    caller.require_admin()?;
    let UserDraft { name, password, role } = draft;
    let problems = [("name", name_problem(&name)), ("password", password_problem(&password))];
    refuse(problems)?;
    let hash = hasher.hash(password).await?;
    let stored = store.add_user(&nfc(&name), &hash, role.as_str(), timestamp_now()).await;
    let stored = stored.map_err(|error| named(error, &name))?;
    tracing::info!(user = stored.name, by = caller.subject, role = stored.role, "user added");
    stored.try_into()
}

/// Reads a user.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; the database's.
pub async fn get(store: &Store, caller: &Identity, name: &str) -> Result<User> {
    caller.require_admin()?;
    find(store, name).await
}

/// Gives a user another password or role.
///
/// # Errors
/// [`Kind::InvalidRecord`], [`Kind::NotFound`], [`Kind::PreconditionFailed`],
/// [`Kind::LastAdministrator`], [`Kind::InsufficientScope`]; the database's.
pub async fn change(
    store: &Store,
    hasher: &Hasher,
    caller: &Identity,
    name: &str,
    patch: UserPatch,
    expected: &Expected,
) -> Result<User> {
    caller.require_admin()?;
    refuse([("password", patch.password.as_deref().and_then(password_problem))])?;
    if patch.password.is_none() && patch.role.is_none() {
        return unchanged(find(store, name).await?, expected);
    }
    let password_hash = match patch.password {
        Some(password) => Some(hasher.hash(password).await?),
        None => None,
    };
    let change = UserChange { password_hash, role: patch.role.map(Role::as_str) };
    let (name, kept) = (find(store, name).await?.name, Role::Admin.as_str());
    match store.change_user(&name, &change, expected, kept, timestamp_now()).await? {
        Some(changed) => {
            tracing::info!(user = %name, by = caller.subject, role = changed.role, "user changed");
            changed.try_into()
        }
        None => Err(stale(store, &name, expected).await),
    }
}

/// Removes a user.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::LastAdministrator`],
/// [`Kind::InsufficientScope`]; the database's.
pub async fn remove(
    store: &Store,
    caller: &Identity,
    name: &str,
    expected: &Expected,
) -> Result<()> {
    caller.require_admin()?;
    let (name, kept) = (find(store, name).await?.name, Role::Admin.as_str());
    match store.remove_user(&name, expected, kept, timestamp_now()).await? {
        Some(_) => {
            tracing::info!(user = %name, by = caller.subject, "user removed");
            Ok(())
        }
        None => Err(stale(store, &name, expected).await),
    }
}

async fn find(store: &Store, name: &str) -> Result<User> {
    // PostgreSQL's text cannot hold U+0000, not even to look for it.
    let found = if name.contains('\0') { None } else { store.user(&nfc(name)).await? };
    let missing = || Error::new(Kind::NotFound, format!("there is no user {name:?}"));
    found.ok_or_else(missing)?.try_into()
}

/// The user, if that is the version that is expected.
fn unchanged(user: User, expected: &Expected) -> Result<User> {
    match expected {
        Expected::Versions(versions) if !versions.contains(&user.version) => {
            let detail = format!("the user is at version \"{}\" now", user.version);
            Err(Error::new(Kind::PreconditionFailed, detail))
        }
        _ => Ok(user),
    }
}

/// Why a write has done nothing: the user is gone, of another version, or the last administrator.
async fn stale(store: &Store, name: &str, expected: &Expected) -> Error {
    let unchanged = find(store, name).await.and_then(|user| unchanged(user, expected));
    unchanged.err().unwrap_or_else(|| {
        let detail = format!("{name:?} is the last administrator: add another one first");
        Error::new(Kind::LastAdministrator, detail)
    })
}

fn refuse<const N: usize>(problems: [(&str, Option<String>); N]) -> Result<()> {
    let violations: Vec<Violation> = problems
        .into_iter()
        .filter_map(|(member, problem)| Some(Violation::new(member, problem?)))
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::record(violations)) }
}

fn named(mut error: Error, name: &str) -> Error {
    if error.kind == Kind::Duplicate {
        error.detail = format!("there is a user {name:?} already");
    }
    error
}
