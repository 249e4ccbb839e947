//! OKX, as its documentation has it, and what goes wrong with it: the connection, and single
//! messages. Its books' numbers are in `books`, subscriptions in `asks`.

mod asks;
mod books;
pub mod exchange;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::checker::{Checker, PATIENT, Seen};
use super::common::Server;
use super::local::{Fault, LONG, LocalVenue, wait_for};
use super::world::{Happening, Random, Step, World, invented};
use exchange::{Mood, Okx};

const NATIVES: [&str; 2] = ["BTC-USDT", "ETH-USDT"];

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    mood: Arc<Mutex<Mood>>,
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
}

/// An invented history of so many milliseconds' steps.
fn history(natives: &[&str], steps: usize) -> (World, Vec<Step>) {
    invented(natives, steps, 1_000_000, 7, usize::MAX, |random| random.below(4))
}

/// The same history, of two pairs, to be played.
fn begin(steps: usize, more: &str) -> Run {
    let (world, script) = history(&NATIVES, steps);
    begin_with(world, script, &NATIVES, more, |_| {})
}

/// A history of these symbols at a venue that is prepared in some way.
fn begin_with(
    world: World,
    script: Vec<Step>,
    natives: &[&str],
    more: &str,
    prepare: impl FnOnce(&mut Mood),
) -> Run {
    let mood = Arc::<Mutex<Mood>>::default();
    prepare(&mut mood.lock());
    let venue = Arc::new(LocalVenue::start(Okx::new(&mood), world));
    let (server, checker) = connect(&venue, natives, more);
    let lines = if more.contains("lines=2") { 2 } else { 1 };
    venue.wait_subscribed(3 * natives.len() * lines);
    Run { mood, venue, server, checker, script }
}

/// Tickcast, connected to a venue, and a client that checks these symbols.
fn connect(venue: &Arc<LocalVenue>, natives: &[&str], more: &str) -> (Server, Checker) {
    let spec = venue.spec(&format!("okx:{}", natives.join(",")), more);
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let names: Vec<String> = natives.iter().map(|native| name(native)).collect();
    let symbols: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(natives.iter().copied()).collect();
    let checker = Checker::start(&server, venue, &symbols);
    (server, checker)
}

/// What clients call a symbol.
fn name(native: &str) -> String {
    format!("okx:{native}")
}

impl Run {
    fn play_all(&self) {
        self.venue.play(&self.script, 1.0, |_, _| None);
    }

    /// The history with a fault every so often, from the 100th step on up to the last 500.
    fn play_with(self, every: usize, what: Fault) -> HashMap<String, Seen> {
        let end = self.script.len() - 500;
        self.venue.play(&self.script, 1.0, |index, _| {
            ((100..end).contains(&index) && index % every == 0).then_some(what)
        });
        self.checker.finish()
    }

    /// The same until both books were rebuilt so often; how many steps that took. What befalls a book
    /// befalls one that the client has: each fault shows.
    fn play_until_resynced(&self, times: usize, every: usize, what: Fault) -> usize {
        let enough = || self.checker.all_resynced(&NATIVES, times);
        self.venue.play_until(&self.script, enough, |index, step| {
            let may = index >= 100 && index % every == 0;
            (may && self.checker.is_live(&step.native)).then_some(what)
        })
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }

    /// Waits until so many messages of a kind were left out on purpose.
    fn wait_ignored(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let label = format!("\"{name}\"");
        self.server.wait_metric("tickcast_live_ignored_total", &label, wanted);
    }

    /// The requests so far.
    fn requests(&self) -> Vec<Value> {
        let heard = self.venue.heard().into_iter();
        let texts = heard.map(|(_, text)| text).filter(|text| text != "ping");
        texts.map(|text| serde_json::from_str(&text).expect("JSON")).collect()
    }

    /// Every book was right all the time, none was rebuilt, and all trades came.
    fn finish_whole(self) -> HashMap<String, Seen> {
        let seen = self.checker.finish();
        all_whole(&seen, &self.venue);
        seen
    }
}

/// All trades came, each once.
fn all_trades(seen: &HashMap<String, Seen>, venue: &LocalVenue) {
    for (symbol, seen) in seen {
        let native = symbol.strip_prefix("okx:").expect("of this venue");
        let trades = venue.world(|world| world.truths[native].trades.clone());
        // Of two connections one may be heard before what still lies in the other's buffer.
        let mut seen = seen.trades.clone();
        seen.sort_unstable();
        assert_eq!(seen, trades, "{symbol}");
    }
}

fn all_whole(seen: &HashMap<String, Seen>, venue: &LocalVenue) {
    all_trades(seen, venue);
    for (symbol, seen) in seen {
        assert!(seen.books > 50 && seen.quotes > 0, "{seen:?}");
        assert_eq!(seen.times("resync"), 0, "{symbol}: {:?}", seen.feed);
    }
}

/// The states of a feed that was live, but for that.
fn troubles(seen: &Seen) -> Vec<&str> {
    let since = seen.feed.iter().map(String::as_str).skip_while(|state| *state != "live");
    since.filter(|state| *state != "live").collect()
}

#[test]
fn an_undisturbed_stream_is_whole_and_never_resyncs() {
    let run = begin(1_000, "");
    run.play_all();
    // One request subscribes to all.
    let requests = run.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0]["op"], "subscribe");
    assert_eq!(requests[0]["args"].as_array().map(Vec::len), Some(6));
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

#[test]
fn a_lost_diff_is_noticed_and_only_its_book_is_subscribed_to_anew() {
    let run = begin(LONG, "");
    let venue = run.venue.clone();
    run.play_until_resynced(3, 150, Fault::Drop);
    let seen = run.checker.finish();
    let heard = venue.heard();
    let asks: Vec<Value> =
        heard[1..].iter().map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect();
    let mut mended = 0;
    for pair in asks.chunks(2) {
        assert_eq!((&pair[0]["op"], &pair[1]["op"]), (&"unsubscribe".into(), &"subscribe".into()));
        assert_eq!(pair[0]["args"], pair[1]["args"]);
        let args = pair[0]["args"].as_array().expect("args");
        assert!(args.iter().all(|arg| arg["channel"] == "books"));
        mended += args.len();
    }
    let breaks: usize = seen.values().map(|seen| seen.times("resync")).sum();
    assert_eq!(mended, breaks, "each break at the first try");
}

#[test]
fn what_comes_twice_is_put_once() {
    let run = begin(1_000, "");
    let venue = run.venue.clone();
    all_whole(&run.play_with(7, Fault::Repeat), &venue);
}

#[test]
fn what_comes_late_is_a_gap_and_never_applied_in_the_wrong_order() {
    let run = begin(LONG, "");
    let venue = run.venue.clone();
    run.play_until_resynced(1, 100, Fault::Late);
    all_trades(&run.checker.finish(), &venue);
}

#[test]
fn what_is_cut_is_kept_for_inspection_and_the_book_rebuilt() {
    let run = begin(LONG, "");
    run.play_until_resynced(1, 60, Fault::Cut);
    let (_, feeds) = run.server.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    let rejects = &feeds["feeds"][0]["rejects"][0];
    assert_eq!(rejects["kind"], "bad_json", "{feeds}");
    run.checker.finish();
}

/// Contracts are counted by the hundredth; the truth, and what clients see, by the bitcoin.
#[test]
fn contracts_become_units_of_the_base_currency() {
    let natives = ["BTC-USDT", "BTC-USDT-SWAP"];
    let (world, script) = history(&natives, 1_000);
    let run = begin_with(world, script, &natives, "", |_| {});
    run.play_all();
    run.finish_whole();
}

#[test]
fn a_book_of_five_levels_is_whole_each_time_and_what_is_lost_is_made_good_by_the_next() {
    let (world, script) = invented(&NATIVES, 1_000, 1_000_000, 7, 5, |random| random.below(4));
    let run = begin_with(world, script, &NATIVES, ",depth=5", |_| {});
    let lost = |index: usize, step: &Step| {
        let is_book = matches!(step.what, Happening::Book { .. });
        (index < 900 && index.is_multiple_of(5) && is_book).then_some(Fault::Drop)
    };
    run.venue.play(&run.script, 1.0, lost);
    assert_eq!(run.requests()[0]["args"][2]["channel"], "books5");
    run.finish_whole();
}

#[test]
fn a_reset_connection_is_stale_then_whole_again() {
    let run = begin(1_200, "");
    run.venue.play(&run.script[..600], 1.0, |_, _| None);
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    run.venue.wait_subscribed(6);
    run.venue.play(&run.script[600..], 1.0, |_, _| None);
    for seen in run.checker.finish().values() {
        assert!(troubles(seen).contains(&"stale"), "{:?}", seen.feed);
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
fn a_close_is_a_loss_and_says_why() {
    let run = begin(100, "");
    run.play_all();
    run.venue.close_all(4006, "Too many channels.");
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("code 4006 Too many channels."), "{feeds}");
    run.checker.finish();
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
    assert!(seen.values().all(|seen| troubles(seen).contains(&"stale")), "{seen:?}");
}

/// The venue closes what is quiet for three seconds; a ping goes out after one.
#[test]
fn a_quiet_connection_is_kept_by_pings_in_text() {
    let (world, script) = history(&NATIVES, 300);
    let venue = Arc::new(LocalVenue::start(Okx::impatient(Duration::from_secs(3)), world));
    let (server, checker) = connect(&venue, &NATIVES, ",silence=1");
    venue.wait_subscribed(6);
    venue.play(&script, 1.0, |_, _| None);
    let quiet = Instant::now();
    wait_for(|| (quiet.elapsed() >= Duration::from_secs(5)).then_some(()));
    let pings = venue.heard().iter().filter(|(_, text)| text == "ping").count();
    assert!(pings >= 2, "{:?}", venue.heard());
    server.wait_metric("tickcast_live_ignored_total", "\"pong\"", |pongs| pongs >= 2.0);
    assert_eq!(venue.connections(), (1, 1));
    assert_eq!(server.metric("tickcast_live_losses_total", ""), 0.0);
    all_whole(&checker.finish(), &venue);
}

#[test]
fn a_silent_connection_is_found_dead() {
    let run = begin(300, ",silence=1");
    run.play_all();
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let heard = run.venue.heard();
    assert!(heard.iter().any(|(_, text)| text == "ping"), "asked before it was given up");
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| troubles(seen).contains(&"stale")), "{seen:?}");
}

#[test]
fn a_shutdown_that_is_announced_loses_nothing() {
    let run = begin(3_000, "");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.wait_live("messages_total", |n| n > 100.0);
        run.venue.announce_shutdown();
        run.wait_live("replaced_total", |n| n == 1.0);
    });
    assert_eq!(run.venue.connections(), (2, 1));
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

#[test]
fn a_connection_is_replaced_before_its_life_ends_and_nothing_is_lost() {
    let run = begin(6_000, ",life=2");
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

#[test]
fn of_two_lines_one_may_die_and_nobody_notices() {
    let run = begin(3_000, ",lines=2");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.wait_live("messages_total", |n| n > 500.0);
        run.venue.abort_first();
        run.wait_live("losses_total", |n| n == 1.0);
    });
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

/// One message lost at each of 200 random places; each loss is one of its own: the client has the
/// book again before the next. Over so many symbols that none breaks too often to be mended at
/// once, and that one connection's 480 requests are enough.
#[test]
fn two_hundred_losses_and_no_wrong_book() {
    const LOSSES: usize = 200;
    let natives: Vec<String> = (0..29).map(|n| format!("C{n}-USDT")).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let (world, script) = history(&natives, 60_000);
    let run = begin_with(world, script, &natives, "", |_| {});
    let mut random = Random::new(11);
    let mut lost: HashMap<&str, usize> = natives.iter().map(|&native| (native, 0)).collect();
    // As long as it takes, and some more, which show whether it recovers from the last loss.
    let mut more = 1_000;
    let mut steps = run.script.chunks(100);
    while more > 0 {
        let total = lost.values().sum::<usize>();
        more -= if total == LOSSES { 100 } else { 0 };
        run.venue.play(steps.next().expect("steps enough"), 1.0, |_, step| {
            let total = lost.values().sum::<usize>();
            let own = lost.get_mut(step.native.as_str()).expect("a known symbol");
            let is_book = matches!(step.what, Happening::Book { .. });
            let may = total < LOSSES && *own < 8 && is_book;
            (may && run.checker.is_mended(&step.native, *own) && random.below(3) == 0).then(|| {
                *own += 1;
                Fault::Drop
            })
        });
    }
    let requests = run.requests().len();
    let seen = run.checker.finish();
    for native in natives {
        assert_eq!(seen[&name(native)].times("resync"), lost[native], "{native}");
    }
    assert_eq!(lost.values().sum::<usize>(), LOSSES);
    assert!(requests <= 1 + 2 * LOSSES, "{requests}");
}
