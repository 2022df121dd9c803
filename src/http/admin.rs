//! What operators read, on a listener of its own: the metrics.

use std::sync::Arc;

use poem::error::MethodNotAllowedError;
use poem::http::StatusCode;
use poem::http::header::ALLOW;
use poem::{Endpoint, EndpointExt, Request, Response, Route, get};

use super::exchange::Service;
use crate::app::App;
use crate::telemetry::metrics::{MEDIA_TYPE, METRICS};

/// Returns the endpoint of the listener for operators. It reports on `service`, and needs no token: every client that can
/// connect may read it. Its own requests are neither logged nor counted.
pub(super) fn endpoint(app: App, service: Arc<Service>) -> impl Endpoint + 'static {
    let metrics = poem::endpoint::make_sync(move |_: Request| metrics(&app, &service));
    Route::new().at("/metrics", get(metrics)).catch_error(|_: MethodNotAllowedError| async {
        // RFC 9110, section 15.5.6, requires the header.
        let response = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED);
        let response = response.header(ALLOW, "GET, HEAD").content_type("text/plain");
        response.body("unsupported method; expected one of: GET, HEAD")
    })
}

fn metrics(app: &App, service: &Service) -> Response {
    service.report();
    app.report();
    match METRICS.text() {
        Ok(text) => Response::builder().content_type(MEDIA_TYPE).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
        }
    }
}
