//! `cinequery healthcheck`: asks a running service whether it can serve, for images that hold
//! nothing else that could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Outcome;
use crate::config::DEFAULT_LISTEN;

/// How long the whole question may take: longer than the service waits for its database.
const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Args)]
pub(super) struct Healthcheck {
    /// The address the service listens on; 0.0.0.0 and `[::]` are asked over loopback
    #[arg(long, env = "CINEQUERY_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Outcome {
        let address = reachable(self.listen);
        let answer = tokio::time::timeout(TIMEOUT, ask(address)).await;
        let problem = match answer {
            Ok(Ok(StatusCode::OK)) => return Ok(ExitCode::SUCCESS),
            Ok(Ok(status)) => format!("answered {status}"),
            Ok(Err(problem)) => format!("cannot be asked: {problem}"),
            Err(_) => format!("has not answered within {} s", TIMEOUT.as_secs()),
        };
        Err(format!("http://{address}/readyz {problem}"))
    }
}

/// The address at which this machine reaches what listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> Result<StatusCode, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // The connection is worked on here and ends when the question is answered.
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, address.to_string()).body(String::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(answer.status())
}
