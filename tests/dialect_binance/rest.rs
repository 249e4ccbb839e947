//! REST as it should not be used.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::books::wait_book;
use crate::common::{Client, PATIENCE, Server, captures, pause};
use crate::desk::{Desk, book, fields, level, quote, trade};

const BTC: &str = "binance:BTC-USDT";

fn get(server: &Server, path: &str) -> (u16, Value) {
    let (status, body) = server.get(path);
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}")))
}

#[test]
fn endpoints_answer_with_the_fields_that_are_documented() {
    let desk = Desk::open("rest", &[]);
    desk.publish(&[trade(BTC, 1), quote(BTC), book(BTC, 10), trade("kraken:ETH-USD", 1)]);
    let one = |path: &str| {
        let (status, body) = get(&desk.0, path);
        assert_eq!(status, 200, "{path}: {body}");
        if body.is_array() { body[0].clone() } else { body }
    };
    for (path, wanted) in [
        ("/api/v3/ping", ""),
        ("/api/v3/time", "serverTime"),
        ("/api/v3/depth?symbol=BTCUSDT", "asks bids lastUpdateId"),
        ("/api/v3/trades?symbol=BTCUSDT", "id isBestMatch isBuyerMaker price qty quoteQty time"),
        ("/api/v3/aggTrades?symbol=BTCUSDT", "M T a f l m p q"),
        ("/api/v3/ticker/price?symbol=BTCUSDT", "price symbol"),
        ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", "askPrice askQty bidPrice bidQty symbol"),
        (
            "/api/v3/ticker/24hr?type=MINI",
            "closeTime count firstId highPrice lastId lastPrice lowPrice openPrice openTime quoteVolume symbol volume",
        ),
        (
            "/api/v3/ticker/24hr?symbols=[%22BTCUSDT%22]",
            "askPrice askQty bidPrice bidQty closeTime count firstId highPrice lastId lastPrice lastQty lowPrice \
             openPrice openTime prevClosePrice priceChange priceChangePercent quoteVolume symbol volume weightedAvgPrice",
        ),
    ] {
        assert_eq!(fields(&one(path)), wanted, "{path}");
    }
    assert_eq!(one("/api/v3/klines?symbol=BTCUSDT&interval=1m").as_array().map(Vec::len), Some(12));
    let info = one("/api/v3/exchangeInfo");
    let symbols: Vec<_> =
        info["symbols"].as_array().expect("a list").iter().map(|s| &s["symbol"]).collect();
    assert_eq!(symbols, [&json!("BTCUSDT"), &json!("ETHUSD")]);
    let micro = desk.0.request(
        "GET /api/v3/time HTTP/1.1\r\nHost: test\r\nX-MBX-TIME-UNIT: MICROSECOND\r\nConnection: close\r\n\r\n",
    );
    let time: Value = serde_json::from_str(&micro.2).expect("JSON");
    assert!(time["serverTime"].as_u64().expect("a time") > 1_000_000_000_000_000);
}

#[test]
fn what_is_wrong_is_said_in_binance_s_words() {
    let desk = Desk::open("wrong", &[]);
    desk.publish(&[trade(BTC, 1), book(BTC, 10)]);
    let long = "9".repeat(400);
    for (path, status, code) in [
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=", 400, -1102),
        ("/api/v3/depth?symbol=NOBODY", 400, -1121),
        ("/api/v3/depth?symbol=%00%FF%zz", 400, -1121),
        ("/api/v3/depth?symbol=BTCUSDT&limit=0", 400, -1130),
        ("/api/v3/depth?symbol=BTCUSDT&limit=-1", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1.5", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=", 400, -1105),
        (&format!("/api/v3/depth?symbol=BTCUSDT&limit={long}"), 400, -1130),
        (&format!("/api/v3/depth?symbol={long}"), 400, -1121),
        ("/api/v3/klines?symbol=BTCUSDT", 400, -1102),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1d", 400, -1120),
        ("/api/v3/aggTrades?symbol=BTCUSDT&startTime=yesterday", 400, -1100),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&symbols=[]", 400, -1128),
        ("/api/v3/ticker/price?symbols=[1]", 400, -1100),
        ("/api/v3/ticker/price?symbols=[%22NOBODY%22]", 400, -1121),
        ("/api/v3/ticker/24hr?type=HUGE", 400, -1139),
        // A book, a quote that there is not.
        ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", 503, -1001),
        ("/api/v3/order", 404, -1020),
        ("/api/v3/", 404, -1020),
        ("/api/v3/depth/?symbol=BTCUSDT", 404, -1020),
        ("/api/v3/../v3/ticker", 404, -1020),
    ] {
        let (got, body) = get(&desk.0, path);
        assert_eq!((got, body["code"].as_i64()), (status, Some(code)), "{path}: {body}");
        assert!(body["msg"].is_string(), "{body}");
    }
    for (method, path, status) in [
        ("POST", "depth", 405),
        ("DELETE", "ping", 405),
        ("POST", "order", 404),
        ("HEAD", "time", 405),
    ] {
        let request = format!(
            "{method} /api/v3/{path}?symbol=BTCUSDT HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(desk.0.request(&request).0, status, "{method} {path}");
    }
    let (status, body) = {
        let (status, _, body) = desk.0.request(
            "GET /api/v3/time HTTP/1.1\r\nHost: test\r\nX-MBX-TIME-UNIT: DAY\r\nConnection: close\r\n\r\n",
        );
        (status, body)
    };
    assert_eq!((status, body.contains("-1194")), (400, true), "{body}");
}

#[test]
fn more_than_there_is_is_what_there_is() {
    let desk = Desk::open("more", &[]);
    desk.publish(&[trade(BTC, 1), trade(BTC, 2), book(BTC, 10), level(BTC, 11, ("1000", "2"))]);
    for limit in ["5000", "5001", "1000000", "18446744073709551615"] {
        let (status, body) = get(&desk.0, &format!("/api/v3/depth?symbol=BTCUSDT&limit={limit}"));
        assert_eq!((status, &body["lastUpdateId"]), (200, &json!(11)), "{body}");
        assert_eq!(body["bids"].as_array().map(Vec::len), Some(30));
        let path = format!("/api/v3/trades?symbol=BTCUSDT&limit={limit}");
        assert_eq!(get(&desk.0, &path).1.as_array().map(Vec::len), Some(2));
    }
    let (_, one) = get(&desk.0, "/api/v3/depth?symbol=BTCUSDT&limit=1");
    assert_eq!(one["bids"], json!([["1000.00000000", "2.00000000"]]));
}

#[test]
fn a_thousand_who_ask_for_one_book_at_once_share_it_and_disturb_nobody() {
    const ASKING: usize = 1_000;
    let Some(data) = captures() else { return };
    let file = data.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz");
    let feed = format!("replay:{},speed=10,loop=true", file.display());
    let synthetic = "synthetic:symbols=50,rate=1000,names=numbered,zipf=0";
    // The follower does not read while the others are answered, which takes a busy machine long.
    let patient = ["--reactors", "2", "--ping-timeout", "10m", "--slow-grace", "5m"];
    let server = Server::start(&[&patient[..], &["--feed", &feed, "--feed", synthetic]].concat());
    wait_book(&server, "btcusdt");
    let neighbours = crate::neighbours::Neighbours::start(&server, 4, 50);
    let mut follower = Client::open(&server, "/ws/btcusdt@depth@100ms");
    let message = follower.message();
    let number = |name: &str| message[name].as_u64().expect("a number");
    let (first, mut last) = (number("U"), number("u"));
    let request = "GET /api/v3/depth?symbol=BTCUSDT&limit=5000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut asking: Vec<TcpStream> = (0..ASKING)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.write_all(request.as_bytes()).expect("writes");
            stream
        })
        .collect();
    neighbours.get_more();
    let mut books = BTreeSet::new();
    for stream in &mut asking {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8(answer).expect("UTF-8");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..answer.len().min(200)]);
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        assert!(body.ends_with("]]}"), "it ends early");
        let id = body.strip_prefix("{\"lastUpdateId\":").and_then(|rest| rest.split(',').next());
        books.insert(id.and_then(|id| id.parse().ok()).expect("a number"));
    }
    println!("{} books for {ASKING} requests", books.len());
    assert!(books.len() < ASKING / 4, "{} books", books.len());
    // Each of them is one that the stream came by.
    let newest = *books.last().expect("a book");
    let mut seen = BTreeSet::from([last]);
    while last < newest {
        let message = follower.message();
        last = message["u"].as_u64().expect("a number");
        seen.insert(last);
    }
    let missed: Vec<_> = books.iter().filter(|id| **id > first && !seen.contains(id)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    neighbours.finish(&server);
    assert_eq!(server.metric("tickcast_slow_clients_total", ""), 0.0);
}

#[test]
fn lists_are_made_as_they_are_taken() {
    const SYMBOLS: usize = 2_000;
    const READERS: usize = 40;
    let feed = format!("synthetic:symbols={SYMBOLS},rate=20000,names=numbered,zipf=0");
    let server = Server::start(&["--reactors", "1", "--http-rate", "0", "--feed", &feed]);
    let paths = ["exchangeInfo", "ticker/bookTicker", "ticker/price", "ticker/24hr"];
    for path in paths {
        let list = || {
            // In one piece.
            let answer = server.request(&format!("GET /api/v3/{path} HTTP/1.0\r\n\r\n")).2;
            match serde_json::from_str(&answer).expect("JSON") {
                Value::Array(list) => list,
                mut info => info["symbols"].as_array_mut().map(std::mem::take).expect("a list"),
            }
        };
        let mut all = list();
        // Of some there was nothing to say yet.
        while all.len() < SYMBOLS {
            pause();
            all = list();
        }
        let wrong = all.iter().enumerate().find(|(n, one)| one["symbol"] != format!("S{n:04}USD"));
        assert_eq!(wrong, None, "{path}");
    }
    let before = server.rss();
    let held: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(4_096).expect("set");
            socket.connect(&server.address.into()).expect("connects");
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let request = "GET /api/v3/exchangeInfo HTTP/1.1\r\nHost: test\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("writes");
            stream.read_exact(&mut [0; 512]).expect("the beginning");
            stream
        })
        .collect();
    let grown = server.rss().saturating_sub(before);
    // Each is 2 MB.
    assert!(grown < READERS as u64 * 512 * 1024, "{grown} bytes for {READERS} readers");
    drop(held);
}
