//! Keeps one book's events in an unbroken chain, from a snapshot on.
//!
//! The procedure is Binance's, "How to manage a local order book correctly":
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly>.
//! What comes out is always a snapshot with the update id `L`, then diffs of which the first has
//! `U <= L+1 <= u` and every later one reaches back to the end of the one before it.
//!
//! Invariant: no diff is put whose predecessors are not all in the book.

use std::collections::VecDeque;

use crate::instrument::InstrumentId;
use crate::sink::Sink;
use crate::tick::{FeedState, Stamp, Status, Tick};

/// How many ticks of diffs wait for a snapshot, at most: 1 MiB per instrument, and about a minute
/// of Binance's busiest book (some 30 levels every 100 ms), longer than any snapshot takes to be
/// fetched. Older diffs make room for newer ones; the snapshot must then be newer too.
pub const MAX_WAITING_TICKS: usize = 16_384;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was put (a snapshot: with the diffs that had waited for it).
    Applied,
    /// It waits for a snapshot.
    Waiting,
    /// The book already holds all of it; dropped.
    Duplicate,
    /// It does not follow what came before. The book is broken: a status was put, and the event
    /// waits for a snapshot.
    Gap,
    /// A snapshot that ends before the waiting diffs begin; a newer one is needed.
    TooOld,
}

/// The chain of one instrument's book.
#[derive(Debug, Default)]
pub struct BookSync {
    state: State,
    /// The last update id put: of the chain when live, else of the newest partial book.
    last: u64,
    /// While waiting: a snapshot must reach at least to here.
    floor: u64,
    waiting: VecDeque<Diff>,
    ticks: VecDeque<Tick>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No snapshot yet.
    #[default]
    Fresh,
    /// The book is complete up to `last`.
    Live,
    /// The chain broke after a snapshot.
    Resync,
}

/// A diff that waits: its update ids, and how many of the waiting ticks are its.
#[derive(Clone, Copy, Debug)]
struct Diff {
    first: u64,
    last: u64,
    len: usize,
}

impl BookSync {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything: the source starts over, and its ids may go back.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Whether the book is complete: a snapshot was put and no gap has come since.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether diffs wait for a snapshot that somebody must fetch.
    pub fn wants_snapshot(&self) -> bool {
        !self.waiting.is_empty() || self.state == State::Resync
    }

    /// Takes a diff that covers the update ids `first..=last`. `event` is its ticks, at least one.
    ///
    /// A diff that overlaps the end of the chain is put whole: its levels are totals as of
    /// `last`, and after a reconnect the venue cuts its batches at other ids.
    pub fn diff(&mut self, first: u64, last: u64, event: &[Tick], sink: &mut dyn Sink) -> Step {
        if self.state != State::Live {
            return self.wait(first, last, event);
        }
        if last <= self.last {
            return Step::Duplicate;
        }
        if first > self.last.saturating_add(1) {
            self.state = State::Resync;
            put_status(event, FeedState::Resync, sink);
            self.wait(first, last, event);
            return Step::Gap;
        }
        self.last = last;
        put(event, sink);
        Step::Applied
    }

    /// Takes a full snapshot as of the update id `last`. `event` is its ticks, at least one.
    ///
    /// While live it is put only if it is newer than the book, and the chain goes on from it.
    pub fn snapshot(&mut self, last: u64, event: &[Tick], sink: &mut dyn Sink) -> Step {
        if self.state == State::Live {
            if last <= self.last {
                return Step::Duplicate;
            }
            self.last = last;
            put(event, sink);
            return Step::Applied;
        }
        if last < self.floor {
            return Step::TooOld;
        }
        put(event, sink);
        self.last = last;
        self.state = State::Live;
        self.put_waiting(sink);
        // Last, so that whoever acts on it finds the book as new as it can be.
        put_status(event, FeedState::Live, sink);
        Step::Applied
    }

    /// Takes a partial book (the best levels only) as of the update id `last`.
    ///
    /// It stands for the book as long as no snapshot has started the chain of diffs; after that
    /// it would cut the book down, and is dropped as a [`Step::Duplicate`].
    pub fn partial(&mut self, last: u64, event: &[Tick], sink: &mut dyn Sink) -> Step {
        if self.state != State::Fresh || (last <= self.last && self.last != 0) {
            return Step::Duplicate;
        }
        let is_first = self.last == 0;
        self.last = last;
        // The chain must not start before what was already shown.
        self.floor = self.floor.max(last);
        put(event, sink);
        if is_first {
            put_status(event, FeedState::Live, sink);
        }
        Step::Applied
    }

    fn wait(&mut self, first: u64, last: u64, event: &[Tick]) -> Step {
        if let Some(newest) = self.waiting.back() {
            if last <= newest.last {
                return Step::Duplicate;
            }
            if first > newest.last.saturating_add(1) {
                // A snapshot that bridges this gap holds all of the diffs before it.
                self.waiting.clear();
                self.ticks.clear();
            }
        }
        if self.waiting.is_empty() {
            self.floor = self.floor.max(first.saturating_sub(1));
        }
        self.waiting.push_back(Diff { first, last, len: event.len() });
        self.ticks.extend(event);
        while self.ticks.len() > MAX_WAITING_TICKS {
            self.drop_oldest();
        }
        Step::Waiting
    }

    /// Makes room; a snapshot must now hold what is dropped.
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.ticks.drain(..oldest.len);
            self.floor = self.floor.max(oldest.last);
        }
    }

    /// Puts the waiting diffs that the snapshot just put does not hold.
    fn put_waiting(&mut self, sink: &mut dyn Sink) {
        for diff in std::mem::take(&mut self.waiting) {
            let event = self.ticks.drain(..diff.len);
            if diff.last <= self.last {
                continue;
            }
            debug_assert!(diff.first <= self.last + 1, "the floor and the queue allow no gap");
            self.last = diff.last;
            event.for_each(|tick| sink.put(&tick));
        }
        self.ticks = VecDeque::new();
    }
}

fn put(event: &[Tick], sink: &mut dyn Sink) {
    for tick in event {
        sink.put(tick);
    }
}

/// Puts a state of the feed, with the stamps of the event that brought it about.
fn put_status(event: &[Tick], state: FeedState, sink: &mut dyn Sink) {
    let (instrument, stamp) =
        event.first().map_or((InstrumentId::default(), Stamp::default()), |tick| {
            (tick.instrument, Stamp { event: tick.ts_event, recv: tick.ts_recv, seq: 0 })
        });
    sink.put(&Tick::status(instrument, stamp, Status { state, age_ms: 0 }));
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
