//! By each path of HTTP and each dialect: what is old enough, and nothing else.

use std::io::Read;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::{EXCHANGE_PATHS, pause};
use super::{LATE, LIVE, MARKET, Two, assert_old, now_us, number};

const REST: [&str; 6] = [
    "/v1/symbols",
    "/v1/snapshot?symbols=sim:S0001-USD",
    "/v1/book/sim:S0001-USD",
    "/v1/trades/sim:S0001-USD",
    "/v1/bars/sim:S0001-USD?interval=1s",
    "/v1/ticker/sim:S0001-USD",
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
    for path in EXCHANGE_PATHS {
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
    assert_ne!(two.epoch(LATE), two.epoch(LIVE));
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
        for path in EXCHANGE_PATHS {
            let (status, _, body) = two.get(LATE, &format!("/api/v3/{path}"));
            assert_eq!(status, 200, "{path}: {body}");
        }
        let trades = two.get(LATE, "/api/v3/trades?symbol=S0001USD").2;
        let trades: Value = serde_json::from_str(&trades).expect("JSON");
        let newest = trades.as_array().and_then(|all| all.last()).expect("a trade");
        assert!(number(newest, "time") + 1_000 <= now_us() / 1_000, "{newest}");
        pause();
    }
    for token in [LIVE, LATE] {
        let states = two.get(token, "/v1/poll?subscribe=status:*").2;
        assert_eq!(states.matches("\"state\":\"live\"").count(), 4, "{states}");
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
