//! Listening and stopping.

use std::pin::Pin;
use std::time::Duration;

use poem::Server;
use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

use super::{Served, endpoint};
use crate::app::App;

/// How long open requests may take after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that is there for it. An export has no other
/// limit of time.
const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves requests until `stop` is ready, then lets those that are open end, and closes the
/// database.
///
/// # Errors
/// A listener that fails.
pub async fn serve<C: Served>(
    listener: tokio::net::TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let store = app.store().clone();
    let acceptor = Patient(TcpAcceptor::from_tokio(listener)?);
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(endpoint::<C>(app), stop, Some(DRAIN_TIMEOUT))
        .await?;
    store.close().await;
    Ok(())
}

/// Connections that end when a client stops reading: otherwise each would hold its place for ever.
struct Patient(TcpAcceptor);

impl Acceptor for Patient {
    type Io = Pin<Box<TimeoutStream<TcpStream>>>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> std::io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, local, remote, scheme) = self.0.accept().await?;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_IDLE_TIMEOUT));
        Ok((Box::pin(stream), local, remote, scheme))
    }
}
