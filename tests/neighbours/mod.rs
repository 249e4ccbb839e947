//! The clients next to a bad one: good ones that check every message, and what the server holds.
// Each test file uses its part.
#![allow(dead_code)]
#![allow(missing_docs, unreachable_pub)]

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::common::{Client, PATIENCE, Received, Server, pause};

/// The names of `names=numbered`.
pub fn symbol(index: usize) -> String {
    format!("sim:S{index:04}-USD")
}

pub fn subscribe(channel: &str, symbols: &[String]) -> Value {
    json!({"method": "subscribe", "params": {"channel": channel, "symbol": symbols}})
}

/// Where a client stands: by channel and symbol, the last sequence.
pub type Chains = HashMap<(String, String), u64>;

/// The sequences in the answer to a subscription.
pub fn begin(chains: &mut Chains, answer: &Value) {
    assert_eq!(answer["success"], true, "{answer}");
    for entry in answer["result"].as_array().expect("a result") {
        chains.insert(key(entry), entry["seq"].as_u64().expect("a seq"));
    }
}

pub fn key(message: &Value) -> (String, String) {
    let text = |name: &str| message[name].as_str().expect("text").to_owned();
    (text("channel"), text("symbol"))
}

/// Takes a message of data in; says whether it was one. An update that does not follow the
/// message before it is a failure.
pub fn follow(chains: &mut Chains, message: &Value) -> bool {
    let (Some(seq), None) = (message["seq"].as_u64(), message.get("method")) else { return false };
    let last = chains.get_mut(&key(message)).unwrap_or_else(|| panic!("not subscribed: {message}"));
    if message["type"] == "update" {
        assert_eq!(message["prev"].as_u64(), Some(*last), "a gap: {message}");
        assert!(seq > *last, "out of order: {message}");
    } else {
        assert!(seq >= *last, "out of order: {message}");
    }
    *last = seq;
    true
}

/// Good clients, each on a thread of its own, that read all the time.
pub struct Neighbours {
    threads: Vec<JoinHandle<()>>,
    counts: Arc<Vec<AtomicU64>>,
    /// Sequences that everybody has to reach, then the end.
    goal: Arc<OnceLock<Chains>>,
    symbols: usize,
}

/// Symbols that each of them listens to.
const EACH: usize = 4;

impl Neighbours {
    /// So many, subscribed to trades and quotes of a few of the first `symbols` symbols.
    pub fn start(server: &Server, count: usize, symbols: usize) -> Self {
        let counts: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let goal = Arc::new(OnceLock::new());
        let threads = (0..count)
            .map(|number| {
                let mine: Vec<String> =
                    (0..EACH).map(|i| symbol((number + i * symbols / EACH) % symbols)).collect();
                let mut client = Client::native(server);
                let mut chains = Chains::new();
                for channel in ["trade", "quote"] {
                    client.send(&subscribe(channel, &mine));
                }
                let (counts, goal) = (counts.clone(), goal.clone());
                std::thread::spawn(move || {
                    run(&mut client, &mut chains, &counts[number], &goal);
                })
            })
            .collect();
        let all = Neighbours { threads, counts, goal, symbols };
        all.get_more();
        all
    }

    /// Waits until every one of them has received more: they are served at this moment.
    pub fn get_more(&self) {
        let read = || -> Vec<u64> {
            self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let before = read();
        let until = Instant::now() + PATIENCE;
        while read().iter().zip(&before).any(|(now, before)| *now < before + 20) {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a good client failed");
            assert!(Instant::now() < until, "good clients get nothing more: {:?}", read());
            pause();
        }
    }

    /// Has all of them read up to what is newest now. They have then received every tick, in
    /// order, or the test has failed.
    pub fn finish(self, server: &Server) {
        let mut probe = Client::native(server);
        let mut newest = Chains::new();
        let all: Vec<String> = (0..self.symbols).map(symbol).collect();
        for channel in ["trade", "quote"] {
            begin(&mut newest, &probe.ask(&subscribe(channel, &all)));
        }
        drop(probe);
        self.goal.set(newest).expect("set once");
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn run(client: &mut Client, chains: &mut Chains, count: &AtomicU64, goal: &OnceLock<Chains>) {
    let mut answers = 0;
    loop {
        let message = client.message();
        if message.get("method").is_some() {
            begin(chains, &message);
            answers += 1;
        } else if follow(chains, &message) {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(message["channel"], "heartbeat", "to a good client: {message}");
        }
        let Some(goal) = goal.get() else { continue };
        if answers == 2 && chains.iter().all(|(key, seq)| *seq >= goal[key]) {
            return;
        }
    }
}

/// A client whose kernel buffers are small, here and, by the segments it asks for, at the server:
/// once it stops reading, the server notices soon.
pub fn small(server: &Server, path: &str) -> Client {
    Client::over(connect_small(server), path)
}

/// The connection of such a client.
pub fn connect_small(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.set_tcp_mss(536).expect("small segments");
    socket.connect(&server.address.into()).expect("connects");
    TcpStream::from(socket)
}

/// How the connection of a slow client ended.
pub struct Eviction {
    pub lag: Value,
    /// Messages of data before it.
    pub data: usize,
}

/// Reads what is left for a slow client: data in order up to some message, then the lag status,
/// then the close frame with 4008, then the end. Anything else is a failure.
pub fn read_eviction(client: &mut Client, chains: &mut Chains) -> Eviction {
    let mut data = 0;
    let lag = loop {
        match client.frame_in() {
            Received::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] == "lag" && message["policy"] == "disconnect" {
                    break message;
                }
                if message.get("method").is_some() {
                    begin(chains, &message);
                } else if follow(chains, &message) {
                    data += 1;
                }
            }
            Received::Ping(_) => {}
            other => panic!("{other:?} before the lag status"),
        }
    };
    match client.frame_in() {
        Received::Close(code, reason) => {
            assert_eq!(code, Some(4008), "{reason}");
            assert!(reason.starts_with("slow consumer"), "{reason}");
        }
        other => panic!("{other:?} after the lag status"),
    }
    assert_eq!(client.frame_in(), Received::End, "after the close frame");
    assert_eq!(client.unread(), b"", "after the close frame");
    Eviction { lag, data }
}

/// What the server holds, watched while a test runs.
pub struct Memory {
    before: u64,
    outboxes: f64,
}

impl Memory {
    pub fn watch(server: &Server) -> Self {
        Memory { before: server.rss(), outboxes: server.metric("tickcast_outboxes_bytes", "") }
    }

    /// Asserts that the server holds at most so much more than at the start.
    pub fn bounded(&self, server: &Server, bytes: u64) {
        let outboxes = server.metric("tickcast_outboxes_bytes", "");
        assert!(outboxes <= self.outboxes + bytes as f64, "outboxes hold {outboxes} bytes");
        let rss = server.rss();
        assert!(rss <= self.before + bytes + SLACK, "{} bytes, {rss} now", self.before);
    }

    /// Waits until the outboxes are as they were, and the memory is. (The server is one that
    /// [`Server::start_frugal`] started.)
    pub fn is_back(&self, server: &Server) {
        server.wait_metric("tickcast_outboxes_bytes", "", |now| now <= self.outboxes + 65_536.0);
        let until = Instant::now() + PATIENCE;
        while server.rss() > self.before + SLACK {
            let (before, now) = (self.before, server.rss());
            assert!(Instant::now() < until, "{before} bytes at first, {now} in the end");
            pause();
        }
    }
}

/// What the allocator, the encodings and the good clients' own traffic may add: measured at some
/// 3 MiB.
const SLACK: u64 = 12 << 20;

/// Open descriptors of the server.
pub fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc").count()
}

/// What two reactors ask the kernel about slow clients through, from the first one on.
const ASKING: usize = 2;

/// Waits until the server has at most so many descriptors, beside those.
pub fn wait_descriptors(server: &Server, most: usize) {
    let until = Instant::now() + PATIENCE;
    let most = most + ASKING;
    while descriptors(server) > most {
        assert!(Instant::now() < until, "{} descriptors, expected {most}", descriptors(server));
        pause();
    }
}
