//! A message that is not in one piece, put together by fastwebsockets.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::Violation;

/// Payload bytes per frame handed to the collector. With a head it stays well inside the collector's buffer of 8 KiB, so that buffer never
/// grows, however long a client's frames are; and a multiple of 4, so that the masking key fits every piece of one payload.
const PIECE: usize = 4096;

/// Bytes of the collector's own buffer.
const COLLECTOR_BYTES: usize = 8192;

/// An unfinished message.
///
/// The client's own fragmentation is not kept: payload bytes are handed on as they arrive, as frames of at
/// most [`PIECE`] bytes. So the collector only ever sees complete frames (its `read_frame` loses its place
/// when it is dropped inside one), an incomplete frame needs no buffer of its own, and text that is not
/// UTF-8 is found as soon as it arrives (RFC 6455 section 8.1 allows that; Autobahn's 6.4 asks for it).
pub(super) struct Assembly {
    collector: FragmentCollector<Loopback>,
    opcode: OpCode,
    deflated: bool,
    started: bool,
    len: usize,
}

impl Assembly {
    /// One of text or binary; `deflated` where it is compressed, and is to be inflated once it is whole.
    pub(super) fn new(opcode: OpCode, deflated: bool) -> Self {
        let mut socket = WebSocket::after_handshake(Loopback::default(), Role::Server);
        // Control frames never come this way; a collector that writes something of its own would read it back.
        socket.set_auto_pong(false);
        socket.set_auto_close(false);
        let collector = FragmentCollector::new(socket);
        Self { collector, opcode, deflated, started: false, len: 0 }
    }

    /// Text or binary.
    pub(super) fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Whether it is compressed.
    pub(super) fn is_deflated(&self) -> bool {
        self.deflated
    }

    /// Payload bytes so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Heap bytes held, nearly: the collector's buffer, and what has come.
    pub(super) fn held(&self) -> usize {
        COLLECTOR_BYTES + self.len
    }

    /// Adds the next bytes of the payload, masked with `mask`; `last` when they are the message's last. Returns the whole message then.
    pub(super) fn push(
        &mut self,
        payload: &[u8],
        mask: [u8; 4],
        last: bool,
    ) -> Result<Option<Frame<'static>>, Violation> {
        self.len += payload.len();
        let mut pieces = payload.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let last = last && pieces.peek().is_none();
            if let Some(message) = self.push_piece(piece, mask, last)? {
                return Ok(Some(message));
            }
        }
        // An empty frame matters only when it begins a message or ends it.
        if payload.is_empty() && (last || !self.started) {
            self.push_piece(payload, mask, last)
        } else {
            Ok(None)
        }
    }

    fn push_piece(
        &mut self,
        piece: &[u8],
        mask: [u8; 4],
        last: bool,
    ) -> Result<Option<Frame<'static>>, Violation> {
        let opcode = match (self.started, self.deflated) {
            (true, _) => OpCode::Continuation,
            // Whether it is UTF-8 can be asked only of what it is inflated to.
            (false, true) => OpCode::Binary,
            (false, false) => self.opcode,
        };
        self.started = true;
        let frame = Frame::new(last, opcode, Some(mask), Payload::Borrowed(piece));
        let Poll::Ready(Ok(())) = poll_once(self.collector.write_frame(frame)) else {
            return Err(Violation::Assembly);
        };
        match poll_once(self.collector.read_frame()) {
            // Waiting for the next frame, at the start of it: nothing is lost by dropping the future.
            Poll::Pending if !last => Ok(None),
            // The collector drops a character that the last fragment leaves unfinished, instead of refusing it.
            Poll::Ready(Ok(message)) if message.payload.len() != self.len => {
                Err(Violation::TextNotUtf8)
            }
            Poll::Ready(Ok(message)) => Ok(Some(message)),
            Poll::Ready(Err(WebSocketError::InvalidUTF8)) => Err(Violation::TextNotUtf8),
            Poll::Pending | Poll::Ready(Err(_)) => Err(Violation::Assembly),
        }
    }
}

/// What is written can be read: the collector's own `write_frame` is the way to hand it a frame, as it does not let go of its stream.
#[derive(Default)]
struct Loopback {
    bytes: Vec<u8>,
    read: usize,
}

impl AsyncRead for Loopback {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.bytes[self.read..];
        if rest.is_empty() {
            // An empty read would be the end of the stream to the collector.
            return Poll::Pending;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.read += taken;
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Loopback {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Nothing here ever waits for anything but a frame that is not there yet, so nobody needs waking.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
