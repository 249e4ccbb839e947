//! One instrument's order book, exact.

use thiserror::Error;
use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Kind, Side, Tick};

use super::side::HalfBook;

/// The most levels kept on a side; the worst beyond it are dropped.
///
/// A book kept from a venue's diffs grows without end far from the market: a level that was set
/// once and never cleared stays. 20,000 is 20 times the deepest view a client can ask for by
/// number ([`MAX_DEPTH`](super::MAX_DEPTH)), 5 times the deepest snapshot that Binance gives
/// (5,000, `GET /api/v3/depth`), and 320 KB a side.
pub const MAX_LEVELS: usize = 20_000;

/// Price, in units of the quote currency, and size there, in units of the base currency.
pub type PriceSize = (Decimal, Decimal);

/// What an event did to a book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// It was a snapshot: everything before it no longer counts, clients need a snapshot too.
    pub snapshot: bool,
    /// The book is not what it was before.
    pub changed: bool,
}

/// Why a book event was refused. The book is as it was before the event, but for
/// [`BookError::Crossed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BookError {
    /// A tick that is not a level.
    #[error("a tick of kind {0:?} in a book event, expected levels only")]
    NotALevel(Kind),
    /// Some ticks of the event belong to a snapshot and some do not.
    #[error("event {seq} is part snapshot, part update, expected one of them")]
    Mixed {
        /// The event's sequence.
        seq: u64,
    },
    /// An update, but there was no snapshot to apply it to.
    #[error("update {seq} for a book that is not known, expected a snapshot first")]
    Unknown {
        /// The event's sequence.
        seq: u64,
    },
    /// A size below zero.
    #[error("size {size} at price {price}, expected zero or more")]
    NegativeSize {
        /// The level's price, in units of the quote currency.
        price: Decimal,
        /// The level's size, in units of the base currency.
        size: Decimal,
    },
    /// The best bid is not below the best ask: levels are missing, or were never there.
    #[error("bid {bid} at or above ask {ask} after update {seq}")]
    Crossed {
        /// The event's sequence.
        seq: u64,
        /// The best bid, in units of the quote currency.
        bid: Decimal,
        /// The best ask, in units of the quote currency.
        ask: Decimal,
    },
    /// No single power of ten holds the book's prices (or sizes) and this one exactly.
    #[error("{what} {value} and the book's others do not fit 63 bits at one power of ten")]
    OutOfRange {
        /// `price` or `size`.
        what: &'static str,
        /// The value that does not fit.
        value: Decimal,
    },
}

/// The powers of ten of a book's prices and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) price: i8,
    pub(super) size: i8,
}

impl Scale {
    pub(super) const fn price(self, mantissa: i64) -> Decimal {
        Decimal::new(mantissa, self.price)
    }

    pub(super) const fn size(self, mantissa: i64) -> Decimal {
        Decimal::new(mantissa, self.size)
    }
}

/// One instrument's order book: price levels with their total sizes, exact.
///
/// Prices and sizes are mantissas at the book's own two powers of ten. Levels that come at other
/// powers are rescaled to them; where digits would be lost the whole book is rescaled once, and
/// an event that fits no common power of ten is refused. No value is ever rounded.
///
/// A clone has the same levels but not the memory of what the last event changed.
#[derive(Debug)]
pub struct Book {
    bids: HalfBook,
    asks: HalfBook,
    scale: Scale,
    max_levels: usize,
    known: bool,
    seq: u64,
    ts_event: u64,
    ts_recv: u64,
    dropped: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// A book that is not known yet, of at most [`MAX_LEVELS`] a side.
    pub const fn new() -> Self {
        Self::with_max_levels(MAX_LEVELS)
    }

    /// A book of at most `max_levels` a side.
    pub const fn with_max_levels(max_levels: usize) -> Self {
        Book {
            bids: HalfBook::new(Side::Buy),
            asks: HalfBook::new(Side::Sell),
            scale: Scale { price: 0, size: 0 },
            max_levels,
            known: false,
            seq: 0,
            ts_event: 0,
            ts_recv: 0,
            dropped: 0,
        }
    }

    /// Applies one event: the ticks from [`flags::FIRST`] to [`flags::LAST`] of one instrument,
    /// as [`Assembler`](super::Assembler) gathers them. No tick at all changes nothing.
    ///
    /// # Errors
    /// [`BookError`]; the book then is as it was before the event. Who refuses an event that
    /// others applied no longer has their book: [`Book::clear`] it and get a snapshot.
    pub fn apply_event(&mut self, event: &[Tick]) -> Result<Applied, BookError> {
        self.bids.clear_touched();
        self.asks.clear_touched();
        let Some(last) = event.last() else {
            return Ok(Applied::default());
        };
        let snapshot = last.has(flags::SNAPSHOT);
        self.check(event, snapshot)?;
        if let Err(error) = self.stage(event, snapshot) {
            self.bids.clear_touched();
            self.asks.clear_touched();
            return Err(error);
        }
        let change = if snapshot { HalfBook::replace } else { HalfBook::merge };
        let dropped =
            change(&mut self.bids, self.max_levels) + change(&mut self.asks, self.max_levels);
        self.dropped += dropped as u64;
        self.known = true;
        self.seq = last.seq;
        self.ts_event = last.ts_event;
        self.ts_recv = last.ts_recv;
        let touched = !self.bids.touched().is_empty() || !self.asks.touched().is_empty();
        Ok(Applied { snapshot, changed: snapshot || touched })
    }

    fn check(&self, event: &[Tick], snapshot: bool) -> Result<(), BookError> {
        for tick in event {
            if tick.kind != Kind::Level {
                return Err(BookError::NotALevel(tick.kind));
            }
            if tick.has(flags::SNAPSHOT) != snapshot {
                return Err(BookError::Mixed { seq: tick.seq });
            }
            let level = tick.as_level();
            if level.size.mantissa < 0 && !tick.has(flags::EMPTY) {
                return Err(BookError::NegativeSize { price: level.price, size: level.size });
            }
        }
        match event.last() {
            Some(last) if !snapshot && !self.known => Err(BookError::Unknown { seq: last.seq }),
            _ => Ok(()),
        }
    }

    /// Stages the event's levels on both sides, having rescaled the book if they need it.
    fn stage(&mut self, event: &[Tick], snapshot: bool) -> Result<(), BookError> {
        // Levels that a snapshot is about to replace have no say in the scale.
        let kept = !snapshot && self.levels() != (0, 0);
        let scale = match event.iter().find(|tick| !tick.has(flags::EMPTY)) {
            Some(tick) if !kept => Scale { price: tick.price_exp, size: tick.size_exp },
            _ => self.scale,
        };
        if self.stage_at(event, scale) {
            self.scale = scale;
            return Ok(());
        }
        let scale = self.common_scale(event, kept)?;
        if kept {
            self.rescale(scale);
        }
        let fits = self.stage_at(event, scale);
        debug_assert!(fits, "a scale that was found to fit");
        self.scale = scale;
        Ok(())
    }

    /// Stages the event's levels at `scale`; false where one does not fit it.
    fn stage_at(&mut self, event: &[Tick], scale: Scale) -> bool {
        self.bids.clear_touched();
        self.asks.clear_touched();
        for tick in event.iter().filter(|tick| !tick.has(flags::EMPTY)) {
            let level = tick.as_level();
            let price = level.price.rescale(scale.price);
            let (Some(price), Some(size)) = (price, level.size.rescale(scale.size)) else {
                return false;
            };
            match level.side {
                Side::Buy => self.bids.stage(price, size),
                Side::Sell => self.asks.stage(price, size),
            }
        }
        true
    }

    /// The powers of ten that hold the event and, if they are `kept`, the levels there are.
    fn common_scale(&self, event: &[Tick], kept: bool) -> Result<Scale, BookError> {
        let levels = event.iter().filter(|tick| !tick.has(flags::EMPTY)).map(Tick::as_level);
        let sides = if kept { &[&self.bids, &self.asks][..] } else { &[] };
        let prices = sides
            .iter()
            .flat_map(|side| side.levels().iter().map(|e| side.key_to_price(e.key)))
            .map(|mantissa| self.scale.price(mantissa));
        let sizes =
            sides.iter().flat_map(|side| side.levels().iter().map(|e| self.scale.size(e.size)));
        let out = |what| move |value| BookError::OutOfRange { what, value };
        Ok(Scale {
            price: common_exponent(levels.clone().map(|level| level.price), prices)
                .map_err(out("price"))?,
            size: common_exponent(levels.map(|level| level.size), sizes).map_err(out("size"))?,
        })
    }

    /// Rewrites all levels at another scale, which [`Book::common_scale`] found to fit.
    fn rescale(&mut self, to: Scale) {
        let from = self.scale;
        let price = |mantissa| from.price(mantissa).rescale(to.price).unwrap_or(mantissa);
        let size = |mantissa| from.size(mantissa).rescale(to.size).unwrap_or(mantissa);
        self.bids.rewrite(price, size);
        self.asks.rewrite(price, size);
        self.scale = to;
    }

    /// Forgets everything: the book is not known until the next snapshot. [`Book::seq`] stays,
    /// because the channel's sequence goes on.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.known = false;
    }

    /// Whether there was a snapshot since the book was made or cleared.
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// Bids as `(price, size)`, best (highest) first.
    pub fn bids(&self) -> impl DoubleEndedIterator<Item = PriceSize> + ExactSizeIterator {
        self.side(Side::Buy)
    }

    /// Asks as `(price, size)`, best (lowest) first.
    pub fn asks(&self) -> impl DoubleEndedIterator<Item = PriceSize> + ExactSizeIterator {
        self.side(Side::Sell)
    }

    /// One side as `(price, size)`, best first.
    pub fn side(
        &self,
        side: Side,
    ) -> impl DoubleEndedIterator<Item = PriceSize> + ExactSizeIterator {
        let half = self.half(side);
        half.levels().iter().rev().map(move |entry| self.shown(half, entry.key, entry.size))
    }

    /// The best bid and the best ask as `(price, size)`; `None` for an empty side.
    pub fn best(&self) -> (Option<PriceSize>, Option<PriceSize>) {
        (self.bids().next(), self.asks().next())
    }

    /// How many levels there are, bids and asks.
    pub fn levels(&self) -> (usize, usize) {
        (self.bids.levels().len(), self.asks.levels().len())
    }

    /// Whether the best bid is at or above the best ask: on a continuous market a sign that the
    /// book is wrong, in an auction normal.
    pub fn is_crossed(&self) -> bool {
        match (self.bids.levels().last(), self.asks.levels().last()) {
            (Some(bid), Some(ask)) => {
                self.bids.key_to_price(bid.key) >= self.asks.key_to_price(ask.key)
            }
            _ => false,
        }
    }

    /// The sequence of the last event, 0 before the first.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// When the last event happened by the venue's clock, nanoseconds since the Unix epoch; 0
    /// where unknown.
    pub const fn ts_event(&self) -> u64 {
        self.ts_event
    }

    /// When the last event was received, nanoseconds since the Unix epoch; 0 before the first.
    pub const fn ts_recv(&self) -> u64 {
        self.ts_recv
    }

    /// How many levels were dropped because there were more than the book keeps. A dropped level
    /// is missing, should the market come near it, until the venue sends it again.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) const fn scale(&self) -> Scale {
        self.scale
    }

    pub(super) const fn half(&self, side: Side) -> &HalfBook {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    /// A stored level as it is shown.
    pub(super) const fn shown(&self, half: &HalfBook, key: i64, size: i64) -> PriceSize {
        (self.scale.price(half.key_to_price(key)), self.scale.size(size))
    }
}

/// The power of ten at which all of `old` (which fit one) and `new` fit an `i64` exactly.
///
/// The finest of those given is preferred: it is where a venue's numbers settle. If that
/// overflows, it is the coarsest that loses no digit.
///
/// # Errors
/// The first new value that does not fit with those before it.
fn common_exponent(
    new: impl Iterator<Item = Decimal>,
    old: impl Iterator<Item = Decimal>,
) -> Result<i8, Decimal> {
    // Whether all fit is a matter of the least and the greatest.
    let fit = |ends: (Decimal, Decimal), exponent| {
        ends.0.rescale(exponent).is_some() && ends.1.rescale(exponent).is_some()
    };
    let mut ends = (Decimal::ZERO, Decimal::ZERO);
    let (mut finest, mut coarsest) = (i8::MAX, i8::MAX);
    for value in old.chain(new).filter(|value| value.mantissa != 0) {
        ends = (ends.0.min(value), ends.1.max(value));
        finest = finest.min(value.exponent);
        coarsest = coarsest.min(value.normalised().exponent);
        if !fit(ends, coarsest) {
            return Err(value);
        }
    }
    Ok(if fit(ends, finest) { finest } else { coarsest })
}

impl Clone for Book {
    fn clone(&self) -> Self {
        Book { bids: self.bids.clone(), asks: self.asks.clone(), ..*self }
    }

    /// Reuses the buffers that are there: no allocation where they are large enough.
    fn clone_from(&mut self, source: &Self) {
        self.bids.clone_from(&source.bids);
        self.asks.clone_from(&source.asks);
        let Book { scale, max_levels, known, seq, ts_event, ts_recv, dropped, .. } = *source;
        self.scale = scale;
        self.max_levels = max_levels;
        self.known = known;
        (self.seq, self.ts_event, self.ts_recv) = (seq, ts_event, ts_recv);
        self.dropped = dropped;
    }
}
