//! Traces of single ticks through the server: when each stage had one, of a sample.
//!
//! A tick is known by its position on the ring, so ingest and reactors agree on the sample without a word
//! in the tick. While nothing is sampled, nothing of this is done; the path of a tick has a comparison with
//! a number that it never is.

pub(crate) mod otlp;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;
use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{Kind, Tick};

use crate::limits;

/// What all threads share of it.
#[derive(Debug)]
pub(crate) struct Traces {
    /// One tick of so many; 0 for none.
    every: u64,
    noted: Mutex<VecDeque<Noted>>,
    /// Those on their way to a collector, where there is one.
    outbox: Option<ArrayQueue<Trace>>,
    /// Traces that came to their end; of these, those that a collector took, and those that it did not.
    pub(crate) made: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// A batch with a sampled tick in it, as the ingest saw it. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// Positions on the ring: from there on, up to there.
    from: u64,
    to: u64,
    taken_ns: u64,
    ring_ns: u64,
}

/// A tick's way through one reactor, and to it. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) reactor: usize,
    pub(crate) symbol: String,
    pub(crate) kind: &'static str,
    pub(crate) position: u64,
    pub(crate) seq: u64,
    /// When it happened by the venue's clock; 0 where that is not said.
    pub(crate) event_ns: u64,
    pub(crate) recv_ns: u64,
    /// The ingest took it, and put it on the ring; unknown where too many were sampled meanwhile.
    pub(crate) ingest: Option<(u64, u64)>,
    /// The reactor took it from there, and had encoded it.
    pub(crate) read_ns: u64,
    pub(crate) encoded_ns: u64,
    /// Messages that it was encoded as, and outboxes that they were put into.
    pub(crate) messages: u64,
    pub(crate) recipients: u64,
    /// The first and the last write that carried it, and how many there were.
    pub(crate) writes: Option<(u64, u64)>,
    pub(crate) written: u64,
    /// Clients whose socket did not take it at once.
    pub(crate) blocked: u64,
}

impl Traces {
    /// One tick of `every`, none for 0; with `kept`, they wait for a collector.
    pub(crate) fn new(every: u64, kept: bool) -> Self {
        Traces {
            every,
            noted: Mutex::default(),
            outbox: (kept && every > 0).then(|| ArrayQueue::new(limits::TRACES_WAITING)),
            made: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.every > 0
    }

    /// Which of these ticks, the first of which is at `position`, is in the sample; at most one. Of a book's
    /// event it is the last, which is what is told.
    pub(crate) fn pick(&self, position: u64, words: &[[u64; TICK_WORDS]]) -> Option<usize> {
        if self.every == 0 {
            return None;
        }
        let first = (position.next_multiple_of(self.every) - position) as usize;
        let mut rest = words.get(first..)?.iter();
        rest.position(|words| Tick::from_words(*words).has(flags::LAST)).map(|at| first + at)
    }

    /// Notes that the ingest puts a batch on the ring now, if one of its ticks is in the sample.
    pub(crate) fn note(&self, from: u64, to: u64, taken_ns: u64) {
        if self.every == 0 || from.next_multiple_of(self.every) >= to {
            return;
        }
        // Never waited for: a reactor may have been put off its core in the middle of a look.
        let Some(mut noted) = self.noted.try_lock() else { return };
        if noted.len() == limits::TRACES_NOTED {
            noted.pop_front();
        }
        noted.push_back(Noted { from, to, taken_ns, ring_ns: crate::clock::real_ns() });
    }

    /// When the ingest took what is there, and when it was on the ring.
    pub(crate) fn ingest(&self, position: u64) -> Option<(u64, u64)> {
        let noted = self.noted.lock();
        let found = noted.iter().rev().find(|one| (one.from..one.to).contains(&position))?;
        Some((found.taken_ns, found.ring_ns))
    }

    /// A trace has come to its end.
    pub(crate) fn finished(&self, trace: Trace) {
        self.made.fetch_add(1, Ordering::Relaxed);
        trace.log();
        if let Some(outbox) = &self.outbox
            && outbox.push(trace).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Traces for a collector, at most so many.
    fn take(&self, most: usize) -> Vec<Trace> {
        let outbox = self.outbox.iter();
        outbox.flat_map(|outbox| std::iter::from_fn(|| outbox.pop())).take(most).collect()
    }
}

impl Trace {
    /// One line of the log: microseconds since the tick was received.
    fn log(&self) {
        let since = |ns: u64| (ns as i64 - self.recv_ns as i64) / 1_000;
        let (ingest, ring) = self.ingest.unzip();
        let (first, last) = self.writes.unzip();
        tracing::info!(
            target: "trace",
            reactor = self.reactor,
            symbol = self.symbol,
            kind = self.kind,
            seq = self.seq,
            event_us = (self.event_ns > 0).then(|| since(self.event_ns)),
            ingest_us = ingest.map(since),
            ring_us = ring.map(since),
            reactor_us = since(self.read_ns),
            encoded_us = since(self.encoded_ns),
            first_write_us = first.map(since),
            last_write_us = last.map(since),
            messages = self.messages,
            recipients = self.recipients,
            writes = self.written,
            blocked = self.blocked,
            "tick"
        );
    }
}

/// The word for a kind of tick.
pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Trade => "trade",
        Kind::Quote => "quote",
        Kind::Level => "book",
        Kind::Status => "status",
        Kind::Cut => "cut",
        Kind::Bar => "bar",
    }
}

#[cfg(test)]
mod tests {
    use tickcast_feeds::InstrumentId;
    use tickcast_feeds::tick::Stamp;

    use super::*;

    fn words(ends: &[bool]) -> Vec<[u64; TICK_WORDS]> {
        let word = |end: &bool| {
            let id = InstrumentId(0);
            let mut tick = Tick::cut(id, Stamp::default());
            if !end {
                tick.flags &= !flags::LAST;
            }
            tick.to_words()
        };
        ends.iter().map(word).collect()
    }

    #[test]
    fn one_of_so_many_is_picked_and_of_an_event_its_end() {
        let traces = Traces::new(10, false);
        let all = words(&[true; 8]);
        assert_eq!(traces.pick(0, &all), Some(0));
        assert_eq!(traces.pick(1, &all), None, "1 to 8");
        assert_eq!(traces.pick(3, &all), Some(7));
        assert_eq!(traces.pick(10, &words(&[false, false, true, true])), Some(2));
        assert_eq!(traces.pick(10, &words(&[false, false])), None);
        assert_eq!(Traces::new(0, true).pick(0, &all), None);
        let every = Traces::new(1, false);
        assert_eq!(every.pick(7, &words(&[false, true])), Some(1));
    }

    #[test]
    fn the_ingest_is_found_by_the_position_while_it_is_noted() {
        let traces = Traces::new(100, false);
        traces.note(0, 100, 5);
        traces.note(101, 200, 6);
        traces.note(150, 301, 7);
        assert_eq!(traces.ingest(99).map(|(taken, _)| taken), Some(5));
        assert_eq!(traces.ingest(100), None, "nobody noted it");
        assert_eq!(traces.ingest(150).map(|(taken, _)| taken), Some(7));
        assert_eq!(traces.ingest(301), None);
        for batch in 1..=limits::TRACES_NOTED as u64 {
            traces.note(batch * 1_000, batch * 1_000 + 1, batch);
        }
        assert_eq!(traces.ingest(99), None, "too many since");
        assert!(traces.ingest(1_000).is_some());
    }
}
