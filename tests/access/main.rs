//! Who may see what: tokens by every way in, what they open and what stays shut.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod log;
mod rates;
#[path = "../jwt/signer.rs"]
mod signer;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use common::kept::{ALL, Kept, ONE, one_and_all, token};
use common::{Client, EXCHANGE_PATHS, PATIENCE, pause};
use serde_json::{Value, json};

const CHANNELS: [&str; 6] = ["trade", "quote", "book", "status", "bar", "ticker"];
const MARKET_PATHS: [&str; 9] = [
    "/v1/symbols",
    "/v1/snapshot?symbols=sim:S0001-USD",
    "/v1/book/sim:S0001-USD",
    "/v1/trades/sim:S0001-USD",
    "/v1/bars/sim:S0001-USD",
    "/v1/ticker/sim:S0001-USD",
    "/v1/sse?subscribe=trade:*",
    "/v1/poll?subscribe=trade:*",
    "/v1/echo",
];

#[test]
fn without_a_token_there_is_the_page_and_health_and_nothing_else() {
    let kept = Kept::new(&one_and_all(), &["--handshake-timeout", "1s"]);
    for path in ["/", "/healthz", "/readyz", "/v1/openapi.json"] {
        assert_eq!(kept.get(None, path).0, 200, "{path}");
    }
    for token in [None, Some("wrong"), Some("")] {
        for path in
            MARKET_PATHS.iter().chain(&["/metrics", "/v1/stats", "/v1/connections", "/v1/feeds"])
        {
            let (status, body) = kept.get(token, path);
            assert_eq!(status, 401, "{path} {token:?}: {body}");
            let body: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(body["error"]["code"], "unauthorized", "{path}: {body}");
        }
        for path in EXCHANGE_PATHS {
            let (status, body) = kept.get(token, &format!("/api/v3/{path}"));
            assert_eq!((status, body.contains("-2015")), (401, true), "{path}: {body}");
        }
    }
    for path in ["/ws", "/ws/s0001usd@trade", "/stream?streams=s0001usd@trade", "/v1/echo"] {
        let (_, head) = kept.upgrade(path, "");
        assert!(head.starts_with("HTTP/1.1 401 "), "{path}: {head}");
        assert!(head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
    }
    let (_, head) = kept.upgrade("/v1/ws", "Authorization: Bearer wrong\r\n");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    // Over the native protocol it may be said later, for a while.
    let mut client = Client::native(&kept.server);
    for channel in CHANNELS {
        let answer = client.subscribe(channel, &["sim:S0001-USD", "*"]);
        assert_eq!(answer["success"], false, "{answer}");
        assert_eq!(answer["error"]["code"], "unauthorized", "{answer}");
        // Nor is it told which symbols there are.
        let unknown = client.subscribe(channel, &["sim:S9999-USD", "*"]);
        assert_eq!(unknown["error"], answer["error"]);
    }
    for method in ["list_symbols", "list_subscriptions"] {
        let answer = client.ask(&json!({"method": method}));
        assert_eq!(answer["error"]["code"], "unauthorized", "{answer}");
    }
    assert_eq!(client.ask(&json!({"method": "ping"}))["method"], "pong");
    assert_eq!(client.close().expect("a close").0, Some(4001));
}

/// The symbols in messages of the native protocol.
fn only_one(message: &Value) -> bool {
    message.get("symbol").is_none_or(|symbol| symbol == "sim:S0001-USD")
}

/// A server for the token of one symbol, and for a signed one that grants the same.
fn of_one() -> (Kept, [String; 2]) {
    let path = signer::path("secret.txt");
    let issuer = format!(
        "[[issuer]]\nname = \"idp\"\nalgorithms = [\"HS256\"]\nsecret_file = {path:?}\n\
         symbols = [\"*\"]\n"
    );
    let claims = json!({"sub": "one", "exp": signer::soon(3_600),
        "tickcast": {"symbols": ["sim:S0001-*"]}});
    let signed = signer::Signer::hs256().token(&claims);
    (Kept::new(&(one_and_all() + &issuer), &[]), [ONE.to_owned(), signed])
}

#[test]
fn a_token_of_one_symbol_sees_that_one_by_the_native_protocol() {
    let (kept, tokens) = of_one();
    for one in &tokens {
        sees_one_by_the_native_protocol(&kept, one);
    }
}

fn sees_one_by_the_native_protocol(kept: &Kept, one: &str) {
    let mut client = kept.client("/v1/ws", one);
    for channel in CHANNELS {
        let answer =
            client.subscribe(channel, &["sim:S0002-USD", "sim:S0003-USD", "sim:S0001-USD"]);
        assert_eq!(answer["result"].as_array().map(Vec::len), Some(1), "{answer}");
        for error in answer["errors"].as_array().expect("errors") {
            assert_eq!(error["code"], "forbidden", "{answer}");
            assert!(error["message"].as_str().expect("text").contains("sim:S0001-*"), "{answer}");
        }
        let answer = client.subscribe(channel, &["*", "sim:*"]);
        assert_eq!(answer["result"][0]["matched"], 1, "{answer}");
    }
    // Nor by a name without its venue, which is as one that nobody lists.
    let answer = client.subscribe("trade", &["S0002-USD", "S9999-USD"]);
    let codes: Vec<_> =
        answer["errors"].as_array().expect("errors").iter().map(|e| &e["code"]).collect();
    assert_eq!(codes, ["unknown_symbol", "unknown_symbol"], "{answer}");
    // What a name is like is not told either.
    let answer = client.subscribe("trade", &["sim:S0003-UDS"]);
    assert!(!answer.to_string().contains("S0003-USD"), "{answer}");
    let listed = client.ask(&json!({"method": "list_symbols"}));
    assert_eq!(listed["result"].as_array().map(Vec::len), Some(1), "{listed}");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3_000 {
        let message = client.message();
        assert!(only_one(&message), "{message}");
        seen.insert(message["channel"].to_string());
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

/// A trade, a quote and a book of a symbol, as lines for a server.
fn market_of(symbol: &str, price: u64) -> String {
    let (bid, ask) = (price.to_string(), (price + 1).to_string());
    [
        json!({"channel": "book", "type": "snapshot", "symbol": symbol, "seq": price, "bids": [[bid, "1"]], "asks": [[ask, "1"]]}),
        json!({"channel": "quote", "type": "update", "symbol": symbol, "bid": bid, "bid_qty": "1", "ask": ask, "ask_qty": "1"}),
        json!({"channel": "trade", "type": "update", "symbol": symbol, "price": bid, "qty": "1", "side": "buy"}),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

#[test]
fn what_is_listed_later_is_not_seen_either() {
    let text = token("part", ONE, "symbols = [\"my:A-*\"]")
        + &token("all", ALL, "symbols = [\"*\"]\noperator = true");
    let variables = [("TICKCAST_PUBLISH_TOKEN", "of-the-publisher")];
    let kept = Kept::new_in(&variables, &text, &["--feed", "publish:"]);
    let [mut part, mut all] = [ONE, ALL].map(|token| kept.client("/v1/ws", token));
    let sse = CHANNELS.map(|channel| format!("{channel}:*")).join(",");
    let mut stream = TcpStream::connect(kept.server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "GET /v1/sse?subscribe={sse},book:*:5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ONE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("writes");
    for client in [&mut part, &mut all] {
        for channel in CHANNELS {
            assert_eq!(client.subscribe(channel, &["*"])["success"], true);
        }
        let five = json!({"channel": "book", "depth": 5, "symbol": "*"});
        assert_eq!(client.ask(&json!({"method": "subscribe", "params": five}))["success"], true);
    }
    let mut quotes = kept.client("/ws/!bookTicker", ONE);
    let publish = |price| {
        let body = market_of("my:B-USD", price) + &market_of("my:A-USD", price);
        let (status, _, answer) = kept.server.request(&format!(
            "POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: Bearer of-the-publisher\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(status, 200, "{answer}");
    };
    publish(1);
    // Who may see all is shown both by each channel, and the other one alone.
    let mut missing: std::collections::HashSet<_> = ["my:A-USD", "my:B-USD"]
        .iter()
        .flat_map(|symbol| CHANNELS.map(|channel| (channel.to_owned(), (*symbol).to_owned())))
        .collect();
    while !missing.is_empty() {
        let message = all.message();
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        missing.remove(&(text("channel"), text("symbol")));
    }
    publish(2);
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 6 || !seen.contains("trade 2") {
        let message = part.message();
        assert_ne!(message["symbol"], "my:B-USD", "{message}");
        let channel = message["channel"].as_str().expect("a channel");
        seen.insert(channel.to_owned());
        if (channel, &message["price"]) == ("trade", &json!("2")) {
            seen.insert("trade 2".to_owned());
        }
    }
    let mut quote = quotes.message();
    while quote["b"] != "2.00000000" {
        assert_eq!(quote["s"], "AUSD", "{quote}");
        quote = quotes.message();
    }
    let mut told = String::new();
    while !(told.contains("\"price\":\"2\"") && told.matches("my:A-USD").count() > 8) {
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).expect("reads");
        assert!(n > 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&bytes[..n]));
        assert!(!told.contains("my:B-USD"), "{told}");
    }
}

#[test]
fn it_sees_that_one_by_http_streams_of_events_and_polls() {
    let (kept, tokens) = of_one();
    for one in &tokens {
        sees_one_by_http(&kept, one);
    }
}

fn sees_one_by_http(kept: &Kept, one: &str) {
    let other = |path: &str| path.replace("S0001", "S0002");
    for path in MARKET_PATHS.iter().filter(|path| path.contains("S0001")) {
        assert_eq!(kept.get(Some(one), path).0, 200, "{path}");
        let (status, body) = kept.get(Some(one), &other(path));
        assert_eq!((status, body.contains("forbidden")), (403, true), "{path}: {body}");
        assert_eq!(kept.get(Some(ALL), &other(path)).0, 200, "{path}");
    }
    let both = kept.get(Some(one), "/v1/snapshot?symbols=sim:S0001-USD,sim:S0002-USD").1;
    assert_eq!(both.matches("\"trade\":{").count(), 1, "{both}");
    assert_eq!(both.matches("\"code\":\"forbidden\"").count(), 1, "{both}");
    let listed = kept.get(Some(one), "/v1/symbols").1;
    assert!(listed.contains("S0001") && !listed.contains("S0002"), "{listed}");
    for channel in CHANNELS {
        let depth = if channel == "book" { ":5" } else { "" };
        for way in ["sse", "poll"] {
            let path = format!("/v1/{way}?subscribe={channel}:sim:S0002-USD{depth}");
            let (status, body) = kept.get(Some(one), &path);
            assert_eq!(status, 403, "{path}: {body}");
        }
        let (status, body) =
            kept.get(Some(one), &format!("/v1/poll?subscribe={channel}:*{depth}&timeout=1"));
        assert_eq!((status, body.contains("S0000")), (200, false), "{body}");
    }
    let mut stream = TcpStream::connect(kept.server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "GET /v1/sse?subscribe=trade:*,quote:sim:*,book:*,ticker:* HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {one}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("writes");
    let (mut seen, mut buffer) = (String::new(), [0; 65_536]);
    while seen.len() < 500_000 {
        let n = stream.read(&mut buffer).expect("events");
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    for shut in ["S0000", "S0002", "S0003"] {
        assert!(!seen.contains(shut), "{shut} was seen");
    }
    for path in ["/metrics", "/v1/stats", "/v1/connections", "/v1/feeds"] {
        assert_eq!(kept.get(Some(one), path).0, 403, "{path}");
        assert_eq!(kept.get(Some(ALL), path).0, 200, "{path}");
    }
}

#[test]
fn it_sees_that_one_by_the_dialect_of_binance() {
    let (kept, tokens) = of_one();
    for one in &tokens {
        sees_one_by_the_dialect_of_binance(&kept, one);
    }
}

fn sees_one_by_the_dialect_of_binance(kept: &Kept, one: &str) {
    for path in EXCHANGE_PATHS.iter().filter(|path| path.contains("S0001")) {
        let path = format!("/api/v3/{path}");
        assert_eq!(kept.get(Some(one), &path).0, 200, "{path}");
        let (status, body) = kept.get(Some(one), &path.replace("S0001", "S0002"));
        assert_eq!((status, body.contains("-2015")), (403, true), "{path}: {body}");
    }
    for path in ["exchangeInfo", "ticker/24hr", "ticker/price", "ticker/bookTicker"] {
        let body = kept.get(Some(one), &format!("/api/v3/{path}")).1;
        assert!(body.contains("S0001USD") && !body.contains("S0002"), "{path}: {body}");
    }
    // The header that Binance's clients send.
    let request = format!(
        "GET /api/v3/depth?symbol=S0001USD HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-MBX-APIKEY: {one}\r\n\r\n"
    );
    assert_eq!(kept.server.request(&request).0, 200);
    let streams = ["trade", "aggTrade", "bookTicker", "depth", "depth5", "ticker", "kline_1m"];
    let url: Vec<String> = (0..4)
        .flat_map(|n| streams.map(|stream| format!("s{n:04}usd@{stream}")))
        .chain(["!miniTicker@arr".to_owned(), "!bookTicker".to_owned()])
        .collect();
    let mut client = kept.client(&format!("/stream?streams={}", url.join("/")), one);
    let refused = |client: &mut Client, name: &str| {
        client.send(&json!({"method": "SUBSCRIBE", "params": [name], "id": name}));
        let answer = client.until(|message| message.get("id").is_some());
        assert!(
            answer["error"]["msg"].as_str().is_some_and(|m| m.contains("not granted")),
            "{answer}"
        );
    };
    for name in ["s0002usd@trade", "s0000usd@depth@100ms", "!ticker@arr", "!miniTicker@arr"] {
        refused(&mut client, name);
    }
    for _ in 0..2_000 {
        let message = client.message();
        let stream = message["stream"].as_str().unwrap_or("");
        assert!(stream.contains("s0001usd") || stream == "!bookTicker", "{message}");
        assert!(message["data"]["s"].as_str().is_none_or(|s| s == "S0001USD"), "{message}");
    }
}

#[test]
fn channels_depth_rate_and_numbers_are_held_to() {
    let some = token(
        "some",
        "token-of-some",
        "symbols = [\"sim:*\"]\nchannels = [\"quote\", \"book\"]\ndepth = 5\nmax_hz = 5\nmax_subscriptions = 3\nconnections = 2",
    );
    let kept = Kept::new(&(one_and_all() + &some), &[]);
    let mut client = kept.client("/v1/ws", "token-of-some");
    let asked = |client: &mut Client, params: Value| {
        client.ask(&json!({"method": "subscribe", "params": params}))
    };
    for (params, why) in [
        (json!({"channel": "trade", "symbol": "*"}), "trade is not granted"),
        (json!({"channel": "book", "symbol": "sim:S0001-USD"}), "up to 5 levels"),
        (json!({"channel": "book", "symbol": "*", "depth": 6}), "up to 5 levels"),
    ] {
        let answer = asked(&mut client, params);
        assert!(answer["errors"][0]["message"].as_str().expect("why").contains(why), "{answer}");
    }
    let answer = asked(&mut client, json!({"channel": "quote", "symbol": "*"}));
    let result = &answer["result"][0];
    assert_eq!((&result["mode"], &result["max_hz"]), (&json!("conflate"), &json!(5)), "{answer}");
    assert_eq!(
        asked(&mut client, json!({"channel": "book", "symbol": "sim:S0001-USD", "depth": 5}))["success"],
        true
    );
    let full = asked(
        &mut client,
        json!({"channel": "book", "symbol": ["sim:S0000-USD", "sim:S0002-USD"], "depth": 5}),
    );
    assert_eq!(full["errors"][0]["code"], "too_many_subscriptions", "{full}");
    let second = kept.client("/v1/ws", "token-of-some");
    let (_, head) = kept.upgrade("/v1/ws", "Authorization: Bearer token-of-some\r\n");
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: 1"), "{head}");
    let (status, body) = kept.get(Some("token-of-some"), "/api/v3/ticker/bookTicker");
    assert_eq!((status, body.contains("-1003")), (429, true), "{body}");
    drop(second);
    while !kept.upgrade("/v1/ws", "Authorization: Bearer token-of-some\r\n").1.contains(" 101 ") {
        pause();
    }
    // Single trades cannot be left out of the other dialect's streams, so there are none.
    let hz = token("hz", "token-of-a-rate", "symbols = [\"*\"]\nmax_hz = 1");
    kept.rewrite(&(one_and_all() + &hz));
    while kept.get(Some("token-of-a-rate"), "/v1/symbols").0 != 200 {
        pause();
    }
    let mut client = kept.client("/ws", "token-of-a-rate");
    client.send(&json!({"method": "SUBSCRIBE", "params": ["s0001usd@trade"], "id": 1}));
    assert!(
        client.message()["error"]["msg"]
            .as_str()
            .is_some_and(|m| m.contains("1 messages a second"))
    );
    assert_eq!(kept.get(Some("token-of-a-rate"), "/v1/poll?subscribe=trade:*").0, 403);
}

#[test]
fn a_client_may_say_later_who_it_is_and_be_another() {
    let kept = Kept::new(&one_and_all(), &["--request-rate", "1000"]);
    let mut client = Client::native(&kept.server);
    let auth = |client: &mut Client, token: &str| {
        client.ask(&json!({"method": "auth", "req_id": 7, "params": {"token": token}}))
    };
    let wrong = auth(&mut client, "wrong");
    assert_eq!((&wrong["req_id"], &wrong["error"]["code"]), (&json!(7), &json!("unauthorized")));
    let right = auth(&mut client, ALL);
    assert_eq!(right["result"]["name"], "all", "{right}");
    assert_eq!(client.subscribe("trade", &["*"])["result"][0]["matched"], 4);
    client.until(|message| message["symbol"] == "sim:S0003-USD");
    // Less from here on: what is not granted any more is over with the answer.
    assert_eq!(auth(&mut client, ONE)["result"]["symbols"], "sim:S0001-*");
    for _ in 0..500 {
        let message = client.message();
        assert!(only_one(&message), "{message}");
    }
    // And more again: the wildcard is still there.
    assert_eq!(auth(&mut client, ALL)["success"], true);
    client.until(|message| message["symbol"] == "sim:S0003-USD");
    // A page's way: the subprotocol.
    let offer = format!("Sec-WebSocket-Protocol: tickcast.v1.json, tickcast.token.{ONE}\r\n");
    let (stream, head) = kept.upgrade("/v1/ws", &offer);
    assert!(head.contains("tickcast.v1.json") && !head.contains(ONE), "{head}");
    let mut page = Client::upgraded(stream);
    assert_eq!(page.subscribe("trade", &["*"])["result"][0]["matched"], 1);
}

#[test]
fn what_is_taken_back_ends_live_sessions_and_no_others() {
    let kept = Kept::new(&one_and_all(), &[]);
    let (mut one, mut all) = (kept.client("/v1/ws", ONE), kept.client("/v1/ws", ALL));
    let mut binance = kept.client("/ws/s0001usd@trade", ONE);
    for client in [&mut one, &mut all] {
        assert_eq!(client.subscribe("trade", &["*"])["success"], true);
    }
    kept.rewrite("rubbish");
    kept.rewrite(&token("all", ALL, "symbols = [\"*\"]\noperator = true"));
    let closed = Some((Some(4003), "the token was taken back".to_owned()));
    assert_eq!((one.close(), binance.close()), (closed.clone(), closed));
    assert_eq!(kept.get(Some(ONE), "/v1/symbols").0, 401);
    for _ in 0..200 {
        all.message();
    }
    while kept.metric("tickcast_sessions_ended_total", "reason=\"forbidden\"") != 2.0 {
        pause();
    }
}

/// A time so many seconds from now, as TOML has it.
fn soon(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() + seconds;
    let output = Command::new("date").args(["-u", "-d", &format!("@{now}"), "+%FT%TZ"]).output();
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

#[test]
fn a_token_that_expires_is_told_renewed_or_closed() {
    let brief =
        token("brief", "token-for-a-while", &format!("symbols = [\"*\"]\nexpires = {}", soon(5)));
    let kept = Kept::new(&(one_and_all() + &brief), &[]);
    let (mut ends, mut renews) =
        (kept.client("/v1/ws", "token-for-a-while"), kept.client("/v1/ws", "token-for-a-while"));
    let told = ends.until(|message| message["channel"] == "status");
    assert_eq!(told["type"], "token", "{told}");
    renews.until(|message| message["type"] == "token");
    let answer = renews.ask(&json!({"method": "auth", "params": {"token": ONE}}));
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(ends.close(), Some((Some(4003), "the token has expired".to_owned())));
    assert_eq!(kept.get(Some("token-for-a-while"), "/v1/symbols").0, 401);
    assert_eq!(renews.subscribe("trade", &["*"])["success"], true);
}
