//! One test per fault, with invented histories.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::super::checker::{Seen, Trust};
use super::super::local::{Fault, LONG, wait_for};
use super::super::world::{Happening, Step, invented};
use super::{CHANNELS, Coinbase, Run, Terms, all_whole, aside, feed, ignored, native};
use super::{quotes_are_right, with_beats, with_tickers};

/// Steps are a millisecond apart, heartbeats fifty.
fn begin(steps: usize, more: &str) -> Run {
    begin_as(Coinbase::default(), steps, Terms { more, ..Terms::default() })
}

fn begin_as(protocol: Coinbase, steps: usize, terms: Terms<'_>) -> Run {
    let mut natives = vec!["BTC-USD", "ETH-USD"];
    natives.extend((!terms.besides.is_empty()).then_some(terms.besides));
    let (world, script) = invented(&natives, steps, 1_000_000, 7, usize::MAX, |_| 1);
    Run::begin(protocol, world, with_beats(with_tickers(script), 50_000_000), terms)
}

fn is_book(step: &Step) -> bool {
    matches!(step.what, Happening::Book { .. })
}

fn is_trade(step: &Step) -> bool {
    matches!(step.what, Happening::Trade(_))
}

fn never(state: &str, seen: &HashMap<String, Seen>) {
    let states: Vec<_> = seen.values().map(|seen| &seen.feed).collect();
    assert!(seen.values().all(|seen| seen.times(state) == 0), "{states:?}");
}

impl Run {
    /// A fault for every so many of the steps that `which` picks, from the hundredth step on and
    /// not at the end; what was hit.
    fn play_with(&self, every: usize, fault: Fault, which: impl Fn(&Step) -> bool) -> Vec<Step> {
        let (mut met, mut hit) = (0, Vec::new());
        self.venue.play(&self.script, 1.0, |index, step| {
            if index < 100 || index + 100 > self.script.len() || !which(step) {
                return None;
            }
            met += 1;
            (met % every == 0).then(|| {
                hit.push(step.clone());
                fault
            })
        });
        hit
    }

    /// Hits trades one at a time, some of each product: each is found missing, and the book is there
    /// again, before the next one of its product.
    fn play_with_trades(&self, fault: Fault) -> Vec<Step> {
        let mut hit: Vec<Step> = Vec::new();
        let enough = || self.checker.all_resynced(&["BTC-USD", "ETH-USD"], 4);
        self.venue.play_until(&self.script, enough, |index, step| {
            let before = hit.iter().filter(|other| other.native == step.native).count();
            let go = index >= 100 && is_trade(step);
            (go && self.checker.is_mended(&step.native, before)).then(|| {
                hit.push(step.clone());
                fault
            })
        });
        hit
    }

    /// The ids of the trades that are among these steps of a product.
    fn trades_of(steps: &[Step], native: &str) -> Vec<u64> {
        let id = |step: &Step| match &step.what {
            Happening::Trade(trade) if step.native == native => Some(trade.id),
            _ => None,
        };
        steps.iter().filter_map(id).collect()
    }
}

#[test]
fn an_undisturbed_stream_is_whole_and_never_resyncs() {
    let run = begin(1_000, "");
    run.play_all();
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
    // One request subscribes to all, and nothing else is ever sent: the venue demands no pings.
    let heard = venue.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let request: Value = serde_json::from_str(&heard[0].1).expect("JSON");
    assert_eq!(request["type"], "subscribe");
    assert_eq!(request["product_ids"], Value::from(vec!["BTC-USD", "ETH-USD"]));
    let mut channels: Vec<&str> =
        request["channels"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    channels.sort_unstable();
    assert_eq!(channels, CHANNELS);
    // "You are disconnected if no subscribe has been received within 5 seconds."
    assert!(venue.first_words().iter().all(|wait| *wait < Duration::from_secs(5)));
}

#[test]
fn what_comes_twice_is_put_once() {
    let run = begin(1_000, "");
    run.play_with(7, Fault::Repeat, |_| true);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
}

#[test]
fn a_lost_match_is_noticed_and_the_book_of_its_connection_rebuilt() {
    let run = begin(LONG, "");
    let lost = run.play_with_trades(Fault::Drop);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    for (symbol, seen) in &seen {
        let mut trades = venue.world(|world| world.truths[native(symbol)].trades.clone());
        let lost = Run::trades_of(&lost, native(symbol));
        trades.retain(|id| !lost.contains(id));
        assert_eq!(seen.trades, trades, "{symbol}");
        assert!(lost.len() > 1 && seen.times("resync") == lost.len(), "{symbol}: {:?}", seen.feed);
        quotes_are_right(symbol, seen);
    }
}

/// The next one shows that it is missing. When it comes it is too old to be put: ids never go back.
#[test]
fn a_match_that_comes_late_is_as_good_as_lost() {
    let run = begin(LONG, "");
    let late = run.play_with_trades(Fault::Late);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    for (symbol, seen) in &seen {
        let mut trades = venue.world(|world| world.truths[native(symbol)].trades.clone());
        let late = Run::trades_of(&late, native(symbol));
        trades.retain(|id| !late.contains(id));
        assert_eq!(seen.trades, trades, "{symbol}");
        assert!(late.len() > 1 && seen.times("resync") == late.len(), "{symbol}: {:?}", seen.feed);
    }
}

/// Updates have no numbers and no checksum: a wrong book need not show. That it is not crossed the
/// client of the test checks; and with the next snapshot it is right.
fn update_that_does_not_show(fault: Fault) {
    let run =
        begin_as(Coinbase::default(), 1_500, Terms { trust: Trust::Lossy, ..Terms::default() });
    let hit = run.play_with(40, fault, is_book);
    assert!(hit.len() > 10);
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 1.0);
    run.venue.wait_subscribed(8);
    let (_, script) = invented(&["BTC-USD", "ETH-USD"], 1_800, 1_000_000, 7, usize::MAX, |_| 1);
    run.venue.play(&script[1_500..], f64::INFINITY, |_, _| None);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    assert!(seen.values().any(|seen| seen.wrong > 0), "{fault:?} was none: {seen:?}");
    for (symbol, seen) in &seen {
        let right = venue.world(|world| world.truths[native(symbol)].hash());
        assert_eq!(seen.book.as_ref().map(|book| book.hash()), Some(right), "{symbol}");
        quotes_are_right(symbol, seen);
    }
}

#[test]
fn a_lost_update_may_not_show_and_the_next_snapshot_mends_it() {
    update_that_does_not_show(Fault::Drop);
}

#[test]
fn a_late_update_may_not_show_and_the_next_snapshot_mends_it() {
    update_that_does_not_show(Fault::Late);
}

#[test]
fn a_corrupt_update_may_not_show_and_the_next_snapshot_mends_it() {
    update_that_does_not_show(Fault::Corrupt);
}

/// What it was cannot be told, so it may have been an update: no book of the connection is right.
#[test]
fn what_is_cut_is_kept_for_inspection_and_the_books_rebuilt() {
    let run = begin(1_500, "");
    let hit = run.play_with(100, Fault::Cut, is_book);
    assert!(hit.len() > 5);
    let rejects = &feed(&run.server)["rejects"][0];
    assert_eq!(rejects["kind"], "bad_json", "{rejects}");
    assert!(rejects["text"].as_str().expect("the text").starts_with("{\"type\":\"l2update"));
    let seen = run.checker.finish();
    for (symbol, seen) in &seen {
        assert!(seen.times("resync") >= 1, "{symbol}: {:?}", seen.feed);
        quotes_are_right(symbol, seen);
    }
}

#[test]
fn a_crossed_book_is_seen_by_nobody_and_rebuilt() {
    let mut run = begin(1_000, "");
    run.script.insert(600, aside("BTC-USD", run.script[600].at_ns, "cross"));
    run.play_all();
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    assert_eq!(seen["coinbase:BTC-USD"].times("resync"), 1, "{:?}", seen["coinbase:BTC-USD"].feed);
    assert_eq!(seen["coinbase:ETH-USD"].times("resync"), 0);
    let heard: Vec<Value> =
        venue.heard().iter().map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect();
    let kinds: Vec<&Value> = heard.iter().map(|request| &request["type"]).collect();
    assert_eq!(kinds, ["subscribe", "unsubscribe", "subscribe"]);
    for again in &heard[1..] {
        assert_eq!(again["product_ids"], Value::from(vec!["BTC-USD"]));
        assert_eq!(again["channels"], Value::from(vec!["level2_batch"]));
    }
}

#[test]
fn a_venue_that_counts_anew_has_its_book_asked_for_anew() {
    let mut run = begin(1_000, "");
    run.script.insert(600, aside("ETH-USD", run.script[600].at_ns, "restart"));
    // The other one's heartbeats go back too.
    run.play_all();
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    assert!(seen["coinbase:ETH-USD"].times("resync") == 1, "{:?}", seen["coinbase:ETH-USD"].feed);
}

#[test]
fn a_reset_connection_is_stale_then_whole_again() {
    let run = begin(1_200, "");
    let (before, after) = run.script.split_at(600);
    let after = after.to_vec();
    run.venue.play(before, 1.0, |_, _| None);
    run.venue.abort_all();
    run.wait_live("losses_total", |n| n == 1.0);
    run.venue.wait_subscribed(8);
    run.venue.play(&after, f64::INFINITY, |_, _| None);
    let seen = run.checker.finish();
    for (symbol, seen) in &seen {
        // What was under way is lost with the connection; nothing is after it.
        let since = Run::trades_of(&after, native(symbol));
        assert!(seen.trades.ends_with(&since) && !since.is_empty(), "{symbol}: {:?}", seen.trades);
        quotes_are_right(symbol, seen);
        let mut after_live = seen.feed.iter().skip_while(|state| *state != "live");
        assert!(after_live.any(|state| state == "stale"), "{:?}", seen.feed);
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
fn a_silent_connection_is_found_dead() {
    let run = begin(300, ",silence=2");
    run.play_all();
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

#[test]
fn a_venue_that_dies_is_come_back_to() {
    let run = begin(500, "");
    run.play_all();
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 2.0);
    run.venue.come_back();
    run.venue.wait_subscribed(8);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("stale") >= 1), "{seen:?}");
}

/// `ErrSlowConsume` and its like: a close, after which the connection is made anew.
#[test]
fn a_close_is_a_loss() {
    let run = begin(100, "");
    run.play_all();
    run.venue.ping_all();
    run.venue.close_all(1008, "ErrSlowConsume");
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    assert!(feed(&run.server).to_string().contains("code 1008 ErrSlowConsume"));
    run.checker.finish();
}

#[test]
fn a_connection_is_replaced_before_its_life_ends_and_nothing_is_lost() {
    let terms = Terms { more: ",life=2", trust: Trust::UnnumberedLines, ..Terms::default() };
    let run = begin_as(Coinbase::default(), 5_000, terms);
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
}

/// One connection has the book. When it dies the other one's is asked for: a short resync. Trades
/// come over both.
#[test]
fn of_two_lines_one_may_die_and_no_trade_is_lost() {
    let terms = Terms { more: ",lines=2", trust: Trust::UnnumberedLines, ..Terms::default() };
    let run = begin_as(Coinbase::default(), 4_000, terms);
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        let messages = |more: f64| {
            let now = run.server.metric("tickcast_live_messages_total", "");
            run.wait_live("messages_total", |n| n > now + more);
        };
        messages(500.0);
        run.venue.abort_first();
        run.wait_live("losses_total", |n| n == 1.0);
        run.wait_live("links", |n| n == 2.0);
        // Whoever comes last has the books: now that one dies.
        messages(500.0);
        run.venue.abort_newest();
        run.wait_live("losses_total", |n| n == 2.0);
    });
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    for (symbol, seen) in &seen {
        let mut after_live = seen.feed.iter().skip_while(|state| *state != "live");
        assert!(after_live.all(|state| state != "stale"), "{symbol}: {:?}", seen.feed);
        assert!((1..=2).contains(&seen.times("resync")), "{symbol}: {:?}", seen.feed);
    }
}

#[test]
fn a_snapshot_may_come_after_updates() {
    let protocol = Coinbase { late: 40, ..Coinbase::default() };
    let run = begin_as(protocol, 1_000, Terms::default());
    run.play_all();
    // Counters are published once a second.
    wait_for(|| (ignored(&run.server, "l2update before a snapshot") >= 70).then_some(()));
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
}

/// Fifty products a connection, one request each; at once, or the venue hangs up.
#[test]
fn many_products_are_spread_over_connections() {
    let names: Vec<String> = (0..120).map(|n| format!("T{n}-USD")).collect();
    let natives: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, script) = invented(&natives, 2_500, 1_000_000, 3, usize::MAX, |_| 1);
    let script = with_beats(script, 200_000_000);
    let run = Run::begin(Coinbase::default(), world, script, Terms::default());
    run.play_all();
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
    let mut sizes: Vec<usize> = Vec::new();
    for (_, text) in venue.heard() {
        let request: Value = serde_json::from_str(&text).expect("JSON");
        sizes.push(request["product_ids"].as_array().map_or(0, Vec::len));
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 50, 50]);
    assert_eq!(venue.connections(), (3, 3));
    let first_words = venue.first_words();
    assert!(first_words.iter().all(|wait| *wait < Duration::from_secs(5)), "{first_words:?}");
}

#[test]
fn a_product_that_does_not_exist_ends_the_feed_with_a_hint() {
    use super::super::common::Server;
    use super::super::local::LocalVenue;
    let (world, _) = invented(&["BTC-USD"], 1, 1, 1, usize::MAX, |_| 1);
    let venue = LocalVenue::start(Coinbase::default(), world);
    let server = Server::start(&["--feed", &venue.spec("coinbase:BTC-USDX", "")]);
    server.wait_metric("tickcast_feed_up", "", |up| up == 0.0);
    wait_for(|| server.get("/v1/feeds").1.contains("failed").then_some(()));
}

#[test]
fn one_product_that_is_refused_does_not_keep_the_others_out() {
    let protocol = Coinbase { refused: vec!["DEAD-USD"], ..Coinbase::default() };
    let terms = Terms { besides: "DEAD-USD", ..Terms::default() };
    let run = begin_as(protocol, 1_000, terms);
    run.play_all();
    let venue = run.venue.clone();
    assert!(
        feed(&run.server).to_string().contains("DEAD-USD is not a valid product"),
        "{}",
        feed(&run.server)
    );
    let seen = run.checker.finish();
    all_whole(&seen, &venue);
    never("resync", &seen);
}
