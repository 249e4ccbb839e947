//! Bybit, spot and linear contracts, and what goes wrong with it.
//!
//! What no test can show, because nothing on the wire does: a price or size that is wrong while the
//! numbers are right (there is no checksum), a stream that lacks its last messages, and an
//! announcement of a shutdown, which this venue does not make.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::checker::{Checker, PATIENT, Seen};
use super::common::{Server, pause};
use super::local::{Fault, LONG, LocalVenue, wait_for};
use super::world::{Happening, Random, Step, invented};

pub mod exchange;

use Market::{Linear, Spot};
use exchange::{Bybit, Market, Mood, Slip, number_trades};

const PAIR: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

/// Levels a side; spot's are tickcast's default, linear's are few enough for levels to leave.
fn depth(market: Market) -> usize {
    match market {
        Spot => 200,
        Linear => 50,
    }
}

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    market: Market,
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
    mood: Arc<Mutex<Mood>>,
    /// Symbols that are served.
    natives: Vec<String>,
}

/// An invented history of so many milliseconds' steps.
fn begin(market: Market, steps: usize, more: &str) -> Run {
    begin_with(market, &PAIR, steps, more, Mood::default())
}

/// The same of these symbols, at a venue in this mood; begins when all topics are subscribed to that
/// are not refused.
fn begin_with(market: Market, natives: &[&str], steps: usize, more: &str, mood: Mood) -> Run {
    let (world, mut script) = invented(natives, steps, 1_000_000, 5, depth(market), |r| r.below(4));
    number_trades(&mut script);
    let served = |native: &&&str| !mood.refused.iter().any(|refused| refused == **native);
    let natives: Vec<String> = natives.iter().filter(served).map(|&n| n.to_owned()).collect();
    let mood = Arc::new(Mutex::new(mood));
    let page = if natives.len() < 10 { 1 } else { 50 };
    let exchange = Bybit::new(market, depth(market), page, mood.clone());
    let venue = Arc::new(LocalVenue::start(exchange, world));
    let more = format!(",depth={}{more}", depth(market));
    let spec = venue.spec(&format!("{}:*", market.venue()), &more);
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let names: Vec<String> = natives.iter().map(|native| market.symbol(native)).collect();
    let symbols: Vec<(&str, &str)> =
        names.iter().zip(&natives).map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let checker = Checker::start(&server, &venue, &symbols);
    let lines = if more.contains("lines=2") { 2 } else { 1 };
    venue.wait_subscribed(3 * natives.len() * lines);
    Run { market, venue, server, checker, script, mood, natives }
}

impl Run {
    /// The history with a fault every so often, from the 100th step on, until books were rebuilt so
    /// often, all together.
    fn play_until_resynced(&self, times: usize, every: usize, what: Fault) {
        let enough =
            || self.natives.iter().map(|n| self.checker.resyncs(n)).sum::<usize>() >= times;
        self.venue.play_until(&self.script, enough, |index, step| {
            let is_book = matches!(step.what, Happening::Book { .. });
            (is_book && index >= 100 && index % every == 0).then_some(what)
        });
    }

    fn play_all(&self) {
        self.venue.play(&self.script, 1.0, |_, _| None);
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }

    fn live(&self, name: &str) -> f64 {
        self.server.metric(&format!("tickcast_live_{name}"), "")
    }

    /// Every book was right all the time, and every trade came once.
    fn finish_whole(self) -> HashMap<String, Seen> {
        let seen = self.checker.finish();
        for native in &self.natives {
            let seen = &seen[&self.market.symbol(native)];
            let trades = self.venue.world(|world| world.truths[native].trades.clone());
            let lost: Vec<_> = trades.iter().filter(|id| !seen.trades.contains(id)).collect();
            assert!(seen.trades == trades, "{native}: lost {lost:?} of {}", trades.len());
            assert!(seen.books > 0 && seen.quotes > 0, "{native}: {seen:?}");
            assert_eq!(seen.times("resync"), 0, "{native}: {:?}", seen.feed);
        }
        seen
    }

    /// The requests of this kind that were heard: when, and what they name.
    fn requests(&self, op: &str) -> Vec<(Instant, Vec<String>)> {
        let read = |(at, text): (Instant, String)| {
            let request: Value = serde_json::from_str(&text).expect("JSON");
            let args = request["args"].as_array().cloned().unwrap_or_default();
            let args = args.iter().map(|arg| arg.as_str().expect("a topic").to_owned());
            (request["op"] == op).then(|| (at, args.collect()))
        };
        self.venue.heard().into_iter().filter_map(read).collect()
    }
}

fn undisturbed(market: Market) {
    let run = begin(market, 2_000, "");
    run.play_all();
    let requests = run.requests("subscribe");
    assert_eq!(requests.len(), 1);
    let (trade, best, book) =
        ("publicTrade.", "orderbook.1.", format!("orderbook.{}.", depth(market)));
    let expected =
        PAIR.iter().flat_map(|native| [trade, best, &book].map(|t| format!("{t}{native}")));
    assert_eq!(requests[0].1, expected.collect::<Vec<_>>());
    assert_eq!((run.live("refused_total"), run.live("recoveries_total")), (0.0, 0.0));
    assert_eq!(run.server.metric("tickcast_feed_rejected_total", ""), 0.0);
    let seen = run.finish_whole();
    assert!(seen.values().all(|seen| seen.times("stale") <= 1 && seen.books > 500), "{seen:?}");
}

#[test]
fn an_undisturbed_stream_of_spot_is_whole_and_never_resyncs() {
    undisturbed(Spot);
}

/// Its list has pages, and levels leave its book.
#[test]
fn an_undisturbed_stream_of_contracts_is_whole_and_never_resyncs() {
    undisturbed(Linear);
}

#[test]
fn a_lost_delta_is_noticed_and_the_book_subscribed_to_anew() {
    for market in [Spot, Linear] {
        let run = begin(market, LONG, "");
        let venue = run.venue.clone();
        run.play_until_resynced(2, 300, Fault::Drop);
        run.checker.finish();
        // Books only: trades and quotes go on.
        let heard = venue.heard();
        let ended: Vec<_> = heard.iter().filter(|(_, text)| text.contains("unsub")).collect();
        let book = format!("[\"orderbook.{}.", depth(market));
        assert!(!ended.is_empty() && ended.iter().all(|(_, text)| text.contains(&book)));
    }
}

#[test]
fn what_comes_twice_is_put_once() {
    for market in [Spot, Linear] {
        let run = begin(market, 1_000, "");
        run.venue.play(&run.script, 1.0, |index, _| (index % 3 == 0).then_some(Fault::Repeat));
        run.finish_whole();
    }
}

#[test]
fn what_comes_late_is_a_gap_and_never_applied_in_the_wrong_order() {
    let run = begin(Spot, LONG, "");
    run.play_until_resynced(1, 150, Fault::Late);
    run.checker.finish();
}

#[test]
fn what_is_cut_is_kept_for_inspection_and_the_book_rebuilt() {
    let run = begin(Spot, 1_000, "");
    run.venue.play(&run.script, 1.0, |index, step| {
        let is_book = matches!(step.what, Happening::Book { .. });
        (is_book && (300..303).contains(&index)).then_some(Fault::Cut)
    });
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("bad_json"), "{feeds}");
    let seen = run.checker.finish();
    assert!(seen.values().any(|seen| seen.times("resync") >= 1), "{seen:?}");
}

/// The character that is changed is of the topic, which then is not that of the data.
#[test]
fn what_names_two_symbols_is_rejected() {
    let run = begin(Spot, 1_000, "");
    run.venue.play(&run.script, 1.0, |index, step| {
        let is_book = matches!(step.what, Happening::Book { .. });
        (is_book && (300..303).contains(&index)).then_some(Fault::Corrupt)
    });
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("expected the symbol of the topic"), "{feeds}");
    let seen = run.checker.finish();
    assert!(seen.values().any(|seen| seen.times("resync") >= 1), "{seen:?}");
}

#[test]
fn wrong_numbers_and_crossed_books_are_not_believed() {
    for slip in [Slip::UpdateId, Slip::Crossed] {
        let run = begin(Linear, 600, "");
        run.venue.play(&run.script[..300], 1.0, |_, _| None);
        run.mood.lock().slip = Some(slip);
        run.venue.play(&run.script[300..], 0.5, |_, _| None);
        run.wait_live("recoveries_total", |n| n >= 1.0);
        let seen = run.checker.finish();
        // Twice where the ingest says so of a book that it refuses, and then the parser that is
        // told; or where nothing has happened between a wrong id and the snapshot.
        let resyncs = seen.values().map(|seen| seen.times("resync")).sum::<usize>();
        assert!((1..=2).contains(&resyncs), "{slip:?}: {resyncs}");
    }
}

#[test]
fn a_restart_of_the_service_is_a_new_book_and_no_gap() {
    for market in [Spot, Linear] {
        let run = begin(market, 1_600, "");
        for part in run.script.chunks(400) {
            run.venue.play(part, f64::INFINITY, |_, _| None);
            run.mood.lock().restarting = run.natives.clone();
        }
        assert_eq!(run.live("recoveries_total"), 0.0);
        run.finish_whole();
    }
}

#[test]
fn a_restart_of_which_the_first_message_is_lost_is_a_gap() {
    let run = begin(Spot, 1_000, "");
    run.venue.play(&run.script[..300], 1.0, |_, _| None);
    run.mood.lock().restarting = run.natives.clone();
    let mut lost = BTreeSet::new();
    run.venue.play(&run.script[300..], 1.0, |_, step| {
        let is_book = matches!(step.what, Happening::Book { .. });
        (is_book && lost.insert(step.native.clone())).then_some(Fault::Drop)
    });
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("resync") >= 1), "{seen:?}");
}

#[test]
fn a_reset_connection_is_stale_then_whole_again() {
    let run = begin(Linear, 1_200, "");
    run.venue.play(&run.script[..600], 1.0, |_, _| None);
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 1.0);
    run.venue.wait_subscribed(6);
    run.venue.play(&run.script[600..], f64::INFINITY, |_, _| None);
    // Trades that were on their way when it was reset are lost with it.
    let seen = run.checker.finish();
    for seen in seen.values() {
        let mut after_live = seen.feed.iter().skip_while(|state| *state != "live");
        assert!(after_live.any(|state| state == "stale"), "{:?}", seen.feed);
    }
}

#[test]
fn a_half_closed_connection_is_left_and_replaced() {
    let run = begin(Spot, 300, "");
    run.play_all();
    run.venue.half_close_all();
    run.wait_live("connects_total", |n| n == 2.0);
    run.finish_whole();
}

#[test]
fn a_venue_that_dies_is_come_back_to() {
    let run = begin(Spot, 500, "");
    run.play_all();
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 2.0);
    run.venue.come_back();
    run.venue.wait_subscribed(6);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

#[test]
fn a_silent_connection_is_asked_in_the_venues_own_words_before_it_is_left() {
    let run = begin(Spot, 300, ",silence=1");
    run.play_all();
    // Quiet, but pings are answered: nothing is stale.
    wait_for(|| (run.requests("ping").len() >= 3).then_some(()));
    assert_eq!((run.live("losses_total"), run.live("connects_total")), (0.0, 1.0));
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let seen = run.finish_whole();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

#[test]
fn a_connection_is_replaced_before_its_life_ends_and_nothing_is_lost() {
    let run = begin(Linear, 5_000, ",life=2");
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    run.finish_whole();
}

/// The older of two connections is always behind the younger one.
#[test]
fn a_connection_is_replaced_by_one_that_is_ahead_and_nothing_is_lost() {
    let run = begin(Spot, 5_000, ",life=2");
    std::thread::scope(|scope| {
        let played = scope.spawn(|| run.play_all());
        while !played.is_finished() {
            run.venue.stall_first(Duration::from_millis(400));
            (0..39).for_each(|_| pause());
        }
    });
    run.wait_live("replaced_total", |n| n >= 1.0);
    run.finish_whole();
}

/// All but one of the younger connection's requests are refused, and what they asked for takes
/// longer, part by part, than two connections overlap.
#[test]
fn a_connection_is_replaced_only_by_one_that_has_all_that_it_has() {
    let run = begin_with(Spot, &refs(&many(25)), 8_500, ",life=4", Mood::default());
    run.mood.lock().busy = 7;
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    assert_eq!(run.live("refused_total"), 7.0);
    run.finish_whole();
}

#[test]
fn of_two_lines_one_may_die_and_nobody_notices() {
    let run = begin(Linear, 3_000, ",lines=2");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.wait_live("messages_total", |n| n > 500.0);
        run.mood.lock().restarting = run.natives.clone();
        run.venue.abort_first();
        run.wait_live("losses_total", |n| n == 1.0);
    });
    let seen = run.finish_whole();
    for seen in seen.values() {
        let mut after_start = seen.feed.iter().skip_while(|state| *state != "live");
        assert!(after_start.all(|state| state == "live"), "{:?}", seen.feed);
    }
}

#[test]
fn a_snapshot_may_come_long_after_the_deltas() {
    let mood = Mood { holds_snapshots: true, ..Mood::default() };
    let run = begin_with(Spot, &PAIR, 1_500, "", mood);
    run.venue.play(&run.script[..700], 1.0, |_, _| None);
    assert!(!PAIR.iter().any(|native| run.checker.is_live(native)));
    run.mood.lock().holds_snapshots = false;
    run.venue.play(&run.script[700..], f64::INFINITY, |_, _| None);
    assert_eq!(run.live("recoveries_total"), 0.0);
    run.finish_whole();
}

/// So many symbols.
fn many(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("C{n:03}USDT")).collect()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// One symbol of nine is refused, with ten topics in a request: the three requests that it, or a
/// neighbour of it, is in would be lost.
fn refused(market: Market, is_terse: bool, more: &str) -> Run {
    let mood = Mood { refused: vec!["C004USDT".to_owned()], is_terse, ..Mood::default() };
    begin_with(market, &refs(&many(9)), 4_000, more, mood)
}

#[test]
fn a_refused_symbol_costs_nobody_else_anything() {
    for (market, is_terse) in [(Spot, false), (Linear, true)] {
        let run = refused(market, is_terse, "");
        assert_eq!(run.live("links"), 1.0);
        run.play_all();
        let asked = run.requests("subscribe");
        let of_it = |args: &Vec<String>| args.iter().any(|arg| arg.ends_with("C004USDT"));
        let (whole, parts): (Vec<_>, Vec<_>) = asked.iter().partition(|(_, args)| args.len() > 1);
        // Each request once, and each part of the refused one; the book that is refused for good is
        // asked for again now and then.
        let distinct: std::collections::BTreeSet<_> = parts.iter().map(|(_, args)| args).collect();
        assert_eq!((whole.len(), distinct.len()), (3, 10), "{asked:?}");
        assert_eq!(whole.iter().filter(|(_, args)| of_it(args)).count(), 1);
        assert_eq!(distinct.iter().filter(|args| of_it(args)).count(), 3);
        assert!(run.live("refused_total") >= 4.0);
        let (_, feeds) = run.server.get("/v1/feeds");
        assert!(feeds.contains("error:handler not found,topic:"), "{feeds}");
        run.finish_whole();
    }
}

#[test]
fn a_refused_symbol_does_not_hurt_when_a_connection_is_replaced() {
    let run = refused(Spot, false, ",life=2");
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    run.finish_whole();
}

#[test]
fn a_venue_that_is_busy_is_asked_again() {
    for busy in [1, 3] {
        let mood = Mood { busy, ..Mood::default() };
        let run = begin_with(Linear, &refs(&many(9)), 500, "", mood);
        run.play_all();
        assert_eq!(run.live("refused_total"), f64::from(busy));
        run.finish_whole();
    }
}

#[test]
fn requests_are_within_what_the_venue_takes() {
    let run = begin_with(Spot, &refs(&many(120)), 500, "", Mood::default());
    run.play_all();
    let requests = run.requests("subscribe");
    assert!(requests.len() == 36 && requests.iter().all(|(_, args)| args.len() == 10));
    let topics: BTreeSet<&String> = requests.iter().flat_map(|(_, args)| args).collect();
    assert_eq!(topics.len(), 360, "each once");
    let chars: usize = requests.iter().map(|(_, args)| format!("{args:?}").len()).sum();
    assert!(chars <= 21_000, "{chars}");
    // Twenty a second: on a busy machine the first may come late, but not so late.
    assert!(requests[20].0 - requests[0].0 >= Duration::from_millis(500));
    assert_eq!(run.live("refused_total"), 0.0);
    run.finish_whole();
}

/// One message lost at each of fifty random places; each loss is one of its own: the client has the
/// book again before the next of its symbol. There are 25 symbols, and a tenth of a second from loss
/// to loss: what is subscribed to anew takes two of the twenty requests a second.
fn fifty_losses(market: Market, seed: u64) {
    const LOSSES: usize = 50;
    let run = begin_with(market, &refs(&many(25)), 8_000, "", Mood::default());
    let mut random = Random::new(seed);
    let (mut lost, mut next) = (HashMap::<String, usize>::new(), 100);
    run.venue.play(&run.script, 1.0, |index, step| {
        let is_book = matches!(step.what, Happening::Book { .. });
        let total: usize = lost.values().sum();
        if index < next || total == LOSSES || !is_book || !run.checker.is_live(&step.native) {
            return None;
        }
        next = index + 110 + random.below(20) as usize;
        *lost.entry(step.native.clone()).or_default() += 1;
        Some(Fault::Drop)
    });
    let seen = run.checker.finish();
    let resyncs: usize = seen.values().map(|seen| seen.times("resync")).sum();
    let losses: usize = lost.values().sum();
    println!("{losses} losses, {resyncs} resyncs, of {} symbols", lost.len());
    assert_eq!(losses, LOSSES);
    // What changes nothing that is shown has no message that could be lost.
    assert!((losses * 9 / 10..=losses).contains(&resyncs), "{resyncs}");
}

#[test]
fn fifty_losses_in_spot_and_no_wrong_book() {
    fifty_losses(Spot, 11);
}

#[test]
fn fifty_other_losses_in_spot_and_no_wrong_book() {
    fifty_losses(Spot, 12);
}

#[test]
fn fifty_losses_in_contracts_and_no_wrong_book() {
    fifty_losses(Linear, 13);
}

#[test]
fn fifty_other_losses_in_contracts_and_no_wrong_book() {
    fifty_losses(Linear, 14);
}
