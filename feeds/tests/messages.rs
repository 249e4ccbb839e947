//! Single messages of every kind: what they become, in whatever order their keys come, and that
//! a damaged one puts nothing.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, How};
use tickcast_feeds::{FeedState, Instruments, Kind, Tick, VecSink};

const RECV: u64 = 1_723_161_253_937_085_768;

/// A stream of Binance: every kind of message that puts something, and some that do not.
const BINANCE: &[&str] = &[
    r#"{"result":null,"id":1}"#,
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    r#"{"e":"trade","E":1723161255343456,"s":"BTCUSDT","t":3735683260,"p":"61837.64000000","q":"0.00100000","T":1723161255342123,"m":false,"M":true}"#,
    r#"{"e":"aggTrade","E":1633998512068,"s":"NKNUSDT","a":7,"p":"0.35130000","q":"12.50000000","f":100,"l":102,"T":1633998512067,"m":true,"M":true}"#,
    r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":157,"u":160,"b":[["61737.63000000","0.00000000"]],"a":[["61837.64000000","1.54698000"],["61839.85000000","0.00000000"]]}}"#,
    r#"{"lastUpdateId":158,"bids":[["61837.63000000","3.78826000"],["61837.62000000","0.61700000"]],"asks":[["61837.64000000","1.60520000"]],"symbol":"ignored"}"#,
    r#"{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":161,"u":161,"b":[],"a":[]}"#,
    r#"{"stream":"ethusdt@depth5@100ms","data":{"lastUpdateId":9,"bids":[["2683.80","3.0292"]],"asks":[]}}"#,
    r#"{"stream":"ethusdt@depth5@100ms","data":{"lastUpdateId":10,"bids":[],"asks":[]}}"#,
    r#"{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":1,"o":"1.5","x":false}}"#,
    r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker","s":"BTCUSDT"}]}"#,
];

/// A stream of Coinbase Exchange, the same way.
const COINBASE: &[&str] = &[
    r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BTC-USD"]}]}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","1"]],"time":"2021-04-17T16:43:37.000000Z"}"#,
    r#"{"type":"ticker","sequence":55,"product_id":"ETH-USD","price":"2000.1","best_bid":"2000.10","best_bid_size":"1.50","best_ask":"2000.2","best_ask_size":"0.25","side":"buy","time":"2021-04-17T16:43:36.989711Z","trade_id":5,"last_size":"0.1"}"#,
    r#"{"type":"ticker","sequence":56,"product_id":"ETH-USD","price":"2000.1","best_bid":"2000.1","best_ask":"2000.2","time":"2021-04-17T16:43:36.989711Z"}"#,
    r#"{"type":"snapshot","product_id":"BTC-USD","asks":[["101.00","2"],["102","0.5"]],"bids":[["100.00","1.5"]]}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100.00","0"],["buy","99.5","3.25"]],"time":"2021-04-17T16:43:37.1Z"}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","changes":[["sell","102","0.75"]],"time":"2021-04-17T16:43:37.2Z"}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","changes":[],"time":"2021-04-17T16:43:37.2Z"}"#,
    r#"{"type":"match","trade_id":10,"maker_order_id":"ac","taker_order_id":"13","side":"sell","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":"2014-11-07T08:19:27.028459Z"}"#,
    r#"{"type":"last_match","trade_id":10,"side":"sell","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":"2014-11-07T08:19:27.028459Z"}"#,
    r#"{"type":"last_match","trade_id":3,"side":"buy","size":"5","price":"2000","product_id":"ETH-USD","sequence":50,"time":"2014-11-07T08:19:27Z"}"#,
    r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#,
];

/// A stream of Binance's USD-M futures, where it differs from spot.
const BINANCE_USDM: &[&str] = &[
    r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000123,"s":"BTCUSDT","a":7,"p":"61234.50","q":"1.250","nq":"1","f":100,"l":105,"T":1700000000120,"m":true}}"#,
    r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":40,"E":1700000000130,"T":1700000000129,"s":"BTCUSDT","b":"61234.50","B":"31.210","a":"61234.60","A":"40.660"}}"#,
    r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":157,"u":160,"pu":149,"b":[["61234.40","0.000"]],"a":[["61234.70","3.5"]]}}"#,
    r#"{"lastUpdateId":149,"E":1700000000140,"T":1700000000139,"bids":[["61234.40","0.1"]],"asks":[]}"#,
    r#"{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT_260327","U":9,"u":9,"pu":3,"b":[],"a":[]}"#,
    r#"{"e":"trade","s":"BTCUSDT","t":106,"p":"1","q":"1","X":"INSURANCE_FUND","T":1,"m":true}"#,
];

const STREAMS: [(&str, &[&str]); 3] =
    [("binance", BINANCE), ("binance-usdm", BINANCE_USDM), ("coinbase", COINBASE)];

/// What a stream of messages becomes, and how many were left out on purpose.
fn parse<T: AsRef<[u8]>>(venue: &str, messages: &[T]) -> (VecSink, u64) {
    let mut parser = venue::find(venue).unwrap().parser(&Arc::new(Instruments::new()));
    let mut sink = VecSink::default();
    for message in messages {
        // The REST snapshot of the stream belongs to this symbol; the other messages name theirs.
        let context = Context { symbol: Some("btcusdt"), ..Context::default() };
        parser.message(message.as_ref(), RECV, context, &mut sink);
    }
    (sink, parser.ignored().iter().map(|(_, count)| count).sum())
}

/// A tick in one line: kind and instrument, flags, sequence, venue time, payload.
fn show(tick: &Tick) -> String {
    let bits = [
        (flags::FIRST, "first"),
        (flags::LAST, "last"),
        (flags::SNAPSHOT, "snapshot"),
        (flags::AGGREGATE, "aggregate"),
        (flags::EMPTY, "empty"),
    ];
    let named: Vec<&str> = bits.iter().filter(|bit| tick.has(bit.0)).map(|bit| bit.1).collect();
    let payload = match tick.kind {
        Kind::Trade => {
            let t = tick.as_trade();
            format!("trade {:?} {} x {} id {}", t.side, t.price, t.size, t.id)
        }
        Kind::Quote => {
            let q = tick.as_quote();
            format!("quote {} x {}, {} x {}", q.bid, q.bid_size, q.ask, q.ask_size)
        }
        Kind::Level => {
            let l = tick.as_level();
            format!("level {:?} {} x {} from {}", l.side, l.price, l.size, l.first)
        }
        Kind::Status => tick.as_status().state.as_str().to_owned(),
        Kind::Bar | Kind::Cut => "no feed makes bars".to_owned(),
    };
    let (id, seq, time) = (tick.instrument.0, tick.seq, tick.ts_event);
    format!("#{id} {payload} seq {seq} at {time} {}", named.join("+"))
}

fn shown(sink: &VecSink) -> Vec<String> {
    assert!(sink.rejects.is_empty(), "{:?}", sink.rejects);
    assert!(sink.ticks.iter().all(|tick| tick.ts_recv == RECV));
    sink.ticks.iter().map(show).collect()
}

#[test]
fn binance_messages_become_ticks() {
    let (sink, ignored) = parse("binance", BINANCE);
    assert_eq!(ignored, 3, "the answer, the kline and the array");
    assert_eq!(
        shown(&sink),
        [
            "#0 trade Sell 61837.63 x 0.02 id 3735683259 seq 3735683259 at 1723161255342000000 first+last",
            "#0 trade Buy 61837.64 x 0.001 id 3735683260 seq 3735683260 at 1723161255342123000 first+last",
            "#1 trade Sell 0.3513 x 12.5 id 7 seq 102 at 1633998512067000000 first+last+aggregate",
            "#0 quote 61837.63 x 3.78826, 61837.64 x 1.54698 seq 50093239212 at 0 first+last",
            "#0 level Buy 61837.63 x 3.78826 from 158 seq 158 at 0 first+snapshot",
            "#0 level Buy 61837.62 x 0.617 from 158 seq 158 at 0 snapshot",
            "#0 level Sell 61837.64 x 1.6052 from 158 seq 158 at 0 last+snapshot",
            "#0 level Buy 61737.63 x 0 from 157 seq 160 at 1723161255208000000 first",
            "#0 level Sell 61837.64 x 1.54698 from 157 seq 160 at 1723161255208000000 ",
            "#0 level Sell 61839.85 x 0 from 157 seq 160 at 1723161255208000000 last",
            "#0 live seq 0 at 0 first+last",
            "#0 level Buy 0 x 0 from 161 seq 161 at 1723161255308000000 first+last+empty",
            "#2 level Buy 2683.8 x 3.0292 from 9 seq 9 at 0 first+last+snapshot",
            "#2 live seq 0 at 0 first+last",
            "#2 level Buy 0 x 0 from 10 seq 10 at 0 first+last+snapshot+empty",
        ]
    );
}

#[test]
fn coinbase_messages_become_ticks() {
    let (sink, ignored) = parse("coinbase", COINBASE);
    assert_eq!(ignored, 5, "answer, early update, ticker without sizes, old match, heartbeat");
    assert_eq!(
        shown(&sink),
        [
            "#1 quote 2000.1 x 1.5, 2000.2 x 0.25 seq 55 at 1618677816989711000 first+last",
            "#0 level Buy 100 x 1.5 from 0 seq 0 at 0 first+snapshot",
            "#0 level Sell 101 x 2 from 0 seq 0 at 0 snapshot",
            "#0 level Sell 102 x 0.5 from 0 seq 0 at 0 last+snapshot",
            "#0 live seq 0 at 0 first+last",
            "#0 quote 100 x 1.5, 101 x 2 seq 0 at 0 first+last",
            "#0 level Buy 100 x 0 from 0 seq 0 at 1618677817100000000 first",
            "#0 level Buy 99.5 x 3.25 from 0 seq 0 at 1618677817100000000 last",
            "#0 quote 99.5 x 3.25, 101 x 2 seq 0 at 1618677817100000000 first+last",
            "#0 level Sell 102 x 0.75 from 0 seq 0 at 1618677817200000000 first+last",
            "#0 level Buy 0 x 0 from 0 seq 0 at 1618677817200000000 first+last+empty",
            "#0 trade Buy 400.23 x 5.23512 id 10 seq 10 at 1415348367028459000 first+last",
            "#1 trade Sell 2000 x 5 id 3 seq 3 at 1415348367000000000 first+last",
        ]
    );
}

fn trade(id: u64) -> String {
    format!(r#"{{"e":"trade","s":"BTCUSDT","t":{id},"p":"1","q":"1","T":1,"m":true}}"#)
}

fn aggregate(id: u64, last: u64) -> String {
    format!(
        r#"{{"e":"aggTrade","s":"BTCUSDT","a":{id},"p":"1","q":"1","l":{last},"T":1,"m":true}}"#
    )
}

#[test]
fn no_trade_is_put_twice() {
    // Aggregates alone, doubled; then plain trades take over, of which the first was summed.
    let messages = [
        aggregate(1, 12),
        aggregate(1, 12),
        aggregate(2, 15),
        trade(15),
        trade(16),
        aggregate(3, 18),
        trade(17),
        trade(17),
        trade(18),
    ];
    let (sink, ignored) = parse("binance", &messages);
    assert!(sink.rejects.is_empty());
    let put: Vec<_> = sink.ticks.iter().map(|t| (t.seq, t.has(flags::AGGREGATE))).collect();
    assert_eq!(put, [(12, true), (15, true), (16, false), (17, false), (18, false)]);
    assert_eq!(ignored, 4);
}

#[test]
fn no_quote_is_put_twice() {
    for (venue, message) in [("binance", BINANCE[4]), ("coinbase", COINBASE[2])] {
        let (sink, ignored) = parse(venue, &[message, message]);
        assert_eq!((sink.ticks.len(), sink.ticks[0].kind, ignored), (1, Kind::Quote, 1));
    }
}

#[test]
fn a_restart_lets_sequences_go_back() {
    let mut parser = venue::find("binance").unwrap().parser(&Arc::new(Instruments::new()));
    let mut sink = VecSink::default();
    for _ in 0..2 {
        for message in [trade(8), trade(9)] {
            parser.message(message.as_bytes(), RECV, Context::default(), &mut sink);
        }
        parser.restart();
    }
    assert_eq!(sink.ticks.iter().map(|tick| tick.seq).collect::<Vec<_>>(), [8, 9, 8, 9]);
}

#[test]
fn a_gap_in_the_depth_stream_asks_for_a_snapshot() {
    let instruments = Arc::new(Instruments::new());
    let mut parser = venue::find("binance").unwrap().parser(&instruments);
    let mut sink = VecSink::default();
    let diff = |first: u64, last: u64| {
        format!(
            r#"{{"e":"depthUpdate","s":"BTCUSDT","U":{first},"u":{last},"b":[],"a":[["5","1"]]}}"#
        )
    };
    let snapshot = |id: u64| format!(r#"{{"lastUpdateId":{id},"bids":[["4","1"]],"asks":[]}}"#);
    // Without a symbol in the context, the only one known is meant.
    let mut send = |text: String| {
        parser.message(text.as_bytes(), RECV, Context::default(), &mut sink);
        let mut wants = Vec::new();
        parser.wants(&mut wants);
        assert!(wants.iter().all(|want| want.how == How::Fetch));
        wants.len()
    };
    assert_eq!([diff(1, 2), snapshot(1)].map(&mut send), [1, 0]);
    assert_eq!([diff(4, 5), snapshot(2), snapshot(4)].map(&mut send), [1, 1, 0]);
    let states: Vec<_> = sink.ticks.iter().filter(|t| t.kind == Kind::Status).collect();
    let states: Vec<_> = states.iter().map(|tick| tick.as_status().state).collect();
    assert_eq!(states, [FeedState::Live, FeedState::Resync, FeedState::Live]);
}

#[test]
fn exchange_info_splits_names_that_no_rule_can() {
    let info = r#"{"timezone":"UTC","symbols":[{"symbol":"AUSDT","status":"TRADING","baseAsset":"AUSD","quoteAsset":"T"}]}"#;
    let trade = trade(1).replace("BTCUSDT", "AUSDT");
    for (messages, symbol) in
        [(vec![info, &trade], "binance:AUSD-T"), (vec![&*trade], "binance:A-USDT")]
    {
        let instruments = Arc::new(Instruments::new());
        let mut parser = venue::find("binance").unwrap().parser(&instruments);
        let mut sink = VecSink::default();
        for message in messages {
            parser.message(message.as_bytes(), RECV, Context::default(), &mut sink);
        }
        assert!(sink.rejects.is_empty());
        assert_eq!(instruments.since(0)[0].symbol, symbol);
        assert_eq!(instruments.len(), 1, "what is only listed there is not an instrument yet");
    }
}

#[test]
fn what_cannot_be_understood_is_rejected_by_kind_with_its_text() {
    for (venue, text, kind, detail) in [
        ("binance", "", "bad_json", "not JSON"),
        ("binance", "nonsense", "bad_json", "not JSON"),
        ("binance", "7", "unknown_message", "unknown kind"),
        ("binance", r#"{"hello":1}"#, "unknown_message", "unknown kind"),
        ("binance", r#"{"stream":"btcusdt@trade"}"#, "missing_field", "`data`"),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","p":"1","q":"1","m":true}"#,
            "missing_field",
            "`t`",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","t":-1,"p":"1","q":"1","m":true}"#,
            "bad_value",
            "`t` is -1",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","t":1,"p":"1x","q":"1","m":true}"#,
            "bad_value",
            "`p` is \"1x\"",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"-1","m":true}"#,
            "bad_value",
            "`q`",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","m":"yes"}"#,
            "bad_value",
            "`m`",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","m":true,"T":99999999999999999}"#,
            "bad_value",
            "`T`",
        ),
        (
            "binance",
            r#"{"e":"trade","s":"ABCXYZ","t":1,"p":"1","q":"1","m":true}"#,
            "bad_symbol",
            "ABCXYZ",
        ),
        (
            "binance",
            r#"{"e":"trade","s":":*USDT","t":1,"p":"1","q":"1","m":true}"#,
            "bad_symbol",
            ":*USDT",
        ),
        ("binance", r#"{"e":7}"#, "bad_value", "`e` is 7"),
        (
            "binance",
            r#"{"e":"depthUpdate","s":"BTCUSDT","U":9,"u":8,"b":[],"a":[]}"#,
            "bad_sequence",
            "first 9, last 8",
        ),
        (
            "binance",
            r#"{"e":"depthUpdate","s":"BTCUSDT","U":8,"u":8,"b":[["1"]],"a":[]}"#,
            "missing_field",
            "`b`",
        ),
        (
            "binance",
            r#"{"e":"depthUpdate","s":"BTCUSDT","U":8,"u":8,"b":[],"a":{}}"#,
            "bad_value",
            "`a`",
        ),
        (
            "binance",
            r#"{"u":1,"s":"BTCUSDT","b":"100000000000000000","B":"1","a":"0.000000000000000001","A":"1"}"#,
            "bad_value",
            "power of ten",
        ),
        (
            "binance",
            r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#,
            "venue_error",
            "Invalid request",
        ),
        ("binance", r#"{"code":-1121,"msg":"Invalid symbol."}"#, "venue_error", "Invalid symbol."),
        ("coinbase", r#"{"a":1}"#, "unknown_message", "unknown kind"),
        (
            "coinbase",
            r#"{"type":"error","message":"Failed to subscribe","reason":"x"}"#,
            "venue_error",
            "Failed to subscribe",
        ),
        (
            "coinbase",
            r#"{"type":"match","trade_id":1,"side":"hold","size":"1","price":"1","product_id":"A-B"}"#,
            "bad_value",
            "buy or sell",
        ),
        (
            "coinbase",
            r#"{"type":"match","trade_id":1,"side":"buy","size":"1","price":"1","product_id":"AB"}"#,
            "bad_symbol",
            "AB",
        ),
        (
            "coinbase",
            r#"{"type":"match","trade_id":1,"side":"buy","size":"1","price":"1","product_id":"A-B","time":"now"}"#,
            "bad_value",
            "`time` is \"now\"",
        ),
        (
            "coinbase",
            r#"{"type":"snapshot","product_id":"A-B","bids":[["1","1"]],"asks":[["x","1"]]}"#,
            "bad_value",
            "`asks`",
        ),
    ] {
        let (sink, ignored) = parse(venue, &[text]);
        assert!(sink.ticks.is_empty() && ignored == 0, "{text}");
        let [(found, shown, original)] = &sink.rejects[..] else { panic!("{text}") };
        assert_eq!((*found, &original[..]), (kind, text.as_bytes()), "{shown}");
        assert!(shown.contains(detail), "{shown:?} for {text}");
    }
}

#[test]
fn a_snapshot_of_nobody_is_rejected() {
    let mut parser = venue::find("binance").unwrap().parser(&Arc::new(Instruments::new()));
    let mut sink = VecSink::default();
    let snapshot = br#"{"lastUpdateId":1,"bids":[],"asks":[]}"#;
    let eth = trade(1).replace("BTC", "ETH");
    for message in [&snapshot[..], trade(1).as_bytes(), eth.as_bytes(), snapshot] {
        parser.message(message, RECV, Context::default(), &mut sink);
    }
    let kinds: Vec<_> = sink.rejects.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, ["no_symbol", "no_symbol"]);
}

#[test]
fn every_prefix_of_a_message_is_rejected_whole() {
    for (venue, stream) in STREAMS {
        for (at, message) in stream.iter().enumerate() {
            for end in 0..message.len() {
                let mut messages = stream[..at].to_vec();
                let (before, ignored) = parse(venue, &messages);
                messages.push(&message[..end]);
                let (after, still_ignored) = parse(venue, &messages);
                assert_eq!(before.ticks, after.ticks);
                assert_eq!(ignored, still_ignored);
                let (kind, _, text) = &after.rejects[0];
                assert_eq!((*kind, &text[..]), ("bad_json", &message.as_bytes()[..end]));
            }
        }
    }
}

/// Writes `value` as JSON that means the same: keys in another order and strange ones between,
/// whitespace, numbers bare instead of in quotes and the other way round, escapes.
fn rewrite(value: &Value, random: &mut impl FnMut() -> usize, out: &mut String) {
    let space = |random: &mut dyn FnMut() -> usize, out: &mut String| {
        out.push_str(["", "", " ", "\n", "\t \r\n"][random() % 5]);
    };
    space(random, out);
    match value {
        Value::Object(fields) => {
            let mut entries: Vec<(String, Value)> = fields.clone().into_iter().collect();
            if random().is_multiple_of(2) {
                entries.push(("zz".to_owned(), serde_json::json!([1, {"t": 2.5}])));
                entries.push(("é\n".to_owned(), Value::Null));
            }
            for end in (1..entries.len()).rev() {
                entries.swap(end, random() % (end + 1));
            }
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                space(random, out);
                out.push_str(&Value::from(&**key).to_string());
                space(random, out);
                out.push(':');
                rewrite(value, random, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                rewrite(item, random, out);
            }
            out.push(']');
        }
        Value::String(text) if is_number(text) && random().is_multiple_of(2) => out.push_str(text),
        Value::Number(number) if random().is_multiple_of(2) => {
            out.push_str(&format!("\"{number}\""))
        }
        Value::String(text) if random().is_multiple_of(4) => {
            let escaped: String =
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            out.push_str(&format!("\"{escaped}\""));
        }
        other => out.push_str(&other.to_string()),
    }
    space(random, out);
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok() && text.starts_with(|c: char| c.is_ascii_digit())
}

/// A small generator, seeded by proptest.
fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    }
}

/// The flags of every event are whole: first to last, without a stranger in between.
fn assert_whole_events(ticks: &[Tick]) {
    let mut open = false;
    for tick in ticks {
        assert_eq!(tick.has(flags::FIRST), !open);
        open = !tick.has(flags::LAST);
    }
    assert!(!open);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_keys_and_the_notation_do_not_matter(seed: u64) {
        let mut random = random(seed);
        for (venue, stream) in STREAMS {
            let rewritten: Vec<String> = stream.iter().map(|message| {
                let mut out = String::new();
                rewrite(&serde_json::from_str(message).unwrap(), &mut random, &mut out);
                out
            }).collect();
            let (expected, expected_ignored) = parse(venue, stream);
            let (found, ignored) = parse(venue, &rewritten);
            prop_assert_eq!(shown(&found), shown(&expected));
            // To the last digit, trailing zeros included.
            prop_assert_eq!(&found.ticks, &expected.ticks);
            prop_assert_eq!(ignored, expected_ignored);
        }
    }

    #[test]
    fn a_damaged_message_is_put_whole_or_not_at_all(
        at in 0..1_000usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (venue, stream) in STREAMS {
            let at = at % stream.len();
            let mut messages: Vec<Vec<u8>> = stream[..at].iter().map(|m| m.as_bytes().to_vec()).collect();
            let (before, ignored_before) = parse(venue, &messages);
            let mut message = stream[at].as_bytes().to_vec();
            for (place, byte) in &damage {
                let place = place.index(message.len());
                message[place] = *byte;
            }
            messages.push(message.clone());
            let (after, ignored) = parse(venue, &messages);
            assert_whole_events(&after.ticks);
            let put = after.ticks.len() > before.ticks.len();
            let rejected = after.rejects.len() - before.rejects.len();
            let waiting = ignored == ignored_before && !put && rejected == 0;
            prop_assert!(rejected == 0 || (!put && ignored == ignored_before));
            // Only a diff may vanish without a trace: it waits for its snapshot.
            prop_assert!(!waiting || stream[at].contains("depthUpdate"));
            if rejected == 1 {
                prop_assert_eq!(&after.rejects.last().unwrap().2, &message);
            }
        }
    }

    #[test]
    fn noise_never_panics_and_is_rejected_as_it_came(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (venue, _) in STREAMS {
            let (sink, ignored) = parse(venue, &[&noise]);
            prop_assert!(sink.ticks.is_empty());
            prop_assert_eq!(sink.rejects.len() as u64 + ignored, 1);
        }
    }
}
