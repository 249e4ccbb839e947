//! Which of a connection's first requests are to be asked for again part by part, because the venue
//! refused them as a whole: pure.
//!
//! Each is asked for so once, so that however much a venue refuses, what is sent has an end: no more
//! messages than there are parts.

use std::collections::{HashMap, VecDeque};

/// What is refused for a reason that passes (too much at once) is given so long to pass.
const PAUSE_NS: u64 = 1_000_000_000;

/// What became of the requests, and what is to be sent again.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The id of the first; the others follow.
    first: u64,
    /// Whether each may still be divided.
    whole: Vec<bool>,
    /// How many have been answered.
    answered: usize,
    /// The parts, each with the time before which it is not sent.
    parts: VecDeque<(u64, String)>,
    /// All parts by their ids, of which each may be refused once.
    known: HashMap<u64, String>,
}

impl Refusals {
    /// None yet, of `count` requests with ids from `first` on.
    pub(super) fn new(first: u64, count: usize) -> Self {
        Refusals {
            first,
            whole: vec![true; count],
            answered: 0,
            parts: VecDeque::new(),
            known: HashMap::new(),
        }
    }

    /// A request was confirmed.
    pub(super) fn confirmed(&mut self) {
        self.answered += 1;
    }

    /// A request was refused as a whole: the one with this id, else the one after those answered so
    /// far. Says which it is of the first ones, if it is to be divided.
    pub(super) fn refused(&mut self, id: Option<u64>) -> Option<usize> {
        let nth = match id {
            Some(id) => usize::try_from(id.checked_sub(self.first)?).ok()?,
            None => self.answered,
        };
        self.answered += 1;
        std::mem::take(self.whole.get_mut(nth)?).then_some(nth)
    }

    /// The part with this id, which was refused.
    pub(super) fn part(&mut self, id: Option<u64>) -> Option<String> {
        self.known.remove(&id?)
    }

    /// These, with ids from `first` on where the venue's requests have some, are to be sent, some
    /// time after `now`.
    pub(super) fn divide(&mut self, first: u64, parts: Vec<String>, now: u64) {
        self.known.extend((first..).zip(parts.iter().cloned()));
        self.parts.extend(parts.into_iter().map(|text| (now + PAUSE_NS, text)));
    }

    /// When the next part is to be sent; `None` where there is none.
    pub(super) fn due(&self) -> Option<u64> {
        self.parts.front().map(|&(at, _)| at)
    }

    /// The next part, if it is due.
    pub(super) fn next(&mut self, now: u64) -> Option<String> {
        self.parts.pop_front_if(|(at, _)| *at <= now).map(|(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_first_requests_is_divided_once() {
        let mut refusals = Refusals::new(10, 3);
        assert_eq!(refusals.refused(Some(11)), Some(1));
        assert_eq!(refusals.refused(Some(11)), None, "said twice");
        assert_eq!(refusals.refused(Some(12)), Some(2));
        for other in [0, 9, 13, u64::MAX] {
            assert_eq!(refusals.refused(Some(other)), None, "{other}: a part, or a later request");
        }
    }

    #[test]
    fn without_an_id_it_is_the_one_whose_answer_is_due() {
        let mut refusals = Refusals::new(0, 3);
        refusals.confirmed();
        assert_eq!(refusals.refused(None), Some(1));
        refusals.confirmed();
        assert_eq!(refusals.refused(None), None, "a part");
    }

    #[test]
    fn parts_are_sent_in_order_after_a_pause() {
        let mut refusals = Refusals::new(0, 2);
        assert_eq!((refusals.due(), refusals.next(u64::MAX)), (None, None));
        refusals.divide(20, vec!["a".to_owned(), "b".to_owned()], 5);
        refusals.divide(22, vec!["c".to_owned()], 7);
        assert_eq!(refusals.due(), Some(5 + PAUSE_NS));
        assert_eq!(refusals.next(4 + PAUSE_NS), None);
        assert_eq!(refusals.next(5 + PAUSE_NS).as_deref(), Some("a"));
        assert_eq!(refusals.next(5 + PAUSE_NS).as_deref(), Some("b"));
        assert_eq!(refusals.next(5 + PAUSE_NS), None);
        assert_eq!(refusals.next(7 + PAUSE_NS).as_deref(), Some("c"));
        assert_eq!(refusals.due(), None);
        assert_eq!(refusals.part(Some(21)).as_deref(), Some("b"));
        assert_eq!(
            (refusals.part(Some(21)), refusals.part(Some(9)), refusals.part(None)),
            (None, None, None)
        );
    }
}
