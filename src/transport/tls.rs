//! TLS in front of a socket, by rustls' API without buffers: an idle connection holds its keys and
//! nothing else, and a flush is encrypted into a buffer that all connections of a thread share.
//!
//! tokio-rustls would keep buffers of its own per connection (some KiB once it has read), and wants to
//! be polled, which the path of a tick has no time for.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use thiserror::Error;

use super::Socket;
use super::hello;
use crate::limits;

thread_local! {
    /// What is read from sockets; the plain text of it is copied out.
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Records that are about to be sent.
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
pub(super) struct Tls {
    session: UnbufferedServerConnection,
    /// The beginning of a record whose end has not come.
    incoming: Vec<u8>,
    /// Decrypted and not read yet, from `read` on.
    plain: Vec<u8>,
    read: usize,
    /// Records that the socket did not take, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// Nothing more comes.
    ended: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No keys.
        f.debug_struct("Tls").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// A handshake that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Established {
    /// TLS 1.3, otherwise 1.2.
    pub(crate) is_13: bool,
    /// With what both still knew from an earlier connection.
    pub(crate) resumed: bool,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// The client broke off.
    #[error("the connection ended during the TLS handshake")]
    Ended,
    /// It took too long.
    #[error("no TLS handshake within the time for it")]
    Late,
    #[error(transparent)]
    Io(Error),
    /// What the client said is no TLS, or none that this server accepts.
    #[error(transparent)]
    Tls(rustls::Error),
}

/// What is to be put behind whatever TLS itself has to say.
#[derive(Clone, Copy)]
enum Want<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Close,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> std::result::Result<Self, rustls::Error> {
        Ok(Tls {
            session: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plain: Vec::new(),
            read: 0,
            outgoing: Vec::new(),
            sent: 0,
            ended: false,
        })
    }

    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        size_of::<Self>()
            + self.incoming.capacity()
            + self.plain.capacity()
            + self.outgoing.capacity()
    }

    /// Takes the handshake as far as it goes; `None` while it waits for the client.
    pub(super) fn handshake(
        &mut self,
        socket: &Socket,
    ) -> std::result::Result<Option<Established>, HandshakeError> {
        loop {
            self.drain(socket).map_err(HandshakeError::Io)?;
            if self.is_pending() {
                return Ok(None);
            }
            if !self.session.is_handshaking() {
                return Ok(Some(self.established()));
            }
            if self.ended {
                return Err(HandshakeError::Ended);
            }
            match self.fill(socket) {
                Ok(()) => {}
                Err(Failure::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(Failure::Io(error)) => return Err(HandshakeError::Io(error)),
                Err(Failure::Tls(error)) => {
                    self.say_why_not(socket);
                    return Err(HandshakeError::Tls(error));
                }
            }
        }
    }

    fn established(&self) -> Established {
        Established {
            is_13: self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            resumed: self.session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// The alert, as far as the socket takes it at once; to who speaks HTTP, that it is the wrong port.
    fn say_why_not(&mut self, socket: &Socket) {
        if hello::is_http(&self.incoming) {
            let _ = socket.try_write(hello::WRONG_PORT);
            return;
        }
        let mut alert = Vec::new();
        let _ = self.step(&mut [], Want::Nothing, &mut alert);
        let _ = socket.try_write(&alert);
    }

    /// See [`Transport::try_read`](super::Transport::try_read).
    pub(super) fn read(&mut self, buffer: &mut [u8], socket: &Socket) -> Result<usize> {
        while self.plain.is_empty() {
            if self.ended {
                return Ok(0);
            }
            self.fill(socket).map_err(Failure::into_io)?;
            // A key update, or the answer to one; what the socket does not take now goes before all else.
            self.drain(socket)?;
        }
        let rest = &self.plain[self.read..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.read += n;
        if self.read == self.plain.len() {
            (self.plain, self.read) = (Vec::new(), 0);
        }
        Ok(n)
    }

    /// Reads from the socket once, and decrypts what has become whole.
    fn fill(&mut self, socket: &Socket) -> std::result::Result<(), Failure> {
        INCOMING.with_borrow_mut(|buffer| {
            buffer.resize(limits::TLS_READ_BYTES, 0);
            let kept = self.incoming.len();
            if kept > limits::TLS_PARTIAL_BYTES {
                let why = format!("{kept} bytes of TLS and no message in them");
                return Err(Failure::Io(Error::new(ErrorKind::InvalidData, why)));
            }
            buffer[..kept].copy_from_slice(&self.incoming);
            let n = socket.try_read(&mut buffer[kept..]).map_err(Failure::Io)?;
            // Without a `close_notify` it may have been cut off. WebSockets and HTTP say themselves where
            // they end.
            self.ended |= n == 0;
            let whole = &mut buffer[..kept + n];
            let mut outgoing = std::mem::take(&mut self.outgoing);
            let done = self.step(whole, Want::Nothing, &mut outgoing);
            self.outgoing = outgoing;
            let done = match done {
                Ok(done) => done,
                Err(error) => {
                    self.incoming = whole.to_vec();
                    return Err(Failure::Tls(error));
                }
            };
            self.incoming = whole[done..].to_vec();
            Ok(())
        })
    }

    /// See [`Transport::try_write`](super::Transport::try_write).
    pub(super) fn write(&mut self, bytes: &[u8], socket: &Socket) -> Result<usize> {
        let before = self.outgoing.len() - self.sent;
        self.drain(socket)?;
        if self.is_pending() {
            let some = self.outgoing.len() - self.sent < before;
            return if some { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        OUTGOING.with_borrow_mut(|records| {
            let mut taken = 0;
            for chunk in bytes.chunks(limits::TLS_WRITE_BYTES) {
                records.clear();
                self.put(Want::Encrypt(chunk), records)?;
                taken += chunk.len();
                if !self.send(records, socket)? {
                    break;
                }
            }
            Ok(taken)
        })
    }

    /// Says that nothing more is sent.
    pub(super) fn close(&mut self, socket: &Socket) -> Result<()> {
        let mut records = Vec::new();
        self.put(Want::Close, &mut records)?;
        self.send(&records, socket).map(drop)
    }

    /// Encrypts behind what TLS itself has to say.
    fn put(&mut self, want: Want<'_>, records: &mut Vec<u8>) -> Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let done =
            self.step(&mut incoming, want, records).map_err(|e| Failure::Tls(e).into_io())?;
        incoming.drain(..done);
        self.incoming = incoming;
        Ok(())
    }

    /// Sends records, and keeps what the socket does not take; whether it took all.
    fn send(&mut self, records: &[u8], socket: &Socket) -> Result<bool> {
        // What was kept goes before them.
        let taken = if self.is_pending() { Ok(0) } else { socket.try_write(records) };
        let n = match taken {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.outgoing.extend_from_slice(&records[n..]);
        Ok(n == records.len())
    }

    /// Sends what was kept, as far as the socket takes it.
    fn drain(&mut self, socket: &Socket) -> Result<()> {
        while self.is_pending() {
            match socket.try_write(&self.outgoing[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.sent == self.outgoing.len() {
                (self.outgoing, self.sent) = (Vec::new(), 0);
            }
        }
        Ok(())
    }

    /// Goes on with the bytes that came, until they are used up; says how many of them are done with.
    fn step(
        &mut self,
        incoming: &mut [u8],
        want: Want<'_>,
        outgoing: &mut Vec<u8>,
    ) -> std::result::Result<usize, rustls::Error> {
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.session.process_tls_records(&mut incoming[done..]);
            let over = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    grow(outgoing, TLS_MESSAGE_BYTES, |room| {
                        data.encode(room).map_err(|error| match error {
                            EncodeError::InsufficientSize(size) => Short::By(size),
                            EncodeError::AlreadyEncoded => Short::Never,
                        })
                    })?;
                    false
                }
                // Nothing overtakes what was encoded: it goes out before all that follows.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    false
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    let short = |error| match error {
                        EncryptError::InsufficientSize(size) => Short::By(size),
                        EncryptError::EncryptExhausted => Short::Never,
                    };
                    match want {
                        Want::Nothing => {}
                        Want::Encrypt(bytes) => grow(outgoing, with_heads(bytes.len()), |room| {
                            traffic.encrypt(bytes, room).map_err(short)
                        })?,
                        Want::Close => grow(outgoing, TLS_MESSAGE_BYTES, |room| {
                            traffic.queue_close_notify(room).map_err(short)
                        })?,
                    }
                    true
                }
                // Early data is not accepted; blocked, it waits for the client.
                _ => true,
            };
            done += discard;
            if over {
                return Ok(done);
            }
        }
    }
}

/// Why something could not be put into the room that there was.
enum Short {
    By(InsufficientSizeError),
    /// It never can: keys are used up, and cannot be renewed.
    Never,
}

/// Appends what `put` writes, which is mostly not more than `expected` bytes.
fn grow(
    out: &mut Vec<u8>,
    expected: usize,
    mut put: impl FnMut(&mut [u8]) -> std::result::Result<usize, Short>,
) -> std::result::Result<(), rustls::Error> {
    let start = out.len();
    let mut room = expected;
    loop {
        out.resize(start + room, 0);
        match put(&mut out[start..]) {
            Ok(n) => {
                out.truncate(start + n);
                return Ok(());
            }
            Err(Short::By(size)) => room = size.required_size,
            Err(Short::Never) => {
                out.truncate(start);
                return Err(rustls::Error::EncryptError);
            }
        }
    }
}

/// Room for a message of TLS's own; larger ones say so.
const TLS_MESSAGE_BYTES: usize = 512;

/// Bytes of text as records: each of up to 16 KiB, with a head, a nonce and a tag.
fn with_heads(len: usize) -> usize {
    const RECORD: usize = 16 << 10;
    const AROUND: usize = 64;
    len + len.div_ceil(RECORD) * AROUND
}

/// Why there is nothing more to read.
#[derive(Debug)]
enum Failure {
    Io(Error),
    Tls(rustls::Error),
}

impl Failure {
    fn into_io(self) -> Error {
        match self {
            Failure::Io(error) => error,
            Failure::Tls(error) => Error::new(ErrorKind::InvalidData, error),
        }
    }
}
