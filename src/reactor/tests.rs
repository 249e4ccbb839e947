//! How a reactor that is behind the ingest's state takes over from it: no clock. And whose turn it is to be
//! flushed.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{
    Decimal, FeedState, InstrumentId, Instruments, Level, Quote, Side, Stamp, Status, Tick, Trade,
};

use super::cadence::Cadence;
use super::lanes::Lane;
use super::{Core, Hub, Link, Settings, Stream};
use crate::access::Held;
use crate::books::{State, Writer};
use crate::derive::{Bar, Span, Turn};
use crate::ring::{self, Producer};
use crate::session::Dialect;
use crate::session::end::Reason;
use crate::session::resume::Start;
use crate::session::subs::{Key, Terms};
use crate::transport::{Detached, Peer};
use crate::wire::form::Form;
use crate::wire::request::{Channel, Mode};

#[path = "conflation_tests.rs"]
mod conflation_tests;

const ID: InstrumentId = InstrumentId(0);

fn key(channel: Channel, depth: u16) -> Key {
    Key { channel, instrument: 0, depth, form: Form::NATIVE }
}

fn every(lane: Lane) -> Terms {
    Terms { mode: Mode::All, cadence: Cadence::EVERY, lane }
}

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
            conflate: false,
            slow_grace_ms: 1000,
            max_subscriptions: 10,
            request_rate: 10,
            max_message_bytes: 1 << 16,
            compress: false,
            ping_interval_ms: 1000,
            ping_timeout_ms: 1000,
            drain_spread_ms: [0, 1],
            drill: None,
        };
        let link = Arc::new(Link::default());
        let hub = Arc::new(Hub {
            budget: crate::budget::Budget::new(0),
            access: crate::access::Access::open(),
            settings,
            epoch: String::new(),
            delay_ms: 0,
            others: Default::default(),
            instruments,
            paced: Default::default(),
            subscribers: Default::default(),
            traces: Arc::new(crate::trace::Traces::new(0, false)),
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

impl Bench {
    /// A client that is subscribed to trades, and its end of the socket.
    fn connect(&mut self, lane: Lane) -> (u32, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = Rc::new(Detached::from(stream).attach().unwrap());
        let session =
            self.core.session(stream, Peer::Tcp(address), Held::everything(), Dialect::Native);
        let id = self.core.sessions.insert(session) as u32;
        let key = key(Channel::Trade, 0);
        self.core.subscribe(id, key, every(lane), false);
        (id, peer)
    }

    /// A trade, received now.
    fn trade(&mut self, seq: u64) {
        let recv = self.core.now.ns;
        let trade =
            Trade { price: Decimal::new(1, 0), size: Decimal::new(1, 0), id: seq, side: Side::Buy };
        let tick = Tick::trade(ID, Stamp { event: recv, recv, seq }, &trade);
        self.publish(&[tick]);
        self.take_all();
    }

    /// Who has something pending after what is due so many milliseconds from now was flushed.
    fn waiting(&mut self, later_ms: u64, window_ms: u64) -> Vec<usize> {
        self.core.pace.set_window(window_ms * 1_000_000);
        self.core.now.mono_ns += later_ms * 1_000_000;
        let now = self.core.now;
        self.core.flush_due(100);
        // It has looked at the real clock.
        self.core.now = now;
        self.core.sessions.iter().filter(|(_, s)| !s.out.is_empty()).map(|(id, _)| id).collect()
    }
}

/// What a series makes known of a trade at this second, as the ingest puts it on the ring.
fn bars_of(bench: &mut Bench, seq: u64, second: u64) -> Vec<Tick> {
    let one = Decimal::new(1, 0);
    let stamp = Stamp { event: second * 1_000_000_000, recv: second * 1_000_000_000, seq };
    let trade = Trade { price: one, size: one, id: seq, side: Side::Buy };
    let trade = Tick::trade(ID, stamp, &trade);
    bench.apply(&[trade]);
    let mut ticks = vec![trade];
    let mut state = bench.writer.slot(ID).lock();
    let wanted = state.demand.as_ref().map_or(0, |demand| demand.bits());
    let emit = &mut |bar: &Bar, seq| ticks.extend(bar.to_ticks(ID, seq));
    let mut turn = Turn { wanted, buckets: &mut 0, late: &mut 0, emit, keep: &mut |_| {} };
    state.series.get_or_insert_default().trade(&trade, &mut turn);
    bench.position += ticks.len() as u64 - 1;
    state.position = bench.position;
    ticks
}

#[tokio::test]
async fn bars_on_the_ring_that_a_snapshot_is_ahead_of_are_left_out() {
    let mut bench = Bench::new();
    let wanted = |bench: &mut Bench| {
        bench.writer.slot(ID).lock().demand.as_ref().map_or(0, |demand| demand.bits())
    };
    let key = key(Channel::Bar, Span::Second as u16);
    let terms = every(Lane::SERVERS);
    let join = |bench: &mut Bench, id: u32| {
        bench.core.subscribe(id, key, terms, false);
        bench.core.turn();
    };
    let bar = |bench: &Bench| {
        let bars = &bench.core.market.entries[0].bars[0];
        (bars.line.last, bars.bar.map(|bar| (bar.start_s, bar.is_final)))
    };
    let first_tick = bars_of(&mut bench, 1, 100);
    assert_eq!(first_tick.len(), 1, "nobody listens");
    let (first, _peer) = bench.connect(Lane::SERVERS);
    join(&mut bench, first);
    assert_eq!((bar(&bench), wanted(&mut bench)), ((1, Some((100, false))), Span::Second.bit()));
    // Two more are in the state and not yet taken from the ring when the topic is made anew.
    let ahead = [bars_of(&mut bench, 2, 101), bars_of(&mut bench, 3, 102)].concat();
    assert_eq!(ahead.len(), 2 * (1 + 3 + 3), "the one before is over, the next begins");
    bench.core.leave_all(first);
    assert_eq!(wanted(&mut bench), 0);
    join(&mut bench, first);
    assert_eq!(bar(&bench), (5, Some((102, false))));
    let encoded = bench.core.report.encoded;
    bench.publish(&first_tick);
    bench.publish(&ahead);
    bench.take_all();
    assert_eq!((bench.core.report.encoded, bar(&bench)), (encoded, (5, Some((102, false)))));
    // From there on it follows the ring; who joins now gets what the others have.
    let next = bars_of(&mut bench, 4, 103);
    bench.publish(&next);
    bench.take_all();
    assert_eq!(bar(&bench), (7, Some((103, false))));
    // Whoever is overtaken by the ring's writer takes everything over.
    let lost = [bars_of(&mut bench, 5, 104), bars_of(&mut bench, 6, 105)].concat();
    (0..100).for_each(|_| bench.publish(&lost));
    bench.core.take_ticks();
    assert_eq!(bar(&bench), (11, Some((105, false))));
    bench.core.remove(first, Reason::Lost);
    assert_eq!((bench.core.market.entries[0].bars.len(), wanted(&mut bench)), (0, 0));
}

#[test]
fn a_subscription_bounds_its_own_wait_and_no_other_s() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _runtime = runtime.enter();
    let mut bench = Bench::new();
    let lanes = [Lane::SERVERS, Lane::of(0), Lane::of(30)];
    let clients = lanes.map(|lane| bench.connect(lane));
    let (servers, hasty, patient) = (0, 1, 2);
    assert_eq!(clients.each_ref().map(|(id, _)| *id as usize), [servers, hasty, patient]);

    bench.trade(1);
    assert_eq!(bench.waiting(0, 100), [servers, patient]);
    bench.trade(2);
    assert_eq!(bench.waiting(30, 100), [servers]);
    bench.trade(3);
    assert_eq!(bench.waiting(70, 100), [0usize; 0]);
    assert_eq!(
        bench.core.report.sends,
        3 + 2 + 1,
        "the hasty one's, the patient one's, the other's"
    );
    // A window below all bounds is everybody's.
    bench.trade(4);
    assert_eq!(bench.waiting(0, 0), [0usize; 0]);
}

#[test]
fn a_hasty_subscription_of_a_waiting_session_takes_all_that_waits_along() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _runtime = runtime.enter();
    let mut bench = Bench::new();
    let (id, _peer) = bench.connect(Lane::SERVERS);
    bench.trade(1);
    assert_eq!(bench.waiting(0, 100), [0]);
    let key = key(Channel::Trade, 0);
    bench.core.market.entries[0].leave(id, &key, every(Lane::SERVERS));
    bench.core.subscribe(id, key, every(Lane::of(0)), false);
    bench.trade(2);
    assert_eq!(bench.waiting(0, 100), [0usize; 0]);
    assert_eq!(bench.core.report.sends, 1);
    // The entry that was left behind is stale: it flushes nothing that comes later.
    bench.core.market.entries[0].leave(id, &key, every(Lane::SERVERS));
    bench.core.subscribe(id, key, every(Lane::SERVERS), false);
    bench.core.now.mono_ns += 90_000_000;
    bench.trade(3);
    assert_eq!(bench.waiting(15, 100), [0]);
    assert_eq!(bench.waiting(90, 100), [0usize; 0]);
    assert_eq!(bench.core.report.sends, 2);
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

#[test]
fn of_a_stream_of_events_the_kernel_says_when_nothing_gets_through() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut bench = Bench::new();
    let (id, _peer) = bench.connect(Lane::SERVERS);
    let stream = Stream { head: Vec::new(), targets: Vec::new(), start: Start::default() };
    bench.core.open_events(id, &stream);
    let session = &bench.core.sessions[id as usize];
    let socket = socket2::SockRef::from(session.stream.socket());
    // As long as others have for their pong.
    let silence = std::time::Duration::from_millis(2_000);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(silence));
}
