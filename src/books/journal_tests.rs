//! Marks taken anywhere, told the sum of what came since, against copies of the book.

use proptest::prelude::*;
use tickcast_feeds::{Decimal, Side};

use super::super::tests::{Plain, event};
use super::super::{Book, Changes, Depth};
use super::{Journal, Mark};

/// What happens to a book and those who watch it.
#[derive(Clone, Debug)]
enum Step {
    /// Price and size of bids and asks.
    Event(Vec<(bool, i64, i64)>),
    Snapshot(Vec<(bool, i64, i64)>),
    /// The book's prices come with more digits from now on.
    Finer,
    /// Somebody begins to stand here, with this view (0: all levels).
    Stand(u64),
    /// The oldest one leaves.
    Leave,
    Trim,
}

fn levels() -> impl Strategy<Value = Vec<(bool, i64, i64)>> {
    prop::collection::vec((any::<bool>(), 1..12i64, 0..4i64), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => levels().prop_map(Step::Event),
        1 => levels().prop_map(Step::Snapshot),
        1 => Just(Step::Finer),
        4 => (0..5u64).prop_map(Step::Stand),
        1 => Just(Step::Leave),
        1 => Just(Step::Trim),
    ]
}

/// One who was told nothing since a mark, and what it held then.
struct Stand {
    mark: Mark,
    depth: Depth,
    held: Plain,
}

proptest! {
    #[test]
    fn sums_take_every_old_book_to_the_new_one(steps in prop::collection::vec(step(), 1..120)) {
        let mut book = Book::new();
        let begin = event(1, true, &[(Side::Buy, Decimal::new(1, 0), Decimal::new(1, 0))]);
        book.apply_event(&begin).unwrap();
        let mut journal = Journal::new(&book);
        let mut stands: Vec<Stand> = Vec::new();
        let mut digits = 0;
        let mut out = Changes::new();
        for (seq, step) in steps.into_iter().enumerate() {
            let ticks = |levels: &[(bool, i64, i64)], snapshot| {
                let levels: Vec<_> = levels.iter().map(|&(bid, price, size)| {
                    let (side, base) = if bid { (Side::Buy, 100) } else { (Side::Sell, 120) };
                    let price = Decimal::new((base + price) * 10i64.pow(digits), -(digits as i8));
                    (side, price, Decimal::new(size, 0))
                }).collect();
                event(seq as u64 + 2, snapshot, &levels)
            };
            match step {
                Step::Event(levels) => {
                    book.apply_event(&ticks(&levels, false)).unwrap();
                    journal.note(&book);
                }
                Step::Snapshot(levels) => {
                    let old = book.clone();
                    book.apply_event(&ticks(&levels, true)).unwrap();
                    journal.note_replaced(&old, &book);
                }
                Step::Finer => digits = (digits + 1).min(3),
                Step::Stand(depth) => {
                    let depth = Depth::top(depth).unwrap_or(Depth::FULL);
                    stands.push(Stand { mark: journal.end(), depth, held: Plain::of(depth, &book) });
                }
                Step::Leave if stands.is_empty() => {}
                Step::Leave => { stands.remove(0); }
                Step::Trim => {
                    let oldest = stands.iter().map(|s| s.mark).fold(journal.end(), Mark::min);
                    journal.trim(oldest);
                }
            }
            if seq % 8 != 0 {
                continue;
            }
            let end = journal.end();
            for stand in &stands {
                if journal.view_at(&book, stand.mark, stand.depth, &mut out) {
                    let rows = |side| stand.held.rows(side, Depth::FULL);
                    prop_assert_eq!(&out.bids, &rows(Side::Buy));
                    prop_assert_eq!(&out.asks, &rows(Side::Sell));
                }
                if journal.changes(&book, stand.mark, stand.depth, &mut out) {
                    let mut held = stand.held.clone();
                    held.take(&out);
                    prop_assert_eq!(held, Plain::of(stand.depth, &book), "from {:?}", stand.mark);
                }
                if stand.depth == Depth::FULL {
                    // In two steps over another's mark.
                    for middle in stands.iter().map(|s| s.mark).filter(|&m| m.min(stand.mark) == stand.mark) {
                        let mut held = stand.held.clone();
                        if journal.changes_until(&book, stand.mark, middle, &mut out) {
                            held.take(&out);
                            prop_assert!(journal.changes_until(&book, middle, end, &mut out));
                            held.take(&out);
                            prop_assert_eq!(held, Plain::of(Depth::FULL, &book));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_journal_is_bounded_whoever_stands_where() {
    let mut book = Book::new();
    book.apply_event(&event(1, true, &[])).unwrap();
    let mut journal = Journal::new(&book);
    let mut held = Plain::of(Depth::FULL, &book);
    let mut out = Changes::new();
    let level = |price, size| (Side::Buy, Decimal::new(price, 0), Decimal::new(size, 0));
    // Few prices, many changes: they are folded, and whoever stands at the beginning is served.
    for seq in 2..10_000 {
        book.apply_event(&event(seq, false, &[level(seq as i64 % 20 + 1, seq as i64)])).unwrap();
        journal.note(&book);
    }
    assert!(journal.bids.entries.len() < 200, "{}", journal.bids.entries.len());
    assert!(journal.changes(&book, Mark::default(), Depth::FULL, &mut out));
    held.take(&out);
    assert_eq!(held, Plain::of(Depth::FULL, &book));
    let top = Depth::top(3).unwrap();
    assert!(!journal.changes(&book, Mark::default(), top, &mut out), "what it held is not known");
    // Ever new prices: the beginning is lost, and that is said.
    for seq in 10_000..20_000 {
        book.apply_event(&event(seq, false, &[level(seq as i64, 1), level(seq as i64 - 5, 0)]))
            .unwrap();
        journal.note(&book);
    }
    assert!(journal.bids.entries.len() < 300, "{}", journal.bids.entries.len());
    assert!(!journal.changes(&book, Mark::default(), Depth::FULL, &mut out));
    let end = journal.end();
    journal.trim(end);
    assert!(journal.is_end(end) && journal.bids.entries.is_empty());
}
