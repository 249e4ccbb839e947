//! What a venue allows in a time: pure arithmetic, the time is passed in.

use std::collections::VecDeque;

use crate::venue::rules::Rate;

/// What is spent counts for so many percent of the venue's time: requests that were sent evenly may
/// arrive bunched.
const MARGIN_PERCENT: u64 = 110;

/// Keeps to a [`Rate`] in whatever window the venue counts: in any time of its length no more than
/// its count is spent.
#[derive(Debug)]
pub(super) struct Budget {
    count: u64,
    window_ns: u64,
    /// When what was spent, oldest first.
    spent: VecDeque<(u64, u32)>,
    sum: u64,
    /// The venue said not to come back before.
    blocked_until: u64,
}

impl Budget {
    pub(super) fn new(rate: Rate) -> Self {
        let window_ns = rate.per.as_nanos() as u64 / 100 * MARGIN_PERCENT;
        let count = u64::from(rate.count);
        Budget { count, window_ns, spent: VecDeque::new(), sum: 0, blocked_until: 0 }
    }

    /// Goes by another rate from here on; what was spent stays spent.
    pub(super) fn set(&mut self, rate: Rate) {
        let Budget { count, window_ns, .. } = Budget::new(rate);
        (self.count, self.window_ns) = (count, window_ns);
    }

    /// Nothing is allowed before this time.
    pub(super) fn block_until(&mut self, at: u64) {
        self.blocked_until = self.blocked_until.max(at);
    }

    /// Spends `weight` now, or says when to ask again. What is heavier than the whole budget is
    /// allowed when nothing else is spent.
    pub(super) fn take(&mut self, now: u64, weight: u32) -> Result<(), u64> {
        if now < self.blocked_until {
            return Err(self.blocked_until);
        }
        while let Some(&(at, spent)) = self.spent.front()
            && at + self.window_ns <= now
        {
            self.sum -= u64::from(spent);
            self.spent.pop_front();
        }
        if self.sum + u64::from(weight) <= self.count || self.spent.is_empty() {
            self.sum += u64::from(weight);
            self.spent.push_back((now, weight));
            return Ok(());
        }
        // When enough of the oldest is over.
        let mut left = self.sum + u64::from(weight);
        for &(at, spent) in &self.spent {
            left -= u64::from(spent);
            if left <= self.count {
                return Err(at + self.window_ns);
            }
        }
        Err(self.spent.back().map_or(now, |&(at, _)| at + self.window_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn waits_until_enough_is_over() {
        let mut budget = Budget::new(Rate::new(5, 1));
        let window = SECOND / 10 * 11;
        for at in 0..5 {
            assert_eq!(budget.take(at, 1), Ok(()));
        }
        assert_eq!(budget.take(5, 1), Err(window));
        assert_eq!(budget.take(5, 3), Err(2 + window));
        assert_eq!(budget.take(2 + window, 3), Ok(()));
        assert_eq!(budget.take(2 + window, 1), Err(3 + window));
    }

    #[test]
    fn what_is_heavier_than_all_goes_alone() {
        let mut budget = Budget::new(Rate::new(5, 1));
        assert_eq!(budget.take(0, 20), Ok(()));
        let again = budget.take(1, 1).unwrap_err();
        assert_eq!(budget.take(again, 20), Ok(()));
        budget.block_until(again + 10 * SECOND);
        assert_eq!(budget.take(again + 5 * SECOND, 1), Err(again + 10 * SECOND));
        budget.set(Rate::new(100, 1));
        assert_eq!(budget.take(again + 10 * SECOND, 99), Ok(()));
        assert!(budget.take(again + 10 * SECOND, 2).is_err());
    }

    proptest! {
        /// Whoever asks whenever: no window holds more than is allowed, and the time that is named
        /// is one at which it works.
        #[test]
        fn no_window_holds_more(asks in prop::collection::vec((0u64..400, 1u32..6), 1..80)) {
            let mut budget = Budget::new(Rate::new(10, 1));
            let (mut now, mut log) = (0, Vec::new());
            for (wait, weight) in asks {
                now += wait * SECOND / 1000;
                if let Err(at) = budget.take(now, weight) {
                    prop_assert!(at > now);
                    now = at;
                    prop_assert_eq!(budget.take(now, weight), Ok(()));
                }
                log.push((now, weight));
            }
            for &(from, _) in &log {
                let window = log.iter().filter(|&&(at, _)| at >= from && at < from + SECOND);
                prop_assert!(window.map(|&(_, weight)| weight).sum::<u32>() <= 10);
            }
        }
    }
}
