//! What Binance is asked, spot and futures: how much at a time, how often, and what becomes of the
//! others when one symbol is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::binance::{Binance, PLENTY};
use super::binance_usdm::{MARKET, PUBLIC, Usdm, stride};
use super::checker::{Checker, PATIENT};
use super::common::{Client, Server};
use super::local::{Heard, LocalVenue, Protocol};
use super::world::{Step, invented};

/// So many symbols: `C000USDT` and so on.
fn natives(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("C{n:03}USDT")).collect()
}

/// The name of `C000USDT` and its like.
fn symbol(venue: &str, native: &str) -> String {
    format!("{venue}:{}-USDT", &native[..4])
}

struct Run {
    venue: Arc<LocalVenue>,
    server: Server,
    script: Vec<Step>,
}

fn begin(protocol: impl Protocol + 'static, name: &str, count: usize, steps: usize) -> Run {
    let natives = natives(count);
    let all: Vec<&str> = natives.iter().map(String::as_str).collect();
    let (world, script) = invented(&all, steps, 1_000_000, 17, usize::MAX, stride);
    let venue = Arc::new(LocalVenue::start(protocol, world));
    let spec = venue.spec(&format!("{name}:{}", natives.join(",")), "");
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    Run { venue, server, script }
}

/// The streams that a request names.
fn streams(heard: &Heard) -> Vec<String> {
    let request: Value = serde_json::from_str(&heard.text).expect("JSON");
    assert_eq!(request["method"], "SUBSCRIBE");
    let params = request["params"].as_array().expect("params");
    params.iter().map(|name| name.as_str().expect("text").to_owned()).collect()
}

/// What one connection was asked, by its number.
fn by_connection(venue: &LocalVenue) -> BTreeMap<u64, Vec<Heard>> {
    let mut connections: BTreeMap<u64, Vec<Heard>> = BTreeMap::new();
    for heard in venue.heard_from() {
        connections.entry(heard.connection).or_default().push(heard);
    }
    connections
}

/// What the documentation and the server demand of every connection, `a_second` requests at most.
/// Returns all streams, in order.
fn within_limits(connections: &BTreeMap<u64, Vec<Heard>>, a_second: usize) -> Vec<String> {
    let mut all = Vec::new();
    for asked in connections.values() {
        let own: Vec<String> = asked.iter().flat_map(streams).collect();
        // "A single connection can listen to a maximum of 1024 streams."
        assert!(own.len() <= 1_024, "{} streams", own.len());
        all.extend(own);
        for heard in asked {
            // With the frame's header of eight bytes; a longer one is not answered:
            // <https://github.com/binance/binance-connector-rust/issues/27>.
            assert!(heard.text.len() + 8 <= 4_096, "{} bytes", heard.text.len());
        }
        for window in asked.windows(a_second + 1) {
            let took = window[a_second].at - window[0].at;
            assert!(took >= Duration::from_secs(1), "{} requests in {took:?}", a_second + 1);
        }
    }
    all.sort();
    all
}

/// Books and trades of some symbols are right while all 500 go on.
fn some_are_right(run: &Run, name: &str) {
    let natives = natives(500);
    let some = [0, 123, 250, 340, 341, 499].map(|n| (symbol(name, &natives[n]), &natives[n]));
    let pairs: Vec<(&str, &str)> = some.iter().map(|(a, b)| (&**a, &***b)).collect();
    let checker = Checker::start(&run.server, &run.venue, &pairs);
    run.venue.play(&run.script, 10.0, |_, _| None);
    let seen = checker.finish();
    for (symbol, native) in pairs {
        let trades = run.venue.world(|world| world.truths[native].trades.clone());
        assert_eq!(seen[symbol].trades, trades, "{symbol}");
    }
}

fn expected(streams: &[&str]) -> Vec<String> {
    let of = |native: String| -> Vec<String> {
        let symbol = native.to_ascii_lowercase();
        streams.iter().map(|stream| format!("{symbol}@{stream}")).collect()
    };
    let mut all: Vec<String> = natives(500).into_iter().flat_map(of).collect();
    all.sort();
    all
}

#[test]
fn five_hundred_spot_symbols_are_asked_for_in_small_requests_at_the_venues_pace() {
    let run = begin(PLENTY, "binance", 500, 5_000);
    run.venue.wait_subscribed(1_500);
    let connections = by_connection(&run.venue);
    assert_eq!(connections.len(), 2, "1,500 streams");
    // "WebSocket connections have a limit of 5 incoming messages per second."
    let asked = within_limits(&connections, 5);
    assert_eq!(asked, expected(&["bookTicker", "depth@100ms", "trade"]));
    // Not one by one either: 40 KB in requests of 4 KB.
    assert!(run.venue.heard().len() < 15, "{} requests", run.venue.heard().len());
    // What one symbol is carried by is one connection.
    let carried: Vec<BTreeSet<String>> = connections
        .values()
        .map(|asked| {
            let names = asked.iter().flat_map(streams);
            names.map(|name| name.split('@').next().expect("a symbol").to_owned()).collect()
        })
        .collect();
    assert!(carried[0].is_disjoint(&carried[1]));
    some_are_right(&run, "binance");
}

#[test]
fn five_hundred_futures_are_asked_for_on_the_path_of_each_stream() {
    let run = begin(Usdm::default(), "binance-usdm", 500, 5_000);
    run.venue.wait_subscribed(1_500);
    let connections = by_connection(&run.venue);
    assert_eq!(connections.len(), 2, "1,000 streams on one path, 500 on the other");
    // "10 incoming messages per second".
    within_limits(&connections, 10);
    for (path, names) in [(PUBLIC, &["bookTicker", "depth@100ms"][..]), (MARKET, &["aggTrade"])] {
        let heard = run.venue.heard_from().into_iter().filter(|heard| heard.path == path);
        let mut asked: Vec<String> = heard.flat_map(|heard| streams(&heard)).collect();
        asked.sort();
        assert_eq!(asked, expected(names), "{path}");
    }
    assert!(run.venue.heard().len() < 15, "{} requests", run.venue.heard().len());
    some_are_right(&run, "binance-usdm");
}

/// One of twelve symbols is refused: the others are served, and of the one nobody is told that it
/// is live.
fn one_is_refused(protocol: impl Protocol + 'static, name: &str) {
    const REFUSED: usize = 7;
    let run = begin(protocol, name, 12, 1_500);
    let natives = natives(12);
    let refused = symbol(name, &natives[REFUSED]);
    let served: Vec<(String, &String)> = natives
        .iter()
        .filter(|native| **native != natives[REFUSED])
        .map(|native| (symbol(name, native), native))
        .collect();
    let pairs: Vec<(&str, &str)> = served.iter().map(|(a, b)| (&**a, &***b)).collect();
    let checker = Checker::start(&run.server, &run.venue, &pairs);
    run.venue.wait_subscribed(3 * pairs.len());
    run.venue.play(&run.script, 1.0, |_, _| None);
    let seen = checker.finish();
    for (symbol, native) in pairs {
        let trades = run.venue.world(|world| world.truths[native].trades.clone());
        assert_eq!(seen[symbol].trades, trades, "{symbol}");
        assert_eq!(seen[symbol].times("resync"), 0, "{symbol}");
    }
    let mut client = Client::native(&run.server);
    let answer = client.subscribe("status", &[&refused]);
    assert!(answer.get("errors").is_none(), "{answer}");
    let status = client.until(|message| message["channel"] == "status");
    assert_eq!(status["state"], "stale", "{status}");
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains(&format!("refuses to send {}", natives[REFUSED])), "{feeds}");
    assert!(feeds.contains("invalid stream"), "{feeds}");
}

#[test]
fn of_spot_symbols_one_is_refused_and_the_others_are_served() {
    one_is_refused(Binance { refused: Some("C007USDT"), ..PLENTY }, "binance");
}

#[test]
fn of_futures_one_is_refused_and_the_others_are_served() {
    let protocol = Usdm { refused: Some("C007USDT"), ..Usdm::default() };
    one_is_refused(protocol, "binance-usdm");
}
