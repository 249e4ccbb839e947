//! Bybit: its messages, what they become and what damaged ones do not. The chains of its books are in
//! `bybit_books.rs`, what it demands of those who connect in `bybit_rules.rs`.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, Heard, Venue};
use tickcast_feeds::{Instruments, Kind, Listing, Tick, VecSink};

const RECV: u64 = 1_790_398_530_000_000_000;

struct Feed {
    parser: Box<dyn Venue>,
    instruments: Arc<Instruments>,
    sink: VecSink,
}

impl Feed {
    fn new(venue: &str) -> Self {
        let instruments = Arc::new(Instruments::new());
        let parser = venue::find(venue).unwrap().parser(&instruments);
        Feed { parser, instruments, sink: VecSink::default() }
    }

    fn hear(&mut self, text: &str) -> Heard {
        self.parser.message(text.as_bytes(), RECV, Context::default(), &mut self.sink)
    }

    /// What a message puts, each tick in a line.
    fn put(&mut self, text: &str) -> Vec<String> {
        let (ticks, rejects) = (self.sink.ticks.len(), self.sink.rejects.len());
        assert_eq!(self.hear(text), Heard::Alive, "{text}");
        assert!(self.sink.rejects.len() == rejects, "{:?}", self.sink.rejects.last());
        self.sink.ticks[ticks..].iter().map(|tick| self.show(tick)).collect()
    }

    /// The cause and the detail under which a message is rejected; it puts nothing.
    fn rejected(&mut self, text: &str) -> (&'static str, String) {
        let (ticks, rejects) = (self.sink.ticks.len(), self.sink.rejects.len());
        self.hear(text);
        assert_eq!(self.sink.ticks.len(), ticks, "{text}");
        assert_eq!(self.sink.rejects.len(), rejects + 1, "{text}");
        let (kind, detail, kept) = self.sink.rejects.last().unwrap();
        assert_eq!(kept, text.as_bytes());
        (kind, detail.clone())
    }

    fn show(&self, tick: &Tick) -> String {
        assert_eq!(tick.ts_recv, RECV);
        let symbol = self.instruments.get(tick.instrument).unwrap().symbol.clone();
        let payload = match tick.kind {
            Kind::Trade => {
                let t = tick.as_trade();
                assert_eq!(t.id, tick.seq);
                format!("{:?} {} x {}", t.side, t.price, t.size)
            }
            Kind::Quote => {
                let q = tick.as_quote();
                format!("quote {} x {}, {} x {}", q.bid, q.bid_size, q.ask, q.ask_size)
            }
            Kind::Level => {
                let l = tick.as_level();
                assert_eq!(l.first, tick.seq);
                let kind = if tick.has(flags::SNAPSHOT) { "snapshot" } else { "delta" };
                format!("{kind} {:?} {} x {}", l.side, l.price, l.size)
            }
            Kind::Status => tick.as_status().state.as_str().to_owned(),
            Kind::Bar | Kind::Cut => unreachable!("no parser makes bars"),
        };
        format!("{symbol} {payload} seq {} at {}", tick.seq, tick.ts_event / 1_000_000)
    }
}

/// Trades of a symbol, each as `(T, seq, S, p, v, i)`.
fn trades(symbol: &str, list: &[(u64, u64, &str, &str, &str, &str)]) -> String {
    let one = |&(t, seq, side, price, size, id): &(u64, u64, &str, &str, &str, &str)| {
        format!(
            r#"{{"T":{t},"s":"{symbol}","S":"{side}","v":"{size}","p":"{price}","L":"PlusTick","i":"{id}","BT":false,"RPI":false,"seq":{seq}}}"#
        )
    };
    let data: Vec<String> = list.iter().map(one).collect();
    let data = data.join(",");
    format!(r#"{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":9,"data":[{data}]}}"#)
}

#[test]
fn spot_messages_become_ticks() {
    let mut feed = Feed::new("bybit");
    assert_eq!(
        feed.put(
            r#"{"topic":"publicTrade.SOLUSDT","ts":1790398535416,"type":"snapshot","data":[{"i":"2210000001608762408","T":1790398535414,"p":"120.69","v":"2.0193","S":"Sell","seq":162270086950,"s":"SOLUSDT","BT":false,"RPI":true},{"i":"2210000001608762409","T":1790398535414,"p":"120.68","v":"0.5","S":"Buy","seq":162270086950,"s":"SOLUSDT","BT":true,"RPI":false}]}"#
        ),
        [
            "bybit:SOL-USDT Sell 120.69 x 2.0193 seq 166164569036800 at 1790398535414",
            "bybit:SOL-USDT Buy 120.68 x 0.5 seq 166164569036801 at 1790398535414",
        ]
    );
    assert_eq!(
        feed.put(
            r#"{"topic":"orderbook.1.SOLUSDT","ts":1790398529803,"type":"snapshot","data":{"s":"SOLUSDT","b":[["120.61","2176.3"]],"a":[["120.65","62.1"]],"u":2761,"seq":28217996},"cts":1790398529801}"#
        ),
        ["bybit:SOL-USDT quote 120.61 x 2176.3, 120.65 x 62.1 seq 28217996 at 1790398529801"]
    );
    assert_eq!(
        feed.put(
            r#"{"topic":"orderbook.200.SOLUSDT","ts":1790398529803,"type":"snapshot","data":{"s":"SOLUSDT","b":[["120.61","2176.3"]],"a":[],"u":7,"seq":28217990}}"#
        ),
        [
            "bybit:SOL-USDT snapshot Buy 120.61 x 2176.3 seq 7 at 1790398529803",
            "bybit:SOL-USDT live seq 0 at 1790398529803",
        ],
        "without `cts` the time is `ts`"
    );
}

#[test]
fn linear_messages_become_ticks() {
    let mut feed = Feed::new("bybit-linear");
    assert_eq!(
        feed.put(
            r#"{"topic":"publicTrade.BTCPERP","type":"snapshot","ts":1774021164273,"data":[{"T":1774021164272,"s":"BTCPERP","S":"Sell","v":"0.001","p":"69916.80","L":"MinusTick","i":"0c931d9a-b703-5c34-9aeb-860867cf1f66","BT":false,"RPI":false,"seq":549792210006}]}"#
        ),
        ["bybit-linear:BTC-USDC-PERP Sell 69916.8 x 0.001 seq 562987223046144 at 1774021164272"]
    );
    assert_eq!(
        feed.put(
            r#"{"topic":"orderbook.50.BTC-26DEC25","type":"snapshot","ts":1672304484978,"data":{"s":"BTC-26DEC25","b":[["16493.50","0.006"],["16493.00","0.100"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":1672304484976}"#
        ),
        [
            "bybit-linear:BTC-USDC-251226 snapshot Buy 16493.5 x 0.006 seq 18521288 at 1672304484976",
            "bybit-linear:BTC-USDC-251226 snapshot Buy 16493 x 0.1 seq 18521288 at 1672304484976",
            "bybit-linear:BTC-USDC-251226 snapshot Sell 16611 x 0.029 seq 18521288 at 1672304484976",
            "bybit-linear:BTC-USDC-251226 live seq 0 at 1672304484976",
        ]
    );
    assert_eq!(
        feed.put(
            r#"{"topic":"orderbook.50.BTC-26DEC25","type":"delta","ts":1672304484998,"data":{"s":"BTC-26DEC25","b":[["16493.50","0"]],"a":[["16610.50","2.5"]],"u":18521289,"seq":7961638730},"cts":1672304484996}"#
        ),
        [
            "bybit-linear:BTC-USDC-251226 delta Buy 16493.5 x 0 seq 18521289 at 1672304484996",
            "bybit-linear:BTC-USDC-251226 delta Sell 16610.5 x 2.5 seq 18521289 at 1672304484996",
        ]
    );
    assert_eq!(
        feed.put(
            r#"{"topic":"orderbook.1.ETHUSDT","type":"snapshot","ts":1700000000000,"data":{"s":"ETHUSDT","b":[],"a":[["2000.5","3"]],"u":4,"seq":90},"cts":1700000000000}"#
        ),
        ["bybit-linear:ETH-USDT-PERP quote 0 x 0, 2000.5 x 3 seq 90 at 1700000000000"],
        "one side is empty"
    );
}

/// A younger connection is ahead; when the older one has caught up, what waited is put.
#[test]
fn trades_of_a_connection_that_is_ahead_wait_for_the_older_one() {
    let mut feed = Feed::new("bybit");
    let hear = |feed: &mut Feed, link: u16, seqs: &[u64]| {
        let before = feed.sink.ticks.len();
        for &seq in seqs {
            let text = trades("AUSDT", &[(9_000, seq, "Buy", "1", "1", &seq.to_string())]);
            let context = Context { link, ..Context::default() };
            feed.parser.message(text.as_bytes(), RECV, context, &mut feed.sink);
        }
        feed.sink.ticks[before..].iter().map(|tick| tick.seq / 1_024).collect::<Vec<_>>()
    };
    assert_eq!(hear(&mut feed, 0, &[10, 11]), [10, 11]);
    assert!(hear(&mut feed, 1, &[14, 15, 16]).is_empty());
    assert_eq!(hear(&mut feed, 0, &[12, 13, 14, 15]), [12, 13, 14, 15, 16]);
    assert_eq!(hear(&mut feed, 1, &[17]), [17]);
    assert!(hear(&mut feed, 0, &[16, 17]).is_empty());
    // The older one goes while a third waits: the second is where it was.
    assert!(hear(&mut feed, 2, &[20]).is_empty());
    feed.parser.lost(0, &[], RECV, &mut feed.sink);
    assert_eq!(hear(&mut feed, 1, &[18, 19]), [18, 19]);
    feed.parser.lost(1, &[], RECV, &mut feed.sink);
    assert_eq!(feed.sink.ticks.last().map(|tick| tick.seq / 1_024), Some(20));
    assert_eq!(feed.parser.ignored().get("duplicate trade"), 4);
}

#[test]
fn a_trade_is_put_once() {
    let mut feed = Feed::new("bybit-linear");
    let first =
        trades("BTCUSDT", &[(1_000, 10, "Buy", "5", "1", "a"), (1_000, 10, "Buy", "6", "1", "b")]);
    assert_eq!(feed.put(&first).len(), 2);
    assert_eq!(feed.put(&first).len(), 0, "the same from another connection");
    // The rest of the same `seq` in a message of its own, which repeats one.
    let rest =
        trades("BTCUSDT", &[(1_000, 10, "Buy", "6", "1", "b"), (1_000, 10, "Buy", "7", "1", "c")]);
    assert_eq!(feed.put(&rest), ["bybit-linear:BTC-USDT-PERP Buy 7 x 1 seq 10242 at 1000"]);
    assert_eq!(feed.put(&trades("BTCUSDT", &[(1_001, 11, "Sell", "8", "1", "d")])).len(), 1);
    assert_eq!(feed.put(&rest).len(), 0, "late");
    assert_eq!(feed.put(&trades("ETHUSDT", &[(1_000, 10, "Buy", "5", "1", "a")])).len(), 1);
    assert_eq!(feed.parser.ignored().get("duplicate trade"), 5);
    feed.parser.restart();
    assert_eq!(feed.put(&first).len(), 2);
}

#[test]
fn a_quote_that_repeats_is_dropped() {
    let mut feed = Feed::new("bybit");
    let quote = |u: u64, seq: u64, cts: u64| {
        format!(
            r#"{{"topic":"orderbook.1.BTCUSDT","ts":{cts},"type":"snapshot","data":{{"s":"BTCUSDT","b":[["10","1"]],"a":[["11","1"]],"u":{u},"seq":{seq}}},"cts":{cts}}}"#
        )
    };
    for (u, seq, puts) in [
        (7, 70, 1),
        (7, 70, 0),
        (7, 75, 0),
        (8, 80, 1),
        (7, 70, 0),
        (1, 90, 1),
        (8, 80, 0),
        (2, 91, 1),
    ] {
        assert_eq!(feed.put(&quote(u, seq, 1_000)).len(), puts, "u {u} seq {seq}");
    }
    assert_eq!(feed.parser.ignored().get("duplicate orderbook.1"), 4);
}

#[test]
fn answers_are_heard() {
    let mut feed = Feed::new("bybit");
    for (text, heard) in [
        (
            r#"{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"1","op":"subscribe"}"#,
            Heard::Confirmed,
        ),
        (
            r#"{"success":true,"ret_msg":"","conn_id":"3c","req_id":"","op":"subscribe"}"#,
            Heard::Confirmed,
        ),
        (
            r#"{"success":true,"ret_msg":"","conn_id":"3c","req_id":"2","op":"unsubscribe"}"#,
            Heard::Alive,
        ),
        (r#"{"success":true,"ret_msg":"pong","conn_id":"0970","op":"ping"}"#, Heard::Alive),
        (
            r#"{"success":true,"ret_msg":"pong","conn_id":"465","req_id":"","op":"ping"}"#,
            Heard::Alive,
        ),
        (r#"{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"cf"}"#, Heard::Alive),
    ] {
        assert_eq!(feed.hear(text), heard, "{text}");
    }
    assert!(feed.sink.ticks.is_empty() && feed.sink.rejects.is_empty());
    assert_eq!(feed.parser.ignored().get("pong"), 3);

    let url = Some("/v5/market/instruments-info?category=spot");
    let list = br#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[]}}"#;
    let context = Context { url, ..Context::default() };
    assert_eq!(feed.parser.message(list, RECV, context, &mut feed.sink), Heard::Alive);
    assert!(feed.sink.ticks.is_empty() && feed.sink.rejects.is_empty());
    assert_eq!(feed.parser.ignored().get("list of instruments"), 1);

    let refused = r#"{"success":false,"ret_msg":"error:handler not found,topic:orderbook.50.NOPE","conn_id":"d","req_id":"e1","op":"subscribe"}"#;
    assert_eq!(feed.hear(refused), Heard::RefusedAll(None), "an id that is not of ours");
    let refused = refused.replace("e1", "17");
    assert_eq!(feed.hear(&refused), Heard::RefusedAll(Some(17)));
    assert_eq!(feed.hear(r#"{"success":false,"op":"subscribe"}"#), Heard::RefusedAll(None));
    // The topics of a request that ends some are not asked for again.
    let refused = refused.replace(r#""subscribe""#, r#""unsubscribe""#);
    assert_eq!(feed.hear(&refused), Heard::Refused);
    let details: Vec<_> =
        feed.sink.rejects.iter().map(|(kind, detail, _)| (*kind, &**detail)).collect();
    assert_eq!(
        details,
        [
            ("venue_error", "the venue reports: error:handler not found,topic:orderbook.50.NOPE"),
            ("venue_error", "the venue reports: error:handler not found,topic:orderbook.50.NOPE"),
            ("venue_error", "the venue reports: no reason given"),
            ("venue_error", "the venue reports: error:handler not found,topic:orderbook.50.NOPE"),
        ]
    );
}

#[test]
fn other_topics_are_ignored_by_name() {
    let mut feed = Feed::new("bybit-linear");
    for topic in [
        "tickers.BTCUSDT",
        "kline.5.BTCUSDT",
        "orderbook.rpi.BTCUSDT",
        "orderbook.full.BTCUSDT",
        "order",
    ] {
        assert!(feed.put(&format!(r#"{{"topic":"{topic}","data":{{}}}}"#)).is_empty());
    }
    let ignored: Vec<_> = feed.parser.ignored().iter().collect();
    assert_eq!(
        ignored,
        [("tickers", 1), ("kline", 1), ("orderbook.rpi", 1), ("orderbook.full", 1), ("order", 1)]
    );
}

#[test]
fn damaged_messages_put_nothing() {
    let book = r#"{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["10","1"],["9","2"]],"a":[["11","1"]],"u":18,"seq":79},"cts":1672304484976}"#;
    let quote = r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["10","1"]],"a":[["11","1"]],"u":18,"seq":79},"cts":1672304484976}"#;
    let trade =
        trades("BTCUSDT", &[(1_000, 10, "Buy", "5", "1", "a"), (1_000, 10, "Buy", "6", "1", "b")]);
    for (text, damage, by, kind) in [
        (book, r#""type":"snapshot","#, "", "missing_field"),
        (book, "snapshot", "shot", "bad_value"),
        (book, r#""s":"BTCUSDT""#, r#""s":"BTC2USDT""#, "bad_value"),
        (book, r#""u":18"#, r#""u":-18"#, "bad_value"),
        (book, r#""u":18"#, r#""u":281474976710656"#, "bad_value"),
        (book, r#","seq":79"#, "", "missing_field"),
        (book, r#"["9","2"]"#, r#"["9"]"#, "missing_field"),
        (book, r#"["9","2"]"#, r#"["9","-2"]"#, "bad_value"),
        (book, r#""a":[["11","1"]]"#, r#""a":{}"#, "bad_value"),
        (book, r#""a":[["11","1"]],"#, "", "missing_field"),
        (book, "1672304484976", "18446744073709551615", "bad_value"),
        (book, "BTCUSDT", "XYZ", "bad_symbol"),
        (quote, "snapshot", "delta", "bad_value"),
        (quote, r#"["10","1"]"#, r#"["x","1"]"#, "bad_value"),
        (&trade, r#""S":"Buy","v":"1","p":"6""#, r#""S":"buy","v":"1","p":"6""#, "bad_value"),
        (&trade, r#","seq":10}]"#, "}]", "missing_field"),
        (&trade, r#""i":"b","#, "", "missing_field"),
        (&trade, r#""p":"6""#, r#""p":"""#, "bad_value"),
        (&trade, r#""data":["#, r#""data":[1,"#, "bad_value"),
        (r#"{"op":7}"#, "", "", "bad_value"),
        ("[]", "", "", "unknown_message"),
        ("", "", "", "bad_json"),
    ] {
        let mut feed = Feed::new("bybit-linear");
        let damaged = text.replace(damage, by);
        assert!(damage.is_empty() || damaged != text, "{damage}");
        assert_eq!(feed.rejected(&damaged).0, kind, "{damaged}");
        // The whole one is not taken for a repeat of it.
        assert!(!text.contains("topic") || !feed.put(text).is_empty());
    }
    let mut feed = Feed::new("bybit");
    for text in [book, quote, &trade] {
        for end in 0..text.len() {
            feed.rejected(&text[..end]);
        }
    }
    let (_, detail) = feed.rejected(&quote.replace("snapshot", "delta"));
    assert_eq!(detail, r#"field `type` is "delta", expected snapshot, as always at level 1"#);
}

#[test]
fn markets_are_recognised_where_they_show() {
    for (text, venue) in [
        (r#"{"topic":"publicTrade.A","data":[{"i":"1","L":"PlusTick"}]}"#, Some("bybit-linear")),
        (r#"{"topic":"publicTrade.A","data":[{"i":"1"}]}"#, Some("bybit")),
        (r#"{"topic":"publicTrade.A","data":[]}"#, None),
        (r#"{"topic":"orderbook.50.A","type":"delta","ts":1,"data":{}}"#, Some("bybit-linear")),
        (r#"{"topic":"orderbook.50.A","ts":1,"type":"delta","data":{}}"#, Some("bybit")),
        (r#"{"topic":"orderbook.1.A","ts":1,"type":"snapshot","data":{}}"#, None),
        (r#"{"topic":"tickers.A","ts":1,"type":"snapshot","data":{}}"#, None),
        (r#"{"success":true,"ret_msg":"","op":"subscribe"}"#, None),
    ] {
        let found = venue::recognise(text.as_bytes()).map(|entry| entry.name);
        assert_eq!(found, venue, "{text}");
    }
}

#[test]
fn a_symbol_that_is_listed_keeps_its_id() {
    let mut feed = Feed::new("bybit-linear");
    let pair = Listing::pair("BTC-26DEC25", "BTC", "USDC");
    let listing = Listing { contract: Some("251226".to_owned()), ..pair };
    let id = feed.instruments.list_as("bybit-linear", &listing);
    feed.put(&trades("BTC-26DEC25", &[(1_000, 10, "Buy", "5", "1", "a")]));
    assert_eq!((feed.sink.ticks[0].instrument, feed.instruments.len()), (id, 1));
}
