//! Answers over HTTP of what is not granted, or not any more: no part of them says anything of it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::common::kept::{ALL, Kept, ONE, token};
use crate::common::{PATIENCE, pause};

const PUBLISHER: &str = "of-the-publisher";
const ALL_SYMBOLS: &str = "symbols = [\"*\"]\noperator = true";

/// A server for a token of what is published under a name that begins with `A`, and one of everything.
fn published() -> Kept {
    let text = token("part", ONE, "symbols = [\"my:A*\"]") + &token("all", ALL, ALL_SYMBOLS);
    let variables = [("TICKCAST_PUBLISH_TOKEN", PUBLISHER)];
    Kept::new_in(&variables, &text, &["--feed", "publish:idle=0,symbols=6000"])
}

fn publish(kept: &Kept, lines: &str) {
    let (status, _, answer) = kept.server.request(&format!(
        "POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Bearer {PUBLISHER}\r\n\r\n{lines}",
        lines.len()
    ));
    assert_eq!((status, answer.contains("\"rejected_total\":0")), (200, true), "{answer}");
}

fn trade(symbol: &str, price: &str) -> String {
    format!(
        "{}\n",
        json!({"channel": "trade", "type": "update", "symbol": symbol, "price": price, "qty": "1", "side": "buy"})
    )
}

/// Waits until who may see everything sees this of a symbol.
fn wait_for(kept: &Kept, symbol: &str, wanted: &str) {
    let path = format!("/v1/snapshot?depth=1&symbols={symbol}");
    while !kept.get(Some(ALL), &path).1.contains(wanted) {
        pause();
    }
}

/// A book of a thousand long levels a side.
fn long_book(symbol: &str) -> String {
    let side = |at: u64| -> Vec<Value> {
        (0..1_000).map(|n| json!([format!("{}.00000001", at - n), "1000000.00000001"])).collect()
    };
    let (bids, asks) = (side(1_001_000), side(1_003_000).into_iter().rev().collect::<Vec<_>>());
    format!(
        "{}\n",
        json!({"channel": "book", "type": "snapshot", "symbol": symbol, "seq": 1, "bids": bids, "asks": asks})
    )
}

/// Somebody who takes little at a time, and begins late.
fn slow_reader(kept: &Kept, path: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("set");
    socket.connect(&kept.server.address.into()).expect("connects");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {ONE}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writes");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).expect("the beginning");
    assert_eq!(&begun, b"HTTP/1.0 200");
    stream
}

#[test]
fn what_is_left_of_an_answer_ends_with_the_token() {
    let kept = published();
    let names: Vec<String> = (0..100).map(|n| format!("my:A{n:02}-USD")).collect();
    for some in names.chunks(10) {
        publish(&kept, &some.iter().map(|name| long_book(name)).collect::<String>());
    }
    wait_for(&kept, "my:A99-USD", "\"bids\"");
    let path = format!("/v1/snapshot?depth=1000&symbols={}", names.join(","));
    let mut stream = slow_reader(&kept, &path);
    kept.rewrite(&token("all", ALL, ALL_SYMBOLS));
    while kept.get(Some(ONE), "/v1/symbols").0 != 401 {
        pause();
    }
    publish(&kept, &names.iter().map(|name| trade(name, "777.25")).collect::<String>());
    wait_for(&kept, "my:A99-USD", "777.25");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    assert!(!rest.contains("777.25"), "what came after the end of the token was shown");
    // It is a whole answer, which says so of each that is missing.
    let body = rest.split_once("\r\n\r\n").expect("a body").1;
    let body: Value = serde_json::from_str(body).expect("JSON");
    let (shown, errors) = (body["symbols"].as_array(), body["errors"].as_array());
    let (shown, errors) = (shown.expect("symbols"), errors.expect("errors"));
    assert!(!shown.is_empty() && shown.len() + errors.len() == 100, "{}", shown.len());
    for (error, name) in errors.iter().zip(&names[shown.len()..]) {
        assert_eq!((&error["symbol"], &error["code"]), (&json!(name), &json!("unauthorized")));
    }
}

#[test]
fn lists_of_the_dialect_of_binance_end_with_the_token() {
    let kept = published();
    publish(&kept, &(0..6_000).map(|n| trade(&format!("my:A{n}-USD"), "1")).collect::<String>());
    wait_for(&kept, "my:A5999-USD", "\"trade\"");
    let path = "/api/v3/exchangeInfo";
    let whole = kept.get(Some(ONE), path).1;
    assert!(whole.contains("A5999USD"), "{}", whole.len());
    let mut stream = slow_reader(&kept, path);
    kept.rewrite(&token("all", ALL, ALL_SYMBOLS));
    while kept.get(Some(ONE), path).0 != 401 {
        pause();
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    // Nobody takes that for all there is.
    let body = rest.split_once("\r\n\r\n").expect("a body").1;
    assert!(body.contains("\"A1USD\"") && !body.contains("\"A5999USD\""), "{}", body.len());
    serde_json::from_str::<Value>(body).expect_err("a part");
}

#[test]
fn venues_of_others_are_not_named() {
    let kept = published();
    publish(&kept, &(trade("my:A-USD", "1") + &trade("my:B-USD", "1")));
    wait_for(&kept, "my:B-USD", "\"trade\"");
    let ways = |venue: &str| {
        [
            format!("/v1/symbols?venue={venue}"),
            format!("/v1/poll?subscribe=trade:{venue}:*"),
            format!("/v1/sse?subscribe=trade:{venue}:*"),
        ]
    };
    // Near or not, there or not.
    for venue in ["zzz", "sin", "sim", "SIM"] {
        for path in ways(venue) {
            let (status, body) = kept.get(Some(ONE), &path);
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let message = format!("no such venue: {venue}, expected one of my");
            let expected = json!({"error": {"code": "unknown_venue", "message": message}});
            assert_eq!((status, &body), (404, &expected), "{path}");
        }
    }
    for venue in ["my", "MY"] {
        let [listed, polled, _] = ways(venue);
        let (status, body) = kept.get(Some(ONE), &listed);
        assert_eq!((status, body.matches("\"symbol\"").count()), (200, 1), "{body}");
        assert_eq!(kept.get(Some(ONE), &polled).0, 200);
    }
    let (_, body) = kept.get(Some(ALL), "/v1/symbols?venue=zzz");
    assert!(body.contains("sim") && body.contains("my"), "{body}");
}

#[test]
fn a_list_of_nothing_does_not_say_how_much_there_is() {
    let kept = published();
    let mut lines = String::new();
    for n in 0..2_000 {
        lines.push_str(&trade(&format!("my:B{n}-USD"), "1"));
    }
    publish(&kept, &lines);
    wait_for(&kept, "my:B1999-USD", "\"trade\"");
    let list = || {
        let request = format!("GET /v1/symbols HTTP/1.0\r\nAuthorization: Bearer {ONE}\r\n\r\n");
        kept.server.request(&request).2
    };
    let text = list();
    let (_, symbols) = text.split_once(',').expect("fields");
    assert_eq!(symbols, "\"symbols\":[]}");
    publish(&kept, &trade("my:A-USD", "1"));
    wait_for(&kept, "my:A-USD", "\"trade\"");
    assert_eq!(list().matches("\"symbol\":\"my:A-USD\"").count(), 1);
}

#[test]
fn polls_and_streams_of_events_have_as_many_subscriptions_as_are_granted() {
    let two = token("two", "token-of-two", "symbols = [\"*\"]\nmax_subscriptions = 2");
    let kept = Kept::new(&(token("all", ALL, ALL_SYMBOLS) + &two), &[]);
    let mut client = kept.client("/v1/ws", "token-of-two");
    assert_eq!(client.subscribe("trade", &["*", "sim:*"])["success"], true);
    let error = &client.subscribe("quote", &["*"])["errors"][0];
    for way in ["poll", "sse"] {
        let ask = |what: &str| kept.get(Some("token-of-two"), &format!("/v1/{way}?{what}"));
        let (status, body) = ask("subscribe=trade:*,quote:*,status:S0001-USD");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status, 400, "{way}: {body}");
        assert_eq!(body["error"]["code"], error["code"], "{way}");
        assert_eq!(body["error"]["message"], error["message"], "{way}");
    }
    // The same again, in whatever case, is one.
    let mut again = String::from("trade:*");
    for at in 0..20 {
        let case = if at % 2 == 0 { "sim:S0001-USD" } else { "SIM:s0001-usd" };
        write!(again, ",quote:{case},trade:*").expect("appends");
    }
    let (status, body) = kept.get(Some("token-of-two"), &format!("/v1/poll?subscribe={again}"));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn refusals_are_those_that_the_description_has() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let text = std::fs::read_to_string(path).expect("reads");
    let described: Value = serde_json::from_str(&text).expect("JSON");
    let one = token("one", ONE, "symbols = [\"sim:S0001-*\"]\nconnections = 1");
    let kept = Kept::new(&(one + &token("all", ALL, ALL_SYMBOLS)), &[]);
    let check = |token: Option<&str>, wanted: u16| {
        for (path, operations) in described["paths"].as_object().expect("paths") {
            let asked = path.replace("{symbol}", "sim:S0002-USD");
            let (status, body) = kept.get(token, &asked);
            let is_open = operations["get"]["security"] == json!([]);
            assert_eq!(status == wanted, !is_open, "{asked}: {status} {body}");
            let response = &operations["get"]["responses"][status.to_string()];
            let at = response["$ref"].as_str().map_or("", |at| at.trim_start_matches('#'));
            let response = described.pointer(at).filter(|_| !at.is_empty()).unwrap_or(response);
            assert!(response["content"].get("application/json").is_some(), "{asked}: {status}");
        }
    };
    check(None, 401);
    let held = kept.client("/v1/ws", ONE);
    check(Some(ONE), 429);
    drop(held);
    let path = "/v1/book/sim:S0002-USD";
    while kept.get(Some(ONE), path).0 == 429 {
        pause();
    }
    assert_eq!(kept.get(Some(ONE), path).0, 403);
    let responses = &described["paths"]["/v1/book/{symbol}"]["get"]["responses"];
    assert!(responses.get("403").is_some(), "{responses}");
}
