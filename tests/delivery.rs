//! Every subscriber gets exactly its part of the stream, whatever others do, and a reactor that
//! falls behind says so and starts over with whole pictures.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::stream::{Key, Links, Random, Update, next_text, symbol};
use common::{Client, Server};
use serde_json::{Value, json};

const SYMBOLS: usize = 40;
const CHANNELS: [&str; 3] = ["trade", "quote", "book"];
/// Every client follows it: what stands before one of its trades in the one order of all ticks
/// stands before it at every client.
const MARKER: usize = 0;
/// Trades of the marker from the moment when all are subscribed to the end.
const LENGTH: u64 = 12;

/// Where the run stands, by the marker's trades.
#[derive(Default)]
struct Course {
    /// The newest that the reference has seen.
    newest: AtomicU64,
    /// The last that matters, 0 while that is open.
    end: AtomicU64,
    /// Everybody has seen that.
    over: AtomicBool,
}

fn is_marker(update: &Update) -> bool {
    update.key.0 == "trade" && update.key.1 == symbol(MARKER)
}

/// Reads everything there is, from before the others come until after they have ended.
fn reference(mut client: Client, mut links: Links, course: &Course) -> Vec<Update> {
    loop {
        let update = links.read(&mut client);
        if is_marker(update) {
            course.newest.store(update.seq, Ordering::SeqCst);
            // One more, for those who saw more before they knew that it was enough.
            if course.over.load(Ordering::SeqCst)
                && update.seq >= course.end.load(Ordering::SeqCst) + 4
            {
                return links.updates;
            }
        }
    }
}

/// One client's part: what it subscribed to comes complete up to the end.
fn subscriber(server: &Server, seed: u64, course: &Course, ready: &AtomicU64) -> Links {
    let mut random = Random::new(seed);
    let mut client = Client::native(server);
    let mut links = Links::default();
    for channel in CHANNELS {
        let mut symbols = random.symbols(4, SYMBOLS);
        if channel == "trade" && !symbols.contains(&symbol(MARKER)) {
            symbols.push(symbol(MARKER));
        }
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        links.subscribe(&mut client, channel, &symbols);
    }
    ready.fetch_add(1, Ordering::SeqCst);
    loop {
        let update = links.read(&mut client);
        let end = course.end.load(Ordering::SeqCst);
        if end != 0 && is_marker(update) && update.seq >= end {
            return links;
        }
    }
}

/// One who comes and goes, to all and to few, and who hears nothing of what it left.
fn churner(server: &Server, seed: u64, course: &Course) -> usize {
    let mut random = Random::new(seed);
    let mut client = Client::native(server);
    let mut rounds = 0;
    while !course.over.load(Ordering::SeqCst) {
        let channel = CHANNELS[random.below(3)];
        let symbols = match random.below(4) {
            0 => vec!["*".to_owned()],
            1 => vec!["sim:*".to_owned()],
            count => random.symbols(count * 2, SYMBOLS),
        };
        let params = json!({"channel": channel, "symbol": symbols});
        assert_eq!(client.ask(&json!({"method": "subscribe", "params": params}))["success"], true);
        for _ in 0..random.below(30) {
            next_text(&mut client);
        }
        let answer = client.ask(&json!({"method": "unsubscribe", "params": params}));
        assert_eq!(answer["success"], true, "{answer}");
        client.send(&json!({"method": "ping"}));
        loop {
            let text = next_text(&mut client);
            assert!(Update::parse(&text).is_none(), "after the answer to unsubscribe: {text}");
            if text.starts_with("{\"method\":\"pong\"") {
                break;
            }
        }
        rounds += 1;
    }
    rounds
}

/// The first update after a snapshot, as one who was there before got it: it follows the snapshot. That
/// has every event's number, also of one that changed nothing, which nobody else was told of.
fn linked(text: &str, snapshot: u64) -> String {
    let prev = Update::parse(text).and_then(|update| update.prev).expect("an update");
    assert!(prev <= snapshot, "{text} after the snapshot at {snapshot}");
    text.replace(&format!("\"prev\":{prev},"), &format!("\"prev\":{snapshot},"))
}

/// Compares one client's streams with the reference's, from its first message to its last marker.
fn compare(all: &[Update], links: &Links) -> usize {
    let last = links.updates.last().expect("the marker");
    let end = all.iter().position(|update| update == last).expect("the reference has it");
    let mut streams: HashMap<&Key, Vec<&Update>> = HashMap::new();
    for update in &links.updates {
        streams.entry(&update.key).or_default().push(update);
    }
    let mut compared = 0;
    for key in links.last.keys() {
        let got = streams.get(key).cloned().unwrap_or_default();
        let (snapshots, got): (Vec<_>, Vec<_>) = got.into_iter().partition(|u| u.snapshot);
        assert!(snapshots.len() <= usize::from(key.0 != "trade"), "{key:?}");
        // Where it began: the snapshot, what the first trade follows, or before everything.
        let first = got.first().and_then(|update| update.prev);
        let from = match snapshots.first() {
            Some(snapshot) => snapshot.seq,
            None if key.0 == "trade" => first.unwrap_or(links.last[key]),
            None => 0,
        };
        let wanted: Vec<_> = all[..=end]
            .iter()
            .filter(|update| update.key == *key && !update.snapshot && update.seq > from)
            .collect();
        let texts = |updates: &[&Update]| -> Vec<String> {
            updates.iter().map(|update| update.text.clone()).collect()
        };
        let mut wanted = texts(&wanted);
        if let (false, Some(first)) = (snapshots.is_empty(), wanted.first_mut()) {
            *first = linked(first, from);
        }
        assert_eq!(texts(&got), wanted, "{key:?} from {from}");
        compared += got.len();
    }
    compared
}

#[test]
fn a_hundred_clients_get_exactly_their_parts_while_others_come_and_go() {
    let feed = format!("synthetic:symbols={SYMBOLS},rate=800,zipf=0,names=numbered,seed=7");
    let server = Server::start(&["--reactors", "2", "--slow-grace", "60s", "--feed", &feed]);
    let (course, ready) = (Course::default(), AtomicU64::new(0));
    let mut client = Client::native(&server);
    let mut links = Links::default();
    for channel in CHANNELS {
        links.subscribe(&mut client, channel, &["*"]);
    }
    // Books come last: when all are there, everything is subscribed.
    let mut books = HashSet::new();
    while books.len() < SYMBOLS {
        let update = links.read(&mut client);
        if update.key.0 == "book" {
            books.insert(update.key.1.clone());
        }
    }
    let (all, subscribers, rounds) = std::thread::scope(|scope| {
        let (course, ready, server) = (&course, &ready, &server);
        let all = scope.spawn(move || reference(client, links, course));
        let churners: Vec<_> =
            (0..10).map(|i| scope.spawn(move || churner(server, 1000 + i, course))).collect();
        let subscribers: Vec<_> =
            (0..100).map(|i| scope.spawn(move || subscriber(server, i, course, ready))).collect();
        while ready.load(Ordering::SeqCst) < 100 && !subscribers.iter().any(|s| s.is_finished()) {
            common::pause();
        }
        course.end.store(course.newest.load(Ordering::SeqCst) + LENGTH, Ordering::SeqCst);
        let subscribers: Vec<_> = subscribers.into_iter().map(|s| s.join()).collect();
        course.over.store(true, Ordering::SeqCst);
        let rounds: usize = churners.into_iter().map(|c| c.join().expect("a churner")).sum();
        (all.join().expect("the reference"), subscribers, rounds)
    });
    let links: Vec<Links> = subscribers.into_iter().map(|s| s.expect("a subscriber")).collect();
    let compared: usize = links.iter().map(|links| compare(&all, links)).sum();
    assert!(rounds > 10, "{rounds}");
    assert!(compared > 100 * LENGTH as usize, "{compared}");
    assert_eq!(server.metric("tickcast_book_errors_total", ""), 0.0);
}

/// A book as a client keeps it: side and price to quantity, as they stand in the messages.
type Book = HashMap<(char, String), String>;

fn apply(book: &mut Book, message: &Value) {
    for (side, name) in [('b', "bids"), ('a', "asks")] {
        for level in message[name].as_array().expect("levels") {
            let text = |i: usize| level[i].as_str().expect("a decimal").to_owned();
            match text(1) {
                gone if gone == "0" => book.remove(&(side, text(0))),
                size => book.insert((side, text(0)), size),
            };
        }
    }
}

/// What one who is told of a lag does: nothing counts until the fresh snapshot.
#[derive(Default)]
struct Follower {
    book: Book,
    last: Option<u64>,
    quote: Option<u64>,
    lags: usize,
    snapshots: usize,
    /// The book at every sequence that it had.
    history: HashMap<u64, Book>,
}

impl Follower {
    fn take(&mut self, message: &Value) {
        match message["channel"].as_str() {
            Some("status") => {
                assert_eq!(
                    (&message["type"], &message["policy"]),
                    (&json!("lag"), &json!("resync"))
                );
                assert_eq!(message["cause"], "server");
                (self.last, self.quote) = (None, None);
                self.lags += 1;
            }
            Some("quote") => {
                let is_snapshot = message["type"] == "snapshot";
                if is_snapshot || self.quote.is_some() {
                    let linked = is_snapshot || message["prev"].as_u64() == self.quote;
                    assert!(linked, "a gap without a word: {:?}, {message}", self.quote);
                    self.quote = message["seq"].as_u64();
                }
            }
            Some("book") => self.book(message),
            _ => {}
        }
    }

    fn book(&mut self, message: &Value) {
        if message["type"] == "snapshot" {
            self.book.clear();
            self.snapshots += 1;
        } else if self.last.is_none() {
            return;
        } else {
            assert_eq!(message["prev"].as_u64(), self.last, "a gap without a word: {message}");
        }
        apply(&mut self.book, message);
        self.last = message["seq"].as_u64();
        self.history.insert(self.last.expect("a sequence"), self.book.clone());
    }

    fn is_whole(&self) -> bool {
        self.last.is_some() && self.quote.is_some()
    }
}

#[test]
fn a_reactor_that_is_lapped_says_so_and_starts_over_with_whole_pictures() {
    // Listing so many symbols takes a reactor longer than its ring lasts.
    let feed = "synthetic:symbols=4000,rate=30000,zipf=1,names=numbered,seed=3";
    // Each list is charged as many requests: who is to hold the reactor up needs the leave for it.
    // And the follower reads little at a time: this is about laps, not about slow clients.
    let leave = ["--request-rate", "1000000", "--outbox-bytes", "512MiB", "--slow-grace", "60s"];
    let ring = ["--reactors", "1", "--ring-slots", "1024", "--feed", feed];
    let server = Server::start(&[leave.as_slice(), &ring].concat());
    let busy = symbol(0);
    let mut client = Client::native(&server);
    let mut follower = Follower::default();
    for channel in ["quote", "book"] {
        let params = json!({"channel": channel, "symbol": busy});
        client.send(&json!({"method": "subscribe", "params": params}));
    }
    let mut hog = Client::native(&server);
    for round in 1..=5 {
        while follower.lags < round {
            hog.send(&json!({"method": "list_symbols"}));
            // Whole again after the lags so far, then the next.
            for _ in 0..20 {
                follower.take(&client.message());
            }
            hog.until(|message| message["method"] == "list_symbols");
        }
        while !follower.is_whole() {
            follower.take(&client.message());
        }
    }
    // Lags that follow at once share a snapshot.
    assert!(follower.snapshots >= 2, "{} after {} lags", follower.snapshots, follower.lags);
    // Another's snapshots agree with the book that went through all that.
    let mut agreed = 0;
    while agreed < 5 {
        let mut fresh = Client::native(&server);
        fresh.subscribe("book", &[&busy]);
        let snapshot = fresh.until(|message| message["type"] == "snapshot");
        let seq = snapshot["seq"].as_u64().expect("a sequence");
        while follower.last.is_none_or(|last| last < seq) {
            follower.take(&client.message());
        }
        if let Some(held) = follower.history.get(&seq) {
            let mut book = Book::new();
            apply(&mut book, &snapshot);
            assert_eq!(*held, book, "at {seq}");
            agreed += 1;
        }
    }
    server.wait_metric("tickcast_ring_laps_total", "", |laps| laps >= 5.0);
}

#[test]
fn who_asks_again_with_another_age_goes_on() {
    let server = Server::start(&[
        "--reactors",
        "1",
        "--feed",
        "synthetic:symbols=2,rate=1000,names=numbered",
    ]);
    let mut client = Client::native(&server);
    for channel in ["trade", "quote"] {
        for age in [50, 5, 50] {
            let params = json!({"channel": channel, "symbol": symbol(0), "max_age_ms": age});
            let answer = client.ask(&json!({"method": "subscribe", "params": params}));
            assert_eq!(answer["success"], true, "{answer}");
            for _ in 0..20 {
                client.until(|message| message["channel"] == channel);
            }
        }
    }
}
