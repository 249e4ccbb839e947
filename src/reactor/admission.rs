//! How much of a reactor's time goes to those who arrive: reading requests, taking sockets over,
//! snapshots. Ticks for those who are there must not wait behind ten thousand who come back.
//!
//! Such work is done in slices, at most one a turn, so that the ring and the flush queue are looked
//! at in between. While ticks are due, a slice must also be covered by credit, which accrues as a
//! share of the time: under overload newcomers get that share and no more, but never nothing. With
//! no tick due there is nobody to take the time from.
//!
//! Pure: the clock is passed in.

/// Longest slice, nanoseconds: by so much, and the one piece of work that ends it, a tick may be later.
const SLICE_NS: i64 = 250_000;
/// Of the time, while ticks are due, one part in so many.
const SHARE: u64 = 4;
/// Most debt of a slice that ended late: one huge snapshot must not keep everybody else out for long.
const DEBT_NS: i64 = 4 * SLICE_NS;

/// The budget.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Admission {
    at_ns: u64,
    /// What newcomers may use while ticks are due, nanoseconds; below zero, they used more.
    credit_ns: i64,
    /// This turn's slice, and what is left of it.
    slice_ns: i64,
    left_ns: i64,
    waiting: bool,
    /// Turns that put off work of newcomers.
    pub(crate) paced: u64,
    /// Time that newcomers took, nanoseconds.
    pub(crate) spent_ns: u64,
}

impl Admission {
    /// A turn begins; `due`: there are ticks to be sent now.
    pub(crate) fn turn(&mut self, now_ns: u64, due: bool) {
        let gained = now_ns.saturating_sub(self.at_ns) / SHARE;
        self.at_ns = now_ns;
        self.credit_ns = self.credit_ns.saturating_add_unsigned(gained).min(SLICE_NS);
        self.slice_ns = if due { self.credit_ns.max(0) } else { SLICE_NS };
        self.left_ns = self.slice_ns;
        self.paced += u64::from(std::mem::take(&mut self.waiting));
    }

    /// Whether a socket may be taken over or read from in this turn.
    pub(crate) fn is_open(&self) -> bool {
        self.left_ns > 0
    }

    /// Whether a snapshot may be sent in this turn. Half of the slice is left for others: whoever
    /// asks for all books there are must not keep requests from being read.
    pub(crate) fn is_open_for_snapshots(&self) -> bool {
        self.left_ns > self.slice_ns / 2
    }

    /// Whether work was put off in this turn.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Work is left for a later turn.
    pub(crate) fn put_off(&mut self) {
        self.waiting = true;
    }

    /// Some was done.
    pub(crate) fn spend(&mut self, ns: u64) {
        self.left_ns = self.left_ns.saturating_sub_unsigned(ns);
        self.credit_ns = self.credit_ns.saturating_sub_unsigned(ns).max(-DEBT_NS);
        self.spent_ns += ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: u64 = SLICE_NS as u64;

    /// Turns of a reactor with more newcomers than it has time for, for a simulated second: in each,
    /// `ticks_ns` for ticks (due when that is not 0), then newcomers, `piece_ns` at a time, as long
    /// as they may. Says how much time these got, and the longest that they took at once.
    fn second(ticks_ns: u64, piece_ns: u64) -> (u64, u64) {
        let mut admission = Admission::default();
        let (mut now, mut longest) = (0, 0);
        while now < 1_000_000_000 {
            admission.turn(now, ticks_ns > 0);
            now += ticks_ns + 1_000;
            let began = now;
            while admission.is_open() {
                admission.spend(piece_ns);
                now += piece_ns;
            }
            admission.put_off();
            longest = longest.max(now - began);
        }
        (admission.spent_ns, longest)
    }

    #[test]
    fn with_nothing_due_newcomers_get_nearly_all_but_in_slices() {
        let (spent, longest) = second(0, 20_000);
        assert!(spent > 980_000_000, "{spent}");
        assert!(longest <= SLICE + 20_000, "{longest}");
    }

    #[test]
    fn while_ticks_are_due_they_get_their_share() {
        for ticks_ns in [10_000, 500_000, 3_000_000] {
            let (spent, longest) = second(ticks_ns, 20_000);
            // Credit is kept for one slice only, so that long turns leave less than the share.
            let most = SLICE * 1_000_000_000 / (ticks_ns + SLICE);
            let wanted = most.min(250_000_000);
            assert!((wanted * 8 / 10..wanted * 12 / 10).contains(&spent), "{ticks_ns}: {spent}");
            assert!(longest <= SLICE + 20_000, "{ticks_ns}: {longest}");
        }
    }

    #[test]
    fn a_huge_piece_is_paid_back_but_not_for_ever() {
        let mut admission = Admission::default();
        admission.turn(1_000_000_000, true);
        assert!(admission.is_open());
        admission.spend(1_000_000_000);
        assert!(!admission.is_open());
        admission.turn(1_000_000_001, true);
        assert!(!admission.is_open(), "paid back first");
        admission.turn(1_000_000_001, false);
        assert!(admission.is_open(), "nobody is kept waiting by it");
        admission.turn(1_000_000_001 + SLICE * SHARE * 5, true);
        assert!(admission.is_open());
    }

    #[test]
    fn snapshots_leave_half_of_a_slice_to_others() {
        let mut admission = Admission::default();
        admission.turn(0, false);
        assert!(admission.is_open_for_snapshots());
        admission.spend(SLICE / 2);
        assert!(!admission.is_open_for_snapshots() && admission.is_open());
        admission.spend(SLICE / 2);
        assert!(!admission.is_open());
    }

    #[test]
    fn turns_that_put_work_off_are_counted_once_each() {
        let mut admission = Admission::default();
        for turn in 0..10 {
            admission.turn(turn, false);
            if turn < 3 {
                admission.put_off();
                admission.put_off();
            }
        }
        assert_eq!(admission.paced, 3);
    }
}
