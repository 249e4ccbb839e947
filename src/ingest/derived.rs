//! When bars and tickers are due, and how they get onto the ring.
//!
//! Each feed has a clock: the receive stamp of its newest tick, and while none comes, what has passed
//! since. So a capture of another year closes its bars as it did then, one that is replayed as
//! fast as it goes is not judged by a clock that is slower, and a quiet market's bars close in
//! time. A symbol stands in its feed's queue with the time at which it is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{InstrumentId, Tick};

use crate::books::{InstrumentState, Room};
use crate::derive::{Bar, Series, Turn};
use crate::limits;
use crate::stats::IngestReport;

const WITHIN_NS: i64 = limits::DUE_WITHIN.as_nanos() as i64;

/// One feed's clock and queue.
#[derive(Debug, Default)]
struct Timeline {
    /// Receive time, nanoseconds since the Unix epoch.
    now_ns: i64,
    /// When it was that time, nanoseconds of the monotonic clock.
    mono_ns: u64,
    /// Soonest first. An entry may be left over from before something sooner.
    due: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Timeline {
    fn at(&self, mono_ns: u64) -> i64 {
        self.now_ns.saturating_add_unsigned(mono_ns.saturating_sub(self.mono_ns))
    }

    /// Puts a series in line, unless it stands there already for about that time, or sooner.
    fn schedule(&mut self, id: InstrumentId, series: &mut Series) {
        let Some(due_ns) = series.due() else { return };
        let due_ns = due_ns.min(self.now_ns.saturating_add(WITHIN_NS));
        if series.alarm.set(due_ns) {
            self.due.push(Reverse((due_ns, id.0)));
        }
    }
}

/// All feeds' clocks and queues.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    feeds: Vec<Timeline>,
    /// Buckets that all tickers have.
    buckets: usize,
}

impl Timelines {
    /// How many feeds there are.
    pub(super) fn feeds(&self) -> usize {
        self.feeds.len()
    }

    /// A feed's newest tick was received at `recv_ns`, which is now.
    pub(super) fn set(&mut self, feed: usize, recv_ns: u64, mono_ns: u64) {
        if feed >= self.feeds.len() {
            self.feeds.resize_with(feed + 1, Timeline::default);
        }
        let timeline = &mut self.feeds[feed];
        (timeline.now_ns, timeline.mono_ns) = (recv_ns.min(i64::MAX as u64) as i64, mono_ns);
    }

    /// A feed has been silent up to now.
    pub(super) fn pass(&mut self, feed: usize, mono_ns: u64) {
        let timeline = &mut self.feeds[feed];
        (timeline.now_ns, timeline.mono_ns) = (timeline.at(mono_ns), mono_ns);
    }

    /// How long nothing is due; `None` while nothing is at all.
    pub(super) fn rest(&self, mono_ns: u64) -> Option<Duration> {
        let rest = |timeline: &Timeline| {
            let Reverse((due_ns, _)) = timeline.due.peek()?;
            Some(due_ns.saturating_sub(timeline.at(mono_ns)).max(0) as u64)
        };
        self.feeds.iter().filter_map(rest).min().map(Duration::from_nanos)
    }

    /// Who is due by a feed's clock, and since when; taken off its queue.
    pub(super) fn next_due(&mut self, feed: usize) -> Option<(InstrumentId, i64)> {
        let timeline = &mut self.feeds[feed];
        let &Reverse((due_ns, id)) = timeline.due.peek()?;
        if due_ns > timeline.now_ns {
            return None;
        }
        timeline.due.pop();
        Some((InstrumentId(id), due_ns))
    }

    /// Entries in all queues.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.feeds.iter().map(|timeline| timeline.due.len()).sum()
    }

    /// Takes a trade into its symbol's history and series; what is to be told of it goes behind
    /// `words`.
    pub(super) fn trade(
        &mut self,
        (state, room): (&mut InstrumentState, &mut Room),
        trade: &Tick,
        feed: usize,
        words: &mut Vec<[u64; TICK_WORDS]>,
        report: &mut IngestReport,
    ) {
        let id = trade.instrument;
        let InstrumentState { series, history, demand, .. } = state;
        room.keep_trade(history, trade);
        let series = series.get_or_insert_default();
        let mut turn = Turn {
            wanted: demand.as_ref().map_or(0, |demand| demand.bits()),
            buckets: &mut self.buckets,
            late: &mut report.late_trades,
            emit: &mut |bar, seq| push(words, id, bar, seq),
            keep: &mut |bar| room.keep_bar(history, bar),
        };
        series.trade(trade, &mut turn);
        self.feeds[feed].schedule(id, series);
    }

    /// Does what is due for a symbol that was taken off the queue.
    pub(super) fn advance(
        &mut self,
        (state, room): (&mut InstrumentState, &mut Room),
        id: InstrumentId,
        due_ns: i64,
        feed: usize,
        words: &mut Vec<[u64; TICK_WORDS]>,
        report: &mut IngestReport,
    ) {
        let InstrumentState { series: Some(series), history, demand, .. } = state else { return };
        if !series.alarm.rings(due_ns) {
            return;
        }
        let mut turn = Turn {
            wanted: demand.as_ref().map_or(0, |demand| demand.bits()),
            buckets: &mut self.buckets,
            late: &mut report.late_trades,
            emit: &mut |bar, seq| push(words, id, bar, seq),
            keep: &mut |bar| room.keep_bar(history, bar),
        };
        series.advance(self.feeds[feed].now_ns, &mut turn);
        self.feeds[feed].schedule(id, series);
    }
}

fn push(words: &mut Vec<[u64; TICK_WORDS]>, id: InstrumentId, bar: &Bar, seq: u64) {
    words.extend(bar.to_ticks(id, seq).iter().map(Tick::to_words));
}
