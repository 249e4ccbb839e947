//! A connection while it is served by HTTP, and how a request takes it over: for answers that are no
//! HTTP body of hyper's.
//!
//! hyper gives a socket back only after a `101`. Here it reads and writes through a shared handle, so
//! that the socket is there for whoever sends the rest of the answer once hyper is dropped.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::connection::Handshake;
use super::poll::Seat;
use super::sse::Opening;
use crate::transport::{Peer, Transport};

/// What hyper reads from and writes to. It has the only strong handle.
#[derive(Debug)]
pub(super) struct Socket(pub(super) Arc<Transport>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                // Some of what went before was taken, of this nothing.
                Ok(0) if !bytes.is_empty() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.0.is_pending() {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(b"") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(self.0.shutdown_write())
    }
}

/// What the requests of one connection may do with it beyond being answered.
pub(super) struct Takeover {
    stream: Weak<Transport>,
    taker: Cell<Option<oneshot::Sender<Opening>>>,
    /// It counts as a handshake under way.
    handshake: Cell<Option<Handshake>>,
    /// It polls, and counts as a client.
    seat: RefCell<Option<Seat>>,
}

impl Takeover {
    /// The way in, and the way out: what the connection was taken over for.
    pub(super) fn new(
        stream: &Arc<Transport>,
        handshake: Handshake,
    ) -> (Rc<Self>, oneshot::Receiver<Opening>) {
        let (taker, taken) = oneshot::channel();
        let door = Takeover {
            stream: Arc::downgrade(stream),
            taker: Cell::new(Some(taker)),
            handshake: Cell::new(Some(handshake)),
            seat: RefCell::default(),
        };
        (Rc::new(door), taken)
    }

    /// Takes the connection over; nothing more is read or written by HTTP, and this does not return.
    pub(super) async fn take(&self, opening: Opening) -> std::convert::Infallible {
        if let Some(taker) = self.taker.take() {
            // If nobody waits for it, the connection has ended.
            let _ = taker.send(opening);
        }
        std::future::pending().await
    }

    /// The socket, while the connection is served.
    pub(super) fn stream(&self) -> Option<Arc<Transport>> {
        self.stream.upgrade()
    }

    /// From here on the connection is a client's to the end: those who wait must not keep others from
    /// their handshakes.
    pub(super) fn sit(&self, seat: impl FnOnce() -> Seat) {
        self.handshake.take();
        self.seat.borrow_mut().get_or_insert_with(seat);
    }

    /// Whether it counts as this client already. What it counted as for another is over: a proxy's connection is
    /// that of one client after the other.
    pub(super) fn seats(&self, peer: Peer) -> bool {
        let mut seat = self.seat.borrow_mut();
        seat.take_if(|seat| seat.peer() != peer);
        seat.is_some()
    }
}
