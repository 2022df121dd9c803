//! Managing the users who sign in with a password.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use super::search::limit as page_limit;
use crate::clock::timestamp_now;
use crate::error::{Error, Kind, Result, Violation};
use crate::identity::{Hasher, Identity, Role, name_problem, password_problem};
use crate::query::text::nfc;
use crate::store::{self, Expected, Store, UserChange};
use crate::telemetry::account::{Account, completed};
use crate::telemetry::audit::Audit;

/// A user who signs in with a password. The password is never returned.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The role, which decides what the user may do.
    pub role: Role,
    /// The number of writes, which is also the ETag.
    pub version: i64,
    /// The time of creation, in UTC.
    pub created_at: DateTime<Utc>,
    /// The time of the last write, in UTC.
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<store::User> for User {
    type Error = Error;

    fn try_from(stored: store::User) -> Result<Self> {
        let unknown = || Error::internal(format!("unknown role {:?}", stored.role));
        let role = Role::of(&stored.role).ok_or_else(unknown)?;
        let store::User { name, version, created_at, updated_at, .. } = stored;
        Ok(Self { name, role, version, created_at, updated_at })
    }
}

/// A user to create.
#[derive(Clone, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserDraft {
    /// The user name: 1 to 100 characters, without control characters, and not only dots.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// The password: at least 15 characters, at most 1024 bytes.
    #[oai(validator(min_length = 15, max_length = 1024))]
    pub password: String,
    /// The role, which decides what the user may do.
    pub role: Role,
}

/// Changes to a user. Absent members stay unchanged.
#[derive(Clone, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// The new password: at least 15 characters, at most 1024 bytes.
    #[oai(validator(min_length = 15, max_length = 1024))]
    pub password: Option<String>,
    /// The new role.
    pub role: Option<Role>,
}

/// A page of users.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct UserPage {
    /// The users, in the order of their names.
    pub items: Vec<User>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Lists users by name.
///
/// # Errors
/// [`Kind::InvalidParameter`] for an invalid limit or `after`, [`Kind::InsufficientScope`]; any
/// database error.
pub async fn list(
    store: &Store,
    caller: &Identity,
    after: Option<&str>,
    limit: Option<i64>,
) -> Result<UserPage> {
    caller.require_admin()?;
    let limit = page_limit(limit)?;
    if after.is_some_and(|after| after.contains('\0')) {
        return Err(Error::new(
            Kind::InvalidParameter,
            "after: expected `next_after` of the previous page",
        ));
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
/// [`Kind::InvalidRecord`], [`Kind::Duplicate`], [`Kind::InsufficientScope`]; any database error.
pub async fn add(
    store: &Store,
    hasher: &Hasher,
    caller: &Identity,
    draft: UserDraft,
) -> Result<User> {
    caller.require_admin()?;
    let UserDraft { name, password, role } = draft;
    let problems = [("name", name_problem(&name)), ("password", password_problem(&password))];
    check(problems)?;
    let hash = hasher.hash(password).await?;
    let (store, subject, stored_name) =
        (store.clone(), caller.subject.clone(), nfc(&name).into_owned());
    let write = async move {
        let stored = store.add_user(&stored_name, &hash, role.as_str(), timestamp_now()).await?;
        audit("create_user", &subject, &stored, (None, Some(stored.version)));
        Ok(stored)
    };
    let stored = completed(write).await.map_err(Error::internal)?;
    stored.map_err(|error| named(error, &name))?.try_into()
}

/// Reads a user.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::InsufficientScope`]; any database error.
pub async fn get(store: &Store, caller: &Identity, name: &str) -> Result<User> {
    caller.require_admin()?;
    find(store, name).await
}

/// Changes the password or the role of a user.
///
/// # Errors
/// [`Kind::InvalidRecord`], [`Kind::NotFound`], [`Kind::PreconditionFailed`],
/// [`Kind::LastAdministrator`], [`Kind::InsufficientScope`]; any database error.
pub async fn change(
    store: &Store,
    hasher: &Hasher,
    caller: &Identity,
    name: &str,
    patch: UserPatch,
    expected: &Expected,
) -> Result<User> {
    caller.require_admin()?;
    check([("password", patch.password.as_deref().and_then(password_problem))])?;
    if patch.password.is_none() && patch.role.is_none() {
        return unchanged(find(store, name).await?, expected);
    }
    let password_hash = match patch.password {
        Some(password) => Some(hasher.hash(password).await?),
        None => None,
    };
    let change = UserChange { password_hash, role: patch.role.map(Role::as_str) };
    let (name, kept) = (find(store, name).await?.name, Role::Admin.as_str());
    let write = {
        let (store, subject) = (store.clone(), caller.subject.clone());
        let (name, expected) = (name.clone(), expected.clone());
        async move {
            let changed =
                store.change_user(&name, &change, &expected, kept, timestamp_now()).await?;
            if let Some(changed) = &changed {
                let versions = (Some(changed.version - 1), Some(changed.version));
                audit("update_user", &subject, changed, versions);
            }
            Ok::<_, Error>(changed)
        }
    };
    match completed(write).await.map_err(Error::internal)?? {
        Some(changed) => changed.try_into(),
        None => Err(stale(store, &name, expected).await),
    }
}

/// Removes a user.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::PreconditionFailed`], [`Kind::LastAdministrator`],
/// [`Kind::InsufficientScope`]; any database error.
pub async fn remove(
    store: &Store,
    caller: &Identity,
    name: &str,
    expected: &Expected,
) -> Result<()> {
    caller.require_admin()?;
    let (name, kept) = (find(store, name).await?.name, Role::Admin.as_str());
    let write = {
        let (store, subject) = (store.clone(), caller.subject.clone());
        let (name, expected) = (name.clone(), expected.clone());
        async move {
            let removed = store.remove_user(&name, &expected, kept, timestamp_now()).await?;
            if let Some(removed) = &removed {
                audit("delete_user", &subject, removed, (Some(removed.version), None));
            }
            Ok::<_, Error>(removed)
        }
    };
    match completed(write).await.map_err(Error::internal)?? {
        Some(_) => Ok(()),
        None => Err(stale(store, &name, expected).await),
    }
}

/// Logs the write of a user.
fn audit(
    action: &'static str,
    subject: &str,
    user: &store::User,
    (from_version, to_version): (Option<i64>, Option<i64>),
) {
    let account = Account::current();
    let audit = Audit::by(action, subject, account.as_deref());
    let (user, role) = (Some(user.name.as_str()), Some(user.role.as_str()));
    Audit { user, role, from_version, to_version, ..audit }.log();
}

async fn find(store: &Store, name: &str) -> Result<User> {
    // Text of PostgreSQL cannot contain U+0000, not even in a search.
    let found = if name.contains('\0') { None } else { store.user(&nfc(name)).await? };
    let missing = || Error::new(Kind::NotFound, format!("unknown user {name:?}"));
    found.ok_or_else(missing)?.try_into()
}

/// Returns the user if it has an expected version.
fn unchanged(user: User, expected: &Expected) -> Result<User> {
    match expected {
        Expected::Versions(versions) if !versions.contains(&user.version) => {
            let detail = format!("the user has version \"{}\" now", user.version);
            Err(Error::new(Kind::PreconditionFailed, detail))
        }
        _ => Ok(user),
    }
}

/// Returns why a write changed nothing: the user does not exist, has another version, or is the last
/// administrator.
async fn stale(store: &Store, name: &str, expected: &Expected) -> Error {
    let unchanged = find(store, name).await.and_then(|user| unchanged(user, expected));
    unchanged.err().unwrap_or_else(|| {
        let detail =
            format!("{name:?} is the last administrator: create another administrator first");
        Error::new(Kind::LastAdministrator, detail)
    })
}

fn check<const N: usize>(problems: [(&str, Option<String>); N]) -> Result<()> {
    let violations: Vec<Violation> = problems
        .into_iter()
        .filter_map(|(member, problem)| Some(Violation::new(member, problem?)))
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::record(violations)) }
}

fn named(mut error: Error, name: &str) -> Error {
    if error.kind == Kind::Duplicate {
        error.detail = format!("the user {name:?} already exists");
    }
    error
}
