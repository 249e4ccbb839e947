//! A publisher's WebSocket.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tickcast_feeds::lines::{MAX_LINE_BYTES, Outcome, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Door, text_of};
use crate::http::Plane;
use crate::http::socket::Socket;
use crate::limits;
use crate::session::reader::{Incoming, ReadLimits, Reader};
use crate::wire::deflate::Inflater;
use crate::wire::{frame, native};

/// One of them. Nothing of it is read while the feed has not dealt with what was read before, so
/// that TCP holds back whoever is too fast.
pub(super) struct Connection<'a> {
    plane: &'a Plane,
    door: &'a Door,
    stream: Socket,
    source: Source,
    /// Each message is answered, not only those with rejected lines.
    acks: bool,
    reader: Reader,
    /// Messages that were read, each of one or more lines.
    messages: Vec<Vec<u8>>,
    /// Frames to be sent.
    out: Vec<u8>,
}

/// It is over; what was to be said has been.
struct Over;

impl<'a> Connection<'a> {
    pub(super) fn new(
        plane: &'a Plane,
        door: &'a Door,
        stream: Socket,
        source: Source,
        acks: bool,
    ) -> Self {
        let (messages, out) = (Vec::new(), Vec::new());
        Connection { plane, door, stream, source, acks, reader: Reader::new(), messages, out }
    }

    /// Serves it to its end; `early` is what came with the handshake.
    pub(super) async fn run(mut self, early: Vec<u8>) {
        let mut buffer = early;
        loop {
            if self.take(&mut buffer).await.is_err() {
                let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, self.linger()).await;
                return;
            }
            buffer.resize(limits::READ_BUFFER_BYTES, 0);
            match self.read(&mut buffer).await {
                Some(len) => buffer.truncate(len),
                None => return,
            }
        }
    }

    /// Reads what still comes: dropped at once, it would reset the connection, and the publisher
    /// would not learn why it is closed.
    async fn linger(&mut self) {
        let _ = self.stream.shutdown().await; // it may have gone by itself
        let mut rest = vec![0; limits::READ_BUFFER_BYTES];
        while self.stream.read(&mut rest).await.is_ok_and(|len| len > 0) {}
    }

    /// Reads more; `None` at the end, or when the peer is dead or the server stops.
    async fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let (interval, timeout) = (self.door.ping_interval, self.door.ping_timeout);
        for patience in [interval, timeout] {
            if self.plane.draining.load(Ordering::Relaxed) {
                self.drain().await;
                return None;
            }
            tokio::select! {
                read = self.stream.read(buffer) => return read.ok().filter(|len| *len > 0),
                () = self.door.closing.notified() => {
                    self.drain().await;
                    return None;
                }
                () = tokio::time::sleep(patience) => {
                    frame::ping(b"", &mut self.out);
                    self.write().await.ok()?;
                }
            }
        }
        None
    }

    async fn drain(&mut self) {
        frame::close(1012, "the server restarts", &mut self.out);
        let _ = self.write().await; // it may have gone by itself
    }

    /// Takes the bytes that were read: hands their messages in, answers.
    async fn take(&mut self, bytes: &mut [u8]) -> Result<(), Over> {
        let Connection { reader, messages, out, .. } = self;
        let limits = ReadLimits { max_message_bytes: MAX_LINE_BYTES, deflate: false };
        let mut over = false;
        let read = reader.feed(bytes, &limits, &mut Inflater::default(), &mut |incoming| {
            match incoming {
                Incoming::Text(text) => messages.push(text.as_bytes().to_vec()),
                Incoming::Binary(bytes) => messages.push(bytes.to_vec()),
                Incoming::Ping(payload) => frame::pong(payload, out),
                Incoming::Pong(_) => {}
                Incoming::Close { code, .. } => {
                    match code {
                        Some(code) => frame::close(code, "", out),
                        None => frame::close_empty(out),
                    }
                    over = true;
                }
            }
            ControlFlow::Continue(())
        });
        if !self.acks && self.messages.len() > 1 {
            // One hand-over for all that came together.
            self.messages = vec![self.messages.join(&b'\n')];
        }
        for message in std::mem::take(&mut self.messages) {
            self.publish(message).await?;
        }
        if let Err(violation) = read {
            frame::close(violation.code(), &violation.to_string(), &mut self.out);
            over = true;
        }
        self.write().await?;
        if over { Err(Over) } else { Ok(()) }
    }

    async fn publish(&mut self, message: Vec<u8>) -> Result<(), Over> {
        let Some(outcome) = self.door.post(self.source, message).await else {
            frame::close(1013, "the feed is busy or has ended, try again", &mut self.out);
            self.write().await?;
            return Err(Over);
        };
        let Outcome { accepted, rejected, told, closed, wait_ns } = outcome;
        for told in &told {
            frame::text(text_of(told), &mut self.out);
        }
        if self.acks {
            let mut ack = b"{\"type\":\"ack\",\"accepted\":".to_vec();
            native::push_int(&mut ack, accepted);
            ack.extend_from_slice(b",\"rejected\":");
            native::push_int(&mut ack, rejected);
            ack.push(b'}');
            frame::text(ack, &mut self.out);
        }
        if closed {
            let reason = told.last().map_or("", |told| &told.message);
            frame::close(1008, reason, &mut self.out);
        }
        self.write().await?;
        if closed {
            return Err(Over);
        }
        if wait_ns > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_nanos(wait_ns)) => {}
                () = self.door.closing.notified() => {}
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Over> {
        let out = std::mem::take(&mut self.out);
        let write = self.stream.write_all(&out);
        match tokio::time::timeout(limits::PUBLISH_WRITE_TIMEOUT, write).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over),
        }
    }
}
