//! Quotes that are kept back for a client that takes no more: only the newest of each symbol is
//! sent once it does.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// See the module. Only clients that fall behind have one.
#[derive(Debug, Default)]
pub(crate) struct Conflated {
    /// Instrument to the `prev` of the first quote that was held back: the last one sent.
    held: HashMap<u32, u64>,
    /// The same instruments, the longest held first: none starves behind busier ones.
    order: VecDeque<u32>,
    /// Quotes that were replaced by later ones since the client was last told.
    pub(crate) skipped: u64,
}

impl Conflated {
    /// Holds a quote back that follows `prev`.
    pub(crate) fn hold(&mut self, instrument: u32, prev: u64) {
        match self.held.entry(instrument) {
            Entry::Occupied(_) => self.skipped += 1,
            Entry::Vacant(empty) => {
                empty.insert(prev);
                self.order.push_back(instrument);
            }
        }
    }

    pub(crate) fn holds(&self, instrument: u32) -> bool {
        self.held.contains_key(&instrument)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The one that was held longest, with its `prev`: it is to be sent now.
    pub(crate) fn next(&mut self) -> Option<(u32, u64)> {
        let instrument = self.order.pop_front()?;
        Some((instrument, self.held.remove(&instrument)?))
    }

    /// Forgets quotes that are not wanted any more, or were sent otherwise.
    pub(crate) fn forget(&mut self, instruments: impl Iterator<Item = u32>) {
        let before = self.held.len();
        for instrument in instruments {
            self.held.remove(&instrument);
        }
        if self.held.len() != before {
            self.order.retain(|instrument| self.held.contains_key(instrument));
        }
    }

    /// Heap bytes held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.held.capacity() * size_of::<(u32, u64)>() + self.order.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_held_comes_first_and_keeps_its_first_prev() {
        let mut conflated = Conflated::default();
        for (instrument, prev) in [(3, 30), (1, 10), (3, 31), (2, 20), (1, 11), (3, 32)] {
            conflated.hold(instrument, prev);
        }
        assert_eq!(conflated.skipped, 3);
        conflated.forget([1, 9].into_iter());
        assert!(!conflated.holds(1) && conflated.holds(2));
        assert_eq!(conflated.next(), Some((3, 30)));
        conflated.hold(3, 40);
        assert_eq!(conflated.next(), Some((2, 20)));
        assert_eq!(conflated.next(), Some((3, 40)));
        assert_eq!((conflated.next(), conflated.is_empty()), (None, true));
    }

    #[test]
    fn holding_and_forgetting_in_turn_leaves_nothing_behind() {
        let mut conflated = Conflated::default();
        for round in 0..10_000 {
            conflated.hold(7, round);
            conflated.forget(std::iter::once(7));
        }
        assert!(conflated.is_empty() && conflated.bytes() < 1000, "{}", conflated.bytes());
    }
}
