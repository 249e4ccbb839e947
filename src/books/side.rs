//! One side of a book.

use tickcast_feeds::Side;

/// Scratch that is kept between events; what a snapshot needed beyond it is given back.
const KEPT_SCRATCH: usize = 256;

/// A level as it is stored.
///
/// The key is the price's mantissa on the bid side and its complement (`!mantissa`, which
/// reverses the order and cannot overflow) on the ask side: better is always greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: i64,
    pub(super) size: i64,
}

/// What an event did to a price: its size before and after, zero where there was no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) key: i64,
    pub(super) before: i64,
    pub(super) after: i64,
}

/// One side of a book: a sorted vector with the best level at the end.
///
/// Real traffic is near the top: there an insertion moves a few entries, and the entries that a
/// search or a top-of-book read touches share cache lines. A tree would pay a miss per level.
#[derive(Debug)]
pub(super) struct HalfBook {
    side: Side,
    /// Worst first, keys strictly rising, no size is zero.
    levels: Vec<Entry>,
    /// While staging: the event's levels as they came. Afterwards: one per price that the event
    /// changed in effect, best first.
    touched: Vec<Touched>,
}

impl HalfBook {
    pub(super) const fn new(side: Side) -> Self {
        HalfBook { side, levels: Vec::new(), touched: Vec::new() }
    }

    /// Worst first.
    pub(super) fn levels(&self) -> &[Entry] {
        &self.levels
    }

    /// Best first; only what changed in effect.
    pub(super) fn touched(&self) -> &[Touched] {
        &self.touched
    }

    pub(super) const fn price_to_key(&self, mantissa: i64) -> i64 {
        match self.side {
            Side::Buy => mantissa,
            Side::Sell => !mantissa,
        }
    }

    /// The inverse of [`HalfBook::price_to_key`], which is its own inverse.
    pub(super) const fn key_to_price(&self, key: i64) -> i64 {
        self.price_to_key(key)
    }

    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.clear_touched();
    }

    pub(super) fn clear_touched(&mut self) {
        self.touched.clear();
        self.touched.shrink_to(KEPT_SCRATCH);
    }

    /// Notes a level of the event at hand; [`HalfBook::merge`] or [`HalfBook::replace`] follows.
    pub(super) fn stage(&mut self, price: i64, size: i64) {
        let key = self.price_to_key(price);
        self.touched.push(Touched { key, before: 0, after: size });
    }

    /// Applies the staged levels to those there are; keeps the best `max`, returns how many it
    /// dropped.
    pub(super) fn merge(&mut self, max: usize) -> usize {
        for touched in &mut self.touched {
            let at = self.levels.partition_point(|entry| entry.key < touched.key);
            let entry = Entry { key: touched.key, size: touched.after };
            match self.levels.get_mut(at) {
                Some(there) if there.key == entry.key => {
                    touched.before = there.size;
                    if entry.size == 0 {
                        self.levels.remove(at);
                    } else {
                        there.size = entry.size;
                    }
                }
                _ if entry.size != 0 => self.levels.insert(at, entry),
                _ => {}
            }
        }
        let excess = self.levels.len().saturating_sub(max);
        let dropped = self.levels.drain(..excess);
        self.touched.extend(dropped.map(|e| Touched { key: e.key, before: e.size, after: 0 }));
        coalesce(&mut self.touched);
        self.touched.retain(|touched| touched.before != touched.after);
        excess
    }

    /// The staged levels become the whole side; keeps the best `max`, returns how many it dropped.
    pub(super) fn replace(&mut self, max: usize) -> usize {
        coalesce(&mut self.touched);
        self.levels.clear();
        let whole = self.touched.iter().rev().filter(|touched| touched.after != 0);
        self.levels.extend(whole.map(|t| Entry { key: t.key, size: t.after }));
        self.clear_touched();
        let excess = self.levels.len().saturating_sub(max);
        self.levels.drain(..excess);
        excess
    }

    /// Multiplies all prices and sizes; the caller has checked that they fit.
    pub(super) fn rewrite(&mut self, price: impl Fn(i64) -> i64, size: impl Fn(i64) -> i64) {
        for at in 0..self.levels.len() {
            let Entry { key, size: old } = self.levels[at];
            let key = self.price_to_key(price(self.key_to_price(key)));
            self.levels[at] = Entry { key, size: size(old) };
        }
    }
}

/// Best first and one entry per price: before it all, after it all.
pub(super) fn coalesce(touched: &mut Vec<Touched>) {
    // Stable: entries of one price stay in the order they were applied.
    touched.sort_by_key(|touched| std::cmp::Reverse(touched.key));
    touched.dedup_by(|later, kept| {
        let same = later.key == kept.key;
        if same {
            kept.after = later.after;
        }
        same
    });
}

/// The levels only: what the last event touched is between the book and those who watched it.
impl Clone for HalfBook {
    fn clone(&self) -> Self {
        HalfBook { side: self.side, levels: self.levels.clone(), touched: Vec::new() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.side = source.side;
        self.levels.clone_from(&source.levels);
        self.clear_touched();
    }
}
