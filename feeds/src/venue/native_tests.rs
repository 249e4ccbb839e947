use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sink::VecSink;
use crate::tick::{Kind, Side};

const NOW: u64 = 1_700_000_000_000_000_000;

struct Desk {
    all: Arc<Instruments>,
    allowance: Arc<Allowance>,
    sink: VecSink,
}

impl Desk {
    fn new() -> Self {
        let allowance = Arc::new(Allowance::new(100));
        Desk { all: Arc::new(Instruments::new()), allowance, sink: VecSink::default() }
    }

    fn publisher(&self) -> Native {
        let allowance = self.allowance.clone();
        Native::new(Rules { venue: None, strict: true, allowance }, self.all.clone())
    }

    fn put(&mut self, from: &mut Native, line: &str) -> Result<usize, Rejected> {
        from.line(line.as_bytes(), NOW, &mut self.sink)
    }

    fn ok(&mut self, from: &mut Native, line: &str) -> Vec<Tick> {
        let before = self.sink.ticks.len();
        self.put(from, line).unwrap_or_else(|refused| panic!("{line}: {refused}"));
        self.sink.ticks[before..].to_vec()
    }

    fn code(&mut self, from: &mut Native, line: &str) -> &'static str {
        self.put(from, line).expect_err(line).code
    }

    fn states(&self) -> Vec<&'static str> {
        let statuses = self.sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
        statuses.map(|tick| tick.as_status().state.as_str()).collect()
    }
}

const TRADE: &str =
    r#"{"channel":"trade","symbol":"my:BTC-USD","price":"1.5","qty":"2","side":"buy"}"#;

fn trade(seq: u64) -> String {
    TRADE.replace("\"price\"", &format!("\"seq\":{seq},\"price\""))
}

fn book(kind: &str, rest: &str) -> String {
    format!(r#"{{"channel":"book","type":"{kind}","symbol":"my:BTC-USD",{rest}}}"#)
}

#[test]
fn a_line_by_hand() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    let ticks = desk.ok(&mut a, TRADE);
    let trade = ticks[0].as_trade();
    assert_eq!((trade.price, trade.size), ("1.5".parse().unwrap(), "2".parse().unwrap()));
    assert_eq!((trade.side, trade.id, ticks[0].seq), (Side::Buy, 0, 0));
    assert_eq!((ticks[0].ts_event, ticks[0].ts_recv), (0, NOW));
    assert_eq!(ticks[1].as_status().state, FeedState::Live, "the first data make it live");
    assert_eq!(desk.ok(&mut a, TRADE).len(), 1);
    assert_eq!(desk.all.get(ticks[0].instrument).unwrap().symbol, "my:BTC-USD");
}

#[test]
fn bare_numbers_keep_every_digit() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    let line = r#"{"channel":"trade","symbol":"my:A-B","price":0.1234567890123456789,
        "qty":900719925474099.3,"side":"sell","id":"18446744073709551615","seq":7,"ts":{"event":1700000000123456}}"#;
    let tick = desk.ok(&mut a, line)[0];
    let trade = tick.as_trade();
    assert_eq!(trade.price.to_string(), "0.1234567890123456789");
    assert_eq!(trade.size.to_string(), "900719925474099.3");
    assert_eq!((trade.id, trade.side, tick.seq), (u64::MAX, Side::Sell, 7));
    assert_eq!(tick.ts_event, 1_700_000_000_123_456_000);
}

#[test]
fn what_a_server_sends_passes() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    for (line, ticks) in [
        (
            r#"{"channel":"trade","type":"update","symbol":"my:A-B","seq":5,"prev":4,"id":9,"side":"buy","price":"1","qty":"2","aggregate":true,"ts":{"event":1700000000000000,"recv":5}}"#,
            2,
        ),
        (
            r#"{"channel":"quote","type":"snapshot","symbol":"my:A-B","seq":3,"bid":"1","bid_qty":"1","ask":"2","ask_qty":"1","ts":{"recv":5}}"#,
            1,
        ),
        (
            r#"{"channel":"quote","type":"update","symbol":"my:A-B","seq":4,"prev":3,"bid":"1","bid_qty":"1","ask":"2","ask_qty":"1","ts":{"recv":5}}"#,
            1,
        ),
        // `watch` found back, and its server sent the quote again.
        (
            r#"{"channel":"quote","type":"snapshot","symbol":"my:A-B","seq":4,"bid":"1","bid_qty":"1","ask":"2","ask_qty":"1","ts":{"recv":5}}"#,
            0,
        ),
        (
            r#"{"channel":"book","type":"snapshot","symbol":"my:A-B","depth":25,"seq":9050,"bids":[["1","1.5"]],"asks":[],"ts":{"recv":5}}"#,
            1,
        ),
        (
            r#"{"channel":"book","type":"update","symbol":"my:A-B","depth":25,"seq":9062,"prev":9050,"bids":[["1","0"]],"asks":[["2","1"]],"ts":{"recv":5}}"#,
            2,
        ),
        (r#"{"channel":"status","type":"feed","symbol":"my:A-B","state":"halted","age_ms":12}"#, 1),
        (r#"{"channel":"status","type":"feed","symbol":"my:A-B","state":"live","age_ms":12}"#, 1),
        (
            r#"{"channel":"status","type":"lag","policy":"resync","skipped":3,"queued_bytes":0,"oldest_ms":1,"cause":"server"}"#,
            0,
        ),
        (r#"{"channel":"status","type":"drain","reconnect_ms":[500,8000]}"#, 0),
        (r#"{"channel":"heartbeat","time":1}"#, 0),
        ("", 0),
        (" \r", 0),
    ] {
        assert_eq!(desk.ok(&mut a, line).len(), ticks, "{line}");
    }
    assert_eq!(desk.states(), ["live", "halted", "live"]);
}

#[test]
fn what_is_wrong_is_named() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    for (line, code, words) in [
        ("hello", "bad_json", "not JSON"),
        ("[]", "unknown_message", "unknown kind"),
        (r#"{"price":1}"#, "missing_field", "`channel`"),
        (r#"{"channel":"trades","symbol":"my:A-B"}"#, "unknown_channel", "`trades`"),
        (r#"{"channel":"trade"}"#, "missing_field", "`symbol`"),
        (&TRADE.replace("qty", "size"), "unknown_field", "`size`, expected one of channel"),
        (&TRADE.replace("\"buy\"", "\"bid\""), "bad_value", "`side` is \"bid\""),
        (&TRADE.replace("\"2\"", "\"-2\""), "bad_value", "`qty`"),
        (&TRADE.replace("\"2\"", "1e999"), "bad_json", "InvalidNumber"),
        (&TRADE.replace("}", r#","ts":{"event":1700000000}}"#), "bad_value", "microseconds"),
        (&TRADE.replace("}", r#","ts":{"evnt":1}}"#), "unknown_field", "`ts.evnt`"),
        (&TRADE.replace("}", r#","seq":9007199254740992}"#), "bad_value", "2^53"),
        (&TRADE.replace("my:BTC-USD", "BTC-USD"), "bad_symbol", "venue:BASE-QUOTE"),
        (&TRADE.replace("my:BTC-USD", "my:BTC-USD-X"), "bad_symbol", "venue:BASE-QUOTE"),
        (&TRADE.replace("my:BTC-USD", "my:*"), "bad_symbol", "venue:BASE-QUOTE"),
        (&TRADE.replace("my:BTC-USD", &format!("my:{}-B", "A".repeat(99))), "bad_symbol", "48"),
        (&book("diff", r#""bids":[],"asks":[]"#), "bad_value", "`type`"),
        (&book("snapshot", r#""bids":[]"#), "missing_field", "`asks`"),
        (&book("snapshot", r#""bids":[["1"]],"asks":[]"#), "missing_field", "`bids`"),
        (&book("update", r#""prev":3,"bids":[],"asks":[]"#), "missing_field", "`seq`"),
        (
            &book(
                "snapshot",
                &format!(r#""asks":[],"bids":[{}[1,1]]"#, "[1,1],".repeat(MAX_LEVELS)),
            ),
            "bad_value",
            "at most 20000 levels",
        ),
        (
            r#"{"channel":"quote","symbol":"my:A-B","bid":"1e18","bid_qty":1,"ask":"1e-9","ask_qty":1}"#,
            "bad_value",
            "power of ten",
        ),
        (r#"{"channel":"status","symbol":"my:A-B","state":"dead"}"#, "bad_value", "resync"),
    ] {
        let refused = desk.put(&mut a, line).expect_err(line);
        assert_eq!(refused.code, code, "{line}: {refused}");
        assert!(refused.message.contains(words), "{line}: {refused}");
        assert!(refused.rubbish && !refused.message.contains('\n'), "{refused}");
    }
    assert!(desk.sink.ticks.is_empty() && desk.all.is_empty(), "nothing is put or listed");
    let allowance = desk.allowance.clone();
    let rules = Rules { venue: None, strict: false, allowance };
    let mut lax = Native::new(rules, desk.all.clone());
    desk.ok(&mut lax, &TRADE.replace("}", r#","later":1}"#));
}

#[test]
fn a_venue_can_be_all_that_a_feed_takes() {
    let mut desk = Desk::new();
    let rules = Rules { venue: Some("my".into()), strict: true, allowance: desk.allowance.clone() };
    let mut a = Native::new(rules, desk.all.clone());
    desk.ok(&mut a, TRADE);
    let refused = desk.put(&mut a, &TRADE.replace("my:", "binance:")).unwrap_err();
    assert_eq!((refused.code, refused.rubbish), ("venue", false));
}

#[test]
fn symbols_are_one_in_either_case() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    desk.ok(&mut a, TRADE);
    desk.ok(&mut a, &TRADE.replace("my:BTC-USD", "MY:btc-usd"));
    assert_eq!((desk.all.len(), a.symbols()), (1, 1));
}

#[test]
fn a_book_that_does_not_link_is_told_and_waits_for_a_snapshot() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    let update = |seq: u64, prev: u64| {
        book("update", &format!(r#""seq":{seq},"prev":{prev},"bids":[["1","2"]]"#))
    };
    let snapshot =
        |seq: u64| book("snapshot", &format!(r#""seq":{seq},"bids":[["1","2"]],"asks":[]"#));
    assert_eq!(desk.code(&mut a, &update(5, 4)), "no_snapshot");
    assert_eq!(desk.states(), ["resync"]);
    assert_eq!(desk.code(&mut a, &update(6, 5)), "no_snapshot");
    desk.ok(&mut a, TRADE);
    assert_eq!(desk.states(), ["resync"], "told once, and trades do not mend it");
    let ticks = desk.ok(&mut a, &snapshot(6));
    assert!(ticks[0].has(flags::SNAPSHOT | flags::FIRST | flags::LAST) && ticks[0].seq == 6);
    assert_eq!(desk.states(), ["resync", "live"]);
    desk.ok(&mut a, &update(7, 6));
    assert_eq!(desk.code(&mut a, &update(7, 6)), "repeated");
    desk.ok(&mut a, &update(9, 7));
    let depth = book("update", r#""depth":5,"seq":10,"prev":9,"bids":[]"#);
    assert_eq!(desk.code(&mut a, &depth), "bad_value");
    desk.ok(&mut a, &update(10, 9));
    assert_eq!(desk.states().len(), 2, "none of that broke the book");
    assert_eq!(desk.code(&mut a, &update(12, 11)), "gap");
    assert_eq!(desk.code(&mut a, &update(13, 12)), "no_snapshot");
    desk.ok(&mut a, &snapshot(13));
    assert_eq!(desk.states(), ["resync", "live", "resync", "live"]);
    // Without numbers there is nothing to link: the order of the lines is the book's.
    desk.ok(&mut a, &book("snapshot", r#""bids":[],"asks":[]"#));
    desk.ok(&mut a, &book("update", r#""asks":[["3","1"]]"#));
    // The server drops a book at `resync`, also at one that the publisher gives.
    desk.ok(&mut a, r#"{"channel":"status","symbol":"my:BTC-USD","state":"resync"}"#);
    assert_eq!(desk.code(&mut a, &book("update", r#""asks":[["3","1"]]"#)), "no_snapshot");
    desk.ok(&mut a, &snapshot(1));
    assert_eq!(desk.states()[4..], ["resync", "live"]);
}

#[test]
fn what_was_sent_before_is_refused_and_a_lower_snapshot_starts_over() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    assert_eq!(desk.ok(&mut a, &trade(5))[0].seq, 5);
    assert_eq!(desk.code(&mut a, &trade(5)), "repeated");
    assert_eq!(desk.code(&mut a, &trade(4)), "repeated");
    let quote = |seq: u64, kind: &str| {
        format!(
            r#"{{"channel":"quote","type":"{kind}","symbol":"my:BTC-USD","seq":{seq},"bid":1,"bid_qty":1,"ask":2,"ask_qty":1}}"#
        )
    };
    desk.ok(&mut a, &quote(8, "update"));
    assert_eq!(desk.code(&mut a, &quote(7, "update")), "repeated");
    desk.ok(&mut a, &quote(1, "snapshot"));
    // Numbers that went back are left to the ingest to count, until they are new again.
    assert_eq!(desk.ok(&mut a, &trade(1))[0].seq, 0);
    assert_eq!(desk.ok(&mut a, &trade(6))[0].seq, 6);
}

#[test]
fn a_symbol_is_stale_between_two_publishers() {
    let mut desk = Desk::new();
    let (mut a, mut b) = (desk.publisher(), desk.publisher());
    let snapshot = book("snapshot", r#""seq":90,"bids":[["1","2"]],"asks":[]"#);
    desk.ok(&mut a, &snapshot);
    desk.ok(&mut a, &trade(70));
    let refused = desk.put(&mut b, TRADE).unwrap_err();
    assert_eq!((refused.code, refused.rubbish), ("taken", false));
    a.rest(NOW, 5, &mut desk.sink);
    assert_eq!(desk.states(), ["live", "stale"]);
    // The next one's trades are not the book's news.
    assert_eq!(desk.ok(&mut b, &trade(1))[0].seq, 0);
    assert_eq!(desk.states(), ["live", "stale"]);
    assert_eq!(desk.code(&mut a, TRADE), "taken");
    a.wake(NOW, &mut desk.sink);
    desk.ok(&mut b, &snapshot);
    assert_eq!(desk.states(), ["live", "stale", "live"]);
}

#[test]
fn one_that_was_silent_goes_on_where_it_was() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    desk.ok(&mut a, &book("snapshot", r#""seq":1,"bids":[["1","2"]],"asks":[]"#));
    desk.ok(&mut a, &TRADE.replace("BTC", "ETH"));
    a.rest(NOW, 5, &mut desk.sink);
    a.rest(NOW, 5, &mut desk.sink);
    a.wake(NOW, &mut desk.sink);
    assert_eq!(desk.states(), ["live", "live", "stale", "stale", "live", "live"]);
    desk.ok(&mut a, &book("update", r#""seq":2,"prev":1,"bids":[["1","3"]]"#));
}

#[test]
fn another_feeds_symbols_are_taken() {
    let mut desk = Desk::new();
    let mut a = desk.publisher();
    desk.all.list("my", "BTC-USD", "BTC", "USD");
    assert_eq!(desk.code(&mut a, TRADE), "taken");
    desk.all.claims().reserve("sim");
    assert_eq!(desk.code(&mut a, &TRADE.replace("my:", "sim:")), "venue");
}

fn line() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("1".to_owned()),
        "[0-9]{1,4}(\\.[0-9]{1,6})?",
        "\"[0-9]{0,4}(\\.[0-9]{0,6})?\"",
        "-?[0-9]{1,30}",
        Just("null".to_owned()),
    ];
    let field = prop_oneof![
        (0..fields::NAMES.len(), number.clone())
            .prop_map(|(n, value)| format!("\"{}\":{value}", fields::NAMES[n])),
        (1..12u64, 0..12u64).prop_map(|(seq, prev)| format!("\"seq\":{seq},\"prev\":{prev}")),
        prop::collection::vec((number.clone(), number), 0..4).prop_map(|levels| {
            let levels: Vec<_> = levels.iter().map(|(p, q)| format!("[{p},{q}]")).collect();
            format!("\"bids\":[{}],\"asks\":[]", levels.join(","))
        }),
        Just("\"side\":\"buy\",\"price\":\"1\",\"qty\":\"1\"".to_owned()),
        Just("\"type\":\"snapshot\"".to_owned()),
        Just("\"type\":\"update\"".to_owned()),
        Just("\"state\":\"stale\"".to_owned()),
    ];
    let channel = prop::sample::select(vec!["trade", "quote", "book", "status"]);
    let symbol = prop::sample::select(vec!["my:A-B", "my:C-D"]);
    (channel, symbol, prop::collection::vec(field, 0..6)).prop_map(|(channel, symbol, fields)| {
        let mut line = format!(r#"{{"channel":"{channel}","symbol":"{symbol}""#);
        fields.iter().for_each(|field| line.push_str(&format!(",{field}")));
        line + "}"
    })
}

proptest! {
    /// Whatever comes, from two publishers of two symbols: whole events or nothing, a diff only
    /// into a book that clients see as complete, and no two of the same state.
    #[test]
    fn events_are_whole_and_books_are_chains(
        lines in prop::collection::vec((any::<bool>(), line()), 1..60),
    ) {
        let mut desk = Desk::new();
        let mut both = [desk.publisher(), desk.publisher()];
        for (which, line) in &lines {
            let before = desk.sink.ticks.len();
            let publisher = &mut both[usize::from(*which)];
            let put = publisher.line(line.as_bytes(), NOW, &mut desk.sink);
            let ticks = &desk.sink.ticks[before..];
            match put {
                Ok(_) => {}
                Err(_) => prop_assert!(ticks.iter().all(|tick| tick.kind == Kind::Status)),
            }
            if line.len() % 11 == 0 {
                publisher.rest(NOW, 0, &mut desk.sink);
            }
        }
        let (mut open, mut known, mut shown) = (false, BTreeMap::new(), BTreeMap::new());
        for tick in &desk.sink.ticks {
            prop_assert_eq!(tick.has(flags::FIRST), !open);
            open = !tick.has(flags::LAST);
            match tick.kind {
                Kind::Level if tick.has(flags::SNAPSHOT) => {
                    known.insert(tick.instrument, true);
                }
                Kind::Level => prop_assert!(known[&tick.instrument]),
                Kind::Status => {
                    let state = tick.as_status().state;
                    if state == FeedState::Resync {
                        known.insert(tick.instrument, false);
                    }
                    shown.insert(tick.instrument, state);
                }
                _ => {}
            }
        }
        prop_assert!(!open);
    }
}
