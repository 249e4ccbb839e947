//! Clients that take too little: what becomes of them, and that nobody else notices.

mod common;
mod neighbours;

use std::fmt::Write as _;
use std::io::Read as _;

use common::{Client, Received, Server, pause};
use neighbours::{
    Chains, Memory, Neighbours, begin, descriptors, follow, read_eviction, small, subscribe,
    symbol, wait_descriptors,
};
use serde_json::json;

const SYMBOLS: usize = 50;
const FEED: &str = "synthetic:symbols=50,rate=3000,names=numbered,zipf=0,seed=1";
/// The smallest outbox there is.
const OUTBOX: u64 = 128 << 10;

fn start(more: &[&str]) -> Server {
    let mut args = Vec::new();
    // The ring is large enough that no reactor is lapped, which is not what is tested.
    let defaults = [
        ["--reactors", "2"],
        ["--outbox-bytes", "128KiB"],
        ["--slow-grace", "500ms"],
        ["--ring-slots", "262144"],
    ];
    for default in defaults {
        if !more.contains(&default[0]) {
            args.extend(default);
        }
    }
    args.extend(more);
    Server::start_frugal(&args)
}

fn all() -> Vec<String> {
    (0..SYMBOLS).map(symbol).collect()
}

/// A small client that is subscribed to all trades and quotes, and has read nothing since.
fn greedy(server: &Server) -> (Client, Chains) {
    let mut client = small(server, "/v1/ws");
    for channel in ["trade", "quote"] {
        client.send(&subscribe(channel, &all()));
    }
    (client, Chains::new())
}

/// Published ten times a second: to be asked when the client has seen what follows.
fn slow_ended(server: &Server) -> f64 {
    server.metric("tickcast_slow_clients_total", "")
}

#[test]
fn stalled_readers_are_told_why_and_closed_and_their_neighbours_miss_nothing() {
    const STALLED: usize = 30;
    let server = start(&["--feed", FEED]);
    let good = Neighbours::start(&server, 30, SYMBOLS);
    let memory = Memory::watch(&server);
    let mut stalled: Vec<_> = (0..STALLED).map(|_| greedy(&server)).collect();
    server.wait_metric("tickcast_slow_clients_total", "", |n| {
        memory.bounded(&server, STALLED as u64 * (OUTBOX + OUTBOX / 4));
        n == STALLED as f64
    });
    // What was queued is given back as soon as they are told, not when they are gone.
    memory.is_back(&server);
    good.get_more();
    for (client, chains) in &mut stalled {
        let eviction = read_eviction(client, chains);
        assert_eq!(eviction.lag["cause"], "peer_window", "{}", eviction.lag);
        assert!(eviction.lag["queued_bytes"].as_u64().expect("a number") > 0, "{}", eviction.lag);
        assert!(eviction.data > 0, "what its socket had taken is delivered");
    }
    drop(stalled);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_", |n| n == STALLED as f64);
    server.wait_metric("tickcast_sessions_ending", "", |n| n == 0.0);
    assert_eq!(
        server.metric("tickcast_slow_clients_total", "cause=\"peer_window\""),
        STALLED as f64
    );
    good.finish(&server);
    memory.is_back(&server);
}

#[test]
fn who_takes_nothing_for_the_grace_period_is_closed_long_before_the_outbox_is_full() {
    let server = start(&["--feed", FEED, "--outbox-bytes", "1GiB"]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let (mut stalled, mut chains) = greedy(&server);
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    let eviction = read_eviction(&mut stalled, &mut chains);
    assert!(eviction.lag["oldest_ms"].as_u64().expect("a number") >= 500, "{}", eviction.lag);
    drop(stalled);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_stalled\"", |n| n == 1.0);
    good.finish(&server);
}

#[test]
fn an_outbox_over_its_bound_is_no_matter_of_grace() {
    let server = start(&["--feed", FEED, "--slow-grace", "10m"]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let (mut stalled, mut chains) = greedy(&server);
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    let eviction = read_eviction(&mut stalled, &mut chains);
    let queued = eviction.lag["queued_bytes"].as_u64().expect("a number");
    assert!(queued > OUTBOX - 1000 && queued <= OUTBOX, "{}", eviction.lag);
    drop(stalled);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_overflow\"", |n| n == 1.0);
    good.finish(&server);
}

#[test]
fn a_reader_of_a_kilobyte_a_second_is_closed() {
    let server = start(&["--feed", FEED]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let memory = Memory::watch(&server);
    let mut slow: Vec<_> = (0..4).map(|_| greedy(&server)).collect();
    // Ten bytes every ten milliseconds.
    let mut taken = vec![Vec::new(); slow.len()];
    while server.metric("tickcast_slow_clients_total", "") < slow.len() as f64 {
        for ((client, _), taken) in slow.iter_mut().zip(&mut taken) {
            let mut bytes = [0; 10];
            let n = client.stream.read(&mut bytes).expect("reads");
            taken.extend_from_slice(&bytes[..n]);
        }
        memory.bounded(&server, slow.len() as u64 * (OUTBOX + OUTBOX / 4));
        pause();
    }
    for ((client, chains), taken) in slow.iter_mut().zip(taken) {
        client.put_back(&taken);
        let eviction = read_eviction(client, chains);
        assert_eq!(eviction.lag["cause"], "peer_window", "{}", eviction.lag);
    }
    drop(slow);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_", |n| n == 4.0);
    good.finish(&server);
    memory.is_back(&server);
}

#[test]
fn a_slow_one_that_catches_up_in_time_loses_nothing() {
    let server = start(&["--feed", FEED, "--slow-grace", "10m", "--outbox-bytes", "64MiB"]);
    let (mut client, mut chains) = greedy(&server);
    // Several times: blocked, then read up to the newest.
    for round in 1..=3 {
        server.wait_metric("tickcast_outboxes_bytes", "", |held| held > f64::from(round) * 2e5);
        let mut probe = Client::native(&server);
        let mut newest = Chains::new();
        for channel in ["trade", "quote"] {
            begin(&mut newest, &probe.ask(&subscribe(channel, &all())));
        }
        drop(probe);
        loop {
            let message = client.message();
            if message.get("method").is_some() {
                begin(&mut chains, &message);
            } else {
                follow(&mut chains, &message);
            }
            let reached = |key| chains.get(key).is_some_and(|seq| *seq >= newest[key]);
            if newest.keys().all(reached) {
                break;
            }
        }
    }
    assert_eq!(slow_ended(&server), 0.0);
}

/// A capture in a file of its own, gone with the test.
struct Capture(std::path::PathBuf);

impl Capture {
    /// One message per element, at these distances in milliseconds.
    fn new(name: &str, every_ms: u64, messages: impl Iterator<Item = serde_json::Value>) -> Self {
        let mut text = String::new();
        for (i, message) in messages.enumerate() {
            let ns = 1_700_000_000_000_000_000 + i as u64 * every_ms * 1_000_000;
            writeln!(text, "{ns} {message}").expect("memory");
        }
        let name = format!("tickcast-{}-{name}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("writes");
        Capture(path)
    }

    fn feed(&self, options: &str) -> String {
        format!("replay:{},{options}", self.0.display())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_snapshot_larger_than_the_outbox_is_no_reason_to_close() {
    let levels = |count: i32, from: i32, step: i32| -> Vec<_> {
        (0..count).map(|i| json!([format!("{}.25", from + i * step), "123.456"])).collect()
    };
    let snapshot = |count: i32| {
        json!({"type": "snapshot", "product_id": "BTC-USD",
            "bids": levels(count, 30_000, -1), "asks": levels(count, 30_001, 1)})
    };
    let update = |quantity: usize| {
        json!({"type": "l2update", "product_id": "BTC-USD", "time": "2021-04-17T16:43:36.989711Z",
            "changes": [["buy", "29990.25", quantity.to_string()]]})
    };
    // A small book, some updates, then a large one for everybody, updates behind it. The small
    // one leaves the kernel's buffers small.
    let messages = (0..60).map(|i| match i {
        0 => snapshot(20),
        20 => snapshot(18_000),
        _ => update(i + 1),
    });
    let capture = Capture::new("book", 50, messages);
    let feed = capture.feed("speed=1,loop=false,wait=1");
    let server = start(&["--feed", &feed, "--slow-grace", "10m", "--reactors", "1"]);
    let mut client = small(&server, "/v1/ws");
    client.send(&json!({"method": "subscribe", "params": {"channel": "book", "symbol": "*"}}));
    client.until(|message| message["channel"] == "book" && message["type"] == "update");
    // Not read while it is sent: most of it waits in the outbox, and updates behind it.
    server.wait_metric("tickcast_ticks_total", "", |ticks| ticks >= 36_040.0);
    let held = server.metric("tickcast_outboxes_bytes", "");
    assert!(held > 2.0 * OUTBOX as f64, "{held} bytes wait");
    let book = client.until(|message| message["type"] == "snapshot");
    assert!(book.to_string().len() as u64 > 5 * OUTBOX);
    let follows = client.next();
    assert_eq!((&follows["type"], &follows["prev"]), (&json!("update"), &book["seq"]));
    assert_eq!(slow_ended(&server), 0.0);
}

#[test]
fn an_answer_larger_than_the_outbox_is_no_reason_to_close() {
    let feed = "synthetic:symbols=4000,rate=2000,names=numbered,zipf=0";
    let server = start(&["--feed", feed, "--slow-grace", "10m"]);
    let mut client = small(&server, "/v1/ws");
    client.send(&json!({"method": "list_symbols"}));
    client.send(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": "*"}}));
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    let encoded = server.metric("tickcast_encoded_total", "");
    server.wait_metric("tickcast_encoded_total", "", |n| n > encoded + 100.0);
    let answer = client.message();
    assert_eq!(answer["result"].as_array().expect("a list").len(), 4000);
    assert!(answer.to_string().len() as u64 > 2 * OUTBOX);
    client.until(|message| message["channel"] == "trade");
    assert_eq!(slow_ended(&server), 0.0);
}

#[test]
fn a_paced_replay_waits_for_the_slow_only_until_they_are_closed_or_gone() {
    let trades = (1..=40_000).map(|id| {
        json!({"type": "match", "trade_id": id, "sequence": id, "product_id": "BTC-USD",
            "side": "sell", "size": "0.01", "price": "100.5",
            "time": "2021-04-17T16:43:36.989711Z"})
    });
    let capture = Capture::new("trades", 1, trades);
    // It begins when three are subscribed.
    let feed = capture.feed("speed=max,loop=false,wait=3");
    let server =
        start(&["--feed", &feed, "--slow-grace", "2s", "--reactors", "1", "--ring-slots", "1024"]);
    let everything = json!({"method": "subscribe", "params": {"channel": "trade", "symbol": "*"}});
    let mut good = Client::native(&server);
    let (mut stalls, mut leaves) = (small(&server, "/v1/ws"), small(&server, "/v1/ws"));
    for client in [&mut good, &mut stalls, &mut leaves] {
        client.send(&everything);
    }
    assert_eq!(good.next()["success"], true);
    let mut last = 0;
    while last < 40_000 {
        let message = good.message();
        if message["channel"] == "trade" {
            assert_eq!(message["prev"].as_u64(), Some(last), "{message}");
            last = message["seq"].as_u64().expect("a seq");
        }
        if last == 500 {
            // One of the two that do not read is gone without a word.
            leaves.stream.shutdown(std::net::Shutdown::Both).expect("shuts down");
        }
    }
    // They had held it up, and nobody who reads lost anything.
    server.wait_metric("tickcast_ingest_paced_total", "", |n| n > 0.0);
    assert_eq!(server.metric("tickcast_ring_lost_ticks_total", ""), 0.0);
    server.wait_metric("tickcast_slow_clients_total", "", |n| n >= 1.0);
    server.wait_metric("tickcast_sessions", "", |n| n == 2.0);
    let code = stalls.close().expect("a close frame").0;
    assert_eq!(code, Some(4008));
    drop(stalls);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_stalled\"", |n| n >= 1.0);
}

#[test]
fn a_server_that_stood_still_blames_nobody() {
    let server = start(
        [
            ["--feed", FEED],
            ["--slow-grace", "4s"],
            ["--outbox-bytes", "64MiB"],
            ["--ping-interval", "1s"],
            ["--ping-timeout", "2s"],
        ]
        .as_flattened(),
    );
    let (mut slow, mut chains) = greedy(&server);
    let mut quiet = Client::native(&server);
    quiet.subscribe("status", &["sim:S0000-USD"]);
    // One is held up, but not for long yet; pings of both are due.
    server.wait_metric("tickcast_sends_blocked_total", "", |blocked| blocked > 0.0);
    server.signal("STOP");
    for _ in 0..600 {
        pause();
    }
    server.signal("CONT");
    // It looks at its clients before this one reads, who has had no time to.
    for _ in 0..100 {
        pause();
    }
    for _ in 0..5_000 {
        let message = slow.message();
        match message.get("method") {
            Some(_) => begin(&mut chains, &message),
            None => drop(follow(&mut chains, &message)),
        }
    }
    quiet.until(|message| message["channel"] == "heartbeat");
    assert_eq!(slow_ended(&server), 0.0);
    assert_eq!(server.metric("tickcast_sessions_ended_total", "ping_timeout"), 0.0);
}

#[test]
fn one_that_went_silently_is_found_by_the_pings() {
    let quick = ["--ping-interval", "1s", "--ping-timeout", "200ms", "--slow-grace", "10m"];
    let server = start(&[&quick, &["--feed", FEED, "--outbox-bytes", "64MiB"][..]].concat());
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let memory = Memory::watch(&server);
    let before = descriptors(&server);
    // One has nothing to receive but heartbeats, the other more than its socket takes. Neither
    // ends its connection, reads, or answers.
    let idle = small(&server, "/v1/ws");
    let (busy, _) = greedy(&server);
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"ping_timeout\"", |n| n == 2.0);
    // The sockets are gone too, also the one that never took what waited for it.
    wait_descriptors(&server, before);
    drop((idle, busy));
    good.finish(&server);
    memory.is_back(&server);
}

#[test]
fn one_that_ends_its_side_only_is_gone() {
    let server = start(&["--feed", FEED]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let before = descriptors(&server);
    let mut reads = Client::native(&server);
    assert_eq!(reads.subscribe("trade", &["*"])["success"], true);
    let (stalls, _) = greedy(&server);
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    for client in [&reads, &stalls] {
        client.stream.shutdown(std::net::Shutdown::Write).expect("shuts down");
    }
    server.wait_metric("tickcast_sessions", "", |n| n == 4.0);
    wait_descriptors(&server, before);
    assert_eq!(reads.close(), None);
    good.finish(&server);
}

#[test]
fn a_drain_does_not_wait_for_those_that_were_told_to_go_before() {
    let mut server = start(&["--feed", FEED, "--drain-deadline", "10m"]);
    let (stalled, _) = greedy(&server);
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    server.signal("TERM");
    // Less than the time that an evicted client is given: the wait would give up.
    assert_eq!(server.wait().code(), Some(0));
    drop(stalled);
}

/// Reads until lag statuses with policy conflate have told of at least so many skipped quotes.
fn read_conflated(client: &mut Client, chains: &mut Chains, wanted: u64) -> u64 {
    let mut skipped = 0;
    while skipped < wanted {
        let message = client.message();
        if message["type"] == "lag" {
            assert_eq!(message["policy"], "conflate", "{message}");
            skipped += message["skipped"].as_u64().expect("a number");
        } else if message.get("method").is_some() {
            begin(chains, &message);
        } else {
            follow(chains, &message);
        }
    }
    skipped
}

fn conflate(symbols: &[String]) -> serde_json::Value {
    json!({"method": "subscribe", "params": {"channel": "quote", "symbol": symbols, "mode": "conflate"}})
}

#[test]
fn a_conflating_client_gets_the_newest_quote_of_each_symbol_when_it_reads_again() {
    let server = start(&["--feed", FEED, "--slow-grace", "10m"]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let mut client = small(&server, "/v1/ws");
    client.send(&conflate(&all()));
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    let ticks = server.metric("tickcast_encoded_total", "");
    // Many times the quotes there are room for, and it is not closed.
    server.wait_metric("tickcast_encoded_total", "", |n| n > ticks + 5000.0);
    let mut chains = Chains::new();
    let skipped = read_conflated(&mut client, &mut chains, 500);
    server.wait_metric("tickcast_conflated_total", "", |n| n >= skipped as f64);
    // And from there on every quote.
    let mut follows = 0;
    while follows < 200 {
        follows += usize::from(follow(&mut chains, &client.next()));
    }
    assert_eq!(slow_ended(&server), 0.0);
    good.finish(&server);
}

#[test]
fn conflation_as_the_servers_policy_needs_no_word_of_the_client() {
    let server = start(&["--feed", FEED, "--slow-grace", "10m", "--slow-consumer", "conflate"]);
    let mut client = small(&server, "/v1/ws");
    client.send(&subscribe("quote", &all()));
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    let encoded = server.metric("tickcast_encoded_total", "");
    server.wait_metric("tickcast_encoded_total", "", |n| n > encoded + 3000.0);
    read_conflated(&mut client, &mut Chains::new(), 500);
    assert_eq!(slow_ended(&server), 0.0);
}

#[test]
fn more_held_quotes_than_the_outbox_takes_are_sent_in_portions() {
    // No more than a debug build on a busy machine keeps up with: nobody is to lap the ring.
    let feed = "synthetic:symbols=10000,rate=4000,names=numbered,zipf=0,only=quote";
    let server = start(&[
        "--feed",
        feed,
        "--slow-grace",
        "10m",
        "--slow-consumer",
        "conflate",
        "--max-subscriptions",
        "20000",
    ]);
    let symbols: Vec<String> = (0..10_000).map(symbol).collect();
    let mut client = small(&server, "/v1/ws");
    let mut chains = Chains::new();
    for part in symbols.chunks(1000) {
        client.send(&subscribe("quote", part));
        loop {
            let message = client.next();
            if message.get("method").is_some() {
                break begin(&mut chains, &message);
            }
            follow(&mut chains, &message);
        }
    }
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n > 0.0);
    let encoded = server.metric("tickcast_encoded_total", "");
    // Of most symbols, which is more than twice what the outbox may hold in the end.
    server.wait_metric("tickcast_encoded_total", "", |n| n > encoded + 20_000.0);
    // Read a little, look at what the outbox holds, and again.
    for _ in 0..15 {
        for _ in 0..100 {
            follow(&mut chains, &client.next());
        }
        for _ in 0..2 {
            let ticks = server.metric("tickcast_ticks_total", "");
            server.wait_metric("tickcast_ticks_total", "", |n| n > ticks);
        }
        let held = server.metric("tickcast_outboxes_bytes", "");
        assert!(held < 4.0 * OUTBOX as f64, "{held} bytes");
    }
    read_conflated(&mut client, &mut chains, 1000);
    assert_eq!(slow_ended(&server), 0.0);
}

#[test]
fn trades_of_a_conflating_client_are_not_conflated() {
    let server = start(&["--feed", FEED, "--slow-grace", "10m", "--slow-consumer", "conflate"]);
    let good = Neighbours::start(&server, 4, SYMBOLS);
    let (mut client, mut chains) = greedy(&server);
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    read_eviction(&mut client, &mut chains);
    drop(client);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow_overflow\"", |n| n == 1.0);
    good.finish(&server);
}

#[test]
fn an_echo_that_nobody_reads_is_closed_without_words_of_another_protocol() {
    let server = start(&["--feed", "synthetic:symbols=1,rate=1"]);
    let mut client = small(&server, "/v1/echo");
    for _ in 0..4 {
        client.frame(0x82, &vec![7; 60_000]);
    }
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    loop {
        match client.frame_in() {
            Received::Binary(bytes) => assert_eq!(bytes, vec![7; 60_000]),
            Received::Close(code, _) => break assert_eq!(code, Some(4008)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.frame_in(), Received::End);
}
