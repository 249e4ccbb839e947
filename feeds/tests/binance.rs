//! The rules of Binance spot: endpoints, requests, weights, the list of symbols.

use std::sync::Arc;
use std::time::Duration;

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::venue::rules::{Ask, Get, ListingError, Rate, Route};
use tickcast_feeds::venue::{self, Input, Options, Rules};
use tickcast_feeds::{Instruments, VecSink};

fn make(channels: Kinds, depth: Option<u16>) -> Result<Box<dyn Rules>, String> {
    venue::find("binance").unwrap().rules(Options { channels, depth }).unwrap()
}

fn rules() -> Box<dyn Rules> {
    make(Kinds::ALL, None).unwrap()
}

fn kinds(trade: bool, quote: bool, book: bool) -> Kinds {
    Kinds { trade, quote, book }
}

fn natives<const N: usize>(names: [&str; N]) -> [Box<str>; N] {
    names.map(Into::into)
}

#[test]
fn the_numbers_are_the_venues() {
    let rules = rules();
    assert_eq!(rules.ws(), "wss://stream.binance.com:9443");
    assert_eq!(rules.rest(), "https://api.binance.com");
    let limits = rules.limits();
    assert_eq!((limits.connects, limits.rest), (Rate::new(300, 300), Rate::new(6_000, 60)));
    // Below the five a second that are allowed, of which pongs take some.
    assert!(limits.requests.count < 5 && limits.requests.per == Duration::from_secs(1));
    assert_eq!((limits.ping, rules.ping(&mut 1)), (None, None));
    // The server pings every 20 s.
    assert_eq!(limits.silence, Duration::from_secs(40));
    assert_eq!(limits.life, Some(Duration::from_secs(86_400)));
}

#[test]
fn a_connection_takes_1024_streams_of_the_channels_that_are_wanted() {
    let path = "/stream?timeUnit=MICROSECOND";
    for (channels, symbols) in
        [(Kinds::ALL, 341), (kinds(true, true, false), 512), (kinds(false, false, true), 1024)]
    {
        let routes = make(channels, None).unwrap().routes();
        assert_eq!(routes, [Route { path, channels, symbols }]);
    }
    assert_eq!(make(kinds(false, false, false), None).unwrap().routes(), []);
}

#[test]
fn subscriptions_name_only_the_channels_that_are_asked_for() {
    let rules = rules();
    let symbols = natives(["BTCUSDT", "币安人生USDT"]);
    let mut id = 7;
    assert_eq!(
        rules.ask(Ask::Subscribe, Kinds::ALL, &symbols, &mut id),
        [concat!(
            r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","#,
            r#""btcusdt@depth@100ms","币安人生usdt@trade","币安人生usdt@bookTicker","#,
            r#""币安人生usdt@depth@100ms"],"id":7}"#
        )]
    );
    assert_eq!(
        rules.ask(Ask::Unsubscribe, kinds(false, false, true), &symbols[..1], &mut id),
        [r#"{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":8}"#]
    );
    assert_eq!(id, 9);
    let nothing: [String; 0] = [];
    assert_eq!(rules.ask(Ask::Subscribe, Kinds::ALL, &[], &mut id), nothing);
    assert_eq!(rules.ask(Ask::Subscribe, kinds(false, false, false), &symbols, &mut id), nothing);
    assert_eq!(id, 9, "no request, no id");
}

#[test]
fn long_requests_are_split_between_symbols() {
    // A first name of every length lets the limit fall on every place.
    for extra in 1..=40 {
        let mut symbols: Vec<Box<str>> = vec!["Y".repeat(extra).into()];
        symbols.extend((0..341).map(|n| format!("{}{n}USDT", "X".repeat(n % 9 + 1)).into()));
        check_split(&symbols, Kinds::ALL, &["trade", "bookTicker", "depth@100ms"]);
        check_split(&symbols, kinds(false, false, true), &["depth@100ms"]);
    }
}

fn check_split(symbols: &[Box<str>], channels: Kinds, each: &[&str]) {
    // The longest id there is: a request must not outgrow the limit by it.
    let first = u64::MAX - 100;
    let mut id = first;
    let texts = rules().ask(Ask::Subscribe, channels, symbols, &mut id);
    let mut streams: Vec<String> = Vec::new();
    for (text, number) in texts.iter().zip(first..) {
        assert!(text.len() <= 4_000, "{}", text.len());
        let request: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!((&request["method"], &request["id"]), (&"SUBSCRIBE".into(), &number.into()));
        let params = request["params"].as_array().unwrap();
        assert_eq!(params.len() % each.len(), 0, "a symbol's streams are in one request");
        streams.extend(params.iter().map(|name| name.as_str().unwrap().to_owned()));
    }
    assert_eq!(id, first + texts.len() as u64);
    let wanted: Vec<String> = symbols
        .iter()
        .map(|native| native.to_lowercase())
        .flat_map(|s| each.iter().map(move |stream| format!("{s}@{stream}")))
        .collect();
    assert_eq!(streams, wanted);
    // Nothing is split that fits: the next symbol would have been too much.
    for pair in texts.windows(2) {
        let start = pair[1].find('[').unwrap() + 1;
        let end = pair[1].find(']').unwrap();
        let names: Vec<&str> = pair[1][start..end].split(',').take(each.len()).collect();
        assert!(pair[0].len() + 1 + names.join(",").len() > 4_000);
    }
}

#[test]
fn a_snapshot_weighs_by_its_depth() {
    for (depth, weight) in
        [(1, 5), (100, 5), (101, 25), (500, 25), (501, 50), (1000, 50), (1001, 250), (5000, 250)]
    {
        let get = make(Kinds::ALL, Some(depth)).unwrap().snapshot("BTCUSDT");
        let path = format!("/api/v3/depth?symbol=BTCUSDT&limit={depth}");
        assert_eq!(get, Some(Get { path, weight }));
    }
    let get = rules().snapshot("币USDT").unwrap();
    assert_eq!(get.path, "/api/v3/depth?symbol=%E5%B8%81USDT&limit=1000");
    for depth in [0, 5001, u16::MAX] {
        let error = make(Kinds::ALL, Some(depth)).err().unwrap();
        assert_eq!(error, format!("depth={depth}: expected 1 to 5000 levels"));
    }
}

/// A page of `exchangeInfo` in the documented shape.
const LISTING: &str = r#"{
    "timezone": "UTC", "serverTime": 1565246363776,
    "rateLimits": [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 2, "limit": 9000}
    ],
    "exchangeFilters": [],
    "symbols": [
        {"symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "BTC",
         "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "9", "tickSize": "0.00001000"},
            {"filterType": "LOT_SIZE", "minQty": "0.1", "maxQty": "9", "stepSize": "0.00010000"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.1", "maxQty": "9", "stepSize": "0.5"}
         ]},
        {"symbol": "OLDBTC", "status": "BREAK", "baseAsset": "OLD", "quoteAsset": "BTC", "filters": []},
        {"symbol": "DYINGBTC", "status": "CANCEL_ONLY", "baseAsset": "DYING", "quoteAsset": "BTC", "filters": []},
        {"symbol": "A:BBTC", "status": "TRADING", "baseAsset": "A:B", "quoteAsset": "BTC", "filters": []},
        {"symbol": "币USDT", "status": "TRADING", "baseAsset": "币", "quoteAsset": "USDT",
         "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]}
    ]
}"#;

#[test]
fn the_list_holds_what_is_traded_with_exact_steps() {
    let rules = rules();
    let path = "/api/v3/exchangeInfo?symbolStatus=TRADING&showPermissionSets=false";
    assert_eq!(rules.listing(), [Get { path: path.to_owned(), weight: 20 }]);
    let page = rules.read_listing(LISTING.as_bytes()).unwrap();
    assert_eq!((page.next, page.rest), (None, Some(Rate::new(9_000, 120))));
    let [eth, coin] = &page.listings[..] else { panic!("{:?}", page.listings) };
    assert_eq!((&*eth.native, &*eth.pair_name()), ("ETHBTC", "ETH-BTC"));
    assert_eq!(eth.tick_size, Some("0.00001".parse().unwrap()));
    assert_eq!(eth.lot_size, Some("0.0001".parse().unwrap()));
    assert!(!eth.quotes_from_book);
    assert_eq!((&*coin.native, &*coin.pair_name()), ("币USDT", "币-USDT"));
    assert_eq!((coin.tick_size, coin.lot_size), (None, None), "a step of 0 is none");
}

#[test]
fn a_list_that_is_none_says_why() {
    for (reply, why) in [
        ("<html>", "not JSON"),
        ("[]", "unknown kind"),
        (r#"{"code":-1003,"msg":"Too much request weight used"}"#, "Too much request weight"),
        (r#"{"symbols":7}"#, "`symbols` is 7"),
        (r#"{"symbols":[{"symbol":"X"}]}"#, "`status`"),
        (
            r#"{"symbols":[{"symbol":"AB","status":"TRADING","baseAsset":"A","quoteAsset":"B","filters":[{"filterType":"LOT_SIZE","stepSize":"x"}]}]}"#,
            "`stepSize` is \"x\"",
        ),
    ] {
        let ListingError(error) = rules().read_listing(reply.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_snapshot_is_known_by_its_url_whatever_the_script() {
    let instruments = Arc::new(Instruments::new());
    let mut parser = venue::find("binance").unwrap().parser(&instruments);
    let mut sink = VecSink::default();
    let text = br#"{"lastUpdateId":1,"bids":[["4","1"]],"asks":[]}"#;
    for native in ["币USDT", "BTCUSDT"] {
        let get = rules().snapshot(native).unwrap();
        Input::Reply { url: &get.path, text }.apply(&mut *parser, 1, &mut sink);
    }
    // What is no encoding stays as it is, and is no symbol.
    for url in ["/api/v3/depth?symbol=%E5%B8", "/x?symbol=%", "/x?symbol=A%zz", "/x?symbol=%é"] {
        Input::Reply { url, text }.apply(&mut *parser, 1, &mut sink);
    }
    let symbols: Vec<_> = instruments.since(0).iter().map(|one| one.symbol.clone()).collect();
    assert_eq!(symbols, ["binance:币-USDT", "binance:BTC-USDT"]);
    assert!(sink.rejects.iter().all(|(kind, ..)| *kind == "bad_symbol"));
    assert_eq!(sink.rejects.len(), 4);
}
