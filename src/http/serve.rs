//! The server loop: accepting connections, serving them, and shutting down.
//!
//! The loop of the framework is not used, for three reasons. It has no limits for slow clients or their number. It
//! spins when no connection can be accepted. It ends an aborted response as if it were complete.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::HeaderName;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::connection::{Admission, Client, Stream};
use super::envelope::request_id;
use super::event::Event;
use super::exchange::{Audience, Exchange, Service};
use super::limits::MAX_HEADER_BYTES;
use super::listener::{self, Listener};
use super::problem::Problem;
use super::{Limits, Origins, admin, endpoint, malformed};
use crate::app::App;
use crate::app::usage::FLUSH_INTERVAL;
use crate::clock::timestamp_now;
use crate::error::Error;
use crate::telemetry::trace::Trace;

/// The maximum time for open requests to finish during a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time for the database to finish after that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time for request headers to arrive on connections over the limit, which serve probes only.
const EXTRA_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// The start of a connection of a client that knows, or assumes, that the server speaks HTTP/2 (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The context of a request (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The pause after an accept error, for example when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Debug, Default)]
pub struct Settings {
    /// Limits for clients.
    pub limits: Limits,
    /// Whether the log has the queries of requests, without their values.
    pub log_queries: bool,
    /// Where operators read the metrics; `None` for nowhere.
    pub admin: Option<Listener>,
    /// The origins whose pages may use the service.
    pub origins: Origins,
    /// Whether the service is for programs of this machine. Requests must then name it as localhost or by a loopback address:
    /// a page whose host name leads to this machine (DNS rebinding) is for browsers a page of the service.
    pub is_local: bool,
}

/// Serves requests over HTTP/1 until `stop` completes, with the default settings; see [`serve_with`].
///
/// # Errors
/// The error of the system if the local socket address of the listener is not available.
pub async fn serve(
    listener: impl Into<Listener>,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    serve_with(listener, app, Settings::default(), stop).await
}

/// Serves requests over HTTP/1 until `stop` completes, and then shuts down:
///
/// 1. For [`Limits::shutdown_delay`], `/readyz` returns 503 and requests are still served, so that load balancers
///    notice.
/// 2. No more connections are accepted, and open requests finish.
/// 3. The database is closed.
///
/// # Errors
/// The error of the system if the local socket address of the listener is not available.
pub async fn serve_with(
    listener: impl Into<Listener>,
    app: App,
    settings: Settings,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let listener = listener.into();
    let Settings { limits, log_queries, admin, origins, is_local } = settings;
    let endpoint = Arc::new(endpoint(app.clone()));
    let mut service = Service::new(limits, Audience::Clients, log_queries, origins);
    service.is_local = is_local;
    let service = Arc::new(service);
    let flushing = tokio::spawn(flush(app.clone()));
    let sweeping = tokio::spawn(sweep(app.clone()));
    let sampling = tokio::spawn(sample(app.clone()));
    let (end, ended) = oneshot::channel::<()>();
    if let Some(admin) = &admin {
        tracing::info!(admin_address = %admin, "listening for operators");
    }
    tracing::info!(address = %listener, "listening");
    let admin = admin.map(|listener| {
        let endpoint = Arc::new(admin::endpoint(app.clone(), service.clone()));
        let limits = Limits { connections: MAX_SCRAPES, ..limits };
        let own = Arc::new(Service::new(limits, Audience::Operators, false, Origins::default()));
        let ended = async move { drop(ended.await) };
        tokio::spawn(async move { accept(listener, endpoint, own, ended).await })
    });
    let stopping_at = OnceLock::new();
    let delayed_stop = async {
        stop.await;
        let _ = stopping_at.set(Instant::now());
        service.is_stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(limits.shutdown_delay).await;
    };
    accept(listener, endpoint, service.clone(), delayed_stop).await?;
    flushing.abort();
    sweeping.abort();
    sampling.abort();
    let close = async {
        if let Err(error) = app.flush_usage().await {
            tracing::warn!(cause = error.cause, "usage counts since the last flush are lost");
        }
        app.store().close().await;
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tracing::warn!("shutting down without waiting for the database (timeout)");
    }
    drop(end);
    if let Some(mut admin) = admin
        && tokio::time::timeout(ADMIN_TIMEOUT, &mut admin).await.is_err()
    {
        admin.abort();
    }
    let seconds = stopping_at.get().map(|since| since.elapsed().as_secs());
    tracing::info!(seconds, "stopped");
    Ok(())
}

/// The maximum time for requests of operators to finish, after all others.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of connections to read metrics.
const MAX_SCRAPES: usize = 16;

/// Accepts connections and serves them until `stop` completes. Open requests then finish.
async fn accept(
    listener: Listener,
    endpoint: Arc<impl Endpoint + 'static>,
    service: Arc<Service>,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let local = listener.local()?;
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next_with_id() => {
                service.connections.remove(ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let admission = service.connections.enter();
                if admission == Admission::Closed {
                    continue;
                }
                let client = Arc::new(Client::new(peer.ip, admission == Admission::Extra));
                let (local, service_of_all) = (local.clone(), service.clone());
                let peer = peer.address;
                let opened =
                    Opened { local, peer, client: client.clone(), service: service_of_all };
                let served = opened.serve(endpoint.clone(), stream, stopped.clone());
                service.connections.add(client, connections.spawn(served));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; check the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Fails if no connection is open, which is fine.
    let _ = stopping.send(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "shutting down without waiting for open requests (timeout)"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// How often the service deletes changes that the journal no longer keeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The pause between two statements that delete changes, so that requests come between them.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Deletes changes that the journal no longer keeps, and expired idempotency keys and sessions, in small steps.
async fn sweep(app: App) {
    let store = app.store().reserved();
    loop {
        let now = timestamp_now();
        let swept =
            tokio::join!(store.sweep_changes(now), store.sweep_keys(now), store.sweep_sessions());
        let pause = match swept.0.and_then(|changes| Ok(changes | swept.1? | swept.2?)) {
            Ok(true) => SWEEP_PAUSE,
            Ok(false) => SWEEP_INTERVAL,
            Err(error) => {
                tracing::warn!(
                    cause = error.cause,
                    "old changes, idempotency keys and sessions not deleted; retrying later"
                );
                SWEEP_INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Writes usage counts to the database periodically.
async fn flush(app: App) {
    loop {
        tokio::time::sleep(FLUSH_INTERVAL).await;
        if let Err(error) = app.flush_usage().await {
            tracing::warn!(
                cause = error.cause,
                "usage counts not written; the next flush retries them"
            );
        }
    }
}

/// Keeps the statistics of the collections.
async fn sample(app: App) {
    app.store().keep_statistics(app.catalogue().schemas()).await;
}

/// An accepted connection.
struct Opened {
    local: Addr,
    peer: Addr,
    client: Arc<Client>,
    service: Arc<Service>,
}

impl Opened {
    /// Serves the connection until it ends or the service shuts down.
    async fn serve(
        self,
        endpoint: Arc<impl Endpoint + 'static>,
        stream: listener::Connection,
        mut stopped: watch::Receiver<()>,
    ) {
        let peer = self.peer.clone();
        let is_extra = self.client.is_extra;
        let large_headers = self.service.connections.large_headers.clone();
        let limits = self.service.limits;
        let opened = Arc::new(self);
        let rejecting = opened.clone();
        let reject = Box::new(move |error| rejecting.reject(error));
        let client = opened.client.clone();
        let stream = Stream::new(stream, client, large_headers, limits.write, reject);
        let stream = TokioIo::new(stream);
        // Boxed, so that an idle connection does not hold memory for the state of a request.
        let service =
            service_fn(move |request| Box::pin(opened.clone().handle(endpoint.clone(), request)));
        let mut connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(if is_extra { EXTRA_HEADER_TIMEOUT } else { limits.header })
            .max_buf_size(MAX_HEADER_BYTES)
            .keep_alive(!is_extra)
            .serve_connection(stream, service);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            _ = stopped.changed() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        match ended {
            Ok(()) => connection.into_parts().io.into_inner().ends(),
            // The client disconnected or was too slow, or a response was aborted.
            Err(error) => {
                tracing::debug!(%peer, %error, "connection aborted");
                let parts = connection.into_parts();
                if parts.read_buf.starts_with(HTTP2_PREFACE) {
                    parts.io.into_inner().reject_http2().await;
                }
            }
        }
    }

    /// Returns the whole response to a request that the parser has rejected.
    fn reject(&self, error: Error) -> Bytes {
        let Self { client, service, .. } = self;
        let id = Uuid::now_v7().to_string();
        // Serializing strings and numbers cannot fail.
        let problem = serde_json::to_string(&Problem::of(&error, "", &id)).unwrap_or_default();
        let page = service.origins.only();
        let response = malformed::response(error.kind.status(), &id, &problem, page.as_ref());
        if service.audience == Audience::Clients {
            let exchange = Exchange::new(service.clone(), client.clone(), id, None);
            exchange.account.is_from(client.address());
            Event::note_malformed(exchange, error, problem.len());
        }
        response
    }

    async fn handle(
        self: Arc<Self>,
        endpoint: Arc<impl Endpoint>,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<impl Body<Data = Bytes, Error = std::io::Error>>, Infallible> {
        self.client.starts_work();
        let local = LocalAddr(self.local.clone());
        let peer = RemoteAddr(self.peer.clone());
        let mut request: Request = (request, local, peer, Scheme::HTTP).into();
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let parent = header(TRACEPARENT);
        let trace = Trace::of(parent, parent.and_then(|_| header(TRACESTATE)));
        let id = request_id(request.headers());
        let exchange = Exchange::new(self.service.clone(), self.client.clone(), id, trace);
        request.set_data(Arc::new(exchange));
        let response = endpoint.get_response(request).await;
        self.client.starts_over();
        Ok(hyper::Response::from(response))
    }
}
