//! How a connection begins, what it can ask for, and what it is answered.

use serde_json::{Value, json};

use crate::common::{Client, Received, Server};
use crate::desk::{Desk, ask, text, trade};

const BTC: &str = "binance:BTC-USDT";

fn quiet(more: &[&str]) -> Server {
    Server::start(&[&["--feed", "synthetic:symbols=1,rate=1"], more].concat())
}

fn sorted(list: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        list.as_array().expect("a list").iter().map(|n| n.as_str().expect("text").into()).collect();
    names.sort();
    names
}

#[test]
fn every_form_of_the_url_begins_with_its_streams() {
    let desk = Desk::open("urls", &[]);
    desk.publish(&[trade(BTC, 1)]);
    for (url, streams, combined) in [
        ("/ws", &[][..], false),
        ("/ws/", &[], false),
        ("/ws/3", &[], false),
        ("/ws/btcusdt@trade", &["btcusdt@trade"], false),
        ("/ws/BTCUSDT@trade", &["btcusdt@trade"], false),
        ("/ws/btcusdt%40trade/%21ticker%40arr", &["!ticker@arr", "btcusdt@trade"], false),
        ("/ws/!bookTicker/later@depth", &["!bookTicker", "later@depth"], false),
        ("/ws/btcusdt@trade/nonsense/a@b/btcusdt@kline_1M", &["btcusdt@trade"], false),
        ("/ws/btcusdt@trade?timeUnit=MICROSECOND", &["btcusdt@trade"], false),
        ("/stream", &[], true),
        ("/stream?streams=", &[], true),
        (
            "/stream?streams=btcusdt@depth@100ms/btcusdt@kline_1m",
            &["btcusdt@depth@100ms", "btcusdt@kline_1m"],
            true,
        ),
        ("/stream?streams=btcusdt%40trade&timeUnit=microsecond", &["btcusdt@trade"], true),
        (
            "/stream?streams=btcusdt@depth/btcusdt@depth5/btcusdt@depth5@100ms/!miniTicker@arr",
            &["!miniTicker@arr", "btcusdt@depth", "btcusdt@depth5", "btcusdt@depth5@100ms"],
            true,
        ),
    ] {
        let mut client = Client::open(&desk.0, url);
        let listed = ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]));
        assert_eq!(sorted(&listed["result"]), streams, "{url}");
        assert_eq!(ask(&mut client, "GET_PROPERTY", &json!(["combined"]))["result"], combined);
    }
    for path in ["/wsx", "/streams"] {
        assert_eq!(desk.0.get(path).0, 404, "{path}");
    }
    // A good path without an upgrade, and a unit that is none.
    assert_eq!(desk.0.get("/ws/btcusdt@trade").0, 426);
    let (status, body) = desk.0.get("/ws?timeUnit=SECOND");
    assert_eq!((status, body.contains("-1194")), (400, true), "{body}");
}

#[test]
fn requests_are_carried_out_and_their_ids_come_back_as_they_were() {
    let desk = Desk::open("requests", &[]);
    desk.publish(&[trade(BTC, 1)]);
    for path in ["/ws", "/stream"] {
        let combined = path == "/stream";
        let mut client = desk.client(path);
        for (request, answer) in [
            (
                r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","BTCUSDT@bookTicker"],"id":1}"#,
                r#"{"result":null,"id":1}"#,
            ),
            (
                r#"{"id":-9223372036854775808,"method":"SUBSCRIBE","params":["btcusdt@trade"]}"#,
                r#"{"result":null,"id":-9223372036854775808}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","id":18446744073709551615}"#,
                r#"{"result":["btcusdt@trade","btcusdt@bookTicker"],"id":18446744073709551615}"#,
            ),
            (
                r#"{"method":"UNSUBSCRIBE","params":["btcusdt@bookTicker","never@there"],"id":"an \"id\""}"#,
                r#"{"result":null,"id":"an \"id\""}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","params":[],"id":null}"#,
                r#"{"result":["btcusdt@trade"],"id":null}"#,
            ),
            (
                r#"{"method":"GET_PROPERTY","params":["combined"],"id":"0123456789abcdef0123456789abcdef"}"#,
                if combined {
                    r#"{"result":true,"id":"0123456789abcdef0123456789abcdef"}"#
                } else {
                    r#"{"result":false,"id":"0123456789abcdef0123456789abcdef"}"#
                },
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined",true],"id":7}"#,
                r#"{"result":null,"id":7}"#,
            ),
            (
                r#"{"method":"GET_PROPERTY","params":["combined"],"id":8}"#,
                r#"{"result":true,"id":8}"#,
            ),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":9}"#, r#"{"result":["btcusdt@trade"],"id":9}"#),
        ] {
            client.text(request);
            let said = loop {
                let said = text(&mut client);
                // The quote that the subscription begins with.
                if !said.contains(r#""B":"#) {
                    break said;
                }
            };
            assert_eq!(said, answer, "{path}: {request}");
        }
        // As some clients send them.
        client.frame(0x82, br#"{"method":"LIST_SUBSCRIPTIONS","id":10}"#);
        assert_eq!(text(&mut client), r#"{"result":["btcusdt@trade"],"id":10}"#);
        desk.publish(&[trade(BTC, if combined { 12 } else { 2 })]);
        assert_eq!(client.message()["stream"], "btcusdt@trade");
        ask(&mut client, "SET_PROPERTY", &json!(["combined", false]));
        desk.publish(&[trade(BTC, if combined { 14 } else { 4 })]);
        assert_eq!(client.message()["e"], "trade");
        ask(&mut client, "UNSUBSCRIBE", &json!(["btcusdt@trade"]));
        desk.publish(&[trade(BTC, if combined { 16 } else { 6 })]);
        assert_eq!(ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]))["result"], json!([]));
    }
}

#[test]
fn errors_say_what_is_wrong_and_change_nothing() {
    let desk = Desk::open("errors", &[]);
    desk.publish(&[trade(BTC, 1)]);
    let mut client = desk.client("/ws/btcusdt@trade");
    for (request, answer) in [
        (
            r#"{"method":"SUBSCRIBE","params":["btcusdt@depth","btcusdt@nothing"],"id":1}"#,
            r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":1}"#,
        ),
        (
            r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1d"],"id":2}"#,
            r#"{"error":{"code":2,"msg":"Invalid request: stream btcusdt@kline_1d is not served"},"id":2}"#,
        ),
        (
            r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":3}"#,
            r#"{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":3}"#,
        ),
        (
            r#"{"method":"GET_PROPERTY","params":["speed"],"id":4}"#,
            r#"{"error":{"code":0,"msg":"Unknown property"},"id":4}"#,
        ),
        (
            r#"{"method":"SUBSCRIBE","params":["btcusdt@depth"]}"#,
            r#"{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}"#,
        ),
        ("ping", r#"{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}"#),
    ] {
        client.text(request);
        let said = loop {
            let said = text(&mut client);
            // What was published first may come only now.
            if !said.starts_with(r#"{"e":"trade""#) {
                break said;
            }
        };
        assert_eq!(said, answer, "{request}");
    }
    // A symbol that no instrument can have, as long as a message may be.
    let params = json!([format!("{}@trade", "x".repeat(60_000))]);
    let refused = ask(&mut client, "SUBSCRIBE", &params);
    assert_eq!(refused["error"]["code"], 2, "{refused}");
    let listed = ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]));
    assert_eq!(listed["result"], json!(["btcusdt@trade"]));
}

#[test]
fn unknown_symbols_are_silent_and_begin_when_they_are_listed() {
    let desk = Desk::open("unknown", &[]);
    let mut client = desk.client("/stream?streams=my_ab@bookTicker");
    let params = json!(["ab@trade", "MY_AB@trade", "my:A-B@aggTrade", "never@trade", "ab@depth"]);
    assert_eq!(ask(&mut client, "SUBSCRIBE", &params)["result"], Value::Null);
    ask(&mut client, "UNSUBSCRIBE", &json!(["MY_AB@trade"]));
    let all = sorted(&ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]))["result"]);
    let wanted = ["ab@depth", "ab@trade", "my:A-B@aggTrade", "my_ab@bookTicker", "never@trade"];
    assert_eq!(all, wanted);
    desk.publish(&[trade("my:A-B", 1)]);
    let mut streams = [client.message(), client.message()];
    streams.sort_by_key(|message| message["stream"].to_string());
    assert_eq!(streams[0]["stream"], "ab@aggTrade");
    assert_eq!(streams[1]["data"]["s"], "AB");
    let all = sorted(&ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]))["result"]);
    let wanted = ["ab@aggTrade", "ab@bookTicker", "ab@depth", "ab@trade", "never@trade"];
    assert_eq!(all, wanted);
}

#[test]
fn a_connection_has_no_more_streams_than_it_may_all_or_none() {
    let server = quiet(&["--max-subscriptions", "3"]);
    let mut client = Client::open(&server, "/ws/a@trade/b@trade");
    let refused = ask(&mut client, "SUBSCRIBE", &json!(["c@trade", "d@trade"]));
    let message = "Invalid request: too many streams, at most 3 per connection";
    assert_eq!(refused["error"], json!({"code": 2, "msg": message}));
    let listed = ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]));
    assert_eq!(listed["result"], json!(["a@trade", "b@trade"]));
    assert_eq!(ask(&mut client, "SUBSCRIBE", &json!(["c@trade"]))["result"], Value::Null);
    let mut client = Client::open(&server, "/ws/a@trade/b@trade/c@trade/d@trade");
    let listed = ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]));
    assert_eq!(listed["result"].as_array().map(Vec::len), Some(3));
}

#[test]
fn who_asks_too_often_is_told_and_then_closed() {
    let server = quiet(&["--request-rate", "1"]);
    let mut client = Client::open(&server, "/ws");
    for id in 0..200 {
        // The server may have closed by now.
        let request = format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#);
        let frame = crate::common::masked(0x81, request.as_bytes());
        if std::io::Write::write_all(&mut client.stream, &frame).is_err() {
            break;
        }
    }
    assert_eq!(text(&mut client), r#"{"result":[],"id":0}"#);
    let mut refused = 0;
    let close = loop {
        match client.frame_in() {
            Received::Text(text) if text.contains("too many requests") => refused += 1,
            Received::Text(text) => assert!(text.starts_with(r#"{"result":[]"#), "{text}"),
            other => break other,
        }
    };
    assert!(refused > 0);
    assert_eq!(close, Received::Close(Some(1008), "Too many requests".to_owned()));
}

#[test]
fn pings_are_answered_on_both_sides() {
    let server = quiet(&["--ping-interval", "200ms", "--ping-timeout", "10s"]);
    let mut client = Client::open(&server, "/ws");
    client.frame(0x89, b"are you there");
    assert_eq!(client.frame_in(), Received::Pong(b"are you there".to_vec()));
    // An unsolicited pong is no offence.
    client.frame(0x8a, b"");
    for _ in 0..3 {
        let Received::Ping(payload) = client.frame_in() else { panic!("no ping") };
        client.frame(0x8a, &payload);
    }
    assert_eq!(ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]))["result"], json!([]));
}

#[test]
fn who_answers_no_ping_is_closed() {
    let server = quiet(&["--ping-interval", "100ms", "--ping-timeout", "200ms"]);
    let mut client = Client::open(&server, "/ws");
    assert_eq!(client.close(), Some((Some(1008), "no pong in time".to_owned())));
}

#[test]
fn who_stays_is_told_that_the_server_ends() {
    let mut server = quiet(&[]);
    let mut plain = Client::open(&server, "/ws");
    let mut combined = Client::open(&server, "/stream?timeUnit=MICROSECOND");
    for client in [&mut plain, &mut combined] {
        ask(client, "LIST_SUBSCRIPTIONS", &json!([]));
    }
    server.signal("TERM");
    assert_eq!(plain.message()["e"], "serverShutdown");
    let message = combined.message();
    assert_eq!(message["stream"], "!serverShutdown");
    assert!(message["data"]["E"].as_u64().expect("a time") > 1_000_000_000_000_000, "{message}");
    for client in [&mut plain, &mut combined] {
        assert_eq!(client.close().and_then(|(code, _)| code), Some(1012));
    }
    drop((plain, combined));
    assert!(server.wait().success());
}
