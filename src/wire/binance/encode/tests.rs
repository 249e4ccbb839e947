//! Every message against the form that Binance documents, and against the parser of Binance's feed.

use super::*;
use crate::derive::Span;
use serde_json::{Value, json};
use tickcast_feeds::{InstrumentId, Quote, Stamp, Trade};

const STAMP: Stamp =
    Stamp { event: 1_672_515_782_136_789_000, recv: 1_672_515_782_200_000_000, seq: 400_900_217 };

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let text = written(write);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn a_trade(side: Side, stamp: Stamp) -> Tick {
    let trade = Trade { price: d("0.00100000"), size: d("100"), id: 12_345, side };
    Tick::trade(InstrumentId(0), stamp, &trade)
}

fn a_quote() -> Tick {
    let quote = Quote {
        bid: d("25.35190000"),
        bid_size: d("31.21000000"),
        ask: d("25.36520000"),
        ask_size: d("40.66000000"),
    };
    Tick::quote(InstrumentId(0), STAMP, &quote).unwrap()
}

fn a_bar(span: Span) -> Bar {
    Bar {
        span,
        start_s: 1_672_515_780,
        open: d("0.0010"),
        high: d("0.0025"),
        low: d("0.0015"),
        close: d("0.0020"),
        volume: Sum::new(1_000, 0),
        bought: Sum::new(500, 0),
        turnover: Sum::new(15, -1),
        trades: 100,
        is_final: false,
        revision: 0,
        event_ns: 1_672_515_782_000_000_000,
        recv_ns: 1_672_515_782_136_789_000,
    }
}

/// The fields of a message in their order: Binance's, so that a person sees what is meant.
fn keys(text: &str) -> Vec<String> {
    text.split("\"")
        .skip(1)
        .step_by(2)
        .zip(text.split("\"").skip(2).step_by(2))
        .filter(|(_, after)| after.starts_with(':'))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn a_trade_is_as_documented() {
    let heads = Heads::new("BNBBTC");
    let sold = a_trade(Side::Sell, STAMP);
    assert_eq!(
        written(|out| trade(out, &heads, &sold, Unit::Milli)),
        r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782136,"m":true,"M":true}"#
    );
    let bought = a_trade(Side::Buy, Stamp { event: 0, ..STAMP });
    let bought = encoded(|out| trade(out, &heads, &bought, Unit::Micro));
    assert_eq!(
        (&bought["m"], &bought["T"], &bought["E"]),
        (&json!(false), &json!(1_672_515_782_200_000u64), &json!(1_672_515_782_200_000u64))
    );
}

#[test]
fn an_aggregate_trade_says_what_ids_it_knows() {
    let heads = Heads::new("BNBBTC");
    let mut tick = a_trade(Side::Sell, STAMP);
    assert_eq!(
        written(|out| agg_trade(out, &heads, &tick, Unit::Milli)),
        r#"{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.00100000","q":"100.00000000","f":12345,"l":12345,"T":1672515782136,"m":true,"M":true}"#
    );
    tick.flags |= flags::AGGREGATE;
    let summed = encoded(|out| agg_trade(out, &heads, &tick, Unit::Milli));
    assert_eq!(
        (&summed["a"], &summed["f"], &summed["l"]),
        (&json!(12_345), &json!(-1), &json!(-1))
    );
}

#[test]
fn a_book_ticker_is_as_documented() {
    assert_eq!(
        written(|out| book_ticker(out, &Heads::new("BNBUSDT"), &a_quote())),
        r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#
    );
}

#[test]
fn books_are_as_documented() {
    let covered = Covered { first: 157, last: 160, time_ns: STAMP.event };
    let (bid, ask) = ((d("0.0024"), d("10")), (d("0.00260"), d("0.00000000")));
    assert_eq!(
        written(|out| depth_update(
            out,
            &Heads::new("BNBBTC"),
            covered,
            [bid].into_iter(),
            [ask, bid].into_iter(),
            Unit::Milli
        )),
        r#"{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.00240000","10.00000000"]],"a":[["0.00260000","0.00000000"],["0.00240000","10.00000000"]]}"#
    );
    assert_eq!(
        written(|out| partial_depth(out, 160, [bid].into_iter(), std::iter::empty())),
        r#"{"lastUpdateId":160,"bids":[["0.00240000","10.00000000"]],"asks":[]}"#
    );
}

#[test]
fn tickers_are_as_documented() {
    let heads = Heads::new("BNBBTC");
    let (bar, quote, last) = (a_bar(Span::Rolling), a_quote(), a_trade(Side::Sell, STAMP));
    assert_eq!(
        written(|out| mini_ticker(out, &heads, &bar, Unit::Milli)),
        r#"{"e":"24hrMiniTicker","E":1672515782136,"s":"BNBBTC","c":"0.00200000","o":"0.00100000","h":"0.00250000","l":"0.00150000","v":"1000.00000000","q":"1.50000000"}"#
    );
    let day = Day { bar: &bar, quote: Some(&quote), trade: Some(&last) };
    let text = written(|out| ticker(out, &heads, &day, Unit::Milli));
    assert_eq!(
        text,
        r#"{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.00100000","P":"100.00000000","w":"0.00150000","x":"0.00100000","c":"0.00200000","Q":"100.00000000","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000","o":"0.00100000","h":"0.00250000","l":"0.00150000","v":"1000.00000000","q":"1.50000000","O":1672515780000,"C":1672515782136,"F":-1,"L":12345,"n":100}"#
    );
    let order = [
        "e", "E", "s", "p", "P", "w", "x", "c", "Q", "b", "B", "a", "A", "o", "h", "l", "v", "q",
        "O", "C", "F", "L", "n",
    ];
    assert_eq!(keys(&text), order);
    // No quote, no trade in the window, a sum that was lost: still every field.
    let lost = Bar { volume: Sum::NONE, turnover: Sum::NONE, open: Decimal::ZERO, ..bar };
    let bare = Day { bar: &lost, quote: None, trade: None };
    let bare = encoded(|out| ticker(out, &heads, &bare, Unit::Milli));
    assert_eq!(
        (&bare["w"], &bare["P"], &bare["L"]),
        (&json!("0.00200000"), &json!("0.00000000"), &json!(-1))
    );
    assert_eq!(
        (&bare["v"], &bare["b"], &bare["A"]),
        (&json!("0.00000000"), &json!("0.00000000"), &json!("0.00000000"))
    );
    assert_eq!(bare.as_object().unwrap().len(), order.len());
}

#[test]
fn a_kline_is_as_documented() {
    let heads = Heads::new("BNBBTC");
    let bar = a_bar(Span::Minute);
    assert_eq!(
        written(|out| kline(out, &heads, &bar, Unit::Milli)),
        r#"{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":-1,"L":-1,"o":"0.00100000","c":"0.00200000","h":"0.00250000","l":"0.00150000","v":"1000.00000000","n":100,"x":false,"q":"1.50000000","V":"500.00000000","Q":"0.75000000","B":"0"}}"#
    );
    let closed = Bar { is_final: true, bought: Sum::NONE, ..bar };
    let closed = encoded(|out| kline(out, &heads, &closed, Unit::Micro));
    let k = &closed["k"];
    assert_eq!((&k["x"], &k["T"]), (&json!(true), &json!(1_672_515_839_999_999u64)));
    assert_eq!((&k["V"], &k["Q"]), (&json!("0.00000000"), &json!("0.00000000")));
}

#[test]
fn envelopes_name_the_stream() {
    let heads = Heads::new("BNBBTC");
    let text = written(|out| {
        Envelope::new("bnbbtc@bookTicker").around(out, |out| book_ticker(out, &heads, &a_quote()));
    });
    assert_eq!(
        text,
        format!(
            r#"{{"stream":"bnbbtc@bookTicker","data":{}}}"#,
            written(|out| book_ticker(out, &heads, &a_quote()))
        )
    );
    let odd =
        encoded(|out| Envelope::new("a\"b@trade").around(out, |out| out.extend_from_slice(b"1")));
    assert_eq!(odd, json!({"stream": "a\"b@trade", "data": 1}));
    assert_eq!(
        written(|out| server_shutdown(out, 1_770_123_456_789_000_000, Unit::Milli)),
        r#"{"e":"serverShutdown","E":1770123456789}"#
    );
}
