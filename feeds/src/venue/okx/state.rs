//! What is kept per symbol: what tells new from repeated, and the chain of the book.
//!
//! An update follows the message whose `seqId` is its `prevSeqId`. The numbers are the same on every
//! connection, so the copies that two of them bring are told by them. Two things need more:
//! - When nothing changes for about 60 s, an update without levels repeats the last `seqId` as
//!   both. One that repeats another than the book's is a sign that something is missing.
//! - After maintenance the numbers start over: an update whose `seqId` is below its `prevSeqId`.
//!   From there on a number alone does not tell old from new. What is older by its `ts` ("order
//!   book generation time") than the newest message taken is a late copy; so is a newer one with a
//!   low number if it follows the last message of its own connection, which is then just behind.
//!   If it does not, its connection has lost something, which may have been a reset: a gap.
//!
//! A connection is taken to deliver in the order in which it was sent to, as TCP does: a message
//! that overtakes others there, while a second connection lags behind a reset, and numbers of
//! before and after it meet, could be taken for another.
//!
//! `bbo-tbt`, `books5` and `trades` have no chain: what is lost is not noticed. A lower number is a
//! late copy unless its time is [`SKEW`] later, so after a reset quotes may be missing for that long.
//! Trades are told by what was put lately too: a connection that has just been opened may be heard
//! before those trades that still lie in the buffer of the older one.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::instrument::InstrumentId;
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Stamp, Tick};
use crate::venue::slots::HasBook;

/// How much later than the newest message one with a lower number must be, nanoseconds, to be
/// taken for the first of new numbers: longer than one server of the venue lags behind another.
pub(super) const SKEW: u64 = 5_000_000_000;

/// What is kept per symbol.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The trades with ordinary makers that were put lately, and those with others.
    pub(super) trades: [Recent; 2],
    pub(super) quote: Newest,
    /// The highest numbers of trades and of quotes that are out.
    pub(super) highest: [u64; 2],
    pub(super) book: BookSync,
    /// The time of the newest message that the book has taken.
    book_time: u64,
    /// The connection of that message.
    via: Option<u16>,
    /// Whether updates may wait for a snapshot.
    waits: bool,
    /// When the numbers last started over, or may have: an older snapshot is of no use.
    since: u64,
    /// What each connection last sent of the book.
    links: Links,
}

impl HasBook for State {
    fn book(&self) -> &BookSync {
        &self.book
    }

    fn book_mut(&mut self) -> &mut BookSync {
        &mut self.book
    }
}

/// The newest message of a stream without a chain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    seq: Option<u64>,
    time: u64,
}

impl Newest {
    /// Whether a message is newer; if so, it is the newest from here on.
    pub(super) fn takes(&mut self, seq: u64, time: u64) -> bool {
        let starts_over = time > self.time.saturating_add(SKEW);
        let newer = self.seq.is_none_or(|last| seq > last || (seq < last && starts_over));
        if newer {
            *self = Newest { seq: Some(seq), time };
        }
        newer
    }
}

/// The trades that were put lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    newest: Newest,
    ids: VecDeque<u64>,
    /// Of this number and those below it is not known any more whether they were put.
    floor: u64,
}

impl Recent {
    /// More than a connection's messages while another one's are not read (64 in a row), with room
    /// for one server of the venue that lags behind another in a busy market.
    const MAX: usize = 256;

    /// Whether a trade is not known; it is from here on.
    pub(super) fn takes(&mut self, id: u64, time: u64) -> bool {
        let before = self.newest.seq;
        let is_newest = self.newest.takes(id, time);
        if is_newest && before.is_none_or(|newest| id < newest) {
            // The first, or the first of new numbers.
            self.ids.clear();
            self.floor = id;
        } else if !is_newest && (id <= self.floor || self.ids.contains(&id)) {
            return false;
        }
        if self.ids.capacity() == 0 {
            self.ids.reserve_exact(Self::MAX);
        }
        if self.ids.len() == Self::MAX {
            self.floor = self.floor.max(self.ids.pop_front().unwrap_or_default());
        }
        self.ids.push_back(id);
        true
    }
}

/// The number for a tick: the venue's, or none where it does not rise.
pub(super) fn rising(highest: &mut u64, seq: u64) -> u64 {
    if seq <= *highest {
        return 0;
    }
    *highest = seq;
    seq
}

/// The last number that each connection sent.
#[derive(Debug, Default)]
struct Links {
    /// The one that was met last comes last.
    known: Vec<(u16, u64)>,
}

impl Links {
    /// Two that carry a symbol, and their successors while both are open. A forgotten one is taken
    /// for one that has lost something.
    const MAX: usize = 4;

    /// Notes the number; the one before it on this connection.
    fn replace(&mut self, link: u16, seq: u64) -> Option<u64> {
        if let Some((_, last)) = self.known.iter_mut().find(|(known, _)| *known == link) {
            return Some(std::mem::replace(last, seq));
        }
        if self.known.len() == Self::MAX {
            self.known.remove(0);
        }
        self.known.push((link, seq));
        None
    }
}

/// An update of a book, or a snapshot: its connection, its numbers, and its levels as ticks.
pub(super) struct Update<'a> {
    pub(super) link: u16,
    /// The number of the message that it follows; of no account in a snapshot.
    pub(super) prev: u64,
    pub(super) seq: u64,
    pub(super) stamp: Stamp,
    pub(super) event: &'a [Tick],
}

/// What became of an update.
pub(super) enum Taken {
    /// It was put.
    Put,
    /// The book is not complete; it waits for a snapshot, or is of no use to one.
    Waits,
    /// It says that nothing has changed.
    Unchanged,
    /// A copy of what was taken before.
    Late,
    /// Something before it is missing: the book is broken.
    Gap,
}

impl State {
    /// Takes a snapshot; false for one that is left out. A good book does not go back for one, a
    /// second connection's say, unless the numbers have started over: it is then later by more than
    /// `slack`, which has to be 0 where diffs follow, lest theirs be taken for those of the book.
    pub(super) fn renew(&mut self, snapshot: &Update<'_>, slack: u64, sink: &mut dyn Sink) -> bool {
        let &Update { link, seq, stamp, event, .. } = snapshot;
        self.links.replace(link, seq);
        let later = stamp.event > self.book_time.saturating_add(slack);
        let newer = match seq.cmp(&self.book.last()) {
            Ordering::Greater => stamp.event >= self.book_time,
            Ordering::Equal => later && slack == 0,
            Ordering::Less => later,
        };
        let (live, time) = (self.book.is_live(), stamp.event);
        if (live && !newer) || (!live && time < self.since) {
            return false;
        }
        if self.waits && time > self.book_time {
            // All that waits is older, and a reset may lie between.
            self.book.discard(instrument(event), stamp.recv, sink);
        }
        self.waits = false;
        (self.book_time, self.via) = (time, Some(link));
        self.book.start(None, seq, event, sink);
        true
    }

    /// Takes an update; the rules are in the module's head.
    pub(super) fn follow(&mut self, update: &Update<'_>, sink: &mut dyn Sink) -> Taken {
        let &Update { link, prev, seq, stamp, .. } = update;
        // Whether its connection has lost nothing before it.
        let whole = self.links.replace(link, seq) == Some(prev);
        let (live, follows) = (self.book.is_live(), prev == self.book.last());
        // Its own time may be before the last one's, for the venue's clock may be put back.
        let next = live && follows && whole && self.via == Some(link);
        if stamp.event < if next { self.since } else { self.book_time } {
            return Taken::Late;
        }
        let taken = if !live {
            self.wait(update, whole, sink)
        } else if follows {
            self.link(update, sink)
        } else if stamp.event == self.book_time {
            Taken::Late
        } else {
            self.leap(update, whole, sink)
        };
        if !matches!(taken, Taken::Late) {
            (self.book_time, self.via) = (stamp.event, Some(link));
        }
        taken
    }

    /// An update of a book that is not complete.
    fn wait(&mut self, update: &Update<'_>, whole: bool, sink: &mut dyn Sink) -> Taken {
        let &Update { prev, seq, .. } = update;
        if prev == seq {
            return Taken::Unchanged;
        }
        if prev > seq || !whole {
            // The numbers of what waits mean nothing any more.
            self.start_over(update, sink);
        }
        if prev < seq { self.number(update, sink) } else { Taken::Waits }
    }

    /// An update that follows the book's last message.
    fn link(&mut self, update: &Update<'_>, sink: &mut dyn Sink) -> Taken {
        let &Update { prev, seq, stamp, event, .. } = update;
        match prev.cmp(&seq) {
            Ordering::Less => self.number(update, sink),
            Ordering::Equal => Taken::Unchanged,
            Ordering::Greater => {
                // The numbers start over, the book goes on.
                self.book.start(None, seq, event, sink);
                self.since = stamp.event;
                Taken::Put
            }
        }
    }

    /// An update that does not follow the book's last message, and is newer than that.
    fn leap(&mut self, update: &Update<'_>, whole: bool, sink: &mut dyn Sink) -> Taken {
        let &Update { prev, seq, stamp, .. } = update;
        let last = self.book.last();
        if whole && prev <= last && seq <= last {
            return Taken::Late;
        }
        if prev < seq && seq > last && (whole || prev > last) {
            // A gap; or the snapshot of another connection was made between two updates of this.
            if !whole {
                self.since = stamp.event;
            }
            return self.number(update, sink);
        }
        // A pause after a change that has not come, or a connection that has lost something.
        self.start_over(update, sink);
        Taken::Gap
    }

    /// The numbers start over, or may have: nothing from before can be gone on with.
    fn start_over(&mut self, update: &Update<'_>, sink: &mut dyn Sink) {
        let &Update { prev, seq, stamp, event, .. } = update;
        self.book.discard(instrument(event), stamp.recv, sink);
        // A pause has a time of its own: the book that a snapshot then gives may be older.
        if prev != seq {
            self.since = stamp.event;
        }
    }

    /// An update as a diff that covers `prev + 1..=seq`.
    fn number(&mut self, update: &Update<'_>, sink: &mut dyn Sink) -> Taken {
        match self.book.diff(update.prev + 1, update.seq, update.event, sink) {
            Step::Applied => Taken::Put,
            Step::Duplicate => Taken::Late,
            Step::Gap => {
                self.waits = true;
                Taken::Gap
            }
            Step::Waiting | Step::TooOld => {
                self.waits = true;
                Taken::Waits
            }
        }
    }
}

fn instrument(event: &[Tick]) -> InstrumentId {
    event.first().map_or_else(InstrumentId::default, |tick| tick.instrument)
}
