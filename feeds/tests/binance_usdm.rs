//! Binance's USD-M futures: what they demand, what their messages become, how their books chain.

use std::sync::Arc;
use std::time::Duration;

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::rules::{Ask, Get, ListingError, Rate, Route};
use tickcast_feeds::venue::{self, Context, Heard, How, Input, Options, Rules, Venue, Want};
use tickcast_feeds::{FeedState, Instruments, Kind, Side, VecSink};

fn make(channels: Kinds, depth: Option<u16>) -> Result<Box<dyn Rules>, String> {
    venue::find("binance-usdm").unwrap().rules(Options { channels, depth }).unwrap()
}

fn rules() -> Box<dyn Rules> {
    make(Kinds::ALL, None).unwrap()
}

fn kinds(trade: bool, quote: bool, book: bool) -> Kinds {
    Kinds { trade, quote, book }
}

#[test]
fn the_numbers_are_the_venues() {
    let rules = rules();
    assert_eq!(rules.ws(), "wss://fstream.binance.com");
    assert_eq!(rules.rest(), "https://fapi.binance.com");
    let limits = rules.limits();
    assert_eq!((limits.connects, limits.rest), (Rate::new(300, 300), Rate::new(2_400, 60)));
    assert!(limits.requests.count < 10 && limits.requests.per == Duration::from_secs(1));
    assert_eq!((limits.ping, rules.ping(&mut 1)), (None, None));
    // The server pings every 3 minutes, which is too late to hear of a death.
    assert_eq!(limits.silence, Duration::from_secs(60));
    assert_eq!(limits.life, Some(Duration::from_secs(86_400)));
}

#[test]
fn books_and_trades_have_endpoints_of_their_own() {
    let public = |quote, book, symbols| {
        let channels = kinds(false, quote, book);
        Route { path: "/public/stream", channels, symbols }
    };
    let market =
        Route { path: "/market/stream", channels: kinds(true, false, false), symbols: 1_024 };
    for (channels, routes) in [
        (Kinds::ALL, vec![public(true, true, 512), market]),
        (kinds(true, false, true), vec![public(false, true, 1_024), market]),
        (kinds(false, true, false), vec![public(true, false, 1_024)]),
        (kinds(true, false, false), vec![market]),
        (kinds(false, false, false), vec![]),
    ] {
        assert_eq!(make(channels, None).unwrap().routes(), routes);
    }
}

#[test]
fn subscriptions_name_the_streams_of_their_route() {
    let rules = rules();
    let natives: [Box<str>; 2] = ["BTCUSDT".into(), "BTCUSDT_260327".into()];
    let mut id = 1;
    let asked: Vec<String> = rules
        .routes()
        .iter()
        .flat_map(|route| rules.ask(Ask::Subscribe, route.channels, &natives, &mut id))
        .collect();
    assert_eq!(
        asked,
        [
            concat!(
                r#"{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@depth@100ms","#,
                r#""btcusdt_260327@bookTicker","btcusdt_260327@depth@100ms"],"id":1}"#
            ),
            r#"{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt_260327@aggTrade"],"id":2}"#,
        ]
    );
    assert_eq!(
        rules.ask(Ask::Unsubscribe, kinds(false, false, true), &natives[..1], &mut id),
        [r#"{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":3}"#]
    );
}

#[test]
fn many_symbols_take_several_requests() {
    let natives: Vec<Box<str>> = (0..512).map(|n| format!("COIN{n}USDT").into()).collect();
    let texts = rules().ask(Ask::Subscribe, kinds(false, true, true), &natives, &mut 1);
    assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= 4_000));
    let streams: usize = texts.iter().map(|text| text.matches('@').count()).sum();
    // Each depth stream has its speed after a second `@`.
    assert_eq!(streams, 512 * 3);
}

#[test]
fn a_snapshot_has_one_of_the_listed_depths() {
    for (depth, weight) in [(5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20)] {
        let get = make(Kinds::ALL, Some(depth)).unwrap().snapshot("BTCUSDT");
        let path = format!("/fapi/v1/depth?symbol=BTCUSDT&limit={depth}");
        assert_eq!(get, Some(Get { path, weight }));
    }
    let path = "/fapi/v1/depth?symbol=BTCUSDT_260327&limit=1000".to_owned();
    assert_eq!(rules().snapshot("BTCUSDT_260327"), Some(Get { path, weight: 20 }));
    for depth in [0, 1, 999, 1001, 5000] {
        let error = make(Kinds::ALL, Some(depth)).err().unwrap();
        let expected = "expected one of 5, 10, 20, 50, 100, 500, 1000 levels";
        assert_eq!(error, format!("depth={depth}: {expected}"));
    }
}

/// A list in the documented shape.
const LISTING: &str = r#"{
    "exchangeFilters": [], "futuresType": "U_MARGINED", "serverTime": 1565613908500,
    "rateLimits": [
        {"interval": "MINUTE", "intervalNum": 1, "limit": 2400, "rateLimitType": "REQUEST_WEIGHT"},
        {"interval": "MINUTE", "intervalNum": 1, "limit": 1200, "rateLimitType": "ORDERS"}
    ],
    "assets": [{"asset": "USDT", "marginAvailable": true, "autoAssetExchange": "0"}],
    "symbols": [
        {"symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
         "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "filters": [
            {"filterType": "PRICE_FILTER", "maxPrice": "300", "minPrice": "0.1", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "maxQty": "100", "minQty": "1", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "maxQty": "5", "minQty": "1", "stepSize": "7"}]},
        {"symbol": "BTCUSDT_260327", "pair": "BTCUSDT", "contractType": "CURRENT_QUARTER",
         "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": []},
        {"symbol": "TSLAUSDT", "pair": "TSLAUSDT", "contractType": "TRADIFI_PERPETUAL",
         "status": "TRADING", "baseAsset": "TSLA", "quoteAsset": "USDT", "filters": []},
        {"symbol": "A_B_CUSDT", "contractType": "PERPETUAL", "status": "TRADING",
         "baseAsset": "A", "quoteAsset": "USDT", "filters": []},
        {"symbol": "OLDUSDT", "contractType": "PERPETUAL", "status": "SETTLING",
         "baseAsset": "OLD", "quoteAsset": "USDT", "filters": []},
        {"symbol": "NEWUSDT", "contractType": "", "status": "PENDING_TRADING",
         "baseAsset": "NEW", "quoteAsset": "USDT", "filters": []}
    ]
}"#;

#[test]
fn the_list_tells_perpetuals_from_contracts_with_a_date() {
    let rules = rules();
    let path = "/fapi/v1/exchangeInfo".to_owned();
    assert_eq!(rules.listing(), [Get { path, weight: 1 }]);
    let page = rules.read_listing(LISTING.as_bytes()).unwrap();
    assert_eq!((page.next, page.rest), (None, Some(Rate::new(2_400, 60))));
    let names: Vec<_> =
        page.listings.iter().map(|one| (one.native.clone(), one.pair_name())).collect();
    let expected =
        [("BTCUSDT", "BTC-USDT"), ("BTCUSDT_260327", "BTC-USDT-260327"), ("TSLAUSDT", "TSLA-USDT")];
    assert_eq!(names, expected.map(|(native, pair)| (native.to_owned(), pair.to_owned())));
    let btc = &page.listings[0];
    assert_eq!(btc.tick_size, Some("0.1".parse().unwrap()));
    assert_eq!(btc.lot_size, Some("0.001".parse().unwrap()));
    let ListingError(error) =
        rules.read_listing(br#"{"code":-1003,"msg":"Way too many requests"}"#).unwrap_err();
    assert!(error.contains("Way too many requests"), "{error}");
}

/// A parser of futures with what it put.
struct Run {
    parser: Box<dyn Venue>,
    instruments: Arc<Instruments>,
    sink: VecSink,
}

impl Run {
    fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        let parser = venue::find("binance-usdm").unwrap().parser(&instruments);
        Run { parser, instruments, sink: VecSink::default() }
    }

    fn hear(&mut self, text: &str) -> Heard {
        self.on(0, text)
    }

    fn on(&mut self, link: u16, text: &str) -> Heard {
        Input::Message { link, text: text.as_bytes() }.apply(&mut *self.parser, 1, &mut self.sink)
    }

    fn snapshot(&mut self, last: u64) {
        let text = format!(
            r#"{{"lastUpdateId":{last},"E":1700000000100,"T":1700000000099,"bids":[["9","{last}"]],"asks":[["11","1"]]}}"#
        );
        let url = rules().snapshot("BTCUSDT").unwrap().path;
        let reply = Input::Reply { url: &url, text: text.as_bytes() };
        reply.apply(&mut *self.parser, 1, &mut self.sink);
    }

    fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        wants
    }

    fn states(&self) -> Vec<FeedState> {
        let states = self.sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
        states.map(|tick| tick.as_status().state).collect()
    }

    /// Sequence and `first` of every level.
    fn levels(&self) -> Vec<(u64, u64)> {
        let levels = self.sink.ticks.iter().filter(|tick| tick.kind == Kind::Level);
        levels.map(|tick| (tick.seq, tick.as_level().first)).collect()
    }

    fn ignored(&self, name: &str) -> u64 {
        self.parser.ignored().get(name)
    }
}

fn diff(before: u64, first: u64, last: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1700000000200,"T":1700000000199,"s":"BTCUSDT","ps":"BTCUSDT","U":{first},"u":{last},"pu":{before},"b":[["9","{last}"]],"a":[],"st":1}}}}"#
    )
}

#[test]
fn messages_become_ticks() {
    let mut run = Run::new();
    assert_eq!(run.hear(r#"{"result":null,"id":1}"#), Heard::Confirmed);
    let trade = r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000123,"s":"BTCUSDT","a":5933014,"p":"61234.50","q":"1.250","nq":"1.000","f":100,"l":105,"T":1700000000120,"m":true,"st":1}}"#;
    let ticker = r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":400900217,"E":1700000000130,"T":1700000000129,"s":"BTCUSDT","ps":"BTCUSDT","b":"61234.50","B":"31.210","a":"61234.60","A":"40.660","st":1}}"#;
    for message in [trade, ticker] {
        assert_eq!(run.hear(message), Heard::Alive);
        // The other line says it again.
        assert_eq!(run.on(1, message), Heard::Alive);
    }
    let [trade, quote] = run.sink.ticks[..] else { panic!("{:?}", run.sink.ticks) };
    let t = trade.as_trade();
    assert_eq!((t.id, t.side, trade.seq), (5_933_014, Side::Sell, 5_933_014));
    // With what hidden orders gave: `q`, not `nq`.
    assert_eq!((t.price, t.size), ("61234.5".parse().unwrap(), "1.25".parse().unwrap()));
    assert_eq!(trade.ts_event, 1_700_000_000_120_000_000);
    assert!(trade.has(flags::AGGREGATE));
    let q = quote.as_quote();
    assert_eq!((quote.seq, quote.ts_event), (400_900_217, 1_700_000_000_129_000_000));
    assert_eq!((q.bid, q.ask_size), ("61234.5".parse().unwrap(), "40.66".parse().unwrap()));
    assert_eq!((run.ignored("duplicate aggTrade"), run.ignored("duplicate bookTicker")), (1, 1));
    assert_eq!(run.instruments.since(0)[0].symbol, "binance-usdm:BTC-USDT");
    assert!(run.sink.rejects.is_empty());
}

#[test]
fn refusals_are_kept_with_the_venues_text() {
    let mut run = Run::new();
    for (text, heard) in [
        (r#"{"code":2,"msg":"Invalid request: unknown variant"}"#, Heard::Refused),
        (
            r#"{"error":{"code":2,"msg":"Invalid request: too many"},"id":3}"#,
            Heard::RefusedAll(Some(3)),
        ),
    ] {
        assert_eq!(run.hear(text), heard);
    }
    let kinds: Vec<_> = run.sink.rejects.iter().map(|(kind, why, _)| (*kind, &**why)).collect();
    assert_eq!(kinds[0], ("venue_error", "the venue reports: Invalid request: unknown variant"));
    assert_eq!(kinds[1], ("venue_error", "the venue reports: Invalid request: too many"));
}

#[test]
fn aggregates_may_hold_trades_in_turns() {
    let mut run = Run::new();
    for (id, first, last) in [(1, 10, 14), (2, 11, 13), (2, 11, 13), (1, 10, 14), (3, 15, 15)] {
        run.hear(&format!(
            r#"{{"e":"aggTrade","s":"BTCUSDT","a":{id},"p":"1","q":"1","f":{first},"l":{last},"T":1,"m":false}}"#
        ));
    }
    let ids: Vec<_> = run.sink.ticks.iter().map(|tick| tick.seq).collect();
    assert_eq!(ids, [1, 2, 3]);
    // Plain trades take over after the last one summed; those outside the market are left out.
    for (id, kind) in [(15, "MARKET"), (16, "INSURANCE_FUND"), (17, "NA"), (18, "MARKET")] {
        run.hear(&format!(
            r#"{{"e":"trade","s":"BTCUSDT","t":{id},"p":"1","q":"1","X":"{kind}","T":1,"m":false}}"#
        ));
    }
    assert_eq!(run.sink.ticks.last().unwrap().seq, 18);
    assert_eq!(run.sink.ticks.len(), 4);
    assert_eq!(run.ignored("trade outside the market"), 2);
}

#[test]
fn the_first_event_reaches_over_the_snapshot_and_each_later_one_names_its_predecessor() {
    let mut run = Run::new();
    // Ended before the snapshot, at it, over it: the first two are in the book already.
    for text in [diff(90, 95, 97), diff(97, 98, 100), diff(100, 104, 110)] {
        run.hear(&text);
    }
    assert_eq!(run.wants(), [Want { native: "BTCUSDT".into(), how: How::Fetch, snapshots: 0 }]);
    run.snapshot(100);
    assert_eq!(run.wants(), []);
    run.hear(&diff(110, 120, 121));
    run.hear(&diff(110, 120, 121));
    assert_eq!(run.levels(), [(100, 100), (100, 100), (110, 101), (121, 111)]);
    assert_eq!(run.states(), [FeedState::Live]);
    assert_eq!(run.ignored("duplicate depthUpdate"), 1);
}

#[test]
fn an_event_that_covers_the_snapshot_is_the_first() {
    // `U` <= `lastUpdateId` <= `u`.
    let mut run = Run::new();
    run.hear(&diff(90, 95, 110));
    run.snapshot(100);
    assert_eq!(run.levels(), [(100, 100), (100, 100), (110, 91)]);
    assert_eq!(run.states(), [FeedState::Live]);
}

#[test]
fn a_snapshot_before_the_events_is_too_old() {
    let mut run = Run::new();
    run.hear(&diff(90, 95, 97));
    run.snapshot(89);
    assert_eq!((run.levels(), run.wants().len()), (vec![], 1));
    assert_eq!(run.ignored("snapshot older than the waiting diffs"), 1);
    run.snapshot(90);
    assert_eq!((run.levels().last(), run.wants().len()), (Some(&(97, 91)), 0));
}

#[test]
fn a_gap_shows_at_once_and_ends_with_the_next_snapshot() {
    let mut run = Run::new();
    run.hear(&diff(90, 95, 97));
    run.snapshot(95);
    // By `U` alone it would follow: 98 is next to 97. By `pu` something is missing.
    run.hear(&diff(99, 98, 105));
    assert_eq!(run.states(), [FeedState::Live, FeedState::Resync]);
    let put = run.levels().len();
    run.hear(&diff(105, 106, 107));
    assert_eq!((run.levels().len(), run.wants().len()), (put, 1), "nothing of a broken book");
    run.snapshot(106);
    assert_eq!(run.states(), [FeedState::Live, FeedState::Resync, FeedState::Live]);
    assert_eq!(run.levels().last(), Some(&(107, 106)));
    assert_eq!(run.wants(), []);
}

#[test]
fn two_lines_with_other_batches_make_one_book() {
    let mut run = Run::new();
    run.on(0, &diff(100, 101, 110));
    run.snapshot(100);
    for (link, before, last) in [(1, 105, 115), (0, 110, 120), (1, 115, 120), (1, 120, 130)] {
        run.on(link, &diff(before, before + 1, last));
    }
    let seqs: Vec<u64> = run.levels().iter().map(|level| level.0).collect();
    assert_eq!(seqs, [100, 100, 110, 115, 120, 130]);
    assert_eq!(run.states(), [FeedState::Live]);
}

#[test]
fn a_lost_connection_makes_the_book_stale_until_it_goes_on() {
    let mut run = Run::new();
    let natives: [Box<str>; 1] = ["BTCUSDT".into()];
    run.hear(&diff(90, 95, 97));
    let Run { parser, sink, .. } = &mut run;
    parser.expect(&natives, true, 1, sink);
    run.snapshot(95);
    let Run { parser, sink, .. } = &mut run;
    parser.lost(0, &natives, 2, sink);
    // The route of the trades says nothing of the book.
    parser.expect(&natives, false, 3, sink);
    assert_eq!(run.states(), [FeedState::Live, FeedState::Stale]);
    run.hear(&diff(97, 99, 101));
    assert_eq!(run.states(), [FeedState::Live, FeedState::Stale, FeedState::Live]);
    let Run { parser, sink, .. } = &mut run;
    parser.lost(0, &natives, 4, sink);
    parser.expect(&natives, true, 5, sink);
    assert_eq!(run.wants().len(), 1);
    run.hear(&diff(150, 151, 152));
    run.snapshot(151);
    assert_eq!(run.states()[3..], [FeedState::Stale, FeedState::Resync, FeedState::Live]);
    let Run { parser, sink, .. } = &mut run;
    parser.distrust("BTCUSDT", 6, sink);
    assert_eq!((run.states().last(), run.wants().len()), (Some(&FeedState::Resync), 1));
}

#[test]
fn trades_alone_are_live_once_confirmed() {
    let mut run = Run::new();
    run.instruments.list("binance-usdm", "BTCUSDT", "BTC", "USDT");
    let natives: [Box<str>; 2] = ["BTCUSDT".into(), "UNKNOWN".into()];
    let Run { parser, sink, .. } = &mut run;
    parser.expect(&natives, false, 1, sink);
    assert_eq!((run.states(), run.wants()), (vec![FeedState::Live], vec![]));
}

#[test]
fn a_partial_book_is_told_from_a_diff_by_its_stream() {
    let mut run = Run::new();
    run.hear(&diff(90, 95, 97).replace("@depth@", "@depth20@"));
    assert_eq!(run.levels(), [(97, 97)]);
    assert!(run.sink.ticks[0].has(flags::SNAPSHOT));
    assert_eq!(run.states(), [FeedState::Live]);
    // A full book takes its place.
    run.hear(&diff(97, 98, 99));
    run.snapshot(98);
    run.hear(&diff(99, 100, 101).replace("@depth@", "@depth20@"));
    assert_eq!(run.ignored("partial depth beside a full book"), 1);
}

#[test]
fn a_contract_with_a_date_is_not_the_perpetual() {
    let mut run = Run::new();
    let info = r#"{"futuresType":"U_MARGINED","symbols":[
        {"symbol":"AUSDT_260327","baseAsset":"AUSD","quoteAsset":"T"},
        {"symbol":"BTCUSDT_260327","baseAsset":"BTC","quoteAsset":"USDT"}]}"#;
    run.hear(info);
    for native in ["BTCUSDT_260327", "BTCUSDT", "AUSDT_260327", "ETHUSDT_260327", "BTCUSDT_260327"]
    {
        run.hear(&diff(1, 2, 3).replace(r#""s":"BTCUSDT""#, &format!(r#""s":"{native}""#)));
    }
    let symbols: Vec<_> = run.instruments.since(0).iter().map(|one| one.symbol.clone()).collect();
    let expected = ["BTC-USDT-260327", "BTC-USDT", "AUSD-T-260327", "ETH-USDT-260327"];
    assert_eq!(symbols, expected.map(|pair| format!("binance-usdm:{pair}")));
    for native in ["_260327", "BTCUSDT_", "BTCUSDT_2_6", "NOPE_260327", "_"] {
        run.hear(&diff(1, 2, 3).replace(r#""s":"BTCUSDT""#, &format!(r#""s":"{native}""#)));
    }
    let kinds: Vec<_> = run.sink.rejects.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, ["bad_symbol"; 5]);
    assert_eq!(run.instruments.len(), 4);
}

#[test]
fn what_cannot_be_understood_puts_nothing() {
    for (text, kind) in [
        (diff(90, 95, 97).replace(r#""pu":90,"#, ""), "missing_field"),
        (diff(90, 95, 97).replace("90", "-1"), "bad_value"),
        (diff(90, 98, 97), "bad_sequence"),
        (diff(98, 95, 97), "bad_sequence"),
        (diff(90, 95, 97).replace(r#"["9","97"]"#, r#"["9","x"]"#), "bad_value"),
        (diff(90, 95, 97).replace(r#""s":"BTCUSDT","#, ""), "missing_field"),
    ] {
        let mut run = Run::new();
        run.hear(&text);
        let kinds: Vec<_> = run.sink.rejects.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!((kinds, run.sink.ticks.len(), run.wants().len()), (vec![kind], 0, 0), "{text}");
    }
}

#[test]
fn the_same_name_is_another_instrument_at_spot() {
    let instruments = Arc::new(Instruments::new());
    let mut sink = VecSink::default();
    let text = r#"{"e":"aggTrade","s":"BTCUSDT","a":7,"p":"1","q":"1","l":9,"T":1,"m":true}"#;
    for name in ["binance", "binance-usdm"] {
        let mut parser = venue::find(name).unwrap().parser(&instruments);
        parser.message(text.as_bytes(), 1, Context::default(), &mut sink);
    }
    let ids: Vec<_> = sink.ticks.iter().map(|tick| (tick.instrument.0, tick.seq)).collect();
    assert_eq!(ids, [(0, 9), (1, 7)]);
}
