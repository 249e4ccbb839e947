//! Delayed data: the same stream, later, and never a byte sooner.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Client, PATIENCE, Received, Server, pause};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

/// Of whom nothing delays, and of who is delayed.
const LIVE: &str = "token-of-now";
const LATE: &str = "token-of-later";

const MARKET: &str = "synthetic:symbols=4,rate=500,names=numbered";

fn token(name: &str, token: &str, more: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nsymbols = [\"*\"]\n{more}\n")
}

fn access(delay: &str) -> String {
    token("live", LIVE, "operator = true") + &token("late", LATE, &format!("delay = \"{delay}\""))
}

/// A server with a market that is delayed.
struct Two {
    server: Server,
    file: NamedTempFile,
}

impl Two {
    fn new(delay: &str, spool: &Path, more: &[&str]) -> Self {
        Self::start(Server::start, delay, spool, more)
    }

    fn start(start: impl Fn(&[&str]) -> Server, delay: &str, spool: &Path, more: &[&str]) -> Self {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), access(delay)).expect("writes");
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

const CHANNELS: [&str; 4] = ["trade", "quote", "book", "status"];

#[test]
fn the_stream_is_the_same_to_the_byte_and_never_sooner() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("2s", folder.path(), &["--feed", MARKET]);
    let mut live = two.client(LIVE, "/v1/ws");
    let mut late = two.client(LATE, "/v1/ws");
    for channel in CHANNELS {
        let answer = late.subscribe(channel, &["*"]);
        assert_eq!((number(&answer, "delay_ms"), &answer["success"]), (2_000, &json!(true)));
        let answer = live.subscribe(channel, &["*"]);
        assert_eq!(answer.get("delay_ms"), None, "{answer}");
    }
    // A reader of the live stream that never stops: what it had is compared with what comes later.
    let (sender, had) = std::sync::mpsc::sync_channel(1 << 20);
    let mut stream = live.stream.try_clone().expect("a socket");
    let reader = std::thread::spawn(move || {
        for text in texts(&mut live) {
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let key = |text: &str| {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let name = |name: &str| message[name].as_str().unwrap_or("").to_owned();
        let of = (name("channel"), name("symbol"));
        (name("type") == "update").then(|| (of, number(&message, "seq")))
    };
    let mut known = HashMap::new();
    // The first of each stream that the live client was sent as an update.
    let mut firsts: HashMap<(String, String), u64> = HashMap::new();
    let mut compared: HashMap<String, usize> = HashMap::new();
    for text in texts(&mut late) {
        assert_old(&text, 2_000_000);
        for text in had.try_iter() {
            if let Some((of, seq)) = key(&text) {
                firsts.entry(of.clone()).or_insert(seq);
                known.insert((of, seq), text);
            }
        }
        let Some((of, seq)) = key(&text) else { continue };
        match known.remove(&(of.clone(), seq)) {
            Some(live) => {
                assert_eq!(text, live);
                *compared.entry(of.0).or_default() += 1;
            }
            None => {
                let first = firsts.get(&of);
                assert!(first.is_none_or(|first| seq < *first), "live clients had no such: {text}");
            }
        }
        if ["trade", "quote", "book"].iter().all(|c| compared.get(*c).is_some_and(|n| *n >= 300)) {
            break;
        }
    }
    drop(had);
    stream.shutdown(std::net::Shutdown::Both).expect("shuts");
    let _ = stream.flush();
    drop(reader);
}

const REST: [&str; 6] = [
    "/v1/symbols",
    "/v1/snapshot?symbols=sim:S0001-USD",
    "/v1/book/sim:S0001-USD",
    "/v1/trades/sim:S0001-USD",
    "/v1/bars/sim:S0001-USD?interval=1s",
    "/v1/ticker/sim:S0001-USD",
];
const EXCHANGE: [&str; 9] = [
    "ping",
    "exchangeInfo",
    "depth?symbol=S0001USD",
    "trades?symbol=S0001USD",
    "aggTrades?symbol=S0001USD",
    "klines?symbol=S0001USD&interval=1m",
    "ticker/24hr?symbol=S0001USD",
    "ticker/price?symbol=S0001USD",
    "ticker/bookTicker?symbol=S0001USD",
];

/// Nothing is an hour old: by no path is anything of the market shown.
#[test]
fn no_path_leads_to_what_is_younger() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1h", folder.path(), &["--feed", MARKET]);
    while two.get(LIVE, "/v1/ticker/sim:S0001-USD").0 != 200 {
        pause();
    }
    let old = |head: &str| head.to_lowercase().contains("tickcast-delay: 3600");
    for path in REST {
        assert_eq!(two.get(LIVE, path).0, 200, "{path}");
        let (status, head, body) = two.get(LATE, path);
        assert!(old(&head), "{head}");
        let known =
            body.contains("\"base\"") || body.contains("\"price\"") || body.contains("bids");
        let expected = if path == "/v1/symbols" { 200 } else { 404 };
        assert_eq!((status, known), (expected, false), "{path}: {body}");
    }
    for path in EXCHANGE {
        let path = format!("/api/v3/{path}");
        let (live, late) = (two.get(LIVE, &path), two.get(LATE, &path));
        assert!(old(&late.1) && !old(&live.1), "{}", late.1);
        assert_eq!(live.0, 200, "{path}: {}", live.2);
        if !path.ends_with("ping") {
            assert!(live.2.contains("S0001") || late.0 == 400, "{path}: {} {}", live.2, late.2);
            assert!(!late.2.contains("\"S0001USD\"") && !late.2.contains("price"), "{}", late.2);
        }
    }
    for way in ["sse", "poll"] {
        let path = format!("/v1/{way}?subscribe=trade:sim:S0001-USD");
        assert_eq!(two.get(LATE, &path).0, 404, "{path}");
    }
    let all = "trade:*,quote:*,status:*,bar:*:1s,ticker:*";
    let (status, head, body) = two.get(LATE, &format!("/v1/poll?subscribe={all}&timeout=1"));
    assert_eq!((status, old(&head), body.contains("sim:")), (200, true, false), "{body}");
    let mut events = two.send(LATE, &format!("/v1/sse?subscribe={all},book:*"), "");
    let mut client = two.client(LATE, "/v1/ws");
    assert_eq!(client.ask(&json!({"method": "list_symbols"}))["result"], json!([]));
    for channel in ["trade", "quote", "book", "status", "bar", "ticker"] {
        assert_eq!(client.subscribe(channel, &["*"])["result"][0]["matched"], 0, "{channel}");
        let answer = client.subscribe(channel, &["sim:S0001-USD"]);
        assert_eq!(answer["errors"][0]["code"], "unknown_symbol", "{answer}");
    }
    let streams = "s0001usd@trade/!miniTicker@arr/s0001usd@depth/s0001usd@bookTicker";
    let mut exchange = two.client(LATE, &format!("/stream?streams={streams}"));
    // Heartbeats come meanwhile, and nothing else.
    let mut heartbeats = 0;
    while heartbeats < 2 {
        let message = client.message();
        assert_eq!(message["channel"], "heartbeat", "{message}");
        heartbeats += 1;
    }
    exchange.send(&json!({"method": "LIST_SUBSCRIPTIONS", "id": 7}));
    assert_eq!(exchange.message()["id"], 7, "and nothing before it");
    let mut told = String::new();
    let mut buffer = [0; 4_096];
    while told.matches("\n:").count() < 2 {
        let n = events.read(&mut buffer).expect("events");
        assert!(n > 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(old(&told) && !told.contains("sim:S0"), "{told}");
    // Positions of one market are none of the other's.
    let epoch = |token: &str| {
        let body = two.get(token, "/v1/symbols").2;
        let epoch = body.split("\"epoch\":\"").nth(1).and_then(|rest| rest.split('"').next());
        epoch.expect("an epoch").to_owned()
    };
    assert_ne!(epoch(LATE), epoch(LIVE));
}

#[test]
fn every_path_leads_to_what_is_old_enough() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    for _ in 0..20 {
        for path in REST {
            let (status, head, body) = two.get(LATE, path);
            assert_eq!(status, 200, "{path}: {body}");
            assert!(head.to_lowercase().contains("tickcast-delay: 1"), "{head}");
            // Bars and tickers say when they were made, of trades of before.
            if !path.contains("bars") && !path.contains("ticker") && !path.contains("snapshot") {
                assert_old(&body, 1_000_000);
            }
        }
        for path in EXCHANGE {
            let (status, _, body) = two.get(LATE, &format!("/api/v3/{path}"));
            assert_eq!(status, 200, "{path}: {body}");
        }
        let trades = two.get(LATE, "/api/v3/trades?symbol=S0001USD").2;
        let trades: Value = serde_json::from_str(&trades).expect("JSON");
        let newest = trades.as_array().and_then(|all| all.last()).expect("a trade");
        assert!(number(newest, "time") + 1_000 <= now_us() / 1_000, "{newest}");
        pause();
    }
    let mut exchange = two.client(LATE, "/ws/s0001usd@trade");
    for _ in 0..50 {
        let trade = exchange.message();
        assert!(number(&trade, "T") + 1_000 <= now_us() / 1_000, "{trade}");
    }
    let subscribe = "trade:*,quote:*,book:*:5";
    let mut cursor = String::new();
    for _ in 0..10 {
        let path = format!("/v1/poll?subscribe={subscribe}&cursor={cursor}");
        let (status, _, body) = two.get(LATE, &path);
        assert_eq!(status, 200, "{body}");
        assert_old(&body, 1_000_000);
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
        assert!(!answer["messages"].as_array().expect("messages").is_empty(), "{answer}");
    }
    let mut events = two.send(LATE, &format!("/v1/sse?subscribe={subscribe}"), "");
    let (mut told, mut buffer) = (Vec::new(), [0; 65_536]);
    while told.len() < 200_000 {
        let n = events.read(&mut buffer).expect("events");
        assert!(n > 0, "the stream ended");
        told.extend_from_slice(&buffer[..n]);
        // To the last whole line.
        let end = told.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        assert_old(&String::from_utf8_lossy(&told[..end]), 1_000_000);
    }
}

#[test]
fn who_says_later_who_it_is_goes_to_its_market_with_its_connection() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let auth = |token: &str| json!({"method": "auth", "req_id": 1, "params": {"token": token}});
    let trades = |method: &str| json!({"method": method, "req_id": 2, "params": {"channel": "trade", "symbol": "*"}});
    let mut client = Client::native(&two.server);
    // Both at once, as pages do: the second is for the other market already.
    let both =
        [auth(LATE), trades("subscribe")].map(|m| common::masked(0x81, m.to_string().as_bytes()));
    client.stream.write_all(&both.concat()).expect("writes");
    let answer = client.message();
    assert_eq!(
        (&answer["result"]["name"], number(&answer["result"], "delay_ms")),
        (&json!("late"), 1_000)
    );
    let answer = client.message();
    assert_eq!((&answer["success"], number(&answer, "delay_ms")), (&json!(true), 1_000));
    for _ in 0..100 {
        let trade = client.until(|message| message["channel"] == "trade");
        assert_old(&trade.to_string(), 1_000_000);
    }
    // With subscriptions it does not go.
    let answer = client.ask(&auth(LIVE));
    assert_eq!(answer["error"]["code"], "other_market", "{answer}");
    assert!(answer["error"]["message"].as_str().expect("text").contains("unsubscribe"), "{answer}");
    assert_old(&client.until(|message| message["channel"] == "trade").to_string(), 1_000_000);
    client.ask(&trades("unsubscribe"));
    let answer = client.ask(&auth(LIVE));
    assert_eq!(
        (&answer["result"]["name"], answer["result"].get("delay_ms")),
        (&json!("live"), None)
    );
    assert_eq!(client.ask(&trades("subscribe")).get("delay_ms"), None);
    let mut youngest = u64::MAX;
    while youngest > 1_000_000 {
        let trade = client.until(|message| message["channel"] == "trade").to_string();
        youngest = youngest.min(now_us() - received(&trade)[0]);
    }
    // And back, with a fragmented request in two packets.
    client.ask(&trades("unsubscribe"));
    let text = auth(LATE).to_string();
    let (first, second) = text.as_bytes().split_at(20);
    client.frame(0x01, first);
    pause();
    client.frame(0x80, second);
    let answer = client.until(|message| message["method"] == "auth");
    assert_eq!(answer["result"]["name"], "late", "{answer}");
    assert_eq!(number(&client.ask(&trades("subscribe")), "delay_ms"), 1_000);
    assert_old(&client.until(|message| message["channel"] == "trade").to_string(), 1_000_000);
}

/// A delayed client that follows a book and says what becomes of it: every update is the next one to what it
/// has, until a status says that the book is not known.
struct Follower {
    client: Client,
    last: HashMap<String, u64>,
    lost: usize,
    updates: usize,
}

impl Follower {
    fn new(two: &Two) -> Self {
        let mut client = two.client(LATE, "/v1/ws");
        for channel in ["status", "book"] {
            client.subscribe(channel, &["*"]);
        }
        Follower { client, last: HashMap::new(), lost: 0, updates: 0 }
    }

    fn step(&mut self) {
        let message = self.client.next();
        let symbol = message["symbol"].as_str().unwrap_or("").to_owned();
        match (message["channel"].as_str(), message["type"].as_str()) {
            (Some("book"), Some("snapshot")) => {
                self.last.insert(symbol, number(&message, "seq"));
            }
            (Some("book"), Some("update")) => {
                let seq = number(&message, "seq");
                assert_eq!(
                    self.last.insert(symbol, seq),
                    Some(number(&message, "prev")),
                    "{message}"
                );
                self.updates += 1;
            }
            (Some("status"), _) if message["state"] == "resync" => {
                self.last.remove(&symbol);
                self.lost += 1;
            }
            _ => {}
        }
    }

    /// Goes on until books were lost and all are followed again.
    fn until_whole_again(&mut self, books: usize) {
        while self.lost < books {
            self.step();
        }
        while self.last.len() < books {
            self.step();
        }
        let updates = self.updates + 200;
        while self.updates < updates {
            self.step();
        }
    }
}

#[test]
fn a_clock_that_is_put_forward_makes_nothing_come_sooner() {
    const DRILL: &str = "a drill that nobody guesses";
    let folder = TempDir::new().expect("a folder");
    let start = |args: &[&str]| Server::start_with_variable("TICKCAST_DRILL", DRILL, args);
    let two = Two::start(start, "2s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let mut late = two.client(LATE, "/v1/ws");
    late.subscribe("trade", &["*"]);
    let mut live = two.client(LIVE, "/v1/ws");
    for seconds in [3_600, -7_200] {
        live.text(&format!("{DRILL} clock {seconds}"));
        // An answer behind it: the clock was set.
        let time = number(&live.ask(&json!({"method": "ping"})), "time_in");
        assert!(time.abs_diff(now_us()) > 3_000_000_000, "{time}");
        for _ in 0..500 {
            let trade = late.until(|message| message["channel"] == "trade");
            assert_old(&trade.to_string(), 2_000_000);
        }
    }
}

#[test]
fn what_there_is_no_room_for_is_a_gap_and_then_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let feed = "synthetic:symbols=4,rate=20000,names=numbered";
    // The client may be slower than this: it is not what is tested.
    let patient = ["--outbox-bytes", "256MiB", "--slow-grace", "60s"];
    let args = [&["--feed", feed, "--spool-bytes", "1MiB"], &patient[..]].concat();
    let two = Two::new("4s", folder.path(), &args);
    let mut follower = Follower::new(&two);
    two.wait_metric("tickcast_spool_gaps_total", "bound", |gaps| gaps > 0.0);
    assert!(two.metric("tickcast_spool_bytes", "") <= 1_048_576.0);
    assert!(two.metric("tickcast_spool_lost_ticks_total", "") > 0.0);
    follower.until_whole_again(4);
}

#[test]
fn a_disk_that_takes_nothing_is_a_gap_and_then_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("2s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let mut follower = Follower::new(&two);
    while follower.updates < 50 {
        follower.step();
    }
    let pid = Pid::from_raw(two.server.pid() as i32).expect("a process");
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).expect("a limit");
    };
    limit(Some(1));
    two.wait_metric("tickcast_spool_failing", "", |failing| failing == 1.0);
    two.wait_metric("tickcast_spool_lost_ticks_total", "", |ticks| ticks > 500.0);
    assert_eq!(two.metric("tickcast_spool_gaps_total", "disk"), 1.0);
    limit(None);
    two.wait_metric("tickcast_spool_failing", "", |failing| failing == 0.0);
    follower.until_whole_again(4);
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert!(files < 8, "{files}: what holds nothing stays");
}

#[test]
fn after_a_kill_it_goes_on_from_what_is_on_disk() {
    let folder = TempDir::new().expect("a folder");
    let first = Two::new("3s", folder.path(), &["--feed", MARKET]);
    let mut live = first.client(LIVE, "/v1/ws");
    live.subscribe("trade", &["sim:S0003-USD"]);
    let mut last = 0;
    for _ in 0..50 {
        last = number(&live.until(|message| message["channel"] == "trade"), "seq");
    }
    let written = first.metric("tickcast_spool_ticks_total", "");
    first.wait_metric("tickcast_spool_ticks_total", "", |ticks| ticks > written + 1_000.0);
    drop(first);
    // Another one, with fewer symbols: of the others only the spool knows.
    let second =
        Two::new("3s", folder.path(), &["--feed", "synthetic:symbols=1,rate=500,names=numbered"]);
    second.wait_late("sim:S0003-USD");
    let listed = second.get(LIVE, "/v1/symbols").2;
    assert!(!listed.contains("S0003"), "{listed}");
    let path = "/v1/trades/sim:S0003-USD?limit=1000";
    loop {
        let trades = second.get(LATE, path).2;
        assert_old(&trades, 3_000_000);
        if trades.contains(&format!("\"seq\":{last},")) {
            break;
        }
        pause();
    }
    // What comes of the new one follows, and its book is whole.
    let mut follower = Follower::new(&second);
    follower.until_whole_again(1);
    assert!(
        second.get(LATE, "/v1/book/sim:S0003-USD").2.contains("resync"),
        "it is not there any more"
    );
}

#[test]
fn a_delay_that_there_is_no_market_for_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    std::fs::write(two.file.path(), access("2s")).expect("writes");
    two.server.signal("HUP");
    // It is looked at every other second.
    let mut client = two.client(LATE, "/v1/ws");
    client.subscribe("trade", &["*"]);
    for _ in 0..50 {
        let trade = client.until(|message| message["channel"] == "trade");
        assert_old(&trade.to_string(), 1_000_000);
    }
    assert_eq!(number(&client.subscribe("quote", &["*"]), "delay_ms"), 1_000);
    // One that there is takes its holder there.
    std::fs::write(two.file.path(), token("late", LATE, "") + &token("x", "x", "delay = \"1s\""))
        .expect("writes");
    two.server.signal("HUP");
    assert_eq!(client.close().expect("a close").0, Some(4003));
    assert_eq!(two.client(LATE, "/v1/ws").subscribe("trade", &["*"]).get("delay_ms"), None);
}
