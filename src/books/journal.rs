//! What happened to a book of late: so that who is told less often than things happen can be told
//! their sum.
//!
//! A client that takes ten updates a second, or one that fell behind, stands at some [`Mark`]. What it
//! must be told to come from there to the book as it is are the levels that were touched since, each
//! once, with the size that it has now. That is a sort of a few entries, done once for all who stand
//! at the same mark, instead of a copy of the book for each.
//!
//! Invariant: for a mark that the journal still reaches, the sum of its entries since then takes any
//! book of that moment to the book of now. Where the oldest entries were folded (one for each price,
//! to bound the memory) it may also hold levels that have not changed since: true, but said again.

use std::collections::VecDeque;

use tickcast_feeds::Side;

use super::book::{Book, Scale};
use super::side::{Entry, HalfBook, Touched, coalesce};
use super::view::{Changes, Depth, top_changes};

/// Entries of a side beyond which the older half is folded.
const FOLD_ABOVE: usize = if cfg!(test) { 32 } else { 32_768 };
/// Folded entries of a side beyond which they are dropped: who stands before them needs a snapshot.
const FOLDED_MAX: usize = if cfg!(test) { 64 } else { 65_536 };

/// A moment of a journal, between two events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    bids: u64,
    asks: u64,
}

impl Mark {
    /// The earlier of two moments of one journal.
    pub fn min(self, other: Self) -> Self {
        Mark { bids: self.bids.min(other.bids), asks: self.asks.min(other.asks) }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    scale: Scale,
    bids: Log,
    asks: Log,
    /// Scratch for sums.
    sum: [Vec<Touched>; 2],
}

/// One side's entries, oldest first.
#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Touched>,
    /// The number of the oldest.
    first: u64,
    /// Entries before this number are folded.
    folded: u64,
    /// Marks before this number cannot be served.
    lost: u64,
}

/// How well a log reaches back to a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Exactly,
    /// Through entries that were folded over the mark.
    Folded,
    Not,
}

impl Log {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn reach(&self, mark: u64) -> Reach {
        match mark {
            _ if mark < self.lost => Reach::Not,
            _ if mark < self.folded => Reach::Folded,
            _ => Reach::Exactly,
        }
    }

    /// The sum of the entries from one mark to another, best first; what is as it was is left out
    /// where that is known.
    fn sum(&self, from: u64, to: u64, out: &mut Vec<Touched>) {
        out.clear();
        let exact = self.reach(from) == Reach::Exactly;
        let from = if exact { from } else { self.first };
        let range = (from - self.first) as usize..(to - self.first) as usize;
        out.extend(self.entries.range(range));
        coalesce(out);
        if exact {
            out.retain(|touched| touched.before != touched.after);
        }
    }

    fn note(&mut self, touched: impl Iterator<Item = Touched>) {
        self.entries.extend(touched);
        if self.entries.len() > FOLD_ABOVE + (self.folded - self.first) as usize {
            self.fold();
        }
    }

    /// Makes one entry for each price of all but the newest [`FOLD_ABOVE`]/2.
    fn fold(&mut self) {
        let count = self.entries.len() - FOLD_ABOVE / 2;
        let mut old: Vec<Touched> = self.entries.drain(..count).collect();
        coalesce(&mut old);
        self.folded = self.first + count as u64;
        if old.len() > FOLDED_MAX {
            (self.first, self.lost) = (self.folded, self.folded);
            return;
        }
        self.first = self.folded - old.len() as u64;
        old.into_iter().rev().for_each(|touched| self.entries.push_front(touched));
    }

    /// Drops what is before a mark.
    fn trim(&mut self, mark: u64) {
        // Of folded entries all are needed by whoever stands among them.
        if mark > self.first && self.reach(mark) == Reach::Exactly {
            self.entries.drain(..(mark - self.first) as usize);
            self.first = mark;
            self.folded = self.folded.max(mark);
            self.lost = mark;
            if self.entries.capacity() > 1024 && self.entries.len() < self.entries.capacity() / 8 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
    }

    /// Nobody who stands before now can be served any more.
    fn lose(&mut self) {
        self.first = self.end();
        (self.folded, self.lost) = (self.first, self.first);
        self.entries.clear();
    }
}

impl Journal {
    /// An empty journal of this book from now on; its marks begin at [`Mark::default`].
    pub fn new(book: &Book) -> Self {
        Journal {
            scale: book.scale(),
            bids: Log::default(),
            asks: Log::default(),
            sum: Default::default(),
        }
    }

    /// Now.
    pub fn end(&self) -> Mark {
        Mark { bids: self.bids.end(), asks: self.asks.end() }
    }

    /// Whether nothing happened since a mark.
    pub fn is_end(&self, mark: Mark) -> bool {
        self.end() == mark
    }

    /// Notes what the last event did to the book.
    pub fn note(&mut self, book: &Book) {
        self.rescale(book);
        self.bids.note(book.half(Side::Buy).touched().iter().copied());
        self.asks.note(book.half(Side::Sell).touched().iter().copied());
    }

    /// Notes that another book took the place of the one there was: what differs between them.
    pub fn note_replaced(&mut self, old: &Book, new: &Book) {
        self.rescale(new);
        let from = old.scale();
        for (log, side) in [(&mut self.bids, Side::Buy), (&mut self.asks, Side::Sell)] {
            let convert = |entry: &Entry| {
                let half = old.half(side);
                let price = from.price(half.key_to_price(entry.key)).rescale(self.scale.price)?;
                let size = from.size(entry.size).rescale(self.scale.size)?;
                Some(Entry { key: half.price_to_key(price), size })
            };
            let levels: Option<Vec<Entry>> = old.half(side).levels().iter().map(convert).collect();
            match levels {
                Some(levels) => log.note(differences(&levels, new.half(side).levels()).into_iter()),
                None => log.lose(),
            }
        }
    }

    /// Follows a book that went to other powers of ten.
    fn rescale(&mut self, book: &Book) {
        let (from, to) = (self.scale, book.scale());
        if from == to {
            return;
        }
        self.scale = to;
        for (log, side) in [(&mut self.bids, Side::Buy), (&mut self.asks, Side::Sell)] {
            let half = book.half(side);
            let all = log.entries.iter_mut().all(|touched| {
                let price = from.price(half.key_to_price(touched.key)).rescale(to.price);
                let size = |mantissa| from.size(mantissa).rescale(to.size);
                let (Some(price), Some(before), Some(after)) =
                    (price, size(touched.before), size(touched.after))
                else {
                    return false;
                };
                *touched = Touched { key: half.price_to_key(price), before, after };
                true
            });
            if !all {
                log.lose();
            }
        }
    }

    /// What a client whose view is `depth` deep, and who stands at `mark`, must be told to hold the
    /// view of now; replaces what is in `out`. False where that cannot be told: it needs a snapshot.
    pub fn changes(&mut self, book: &Book, mark: Mark, depth: Depth, out: &mut Changes) -> bool {
        let end = self.end();
        match depth.levels() {
            None => self.changes_until(book, mark, end, out),
            Some(levels) => {
                let reach = [self.bids.reach(mark.bids), self.asks.reach(mark.asks)];
                if reach != [Reach::Exactly; 2] {
                    return false;
                }
                self.sum_up(mark, end);
                for (i, (side, out)) in [(Side::Buy, &mut out.bids), (Side::Sell, &mut out.asks)]
                    .into_iter()
                    .enumerate()
                {
                    out.clear();
                    let half = book.half(side);
                    let emit = |key, size| out.push(book.shown(half, key, size));
                    top_changes(half.levels(), &self.sum[i], levels, emit);
                }
                true
            }
        }
    }

    /// The same for the whole book, up to another mark; false also where that one was folded over.
    pub fn changes_until(&mut self, book: &Book, mark: Mark, to: Mark, out: &mut Changes) -> bool {
        for (log, from, to) in [(&self.bids, mark.bids, to.bids), (&self.asks, mark.asks, to.asks)]
        {
            if log.reach(from) == Reach::Not || log.reach(to) != Reach::Exactly {
                return false;
            }
        }
        self.sum_up(mark, to);
        for (i, (side, out)) in
            [(Side::Buy, &mut out.bids), (Side::Sell, &mut out.asks)].into_iter().enumerate()
        {
            out.clear();
            let half = book.half(side);
            out.extend(self.sum[i].iter().map(|t| book.shown(half, t.key, t.after)));
        }
        true
    }

    /// Whether what happened since a mark is not known any more.
    pub fn is_lost(&self, mark: Mark) -> bool {
        self.bids.reach(mark.bids) == Reach::Not || self.asks.reach(mark.asks) == Reach::Not
    }

    /// The view of `depth` as it was at a mark: a snapshot for who joins those who stand there. False
    /// where that is not known any more.
    pub fn view_at(&mut self, book: &Book, mark: Mark, depth: Depth, out: &mut Changes) -> bool {
        let reach = [self.bids.reach(mark.bids), self.asks.reach(mark.asks)];
        if reach != [Reach::Exactly; 2] {
            return false;
        }
        self.sum_up(mark, self.end());
        let most = depth.levels().unwrap_or(usize::MAX);
        for (i, (side, out)) in
            [(Side::Buy, &mut out.bids), (Side::Sell, &mut out.asks)].into_iter().enumerate()
        {
            out.clear();
            let half = book.half(side);
            let levels = before(half, &self.sum[i]).take(most);
            out.extend(levels.map(|entry| book.shown(half, entry.key, entry.size)));
        }
        true
    }

    fn sum_up(&mut self, from: Mark, to: Mark) {
        let [bids, asks] = &mut self.sum;
        self.bids.sum(from.bids, to.bids, bids);
        self.asks.sum(from.asks, to.asks, asks);
    }

    /// Drops what is before a mark: nobody stands there any more.
    pub fn trim(&mut self, mark: Mark) {
        self.bids.trim(mark.bids);
        self.asks.trim(mark.asks);
        self.sum.iter_mut().for_each(|sum| sum.shrink_to(1024));
    }

    /// Heap bytes held.
    pub fn held(&self) -> usize {
        let entries = self.bids.entries.capacity() + self.asks.entries.capacity();
        let sums = self.sum.iter().map(Vec::capacity).sum::<usize>();
        (entries + sums) * size_of::<Touched>()
    }
}

/// What takes one side to the other; both worst first.
fn differences(old: &[Entry], new: &[Entry]) -> Vec<Touched> {
    let mut out = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let key = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => a.key.min(b.key),
            (Some(entry), None) | (None, Some(entry)) => entry.key,
            (None, None) => return out,
        };
        let before = old.next_if(|entry| entry.key == key).map_or(0, |entry| entry.size);
        let after = new.next_if(|entry| entry.key == key).map_or(0, |entry| entry.size);
        if before != after {
            out.push(Touched { key, before, after });
        }
    }
}

/// The levels of a side before `touched` (best first) happened to it, best first.
fn before<'a>(half: &'a HalfBook, touched: &'a [Touched]) -> impl Iterator<Item = Entry> + 'a {
    let mut levels = half.levels().iter().rev().peekable();
    let mut touched = touched.iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let key = match (levels.peek(), touched.peek()) {
                (Some(a), Some(b)) => a.key.max(b.key),
                (Some(entry), None) => entry.key,
                (None, Some(touched)) => touched.key,
                (None, None) => return None,
            };
            let level = levels.next_if(|entry| entry.key == key).copied();
            match touched.next_if(|touched| touched.key == key) {
                Some(touched) if touched.before == 0 => {}
                Some(touched) => return Some(Entry { key, size: touched.before }),
                None => return level,
            }
        }
    })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
