//! Trades of connections that begin and end while others go on: none is lost, none is put out of
//! order.
//!
//! A connection sends what happens after it was opened, in order and without a gap. One that is
//! ahead of an older one (a shorter way, or fewer messages in line) must not be believed at once:
//! what is newest would be its trade, and those before it, which only the older one still brings,
//! would be taken for repeats. So what it sends is held until the older one has come to where it
//! began, and one further: several trades may have one number, and it may have begun among them.
//! From there on whichever is ahead is believed.

/// Held for no longer than this: the older connection may be a dead one, which is found out only
/// later, and live connections are not so far apart.
const HOLD_NS: u64 = 1_000_000_000;

/// Nor more than these, for a second is some hundreds in the busiest markets.
const MOST_HELD: usize = 4_096;

/// The connections that trades of one instrument come on. `T` is a trade.
#[derive(Debug)]
pub(super) struct Handover<T> {
    lines: Vec<Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    link: u16,
    /// `None` when it is believed.
    held: Option<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    /// The number of its first trade.
    first: u64,
    since_ns: u64,
    trades: Vec<T>,
}

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Handover { lines: Vec::new() }
    }
}

impl<T> Handover<T> {
    /// Takes a trade of this number from a connection. It is given back where the connection is
    /// believed, else held: ask for what is [released](Handover::release) then.
    pub(super) fn take(&mut self, link: u16, number: u64, recv_ns: u64, trade: T) -> Option<T> {
        let Some(line) = self.lines.iter_mut().find(|line| line.link == link) else {
            return self.begin(link, number, recv_ns, trade);
        };
        match &mut line.held {
            None => Some(trade),
            Some(held) => {
                held.trades.push(trade);
                None
            }
        }
    }

    #[cold]
    fn begin(&mut self, link: u16, number: u64, recv_ns: u64, trade: T) -> Option<T> {
        if !self.is_any_believed() {
            self.lines.push(Line { link, held: None });
            return Some(trade);
        }
        let held = Held { first: number, since_ns: recv_ns, trades: vec![trade] };
        self.lines.push(Line { link, held: Some(held) });
        None
    }

    fn is_any_believed(&self) -> bool {
        self.lines.iter().any(|line| line.held.is_none())
    }

    /// The trades of a connection that may be believed now that `newest` is the highest number put:
    /// to be put, but for those that are known, before this is asked again. To be asked after each
    /// trade and after [`Handover::leave`], until there is nothing.
    pub(super) fn release(&mut self, newest: u64, now_ns: u64) -> Option<Vec<T>> {
        // Nearly always: one connection, or all of them are believed.
        if self.lines.iter().all(|line| line.held.is_none()) {
            return None;
        }
        let is_any_believed = self.is_any_believed();
        let held = self.lines.iter_mut().map(|line| &mut line.held).filter(|held| held.is_some());
        let earliest = held.min_by_key(|held| held.as_ref().map(|held| held.first))?;
        let is_due = |held: &mut Held<T>| {
            held.first < newest
                || !is_any_believed
                || now_ns >= held.since_ns.saturating_add(HOLD_NS)
                || held.trades.len() >= MOST_HELD
        };
        earliest.take_if(is_due).map(|held| held.trades)
    }

    /// A connection is gone. What is held of it an older one brings.
    pub(super) fn leave(&mut self, link: u16) {
        self.lines.retain(|line| line.link != link);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts what may be put, as a parser does.
    #[derive(Default)]
    struct Desk {
        lines: Handover<u64>,
        put: Vec<u64>,
    }

    impl Desk {
        fn newest(&self) -> u64 {
            self.put.last().copied().unwrap_or_default()
        }

        fn admit(&mut self, trades: impl IntoIterator<Item = u64>) {
            for trade in trades {
                if trade > self.newest() {
                    self.put.push(trade);
                }
            }
        }

        fn take(&mut self, link: u16, trade: u64, now: u64) {
            let believed = self.lines.take(link, trade, now, trade);
            self.admit(believed);
            self.release(now);
        }

        fn leave(&mut self, link: u16, now: u64) {
            self.lines.leave(link);
            self.release(now);
        }

        fn release(&mut self, now: u64) {
            while let Some(trades) = self.lines.release(self.newest(), now) {
                self.admit(trades);
            }
        }
    }

    #[test]
    fn who_is_ahead_waits_until_the_older_one_is_where_it_began() {
        let mut desk = Desk::default();
        desk.take(1, 10, 0);
        desk.take(2, 14, 0);
        desk.take(2, 15, 0);
        assert_eq!(desk.put, [10]);
        desk.take(1, 13, 0);
        assert_eq!(desk.put, [10, 13]);
        desk.take(1, 14, 0);
        assert_eq!(desk.put, [10, 13, 14]);
        desk.take(1, 15, 0);
        desk.take(2, 16, 0);
        desk.take(1, 16, 0);
        assert_eq!(desk.put, [10, 13, 14, 15, 16], "believed, with what was held");
    }

    #[test]
    fn who_is_behind_is_believed_at_once() {
        let mut desk = Desk::default();
        desk.take(1, 10, 0);
        desk.take(2, 9, 0);
        desk.take(2, 11, 0);
        assert_eq!(desk.put, [10, 11]);
    }

    #[test]
    fn nobody_is_waited_for_in_vain() {
        let mut desk = Desk::default();
        desk.take(1, 10, 0);
        desk.take(2, 14, 5);
        desk.leave(1, 6);
        assert_eq!(desk.put, [10, 14], "the older one is gone");
        desk.take(3, 20, 7);
        desk.take(3, 21, 6 + HOLD_NS);
        assert_eq!(desk.put, [10, 14]);
        desk.take(3, 22, 7 + HOLD_NS);
        assert_eq!(desk.put, [10, 14, 20, 21, 22], "the older one seems to be dead");
        desk.take(4, 30, 0);
        for trade in 31..30 + MOST_HELD as u64 {
            assert_eq!(desk.newest(), 22);
            desk.take(4, trade, 0);
        }
        assert_eq!(desk.newest(), 30 + MOST_HELD as u64 - 1, "too many");
    }

    #[test]
    fn what_is_held_of_a_connection_goes_with_it() {
        let mut desk = Desk::default();
        desk.take(1, 10, 0);
        desk.take(2, 14, 0);
        desk.leave(2, 0);
        for trade in 11..=15 {
            desk.take(1, trade, 0);
        }
        assert_eq!(desk.put, [10, 11, 12, 13, 14, 15]);
    }

    proptest! {
        /// A younger connection begins somewhere ahead of the older one or behind it, both come in
        /// any order, the older one goes at some time after it was where the younger one began: and
        /// so on. Every trade once, in order.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            lives in prop::collection::vec((-20i64..40, 1u64..60, 0u64..30), 1..10),
            mut coins in any::<u128>(),
        ) {
            let mut desk = Desk::default();
            let (mut link, mut old) = (0, 1);
            for (ahead, alone, together) in lives {
                for _ in 0..alone {
                    desk.take(link, old, 0);
                    old += 1;
                }
                let first = (old as i64 + ahead).max(1) as u64;
                let mut young = first;
                let mut left = together;
                while left > 0 || old <= first + 1 || young == first {
                    left = left.saturating_sub(1);
                    coins = coins.rotate_left(1);
                    if coins & 1 == 0 {
                        desk.take(link, old, 0);
                        old += 1;
                    } else {
                        desk.take(link + 1, young, 0);
                        young += 1;
                    }
                    // All heads or all tails.
                    coins ^= u128::from(young) << 64 | u128::from(old);
                }
                desk.leave(link, 0);
                (link, old) = (link + 1, young);
            }
            let expected: Vec<u64> = (1..=desk.newest()).collect();
            prop_assert_eq!(desk.put, expected);
        }
    }
}
