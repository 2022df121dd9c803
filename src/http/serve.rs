//! Listening and stopping.

use std::time::Duration;

use poem::Server;
use poem::listener::TcpAcceptor;

use super::{Served, endpoint};
use crate::app::App;

/// How long open requests may take after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

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
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(endpoint::<C>(app), stop, Some(DRAIN_TIMEOUT))
        .await?;
    store.close().await;
    Ok(())
}
