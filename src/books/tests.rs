//! The book and the views against oracles that are too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, InstrumentId, Level, Side, Stamp, Tick};

use super::*;

const ID: InstrumentId = InstrumentId(1);
const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

/// Price and size of a level, side given.
type Row = (Decimal, Decimal);

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An event's ticks, flagged as on the ring.
pub(super) fn event(seq: u64, snapshot: bool, levels: &[(Side, Decimal, Decimal)]) -> Vec<Tick> {
    let stamp = Stamp { event: seq + 1, recv: seq + 2, seq };
    let kind = if snapshot { flags::SNAPSHOT } else { 0 };
    let mut ticks: Vec<Tick> = levels
        .iter()
        .map(|&(side, price, size)| Level { side, price, size, first: 0 })
        .map(|level| Tick::level(ID, stamp, kind, &level))
        .collect();
    if ticks.is_empty() {
        ticks.push(Tick::no_level(ID, stamp, kind, 0));
    }
    ticks.first_mut().unwrap().flags |= flags::FIRST;
    ticks.last_mut().unwrap().flags |= flags::LAST;
    ticks
}

/// A book as a client that follows the protocol would keep it, or as an oracle.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plain([BTreeMap<Decimal, Decimal>; 2]);

impl Plain {
    pub(super) fn of(depth: Depth, book: &Book) -> Self {
        Plain([depth.bids(book).collect(), depth.asks(book).collect()])
    }

    fn set(&mut self, side: Side, (price, size): Row) -> Option<Decimal> {
        let levels = &mut self.0[usize::from(side == Side::Sell)];
        if size.mantissa == 0 { levels.remove(&price) } else { levels.insert(price, size) }
    }

    /// Applies what a client is sent, whether it has an effect or not.
    pub(super) fn take(&mut self, changes: &Changes) {
        for (side, rows) in [(Side::Buy, &changes.bids), (Side::Sell, &changes.asks)] {
            for &row in rows {
                self.set(side, row);
            }
        }
    }

    /// Best first.
    pub(super) fn rows(&self, side: Side, depth: Depth) -> Vec<Row> {
        let depth = depth.levels().unwrap_or(usize::MAX);
        let levels = self.0[usize::from(side == Side::Sell)].iter().map(|(&p, &s)| (p, s));
        match side {
            Side::Buy => levels.rev().take(depth).collect(),
            Side::Sell => levels.take(depth).collect(),
        }
    }

    fn keep(&mut self, depth: usize) {
        for side in SIDES {
            for (price, _) in self.rows(side, Depth::FULL).into_iter().skip(depth) {
                self.set(side, (price, Decimal::ZERO));
            }
        }
    }

    /// Applies what a client is sent; every entry must have an effect, every price occur once.
    pub(super) fn follow(&mut self, changes: &Changes) -> Result<(), String> {
        for (side, rows) in [(Side::Buy, &changes.bids), (Side::Sell, &changes.asks)] {
            let mut prices: Vec<Decimal> = rows.iter().map(|row| row.0).collect();
            prices.sort();
            if prices.windows(2).any(|two| two[0] == two[1]) {
                return Err(format!("a price twice in {rows:?}"));
            }
            for &(price, size) in rows {
                let before = self.set(side, (price, size)).unwrap_or_default();
                if before == size {
                    return Err(format!("{side:?} {price} {size} is what the client has"));
                }
            }
        }
        Ok(())
    }
}

fn rows(book: &Book, side: Side) -> Vec<Row> {
    book.side(side).collect()
}

fn known(levels: &[(Side, Decimal, Decimal)]) -> Book {
    let mut book = Book::new();
    book.apply_event(&event(1, true, levels)).unwrap();
    book
}

fn depths() -> [Depth; 5] {
    let top = |levels| Depth::top(levels).unwrap();
    [top(1), top(2), top(5), top(10), Depth::FULL]
}

/// Levels near one another, so that views fill, empty and shift; mixed powers of ten.
fn levels(most: usize) -> impl Strategy<Value = Vec<(Side, Decimal, Decimal)>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let price = (0i64..24, 0i8..3).prop_map(|(p, zeros)| {
        // 1.0 to 12.5 in halves, with up to two more zeros than needed.
        Decimal::new((10 + p * 5) * 10i64.pow(zeros as u32), -1 - zeros)
    });
    let size = prop_oneof![
        3 => Just(Decimal::ZERO),
        3 => (1i64..4).prop_map(|s| Decimal::new(s, 0)),
        1 => (1i64..4, -3i8..2).prop_map(|(s, exp)| Decimal::new(s, exp)),
    ];
    prop::collection::vec((side, price, size), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Book and oracle agree after every event, and so does every client: those from the
    /// beginning and one that joined at a random event, at every depth, by minimal changes.
    #[test]
    fn book_and_views_equal_the_oracle(
        first in levels(40),
        events in prop::collection::vec((levels(9), prop::bool::weighted(0.05)), 1..40),
        max_levels in prop_oneof![Just(12usize), Just(MAX_LEVELS)],
        join in any::<prop::sample::Index>(),
    ) {
        let mut book = Book::with_max_levels(max_levels);
        let mut oracle = Plain::default();
        let mut clients = depths().map(|_| Plain::default());
        let mut late = depths().map(|_| None::<Plain>);
        let join = join.index(events.len());
        let mut changes = Changes::new();
        let all = std::iter::once((first, true)).chain(events);
        for (seq, (levels, snapshot)) in all.enumerate() {
            let before = oracle.clone();
            if snapshot {
                oracle = Plain::default();
            }
            for &(side, price, size) in &levels {
                oracle.set(side, (price, size));
            }
            oracle.keep(max_levels);
            let applied = book.apply_event(&event(seq as u64, snapshot, &levels)).unwrap();

            prop_assert_eq!(applied.snapshot, snapshot);
            prop_assert_eq!(book.seq(), seq as u64);
            for side in SIDES {
                prop_assert_eq!(rows(&book, side), oracle.rows(side, Depth::FULL));
            }
            if !snapshot {
                let same = SIDES.iter().all(|&side| {
                    before.rows(side, Depth::FULL) == oracle.rows(side, Depth::FULL)
                });
                prop_assert_eq!(applied.changed, !same);
            }
            for (i, depth) in depths().into_iter().enumerate() {
                depth.changes(&book, &mut changes);
                for client in [Some(&mut clients[i]), late[i].as_mut()].into_iter().flatten() {
                    if snapshot {
                        prop_assert!(changes.is_empty());
                        *client = Plain::of(depth, &book);
                    } else if let Err(error) = client.follow(&changes) {
                        prop_assert!(false, "depth {:?}: {}", depth.levels(), error);
                    }
                    for side in SIDES {
                        let shown = client.rows(side, Depth::FULL);
                        prop_assert_eq!(shown, oracle.rows(side, depth), "depth {:?}", depth);
                    }
                }
                if seq == join {
                    late[i] = Some(Plain::of(depth, &book));
                }
            }
        }
    }

    /// A copy goes on as the book does: same levels, same changes, whatever it was before.
    #[test]
    fn a_copy_has_the_same_future(
        (a, b, other) in (levels(40), levels(9), levels(9)), max_levels in 3usize..20
    ) {
        let mut book = Book::with_max_levels(max_levels);
        book.apply_event(&event(1, true, &a)).unwrap();
        let mut copy = known(&other);
        copy.clone_from(&book);
        let next = event(2, false, &b);
        prop_assert_eq!(book.apply_event(&next), copy.apply_event(&next));
        let (mut of_book, mut of_copy) = (Changes::new(), Changes::new());
        for depth in depths() {
            depth.changes(&book, &mut of_book);
            depth.changes(&copy, &mut of_copy);
            prop_assert_eq!(&of_book, &of_copy);
        }
        prop_assert_eq!((book.levels(), book.dropped()), (copy.levels(), copy.dropped()));
    }

    /// Whatever numbers come, an event is applied exactly or refused without a trace.
    #[test]
    fn extreme_numbers_are_exact_or_refused(
        events in prop::collection::vec(prop::collection::vec((
            prop_oneof![Just(Side::Buy), Just(Side::Sell)],
            (extreme(), prop_oneof![-9i8..9, any::<i8>()]),
            (extreme(), prop_oneof![-9i8..9, any::<i8>()]),
        ), 1..5), 1..6),
    ) {
        let mut book = known(&[]);
        let mut oracle = Plain::default();
        let mut clients = depths().map(|_| Plain::default());
        let mut changes = Changes::new();
        for (seq, levels) in events.into_iter().enumerate() {
            let levels: Vec<_> = levels
                .into_iter()
                .map(|(side, (p, pe), (s, se))| (side, Decimal::new(p, pe), Decimal::new(s, se)))
                .collect();
            let seq = seq as u64 + 2;
            let before = book.seq();
            match book.apply_event(&event(seq, false, &levels)) {
                Ok(_) => {
                    levels.iter().for_each(|&(side, p, s)| { oracle.set(side, (p, s)); });
                    prop_assert_eq!(book.seq(), seq);
                }
                Err(BookError::NegativeSize { size, .. }) => prop_assert!(size.mantissa < 0),
                Err(BookError::OutOfRange { what: "price", value }) => {
                    prop_assert!(levels.iter().any(|level| level.1 == value));
                    prop_assert_eq!(book.seq(), before);
                }
                Err(BookError::OutOfRange { value, .. }) => {
                    prop_assert!(levels.iter().any(|level| level.2 == value));
                    prop_assert_eq!(book.seq(), before);
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
            for side in SIDES {
                prop_assert_eq!(rows(&book, side), oracle.rows(side, Depth::FULL));
            }
            for (client, depth) in clients.iter_mut().zip(depths()) {
                depth.changes(&book, &mut changes);
                prop_assert_eq!(client.follow(&changes), Ok(()));
                for side in SIDES {
                    let shown = client.rows(side, Depth::FULL);
                    prop_assert_eq!(shown, oracle.rows(side, depth), "depth {:?}", depth);
                }
            }
        }
    }
}

fn extreme() -> impl Strategy<Value = i64> {
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    prop_oneof![3 => prop::sample::select(ends.to_vec()), 3 => 1i64..1000, 1 => any::<i64>()]
}

#[test]
fn depth_is_bounded() {
    for levels in [0, 1001, u64::MAX] {
        assert_eq!(Depth::top(levels), Err(DepthError(levels)));
    }
    assert_eq!(DepthError(0).to_string(), "depth 0, expected 1 to 1000");
    assert_eq!(Depth::top(1000).unwrap().levels(), Some(1000));
    assert_eq!(Depth::FULL.levels(), None);
}

#[test]
fn a_view_gives_and_takes_at_its_end() {
    let bid = |price, size| (Side::Buy, dec(price), dec(size));
    let mut book = known(&[bid("10", "1"), bid("9", "1"), bid("8", "1")]);
    let two = Depth::top(2).unwrap();
    let mut changes = Changes::new();
    let mut apply = |book: &mut Book, levels: &[_]| {
        book.apply_event(&event(2, false, levels)).unwrap();
        two.changes(book, &mut changes);
        let text = |&(price, size): &Row| format!("{price} {size}");
        changes.bids.iter().map(text).collect::<Vec<_>>()
    };
    // A better one pushes the worst in view out; it comes back whole.
    assert_eq!(apply(&mut book, &[bid("11", "1")]), ["9 0", "11 1"]);
    assert_eq!(apply(&mut book, &[bid("11", "0")]), ["9 1", "11 0"]);
    // Out of view: nothing.
    assert_eq!(apply(&mut book, &[bid("8", "5"), bid("7", "1")]), Vec::<String>::new());
    // What comes into view has the size it got out of view.
    assert_eq!(apply(&mut book, &[bid("10", "0")]), ["8 5", "10 0"]);
    // Sent again with the same size, or gone though it was not there: nothing.
    assert_eq!(apply(&mut book, &[bid("9", "1"), bid("9.5", "0")]), Vec::<String>::new());
    // A price that is touched twice counts as its last.
    assert_eq!(apply(&mut book, &[bid("9", "3"), bid("9", "1")]), Vec::<String>::new());
    assert_eq!(apply(&mut book, &[bid("9", "0"), bid("9", "4")]), ["9 4"]);
}

#[test]
fn refused_events_leave_no_trace() {
    let level = (Side::Buy, dec("1.5"), dec("2"));
    let mut book = Book::new();
    let update = event(7, false, &[level]);
    assert_eq!(book.apply_event(&update), Err(BookError::Unknown { seq: 7 }));
    assert!(!book.is_known());

    let mut book = known(&[level]);
    let mut mixed = event(8, false, &[level, level]);
    mixed[0].flags |= flags::SNAPSHOT;
    assert_eq!(book.apply_event(&mixed), Err(BookError::Mixed { seq: 8 }));
    let trade = Tick::status(
        ID,
        Stamp::default(),
        tickcast_feeds::Status { state: tickcast_feeds::FeedState::Live, age_ms: 0 },
    );
    let kind = tickcast_feeds::Kind::Status;
    assert_eq!(book.apply_event(&[trade]), Err(BookError::NotALevel(kind)));

    let good = (Side::Buy, dec("1.4"), dec("1"));
    let huge = (Side::Buy, dec("9e18"), dec("1"));
    let error = book.apply_event(&event(9, false, &[good, huge])).unwrap_err();
    assert_eq!(error, BookError::OutOfRange { what: "price", value: dec("9e18") });
    assert_eq!(
        error.to_string(),
        "price 9000000000000000000 and the book's others do not fit 63 bits at one power of ten"
    );
    let fine = (Side::Buy, dec("1.4"), dec("0.0000000000000000001"));
    let error = book.apply_event(&event(9, false, &[good, fine])).unwrap_err();
    assert_eq!(error, BookError::OutOfRange { what: "size", value: fine.2 });
    assert_eq!((book.levels(), book.seq()), ((1, 0), 1));
    let mut changes = Changes::new();
    Depth::FULL.changes(&book, &mut changes);
    assert!(changes.is_empty());
}

#[test]
fn finer_digits_rescale_the_book_and_coarser_ones_do_not() {
    let mut book = known(&[(Side::Buy, dec("1.5"), dec("2")), (Side::Sell, dec("1.6"), dec("3"))]);
    let update = event(2, false, &[(Side::Sell, dec("1.55555555"), dec("0.001"))]);
    assert!(book.apply_event(&update).unwrap().changed);
    assert_eq!(
        rows(&book, Side::Sell),
        [(dec("1.55555555"), dec("0.001")), (dec("1.6"), dec("3")),]
    );
    // Large numbers whose zeros after the point are given, as some venues do.
    let update = event(3, false, &[(Side::Buy, dec("1e3"), dec("90000000000.00000000"))]);
    assert!(book.apply_event(&update).unwrap().changed);
    assert_eq!(book.best().0, Some((dec("1000"), dec("90000000000"))));
    assert!(book.is_crossed());
    // A snapshot is not bound by what it replaces.
    let snapshot = event(4, true, &[(Side::Buy, dec("9e18"), dec("1e18"))]);
    assert!(book.apply_event(&snapshot).unwrap().snapshot);
    assert_eq!(book.best(), (Some((dec("9e18"), dec("1e18"))), None));
}

#[test]
fn an_empty_snapshot_empties_and_clear_forgets() {
    let mut book = known(&[(Side::Buy, dec("1"), dec("1"))]);
    assert_eq!(book.apply_event(&[]), Ok(Applied::default()));
    let applied = book.apply_event(&event(5, true, &[])).unwrap();
    assert_eq!(applied, Applied { snapshot: true, changed: true });
    assert_eq!((book.levels(), book.is_known(), book.seq()), ((0, 0), true, 5));
    assert_eq!((book.ts_event(), book.ts_recv()), (6, 7));
    let applied = book.apply_event(&event(6, false, &[])).unwrap();
    assert_eq!(applied, Applied::default());
    assert_eq!(book.seq(), 6);
    book.clear();
    assert_eq!((book.is_known(), book.seq()), (false, 6));
}

#[test]
fn the_worst_levels_beyond_the_bound_are_dropped_and_counted() {
    let mut book = Book::with_max_levels(2);
    let ask = |price| (Side::Sell, Decimal::new(price, 0), dec("1"));
    book.apply_event(&event(1, true, &[ask(5), ask(6), ask(7)])).unwrap();
    assert_eq!((book.levels(), book.dropped()), ((0, 2), 1));
    book.apply_event(&event(2, false, &[ask(4), ask(9)])).unwrap();
    assert_eq!((book.levels(), book.dropped()), ((0, 2), 3));
    let mut changes = Changes::new();
    Depth::FULL.changes(&book, &mut changes);
    assert_eq!(changes.asks, [(dec("4"), dec("1")), (dec("6"), dec("0"))]);
}
