//! One instrument's limit order book: sizes by price around the best bid and ask.

use crate::tick::Side;

/// A level is kept only while it is nearer than this to the other side's best, in ticks: what is
/// further away belongs to nobody who wants to trade.
const REACH: i64 = 64;

/// The best of one side is never taken away when the next one is further than this from the
/// other side, in ticks: a spread like that would look broken.
const WIDEST_SPREAD: i64 = 24;

/// Every price within reach has a slot of its own: bids and asks together span less than
/// `2 * REACH` ticks, so the price's low bits name the slot.
const SLOTS: usize = 2 * REACH as usize;

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(WIDEST_SPREAD < REACH);

/// The most lots at one price, so that sums stay far from overflow.
const MOST_LOTS: u32 = 50_000_000;

/// Which levels an action changed; their new sizes are read off the book afterwards.
pub(super) type Changed = Vec<(Side, i64)>;

/// A book: prices in ticks, sizes in lots.
///
/// Invariants: `bid < ask`, both have a size, the spread is at most [`WIDEST_SPREAD`] unless it
/// was made wider by hand, and every slot that is not a level within reach holds 0.
#[derive(Clone, Debug)]
pub(super) struct Book {
    sizes: [u32; SLOTS],
    bid: i64,
    ask: i64,
    levels: [u32; 2],
}

const fn slot(price: i64) -> usize {
    (price & (SLOTS as i64 - 1)) as usize
}

/// The other side.
pub(super) const fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// The step in price that leads away from the market on this side.
const fn outward(side: Side) -> i64 {
    match side {
        Side::Buy => -1,
        Side::Sell => 1,
    }
}

impl Book {
    /// A book of one level a side; `bid < ask` no further apart than the widest spread.
    pub(super) fn new(bid: (i64, u32), ask: (i64, u32)) -> Self {
        let mut book = Book { sizes: [0; SLOTS], bid: bid.0, ask: ask.0, levels: [1, 1] };
        book.sizes[slot(bid.0)] = bid.1;
        book.sizes[slot(ask.0)] = ask.1;
        book
    }

    /// The best price of a side.
    pub(super) const fn best(&self, side: Side) -> i64 {
        match side {
            Side::Buy => self.bid,
            Side::Sell => self.ask,
        }
    }

    /// Best bid, its size, best ask, its size.
    pub(super) fn top(&self) -> [i64; 4] {
        let size = |price| i64::from(self.sizes[slot(price)]);
        [self.bid, size(self.bid), self.ask, size(self.ask)]
    }

    pub(super) const fn spread(&self) -> i64 {
        self.ask - self.bid
    }

    /// How many levels a side has.
    pub(super) const fn levels(&self, side: Side) -> u32 {
        self.levels[side as usize]
    }

    /// The size at a price, 0 where there is no level of this side.
    pub(super) fn size(&self, side: Side, price: i64) -> u32 {
        let depth = (price - self.best(side)) * outward(side);
        if depth >= 0 && self.in_reach(side, price) { self.sizes[slot(price)] } else { 0 }
    }

    fn in_reach(&self, side: Side, price: i64) -> bool {
        (price - self.best(opposite(side))) * outward(side) < REACH
    }

    /// The levels of a side, best first, as price and size.
    pub(super) fn side(&self, side: Side) -> impl Iterator<Item = (i64, u32)> + '_ {
        let best = self.best(side);
        (0..REACH)
            .map(move |depth| best + depth * outward(side))
            .take_while(move |&price| self.in_reach(side, price))
            .map(|price| (price, self.sizes[slot(price)]))
            .filter(|&(_, size)| size > 0)
    }

    /// Adds `lots` to a level, which may become the best one. The price is brought into the range
    /// that a resting order of this side can have: not crossing, not out of reach.
    pub(super) fn add(&mut self, side: Side, price: i64, lots: u32, changed: &mut Changed) {
        let (low, high) = match side {
            Side::Buy => (self.ask - REACH + 1, self.ask - 1),
            Side::Sell => (self.bid + 1, self.bid + REACH - 1),
        };
        let price = price.clamp(low, high);
        let size = &mut self.sizes[slot(price)];
        self.levels[side as usize] += u32::from(*size == 0);
        *size = (*size + lots).min(MOST_LOTS);
        note(changed, side, price);
        // A better best brings more of the other side into reach; those slots are empty.
        match side {
            Side::Buy => self.bid = self.bid.max(price),
            Side::Sell => self.ask = self.ask.min(price),
        }
    }

    /// Takes up to `lots` from the best level of a side; the price and what was taken, `None`
    /// where the last lot has to stay.
    pub(super) fn take(
        &mut self,
        side: Side,
        lots: u32,
        changed: &mut Changed,
    ) -> Option<(i64, u32)> {
        let price = self.best(side);
        let taken = self.cancel(side, price, lots, changed);
        (taken > 0).then_some((price, taken))
    }

    /// Takes up to `lots` from a level that exists, and says how many.
    pub(super) fn cancel(
        &mut self,
        side: Side,
        price: i64,
        lots: u32,
        changed: &mut Changed,
    ) -> u32 {
        let size = self.sizes[slot(price)];
        if lots < size {
            return self.shrink(side, price, lots, changed);
        }
        if price != self.best(side) {
            self.levels[side as usize] -= 1;
            return self.shrink(side, price, size, changed);
        }
        match self.next_best(side) {
            Some(next) => {
                self.levels[side as usize] -= 1;
                let taken = self.shrink(side, price, size, changed);
                self.retreat(side, next, changed);
                taken
            }
            None => self.shrink(side, price, size - 1, changed),
        }
    }

    fn shrink(&mut self, side: Side, price: i64, lots: u32, changed: &mut Changed) -> u32 {
        if lots > 0 {
            self.sizes[slot(price)] -= lots;
            note(changed, side, price);
        }
        lots
    }

    /// The level behind the best, where it may become the best.
    fn next_best(&self, side: Side) -> Option<i64> {
        let limit = self.best(opposite(side)) + WIDEST_SPREAD * outward(side);
        let mut price = self.best(side);
        while price != limit && self.spread() <= WIDEST_SPREAD {
            price += outward(side);
            if self.sizes[slot(price)] > 0 {
                return Some(price);
            }
        }
        None
    }

    /// Makes `next` the best of a side, and drops what of the other side is out of reach by that.
    fn retreat(&mut self, side: Side, next: i64, changed: &mut Changed) {
        let other = opposite(side);
        let old = self.best(side);
        match side {
            Side::Buy => self.bid = next,
            Side::Sell => self.ask = next,
        }
        let mut price = next - outward(side) * REACH;
        let end = old - outward(side) * REACH;
        while price != end {
            if self.sizes[slot(price)] > 0 {
                self.levels[other as usize] -= 1;
                self.sizes[slot(price)] = 0;
                note(changed, other, price);
            }
            price -= outward(side);
        }
    }
}

fn note(changed: &mut Changed, side: Side, price: i64) {
    // A handful of entries: a scan beats a set.
    if !changed.contains(&(side, price)) {
        changed.push((side, price));
    }
}
