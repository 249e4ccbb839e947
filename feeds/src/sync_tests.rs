//! The chain against everything that a network can do to it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decimal::Decimal;
use crate::sink::VecSink;
use crate::tick::{Kind, Level, Side, flags};

/// One price of the model's book changes at every update id: price `id % PRICES` becomes `id`.
const PRICES: u64 = 7;

type Model = BTreeMap<u64, u64>;

/// The book as of an update id: only the newest change of each price is left.
fn model(id: u64) -> Model {
    (id.saturating_sub(PRICES - 1).max(1)..=id).map(|id| (id % PRICES, id)).collect()
}

fn ticks(levels: impl Iterator<Item = (u64, u64)>, first: u64, last: u64, kind: u8) -> Vec<Tick> {
    let stamp = Stamp { event: last, recv: last, seq: last };
    let mut ticks: Vec<Tick> = levels
        .map(|(price, size)| {
            let price = Decimal::new(price as i64, 0);
            let level = Level { side: Side::Buy, price, size: Decimal::new(size as i64, 0), first };
            Tick::level(InstrumentId(0), stamp, kind, &level)
        })
        .collect();
    if ticks.is_empty() {
        ticks.push(Tick::no_level(InstrumentId(0), stamp, kind, first));
    }
    ticks.first_mut().unwrap().flags |= flags::FIRST;
    ticks.last_mut().unwrap().flags |= flags::LAST;
    ticks
}

#[derive(Clone, Copy, Debug)]
enum Message {
    Diff(u64, u64),
    Snapshot(u64),
    Partial(u64),
}

fn send(book: &mut BookSync, message: Message, sink: &mut VecSink) -> Step {
    match message {
        Message::Diff(first, last) => {
            let changed = (first..=last).map(|id| (id % PRICES, id));
            book.diff(first, last, &ticks(changed, first, last, 0), sink)
        }
        Message::Snapshot(id) => {
            let event = ticks(model(id).into_iter(), id, id, flags::SNAPSHOT);
            book.snapshot(id, &event, sink)
        }
        Message::Partial(id) => {
            let event = ticks(model(id).into_iter(), id, id, flags::SNAPSHOT);
            book.partial(id, &event, sink)
        }
    }
}

/// Rebuilds the book from what was put and compares it with the model after every event.
fn check(ticks: &[Tick]) {
    let mut book = Model::new();
    let mut last = None;
    for tick in ticks.iter().filter(|tick| tick.kind == Kind::Level) {
        let level = tick.as_level();
        if tick.has(flags::FIRST | flags::SNAPSHOT) {
            book.clear();
            assert!(last.is_none_or(|last| tick.seq >= last), "a snapshot goes back");
            last = Some(tick.seq);
        } else if tick.has(flags::FIRST) {
            let end = last.expect("a diff before any snapshot");
            assert!(level.first <= end + 1, "a gap: {end}, then {}..={}", level.first, tick.seq);
            assert!(tick.seq > end, "goes back: {end}, then {}", tick.seq);
            last = Some(tick.seq);
        }
        if !tick.has(flags::EMPTY) {
            book.insert(level.price.mantissa as u64, level.size.mantissa as u64);
        }
        if tick.has(flags::LAST) {
            assert_eq!(book, model(tick.seq), "after {}", tick.seq);
        }
    }
}

fn states(sink: &VecSink) -> Vec<FeedState> {
    let status = sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
    status.map(|tick| tick.as_status().state).collect()
}

fn seqs(sink: &VecSink) -> Vec<u64> {
    let first = |tick: &&Tick| tick.kind == Kind::Level && tick.has(flags::FIRST);
    sink.ticks.iter().filter(first).map(|tick| tick.seq).collect()
}

fn run(book: &mut BookSync, sink: &mut VecSink, steps: &[(Message, Step)]) {
    for &(message, step) in steps {
        assert_eq!(send(book, message, sink), step, "{message:?}");
    }
    check(&sink.ticks);
}

use Message::{Diff, Partial, Snapshot};

#[test]
fn diffs_wait_for_the_snapshot_and_go_on_from_it() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    run(
        &mut book,
        &mut sink,
        &[
            (Diff(5, 6), Step::Waiting),
            (Diff(7, 9), Step::Waiting),
            (Diff(7, 9), Step::Duplicate),
            (Diff(10, 12), Step::Waiting),
            (Snapshot(3), Step::TooOld),
            (Snapshot(8), Step::Applied),
            (Diff(10, 12), Step::Duplicate),
            (Diff(13, 13), Step::Applied),
        ],
    );
    assert_eq!(seqs(&sink), [8, 9, 12, 13]);
    assert_eq!(states(&sink), [FeedState::Live]);
    assert!(book.is_live() && !book.wants_snapshot());
}

#[test]
fn a_gap_is_told_once_and_healed_by_a_snapshot() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    run(
        &mut book,
        &mut sink,
        &[
            (Snapshot(4), Step::Applied),
            (Diff(5, 6), Step::Applied),
            (Diff(8, 9), Step::Gap),
            (Diff(12, 14), Step::Waiting),
            (Snapshot(10), Step::TooOld),
            (Snapshot(11), Step::Applied),
            (Diff(15, 15), Step::Applied),
        ],
    );
    assert_eq!(seqs(&sink), [4, 6, 11, 14, 15]);
    assert_eq!(states(&sink), [FeedState::Live, FeedState::Resync, FeedState::Live]);
}

#[test]
fn a_snapshot_while_live_counts_only_if_newer() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    run(
        &mut book,
        &mut sink,
        &[
            (Snapshot(4), Step::Applied),
            (Snapshot(4), Step::Duplicate),
            (Snapshot(3), Step::Duplicate),
            (Snapshot(9), Step::Applied),
            (Diff(5, 7), Step::Duplicate),
            (Diff(8, 11), Step::Applied),
        ],
    );
    assert_eq!(seqs(&sink), [4, 9, 11]);
}

#[test]
fn a_partial_book_stands_in_until_a_snapshot_comes() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    run(
        &mut book,
        &mut sink,
        &[
            (Partial(4), Step::Applied),
            (Partial(4), Step::Duplicate),
            (Partial(6), Step::Applied),
            (Diff(6, 7), Step::Waiting),
            (Snapshot(5), Step::TooOld),
            (Snapshot(6), Step::Applied),
            (Partial(9), Step::Duplicate),
            (Diff(8, 9), Step::Applied),
        ],
    );
    assert_eq!(seqs(&sink), [4, 6, 6, 7, 9]);
}

#[test]
fn what_waits_is_bounded_and_the_snapshot_must_hold_what_was_dropped() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    let many = MAX_WAITING_TICKS as u64 + 10;
    for id in 1..=many {
        assert_eq!(send(&mut book, Diff(id, id), &mut sink), Step::Waiting);
    }
    assert_eq!(book.ticks.len(), MAX_WAITING_TICKS);
    run(&mut book, &mut sink, &[(Snapshot(9), Step::TooOld), (Snapshot(10), Step::Applied)]);
    assert_eq!(seqs(&sink).last(), Some(&many));

    // One diff that is larger than the bound cannot wait at all.
    book.restart();
    let huge = 2 * MAX_WAITING_TICKS as u64;
    run(
        &mut book,
        &mut VecSink::default(),
        &[
            (Diff(1, huge), Step::Waiting),
            (Snapshot(huge - 1), Step::TooOld),
            (Snapshot(huge), Step::Applied),
        ],
    );
}

#[test]
fn a_restart_forgets_everything() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    run(&mut book, &mut sink, &[(Snapshot(40), Step::Applied), (Diff(99, 99), Step::Gap)]);
    book.restart();
    let mut sink = VecSink::default();
    run(&mut book, &mut sink, &[(Diff(2, 2), Step::Waiting), (Snapshot(1), Step::Applied)]);
    assert_eq!(seqs(&sink), [1, 2]);
}

/// A chain of diffs, then what a network may do to it: some lost, doubled, swapped, and snapshots
/// of any age in between.
fn mishaps() -> impl Strategy<Value = (Vec<Message>, u64)> {
    let lengths = proptest::collection::vec(1..5u64, 1..40);
    let mishap = (0..100u8, any::<proptest::sample::Index>(), 0..12u64);
    let mishaps = proptest::collection::vec(mishap, 0..40);
    (1..50u64, lengths, mishaps).prop_map(|(start, lengths, mishaps)| {
        let mut next = start;
        let mut messages = Vec::new();
        for length in lengths {
            messages.push(Diff(next, next + length - 1));
            next += length;
        }
        for (kind, at, shift) in mishaps {
            let at = at.index(messages.len());
            match kind {
                0..20 => _ = messages.remove(at),
                20..35 => messages.insert(at, messages[at]),
                35..50 => {
                    let other = (at + 1 + shift as usize) % messages.len();
                    messages.swap(at, other);
                }
                50..60 => {
                    // A batch that was cut elsewhere, as after a reconnect.
                    if let Diff(first, last) = messages[at] {
                        messages.insert(at, Diff(first.saturating_sub(shift).max(1), last));
                    }
                }
                kind => {
                    let near = match messages[at] {
                        Diff(first, _) => first,
                        Snapshot(id) | Partial(id) => id,
                    };
                    let id = (near + shift).saturating_sub(4).max(1);
                    messages.insert(at, if kind < 65 { Partial(id) } else { Snapshot(id) });
                }
            }
            if messages.is_empty() {
                messages.push(Diff(next, next));
                next += 1;
            }
        }
        let newest = messages.iter().map(|message| match *message {
            Diff(_, id) | Snapshot(id) | Partial(id) => id,
        });
        let end = newest.max().unwrap_or(next) + 1;
        (messages, end)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mishap_puts_a_wrong_book_and_a_snapshot_recovers((messages, end) in mishaps()) {
        let (mut book, mut sink) = (BookSync::new(), VecSink::default());
        for message in messages {
            send(&mut book, message, &mut sink);
            prop_assert_eq!(book.ticks.len(), book.waiting.iter().map(|diff| diff.len).sum::<usize>());
        }
        check(&sink.ticks);

        // Whatever happened: a fresh snapshot and the diffs after it are the book again.
        prop_assert_eq!(send(&mut book, Snapshot(end), &mut sink), Step::Applied);
        prop_assert!(book.is_live());
        prop_assert_eq!(send(&mut book, Diff(end + 1, end + 3), &mut sink), Step::Applied);
        check(&sink.ticks);
        prop_assert_eq!(seqs(&sink).pop(), Some(end + 3));

        // Every gap was told, and every recovery.
        let states = states(&sink);
        prop_assert!(states.windows(2).all(|pair| pair != [FeedState::Resync; 2]));
        prop_assert_eq!(states.last(), Some(&FeedState::Live));
    }
}

const ID: InstrumentId = InstrumentId(0);

#[test]
fn a_book_whose_connection_went_is_gone_on_with_if_nothing_is_missing() {
    use FeedState::{Live, Resync, Stale};
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    book.expect();
    assert!(book.wants_snapshot(), "expected, though nothing waits for it");
    send(&mut book, Message::Snapshot(10), &mut sink);
    book.suspend(ID, 1, &mut sink);
    assert!(!book.wants_snapshot(), "nobody carries it");
    book.expect();
    assert!(book.wants_snapshot());
    assert_eq!(send(&mut book, Message::Diff(9, 10), &mut sink), Step::Duplicate);
    assert_eq!(send(&mut book, Message::Diff(11, 12), &mut sink), Step::Applied);
    assert!(!book.wants_snapshot());
    // A second time something is missing.
    book.suspend(ID, 1, &mut sink);
    assert_eq!(send(&mut book, Message::Diff(14, 15), &mut sink), Step::Gap);
    assert_eq!(send(&mut book, Message::Snapshot(15), &mut sink), Step::Applied);
    assert_eq!(states(&sink), [Live, Stale, Live, Stale, Resync, Live]);
    check(&sink.ticks);
}

#[test]
fn a_quiet_book_whose_connection_went_is_fetched_and_a_venue_may_count_anew() {
    use FeedState::{Live, Resync, Stale};
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    send(&mut book, Message::Snapshot(10), &mut sink);
    book.suspend(ID, 1, &mut sink);
    assert_eq!(send(&mut book, Message::Snapshot(10), &mut sink), Step::Applied);
    book.suspend(ID, 1, &mut sink);
    assert_eq!(send(&mut book, Message::Snapshot(3), &mut sink), Step::TooOld);
    assert!(book.wants_snapshot());
    assert_eq!(send(&mut book, Message::Snapshot(3), &mut sink), Step::Applied);
    assert_eq!(states(&sink), [Live, Stale, Live, Stale, Resync, Live]);
}

#[test]
fn a_book_that_is_found_wrong_is_worth_nothing_until_a_snapshot() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    send(&mut book, Message::Snapshot(10), &mut sink);
    book.discard(ID, 1, &mut sink);
    book.discard(ID, 2, &mut sink);
    assert_eq!(states(&sink), [FeedState::Live, FeedState::Resync], "said once");
    assert_eq!(send(&mut book, Message::Diff(11, 11), &mut sink), Step::Waiting);
    assert!(book.wants_snapshot() && !book.is_live());
    assert_eq!(send(&mut book, Message::Snapshot(11), &mut sink), Step::Applied);
    check(&sink.ticks);
}

#[test]
fn without_numbers_one_connection_owns_the_book() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    let event = |kind| ticks([(1, 1)].into_iter(), 0, 0, kind);
    let (snapshot, diff) = (event(flags::SNAPSHOT), event(0));
    assert_eq!(book.follow(1, &diff, &mut sink), Step::Waiting);
    assert_eq!(book.start(Some(1), 0, &snapshot, &mut sink), Step::Applied);
    assert_eq!(book.follow(1, &diff, &mut sink), Step::Applied);
    assert_eq!(book.follow(2, &diff, &mut sink), Step::Duplicate, "of the other line");
    // The newer snapshot takes over, and nobody notices.
    assert_eq!(book.start(Some(2), 0, &snapshot, &mut sink), Step::Applied);
    assert_eq!(book.follow(1, &diff, &mut sink), Step::Duplicate);
    assert_eq!(book.follow(2, &diff, &mut sink), Step::Applied);
    assert!(book.is_owned_by(2) && !book.is_owned_by(1));
    assert_eq!(states(&sink), [FeedState::Live]);
    book.discard(ID, 1, &mut sink);
    assert_eq!(book.follow(2, &diff, &mut sink), Step::Waiting);
}

#[test]
fn a_snapshot_in_the_stream_begins_a_new_chain() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    let snapshot = |id| ticks(model(id).into_iter(), id, id, flags::SNAPSHOT);
    assert_eq!(send(&mut book, Message::Diff(4, 5), &mut sink), Step::Waiting);
    assert_eq!(book.start(None, 20, &snapshot(20), &mut sink), Step::Applied);
    assert_eq!(send(&mut book, Message::Diff(21, 22), &mut sink), Step::Applied);
    assert_eq!(send(&mut book, Message::Diff(25, 25), &mut sink), Step::Gap);
    // Of the new chain, or of one that has ended: only what follows is put.
    assert_eq!(book.start(None, 24, &snapshot(24), &mut sink), Step::Applied);
    assert_eq!(book.last(), 25);
    // The venue starts over.
    assert_eq!(book.start(None, 1, &snapshot(1), &mut sink), Step::Applied);
    assert_eq!(send(&mut book, Message::Diff(2, 2), &mut sink), Step::Applied);
    assert_eq!(send(&mut book, Message::Diff(9, 9), &mut sink), Step::Gap);
    assert_eq!(book.start(None, 5, &snapshot(5), &mut sink), Step::Applied);
    assert_eq!(book.last(), 5, "what waited does not follow");
}

#[test]
fn what_waited_when_the_connection_went_does_not_bar_a_venue_that_counts_anew() {
    for breaks in [false, true] {
        let (mut book, mut sink) = (BookSync::new(), VecSink::default());
        if breaks {
            send(&mut book, Message::Snapshot(10), &mut sink);
        }
        assert!(matches!(
            send(&mut book, Message::Diff(50, 60), &mut sink),
            Step::Waiting | Step::Gap
        ));
        book.suspend(ID, 1, &mut sink);
        book.expect();
        assert_eq!(send(&mut book, Message::Diff(4, 5), &mut sink), Step::Waiting);
        assert_eq!(send(&mut book, Message::Snapshot(4), &mut sink), Step::Applied);
        assert_eq!(seqs(&sink).last(), Some(&5));
    }
}

#[test]
fn what_waits_longer_than_any_request_takes_is_let_go() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    let diff = |book: &mut BookSync, id, recv_ns| {
        let mut event = ticks([(id % PRICES, id)].into_iter(), id, id, 0);
        event.iter_mut().for_each(|tick| tick.ts_recv = recv_ns);
        book.diff(id, id, &event, &mut VecSink::default())
    };
    for id in 1..=100 {
        assert_eq!(diff(&mut book, id, id * MAX_WAITING_NS / 10), Step::Waiting);
    }
    assert_eq!(book.waiting.len(), 11);
    run(&mut book, &mut sink, &[(Snapshot(88), Step::TooOld), (Snapshot(89), Step::Applied)]);
    assert_eq!(seqs(&sink).last(), Some(&100));
}

/// A diff over a connection, received at a time.
fn via(book: &mut BookSync, sink: &mut VecSink, link: u16, ids: (u64, u64), now: u64) -> Step {
    let mut event = ticks((ids.0..=ids.1).map(|id| (id % PRICES, id)), ids.0, ids.1, 0);
    event.iter_mut().for_each(|tick| tick.ts_recv = now);
    let step = book.diff_via(link, ids.0, ids.1, &event, sink);
    check(&sink.ticks);
    step
}

#[test]
fn a_connection_that_is_ahead_waits_for_the_one_that_it_takes_over_from() {
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    send(&mut book, Message::Snapshot(10), &mut sink);
    assert_eq!(via(&mut book, &mut sink, 1, (11, 12), 0), Step::Applied);
    assert_eq!(via(&mut book, &mut sink, 2, (15, 16), 1), Step::Waiting);
    assert_eq!(via(&mut book, &mut sink, 2, (17, 17), 2), Step::Waiting);
    assert!(!book.wants_snapshot());
    // The batches of another machine end elsewhere.
    assert_eq!(via(&mut book, &mut sink, 1, (13, 13), 3), Step::Applied);
    assert_eq!(book.last(), 13);
    assert_eq!(via(&mut book, &mut sink, 1, (14, 15), 4), Step::Applied);
    assert_eq!(book.last(), 17);
    assert_eq!(via(&mut book, &mut sink, 1, (16, 17), 5), Step::Duplicate);
    // Both are without it, the slower one too.
    assert_eq!(via(&mut book, &mut sink, 2, (20, 20), 6), Step::Waiting);
    assert_eq!(via(&mut book, &mut sink, 1, (20, 20), 7), Step::Gap);
    assert_eq!(states(&sink), [FeedState::Live, FeedState::Resync]);
    assert_eq!(send(&mut book, Message::Snapshot(19), &mut sink), Step::Applied);
    assert_eq!(book.last(), 20);
}

#[test]
fn a_connection_that_is_behind_is_waited_for_no_longer_than_it_may_be() {
    use crate::abreast::CATCH_UP_NS;
    let (mut book, mut sink) = (BookSync::new(), VecSink::default());
    send(&mut book, Message::Snapshot(10), &mut sink);
    via(&mut book, &mut sink, 1, (11, 11), 0);
    assert_eq!(via(&mut book, &mut sink, 2, (14, 14), 5), Step::Waiting);
    assert_eq!(via(&mut book, &mut sink, 2, (15, 15), 4 + CATCH_UP_NS), Step::Waiting);
    assert_eq!(via(&mut book, &mut sink, 2, (16, 16), 5 + CATCH_UP_NS), Step::Gap);
    // All that waited is there when the snapshot comes.
    assert_eq!(send(&mut book, Message::Snapshot(13), &mut sink), Step::Applied);
    assert_eq!(book.last(), 16);
    // Gone: at once.
    assert_eq!(via(&mut book, &mut sink, 2, (18, 18), 2 * CATCH_UP_NS), Step::Waiting);
    book.forget(7, ID, 1, &mut sink);
    assert!(!book.wants_snapshot());
    book.forget(1, ID, 1, &mut sink);
    assert!(book.wants_snapshot());
    // And alone, for nobody.
    send(&mut book, Message::Snapshot(18), &mut sink);
    assert_eq!(via(&mut book, &mut sink, 2, (20, 20), 2 * CATCH_UP_NS), Step::Gap);
    use FeedState::{Live, Resync};
    assert_eq!(states(&sink), [Live, Resync, Live, Resync, Live, Resync]);
    check(&sink.ticks);
}
