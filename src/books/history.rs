//! The newest trades and closed bars of an instrument: what a client that has just come is shown of
//! the time before.
//!
//! Both are queues of a bounded length that grow on demand: most symbols are quiet, and 100,000 of
//! them must not cost what 100,000 busy ones would. All queues of one kind share a budget of bytes
//! ([`Room`], the ingest's own); once it is used up, a queue keeps the length that it has and
//! forgets its oldest for each new one. So nothing is allocated per tick once queues have grown.
//!
//! The ingest writes under the instrument's lock, others copy under it: [`History::trades`] and
//! [`History::bars`].

use std::collections::VecDeque;

use tickcast_feeds::{InstrumentId, Tick};

use crate::derive::{BAR_TICKS, Bar, Span};
use crate::limits;

/// How long histories may get, and how much of the budgets is left. One for all instruments.
#[derive(Clone, Debug)]
pub struct Room {
    most: usize,
    trades: usize,
    bars: [usize; Span::BARS.len()],
}

impl Room {
    /// Room for `most` trades of an instrument, and as many bars of each interval. None: there is no
    /// history.
    pub const fn new(most: usize) -> Self {
        let budget = limits::HISTORY_BYTES;
        Room { most, trades: budget, bars: [budget; Span::BARS.len()] }
    }

    /// Keeps a trade, whose sequence is above that of all before it.
    pub fn keep_trade(&mut self, history: &mut Option<Box<History>>, trade: &Tick) {
        if self.most == 0 {
            return;
        }
        let history = history.get_or_insert_default();
        if let Some(oldest) = history.trades.push(*trade, self.most, &mut self.trades) {
            history.forgotten = oldest.seq;
        }
    }

    /// Keeps a bar that is over. One of the same start as the newest is that one's revision; one of an
    /// earlier start says that the source went back in time, and replaces all from there on.
    pub fn keep_bar(&mut self, history: &mut Option<Box<History>>, bar: &Bar) {
        let Some(left) = self.bars.get_mut(bar.span as usize) else { return };
        if self.most == 0 {
            return;
        }
        let bars = &mut history.get_or_insert_default().bars[bar.span as usize];
        while bars.items.back().is_some_and(|newest| newest.start_s() >= bar.start_s) {
            bars.items.pop_back();
        }
        bars.push(Packed::new(bar), self.most, left);
    }
}

/// The newest trades and closed bars of one instrument.
#[derive(Clone, Debug, Default)]
pub struct History {
    trades: Kept<Tick>,
    bars: [Kept<Packed>; Span::BARS.len()],
    /// Sequence of the newest trade that is no longer kept; 0 where all are.
    forgotten: u64,
}

impl History {
    /// Appends the newest `count` trades whose sequence is below `before` (all, where there is
    /// none), oldest first. Returns the sequence of the trade before the first of them: what its
    /// message says as `prev`; 0 where there was none.
    pub fn trades(&self, before: Option<u64>, count: usize, out: &mut Vec<Tick>) -> u64 {
        let items = &self.trades.items;
        let end = before.map_or(items.len(), |seq| items.partition_point(|tick| tick.seq < seq));
        let start = end.saturating_sub(count);
        out.extend(items.range(start..end));
        match start.checked_sub(1) {
            Some(at) => items[at].seq,
            None => self.forgotten,
        }
    }

    /// Appends the newest `count` closed bars of an interval that begin before `before_s` (seconds
    /// since the Unix epoch; all, where there is none), oldest first. None of [`Span::Rolling`].
    pub fn bars(&self, span: Span, before_s: Option<u64>, count: usize, out: &mut Vec<Bar>) {
        let Some(Kept { items, .. }) = self.bars.get(span as usize) else { return };
        let end =
            before_s.map_or(items.len(), |at| items.partition_point(|bar| bar.start_s() < at));
        out.extend(items.range(end.saturating_sub(count)..end).filter_map(Packed::bar));
    }
}

/// A queue that grows by doubling, as far as it may.
#[derive(Clone, Debug)]
struct Kept<T> {
    items: VecDeque<T>,
    room: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { items: VecDeque::new(), room: 0 }
    }
}

impl<T> Kept<T> {
    /// Puts one at the end, and returns the oldest where that has to make room for it. `left`:
    /// bytes by which queues of this kind may still grow.
    fn push(&mut self, item: T, most: usize, left: &mut usize) -> Option<T> {
        let full = self.items.len() == self.room && !self.grow(most, left);
        let oldest = if full { self.items.pop_front() } else { None };
        self.items.push_back(item);
        oldest
    }

    /// The first room is everybody's and not charged.
    fn grow(&mut self, most: usize, left: &mut usize) -> bool {
        let wanted = (self.room * 2).max(limits::HISTORY_FIRST).min(most);
        let cost = if self.room == 0 { 0 } else { (wanted - self.room) * size_of::<T>() };
        if wanted == self.room || cost > *left {
            return false;
        }
        *left -= cost;
        self.items.reserve_exact(wanted - self.items.len());
        self.room = wanted;
        true
    }
}

/// A bar in the words of its ticks, without what these say three times.
#[derive(Clone, Copy, Debug)]
struct Packed {
    payloads: [[u64; 4]; BAR_TICKS],
    exponents: [[i8; 2]; BAR_TICKS],
    event_ns: u64,
    recv_ns: u64,
}

const _: () = assert!(size_of::<Packed>() == 120);

impl Packed {
    fn new(bar: &Bar) -> Self {
        let ticks = bar.to_ticks(InstrumentId(0), 0);
        Packed {
            payloads: ticks.map(|tick| tick.payload),
            exponents: ticks.map(|tick| [tick.price_exp, tick.size_exp]),
            event_ns: bar.event_ns,
            recv_ns: bar.recv_ns,
        }
    }

    fn start_s(&self) -> u64 {
        Bar::start_of(self.payloads[BAR_TICKS - 1])
    }

    fn bar(&self) -> Option<Bar> {
        let mut ticks = [Bar::blank_tick(self.event_ns, self.recv_ns); BAR_TICKS];
        for (at, tick) in ticks.iter_mut().enumerate() {
            tick.payload = self.payloads[at];
            [tick.price_exp, tick.size_exp] = self.exponents[at];
        }
        Bar::from_ticks(&ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::bar::Deal;
    use tickcast_feeds::{Decimal, Side, Stamp, Trade};

    fn trade(seq: u64) -> Tick {
        let (price, size) = (Decimal::new(seq as i64, -2), Decimal::new(1, 0));
        let trade = Trade { price, size, id: seq, side: Side::Sell };
        Tick::trade(InstrumentId(0), Stamp { event: seq, recv: seq, seq }, &trade)
    }

    fn bar(span: Span, start_s: u64, price: u64) -> Bar {
        let mut bar = Bar::new(span, start_s, &Deal::new(&trade(price)));
        (bar.is_final, bar.event_ns, bar.recv_ns) = (true, start_s, start_s + 1);
        bar
    }

    /// Sequences of the trades, and the one before them.
    fn seqs(history: &History, before: Option<u64>, count: usize) -> (Vec<u64>, u64) {
        let mut out = Vec::new();
        let prev = history.trades(before, count, &mut out);
        (out.iter().map(|tick| tick.seq).collect(), prev)
    }

    fn starts(history: &History, span: Span, before_s: Option<u64>, count: usize) -> Vec<u64> {
        let mut out = Vec::new();
        history.bars(span, before_s, count, &mut out);
        out.iter().map(|bar| bar.start_s).collect()
    }

    #[test]
    fn the_newest_trades_are_kept_and_linked() {
        let (mut room, mut history) = (Room::new(20), None);
        (1..=5).for_each(|at| room.keep_trade(&mut history, &trade(at * 10)));
        let all = history.as_deref().unwrap();
        assert_eq!(seqs(all, None, 100), (vec![10, 20, 30, 40, 50], 0));
        assert_eq!(seqs(all, None, 2), (vec![40, 50], 30));
        assert_eq!(seqs(all, Some(40), 2), (vec![20, 30], 10));
        assert_eq!(seqs(all, Some(35), 2), (vec![20, 30], 10));
        assert_eq!(seqs(all, Some(10), 2), (vec![], 0));
        assert_eq!(seqs(all, None, 0), (vec![], 50));
        (6..=100).for_each(|at| room.keep_trade(&mut history, &trade(at * 10)));
        let all = history.as_deref().unwrap();
        let (kept, prev) = seqs(all, None, 100);
        assert_eq!((kept.len(), kept[0], kept[19], prev), (20, 810, 1000, 800));
        assert_eq!(seqs(all, Some(810), 100), (vec![], 800));
        let mut out = Vec::new();
        all.trades(Some(820), 1, &mut out);
        assert_eq!(out, [trade(810)]);
    }

    #[test]
    fn bars_come_back_as_they_were() {
        let (mut room, mut history) = (Room::new(20), None);
        let bars = [bar(Span::Minute, 60, 7), bar(Span::Minute, 120, 8), bar(Span::Hour, 3600, 9)];
        bars.iter().for_each(|bar| room.keep_bar(&mut history, bar));
        let mut out = Vec::new();
        history.as_ref().unwrap().bars(Span::Minute, None, 100, &mut out);
        history.as_ref().unwrap().bars(Span::Hour, None, 100, &mut out);
        assert_eq!(out, bars);
        // What is not between two whole times has no history.
        room.keep_bar(&mut history, &bar(Span::Rolling, 60, 7));
        assert!(starts(history.as_ref().unwrap(), Span::Rolling, None, 9).is_empty());
    }

    #[test]
    fn a_revision_replaces_and_a_source_that_went_back_starts_over() {
        let (mut room, mut history) = (Room::new(4), None);
        (1..=6).for_each(|at| room.keep_bar(&mut history, &bar(Span::Second, at * 2, at)));
        let revised = Bar { revision: 1, trades: 2, ..bar(Span::Second, 12, 6) };
        room.keep_bar(&mut history, &revised);
        let all = history.as_ref().unwrap();
        assert_eq!(starts(all, Span::Second, None, 100), [6, 8, 10, 12]);
        assert_eq!(starts(all, Span::Second, Some(10), 1), [8]);
        assert_eq!(starts(all, Span::Second, Some(6), 1), [0; 0]);
        let mut out = Vec::new();
        all.bars(Span::Second, None, 1, &mut out);
        assert_eq!(out, [revised]);
        room.keep_bar(&mut history, &bar(Span::Second, 9, 1));
        assert_eq!(starts(history.as_ref().unwrap(), Span::Second, None, 100), [6, 8, 9]);
    }

    #[test]
    fn without_room_there_is_no_history() {
        let (mut room, mut history) = (Room::new(0), None);
        room.keep_trade(&mut history, &trade(1));
        room.keep_bar(&mut history, &bar(Span::Second, 1, 1));
        assert!(history.is_none());
    }

    #[test]
    fn the_budget_bounds_what_all_take_and_leaves_everybody_some() {
        let mut room = Room { trades: 100 * size_of::<Tick>(), ..Room::new(64) };
        let mut all: Vec<Option<Box<History>>> = vec![None; 10];
        for seq in 1..=200 {
            all.iter_mut().for_each(|history| room.keep_trade(history, &trade(seq)));
        }
        let lens: Vec<usize> =
            all.iter().map(|history| seqs(history.as_ref().unwrap(), None, 999).0.len()).collect();
        let first = limits::HISTORY_FIRST;
        assert!(lens.iter().all(|len| (first..=64).contains(len)), "{lens:?}");
        assert!(lens.iter().sum::<usize>() <= 100 + 10 * first, "{lens:?}");
        assert!(lens.iter().sum::<usize>() > 10 * first, "{lens:?}");
        // Each has its own newest.
        all.iter().for_each(|h| assert_eq!(seqs(h.as_ref().unwrap(), None, 1).0, [200]));
    }
}
