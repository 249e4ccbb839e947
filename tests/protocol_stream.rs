//! What subscribers receive: whole chains, and books that agree with each other at every depth.

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{Client, Server};
use serde_json::{Value, json};
use tickcast_feeds::Decimal;

fn server(rate: u32) -> Server {
    let feed = format!("synthetic:symbols=4,rate={rate},zipf=0,names=numbered");
    Server::start(&["--reactors", "1", "--feed", &feed])
}

fn decimal(value: &Value) -> Decimal {
    let text = value.as_str().expect("a decimal is a string");
    let number: Decimal = text.parse().expect("a decimal");
    assert_eq!(number.to_string(), text, "canonical: no trailing zeros");
    number
}

fn stamps(message: &Value) {
    let micros = |value: &Value| value.as_u64().is_some_and(|n| n / 1_000_000_000_000_000 < 10);
    assert!(micros(&message["ts"]["recv"]), "{message}");
    assert!(message["ts"].get("event").is_none_or(micros), "{message}");
}

#[test]
fn chains_are_whole_on_every_channel() {
    let server = server(3000);
    let mut client = Client::native(&server);
    let mut last: HashMap<String, u64> = HashMap::new();
    for channel in ["trade", "quote", "book", "status"] {
        client.send(
            &json!({"method": "subscribe", "params": {"channel": channel, "symbol": "sim:*"}}),
        );
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut snapshots = 0;
    for _ in 0..5000 {
        let message = client.next();
        if message.get("method").is_some() || message["channel"] == "status" {
            continue;
        }
        stamps(&message);
        let (channel, symbol) = (message["channel"].to_string(), message["symbol"].to_string());
        for field in ["price", "qty", "bid", "bid_qty", "ask", "ask_qty"] {
            if message.get(field).is_some() {
                decimal(&message[field]);
            }
        }
        let seq = message["seq"].as_u64().expect("a sequence");
        let before = last.insert(format!("{channel}{symbol}"), seq);
        if message["type"] == "snapshot" {
            snapshots += 1;
            assert!(message.get("prev").is_none() && before.is_none(), "{message}");
        } else {
            let prev = message["prev"].as_u64();
            assert!(prev < Some(seq), "{message}");
            assert!(before.is_none() || before == prev, "{before:?}: {message}");
        }
        *counts.entry(channel).or_default() += 1;
    }
    assert!(snapshots >= 4, "each book at least");
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 200), "{counts:?}");
}

type Side = BTreeMap<Decimal, Decimal>;

/// A book as a client keeps it.
#[derive(Default)]
struct Book {
    sides: [Side; 2],
    seq: u64,
}

impl Book {
    fn apply(&mut self, message: &Value) {
        if message["type"] == "snapshot" {
            self.sides = Default::default();
        } else {
            assert_eq!(message["prev"].as_u64(), Some(self.seq), "{message}");
        }
        self.seq = message["seq"].as_u64().expect("a sequence");
        for (side, name) in self.sides.iter_mut().zip(["bids", "asks"]) {
            for level in message[name].as_array().expect("levels") {
                let (price, size) = (decimal(&level[0]), decimal(&level[1]));
                if level[1] == "0" {
                    assert!(side.remove(&price).is_some(), "a level that was not there: {message}");
                } else {
                    side.insert(price, size);
                }
            }
        }
    }

    /// The best levels of both sides.
    fn top(&self, depth: usize) -> [Vec<(Decimal, Decimal)>; 2] {
        let copy = |(price, size): (&Decimal, &Decimal)| (*price, *size);
        [
            self.sides[0].iter().rev().take(depth).map(copy).collect(),
            self.sides[1].iter().take(depth).map(copy).collect(),
        ]
    }
}

#[test]
fn a_book_is_the_top_of_the_full_one_at_every_depth_and_event() {
    let server = server(2000);
    let symbol = "sim:S0001-USD";
    let mut client = Client::native(&server);
    let depths = [json!("full"), json!(1), json!(3), json!(25), json!(1000)];
    for depth in &depths {
        client.send(&json!({"method": "subscribe",
            "params": {"channel": "book", "symbol": symbol, "depth": depth}}));
    }
    let mut books: HashMap<usize, Book> = HashMap::new();
    // What each depth showed after each of its messages, and all that the full book has been.
    let mut shown = Vec::new();
    let mut full: BTreeMap<u64, [Vec<(Decimal, Decimal)>; 2]> = BTreeMap::new();
    while full.len() < 600 {
        let message = client.next();
        if message["channel"] != "book" {
            continue;
        }
        stamps(&message);
        let depth = message.get("depth").map_or(0, |depth| depth.as_u64().expect("a number"));
        let book = books.entry(depth as usize).or_default();
        book.apply(&message);
        if depth == 0 {
            full.insert(book.seq, book.top(usize::MAX));
        } else {
            let top = book.top(usize::MAX);
            assert!(top.iter().all(|side| side.len() <= depth as usize), "{message}");
            shown.push((depth as usize, book.seq, top));
        }
    }
    let mut compared: HashMap<usize, u32> = HashMap::new();
    for (depth, seq, top) in shown {
        // Depths that were subscribed before the full book, or flushed after its last event.
        let Some(whole) = full.get(&seq) else { continue };
        for (side, whole) in top.iter().zip(whole) {
            assert_eq!(side[..], whole[..whole.len().min(depth)], "depth {depth} at {seq}");
        }
        *compared.entry(depth).or_default() += 1;
    }
    assert!(compared.len() == 4 && compared.values().all(|n| *n > 20), "{compared:?}");

    // Again: a fresh snapshot, and the chain goes on from it.
    client.subscribe("book", &[symbol]);
    let is_full = |m: &Value| m["channel"] == "book" && m.get("depth").is_none();
    let fresh = client.until(|m| is_full(m) && m["type"] == "snapshot");
    let mut book = Book::default();
    book.apply(&fresh);
    for _ in 0..20 {
        book.apply(&client.until(is_full));
    }
}
