//! How often a topic's subscribers are told: with every tick, or so many times a second at most.
//!
//! Rates are rounded to a few, each with one clock and a list of the topics in which something
//! happened since its last stroke. All that is due at a stroke is told at once: a client with fifty
//! symbols at ten updates a second gets ten writes a second, not five hundred.

use std::collections::VecDeque;

use crate::session::subs::Key;

/// Milliseconds between two messages of a topic, at least; 0: every tick is told.
const PERIODS_MS: [u64; 15] =
    [0, 5, 10, 20, 25, 40, 50, 100, 200, 250, 500, 1_000, 2_000, 5_000, 10_000];

/// See the module. A number of a period, and what is done with ticks in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cadence(u8);

const GATHERED: u8 = 0x80;

impl Cadence {
    /// Every tick, at once.
    pub(crate) const EVERY: Cadence = Cadence(0);

    /// At most so often: the shortest period that is not below this one, the latest values only.
    pub(crate) fn of_ms(ms: u64) -> Cadence {
        let at = PERIODS_MS.partition_point(|&period| period < ms);
        Cadence(at.min(PERIODS_MS.len() - 1) as u8)
    }

    /// Every tick, many in one message, one message a period: the longest period that is not above
    /// this one.
    pub(crate) fn gathered_ms(ms: u64) -> Cadence {
        let above = PERIODS_MS.partition_point(|&period| period <= ms).max(2);
        Cadence((above - 1) as u8 | GATHERED)
    }

    /// The same at most so often: the shortest period that is not below this one.
    pub(crate) fn gathered_least_ms(ms: u64) -> Cadence {
        Cadence(Cadence::of_ms(ms).0.max(1) | GATHERED)
    }

    pub(crate) fn is_every(self) -> bool {
        self == Cadence::EVERY
    }

    /// Ticks are gathered, not merged.
    pub(crate) fn is_gathered(self) -> bool {
        self.0 & GATHERED != 0
    }

    pub(crate) fn period_ms(self) -> u64 {
        PERIODS_MS[self.class()]
    }

    fn class(self) -> usize {
        usize::from(self.0 & !GATHERED)
    }
}

/// A topic in which something happened since the last stroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dirty {
    pub(crate) key: Key,
    pub(crate) cadence: Cadence,
}

/// One rate.
#[derive(Debug, Default)]
struct Class {
    /// The stroke before, nanoseconds of the monotonic clock.
    last_ns: u64,
    /// The next stroke, while something is dirty.
    due_ns: u64,
    /// Of this stroke, while it is under way: the topics that are still to be told.
    now: VecDeque<Dirty>,
    /// Of the next stroke.
    next: VecDeque<Dirty>,
}

/// The clocks of all rates.
#[derive(Debug)]
pub(crate) struct Cadences {
    classes: [Class; PERIODS_MS.len()],
    /// A bit for each class that has something to do.
    used: u16,
}

const _: () = assert!(PERIODS_MS.len() <= u16::BITS as usize);

impl Cadences {
    pub(crate) fn new() -> Self {
        Cadences { classes: Default::default(), used: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Something happened in a topic that was clean.
    pub(crate) fn note(&mut self, dirty: Dirty, now_ns: u64) {
        let class = &mut self.classes[dirty.cadence.class()];
        if class.next.is_empty() {
            // After a pause the first is told at once.
            let period_ns = dirty.cadence.period_ms() * 1_000_000;
            class.due_ns = (class.last_ns + period_ns).max(now_ns);
        }
        class.next.push_back(dirty);
        self.used |= 1 << dirty.cadence.class();
    }

    /// When the next stroke is due, nanoseconds of the monotonic clock; 0 while one is under way.
    pub(crate) fn due(&self) -> Option<u64> {
        self.in_use()
            .map(|at| {
                let class = &self.classes[at];
                if class.now.is_empty() { class.due_ns } else { 0 }
            })
            .min()
    }

    /// The next topic to tell, if one is due by `now_ns`.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<Dirty> {
        let at = self.in_use().find(|&at| {
            let class = &self.classes[at];
            !class.now.is_empty() || class.due_ns <= now_ns
        })?;
        let class = &mut self.classes[at];
        if class.now.is_empty() {
            std::mem::swap(&mut class.now, &mut class.next);
            class.last_ns = now_ns;
        }
        let dirty = class.now.pop_front();
        if class.now.is_empty() && class.next.is_empty() {
            self.used &= !(1 << at);
        }
        dirty
    }

    fn in_use(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.used;
        std::iter::from_fn(move || {
            let at = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::form::Form;
    use crate::wire::request::Channel;

    const MS: u64 = 1_000_000;

    #[test]
    fn rates_are_rounded_to_the_careful_side() {
        for ms in 0..12_000 {
            let (merged, gathered) = (Cadence::of_ms(ms), Cadence::gathered_ms(ms));
            assert!(merged.period_ms() >= ms.min(10_000), "{ms}: {merged:?}");
            assert!(gathered.period_ms() <= ms.max(5), "{ms}: {gathered:?}");
            assert!(gathered.is_gathered() && !merged.is_gathered());
            assert_eq!(merged.is_every(), ms == 0);
        }
    }

    #[test]
    fn a_stroke_tells_all_that_is_dirty_and_the_next_comes_a_period_later() {
        let dirty = |instrument, ms| Dirty {
            key: Key { channel: Channel::Quote, instrument, depth: 0, form: Form::NATIVE },
            cadence: Cadence::of_ms(ms),
        };
        let mut all = Cadences::new();
        assert_eq!((all.due(), all.pop(u64::MAX)), (None, None));
        // After a pause: at once.
        all.note(dirty(1, 100), 1_000 * MS);
        assert_eq!(all.due(), Some(1_000 * MS));
        all.note(dirty(2, 100), 1_001 * MS);
        all.note(dirty(3, 10), 1_002 * MS);
        let popped = [(); 4].map(|()| all.pop(1_003 * MS));
        let numbers = popped.map(|dirty| dirty.map(|dirty| dirty.key.instrument));
        assert_eq!(numbers, [Some(3), Some(1), Some(2), None]);
        assert!(all.is_empty());
        // Then a period after the stroke, however early something happens.
        all.note(dirty(1, 100), 1_004 * MS);
        assert_eq!((all.due(), all.pop(1_102 * MS)), (Some(1_103 * MS), None));
        assert_eq!(all.pop(1_103 * MS), Some(dirty(1, 100)));
    }

    #[test]
    fn what_becomes_dirty_during_a_stroke_waits_for_the_next() {
        let dirty = |instrument| Dirty {
            key: Key { channel: Channel::Quote, instrument, depth: 0, form: Form::NATIVE },
            cadence: Cadence::of_ms(10),
        };
        let mut all = Cadences::new();
        all.note(dirty(1), 0);
        all.note(dirty(2), 0);
        assert_eq!(all.pop(100 * MS), Some(dirty(1)));
        all.note(dirty(1), 101 * MS);
        assert_eq!(all.due(), Some(0), "the rest of the stroke");
        assert_eq!(all.pop(101 * MS), Some(dirty(2)));
        assert_eq!((all.pop(102 * MS), all.due()), (None, Some(110 * MS)));
        assert_eq!(all.pop(110 * MS), Some(dirty(1)));
    }
}
