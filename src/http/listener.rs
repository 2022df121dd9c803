//! Where the service listens: on a TCP or a Unix socket.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use poem::Addr;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// A connection of a client.
pub(super) type Connection = Either<TcpStream, UnixStream>;

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
    /// What identifies the socket, once it is bound.
    bound: Option<(u64, u64)>,
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
    pub(super) async fn accept(&self) -> io::Result<(Connection, Peer)> {
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
    /// Makes a path free for a socket. The socket of a process that has ended without removing it is removed; nothing else
    /// is.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if another process listens there; [`ErrorKind::AlreadyExists`] if the path is that of
    /// another file; any error of the system.
    pub fn of(path: PathBuf) -> io::Result<Self> {
        let exists = is_socket(&path)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(lock_file(&path))?;
        if lock.try_lock().is_err() || exists && is_served(&path)? {
            return Err(ErrorKind::AddrInUse.into());
        }
        if exists {
            std::fs::remove_file(&path)?;
        }
        Ok(Self { path, bound: None, _lock: lock })
    }

    /// Checks that a socket can be bound to a path, and leaves no file there. A process may listen there meanwhile: it can
    /// be the one that is to be replaced.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if the path is that of another file; any error of the system, such as
    /// [`ErrorKind::NotFound`] for its folder.
    pub fn check(path: &Path) -> io::Result<()> {
        SockAddr::unix(path)?;
        is_socket(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::metadata(folder)?;
        tempfile::tempfile_in(folder)?;
        match File::options().write(true).open(lock_file(path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes that a socket was bound to the path. It is removed at the end, if it is still this one.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn is_bound(&mut self) -> io::Result<()> {
        self.bound = Some(identity(&self.path)?);
        Ok(())
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns whether there is a socket at a path.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] if the path is that of another file.
fn is_socket(path: &Path) -> io::Result<bool> {
    let existing = std::fs::symlink_metadata(path).ok();
    if existing.as_ref().is_some_and(|file| !file.file_type().is_socket()) {
        let message = "the path exists and is not a socket";
        return Err(io::Error::new(ErrorKind::AlreadyExists, message));
    }
    Ok(existing.is_some())
}

/// Returns the file beside a socket that its process locks.
fn lock_file(path: &Path) -> PathBuf {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".lock");
    beside.into()
}

/// Returns what identifies a file: its device and its inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Returns whether a process listens on a Unix socket. It does not wait: a full queue is one of a process.
fn is_served(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(!connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// Removes the socket, to which no client can connect any more.
impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = self.bound.is_some() && identity(&self.path).ok() == self.bound;
        if is_own && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the file of the socket was not removed");
        }
    }
}
