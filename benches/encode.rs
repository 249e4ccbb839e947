//! What it costs to encode a tick, once for all who get it: `cargo bench --bench encode`.
//!
//! Per message, into a buffer that has grown: as reactors do it. `framed` adds the frame's head and the copy behind it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast::wire::frame;
use tickcast::wire::native::{self, BookHead, Heads};
use tickcast_feeds::{Decimal, InstrumentId, Quote, Side, Stamp, Tick, Trade};

/// Ticks that are encoded in turn, so that digits differ as they do in a market.
const TICKS: u64 = 64;
const STAMP_NS: u64 = 1_763_699_999_000_123_456;

fn stamp(at: u64) -> Stamp {
    Stamp {
        event: STAMP_NS + at * 1_000_000,
        recv: STAMP_NS + at * 1_000_000 + 400_000,
        seq: 3_735_683_259 + at,
    }
}

fn price(at: u64) -> Decimal {
    Decimal::new(6_183_763_000_000 + at as i64 * 7_000_000, -8)
}

fn size(at: u64) -> Decimal {
    Decimal::new(2_378_826 + at as i64 * 9_871, -8)
}

fn trades() -> Vec<Tick> {
    let trade = |at| {
        let side = if at % 3 == 0 { Side::Sell } else { Side::Buy };
        let trade = Trade { price: price(at), size: size(at), id: 3_735_683_259 + at, side };
        Tick::trade(InstrumentId(0), stamp(at), &trade)
    };
    (0..TICKS).map(trade).collect()
}

fn quotes() -> Vec<Tick> {
    let quote = |at| {
        let quote = Quote {
            bid: price(at),
            bid_size: size(at),
            ask: price(at + 1),
            ask_size: size(at + 9),
        };
        Tick::quote(InstrumentId(0), stamp(at), &quote).expect("exponents that fit")
    };
    (0..TICKS).map(quote).collect()
}

/// The levels of one side, and the head that makes it a snapshot or an update.
fn levels(count: u64) -> Vec<(Decimal, Decimal)> {
    (0..count).map(|at| (price(at), size(at * 3))).collect()
}

fn book_head(prev: Option<u64>) -> BookHead {
    BookHead {
        depth: None,
        seq: 50_093_239_219,
        prev,
        ts_event: STAMP_NS,
        ts_recv: STAMP_NS + 400_000,
    }
}

/// Measures `write`, which is given a running number, into one buffer that is cleared before each message.
fn messages(c: &mut Criterion, name: &str, mut write: impl FnMut(&mut Vec<u8>, usize)) {
    let mut out = Vec::new();
    write(&mut out, 0);
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(out.len() as u64));
    let mut at = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            out.clear();
            write(&mut out, at);
            at = (at + 1) % TICKS as usize;
            black_box(out.as_slice());
        });
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    let heads = Heads::new("binance:BTC-USDT");
    let (trades, quotes) = (trades(), quotes());
    messages(c, "trade", |out, at| {
        native::trade(out, &heads, black_box(&trades[at]), 3_735_683_258)
    });
    let mut message = Vec::new();
    messages(c, "trade, framed", |out, at| {
        message.clear();
        native::trade(&mut message, &heads, black_box(&trades[at]), 3_735_683_258);
        frame::text(&message, out);
    });
    messages(c, "quote", |out, at| {
        native::quote(out, &heads, black_box(&quotes[at]), Some(50_093_239_212));
    });
    for (name, count, prev) in [
        ("book update, 10 levels", 5, Some(50_093_239_212)),
        ("book snapshot, 25 levels a side", 25, None),
        ("book snapshot, 1000 levels a side", 1_000, None),
    ] {
        let (side, head) = (levels(count), book_head(prev));
        messages(c, name, |out, _| {
            let side = black_box(&side);
            native::book(out, &heads, &head, side.iter().copied(), side.iter().copied());
        });
    }
    messages(c, "heartbeat", |out, at| native::heartbeat(out, black_box(STAMP_NS + at as u64)));
    decimals(c);
}

/// The part of an encoding that is arithmetic.
fn decimals(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode/decimal");
    let mut out = Vec::new();
    for (name, value) in [
        ("whole", Decimal::new(61_837, 0)),
        ("price, zeros to cut", Decimal::new(6_183_763_000_000, -8)),
        ("size, 8 places", Decimal::new(2_378_821, -8)),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                black_box(value).write_to(&mut out);
                black_box(out.as_slice());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = encode;
    config = Criterion::default().sample_size(50);
    targets = benches
}
criterion_main!(encode);
