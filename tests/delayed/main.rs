//! Delayed data: the same stream, later, and never a byte sooner.
#![allow(missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod moves;
mod paths;
mod shown;
#[path = "../jwt/signer.rs"]
mod signer;
mod stream;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::kept::token;
use common::{Client, PATIENCE, Received, Server, pause};
use serde_json::Value;
use tempfile::NamedTempFile;

/// Of whom nothing delays, of who is delayed, and of who is delayed by more.
const LIVE: &str = "token-of-now";
const LATE: &str = "token-of-later";
const LATER: &str = "token-of-later-still";

const MARKET: &str = "synthetic:symbols=4,rate=500,names=numbered";

/// For clients that may be slower than the feed: it is not what is tested.
const PATIENT: [&str; 4] = ["--outbox-bytes", "256MiB", "--slow-grace", "60s"];

/// A token for all symbols.
fn all(name: &str, text: &str, more: &str) -> String {
    token(name, text, &format!("symbols = [\"*\"]\n{more}"))
}

fn access(delay: &str) -> String {
    all("live", LIVE, "operator = true") + &all("late", LATE, &format!("delay = \"{delay}\""))
}

/// A server with a market that is delayed, or several.
struct Two {
    server: Server,
    file: NamedTempFile,
}

impl Two {
    fn new(delay: &str, spool: &Path, more: &[&str]) -> Self {
        Self::start(Server::start, &access(delay), spool, more)
    }

    /// The same with this file of access.
    fn start(start: impl Fn(&[&str]) -> Server, text: &str, spool: &Path, more: &[&str]) -> Self {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writes");
        let (path, spool) = (file.path().to_str().expect("text"), spool.to_str().expect("text"));
        let args = ["--access", path, "--spool-dir", spool, "--reactors", "1"];
        let args = [&args[..], more].concat();
        Two { server: start(&args), file }
    }

    fn get(&self, token: &str, path: &str) -> (u16, String, String) {
        self.server.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    }

    /// A stream of an upgrade or of events, whose head is still to be read.
    fn send(&self, token: &str, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("writes");
        stream
    }

    fn client(&self, token: &str, path: &str) -> Client {
        let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        Client::answered(self.send(token, path, headers))
    }

    fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get(LIVE, "/metrics").2;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("it"))
            .sum()
    }

    fn wait_metric(&self, name: &str, label: &str, wanted: impl Fn(f64) -> bool) {
        while !wanted(self.metric(name, label)) {
            pause();
        }
    }

    /// Which market a token is answered from.
    fn epoch(&self, token: &str) -> String {
        let body = self.get(token, "/v1/symbols").2;
        let epoch = body.split("\"epoch\":\"").nth(1).and_then(|rest| rest.split('"').next());
        epoch.expect("an epoch").to_owned()
    }

    /// Waits until the delayed market knows this symbol's book and trades.
    fn wait_late(&self, symbol: &str) {
        for path in ["ticker", "book"] {
            while self.get(LATE, &format!("/v1/{path}/{symbol}")).0 != 200 {
                pause();
            }
        }
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as u64
}

/// All times of receipt in a text, microseconds.
fn received(text: &str) -> Vec<u64> {
    let digits = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().expect("a time")
    };
    text.split("\"recv\":").skip(1).map(digits).collect()
}

/// Panics where something in a text is younger than the delay.
fn assert_old(text: &str, delay_us: u64) {
    let now = now_us();
    for recv in received(text) {
        assert!(recv + delay_us <= now, "{} us too soon: {text}", recv + delay_us - now);
    }
}

/// By how many seconds an answer says that it is delayed.
fn told_s(head: &str) -> Option<u64> {
    let head = head.to_lowercase();
    let told = head.lines().find_map(|line| line.strip_prefix("tickcast-delay: "))?;
    Some(told.parse().expect("a number"))
}

fn number(message: &Value, name: &str) -> u64 {
    message[name].as_u64().unwrap_or_else(|| panic!("{name} in {message}"))
}

/// The next texts of a client.
fn texts(client: &mut Client) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        loop {
            match client.frame_in() {
                Received::Text(text) => return Some(text),
                Received::Ping(payload) => client.frame(0x8a, &payload),
                other => panic!("expected a message, got {other:?}"),
            }
        }
    })
}
