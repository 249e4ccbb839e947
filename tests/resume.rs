//! Clients that lose their connection and come back: what they missed is sent, once, or they are told
//! that it cannot be.

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{Client, Server, pause};
use serde_json::{Value, json};

/// A busy small market.
fn busy(args: &[&str]) -> Server {
    // The witness reads late.
    let mut all = vec!["--reactors", "2", "--slow-grace", "60s", "--outbox-bytes", "64MiB"];
    all.extend(args);
    all.extend(["--feed", "synthetic:symbols=4,rate=2000,names=numbered"]);
    Server::start(&all)
}

fn symbol(message: &Value) -> String {
    message["symbol"].as_str().expect("a symbol").to_owned()
}

fn seq(message: &Value) -> u64 {
    message["seq"].as_u64().expect("a sequence")
}

/// What a client has of a channel: checks that every message follows the one before it.
#[derive(Default)]
struct Chain {
    last: HashMap<String, u64>,
    seqs: HashMap<String, Vec<u64>>,
}

impl Chain {
    fn take(&mut self, message: &Value) {
        let symbol = symbol(message);
        match message["type"].as_str() {
            Some("snapshot") => {
                assert!(!self.last.contains_key(&symbol), "another snapshot: {message}");
            }
            Some("update") => {
                if let Some(last) = self.last.get(&symbol) {
                    assert_eq!(message["prev"], *last, "{message}");
                }
                self.seqs.entry(symbol.clone()).or_default().push(seq(message));
            }
            _ => panic!("unexpected: {message}"),
        }
        self.last.insert(symbol, seq(message));
    }
}

fn of_channel(client: &mut Client, channel: &str) -> Value {
    client.until(|message| message["channel"] == channel)
}

/// Comes back with what it has, again and again after pauses of all lengths.
fn cuts(server: &Server, channel: &str, extra: &Value, count: usize) {
    let subscribe = |client: &mut Client, since: Option<Value>| {
        let mut params = json!({"channel": channel, "symbol": "sim:*"});
        for (name, value) in extra.as_object().into_iter().flatten() {
            params[name] = value.clone();
        }
        if let Some(since) = since {
            params["since"] = since;
        }
        client.ask(&json!({"method": "subscribe", "params": params}))
    };
    // It stays: what it gets is what there is. And bars are made while somebody listens.
    let mut witness = Client::native(server);
    subscribe(&mut witness, None);
    let (mut all, mut mine) = (Chain::default(), Chain::default());
    let mut client = Client::native(server);
    let answer = subscribe(&mut client, None);
    let epoch = answer["result"][0]["epoch"].as_str().expect("an epoch").to_owned();
    while mine.last.len() < 4 {
        mine.take(&of_channel(&mut client, channel));
    }
    let mut random = 12345_u64;
    for cut in 0..count {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        for _ in 0..random >> 58 {
            mine.take(&of_channel(&mut client, channel));
        }
        drop(client);
        (0..random >> 40 & 7).for_each(|_| pause());
        client = Client::native(server);
        let since = json!({"epoch": epoch, "seq": mine.last});
        let answer = subscribe(&mut client, Some(since));
        assert_eq!(answer["success"], true, "{answer}");
        assert!(answer.get("errors").is_none(), "{answer}");
        let mut resumed = 0;
        while resumed < 4 {
            let message = of_channel(&mut client, channel);
            if message["type"] != "resume" {
                mine.take(&message);
                continue;
            }
            assert_eq!(message["recovered"], true, "cut {cut}: {message}");
            assert_eq!(message["seq"], mine.last[&symbol(&message)], "{message}");
            resumed += 1;
        }
    }
    // The witness has the same, from each first one on.
    for (symbol, seqs) in &mine.seqs {
        let last = *seqs.last().expect("some");
        while all.last.get(symbol).is_none_or(|seen| *seen < last) {
            all.take(&of_channel(&mut witness, channel));
        }
        let seen = &all.seqs[symbol];
        let first = seen.iter().position(|seen| *seen >= seqs[0]).expect("it has them all");
        let from = seqs.iter().position(|mine| *mine == seen[first]).expect("of both");
        let count = seqs.len() - from;
        assert_eq!(seqs[from..], seen[first..first + count], "{symbol}");
    }
    let resumed = server.wait_metric("tickcast_resumed_total", "", |n| n >= (count * 4) as f64);
    assert_eq!(resumed as usize, count * 4);
    assert_eq!(server.metric("tickcast_not_resumed_total", ""), 0.0);
}

#[test]
fn trades_come_exactly_once_over_many_cuts() {
    let server = busy(&[]);
    cuts(&server, "trade", &json!({}), 20);
    assert!(server.metric("tickcast_replayed_total", "") > 0.0);
}

#[test]
fn quotes_come_exactly_once_over_many_cuts() {
    cuts(&busy(&[]), "quote", &json!({}), 20);
}

#[test]
fn bars_come_exactly_once_over_many_cuts() {
    cuts(&busy(&[]), "bar", &json!({"interval": "1s"}), 10);
}

/// A full book as a client keeps it.
#[derive(Default)]
struct Book {
    sides: [BTreeMap<String, String>; 2],
    seq: u64,
}

impl Book {
    fn take(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("snapshot") => self.sides = Default::default(),
            Some("update") => assert_eq!(message["prev"], self.seq, "{message}"),
            _ => panic!("unexpected: {message}"),
        }
        self.seq = seq(message);
        for (side, name) in self.sides.iter_mut().zip(["bids", "asks"]) {
            for level in message[name].as_array().expect("levels") {
                let [price, qty] =
                    [&level[0], &level[1]].map(|v| v.as_str().expect("text").to_owned());
                match qty.as_str() {
                    "0" => side.remove(&price),
                    _ => side.insert(price, qty),
                };
            }
        }
    }
}

#[test]
fn a_full_book_goes_on_where_it_was() {
    let server = busy(&[]);
    let subscribe = |client: &mut Client, since: Option<Value>| {
        let mut params = json!({"channel": "book", "symbol": "sim:S0001-USD"});
        if let Some(since) = since {
            params["since"] = since;
        }
        client.ask(&json!({"method": "subscribe", "params": params}))
    };
    let mut witness = Client::native(&server);
    subscribe(&mut witness, None);
    let (mut mine, mut all) = (Book::default(), Book::default());
    let mut client = Client::native(&server);
    let epoch = subscribe(&mut client, None)["result"][0]["epoch"].clone();
    for cut in 0..20 {
        for _ in 0..(cut * 7) % 40 + 1 {
            mine.take(&of_channel(&mut client, "book"));
        }
        drop(client);
        (0..cut % 6).for_each(|_| pause());
        client = Client::native(&server);
        subscribe(&mut client, Some(json!({"epoch": epoch, "seq": mine.seq})));
        let resume = of_channel(&mut client, "book");
        assert_eq!((&resume["type"], &resume["recovered"]), (&json!("resume"), &json!(true)));
        assert_eq!(resume["seq"], mine.seq);
    }
    for _ in 0..100 {
        mine.take(&of_channel(&mut client, "book"));
    }
    while all.seq < mine.seq {
        all.take(&of_channel(&mut witness, "book"));
    }
    assert_eq!((all.seq, &all.sides), (mine.seq, &mine.sides));
    assert!(!all.sides[0].is_empty() && !all.sides[1].is_empty());
}

/// The first two messages of a channel after a subscription with these params.
fn begins(server: &Server, params: &Value) -> (Value, Value) {
    let mut client = Client::native(server);
    let channel = params["channel"].as_str().expect("a channel").to_owned();
    let answer = client.ask(&json!({"method": "subscribe", "params": params}));
    assert_eq!(answer["success"], true, "{answer}");
    (of_channel(&mut client, &channel), of_channel(&mut client, &channel))
}

#[test]
fn what_cannot_be_recovered_is_said_and_begins_anew() {
    let server = busy(&["--ring-slots", "1024", "--history", "0"]);
    let mut client = Client::native(&server);
    let symbol = "sim:S0001-USD";
    let answer = client.subscribe("quote", &[symbol]);
    let epoch = answer["result"][0]["epoch"].clone();
    let quote = seq(&of_channel(&mut client, "quote"));
    client.subscribe("trade", &[symbol]);
    let trade = seq(&of_channel(&mut client, "trade"));
    let params = json!({"channel": "book", "symbol": symbol, "depth": 5});
    client.ask(&json!({"method": "subscribe", "params": params}));
    let book = seq(&of_channel(&mut client, "book"));
    let ticks = server.metric("tickcast_ticks_total", "");
    server.wait_metric("tickcast_ticks_total", "", |n| n > ticks + 6_000.0);

    let since = |epoch: &Value, seq: u64| json!({"epoch": epoch, "seq": seq});
    let of =
        |channel: &str, since: Value| json!({"channel": channel, "symbol": symbol, "since": since});
    let check = |params: Value, reason: &str, then: &str| {
        let (resume, next) = begins(&server, &params);
        assert_eq!(resume["type"], "resume", "{params}: {resume}");
        assert_eq!(resume["recovered"], false, "{params}: {resume}");
        assert_eq!(resume["reason"], reason, "{params}: {resume}");
        assert_eq!(next["type"], then, "{params}: {next}");
        if then == "update" {
            // No snapshot says where it goes on.
            assert_eq!(resume["seq"], next["prev"], "{params}: {resume} {next}");
        }
    };
    check(of("quote", since(&epoch, quote)), "too_old", "snapshot");
    check(of("trade", since(&epoch, trade)), "too_old", "update");
    check(of("book", since(&epoch, book)), "too_old", "snapshot");
    let mut deep = of("book", since(&epoch, book));
    deep["depth"] = json!(5);
    check(deep, "depth", "snapshot");
    for channel in ["quote", "book", "trade"] {
        let then = if channel == "trade" { "update" } else { "snapshot" };
        check(of(channel, since(&json!("other"), 5)), "epoch", then);
        check(of(channel, since(&epoch, 1 << 50)), "ahead", then);
    }
    let lost = server.wait_metric("tickcast_not_resumed_total", "", |n| n >= 10.0);
    assert_eq!(lost, 10.0);
}

#[test]
fn trades_older_than_the_ring_come_from_the_history() {
    let server = busy(&["--ring-slots", "1024", "--history", "10000"]);
    let mut client = Client::native(&server);
    let symbol = "sim:S0001-USD";
    let epoch = client.subscribe("trade", &[symbol])["result"][0]["epoch"].clone();
    let mut last = seq(&of_channel(&mut client, "trade"));
    drop(client);
    let ticks = server.metric("tickcast_ticks_total", "");
    server.wait_metric("tickcast_ticks_total", "", |n| n > ticks + 6_000.0);
    let mut client = Client::native(&server);
    let since = json!({"epoch": epoch, "seq": last});
    client.ask(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": symbol, "since": since}}));
    let resume = of_channel(&mut client, "trade");
    assert_eq!((&resume["recovered"], &resume["seq"]), (&json!(true), &json!(last)), "{resume}");
    for _ in 0..1_000 {
        let trade = of_channel(&mut client, "trade");
        assert_eq!(trade["prev"], last, "{trade}");
        last = seq(&trade);
    }
}

#[test]
fn a_subscription_that_lost_something_is_mended_without_a_new_connection() {
    let server = busy(&[]);
    let mut client = Client::native(&server);
    let symbol = "sim:S0002-USD";
    let epoch = client.subscribe("trade", &[symbol])["result"][0]["epoch"].clone();
    let first = seq(&of_channel(&mut client, "trade"));
    (0..20).for_each(|_| drop(of_channel(&mut client, "trade")));
    let since = json!({"epoch": epoch, "seq": first});
    client.send(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": symbol, "since": since}}));
    client.until(|message| message["type"] == "resume");
    let mut last = first;
    for _ in 0..200 {
        let trade = of_channel(&mut client, "trade");
        assert_eq!(trade["prev"], last, "{trade}");
        last = seq(&trade);
    }
}

#[test]
fn history_comes_first_and_joins_what_is_live() {
    let server = busy(&[]);
    server.wait_metric("tickcast_ticks_total", "", |n| n > 8_000.0);
    let symbol = "sim:S0001-USD";
    for round in 0..10 {
        let mut client = Client::native(&server);
        let params = json!({"channel": "trade", "symbol": symbol, "history": 50});
        client.ask(&json!({"method": "subscribe", "params": params}));
        let mut last = None;
        for at in 0..150 {
            let trade = of_channel(&mut client, "trade");
            let kind = if at < 50 { "history" } else { "update" };
            assert_eq!(trade["type"], kind, "{round}: {trade}");
            assert!(last.is_none_or(|last| trade["prev"] == last), "{round}: {last:?} {trade}");
            last = Some(seq(&trade));
        }
    }
    let mut client = Client::native(&server);
    let params = json!({"channel": "bar", "symbol": symbol, "interval": "1s", "history": 3});
    client.ask(&json!({"method": "subscribe", "params": params}));
    let mut starts = Vec::new();
    let snapshot = loop {
        let bar = of_channel(&mut client, "bar");
        if bar["type"] != "history" {
            break bar;
        }
        assert_eq!((&bar["final"], bar.get("seq")), (&json!(true), None), "{bar}");
        starts.push(bar["start"].as_u64().expect("a time"));
    };
    assert_eq!(snapshot["type"], "snapshot");
    assert!(!starts.is_empty() && starts.is_sorted() && starts.len() <= 3, "{starts:?}");
    assert!(starts.iter().all(|start| snapshot["start"].as_u64() > Some(*start)), "{starts:?}");
}

#[test]
fn bad_resumes_are_refused_by_name() {
    let server = busy(&[]);
    let mut client = Client::native(&server);
    let ask = |client: &mut Client, params: Value| {
        client.ask(&json!({"method": "subscribe", "params": params}))
    };
    let one = |channel: &str, since: Value| json!({"channel": channel, "symbol": "sim:S0001-USD", "since": since});
    for (params, named) in [
        (one("trade", json!(5)), "`since`"),
        (one("trade", json!({"seq": 5})), "`epoch`"),
        (one("trade", json!({"epoch": "x"})), "`seq`"),
        (one("trade", json!({"epoch": "x", "seq": -1})), "-1 for `since.seq`"),
        (one("trade", json!({"epoch": "x", "seq": 1, "at": 2})), "`at`"),
        (one("status", json!({"epoch": "x", "seq": 1})), "status"),
        (
            json!({"channel": "trade", "symbol": "*", "since": {"epoch": "x", "seq": 1}}),
            "one symbol",
        ),
        (
            json!({"channel": "quote", "symbol": "a", "max_hz": 1, "since": {"epoch": "x", "seq": 1}}),
            "modes",
        ),
        (json!({"channel": "quote", "symbol": "a", "history": 1}), "`history` 1"),
        (json!({"channel": "trade", "symbol": "a", "history": 1001}), "0 to 1000"),
        (json!({"channel": "trade", "symbol": "*", "history": 10}), "wildcard *"),
    ] {
        let answer = ask(&mut client, params.clone());
        let message = answer["error"]["message"].as_str().unwrap_or("");
        assert!(message.contains(named), "{params}: {answer}");
    }
    // One bad name does not keep the others from it.
    let seqs = json!({"sim:S0001-USD": 1, "sim:S0002-USD": 1, "sim:NONE-USD": 1});
    let answer = ask(&mut client, one("quote", json!({"epoch": "x", "seq": seqs})));
    assert_eq!(answer["success"], true);
    let errors = answer["errors"].as_array().expect("errors");
    let codes: Vec<_> = errors.iter().map(|e| e["code"].as_str().unwrap_or("")).collect();
    assert!(codes.contains(&"bad_value") && codes.contains(&"unknown_symbol"), "{answer}");
}
