//! A TCP or a unix socket.

use std::io::Result;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::net::{TcpStream, UnixStream};

use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Socket {
    /// The address of this end, where it has one.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The address of the other end, where it has one.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_read(buffer),
            Socket::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Writes without asking tokio whether the socket takes bytes, which it nearly always does: to ask
    /// costs a cache line per session that nothing else on this path needs. Only a socket that
    /// refuses is tried through tokio, so that it watches it from then on.
    pub(super) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match rustix::net::send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::AGAIN) => match self {
                Socket::Tcp(stream) => stream.try_write(bytes),
                Socket::Unix(stream) => stream.try_write(bytes),
            },
            result => Ok(result?),
        }
    }

    pub(super) fn shutdown_write(&self) -> Result<()> {
        socket2::SockRef::from(self).shutdown(Shutdown::Write)
    }

    /// Small messages must not wait for acknowledgements of earlier ones.
    pub(crate) fn set_nodelay(&self) -> Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_nodelay(true),
            Socket::Unix(_) => Ok(()),
        }
    }

    pub(super) fn detach(self) -> Result<Detached> {
        Ok(match self {
            Socket::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Socket::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

/// A socket that belongs to no runtime.
#[derive(Debug)]
pub(super) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Hands it to this thread's runtime, with the options that a session needs.
    pub(super) fn attach(self) -> Result<Socket> {
        match self {
            Detached::Tcp(stream) => {
                socket2::SockRef::from(&stream).set_tcp_notsent_lowat(limits::UNSENT_BYTES)?;
                let socket = Socket::Tcp(TcpStream::from_std(stream)?);
                socket.set_nodelay()?;
                Ok(socket)
            }
            Detached::Unix(stream) => Ok(Socket::Unix(UnixStream::from_std(stream)?)),
        }
    }
}
