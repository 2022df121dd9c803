//! Listening and stopping.
//!
//! The loop is our own: that of the framework knows no limits for slow clients, spins when no
//! connection can be accepted, and ends an answer that broke off as if it were whole.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use super::{Served, endpoint};
use crate::app::App;

/// How long open requests may take after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the head of a request may take to arrive, and how long a connection may stand idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that is there for it. An export has no other
/// limit of time.
const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests until `stop` is ready, then lets those that are open end, and closes the
/// database.
///
/// # Errors
/// A listener that has no address.
pub async fn serve<C: Served>(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let store = app.store().clone();
    let endpoint = Arc::new(endpoint::<C>(app));
    let address = listener.local_addr()?;
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let open = GracefulShutdown::new();
    let mut stop = pin!(stop);
    tracing::info!(%address, "listening");
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let endpoint = endpoint.clone();
        let service = service_fn(move |request| handle(endpoint.clone(), request, address, peer));
        let connection = server.serve_connection(TokioIo::new(patient(stream)), service);
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // It went away, or was too slow.
                tracing::debug!(%peer, error, "a connection broke off");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, open.shutdown()).await.is_err() {
        tracing::warn!("requests were open longer than is waited for");
    }
    store.close().await;
    Ok(())
}

async fn handle(
    endpoint: Arc<impl Endpoint>,
    request: hyper::Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<
    hyper::Response<impl hyper::body::Body<Data = bytes::Bytes, Error = std::io::Error>>,
    Infallible,
> {
    let local = LocalAddr(Addr::SocketAddr(local));
    let peer = RemoteAddr(Addr::SocketAddr(peer));
    let response = endpoint.get_response((request, local, peer, Scheme::HTTP).into()).await;
    Ok(response.into())
}

/// A connection that ends when its client stops reading: otherwise it would hold its place for ever.
fn patient(stream: TcpStream) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are written in one go: waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_IDLE_TIMEOUT));
    Box::pin(stream)
}
