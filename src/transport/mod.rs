//! A client's connection as bytes: a TCP or unix socket, with TLS in front of it or without.
//!
//! Reading and writing never wait: like the socket's own, they say `WouldBlock`, and readiness is asked
//! of the socket. So HTTP and sessions read and write either kind by the same few functions, and what
//! is encoded once stays so: only the encryption is a client's own, one piece of work per flush.

pub mod certificates;
mod hello;
pub(crate) mod listener;
pub mod proxied;
mod socket;
mod tls;
pub(crate) mod validity;

use std::fmt;
use std::io::{ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::ServerConfig;

pub(crate) use self::socket::Socket;
use self::tls::Tls;
pub(crate) use self::tls::{Established, HandshakeError};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A program at this address.
    Tcp(SocketAddr),
    /// A program on this machine, by a unix socket.
    Unix,
    /// A program at this address, as a trusted proxy says.
    Forwarded(IpAddr),
}

impl Peer {
    /// Its address, where it has one.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
            Peer::Forwarded(address) => Some(address),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
            Peer::Forwarded(address) => address.fmt(f),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    /// The lock is for the compiler: a connection is one thread's at a time, and moves with its owner.
    tls: Option<Mutex<Box<Tls>>>,
}

impl Transport {
    /// A connection that is not encrypted.
    pub(crate) fn plain(socket: Socket) -> Self {
        Transport { socket, tls: None }
    }

    /// Either, as a listener has it.
    ///
    /// # Errors
    /// See [`tls`](Self::tls).
    pub(crate) fn over(
        socket: Socket,
        tls: Option<Arc<ServerConfig>>,
    ) -> std::result::Result<Self, rustls::Error> {
        match tls {
            Some(config) => Transport::tls(socket, config),
            None => Ok(Transport::plain(socket)),
        }
    }

    /// A connection that begins with a TLS handshake.
    ///
    /// # Errors
    /// A configuration that does not do.
    pub(crate) fn tls(
        socket: Socket,
        config: Arc<ServerConfig>,
    ) -> std::result::Result<Self, rustls::Error> {
        Ok(Transport { socket, tls: Some(Mutex::new(Box::new(Tls::new(config)?))) })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Shakes hands, if it is TLS: reads and writes what there is for it; done when it is over.
    pub(crate) fn poll_handshake(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<Option<Established>, HandshakeError>> {
        let Some(tls) = &self.tls else { return Poll::Ready(Ok(None)) };
        loop {
            let mut tls = tls.lock();
            if let Some(established) = tls.handshake(&self.socket)? {
                return Poll::Ready(Ok(Some(established)));
            }
            let waits = match tls.is_pending() {
                true => self.socket.poll_write_ready(cx),
                false => self.socket.poll_read_ready(cx),
            };
            ready!(waits).map_err(HandshakeError::Io)?;
        }
    }

    /// Whether there may be something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.tls {
            // Read from the socket already, which says nothing of it any more.
            Some(tls) if tls.lock().has_plain() => Poll::Ready(Ok(())),
            _ => self.socket.poll_read_ready(cx),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Waits until the socket may take bytes.
    pub(crate) async fn writable(&self) -> Result<()> {
        std::future::poll_fn(|cx| self.socket.poll_write_ready(cx)).await
    }

    /// Reads what there is; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` where there is nothing yet; otherwise the connection is lost.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        match &self.tls {
            None => self.socket.try_read(buffer),
            Some(tls) => tls.lock().read(buffer, &self.socket),
        }
    }

    /// Writes as much as the socket takes. With TLS some of it may wait here, encrypted: see
    /// [`is_pending`](Self::is_pending).
    ///
    /// # Errors
    /// `WouldBlock` where nothing was taken; otherwise the connection is lost.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match &self.tls {
            None => self.socket.try_write(bytes),
            Some(tls) => tls.lock().write(bytes, &self.socket),
        }
    }

    /// Whether encrypted bytes wait for the socket, at most a few records.
    pub(crate) fn is_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.lock().is_pending())
    }

    /// Sends nothing more: the peer reads what was sent, then the end.
    ///
    /// # Errors
    /// A socket that is not connected any more.
    pub(crate) fn shutdown_write(&self) -> Result<()> {
        if let Some(tls) = &self.tls {
            match tls.lock().close(&self.socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        self.socket.shutdown_write()
    }

    /// Bytes of the heap that it holds now.
    pub(crate) fn held(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.lock().held())
    }

    /// Leaves this thread's runtime, for another's.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn detach(self) -> Result<Detached> {
        Ok(Detached { socket: self.socket.detach()?, tls: self.tls.map(Mutex::into_inner) })
    }
}

/// A [`Transport`] on its way from one thread to another.
#[derive(Debug)]
pub(crate) struct Detached {
    socket: socket::Detached,
    tls: Option<Box<Tls>>,
}

impl Detached {
    /// Joins this thread's runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn attach(self) -> Result<Transport> {
        Ok(Transport { socket: self.socket.attach()?, tls: self.tls.map(Mutex::new) })
    }
}

impl From<std::net::TcpStream> for Detached {
    fn from(stream: std::net::TcpStream) -> Self {
        Detached { socket: socket::Detached::Tcp(stream), tls: None }
    }
}
