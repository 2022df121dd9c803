//! User administration.

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{OpenApi, Tags};

use super::body::{Body, Created, Current, Input, Json, NoContent, PATCH, Versioned, json};
use super::caller::Administrator;
use super::conditional;
use crate::app::App;
use crate::app::users::{self, User, UserDraft, UserPage, UserPatch};
use crate::error::{Error, Result, Violation};

#[derive(Tags)]
enum Tag {
    /// Administer the users that sign in with a password (`--auth password`). All operations require the scope
    /// `admin`.
    #[oai(rename = "users")]
    Users,
}

pub(super) struct Operations;

#[OpenApi(prefix_path = "/api/v1/users", tag = "Tag::Users")]
impl Operations {
    /// List users
    ///
    /// Returns a page of users in order of name. Passwords are never returned.
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// `next_after` of the previous page. The page starts after this name.
        after: Query<Option<String>>,
        /// The maximum number of users per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
    ) -> Result<Json<UserPage>> {
        users::list(
            &app.store_for(&caller.0),
            &caller.0,
            after.0.as_deref(),
            limit.0.map(i64::from),
        )
        .await
        .map(Json)
    }

    /// Create a user
    ///
    /// Creates a user and returns it. Names are case-sensitive. Returns 409 `duplicate` if the name exists, and
    /// 400 `invalid_record` for an invalid name or password.
    #[oai(path = "/", method = "post")]
    async fn add(
        &self,
        caller: Administrator,
        app: Data<&App>,
        body: Body<UserDraft>,
    ) -> Result<Created<User>> {
        let store = app.store_for(&caller.0);
        users::add(&store, app.hasher(), &caller.0, body.0).await.map(added)
    }

    /// Get a user
    ///
    /// Returns the user, with the version in `ETag`. Send it as `If-Match` to update the user. Returns 404
    /// `not_found` for an unknown name.
    #[oai(path = "/:name", method = "get")]
    async fn get(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name of the user.
        name: Path<String>,
    ) -> Result<Current<User>> {
        users::get(&app.store_for(&caller.0), &caller.0, &name.0).await.map(Current)
    }

    /// Update the password or role of a user
    ///
    /// Updates the members in the body and returns the user. The body is a JSON merge patch (RFC 7396) of type
    /// `application/json` or `application/merge-patch+json`. A change revokes all tokens of the user within a
    /// second. Returns 409 `last_administrator` instead of removing the role `admin` from the last administrator,
    /// and 412 `precondition_failed` if the user has changed since the version in `If-Match`.
    #[oai(path = "/:name", method = "patch")]
    async fn change(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name of the user.
        name: Path<String>,
        /// The ETag of the version to update, or `*`. Required: 428 `precondition_required` without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Body<UserPatch>,
    ) -> Result<Current<User>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let (store, hasher) = (app.store_for(&caller.0), app.hasher());
        users::change(&store, hasher, &caller.0, &name.0, body.0, &expected).await.map(Current)
    }

    /// Delete a user
    ///
    /// Deletes the user, revokes all tokens of the user within a second, and returns no content. Returns 409
    /// `last_administrator` instead of deleting the last administrator, and 412 `precondition_failed` if the user
    /// has changed since the version in `If-Match`.
    #[oai(path = "/:name", method = "delete")]
    async fn remove(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name of the user.
        name: Path<String>,
        /// The ETag of the version to delete. Default: any version.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<NoContent> {
        let expected = conditional::optional(if_match.0.as_deref())?;
        users::remove(&app.store_for(&caller.0), &caller.0, &name.0, &expected)
            .await
            .map(|()| NoContent)
    }
}

impl Input for UserDraft {
    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        json(bytes)
    }
}

impl Input for UserPatch {
    const MEDIA_TYPES: &'static [&'static str] = PATCH;

    fn read(bytes: &[u8], _request: &Request) -> Result<Self> {
        let patch = json(bytes)?;
        // Null would remove a member (RFC 7396), and no member can be removed.
        let members: serde_json::Map<String, serde_json::Value> = json(bytes)?;
        let nulls = members.iter().filter(|(_, value)| value.is_null());
        let nulls: Vec<Violation> =
            nulls.map(|(name, _)| Violation::new(name, "cannot be null")).collect();
        if nulls.is_empty() { Ok(patch) } else { Err(Error::record(nulls)) }
    }
}

impl Versioned for User {
    const NAME: &'static str = "user";

    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// Returns the response for a created user.
fn added(created: User) -> Created<User> {
    let location = format!("users/{}", percent_encoded(&created.name));
    Created { created, location }
}

/// Percent-encodes a name for a path segment: all bytes except the unreserved characters of RFC 3986.
fn percent_encoded(name: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match is_unreserved(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}
