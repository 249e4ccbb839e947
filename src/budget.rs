//! One budget of memory for what all clients make the server hold: outboxes, unfinished messages, TLS,
//! shared encodings.
//!
//! Each reactor says what it holds, and how much of that clients of each size have. From all of these each
//! reactor finds the same size from which on clients must go, and lets its own go: the largest of all go
//! first, wherever they are, and no reactor asks another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::limits;

/// Sizes that are told apart: powers of two.
const SIZES: usize = usize::BITS as usize + 1;

/// What a reactor holds, as it last said.
#[derive(Debug)]
pub(crate) struct Share {
    held: AtomicUsize,
    /// Bytes of clients that may go, by the size of what each has.
    by_size: [AtomicUsize; SIZES],
}

/// What a reactor holds, being added up.
#[derive(Debug)]
pub(crate) struct Sum {
    held: usize,
    by_size: [usize; SIZES],
}

impl Sum {
    /// Nothing but what is shared by clients.
    pub(crate) fn new(shared: usize) -> Self {
        Sum { held: shared, by_size: [0; SIZES] }
    }

    /// Adds what is held for a client that must not go for it.
    pub(crate) fn add(&mut self, held: usize) {
        self.held += held;
    }

    /// Adds what is held for one that may.
    pub(crate) fn add_client(&mut self, held: usize) {
        self.held += held;
        self.by_size[size_of_bytes(held)] += held;
    }
}

fn size_of_bytes(bytes: usize) -> usize {
    (usize::BITS - bytes.leading_zeros()) as usize
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Nothing is done before so much is held; 0: there is no budget.
    most: usize,
    shares: Mutex<Vec<Arc<Share>>>,
    /// Clients go, until [`low`](Self::low) is reached.
    over: AtomicBool,
    /// Newcomers that were refused.
    pub(crate) refused: AtomicU64,
}

impl Budget {
    /// 0 for none.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Budget {
            most,
            shares: Mutex::default(),
            over: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        })
    }

    /// The share of one more reactor.
    pub(crate) fn join(&self) -> Arc<Share> {
        let by_size = std::array::from_fn(|_| AtomicUsize::new(0));
        let share = Arc::new(Share { held: AtomicUsize::new(0), by_size });
        self.shares.lock().push(share.clone());
        share
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Where newcomers are refused, and where clients that go have made room enough.
    fn low(&self) -> usize {
        self.most - self.most / limits::BUDGET_ROOM
    }

    pub(crate) fn held(&self) -> usize {
        self.shares.lock().iter().map(|share| share.held.load(Ordering::Relaxed)).sum()
    }

    /// Whether what is dear has to wait: new clients.
    pub(crate) fn is_tight(&self) -> bool {
        self.most > 0 && self.held() > self.low()
    }

    /// How much of its clients' a reactor has to let go, the largest first.
    pub(crate) fn excess(&self, own: &Share) -> usize {
        if self.most == 0 {
            return 0;
        }
        let shares = self.shares.lock();
        let held: usize = shares.iter().map(|share| share.held.load(Ordering::Relaxed)).sum();
        let was_over = self.over.load(Ordering::Relaxed);
        let is_over = held > if was_over { self.low() } else { self.most };
        self.over.store(is_over, Ordering::Relaxed);
        if !is_over {
            return 0;
        }
        let (mut need, mut go) = (held - self.low(), 0);
        // Who holds less is not what the memory is full of.
        for size in (size_of_bytes(limits::BUDGET_CLIENT_BYTES)..SIZES).rev() {
            let mine = own.by_size[size].load(Ordering::Relaxed);
            let all: usize =
                shares.iter().map(|share| share.by_size[size].load(Ordering::Relaxed)).sum();
            if all >= need {
                // As much of them as is theirs.
                let part = mine as u128 * need as u128 / all.max(1) as u128;
                return go + part as usize;
            }
            (need, go) = (need - all, go + mine);
        }
        go
    }
}

impl Share {
    /// What its reactor holds now.
    pub(crate) fn set(&self, sum: &Sum) {
        self.held.store(sum.held, Ordering::Relaxed);
        for (size, bytes) in self.by_size.iter().zip(sum.by_size) {
            size.store(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn say(share: &Share, shared: usize, clients: &[usize]) {
        let mut sum = Sum::new(shared);
        clients.iter().for_each(|held| sum.add_client(*held));
        share.set(&sum);
    }

    #[test]
    fn the_largest_go_first_wherever_they_are() {
        let budget = Budget::new(16 * MIB);
        let [one, two] = [budget.join(), budget.join()];
        say(&one, MIB, &[5 * MIB, 3 * MIB]);
        say(&two, MIB, &[5 * MIB, MIB]);
        assert_eq!((budget.excess(&one), budget.excess(&two)), (0, 0));
        assert!(budget.is_tight());
        // 17 MiB: 3 more than 14, of the two that have 5.
        say(&two, MIB, &[5 * MIB, 2 * MIB]);
        assert_eq!(budget.excess(&one), 3 * MIB / 2);
        assert_eq!(budget.excess(&two), 3 * MIB / 2);
        // One of them is gone: that is enough, but the flood goes on.
        say(&one, MIB, &[3 * MIB]);
        assert_eq!((budget.held(), budget.excess(&two)), (12 * MIB, 0));
        assert!(!budget.is_tight());
        say(&two, MIB, &[5 * MIB, 2 * MIB, 3 * MIB]);
        assert_eq!((budget.excess(&one), budget.excess(&two)), (0, 0));
        say(&two, MIB, &[8 * MIB, 5 * MIB, 3 * MIB]);
        // 21 MiB, 7 too many: that of 8 alone.
        assert_eq!((budget.excess(&one), budget.excess(&two)), (0, 7 * MIB));
    }

    #[test]
    fn once_over_it_clients_go_until_there_is_room() {
        let budget = Budget::new(16 * MIB);
        let one = budget.join();
        say(&one, 0, &[MIB; 15]);
        assert_eq!(budget.excess(&one), 0);
        say(&one, 0, &[MIB; 17]);
        assert_eq!(budget.excess(&one), 3 * MIB);
        say(&one, 0, &[MIB; 15]);
        assert_eq!(budget.excess(&one), MIB);
        say(&one, 0, &[MIB; 14]);
        assert_eq!(budget.excess(&one), 0);
        say(&one, 0, &[MIB; 15]);
        assert_eq!(budget.excess(&one), 0);
    }

    #[test]
    fn who_holds_little_stays_and_so_does_everybody_without_a_budget() {
        let budget = Budget::new(MIB);
        let one = budget.join();
        say(&one, 2 * MIB, &[limits::BUDGET_CLIENT_BYTES / 4; 8]);
        assert_eq!(budget.excess(&one), 0);
        say(&one, 2 * MIB, &[limits::BUDGET_CLIENT_BYTES; 2]);
        assert_eq!(budget.excess(&one), 2 * limits::BUDGET_CLIENT_BYTES);
        let none = Budget::new(0);
        let one = none.join();
        say(&one, usize::MAX / 4, &[usize::MAX / 4]);
        assert!(!none.is_tight() && none.excess(&one) == 0);
    }
}
