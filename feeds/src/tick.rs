//! The tick: the one record that travels from the feeds to the reactors.

use crate::decimal::Decimal;
use crate::instrument::InstrumentId;

/// How many `u64` words a [`Tick`] is on the ring: 64 bytes, one cache line.
pub const TICK_WORDS: usize = 8;

/// What a tick's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A trade: read it with [`Tick::as_trade`].
    Trade = 1,
    /// Best bid and ask: read it with [`Tick::as_quote`].
    Quote = 2,
    /// One level of a book event: read it with [`Tick::as_level`].
    Level = 3,
    /// The state of the instrument's feed: read it with [`Tick::as_status`].
    Status = 4,
    /// A part of a bar: what the server derives from trades. No feed makes one; its event is
    /// several ticks, whose payload is the server's own (`derive::bar`).
    Bar = 5,
    /// No event: a snapshot of the instrument's book was taken here, and streams that are told less
    /// often than every event are to end a message here. The server's own too.
    Cut = 6,
}

/// Bits of [`Tick::flags`].
pub mod flags {
    /// The last tick of its event: a book message of many levels is many ticks. Set on every
    /// trade, quote and status.
    pub const LAST: u8 = 1;
    /// A level of a full snapshot: the book before it no longer counts.
    pub const SNAPSHOT: u8 = 2;
    /// The first tick of its event.
    pub const FIRST: u8 = 4;
    /// The ask side of a book; for a trade, the taker sold. Clear: bid side, the taker bought.
    pub const SELL: u8 = 8;
    /// A trade that sums several fills of one taker order at one price.
    pub const AGGREGATE: u8 = 16;
    /// An event without a level (an empty snapshot, a diff that changed nothing shown): the tick
    /// carries the sequences only, its price and size mean nothing.
    pub const EMPTY: u8 = 32;
    /// On the ring: the first tick of its instrument since its source started over, whose numbers and times
    /// may be those of before again.
    pub const RESTART: u8 = 64;
}

/// Buy or sell; in a book, bid or ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The taker bought; the bid side of a book.
    Buy,
    /// The taker sold; the ask side of a book.
    Sell,
}

/// The state of an instrument's feed, as clients see it on the `status` channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FeedState {
    /// Data flow.
    Live = 1,
    /// The link is dead or silent beyond the venue's own heartbeat.
    Stale = 2,
    /// The book is broken and being rebuilt: nothing derived from it goes out.
    Resync = 3,
    /// The venue halted trading.
    Halted = 4,
}

impl FeedState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            FeedState::Live => "live",
            FeedState::Stale => "stale",
            FeedState::Resync => "resync",
            FeedState::Halted => "halted",
        }
    }
}

/// One record of market data: 64 bytes of plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Tick {
    /// When it happened by the venue's clock, nanoseconds since the Unix epoch; 0 where the venue
    /// does not say. May be later than `ts_recv`: clocks differ.
    pub ts_event: u64,
    /// When the message was received here, nanoseconds since the Unix epoch.
    pub ts_recv: u64,
    /// From a parser: the venue's own sequence for this kind and instrument (Binance `t`, `u`;
    /// Coinbase `trade_id`, `sequence`), 0 where it has none. On the ring: strictly rising per
    /// kind and instrument.
    pub seq: u64,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// What the payload is.
    pub kind: Kind,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Power of ten of every price in the payload.
    pub price_exp: i8,
    /// Power of ten of every size in the payload.
    pub size_exp: i8,
    /// The payload's words; their meaning is the kind's.
    pub payload: [u64; 4],
}

const _: () = assert!(size_of::<Tick>() == 64);
const _: () = assert!(align_of::<Tick>() == 64);
const _: () = assert!(size_of::<Tick>() == TICK_WORDS * 8);

/// A trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Price, in units of the quote currency.
    pub price: Decimal,
    /// Quantity, in units of the base currency.
    pub size: Decimal,
    /// The venue's trade id (Binance `t`, or `a` of an aggregate; Coinbase `trade_id`).
    pub id: u64,
    /// The taker's side.
    pub side: Side,
}

/// The best bid and ask with their sizes. A side that is empty has the size zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Best bid price.
    pub bid: Decimal,
    /// Quantity at the best bid.
    pub bid_size: Decimal,
    /// Best ask price.
    pub ask: Decimal,
    /// Quantity at the best ask.
    pub ask_size: Decimal,
}

/// One level of a book event: the new total quantity at a price, zero where it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Bid or ask.
    pub side: Side,
    /// Price of the level.
    pub price: Decimal,
    /// New total quantity at that price; zero: the level is gone.
    pub size: Decimal,
    /// First venue sequence that the event covers (Binance `U`); 0 where the venue has none.
    pub first: u64,
}

/// The state of an instrument's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The new state.
    pub state: FeedState,
    /// How old the newest data are, milliseconds.
    pub age_ms: u64,
}

/// The stamps and the sequence that every tick carries; see the fields of [`Tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Venue time, nanoseconds since the Unix epoch, 0 where unknown.
    pub event: u64,
    /// Receive time, nanoseconds since the Unix epoch.
    pub recv: u64,
    /// The venue's sequence, 0 where it has none.
    pub seq: u64,
}

impl Tick {
    fn bare(instrument: InstrumentId, kind: Kind, flags: u8, stamp: Stamp) -> Self {
        Tick {
            ts_event: stamp.event,
            ts_recv: stamp.recv,
            seq: stamp.seq,
            instrument,
            kind,
            flags,
            price_exp: 0,
            size_exp: 0,
            payload: [0; 4],
        }
    }

    /// A trade.
    pub fn trade(instrument: InstrumentId, stamp: Stamp, trade: &Trade) -> Self {
        let mut tick = Tick::bare(instrument, Kind::Trade, flags::FIRST | flags::LAST, stamp);
        if trade.side == Side::Sell {
            tick.flags |= flags::SELL;
        }
        tick.price_exp = trade.price.exponent;
        tick.size_exp = trade.size.exponent;
        tick.payload = [trade.price.mantissa as u64, trade.size.mantissa as u64, trade.id, 0];
        tick
    }

    /// A quote; `None` where bid and ask (or their sizes) do not fit one exponent.
    pub fn quote(instrument: InstrumentId, stamp: Stamp, quote: &Quote) -> Option<Self> {
        let mut tick = Tick::bare(instrument, Kind::Quote, flags::FIRST | flags::LAST, stamp);
        let (bid, ask, price_exp) = quote.bid.align(quote.ask)?;
        let (bid_size, ask_size, size_exp) = quote.bid_size.align(quote.ask_size)?;
        tick.price_exp = price_exp;
        tick.size_exp = size_exp;
        tick.payload = [bid as u64, bid_size as u64, ask as u64, ask_size as u64];
        Some(tick)
    }

    /// One level of a book event; the caller sets the event's flags ([`flags::FIRST`],
    /// [`flags::LAST`], [`flags::SNAPSHOT`]). `stamp.seq` is the event's last venue sequence.
    pub fn level(instrument: InstrumentId, stamp: Stamp, event: u8, level: &Level) -> Self {
        let mut tick = Tick::bare(instrument, Kind::Level, event, stamp);
        if level.side == Side::Sell {
            tick.flags |= flags::SELL;
        }
        tick.price_exp = level.price.exponent;
        tick.size_exp = level.size.exponent;
        tick.payload = [level.price.mantissa as u64, level.size.mantissa as u64, level.first, 0];
        tick
    }

    /// A book event without a level: see [`flags::EMPTY`].
    pub fn no_level(instrument: InstrumentId, stamp: Stamp, event: u8, first: u64) -> Self {
        let mut tick = Tick::bare(instrument, Kind::Level, event | flags::EMPTY, stamp);
        tick.payload[2] = first;
        tick
    }

    /// A change of the feed's state.
    pub fn status(instrument: InstrumentId, stamp: Stamp, status: Status) -> Self {
        let mut tick = Tick::bare(instrument, Kind::Status, flags::FIRST | flags::LAST, stamp);
        tick.payload = [status.state as u64, status.age_ms, 0, 0];
        tick
    }

    /// A place at which streams of the instrument's book are cut.
    pub fn cut(instrument: InstrumentId, stamp: Stamp) -> Self {
        Tick::bare(instrument, Kind::Cut, flags::FIRST | flags::LAST, stamp)
    }

    /// Whether all bits of `mask` are set in the flags.
    pub const fn has(&self, mask: u8) -> bool {
        self.flags & mask == mask
    }

    /// Buy or sell, bid or ask.
    pub const fn side(&self) -> Side {
        if self.flags & flags::SELL == 0 { Side::Buy } else { Side::Sell }
    }

    const fn price(&self, word: usize) -> Decimal {
        Decimal::new(self.payload[word] as i64, self.price_exp)
    }

    const fn size(&self, word: usize) -> Decimal {
        Decimal::new(self.payload[word] as i64, self.size_exp)
    }

    /// The payload as a trade; meaningless for another kind.
    pub const fn as_trade(&self) -> Trade {
        Trade { price: self.price(0), size: self.size(1), id: self.payload[2], side: self.side() }
    }

    /// The payload as a quote; meaningless for another kind.
    pub const fn as_quote(&self) -> Quote {
        Quote {
            bid: self.price(0),
            bid_size: self.size(1),
            ask: self.price(2),
            ask_size: self.size(3),
        }
    }

    /// The payload as a book level; meaningless for another kind.
    pub const fn as_level(&self) -> Level {
        Level {
            side: self.side(),
            price: self.price(0),
            size: self.size(1),
            first: self.payload[2],
        }
    }

    /// The payload as a status; meaningless for another kind.
    pub const fn as_status(&self) -> Status {
        let state = match self.payload[0] {
            2 => FeedState::Stale,
            3 => FeedState::Resync,
            4 => FeedState::Halted,
            _ => FeedState::Live,
        };
        Status { state, age_ms: self.payload[1] }
    }

    /// The tick as the ring stores it.
    pub const fn to_words(&self) -> [u64; TICK_WORDS] {
        let head = self.instrument.0 as u64
            | (self.kind as u64) << 32
            | (self.flags as u64) << 40
            | (self.price_exp as u8 as u64) << 48
            | (self.size_exp as u8 as u64) << 56;
        let [a, b, c, d] = self.payload;
        [self.ts_event, self.ts_recv, self.seq, head, a, b, c, d]
    }

    /// The tick that [`Tick::to_words`] made these words from.
    pub const fn from_words(words: [u64; TICK_WORDS]) -> Self {
        let [ts_event, ts_recv, seq, head, a, b, c, d] = words;
        let kind = match (head >> 32) as u8 {
            1 => Kind::Trade,
            2 => Kind::Quote,
            3 => Kind::Level,
            5 => Kind::Bar,
            6 => Kind::Cut,
            _ => Kind::Status,
        };
        Tick {
            ts_event,
            ts_recv,
            seq,
            instrument: InstrumentId(head as u32),
            kind,
            flags: (head >> 40) as u8,
            price_exp: (head >> 48) as i8,
            size_exp: (head >> 56) as i8,
            payload: [a, b, c, d],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        let stamp = Stamp { event: 1, recv: 2, seq: u64::MAX };
        let id = InstrumentId(u32::MAX);
        let price = Decimal::new(-5, -8);
        let size = Decimal::new(i64::MAX, 3);
        let trade = Trade { price, size, id: 7, side: Side::Sell };
        let tick = Tick::trade(id, stamp, &trade);
        let back = Tick::from_words(tick.to_words());
        assert_eq!(back, tick);
        assert_eq!(back.as_trade(), trade);

        let level = Level { side: Side::Buy, price, size, first: 9 };
        let tick = Tick::level(id, stamp, flags::FIRST | flags::SNAPSHOT, &level);
        assert_eq!(Tick::from_words(tick.to_words()).as_level(), level);

        let status = Status { state: FeedState::Resync, age_ms: 12 };
        let tick = Tick::status(id, stamp, status);
        assert_eq!(Tick::from_words(tick.to_words()).as_status(), status);
    }

    #[test]
    fn a_quote_has_one_exponent_per_pair() {
        let q = Quote {
            bid: "1.5".parse().unwrap(),
            bid_size: "10".parse().unwrap(),
            ask: "1.625".parse().unwrap(),
            ask_size: "0.001".parse().unwrap(),
        };
        let tick = Tick::quote(InstrumentId(0), Stamp::default(), &q).unwrap();
        assert_eq!(tick.as_quote(), q);
        assert_eq!((tick.price_exp, tick.size_exp), (-3, -3));
    }
}
