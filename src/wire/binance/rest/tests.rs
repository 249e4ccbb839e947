//! Every body against the form that Binance documents.

use super::*;
use crate::derive::Span;
use serde_json::{Value, json};
use tickcast_feeds::tick::flags;
use tickcast_feeds::{InstrumentId, Instruments, Level, Listing, Quote, Side, Stamp, Trade};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

const STAMP: Stamp =
    Stamp { event: 1_499_865_549_590_000_000, recv: 1_499_865_549_600_000_000, seq: 9 };

fn a_trade(id: u64, side: Side) -> Tick {
    let trade = Trade { price: d("4.00000100"), size: d("12.00000000"), id, side };
    Tick::trade(InstrumentId(0), STAMP, &trade)
}

fn a_quote() -> Tick {
    let (bid, ask) = (d("4.00000000"), d("4.00000200"));
    let quote = Quote { bid, bid_size: d("431"), ask, ask_size: d("9") };
    Tick::quote(InstrumentId(0), STAMP, &quote).unwrap()
}

fn a_bar() -> Bar {
    Bar {
        span: Span::Hour,
        start_s: 1_499_040_000,
        open: d("0.01634790"),
        high: d("0.8"),
        low: d("0.015758"),
        close: d("0.015771"),
        volume: Sum::new(200, 0),
        bought: Sum::new(50, 0),
        turnover: Sum::new(32, -1),
        trades: 308,
        is_final: true,
        revision: 0,
        event_ns: 1_499_043_599_000_000_000,
        recv_ns: 1_499_043_599_500_000_000,
    }
}

#[test]
fn ping_and_time() {
    assert_eq!(written(ping), "{}");
    let now = 1_499_827_319_559_123_456;
    assert_eq!(written(|out| time(out, now, Unit::Milli)), r#"{"serverTime":1499827319559}"#);
    assert_eq!(written(|out| time(out, now, Unit::Micro)), r#"{"serverTime":1499827319559123}"#);
}

#[test]
fn trades_are_as_documented() {
    let (sold, bought) = (a_trade(28_457, Side::Sell), a_trade(28_458, Side::Buy));
    assert_eq!(
        written(|out| trades(out, [&sold].into_iter(), Unit::Milli)),
        r#"[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.00001200","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]"#
    );
    assert_eq!(
        written(|out| agg_trades(out, [&sold, &bought].into_iter(), Unit::Micro)),
        concat!(
            r#"[{"a":28457,"p":"4.00000100","q":"12.00000000","f":28457,"l":28457,"T":1499865549590000,"m":true,"M":true},"#,
            r#"{"a":28458,"p":"4.00000100","q":"12.00000000","f":28458,"l":28458,"T":1499865549590000,"m":false,"M":true}]"#
        )
    );
    assert_eq!(written(|out| trades(out, std::iter::empty(), Unit::Milli)), "[]");
}

#[test]
fn a_book_is_cut_to_the_limit() {
    let mut book = Book::new();
    let tick = |event: u8, side, price: &str| {
        let level = Level { side, price: d(price), size: d("2"), first: 0 };
        Tick::level(InstrumentId(0), STAMP, flags::SNAPSHOT | event, &level)
    };
    book.apply_event(&[
        tick(flags::FIRST, Side::Buy, "1.50"),
        tick(0, Side::Buy, "1.25"),
        tick(flags::LAST, Side::Sell, "1.75"),
    ])
    .unwrap();
    assert_eq!(
        written(|out| depth(out, &book, 1)),
        r#"{"lastUpdateId":9,"bids":[["1.50000000","2.00000000"]],"asks":[["1.75000000","2.00000000"]]}"#
    );
    assert_eq!(
        written(|out| depth(out, &book, 5_000)),
        r#"{"lastUpdateId":9,"bids":[["1.50000000","2.00000000"],["1.25000000","2.00000000"]],"asks":[["1.75000000","2.00000000"]]}"#
    );
}

#[test]
fn klines_are_as_documented() {
    assert_eq!(
        written(|out| klines(out, [&a_bar()].into_iter(), Unit::Milli)),
        r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","200.00000000",1499043599999,"3.20000000",308,"50.00000000","0.80000000","0"]]"#
    );
}

#[test]
fn tickers_are_as_documented() {
    let (bar, quote, trade) =
        (Bar { span: Span::Rolling, ..a_bar() }, a_quote(), a_trade(28_460, Side::Buy));
    let day = Day { bar: &bar, quote: Some(&quote), trade: Some(&trade) };
    assert_eq!(
        written(|out| ticker(out, "BNBBTC", &day, Unit::Milli)),
        concat!(
            r#"{"symbol":"BNBBTC","priceChange":"-0.00057690","priceChangePercent":"-3.53000000","weightedAvgPrice":"0.01600000","#,
            r#""prevClosePrice":"0.01634790","lastPrice":"0.01577100","lastQty":"12.00000000","bidPrice":"4.00000000","bidQty":"431.00000000","#,
            r#""askPrice":"4.00000200","askQty":"9.00000000","openPrice":"0.01634790","highPrice":"0.80000000","lowPrice":"0.01575800","#,
            r#""volume":"200.00000000","quoteVolume":"3.20000000","openTime":1499040000000,"closeTime":1499043599500,"firstId":-1,"#,
            r#""lastId":28460,"count":308}"#
        )
    );
    assert_eq!(
        written(|out| mini_ticker(out, "BNBBTC", &day, Unit::Milli)),
        concat!(
            r#"{"symbol":"BNBBTC","openPrice":"0.01634790","highPrice":"0.80000000","lowPrice":"0.01575800","lastPrice":"0.01577100","#,
            r#""volume":"200.00000000","quoteVolume":"3.20000000","openTime":1499040000000,"closeTime":1499043599500,"firstId":-1,"#,
            r#""lastId":28460,"count":308}"#
        )
    );
    assert_eq!(
        written(|out| price(out, "LTCBTC", d("4.00000200"))),
        r#"{"symbol":"LTCBTC","price":"4.00000200"}"#
    );
    assert_eq!(
        written(|out| book_ticker(out, "LTCBTC", &quote)),
        r#"{"symbol":"LTCBTC","bidPrice":"4.00000000","bidQty":"431.00000000","askPrice":"4.00000200","askQty":"9.00000000"}"#
    );
}

#[test]
fn the_exchange_is_listed_with_the_steps_that_are_known() {
    let all = Instruments::new();
    let listing = Listing {
        tick_size: Some(d("0.01000000")),
        lot_size: Some(d("0.0000000001")),
        ..Listing::pair("BTCUSDT", "BTC", "USDT")
    };
    all.list_as("binance", &listing);
    all.list("kraken", "XBT/USD", "BTC", "USD");
    let infos = all.since(0);
    let listed = [("BTCUSDT", ("BTC", "USDT")), ("KRAKEN_BTCUSD", ("KRAKEN_BTC", "USD"))];
    let listed = infos.iter().zip(listed).map(|(info, (symbol, assets))| Listed {
        symbol,
        assets,
        info,
        is_halted: info.venue == "kraken",
    });
    let text = written(|out| {
        info_begin(out, 1_565_246_363_776_000_000, Unit::Milli);
        for (n, one) in listed.enumerate() {
            out.extend_from_slice(if n > 0 { b"," } else { b"" });
            super::listed(out, &one);
        }
        out.extend_from_slice(INFO_END);
    });
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&body["timezone"], &body["serverTime"]),
        (&json!("UTC"), &json!(1_565_246_363_776u64))
    );
    let [known, bare] = [&body["symbols"][0], &body["symbols"][1]];
    assert_eq!(
        (&known["symbol"], &known["status"], &known["baseAsset"], &known["quoteAsset"]),
        (&json!("BTCUSDT"), &json!("TRADING"), &json!("BTC"), &json!("USDT"))
    );
    assert_eq!(
        (&known["baseAssetPrecision"], &known["quoteAssetPrecision"]),
        (&json!(10), &json!(8))
    );
    assert_eq!(
        known["filters"][0],
        json!({"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":MOST,"tickSize":"0.01000000"})
    );
    assert_eq!(known["filters"][1]["stepSize"], "0.0000000001");
    assert_eq!(known["filters"][2]["filterType"], "NOTIONAL");
    assert_eq!(known["permissionSets"], json!([["SPOT"]]));
    assert_eq!((&bare["status"], &bare["baseAsset"]), (&json!("HALT"), &json!("KRAKEN_BTC")));
    assert_eq!(bare["filters"][0]["tickSize"], "0.00000001");
    assert_eq!(plain(d("1")), "1.00000000");
    assert_eq!(plain(d("100")), "100.00000000");
    // Every field that Binance documents for a symbol.
    assert_eq!(known.as_object().unwrap().len(), 26);
}
