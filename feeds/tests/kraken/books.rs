//! Books: snapshots, updates, checksums, depths, connections, and faults of every kind.

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{How, Want};
use tickcast_feeds::{Decimal, FeedState, Side};

use crate::model::{Fault, Market, SYMBOL, book, crc32};
use crate::rig::{RECV, Rig, confirmed, states};

#[test]
fn a_book_is_a_snapshot_and_what_follows() {
    let mut rig = Rig::new();
    let bids = [("64101.3", "0.00100000"), ("64100.0", "12.50000000")];
    rig.send(&confirmed(10));
    let ticks = rig.send(&book("snapshot", &bids, &[("64101.4", "2.00000000")], &|_| {}));
    let shown: Vec<_> = ticks.iter().take(3).map(|t| (t.side(), t.as_level().price)).collect();
    let price = |text: &str| text.parse::<Decimal>().unwrap();
    assert_eq!(
        shown,
        [
            (Side::Buy, price("64101.3")),
            (Side::Buy, price("64100")),
            (Side::Sell, price("64101.4"))
        ]
    );
    assert!(ticks[..3].iter().all(|tick| tick.has(flags::SNAPSHOT)));
    assert!(ticks[0].has(flags::FIRST) && ticks[2].has(flags::LAST));
    assert_eq!(states(&ticks), [FeedState::Live]);
    // Several changes of one price in one message: the last one stays.
    let update = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":64100.0,"qty":0.00000000},{"price":64100.0,"qty":3.00000000},{"price":7.0,"qty":0}],"asks":[],"checksum":CRC,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#;
    let crc = crc32(b"641014200000000641013100000641000300000000");
    let ticks = rig.send(&update.replace("CRC", &crc.to_string()));
    assert_eq!((ticks.len(), ticks[0].ts_event), (3, 1_696_613_755_440_295_000));
    assert_eq!(rig.book().bids.len(), 2);
    assert_eq!(rig.book().bids[&price("64100")], price("3"));
    assert!(rig.wants().is_empty() && rig.sink.rejects.is_empty());
}

#[test]
fn an_empty_book_is_one_too() {
    let mut rig = Rig::new();
    let ticks = rig.send(&book("snapshot", &[], &[], &|_| {}));
    assert!(ticks[0].has(flags::EMPTY | flags::SNAPSHOT | flags::FIRST | flags::LAST));
    assert_eq!(states(&ticks), [FeedState::Live]);
    let ticks = rig.send(&book("update", &[], &[], &|_| {}));
    assert!(ticks.len() == 1 && ticks[0].has(flags::EMPTY));
}

#[test]
fn digits_beyond_a_mantissa_count_in_the_checksum() {
    // 10^13 at 8 places is 22 digits: the zeros do not fit, and the venue counts them.
    let mut rig = Rig::new();
    let bids = [("0.00000100", "10000000000000.00000000"), ("0.00000099", "200000000000000000000")];
    let ticks = rig.send(&book("snapshot", &bids, &[], &|_| {}));
    assert_eq!(states(&ticks), [FeedState::Live]);
    assert_eq!(ticks[0].as_level().size, "10000000000000".parse().unwrap());
}

#[test]
fn a_wrong_checksum_breaks_the_book_until_the_next_snapshot() {
    let mut rig = Rig::new();
    let bids = [("100.0", "1.00000000")];
    let wrong = |crc: &mut u32| *crc ^= 1;
    rig.send(&book("snapshot", &bids, &[], &|_| {}));
    let ticks = rig.send(&book("update", &[("99.0", "1.00000000")], &[], &wrong));
    assert_eq!((ticks.len(), states(&ticks)), (1, vec![FeedState::Resync]));
    assert_eq!(rig.ignored("bad checksum"), 1);
    let want = Want { native: "BTC/USD".into(), how: How::Resubscribe, snapshots: 1 };
    assert_eq!(rig.wants(), [want]);
    // What still comes of the old subscription is dropped, right as it may be.
    assert!(rig.send(&book("update", &[], &[], &|_| {})).is_empty());
    // A snapshot with a wrong checksum mends nothing.
    assert!(rig.send(&book("snapshot", &bids, &[], &wrong)).is_empty());
    assert_eq!((rig.ignored("bad checksum of a snapshot"), rig.wants().len()), (1, 1));
    let ticks = rig.send(&book("snapshot", &bids, &[], &|_| {}));
    assert_eq!(states(&ticks), [FeedState::Live]);
    assert!(rig.wants().is_empty() && rig.sink.rejects.is_empty());
}

#[test]
fn levels_that_fall_out_of_the_depth_are_put_as_gone() {
    let mut market = Market::new(10, 40);
    let mut rig = Rig::new();
    rig.send(&confirmed(10));
    rig.send(&market.snapshot());
    // A better bid: the tenth of before falls out without a word.
    let update = market.step(&[(Side::Buy, market.best_bid() + 1, 5)]);
    let ticks = rig.send(&update);
    assert_eq!(ticks.len(), 2);
    assert_eq!(ticks[1].as_level().size, Decimal::ZERO);
    assert!(ticks[1].has(flags::LAST));
    market.assert_is(&rig.book(), 10);
}

#[test]
fn without_an_answer_the_depth_is_that_of_the_snapshot() {
    for (depth, levels, cut) in [(25, 60, true), (100, 60, false)] {
        let mut market = Market::new(depth, levels);
        let mut rig = Rig::new();
        rig.send(&market.snapshot());
        let ticks = rig.send(&market.step(&[(Side::Buy, market.best_bid() + 1, 5)]));
        assert_eq!(ticks.len(), if cut { 2 } else { 1 });
        market.assert_is(&rig.book(), depth);
    }
    // With an answer, a thin book of 25 levels is not taken for one that ends there.
    let mut market = Market::new(100, 25);
    let mut rig = Rig::new();
    rig.send(&confirmed(100));
    rig.send(&market.snapshot());
    rig.send(&market.step(&[(Side::Buy, market.best_bid() + 1, 5)]));
    market.assert_is(&rig.book(), 100);
    // An answer that comes late is heeded.
    let mut market = Market::new(100, 60);
    let mut rig = Rig::new();
    rig.send(&market.snapshot());
    rig.send(&confirmed(10));
    rig.send(&market.step(&[(Side::Buy, market.best_bid() + 1, 5)]));
    assert_eq!((rig.book().bids.len(), rig.book().asks.len()), (10, 10));
}

#[test]
fn a_book_has_one_connection() {
    let mut market = Market::new(10, 40);
    let mut rig = Rig::new();
    rig.on(1, &confirmed(10));
    rig.on(2, &confirmed(10));
    assert!(rig.on(2, &market.step(&[(Side::Sell, market.best_bid() + 5, 1)])).1.is_empty());
    assert_eq!(rig.ignored("book update before a snapshot"), 1);
    rig.on(1, &market.snapshot());
    let update = market.step(&[(Side::Buy, market.best_bid() + 1, 5)]);
    assert!(rig.on(2, &update).1.is_empty());
    assert_eq!(rig.ignored("book update of another connection"), 1);
    assert!(!rig.on(1, &update).1.is_empty());
    // Another one's is kept beside, so that the death of the first is no loss.
    rig.on(2, &market.snapshot());
    let before = rig.sink.ticks.len();
    rig.parser.lost(1, &[], RECV, &mut rig.sink);
    assert_eq!(rig.sink.ticks.len(), before);
    rig.on(2, &market.step(&[(Side::Buy, market.best_bid(), 9)]));
    market.assert_is(&rig.book(), 10);
    // Its own death is one.
    rig.parser.lost(2, &[], RECV, &mut rig.sink);
    assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Resync), 1));
    assert!(rig.on(1, &market.step(&[(Side::Buy, market.best_bid(), 8)])).1.is_empty());
    rig.on(3, &market.snapshot());
    assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Live), 0));
    market.assert_is(&rig.book(), 10);
}

/// The market's message with the time of a step, which is what tells which copy is the newer one.
fn at(text: &str, second: u32) -> String {
    text.replace("17:35:55.440295", &format!("17:35:{second:02}.440295"))
}

/// Two connections have the book; the first, whose book is put, is ahead by one message.
fn one_ahead() -> (Market, Rig, String) {
    let mut market = Market::new(10, 40);
    let mut rig = Rig::new();
    for link in [1, 2] {
        rig.on(link, &confirmed(10));
        rig.on(link, &at(&market.snapshot(), 1));
    }
    let update = at(&market.step(&[(Side::Buy, market.best_bid() + 1, 5)]), 2);
    assert!(!rig.on(1, &update).1.is_empty());
    (market, rig, update)
}

#[test]
fn a_copy_goes_on_when_it_is_no_older_than_what_was_put() {
    let (mut market, mut rig, update) = one_ahead();
    let before = rig.sink.ticks.len();
    rig.parser.lost(1, &[], RECV, &mut rig.sink);
    assert_eq!((rig.sink.ticks.len(), rig.wants().len()), (before, 0), "it stands");
    market.assert_is(&rig.book(), 10);
    assert!(rig.on(2, &update).1.is_empty(), "it is what was put");
    rig.on(2, &at(&market.step(&[(Side::Buy, market.best_bid(), 9)]), 3));
    market.assert_is(&rig.book(), 10);
    // What a third one has is older, and is kept beside.
    let late = at(&market.snapshot(), 3);
    let update = at(&market.step(&[(Side::Buy, market.best_bid(), 8)]), 4);
    rig.on(2, &update);
    assert!(rig.on(3, &late).1.is_empty());
    rig.on(3, &update);
    // When it is ahead, it is put whole.
    rig.on(3, &at(&market.step(&[(Side::Buy, market.best_bid(), 7)]), 5));
    let before = rig.sink.ticks.len();
    rig.parser.lost(2, &[], RECV, &mut rig.sink);
    assert!(rig.sink.ticks[before].has(flags::SNAPSHOT));
    market.assert_is(&rig.book(), 10);
    assert_eq!(states(&rig.sink.ticks), [FeedState::Live]);
}

#[test]
fn a_copy_goes_on_when_the_book_turns_out_to_be_wrong() {
    for fault in ["\"checksum\":", "\"bids\":"] {
        let (mut market, mut rig, update) = one_ahead();
        rig.on(2, &update);
        let next = at(&market.step(&[(Side::Buy, market.best_bid(), 0)]), 3);
        let wrong = next.replace(fault, &format!("{fault}1"));
        assert!(rig.on(1, &wrong).1.is_empty() || fault.contains("checksum"));
        let after = at(&market.step(&[(Side::Sell, market.best_bid() + 3, 7)]), 4);
        rig.on(1, &after);
        rig.on(2, &next);
        rig.on(2, &after);
        assert_eq!((states(&rig.sink.ticks), rig.wants()), (vec![FeedState::Live], vec![]));
        market.assert_is(&rig.book(), 10);
        // The other one's was wrong: it is no help any more.
        rig.parser.lost(2, &[], RECV, &mut rig.sink);
        assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Resync), 1));
    }
}

#[test]
fn a_copy_that_is_wrong_is_no_help() {
    for text in ["{", "wrong"] {
        let (mut market, mut rig, update) = one_ahead();
        if text == "{" {
            rig.on(2, text);
        }
        let text =
            if text == "{" { update } else { update.replace("\"checksum\":", "\"checksum\":1") };
        assert!(rig.on(2, &text).1.is_empty());
        assert_eq!(rig.wants().len(), 0);
        let next = at(&market.step(&[(Side::Buy, market.best_bid(), 4)]), 3);
        assert!(rig.on(2, &next).1.is_empty());
        assert!(!rig.on(1, &next).1.is_empty());
        rig.parser.lost(1, &[], RECV, &mut rig.sink);
        assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Resync), 1));
    }
}

#[test]
fn an_orphan_is_stale_until_it_is_carried_again() {
    let mut market = Market::new(10, 40);
    let mut rig = Rig::new();
    let natives: [Box<str>; 1] = [SYMBOL.into()];
    rig.instruments.list("kraken", SYMBOL, "BTC", "USD");
    rig.parser.expect(&natives, true, RECV, &mut rig.sink);
    assert_eq!(rig.wants().len(), 1);
    rig.on(1, &market.snapshot());
    rig.parser.lost(1, &natives, RECV, &mut rig.sink);
    assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Stale), 0));
    market.step(&[(Side::Buy, market.best_bid(), 0)]);
    rig.parser.expect(&natives, true, RECV, &mut rig.sink);
    assert_eq!(rig.wants().len(), 1);
    rig.on(2, &market.snapshot());
    assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Live), 0));
    market.assert_is(&rig.book(), 10);
    // What the server found to be wrong is fetched anew.
    rig.parser.distrust(SYMBOL, RECV, &mut rig.sink);
    assert_eq!((rig.state(), rig.wants().len()), (Some(FeedState::Resync), 1));
    assert!(rig.on(2, &market.step(&[(Side::Buy, market.best_bid(), 8)])).1.is_empty());
}

#[test]
fn a_book_message_that_cannot_be_read_is_a_message_lost() {
    let damage: [fn(&str) -> String; 3] = [
        |text| text.replace("\"price\"", "\"prize\""),
        |text| text[..text.len() - 1].to_owned(),
        |text| text.replace("\"symbol\"", "\"symbal\""),
    ];
    for damage in damage {
        let mut market = Market::new(10, 40);
        let mut rig = Rig::new();
        rig.on(1, &market.snapshot());
        let lost = market.step(&[(Side::Buy, market.best_bid(), 3)]);
        assert!(rig.on(2, &damage(&lost)).1.is_empty(), "on another connection it is no loss");
        assert!(!rig.on(1, &lost).1.is_empty());
        let lost = market.step(&[(Side::Buy, market.best_bid(), 4)]);
        assert!(rig.on(1, &damage(&lost)).1.is_empty());
        assert_eq!((rig.sink.rejects.len(), rig.state()), (2, Some(FeedState::Live)));
        // The same level again: the checksum alone would be right.
        let ticks = rig.on(1, &market.step(&[(Side::Buy, market.best_bid(), 5)])).1;
        assert_eq!((ticks.len(), states(&ticks)), (1, vec![FeedState::Resync]));
        assert_eq!(rig.ignored("book update after one that was lost"), 1);
        rig.on(1, &market.snapshot());
        market.assert_is(&rig.book(), 10);
        assert_eq!(rig.state(), Some(FeedState::Live));
    }
}

/// Feeds a history with one fault in it. After every message the book that clients have is the
/// venue's after that message, or they were told that it is not; and after the snapshot that is
/// wanted it is the venue's again.
///
/// Only the best ten levels are compared, for only those are in the checksum: beyond them the venue
/// gives nothing to tell by. With depth 10 that is everything.
fn survives(depth: usize, steps: &[Vec<(Side, i64, u64)>], fault: Option<(usize, Fault)>) {
    let mut market = Market::new(depth, 60);
    let mut rig = Rig::new();
    rig.send(&confirmed(depth as u16));
    rig.send(&market.snapshot());
    let start = market.clone();
    let mut history: Vec<(String, Market)> = Vec::new();
    for step in steps {
        history.push((market.step(step), market.clone()));
    }
    if let Some((at, fault)) = fault {
        fault.strike(at, &mut history);
    }
    let compared = if fault.is_some() { 10 } else { depth };
    let mut shown = &start;
    for (text, after) in &history {
        let rejects = rig.sink.rejects.len();
        rig.send(text);
        // One that cannot be read is one that did not come: it shows with the next.
        if rig.sink.rejects.len() == rejects {
            shown = after;
        }
        if rig.state() == Some(FeedState::Live) {
            shown.assert_is(&rig.book(), compared);
        }
    }
    assert!(fault.is_some() || rig.wants().is_empty());
    if !rig.wants().is_empty() {
        assert_eq!(rig.state(), Some(FeedState::Resync));
        rig.send(&market.snapshot());
        assert_eq!(rig.state(), Some(FeedState::Live));
        market.assert_is(&rig.book(), depth);
        rig.send(&market.step(&[(Side::Buy, market.best_bid(), 1)]));
        market.assert_is(&rig.book(), depth);
    }
}

fn steps() -> impl Strategy<Value = Vec<Vec<(Side, i64, u64)>>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    // Near the middle, often the same price, often a removal.
    let change = (side, -16..16i64, prop_oneof![Just(0u64), 1..400u64]);
    prop::collection::vec(prop::collection::vec(change, 1..5), 2..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_book_is_the_venue_s(steps in steps(), depth in prop_oneof![Just(10usize), Just(25)]) {
        survives(depth, &steps, None);
    }

    #[test]
    fn a_book_that_is_not_the_venue_s_is_never_shown(
        steps in steps(),
        depth in prop_oneof![Just(10usize), Just(25)],
        at in any::<prop::sample::Index>(),
        fault in prop_oneof![
            Just(Fault::Drop), Just(Fault::Repeat), Just(Fault::Swap), Just(Fault::Cut),
            any::<(usize, u8)>().prop_map(|(place, byte)| Fault::Corrupt(place, byte)),
        ],
    ) {
        survives(depth, &steps, Some((at.index(steps.len()), fault)));
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut rig = Rig::new();
        let text = String::from_utf8_lossy(&noise).into_owned();
        prop_assert!(rig.send(&text).is_empty());
    }
}
