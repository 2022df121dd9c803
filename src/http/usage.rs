//! Request counts per user and day.

use chrono::NaiveDate;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::{OpenApi, Tags};

use super::body::Json;
use super::caller::Caller;
use crate::app::App;
use crate::app::usage::{self, UsagePage, UsageRequest};
use crate::error::Result;

#[derive(Tags)]
enum Tag {
    /// Request counts per user, day and class of request.
    #[oai(rename = "usage")]
    Usage,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Usage")]
impl Operations {
    /// Get request counts
    ///
    /// Returns request counts per day, class of request and user. Users can read their own counts; the counts of
    /// others require the scope `admin`, otherwise the response is 403 `insufficient_scope`. Counts from other
    /// instances appear within ten seconds.
    #[oai(path = "/api/v1/usage", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn usage(
        &self,
        caller: Caller,
        app: Data<&App>,
        /// The name of a user, or `*` for all users. Default: the caller.
        subject: Query<Option<String>>,
        /// The first day, in UTC. Default: 29 days before `to`.
        from: Query<Option<NaiveDate>>,
        /// The last day, in UTC. It must not be before `from`. Default: today.
        to: Query<Option<NaiveDate>>,
        /// `next_after` of the previous page.
        after: Query<Option<String>>,
        /// The maximum number of items per page.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<i32>>,
    ) -> Result<Json<UsagePage>> {
        let request = UsageRequest {
            subject: subject.0,
            from: from.0,
            to: to.0,
            after: after.0,
            limit: limit.0.map(i64::from),
        };
        usage::read(&app, &caller.0, request).await.map(Json)
    }
}
