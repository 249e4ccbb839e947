//! Binance spot, as its documentation has it, and what goes wrong with it.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::binance_usdm::{invalid_stream, is_of};
use super::checker::{Checker, PATIENT, Seen};
use super::common::{self, Server};
use super::local::{Answer, Fault, LONG, LocalVenue, Protocol, wait_for};
use super::world::{ASK, BID, Book, Change, Happening, Step, Truth, World, invented};

/// The exchange. Its symbols are those of the world.
pub struct Binance {
    /// The weight of REST requests that it allows a minute.
    pub weight: u32,
    /// A symbol whose streams are no valid ones.
    pub refused: Option<&'static str>,
}

impl Protocol for Binance {
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        _: &World,
    ) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        let streams = request["params"].as_array().expect("params");
        let id = request["id"].as_u64().expect("an id");
        if streams.iter().any(|stream| is_of(stream.as_str().expect("a stream"), self.refused)) {
            return vec![invalid_stream(id)];
        }
        for stream in streams {
            let stream = stream.as_str().expect("a stream").to_owned();
            match request["method"].as_str() {
                Some("SUBSCRIBE") => subscribed.insert(stream),
                _ => subscribed.remove(&stream),
            };
        }
        vec![json!({"result": null, "id": id}).to_string()]
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        if path.starts_with("/api/v3/exchangeInfo") {
            return Answer::ok(self.exchange_info(world));
        }
        let Some(query) = path.strip_prefix("/api/v3/depth?") else { return Answer::not_found() };
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)).expect("the parameter")
        };
        let limit: usize = parameter("limit=").parse().expect("a number");
        let truth = &world.truths[parameter("symbol=")];
        let side = |side| -> Vec<[String; 2]> {
            let levels = truth.book.best_first(side).into_iter().take(limit);
            levels.map(|(price, size)| [price.to_string(), size.to_string()]).collect()
        };
        let book = json!({"lastUpdateId": truth.last, "bids": side(BID), "asks": side(ASK)});
        Answer::ok(book.to_string())
    }

    fn messages(&mut self, step: &Step, _: &World) -> Vec<(String, String)> {
        if let Some(captured) = &step.captured {
            return vec![captured.clone()];
        }
        let symbol = step.native.to_ascii_lowercase();
        let time = 1_700_000_000_000_000 + step.at_ns / 1_000;
        let (stream, data) = match &step.what {
            Happening::Book { first, last, changes } => {
                let side = |wanted| -> Vec<[String; 2]> {
                    let of = changes.iter().filter(|(side, ..)| *side == wanted);
                    of.map(|(_, price, size)| [price.to_string(), size.to_string()]).collect()
                };
                let data = json!({"e": "depthUpdate", "E": time, "s": step.native, "U": first,
                    "u": last, "b": side(BID), "a": side(ASK)});
                ("depth@100ms", data)
            }
            Happening::Trade(trade) => {
                let data = json!({"e": "trade", "E": time, "s": step.native, "t": trade.id,
                    "p": trade.price.to_string(), "q": trade.size.to_string(), "T": time,
                    "m": trade.taker_sold, "M": true});
                ("trade", data)
            }
            Happening::Verbatim => return Vec::new(),
        };
        let stream = format!("{symbol}@{stream}");
        let text = json!({"stream": stream, "data": data}).to_string();
        vec![(stream, text)]
    }

    fn shutdown(&self) -> Option<String> {
        let data = json!({"e": "serverShutdown", "E": 1_770_123_456_789_u64});
        Some(json!({"stream": "", "data": data}).to_string())
    }
}

impl Binance {
    fn exchange_info(&self, world: &World) -> String {
        let symbols: Vec<Value> = world
            .truths
            .keys()
            .map(|native| {
                let (base, quote) = native.split_at(native.len() - 4);
                json!({"symbol": native, "status": "TRADING", "baseAsset": base,
                    "quoteAsset": quote, "filters": [
                        {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                        {"filterType": "LOT_SIZE", "stepSize": "0.00001000"}]})
            })
            .collect();
        let limit = json!({"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE",
            "intervalNum": 1, "limit": self.weight});
        json!({"timezone": "UTC", "rateLimits": [limit], "symbols": symbols}).to_string()
    }
}

/// Weight enough that a test is not held up by it.
pub const PLENTY: Binance = Binance { weight: 1_000_000, refused: None };

const SYMBOLS: [(&str, &str); 2] =
    [("binance:BTC-USDT", "BTCUSDT"), ("binance:ETH-USDT", "ETHUSDT")];

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
}

/// An invented history of so many milliseconds' steps.
fn begin(steps: usize, more: &str) -> Run {
    let (world, script) =
        invented(&["BTCUSDT", "ETHUSDT"], steps, 1_000_000, 7, usize::MAX, |r| r.below(4));
    begin_with(world, script, more)
}

fn begin_with(world: World, script: Vec<Step>, more: &str) -> Run {
    let venue = Arc::new(LocalVenue::start(PLENTY, world));
    let spec = venue.spec("binance:BTCUSDT,ETHUSDT", &format!(",depth=5000{more}"));
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    let lines = if more.contains("lines=2") { 2 } else { 1 };
    venue.wait_subscribed(6 * lines);
    Run { venue, server, checker, script }
}

impl Run {
    /// The history with a fault every so often, from the 100th step on.
    fn play_with(self, every: usize, what: Fault) -> HashMap<String, Seen> {
        let faulty =
            |index: usize, _: &Step| (index >= 100 && index.is_multiple_of(every)).then_some(what);
        self.venue.play(&self.script, 1.0, faulty);
        self.checker.finish()
    }

    /// The same until both books were rebuilt so often; they end right.
    fn play_until_resynced(self, times: usize, every: usize, what: Fault) {
        let enough = || self.checker.all_resynced(&SYMBOLS.map(|(_, native)| native), times);
        self.venue.play_until(&self.script, enough, |index, _| {
            (index >= 100 && index.is_multiple_of(every)).then_some(what)
        });
        self.checker.finish();
    }

    fn play_all(&self) {
        self.venue.play(&self.script, 1.0, |_, _| None);
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }
}

/// Every book was right all the time, and all trades but those lost came.
fn all_whole(seen: &HashMap<String, Seen>, venue: &LocalVenue) {
    for (symbol, native) in SYMBOLS {
        let trades = venue.world(|world| world.truths[native].trades.clone());
        assert_eq!(seen[symbol].trades, trades, "{symbol}");
        assert!(seen[symbol].books > 50);
    }
}

#[test]
fn an_undisturbed_stream_is_whole_and_never_resyncs() {
    let run = begin(1_000, "");
    run.play_all();
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    assert!(seen.values().all(|seen| seen.times("resync") == 0 && seen.times("stale") <= 1));
    // One request subscribes to all, and it is what the documentation shows.
    let heard = venue.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let request: Value = serde_json::from_str(&heard[0].1).expect("JSON");
    assert_eq!(request["method"], "SUBSCRIBE");
    assert_eq!(request["params"].as_array().map(Vec::len), Some(6));
}

#[test]
fn a_lost_diff_is_noticed_and_the_book_rebuilt() {
    begin(LONG, "").play_until_resynced(3, 60, Fault::Drop);
}

#[test]
fn what_comes_twice_is_put_once() {
    let run = begin(1_000, "");
    let venue = run.venue.clone();
    let seen = run.play_with(7, Fault::Repeat);
    all_whole(&seen, &venue);
    assert!(seen.values().all(|seen| seen.times("resync") == 0));
}

#[test]
fn what_comes_late_is_a_gap_and_never_applied_in_the_wrong_order() {
    begin(LONG, "").play_until_resynced(1, 60, Fault::Late);
}

#[test]
fn what_is_cut_is_kept_for_inspection_and_the_book_rebuilt() {
    let run = begin(1_500, "");
    let (address, faulty) = (&run.server, Fault::Cut);
    let faults =
        |index: usize, _: &Step| (index >= 100 && index.is_multiple_of(60)).then_some(faulty);
    run.venue.play(&run.script, 1.0, faults);
    let (_, feeds) = address.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    let rejects = &feeds["feeds"][0]["rejects"][0];
    assert_eq!(rejects["kind"], "bad_json", "{feeds}");
    assert!(rejects["text"].as_str().expect("the text").starts_with("{\"data\""), "{rejects}");
    run.checker.finish();
}

#[test]
fn a_reset_connection_is_stale_then_whole_again() {
    let run = begin(600, "");
    run.play_all();
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 1.0);
    run.venue.wait_subscribed(6);
    let (_, script) =
        invented(&["BTCUSDT", "ETHUSDT"], 1_200, 1_000_000, 7, usize::MAX, |r| r.below(4));
    run.venue.play(&script[600..], f64::INFINITY, |_, _| None);
    let seen = run.checker.finish();
    for seen in seen.values() {
        let after_live = seen.feed.iter().skip_while(|state| *state != "live");
        assert!(after_live.clone().any(|state| state == "stale"), "{:?}", seen.feed);
        assert_eq!(seen.feed.last().map(String::as_str), Some("live"));
    }
}

#[test]
fn a_half_closed_connection_is_left_and_replaced() {
    let run = begin(300, "");
    run.play_all();
    run.venue.half_close_all();
    run.wait_live("connects_total", |n| n == 2.0);
    run.checker.finish();
}

#[test]
fn a_silent_connection_is_found_dead_and_quiet_symbols_are_not() {
    let run = begin(300, ",silence=2");
    run.play_all();
    // Quiet, but the venue answers pings: nothing is stale.
    wait_for(|| {
        let pongs = run.server.metric("tickcast_live_losses_total", "");
        assert_eq!(pongs, 0.0);
        (run.venue.connections().0 == 1 && elapsed(5)).then_some(())
    });
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

/// Whether so many seconds have passed since this was first asked.
fn elapsed(seconds: u64) -> bool {
    use std::cell::Cell;
    use std::time::Instant;
    thread_local!(static SINCE: Cell<Option<Instant>> = const { Cell::new(None) });
    let since = SINCE.get().unwrap_or_else(Instant::now);
    SINCE.set(Some(since));
    since.elapsed() >= Duration::from_secs(seconds)
}

#[test]
fn a_shutdown_that_is_announced_loses_nothing() {
    let run = begin(3_000, "");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.venue.announce_shutdown();
        run.wait_live("replaced_total", |n| n == 1.0);
    });
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    assert!(seen.values().all(|seen| seen.times("resync") == 0), "{seen:?}");
}

#[test]
fn a_connection_is_replaced_before_its_life_ends_and_nothing_is_lost() {
    let run = begin(6_000, ",life=2");
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    assert!(seen.values().all(|seen| seen.times("resync") == 0), "{seen:?}");
}

#[test]
fn of_two_lines_one_may_die_and_nobody_notices() {
    let run = begin(4_000, ",lines=2");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.wait_live("messages_total", |n| n > 500.0);
        run.venue.abort_first();
        run.wait_live("losses_total", |n| n == 1.0);
    });
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    let troubled = |seen: &Seen| seen.times("resync") > 0 || seen.feed.contains(&"stale".into());
    let after_start = |seen: &Seen| seen.feed.iter().skip_while(|s| *s != "live").count();
    assert!(seen.values().all(|s| after_start(s) == 1 || !troubled(s)), "{seen:?}");
}

#[test]
fn a_snapshot_may_come_long_after_the_diffs() {
    let (world, script) =
        invented(&["BTCUSDT", "ETHUSDT"], 2_000, 1_000_000, 9, usize::MAX, |r| r.below(4));
    let venue = Arc::new(LocalVenue::start(PLENTY, world));
    venue.delay_snapshots(Duration::from_millis(700));
    let server = Server::start(&["--feed", &venue.spec("binance:BTCUSDT,ETHUSDT", ",depth=5000")]);
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(6);
    venue.play(&script, 1.0, |_, _| None);
    let seen = checker.finish();
    assert!(seen.values().all(|seen| seen.times("resync") == 0), "{seen:?}");
}

#[test]
fn a_snapshot_older_than_the_diffs_is_fetched_again() {
    let run = begin(400, "");
    run.play_all();
    // Of now; what happens from here on is not in it.
    run.venue.freeze_snapshots(3);
    let (_, script) =
        invented(&["BTCUSDT", "ETHUSDT"], 800, 1_000_000, 7, usize::MAX, |r| r.below(4));
    let lost = |index: usize, _: &Step| (100..160).contains(&index).then_some(Fault::Drop);
    run.venue.play(&script[400..], 1.0, lost);
    let asked = run.venue.asked().len();
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("resync") >= 1), "{seen:?} {asked}");
}

#[test]
fn a_venue_that_refuses_is_left_alone_for_as_long_as_it_says() {
    let (world, script) =
        invented(&["BTCUSDT", "ETHUSDT"], 1_000, 1_000_000, 9, usize::MAX, |r| r.below(4));
    let venue = Arc::new(LocalVenue::start(PLENTY, world));
    venue.refuse(1);
    let server = Server::start(&["--feed", &venue.spec("binance:BTCUSDT,ETHUSDT", ",depth=5000")]);
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.refuse(1);
    venue.wait_subscribed(6);
    venue.play(&script, 1.0, |_, _| None);
    checker.finish();
    let asked = venue.asked();
    assert!(asked[1].0 - asked[0].0 >= Duration::from_millis(990), "Retry-After was one second");
}

#[test]
fn a_venue_that_dies_is_come_back_to() {
    let run = begin(500, "");
    run.play_all();
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 2.0);
    run.venue.come_back();
    run.venue.wait_subscribed(6);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

#[test]
fn a_ping_is_answered_and_a_close_is_a_loss() {
    let run = begin(100, "");
    run.play_all();
    run.venue.ping_all();
    run.venue.close_all(1008, "disconnected");
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("code 1008 disconnected"), "{feeds}");
    run.checker.finish();
}

#[test]
fn a_symbol_that_does_not_exist_ends_the_feed_with_a_hint() {
    let (world, _) = invented(&["BTCUSDT"], 1, 1, 1, usize::MAX, |_| 1);
    let venue = LocalVenue::start(PLENTY, world);
    let server = Server::start(&["--feed", &venue.spec("binance:BTCUSD", "")]);
    server.wait_metric("tickcast_feed_up", "", |up| up == 0.0);
    let (_, feeds) = server.get("/v1/feeds");
    assert!(feeds.contains("failed"), "{feeds}");
}

/// The captures, as a world and its history.
pub fn captured() -> Option<(World, Vec<Step>)> {
    let folder = common::captures()?;
    let mut world = World { truths: HashMap::new(), depth: usize::MAX };
    let mut script = Vec::new();
    for symbol in ["btcusdt", "ethusdt"] {
        let name = format!("binance_spot/binance_spot_{symbol}_20240808.jsonl.gz");
        let file = std::fs::File::open(folder.join(name)).expect("a capture");
        let native = symbol.to_ascii_uppercase();
        for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
            let line = line.expect("a line");
            let (recv, text) = line.split_once(' ').expect("a message");
            let at_ns: u64 = recv.parse().expect("a time");
            let message: Value = serde_json::from_str(text).expect("JSON");
            if let Some(last) = message["lastUpdateId"].as_u64() {
                let mut book = Book::default();
                levels(&message["bids"], BID).for_each(|change| book.set(change));
                levels(&message["asks"], ASK).for_each(|change| book.set(change));
                world.truths.insert(native.clone(), Truth::new(book, last, usize::MAX));
                continue;
            }
            let data = &message["data"];
            let what = match data["e"].as_str() {
                Some("depthUpdate") => Happening::Book {
                    first: data["U"].as_u64().expect("U"),
                    last: data["u"].as_u64().expect("u"),
                    changes: levels(&data["b"], BID).chain(levels(&data["a"], ASK)).collect(),
                },
                Some("trade") => Happening::Trade(super::world::Trade {
                    id: data["t"].as_u64().expect("t"),
                    price: Decimal::ZERO,
                    size: Decimal::ZERO,
                    taker_sold: false,
                }),
                _ => Happening::Verbatim,
            };
            let topic = message["stream"].as_str().expect("a stream").to_owned();
            let captured = Some((topic, text.to_owned()));
            script.push(Step { native: native.clone(), at_ns, what, captured });
        }
    }
    script.sort_by_key(|step| step.at_ns);
    // What the snapshot holds already has happened.
    script.retain(|step| match &step.what {
        Happening::Book { last, .. } => *last > world.truths[&step.native].last,
        _ => true,
    });
    let from = script[0].at_ns;
    script.iter_mut().for_each(|step| step.at_ns -= from);
    Some((world, script))
}

fn levels(value: &Value, side: usize) -> impl Iterator<Item = Change> + '_ {
    value.as_array().expect("levels").iter().map(move |level| {
        let part = |at: usize| level[at].as_str().expect("text").parse().expect("a decimal");
        (side, part(0), part(1))
    })
}

/// The captures at ten times their speed or more, and what PROVENANCE.md says of their end.
#[test]
fn real_captures_over_wss_end_with_the_books_that_they_are_known_for() {
    let Some((world, script)) = captured() else { return };
    let run = begin_with(world, script, "");
    run.venue.play(&run.script, 40.0, |_, _| None);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    let expected = [
        ("binance:BTC-USDT", "61685.99", "1.0087", "61686", "2.29327"),
        ("binance:ETH-USDT", "2682.5", "3.3168", "2682.51", "48.9739"),
    ];
    for (symbol, bid, bid_size, ask, ask_size) in expected {
        let book = seen[symbol].book.as_ref().expect("a book");
        let best = |side| {
            let (price, size) = book.best_first(side)[0];
            [price.to_string(), size.to_string()]
        };
        assert_eq!(
            (best(BID), best(ASK)),
            ([bid.into(), bid_size.into()], [ask.into(), ask_size.into()])
        );
        assert!(seen[symbol].times("resync") == 0);
    }
    let counts =
        |symbol: &str| seen[symbol].book.as_ref().map(|b| [b.sides[0].len(), b.sides[1].len()]);
    assert_eq!(counts("binance:BTC-USDT"), Some([1_209, 2_196]));
    assert_eq!(counts("binance:ETH-USDT"), Some([1_195, 1_158]));
}

/// One message lost at each of 200 random places of the captures; each loss is one of its own: the
/// client has the book again before the next.
#[test]
fn two_hundred_losses_in_real_captures_and_no_wrong_book() {
    const LOSSES: usize = 200;
    let Some((world, script)) = captured() else { return };
    let run = begin_with(world, script, "");
    let mut random = super::world::Random::new(11);
    // How many were lost, and how many diffs have come since the last one.
    let mut losses =
        HashMap::from([("BTCUSDT".to_owned(), (0, 0)), ("ETHUSDT".to_owned(), (0, 0))]);
    run.venue.play(&run.script, 10.0, |_, step| {
        let (lost, since) = losses.get_mut(&step.native).expect("a known symbol");
        if !matches!(step.what, Happening::Book { .. }) {
            return None;
        }
        *since += 1;
        if *since > 15 {
            // On a busy machine the repair takes longer than the captures do.
            wait_for(|| run.checker.is_mended(&step.native, *lost).then_some(()));
        }
        let go = *lost < LOSSES / 2 && run.checker.is_mended(&step.native, *lost);
        (go && random.below(5) == 0).then(|| {
            (*lost, *since) = (*lost + 1, 0);
            Fault::Drop
        })
    });
    let seen = run.checker.finish();
    for (symbol, native) in SYMBOLS {
        let (losses, resyncs) = (losses[native].0, seen[symbol].times("resync"));
        println!("{symbol}: {losses} losses, {resyncs} resyncs");
        assert_eq!(losses, LOSSES / 2, "{symbol}");
        assert_eq!(resyncs, losses, "{symbol}");
    }
}
