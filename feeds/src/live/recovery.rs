//! When to ask for which book anew: pure, the time is passed in.
//!
//! A parser says what is needed until it has come ([`Venue::wants`](crate::venue::Venue::wants));
//! this says what to do about it now. A book that broke is asked for at once, one that was just
//! subscribed to is given time to come by itself, and one that breaks again and again is asked for
//! more and more rarely, so that a venue gone mad is not stormed.

use std::collections::HashMap;

use super::backoff::{Backoff, Jitter};
use crate::venue::{How, Want};

const SECOND_NS: u64 = 1_000_000_000;

/// How long a snapshot that comes in the stream may take after the subscription was confirmed.
const GRACE_NS: u64 = 10 * SECOND_NS;

/// A request that has led to nothing for so long is made again: longer than a snapshot of a large
/// book takes in the stream. Each further time it is given twice as long, up to the most: a symbol
/// that the venue has ceased to serve is refused as often as it is asked for.
const PATIENCE_NS: u64 = 15 * SECOND_NS;
const MOST_PATIENCE_NS: u64 = 600 * SECOND_NS;

/// The waits between requests for the same book. A fetched snapshot that is too old for the diffs
/// is the normal case of a second try, and a quarter of a second later it is new enough.
const FIRST_WAIT_NS: u64 = SECOND_NS / 4;
const MOST_WAIT_NS: u64 = 60 * SECOND_NS;

/// A book that stayed whole for so long starts with a clean record.
const STEADY_NS: u64 = 10 * SECOND_NS;

/// Where a snapshot is a new subscription, so many breaks in a row cost no wait; venues allow few
/// subscriptions (OKX: 480 an hour). Fetching is bounded by its weight alone.
const FREE_BREAKS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way.
    Idle,
    /// It was subscribed to and may come by itself.
    Grace,
    /// It was asked for.
    Asked,
}

#[derive(Debug)]
struct Case {
    phase: Phase,
    backoff: Backoff,
    /// How often it has been asked for without an answer.
    vain: u32,
    /// How often it has broken since it was steady.
    breaks: u32,
    /// Not to be asked for before.
    at: u64,
    /// When it was last seen to be wanted.
    seen: u64,
    /// How many snapshots had come then.
    snapshots: u32,
}

impl Case {
    fn new(now: u64) -> Self {
        let backoff = Backoff::new(FIRST_WAIT_NS, MOST_WAIT_NS);
        Case { phase: Phase::Idle, backoff, vain: 0, breaks: 0, at: now, seen: now, snapshots: 0 }
    }

    /// It has come, or it is not looked for any more.
    fn settle(&mut self, how: How) {
        if self.phase == Phase::Asked {
            self.breaks += 1;
        }
        self.backoff.reset();
        self.vain = 0;
        let over = self.breaks.saturating_sub(FREE_BREAKS).min(32);
        let wait = if how == How::Fetch || over == 0 { 0 } else { FIRST_WAIT_NS << over };
        (self.phase, self.at) = (Phase::Idle, self.seen.saturating_add(wait.min(MOST_WAIT_NS)));
    }
}

/// Decides for all books of a feed.
#[derive(Debug)]
pub(super) struct Recovery {
    how: How,
    cases: HashMap<Box<str>, Case>,
    /// The place among what is wanted whose turn it is to be asked for.
    turn: usize,
    jitter: Jitter,
}

impl Recovery {
    /// For a venue that gives snapshots in this way.
    pub(super) fn new(how: How, seed: u64) -> Self {
        Recovery { how, cases: HashMap::new(), turn: 0, jitter: Jitter::new(seed) }
    }

    /// These were subscribed to at `now`: where snapshots come in the stream they are given time.
    pub(super) fn expect(&mut self, natives: &[Box<str>], now: u64) {
        let at = if self.how == How::Resubscribe { now + GRACE_NS } else { now };
        for native in natives {
            let case = self.cases.entry(native.clone()).or_insert_with(|| Case::new(now));
            (case.phase, case.vain, case.at) = (Phase::Grace, 0, at);
            (case.seen, case.snapshots) = (now, 0);
        }
    }

    /// Asks for what is to be asked for now, of what is wanted. `ask` says whether it did: what there
    /// is no connection or no room for is decided upon again.
    ///
    /// Where there is room for some only, all have their turn: a book that breaks for ever does not
    /// keep the others from being mended.
    pub(super) fn decide(&mut self, now: u64, wants: &[Want], mut ask: impl FnMut(&Want) -> bool) {
        let (before, from) = wants.split_at(self.turn.min(wants.len()));
        let begin = before.len();
        for (place, want) in from.iter().chain(before).enumerate() {
            if !self.cases.contains_key(&want.native) {
                self.cases.insert(want.native.clone(), Case::new(now));
            }
            let Some(case) = self.cases.get_mut(&want.native) else { continue };
            // It has come and broke again since it was last looked at.
            if want.snapshots > case.snapshots && case.phase != Phase::Idle {
                case.settle(self.how);
            }
            (case.seen, case.snapshots) = (now, want.snapshots);
            // One that is under way is asked for again when it had its time.
            if now >= case.at && ask(want) {
                let patience = (PATIENCE_NS << case.vain.min(32)).min(MOST_PATIENCE_NS);
                (case.phase, case.at) = (Phase::Asked, now + patience);
                case.vain += 1;
                self.turn = (begin + place + 1) % wants.len();
            }
        }
        let how = self.how;
        self.cases.retain(|_, case| {
            if case.seen != now && case.phase != Phase::Idle {
                case.settle(how);
            }
            case.seen.saturating_add(STEADY_NS) > now || case.at > now
        });
    }

    /// The request for a book came to an end, well or not: if it is still wanted, it is asked for
    /// again after a while.
    pub(super) fn answered(&mut self, native: &str, now: u64) {
        if let Some(case) = self.cases.get_mut(native) {
            (case.at, case.vain) = (now.saturating_add(case.backoff.next(&mut self.jitter)), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: How = How::Resubscribe;

    fn want(native: &str) -> Want {
        want_after(native, 0)
    }

    /// One of which so many snapshots have come.
    fn want_after(native: &str, snapshots: u32) -> Want {
        Want { native: native.into(), how: HOW, snapshots }
    }

    fn asked(recovery: &mut Recovery, now: u64, wants: &[Want]) -> Vec<String> {
        let mut out = Vec::new();
        recovery.decide(now, wants, |want| {
            let can = &*want.native != "DEAD";
            if can {
                out.push(want.native.to_string());
            }
            can
        });
        out
    }

    #[test]
    fn what_broke_is_asked_for_at_once_and_once() {
        let mut all = Recovery::new(How::Fetch, 1);
        let wants = [want("A"), want("DEAD")];
        assert_eq!(asked(&mut all, 5, &wants), ["A"]);
        assert!(asked(&mut all, 6, &wants).is_empty(), "under way");
        // The answer was too old.
        all.answered("A", 100);
        assert!(asked(&mut all, 101, &wants).is_empty());
        assert_eq!(asked(&mut all, 100 + SECOND_NS, &wants), ["A"]);
        let later = 100 + SECOND_NS + PATIENCE_NS;
        assert!(asked(&mut all, later - 1, &wants).is_empty());
        assert_eq!(asked(&mut all, later, &wants), ["A"], "lost without an answer");
    }

    #[test]
    fn what_was_just_subscribed_to_is_given_time_where_it_comes_by_itself() {
        let mut all = Recovery::new(HOW, 1);
        all.expect(&["A".into(), "B".into()], 0);
        assert!(asked(&mut all, SECOND_NS, &[want("A"), want("B")]).is_empty());
        // B has come; when it breaks, its time of grace is over.
        assert!(asked(&mut all, 2 * SECOND_NS, &[want("A")]).is_empty());
        assert_eq!(asked(&mut all, 3 * SECOND_NS, &[want("A"), want("B")]), ["B"]);
        assert_eq!(asked(&mut all, GRACE_NS, &[want("A"), want("B")]), ["A"]);
        let mut all = Recovery::new(How::Fetch, 1);
        all.expect(&["A".into()], 0);
        assert_eq!(asked(&mut all, 1, &[want("A")]), ["A"]);
    }

    #[test]
    fn what_never_comes_is_asked_for_more_and_more_rarely() {
        let mut all = Recovery::new(HOW, 1);
        all.expect(&["A".into()], 0);
        let mut times = Vec::new();
        for second in 0..3_600 {
            if !asked(&mut all, second * SECOND_NS, &[want("A")]).is_empty() {
                times.push(second);
            }
        }
        assert_eq!(times[..5], [10, 25, 55, 115, 235]);
        assert_eq!(times[7..], [1_555, 2_155, 2_755, 3_355], "{times:?}");
        // It comes at last, and breaks.
        asked(&mut all, 3_600 * SECOND_NS, &[]);
        assert_eq!(asked(&mut all, 3_601 * SECOND_NS, &[want("A")]), ["A"]);
        assert_eq!(asked(&mut all, 3_616 * SECOND_NS, &[want("A")]), ["A"]);
    }

    #[test]
    fn what_came_and_broke_between_two_looks_is_asked_for_at_once() {
        let mut all = Recovery::new(HOW, 1);
        all.expect(&["A".into()], 0);
        assert!(asked(&mut all, 1, &[want("A")]).is_empty());
        assert_eq!(asked(&mut all, 2, &[want_after("A", 1)]), ["A"]);
        assert!(asked(&mut all, 3, &[want_after("A", 1)]).is_empty(), "under way");
        assert_eq!(asked(&mut all, 4, &[want_after("A", 2)]), ["A"]);
        // Another connection is to carry it: it has its time.
        all.expect(&["A".into()], 5);
        assert!(asked(&mut all, 6, &[want("A")]).is_empty());
    }

    #[test]
    fn where_there_is_room_for_one_all_have_their_turn() {
        let mut all = Recovery::new(How::Fetch, 1);
        let wants = ["A", "B", "C"].map(want);
        let mut out = String::new();
        for now in 0..9 {
            let mut room = 1;
            all.decide(now * SECOND_NS, &wants, |want| {
                room -= 1;
                if room == 0 {
                    out.push_str(&want.native);
                }
                room == 0
            });
            // Each comes, and breaks again at once.
            all.decide(now * SECOND_NS + 1, &[], |_| false);
        }
        assert_eq!(out, "ABCABCABC");
    }

    /// How often a book is asked for in two minutes that comes at once and breaks at once.
    fn asked_when_mad(how: How) -> usize {
        let mut all = Recovery::new(how, 3);
        let (mut now, mut times) = (0, 0);
        while now < 120 * SECOND_NS {
            if !asked(&mut all, now, &[want("A")]).is_empty() {
                times += 1;
                asked(&mut all, now + 1, &[]);
            }
            now += SECOND_NS / 10;
        }
        // A long time without a break: a clean record.
        asked(&mut all, now + 200 * SECOND_NS, &[]);
        assert!(all.cases.is_empty());
        times
    }

    #[test]
    fn what_breaks_again_and_again_is_subscribed_to_more_and_more_rarely() {
        let times = asked_when_mad(HOW);
        assert!((10..30).contains(&times), "{times}");
        assert!(asked_when_mad(How::Fetch) > 500);
    }
}
