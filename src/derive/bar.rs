//! One bar, and the three ticks that it is on the ring.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, InstrumentId, Kind, Side, Tick};

use super::sum::Sum;

/// What a bar spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Span {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// The last 24 hours, whenever it is: the ticker.
    Rolling,
}

impl Span {
    /// All of them, by number.
    pub const ALL: [Span; 5] =
        [Span::Second, Span::Minute, Span::FiveMinutes, Span::Hour, Span::Rolling];
    /// Those that begin and end with the clock.
    pub const BARS: [Span; 4] = [Span::Second, Span::Minute, Span::FiveMinutes, Span::Hour];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        ["1s", "1m", "5m", "1h", "24h"][self as usize]
    }

    /// Seconds.
    pub const fn seconds(self) -> u64 {
        [1, 60, 300, 3_600, 86_400][self as usize]
    }

    /// The bit of this span in a set.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The interval of this name; not the ticker's.
    pub fn interval(name: &str) -> Option<Self> {
        Self::BARS.into_iter().find(|span| span.as_str() == name)
    }
}

/// A trade as bars see it.
#[derive(Clone, Copy, Debug)]
pub struct Deal {
    /// When it happened, nanoseconds since the Unix epoch: the venue's time, or that of its
    /// receipt.
    pub at_ns: i64,
    /// When it was received, nanoseconds since the Unix epoch.
    pub recv_ns: i64,
    /// Price.
    pub price: Decimal,
    /// Quantity.
    pub size: Decimal,
    /// The taker bought.
    pub bought: bool,
    turnover: i128,
    turnover_exp: i16,
}

impl Deal {
    /// Reads a trade.
    pub fn new(trade: &Tick) -> Self {
        let known = |ns: u64| i64::try_from(ns).ok().filter(|ns| (1..=LAST_NS).contains(ns));
        let recv_ns = known(trade.ts_recv).unwrap_or(0);
        let of = trade.as_trade();
        Deal {
            at_ns: known(trade.ts_event).unwrap_or(recv_ns),
            recv_ns,
            price: of.price,
            size: of.size,
            bought: of.side == Side::Buy,
            // Two 64-bit factors fit in 128 bits.
            turnover: i128::from(of.price.mantissa) * i128::from(of.size.mantissa),
            turnover_exp: i16::from(of.price.exponent) + i16::from(of.size.exponent),
        }
    }

    /// Adds the quantity and the turnover.
    pub(super) fn add_to(&self, volume: &mut Sum, turnover: &mut Sum) {
        volume.add(self.size.mantissa.into(), self.size.exponent.into());
        turnover.add(self.turnover, self.turnover_exp);
    }
}

/// Stamps beyond the year 2200 are nonsense, and arithmetic with them would need care.
const LAST_NS: i64 = 7_258_118_400_000_000_000;

/// Whether `a` is above `b`.
pub(super) fn above(a: Decimal, b: Decimal) -> bool {
    if a.exponent == b.exponent { a.mantissa > b.mantissa } else { a > b }
}

/// A bar: what the trades of a span come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What it spans.
    pub span: Span,
    /// When it begins, seconds since the Unix epoch; of the rolling one, when its oldest minute
    /// does.
    pub start_s: u64,
    /// Price of the first trade.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Price of the last trade.
    pub close: Decimal,
    /// Quantity traded, in the base currency.
    pub volume: Sum,
    /// Quantity that takers bought.
    pub bought: Sum,
    /// Price times quantity, summed: in the quote currency.
    pub turnover: Sum,
    /// How many trades; one that sums several fills counts as one.
    pub trades: u64,
    /// Whether it is over.
    pub is_final: bool,
    /// How often it was sent again after it was over.
    pub revision: u8,
    /// Event time of its newest trade, nanoseconds since the Unix epoch.
    pub event_ns: u64,
    /// When it became what it is, nanoseconds since the Unix epoch, by the feed's receive times.
    pub recv_ns: u64,
}

/// Ticks that a bar is on the ring.
pub const BAR_TICKS: usize = 3;

/// Most trades that a bar on the ring can say, 2^40 - 1: a million a second for twelve days.
const TRADES_MAX: u64 = (1 << 40) - 1;

const FINAL: u8 = 1;
const NO_VOLUME: u8 = 2;
const NO_TURNOVER: u8 = 4;

impl Bar {
    /// A bar of one trade.
    pub fn new(span: Span, start_s: u64, deal: &Deal) -> Self {
        let mut bar = Bar {
            span,
            start_s,
            open: deal.price,
            high: deal.price,
            low: deal.price,
            close: deal.price,
            volume: Sum::ZERO,
            bought: Sum::ZERO,
            turnover: Sum::ZERO,
            trades: 0,
            is_final: false,
            revision: 0,
            event_ns: 0,
            recv_ns: 0,
        };
        bar.count(deal);
        bar.event_ns = deal.at_ns as u64;
        bar
    }

    /// Takes in a trade but for its place in time.
    pub(super) fn count(&mut self, deal: &Deal) {
        if above(deal.price, self.high) {
            self.high = deal.price;
        }
        if above(self.low, deal.price) {
            self.low = deal.price;
        }
        deal.add_to(&mut self.volume, &mut self.turnover);
        if deal.bought {
            self.bought.add(deal.size.mantissa.into(), deal.size.exponent.into());
        }
        self.trades += 1;
        self.recv_ns = deal.recv_ns as u64;
    }

    /// When it ends, seconds since the Unix epoch.
    pub fn end_s(&self) -> u64 {
        self.start_s + self.span.seconds()
    }

    /// The bar as the ring carries it: an event of [`BAR_TICKS`] ticks.
    pub fn to_ticks(&self, instrument: InstrumentId, seq: u64) -> [Tick; BAR_TICKS] {
        let tick = |event: u8, exps: [i8; 2], payload: [u64; 4]| Tick {
            ts_event: self.event_ns,
            ts_recv: self.recv_ns,
            seq,
            instrument,
            kind: Kind::Bar,
            flags: event,
            price_exp: exps[0],
            size_exp: exps[1],
            payload,
        };
        let [open, high, low, close] = [self.open, self.high, self.low, self.close];
        let prices = [open, high, low, close].map(|price| price.mantissa as u64);
        let (volume, volume_exp) = self.volume.parts();
        let (turnover, turnover_exp) = self.turnover.parts();
        // What was bought is part of the volume, and has a value at its exponent where that has.
        let bought = self.bought.at(volume_exp);
        let mut bits = if self.is_final { FINAL } else { 0 };
        if !self.volume.is_known() || bought.is_none() {
            bits |= NO_VOLUME;
        }
        if !self.turnover.is_known() {
            bits |= NO_TURNOVER;
        }
        let [bought_low, bought_high] = words(bought.unwrap_or(0));
        let ([v0, v1], [t0, t1]) = (words(volume), words(turnover));
        let which = self.start_s & TRADES_MAX
            | u64::from(self.span as u8) << 40
            | u64::from(bits) << 48
            | u64::from(self.revision) << 56;
        let counts = self.trades.min(TRADES_MAX)
            | u64::from(turnover_exp as u16) << 40
            | u64::from(volume_exp as u8) << 56;
        [
            tick(flags::FIRST, [open.exponent, high.exponent], prices),
            tick(0, [low.exponent, close.exponent], [v0, v1, t0, t1]),
            tick(flags::LAST, [0, 0], [which, counts, bought_low, bought_high]),
        ]
    }

    /// The bar of an event that [`Bar::to_ticks`] made; `None` for any other.
    pub fn from_ticks(event: &[Tick]) -> Option<Self> {
        let [first, second, third] = event else { return None };
        if event.iter().any(|tick| tick.kind != Kind::Bar) {
            return None;
        }
        let [open, high, low, close] = first.payload.map(|word| word as i64);
        let [which, counts, ..] = third.payload;
        let bits = (which >> 48) as u8;
        let (volume_exp, turnover_exp) = ((counts >> 56) as i8, (counts >> 40) as u16 as i16);
        let sum = |tick: &Tick, at: usize, exponent: i16, missing: u8| {
            if bits & missing != 0 {
                return Sum::NONE;
            }
            Sum::new(number([tick.payload[at], tick.payload[at + 1]]), exponent)
        };
        Some(Bar {
            span: Self::span_of(third)?,
            start_s: which & TRADES_MAX,
            open: Decimal::new(open, first.price_exp),
            high: Decimal::new(high, first.size_exp),
            low: Decimal::new(low, second.price_exp),
            close: Decimal::new(close, second.size_exp),
            volume: sum(second, 0, volume_exp.into(), NO_VOLUME),
            turnover: sum(second, 2, turnover_exp, NO_TURNOVER),
            bought: sum(third, 2, volume_exp.into(), NO_VOLUME),
            trades: counts & TRADES_MAX,
            is_final: bits & FINAL != 0,
            revision: (which >> 56) as u8,
            event_ns: third.ts_event,
            recv_ns: third.ts_recv,
        })
    }

    /// When the bar begins whose last tick has this payload, seconds since the Unix epoch.
    pub(crate) fn start_of(last: [u64; 4]) -> u64 {
        last[0] & TRADES_MAX
    }

    /// A tick of a bar but for payload and exponents.
    pub(crate) fn blank_tick(event_ns: u64, recv_ns: u64) -> Tick {
        Tick {
            ts_event: event_ns,
            ts_recv: recv_ns,
            seq: 0,
            instrument: InstrumentId(0),
            kind: Kind::Bar,
            flags: 0,
            price_exp: 0,
            size_exp: 0,
            payload: [0; 4],
        }
    }

    /// The span of the bar whose last tick this is.
    pub fn span_of(last: &Tick) -> Option<Span> {
        Span::ALL.get((last.payload[0] >> 40) as u8 as usize).copied()
    }
}

const fn words(value: i128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

const fn number([low, high]: [u64; 2]) -> i128 {
    (high as i128) << 64 | low as i128
}
