//! Who has used the service how much.

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
    /// How many requests were sent, by day and by what they were for.
    #[oai(rename = "usage")]
    Usage,
}

pub(super) struct Operations;

#[OpenApi(tag = "Tag::Usage")]
impl Operations {
    /// Read usage
    ///
    /// One's own needs no scope; that of others needs the scope `admin`. What other instances have
    /// counted in the last ten seconds may not be there yet.
    #[oai(path = "/api/v1/usage", method = "get")]
    #[allow(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn usage(
        &self,
        caller: Caller,
        app: Data<&App>,
        /// Whose: a name, or `*` for everybody's. One's own when absent.
        subject: Query<Option<String>>,
        /// The first day, in UTC, and not after the last; 29 days before that when absent.
        from: Query<Option<NaiveDate>>,
        /// The last day, in UTC; today when absent.
        to: Query<Option<NaiveDate>>,
        /// Where the page begins: `next_after` of the page before.
        after: Query<Option<String>>,
        /// How many at most.
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
