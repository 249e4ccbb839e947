//! Where clients come in: by TCP, with TLS or without, and by a unix socket.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::{Peer, Socket};
use crate::limits;

/// A door of the server.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Listening,
    tls: Option<Arc<ServerConfig>>,
}

/// Who may connect to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Whoever may enter its folder, whatever the umask is.
    OfFolder,
    /// Whom the umask leaves: mostly the server's user alone.
    OfUser,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

impl Listener {
    /// Listens at an address; with `tls`, only for those who speak that.
    ///
    /// # Errors
    /// The kernel's: mostly that somebody else listens there.
    pub(crate) fn tcp(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(limits::LISTEN_BACKLOG)?;
        Ok(Listener { socket: Listening::Tcp(listener), tls })
    }

    /// Listens at a path. A socket that an earlier server left there is replaced, one that is
    /// listened at is not.
    ///
    /// # Errors
    /// The kernel's, and that there is something else at the path.
    pub(crate) fn unix(path: &Path, rights: Rights) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        if rights == Rights::OfFolder {
            std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
        }
        Ok(Listener { socket: Listening::Unix { listener, path: path.to_owned() }, tls: None })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix { .. } => None,
        }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    /// The kernel's: out of descriptors, most likely.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        Ok(match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Socket::Tcp(stream), Peer::Tcp(peer))
            }
            Listening::Unix { listener, .. } => {
                (Socket::Unix(listener.accept().await?.0), Peer::Unix)
            }
        })
    }

    /// The TLS that is spoken over what is accepted here, if it is.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listening::Unix { path, .. } = &self.socket {
            // Otherwise who comes later is refused by a file that nobody stands behind.
            let _ = std::fs::remove_file(path);
        }
    }
}
