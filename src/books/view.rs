//! What a client that holds the best N levels of a book must be told.

use thiserror::Error;
use tickcast_feeds::Side;

use super::book::{Book, PriceSize};
use super::side::{Entry, Touched};

/// The deepest view that can be asked for by number, in levels a side.
pub const MAX_DEPTH: usize = 1000;

/// A depth that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("depth {0}, expected 1 to {MAX_DEPTH}")]
pub struct DepthError(pub u64);

/// How deep a client looks into a book: the best N levels a side, or all.
///
/// It has no memory. What a client holds follows from the book before the last event, and that
/// from the book as it is and what the event touched: so no number of views costs anything while
/// nothing happens, and none can run out of step with its book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Depth(usize);

/// The levels to send: `(price, size)`, size zero where the level is gone from the view.
///
/// On a side: first the levels that cross the view's end without having changed themselves, then
/// those that the event changed, best first. Each price occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Bids.
    pub bids: Vec<PriceSize>,
    /// Asks.
    pub asks: Vec<PriceSize>,
}

impl Depth {
    /// Levels a side as requests have it: 0 for all.
    pub fn asked(self) -> u16 {
        u16::try_from(self.0).unwrap_or(0)
    }
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

impl Depth {
    /// All levels.
    pub const FULL: Depth = Depth(usize::MAX);

    /// The best `levels` of a side.
    ///
    /// # Errors
    /// [`DepthError`] unless it is 1 to [`MAX_DEPTH`].
    pub const fn top(levels: u64) -> Result<Self, DepthError> {
        if levels == 0 || levels > MAX_DEPTH as u64 {
            return Err(DepthError(levels));
        }
        Ok(Depth(levels as usize))
    }

    /// The number of levels a side; `None` for all.
    pub const fn levels(self) -> Option<usize> {
        if self.0 == usize::MAX { None } else { Some(self.0) }
    }

    /// The bids in view as `(price, size)`, best first: a snapshot's.
    pub fn bids(self, book: &Book) -> impl Iterator<Item = PriceSize> {
        book.bids().take(self.0)
    }

    /// The asks in view as `(price, size)`, best first: a snapshot's.
    pub fn asks(self, book: &Book) -> impl Iterator<Item = PriceSize> {
        book.asks().take(self.0)
    }

    /// What the last event that `book` applied changed in view; replaces what is in `out`.
    ///
    /// A client that held the view before the event holds it after these: a level that falls out
    /// is there with size zero, one that comes into view is there whole, and nothing is there
    /// that the client has already. Empty after a snapshot (see
    /// [`Applied::snapshot`](super::Applied)): that is sent as one.
    ///
    /// Costs one comparison a side when the event was outside the view, else a step for each
    /// level that the event touched; never a scan of the view.
    pub fn changes(self, book: &Book, out: &mut Changes) {
        for (side, out) in [(Side::Buy, &mut out.bids), (Side::Sell, &mut out.asks)] {
            out.clear();
            let half = book.half(side);
            match self.levels() {
                None => {
                    let all = half.touched().iter();
                    out.extend(all.map(|t| book.shown(half, t.key, t.after)));
                }
                Some(depth) => {
                    let emit = |key, size| out.push(book.shown(half, key, size));
                    top_changes(half.levels(), half.touched(), depth, emit);
                }
            }
        }
    }
}

/// Calls `emit` with key and size of every level to send to a client whose view is `depth` deep.
///
/// The levels that the event did not touch are in the book before and the book now, and each
/// view has a run of them from the best on. So the two views differ in touched levels and in
/// where that run ends, which is found by walking from the end of one view to the other's.
pub(super) fn top_changes(
    levels: &[Entry],
    touched: &[Touched],
    depth: usize,
    mut emit: impl FnMut(i64, i64),
) {
    let Some(best_touched) = touched.first() else { return };
    let end = levels.len().saturating_sub(depth);
    let is_full = levels.len() >= depth;
    // Keys from here on are in view; one below all keys while the view has room.
    let now = if is_full { i128::from(levels[end].key) } else { i128::MIN };
    if i128::from(best_touched.key) < now {
        return;
    }
    let split = touched.partition_point(|touched| i128::from(touched.key) >= now);
    let (inside, outside) = touched.split_at(split);
    // How many levels were there before the event, down to where the view ends now.
    let added = inside.iter().filter(|touched| touched.before == 0).count();
    let removed = inside.iter().filter(|touched| touched.after == 0).count();
    let held = levels.len() - end + removed - added;

    // Untouched levels between the two ends go out (or in); the walk returns the earlier end.
    let before = if held > depth {
        let came_in = |entry: &Entry| emit(entry.key, entry.size);
        walk_up(&levels[end..], inside, held - depth, came_in)
    } else if held < depth && is_full {
        let fell_out = |entry: &Entry| emit(entry.key, 0);
        walk_down(&levels[..end], outside, depth - held, fell_out)
    } else {
        now
    };
    for touched in touched {
        let key = i128::from(touched.key);
        if key < now && key < before {
            break;
        }
        if touched.after != 0 && key >= now {
            emit(touched.key, touched.after);
        } else if touched.before != 0 && key >= before {
            emit(touched.key, 0);
        }
    }
}

/// Goes from a view's end to worse levels, over `count` that were there before the event (or all,
/// if there were fewer) and calls `untouched` for those that the event did not touch; returns
/// where that view ended.
fn walk_down(
    levels: &[Entry],
    touched: &[Touched],
    mut count: usize,
    mut untouched: impl FnMut(&Entry),
) -> i128 {
    let mut levels = levels.iter().rev().peekable();
    let mut touched = touched.iter().peekable();
    loop {
        let level = levels.peek().map_or(i64::MIN, |entry| entry.key);
        let key = if let Some(touched) = touched.next_if(|touched| touched.key >= level) {
            levels.next_if(|entry| entry.key == touched.key);
            if touched.before == 0 {
                continue;
            }
            touched.key
        } else if let Some(entry) = levels.next() {
            untouched(entry);
            entry.key
        } else {
            return i128::MIN;
        };
        count -= 1;
        if count == 0 {
            return i128::from(key);
        }
    }
}

/// Goes from a view's end to better levels, over `count` that were there before the event, and
/// calls `untouched` for those that the event did not touch; returns where the view above them
/// ended.
fn walk_up(
    levels: &[Entry],
    touched: &[Touched],
    mut count: usize,
    mut untouched: impl FnMut(&Entry),
) -> i128 {
    let mut levels = levels.iter().peekable();
    let mut touched = touched.iter().rev().peekable();
    loop {
        let level = levels.peek().map_or(i64::MAX, |entry| entry.key);
        let key = if let Some(touched) = touched.next_if(|touched| touched.key <= level) {
            levels.next_if(|entry| entry.key == touched.key);
            if touched.before == 0 {
                continue;
            }
            touched.key
        } else if let Some(entry) = levels.next() {
            untouched(entry);
            entry.key
        } else {
            return i128::MAX;
        };
        count -= 1;
        if count == 0 {
            return i128::from(key) + 1;
        }
    }
}
