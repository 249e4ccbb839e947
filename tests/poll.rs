//! Long polling as a client sees it.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use common::{Client, PATIENCE, Server, pause};
use serde_json::{Value, json};

fn busy(args: &[&str]) -> Server {
    let mut all = vec!["--reactors", "2", "--slow-grace", "60s", "--outbox-bytes", "64MiB"];
    all.extend(args);
    all.extend(["--feed", "synthetic:symbols=4,rate=2000,names=numbered"]);
    Server::start(&all)
}

fn poll(server: &Server, query: &str) -> Value {
    let (status, body) = server.get(&format!("/v1/poll?{query}"));
    assert_eq!(status, 200, "{query}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{query}: {body}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn messages(answer: &Value) -> &[Value] {
    answer["messages"].as_array().expect("messages")
}

#[test]
fn a_loop_of_polls_gets_every_trade_exactly_once() {
    let server = busy(&[]);
    let mut witness = Client::native(&server);
    witness.subscribe("trade", &["sim:*"]);
    let mut cursor = text(&poll(&server, "subscribe=trade:sim:*"), "cursor").to_owned();
    let mut got: HashMap<String, Vec<u64>> = HashMap::new();
    let mut last = HashMap::new();
    for round in 0..60 {
        let answer = poll(&server, &format!("subscribe=trade:sim:*&cursor={cursor}"));
        assert_eq!(answer["recovered"], true, "{answer}");
        cursor = text(&answer, "cursor").to_owned();
        assert!(!messages(&answer).is_empty());
        for trade in messages(&answer) {
            assert_eq!((text(trade, "channel"), text(trade, "type")), ("trade", "update"));
            let symbol = text(trade, "symbol").to_owned();
            if let Some(last) = last.get(&symbol) {
                assert_eq!(trade["prev"], *last, "{trade}");
            }
            let seq = trade["seq"].as_u64().expect("a sequence");
            last.insert(symbol.clone(), seq);
            got.entry(symbol).or_default().push(seq);
        }
        (0..round % 7).for_each(|_| pause());
    }
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    let behind = |seen: &HashMap<String, Vec<u64>>| {
        got.iter().any(|(symbol, seqs)| seen.get(symbol).and_then(|seen| seen.last()) < seqs.last())
    };
    while behind(&seen) {
        let trade = witness.until(|message| message["type"] == "update");
        let seq = trade["seq"].as_u64().expect("a sequence");
        seen.entry(text(&trade, "symbol").to_owned()).or_default().push(seq);
    }
    for (symbol, seqs) in &got {
        let seen = &seen[symbol];
        let first = seen.iter().position(|seq| seq == &seqs[0]).expect("it was there before");
        assert_eq!(seqs[..], seen[first..first + seqs.len()], "{symbol}");
    }
}

#[test]
fn what_is_now_comes_without_a_cursor_and_what_changed_with_one() {
    let server = busy(&[]);
    server.wait_metric("tickcast_ticks_total", "", |n| n > 500.0);
    let what = "subscribe=book:S0001-USD:3,quote:sim:*,status:S0002-USD";
    let first = poll(&server, what);
    assert_eq!(first.get("recovered"), None);
    let kinds = |answer: &Value| -> Vec<String> {
        let kind =
            |message: &Value| format!("{} {}", text(message, "channel"), text(message, "type"));
        messages(answer).iter().map(kind).collect()
    };
    let quote = "quote snapshot";
    let expected = ["book snapshot", quote, quote, quote, quote, "status feed"];
    assert_eq!(kinds(&first), expected);
    let mut quotes = HashMap::new();
    let mut cursor = text(&first, "cursor").to_owned();
    for _ in 0..20 {
        let answer = poll(&server, &format!("{what}&cursor={cursor}"));
        cursor = text(&answer, "cursor").to_owned();
        for message in messages(&answer) {
            match text(message, "channel") {
                "book" => {
                    assert_eq!((text(message, "type"), &message["depth"]), ("snapshot", &json!(3)));
                    assert!(message["bids"].as_array().is_some_and(|bids| bids.len() <= 3));
                }
                "quote" => {
                    let last =
                        quotes.insert(text(message, "symbol").to_owned(), message["seq"].clone());
                    if let (Some(last), "update") = (last, text(message, "type")) {
                        assert_eq!(message["prev"], last, "{message}");
                    }
                }
                channel => assert_eq!(channel, "status"),
            }
        }
    }
    assert_eq!(quotes.len(), 4);
}

#[test]
fn a_poll_waits_and_says_when_there_was_nothing() {
    let server = Server::start(&["--feed", "synthetic:symbols=2,rate=1000,names=numbered"]);
    let first = poll(&server, "subscribe=status:S0001-USD");
    let cursor = text(&first, "cursor");
    // Over one connection, which stays.
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for _ in 0..2 {
        let began = Instant::now();
        let request = format!(
            "GET /v1/poll?subscribe=status:S0001-USD&cursor={cursor}&timeout=1 HTTP/1.1\r\nHost: t\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("writes");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            let mut some = [0; 4096];
            let count = stream.read(&mut some).expect("an answer");
            assert!(count > 0, "the connection ended");
            bytes.extend_from_slice(&some[..count]);
        }
        assert!(began.elapsed().as_millis() >= 1_000, "it waited");
        let answer = String::from_utf8(bytes).expect("text");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        let answer: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((messages(&answer).len(), &answer["recovered"]), (0, &json!(true)));
        assert_ne!(text(&answer, "cursor"), cursor, "time went on");
    }
}

#[test]
fn a_cursor_that_is_of_no_use_is_said_to_be() {
    let server = busy(&["--ring-slots", "1024"]);
    let first = poll(&server, "subscribe=quote:S0001-USD");
    let old = text(&first, "cursor").to_owned();
    let epoch = text(&first, "epoch");
    let ticks = server.metric("tickcast_ticks_total", "");
    server.wait_metric("tickcast_ticks_total", "", |n| n > ticks + 4_000.0);
    let ahead = format!("{epoch}-99999999999");
    for (cursor, reason) in [("zz-1", "epoch"), (&*old, "too_old"), (&*ahead, "ahead")] {
        let answer = poll(&server, &format!("subscribe=quote:S0001-USD&cursor={cursor}"));
        assert_eq!((&answer["recovered"], text(&answer, "reason")), (&json!(false), reason));
        assert_eq!(text(&messages(&answer)[0], "type"), "snapshot");
    }
}

#[test]
fn what_is_wrong_with_a_poll_is_named() {
    let server = busy(&[]);
    for (query, status, named) in [
        ("", 400, "`subscribe`"),
        ("subscribe=bar:S0001-USD:2m", 400, "`interval`"),
        ("subscribe=book:S0001-USD", 400, "a depth"),
        ("subscribe=book:S0001-USD:full", 400, "a depth"),
        ("subscribe=trade:NONE-USD", 404, "NONE-USD"),
        ("subscribe=trade:*&timeout=61", 400, "`timeout`"),
        ("subscribe=trade:*&cursor=5", 400, "`cursor`"),
        ("subscribe=trade:*&history=5", 400, "`history`"),
    ] {
        let (got, body) = server.get(&format!("/v1/poll?{query}"));
        assert!(got == status && body.contains(named), "{query}: {got} {body}");
    }
    let many = Server::start(&["--feed", "synthetic:symbols=101,rate=10,names=numbered"]);
    let (status, body) = many.get("/v1/poll?subscribe=trade:*");
    assert!(status == 400 && body.contains("more than 100"), "{status} {body}");
}

#[test]
fn who_polls_counts_as_a_client() {
    let server = busy(&["--max-clients", "1"]);
    let mut stream = TcpStream::connect(server.address).expect("connects");
    let cursor = text(&poll(&server, "subscribe=status:*"), "cursor").to_owned();
    let request =
        format!("GET /v1/poll?subscribe=status:*&cursor={cursor} HTTP/1.1\r\nHost: t\r\n\r\n");
    // The connection of the poll before may not be gone yet.
    while server.get("/v1/sse?subscribe=x").0 == 503 {
        pause();
    }
    stream.write_all(request.as_bytes()).expect("writes");
    while server.get("/v1/poll?subscribe=status:*").0 != 503 {
        pause();
    }
    drop(stream);
}

#[test]
fn bars_and_tickers_come_as_others_get_them() {
    let server = busy(&[]);
    server.wait_metric("tickcast_ticks_total", "", |n| n > 500.0);
    let what = "subscribe=bar:S0001-USD:1s,ticker:S0001-USD,trade:S0001-USD";
    let first = poll(&server, what);
    let kinds: Vec<_> = messages(&first)
        .iter()
        .map(|message| (text(message, "channel"), text(message, "type")))
        .collect();
    assert_eq!(kinds, [("bar", "snapshot"), ("ticker", "snapshot")]);
    // One who is told the same over a WebSocket from somewhere in between on.
    let mut witness = Client::native(&server);
    witness.ask(&json!({"method": "subscribe",
        "params": {"channel": "bar", "symbol": "S0001-USD", "interval": "1s"}}));
    let mut cursor = text(&first, "cursor").to_owned();
    let mut last: HashMap<String, Value> = HashMap::new();
    let (mut bars, mut finals) = (Vec::new(), 0);
    while finals < 3 {
        let answer = poll(&server, &format!("{what}&cursor={cursor}"));
        assert_eq!(answer["recovered"], true, "{answer}");
        cursor = text(&answer, "cursor").to_owned();
        for message in messages(&answer) {
            let channel = text(message, "channel");
            // Those that are in the first answer already may come again, as snapshots may.
            if let (Some(last), "update") = (last.get(channel), text(message, "type")) {
                assert_eq!(message["prev"], *last, "{message}");
            }
            last.insert(channel.to_owned(), message["seq"].clone());
            if channel == "bar" {
                finals += usize::from(message["final"] == true);
                bars.push(message.clone());
            }
        }
    }
    let seqs = |all: &[Value]| all.iter().map(|bar| bar["seq"].as_u64()).collect::<Vec<_>>();
    let newest = seqs(&bars).last().copied().flatten();
    let mut seen = Vec::new();
    while seqs(&seen).last().copied().flatten() < newest {
        let bar = witness.until(|message| message["channel"] == "bar");
        if bar["type"] == "update" {
            seen.push(bar);
        }
    }
    let begin = seqs(&seen)[0];
    let same: Vec<_> = bars.iter().skip_while(|bar| bar["seq"].as_u64() < begin).collect();
    assert!(same.len() > 5, "{}", same.len());
    assert_eq!(same, seen.iter().collect::<Vec<_>>());
}

#[test]
fn bars_that_nobody_listened_to_begin_with_a_snapshot() {
    let server = busy(&[]);
    server.wait_metric("tickcast_ticks_total", "", |n| n > 500.0);
    let first = poll(&server, "subscribe=status:S0001-USD");
    // Where nothing came since the cursor, nothing was missed.
    let ticks = server.metric("tickcast_ticks_total", "");
    server.wait_metric("tickcast_ticks_total", "", |n| n > ticks + 1_000.0);
    let query = |cursor: &str| format!("subscribe=bar:S0001-USD:1s&cursor={cursor}");
    let second = poll(&server, &query(text(&first, "cursor")));
    assert_eq!(second["recovered"], true, "{second}");
    let [bar] = messages(&second) else { panic!("{second}") };
    assert_eq!((text(bar, "channel"), text(bar, "type")), ("bar", "snapshot"));
    // It has not missed any since.
    let mut cursor = text(&second, "cursor").to_owned();
    let mut last = bar["seq"].as_u64();
    for _ in 0..5 {
        let answer = poll(&server, &query(&cursor));
        cursor = text(&answer, "cursor").to_owned();
        for bar in messages(&answer) {
            let seq = bar["seq"].as_u64();
            // Those up to a snapshot may come after it.
            if text(bar, "type") == "update" && seq > last {
                assert_eq!(bar["prev"].as_u64(), last, "{bar}");
            }
            last = seq.max(last);
        }
    }
}
