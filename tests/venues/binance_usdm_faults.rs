//! What goes wrong with Binance's USD-M futures. What the protocol cannot show: a digit that is wrong,
//! for there is no checksum, and trades that were missed, but for the gap in their ids.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::binance_usdm::{MARKET, PUBLIC, Usdm, stride, time};
use super::checker::{Checker, PATIENT, Seen};
use super::common::{Client, PATIENCE, Server};
use super::local::{Fault, LONG, LocalVenue, wait_for};
use super::world::{ASK, BID, Happening, Random, Step, invented};

const SYMBOLS: [(&str, &str); 3] = [
    ("binance-usdm:BTC-USDT", "BTCUSDT"),
    ("binance-usdm:ETH-USDT", "ETHUSDT"),
    ("binance-usdm:BTC-USDT-260327", "BTCUSDT_260327"),
];
const NATIVES: [&str; 3] = ["BTCUSDT", "ETHUSDT", "BTCUSDT_260327"];

/// Streams of all symbols on one line.
const STREAMS: usize = 9;

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
}

/// An invented history of so many milliseconds' steps.
fn begin(steps: usize, more: &str) -> Run {
    let (world, script) = invented(&NATIVES, steps, 1_000_000, 7, usize::MAX, stride);
    let venue = Arc::new(LocalVenue::start(Usdm::default(), world));
    connect(venue, script, more)
}

fn connect(venue: Arc<LocalVenue>, script: Vec<Step>, more: &str) -> Run {
    let spec = venue.spec(&format!("binance-usdm:{}", NATIVES.join(",")), more);
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(if more.contains("lines=2") { 2 * STREAMS } else { STREAMS });
    Run { venue, server, checker, script }
}

impl Run {
    /// The history with a fault of every so many books' diffs, from the 100th step on and not at
    /// the end.
    fn play_with(&self, every: usize, what: Fault) {
        let (mut books, end) = (0, self.script.len() - 100);
        self.venue.play(&self.script, 1.0, |index, step| {
            let is_book = matches!(step.what, Happening::Book { .. });
            books += usize::from(is_book);
            let faulty = is_book && (100..end).contains(&index) && books % every == 0;
            faulty.then_some(what)
        });
    }

    fn play(&self, steps: std::ops::Range<usize>) {
        // The first of them is due at once.
        let from = self.script[steps.start].at_ns;
        let mut script = self.script[steps].to_vec();
        script.iter_mut().for_each(|step| step.at_ns -= from);
        self.venue.play(&script, 1.0, |_, _| None);
    }

    fn play_all(&self) {
        self.play(0..self.script.len());
    }

    /// At half the speed, for what sends everything several times.
    fn play_slowly(&self) {
        self.venue.play(&self.script, 0.5, |_, _| None);
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }

    /// Has something told that is not true: these are bids of BTCUSDT, after the update `last`.
    fn tell_depth(&self, last: u64, bids: &Value) {
        let stream = "btcusdt@depth@100ms";
        let data = json!({"e": "depthUpdate", "E": time(0), "T": time(0), "s": "BTCUSDT",
            "U": last + 1, "u": last + 2, "pu": last, "b": bids, "a": []});
        self.venue.tell(stream, &json!({"stream": stream, "data": data}).to_string());
    }

    /// Waits until so many steps were read: a reset takes with it what was not.
    fn wait_read(&self, steps: usize) {
        let books = |step: &&Step| matches!(step.what, Happening::Book { .. });
        let books = self.script[..steps].iter().filter(books).count();
        // A book is told twice; each path has confirmed its streams.
        let messages = (steps + books + 2) as f64;
        self.wait_live("messages_total", |n| n >= messages);
    }

    fn are_live(&self) -> bool {
        NATIVES.iter().all(|native| self.checker.is_live(native))
    }

    fn wait_books(&self) {
        wait_for(|| self.are_live().then_some(()));
    }

    /// What the client saw; every book is right now.
    fn finish(self) -> (HashMap<String, Seen>, Arc<LocalVenue>) {
        (self.checker.finish(), self.venue)
    }
}

/// Every trade came, once and in order, and the feed never said that anything was wrong.
fn undisturbed((seen, venue): (HashMap<String, Seen>, Arc<LocalVenue>)) {
    all_trades(&seen, &venue);
    for seen in seen.values() {
        assert_eq!(seen.since_live(), ["live"], "{:?}", seen.feed);
        assert!(seen.books > 50 && seen.quotes > 50);
    }
}

fn all_trades(seen: &HashMap<String, Seen>, venue: &LocalVenue) {
    for (symbol, native) in SYMBOLS {
        let trades = venue.world(|world| world.truths[native].trades.clone());
        assert_eq!(seen[symbol].trades, trades, "{symbol}");
    }
}

fn each(seen: &HashMap<String, Seen>, state: &str, times: usize) {
    assert!(seen.values().all(|seen| seen.times(state) >= times), "{seen:?}");
}

#[test]
fn an_undisturbed_stream_is_whole_and_never_resyncs() {
    let run = begin(1_500, "");
    run.play_all();
    let venue = run.venue.clone();
    undisturbed(run.finish());
    // Each path is asked for its own streams, in one request.
    let mut heard = venue.heard_from();
    heard.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<&str> = heard.iter().map(|heard| heard.path.as_str()).collect();
    assert_eq!(paths, [MARKET, PUBLIC]);
    let params = |text: &str| -> BTreeSet<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(request["method"], "SUBSCRIBE");
        let params = request["params"].as_array().expect("params").clone();
        params.into_iter().map(|name| name.as_str().expect("text").to_owned()).collect()
    };
    let names = |streams: &[&str]| -> BTreeSet<String> {
        let of = |native: &str| -> Vec<String> {
            let symbol = native.to_ascii_lowercase();
            streams.iter().map(|stream| format!("{symbol}@{stream}")).collect()
        };
        NATIVES.into_iter().flat_map(of).collect()
    };
    assert_eq!(params(&heard[0].text), names(&["aggTrade"]));
    assert_eq!(params(&heard[1].text), names(&["bookTicker", "depth@100ms"]));
}

#[test]
fn a_lost_diff_is_noticed_and_the_book_rebuilt() {
    let run = begin(2_000, "");
    run.play_with(60, Fault::Drop);
    let (seen, venue) = run.finish();
    each(&seen, "resync", 1);
    all_trades(&seen, &venue);
}

#[test]
fn what_comes_twice_is_put_once() {
    let run = begin(1_500, "");
    let mut count = 0;
    run.venue.play(&run.script, 1.0, |_, _| {
        count += 1;
        (count % 5 == 0).then_some(Fault::Repeat)
    });
    undisturbed(run.finish());
}

#[test]
fn what_comes_late_is_a_gap_and_never_applied_in_the_wrong_order() {
    let run = begin(2_000, "");
    run.play_with(60, Fault::Late);
    let (seen, venue) = run.finish();
    each(&seen, "resync", 1);
    all_trades(&seen, &venue);
}

#[test]
fn what_is_cut_is_kept_for_inspection_and_the_book_rebuilt() {
    let run = begin(2_000, "");
    run.play_with(60, Fault::Cut);
    let (_, feeds) = run.server.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    let rejects = &feeds["feeds"][0]["rejects"][0];
    assert_eq!(rejects["kind"], "bad_json", "{feeds}");
    each(&run.finish().0, "resync", 1);
}

/// There is no checksum: a digit that is wrong is believed until its level changes.
#[test]
fn a_wrong_digit_shows_nowhere() {
    let run = begin(1_000, "");
    run.play(0..300);
    run.wait_books();
    let (last, bid) = run.venue.world(|world| {
        let truth = &world.truths["BTCUSDT"];
        (truth.last, truth.book.best_first(BID)[0])
    });
    let recoveries = || run.server.metric("tickcast_live_recoveries_total", "");
    let before = recoveries();
    let wrong = Decimal::new(bid.1.mantissa + 1, bid.1.exponent);
    run.tell_depth(last, &json!([[bid.0.to_string(), wrong.to_string()]]));
    run.play(300..330);
    let verdict = run.checker.verdict();
    let why = verdict.expect_err("a wrong book");
    assert!(why.contains("a book that never was"), "{why}");
    assert_eq!(recoveries(), before, "no book was asked for");
}

/// What does show is a book that crosses.
#[test]
fn a_book_that_crosses_is_not_shown_and_rebuilt() {
    let run = begin(900, "");
    run.play(0..300);
    run.wait_books();
    let (last, ask) = run.venue.world(|world| {
        let truth = &world.truths["BTCUSDT"];
        (truth.last, truth.book.best_first(ASK)[2].0)
    });
    run.tell_depth(last, &json!([[ask.to_string(), "1.000"]]));
    wait_for(|| run.checker.is_mended("BTCUSDT", 1).then_some(()));
    run.play(300..900);
    let (seen, venue) = run.finish();
    assert_eq!(seen["binance-usdm:BTC-USDT"].since_live(), ["live", "resync", "live"]);
    assert_eq!(seen["binance-usdm:ETH-USDT"].since_live(), ["live"]);
    all_trades(&seen, &venue);
}

#[test]
fn a_reset_of_everything_is_stale_then_whole_again() {
    let run = begin(1_200, "");
    run.play(0..600);
    run.wait_books();
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 2.0);
    run.venue.wait_subscribed(STREAMS);
    run.play(600..1_200);
    for seen in run.finish().0.values() {
        let states = seen.since_live();
        assert_eq!((states.first(), states.last()), (Some(&"live"), Some(&"live")));
        assert!(states.contains(&"stale"), "{states:?}");
    }
}

#[test]
fn the_death_of_the_books_path_is_stale_and_trades_go_on() {
    let run = begin(1_500, "");
    run.play(0..500);
    run.wait_books();
    run.wait_read(500);
    run.venue.close_route(PUBLIC);
    run.venue.abort_route(PUBLIC);
    run.wait_live("connect_failures_total", |n| n >= 1.0);
    run.play(500..1_000);
    wait_for(|| NATIVES.iter().all(|native| !run.checker.is_live(native)).then_some(()));
    run.venue.open_route(PUBLIC);
    run.venue.wait_subscribed(STREAMS);
    run.play(1_000..1_500);
    assert_eq!(run.server.metric("tickcast_live_losses_total", ""), 1.0);
    let (seen, venue) = run.finish();
    each(&seen, "stale", 1);
    for seen in seen.values() {
        // It comes back by a snapshot, or by a diff that shows that something is missing.
        let states = seen.since_live();
        assert_eq!((states[1], states.last()), ("stale", Some(&"live")), "{states:?}");
    }
    // Nothing of what happened in the meantime is missing on the other path.
    all_trades(&seen, &venue);
}

#[test]
fn the_death_of_the_trades_path_leaves_the_books_alone_and_ids_tell_what_was_missed() {
    let run = begin(1_500, "");
    run.play(0..500);
    run.wait_books();
    run.wait_read(500);
    run.venue.close_route(MARKET);
    run.venue.abort_route(MARKET);
    run.wait_live("connect_failures_total", |n| n >= 1.0);
    run.play(500..1_000);
    run.venue.open_route(MARKET);
    run.venue.wait_subscribed(STREAMS);
    run.play(1_000..1_500);
    let script = run.script.clone();
    let (seen, venue) = run.finish();
    for (symbol, native) in SYMBOLS {
        let seen = &seen[symbol];
        assert_eq!(seen.since_live(), ["live"], "{symbol}");
        let missed: Vec<u64> = script[500..1_000]
            .iter()
            .filter(|step| step.native == native)
            .filter_map(|step| match &step.what {
                Happening::Trade(trade) => Some(trade.id),
                _ => None,
            })
            .collect();
        assert!(missed.len() > 10);
        let all = venue.world(|world| world.truths[native].trades.clone());
        let came: Vec<u64> = all.into_iter().filter(|id| !missed.contains(id)).collect();
        assert_eq!(seen.trades, came, "{symbol}");
        // One hole in numbers that otherwise follow each other.
        let holes: Vec<_> = came.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
        let (before, after) = (missed[0] - 1, missed[missed.len() - 1] + 1);
        assert_eq!(holes, [&[before, after][..]], "{symbol}");
    }
}

#[test]
fn a_half_closed_connection_is_left_and_replaced() {
    let run = begin(600, "");
    run.play(0..300);
    run.venue.half_close_all();
    run.wait_live("connects_total", |n| n == 4.0);
    run.venue.wait_subscribed(STREAMS);
    run.play(300..600);
    run.finish();
}

#[test]
fn a_silent_connection_is_found_dead_and_quiet_symbols_are_not() {
    let run = begin(300, ",silence=1");
    run.play_all();
    run.wait_books();
    // Quiet, but the venue answers pings, some on each path: nothing is lost.
    let quiet = Instant::now();
    wait_for(|| (quiet.elapsed() >= Duration::from_millis(3_500)).then_some(()));
    assert_eq!(run.server.metric("tickcast_live_losses_total", ""), 0.0);
    assert!(run.are_live());
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 2.0);
    run.wait_live("connects_total", |n| n == 4.0);
    each(&run.finish().0, "stale", 1);
}

#[test]
fn connections_are_replaced_before_their_life_ends_and_nothing_is_lost() {
    let run = begin(3_000, ",life=2");
    run.play_slowly();
    run.wait_live("replaced_total", |n| n >= 2.0);
    undisturbed(run.finish());
}

#[test]
fn of_two_lines_one_may_die_on_either_path_and_nobody_notices() {
    let run = begin(2_000, ",lines=2");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_slowly());
        run.wait_live("messages_total", |n| n > 1_000.0);
        run.venue.abort_first_of(PUBLIC);
        run.wait_live("losses_total", |n| n == 1.0);
        run.venue.abort_first_of(MARKET);
        run.wait_live("losses_total", |n| n == 2.0);
    });
    undisturbed(run.finish());
}

#[test]
fn a_snapshot_may_come_long_after_the_diffs() {
    let (world, script) = invented(&NATIVES, 2_000, 1_000_000, 9, usize::MAX, stride);
    let venue = Arc::new(LocalVenue::start(Usdm::default(), world));
    venue.delay_snapshots(Duration::from_millis(700));
    let run = connect(venue, script, "");
    run.play_all();
    let (seen, _) = run.finish();
    assert!(seen.values().all(|seen| seen.times("resync") == 0), "{seen:?}");
}

#[test]
fn a_snapshot_older_than_the_diffs_is_fetched_again() {
    let run = begin(800, "");
    run.play(0..400);
    run.wait_books();
    // Of now; what happens from here on is not in it.
    run.venue.freeze_snapshots(6);
    let asked = run.venue.asked().len();
    let lost = |index: usize, _: &Step| (100..160).contains(&index).then_some(Fault::Drop);
    run.venue.play(&run.script[400..], f64::INFINITY, lost);
    let (seen, venue) = run.finish();
    each(&seen, "resync", 1);
    assert!(venue.asked().len() - asked > 6, "{:?}", venue.asked());
}

#[test]
fn a_venue_that_refuses_is_left_alone_for_as_long_as_it_says() {
    let run = begin(800, "");
    run.play(0..400);
    run.wait_books();
    run.venue.refuse(1);
    let asked = run.venue.asked().len();
    let lost = |index: usize, _: &Step| (index < 20).then_some(Fault::Drop);
    run.venue.play(&run.script[400..], 1.0, lost);
    let (seen, venue) = run.finish();
    each(&seen, "resync", 1);
    let again = venue.asked()[asked..].iter().map(|(at, _)| *at).collect::<Vec<_>>();
    // One or all of the three were on their way when the refusal came.
    let longest = again.windows(2).map(|pair| pair[1] - pair[0]).max().expect("several");
    assert!(longest >= Duration::from_millis(990), "Retry-After was one second: {longest:?}");
}

#[test]
fn a_venue_that_dies_is_come_back_to() {
    let run = begin(1_000, "");
    run.play(0..500);
    run.wait_books();
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 3.0);
    run.venue.come_back();
    run.venue.wait_subscribed(STREAMS);
    run.play(500..1_000);
    each(&run.finish().0, "stale", 1);
}

#[test]
fn a_ping_is_answered_with_what_it_held_and_a_close_is_a_loss() {
    let run = begin(400, "");
    run.play(0..200);
    run.venue.ping_all();
    wait_for(|| (run.venue.pongs() == [b"7", b"7"]).then_some(()));
    run.venue.close_all(1008, "disconnected");
    run.wait_live("losses_total", |n| n == 2.0);
    run.wait_live("connects_total", |n| n == 4.0);
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("code 1008 disconnected"), "{feeds}");
    run.venue.wait_subscribed(STREAMS);
    run.play(200..400);
    run.finish();
}

/// The state of a symbol hangs on its trades where nothing else is wanted.
#[test]
fn trades_alone_are_one_connection_and_stale_when_it_is_gone() {
    let (world, script) = invented(&NATIVES, 600, 1_000_000, 7, usize::MAX, stride);
    let venue = Arc::new(LocalVenue::start(Usdm::default(), world));
    let spec = venue.spec("binance-usdm:BTCUSDT", ",channels=trade");
    let server = Server::start(&["--feed", &spec]);
    venue.wait_subscribed(1);
    assert_eq!(venue.heard_from()[0].path, MARKET);
    let mut client = Client::native(&server);
    for channel in ["status", "trade"] {
        let answer = client.subscribe(channel, &["binance-usdm:BTC-USDT"]);
        assert!(answer.get("errors").is_none(), "{answer}");
    }
    let until = |client: &mut Client, wanted: &str| {
        // Heartbeats come each second, so that this is looked at.
        let end = Instant::now() + PATIENCE;
        client.until(|message| {
            assert!(Instant::now() < end, "never {wanted}");
            message["state"] == wanted
        });
    };
    server.wait_metric("tickcast_live_links", "", |n| n == 1.0);
    venue.abort_all();
    until(&mut client, "stale");
    until(&mut client, "live");
    venue.wait_subscribed(1);
    venue.play(&script, f64::INFINITY, |_, _| None);
    let last = venue.world(|world| *world.truths["BTCUSDT"].trades.last().expect("a trade"));
    client.until(|message| message["channel"] == "trade" && message["id"] == last);
}

/// One diff lost at each of 200 random places; each loss is one of its own: the client has the book
/// again before the next of the same symbol.
#[test]
fn two_hundred_losses_and_no_wrong_book() {
    const LOSSES: usize = 200;
    let natives: Vec<String> = (0..12).map(|n| format!("C{n}USDT")).collect();
    let names: Vec<String> = (0..12).map(|n| format!("binance-usdm:C{n}-USDT")).collect();
    let pairs = || names.iter().zip(&natives).map(|(name, native)| (&**name, &**native));
    let all: Vec<&str> = natives.iter().map(String::as_str).collect();
    let (world, script) = invented(&all, LONG, 1_000_000, 13, usize::MAX, stride);
    let venue = Arc::new(LocalVenue::start(Usdm::default(), world));
    let spec = venue.spec(&format!("binance-usdm:{}", natives.join(",")), "");
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let checker = Checker::start(&server, &venue, &pairs().collect::<Vec<_>>());
    wait_for(|| all.iter().all(|native| checker.is_live(native)).then_some(()));
    let mut random = Random::new(11);
    let mut lost: HashMap<&str, usize> = all.iter().map(|&native| (native, 0)).collect();
    let sum = Cell::new(0);
    venue.play_until(
        &script,
        || sum.get() == LOSSES,
        |_, step| {
            let own = lost.get_mut(step.native.as_str()).expect("a known symbol");
            let is_book = matches!(step.what, Happening::Book { .. });
            let go = sum.get() < LOSSES && is_book && checker.is_mended(&step.native, *own);
            (go && random.below(4) == 0).then(|| {
                *own += 1;
                sum.set(sum.get() + 1);
                Fault::Drop
            })
        },
    );
    let seen = checker.finish();
    assert_eq!(sum.get(), LOSSES);
    for (symbol, native) in pairs() {
        assert_eq!(seen[symbol].times("resync"), lost[native], "{symbol}");
        let trades = venue.world(|world| world.truths[native].trades.clone());
        assert_eq!(seen[symbol].trades, trades, "{symbol}");
    }
}
