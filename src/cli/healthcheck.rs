//! `cinequery healthcheck`: sends a request to the readiness probe of a running service. Minimal images have no other
//! HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::Outcome;
use crate::config::{DEFAULT_LISTEN, Listen};

/// The timeout of the whole request. It is longer than the service waits for its database.
const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Args)]
pub(super) struct Healthcheck {
    /// Host name or IP address that the service listens on, and the port, or unix:PATH. For 0.0.0.0 and `[::]` the request is
    /// sent over loopback
    #[arg(long, value_name = "HOST:PORT", env = "CINEQUERY_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: Listen,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Outcome {
        let addresses = self.listen.resolve("--listen").await?;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(reachable).collect();
        let response = tokio::time::timeout(TIMEOUT, readiness(&self.listen, &addresses)).await;
        let problem = match response {
            Ok(Ok(StatusCode::OK)) => return Ok(ExitCode::SUCCESS),
            Ok(Ok(status)) => format!("returned {status}"),
            Ok(Err(problem)) => format!("cannot be reached: {problem}"),
            Err(_) => format!("did not respond within {} s", TIMEOUT.as_secs()),
        };
        let address =
            addresses.first().map_or_else(|| self.listen.to_string(), ToString::to_string);
        Err(format!("http://{address}/readyz {problem}"))
    }
}

/// Returns the socket address to connect to for one that a service on this machine listens on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Returns the status of `/readyz`, from the Unix socket or the first socket address that accepts a connection.
async fn readiness(listen: &Listen, addresses: &[SocketAddr]) -> Result<StatusCode, String> {
    let text = |error: std::io::Error| error.to_string();
    let (stream, host) = match listen {
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(text)?;
            (Either::Right(stream), "localhost".to_owned())
        }
        Listen::Host(_) => {
            let stream = TcpStream::connect(addresses).await.map_err(text)?;
            let host = stream.peer_addr().map_err(text)?.to_string();
            (Either::Left(stream), host)
        }
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // The task ends with the connection, after the response.
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, host).body(String::new());
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(response.status())
}
