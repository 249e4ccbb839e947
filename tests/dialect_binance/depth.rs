//! A book over HTTP and the streams of its changes fit: always, to the number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::books::{Event, Snapshot, check_native, check_snapshots, next_book, wait_book};
use crate::common::stream::Random;
use crate::common::{Client, Server, captures, pause};
use crate::desk::{Desk, ask, level};

/// A client that reads until it is told to stop, on a thread of its own, and gives what came.
struct Reading {
    thread: JoinHandle<Vec<Value>>,
}

impl Reading {
    /// Of both streams of these symbols on one connection.
    fn dialect(server: &Server, symbols: &[&str], stop: &Arc<AtomicBool>) -> Self {
        Self::start(subscribed(server, symbols, &["depth", "depth@100ms"]), false, stop)
    }

    /// Of one stream of each symbol, which goes out of and into envelopes all the time.
    fn turning(server: &Server, symbols: &[&str], stop: &Arc<AtomicBool>) -> Self {
        Self::start(subscribed(server, symbols, &["depth@100ms"]), true, stop)
    }

    fn native(server: &Server, stop: &Arc<AtomicBool>) -> Self {
        let mut client = Client::native(server);
        client.send(&json!({"method": "subscribe", "params": {"channel": "book", "symbol": "*"}}));
        Self::start(client, false, stop)
    }

    fn start(mut client: Client, turns: bool, stop: &Arc<AtomicBool>) -> Self {
        let stop = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut messages = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                messages.push(next_book(&mut client));
                if turns && messages.len() % 7 == 0 {
                    // Its answers are no books.
                    let params = json!(["combined", messages.len() % 2 == 0]);
                    client.send(&json!({"method": "SET_PROPERTY", "params": params, "id": 1}));
                }
            }
            messages
        });
        Reading { thread }
    }

    fn end(self) -> Vec<Value> {
        self.thread.join().expect("a client that reads")
    }
}

fn subscribed(server: &Server, symbols: &[&str], kinds: &[&str]) -> Client {
    let streams: Vec<String> = symbols
        .iter()
        .flat_map(|symbol| kinds.iter().map(move |kind| format!("{symbol}@{kind}")))
        .collect();
    let mut client = Client::open(server, "/stream");
    ask(&mut client, "SUBSCRIBE", &json!(streams));
    client
}

/// The updates of each stream.
fn by_stream(messages: &[Value]) -> BTreeMap<String, Vec<Event>> {
    let mut streams = BTreeMap::<String, Vec<Event>>::new();
    for message in messages {
        // Only those that turn have some without an envelope.
        let (stream, data) = match message["stream"].as_str() {
            Some(stream) => (stream.to_owned(), &message["data"]),
            None => {
                let symbol = message["s"].as_str().expect("a symbol").to_lowercase();
                (format!("{symbol}@depth@100ms"), message)
            }
        };
        streams.entry(stream).or_default().push(Event::of(data));
    }
    streams
}

/// Asks for books at random moments, while clients follow their streams and `busy` may do something.
fn check(server: &Server, symbols: &[&str], count: usize, mut busy: impl FnMut(usize)) {
    let stop = Arc::new(AtomicBool::new(false));
    // Several: each reactor has some.
    let mut readers: Vec<Reading> =
        (0..3).map(|_| Reading::dialect(server, symbols, &stop)).collect();
    readers.push(Reading::turning(server, symbols, &stop));
    let native = Reading::native(server, &stop);
    let mut random = Random::new(7);
    let mut snapshots = vec![Vec::new(); symbols.len()];
    for round in 0..count {
        for (symbol, snapshots) in symbols.iter().zip(&mut snapshots) {
            snapshots.extend(Snapshot::get(server, symbol));
        }
        busy(round);
        (0..random.below(20)).for_each(|_| pause());
    }
    stop.store(true, Ordering::Relaxed);
    // Whoever waits for a message that does not come otherwise.
    busy(count);
    for (number, reader) in readers.into_iter().enumerate() {
        let streams = by_stream(&reader.end());
        assert_eq!(streams.len(), symbols.len() * if number < 3 { 2 } else { 1 });
        for (stream, events) in &streams {
            let symbol = stream.split('@').next();
            let at = symbols.iter().position(|known| Some(*known) == symbol).expect("known");
            let checked = check_snapshots(events, &snapshots[at]);
            // The slower stream was left some while before the end.
            assert!(checked > count / 3, "{checked} snapshots on {stream} of client {number}");
        }
    }
    let messages = native.end();
    for (symbol, snapshots) in symbols.iter().zip(&snapshots) {
        let is_its = |message: &&Value| {
            let pair = message["symbol"].as_str().and_then(|symbol| symbol.split_once(':'));
            pair.is_some_and(|(_, pair)| pair.replace('-', "").to_lowercase() == **symbol)
        };
        let its: Vec<Value> = messages.iter().filter(is_its).cloned().collect();
        assert!(check_native(&its, snapshots) > count / 3, "{symbol}");
    }
}

#[test]
fn every_snapshot_is_where_events_of_both_streams_end_on_real_captures() {
    let Some(data) = captures() else { return };
    let file = |symbol: &str| {
        data.join(format!("binance_spot/binance_spot_{symbol}_20240808.jsonl.gz"))
            .display()
            .to_string()
    };
    let feed = format!("replay:{}+{},speed=10,loop=true", file("btcusdt"), file("ethusdt"));
    let server = Server::start(&["--reactors", "2", "--feed", &feed]);
    ["btcusdt", "ethusdt"].iter().for_each(|symbol| wait_book(&server, symbol));
    check(&server, &["btcusdt", "ethusdt"], 40, |_| {});
    assert_eq!(server.metric("tickcast_slow_clients_total", ""), 0.0);
}

/// A book of random levels.
fn fresh(random: &mut Random) -> Value {
    let mut side = |from: i64, step: i64| -> Vec<Value> {
        (0..200)
            .filter(|_| random.below(3) > 0)
            .map(|i| json!([(from + i * step).to_string(), "1.5"]))
            .collect()
    };
    json!({"channel": "book", "type": "snapshot", "symbol": "my:AB-CD", "bids": side(1_000, -1),
        "asks": side(1_001, 1)})
}

#[test]
fn the_same_while_the_book_is_lost_and_rebuilt() {
    let desk = Desk::open("rebuilt", &["--reactors", "2"]);
    let mut random = Random::new(3);
    desk.publish(&[fresh(&mut random)]);
    let mut changes = Random::new(5);
    let mut change = move || {
        let (price, size) = (1_000 - changes.below(200), changes.below(4));
        let mut update = level("my:AB-CD", 0, (&price.to_string(), &size.to_string()));
        update.as_object_mut().expect("an object").remove("seq");
        update
    };
    check(&desk.0, &["abcd"], 60, |round| {
        let updates: Vec<Value> = (0..20).map(|_| change()).collect();
        desk.publish(&updates);
        if round % 5 == 4 {
            desk.publish(&[json!({"channel": "status", "symbol": "my:AB-CD", "state": "resync"})]);
            assert!(Snapshot::get(&desk.0, "abcd").is_none());
            desk.publish(&[fresh(&mut random)]);
        }
    });
}

#[test]
fn a_snapshot_that_is_asked_for_on_the_answer_to_a_subscription_is_followed_without_a_gap() {
    let desk = Desk::open("at_once", &["--reactors", "2"]);
    let mut random = Random::new(9);
    desk.publish(&[fresh(&mut random)]);
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut changes = Random::new(1);
            while !stop.load(Ordering::Relaxed) {
                let price = (1_000 - changes.below(200)).to_string();
                let mut update = level("my:AB-CD", 0, (&price, &changes.below(4).to_string()));
                update.as_object_mut().expect("an object").remove("seq");
                desk.publish(&[update]);
            }
        });
        for _ in 0..30 {
            let mut client = Client::open(&desk.0, "/stream");
            ask(&mut client, "SUBSCRIBE", &json!(["abcd@depth@100ms"]));
            let begin = Snapshot::get(&desk.0, "abcd").expect("a book");
            let events: Vec<Event> = (0..3).map(|_| Event::of(&client.message()["data"])).collect();
            assert!(events[0].first <= begin.last + 1, "{} then {:?}", begin.last, events[0]);
            let ends = events.iter().any(|event| event.last == begin.last);
            assert!(ends || events[0].first == begin.last + 1, "{} in {events:?}", begin.last);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
