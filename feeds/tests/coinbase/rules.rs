//! What is asked of the venue, and how its list of products is read.

use std::time::Duration;

use tickcast_feeds::spec::{FeedSpec, Kinds};
use tickcast_feeds::venue::rules::{Ask, Rate, Rules};
use tickcast_feeds::venue::{self, Options};

const NONE: Kinds = Kinds { trade: false, quote: false, book: false };
const TRADE: Kinds = Kinds { trade: true, ..NONE };
const QUOTE: Kinds = Kinds { quote: true, ..NONE };
const BOOK: Kinds = Kinds { book: true, ..NONE };

fn rules(channels: Kinds) -> Box<dyn Rules> {
    let options = Options { channels, depth: None };
    venue::find("coinbase").unwrap().rules(options).unwrap().unwrap()
}

fn ask(of: Kinds, ask: Ask, channels: Kinds, natives: &[&str]) -> Vec<String> {
    let natives: Vec<Box<str>> = natives.iter().map(|&native| native.into()).collect();
    rules(of).ask(ask, channels, &natives, &mut 1)
}

#[test]
fn only_what_is_wanted_is_subscribed_to() {
    for (kinds, channels) in [
        (Kinds::ALL, r#""matches","level2_batch","ticker","heartbeat""#),
        (TRADE, r#""matches","heartbeat""#),
        (BOOK, r#""level2_batch","ticker","heartbeat""#),
        // There is no channel of the best bid and ask: it is the book's.
        (QUOTE, r#""level2_batch","ticker","heartbeat""#),
    ] {
        for (which, name) in [(Ask::Subscribe, "subscribe"), (Ask::Unsubscribe, "unsubscribe")] {
            let products = r#""BTC-USD","ETH-USD""#;
            assert_eq!(
                ask(kinds, which, kinds, &["BTC-USD", "ETH-USD"]),
                [format!(
                    r#"{{"type":"{name}","product_ids":[{products}],"channels":[{channels}]}}"#
                )]
            );
        }
        let [route] = &rules(kinds).routes()[..] else { panic!() };
        assert_eq!((route.path, route.channels, route.symbols), ("/", kinds, 50));
    }
    assert!(rules(NONE).routes().is_empty());
    assert!(ask(NONE, Ask::Subscribe, NONE, &["BTC-USD"]).is_empty());
    assert!(ask(BOOK, Ask::Subscribe, BOOK, &[]).is_empty());
}

#[test]
fn a_book_alone_is_subscribed_to_anew() {
    let books = r#""product_ids":["BTC-USD"],"channels":["level2_batch"]}"#;
    assert_eq!(
        ask(Kinds::ALL, Ask::Unsubscribe, BOOK, &["BTC-USD"]),
        [format!(r#"{{"type":"unsubscribe",{books}"#)]
    );
    assert_eq!(
        ask(Kinds::ALL, Ask::Subscribe, BOOK, &["BTC-USD"]),
        [format!(r#"{{"type":"subscribe",{books}"#)]
    );
}

#[test]
fn a_request_names_no_more_than_fifty_products() {
    let names: Vec<String> = (0..101).map(|n| format!("A{n}-USD")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let texts = ask(BOOK, Ask::Subscribe, BOOK, &names);
    assert_eq!(texts.iter().map(|t| t.matches("-USD").count()).collect::<Vec<_>>(), [50, 50, 1]);
    let all: Vec<String> = texts
        .iter()
        .flat_map(|text| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            value["product_ids"].as_array().unwrap().clone()
        })
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(all, names);
}

#[test]
fn the_numbers() {
    let rules = rules(Kinds::ALL);
    assert_eq!(rules.ws(), "wss://ws-feed.exchange.coinbase.com");
    assert_eq!(rules.rest(), "https://api.exchange.coinbase.com");
    let limits = rules.limits();
    assert_eq!((limits.connects, limits.rest), (Rate::new(8, 1), Rate::new(10, 1)));
    assert!(limits.requests.count <= 10 && limits.requests.per == Duration::from_secs(1));
    // The products' heartbeats come each second.
    assert!(limits.silence >= Duration::from_secs(2));
    assert_eq!((limits.ping, limits.life, rules.ping(&mut 1)), (None, None, None));
    assert_eq!(rules.snapshot("BTC-USD"), None);
}

#[test]
fn a_depth_is_refused() {
    let spec = "coinbase:BTC-USD,depth=20".parse::<FeedSpec>();
    let why = spec.unwrap_err().to_string();
    assert!(why.contains("depth=20") && why.contains("expected no depth"), "{why}");
    assert!("coinbase:BTC-USD,channels=trade+book".parse::<FeedSpec>().is_ok());
}

/// A product in the shape of `GET /products`.
fn product(id: &str, base: &str, status: &str, flags: &str) -> String {
    format!(
        r#"{{"id":"{id}","base_currency":"{base}","quote_currency":"USD","quote_increment":"0.01","base_increment":"0.00000001","display_name":"{base}-USD","min_market_funds":"1","margin_enabled":false,"fx_stablecoin":false,"max_slippage_percentage":"0.02","status":"{status}","status_message":"","high_bid_limit_percentage":""{flags}}}"#
    )
}

#[test]
fn what_is_traded_now_is_listed() {
    let open = r#","post_only":false,"limit_only":true,"cancel_only":false,"trading_disabled":false,"auction_mode":false"#;
    let mut all = vec![
        product("BTC-USD", "BTC", "online", open),
        product("00-USD", "00", "online", ""),
        product("OLD-USD", "OLD", "delisted", open),
        product("OFF-USD", "OFF", "offline", open),
        product("BTC-PERP-INTX", "BTC", "online", open),
        product("A B-USD", "A B", "online", open),
    ];
    for flag in ["post_only", "cancel_only", "trading_disabled", "auction_mode"] {
        all.push(product("NO-USD", "NO", "online", &format!(r#","{flag}":true"#)));
    }
    let rules = rules(Kinds::ALL);
    let [first] = &rules.listing()[..] else { panic!() };
    assert_eq!((first.path.as_str(), first.weight), ("/products", 1));
    let page = rules.read_listing(format!("[{}]", all.join(",")).as_bytes()).unwrap();
    assert_eq!((page.next, page.rest), (None, None));
    let natives: Vec<_> = page.listings.iter().map(|listing| listing.native.as_str()).collect();
    assert_eq!(natives, ["BTC-USD", "00-USD"]);
    let btc = &page.listings[0];
    assert_eq!(btc.pair_name(), "BTC-USD");
    assert_eq!(btc.tick_size.unwrap().to_string(), "0.01");
    assert_eq!(btc.lot_size.unwrap().to_string(), "0.00000001");
    assert!(btc.quotes_from_book && btc.contract.is_none());
    assert_eq!(rules.read_listing(b"[]").unwrap().listings, []);
}

#[test]
fn a_list_that_cannot_be_read_says_why() {
    let rules = rules(Kinds::ALL);
    let no_step = product("A-USD", "A", "online", "").replace("quote_increment", "x");
    let odd_flag = product("A-USD", "A", "online", r#","post_only":"no""#);
    for (reply, why) in [
        ("", "not JSON"),
        ("[1]", "expected objects"),
        (r#"{"message":"Rate limit exceeded"}"#, "the venue reports: Rate limit exceeded"),
        (r#"[{"id":"A-USD"}]"#, "no field `base_currency`"),
        (&format!("[{no_step}]"), "no field `quote_increment`"),
        (&format!("[{odd_flag}]"), "`post_only` is \"no\", expected true or false"),
    ] {
        let error = rules.read_listing(reply.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("list of instruments: ") && error.contains(why), "{error}");
    }
}
