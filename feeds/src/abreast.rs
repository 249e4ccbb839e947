//! Connections that carry the same numbered messages side by side, one ahead of the other.
//!
//! A venue's machines are some milliseconds apart. When a connection joins that is ahead of the one
//! that has carried the data so far, its first message leaves out what only the slower one will
//! bring: that is no loss, as long as there is a slower one.

/// How long what one connection brings waits for another that is behind it, nanoseconds: longer
/// than two of a venue's machines are apart, and short for somebody who waits for news.
pub(crate) const CATCH_UP_NS: u64 = 1_000_000_000;

/// Connections whose place is known: two, and their successors while all of them are open. One
/// that is forgotten is waited for by nobody.
const MAX_LINES: usize = 4;

/// How far each connection is with the messages of one stream.
#[derive(Debug, Default)]
pub(crate) struct Abreast {
    /// The connections, each with the last number that it brought.
    lines: Vec<(u16, u64)>,
    /// Since when something waits for one that is behind.
    since: Option<u64>,
}

impl Abreast {
    /// A connection has brought this number.
    pub(crate) fn note(&mut self, link: u16, number: u64) {
        if let Some((_, last)) = self.lines.iter_mut().find(|(known, _)| *known == link) {
            *last = number;
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.remove(0);
        }
        self.lines.push((link, number));
    }

    /// Whether what does not follow `last` is to wait at `now`: a connection that has brought no
    /// more than that may yet bring what lies between, and has not had its time.
    pub(crate) fn may_wait(&mut self, last: u64, now: u64) -> bool {
        if !self.is_one_behind(last) {
            return false;
        }
        now.saturating_sub(*self.since.get_or_insert(now)) < CATCH_UP_NS
    }

    /// Whether a connection has brought no more than this.
    pub(crate) fn is_one_behind(&self, last: u64) -> bool {
        self.lines.iter().any(|(_, brought)| *brought <= last)
    }

    /// Nothing waits any more.
    pub(crate) fn settle(&mut self) {
        self.since = None;
    }

    /// A connection is gone and brings nothing.
    pub(crate) fn forget(&mut self, link: u16) {
        self.lines.retain(|(known, _)| *known != link);
    }
}
