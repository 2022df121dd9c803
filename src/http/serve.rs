//! The server loop: accepting connections, serving them, and shutting down.
//!
//! The loop of the framework is not used, for three reasons. It has no limits for slow clients or their number. It
//! spins when no connection can be accepted. It ends an aborted response as if it were complete.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Admission, Client, Stream};
use super::envelope::request_id;
use super::exchange::{Exchange, Service};
use super::limits::MAX_HEADER_BYTES;
use super::{Limits, endpoint};
use crate::app::App;
use crate::app::usage::FLUSH_INTERVAL;
use crate::clock::timestamp_now;

/// The maximum time for open requests to finish during a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time for the database to finish after that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time for request headers to arrive, and for a connection to be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for connections over the limit, which serve probes only.
const EXTRA_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// The start of a connection of a client that knows, or assumes, that the server speaks HTTP/2 (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The pause after an accept error, for example when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests over HTTP/1 until `stop` completes, with the default limits; see [`serve_within`].
///
/// # Errors
/// The error of the system if the local socket address of the listener is not available.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    serve_within(listener, app, Limits::default(), stop).await
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
pub async fn serve_within(
    listener: TcpListener,
    app: App,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let endpoint = Arc::new(endpoint(app.clone()));
    let service = Arc::new(Service::new(limits));
    let flushing = tokio::spawn(flush(app.clone()));
    let sweeping = tokio::spawn(sweep(app.clone()));
    let sampling = tokio::spawn(sample(app.clone()));
    let local = listener.local_addr()?;
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let delayed_stop = async {
        stop.await;
        service.is_stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(limits.shutdown_delay).await;
    };
    let mut stop = pin!(delayed_stop);
    tracing::info!(address = %local, "listening");
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
                let client = Client::new(peer.ip(), admission == Admission::Extra);
                let client = Arc::new(client);
                let opened =
                    Opened { local, peer, client: client.clone(), service: service.clone() };
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
    Ok(())
}

/// How often the service deletes changes that the journal no longer keeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The pause between two statements that delete changes, so that requests come between them.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Deletes changes that the journal no longer keeps, and expired idempotency keys, in small steps.
async fn sweep(app: App) {
    let store = app.store().reserved();
    loop {
        let now = timestamp_now();
        let swept = tokio::join!(store.sweep_changes(now), store.sweep_keys(now));
        let pause = match swept.0.and_then(|changes| Ok(changes || swept.1?)) {
            Ok(true) => SWEEP_PAUSE,
            Ok(false) => SWEEP_INTERVAL,
            Err(error) => {
                tracing::warn!(
                    cause = error.cause,
                    "old changes and idempotency keys not deleted; retrying later"
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
    local: SocketAddr,
    peer: SocketAddr,
    client: Arc<Client>,
    service: Arc<Service>,
}

impl Opened {
    /// Serves the connection until it ends or the service shuts down.
    async fn serve(
        self,
        endpoint: Arc<impl Endpoint + 'static>,
        stream: TcpStream,
        mut stopped: watch::Receiver<()>,
    ) {
        let peer = self.peer;
        let is_extra = self.client.is_extra;
        let large_headers = self.service.connections.large_headers.clone();
        let stream = TokioIo::new(Stream::new(stream, self.client.clone(), large_headers));
        let opened = Arc::new(self);
        // Boxed, so that an idle connection does not hold memory for the state of a request.
        let service =
            service_fn(move |request| Box::pin(opened.clone().handle(endpoint.clone(), request)));
        let mut connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(if is_extra { EXTRA_HEADER_TIMEOUT } else { HEADER_TIMEOUT })
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

    async fn handle(
        self: Arc<Self>,
        endpoint: Arc<impl Endpoint>,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<impl Body<Data = Bytes, Error = std::io::Error>>, Infallible> {
        self.client.starts_work();
        let local = LocalAddr(Addr::SocketAddr(self.local));
        let peer = RemoteAddr(Addr::SocketAddr(self.peer));
        let mut request: Request = (request, local, peer, Scheme::HTTP).into();
        let id = request_id(request.headers());
        let exchange = Exchange::new(self.service.clone(), self.client.clone(), id);
        request.set_data(Arc::new(exchange));
        let response = endpoint.get_response(request).await;
        self.client.starts_over();
        Ok(hyper::Response::from(response))
    }
}
