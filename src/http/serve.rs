//! Listening and stopping.
//!
//! The loop is our own: that of the framework knows no limits for slow clients or their number, spins
//! when no connection can be accepted, and ends a response that broke off as if it were whole.

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
use super::exchange::{Exchange, Service};
use super::limits::MAX_HEAD_BYTES;
use super::{Limits, endpoint};
use crate::app::App;
use crate::app::usage::FLUSH_INTERVAL;

/// How long open requests may take after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the database may take to end what it is doing, after that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the head of a request may take to arrive, and how long a connection may stand idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same beyond the limit of connections, where only probes are answered.
const EXTRA_HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests over HTTP/1 until `stop` is ready, with the usual limits; see [`serve_within`].
///
/// # Errors
/// A listener that has no address.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    serve_within(listener, app, Limits::default(), stop).await
}

/// Serves requests over HTTP/1 until `stop` is ready. Then `/readyz` is 503 and requests are still
/// served for a while, until the balancer has noticed; then no connection is accepted any more, open
/// requests end, and the database is closed.
///
/// # Errors
/// A listener that has no address.
pub async fn serve_within(
    listener: TcpListener,
    app: App,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let endpoint = Arc::new(endpoint(app.clone()));
    let service = Arc::new(Service::new(limits));
    let flushing = tokio::spawn(flush(app.clone()));
    let local = listener.local_addr()?;
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let told_to_stop = async {
        stop.await;
        service.is_stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(limits.shutdown_delay).await;
    };
    let mut stop = pin!(told_to_stop);
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
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // It fails if no connection is open.
    let _ = stopping.send(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "closing requests that exceed the limit of shutting down"
        );
        connections.shutdown().await;
    }
    flushing.abort();
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

/// Adds what was counted to the database, for as long as the service runs.
async fn flush(app: App) {
    loop {
        tokio::time::sleep(FLUSH_INTERVAL).await;
        if let Err(error) = app.flush_usage().await {
            tracing::warn!(
                cause = error.cause,
                "usage is not written; it is kept for the next time"
            );
        }
    }
}

/// A connection that was accepted.
struct Opened {
    local: SocketAddr,
    peer: SocketAddr,
    client: Arc<Client>,
    service: Arc<Service>,
}

impl Opened {
    /// Serves it until it ends or the service stops.
    async fn serve(
        self,
        endpoint: Arc<impl Endpoint + 'static>,
        stream: TcpStream,
        mut stopped: watch::Receiver<()>,
    ) {
        let peer = self.peer;
        let is_extra = self.client.is_extra;
        let large_heads = self.service.connections.large_heads.clone();
        let stream = TokioIo::new(Stream::new(stream, self.client.clone(), large_heads));
        let opened = Arc::new(self);
        // Boxed, so that a connection without a request does not hold the room for one.
        let service =
            service_fn(move |request| Box::pin(opened.clone().handle(endpoint.clone(), request)));
        let mut connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(if is_extra { EXTRA_HEAD_TIMEOUT } else { HEAD_TIMEOUT })
            .max_buf_size(MAX_HEAD_BYTES)
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
            // It went away, was too slow, or a response broke off.
            Err(error) => tracing::debug!(%peer, %error, "a connection broke off"),
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
        let exchange = Exchange::new(self.service.clone(), self.client.clone());
        request.set_data(Arc::new(exchange));
        let response = endpoint.get_response(request).await;
        self.client.starts_over();
        Ok(hyper::Response::from(response))
    }
}
