//! What a spec names, opened: listeners, connections to be, the standard input.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use thiserror::Error;

use crate::spec::Place;

/// Why a source of lines cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An address that cannot be listened on.
    #[error("cannot listen on `{place}`: {source}")]
    Listen {
        /// The spec's place.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others can reach.
    #[error(
        "`{place}` can be reached from other machines, and whoever reaches it may publish: expected \
         127.0.0.1 or [::1], or public=true where that is meant"
    )]
    Public {
        /// The spec's place.
        place: String,
    },
    /// A file that is no socket.
    #[error("cannot listen on `{0}`: there is a file of that name, which is no socket")]
    NoSocket(String),
    /// Somebody listens there.
    #[error("cannot listen on `{0}`: another process does")]
    InUse(String),
    /// The standard input cannot be read.
    #[error("cannot read the standard input: {0}")]
    Stdin(io::Error),
}

/// A listening socket; one of the file system is removed at the end.
pub(super) struct Listener {
    socket: Socket,
    _file: Option<SocketFile>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn open(place: &Place, public: bool) -> Result<Self, OpenError> {
        let listen = |source| OpenError::Listen { place: place.to_string(), source };
        match place {
            Place::Tcp(address) => {
                let all: Vec<SocketAddr> = address.to_socket_addrs().map_err(listen)?.collect();
                if !public && !all.iter().all(|address| address.ip().is_loopback()) {
                    return Err(OpenError::Public { place: place.to_string() });
                }
                let socket = TcpListener::bind(&all[..]).map_err(listen)?;
                socket.set_nonblocking(true).map_err(listen)?;
                Ok(Listener { socket: Socket::Tcp(socket), _file: None })
            }
            Place::Unix(path) => {
                let socket = bind(path, place)?;
                socket.set_nonblocking(true).map_err(listen)?;
                let file = SocketFile::of(path).map_err(listen)?;
                Ok(Listener { socket: Socket::Unix(socket), _file: Some(file) })
            }
        }
    }

    /// The address that was free, for port 0; `None` for a socket of the file system.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    pub(super) fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd;
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }

    /// The next connection and who it is from; `None` where nobody waits.
    pub(super) fn accept(&self) -> Option<(OwnedFd, String)> {
        let (fd, peer): (OwnedFd, String) = match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                keep_alive(&stream).ok()?;
                (stream.into(), peer.to_string())
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                let pid = sockopt::socket_peercred(&stream).map(|peer| peer.pid);
                (
                    stream.into(),
                    pid.map_or_else(|_| "unix".to_owned(), |pid| format!("pid {pid:?}")),
                )
            }
        };
        Some((fd, peer))
    }
}

/// Finds out within a minute that the other machine has gone, which would otherwise hold its
/// symbols for ever.
fn keep_alive(stream: &impl std::os::fd::AsFd) -> rustix::io::Result<()> {
    use std::time::Duration;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)
}

/// Binds a socket of the file system; one that nobody listens on any more, left by a process that
/// was killed, makes room.
fn bind(path: &Path, place: &Place) -> Result<UnixListener, OpenError> {
    let listen = |source| OpenError::Listen { place: place.to_string(), source };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let metadata = std::fs::symlink_metadata(path).map_err(listen)?;
            if !metadata.file_type().is_socket() {
                return Err(OpenError::NoSocket(place.to_string()));
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(listen)?;
                    UnixListener::bind(path).map_err(listen)
                }
                _ => Err(OpenError::InUse(place.to_string())),
            }
        }
        other => other.map_err(listen),
    }
}

/// The file of a socket, removed at the end unless it is another's by then.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), inode: inode(path)? })
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path); // what cannot be removed is stale, and handled so
        }
    }
}

/// The standard input, to be read without what the standard library buffers.
pub(super) fn stdin() -> Result<OwnedFd, OpenError> {
    rustix::io::dup(rustix::stdio::stdin()).map_err(|error| OpenError::Stdin(error.into()))
}

/// Begins to connect, to another of the place's addresses with each `attempt`: the socket will be
/// writable when it is done, and [`connected`] tells how it went.
pub(super) fn dial(place: &Place, attempt: usize) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, result) = match place {
        Place::Tcp(address) => {
            let all: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
            let Some(address) = all.get(attempt % all.len().max(1)) else {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            };
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let fd = socket_with(family, SocketType::STREAM, flags, None)?;
            keep_alive(&fd)?;
            let result = connect(&fd, address);
            (fd, result)
        }
        Place::Unix(path) => {
            let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let result = connect(&fd, &rustix::net::SocketAddrUnix::new(path)?);
            (fd, result)
        }
    };
    match result {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// How a connection that was begun went, once its socket is writable.
pub(super) fn connected(fd: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::socket_error(fd)??)
}
