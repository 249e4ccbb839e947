//! How a reactor that is behind the ingest's state takes over from it: no sockets, no clock.

use std::rc::Weak;
use std::sync::Arc;

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{
    Decimal, FeedState, InstrumentId, Instruments, Level, Quote, Side, Stamp, Status, Tick,
};

use super::{Core, Hub, Link, Settings};
use crate::books::{State, Writer};
use crate::ring::{self, Producer};

const ID: InstrumentId = InstrumentId(0);

/// The ingest's side and a reactor without clients.
struct Bench {
    producer: Producer<TICK_WORDS>,
    writer: Writer,
    position: u64,
    core: Core,
}

impl Bench {
    fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        instruments.list("sim", "A", "A", "USD");
        let settings = Settings {
            outbox_bytes: 1 << 20,
            max_age_ns: 1_000_000_000,
            conflate_quotes: false,
            slow_grace_ms: 1000,
            max_subscriptions: 10,
            request_rate: 10,
            max_message_bytes: 1 << 16,
            ping_interval_ms: 1000,
            ping_timeout_ms: 1000,
            drain_spread_ms: [0, 1],
        };
        let link = Arc::new(Link::default());
        let hub = Arc::new(Hub {
            settings,
            epoch: String::new(),
            instruments,
            paced: Default::default(),
            subscribers: Default::default(),
            links: vec![link.clone()],
        });
        let (producer, ring) = ring::channel(1024).unwrap();
        let state = Arc::new(State::new());
        let mut core = Core::new(Weak::new(), hub, link, ring.consumer(), state.reader());
        core.list_new();
        Bench { producer, writer: state.writer(), position: 0, core }
    }

    /// As the ingest: into the state first, all of it, then onto the ring.
    fn apply(&mut self, ticks: &[Tick]) {
        for event in ticks.chunk_by(|tick, _| !tick.has(flags::LAST)) {
            self.writer.apply_event(event, self.position).unwrap();
            self.position += event.len() as u64;
        }
    }

    fn publish(&mut self, ticks: &[Tick]) {
        self.producer.publish_iter(ticks.iter().map(Tick::to_words));
    }

    fn take_all(&mut self) {
        while self.core.take_ticks() > 0 {}
    }

    /// The known book's sequence and levels.
    fn book(&self) -> Option<(u64, (usize, usize))> {
        let book = self.core.market.entries[0].book.as_ref().filter(|book| book.is_known())?;
        Some((book.seq(), book.levels()))
    }
}

fn stamp(seq: u64) -> Stamp {
    Stamp { event: 0, recv: seq * 1_000_000, seq }
}

/// One tick of a book event.
fn level(seq: u64, price: i64, event: u8) -> Tick {
    let (price, size) = (Decimal::new(price, 0), Decimal::new(1, 0));
    Tick::level(ID, stamp(seq), event, &Level { side: Side::Buy, price, size, first: 0 })
}

fn whole(seq: u64, price: i64, event: u8) -> Tick {
    level(seq, price, event | flags::FIRST | flags::LAST)
}

fn status(seq: u64, state: FeedState) -> Tick {
    Tick::status(ID, stamp(seq), Status { state, age_ms: 0 })
}

#[test]
fn a_resync_that_the_copied_book_has_behind_it_does_not_clear_it() {
    let mut bench = Bench::new();
    let ticks = [
        whole(1, 10, flags::SNAPSHOT),
        status(1, FeedState::Resync),
        whole(5, 20, flags::SNAPSHOT),
        status(2, FeedState::Live),
    ];
    bench.apply(&ticks);
    bench.core.load_book(0);
    assert_eq!(bench.book(), Some((5, (1, 0))));
    bench.publish(&ticks);
    bench.take_all();
    assert_eq!(bench.book(), Some((5, (1, 0))));
    let next = [whole(6, 21, 0)];
    bench.apply(&next);
    bench.publish(&next);
    bench.take_all();
    assert_eq!(bench.book(), Some((6, (2, 0))));
}

#[test]
fn a_book_copied_in_the_middle_of_its_event_has_the_event_once() {
    let mut bench = Bench::new();
    let first = [whole(1, 10, flags::SNAPSHOT)];
    let event = [level(2, 11, flags::FIRST), level(2, 12, 0), level(2, 13, flags::LAST)];
    bench.apply(&first);
    bench.publish(&first);
    bench.take_all();
    bench.apply(&event);
    bench.publish(&event[..2]);
    bench.take_all();
    bench.core.load_book(0);
    bench.publish(&event[2..]);
    bench.take_all();
    assert_eq!(bench.book(), Some((2, (4, 0))));
    assert_eq!(bench.core.report.book_errors, 0);
    // And one that is only dropped in the middle of an event.
    let event = [level(3, 14, flags::FIRST), level(3, 15, flags::LAST)];
    bench.apply(&event);
    bench.publish(&event[..1]);
    bench.take_all();
    bench.core.market.entries[0].book = None;
    bench.publish(&event[1..]);
    bench.take_all();
    bench.core.load_book(0);
    let next = [whole(4, 16, 0)];
    bench.apply(&next);
    bench.publish(&next);
    bench.take_all();
    assert_eq!(bench.book(), Some((4, (7, 0))));
    assert_eq!(bench.core.report.book_errors, 0);
}

#[test]
fn a_lapped_reactor_takes_everything_over_from_the_state() {
    let mut bench = Bench::new();
    bench.core.load_book(0);
    let quote = Quote {
        bid: Decimal::new(9, 0),
        bid_size: Decimal::new(1, 0),
        ask: Decimal::new(10, 0),
        ask_size: Decimal::new(1, 0),
    };
    let mut ticks = vec![whole(1, 1, flags::SNAPSHOT), status(7, FeedState::Halted)];
    ticks.extend((2..2000).map(|seq| whole(seq, seq as i64, 0)));
    ticks.push(Tick::quote(ID, stamp(3000), &quote).unwrap());
    bench.apply(&ticks);
    bench.publish(&ticks);
    bench.take_all();
    assert_eq!(bench.core.report.lapped, 1, "2,001 ticks at once, 1,024 slots");
    assert_eq!(bench.book(), Some((1999, (1999, 0))));
    let entry = &bench.core.market.entries[0];
    assert_eq!(entry.last_quote.map(|tick| tick.seq), Some(3000));
    assert_eq!((entry.quote.last, entry.status.last), (3000, 7));
    assert_eq!((entry.feed, entry.feed_ns), (FeedState::Halted, 7_000_000));
    // What the state had before the ring did is not applied twice.
    let next = [whole(4000, 1, 0), whole(4001, 5000, 0)];
    bench.apply(&next);
    bench.core.load_book(0);
    bench.publish(&next);
    bench.take_all();
    assert_eq!(bench.book(), Some((4001, (2000, 0))));
    assert_eq!(bench.core.report.book_errors, 0);
}

#[test]
fn a_lap_does_not_make_a_feed_stale_that_never_said_so() {
    let mut bench = Bench::new();
    let before = bench.core.market.entries[0].feed;
    let ticks: Vec<Tick> = (1..2000).map(|seq| whole(seq, 1, flags::SNAPSHOT)).collect();
    bench.apply(&ticks);
    bench.publish(&ticks);
    bench.take_all();
    assert_eq!(bench.core.report.lapped, 1);
    assert_eq!(bench.core.market.entries[0].feed, before);
}

#[test]
fn an_idle_session_s_task_is_small() {
    fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    // With its own fields tokio makes 256 bytes of it, in steps of 128.
    let size = size(super::Reactor::read_session);
    assert!(size <= 96, "{size}");
}
