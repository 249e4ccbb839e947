//! The stream of the native protocol: to the byte what others had before, whole, and never sooner.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::{Client, PATIENCE, Received, Server, captures, pause};
use super::{
    LATE, LATER, LIVE, MARKET, PATIENT, Two, access, all, assert_old, now_us, number, received,
    told_s,
};

const CHANNELS: [&str; 4] = ["trade", "quote", "book", "status"];

/// A channel of a symbol.
type Topic = (String, String);

/// What a live client was sent.
#[derive(Default)]
struct Sent {
    updates: HashMap<(Topic, u64), String>,
    /// The first and the newest update of each.
    ends: HashMap<Topic, (u64, u64)>,
}

impl Sent {
    fn take(&mut self, text: String) {
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["type"] == "update" {
            let (of, seq) = (topic(&message), number(&message, "seq"));
            self.ends.entry(of.clone()).or_insert((seq, seq)).1 = seq;
            self.updates.insert((of, seq), text);
        }
    }
}

fn topic(message: &Value) -> Topic {
    let name = |name: &str| message[name].as_str().unwrap_or("").to_owned();
    (name("channel"), name("symbol"))
}

/// What the live client was sent with this number; `None` where it began behind that.
fn sent_before(sent: &Mutex<Sent>, of: &Topic, seq: u64) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let sent = sent.lock().expect("no panic");
        let (first, newest) = *sent.ends.get(of).filter(|(first, _)| *first <= seq)?;
        if let Some(text) = sent.updates.get(&(of.clone(), seq)) {
            return Some(text.clone());
        }
        assert!(newest < seq, "live clients had no {seq} of {of:?}, but {first} to {newest}");
        assert!(Instant::now() < until, "live clients do not come to {seq} of {of:?}");
        // Its thread was not given the time to read it.
        drop(sent);
        pause();
    }
}

/// Reads what a delayed client is sent, until so many updates of each channel were what the live one had.
fn follow(mut client: Client, delay_us: u64, sent: &Mutex<Sent>, least: usize) {
    let mut compared: HashMap<String, usize> = HashMap::new();
    let mut last: HashMap<Topic, u64> = HashMap::new();
    let is_enough = |compared: &HashMap<String, usize>| {
        ["trade", "quote", "book"].iter().all(|name| compared.get(*name) >= Some(&least))
    };
    for text in super::texts(&mut client) {
        assert_old(&text, delay_us);
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let Some(seq) = message["seq"].as_u64() else { continue };
        let of = topic(&message);
        let before = last.insert(of.clone(), seq);
        if message["type"] != "update" {
            continue;
        }
        assert!(before.is_none_or(|before| number(&message, "prev") == before), "a gap: {text}");
        if let Some(live) = sent_before(sent, &of, seq) {
            assert_eq!(text, live);
            *compared.entry(of.0).or_default() += 1;
        }
        if is_enough(&compared) {
            return;
        }
    }
}

/// Compares what delayed clients are sent, each on a thread of its own, with what a live one had before.
fn compare(mut live: Client, late: Vec<(Client, u64)>, least: usize) {
    let stream = live.stream.try_clone().expect("a socket");
    let sent = Mutex::new(Sent::default());
    let ended: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                match live.frame_in() {
                    Received::Text(text) => sent.lock().expect("no panic").take(text),
                    Received::Ping(payload) => live.frame(0x8a, &payload),
                    _ => return,
                }
            }
        });
        let sent = &sent;
        let start = |(client, delay_us)| scope.spawn(move || follow(client, delay_us, sent, least));
        let late: Vec<_> = late.into_iter().map(start).collect();
        let ended = late.into_iter().map(|thread| thread.join()).collect();
        stream.shutdown(Shutdown::Both).expect("shuts");
        ended
    });
    if let Some(panic) = ended.into_iter().find_map(Result::err) {
        std::panic::resume_unwind(panic);
    }
}

/// A client of all channels that is delayed by so much, as the server says it is.
fn client(two: &Two, token: &str, delay_ms: u64) -> Client {
    let mut client = two.client(token, "/v1/ws");
    for channel in CHANNELS {
        let answer = client.subscribe(channel, &["*"]);
        assert_eq!(answer["success"], true, "{answer}");
        let told = answer.get("delay_ms").map(|_| number(&answer, "delay_ms"));
        assert_eq!(told, Some(delay_ms).filter(|ms| *ms > 0), "{answer}");
    }
    client
}

#[test]
fn the_stream_is_the_same_to_the_byte_and_never_sooner() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("2s", folder.path(), &["--feed", MARKET]);
    let late = client(&two, LATE, 2_000);
    compare(client(&two, LIVE, 0), vec![(late, 2_000_000)], 300);
}

#[test]
fn so_is_that_of_real_captures() {
    let Some(data) = captures() else { return };
    let file = |symbol: &str| {
        let name = format!("binance_spot/binance_spot_{symbol}_20240808.jsonl.gz");
        data.join(name).display().to_string()
    };
    // It begins when both live clients are there: what the one that is compared has is whole.
    let feed = format!("replay:{}+{},speed=10,wait=2", file("btcusdt"), file("ethusdt"));
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("2s", folder.path(), &[&["--feed", &feed], &PATIENT[..]].concat());
    let late = client(&two, LATE, 2_000);
    let live = client(&two, LIVE, 0);
    let mut starts = two.client(LIVE, "/v1/ws");
    assert_eq!(starts.subscribe("status", &["*"])["success"], true);
    compare(live, vec![(late, 2_000_000)], 500);
}

#[test]
fn two_delays_are_two_markets_of_the_same_stream() {
    let folder = TempDir::new().expect("a folder");
    let text = access("1s") + &all("later", LATER, "delay = \"3s\"");
    let two = Two::start(Server::start, &text, folder.path(), &["--feed", MARKET]);
    let late = [(LATE, 1_000), (LATER, 3_000)];
    let clients = late.map(|(token, ms)| (client(&two, token, ms), ms * 1_000));
    compare(client(&two, LIVE, 0), clients.into(), 200);
    let epochs = [LIVE, LATE, LATER].map(|token| two.epoch(token));
    for (token, ms) in [(LIVE, 0), (LATE, 1_000), (LATER, 3_000)] {
        let (status, head, body) = two.get(token, "/v1/symbols");
        assert_eq!(status, 200, "{body}");
        assert_eq!(told_s(&head), Some(ms / 1_000).filter(|s| *s > 0), "{head}");
        let lags = two.get(LIVE, "/metrics").2;
        let lag = format!("tickcast_delayed_lag_seconds{{delay=\"{}\"}}", ms / 1_000);
        assert_eq!(lags.contains(&lag), ms > 0, "{lag}");
    }
    assert!(epochs.iter().all(|one| epochs.iter().filter(|other| *other == one).count() == 1));
    // Who is delayed by less has what the other has not yet.
    let mut late = client(&two, LATE, 1_000);
    loop {
        let trade = late.until(|message| message["channel"] == "trade").to_string();
        assert_old(&trade, 1_000_000);
        if now_us() - received(&trade)[0] < 3_000_000 {
            break;
        }
    }
    let answer = late.ask(&json!({"method": "auth", "params": {"token": LATER}}));
    assert_eq!(answer["error"]["code"], "other_market", "{answer}");
}
