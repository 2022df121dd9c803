//! Listening and stopping.
//!
//! The loop is our own: that of the framework knows no limits for slow clients, spins when no
//! connection can be accepted, and ends an answer that broke off as if it were whole.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::{Served, endpoint};
use crate::app::App;
use crate::app::usage::FLUSH_INTERVAL;

/// How long open requests may take after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the database may take to end what it is doing, after that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the head of a request may take to arrive, and how long a connection may stand idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that is there for it. An export has no other
/// limit of time.
const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests over HTTP/1 until `stop` is ready, then lets those that are open end, and closes
/// the database.
///
/// # Errors
/// A listener that has no address.
pub async fn serve<C: Served>(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let endpoint = Arc::new(endpoint::<C>(app.clone()));
    let flushing = tokio::spawn(flush(app.clone()));
    let address = listener.local_addr()?;
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    tracing::info!(%address, "listening");
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let stopped = stopped.clone();
                connections.spawn(connection(endpoint.clone(), stream, address, peer, stopped));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Nobody may be connected any more.
    let _ = stopping.send(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(open = connections.len(), "requests are cut off: they take too long");
        connections.shutdown().await;
    }
    flushing.abort();
    let close = async {
        if let Err(error) = app.flush_usage().await {
            tracing::warn!(cause = error.cause, "what was counted last is lost");
        }
        app.store().close().await;
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tracing::warn!("the database is left before it has ended what it was doing");
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

/// Serves one connection until it ends or the service stops.
async fn connection(
    endpoint: Arc<impl Endpoint + 'static>,
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |request| handle(endpoint.clone(), request, local, peer));
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(patient(stream)), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = ended {
        // It went away, was too slow, or an answer broke off. In HTTP/1.0, where an answer ends with
        // its connection, only a reset tells its reader that this was not the end.
        tracing::debug!(%peer, %error, "a connection broke off");
        let stream = connection.into_parts().io.into_inner();
        if let Err(error) = stream.get_ref().set_zero_linger() {
            tracing::debug!(%peer, %error, "it is closed, and not reset");
        }
    }
}

async fn handle(
    endpoint: Arc<impl Endpoint>,
    request: hyper::Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<hyper::Response<impl Body<Data = Bytes, Error = std::io::Error>>, Infallible> {
    let local = LocalAddr(Addr::SocketAddr(local));
    let peer = RemoteAddr(Addr::SocketAddr(peer));
    let response = endpoint.get_response((request, local, peer, Scheme::HTTP).into()).await;
    Ok(hyper::Response::from(response))
}

/// A connection that ends when its client stops reading: otherwise it would hold its place for ever.
fn patient(stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are written in one go: waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_IDLE_TIMEOUT));
    Box::pin(stream)
}
