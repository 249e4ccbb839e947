//! What is new and what was there before, by the numbers that Bybit gives: pure, one per
//! instrument and channel.
//!
//! Two numbers count. `u` counts the messages of one topic, one by one, and starts again at 1 when
//! the venue's service restarts. `seq` is the matching engine's version number, which only rises
//! ("monotonically increasing but not guaranteed to be consecutive",
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/full-ob>) and may be compared between
//! topics and connections: "for the smaller seq, then it means the data is generated earlier"
//! (<https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>).

/// A `seq` that is lower than one before it is a repeat from a slower connection, unless its event
/// is so much later by the venue's own clock: then the numbers themselves began again, which the
/// venue rules out, but an instrument that is silent for ever would be worse than a trade put
/// twice. No connection lags by a minute and lives, see `Limits::silence`.
const RENUMBERED_NS: u64 = 60_000_000_000;

/// How many trades of one `seq` are told apart: four full messages of 1,024, and one that is full
/// is rare. Later ones of the same `seq` are put without being remembered.
const MAX_SAME_SEQ: usize = 4_096;

/// How many trades of one `seq` have numbers of their own before they run into those of the next:
/// as many as one message takes. `seq` is about 2^40 (2026), so the numbers stay below 2^53.
const NUMBERS_PER_SEQ: u64 = 1_024;

/// Update ids below this fit beside the number of the chain: a million years of them.
pub(super) const MAX_UPDATE_ID: u64 = (1 << 48) - 1;

/// When something happened: `seq`, and the venue's time in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The matching engine's number.
    pub(super) seq: u64,
    /// The venue's time.
    pub(super) time: u64,
}

impl Mark {
    fn is_before(self, newest: Mark) -> bool {
        self.seq < newest.seq && !self.is_renumbered(newest)
    }

    fn is_renumbered(self, newest: Mark) -> bool {
        self.seq < newest.seq && self.time > newest.time.saturating_add(RENUMBERED_NS)
    }
}

/// Tells the chains of a book's update ids apart, from one restart of the service to the next, and
/// gives ids that rise over all of them.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Which chain it is; what counts is that it differs from the one before.
    number: u16,
    /// The `seq` and `u` seen first of it: what is below that `seq` is of a chain that has ended.
    since: u64,
    first: u64,
    /// The newest seen of it.
    newest: Mark,
    last: u64,
}

impl Chain {
    /// The place of a message with this update id, at most [`MAX_UPDATE_ID`]: of two messages that
    /// follow each other in one chain it differs by one, and it is lower in a chain that is older.
    /// `None` for a chain that has ended: a slower connection goes on with it for a while.
    pub(super) fn place(&mut self, id: u64, mark: Mark) -> Option<u64> {
        if self.begins_anew(id, mark) {
            self.number = self.number.wrapping_add(1);
            (self.since, self.first, self.newest, self.last) = (mark.seq, id, mark, id);
        } else if mark.seq >= self.newest.seq {
            (self.newest, self.last) = (mark, self.last.max(id));
        } else if mark.seq < self.since || id > self.last {
            return None;
        }
        Some(u64::from(self.number) << 48 | id)
    }

    /// Later by `seq`, yet not further by `u`. A book in which nothing has happened may start again
    /// with the `seq` that it had; with that of its chain's beginning it is that beginning.
    fn begins_anew(&self, id: u64, mark: Mark) -> bool {
        let later = mark.seq > self.newest.seq;
        let is_first = (mark.seq, id) == (self.since, self.first);
        let same = mark.seq == self.newest.seq && !is_first;
        mark.is_renumbered(self.newest)
            || (later && id <= self.last)
            || (same && id == 1 && self.last > 1)
    }
}

/// The quotes put.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    newest: Mark,
    last: u64,
    number: u64,
}

impl Quotes {
    /// The number of a quote if it is new. Not new is one that the venue repeats because nothing
    /// changed for three seconds: it has the same `u`.
    pub(super) fn admit(&mut self, id: u64, mark: Mark) -> Option<u64> {
        let repeated = id == self.last && id > 1;
        let known = mark.seq == self.newest.seq && id <= self.last;
        if repeated || known || mark.is_before(self.newest) {
            return None;
        }
        (self.newest, self.last) = (mark, id);
        self.number = mark.seq.max(self.number.saturating_add(1));
        Some(self.number)
    }
}

/// The trades put.
#[derive(Debug, Default)]
pub(super) struct Trades {
    newest: Mark,
    /// The ids of those of the newest `seq`, hashed.
    ids: Vec<u64>,
    number: u64,
}

impl Trades {
    /// The highest number put.
    pub(super) fn newest_seq(&self) -> u64 {
        self.newest.seq
    }

    /// The number of a trade, whose id has the hash `id`, if it is new. Numbers rise strictly.
    pub(super) fn admit(&mut self, id: u64, mark: Mark) -> Option<u64> {
        if mark.is_before(self.newest) {
            return None;
        }
        if mark.seq != self.newest.seq {
            self.ids.clear();
        } else if self.ids.contains(&id) {
            return None;
        }
        self.newest = mark;
        if self.ids.len() < MAX_SAME_SEQ {
            self.ids.push(id);
        }
        let first = mark.seq.saturating_mul(NUMBERS_PER_SEQ);
        self.number = first.max(self.number.saturating_add(1));
        Some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, seconds: u64) -> Mark {
        Mark { seq, time: seconds * 1_000_000_000 }
    }

    #[test]
    fn places_follow_in_a_chain_and_jump_to_the_next() {
        let mut chain = Chain::default();
        let a = chain.place(500, at(10, 0)).unwrap();
        assert_eq!(chain.place(501, at(13, 0)), Some(a + 1));
        // Another connection, behind.
        assert_eq!(chain.place(500, at(10, 0)), Some(a));
        let b = chain.place(1, at(20, 1)).unwrap();
        assert!(b > a + 2);
        assert_eq!(chain.place(502, at(15, 0)), None, "of the chain that has ended");
        assert_eq!(chain.place(1, at(15, 0)), None, "long ended");
        assert_eq!(chain.place(2, at(21, 1)), Some(b + 1));
        assert_eq!(chain.place(1, at(20, 1)), Some(b));
        // Restarted, and the first message is missing.
        assert!(chain.place(2, at(30, 2)).unwrap() > b + 2);
        let c = chain.place(3, at(31, 2)).unwrap();
        let d = chain.place(1, at(31, 3)).unwrap();
        assert!(d > c, "a quiet book, restarted");
        assert_eq!(chain.place(2, at(31, 3)), Some(d + 1));
        assert_eq!(chain.place(1, at(31, 3)), Some(d), "from another connection");
    }

    #[test]
    fn an_older_message_with_a_higher_id_is_of_a_chain_that_has_ended() {
        let mut chain = Chain::default();
        let a = chain.place(1, at(20, 0)).unwrap();
        assert_eq!(chain.place(30, at(19, 0)), None);
        assert_eq!(chain.place(2, at(21, 0)), Some(a + 1));
    }

    #[test]
    fn a_seq_that_begins_again_is_a_new_chain_once_it_is_clearly_later() {
        let mut chain = Chain::default();
        let a = chain.place(500, at(1_000, 0)).unwrap();
        chain.place(1, at(2_000, 1));
        assert_eq!(chain.place(2, at(5, 61)), None);
        let b = chain.place(3, at(6, 62)).unwrap();
        assert!(b > a && chain.place(4, at(7, 62)) == Some(b + 1));
    }

    #[test]
    fn a_quote_is_new_by_both_numbers() {
        let mut quotes = Quotes::default();
        assert_eq!(quotes.admit(50, at(100, 0)), Some(100));
        assert_eq!(quotes.admit(50, at(100, 0)), None, "from another connection");
        assert_eq!(quotes.admit(50, at(104, 3)), None, "nothing for three seconds");
        assert_eq!(quotes.admit(49, at(99, 0)), None);
        assert_eq!(quotes.admit(51, at(100, 0)), Some(101));
        assert_eq!(quotes.admit(1, at(110, 4)), Some(110), "the service restarted");
        assert_eq!(quotes.admit(52, at(105, 3)), None);
        assert_eq!(quotes.admit(1, at(110, 4)), None);
        assert_eq!(quotes.admit(1, at(111, 5)), Some(111), "and again");
        assert_eq!(quotes.admit(2, at(3, 65)), None);
        assert_eq!(quotes.admit(3, at(4, 66)), Some(112));
    }

    #[test]
    fn trades_of_one_seq_are_told_apart_by_their_ids() {
        let mut trades = Trades::default();
        assert_eq!(trades.admit(7, at(10, 0)), Some(10_240));
        assert_eq!(trades.admit(8, at(10, 0)), Some(10_241));
        assert_eq!(trades.admit(7, at(10, 0)), None);
        assert_eq!(trades.admit(7, at(11, 0)), Some(11_264));
        assert_eq!(trades.admit(9, at(10, 0)), None);
        assert_eq!(trades.admit(9, at(5, 60)), None);
        assert_eq!(trades.admit(9, at(5, 61)), Some(11_265));
    }

    #[test]
    fn memory_of_trades_is_bounded_and_numbers_rise_on() {
        let mut trades = Trades::default();
        let last = (0..5_000).filter_map(|id| trades.admit(id, at(1, 0))).last();
        assert_eq!(last, Some(NUMBERS_PER_SEQ + 4_999));
        assert_eq!(trades.ids.len(), MAX_SAME_SEQ);
        assert_eq!(trades.admit(1, at(2, 0)), Some(NUMBERS_PER_SEQ + 5_000));
        assert_eq!(trades.ids.len(), 1);
        assert_eq!(trades.admit(1, at(u64::MAX, 0)), Some(u64::MAX));
        assert_eq!(trades.admit(2, at(u64::MAX, 0)), Some(u64::MAX));
    }
}
