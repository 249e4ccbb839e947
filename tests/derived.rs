//! Bars and tickers end to end: what they say, when they come, and that they are exact.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use common::{Capture, Client, Server, captures};
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

const INTERVALS: [(&str, u64); 4] = [("1s", 1), ("1m", 60), ("5m", 300), ("1h", 3_600)];

fn market() -> Server {
    Server::start(&["--feed", "synthetic:symbols=5,rate=500,only=trade,zipf=0,names=numbered"])
}

#[expect(clippy::needless_pass_by_value, reason = "callers write it with json!")]
fn request(method: &str, params: Value) -> Value {
    json!({"method": method, "params": params})
}

fn bars(interval: &str, symbol: &str) -> Value {
    json!({"channel": "bar", "symbol": symbol, "interval": interval})
}

/// A capture of trades of one symbol: milliseconds since 2024-08-08 23:54:14 UTC, price, quantity.
fn trades(trades: &[(u64, &str, &str)]) -> String {
    let mut text = String::new();
    for (id, (ms, price, size)) in trades.iter().enumerate() {
        let at_ms = 1_723_161_254_000 + ms;
        let data = json!({"e": "trade", "E": at_ms, "s": "BTCUSDT", "t": id + 1, "p": price,
            "q": size, "T": at_ms, "m": id % 2 == 1, "M": true});
        let message = json!({"stream": "btcusdt@trade", "data": data});
        writeln!(text, "{}000000 {message}", at_ms + 3).expect("text");
    }
    text
}

/// Checks the links of every stream of bars and tickers.
#[derive(Default)]
struct Links(HashMap<(String, String, String), u64>);

impl Links {
    fn check(&mut self, message: &Value) {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let key = (text("channel"), text("symbol"), text("interval"));
        let seq = message["seq"].as_u64().expect("a sequence");
        let last = self.0.insert(key, seq);
        match message["type"].as_str() {
            Some("snapshot") => assert!(last.is_none_or(|last| last <= seq), "{message}"),
            _ => {
                assert_eq!(message["prev"].as_u64(), Some(last.unwrap_or(0)), "{message}");
                assert_eq!(message["seq"], last.unwrap_or(0) + 1, "{message}");
            }
        }
    }
}

/// The next bar or ticker.
fn next(client: &mut Client) -> Value {
    client.until(|message| message["channel"] == "bar" || message["channel"] == "ticker")
}

#[test]
fn bars_begin_with_a_snapshot_and_follow_each_other() {
    let server = market();
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    client.until(|message| message["channel"] == "trade");
    client.ask(&request("unsubscribe", json!({"channel": "trade", "symbol": "*"})));
    // The last request: what comes before an answer is dropped, and the snapshot comes after this one.
    let answer = client.ask(&request("subscribe", bars("1s", "sim:S0001-USD")));
    let result = &answer["result"][0];
    assert_eq!((&result["channel"], &result["interval"]), (&json!("bar"), &json!("1s")));

    let mut links = Links::default();
    let mut finals = 0;
    let (mut open, mut shown) = (0, 0);
    while finals < 3 {
        let bar = next(&mut client);
        links.check(&bar);
        let number = |name: &str| bar[name].as_u64().expect("a number");
        assert_eq!((&bar["interval"], &bar["symbol"]), (&json!("1s"), &json!("sim:S0001-USD")));
        assert_eq!(number("end") - number("start"), 1_000_000);
        assert_eq!(number("start") % 1_000_000, 0);
        assert!(
            (number("start")..number("end")).contains(&(number("trades").min(1) * number("start")))
        );
        if bar["final"] == true {
            (finals, shown) = (finals + 1, 0);
        } else {
            assert!(number("start") >= open, "{bar}");
            shown = if number("start") == open { shown + 1 } else { 1 };
            open = number("start");
            // At the most every quarter of a second, and a snapshot.
            assert!(shown <= 6, "{bar}");
        }
    }
    // Another client gets what is known, linked to what follows.
    let mut late = Client::native(&server);
    late.ask(&request("subscribe", bars("1s", "sim:S0001-USD")));
    let mut links = Links::default();
    let first = next(&mut late);
    assert_eq!(first["type"], "snapshot");
    links.check(&first);
    (0..5).for_each(|_| links.check(&next(&mut late)));
}

#[test]
fn subscriptions_have_an_interval_which_is_a_minute_where_none_is_given() {
    let server = market();
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    client.until(|message| message["channel"] == "trade");
    client.ask(&request("unsubscribe", json!({"channel": "trade", "symbol": "*"})));
    client.send(&request("subscribe", json!({"channel": "bar", "symbol": "sim:S0000-USD"})));
    for interval in ["1s", "5m"] {
        client.send(&request("subscribe", bars(interval, "sim:S0000-USD")));
    }
    client.send(&request("subscribe", bars("1h", "*")));
    client.send(&request("subscribe", json!({"channel": "ticker", "symbol": "*"})));
    let listed = client.ask(&json!({"method": "ping"}));
    assert_eq!(listed["method"], "subscribe");
    let list = |client: &mut Client| {
        client.send(&json!({"method": "list_subscriptions"}));
        let answer = client.until(|message| message["method"] == "list_subscriptions");
        let mut all: Vec<String> = answer["result"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|one| format!("{} {} {}", one["channel"], one["symbol"], one["interval"]))
            .collect();
        all.sort();
        all.join("; ").replace('"', "")
    };
    assert_eq!(
        list(&mut client),
        "bar * 1h; bar sim:S0000-USD 1m; bar sim:S0000-USD 1s; bar sim:S0000-USD 5m; ticker * null"
    );
    // All kinds come; of wildcards those of every symbol.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 + 5 + 5 {
        let message = next(&mut client);
        seen.insert(format!("{}{}{}", message["channel"], message["symbol"], message["interval"]));
    }
    let gone = client.ask(&request("unsubscribe", bars("5m", "sim:S0000-USD")));
    assert_eq!(gone["result"][0]["interval"], "5m");
    assert_eq!(
        list(&mut client),
        "bar * 1h; bar sim:S0000-USD 1m; bar sim:S0000-USD 1s; ticker * null"
    );
    // Without an interval, every one of the symbol is gone, whichever way it came.
    client.ask(&request("unsubscribe", json!({"channel": "bar", "symbol": "sim:S0000-USD"})));
    assert_eq!(list(&mut client), "bar * 1h; ticker * null");
    client.ask(&request("unsubscribe", json!({"channel": "bar", "symbol": "*"})));
    assert_eq!(list(&mut client), "ticker * null");
    let again = client.ask(&request("unsubscribe", bars("1h", "*")));
    assert_eq!(again["errors"][0]["code"], "not_subscribed", "{again}");
}

#[test]
fn the_last_bar_ends_although_nothing_follows_and_its_year_is_another() {
    let text = trades(&[
        (100, "61837.63000000", "0.02000000"),
        (900, "61837.00000000", "1"),
        (2_100, "61840.5", "0.5"),
        (2_300, "61840.4", "0.00000001"),
    ]);
    let capture = Capture::new("last-bar", &text);
    for rebase in ["false", "true"] {
        let server = Server::start(&["--feed", &capture.spec(&format!(",wait=1,rebase={rebase}"))]);
        let mut client = Client::native(&server);
        client.ask(&request("subscribe", bars("1s", "*")));
        let mut links = Links::default();
        let mut finals = Vec::new();
        while finals.len() < 2 {
            let bar = next(&mut client);
            links.check(&bar);
            if bar["final"] == true {
                finals.push(bar);
            }
            if rebase == "true" && finals.len() == 1 {
                break; // where its seconds begin is chance
            }
        }
        if rebase == "true" {
            continue;
        }
        let fields = ["open", "high", "low", "close", "volume", "buy_volume", "quote_volume"];
        let of = |bar: &Value| fields.map(|name| bar[name].as_str().expect("text").to_owned());
        assert_eq!(
            of(&finals[0]),
            ["61837.63", "61837.63", "61837", "61837", "1.02", "0.02", "63073.7526"]
        );
        assert_eq!(
            of(&finals[1]),
            ["61840.5", "61840.5", "61840.4", "61840.4", "0.50000001", "0.5", "30920.250618404"]
        );
        let start = |bar: &Value| bar["start"].as_u64().expect("a number");
        assert_eq!(start(&finals[0]), 1_723_161_254_000_000);
        assert_eq!(start(&finals[1]) - start(&finals[0]), 2_000_000, "no bar of an empty second");
        assert_eq!(finals[1]["ts"]["event"], 1_723_161_256_300_000u64);
        assert!(finals.iter().all(|bar| bar.get("revision").is_none()), "{finals:?}");
    }
}

#[test]
fn a_late_trade_brings_its_bar_again_with_a_revision() {
    // The second one of 254.95 comes after the first of 255.
    let text = trades(&[(900, "10", "1"), (1_000, "11", "1"), (950, "9", "1"), (4_000, "12", "1")]);
    let capture = Capture::new("late-trade", &text);
    let server = Server::start(&["--feed", &capture.spec(",wait=1,rebase=false")]);
    let mut client = Client::native(&server);
    client.ask(&request("subscribe", bars("1s", "*")));
    let again = client.until(|message| message["revision"] == 1);
    assert_eq!((&again["final"], &again["trades"]), (&json!(true), &json!(2)));
    assert_eq!((&again["low"], &again["close"]), (&json!("9"), &json!("9")));
    assert_eq!(again["start"], 1_723_161_254_000_000u64);
    let next = client.until(|message| message["final"] == true);
    assert_eq!((&next["start"], &next["low"]), (&json!(1_723_161_255_000_000u64), &json!("11")));
    assert_eq!(server.metric("tickcast_ingest_late_trades_total", ""), 0.0);
}

#[test]
fn a_ticker_says_what_a_day_came_to() {
    let text = trades(&[(0, "3", "2"), (500, "2.5", "1"), (900, "5", "0.1"), (1_000, "4", "10")]);
    let capture = Capture::new("ticker", &text);
    let server = Server::start(&["--feed", &capture.spec(",wait=1")]);
    let mut client = Client::native(&server);
    client.ask(&request("subscribe", json!({"channel": "ticker", "symbol": "*"})));
    let mut links = Links::default();
    let day = loop {
        let day = next(&mut client);
        links.check(&day);
        if day["trades"] == 4 {
            break day;
        }
    };
    let fields = [
        ("open", "3"),
        ("high", "5"),
        ("low", "2.5"),
        ("last", "4"),
        ("change", "1"),
        ("change_percent", "33.33"),
        ("volume", "13.1"),
        ("quote_volume", "49"),
    ];
    for (name, value) in fields {
        assert_eq!(day[name], value, "{name} of {day}");
    }
    assert_eq!(day["start"].as_u64().map(|start| start % 60_000_000), Some(0));
}

#[test]
fn a_replay_that_starts_over_begins_its_bars_anew() {
    let text = trades(&[(0, "1", "1"), (1_000, "2", "1"), (30_000, "3", "1")]);
    let capture = Capture::new("anew", &text);
    let spec = capture.spec(",wait=1,rebase=false,loop=true,speed=100");
    let server = Server::start(&["--feed", &spec]);
    let mut client = Client::native(&server);
    client.ask(&request("subscribe", bars("1s", "*")));
    let mut starts = Vec::new();
    while starts.len() < 12 {
        let bar = client.until(|message| message["final"] == true);
        assert_eq!((&bar["trades"], bar.get("revision")), (&json!(1), None), "{bar}");
        starts.push(bar["start"].as_u64().expect("a number") / 1_000_000 - 1_723_161_254);
    }
    let pass: Vec<u64> = starts.iter().copied().skip_while(|&start| start != 0).take(9).collect();
    assert_eq!(pass, [0, 1, 30, 0, 1, 30, 0, 1, 30]);
}

/// A number with its point eight or sixteen places from the right.
fn whole(text: &str, places: usize) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<places$}").parse().expect("a number")
}

/// A bar, made of a capture's lines without the server: prices, volume and what takers bought of it in
/// 10^-8, turnover in 10^-16.
#[derive(Clone, Debug, PartialEq)]
struct Raw {
    open: i128,
    high: i128,
    low: i128,
    close: i128,
    volume: i128,
    bought: i128,
    turnover: i128,
    trades: u64,
}

impl Raw {
    fn new(price: i128) -> Self {
        let (volume, bought, turnover) = (0, 0, 0);
        Raw {
            open: price,
            high: price,
            low: price,
            close: price,
            volume,
            bought,
            turnover,
            trades: 0,
        }
    }

    fn add(&mut self, price: i128, size: i128, bought: bool) {
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.close = price;
        self.volume += size;
        self.bought += if bought { size } else { 0 };
        self.turnover += price * size;
        self.trades += 1;
    }

    fn of(message: &Value) -> Self {
        let number = |name: &str, places| {
            whole(message[name].as_str().unwrap_or_else(|| panic!("{name}: {message}")), places)
        };
        Raw {
            open: number("open", 8),
            high: number("high", 8),
            low: number("low", 8),
            close: number("close", 8),
            volume: number("volume", 8),
            bought: number("buy_volume", 8),
            turnover: number("quote_volume", 16),
            trades: message["trades"].as_u64().expect("a number"),
        }
    }
}

/// By seconds of the interval and start of the bar.
type RawBars = BTreeMap<(u64, u64), Raw>;

/// All bars of a capture, and the day's.
fn raw_bars(path: &Path) -> (RawBars, Raw) {
    let lines = BufReader::new(MultiGzDecoder::new(File::open(path).expect("a capture"))).lines();
    let (mut bars, mut day) = (RawBars::new(), None);
    for line in lines {
        let line = line.expect("text");
        let (_, text) = line.split_once(' ').expect("a stamp");
        let message: Value = serde_json::from_str(text).expect("JSON");
        let data = &message["data"];
        if data["e"] != "trade" {
            continue;
        }
        let number = |name: &str| whole(data[name].as_str().expect("text"), 8);
        let (price, size) = (number("p"), number("q"));
        // `m`: the buyer was the maker, so the taker sold.
        let bought = data["m"] == false;
        let at_s = data["T"].as_u64().expect("a time") / 1000;
        for (_, seconds) in INTERVALS {
            let bar = bars.entry((seconds, at_s - at_s % seconds)).or_insert(Raw::new(price));
            bar.add(price, size, bought);
        }
        day.get_or_insert(Raw::new(price)).add(price, size, bought);
    }
    (bars, day.expect("trades"))
}

#[test]
fn bars_and_ticker_of_a_real_capture_are_what_its_lines_come_to() {
    let Some(folder) = captures() else { return };
    let path = folder.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz");
    let (expected, day) = raw_bars(&path);
    // A short ring keeps the replay from being far ahead when the client's subscription begins.
    let feed = format!("replay:{},speed=max,wait=1,rebase=false", path.display());
    let server = Server::start(&["--ring-slots", "1024", "--feed", &feed]);
    let mut client = Client::native(&server);
    for (interval, _) in INTERVALS {
        client.send(&request("subscribe", bars(interval, "*")));
    }
    client.send(&request("subscribe", json!({"channel": "ticker", "symbol": "*"})));
    let (mut links, mut got, mut ticker) = (Links::default(), BTreeMap::new(), Value::Null);
    let mut done = false;
    // The last second ends by the clock.
    let last = *expected.keys().rfind(|(seconds, _)| *seconds == 1).expect("seconds");
    while !done {
        let message = next(&mut client);
        links.check(&message);
        if message["channel"] == "ticker" {
            ticker = message;
        } else {
            let number = |name: &str| message[name].as_u64().expect("a number") / 1_000_000;
            let key = (number("end") - number("start"), number("start"));
            let is_final = message["final"] == true;
            got.insert(key, (Raw::of(&message), is_final));
        }
        done =
            got.get(&last).is_some_and(|(_, is_final)| *is_final) && ticker["trades"] == day.trades;
    }
    let first = *got.keys().next().expect("bars");
    let skipped = expected.range(..first).filter(|((seconds, _), _)| *seconds == 1).count();
    assert!(skipped < 20, "subscribed {skipped} seconds after the beginning");
    let newest = |of: u64| expected.keys().rfind(|(seconds, _)| *seconds == of).copied();
    for (key, bar) in expected.range(first..) {
        let (received, is_final) = got.remove(key).unwrap_or_else(|| panic!("no bar {key:?}"));
        assert_eq!(received, *bar, "{key:?}");
        assert!(is_final || key.0 > 1 && newest(key.0) == Some(*key), "{key:?} is not final");
    }
    assert!(got.is_empty(), "bars of nothing: {:?}", got.keys());

    let number = |name: &str, places| whole(ticker[name].as_str().expect("text"), places);
    assert_eq!(
        [number("open", 8), number("high", 8), number("low", 8), number("last", 8)],
        [day.open, day.high, day.low, day.close]
    );
    assert_eq!(number("volume", 8), day.volume);
    assert_eq!(number("quote_volume", 16), day.turnover);
    assert_eq!(number("change", 8), day.close - day.open);
    // Rounded to two places: within half of the last one.
    let error = (day.close - day.open) * 10_000 - number("change_percent", 2) * day.open;
    assert!(2 * error.abs() <= day.open, "{ticker}");
}
