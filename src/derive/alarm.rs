//! Who is due when: the side of the queue that a series keeps.

/// When somebody will call [`super::Series::advance`], receive time: entries in a queue that nothing is taken
/// out of before its time.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    /// The next one.
    next_ns: i64,
    /// One behind it that was put off for it.
    later_ns: i64,
}

impl Alarm {
    /// What is due sooner by less than this is not worth another entry: what a trade says of the
    /// distance of two clocks differs by as much from that of the one before it.
    const SLACK_NS: i64 = 20_000_000;

    pub(super) const fn new() -> Self {
        Alarm { next_ns: i64::MAX, later_ns: i64::MAX }
    }

    /// Whether an entry is to be made for this time.
    pub fn set(&mut self, due_ns: i64) -> bool {
        let by_ns = due_ns.saturating_add(Self::SLACK_NS);
        if self.next_ns <= by_ns {
            return false;
        }
        if self.later_ns <= by_ns {
            self.next_ns = std::mem::replace(&mut self.later_ns, i64::MAX);
            return false;
        }
        if self.next_ns != i64::MAX {
            self.later_ns = self.next_ns;
        }
        self.next_ns = due_ns;
        true
    }

    /// An entry's time has come, and it is gone; whether it was the next one and not left over.
    pub fn rings(&mut self, due_ns: i64) -> bool {
        let rings = self.next_ns == due_ns;
        if rings {
            self.next_ns = i64::MAX;
        } else if self.later_ns == due_ns {
            self.later_ns = i64::MAX;
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn there_is_one_entry_for_what_is_next_and_one_for_what_was_put_off() {
        let mut alarm = Alarm::new();
        assert!(alarm.set(60_000 * MS));
        assert!(alarm.set(1_000 * MS));
        assert!(!alarm.set(990 * MS), "about the same");
        assert!(!alarm.set(1_500 * MS), "it rings before");
        assert!(alarm.rings(1_000 * MS));
        assert!(!alarm.set(60_000 * MS), "that entry is still there");
        assert!(alarm.set(2_000 * MS));
        assert!(!alarm.rings(1_700 * MS), "left over");
        // Were an entry that was put off to come first, it is not counted upon later.
        assert!(!alarm.rings(60_000 * MS));
        assert!(alarm.rings(2_000 * MS));
        assert!(alarm.set(60_000 * MS));
    }
}
