//! Keeps one book's events in an unbroken chain, from a snapshot on.
//!
//! Venues come in three kinds, and each has its way in:
//! - Diffs are numbered, the snapshot is fetched ([`BookSync::snapshot`], [`BookSync::diff`]). The
//!   procedure is Binance's, "How to manage a local order book correctly":
//!   <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly>.
//!   What comes out is a snapshot with the update id `L`, then diffs of which the first has
//!   `U <= L+1 <= u` and every later one reaches back to the end of the one before it.
//! - Diffs are numbered, the snapshot comes in the stream ([`BookSync::start`],
//!   [`BookSync::diff`]): Bybit, OKX.
//! - Diffs have no numbers ([`BookSync::start`], [`BookSync::follow`]): Coinbase, Kraken. Then
//!   one connection owns the book, for two that are interleaved would go back and forth.
//!
//! Invariant: no diff is put whose predecessors are not all in the book.

use std::collections::VecDeque;

use crate::abreast::Abreast;
use crate::instrument::InstrumentId;
use crate::sink::Sink;
use crate::tick::{FeedState, Stamp, Status, Tick};

/// How many ticks of diffs wait for a snapshot, at most: 1 MiB per instrument, and about a minute
/// of Binance's busiest book (some 30 levels every 100 ms). Older diffs make room for newer ones; the snapshot must then be newer too.
pub const MAX_WAITING_TICKS: usize = 16_384;

/// How long a diff waits for a snapshot, at most, nanoseconds: as long as a request for one may
/// take. Thousands of books that have to wait for minutes until they may be asked for then hold half
/// a minute of what the venue sends, and not all of it.
pub const MAX_WAITING_NS: u64 = 30_000_000_000;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was put (a snapshot: with the diffs that had waited for it).
    Applied,
    /// It waits for a snapshot, or for another connection to bring what comes before it.
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
    /// Whether a connection is to carry this book: until it does, somebody must get a snapshot.
    expected: bool,
    /// Snapshots put since then.
    snapshots: u32,
    /// The connection whose unnumbered diffs are taken.
    owner: Option<u16>,
    /// The connections that bring numbered diffs.
    lines: Abreast,
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
    /// It was, when the last connection that carried it went. What comes next tells whether
    /// something is missing.
    Suspended,
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

    /// The last update id of the book, or of the newest partial one; 0 where there is none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether somebody must get a snapshot: diffs wait for it, the chain broke, or a connection
    /// carries the book ([`BookSync::expect`]) and none has come.
    pub fn wants_snapshot(&self) -> bool {
        match self.state {
            State::Live => false,
            State::Resync => true,
            State::Fresh | State::Suspended => self.expected || !self.waiting.is_empty(),
        }
    }

    /// How many snapshots were put since a connection was to carry this book.
    pub fn snapshots(&self) -> u32 {
        self.snapshots
    }

    /// Whether there is or was a book that is not complete now, or one is expected.
    pub fn is_pending(&self) -> bool {
        match self.state {
            State::Live => false,
            State::Suspended | State::Resync => true,
            State::Fresh => self.wants_snapshot(),
        }
    }

    /// A connection carries this book from here on.
    pub fn expect(&mut self) {
        (self.expected, self.snapshots) = (true, 0);
    }

    /// Nobody carries the book any more: it is stale, and whether it can be gone on with will show.
    pub fn suspend(&mut self, instrument: InstrumentId, recv_ns: u64, sink: &mut dyn Sink) {
        if self.state == State::Live {
            self.state = State::Suspended;
        }
        // What waited leads to nothing that comes: the venue may even count anew.
        self.forget_waiting();
        if self.state == State::Fresh {
            // A partial book was shown, if there was one.
            self.floor = self.last;
        }
        (self.expected, self.owner) = (false, None);
        put_state(instrument, Stamp { recv: recv_ns, ..Stamp::default() }, FeedState::Stale, sink);
    }

    /// The book is found to be wrong (a checksum, a crossed book), or its owner is gone: it is
    /// worth nothing until the next snapshot.
    pub fn discard(&mut self, instrument: InstrumentId, recv_ns: u64, sink: &mut dyn Sink) {
        if matches!(self.state, State::Live | State::Suspended) {
            let stamp = Stamp { recv: recv_ns, ..Stamp::default() };
            put_state(instrument, stamp, FeedState::Resync, sink);
        }
        self.state = State::Resync;
        self.owner = None;
        self.lines.settle();
        self.forget_waiting();
    }

    /// Whether this connection alone carries the book.
    pub fn is_owned_by(&self, link: u16) -> bool {
        self.owner == Some(link)
    }

    /// Whether another connection than this one carries the book alone.
    pub(crate) fn is_owned_but_by(&self, link: u16) -> bool {
        self.owner.is_some_and(|owner| owner != link)
    }

    /// Whether a connection carries the book alone.
    pub fn has_owner(&self) -> bool {
        self.owner.is_some()
    }

    /// The book stands, and another connection is to carry it on; `None` where none is found yet.
    pub fn set_owner(&mut self, owner: Option<u16>) {
        self.owner = owner;
    }

    /// Takes a snapshot that came in the stream: a new chain begins, whatever was before. `last` is
    /// its update id, 0 where the venue has none; then `owner` is the connection that it came on,
    /// and only that one's diffs are taken.
    pub fn start(
        &mut self,
        owner: Option<u16>,
        last: u64,
        event: &[Tick],
        sink: &mut dyn Sink,
    ) -> Step {
        let was_live = self.state == State::Live;
        self.snapshots = self.snapshots.saturating_add(1);
        put(event, sink);
        (self.state, self.last, self.owner, self.floor) = (State::Live, last, owner, 0);
        self.put_waiting(sink);
        if !was_live {
            put_status(event, FeedState::Live, sink);
        }
        Step::Applied
    }

    /// Takes a diff without numbers, if the connection owns the book.
    pub fn follow(&mut self, link: u16, event: &[Tick], sink: &mut dyn Sink) -> Step {
        if self.owner != Some(link) {
            return if self.owner.is_some() { Step::Duplicate } else { Step::Waiting };
        }
        put(event, sink);
        Step::Applied
    }

    /// The same as [`diff`](Self::diff), which came over the connection `link`.
    ///
    /// One that is ahead of the book is no gap as long as another connection, which has brought
    /// less, may still bring what lies between: a younger connection takes over from a slower one.
    pub fn diff_via(
        &mut self,
        link: u16,
        first: u64,
        last: u64,
        event: &[Tick],
        sink: &mut dyn Sink,
    ) -> Step {
        self.lines.note(link, last);
        if self.state == State::Live
            && first > self.last.saturating_add(1)
            && self.lines.may_wait(self.last, event.first().map_or(0, |tick| tick.ts_recv))
        {
            return self.wait(first, last, event);
        }
        self.diff(first, last, event, sink)
    }

    /// A connection is gone: where diffs wait for what it might have brought, the chain is broken.
    pub fn forget(
        &mut self,
        link: u16,
        instrument: InstrumentId,
        recv_ns: u64,
        sink: &mut dyn Sink,
    ) {
        self.lines.forget(link);
        let waits = self.state == State::Live && !self.waiting.is_empty();
        if waits && !self.lines.is_one_behind(self.last) {
            self.state = State::Resync;
            self.lines.settle();
            let stamp = Stamp { recv: recv_ns, ..Stamp::default() };
            put_state(instrument, stamp, FeedState::Resync, sink);
        }
    }

    /// Takes a diff that covers the update ids `first..=last`. `event` is its ticks, at least one.
    ///
    /// A diff that overlaps the end of the chain is put whole: its levels are totals as of
    /// `last`, and after a reconnect the venue cuts its batches at other ids.
    pub fn diff(&mut self, first: u64, last: u64, event: &[Tick], sink: &mut dyn Sink) -> Step {
        if matches!(self.state, State::Fresh | State::Resync) {
            return self.wait(first, last, event);
        }
        if last <= self.last {
            return Step::Duplicate;
        }
        if first > self.last.saturating_add(1) {
            self.state = State::Resync;
            self.lines.settle();
            put_status(event, FeedState::Resync, sink);
            self.wait(first, last, event);
            return Step::Gap;
        }
        self.last = last;
        put(event, sink);
        if self.state == State::Suspended {
            self.state = State::Live;
            put_status(event, FeedState::Live, sink);
        }
        if !self.waiting.is_empty() {
            self.go_on(sink);
        }
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
            self.go_on(sink);
            return Step::Applied;
        }
        if self.state == State::Suspended && last < self.last {
            // Fetched after the book was last heard of, and older: the venue counts anew.
            let (id, recv) =
                event.first().map_or_else(Default::default, |t| (t.instrument, t.ts_recv));
            self.discard(id, recv, sink);
            return Step::TooOld;
        }
        if last < self.floor {
            return Step::TooOld;
        }
        put(event, sink);
        self.last = last;
        self.state = State::Live;
        self.snapshots = self.snapshots.saturating_add(1);
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
        let now = event.first().map_or(0, |tick| tick.ts_recv);
        let is_over = |oldest: &Tick| oldest.ts_recv.saturating_add(MAX_WAITING_NS) < now;
        while self.ticks.len() > MAX_WAITING_TICKS || self.ticks.front().is_some_and(is_over) {
            self.drop_oldest();
        }
        Step::Waiting
    }

    fn forget_waiting(&mut self) {
        self.floor = 0;
        self.waiting = VecDeque::new();
        self.ticks = VecDeque::new();
    }

    /// Makes room; a snapshot must now hold what is dropped.
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.ticks.drain(..oldest.len);
            self.floor = self.floor.max(oldest.last);
        }
    }

    /// Puts the waiting diffs that the snapshot just put does not hold. Those that do not follow it
    /// (never after a fetched one: the floor sees to that) are of a chain that has ended.
    fn put_waiting(&mut self, sink: &mut dyn Sink) {
        self.go_on(sink);
        self.waiting = VecDeque::new();
        self.ticks = VecDeque::new();
        self.lines.settle();
    }

    /// Puts the waiting diffs that follow the book.
    fn go_on(&mut self, sink: &mut dyn Sink) {
        while let Some(diff) = self.waiting.front()
            && diff.first <= self.last.saturating_add(1)
        {
            let event = self.ticks.drain(..diff.len);
            if diff.last > self.last {
                self.last = diff.last;
                event.for_each(|tick| sink.put(&tick));
            }
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.ticks = VecDeque::new();
            self.lines.settle();
        }
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
    put_state(instrument, stamp, state, sink);
}

/// Puts a state of an instrument's feed.
pub(crate) fn put_state(
    instrument: InstrumentId,
    stamp: Stamp,
    state: FeedState,
    sink: &mut dyn Sink,
) {
    sink.put(&Tick::status(instrument, stamp, Status { state, age_ms: 0 }));
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
