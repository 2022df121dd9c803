//! The fields of the log.
//!
//! Names are those of the semantic conventions of OpenTelemetry, as far as these have one. A field that people search for
//! also has a short name.

/// A field of the log.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The same value under a short name.
    pub alias: Option<&'static str>,
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! fields {
    ($($name:literal $(or $alias:literal)?: $meaning:literal;)+) => {
        /// Every field of the events of requests, rejections, writes and statements.
        pub const FIELDS: &[Field] = &[$(Field {
            name: $name,
            alias: { let alias: &[&str] = &[$($alias)?]; alias.first().copied() },
            meaning: $meaning,
        }),+];
    };
}

fields! {
    "request_id": "the id of the request, which its response repeats as `X-Request-Id`";
    "trace_id": "the id of the trace (W3C Trace Context), if the request has one";
    "operation": "the operation id of the OpenAPI document; absent for pages and unknown paths";
    "http.request.method" or "method": "the method";
    "http.route" or "route": "the path with placeholders, such as `/api/v1/movies/{id}`";
    "url.path": "the path without the query, which can contain personal data";
    "http.response.status_code" or "status": "the status of the response";
    "error.type" or "code": "the code of the problem, as in the response";
    "diagnostics": "the codes of the problems of the query, separated by spaces";
    "pointers": "the members of a record that break a rule, as JSON Pointers separated by spaces";
    "user.id" or "subject": "who sent the request: the subject of the token, also of one that has expired or was revoked";
    "user.roles" or "role": "the role whose scopes the token has; in the audit log, that of the written user";
    "client.address" or "client": "the IP address of the client; behind a trusted proxy, the forwarded one";
    "microseconds": "the time until the response was ready or, for a streamed one, sent";
    "database_microseconds": "the part of it in which the database executed statements and sent rows";
    "waiting_microseconds": "the part of it in which the request waited for a connection to the database";
    "statements": "the number of database statements";
    "rows": "the number of rows that they returned";
    "http.response.body.size" or "bytes": "the size of the body of the response";
    "aborted": "`true` if a streamed response was not sent to its end";
    "query": "with `--log-queries`, the filter and the order in canonical form, each value as `?`";
    "cause": "why the service has failed, or more about rejected credentials";
    "reason": "why a token or a sign-in was rejected, or a session ended: a code of the table below";
    "user": "the name that signs in, or the user that was changed";
    "suppressed": "how many rejections were not logged as warnings since the last one";
    "action": "what was written: `create`, `update`, `delete`, `restore`, `erase`, `import`; `create_user`, `update_user`, `delete_user`, `change_password`; `start_session`, `end_session`, `revoke`, `sign_out`";
    "collection": "the collection of the record";
    "id": "the id of the record";
    "from_version": "the version of the record before the write; absent if there was none";
    "to_version": "the version of the record after the write; absent if there is none";
    "records": "the number of records that a write of several has changed";
    "db.query.text" or "sql": "the SQL of a slow statement, without its values";
}
