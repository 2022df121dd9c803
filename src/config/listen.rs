//! The form of `--listen` and `--admin-listen`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen: a host name or an IP address with a port, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`.
    Host(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Listen {
    /// Returns the socket addresses of the host, in the order of the resolver: at least one, and none for
    /// a Unix socket. An IPv4-mapped one, such as `[::ffff:127.0.0.1]:8080`, becomes that of IPv4, whose rules apply to it.
    /// `setting` is the flag.
    ///
    /// # Errors
    /// A message if the host name cannot be resolved.
    pub async fn resolve(&self, setting: &str) -> Result<Vec<SocketAddr>, String> {
        let Self::Host(host) = self else { return Ok(Vec::new()) };
        let failed = |error| format!("{setting}: cannot resolve the host of {self}: {error}");
        let found = tokio::net::lookup_host(host.as_str()).await.map_err(failed)?;
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let addresses: Vec<_> = found.map(canonical).collect();
        if addresses.is_empty() {
            return Err(format!("{setting}: the host of {self} has no IP address"));
        }
        Ok(addresses)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_host = |host: &str| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !host.is_empty() && host.chars().all(is_part)
        };
        let is_named = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
        if is_named || text.parse::<SocketAddr>().is_ok() {
            return Ok(Self::Host(text.to_owned()));
        }
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err("expected HOST:PORT, such as 127.0.0.1:8080, localhost:8080 or [::1]:8080, or unix:PATH"
                .to_owned()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
