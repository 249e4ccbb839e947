//! One client: its upgrade, its requests, and what it has pending.

use std::os::fd::OwnedFd;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sha1::{Digest, Sha1};
use tickcast_peers::feed::Feed;
use tickcast_peers::requests::reply;

use crate::frames::{Frames, Range};

/// The most that is read at a time, bytes.
const READ: usize = 16 << 10;
/// The most that a client may send before it makes sense, bytes.
const LONGEST: usize = 64 << 10;
/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// One connection. Small, because a thousand others stand idle beside it.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    upgraded: bool,
    /// What is not whole yet.
    input: Vec<u8>,
    /// What the socket did not take.
    backlog: Vec<u8>,
    /// Frames to send at the next flush.
    pub(crate) pending: Vec<Range>,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Client {
            socket,
            upgraded: false,
            input: Vec::new(),
            backlog: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Sends everything that is pending at once.
    pub(crate) fn flush(
        &mut self,
        frames: &Frames,
        scratch: &mut Vec<u8>,
        epoll: &OwnedFd,
        index: u32,
    ) -> Result<(), Errno> {
        if !self.backlog.is_empty() {
            for range in self.pending.drain(..) {
                self.backlog.extend_from_slice(frames.bytes(range));
            }
            return Ok(());
        }
        let bytes = match self.pending.as_slice() {
            [only] => frames.bytes(*only),
            several => {
                scratch.clear();
                several.iter().for_each(|range| scratch.extend_from_slice(frames.bytes(*range)));
                scratch
            }
        };
        let sent = send(&self.socket, bytes)?;
        if sent < bytes.len() {
            self.backlog.extend_from_slice(&bytes[sent..]);
            let interest = EventFlags::IN | EventFlags::OUT;
            epoll::modify(epoll, &self.socket, EventData::new_u64(index.into()), interest)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Goes on with what the socket did not take.
    pub(crate) fn send_backlog(&mut self, epoll: &OwnedFd, index: u32) -> anyhow::Result<()> {
        let sent = send(&self.socket, &self.backlog)?;
        self.backlog.drain(..sent);
        if self.backlog.is_empty() {
            self.backlog = Vec::new();
            let data = EventData::new_u64(index.into());
            epoll::modify(epoll, &self.socket, data, EventFlags::IN)?;
        }
        Ok(())
    }

    /// Reads, and answers what is whole; says which symbols the client has subscribed to.
    pub(crate) fn receive(
        &mut self,
        feed: &Feed,
        symbols: u32,
        scratch: &mut Vec<u8>,
    ) -> anyhow::Result<Vec<u32>> {
        scratch.resize(READ, 0);
        let length =
            match rustix::net::recv(&self.socket, scratch.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => bail!("the client left"),
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
        self.input.extend_from_slice(&scratch[..length]);
        if !self.upgraded && !self.upgrade()? {
            return Ok(Vec::new());
        }
        let mut subscribed = Vec::new();
        while let Some((opcode, payload)) = take_frame(&mut self.input)? {
            match opcode {
                1 => {
                    let reply = reply(&payload, symbols, |symbol| Some(feed.seq(symbol)));
                    self.answer(0x81, reply.answer.as_bytes())?;
                    subscribed.extend(reply.subscribed);
                }
                9 => self.answer(0x8a, &payload)?,
                10 => {}
                8 => {
                    self.answer(0x88, &payload)?;
                    bail!("the client asked for the close");
                }
                other => bail!("opcode {other}, expected whole text messages"),
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(subscribed)
    }

    /// Answers the upgrade when all of it is there; says whether it was.
    fn upgrade(&mut self) -> anyhow::Result<bool> {
        let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") else {
            anyhow::ensure!(self.input.len() < LONGEST, "an endless request");
            return Ok(false);
        };
        let head = std::str::from_utf8(&self.input[..end])?;
        let key = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .context("no Sec-WebSocket-Key")?;
        let digest = Sha1::digest([key.1.trim(), GUID].concat());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            STANDARD.encode(digest)
        );
        self.input.drain(..end + 4);
        self.upgraded = true;
        let sent = send(&self.socket, answer.as_bytes())?;
        anyhow::ensure!(sent == answer.len(), "the socket does not take the upgrade");
        Ok(true)
    }

    /// Sends a frame now, or behind what waits.
    fn answer(&mut self, first: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            long => {
                frame.push(126);
                frame.extend_from_slice(&u16::try_from(long)?.to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        if self.backlog.is_empty() {
            let sent = send(&self.socket, &frame)?;
            anyhow::ensure!(sent == frame.len(), "the socket does not take an answer");
        } else {
            self.backlog.extend_from_slice(&frame);
        }
        Ok(())
    }
}

/// Sends what the socket takes now.
fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

/// Takes a whole frame of a client off the front: its opcode and its payload, unmasked (RFC 6455 section 5.3).
fn take_frame(input: &mut Vec<u8>) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
    let [first, second, ..] = input[..] else { return Ok(None) };
    anyhow::ensure!(first & 0x80 != 0 && second & 0x80 != 0, "a fragment, or not masked");
    let (at, length) = match second & 0x7f {
        126 if input.len() < 4 => return Ok(None),
        126 => (4, usize::from(u16::from_be_bytes([input[2], input[3]]))),
        127 => bail!("a message over 65,535 bytes"),
        short => (2, usize::from(short)),
    };
    let end = at + 4 + length;
    if input.len() < end {
        return Ok(None);
    }
    let mask = [input[at], input[at + 1], input[at + 2], input[at + 3]];
    let masked = input[at + 4..end].iter().zip(mask.iter().cycle());
    let payload = masked.map(|(byte, mask)| byte ^ mask).collect();
    input.drain(..end);
    Ok(Some((first & 0x0f, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_unmasked() {
        // RFC 6455 section 5.7: a masked "Hello".
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for cut in 0..hello.len() {
            let mut input = hello[..cut].to_vec();
            assert_eq!(take_frame(&mut input).unwrap(), None, "cut at {cut}");
        }
        let mut input = [&hello[..], &[0x88, 0x80, 1, 2, 3, 4]].concat();
        assert_eq!(take_frame(&mut input).unwrap(), Some((1, b"Hello".to_vec())));
        assert_eq!(take_frame(&mut input).unwrap(), Some((8, Vec::new())));
        assert!(input.is_empty());
        let mut input = [0x81, 0xfe, 0x01, 0x00, 0, 0, 0, 0].to_vec();
        input.extend([b'x'; 256]);
        assert_eq!(take_frame(&mut input).unwrap().unwrap().1, [b'x'; 256]);
        assert!(take_frame(&mut vec![0x81, 0x05]).is_err(), "not masked");
    }
}
