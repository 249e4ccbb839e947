//! `/v1/...` over plain HTTP, as docs/HTTP.md says: the newest of everything, what came before it,
//! and clear words about what is wrong.

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use common::{Capture, Client, PATIENCE, Server, pause};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef-test";

/// A server that knows only what the test publishes.
struct Published {
    server: Server,
    _token: Capture,
}

impl Published {
    fn start(name: &str, args: &[&str]) -> Self {
        // A file of the test's own: its text is the token.
        let token = Capture::new(name, TOKEN);
        let file = token.spec("").replace("replay:", "");
        let base = ["--reactors", "1", "--feed", "publish:idle=0", "--publish-token-file", &file];
        Published { server: Server::start(&[&base, args].concat()), _token: token }
    }

    /// Publishes lines; they are taken when this returns, and known a moment later.
    fn publish(&self, lines: &str) {
        let (status, _, body) = self.server.request(&format!(
            "POST /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer \
             {TOKEN}\r\nContent-Length: {}\r\n\r\n{lines}",
            lines.len()
        ));
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("\"rejected_total\":0"), "{body}");
    }

    /// Asks until the answer is as it should be.
    fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        until(&self.server, path, wanted)
    }
}

fn until(server: &Server, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let (status, value) = ask(server, path);
        if wanted(status, &value) {
            return value;
        }
        assert!(std::time::Instant::now() < until, "{path} stays at {status} {value}");
        pause();
    }
}

/// The status and the body of an answer. Of HTTP/1.0, so that long ones come in one piece.
fn ask(server: &Server, path: &str) -> (u16, Value) {
    let (status, head, body) =
        server.request(&format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"));
    let head = head.to_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json"), "{path}: {head}");
    assert!(head.contains("\r\ncache-control: no-store"), "{path}: {head}");
    let value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
    (status, value)
}

fn good(server: &Server, path: &str) -> Value {
    let (status, value) = ask(server, path);
    assert_eq!(status, 200, "{path}: {value}");
    value
}

/// A message of the WebSocket without what the path of a request says.
fn bare(message: &Value) -> Value {
    let mut message = message.clone();
    let object = message.as_object_mut().expect("an object");
    for name in ["channel", "type", "symbol", "interval"] {
        object.remove(name);
    }
    message
}

fn trade(at: u64) -> String {
    let side = if at.is_multiple_of(3) { "sell" } else { "buy" };
    json!({"channel": "trade", "symbol": "my:A-B", "price": format!("10.{at}"), "qty": "0.50",
        "side": side, "seq": at * 10, "id": at + 7, "ts": {"event": 1_723_161_254_000_000 + at}})
    .to_string()
        + "\n"
}

#[test]
fn trades_are_those_of_the_websocket_and_link_to_it() {
    let server = Server::start(&["--reactors", "2", "--feed", "synthetic:symbols=3,rate=2000"]);
    let mut client = Client::native(&server);
    let answer = client.subscribe("trade", &["sim:BTC-USD"]);
    let trades: Vec<Value> =
        (0..200).map(|_| client.until(|message| message["channel"] == "trade")).collect();
    let answered = good(&server, "/v1/trades/sim:BTC-USD?limit=1000");
    assert_eq!(answered["epoch"], answer["result"][0]["epoch"]);
    assert_eq!(answered["symbol"], "sim:BTC-USD");
    let listed = answered["trades"].as_array().expect("trades");
    let first = listed.iter().position(|one| one["seq"] == trades[0]["seq"]).expect("the first");
    for (message, one) in trades.iter().zip(&listed[first..]) {
        assert_eq!(bare(message), *one);
    }
    for pair in listed.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["seq"]);
    }
    // What comes after the answer goes on where it ends.
    let last = listed.last().expect("trades")["seq"].as_u64().expect("a sequence");
    let next = client.until(|message| message["seq"].as_u64() > Some(last));
    assert_eq!(next["prev"].as_u64(), Some(last));
}

#[test]
fn trades_come_in_pages_and_no_more_are_kept_than_was_said() {
    let server = Published::start("rest-trades", &["--history", "300"]);
    server.publish(&(1..=500).map(trade).collect::<String>());
    let path = "/v1/trades/my:A-B";
    let last = |value: &Value| value["trades"].as_array().and_then(|all| all.last().cloned());
    server.until(path, |_, value| last(value).is_some_and(|one| one["seq"] == 5000));
    let seqs = |query: &str| -> Vec<u64> {
        let value = good(&server.server, &format!("{path}{query}"));
        let trades = value["trades"].as_array().expect("trades").clone();
        trades.iter().map(|one| one["seq"].as_u64().expect("a sequence")).collect()
    };
    let ten = |from: u64, to: u64| (from..=to).map(|at| at * 10).collect::<Vec<_>>();
    assert_eq!(seqs(""), ten(201, 500));
    assert_eq!(seqs("?limit=3"), ten(498, 500));
    assert_eq!(seqs("?limit=100&before=4980"), ten(398, 497));
    assert_eq!(seqs("?limit=2&before=4975"), ten(496, 497));
    assert_eq!(seqs("?limit=100&before=2040"), ten(201, 203));
    assert_eq!(seqs("?before=2010"), [0; 0]);
    assert_eq!(seqs("?before=0"), [0; 0]);
    let oldest = good(&server.server, &format!("{path}?limit=1&before=2020"));
    assert_eq!(
        oldest["trades"][0],
        json!({"seq": 2010, "prev": 2000, "id": 208, "side": "sell", "price": "10.201", "qty": "0.5",
            "ts": {"event": 1_723_161_254_000_201_u64, "recv": oldest["trades"][0]["ts"]["recv"]}})
    );
}

#[test]
fn bars_that_are_over_and_the_one_that_is_not_are_kept_apart() {
    let server = Published::start("rest-bars", &[]);
    let at = |ms: u64, price: &str| {
        let event = (1_723_161_240_000 + ms) * 1000;
        json!({"channel": "trade", "symbol": "my:A-B", "price": price, "qty": "2", "side": "buy",
            "ts": {"event": event}})
        .to_string()
            + "\n"
    };
    server.publish(&(0..5).map(|s| at(s * 1000, &format!("{}", 10 + s))).collect::<String>());
    let path = "/v1/bars/my:A-B?interval=1s";
    let starts = |value: &Value| -> Vec<u64> {
        let bars = value["bars"].as_array().expect("bars");
        bars.iter()
            .map(|bar| bar["start"].as_u64().expect("a start") / 1_000_000 - 1_723_161_240)
            .collect()
    };
    // Half a second after its end by the clock, the last is over too.
    let value = server.until(path, |_, value| value["bars"].as_array().map(Vec::len) == Some(5));
    assert_eq!(starts(&value), [0, 1, 2, 3, 4]);
    assert!(value.get("current").is_none(), "{value}");
    let recv = &value["bars"][4]["ts"]["recv"];
    assert_eq!(
        value["bars"][4],
        json!({"start": 1_723_161_244_000_000_u64, "end": 1_723_161_245_000_000_u64, "open": "14",
            "high": "14", "low": "14", "close": "14", "volume": "2", "buy_volume": "2",
            "quote_volume": "28", "trades": 1, "final": true,
            "ts": {"event": 1_723_161_244_000_000_u64, "recv": recv}})
    );
    // The minute is not over.
    let minute = good(&server.server, "/v1/bars/my:A-B");
    assert_eq!((&minute["interval"], &minute["bars"]), (&json!("1m"), &json!([])));
    let current = &minute["current"];
    assert_eq!((&current["final"], &current["trades"]), (&json!(false), &json!(5)));
    // A late trade replaces the bar, and says so.
    server.publish(&at(4500, "20"));
    let value = server.until(path, |_, value| value["bars"][4]["revision"] == 1);
    assert_eq!(starts(&value), [0, 1, 2, 3, 4]);
    assert_eq!((&value["bars"][4]["high"], &value["bars"][4]["trades"]), (&json!("20"), &json!(2)));
    // Pages.
    let page = |query: &str| starts(&good(&server.server, &format!("{path}{query}")));
    assert_eq!(page("&limit=2"), [3, 4]);
    assert_eq!(page("&limit=2&before=1723161243000000"), [1, 2]);
    assert_eq!(page("&limit=2&before=1723161242000001"), [1, 2]);
    assert_eq!(page("&before=1723161240000000"), [0; 0]);
    let paged = good(&server.server, "/v1/bars/my:A-B?before=1723161300000000");
    assert!(paged.get("current").is_none(), "{paged}");
}

#[test]
fn books_quotes_and_tickers_are_those_of_the_websocket() {
    let server = Published::start("rest-state", &[]);
    server.publish(&format!(
        "{}\n{}\n{}",
        json!({"channel": "book", "type": "snapshot", "symbol": "my:A-B", "seq": 40,
            "bids": [["9", "1"], ["8", "2"], ["7", "3"]], "asks": [["11", "1"], ["12.50", "2"]]}),
        json!({"channel": "quote", "symbol": "my:A-B", "seq": 5, "bid": "9", "bid_qty": "1",
            "ask": "11", "ask_qty": "1"}),
        trade(1)
    ));
    let mut client = Client::native(&server.server);
    server.until("/v1/trades/my:A-B", |_, value| value["trades"][0]["seq"] == 10);
    let mut snapshot = |channel: &str, depth: Option<u64>| {
        let mut params = json!({"channel": channel, "symbol": "my:A-B"});
        if let Some(depth) = depth {
            params["depth"] = json!(depth);
        }
        client.send(&json!({"method": "subscribe", "params": params}));
        bare(&client.until(|m| m["channel"] == channel && m["type"] != "update"))
    };
    let (two, full) = (snapshot("book", Some(2)), snapshot("book", None));
    let (quote, mut ticker) = (snapshot("quote", None), snapshot("ticker", None));
    let status = snapshot("status", None);
    assert_eq!(two["bids"], json!([["9", "1"], ["8", "2"]]));

    let with = |mut fields: Value, state: Option<&str>, epoch: &Value| {
        (fields["symbol"], fields["epoch"]) = (json!("my:A-B"), epoch.clone());
        if let Some(state) = state {
            fields["state"] = json!(state);
        }
        fields
    };
    let answer = good(&server.server, "/v1/book/my:A-B?depth=2");
    let epoch = &answer["epoch"];
    assert_eq!(answer, with(two.clone(), Some("live"), epoch));
    let answer = good(&server.server, "/v1/book/my:A-B?depth=full");
    assert_eq!(answer, with(full.clone(), Some("live"), epoch));
    // When the server made it: each time anew.
    let answer = good(&server.server, "/v1/ticker/my:A-B");
    assert!(answer["ts"]["recv"].as_u64() > Some(1_700_000_000_000_000), "{answer}");
    ticker["ts"]["recv"] = answer["ts"]["recv"].clone();
    ticker["seq"] = answer["seq"].clone();
    assert_eq!(answer, with(ticker.clone(), None, epoch));

    let answer = good(&server.server, "/v1/snapshot?symbols=my:A-B&depth=2");
    assert_eq!(answer["epoch"], *epoch);
    assert!(answer["time"].as_u64() > Some(1_700_000_000_000_000), "{answer}");
    let one = &answer["symbols"][0];
    assert_eq!((&one["symbol"], &one["quote"], &one["book"]), (&json!("my:A-B"), &quote, &two));
    assert_eq!(one["status"]["state"], status["state"]);
    assert_eq!((&one["trade"]["seq"], &one["trade"]["price"]), (&json!(10), &json!("10.1")));
    assert_eq!(one["ticker"]["last"], ticker["last"]);
    let ten = good(&server.server, "/v1/snapshot?symbols=my:A-B");
    assert_eq!(ten["symbols"][0]["book"]["depth"], 10);
    assert_eq!(ten["symbols"][0]["book"]["bids"], full["bids"]);
}

#[test]
fn a_book_that_is_being_rebuilt_is_not_shown() {
    let server = Published::start("rest-resync", &[]);
    let book = json!({"channel": "book", "type": "snapshot", "symbol": "my:A-B",
        "bids": [["9", "1"]], "asks": [["11", "1"]]});
    server.publish(&format!("{book}\n{}", trade(1)));
    let path = "/v1/book/my:A-B";
    server.until(path, |status, _| status == 200);
    server.publish(r#"{"channel":"status","symbol":"my:A-B","state":"resync"}"#);
    let value = server.until(path, |status, _| status == 503);
    let error = &value["error"];
    assert_eq!((&error["code"], &error["state"]), (&json!("book_not_known"), &json!("resync")));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("my:A-B")), "{value}");
    let (_, head, _) = server.server.request(&format!("GET {path} HTTP/1.0\r\n\r\n"));
    assert!(head.to_lowercase().contains("\r\nretry-after: 1"), "{head}");
    // The rest is as it was.
    let value = good(&server.server, "/v1/snapshot?symbols=my:A-B");
    let one = &value["symbols"][0];
    assert!(one.get("book").is_none() && one.get("trade").is_some(), "{one}");
    assert_eq!(one["status"]["state"], "resync");
    server.publish(&format!(
        "{book}\n{}",
        r#"{"channel":"status","symbol":"my:A-B","state":"halted"}"#
    ));
    let value = server.until(path, |status, value| status == 200 && value["state"] == "halted");
    assert_eq!(value["bids"], json!([["9", "1"]]));
}

/// Trades of Kraken, whose own names have a slash, and of another venue that lists one of them too.
struct TwoVenues([Capture; 2]);

impl TwoVenues {
    fn new(name: &str) -> Self {
        let mut text = String::new();
        for (symbol, id) in [("BTC/USD", 1), ("ETH/USD", 2)] {
            let trade = json!({"symbol": symbol, "side": "buy", "price": 10.5, "qty": 2,
                "ord_type": "limit", "trade_id": id, "timestamp": "2024-08-08T23:54:14.000000Z"});
            let message = json!({"channel": "trade", "type": "update", "data": [trade]});
            writeln!(text, "1723161254000000000 {message}").expect("text");
        }
        let kraken = Capture::new(&format!("{name}-kraken"), &text);
        let message = json!({"type": "match", "trade_id": 1, "maker_order_id": "a", "side": "buy",
            "taker_order_id": "b", "size": "1", "price": "5", "product_id": "BTC-USD",
            "sequence": 1, "time": "2024-08-08T23:54:14.000000Z"});
        let text = format!("1723161254000000001 {message}\n");
        TwoVenues([kraken, Capture::new(&format!("{name}-coinbase"), &text)])
    }

    fn serve(&self) -> Server {
        let [kraken, coinbase] = &self.0;
        let files = kraken.spec("") + "+" + &coinbase.spec("").replace("replay:", "");
        let server = Server::start(&["--reactors", "1", "--feed", &(files + ",speed=max")]);
        until(&server, "/v1/symbols", |_, v| v["symbols"].as_array().map(Vec::len) == Some(3));
        until(&server, "/v1/ticker/coinbase:BTC-USD", |status, _| status == 200);
        server
    }
}

#[test]
fn symbols_are_found_by_the_rules_of_the_protocol() {
    let captures = TwoVenues::new("rest-symbols");
    let server = captures.serve();
    for name in [
        "kraken:ETH-USD",
        "KRAKEN:eth-usd",
        "kraken%3AETH-USD",
        "kraken:ETH%2FUSD",
        "kraken:ETH/USD",
        "ETH-USD",
        "eth-usd",
    ] {
        let value = good(&server, &format!("/v1/trades/{name}"));
        assert_eq!(value["symbol"], "kraken:ETH-USD", "{name}");
        assert_eq!(value["trades"][0]["price"], "10.5");
    }
    let value = good(&server, "/v1/snapshot?symbols=eth-usd,kraken:BTC%2fUSD,KRAKEN:nope");
    assert_eq!(value["symbols"][0]["symbol"], "kraken:ETH-USD");
    assert_eq!(value["symbols"][1]["symbol"], "kraken:BTC-USD");
    let error = &value["errors"][0];
    assert_eq!(
        (&error["symbol"], &error["code"]),
        (&json!("KRAKEN:nope"), &json!("unknown_symbol"))
    );

    let listed = good(&server, "/v1/symbols?venue=Kraken");
    let one = &listed["symbols"][0];
    assert_eq!(listed["symbols"].as_array().map(Vec::len), Some(2));
    assert_eq!((&one["symbol"], &one["native"]), (&json!("kraken:BTC-USD"), &json!("BTC/USD")));
    assert_eq!((&one["venue"], &one["base"]), (&json!("kraken"), &json!("BTC")));
    // The same as over the WebSocket.
    let mut client = Client::native(&server);
    let answer = client.ask(&json!({"method": "list_symbols"}));
    assert_eq!(answer["result"], good(&server, "/v1/symbols")["symbols"]);
}

#[test]
fn what_is_wrong_is_said_with_what_was_expected() {
    let captures = TwoVenues::new("rest-wrong");
    let server = captures.serve();
    let many = (0..101).map(|at| format!("a:B{at}-C")).collect::<Vec<_>>().join(",");
    let many = format!("/v1/snapshot?symbols={many}");
    for (path, status, code, words) in [
        ("/v1/book/kraken:ETH-UDS", 404, "unknown_symbol", "no such symbol: kraken:ETH-UDS"),
        ("/v1/book/nothing:like-it", 404, "unknown_symbol", "nothing:like-it"),
        ("/v1/trades/BTC-USD", 400, "ambiguous_symbol", "listed by 2 venues"),
        ("/v1/trades/kraken:*", 400, "bad_value", "kraken:* is for subscriptions"),
        ("/v1/trades/", 400, "missing_field", "missing symbol"),
        ("/v1/trades", 400, "missing_field", "missing symbol"),
        ("/v1/trades/%zz", 400, "bad_value", "two hexadecimal digits"),
        ("/v1/trades/%ff", 400, "bad_value", "UTF-8"),
        (
            "/v1/trades/ETH-USD?limit=0",
            400,
            "bad_value",
            "\"0\" for `limit`, expected a whole number from 1 to 1000",
        ),
        ("/v1/trades/ETH-USD?limit=1001", 400, "bad_value", "\"1001\""),
        ("/v1/trades/ETH-USD?limit=", 400, "bad_value", "\"\" for `limit`"),
        ("/v1/trades/ETH-USD?before=-1", 400, "bad_value", "`before`"),
        ("/v1/trades/ETH-USD?limt=5", 400, "unknown_field", "`limt`, expected limit, before"),
        ("/v1/trades/ETH-USD?limit=5&limit=6", 400, "bad_value", "`limit` is given twice"),
        ("/v1/bars/ETH-USD?interval=2m", 400, "bad_value", "expected one of 1s, 1m, 5m, 1h"),
        ("/v1/book/ETH-USD?depth=0", 400, "bad_value", "from 1 to 1000, or full"),
        ("/v1/book/ETH-USD?depth=Full", 400, "bad_value", "\"Full\""),
        ("/v1/book/ETH-USD", 503, "book_not_known", "kraken:ETH-USD"),
        ("/v1/snapshot", 400, "missing_field", "`symbols`"),
        ("/v1/snapshot?symbols=,", 400, "missing_field", "`symbols`"),
        ("/v1/snapshot?symbols=nope", 404, "unknown_symbol", "nope"),
        ("/v1/snapshot?symbols=ETH-USD&depth=full", 400, "bad_value", "from 1 to 1000"),
        (many.as_str(), 400, "bad_value", "101 symbols in one request, expected at most 100"),
        ("/v1/symbols?venue=krakn", 404, "unknown_venue", "expected one of kraken, coinbase"),
        ("/v1/ticker/ETH-USD?x=1", 400, "unknown_field", "`x`, expected none"),
        ("/v1/openapi.json?x=1", 400, "unknown_field", "`x`, expected none"),
    ] {
        let (got, value) = ask(&server, path);
        let error = &value["error"];
        assert_eq!((got, error["code"].as_str()), (status, Some(code)), "{path}: {value}");
        assert!(error["message"].as_str().is_some_and(|m| m.contains(words)), "{path}: {value}");
    }
    let near = |path: &str| ask(&server, path).1["error"]["did_you_mean"].clone();
    assert_eq!(near("/v1/book/kraken:ETH-UDS")[0], "kraken:ETH-USD");
    assert_eq!(near("/v1/symbols?venue=krakn"), json!(["kraken"]));
    assert_eq!(near("/v1/trades/BTC-USD").as_array().map(Vec::len), Some(2));
    let (status, body) = server.get("/v1/nothing");
    assert_eq!(status, 404);
    assert!(body.contains("/v1/book/{symbol}"), "{body}");
}

#[test]
fn without_a_history_the_newest_is_there_all_the_same() {
    let args = ["--reactors", "1", "--history", "0", "--feed", "synthetic:symbols=1,rate=500"];
    let server = Server::start(&args);
    until(&server, "/v1/ticker/BTC-USD", |status, _| status == 200);
    for path in ["/v1/trades/BTC-USD", "/v1/bars/BTC-USD"] {
        let (status, value) = ask(&server, path);
        assert_eq!((status, &value["error"]["code"]), (404, &json!("no_history")), "{value}");
    }
    assert!(good(&server, "/v1/snapshot?symbols=BTC-USD")["symbols"][0].get("trade").is_some());
}

#[test]
fn a_symbol_of_which_nothing_came_has_nothing() {
    let server = Published::start("rest-nothing", &[]);
    server.publish(
        r#"{"channel":"quote","symbol":"my:A-B","bid":"9","bid_qty":"1","ask":"11","ask_qty":"1"}"#,
    );
    server.until("/v1/snapshot?symbols=my:A-B", |status, _| status == 200);
    assert_eq!(good(&server.server, "/v1/trades/my:A-B")["trades"], json!([]));
    assert_eq!(good(&server.server, "/v1/bars/my:A-B")["bars"], json!([]));
    let (status, value) = ask(&server.server, "/v1/ticker/my:A-B");
    assert_eq!((status, &value["error"]["code"]), (404, &json!("no_trades")));
}

/// The head of an answer in lower case.
fn head(server: &Server, request: &str) -> String {
    let (_, head, _) = server.request(&format!("{request}\r\nConnection: close\r\n\r\n"));
    head.to_lowercase()
}

#[test]
fn methods_other_than_get_are_refused_and_head_has_no_body() {
    let server = Server::start(&["--reactors", "1"]);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (status, head, body) = server.request(&format!(
            "{method} /v1/symbols HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(status, 405, "{head}");
        assert!(head.to_lowercase().contains("\r\nallow: get, head, options"), "{head}");
        assert!(body.contains("method_not_allowed") && body.contains(method), "{body}");
    }
    let (status, head, body) =
        server.request("HEAD /v1/symbols HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    let (status, head, body) =
        server.request("OPTIONS /v1/symbols HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_eq!((status, body.as_str()), (204, ""), "{head}");
}

#[test]
fn pages_of_listed_origins_may_read_market_data_and_no_others() {
    let origins = ["--cors-origin", "https://a.example", "--cors-origin", "http://localhost:3000"];
    let server = Server::start(&[&["--reactors", "1"][..], &origins].concat());
    let get = |path: &str, origin: &str| {
        head(&server, &format!("GET {path} HTTP/1.1\r\nHost: t\r\nOrigin: {origin}"))
    };
    let allowed = get("/v1/symbols", "http://localhost:3000");
    assert!(
        allowed.contains("\r\naccess-control-allow-origin: http://localhost:3000"),
        "{allowed}"
    );
    assert!(allowed.contains("\r\nvary: origin"), "{allowed}");
    assert!(allowed.contains("\r\naccess-control-expose-headers: retry-after"), "{allowed}");
    // Errors too: the page must be able to read them.
    assert!(
        get("/v1/book/nope", "https://a.example")
            .contains("\r\naccess-control-allow-origin: https")
    );
    for origin in ["https://b.example", "https://a.example.evil", "null", "http://a.example"] {
        let other = get("/v1/symbols", origin);
        assert!(!other.contains("access-control-allow-origin"), "{other}");
        assert!(other.contains("\r\nvary: origin"), "{other}");
    }
    // Who is connected is no page's business.
    for path in ["/v1/connections", "/v1/stats", "/metrics"] {
        assert!(!get(path, "https://a.example").contains("access-control-"), "{path}");
    }
    let preflight = |origin: &str| {
        head(
            &server,
            &format!(
                "OPTIONS /v1/book/BTC-USD HTTP/1.1\r\nHost: t\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-a,x-b"
            ),
        )
    };
    let allowed = preflight("https://a.example");
    for wanted in [
        "http/1.1 204 ",
        "\r\naccess-control-allow-origin: https://a.example",
        "\r\naccess-control-allow-methods: get, head",
        "\r\naccess-control-allow-headers: x-a,x-b",
        "\r\naccess-control-max-age: 7200",
        "\r\nvary: origin",
    ] {
        assert!(allowed.contains(wanted), "{wanted} in {allowed}");
    }
    assert!(!preflight("https://b.example").contains("access-control-"));
}

#[test]
fn all_pages_may_read_or_none() {
    let ask = |server: &Server| {
        head(server, "GET /v1/symbols HTTP/1.1\r\nHost: t\r\nOrigin: https://any.example")
    };
    let all = ask(&Server::start(&["--reactors", "1", "--cors-origin", "*"]));
    assert!(all.contains("\r\naccess-control-allow-origin: *"), "{all}");
    assert!(!all.contains("vary"), "{all}");
    let none = ask(&Server::start(&["--reactors", "1"]));
    assert!(!none.contains("access-control-") && !none.contains("vary"), "{none}");
}

/// A connection that has asked and does not read.
fn asks(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("writes");
    stream
}

#[test]
fn a_long_list_is_whole_and_holds_up_nobody() {
    let feed = "synthetic:symbols=20000,rate=2000,names=numbered,only=quote";
    let server = Server::start(&["--reactors", "1", "--feed", feed]);
    let list = "GET /v1/symbols HTTP/1.0\r\nHost: test\r\n\r\n";
    let slow: Vec<TcpStream> = (0..4).map(|_| asks(&server, list)).collect();
    // These do not read, and others are answered.
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(ask(&server, "/v1/snapshot?symbols=sim:S0001-USD").0, 200);
    for mut stream in slow {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the answer");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        let value: Value = serde_json::from_str(body).expect("JSON");
        let symbols = value["symbols"].as_array().expect("symbols");
        assert_eq!(symbols.len(), 20_000);
        assert_eq!(symbols[19_999]["symbol"], "sim:S19999-USD");
    }
    let (status, value) = ask(&server, "/v1/symbols?venue=none");
    assert_eq!((status, &value["error"]["code"]), (404, &json!("unknown_venue")));
}

#[test]
fn full_books_are_whole_and_only_so_many_are_under_way() {
    let server = Published::start("rest-large", &[]);
    let levels = |from: usize| -> Vec<Value> {
        (0..20_000).map(|at| json!([format!("{}.01", from + at), "12345.678901"])).collect()
    };
    let (mut bids, asks_) = (levels(10_000), levels(50_000));
    bids.reverse();
    let book = json!({"channel": "book", "type": "snapshot", "symbol": "my:A-B",
        "bids": bids, "asks": asks_});
    server.publish(&format!("{book}\n"));
    let path = "/v1/book/my:A-B?depth=full";
    let value = server.until(path, |status, _| status == 200);
    assert_eq!((&value["bids"], &value["asks"]), (&book["bids"], &book["asks"]));
    // The kernel takes some of these for their clients, and then no more.
    let ask_often = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").repeat(20);
    let slow: Vec<TcpStream> = (0..16).map(|_| asks(&server.server, &ask_often)).collect();
    let value = server.until(path, |status, _| status == 503);
    assert_eq!(value["error"]["code"], "busy");
    // Smaller ones are none of that.
    assert_eq!(ask(&server.server, "/v1/book/my:A-B?depth=1000").0, 200);
    assert_eq!(server.server.get("/healthz").0, 200);
    drop(slow);
    server.until(path, |status, _| status == 200);
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let server = Server::start(&["--reactors", "1", "--feed", "synthetic:symbols=5,rate=500"]);
    until(&server, "/v1/ticker/BTC-USD", |status, _| status == 200);
    let requests: String = ["/v1/snapshot?symbols=BTC-USD", "/v1/nope", "/v1/ticker/BTC-USD"]
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .collect();
    let last = "GET /v1/book/BTC-USD HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut stream = asks(&server, &(requests + last));
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the answers");
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    let found = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
    assert!(found("\"time\":") < found("\"change\":"), "{text}");
    assert_eq!(statuses, ["200", "404", "200", "200"], "{text}");
}

#[test]
fn the_descriptions_are_served_as_they_stand_in_the_docs() {
    let server = Server::start_with(&["--reactors", "1"], Stdio::null());
    for (path, file) in
        [("/v1/openapi.json", "openapi.json"), ("/v1/asyncapi.json", "asyncapi.json")]
    {
        let file = format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).expect("a description");
        let wanted: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(good(&server, path), wanted);
        assert_eq!(wanted["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
