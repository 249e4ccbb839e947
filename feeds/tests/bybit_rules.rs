//! What Bybit demands of those who connect: endpoints, limits, requests, the list of instruments.

use std::time::Duration;

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::venue::rules::{Ask, Rate, Route};
use tickcast_feeds::venue::{self, Options, Rules};

const TRADE: Kinds = Kinds { trade: true, quote: false, book: false };
const BOOK: Kinds = Kinds { trade: false, quote: false, book: true };

fn rules(venue: &str, channels: Kinds, depth: Option<u16>) -> Result<Box<dyn Rules>, String> {
    venue::find(venue).unwrap().rules(Options { channels, depth }).unwrap()
}

fn natives(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

#[test]
fn endpoints_and_limits() {
    for (venue, path) in [("bybit", "/v5/public/spot"), ("bybit-linear", "/v5/public/linear")] {
        let all = rules(venue, Kinds::ALL, None).unwrap();
        assert_eq!((all.ws(), all.rest()), ("wss://stream.bybit.com", "https://api.bybit.com"));
        let [Route { path: found, channels, symbols }] = all.routes()[..] else { panic!() };
        assert_eq!((found, channels), (path, Kinds::ALL));
        // Names of 24 letters, the longest depth: no more than 21,000 characters of arguments.
        assert_eq!(symbols, 172);
        let limits = all.limits();
        assert!(limits.connects.count * 2 < 500 && limits.connects.per == Duration::from_secs(300));
        assert_eq!(limits.rest, Rate::new(300, 5));
        assert_eq!(limits.ping, Some(Duration::from_secs(20)));
        assert!(limits.silence > 2 * Duration::from_secs(3) && limits.life.is_none());
        assert!(all.snapshot("BTCUSDT").is_none());
        let mut id = 41;
        assert_eq!(all.ping(&mut id).as_deref(), Some(r#"{"req_id":"41","op":"ping"}"#));
        assert_eq!(id, 42);
        let trades = rules(venue, TRADE, None).unwrap().routes();
        assert_eq!((trades[0].channels, trades[0].symbols), (TRADE, 525));
        let none = Kinds { trade: false, ..TRADE };
        assert!(rules(venue, none, None).unwrap().routes().is_empty());
    }
}

#[test]
fn depths_that_are_offered() {
    for venue in ["bybit", "bybit-linear"] {
        for depth in [50, 200, 1000] {
            let asked = rules(venue, BOOK, Some(depth)).unwrap().ask(
                Ask::Subscribe,
                BOOK,
                &natives(&["A"]),
                &mut 1,
            );
            assert_eq!(
                asked,
                [format!(r#"{{"req_id":"1","op":"subscribe","args":["orderbook.{depth}.A"]}}"#)]
            );
        }
        for depth in [1, 25, 500, 5000] {
            assert_eq!(
                rules(venue, BOOK, Some(depth)).err().unwrap(),
                format!(
                    "depth={depth}: expected 50, 200 or 1000 (the best bid and ask are the channel `quote`)"
                )
            );
        }
    }
}

#[test]
fn requests_have_ten_arguments_at_most() {
    let all = rules("bybit", Kinds::ALL, None).unwrap();
    let mut id = 7;
    let asked = all.ask(
        Ask::Subscribe,
        Kinds::ALL,
        &natives(&["AUSDT", "BUSDT", "CUSDT", "DUSDT"]),
        &mut id,
    );
    assert_eq!(
        asked,
        [
            r#"{"req_id":"7","op":"subscribe","args":["publicTrade.AUSDT","orderbook.1.AUSDT","orderbook.200.AUSDT","publicTrade.BUSDT","orderbook.1.BUSDT","orderbook.200.BUSDT","publicTrade.CUSDT","orderbook.1.CUSDT","orderbook.200.CUSDT","publicTrade.DUSDT"]}"#,
            r#"{"req_id":"8","op":"subscribe","args":["orderbook.1.DUSDT","orderbook.200.DUSDT"]}"#,
        ]
    );
    assert_eq!(id, 9);
    let ended = all.ask(Ask::Unsubscribe, BOOK, &natives(&["AUSDT"]), &mut id);
    assert_eq!(ended, [r#"{"req_id":"9","op":"unsubscribe","args":["orderbook.200.AUSDT"]}"#]);
    // What was refused as a whole, part by part; a part is not divided.
    let names = natives(&["AUSDT", "BUSDT", "CUSDT", "DUSDT"]);
    let mut next = 20;
    let parts = all.singly(Kinds::ALL, &names, 1, &mut next);
    assert_eq!(
        parts,
        [
            r#"{"req_id":"20","op":"subscribe","args":["orderbook.1.DUSDT"]}"#,
            r#"{"req_id":"21","op":"subscribe","args":["orderbook.200.DUSDT"]}"#,
        ]
    );
    assert_eq!(all.singly(Kinds::ALL, &names, 0, &mut next).len(), 10);
    assert_eq!(next, 32);
    assert!(all.singly(Kinds::ALL, &names, 2, &mut next).is_empty());
    assert!(all.singly(BOOK, &names[..1], 0, &mut next).is_empty() && next == 32);
    assert!(all.ask(Ask::Subscribe, Kinds::ALL, &[], &mut id).is_empty() && id == 10);

    // A full connection of long names stays below 21,000 characters of arguments.
    let linear = rules("bybit-linear", Kinds::ALL, Some(1000)).unwrap();
    let names: Vec<Box<str>> =
        (0..linear.routes()[0].symbols).map(|n| format!("{n:0>20}USDT").into()).collect();
    let asked = linear.ask(Ask::Subscribe, Kinds::ALL, &names, &mut id);
    assert_eq!(asked.len(), (names.len() * 3).div_ceil(10));
    let args = |text: &String| text.len() - r#"{"req_id":"10","op":"subscribe","args":}"#.len();
    assert!(asked.iter().map(args).sum::<usize>() <= 21_000);
}

#[test]
fn the_list_of_spot_is_one_page() {
    let spot = rules("bybit", Kinds::ALL, None).unwrap();
    let first = spot.listing();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].path.as_str(), first[0].weight),
        ("/v5/market/instruments-info?category=spot", 1)
    );
    let page = spot
        .read_listing(
            br#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[
            {"symbol":"BTCUSDT","baseCoin":"BTC","quoteCoin":"USDT","innovation":"0","status":"Trading","marginTrading":"utaOnly","lotSizeFilter":{"basePrecision":"0.000001","quotePrecision":"0.0000001","minOrderQty":"0.000011"},"priceFilter":{"tickSize":"0.10"}},
            {"symbol":"OLDUSDT","baseCoin":"OLD","quoteCoin":"USDT","status":"Closed"},
            {"symbol":"A.B","baseCoin":"A.B","quoteCoin":"USDT","status":"Trading"}]},
            "retExtInfo":{},"time":1735809771618}"#,
        )
        .unwrap();
    assert_eq!((page.next, page.rest, page.listings.len()), (None, None, 1));
    let btc = &page.listings[0];
    assert_eq!((btc.native.as_str(), btc.pair_name()), ("BTCUSDT", "BTC-USDT".to_owned()));
    assert_eq!(btc.tick_size, Some("0.1".parse().unwrap()));
    assert_eq!(btc.lot_size, Some("0.000001".parse().unwrap()));
    assert!(!btc.quotes_from_book);
}

#[test]
fn the_list_of_linear_has_pages() {
    let linear = rules("bybit-linear", Kinds::ALL, None).unwrap();
    let path = "/v5/market/instruments-info?category=linear&limit=1000";
    assert_eq!(linear.listing()[0].path, path);
    let entry = |symbol: &str, quote: &str, kind: &str, status: &str| {
        format!(
            r#"{{"symbol":"{symbol}","contractType":"{kind}","status":"{status}","baseCoin":"BTC","quoteCoin":"{quote}","deliveryTime":"0","priceFilter":{{"minPrice":"0.10","tickSize":"0.10"}},"lotSizeFilter":{{"minOrderQty":"0.001","qtyStep":"0.001"}}}}"#
        )
    };
    let reply = |entries: &[String], cursor: &str| {
        let entries = entries.join(",");
        format!(
            r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"linear","list":[{entries}],"nextPageCursor":"{cursor}"}}}}"#
        )
    };
    let text = reply(
        &[
            entry("BTCUSDT", "USDT", "LinearPerpetual", "Trading"),
            entry("BTCPERP", "USDC", "LinearPerpetual", "Trading"),
            entry("BTC-26DEC25", "USDC", "LinearFutures", "Trading"),
            entry("BTCUSDT-2JAN26", "USDT", "LinearFutures", "Trading"),
            entry("NEWUSDT", "USDT", "LinearPerpetual", "PreLaunch"),
            entry("BTCUSD", "USD", "InversePerpetual", "Trading"),
        ],
        "first%3DBTCUSDT%26last%3DBTCUSD",
    );
    let page = linear.read_listing(text.as_bytes()).unwrap();
    let names: Vec<_> =
        page.listings.iter().map(|listing| (listing.native.clone(), listing.pair_name())).collect();
    let expected = [
        ("BTCUSDT", "BTC-USDT-PERP"),
        ("BTCPERP", "BTC-USDC-PERP"),
        ("BTC-26DEC25", "BTC-USDC-251226"),
        ("BTCUSDT-2JAN26", "BTC-USDT-260102"),
    ];
    assert_eq!(names, expected.map(|(native, pair)| (native.to_owned(), pair.to_owned())));
    assert_eq!(page.listings[0].lot_size, Some("0.001".parse().unwrap()));
    let next = page.next.unwrap().path;
    assert_eq!(next, format!("{path}&cursor=first%3DBTCUSDT%26last%3DBTCUSD"));

    let last = linear.read_listing(reply(&[], "first=A&last=B").as_bytes()).unwrap();
    assert!(last.next.is_none(), "an empty page is the last");
    let one = [entry("BTCUSDT", "USDT", "LinearPerpetual", "Trading")];
    let next = linear.read_listing(reply(&one, "first=A&last=B").as_bytes()).unwrap().next;
    assert_eq!(next.unwrap().path, format!("{path}&cursor=first%3DA%26last%3DB"));
    assert!(linear.read_listing(reply(&one, "").as_bytes()).unwrap().next.is_none());
}

#[test]
fn a_list_that_cannot_be_used_says_why() {
    let linear = rules("bybit-linear", Kinds::ALL, None).unwrap();
    for (reply, why) in [
        (
            r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#,
            "list of instruments: the venue reports: retCode 10006: Too many visits!",
        ),
        (r#"{"result":{"list":[]}}"#, "list of instruments: no field `retCode`"),
        (r#"{"retCode":0,"result":{}}"#, "list of instruments: no field `list`"),
        (
            r#"{"retCode":0,"result":{"list":[{"symbol":"BTCUSDT"}]}}"#,
            "list of instruments: no field `baseCoin`",
        ),
        (
            r#"{"retCode":0,"result":{"list":[{"symbol":"AUSDT","contractType":"LinearPerpetual","status":"Trading","baseCoin":"A","quoteCoin":"USDT","priceFilter":{"tickSize":"x"}}]}}"#,
            "list of instruments: field `tickSize` is \"x\", expected a decimal of at most 18 digits, not negative",
        ),
        ("<html>", "list of instruments: not JSON: "),
    ] {
        let error = linear.read_listing(reply.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}
