//! A book as clients of Binance keep it, and what Binance promises of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::{Client, Server, pause};

/// A side by price; prices and sizes as written, which is always with the same number of places.
type Side = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub bids: Side,
    pub asks: Side,
}

impl Book {
    /// Of a message with levels under these names.
    pub fn of(message: &Value, bids: &str, asks: &str) -> Self {
        let mut book = Book::default();
        book.change(&message[bids], &message[asks]);
        book
    }

    pub fn change(&mut self, bids: &Value, asks: &Value) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels.as_array().into_iter().flatten() {
                let text = |at: usize| places(level[at].as_str().expect("text"));
                match text(1) {
                    size if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) => {
                        side.remove(&text(0));
                    }
                    size => {
                        side.insert(text(0), size);
                    }
                }
            }
        }
    }
}

/// A number with eight places, as the dialect writes it and the native protocol does not.
fn places(number: &str) -> String {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    format!("{whole}.{part:0<8}")
}

/// An update of a book.
#[derive(Clone, Debug)]
pub struct Event {
    pub first: u64,
    pub last: u64,
    pub data: Value,
}

impl Event {
    pub fn of(data: &Value) -> Self {
        let number = |name: &str| data[name].as_u64().expect("a number");
        Event { first: number("U"), last: number("u"), data: data.clone() }
    }
}

/// A snapshot over HTTP.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub last: u64,
    pub book: Book,
}

impl Snapshot {
    fn answer(server: &Server, symbol: &str) -> (u16, Value) {
        let (status, body) = server.get(&format!("/api/v3/depth?symbol={symbol}&limit=5000"));
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// `None` where the book is not known at the moment.
    pub fn get(server: &Server, symbol: &str) -> Option<Self> {
        let (status, body) = Self::answer(server, symbol);
        if status == 503 {
            assert_eq!(body["code"], -1001, "{body}");
            return None;
        }
        assert_eq!(status, 200, "{body}");
        let last = body["lastUpdateId"].as_u64().expect("a number");
        Some(Snapshot { last, book: Book::of(&body, "bids", "asks") })
    }
}

/// Waits for the first book of a symbol.
pub fn wait_book(server: &Server, symbol: &str) {
    while Snapshot::answer(server, symbol).0 != 200 {
        pause();
    }
}

/// No update is missing: each begins where the one before it ended.
pub fn check_chain(events: &[Event]) {
    for pair in events.windows(2) {
        assert_eq!(pair[1].first, pair[0].last + 1, "{:?}", pair[1]);
    }
    for event in events {
        assert!(event.first <= event.last, "{event:?}");
    }
}

/// The book of a stream is that of every snapshot that was taken meanwhile: one at whose end an event
/// ends, and the next begins. Says how many there were.
pub fn check_snapshots(events: &[Event], snapshots: &[Snapshot]) -> usize {
    check_chain(events);
    let mut snapshots = snapshots.iter();
    let first = events[0].first;
    let Some(begin) = snapshots.find(|snapshot| snapshot.last + 1 >= first) else { return 0 };
    let mut book = begin.book.clone();
    let mut events = events.iter().peekable();
    let mut last = first - 1;
    while let Some(event) = events.next_if(|event| event.last <= begin.last) {
        last = event.last;
    }
    assert_eq!(last, begin.last, "no event ends where the first snapshot does");
    let mut checked = 1;
    for snapshot in snapshots {
        while let Some(event) = events.next_if(|event| event.last <= snapshot.last) {
            book.change(&event.data["b"], &event.data["a"]);
            last = event.last;
        }
        if events.peek().is_none() && last != snapshot.last {
            // Taken after the last event that was read.
            break;
        }
        assert_eq!(last, snapshot.last, "no event ends where a snapshot does");
        assert!(book == snapshot.book, "another book at {last}");
        checked += 1;
    }
    checked
}

/// The same for a subscriber of the native protocol, whose every event is told.
pub fn check_native(messages: &[Value], snapshots: &[Snapshot]) -> usize {
    let mut messages = messages.iter().peekable();
    let (mut book, mut seq, mut checked) = (Book::default(), 0, 0);
    for snapshot in snapshots {
        let is_next = |message: &&Value| message["seq"].as_u64() <= Some(snapshot.last);
        while let Some(message) = messages.next_if(|message| is_next(message)) {
            if message["type"] == "snapshot" {
                book = Book::default();
            } else {
                assert_eq!(message["prev"].as_u64(), Some(seq), "{message}");
            }
            book.change(&message["bids"], &message["asks"]);
            seq = message["seq"].as_u64().expect("a number");
        }
        if seq == 0 || messages.peek().is_none() {
            continue;
        }
        assert!(book == snapshot.book, "the native book at {seq} is not that of {}", snapshot.last);
        checked += 1;
    }
    checked
}

/// The next message that says something of a book.
pub fn next_book(client: &mut Client) -> Value {
    let is_update = |data: &Value| data["e"] == "depthUpdate";
    client.until(|message| {
        message["channel"] == "book" || is_update(message) || is_update(&message["data"])
    })
}
