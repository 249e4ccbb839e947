//! What a venue has answered to a connection's first subscriptions: pure, the time is passed in.

/// Who has answered nothing for so long will not: what is missing is taken to be granted, and the
/// books tell whether it was.
const PATIENCE_NS: u64 = 5_000_000_000;

/// What the answers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are more to come.
    Open,
    /// All is granted but for so much.
    Granted {
        /// How many answers were refusals.
        refused: usize,
    },
    /// Nothing is.
    Refused,
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct Answers {
    awaited: usize,
    granted: usize,
    refused: usize,
    /// When the last one came.
    last_ns: u64,
}

impl Answers {
    /// None yet, and so many are to come.
    pub(super) fn new(awaited: usize) -> Self {
        Answers { awaited, granted: 0, refused: 0, last_ns: 0 }
    }

    pub(super) fn heard(&mut self, is_granted: bool, now: u64) {
        *(if is_granted { &mut self.granted } else { &mut self.refused }) += 1;
        self.last_ns = now;
    }

    /// A request was refused and is asked for again in so many parts, each to be answered.
    pub(super) fn divided(&mut self, parts: usize, now: u64) {
        self.awaited = (self.awaited + parts).saturating_sub(1);
        self.last_ns = now;
    }

    /// What they come to by now, if the last request was sent at `asked_ns`. One refusal may answer
    /// for many: it is waited for more.
    pub(super) fn verdict(&self, asked_ns: u64, now: u64) -> Verdict {
        let all = self.granted + self.refused >= self.awaited;
        if !all && now < asked_ns.max(self.last_ns).saturating_add(PATIENCE_NS) {
            return Verdict::Open;
        }
        match (self.granted, self.refused) {
            (0, 1..) => Verdict::Refused,
            (_, refused) => Verdict::Granted { refused },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: u64 = PATIENCE_NS;

    #[test]
    fn all_is_granted_when_all_has_been_answered() {
        let mut answers = Answers::new(3);
        answers.heard(true, 7);
        answers.heard(false, 8);
        assert_eq!(answers.verdict(5, 9), Verdict::Open);
        answers.heard(true, 9);
        assert_eq!(answers.verdict(5, 9), Verdict::Granted { refused: 1 });
    }

    #[test]
    fn what_is_not_answered_is_waited_for_since_the_last_answer() {
        let mut answers = Answers::new(3);
        assert_eq!(answers.verdict(5, 4 + LATE), Verdict::Open);
        assert_eq!(answers.verdict(5, 5 + LATE), Verdict::Granted { refused: 0 });
        answers.heard(true, 4 + LATE);
        assert_eq!(answers.verdict(5, 5 + LATE), Verdict::Open);
        assert_eq!(answers.verdict(5, 4 + 2 * LATE), Verdict::Granted { refused: 0 });
    }

    #[test]
    fn one_refusal_may_be_for_all() {
        let mut answers = Answers::new(3);
        answers.heard(false, 7);
        assert_eq!(answers.verdict(5, 6 + LATE), Verdict::Open);
        assert_eq!(answers.verdict(5, 7 + LATE), Verdict::Refused);
        answers.heard(true, 8);
        assert_eq!(answers.verdict(5, 8 + LATE), Verdict::Granted { refused: 1 });
    }
}
