//! What an update of a book costs: `cargo bench --bench books`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tickcast::books::{Book, Changes, Depth};
use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, InstrumentId, Level, Side, Stamp, Tick};

/// The best bid, in units of 0.01.
const MIDDLE: i64 = 6_183_763;

fn level(side: Side, distance: i64, size: i64, event: u8) -> Tick {
    let price = match side {
        Side::Buy => MIDDLE - distance,
        Side::Sell => MIDDLE + 1 + distance,
    };
    let price = Decimal::new(price * 1_000_000, -8);
    let level = Level { side, price, size: Decimal::new(size, -8), first: 0 };
    Tick::level(InstrumentId(0), Stamp::default(), event, &level)
}

/// `depth` levels a side, two units of price apart.
fn snapshot(depth: i64) -> Vec<Tick> {
    let side = |side| (0..depth).map(move |at| level(side, at * 2, 1_000 + at, flags::SNAPSHOT));
    side(Side::Buy).chain(side(Side::Sell)).collect()
}

fn book(depth: i64) -> Book {
    let mut book = Book::new();
    book.apply_event(&snapshot(depth)).expect("a good snapshot");
    book
}

/// An event of ten levels as real ones are: new and gone levels and new sizes near the top.
fn near_top(round: i64) -> Vec<Tick> {
    let size = if round % 2 == 0 { 5_000 + round } else { 0 };
    let mut event: Vec<Tick> = (0..5)
        .flat_map(|at| {
            let kept = 7_000 + round;
            [level(Side::Buy, at * 4 + 1, size, 0), level(Side::Sell, at * 4, kept, 0)]
        })
        .collect();
    event[0].flags |= flags::FIRST;
    event[9].flags |= flags::LAST;
    event
}

fn benches(c: &mut Criterion) {
    let events: Vec<_> = (0..64).map(near_top).collect();
    let mut changes = Changes::new();
    let top = Depth::top(25).expect("a depth");

    let mut group = c.benchmark_group("books");
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % events.len();
        &events[at]
    };
    let mut thousand = book(1000);
    for event in &events {
        thousand.apply_event(event).expect("a good event");
        top.changes(&thousand, &mut changes);
        assert_eq!((changes.bids.len(), changes.asks.len()), (10, 5), "what is measured");
    }
    group.bench_function("apply 10 levels near the top of 1000", |b| {
        b.iter(|| thousand.apply_event(black_box(next())));
    });
    group.bench_function("apply them, and the changes of a 25 deep view", |b| {
        b.iter(|| {
            let applied = thousand.apply_event(black_box(next()));
            top.changes(&thousand, &mut changes);
            applied
        });
    });

    let mut far = book(1000);
    let size = level(Side::Buy, 1_500, 9, flags::FIRST | flags::LAST);
    far.apply_event(&[size]).expect("a good event");
    group.bench_function("changes of a 25 deep view, event outside it", |b| {
        b.iter(|| {
            top.changes(black_box(&far), &mut changes);
            changes.is_empty()
        });
    });

    group.bench_function("apply a snapshot of 1000 x 1000", |b| {
        let event = snapshot(1000);
        b.iter_batched_ref(Book::new, |book| book.apply_event(&event), BatchSize::SmallInput);
    });
    group.bench_function("clone 1000 x 1000", |b| b.iter(|| black_box(&far).clone()));
    let mut copy = far.clone();
    group.bench_function("clone 1000 x 1000 into buffers", |b| {
        b.iter(|| copy.clone_from(black_box(&far)));
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
