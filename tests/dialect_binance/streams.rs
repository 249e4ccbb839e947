//! What streams deliver: the fields that Binance documents, in the unit and the envelope that were asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::common::Client;
use crate::desk::{Desk, EVENT, ask, book, fields, level, quote, trade};

const BTC: &str = "binance:BTC-USDT";
const ETH: &str = "kraken:ETH-USD";

const TRADE: &str = "E M T e m p q s t";
const AGG_TRADE: &str = "E M T a e f l m p q s";
const QUOTE: &str = "A B a b s u";
const DEPTH: &str = "E U a b e s u";
const PARTIAL: &str = "asks bids lastUpdateId";
const MINI: &str = "E c e h l o q s v";
const TICKER: &str = "A B C E F L O P Q a b c e h l n o p q s v w x";
const KLINE: &str = "E e k s";

/// Every stream of a symbol, and the fields of its messages.
const STREAMS: [(&str, &str); 21] = [
    ("trade", TRADE),
    ("aggTrade", AGG_TRADE),
    ("bookTicker", QUOTE),
    ("depth", DEPTH),
    ("depth@100ms", DEPTH),
    ("depth5", PARTIAL),
    ("depth5@100ms", PARTIAL),
    ("depth10", PARTIAL),
    ("depth10@100ms", PARTIAL),
    ("depth20", PARTIAL),
    ("depth20@100ms", PARTIAL),
    ("miniTicker", MINI),
    ("ticker", TICKER),
    ("kline_1s", KLINE),
    ("kline_1m", KLINE),
    ("kline_5m", KLINE),
    ("kline_1h", KLINE),
    ("depth@1000ms", DEPTH),
    ("depth5@1000ms", PARTIAL),
    ("kline_1h@+08:00", KLINE),
    ("avgPrice", ""),
];

/// All but the last, which is not served.
fn served() -> impl Iterator<Item = (&'static str, &'static str)> {
    STREAMS.into_iter().filter(|(_, fields)| !fields.is_empty())
}

/// Reads until each of these streams has said something; gives the first of each.
fn first_of_each(client: &mut Client, streams: &[String]) -> BTreeMap<String, Value> {
    let mut first = BTreeMap::new();
    while first.len() < streams.len() {
        let message = client.message();
        let stream = message["stream"].as_str().expect("a stream").to_owned();
        assert!(streams.contains(&stream), "{message}");
        first.entry(stream).or_insert_with(|| message["data"].clone());
    }
    first
}

fn begin(desk: &Desk) {
    desk.publish(&[
        trade(BTC, 1),
        quote(BTC),
        book(BTC, 10),
        trade(ETH, 1),
        quote(ETH),
        book(ETH, 10),
    ]);
}

fn go_on(desk: &Desk, step: u64) {
    for symbol in [BTC, ETH] {
        let size = step.to_string();
        desk.publish(&[
            trade(symbol, step),
            quote(symbol),
            level(symbol, 10 + step, ("999", &size)),
        ]);
    }
}

#[test]
fn every_stream_has_the_fields_that_are_documented() {
    let desk = Desk::open("fields", &[]);
    begin(&desk);
    for (symbol, said) in [("btcusdt", "BTCUSDT"), ("kraken_ethusd", "ETHUSD")] {
        let lower = said.to_lowercase();
        let streams: Vec<String> = served().map(|(name, _)| format!("{lower}@{name}")).collect();
        let asked: Vec<String> = served().map(|(name, _)| format!("{symbol}@{name}")).collect();
        let mut client = desk.client("/stream");
        assert_eq!(ask(&mut client, "SUBSCRIBE", &json!(asked))["result"], Value::Null);
        go_on(&desk, if said == "BTCUSDT" { 2 } else { 3 });
        let first = first_of_each(&mut client, &streams);
        for (name, wanted) in served() {
            let data = &first[&format!("{lower}@{name}")];
            assert_eq!(fields(data), wanted, "{name}: {data}");
            if wanted != PARTIAL {
                assert_eq!(data["s"], said, "{name}");
            }
        }
        let of = |name: &str| &first[&format!("{lower}@{name}")];
        let trade = of("trade");
        assert_eq!(trade["p"], "61837.63000000");
        assert_eq!((&trade["m"], &trade["T"]), (&json!(false), &json!(EVENT / 1_000)));
        assert_eq!(of("depth5")["bids"].as_array().map(Vec::len), Some(5));
        assert_eq!(of("depth20@100ms")["asks"].as_array().map(Vec::len), Some(20));
        let kline = &of("kline_1m")["k"];
        assert_eq!(fields(kline), "B L Q T V c f h i l n o q s t v x");
        assert_eq!((&kline["i"], &kline["s"]), (&json!("1m"), &json!(said)));
    }
}

#[test]
fn depth_without_an_envelope_is_the_message_itself() {
    let desk = Desk::open("plain", &[]);
    begin(&desk);
    for (name, wanted) in served() {
        let mut client = desk.client(&format!("/ws/btcusdt@{name}"));
        // What is told at once or at a stroke, with what happens now or before.
        let step = 2 + STREAMS.iter().position(|(known, _)| *known == name).expect("known") as u64;
        go_on(&desk, step);
        let message = client.message();
        assert_eq!(fields(&message), wanted, "{name}: {message}");
    }
}

#[test]
fn times_are_in_the_unit_that_was_asked_for() {
    let desk = Desk::open("units", &[]);
    begin(&desk);
    let mut milli = desk.client("/ws/btcusdt@trade?timeUnit=MILLISECOND");
    let mut micro = desk.client("/ws/btcusdt@trade?timeUnit=MICROSECOND");
    desk.publish(&[trade(BTC, 2)]);
    assert_eq!(milli.message()["E"], EVENT / 1_000);
    let message = micro.message();
    assert_eq!((&message["E"], &message["T"]), (&json!(EVENT), &json!(EVENT)));
    let mut kline = desk.client("/stream?streams=btcusdt@kline_1m&timeUnit=MICROSECOND");
    let bar = kline.message()["data"]["k"].clone();
    let start = EVENT / 60_000_000 * 60_000_000;
    assert_eq!((&bar["t"], &bar["T"]), (&json!(start), &json!(start + 60_000_000 - 1)));
}

#[test]
fn streams_of_all_symbols_are_arrays_or_one_by_one() {
    let desk = Desk::open("all", &[]);
    begin(&desk);
    let mut step = 1;
    for (stream, wanted) in [("!ticker@arr", TICKER), ("!miniTicker@arr", MINI)] {
        for path in [format!("/ws/{stream}"), format!("/stream?streams={stream}")] {
            let mut client = desk.client(&path);
            step += 1;
            go_on(&desk, step);
            let mut symbols = BTreeSet::new();
            while symbols.len() < 2 {
                let message = client.message();
                let list = match path.starts_with("/ws") {
                    true => message,
                    false => {
                        assert_eq!(message["stream"], stream);
                        message["data"].clone()
                    }
                };
                for day in list.as_array().expect("an array") {
                    assert_eq!(fields(day), wanted, "{day}");
                    symbols.insert(day["s"].as_str().expect("a symbol").to_owned());
                }
            }
            assert!(symbols.iter().eq(["BTCUSDT", "ETHUSD"]), "{symbols:?}");
            assert_eq!(ask(&mut client, "UNSUBSCRIBE", &json!([stream]))["result"], Value::Null);
            assert_eq!(ask(&mut client, "LIST_SUBSCRIPTIONS", &json!([]))["result"], json!([]));
        }
    }
}

#[test]
fn quotes_of_all_symbols_are_told_apart_from_those_of_one() {
    let desk = Desk::open("quotes", &[]);
    begin(&desk);
    let mut client = desk.client("/stream?streams=!bookTicker/btcusdt@bookTicker");
    let wanted =
        [("!bookTicker", "BTCUSDT"), ("!bookTicker", "ETHUSD"), ("btcusdt@bookTicker", "BTCUSDT")];
    let next = |client: &mut Client| {
        let message = client.message();
        assert_eq!(fields(&message["data"]), QUOTE);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&message["stream"]), text(&message["data"]["s"]))
    };
    desk.publish(&[quote(BTC), quote(ETH)]);
    let mut seen = BTreeSet::new();
    while seen.len() < wanted.len() {
        seen.insert(next(&mut client));
    }
    assert!(seen.iter().map(|(stream, symbol)| (&**stream, &**symbol)).eq(wanted), "{seen:?}");
    // Later listings are in it too; and the one goes on without the other.
    ask(&mut client, "UNSUBSCRIBE", &json!(["btcusdt@bookTicker"]));
    desk.publish(&[quote("my:NEW-USD"), quote(BTC)]);
    assert_eq!(next(&mut client), ("!bookTicker".to_owned(), "NEWUSD".to_owned()));
    assert_eq!(next(&mut client), ("!bookTicker".to_owned(), "BTCUSDT".to_owned()));
    ask(&mut client, "UNSUBSCRIBE", &json!(["!bookTicker"]));
    ask(&mut client, "SUBSCRIBE", &json!(["btcusdt@trade"]));
    desk.publish(&[quote(BTC), trade(BTC, 2)]);
    assert_eq!(client.message()["stream"], "btcusdt@trade");
}
