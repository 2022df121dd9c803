//! Sockets to listen on.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::{DEFAULT_BACKLOG, Listen};
use crate::http::{Listener, SocketFile};

/// The permissions of the file of a Unix socket: its owner and its group can connect.
const SOCKET_MODE: u32 = 0o660;

/// A socket that is bound but does not listen yet. Until then, connections are rejected at once instead of waiting.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Kind,
    /// What is listened on and the flag that says so, for messages.
    listen: String,
    setting: &'static str,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpSocket),
    Unix(Socket, SocketFile),
}

impl Bound {
    /// Binds to the first of the socket addresses that this host has, or to a Unix socket.
    ///
    /// # Errors
    /// A message that names the setting.
    pub(super) fn to(
        listen: &Listen,
        addresses: &[SocketAddr],
        setting: &'static str,
    ) -> Result<Self, String> {
        let socket = match listen {
            Listen::Host(_) => bind(addresses).map(Kind::Tcp),
            Listen::Unix(path) => bind_unix(path).map(|(socket, file)| Kind::Unix(socket, file)),
        };
        let listen = listen.to_string();
        let socket = socket.map_err(|error| failed(&listen, setting, &error))?;
        Ok(Self { socket, listen, setting })
    }

    /// Listens: from now on clients can connect. The system keeps `backlog` connections until they are accepted.
    ///
    /// # Errors
    /// A message that names the setting.
    pub(super) fn listen(self, backlog: u16) -> Result<Listener, String> {
        let Self { socket, listen, setting } = self;
        let listener = match socket {
            Kind::Tcp(socket) => socket.listen(backlog.into()).map(Listener::Tcp),
            Kind::Unix(socket, file) => listen_unix(socket, file, backlog),
        };
        listener.map_err(|error| failed(&listen, setting, &error))
    }
}

/// Checks that a Unix socket can be bound, and leaves no file. Ports are not checked: during the check, the process that
/// is to be replaced may listen there.
///
/// # Errors
/// A message that names the setting.
pub(super) fn check(listen: &Listen, setting: &str) -> Result<(), String> {
    let Listen::Unix(path) = listen else { return Ok(()) };
    SocketFile::check(path).map_err(|error| failed(&listen.to_string(), setting, &error))
}

fn failed(listen: &str, setting: &str, error: &io::Error) -> String {
    let advice = match (listen.starts_with("unix:"), error.kind()) {
        (true, ErrorKind::AddrInUse) => "stop the process that serves it, or choose another path",
        (true, ErrorKind::NotFound) => "create the folder, or choose another path",
        (true, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            "let this user write to the folder, or choose another path"
        }
        (true, _) => "choose another path",
        (false, _) => "choose another port or IP address",
    };
    format!("cannot listen on {listen}: {error}; {advice} with {setting}")
}

/// Binds and listens on TCP. See [`bind`] for the choice of the address.
pub(super) fn listen(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    bind(addresses)?.listen(DEFAULT_BACKLOG.into())
}

/// Binds to the first of the socket addresses that this host has: `localhost` may also resolve to `::1` where IPv6 is
/// disabled.
///
/// # Errors
/// A busy port, even if another address is free: there, clients could reach the other process instead of this one.
fn bind(addresses: &[SocketAddr]) -> io::Result<TcpSocket> {
    let mut outcome = Err(ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        outcome = bind_to(*address);
        let is_busy = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        if outcome.is_ok() || is_busy {
            break;
        }
    }
    outcome
}

fn bind_to(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Binds to a Unix socket.
fn bind_unix(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let mut file = SocketFile::of(path.to_owned())?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    file.is_bound()?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok((socket, file))
}

fn listen_unix(socket: Socket, file: SocketFile, backlog: u16) -> io::Result<Listener> {
    socket.listen(backlog.into())?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix(UnixListener::from_std(socket.into())?, file))
}
