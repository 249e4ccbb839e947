//! OKX: what it demands of those who connect, and its list of instruments.

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::venue;
use tickcast_feeds::venue::rules::{Ask, Get, Options, Rate, Rules};

/// A list of instruments: two that are linear, one of them with an underscore, and one inverse.
const SWAPS: &str = r#"{"code":"0","msg":"","data":[
 {"instType":"SWAP","instId":"BTC-USDT-SWAP","uly":"BTC-USDT","instFamily":"BTC-USDT","baseCcy":"","quoteCcy":"","settleCcy":"USDT","ctVal":"0.01","ctMult":"1","ctValCcy":"BTC","ctType":"linear","tickSz":"0.1","lotSz":"0.02","minSz":"0.02","state":"live"},
 {"instType":"SWAP","instId":"SOL-USD_UM-SWAP","uly":"SOL-USD","instFamily":"SOL-USD_UM","baseCcy":"","quoteCcy":"","settleCcy":"USD","ctVal":"2","ctMult":"0.5","ctValCcy":"SOL","ctType":"linear","tickSz":"0.01","lotSz":"1","minSz":"1","state":"live"},
 {"instType":"SWAP","instId":"BTC-USD-SWAP","uly":"BTC-USD","instFamily":"BTC-USD","baseCcy":"","quoteCcy":"","settleCcy":"BTC","ctVal":"100","ctMult":"1","ctValCcy":"USD","ctType":"inverse","tickSz":"0.1","lotSz":"1","minSz":"1","state":"live"},
 {"instType":"SWAP","instId":"","uly":"","ctVal":"","ctMult":"","ctValCcy":"","ctType":"","tickSz":"","lotSz":"","state":"preopen"}]}"#;

fn rules(channels: Kinds, depth: Option<u16>) -> Result<Box<dyn Rules>, String> {
    venue::find("okx").unwrap().rules(Options { channels, depth }).unwrap()
}

const BOOK: Kinds = Kinds { trade: false, quote: false, book: true };

#[test]
fn requests_name_channels_and_symbols() {
    let all = rules(Kinds::ALL, None).unwrap_or_else(|why| panic!("{why}"));
    let natives: Vec<Box<str>> = vec!["BTC-USDT".into(), "BTC-USDT-SWAP".into()];
    let mut id = 7;
    assert_eq!(
        all.ask(Ask::Subscribe, Kinds::ALL, &natives, &mut id),
        [concat!(
            r#"{"id":"7","op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"},"#,
            r#"{"channel":"bbo-tbt","instId":"BTC-USDT"},{"channel":"books","instId":"BTC-USDT"},"#,
            r#"{"channel":"trades","instId":"BTC-USDT-SWAP"},"#,
            r#"{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"#,
            r#"{"channel":"books","instId":"BTC-USDT-SWAP"}]}"#
        )]
    );
    assert_eq!(all.answers(Kinds::ALL, &natives), Some(6), "each channel of each symbol");
    assert_eq!(all.answers(BOOK, &natives), Some(2));
    let short = rules(Kinds::ALL, Some(5)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(
        short.ask(Ask::Unsubscribe, BOOK, &natives[..1], &mut id),
        [r#"{"id":"8","op":"unsubscribe","args":[{"channel":"books5","instId":"BTC-USDT"}]}"#]
    );
    let nothing = Kinds { book: false, ..BOOK };
    assert!(all.ask(Ask::Subscribe, nothing, &natives, &mut id).is_empty());
    assert!(all.ask(Ask::Subscribe, BOOK, &[], &mut id).is_empty());
    assert_eq!((id, all.ping(&mut id)), (9, Some("ping".to_owned())));
}

#[test]
fn a_request_is_no_longer_than_64_kb() {
    let natives: Vec<Box<str>> = (0..3_000).map(|n| format!("COIN{n}-USDT-SWAP").into()).collect();
    let rules = rules(Kinds::ALL, None).unwrap_or_else(|why| panic!("{why}"));
    let mut id = u64::MAX - 100;
    let requests = rules.ask(Ask::Subscribe, Kinds::ALL, &natives, &mut id);
    assert!(requests.iter().all(|request| request.len() <= 64_000));
    let most = requests[..requests.len() - 1].iter().map(String::len);
    assert!(most.min().unwrap() > 63_500, "filled as far as it goes");
    let mut names = Vec::new();
    for request in &requests {
        let request: serde_json::Value = serde_json::from_str(request).unwrap();
        let args = request["args"].as_array().unwrap();
        assert_eq!(args.len() % 3, 0, "a symbol's channels are together");
        names.extend(args.iter().map(|arg| arg["instId"].as_str().unwrap().to_owned()));
    }
    names.dedup();
    assert!(names.iter().eq(natives.iter().map(|native| &**native)));
}

#[test]
fn the_rules_are_the_documented_ones() {
    let all = rules(Kinds::ALL, Some(400)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((all.ws(), all.rest()), ("wss://ws.okx.com", "https://www.okx.com"));
    let limits = all.limits();
    assert_eq!((limits.connects, limits.requests), (Rate::new(3, 1), Rate::new(480, 3_600)));
    assert!(limits.silence.as_secs() < 30 && limits.ping.is_none());
    let routes = all.routes();
    assert_eq!(
        (routes.len(), routes[0].path, routes[0].channels),
        (1, "/ws/v5/public", Kinds::ALL)
    );
    assert!(routes[0].symbols < 30);
    let nothing = Kinds { book: false, ..BOOK };
    let none = rules(nothing, None).unwrap_or_else(|why| panic!("{why}"));
    assert!(none.routes().is_empty());
    assert!(all.snapshot("BTC-USDT").is_none());
    for depth in [0, 1, 50, 401] {
        let why = rules(Kinds::ALL, Some(depth)).err().unwrap();
        assert_eq!(why, format!("depth={depth}: expected 5 or 400 levels"));
    }
}

#[test]
fn the_list_of_instruments_is_read_in_three_pages() {
    let rules = rules(Kinds::ALL, None).unwrap_or_else(|why| panic!("{why}"));
    let path = |kind| format!("/api/v5/public/instruments?instType={kind}");
    let pages = ["SPOT", "SWAP", "FUTURES"].map(|kind| Get { path: path(kind), weight: 1 });
    assert_eq!(rules.listing(), pages);

    let spot = r#"{"code":"0","msg":"","data":[
      {"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT","ctVal":"","ctType":"","uly":"","tickSz":"0.1","lotSz":"0.00000001","state":"live"},
      {"instType":"SPOT","instId":"OLD-USDT","baseCcy":"OLD","quoteCcy":"USDT","tickSz":"0.1","lotSz":"1","state":"suspend"}]}"#;
    let futures = SWAPS
        .replace("\"SWAP\"", "\"FUTURES\"")
        .replace("BTC-USDT-SWAP", "BTC-USDT-260327")
        .replace("SOL-USD_UM-SWAP", "SOL-USD_UM_XPERP-310404");
    let mut shown = Vec::new();
    for page in [spot, SWAPS, &futures] {
        let page = rules.read_listing(page.as_bytes()).unwrap();
        assert!(page.next.is_none() && page.rest.is_none());
        shown.extend(page.listings.iter().map(|one| {
            let steps = [one.tick_size, one.lot_size].map(|step| step.unwrap().to_string());
            assert!(!one.quotes_from_book);
            format!("{} is {} by {}", one.native, one.pair_name(), steps.join(", "))
        }));
    }
    assert_eq!(
        shown,
        [
            "BTC-USDT is BTC-USDT by 0.1, 0.00000001",
            "BTC-USDT-SWAP is BTC-USDT-SWAP by 0.1, 0.0002",
            "SOL-USD_UM-SWAP is SOL-USD-UM-SWAP by 0.01, 1",
            "BTC-USDT-260327 is BTC-USDT-260327 by 0.1, 0.0002",
            "SOL-USD_UM_XPERP-310404 is SOL-USD-UM-XPERP-310404 by 0.01, 1",
        ]
    );
    for (reply, why) in [
        (
            r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#,
            "the venue reports: 50011 Too Many Requests",
        ),
        (r#"{"code":"0","msg":"","data":[{"state":"live"}]}"#, "no field `instId`"),
        (
            &SWAPS.replace("\"0.01\"", "\"0\""),
            "field `ctVal` is 0, expected the size of a contract, more than 0",
        ),
        ("[]", "a message of an unknown kind"),
    ] {
        let error = rules.read_listing(reply.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("list of instruments: {why}"));
    }
}
