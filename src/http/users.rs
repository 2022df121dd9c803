//! Administering users.

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
    /// Those who sign in with a password, under `--auth password`. All of this needs the scope
    /// `admin`.
    #[oai(rename = "users")]
    Users,
}

pub(super) struct Operations;

#[OpenApi(prefix_path = "/api/v1/users", tag = "Tag::Users")]
impl Operations {
    /// List users
    ///
    /// A page at a time, by name. Passwords are never shown.
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name behind which the page begins: `next_after` of the page before.
        after: Query<Option<String>>,
        /// How many at most.
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

    /// Add a user
    ///
    /// A name that is taken is 409, `duplicate`. Names are compared as they are written, upper and lower case
    /// apart.
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

    /// Read a user
    ///
    /// `ETag` has the version, with which the user is changed.
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

    /// Give a user another password or role
    ///
    /// The body is a JSON merge patch (RFC 7396), sent as `application/json` or as
    /// `application/merge-patch+json`. The tokens that the user has been issued end within a
    /// second, unless nothing changes. The last administrator stays one: 409, `last_administrator`.
    #[oai(path = "/:name", method = "patch")]
    async fn change(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name of the user.
        name: Path<String>,
        /// The ETag of the version that is changed, or `*`. Required: 428 without it.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Body<UserPatch>,
    ) -> Result<Current<User>> {
        let expected = conditional::required(if_match.0.as_deref())?;
        let (store, hasher) = (app.store_for(&caller.0), app.hasher());
        users::change(&store, hasher, &caller.0, &name.0, body.0, &expected).await.map(Current)
    }

    /// Remove a user
    ///
    /// The tokens that the user has been issued end within a second. The last administrator stays: 409,
    /// `last_administrator`.
    #[oai(path = "/:name", method = "delete")]
    async fn remove(
        &self,
        caller: Administrator,
        app: Data<&App>,
        /// The name of the user.
        name: Path<String>,
        /// The ETag of the version that is removed; whichever there is when absent.
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
        // Null would take a member away (RFC 7396), and there is none to do without.
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

/// A user who was added.
fn added(created: User) -> Created<User> {
    let location = format!("users/{}", percent_encoded(&created.name));
    Created { created, location }
}

/// A name as a segment of a path: everything but the unreserved characters of RFC 3986 is encoded.
fn percent_encoded(name: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match is_unreserved(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}
