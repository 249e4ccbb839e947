//! Messages whose numbers follow each other one by one, over one connection or several: trades.

use std::collections::VecDeque;

use crate::abreast::Abreast;
use crate::sink::Sink;
use crate::tick::Tick;

/// Ticks that wait for a slower connection, at most: more trades than any symbol has in the second
/// that they may wait.
const MAX_HELD: usize = 4_096;

/// One symbol's trades, each put once and in order.
///
/// A number that leaves some out is put at once where nobody can bring them; while a connection
/// that is behind may, it waits ([`Abreast`]).
#[derive(Debug, Default)]
pub(super) struct Serial {
    last: Option<u64>,
    lines: Abreast,
    held: VecDeque<(u64, Tick)>,
}

impl Serial {
    /// Takes the tick with this number; false for one that was put before.
    pub(super) fn take(
        &mut self,
        link: u16,
        number: u64,
        tick: &Tick,
        sink: &mut dyn Sink,
    ) -> bool {
        self.lines.note(link, number);
        let Some(last) = self.last else {
            self.put(number, tick, sink);
            return true;
        };
        if number <= last {
            return false;
        }
        if number > last + 1 {
            if self.held.len() < MAX_HELD && self.lines.may_wait(last, tick.ts_recv) {
                let is_new = self.held.back().is_none_or(|(newest, _)| number > *newest);
                if is_new {
                    self.held.push_back((number, *tick));
                }
                return is_new;
            }
            self.release(|_, _| true, sink);
            if self.last.is_some_and(|last| number <= last) {
                return false;
            }
        }
        self.put(number, tick, sink);
        if !self.held.is_empty() {
            self.release(|number, last| number <= last + 1, sink);
        }
        true
    }

    /// Everything up to this number was put by other means.
    pub(super) fn skip(&mut self, number: u64) {
        self.last = self.last.max(Some(number));
    }

    /// A connection is gone: what waited for it alone is put.
    pub(super) fn forget(&mut self, link: u16, sink: &mut dyn Sink) {
        self.lines.forget(link);
        let last = self.last.unwrap_or_default();
        if !self.held.is_empty() && !self.lines.is_one_behind(last) {
            self.release(|_, _| true, sink);
        }
    }

    fn put(&mut self, number: u64, tick: &Tick, sink: &mut dyn Sink) {
        self.last = Some(number);
        sink.put(tick);
    }

    /// Puts what waits, as long as its number and the last one put are right.
    fn release(&mut self, is_due: impl Fn(u64, u64) -> bool, sink: &mut dyn Sink) {
        while let Some(&(number, tick)) = self.held.front()
            && is_due(number, self.last.unwrap_or_default())
        {
            self.held.pop_front();
            if self.last.is_none_or(|last| number > last) {
                self.put(number, &tick, sink);
            }
        }
        if self.held.is_empty() {
            self.held = VecDeque::new();
            self.lines.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abreast::CATCH_UP_NS;
    use crate::decimal::Decimal;
    use crate::instrument::InstrumentId;
    use crate::sink::VecSink;
    use crate::tick::{Side, Stamp, Trade};

    struct Run {
        trades: Serial,
        sink: VecSink,
    }

    impl Run {
        fn hear(&mut self, now: u64, link: u16, number: u64) -> bool {
            let stamp = Stamp { event: now, recv: now, seq: number };
            let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
            let trade = Trade { price, size, id: number, side: Side::Buy };
            let tick = Tick::trade(InstrumentId(0), stamp, &trade);
            self.trades.take(link, number, &tick, &mut self.sink)
        }

        fn seqs(&self) -> Vec<u64> {
            self.sink.ticks.iter().map(|tick| tick.seq).collect()
        }
    }

    fn begin() -> Run {
        Run { trades: Serial::default(), sink: VecSink::default() }
    }

    #[test]
    fn one_connection_waits_for_nobody() {
        let mut run = begin();
        for number in [5, 6, 9, 10] {
            assert!(run.hear(1, 0, number));
        }
        assert!(!run.hear(1, 0, 9));
        assert_eq!(run.seqs(), [5, 6, 9, 10]);
    }

    #[test]
    fn what_a_faster_connection_left_out_comes_over_the_slower_one() {
        let mut run = begin();
        run.hear(1, 0, 5);
        for number in [8, 9] {
            assert!(run.hear(2, 1, number));
        }
        assert_eq!(run.seqs(), [5]);
        assert!(run.hear(3, 0, 6) && run.hear(3, 0, 7));
        assert_eq!(run.seqs(), [5, 6, 7, 8, 9]);
        // Of both; then the faster one is gone on with, also over a number that is missing on both.
        assert!(!run.hear(3, 0, 8) && !run.hear(3, 0, 9));
        assert!(run.hear(4, 1, 10) && run.hear(4, 1, 12));
        assert!(!run.hear(5, 0, 10) && !run.hear(5, 0, 12));
        assert_eq!(run.seqs(), [5, 6, 7, 8, 9, 10, 12]);
    }

    #[test]
    fn nobody_waits_for_long_nor_for_what_is_gone() {
        let mut run = begin();
        run.hear(1, 0, 5);
        run.hear(2, 1, 8);
        assert!(run.hear(1 + CATCH_UP_NS, 1, 9));
        assert_eq!(run.seqs(), [5]);
        assert!(run.hear(2 + CATCH_UP_NS, 1, 10));
        assert_eq!(run.seqs(), [5, 8, 9, 10]);
        assert!(!run.hear(2 + CATCH_UP_NS, 0, 6), "too late");
        run.hear(3 + CATCH_UP_NS, 1, 20);
        run.trades.forget(7, &mut run.sink);
        assert_eq!(run.seqs(), [5, 8, 9, 10]);
        run.trades.forget(0, &mut run.sink);
        assert_eq!(run.seqs(), [5, 8, 9, 10, 20]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut run = begin();
        run.hear(1, 0, 1);
        for number in 10..11 + MAX_HELD as u64 {
            run.hear(2, 1, number);
        }
        assert_eq!(run.seqs().len(), MAX_HELD + 2);
    }
}
