//! One connection's state machine, from the upgrade to the close: bytes in, bytes out, no I/O and no clock.

use memchr::memmem;
use serde::Deserialize;

use crate::frame::{self, FrameError, Head};
use crate::measure::{Arrival, Group, NO_CODE};
use crate::message::{Kind, Scanner, stream_key};
use crate::stream::Streams;
use crate::target::Target;

/// The longest answer to the upgrade that is waited for, bytes.
const MAX_ANSWER: usize = 16 << 10;
/// The key of RFC 6455, section 1.3: any key of 16 bytes will do, and this one's answer is printed there.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to [`KEY`].
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The upgrade is asked for.
    Upgrading,
    /// The upgrade is done; [`Session::subscribe`] is to be called.
    Upgraded,
    /// So many answers to subscribe requests are still to come.
    Subscribing(usize),
    /// Everything is subscribed.
    Live,
    /// A close frame came, with this code ([`NO_CODE`] without one).
    Closed(u16),
}

/// What ends a session early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Anything but 101.
    #[error("the server refused the upgrade: {0}")]
    Refused(String),
    /// 101 without the right `Sec-WebSocket-Accept`.
    #[error("the server's answer to the upgrade has no `Sec-WebSocket-Accept: {ACCEPT}`")]
    Accept,
    /// The frames make no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A subscription failed.
    #[error("subscribing failed: {0}")]
    Subscribe(String),
}

/// The request that opens a connection.
pub fn upgrade_request(target: &Target) -> String {
    let Target { host, path, token, .. } = target;
    let token = token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tickcast.v1.json\r\n{}\r\n",
        token.unwrap_or_default()
    )
}

/// An answer to a subscribe request (docs/PROTOCOL.md, subscribe).
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    result: Vec<Subscribed>,
    #[serde(default)]
    errors: Vec<Refusal>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Subscribed {
    channel: String,
    symbol: String,
    seq: Option<u64>,
    #[serde(default)]
    epoch: String,
    /// Only a wildcard has it; its symbols are learnt as they come.
    matched: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// Bytes to send.
    pub out: Vec<u8>,
    /// The message whose fragments are coming in, when there is one.
    fragments: Option<Vec<u8>>,
    /// `seq`/`prev` of the streams, when they are checked.
    pub streams: Option<Streams>,
    mask: [u8; 4],
    closing: bool,
    /// Snapshots that came on this connection.
    pub snapshots: usize,
    /// Streams that were resumed on this connection, or would have been.
    pub resumes: usize,
    /// The run of the server that the numbers of the streams are from.
    epoch: String,
    /// The chains of the connection before go on.
    resuming: bool,
    /// The worst latency since it was last taken, nanoseconds.
    pub worst_ns: u64,
}

impl Session {
    /// A connection that has yet to send its upgrade request. `mask` is the masking key of every frame it will send.
    pub fn new(streams: Option<Streams>, mask: [u8; 4]) -> Self {
        Session {
            phase: Phase::Upgrading,
            out: Vec::new(),
            fragments: None,
            streams,
            mask,
            closing: false,
            snapshots: 0,
            resumes: 0,
            epoch: String::new(),
            resuming: false,
            worst_ns: 0,
        }
    }

    /// Begins again on a new connection; what the streams counted is kept. With `resume`, what comes on it is
    /// to follow what came before.
    pub fn restart(&mut self, resume: bool) {
        self.phase = Phase::Upgrading;
        self.out.clear();
        self.fragments = None;
        self.closing = false;
        (self.snapshots, self.resumes) = (0, 0);
        self.resuming = resume && !self.epoch.is_empty();
        if let (Some(streams), false) = (&mut self.streams, self.resuming) {
            streams.restart();
        }
    }

    /// The run of the server and the streams with which it goes on, where it does.
    pub fn place(&self) -> Option<(&str, &Streams)> {
        self.streams
            .as_ref()
            .filter(|_| self.resuming)
            .map(|streams| (self.epoch.as_str(), streams))
    }

    /// Where the connection stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether this side asked for the close.
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// Sends the requests; `answers` of them get one.
    pub fn subscribe(&mut self, requests: &[String], answers: usize) {
        for request in requests {
            frame::write(frame::TEXT, request.as_bytes(), self.mask, &mut self.out);
        }
        self.phase = if answers == 0 { Phase::Live } else { Phase::Subscribing(answers) };
    }

    /// Asks the server to close.
    pub fn close(&mut self) {
        self.closing = true;
        frame::write(frame::CLOSE, &1000u16.to_be_bytes(), self.mask, &mut self.out);
    }

    /// Takes what it can from the start of `bytes` and returns how much that was: whole frames only. Stops where [`Session::subscribe`] has
    /// to be called.
    ///
    /// # Errors
    /// When the session cannot go on.
    #[inline]
    pub fn receive(
        &mut self,
        bytes: &[u8],
        scanner: &Scanner,
        at: &Arrival,
        group: &mut Group,
    ) -> Result<usize, SessionError> {
        if self.phase == Phase::Upgrading {
            return self.upgraded(bytes);
        }
        let mut taken = 0;
        while !matches!(self.phase, Phase::Closed(_)) {
            let rest = &bytes[taken..];
            let Some(head) = Head::read(rest)? else { break };
            let frame_len = head.head_len + head.payload_len;
            let Some(payload) = rest.get(head.head_len..frame_len) else { break };
            if head.fin && head.opcode == frame::TEXT && self.fragments.is_none() {
                self.message(payload, frame_len, scanner, at, group)?;
            } else {
                self.rare(head, payload, scanner, at, group)?;
            }
            taken += frame_len;
        }
        Ok(taken)
    }

    fn upgraded(&mut self, bytes: &[u8]) -> Result<usize, SessionError> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > MAX_ANSWER {
                Err(SessionError::Refused("an endless answer".into()))
            } else {
                Ok(0)
            };
        };
        let answer = String::from_utf8_lossy(&bytes[..end]);
        let status = answer.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("101") {
            return Err(SessionError::Refused(status.chars().take(100).collect()));
        }
        let accepted = answer.lines().skip(1).filter_map(|line| line.split_once(':'));
        if !accepted.into_iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
        }) {
            return Err(SessionError::Accept);
        }
        self.phase = Phase::Upgraded;
        Ok(end + 4)
    }

    /// One whole message.
    #[inline]
    fn message(
        &mut self,
        payload: &[u8],
        frame_len: usize,
        scanner: &Scanner,
        at: &Arrival,
        group: &mut Group,
    ) -> Result<(), SessionError> {
        if let Phase::Subscribing(answers) = self.phase
            && memmem::find(payload, b"\"method\":").is_some()
        {
            self.answer(payload)?;
            self.phase = if answers == 1 { Phase::Live } else { Phase::Subscribing(answers - 1) };
            return Ok(());
        }
        let message = if self.streams.is_some() {
            scanner.scan(payload)
        } else {
            scanner.scan_unchecked(payload)
        };
        self.snapshots += usize::from(message.kind == Kind::Snapshot);
        self.resumes += usize::from(message.kind == Kind::Resume);
        if let Some(latency) = group.message(&message, frame_len, at, self.streams.as_mut()) {
            self.worst_ns = self.worst_ns.max(latency);
        }
        Ok(())
    }

    /// Everything but a whole text message.
    fn rare(
        &mut self,
        head: Head,
        payload: &[u8],
        scanner: &Scanner,
        at: &Arrival,
        group: &mut Group,
    ) -> Result<(), SessionError> {
        let frame_len = head.head_len + head.payload_len;
        match head.opcode {
            frame::PING => frame::write(frame::PONG, payload, self.mask, &mut self.out),
            frame::PONG => {}
            frame::CLOSE => {
                let code =
                    payload.first_chunk::<2>().map_or(NO_CODE, |code| u16::from_be_bytes(*code));
                if !self.closing {
                    frame::write(
                        frame::CLOSE,
                        payload.first_chunk::<2>().map_or(&[], |code| &code[..]),
                        self.mask,
                        &mut self.out,
                    );
                }
                self.phase = Phase::Closed(code);
            }
            frame::CONTINUATION => {
                let mut whole = self.fragments.take().ok_or(FrameError::Fragments)?;
                whole.extend_from_slice(payload);
                if whole.len() > frame::MAX_PAYLOAD {
                    return Err(FrameError::TooLong(whole.len() as u64).into());
                }
                if head.fin {
                    return self.message(&whole, frame_len, scanner, at, group);
                }
                self.fragments = Some(whole);
            }
            _ if self.fragments.is_some() => return Err(FrameError::Fragments.into()),
            _ if head.fin => return self.message(payload, frame_len, scanner, at, group),
            _ => self.fragments = Some(payload.to_vec()),
        }
        Ok(())
    }

    fn answer(&mut self, payload: &[u8]) -> Result<(), SessionError> {
        let failed = |why: String| Err(SessionError::Subscribe(why));
        let answer: Answer = match serde_json::from_slice(payload) {
            Ok(answer) => answer,
            Err(error) => {
                return failed(format!("the answer is not understood ({error}): {}", cut(payload)));
            }
        };
        if let Some(refusal) = answer.error.as_ref().or(answer.errors.first()) {
            let more = answer.errors.len().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return failed(format!("{}: {}{more}", refusal.code, refusal.message));
        }
        if !answer.success {
            return failed(format!("no success, and no reason: {}", cut(payload)));
        }
        if let Some(first) = answer.result.first() {
            self.epoch.clone_from(&first.epoch);
        }
        if let Some(streams) = self.streams.as_mut().filter(|_| !self.resuming) {
            for entry in answer.result.iter().filter(|entry| entry.matched.is_none()) {
                streams.subscribed(
                    stream_key(entry.channel.as_bytes(), entry.symbol.as_bytes()),
                    entry.seq,
                );
            }
        }
        Ok(())
    }
}

/// The beginning of a message, for an error.
pub fn cut(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{StampFormat, StampKey};

    const UPGRADE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    const ANSWER: &str = r#"{"method":"subscribe","req_id":1,"success":true,"result":[{"channel":"trade","symbol":"a","mode":"all","epoch":"k3","seq":4}]}"#;

    /// A frame as a server sends it.
    fn served(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(short as u8),
            long => {
                out.push(126);
                out.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    fn trade(seq: u64, prev: u64, pad: usize) -> String {
        format!(
            r#"{{"channel":"trade","type":"update","symbol":"a","seq":{seq},"prev":{prev},"pad":"{}","ts":{{"event":{seq}}}}}"#,
            "x".repeat(pad)
        )
    }

    /// Feeds `stream` in chunks of the given sizes, as an engine would: what is left over comes again with the next chunk.
    fn feed(
        session: &mut Session,
        group: &mut Group,
        stream: &[u8],
        chunks: &[usize],
    ) -> Result<(), SessionError> {
        let scanner = Scanner::new(StampFormat::native(StampKey::Event), false);
        let at = Arrival { start_ns: 0, end_ns: 1_000_000_000, ..Arrival::unmeasured(1_000_000) };
        let mut chunks = chunks.iter().copied().cycle();
        let (mut pending, mut rest) = (Vec::new(), stream);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunks.next().unwrap_or(1).clamp(1, rest.len()));
            rest = after;
            pending.extend_from_slice(chunk);
            loop {
                let taken = session.receive(&pending, &scanner, &at, group)?;
                pending.drain(..taken);
                if session.phase() != Phase::Upgraded {
                    break;
                }
                session.subscribe(&["{}".into()], 1);
            }
        }
        Ok(())
    }

    fn run(stream: &[u8], chunks: &[usize]) -> (Session, Group, Result<(), SessionError>) {
        let mut session = Session::new(Some(Streams::default()), [1, 2, 3, 4]);
        let mut group = Group::default();
        let result = feed(&mut session, &mut group, stream, chunks);
        (session, group, result)
    }

    fn greeting() -> Vec<u8> {
        [UPGRADE.as_bytes(), &served(0x81, ANSWER.as_bytes())].concat()
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(
            pads in prop::collection::vec(0usize..400, 1..20),
            chunks in prop::collection::vec(1usize..700, 1..20),
            hole in 0usize..20,
        ) {
            let mut stream = greeting();
            let mut prev = 4;
            for (index, &pad) in pads.iter().enumerate() {
                let skipped = u64::from(index == hole);
                stream.extend(served(0x81, trade(prev + 1 + skipped, prev + skipped, pad).as_bytes()));
                stream.extend(served(0x89, b"hello"));
                prev += 1 + skipped;
            }
            stream.extend(served(0x81, br#"{"channel":"heartbeat","time":1}"#));
            stream.extend(served(0x88, &4008u16.to_be_bytes()));
            let (session, group, result) = run(&stream, &chunks);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(group.updates, pads.len() as u64);
            prop_assert_eq!(group.gaps, u64::from(hole < pads.len()));
            prop_assert_eq!(group.heartbeats, 1);
            prop_assert_eq!(session.phase(), Phase::Closed(4008));
            // The subscribe request, a pong for each ping, and the close in return.
            prop_assert_eq!(session.out.len(), (6 + 2) + pads.len() * (6 + 5) + (6 + 2));
        }
    }

    #[test]
    fn fragments_are_put_together_around_control_frames() {
        let text = trade(5, 4, 0);
        let (first, last) = text.as_bytes().split_at(40);
        let stream = [
            greeting(),
            served(0x01, first),
            served(0x89, b""),
            served(0x00, b""),
            served(0x80, last),
        ]
        .concat();
        let (_, group, result) = run(&stream, &[7]);
        assert_eq!((result, group.updates, group.gaps), (Ok(()), 1, 0));
        let (_, _, mixed) =
            run(&[greeting(), served(0x01, first), served(0x81, last)].concat(), &[1000]);
        assert_eq!(mixed, Err(FrameError::Fragments.into()));
    }

    #[test]
    fn refusals_say_why() {
        let refused = run(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n", &[9]).2;
        assert_eq!(refused, Err(SessionError::Refused("HTTP/1.1 503 Service Unavailable".into())));
        assert_eq!(
            run(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", &[9]).2,
            Err(SessionError::Accept)
        );
        let answers = [
            (
                r#"{"method":"subscribe","success":false,"error":{"code":"unknown_field","message":"unknown field `dept`"}}"#,
                "unknown_field: unknown field `dept`",
            ),
            (
                r#"{"method":"subscribe","success":true,"result":[],"errors":[{"symbol":"FOO","code":"unknown_symbol","message":"no such symbol: FOO"},{"code":"x"}]}"#,
                "unknown_symbol: no such symbol: FOO (and 1 more)",
            ),
        ];
        for (answer, why) in answers {
            let stream = [UPGRADE.as_bytes(), &served(0x81, answer.as_bytes())].concat();
            assert_eq!(run(&stream, &[1000]).2, Err(SessionError::Subscribe(why.into())));
        }
    }

    #[test]
    fn the_first_update_must_follow_the_answers_seq() {
        let (session, group, _) =
            run(&[greeting(), served(0x81, trade(6, 5, 0).as_bytes())].concat(), &[1000]);
        assert_eq!((session.phase(), group.gaps), (Phase::Live, 1));
    }

    #[test]
    fn a_restart_keeps_what_was_counted_and_asks_again() {
        let (mut session, mut group, _) =
            run(&[greeting(), served(0x81, trade(5, 4, 0).as_bytes())].concat(), &[1000]);
        session.restart(false);
        assert_eq!(session.phase(), Phase::Upgrading);
        feed(
            &mut session,
            &mut group,
            &[greeting(), served(0x81, trade(5, 4, 0).as_bytes())].concat(),
            &[50],
        )
        .unwrap();
        assert_eq!(
            (group.updates, group.gaps),
            (2, 0),
            "the new answer says where the stream stands"
        );
    }

    #[test]
    fn a_stream_that_resumes_goes_on_and_misses_nothing_unnoticed() {
        let resume =
            br#"{"channel":"trade","type":"resume","symbol":"a","recovered":true,"seq":5}"#;
        for (first, gaps) in [(trade(6, 5, 0), 0), (trade(8, 7, 0), 1)] {
            let (mut session, mut group, _) =
                run(&[greeting(), served(0x81, trade(5, 4, 0).as_bytes())].concat(), &[1000]);
            assert!(session.place().is_none(), "there is nothing to go on from at first");
            session.restart(true);
            let (epoch, streams) = session.place().expect("it resumes");
            assert_eq!((epoch, streams.last(stream_key(b"trade", b"a"))), ("k3", Some(5)));
            // The answer says where the stream is by now, which is not where it goes on.
            let answer = ANSWER.replace("\"seq\":4", "\"seq\":9");
            let answer = [UPGRADE.as_bytes(), &served(0x81, answer.as_bytes())].concat();
            let rest = [served(0x81, resume), served(0x81, first.as_bytes())].concat();
            feed(&mut session, &mut group, &[answer, rest].concat(), &[50]).unwrap();
            assert_eq!((group.resumes, session.resumes, group.gaps), (1, 1, gaps));
        }
    }
}
