//! The synthetic feed: the market's books are consistent with what it publishes, the schedule is
//! kept, and equal seeds make equal ticks.

mod pace;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread;

use pace::{TestClock, context};
use proptest::prelude::*;
use tickcast_feeds::synthetic::{Market, SyntheticFeed};
use tickcast_feeds::tick::flags;
use tickcast_feeds::{
    Decimal, FeedSpec, Instruments, Kind, Side, Sink, SinkClosed, Stop, SyntheticSpec, Tick,
    VecSink,
};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;

fn spec(text: &str) -> SyntheticSpec {
    match text.parse() {
        Ok(FeedSpec::Synthetic(spec)) => spec,
        other => panic!("{other:?}"),
    }
}

/// What the feed puts in `lasting` nanoseconds, by a clock that wakes it `late`.
fn run(text: &str, lasting: u64, late: u64) -> (Vec<Tick>, Instruments) {
    let instruments = Instruments::new();
    let feed = SyntheticFeed::open(spec(text), &instruments);
    let clock = TestClock { late, ..TestClock::new(START, lasting) };
    let mut sink = VecSink::default();
    feed.run_by(&clock, &mut sink, &clock.context()).unwrap();
    (sink.ticks, instruments)
}

fn without_stamps(ticks: &[Tick]) -> Vec<Tick> {
    ticks.iter().map(|tick| Tick { ts_event: 0, ts_recv: 0, ..*tick }).collect()
}

#[test]
fn equal_specs_make_equal_ticks() {
    let text = "synthetic:symbols=20,seed=7";
    let (first, _) = run(text, 3 * SECOND, 0);
    // Another machine, another load: wakes are late, the ticks are the same.
    let (second, _) = run(text, 3 * SECOND, 1_234_567);
    let common = first.len().min(second.len());
    assert!(common > 5_000, "{common}");
    assert_eq!(without_stamps(&first)[..common], without_stamps(&second)[..common]);
    let (other, _) = run("synthetic:symbols=20,seed=8", 3 * SECOND, 0);
    assert_ne!(without_stamps(&first)[..1_000], without_stamps(&other)[..1_000]);
}

#[test]
fn the_contract_of_measuring_tools() {
    let text = "synthetic:symbols=500,rate=10000,only=trade,zipf=0,names=numbered,seed=1";
    let (ticks, instruments) = run(text, SECOND, 777_777);
    // Late wakes do not move the times at which ticks were due.
    for (n, tick) in ticks.iter().enumerate() {
        assert_eq!(tick.kind, Kind::Trade);
        assert_eq!(tick.ts_event, START + n as u64 * 100_000);
        assert!(tick.ts_recv >= tick.ts_event && tick.ts_recv - tick.ts_event < 2_000_000);
    }
    // The last wake, with the ticks of a millisecond, was told to stop.
    assert!((9_985..=10_000).contains(&ticks.len()), "{}", ticks.len());
    assert_eq!(instruments.len(), 500);
    assert!(instruments.find("sim:S0000-USD").is_some());
    assert!(instruments.find("sim:S0499-USD").is_some());
    let mut each = vec![0; 500];
    ticks.iter().for_each(|tick| each[tick.instrument.index()] += 1);
    assert!(each.iter().all(|n| (4..50).contains(n)), "{each:?}");
}

#[test]
fn trade_ids_rise_by_one() {
    let (ticks, _) = run("synthetic:symbols=3,rate=5000,only=trade", SECOND, 0);
    let mut last = HashMap::new();
    for tick in &ticks {
        let before = last.insert(tick.instrument, tick.seq).unwrap_or(0);
        assert_eq!((tick.seq, tick.as_trade().id), (before + 1, before + 1));
    }
    assert_eq!(last.len(), 3);
}

#[test]
fn the_first_are_the_busiest_and_have_real_names() {
    let (ticks, instruments) = run("synthetic:rate=50000,only=trade", SECOND, 0);
    assert_eq!(instruments.len(), 200);
    let count = |symbol: &str| {
        let id = instruments.find(symbol).unwrap();
        ticks.iter().filter(|tick| tick.instrument == id).count() as f64
    };
    let (btc, eth, sol) = (count("sim:BTC-USD"), count("sim:ETH-USD"), count("sim:SOL-USD"));
    assert!((1.7..2.3).contains(&(btc / eth)), "{btc} {eth}");
    assert!((2.5..3.5).contains(&(btc / sol)), "{btc} {sol}");
}

#[test]
fn a_rate_counts_events_of_any_size() {
    let (ticks, _) = run("synthetic:symbols=10,rate=1000", 10 * SECOND, 0);
    let paced = ticks.iter().filter(|tick| !tick.has(flags::SNAPSHOT));
    let events = paced.clone().filter(|tick| tick.has(flags::LAST)).count();
    // The ten first quotes come with the snapshots.
    assert!((10_000..=10_015).contains(&(events - 10)), "{events}");
    assert!(paced.count() > events);
}

#[test]
fn bursts_are_seen_by_the_sink() {
    let (ticks, _) = run("synthetic:only=trade", 20 * SECOND, 0);
    let mean = ticks.len() as f64 / 20.0;
    assert!((1_800.0..2_200.0).contains(&mean), "{mean}");
    let within =
        |i: usize| ticks[i..].partition_point(|t| t.ts_event < ticks[i].ts_event + 1_000_000);
    let busiest = (0..ticks.len()).map(within).max().unwrap();
    assert!(busiest >= 120, "{busiest}");
}

#[test]
fn only_the_kinds_asked_for() {
    for (only, kinds) in [
        ("trade", &[Kind::Trade][..]),
        ("quote", &[Kind::Quote]),
        ("book", &[Kind::Level]),
        ("trade+quote", &[Kind::Trade, Kind::Quote]),
        ("quote+book", &[Kind::Quote, Kind::Level]),
        ("trade+book", &[Kind::Trade, Kind::Level]),
        ("trade+quote+book", &[Kind::Trade, Kind::Quote, Kind::Level]),
    ] {
        let (ticks, _) = run(&format!("synthetic:symbols=4,rate=1000,only={only}"), SECOND, 0);
        assert!(ticks.len() >= 1_000, "{only}");
        assert!(ticks.iter().all(|tick| kinds.contains(&tick.kind)), "{only}");
        for kind in kinds {
            assert!(ticks.iter().any(|tick| tick.kind == *kind), "{only}: {kind:?}");
        }
    }
}

#[test]
fn a_quiet_feed_looks_for_the_stop_every_100_ms() {
    let clock = TestClock::new(START, 5 * SECOND);
    let feed = SyntheticFeed::open(spec("synthetic:rate=0.001,only=trade"), &Instruments::new());
    let mut sink = VecSink::default();
    feed.run_by(&clock, &mut sink, &clock.context()).unwrap();
    assert_eq!(sink.ticks.len(), 1, "the first is due at once");
    assert_eq!((clock.sleeps.get(), clock.longest.get()), (50, SECOND / 10));
}

/// Refuses after some flushes and tells how many ticks came between two.
struct ShortSink {
    flushes: u32,
    between: usize,
    most: usize,
}

impl Sink for ShortSink {
    fn put(&mut self, _: &Tick) {
        self.between += 1;
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        self.most = self.most.max(std::mem::take(&mut self.between));
        self.flushes -= 1;
        if self.flushes == 0 { Err(SinkClosed) } else { Ok(()) }
    }

    fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
        panic!("{kind}: {detail}");
    }

    fn restart(&mut self) {
        panic!("a market does not start over");
    }
}

#[test]
fn a_closed_sink_ends_the_feed_and_a_late_one_flushes_often() {
    let feed = SyntheticFeed::open(spec("synthetic:rate=10000000"), &Instruments::new());
    let clock = TestClock { late: SECOND, ..TestClock::new(START, u64::MAX) };
    let mut sink = ShortSink { flushes: 1_000, between: 0, most: 0 };
    assert_eq!(feed.run_by(&clock, &mut sink, &context(&Stop::new())), Err(SinkClosed));
    assert!(sink.most < 2_000, "{}", sink.most);
}

#[test]
fn on_the_real_clock_it_runs_and_stops() {
    /// Stops the feed when it has seen enough.
    struct Enough(Stop, VecSink);

    impl Sink for Enough {
        fn put(&mut self, tick: &Tick) {
            self.1.put(tick);
            if self.1.ticks.len() >= 500 {
                self.0.stop();
            }
        }
        fn flush(&mut self) -> Result<(), SinkClosed> {
            Ok(())
        }
        fn reject(&mut self, _: &'static str, _: &str, _: &[u8]) {}
        fn restart(&mut self) {}
    }

    let parsed: FeedSpec = "synthetic:rate=20000,only=trade".parse().unwrap();
    let instruments = Arc::new(Instruments::new());
    let feed = parsed.open_with(&instruments, &mut |path| panic!("{path:?}")).unwrap();
    assert_eq!(feed.thread_name(), "gen");
    assert!(feed.name().starts_with("synthetic:symbols=200,rate=20000,only=trade"));
    assert!(!feed.lossless());
    let ticks = thread::spawn(move || {
        let stop = Stop::new();
        let mut sink = Enough(stop.clone(), VecSink::default());
        feed.run(&mut sink, &context(&stop)).unwrap();
        sink.1.ticks
    })
    .join()
    .unwrap();
    assert!(ticks.len() >= 500);
    assert!(ticks.windows(2).all(|w| w[1].ts_event - w[0].ts_event == 50_000));
    assert!(ticks.iter().all(|tick| tick.ts_recv >= tick.ts_event));
}

/// A client's book, by the price in the book's own exponent.
#[derive(Clone, Default)]
struct Book {
    sides: [BTreeMap<Decimal, Decimal>; 2],
    seq: u64,
}

impl Book {
    fn best(&self, side: Side) -> Option<(Decimal, Decimal)> {
        let levels = &self.sides[side as usize];
        let best = match side {
            Side::Buy => levels.last_key_value(),
            Side::Sell => levels.first_key_value(),
        };
        best.map(|(price, size)| (*price, *size))
    }

    fn apply(&mut self, tick: &Tick) {
        let level = tick.as_level();
        if tick.has(flags::SNAPSHOT | flags::FIRST) {
            *self = Book::default();
        } else if !tick.has(flags::SNAPSHOT) && tick.has(flags::FIRST) {
            assert_eq!(level.first, self.seq + 1, "the chain of updates");
        }
        let side = &mut self.sides[level.side as usize];
        if level.size == Decimal::ZERO {
            // An order may come and go within one event, as on real venues: then nothing is here.
            side.remove(&level.price);
        } else {
            side.insert(level.price, level.size);
        }
        if tick.has(flags::LAST) {
            assert!(tick.seq > self.seq);
            self.seq = tick.seq;
        }
    }

    fn assert_sound(&self) {
        let ((bid, _), (ask, _)) = (self.best(Side::Buy).unwrap(), self.best(Side::Sell).unwrap());
        assert!(bid < ask, "crossed: {bid} {ask}");
        assert!(bid > Decimal::ZERO);
    }
}

/// Follows one instrument's events as a client would, and compares with the market.
#[derive(Clone, Default)]
struct Follower {
    book: Book,
    /// What the trades since the last book update took, by price.
    taken: Vec<(Side, Decimal, Decimal)>,
    /// The book's top when the last quote came.
    quoted: Option<[Decimal; 4]>,
}

impl Follower {
    fn follow(&mut self, event: &[Tick], market: &Market) {
        match event[0].kind {
            Kind::Trade => {
                let trade = event[0].as_trade();
                let maker = if trade.side == Side::Buy { Side::Sell } else { Side::Buy };
                let (price, size) = self.book.best(maker).unwrap();
                assert_eq!(trade.price, price, "a trade is at the best price there is");
                assert!(trade.size > Decimal::ZERO && trade.size <= size, "{trade:?} of {size}");
                let (have, take, exponent) = size.align(trade.size).unwrap();
                let left = Decimal::new(have - take, exponent);
                let side = &mut self.book.sides[maker as usize];
                if left == Decimal::ZERO {
                    side.remove(&price)
                } else {
                    side.insert(price, left)
                };
                self.taken.push((maker, price, left));
            }
            Kind::Level => {
                // Levels that trades emptied are announced once more: put them back first.
                for (side, price, left) in &self.taken {
                    if *left == Decimal::ZERO {
                        self.book.sides[*side as usize].insert(*price, *left);
                    }
                }
                event.iter().for_each(|tick| self.book.apply(tick));
                for (side, price, left) in self.taken.drain(..) {
                    let now = self.book.sides[side as usize].get(&price).copied();
                    assert_eq!(now.unwrap_or_default(), left, "a trade consumes its level");
                }
                self.book.assert_sound();
                for side in [Side::Buy, Side::Sell] {
                    let mut mine: Vec<_> =
                        self.book.sides[side as usize].iter().map(|(p, s)| (*p, *s)).collect();
                    if side == Side::Buy {
                        mine.reverse();
                    }
                    assert_eq!(mine, market.levels(event[0].instrument.index(), side));
                }
            }
            Kind::Quote => {
                assert!(self.taken.is_empty(), "the update comes before the quote");
                let quote = event[0].as_quote();
                assert_eq!(Some((quote.bid, quote.bid_size)), self.book.best(Side::Buy));
                assert_eq!(Some((quote.ask, quote.ask_size)), self.book.best(Side::Sell));
                let top = [quote.bid, quote.bid_size, quote.ask, quote.ask_size];
                assert_ne!(self.quoted, Some(top), "a quote says something new");
                assert_eq!(event[0].seq, self.book.seq);
                self.quoted = Some(top);
            }
            Kind::Status => panic!("a market has no link to report on"),
            Kind::Bar | Kind::Cut => panic!("no feed makes bars"),
        }
    }

    /// Whether the last quote is the top of the book, as it must be before the next action.
    fn is_quoted(&self) -> bool {
        let ((bid, bid_size), (ask, ask_size)) =
            (self.book.best(Side::Buy).unwrap(), self.book.best(Side::Sell).unwrap());
        self.quoted == Some([bid, bid_size, ask, ask_size])
    }
}

fn follow_market(text: &str, events: usize) -> (u32, u32) {
    let spec = spec(text);
    let mut market = Market::new(&spec, &Instruments::new());
    let mut followers = vec![Follower::default(); market.len()];
    for (index, follower) in followers.iter_mut().enumerate() {
        let ticks = market.snapshot(index).to_vec();
        for event in ticks.split_inclusive(|tick| tick.has(flags::LAST)) {
            follower.follow(event, &market);
        }
        assert!(follower.is_quoted());
    }
    let (mut trades, mut moves) = (0, 0);
    let mut last = None;
    for _ in 0..events {
        let event = market.next_event().to_vec();
        let follower = &mut followers[event[0].instrument.index()];
        let first = event[0].kind == Kind::Trade && follower.taken.is_empty();
        if first || (event[0].kind == Kind::Level && follower.taken.is_empty()) {
            // A new action begins: whoever acted before has published all of it.
            if let Some(index) = last.replace(event[0].instrument.index()) {
                assert!(followers[index].is_quoted(), "every change of the best is quoted");
            }
        }
        let follower = &mut followers[event[0].instrument.index()];
        let bid = follower.book.best(Side::Buy);
        follower.follow(&event, &market);
        trades += u32::from(event[0].kind == Kind::Trade);
        moves += u32::from(follower.book.best(Side::Buy).map(|b| b.0) != bid.map(|b| b.0));
    }
    (trades, moves)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_client_that_applies_the_stream_has_the_markets_book(
        seed: u64,
        symbols in 1usize..8,
        zipf in 0u32..3,
    ) {
        follow_market(&format!("synthetic:symbols={symbols},zipf={zipf},seed={seed}"), 3_000);
    }
}

#[test]
fn a_long_run_stays_sound_and_moves() {
    let (trades, moves) = follow_market("synthetic:symbols=1,seed=3", 150_000);
    assert!(trades > 15_000, "{trades}");
    assert!(moves > 3_000, "{moves}");
}

#[test]
fn prices_walk_but_do_not_run_away() {
    let (ticks, _) = run("synthetic:symbols=10,rate=100000,only=trade,zipf=0", 10 * SECOND, 0);
    for id in 0..10 {
        let of = ticks.iter().filter(|tick| tick.instrument.0 == id).map(|t| t.as_trade());
        let (buys, sells): (Vec<_>, Vec<_>) = of.clone().partition(|trade| trade.side == Side::Buy);
        assert!(buys.len() > 20_000 && sells.len() > 20_000, "{} {}", buys.len(), sells.len());
        let prices: Vec<i64> = of.map(|trade| trade.price.mantissa).collect();
        let (low, high) = (prices.iter().min().unwrap(), prices.iter().max().unwrap());
        assert!(high - low > 100, "{id}: {low} to {high}");
        assert!(low * 2 > prices[0] && *high < prices[0] * 2, "{id}: {low} to {high}");
        let steps = prices.windows(2).map(|w| (w[1] - w[0]).abs()).max().unwrap();
        assert!(steps < 64, "{id}: a jump of {steps} ticks");
    }
}
