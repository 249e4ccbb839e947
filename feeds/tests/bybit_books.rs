//! Bybit's books: the chain of `u`, restarts, resubscriptions, two connections. Whatever one fault
//! does to a stream, no wrong book goes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, How, Venue};
use tickcast_feeds::{Decimal, FeedState, Instruments, Kind, Side, VecSink};

const SYMBOL: &str = "BTCUSDT";
/// Milliseconds of the first message; each comes one later, so that a tick's time is the number of
/// its message.
const START: u64 = 1_700_000_000_000;

/// A book: sizes by price, bids and asks.
type Book = [BTreeMap<Decimal, Decimal>; 2];

/// A message of the venue, and the true book after it.
#[derive(Clone, Debug)]
struct Message {
    text: String,
    truth: Book,
    id: u64,
    seq: u64,
}

fn levels(side: &[(u64, u64)]) -> String {
    let levels: Vec<_> =
        side.iter().map(|(price, size)| format!(r#"["{price}","{size}"]"#)).collect();
    format!("[{}]", levels.join(","))
}

fn message(
    kind: &str,
    n: u64,
    id: u64,
    seq: u64,
    bids: &[(u64, u64)],
    asks: &[(u64, u64)],
) -> String {
    let (bids, asks, cts) = (levels(bids), levels(asks), START + n);
    format!(
        r#"{{"topic":"orderbook.50.{SYMBOL}","type":"{kind}","ts":{cts},"data":{{"s":"{SYMBOL}","b":{bids},"a":{asks},"u":{id},"seq":{seq}}},"cts":{cts}}}"#
    )
}

/// A parser with what a consumer makes of its ticks.
struct Consumer {
    parser: Box<dyn Venue>,
    sink: VecSink,
    seen: usize,
    book: Book,
    state: Option<FeedState>,
    /// The number of the message that the book is of.
    of: Option<u64>,
}

impl Consumer {
    fn new() -> Self {
        let parser = venue::find("bybit-linear").unwrap().parser(&Arc::new(Instruments::new()));
        let mut consumer = Consumer {
            parser,
            sink: VecSink::default(),
            seen: 0,
            book: Book::default(),
            state: None,
            of: None,
        };
        // What a live feed lists before it connects.
        consumer.hear(0, r#"{"topic":"publicTrade.BTCUSDT","data":[]}"#);
        let natives = [Box::from(SYMBOL)];
        consumer.parser.expect(&natives, true, 0, &mut consumer.sink);
        consumer
    }

    fn hear(&mut self, link: u16, text: &str) {
        let context = Context { link, ..Context::default() };
        self.parser.message(text.as_bytes(), 1, context, &mut self.sink);
        assert!(self.sink.rejects.is_empty(), "{:?}", self.sink.rejects);
        self.apply();
    }

    fn apply(&mut self) {
        for tick in &self.sink.ticks[self.seen..] {
            if tick.kind == Kind::Status {
                self.state = Some(tick.as_status().state);
                continue;
            }
            assert_eq!(tick.kind, Kind::Level);
            if tick.has(flags::FIRST | flags::SNAPSHOT) {
                self.book = Book::default();
            } else {
                // Of a snapshot, or of a delta that follows one.
                let broken = self.state == Some(FeedState::Resync) && self.of.is_none();
                assert!(!broken, "a delta of a broken book");
            }
            self.of = Some(tick.ts_event / 1_000_000 - START);
            if !tick.has(flags::EMPTY) {
                let level = tick.as_level();
                let side = &mut self.book[usize::from(level.side == Side::Sell)];
                side.remove(&level.price);
                if level.size != Decimal::ZERO {
                    side.insert(level.price, level.size);
                }
            }
        }
        if self.state == Some(FeedState::Resync) {
            self.of = None;
        }
        self.seen = self.sink.ticks.len();
    }

    fn wants(&self) -> bool {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        for want in &wants {
            assert_eq!((&*want.native, want.how), (SYMBOL, How::Resubscribe));
        }
        !wants.is_empty()
    }

    fn statuses(&self) -> Vec<FeedState> {
        let statuses = self.sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
        statuses.map(|tick| tick.as_status().state).collect()
    }

    /// The book that is shown is the true one as of its message, or it is marked.
    fn check(&self, history: &[Message]) -> Result<(), TestCaseError> {
        if let Some(of) = self.of {
            prop_assert_eq!(&self.book, &history[of as usize].truth);
        }
        Ok(())
    }
}

fn size(book: &Book, side: usize, price: u64) -> u64 {
    let size = book[side].get(&Decimal::new(price as i64, 0));
    size.map_or(0, |size| size.mantissa as u64)
}

fn snapshot_of(kind: &str, n: u64, id: u64, seq: u64, book: &Book) -> String {
    let side = |side: usize| -> Vec<(u64, u64)> {
        (1..20).map(|p| (p, size(book, side, p))).filter(|level| level.1 > 0).collect()
    };
    message(kind, n, id, seq, &side(0), &side(1))
}

/// What happens in the venue: levels change (asks, price, size), and its service restarts or not.
#[derive(Clone, Debug)]
struct Step {
    levels: Vec<(bool, u64, u64)>,
    restart: Option<Restart>,
    /// How far `seq` goes on.
    later: u64,
}

#[derive(Clone, Copy, Debug)]
struct Restart {
    typed_delta: bool,
    /// Nothing has changed, `seq` neither.
    quiet: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let levels = prop::collection::vec((any::<bool>(), 1u64..10, 0u64..4), 0..4);
    let restart = (any::<bool>(), any::<bool>())
        .prop_map(|(typed_delta, quiet)| Some(Restart { typed_delta, quiet }));
    let restart = prop_oneof![8 => Just(None), 1 => restart];
    let step = (levels, restart, 0u64..4).prop_map(|(levels, restart, later)| Step {
        levels,
        restart,
        later,
    });
    prop::collection::vec(step, 3..40)
}

/// The stream of a connection from its subscription on.
fn history(steps: &[Step], first: u64) -> Vec<Message> {
    let (mut id, mut seq, mut truth) = (first, 5_000, Book::default());
    let text = snapshot_of("snapshot", 0, id, seq, &truth);
    let mut messages = vec![Message { text, truth: truth.clone(), id, seq }];
    for (n, step) in (1..).zip(steps) {
        // One restart after the other: that the second is lost could not be told.
        let restart = step.restart.filter(|_| id > 1);
        let quiet = restart.is_some_and(|restart| restart.quiet);
        let mut sides: [BTreeMap<u64, u64>; 2] = Default::default();
        for &(is_ask, price, size) in step.levels.iter().filter(|_| !quiet) {
            // The sides do not cross: asks begin where bids end.
            let price = price + if is_ask { 10 } else { 0 };
            sides[usize::from(is_ask)].insert(price, size);
            let side = &mut truth[usize::from(is_ask)];
            side.remove(&Decimal::new(price as i64, 0));
            if size > 0 {
                side.insert(Decimal::new(price as i64, 0), Decimal::new(size as i64, 0));
            }
        }
        let text = if let Some(Restart { typed_delta, .. }) = restart {
            (id, seq) = (1, seq + if quiet { 0 } else { step.later.max(1) });
            snapshot_of(if typed_delta { "delta" } else { "snapshot" }, n, id, seq, &truth)
        } else {
            (id, seq) = (id + 1, seq + step.later);
            let [bids, asks] = sides.map(|side| side.into_iter().collect::<Vec<_>>());
            message("delta", n, id, seq, &bids, &asks)
        };
        messages.push(Message { text, truth: truth.clone(), id, seq });
    }
    messages
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Drop,
    Repeat,
    RepeatLater,
    Swap,
    Delay,
}

/// The order in which the messages arrive.
fn arrivals(len: usize, fault: Fault, at: usize, to: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let later = at + (to % (len - at));
    match fault {
        Fault::Drop => drop(order.remove(at)),
        Fault::Repeat => order.insert(at, at),
        Fault::RepeatLater => order.insert(later + 1, at),
        Fault::Swap if at + 1 < len => order.swap(at, at + 1),
        Fault::Swap => {}
        Fault::Delay => {
            order.remove(at);
            order.insert(later, at);
        }
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One fault in the stream of one connection: every book that goes out is the true one of its
    /// message or is marked, and the snapshot that is asked for makes it whole.
    #[test]
    fn one_fault_never_shows_a_wrong_book(
        steps in steps(),
        first in 1u64..30,
        fault in prop::sample::select(
            vec![Fault::Drop, Fault::Repeat, Fault::RepeatLater, Fault::Swap, Fault::Delay]
        ),
        at in any::<Index>(),
        to in any::<Index>(),
    ) {
        // Changes have numbers of their own, or those of before and after a quiet restart are one.
        let mut steps = steps;
        steps.iter_mut().for_each(|step| step.later += 1);
        let history = history(&steps, first);
        let (at, to) = (at.index(history.len()), to.index(history.len()));
        let order = arrivals(history.len(), fault, at, to);
        let mut consumer = Consumer::new();
        for &n in &order {
            consumer.hear(0, &history[n].text);
            consumer.check(&history)?;
        }
        let newest = history.last().unwrap();
        let n = history.len() as u64 - 1;
        if consumer.wants() {
            consumer.hear(0, &snapshot_of("snapshot", n, newest.id, newest.seq, &newest.truth));
        }
        prop_assert!(!consumer.wants());
        prop_assert_eq!(consumer.state, Some(FeedState::Live));
        consumer.check(&history)?;
        // Nothing comes after the last message that could show that it is missing.
        let unseen = matches!(fault, Fault::Drop) && at + 1 == history.len() && at > 0;
        prop_assert!(unseen || consumer.book == newest.truth);
    }

    /// Two connections carry the same messages, each in order, one behind the other by any number:
    /// every message is put once, the book is never broken, and it ends true.
    #[test]
    fn two_connections_are_one_stream(
        steps in steps(),
        first in 2u64..30,
        turns in prop::collection::vec(any::<bool>(), 100),
    ) {
        // A restart with the `seq` of the message before it cannot be told from a gap by who hears
        // the older message once more; then the book is asked for again.
        let mut steps = steps;
        for restart in steps.iter_mut().filter_map(|step| step.restart.as_mut()) {
            restart.quiet = false;
        }
        let history = history(&steps, first);
        let mut consumer = Consumer::new();
        let mut next = [0, 0];
        for turn in turns.into_iter().chain([false, true].repeat(history.len())) {
            let link = usize::from(turn);
            if let Some(message) = history.get(next[link]) {
                next[link] += 1;
                consumer.hear(link as u16, &message.text);
                consumer.check(&history)?;
            }
        }
        prop_assert_eq!(next, [history.len(); 2]);
        prop_assert_eq!(consumer.statuses(), [FeedState::Live]);
        prop_assert_eq!(consumer.of, Some(history.len() as u64 - 1));
        let events = consumer.sink.ticks.iter().filter(|tick| {
            tick.kind == Kind::Level && tick.has(flags::FIRST)
        });
        prop_assert_eq!(events.count(), history.len());
    }
}

fn live(id: u64, seq: u64) -> Consumer {
    let mut consumer = Consumer::new();
    assert!(consumer.wants(), "a confirmed subscription without a snapshot");
    consumer.hear(0, &message("snapshot", 0, id, seq, &[(10, 1)], &[(11, 1)]));
    assert!(!consumer.wants());
    consumer
}

#[test]
fn a_gap_ends_with_the_next_snapshot() {
    use FeedState::{Live, Resync};
    let mut consumer = live(500, 100);
    consumer.hear(0, &message("delta", 1, 501, 103, &[(9, 2)], &[]));
    consumer.hear(0, &message("delta", 3, 503, 108, &[(10, 0)], &[]));
    assert_eq!(consumer.statuses(), [Live, Resync]);
    let ticks = consumer.sink.ticks.len();
    consumer.hear(0, &message("delta", 4, 504, 109, &[(8, 7)], &[]));
    assert!(consumer.wants() && consumer.sink.ticks.len() == ticks, "nothing of a broken book");
    // The snapshot is older than what waits: that follows it.
    consumer.hear(0, &message("snapshot", 3, 503, 108, &[(9, 2)], &[(11, 1)]));
    assert_eq!(consumer.statuses(), [Live, Resync, Live]);
    assert!(!consumer.wants());
    let [bids, asks] = &consumer.book;
    assert_eq!((bids.len(), asks.len(), consumer.of), (2, 1, Some(4)));
    assert_eq!(consumer.parser.ignored().get("gap before orderbook"), 1);
}

#[test]
fn a_restart_overwrites_the_book() {
    for kind in ["snapshot", "delta"] {
        let mut consumer = live(500, 100);
        consumer.hear(0, &message(kind, 1, 1, 110, &[(5, 5)], &[]));
        assert_eq!((consumer.book[0].len(), consumer.book[1].len()), (1, 0));
        consumer.hear(0, &message("delta", 2, 2, 111, &[(4, 4)], &[]));
        // The other connection has not yet restarted.
        consumer.hear(1, &message("delta", 0, 501, 104, &[(3, 3)], &[]));
        assert_eq!(consumer.book[0].len(), 2);
        assert_eq!(consumer.parser.ignored().get("orderbook before a restart"), 1);
        assert_eq!(consumer.statuses(), [FeedState::Live]);
    }
}

#[test]
fn a_restart_that_was_missed_breaks_the_book() {
    let mut consumer = live(500, 100);
    consumer.hear(0, &message("delta", 1, 2, 120, &[(4, 4)], &[]));
    assert_eq!(consumer.state, Some(FeedState::Resync));
    assert!(consumer.wants());
    consumer.hear(0, &message("snapshot", 2, 3, 125, &[(4, 4)], &[]));
    assert_eq!((consumer.state, consumer.of), (Some(FeedState::Live), Some(2)));
}

#[test]
fn a_quiet_book_that_is_resubscribed_has_the_same_numbers() {
    let mut consumer = live(500, 100);
    consumer.parser.distrust(SYMBOL, 2, &mut consumer.sink);
    consumer.apply();
    assert!(consumer.wants() && consumer.state == Some(FeedState::Resync));
    let same = message("snapshot", 0, 500, 100, &[(10, 1)], &[(11, 1)]);
    consumer.hear(0, &same);
    assert!(!consumer.wants() && consumer.state == Some(FeedState::Live));
    let ticks = consumer.sink.ticks.len();
    consumer.hear(1, &same);
    assert_eq!(consumer.sink.ticks.len(), ticks, "from another connection");
}

#[test]
fn a_snapshot_that_is_sent_again_overwrites_the_book() {
    let mut consumer = live(500, 100);
    consumer.hear(0, &message("snapshot", 1, 504, 120, &[(5, 5)], &[]));
    assert_eq!((consumer.book[0].len(), consumer.book[1].len()), (1, 0));
    consumer.hear(0, &message("delta", 2, 505, 121, &[(6, 6)], &[]));
    assert_eq!((consumer.of, consumer.statuses()), (Some(2), vec![FeedState::Live]));
}

#[test]
fn a_connection_that_is_lost_leaves_what_another_carries() {
    let mut consumer = live(500, 100);
    consumer.parser.lost(0, &[], 2, &mut consumer.sink);
    consumer.hear(1, &message("delta", 1, 501, 104, &[(3, 3)], &[]));
    assert_eq!(consumer.statuses(), [FeedState::Live]);
    consumer.parser.lost(1, &[SYMBOL.into()], 3, &mut consumer.sink);
    consumer.apply();
    assert_eq!(consumer.state, Some(FeedState::Stale));
    assert!(!consumer.wants(), "nobody carries it");
    consumer.parser.expect(&[SYMBOL.into()], true, 4, &mut consumer.sink);
    assert!(consumer.wants());
    consumer.hear(2, &message("snapshot", 2, 640, 300, &[(3, 3)], &[]));
    consumer.hear(2, &message("delta", 3, 641, 301, &[(2, 2)], &[]));
    assert!(!consumer.wants());
    assert_eq!((consumer.state, consumer.of), (Some(FeedState::Live), Some(3)));
    assert_eq!(consumer.book[0].len(), 2);
}

#[test]
fn a_book_is_of_one_depth() {
    let mut consumer = live(500, 100);
    let other = message("snapshot", 1, 90, 120, &[(5, 5)], &[]);
    consumer.hear(0, &other.replace("orderbook.50", "orderbook.200"));
    assert_eq!((consumer.of, consumer.book[1].len()), (Some(0), 1));
    assert_eq!(consumer.parser.ignored().get("orderbook of another depth"), 1);
}
