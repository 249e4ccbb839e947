//! Requests and their answers, docs/PROTOCOL.md line by line.

mod common;

use std::io::Write as _;

use common::{Capture, Client, Received, Server, masked};
use serde_json::{Value, json};

fn server() -> Server {
    market(&[])
}

/// Five symbols of fixed names, of which everything is known after a moment.
fn market(args: &[&str]) -> Server {
    let mut all =
        vec!["--reactors", "1", "--feed", "synthetic:symbols=5,rate=500,zipf=0,names=numbered"];
    all.extend(args);
    let server = Server::start(&all);
    let mut client = Client::native(&server);
    for channel in ["quote", "book"] {
        client.subscribe(channel, &["*"]);
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 5 {
            let message = client.until(|message| message["channel"] == channel);
            seen.insert(message["symbol"].to_string());
        }
        client.ask(&request("unsubscribe", json!({"channel": channel, "symbol": "*"})));
    }
    server
}

#[expect(clippy::needless_pass_by_value, reason = "callers write it with json!")]
fn request(method: &str, params: Value) -> Value {
    json!({"method": method, "params": params})
}

/// The next message, which must be an answer: nothing else may have come before it.
fn answer(client: &mut Client) -> Value {
    let message = client.next();
    assert!(message.get("method").is_some(), "not an answer: {message}");
    message
}

fn list(client: &mut Client) -> Vec<Value> {
    let mut answer = client.ask(&json!({"method": "list_subscriptions"}));
    assert_eq!(answer["success"], true);
    let Value::Array(all) = answer["result"].take() else { panic!("{answer}") };
    all
}

#[test]
fn a_subscription_s_own_bound_of_waiting_is_confirmed_listed_and_changed() {
    let server = server();
    let mut client = Client::native(&server);
    let mut subscribe = |max_age_ms: Value| {
        let params =
            json!({"channel": "trade", "symbol": ["sim:S0001-USD", "*"], "max_age_ms": max_age_ms});
        let answer = client.ask(&json!({"method": "subscribe", "params": params}));
        assert_eq!(answer["success"], true, "{answer}");
        let told: Vec<Value> = (0..2).map(|i| answer["result"][i]["max_age_ms"].clone()).collect();
        let listed = list(&mut client).iter().map(|one| one["max_age_ms"].clone()).collect();
        (told, listed)
    };
    let both = |ms: Value| (vec![ms.clone(), ms.clone()], vec![ms.clone(), ms]);
    assert_eq!(subscribe(json!(0)), both(json!(0)));
    assert_eq!(subscribe(json!(6)), both(json!(5)));
    assert_eq!(subscribe(json!(1000)), both(json!(200)));
    assert_eq!(subscribe(Value::Null), both(Value::Null));
}

#[test]
fn pings_carry_the_server_s_times() {
    let server = server();
    let mut client = Client::native(&server);
    client.send(&json!({"method": "ping", "req_id": 4, "params": {"t": 123}}));
    let pong = answer(&mut client);
    assert_eq!(
        (&pong["method"], &pong["req_id"], &pong["t"]),
        (&json!("pong"), &json!(4), &json!(123))
    );
    let (time_in, time_out) = (pong["time_in"].as_u64(), pong["time_out"].as_u64());
    // Microseconds: sixteen digits until the year 2286.
    assert!(time_in <= time_out && time_in > Some(1_600_000_000_000_000), "{pong}");
    assert!(time_out < Some(10_000_000_000_000_000), "{pong}");
    let pong = client.ask(&json!({"method": "ping", "params": {"t": -1}}));
    assert_eq!(pong["t"], -1);
    let pong = client.ask(&json!({"method": "ping"}));
    assert!(pong.get("t").is_none() && pong.get("req_id").is_none(), "{pong}");
}

#[test]
fn a_request_s_id_comes_back_as_it_was() {
    let server = server();
    let mut client = Client::native(&server);
    let ids =
        [json!(0), json!(1), json!(u64::MAX), json!(""), json!("a \"b\" \\ \u{1}€"), json!("7")];
    for id in ids {
        for method in ["ping", "list_subscriptions", "list_symbols", "subscribe", "nonsense"] {
            let answer = client.ask(&json!({"method": method, "req_id": id}));
            assert_eq!(answer["req_id"], id, "{answer}");
        }
    }
    // None, and null, which is none.
    for request in [json!({"method": "ping"}), json!({"method": "ping", "req_id": null})] {
        assert!(client.ask(&request).get("req_id").is_none());
    }
}

#[test]
fn answers_come_in_the_order_of_the_requests_one_for_each() {
    let server = server();
    let mut client = Client::native(&server);
    let requests = [
        ("ping", json!({})),
        ("subscribe", json!({"channel": "status", "symbol": ["sim:S0000-USD", "x"]})),
        ("list_subscriptions", json!({})),
        ("nonsense", json!({})),
        ("list_symbols", json!({})),
        ("unsubscribe", json!({"channel": "status", "symbol": "*"})),
        ("ping", json!({})),
    ];
    for (id, (method, params)) in requests.iter().enumerate() {
        client.send(&json!({"method": method, "req_id": id, "params": params}));
    }
    for (id, (method, _)) in requests.iter().enumerate() {
        let answer = client.until(|message| message.get("method").is_some());
        assert_eq!(answer["req_id"], id, "{answer}");
        assert_eq!(answer["method"], if *method == "ping" { "pong" } else { *method });
    }
}

#[test]
fn what_cannot_be_understood_is_told_why() {
    let server = server();
    let mut client = Client::native(&server);
    let subscribe =
        |params: &str| format!(r#"{{"method":"subscribe","req_id":1,"params":{params}}}"#);
    let deep = "[".repeat(20_000);
    let long = format!(r#"{{"method":"{}"}}"#, "x".repeat(50_000));
    let many = subscribe(&json!({"channel": "trade", "symbol": vec!["a"; 1001]}).to_string());
    let cases = [
        ("", "bad_json", "not JSON"),
        ("{", "bad_json", "not JSON"),
        (r#"{"method":"ping"} x"#, "bad_json", "not JSON"),
        ("[1]", "bad_json", "an array"),
        ("null", "bad_json", "null"),
        (r#""ping""#, "bad_json", "a string"),
        (&deep, "bad_json", "not JSON"),
        (r#"{"method":"ping","req_id":1e999}"#, "bad_json", "not JSON"),
        ("{}", "missing_field", "`method`"),
        (r#"{"method":7}"#, "bad_value", "`method`"),
        (r#"{"method":"Ping"}"#, "unknown_method", "subscribe, unsubscribe, list_subscriptions"),
        (&long, "unknown_method", "xxx…"),
        (r#"{"method":"ping","req_id":-1}"#, "bad_value", "an unsigned integer or a string"),
        (r#"{"method":"ping","req_id":1.5}"#, "bad_value", "1.5"),
        (r#"{"method":"ping","req_id":[]}"#, "bad_value", "`req_id`"),
        (r#"{"method":"ping","request_id":1}"#, "unknown_field", "`request_id`"),
        (r#"{"method":"ping","params":7}"#, "bad_value", "an object"),
        (r#"{"method":"ping","params":{"time":7}}"#, "unknown_field", "`time`"),
        (r#"{"method":"ping","params":{"t":"now"}}"#, "bad_value", "an integer"),
        (r#"{"method":"list_symbols","params":{"venue":1}}"#, "bad_value", "`venue`"),
        (
            r#"{"method":"list_symbols","params":{"v":""}}"#,
            "unknown_field",
            "expected one of venue",
        ),
        (r#"{"method":"list_subscriptions","params":{"a":1}}"#, "unknown_field", "`a`"),
        (&subscribe("{}"), "missing_field", "`channel`"),
        (&subscribe(r#"{"channel":"trade"}"#), "missing_field", "`symbol`"),
        (
            &subscribe(r#"{"channel":"trades","symbol":"*"}"#),
            "bad_value",
            "trade, quote, book, status, bar, ticker",
        ),
        (
            &subscribe(r#"{"channel":"bar","symbol":"*","interval":"1d"}"#),
            "bad_value",
            r#"bad value "1d" for `interval`, expected one of "1s", "1m", "5m", "1h""#,
        ),
        (
            &subscribe(r#"{"channel":"trade","symbol":"*","interval":"1m"}"#),
            "bad_value",
            "channel bar only",
        ),
        (&subscribe(r#"{"channel":null,"symbol":"*"}"#), "bad_value", "`channel`"),
        (&subscribe(r#"{"channel":"trade","symbol":[]}"#), "bad_value", "`symbol`"),
        (&subscribe(r#"{"channel":"trade","symbol":{}}"#), "bad_value", "an array of symbols"),
        (&subscribe(r#"{"channel":"trade","symbol":["*",1]}"#), "bad_value", "bad value 1"),
        (&many, "bad_value", "at most 1000"),
        (&subscribe(r#"{"channel":"trade","symbol":"*","depth":5}"#), "bad_value", "book only"),
        (&subscribe(r#"{"channel":"book","symbol":"*","depth":0}"#), "bad_value", "1 to 1000"),
        (&subscribe(r#"{"channel":"book","symbol":"*","depth":1001}"#), "bad_value", "1001"),
        (&subscribe(r#"{"channel":"book","symbol":"*","depth":-5}"#), "bad_value", "-5"),
        (&subscribe(r#"{"channel":"book","symbol":"*","depth":2.5}"#), "bad_value", "2.5"),
        (&subscribe(r#"{"channel":"book","symbol":"*","depth":"all"}"#), "bad_value", "full"),
        (&subscribe(r#"{"channel":"bar","symbol":"*","mode":"conflate"}"#), "bad_value", "ticker"),
        (&subscribe(r#"{"channel":"quote","symbol":"*","mode":"some"}"#), "bad_value", "conflate"),
        (&subscribe(r#"{"channel":"book","symbol":"*","dept":5}"#), "unknown_field", "`dept`"),
        (
            &subscribe(r#"{"channel":"book","symbol":"*","dept":5}"#),
            "unknown_field",
            "channel, symbol, depth, interval, mode",
        ),
    ];
    for (text, code, words) in cases {
        let shown = &text[..text.len().min(80)];
        client.text(text);
        let answer = client.until(|message| message.get("success").is_some());
        assert_eq!(answer["success"], false, "{shown}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        let message = answer["error"]["message"].as_str().expect("a text");
        assert!(message.contains(words), "{shown}: {message}");
        assert!(message.len() < 1000, "{shown}: an answer repeats megabytes");
        assert!(answer.get("result").is_none(), "{answer}");
        if text.starts_with(r#"{"method":"subscribe""#) {
            assert_eq!((&answer["method"], &answer["req_id"]), (&json!("subscribe"), &json!(1)));
        }
        if code == "bad_json" {
            assert_eq!(answer["method"], "", "{answer}");
        }
    }
    assert_eq!(list(&mut client), Vec::<Value>::new());
    assert_eq!(client.ask(&json!({"method": "ping", "req_id": 1}))["req_id"], 1);
}

#[test]
fn a_subscription_is_answered_symbol_by_symbol() {
    let server = server();
    let mut client = Client::native(&server);
    client.send(&json!({"method": "subscribe", "req_id": 1, "params": {"channel": "book",
        "symbol": ["sim:S0001-USD", "sim:S0001-UDS", "FOO", "venue:*"], "depth": 25}}));
    let answer = answer(&mut client);
    assert_eq!(answer["success"], true);
    let result = answer["result"].as_array().expect("a list");
    assert_eq!(result.len(), 1, "{answer}");
    let one = &result[0];
    assert_eq!(one["channel"], "book");
    assert_eq!((&one["symbol"], &one["depth"]), (&json!("sim:S0001-USD"), &json!(25)));
    assert_eq!(one["mode"], "all");
    assert!(one["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()));
    assert!(one["seq"].as_u64() > Some(0));
    let errors = answer["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 3, "{answer}");
    for (error, name) in errors.iter().zip(["sim:S0001-UDS", "FOO", "venue:*"]) {
        assert_eq!((&error["symbol"], &error["code"]), (&json!(name), &json!("unknown_symbol")));
        assert_eq!(error["message"], format!("no such symbol: {name}"));
    }
    assert_eq!(errors[0]["did_you_mean"][0], "sim:S0001-USD");
    assert!(errors[1].get("did_you_mean").is_none(), "{answer}");

    // Nothing but errors is no success.
    let answer = client.subscribe("trade", &["nothing"]);
    assert_eq!((&answer["success"], &answer["result"]), (&json!(false), &json!([])));
    assert_eq!(answer["errors"][0]["code"], "unknown_symbol");

    // A wildcard is one entry; names are short in errors, too.
    let answer = client.subscribe("trade", &["sim:*", &"x".repeat(40_000)]);
    assert_eq!(
        (&answer["result"][0]["symbol"], &answer["result"][0]["matched"]),
        (&json!("sim:*"), &json!(5))
    );
    assert!(answer["result"][0].get("seq").is_none());
    assert!(answer["errors"].to_string().len() < 1000);

    // What is wrong with the request as a whole leaves everything as it was.
    client.text(r#"{"method":"subscribe","params":{"channel":"quote","symbol":"*","x":1}}"#);
    assert_eq!(client.until(|m| m.get("method").is_some())["error"]["code"], "unknown_field");
    let quotes = list(&mut client).into_iter().filter(|one| one["channel"] == "quote").count();
    assert_eq!(quotes, 0);
}

#[test]
fn symbols_are_found_in_any_case_and_bare() {
    let server = Server::start(&["--reactors", "1", "--feed", "synthetic:symbols=3,rate=10"]);
    let mut client = Client::native(&server);
    let answer = client.ask(&json!({"method": "list_symbols"}));
    let known = answer["result"][0].clone();
    let symbol = known["symbol"].as_str().expect("a text").to_owned();
    let bare = symbol.strip_prefix("sim:").expect("its venue").to_owned();
    for name in [
        symbol.clone(),
        symbol.to_uppercase(),
        symbol.to_lowercase(),
        bare.clone(),
        bare.to_lowercase(),
    ] {
        let answer = client.subscribe("status", &[&name]);
        assert_eq!(answer["result"][0]["symbol"], symbol.as_str(), "{name}: {answer}");
    }
    // However it was written, it is one subscription.
    assert_eq!(list(&mut client).len(), 1);
    let gone = client.ask(&request("unsubscribe", json!({"channel": "status", "symbol": bare})));
    assert_eq!(gone["result"], json!([{"channel": "status", "symbol": symbol}]));
    for pattern in ["*", "sim:*", "SIM:*"] {
        assert_eq!(client.subscribe("status", &[pattern])["result"][0]["matched"], 3, "{pattern}");
    }
    assert_eq!(list(&mut client).len(), 2, "SIM:* is sim:*");
}

#[test]
fn a_bare_symbol_of_two_venues_is_ambiguous() {
    let capture = Capture::new(
        "ambiguous",
        concat!(
            r#"1723161254000000000 {"type":"match","trade_id":10,"sequence":50,"maker_order_id":"a","#,
            r#""taker_order_id":"b","time":"2024-08-08T23:54:14.000000Z","product_id":"BTC-USD","#,
            r#""size":"0.1","price":"100.5","side":"sell"}"#,
            "\n"
        ),
    );
    let server = Server::start(&[
        "--reactors",
        "1",
        "--feed",
        "synthetic:symbols=3,rate=10",
        "--feed",
        &capture.spec(",speed=max"),
    ]);
    server.wait_metric("tickcast_feed_ticks_total", "replay", |n| n == 1.0);
    let mut client = Client::native(&server);
    // The reactor lists what it meets with its next tick.
    let error = loop {
        let answer = client.subscribe("trade", &["btc-usd"]);
        if let Some(error) = answer["errors"].get(0) {
            break error.clone();
        }
    };
    assert_eq!(error["code"], "ambiguous_symbol");
    assert_eq!(error["did_you_mean"], json!(["sim:BTC-USD", "coinbase:BTC-USD"]));
    assert_eq!(client.subscribe("trade", &["coinbase:btc-usd"])["success"], true);
}

#[test]
fn symbols_are_listed_with_their_parts() {
    let server = server();
    let mut client = Client::native(&server);
    let all = client.ask(&json!({"method": "list_symbols", "req_id": 3}));
    assert_eq!((&all["success"], &all["req_id"]), (&json!(true), &json!(3)));
    assert_eq!(all["result"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        all["result"][1],
        json!({"symbol": "sim:S0001-USD", "venue": "sim", "native": all["result"][1]["native"],
            "base": "S0001", "quote": "USD"})
    );
    assert!(all["result"][1]["native"].is_string());
    for (venue, count) in [("sim", 5), ("SIM", 5), ("nowhere", 0), ("", 0)] {
        let some = client.ask(&request("list_symbols", json!({"venue": venue})));
        assert_eq!(some["success"], true);
        assert_eq!(some["result"].as_array().map(Vec::len), Some(count), "{venue}");
    }
}

#[test]
fn subscriptions_are_listed_as_they_were_made() {
    let server = server();
    let mut client = Client::native(&server);
    client.subscribe("trade", &["sim:S0001-USD"]);
    client.subscribe("book", &["sim:S0002-USD"]);
    for params in [
        json!({"channel": "book", "symbol": "sim:S0002-USD", "depth": 10}),
        json!({"channel": "book", "symbol": "sim:*", "depth": 5}),
        json!({"channel": "quote", "symbol": "sim:S0003-USD", "mode": "conflate"}),
        json!({"channel": "quote", "symbol": "*", "mode": "conflate"}),
    ] {
        assert_eq!(client.ask(&request("subscribe", params))["success"], true);
    }
    let mut wanted = vec![
        json!({"channel": "trade", "symbol": "sim:S0001-USD", "mode": "all"}),
        json!({"channel": "book", "symbol": "sim:S0002-USD", "mode": "all", "depth": "full"}),
        json!({"channel": "book", "symbol": "sim:S0002-USD", "mode": "all", "depth": 10}),
        json!({"channel": "book", "symbol": "sim:*", "mode": "all", "depth": 5}),
        json!({"channel": "quote", "symbol": "sim:S0003-USD", "mode": "conflate"}),
        json!({"channel": "quote", "symbol": "*", "mode": "conflate"}),
    ];
    let sorted = |list: &mut Vec<Value>| list.sort_by_key(ToString::to_string);
    let mut got = list(&mut client);
    sorted(&mut got);
    sorted(&mut wanted);
    assert_eq!(got, wanted);
    // Again is not twice, and the mode is the newer one.
    client.subscribe("quote", &["*", "sim:S0003-USD"]);
    let mut got = list(&mut client);
    assert_eq!(got.len(), wanted.len());
    got.retain(|one| one["channel"] == "quote");
    assert!(got.iter().all(|one| one["mode"] == "all"), "{got:?}");
}

#[test]
fn unsubscribing_ends_what_it_names_and_nothing_else() {
    let server = server();
    let mut client = Client::native(&server);
    let unsubscribe =
        |client: &mut Client, params: Value| client.ask(&request("unsubscribe", params));
    let symbol = "sim:S0001-USD";

    // What was not subscribed.
    let answer =
        unsubscribe(&mut client, json!({"channel": "trade", "symbol": [symbol, "FOO", "*"]}));
    assert_eq!((&answer["success"], &answer["result"]), (&json!(false), &json!([])));
    let codes: Vec<_> =
        answer["errors"].as_array().expect("a list").iter().map(|e| &e["code"]).collect();
    assert_eq!(codes, ["not_subscribed", "unknown_symbol", "not_subscribed"]);

    // One depth of a book, then all.
    for depth in [json!(1), json!(10), json!(25), json!("full")] {
        client.ask(&request(
            "subscribe",
            json!({"channel": "book", "symbol": symbol, "depth": depth}),
        ));
    }
    let answer =
        unsubscribe(&mut client, json!({"channel": "book", "symbol": symbol, "depth": 10}));
    assert_eq!(answer["result"], json!([{"channel": "book", "symbol": symbol, "depth": 10}]));
    assert_eq!(list(&mut client).len(), 3);
    let answer =
        unsubscribe(&mut client, json!({"channel": "book", "symbol": symbol, "depth": 10}));
    assert_eq!(answer["errors"][0]["code"], "not_subscribed");
    let answer = unsubscribe(&mut client, json!({"channel": "book", "symbol": symbol}));
    assert_eq!(answer["result"], json!([{"channel": "book", "symbol": symbol}]));
    assert!(list(&mut client).is_empty());

    // A wildcard ends what it matches, also what was named; another channel stays.
    client.subscribe("trade", &[symbol, "*"]);
    client.subscribe("quote", &[symbol]);
    assert_eq!(
        unsubscribe(&mut client, json!({"channel": "trade", "symbol": "sim:*"}))["success"],
        true
    );
    assert_eq!(list(&mut client).iter().filter(|one| one["symbol"] == symbol).count(), 1);
    // The pattern `*` itself is still there, for other venues' listings; it goes by its name.
    assert_eq!(
        unsubscribe(&mut client, json!({"channel": "trade", "symbol": "*"}))["success"],
        true
    );
    assert_eq!(list(&mut client).len(), 1);

    // One depth of a wildcard leaves those of another depth.
    for depth in [5, 7] {
        client
            .ask(&request("subscribe", json!({"channel": "book", "symbol": "*", "depth": depth})));
    }
    let answer = unsubscribe(&mut client, json!({"channel": "book", "symbol": "*", "depth": 5}));
    assert_eq!(answer["success"], true);
    let depths: Vec<_> =
        list(&mut client).into_iter().filter(|one| one["channel"] == "book").collect();
    assert_eq!(depths, [json!({"channel": "book", "symbol": "*", "mode": "all", "depth": 7})]);
    client.until(|m| m["channel"] == "book" && m["depth"] == 7 && m["type"] == "update");
}

#[test]
fn nothing_of_a_subscription_comes_after_the_answer_that_ends_it() {
    let server = market(&["--request-rate", "10000"]);
    let mut client = Client::native(&server);
    let mut kept = 0;
    for round in 0..40 {
        let channel = ["trade", "quote", "book", "status"][round % 4];
        client.subscribe(channel, &["*"]);
        client.subscribe("trade", &["sim:S0000-USD"]);
        client.ask(&request("unsubscribe", json!({"channel": channel, "symbol": "*"})));
        // Until the answer to a later request, only what is still subscribed.
        client.subscribe("trade", &["sim:S0000-USD"]);
        client.send(&json!({"method": "ping", "req_id": round}));
        loop {
            let message = client.next();
            if message["method"] == "pong" {
                break;
            }
            assert_eq!(message["channel"], "trade", "{message}");
            assert_eq!(message["symbol"], "sim:S0000-USD", "{message}");
            kept += 1;
        }
    }
    // And the subscription that was kept goes on.
    client.until(|m| m["channel"] == "trade");
    assert!(kept < 4000);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 1.0);
}

#[test]
fn subscriptions_have_a_bound_and_a_wildcard_is_one() {
    let server = market(&["--max-subscriptions", "3"]);
    let mut client = Client::native(&server);
    let answer = client.subscribe(
        "trade",
        &["sim:S0000-USD", "sim:S0001-USD", "sim:S0000-USD", "*", "sim:S0002-USD", "sim:*"],
    );
    let names = |list: &Value| -> Vec<String> {
        let one = |entry: &Value| entry["symbol"].as_str().expect("a text").to_owned();
        list.as_array().expect("a list").iter().map(one).collect()
    };
    // A name that comes twice is one.
    assert_eq!(names(&answer["result"]), ["sim:S0000-USD", "sim:S0001-USD", "*"]);
    assert_eq!(names(&answer["errors"]), ["sim:S0002-USD", "sim:*"]);
    for error in answer["errors"].as_array().expect("a list") {
        assert_eq!(error["code"], "too_many_subscriptions");
        assert!(error["message"].as_str().is_some_and(|m| m.contains('3')), "{error}");
    }
    // What is there may be subscribed again, and what goes makes room.
    assert_eq!(client.subscribe("trade", &["*", "sim:S0001-USD"])["errors"], Value::Null);
    client.ask(&request("unsubscribe", json!({"channel": "trade", "symbol": "sim:S0001-USD"})));
    assert_eq!(client.subscribe("quote", &["sim:S0002-USD"])["success"], true);
    assert_eq!(client.subscribe("quote", &["sim:S0003-USD"])["success"], false);
    // Another client has its own.
    assert_eq!(Client::native(&server).subscribe("trade", &["*"])["success"], true);
}

#[test]
fn too_many_requests_are_refused_then_the_client_is_closed() {
    let server = market(&["--request-rate", "5"]);
    let mut other = Client::native(&server);
    let mut client = Client::native(&server);
    // Two seconds' worth may come at once; as many are refused; then it is over.
    let requests: Vec<u8> = (0..100)
        .flat_map(|id| {
            let text = json!({"method": "list_subscriptions", "req_id": id}).to_string();
            common::masked(0x81, text.as_bytes())
        })
        .collect();
    std::io::Write::write_all(&mut client.stream, &requests).expect("writes");
    let (mut fine, mut refused) = (0, 0);
    let (code, reason) = loop {
        match client.frame_in() {
            Received::Text(text) => {
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                if answer["channel"] == "heartbeat" {
                    continue;
                }
                assert_eq!(answer["req_id"], fine + refused);
                assert_eq!(answer["method"], "list_subscriptions");
                if answer["success"] == true {
                    assert_eq!(refused, 0, "{answer}");
                    fine += 1;
                } else {
                    assert_eq!(answer["error"]["code"], "rate_limited");
                    let message = answer["error"]["message"].as_str().expect("a text");
                    assert!(message.contains("5 requests per second"), "{message}");
                    refused += 1;
                }
            }
            Received::Close(code, reason) => break (code, reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(client.frame_in(), Received::End);
    assert_eq!(code, Some(1008));
    assert!(reason.contains("requests"), "{reason}");
    // A few more where the machine paused between two of them.
    assert!((10..20).contains(&fine) && (10..20).contains(&refused), "{fine} {refused}");
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"request_rate\"", |n| n == 1.0);
    assert_eq!(other.ask(&json!({"method": "ping", "req_id": 1}))["req_id"], 1);
}

#[test]
fn a_heartbeat_comes_where_nothing_else_does() {
    let server = Server::start(&["--reactors", "1", "--feed", "synthetic:symbols=2,rate=1000"]);
    let mut idle = Client::native(&server);
    let mut busy = Client::native(&server);
    busy.subscribe("trade", &["*"]);
    let mut last = 0;
    for _ in 0..3 {
        let beat = idle.message();
        assert_eq!(beat["channel"], "heartbeat", "{beat}");
        let time = beat["time"].as_u64().expect("microseconds");
        // A second of silence: the server's own clock says so, whenever the message came.
        assert!(last == 0 || time >= last + 900_000, "{last} {time}");
        last = time;
    }
    // The busy one has had hundreds of trades meanwhile, and no heartbeat among them.
    for _ in 0..500 {
        assert_eq!(busy.message()["channel"], "trade");
    }
    // An echo has none: it sends back what came.
    let mut echo = Client::open(&server, "/v1/echo");
    idle.until(|message| message["channel"] == "heartbeat");
    idle.until(|message| message["channel"] == "heartbeat");
    echo.text("x");
    assert_eq!(echo.frame_in(), Received::Text("x".to_owned()));
}

#[test]
fn a_costly_request_counts_as_several() {
    let feed = "synthetic:symbols=1000,rate=1,only=trade,names=numbered";
    let server = Server::start(&["--request-rate", "4", "--feed", feed]);
    let mut client = Client::native(&server);
    // A list of 1,000 symbols counts as 4 requests, of the 8 that may come at once. In one write,
    // so that no time passes between them.
    let request = masked(0x81, br#"{"method":"list_symbols"}"#);
    client.stream.write_all(&request.repeat(3)).expect("writes");
    let answers: Vec<bool> = (0..3)
        .map(|_| client.until(|message| message["method"] == "list_symbols")["success"] == true)
        .collect();
    assert_eq!(answers, [true, true, false]);
    // It is not held against the client for good.
    while client.ask(&json!({"method": "ping"}))["method"] != "pong" {
        std::thread::park_timeout(std::time::Duration::from_millis(600));
    }
}
