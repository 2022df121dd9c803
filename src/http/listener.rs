//! Where the service listens: on a TCP or a Unix socket.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use poem::Addr;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// A connection of a client.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, which no other process of the service replaces meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// A locked file beside it.
    _lock: File,
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its IP address; that of this host for a Unix socket.
    pub(super) ip: IpAddr,
    /// Its socket address.
    pub(super) address: Addr,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Accepts a connection.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let peer = Peer { ip: address.ip(), address: Addr::SocketAddr(address) };
                Ok((Either::Left(stream), peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let address = Addr::Custom("unix", "".into());
                Ok((Either::Right(stream), Peer { ip: Ipv4Addr::LOCALHOST.into(), address }))
            }
        }
    }

    /// Returns the socket address, for requests.
    ///
    /// # Errors
    /// The error of the system if it is not available.
    pub(super) fn local(&self) -> io::Result<Addr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Addr::SocketAddr),
            Self::Unix(_, file) => Ok(Addr::Custom("unix", file.path.display().to_string().into())),
        }
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => error.fmt(f),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

impl SocketFile {
    /// Makes a path free for a socket. The file of a process that has ended without removing it is removed.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if another process listens there; any error of the system.
    pub fn of(path: PathBuf) -> io::Result<Self> {
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(beside)?;
        let is_locked = lock.try_lock().is_ok();
        let is_socket = |path: &Path| {
            std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        };
        if is_locked && is_socket(&path) {
            match std::os::unix::net::UnixStream::connect(&path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(&path)?;
                }
                _ => return Err(ErrorKind::AddrInUse.into()),
            }
        }
        if is_locked { Ok(Self { path, _lock: lock }) } else { Err(ErrorKind::AddrInUse.into()) }
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the socket, to which no client can connect any more.
impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the file of the socket was not removed");
        }
    }
}
