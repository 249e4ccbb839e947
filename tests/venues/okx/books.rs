//! The numbers of OKX's books: what they show, what they do not, and where they start over.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// The numbers of a book start over at a step: it and all after it are lower by so much.
fn start_over(script: &mut [Step], native: &str, from: usize, by: u64) {
    let mut is_first = true;
    for step in script[from..].iter_mut().filter(|step| step.native == native) {
        if let Happening::Book { first, last, .. } = &mut step.what {
            // What it follows has the old number.
            *first -= if std::mem::take(&mut is_first) { 0 } else { by };
            *last -= by;
        }
    }
}

/// The first step that changes the book of a symbol, from here on.
fn next_change(script: &[Step], native: &str, from: usize) -> usize {
    let is_change = |step: &Step| match &step.what {
        Happening::Book { changes, .. } => step.native == native && !changes.is_empty(),
        _ => false,
    };
    from + script[from..].iter().position(is_change).expect("a change")
}

/// The last number of a symbol's book in a script.
fn last_number(script: &[Step], native: &str) -> u64 {
    let number = |step: &Step| match step.what {
        Happening::Book { last, .. } if step.native == native => Some(last),
        _ => None,
    };
    script.iter().rev().find_map(number).unwrap_or(1_000)
}

/// "If there is no update of the depth for a period of time (about 60 s), the system sends a message
/// with an empty asks and bids; its seqId is the same as the last message's, and prevSeqId equals
/// to seqId."
fn keep_alive(script: &[Step], native: &str, at_ns: u64) -> Step {
    let last = last_number(script, native);
    let what = Happening::Book { first: last + 1, last, changes: Vec::new() };
    Step { native: native.to_owned(), at_ns, what, captured: None }
}

#[test]
fn a_keep_alive_changes_nothing() {
    let run = begin(1_000, "");
    let mut script = Vec::new();
    for (index, step) in run.script.iter().enumerate() {
        script.push(step.clone());
        if index % 10 == 0 {
            script.extend(NATIVES.map(|native| keep_alive(&script, native, step.at_ns)));
        }
    }
    run.venue.play(&script, 1.0, |_, _| None);
    run.wait_ignored("books without a change", |count| count == 200.0);
    assert_eq!(run.requests().len(), 1);
    run.finish_whole();
}

#[test]
fn a_keep_alive_tells_that_the_last_change_was_lost() {
    let run = begin(500, "");
    let last = next_change(&run.script, "BTC-USDT", 400);
    let mut script = run.script[..=last].to_vec();
    let at_ns = script[last].at_ns;
    run.venue.play(&script, 1.0, |index, _| (index == last).then_some(Fault::Drop));
    script.push(keep_alive(&script, "BTC-USDT", at_ns + 60_000_000_000));
    run.venue.play(&script[last + 1..], 1.0, |_, _| None);
    // The only sign of it that comes.
    wait_for(|| run.checker.is_mended("BTC-USDT", 1).then_some(()));
    let seen = run.checker.finish();
    assert_eq!(seen["okx:BTC-USDT"].times("resync"), 1);
    assert_eq!(seen["okx:ETH-USDT"].times("resync"), 0);
}

/// "The sequence may be reset due to maintenance; in such case users receive an incremental message
/// with seqId smaller than prevSeqId. Subsequent messages follow the regular sequencing."
fn with_a_reset(steps: usize, at: usize, more: &str) -> (Run, usize) {
    let (world, mut script) = history(&NATIVES, steps);
    let reset = next_change(&script, "BTC-USDT", at);
    let by = last_number(&script[..=reset], "BTC-USDT") - 3;
    start_over(&mut script, "BTC-USDT", reset, by);
    (begin_with(world, script, &NATIVES, more, |_| {}), reset)
}

#[test]
fn numbers_that_start_over_do_not_interrupt_a_book() {
    let (run, _) = with_a_reset(1_500, 500, "");
    run.play_all();
    assert_eq!(run.requests().len(), 1);
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

#[test]
fn numbers_that_start_over_on_two_lines_of_which_one_then_dies() {
    let (run, reset) = with_a_reset(2_000, 500, ",lines=2");
    run.venue.play(&run.script[..reset + 200], 1.0, |_, _| None);
    run.venue.abort_first();
    run.venue.play(&run.script[reset + 200..], 1.0, |_, _| None);
    run.finish_whole();
}

#[test]
fn a_loss_after_numbers_have_started_over_is_noticed() {
    let (run, reset) = with_a_reset(1_500, 500, "");
    let lost = next_change(&run.script, "BTC-USDT", reset + 100);
    run.venue.play(&run.script, 1.0, |index, _| (index == lost).then_some(Fault::Drop));
    assert_eq!(run.checker.finish()["okx:BTC-USDT"].times("resync"), 1);
}

#[test]
fn a_lost_message_with_which_numbers_start_over_is_a_gap() {
    let (run, reset) = with_a_reset(1_500, 500, "");
    run.venue.play(&run.script, 1.0, |index, _| (index == reset).then_some(Fault::Drop));
    let seen = run.checker.finish();
    assert_eq!(seen["okx:BTC-USDT"].times("resync"), 1);
    assert_eq!(seen["okx:ETH-USDT"].times("resync"), 0);
}

#[test]
fn numbers_that_start_over_while_nobody_is_connected() {
    let (run, reset) = with_a_reset(1_500, 500, "");
    run.venue.play(&run.script[..reset - 10], 1.0, |_, _| None);
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 1.0);
    run.venue.play(&run.script[reset - 10..reset + 100], f64::INFINITY, |_, _| None);
    run.venue.come_back();
    run.venue.wait_subscribed(6);
    run.venue.play(&run.script[reset + 100..], 1.0, |_, _| None);
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| troubles(seen).contains(&"stale")), "{seen:?}");
}

/// Updates come first. (The documents promise the snapshot first. Of one that is older than the
/// updates before it, it cannot be told whether the numbers have started over since: it is left
/// out, and another one asked for after the usual wait.)
#[test]
fn a_snapshot_that_is_made_late_is_gone_on_with() {
    let (world, script) = history(&NATIVES, 1_500);
    let late = |mood: &mut Mood| mood.holds = Some(200);
    let run = begin_with(world, script, &NATIVES, "", late);
    run.play_all();
    assert_eq!(run.requests().len(), 1, "it is given time");
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| seen.times("resync") == 0 && seen.snapshots >= 1), "{seen:?}");
}

#[test]
fn snapshots_may_be_late_where_books_are_mended_too() {
    let run = begin(LONG, "");
    run.mood.lock().holds = Some(20);
    let played = run.play_until_resynced(2, 100, Fault::Drop);
    // What is held waits for updates, so these have to go on until it has come; no more is held.
    run.mood.lock().holds = None;
    let mut rest = run.script[played..].chunks(20);
    while !NATIVES.iter().all(|native| run.checker.is_live(native)) {
        run.venue.play(rest.next().expect("steps enough"), 1.0, |_, _| None);
    }
    run.checker.finish();
}

/// The checksums are gone, and a chain of numbers does not tell what is between them: a level that
/// was altered on its way stays so until it changes again.
#[test]
fn a_level_that_was_altered_on_its_way_is_not_noticed() {
    let run = begin(600, "");
    let has_fraction = |step: &Step| match &step.what {
        Happening::Book { changes, .. } => {
            changes.iter().all(|(_, _, size)| size.to_string().contains('.'))
        }
        _ => false,
    };
    let at = 300 + run.script[300..].iter().position(has_fraction).expect("a fraction");
    run.venue.play(&run.script, 1.0, |index, _| (index == at).then_some(Fault::Corrupt));
    assert_eq!(run.requests().len(), 1);
    let why = catch_unwind(AssertUnwindSafe(|| run.checker.finish())).expect_err("a wrong book");
    let why = why.downcast_ref::<String>().expect("a text");
    assert!(why.contains("a book that never was"), "{why}");
}

#[test]
fn a_book_that_is_made_to_cross_is_refused_and_rebuilt() {
    let run = begin(1_500, "");
    run.venue.play(&run.script[..300], 1.0, |_, _| None);
    run.mood.lock().crosses = true;
    run.venue.play(&run.script[300..], 1.0, |_, _| None);
    let seen = run.checker.finish();
    // The one book is rebuilt; both who notices and who rebuilds it say so.
    let troubled: Vec<_> = seen.values().filter(|seen| seen.times("resync") > 0).collect();
    assert_eq!(troubled.len(), 1, "{seen:?}");
}
