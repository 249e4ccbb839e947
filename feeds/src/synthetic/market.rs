//! The market itself: what happens, in which order, but not when.

use crate::decimal::Decimal;
use crate::instrument::{InstrumentId, Instruments};
use crate::spec::{Kinds, SyntheticSpec};
use crate::tick::{Level, Quote, Side, Stamp, Tick, Trade, flags};

use super::book::{Book, Changed, opposite};
use super::names::{Listing, listings};
use super::rng::{Alias, Rng};

/// The venue's name in the synthetic symbols.
pub const VENUE: &str = "sim";

/// How deep the orders go, in ticks from the best price of their side.
const DEPTH: u32 = 40;
/// About how many levels a side has.
const USUAL_LEVELS: u32 = 24;
/// With fewer levels than this nobody cancels.
const FEWEST_LEVELS: u32 = 6;

/// A market of many instruments, each with a limit order book that orders fill and trades
/// consume.
///
/// It knows no clock: the ticks it makes have no stamps. Equal specs make equal ticks.
///
/// An instrument's *action* is a market order, which trades against the best levels of the book,
/// or a few limit orders and cancels. What the venue would publish about one action are several
/// events (trades, the book's change, the new best), which come out one by one.
#[derive(Clone, Debug)]
pub struct Market {
    instruments: Vec<Instrument>,
    choose: Alias,
    rng: Rng,
    only: Kinds,
    /// How many of a hundred actions are market orders.
    takers: u32,
    /// The ticks of the newest action, and how many of them are out.
    made: Vec<Tick>,
    given: usize,
    changed: Changed,
}

#[derive(Clone, Debug)]
struct Instrument {
    book: Book,
    id: InstrumentId,
    price_exp: i8,
    size_exp: i8,
    /// The price that keeps the walk from leaving for zero or the sky, in ticks.
    anchor: i64,
    /// How many percent more buyers than sellers there are at the moment: prices trend.
    lean: i32,
    last_trade: u64,
    last_update: u64,
}

impl Market {
    /// Lists the instruments and fills their books.
    pub fn new(spec: &SyntheticSpec, registry: &Instruments) -> Self {
        let mut rng = Rng::new(spec.seed);
        let instruments = listings(spec.symbols, spec.names)
            .into_iter()
            .map(|listing| {
                let native = format!("{}-USD", listing.base);
                let id = registry.list(VENUE, &native, &listing.base, "USD");
                Instrument::open(&listing, id, &mut rng)
            })
            .collect();
        let quiet = !spec.only.quote && !spec.only.book;
        Market {
            instruments,
            choose: Alias::zipf(spec.symbols, spec.zipf),
            rng,
            only: spec.only,
            // Where only trades are to be seen, more of them save work on what is not.
            takers: if quiet { 50 } else { 20 },
            made: Vec::with_capacity(64),
            given: 0,
            changed: Vec::with_capacity(64),
        }
    }

    /// How many instruments there are.
    pub fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }

    /// What a subscriber needs before the first event of the `index`th instrument: its book as a
    /// snapshot and its best prices, of the kinds that the spec asks for. To be called for each
    /// before the first [`Market::next_event`].
    pub fn snapshot(&mut self, index: usize) -> &[Tick] {
        self.made.clear();
        let instrument = &self.instruments[index];
        if self.only.book {
            instrument.snapshot(&mut self.made);
        }
        if self.only.quote {
            self.made.extend(instrument.quote());
        }
        self.given = self.made.len();
        &self.made
    }

    /// The next event: one trade, one quote, or the levels of one book update, without stamps.
    pub fn next_event(&mut self) -> &[Tick] {
        while self.given == self.made.len() {
            self.act();
        }
        let rest = &self.made[self.given..];
        let length = rest.iter().position(|t| t.has(flags::LAST)).map_or(rest.len(), |at| at + 1);
        self.given += length;
        &rest[..length]
    }

    /// The book of the `index`th instrument after its newest action, best first.
    pub fn levels(&self, index: usize, side: Side) -> Vec<(Decimal, Decimal)> {
        let instrument = &self.instruments[index];
        let value = |(price, size)| (instrument.price(price), instrument.size(size));
        instrument.book.side(side).map(value).collect()
    }

    /// Lets one instrument act and notes what is published of it, which may be nothing.
    fn act(&mut self) {
        self.made.clear();
        self.changed.clear();
        self.given = 0;
        let instrument = &mut self.instruments[self.choose.draw(&mut self.rng)];
        let before = instrument.book.top();
        if self.rng.percent(self.takers) {
            let made = self.only.trade.then_some(&mut self.made);
            instrument.market_order(&mut self.rng, &mut self.changed, made);
        } else {
            // Most messages move one level, some a few: venues gather what happens together.
            let orders = match self.rng.below(8) {
                0 => 2 + self.rng.below(4),
                _ => 1,
            };
            for _ in 0..orders {
                instrument.limit_order(&mut self.rng, &mut self.changed);
            }
        }
        let first = instrument.last_update + 1;
        instrument.last_update += self.changed.len() as u64;
        if self.only.book {
            instrument.diff(first, &self.changed, &mut self.made);
        }
        if self.only.quote && instrument.book.top() != before {
            self.made.extend(instrument.quote());
        }
    }
}

impl Instrument {
    fn open(listing: &Listing, id: InstrumentId, rng: &mut Rng) -> Self {
        let (bid, ask) = (listing.ticks, listing.ticks + 1 + i64::from(rng.below(3)));
        let mut book = Book::new((bid, resting_lots(rng)), (ask, resting_lots(rng)));
        let mut ignored = Vec::new();
        for depth in 1..i64::from(DEPTH) {
            if rng.percent(60) {
                book.add(Side::Buy, bid - depth, resting_lots(rng), &mut ignored);
            }
            if rng.percent(60) {
                book.add(Side::Sell, ask + depth, resting_lots(rng), &mut ignored);
            }
        }
        // One lot is worth a few dollars at the starting price, whatever that is.
        let magnitude = listing.ticks.ilog10() as i8 + listing.exponent;
        Instrument {
            book,
            id,
            price_exp: listing.exponent,
            size_exp: (-magnitude).min(0),
            anchor: listing.ticks,
            lean: 0,
            last_trade: 0,
            last_update: 1,
        }
    }

    /// Takes liquidity: consumes the best levels of one side until it is filled or finds no more.
    fn market_order(
        &mut self,
        rng: &mut Rng,
        changed: &mut Changed,
        mut made: Option<&mut Vec<Tick>>,
    ) {
        if rng.percent(3) {
            self.lean = rng.below(31) as i32 - 15;
        }
        // The further the price has walked, the more traders think that it has to come back.
        let walked = (self.anchor - self.book.best(Side::Buy)) * 200 / self.anchor;
        let buyers = 50 + self.lean + walked.clamp(-34, 34) as i32;
        let taker = if rng.percent(buyers as u32) { Side::Buy } else { Side::Sell };
        let mut lots = taking_lots(rng);
        while lots > 0 {
            let Some((price, taken)) = self.book.take(opposite(taker), lots, changed) else {
                break;
            };
            lots -= taken;
            self.last_trade += 1;
            if let Some(made) = &mut made {
                let (price, size) = (self.price(price), self.size(taken));
                let trade = Trade { price, size, id: self.last_trade, side: taker };
                made.push(Tick::trade(self.id, stamp(self.last_trade), &trade));
            }
        }
    }

    /// Makes liquidity, or takes some of it back, on one side.
    fn limit_order(&mut self, rng: &mut Rng, changed: &mut Changed) {
        let side = if rng.percent(50) { Side::Buy } else { Side::Sell };
        let levels = self.book.levels(side);
        let makers = if levels < USUAL_LEVELS { 70 } else { 35 };
        let depth = i64::from(rng.below(DEPTH).min(rng.below(DEPTH)));
        let sign = if side == Side::Buy { -1 } else { 1 };
        if levels >= FEWEST_LEVELS && !rng.percent(makers) {
            self.cancel_order(side, depth, rng, changed);
            return;
        }
        let room = self.book.spread() - 1;
        let eager = if room > 3 { 70 } else { 25 };
        let better = room > 0 && rng.percent(eager);
        let offset = if better { -1 - i64::from(rng.below(room as u32)) } else { depth };
        let price = self.book.best(side) + sign * offset;
        self.book.add(side, price, resting_lots(rng), changed);
    }

    /// Cancels half or all of the level at about this depth.
    fn cancel_order(&mut self, side: Side, depth: i64, rng: &mut Rng, changed: &mut Changed) {
        let sign = if side == Side::Buy { -1 } else { 1 };
        let best = self.book.best(side);
        // The nearest level further in; at the latest the best one.
        let prices = (0..=depth).rev().map(|depth| best + sign * depth);
        let Some((price, size)) =
            prices.map(|price| (price, self.book.size(side, price))).find(|&(_, size)| size > 0)
        else {
            return;
        };
        let lots = if rng.percent(50) { size } else { size / 2 };
        self.book.cancel(side, price, lots, changed);
    }

    fn price(&self, ticks: i64) -> Decimal {
        Decimal::new(ticks, self.price_exp)
    }

    fn size(&self, lots: u32) -> Decimal {
        Decimal::new(i64::from(lots), self.size_exp)
    }

    fn level(&self, side: Side, price: i64, size: u32, first: u64, bits: u8) -> Tick {
        let level = Level { side, price: self.price(price), size: self.size(size), first };
        Tick::level(self.id, stamp(self.last_update), bits, &level)
    }

    fn snapshot(&self, out: &mut Vec<Tick>) {
        let from = out.len();
        for side in [Side::Buy, Side::Sell] {
            out.extend(self.book.side(side).map(|(price, size)| {
                self.level(side, price, size, self.last_update, flags::SNAPSHOT)
            }));
        }
        mark_event(&mut out[from..]);
    }

    /// The changed levels as one update: its first sequence is one above the last before it.
    fn diff(&self, first: u64, changed: &Changed, out: &mut Vec<Tick>) {
        let from = out.len();
        out.extend(
            changed.iter().map(|&(side, price)| {
                self.level(side, price, self.book.size(side, price), first, 0)
            }),
        );
        mark_event(&mut out[from..]);
    }

    fn quote(&self) -> Option<Tick> {
        let [bid, bid_size, ask, ask_size] = self.book.top();
        let size = |lots| Decimal::new(lots, self.size_exp);
        let (bid, bid_size) = (self.price(bid), size(bid_size));
        let (ask, ask_size) = (self.price(ask), size(ask_size));
        // Never `None`: both sides share their exponents.
        Tick::quote(self.id, stamp(self.last_update), &Quote { bid, bid_size, ask, ask_size })
    }
}

const fn stamp(seq: u64) -> Stamp {
    Stamp { event: 0, recv: 0, seq }
}

fn mark_event(ticks: &mut [Tick]) {
    if let Some(first) = ticks.first_mut() {
        first.flags |= flags::FIRST;
    }
    if let Some(last) = ticks.last_mut() {
        last.flags |= flags::LAST;
    }
}

/// The size of an order that rests: most are small, few are large.
fn resting_lots(rng: &mut Rng) -> u32 {
    let magnitude = rng.below(8);
    1 + rng.below(64 << magnitude)
}

/// The size of an order that takes: smaller, or every trade would move the price.
fn taking_lots(rng: &mut Rng) -> u32 {
    let magnitude = rng.below(8);
    1 + rng.below(16 << magnitude)
}
