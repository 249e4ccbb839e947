//! A small server that speaks enough of docs/PROTOCOL.md to be loaded: one thread per connection, ticks on a schedule, and flaws to order.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the server does wrong, or in its own way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// Ticks per second and symbol; 0 sends none.
    pub(crate) rate: u64,
    /// Leaves out one tick of every symbol on this connection (counted from 0), after so many.
    pub(crate) hole: Option<(usize, u64)>,
    /// Sends no more on this connection after so many ticks, and says nothing.
    pub(crate) silent: Option<(usize, u64)>,
    /// Closes with this code when a write waits for longer than this.
    pub(crate) evict: Option<(u16, Duration)>,
    /// Closes every connection with this code after so many ticks.
    pub(crate) close_after: Option<(u16, u64)>,
    /// Answers subscriptions with this error.
    pub(crate) refuse: Option<&'static str>,
    /// Answers the upgrade with this status line.
    pub(crate) status: Option<&'static str>,
    /// Bytes of padding in every tick, so that buffers fill.
    pub(crate) padding: usize,
    /// Pings after every tick, and counts the pongs.
    pub(crate) pings: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) pongs: AtomicUsize,
    pub(crate) subscribes: AtomicUsize,
}

pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeServer {
    pub(crate) fn start(manners: Manners) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (stopped, counts) = (Arc::clone(&stop), Arc::clone(&seen));
        let acceptor = thread::spawn(move || {
            let mut sessions = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let number = counts.connections.fetch_add(1, Ordering::AcqRel);
                let (manners, stop, seen) =
                    (manners.clone(), Arc::clone(&stopped), Arc::clone(&counts));
                sessions.push(thread::spawn(move || {
                    // A client that leaves ends its session; nothing else matters here.
                    let _ = Connection { stream, number, manners, stop, seen }.serve();
                }));
            }
            for session in sessions {
                session.join().unwrap();
            }
        });
        FakeServer { address, seen, stop, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let joined = acceptor.join();
            assert!(joined.is_ok() || thread::panicking(), "the fake server panicked");
        }
    }
}

pub(crate) const SYMBOLS: [&str; 4] =
    ["sim:S0000-USD", "sim:S0001-USD", "sim:S0002-USD", "sim:S0003-USD"];

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

struct Connection {
    stream: TcpStream,
    number: usize,
    manners: Manners,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
}

/// One symbol that the client gets.
struct Feed {
    symbol: String,
    seq: u64,
    prev: u64,
}

impl Connection {
    fn serve(mut self) -> std::io::Result<()> {
        self.stream.set_nodelay(true)?;
        if self.manners.evict.is_some() {
            // By itself the kernel takes megabytes for who does not read, which takes long to fill, and as
            // long to be read in the end.
            rustix::net::sockopt::set_socket_send_buffer_size(&self.stream, 64 << 10)?;
        }
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            self.more(&mut bytes)?;
        }
        bytes.clear();
        if let Some(status) = self.manners.status {
            return self
                .stream
                .write_all(format!("{status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
        self.stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )?;
        self.stream.set_nonblocking(true)?;
        let mut feeds: Vec<Feed> = Vec::new();
        let began = now_us();
        let mut sent = 0;
        while !self.stop.load(Ordering::Acquire) {
            match self.more(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => other?,
            }
            while let Some((opcode, payload)) = take_frame(&mut bytes) {
                match opcode {
                    1 => self.request(&payload, &mut feeds)?,
                    8 => return self.frame(0x88, &payload),
                    10 => drop(self.seen.pongs.fetch_add(1, Ordering::AcqRel)),
                    other => panic!("unexpected opcode {other}"),
                }
            }
            let due = (now_us() - began) * self.manners.rate / 1_000_000;
            while !feeds.is_empty() && sent < due {
                if !self.tick(&mut feeds, sent, began)? {
                    return Ok(());
                }
                sent += 1;
            }
            if feeds.is_empty() {
                sent = due;
            }
            #[expect(clippy::disallowed_methods, reason = "a test waits for another thread")]
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// One tick of every symbol; false when the connection is over.
    fn tick(&mut self, feeds: &mut [Feed], sent: u64, began: u64) -> std::io::Result<bool> {
        let left_out =
            self.manners.hole.is_some_and(|(number, at)| number == self.number && at == sent);
        let silent =
            self.manners.silent.is_some_and(|(number, at)| number == self.number && sent >= at);
        for feed in feeds.iter_mut() {
            feed.prev = feed.seq;
            // Jumps, as a venue's numbers may.
            feed.seq += 3;
            if left_out || silent {
                continue;
            }
            let text = format!(
                r#"{{"channel":"trade","type":"update","symbol":"{}","seq":{},"prev":{},"side":"buy","price":"1.5","qty":"{}","ts":{{"event":{},"recv":{}}}}}"#,
                feed.symbol,
                feed.seq,
                feed.prev,
                "1".repeat(self.manners.padding + 1),
                began + sent * 1_000_000 / self.manners.rate,
                now_us(),
            );
            if !self.frame_or_evict(text.as_bytes())? {
                return Ok(false);
            }
        }
        if self.manners.pings {
            self.frame(0x89, b"are you there")?;
        }
        if let Some((code, after)) = self.manners.close_after
            && sent >= after
        {
            self.frame(0x88, &code.to_be_bytes())?;
            return Ok(false);
        }
        Ok(true)
    }

    fn request(&mut self, payload: &[u8], feeds: &mut Vec<Feed>) -> std::io::Result<()> {
        let request: serde_json::Value =
            serde_json::from_slice(payload).expect("the load test sends JSON");
        let id = &request["req_id"];
        if request["method"] == "list_symbols" {
            let result: Vec<_> = SYMBOLS
                .iter()
                .map(|symbol| serde_json::json!({ "symbol": symbol, "venue": "sim" }))
                .collect();
            let answer = serde_json::json!({ "method": "list_symbols", "req_id": id, "success": true, "result": result });
            return self.frame(0x81, answer.to_string().as_bytes());
        }
        assert_eq!(request["method"], "subscribe", "{request}");
        self.seen.subscribes.fetch_add(1, Ordering::AcqRel);
        if let Some(code) = self.manners.refuse {
            let error =
                serde_json::json!({ "symbol": "x", "code": code, "message": "no such symbol: x" });
            let answer = serde_json::json!({ "method": "subscribe", "req_id": id, "success": false, "result": [], "errors": [error] });
            return self.frame(0x81, answer.to_string().as_bytes());
        }
        let mut result = Vec::new();
        for symbol in request["params"]["symbol"].as_array().expect("an array of symbols") {
            let symbol = symbol.as_str().expect("a symbol").to_string();
            result.push(serde_json::json!({ "channel": "trade", "symbol": symbol, "mode": "all", "epoch": "e", "seq": 100 }));
            feeds.push(Feed { symbol, seq: 100, prev: 100 });
        }
        let answer = serde_json::json!({ "method": "subscribe", "req_id": id, "success": true, "result": result, "errors": [] });
        self.frame(0x81, answer.to_string().as_bytes())
    }

    fn more(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => {
                bytes.extend_from_slice(&chunk[..length]);
                Ok(())
            }
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) -> std::io::Result<()> {
        self.write(first, payload, Duration::from_secs(10)).map(drop)
    }

    /// Sends a text message; one that cannot be sent in time costs the client its place: the frame is finished when it reads again,
    /// and the close frame is the last thing that it gets.
    fn frame_or_evict(&mut self, payload: &[u8]) -> std::io::Result<bool> {
        let (code, patience) = self.manners.evict.unwrap_or((0, Duration::from_secs(10)));
        match self.write(0x81, payload, patience)? {
            rest if rest.is_empty() => Ok(true),
            rest => {
                self.stream.set_nonblocking(false)?;
                self.stream.write_all(&rest)?;
                self.frame(0x88, &code.to_be_bytes())?;
                Ok(false)
            }
        }
    }

    /// Writes for so long; returns what could not be written.
    fn write(&mut self, first: u8, payload: &[u8], patience: Duration) -> std::io::Result<Vec<u8>> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            middle @ 126..=0xffff => {
                frame.push(126);
                frame.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        let mut waited = Duration::ZERO;
        while !frame.is_empty() && waited < patience {
            match self.stream.write(&frame) {
                Ok(length) => drop(frame.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a test waits for another thread"
                    )]
                    thread::sleep(Duration::from_millis(1));
                    waited += Duration::from_millis(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(frame)
    }
}

/// Takes one masked frame from the front.
fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0x80, "a client must mask");
    let (head, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => panic!("a request of over 64 KiB"),
        short => (2, usize::from(short)),
    };
    if bytes.len() < head + 4 + length {
        return None;
    }
    let mask: Vec<u8> = bytes[head..head + 4].to_vec();
    let payload = bytes[head + 4..head + 4 + length]
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    bytes.drain(..head + 4 + length);
    Some((first & 0x0f, payload))
}

/// Runs the load test against the server; `words` are its flags.
pub(crate) fn load(
    server: &FakeServer,
    words: &str,
) -> Result<tickcast_loadtest::run::Outcome, tickcast_loadtest::RunError> {
    use clap::Parser;
    let url = server.url();
    let fixed = [
        "tickcast-loadtest",
        "--url",
        &url,
        "--quiet",
        "--settle",
        "0",
        "--warmup",
        "0.1",
        "--drain",
        "1",
    ];
    let args = tickcast_loadtest::args::Args::try_parse_from(
        fixed.into_iter().chain(words.split_whitespace()),
    )
    .unwrap();
    tickcast_loadtest::run::run(&args)
}

/// The kinds of client by name.
pub(crate) fn by_name(
    outcome: &tickcast_loadtest::run::Outcome,
) -> HashMap<&'static str, tickcast_loadtest::summary::GroupSummary> {
    outcome.summary.groups.iter().map(|group| (group.name, group.clone())).collect()
}
