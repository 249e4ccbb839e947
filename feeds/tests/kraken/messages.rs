//! Trades, quotes, answers, and what cannot be understood.

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{Context, Heard};
use tickcast_feeds::{FeedState, Side, Tick};

use crate::model::book;
use crate::rig::{RECV, Rig, confirmed, states};

fn trade(id: u64, side: &str, kind: &str) -> String {
    format!(
        r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#,
        trade_entry(id, side, "BTC/USD")
    )
}

fn trade_entry(id: u64, side: &str, symbol: &str) -> String {
    format!(
        r#"{{"symbol":"{symbol}","side":"{side}","price":64101.30,"qty":5.1e-05,"ord_type":"limit","trade_id":{id},"timestamp":"2023-10-06T17:35:55.440295Z"}}"#
    )
}

fn ticker(kind: &str, bid: &str, micros: u32) -> String {
    format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"BTC/USD","bid":{bid},"bid_qty":0.50000000,"ask":64101.4,"ask_qty":2,"last":64101.3,"volume":163.28908096,"vwap":64000.4,"low":63000.0,"high":65000.1,"change":-250.0,"change_pct":-0.24,"timestamp":"2023-10-06T17:35:55.{micros:06}Z"}}]}}"#
    )
}

#[test]
fn trades_have_the_taker_s_side_and_exact_numbers() {
    let mut rig = Rig::new();
    let (heard, ticks) = rig.on(0, &trade(7, "sell", "update"));
    assert_eq!((heard, ticks.len()), (Heard::Alive, 1));
    let tick = ticks[0];
    let trade = tick.as_trade();
    assert_eq!((trade.side, trade.id, tick.seq), (Side::Sell, 7, 7));
    assert_eq!((tick.ts_event, tick.ts_recv), (1_696_613_755_440_295_000, RECV));
    assert_eq!((trade.price, trade.price.exponent), ("64101.3".parse().unwrap(), -2));
    assert_eq!(trade.size, "0.000051".parse().unwrap());
    assert_eq!(rig.send(&self::trade(8, "buy", "update"))[0].as_trade().side, Side::Buy);
    assert_eq!(rig.instruments.since(0)[0].symbol, "kraken:BTC-USD");
}

#[test]
fn no_trade_is_put_twice_whatever_connection_it_comes_on() {
    let mut rig = Rig::new();
    let batch = [4, 5].map(|id| trade_entry(id, "buy", "BTC/USD")).join(",");
    let batch = format!(r#"{{"channel":"trade","type":"update","data":[{batch}]}}"#);
    let mut ids = Vec::new();
    for (link, text) in [
        (0, trade(3, "buy", "update")),
        (1, trade(3, "buy", "update")),
        (1, batch.clone()),
        (0, batch),
        (0, trade(6, "buy", "update")),
        (1, trade(6, "buy", "update")),
    ] {
        ids.extend(rig.on(link, &text).1.iter().map(|tick| tick.as_trade().id));
    }
    assert_eq!((ids, rig.ignored("duplicate trade")), (vec![3, 4, 5, 6], 4));
}

#[test]
fn a_snapshot_of_trades_fills_a_gap_and_nothing_else() {
    let mut rig = Rig::new();
    let snapshot = |ids: &[u64]| {
        let all: Vec<_> = ids.iter().map(|&id| trade_entry(id, "buy", "BTC/USD")).collect();
        format!(r#"{{"channel":"trade","type":"snapshot","data":[{}]}}"#, all.join(","))
    };
    let ids = |ticks: Vec<Tick>| ticks.iter().map(|tick| tick.as_trade().id).collect::<Vec<_>>();
    assert!(rig.send(&snapshot(&[10, 11, 12])).is_empty(), "history is no news");
    assert_eq!(ids(rig.send(&trade(13, "buy", "update"))), [13]);
    // The connection broke; 14 and 15 were missed.
    rig.parser.lost(0, &[], RECV, &mut rig.sink);
    assert_eq!(ids(rig.on(1, &snapshot(&[12, 13, 14, 15])).1), [14, 15]);
    assert_eq!(ids(rig.on(1, &snapshot(&[12, 13, 14, 15])).1), [0; 0]);
}

#[test]
fn a_message_of_several_symbols_is_put_whole_or_not_at_all() {
    let mut rig = Rig::new();
    let data = |second: &str| {
        let entries = [trade_entry(1, "buy", "ETH/USD"), trade_entry(1, second, "BTC/USD")];
        format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, entries.join(","))
    };
    assert!(rig.send(&data("hold")).is_empty());
    assert_eq!(rig.sink.rejects.len(), 1);
    assert_eq!(rig.send(&data("sell")).len(), 2);
}

#[test]
fn quotes_are_put_when_they_change() {
    let mut rig = Rig::new();
    let first = rig.send(&ticker("snapshot", "64101.30", 100));
    assert_eq!(first.len(), 1);
    let quote = first[0].as_quote();
    assert_eq!((quote.bid, quote.bid_size), ("64101.3".parse().unwrap(), "0.5".parse().unwrap()));
    assert_eq!((quote.ask, quote.ask_size), ("64101.4".parse().unwrap(), "2".parse().unwrap()));
    assert_eq!((first[0].seq, first[0].ts_event % 1_000_000_000), (0, 100_000));
    assert!(rig.send(&ticker("update", "64101.3", 200)).is_empty());
    assert_eq!(rig.send(&ticker("update", "64101.2", 300)).len(), 1);
    assert_eq!(rig.ignored("ticker without a change"), 1);
}

#[test]
fn quotes_of_two_connections_never_go_back() {
    let mut rig = Rig::new();
    let mut bids = Vec::new();
    let mut on = |rig: &mut Rig, link: u16, bid: &str, micros: u32| {
        let ticks = rig.on(link, &ticker("update", bid, micros)).1;
        bids.extend(ticks.iter().map(|tick| tick.as_quote().bid.to_string()));
    };
    on(&mut rig, 0, "1.0", 10);
    on(&mut rig, 0, "2.0", 20);
    on(&mut rig, 1, "1.0", 10);
    on(&mut rig, 1, "2.0", 20);
    on(&mut rig, 1, "3.0", 30); // the other connection is ahead
    // Two in one microsecond are in the order of their connection.
    on(&mut rig, 1, "4.0", 30);
    on(&mut rig, 0, "3.0", 30);
    on(&mut rig, 0, "4.0", 30);
    // Without the connection that led, what the other has is taken.
    rig.parser.lost(1, &[], RECV, &mut rig.sink);
    on(&mut rig, 0, "5.0", 30);
    assert_eq!(bids, ["1", "2", "3", "4", "5"]);
}

#[test]
fn answers_are_understood() {
    let mut rig = Rig::new();
    let quiet = [
        (Heard::Confirmed, confirmed(10)),
        (
            Heard::Confirmed,
            r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true,"warnings":["timestamp is deprecated"]},"success":true,"time_in":"x","time_out":"y"}"#.to_owned(),
        ),
        (
            Heard::Alive,
            r#"{"method":"unsubscribe","result":{"channel":"book","depth":10,"symbol":"BTC/USD"},"success":true,"time_in":"x","time_out":"y"}"#.to_owned(),
        ),
        (Heard::Alive, r#"{"method":"pong","req_id":101,"time_in":"x","time_out":"y"}"#.to_owned()),
        (Heard::Alive, r#"{"channel":"heartbeat"}"#.to_owned()),
        (
            Heard::Alive,
            r#"{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":13834774380200032777,"system":"maintenance","version":"2.0.0"}]}"#.to_owned(),
        ),
    ];
    let count = quiet.len() as u64;
    for (heard, text) in quiet {
        assert_eq!(rig.on(0, &text), (heard, vec![]), "{text}");
    }
    assert!(rig.sink.rejects.is_empty());
    assert_eq!(rig.parser.ignored().iter().map(|(_, n)| n).sum::<u64>(), count);
}

#[test]
fn the_list_of_instruments_is_none_of_the_parser_s_business() {
    let mut rig = Rig::new();
    let url = Some("/0/public/AssetPairs?assetVersion=1");
    let context = Context { url, ..Context::default() };
    let text = br#"{"error":[],"result":{"BTC/USD":{"altname":"BTCUSD","base":"BTC"}}}"#;
    assert_eq!(rig.parser.message(text, RECV, context, &mut rig.sink), Heard::Alive);
    assert!(rig.sink.rejects.is_empty() && rig.sink.ticks.is_empty());
    assert_eq!(rig.ignored("list of instruments"), 1);
}

#[test]
fn refusals_are_kept_with_the_venue_s_words() {
    for (text, why) in [
        (
            r#"{"error":"Currency pair not supported XBT/EUR","method":"subscribe","success":false,"symbol":"XBT/EUR","time_in":"x"}"#,
            "the venue reports: Currency pair not supported XBT/EUR",
        ),
        (
            r#"{"error":"Subscription depth not supported","method":"subscribe","success":false,"symbol":"BTC/USD"}"#,
            "the venue reports: Subscription depth not supported: BTC/USD",
        ),
        (r#"{"Error":"Exceeded msg rate"}"#, "the venue reports: Exceeded msg rate"),
        (
            r#"{"error":"Unsupported field","success":false}"#,
            "the venue reports: Unsupported field",
        ),
    ] {
        let mut rig = Rig::new();
        let heard = if text.contains("rate") { Heard::Hasty } else { Heard::Refused };
        assert_eq!(rig.on(0, text), (heard, vec![]));
        let [(kind, detail, original)] = &rig.sink.rejects[..] else { panic!("{text}") };
        assert_eq!((*kind, &**detail, &original[..]), ("venue_error", why, text.as_bytes()));
        assert!(rig.instruments.is_empty());
    }
}

#[test]
fn what_cannot_be_understood_is_rejected() {
    let level = |price: &str| {
        format!(
            r#"{{"channel":"book","type":"update","data":[{{"symbol":"BTC/USD","bids":[{{"price":{price},"qty":1}}],"asks":[],"checksum":1}}]}}"#
        )
    };
    let quote = ticker("update", "100000000000000000", 1).replace("64101.4", "1e-17");
    for (text, kind, detail) in [
        (String::new(), "bad_json", "not JSON"),
        ("7".to_owned(), "unknown_message", "unknown kind"),
        ("[]".to_owned(), "unknown_message", "unknown kind"),
        (r#"{"hello":1}"#.to_owned(), "unknown_message", "unknown kind"),
        (trade(1, "hold", "update"), "bad_value", "`side` is \"hold\", expected buy or sell"),
        (trade(1, "buy", "news"), "bad_value", "`type` is \"news\", expected snapshot or update"),
        (trade(1, "buy", "update").replace("2023-", "23-"), "bad_value", "`timestamp` is"),
        (trade(1, "buy", "update").replace("BTC/USD", "BTC-USD"), "bad_symbol", "BTC-USD"),
        (trade(1, "buy", "update").replace("BTC/USD", "B/T/C"), "bad_symbol", "B/T/C"),
        (trade(1, "buy", "update").replace(r#""trade_id":1,"#, ""), "missing_field", "`trade_id`"),
        (level("-1"), "bad_value", "`price`"),
        (level("true"), "bad_value", "`price`"),
        (level("1").replace("qty", "q"), "missing_field", "`qty`"),
        (level("1").replace(r#""checksum":1"#, r#""checksum":4294967296"#), "bad_value", "2^32"),
        (level("1").replace(r#","checksum":1"#, ""), "missing_field", "`checksum`"),
        (level("1").replace(r#""asks":[]"#, r#""asks":{}"#), "bad_value", "`asks`"),
        (level("1").replace(r#"[{"symbol"#, r#"[7,{"symbol"#), "bad_value", "`data`"),
        (level("1").replace(r#""data""#, r#""date""#), "missing_field", "`data`"),
        (quote, "bad_value", "power of ten"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.on(0, &text), (Heard::Alive, vec![]), "{text}");
        let [(found, shown, original)] = &rig.sink.rejects[..] else { panic!("{text}") };
        assert_eq!((*found, &original[..]), (kind, text.as_bytes()), "{shown}");
        assert!(shown.contains(detail), "{shown:?} for {text}");
    }
}

#[test]
fn a_replay_that_loops_starts_over() {
    let mut rig = Rig::new();
    for _ in 0..2 {
        assert_eq!(rig.send(&trade(5, "buy", "update")).len(), 1);
        assert_eq!(rig.send(&ticker("update", "1.0", 1)).len(), 1);
        let ticks = rig.send(&book("snapshot", &[("1.0", "1.0")], &[], &|_| {}));
        assert_eq!(states(&ticks), [FeedState::Live]);
        rig.parser.restart();
    }
}

/// A message of every kind that puts something, in an order in which it does.
fn stream() -> Vec<String> {
    let bids = [("64101.3", "0.00100000"), ("64100.0", "12.50000000")];
    vec![
        confirmed(10),
        trade(1, "buy", "update"),
        trade(2, "sell", "snapshot"),
        ticker("snapshot", "64101.30", 100),
        book("snapshot", &bids, &[("64101.4", "2.00000000")], &|_| {}),
        book("update", &bids, &[("64101.4", "2.00000000")], &|_| {}),
        ticker("update", "64101.2", 100),
    ]
}

/// What the first `count` of the stream put.
fn after(count: usize) -> Rig {
    let mut rig = Rig::new();
    for text in &stream()[..count] {
        rig.send(text);
    }
    assert!(rig.sink.rejects.is_empty());
    rig
}

#[test]
fn every_prefix_of_a_message_is_rejected_whole() {
    for (at, text) in stream().iter().enumerate() {
        assert!(!after(at).send(text).is_empty() || at == 0, "{text}");
        for end in 0..text.len() {
            let mut rig = after(at);
            assert_eq!(rig.on(0, &text[..end]), (Heard::Alive, vec![]));
            let [(kind, _, original)] = &rig.sink.rejects[..] else { panic!("{text}") };
            assert_eq!((*kind, &original[..]), ("bad_json", &text.as_bytes()[..end]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_message_is_put_whole_or_not_at_all(
        at in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0x20..0x7fu8), 1..4),
    ) {
        let stream = stream();
        let at = at.index(stream.len());
        let mut text = stream[at].clone();
        for (place, byte) in damage {
            let place = place.index(text.len());
            text.replace_range(place..=place, &char::from(byte).to_string());
        }
        let mut rig = after(at);
        let ticks = rig.send(&text);
        let mut open = false;
        for tick in &ticks {
            prop_assert_eq!(tick.has(flags::FIRST), !open);
            open = !tick.has(flags::LAST);
        }
        prop_assert!(!open);
        if let [(_, _, original)] = &rig.sink.rejects[..] {
            prop_assert!(ticks.is_empty());
            prop_assert_eq!(&original[..], text.as_bytes());
        }
    }
}
