//! What is asked of the venue, and its list of pairs.

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::venue;
use tickcast_feeds::venue::rules::{Ask, Options, Rules};
use tickcast_feeds::{Decimal, FeedSpec};

fn rules(channels: Kinds, depth: Option<u16>) -> Box<dyn Rules> {
    let entry = venue::find("kraken").unwrap();
    assert!(entry.is_live());
    entry.rules(Options { channels, depth }).unwrap().unwrap()
}

fn natives(count: usize) -> Vec<Box<str>> {
    (0..count).map(|n| format!("A{n}/USD").into()).collect()
}

const BOOK: Kinds = Kinds { trade: false, quote: false, book: true };

#[test]
fn requests_name_the_channel_its_symbols_and_its_options() {
    let natives: Vec<Box<str>> = vec!["BTC/USD".into(), "DOGE/EUR".into()];
    let mut id = 7;
    let asked = rules(Kinds::ALL, None).ask(Ask::Subscribe, Kinds::ALL, &natives, &mut id);
    assert_eq!(
        asked,
        [
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","DOGE/EUR"],"depth":100,"snapshot":true},"req_id":7}"#,
            r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","DOGE/EUR"],"event_trigger":"bbo","snapshot":true},"req_id":8}"#,
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD","DOGE/EUR"],"snapshot":true},"req_id":9}"#,
        ]
    );
    let asked = rules(Kinds::ALL, Some(25)).ask(Ask::Unsubscribe, BOOK, &natives[..1], &mut id);
    assert_eq!(
        asked,
        [
            r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25},"req_id":10}"#
        ]
    );
    assert_eq!(rules(Kinds::ALL, None).ping(&mut id).unwrap(), r#"{"method":"ping","req_id":11}"#);
    assert_eq!(id, 12);
}

#[test]
fn requests_are_cut_at_a_hundred_symbols() {
    let mut id = 1;
    for (count, cuts) in [
        (0, vec![]),
        (1, vec![1]),
        (100, vec![100]),
        (101, vec![100, 1]),
        (250, vec![100, 100, 50]),
    ] {
        let asked = rules(BOOK, None).ask(Ask::Subscribe, BOOK, &natives(count), &mut id);
        let symbols = |text: &String| {
            let request: serde_json::Value = serde_json::from_str(text).unwrap();
            request["params"]["symbol"].as_array().unwrap().len()
        };
        assert_eq!(asked.iter().map(symbols).collect::<Vec<_>>(), cuts);
        assert!(asked.iter().all(|text| text.len() < 4096));
    }
}

#[test]
fn only_what_is_wanted_is_routed_and_the_depth_is_one_of_the_venue_s() {
    let none = Kinds { trade: false, quote: false, book: false };
    assert!(rules(none, None).routes().is_empty());
    let routes = rules(BOOK, None).routes();
    assert_eq!((routes.len(), routes[0].path, routes[0].channels), (1, "/v2", BOOK));
    let rules = rules(BOOK, Some(1_000));
    assert_eq!((rules.ws(), rules.rest()), ("wss://ws.kraken.com", "https://api.kraken.com"));
    assert_eq!(rules.snapshot("BTC/USD"), None);
    for depth in [10, 25, 100, 500, 1_000] {
        assert!(format!("kraken:BTC-USD,depth={depth}").parse::<FeedSpec>().is_ok());
    }
    let entry = venue::find("kraken").unwrap();
    let refused = entry.rules(Options { channels: BOOK, depth: Some(20) }).unwrap().err().unwrap();
    assert_eq!(refused, "depth=20: expected 10, 25, 100, 500 or 1000");
    let spec = "kraken:BTC-USD,depth=20".parse::<FeedSpec>().unwrap_err();
    assert!(spec.to_string().contains(&refused), "{spec}");
}

const PAIRS: &str = r#"{"error":[],"result":{
    "BTC/USD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency","base":"BTC","quote":"USD","execution_venue":"international","pair_decimals":1,"lot_decimals":8,"fees":[[0,0.4]],"tick_size":"0.1","status":"online"},
    "DOGE/EUR":{"wsname":"XDG/EUR","base":"DOGE","quote":"EUR","pair_decimals":7,"lot_decimals":5},
    "RENDERUSD":{"base":"RENDER","quote":"USD","lot_decimals":5,"tick_size":"0.001","status":"limit_only"},
    "OLD/USD":{"base":"OLD","quote":"USD","status":"cancel_only"},
    "NEW/USD":{"base":"NEW","quote":"USD","status":"post_only"},
    "BTC/USDX":{"base":"BTC","quote":"USDX","execution_venue":"bitnomial-exchange","status":"online"},
    "BTCUSD.d":{"base":"BTC.D","quote":"USD","status":"online"}}}"#;

#[test]
fn the_listing_has_what_is_traded_now_under_the_names_of_v2() {
    let rules = rules(Kinds::ALL, None);
    let pages = rules.listing();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0].path, "/0/public/AssetPairs?assetVersion=1");
    let page = rules.read_listing(PAIRS.as_bytes()).unwrap();
    assert_eq!((page.next, page.rest), (None, None));
    let step = |text: &str| Some(text.parse::<Decimal>().unwrap());
    let found: Vec<_> = page.listings.iter().map(|l| (&*l.native, l.pair_name())).collect();
    assert_eq!(
        found,
        [
            ("BTC/USD", "BTC-USD".to_owned()),
            ("DOGE/EUR", "DOGE-EUR".to_owned()),
            ("RENDER/USD", "RENDER-USD".to_owned())
        ]
    );
    let steps: Vec<_> = page.listings.iter().map(|l| (l.tick_size, l.lot_size)).collect();
    assert_eq!(
        steps,
        [
            (step("0.1"), step("0.00000001")),
            (step("0.0000001"), step("0.00001")),
            (step("0.001"), step("0.00001"))
        ]
    );
    assert!(page.listings.iter().all(|listing| !listing.quotes_from_book));
}

#[test]
fn a_listing_that_is_none_is_an_error_that_says_why() {
    for (reply, why) in [
        ("", "not JSON"),
        ("[]", "expected an object"),
        (r#"{"error":["EGeneral:Temporary lockout"]}"#, "EGeneral:Temporary lockout"),
        (r#"{"error":[]}"#, "no field `result`"),
        (r#"{"error":[],"result":{"AB":{"base":"A"}}}"#, "pair \"AB\": no field `quote`"),
        (r#"{"error":[],"result":{"A/B":{"lot_decimals":200}}}"#, "pair \"A/B\": field `lot_decim"),
        (r#"{"error":[],"result":{"A/B":7}}"#, "pair \"A/B\": field `pair` is"),
    ] {
        let error = rules(BOOK, None).read_listing(reply.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("list of instruments: ") && error.contains(why), "{error}");
    }
}
