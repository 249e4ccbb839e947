//! A server whose market is what a test says, and a client of the dialect.

use serde_json::{Value, json};

use crate::common::{Client, Received, Server};

const TOKEN: &str = "0123456789abcdef-test";

/// A server that takes ticks of a test's.
pub struct Desk(pub Server);

impl Desk {
    pub fn open(name: &str, more: &[&str]) -> Self {
        let file = format!("{}/token-{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::write(&file, TOKEN).expect("a file");
        let feed = ["--feed", "publish:", "--publish-token-file", &file];
        Desk(Server::start(&[&feed, more].concat()))
    }

    /// Has these happen. They are accepted, which is not yet to say that clients were told.
    pub fn publish(&self, messages: &[Value]) {
        let body: String = messages.iter().map(|message| format!("{message}\n")).collect();
        let (status, _, answer) = self.0.request(&format!(
            "POST /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(status, 200, "{answer}");
    }

    /// A client that is adopted: what happens from now on is told to it.
    pub fn client(&self, path: &str) -> Client {
        let mut client = Client::open(&self.0, path);
        ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]));
        client
    }
}

/// Microseconds of the Unix epoch that are no whole millisecond.
pub const EVENT: u64 = 1_723_161_254_123_456;

pub fn trade(symbol: &str, id: u64) -> Value {
    json!({"channel": "trade", "symbol": symbol, "price": "61837.63", "qty": "0.02", "side": "buy", "id": id,
        "seq": id, "ts": {"event": EVENT}})
}

pub fn quote(symbol: &str) -> Value {
    json!({"channel": "quote", "symbol": symbol, "bid": "61837.6", "bid_qty": "3", "ask": "61837.7",
        "ask_qty": "1.5"})
}

/// A book with 30 levels a side.
pub fn book(symbol: &str, seq: u64) -> Value {
    let side = |from: i64, step: i64| -> Vec<Value> {
        (0..30).map(|i| json!([(from + i * step).to_string(), "1"])).collect()
    };
    json!({"channel": "book", "type": "snapshot", "symbol": symbol, "seq": seq, "bids": side(1_000, -1),
        "asks": side(1_001, 1), "ts": {"event": EVENT}})
}

pub fn level(symbol: &str, seq: u64, bid: (&str, &str)) -> Value {
    json!({"channel": "book", "type": "update", "symbol": symbol, "seq": seq, "bids": [[bid.0, bid.1]],
        "ts": {"event": EVENT}})
}

/// Sends a request and waits for its answer; what streams say meanwhile is dropped.
pub fn ask(client: &mut Client, method: &str, params: &Value) -> Value {
    client.send(&json!({"method": method, "params": params, "id": "asked"}));
    client.until(|message| message["id"] == "asked")
}

/// The next text as it is; answers pings on the way.
pub fn text(client: &mut Client) -> String {
    loop {
        match client.frame_in() {
            Received::Text(text) => return text,
            Received::Ping(payload) => client.frame(0x8a, &payload),
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// The names of an object's members, sorted.
pub fn fields(message: &Value) -> String {
    let mut names: Vec<&str> =
        message.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}
