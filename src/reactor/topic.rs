//! Topics: the subscribers that are told the same, of one channel of one instrument.

use super::cadence::Cadence;
use super::lanes::Lane;
use crate::books::{Depth, Mark};
use crate::derive::{Bar, Span, Wanted};
use crate::session::subs::Key;
use crate::wire::encode::TradeSum;
use crate::wire::form::Form;
use tickcast_feeds::Tick;

/// See the module.
#[derive(Debug)]
pub(crate) struct Topic {
    /// As in [`Key`].
    pub(crate) depth: u16,
    pub(crate) form: Form,
    pub(crate) cadence: Cadence,
    /// Sequence of the last message, which is the next one's `prev`.
    pub(crate) last: u64,
    /// Session numbers.
    pub(crate) subs: Vec<u32>,
    /// Those of sessions that bound their wait, with the bound.
    pub(crate) impatient: Vec<(u32, Lane)>,
    /// Where the next fan-out starts, so that nobody is always the last.
    turn: usize,
    /// For those that are not told every tick at once.
    pub(crate) paced: Option<Box<Paced>>,
}

/// What a topic needs to know between two strokes of its cadence.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    /// Something happened that its subscribers have not been told.
    pub(crate) dirty: bool,
    /// Nobody has been told anything.
    pub(crate) is_new: bool,
    /// Of a book: where its subscribers stand.
    pub(crate) mark: Mark,
    /// Of a book: it was replaced, the next message is a snapshot.
    pub(crate) fresh: bool,
    /// Of a book: what happened since is not known, and there are no snapshots to begin anew with.
    pub(crate) is_lost: bool,
    /// Of quotes and bars: what its subscribers have.
    pub(crate) quote: Option<Tick>,
    pub(crate) bar: Option<Bar>,
    /// Of trades: what they come to.
    pub(crate) trades: Option<TradeSum>,
    /// Messages that go out as one, with commas between.
    pub(crate) gathered: Vec<u8>,
}

impl Paced {
    /// Appends a message to those that go out together.
    pub(crate) fn gather(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.gathered.is_empty() {
            self.gathered.push(b',');
        }
        write(&mut self.gathered);
    }
}

impl Topic {
    fn new(key: &Key, cadence: Cadence, last: u64) -> Self {
        let paced =
            (!cadence.is_every()).then(|| Box::new(Paced { is_new: true, ..Paced::default() }));
        Topic {
            depth: key.depth,
            form: key.form,
            cadence,
            last,
            subs: Vec::new(),
            impatient: Vec::new(),
            turn: 0,
            paced,
        }
    }

    pub(crate) fn join(&mut self, session: u32, lane: Lane) {
        match lane {
            Lane::SERVERS => self.subs.push(session),
            lane => self.impatient.push((session, lane)),
        }
    }

    /// Takes a session out; says whether it was in.
    pub(crate) fn leave(&mut self, session: u32) -> bool {
        if let Some(at) = self.subs.iter().position(|&s| s == session) {
            self.subs.swap_remove(at);
        } else if let Some(at) = self.impatient.iter().position(|&(s, _)| s == session) {
            self.impatient.swap_remove(at);
        } else {
            return false;
        }
        true
    }

    /// All its sessions.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        self.subs.iter().copied().chain(self.impatient.iter().map(|&(id, _)| id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.subs.is_empty() && self.impatient.is_empty()
    }

    /// Of what happens between two strokes only the sum is told.
    pub(crate) fn is_merged(&self) -> bool {
        !self.cadence.is_every() && !self.cadence.is_gathered()
    }

    /// Of a book: how deep its subscribers look.
    pub(crate) fn view(&self) -> Depth {
        Depth::top(u64::from(self.depth)).unwrap_or(Depth::FULL)
    }

    /// Those who wait as long as the server does, in this message's order. The start moves on by a
    /// golden section each time: within a few messages everybody was early and late, however many
    /// they are. By one at a time, the last of 10,000 would be among the last for minutes.
    pub(crate) fn in_turn(&mut self) -> impl Iterator<Item = u32> + '_ {
        let count = self.subs.len();
        self.turn = (self.turn + ((count * 158 / 256) | 1)) % count.max(1);
        let (last, first) = self.subs.split_at(self.turn);
        first.iter().chain(last).copied()
    }
}

/// All topics of one channel of one instrument: one for each form and cadence (and depth) that
/// somebody wants.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The channel's newest sequence.
    pub(crate) last: u64,
    pub(crate) topics: Vec<Topic>,
}

impl Line {
    pub(crate) fn find(&mut self, key: &Key, cadence: Cadence) -> Option<&mut Topic> {
        let at = self.place(key, cadence)?;
        self.topics.get_mut(at)
    }

    /// The index of a topic.
    pub(super) fn place(&self, key: &Key, cadence: Cadence) -> Option<usize> {
        self.topics.iter().position(|topic| {
            (topic.depth, topic.form, topic.cadence) == (key.depth, key.form, cadence)
        })
    }

    /// The index of a topic, which is made now if there is none.
    pub(crate) fn find_or_make(&mut self, key: &Key, cadence: Cadence) -> usize {
        if let Some(at) = self.place(key, cadence) {
            return at;
        }
        self.topics.push(Topic::new(key, cadence, self.last));
        self.topics.len() - 1
    }

    /// What is between is lost. That shows in the next `prev`, but for topics that are told the newest
    /// only, unless each counts.
    pub(crate) fn skip_to(&mut self, seq: u64, each_counts: bool) {
        self.last = seq;
        for topic in self.topics.iter_mut().filter(|topic| each_counts || !topic.is_merged()) {
            topic.last = seq;
            topic.paced.iter_mut().for_each(|paced| paced.trades = None);
        }
    }

    /// Takes a session in.
    pub(crate) fn join(&mut self, session: u32, key: &Key, cadence: Cadence, lane: Lane) {
        let at = self.find_or_make(key, cadence);
        self.topics[at].join(session, lane);
    }

    /// Takes a session out, and a topic that nobody listens to any more; says whether it was in.
    pub(crate) fn leave(&mut self, session: u32, key: &Key, cadence: Cadence) -> bool {
        let Some(at) = self.place(key, cadence) else { return false };
        let was_in = self.topics[at].leave(session);
        if self.topics[at].is_empty() {
            self.topics.remove(at);
        }
        was_in
    }
}

/// The bars of one span; the ticker is the rolling one.
#[derive(Debug)]
pub(crate) struct BarLine {
    pub(crate) line: Line,
    /// The newest bar, once there is one.
    pub(crate) bar: Option<Bar>,
    /// Ring position before which bars are older than that.
    pub(crate) from: u64,
    /// Of which span they are; has the ingest make them known.
    pub(crate) wanted: Wanted,
}

impl BarLine {
    pub(crate) fn span(&self) -> Span {
        self.wanted.span()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::Channel;

    #[test]
    fn nobody_is_late_for_long() {
        for count in [1, 2, 3, 10, 97, 1000, 10_000] {
            let key = Key { channel: Channel::Trade, instrument: 0, depth: 0, form: Form::NATIVE };
            let mut topic = Topic::new(&key, Cadence::EVERY, 0);
            (0..count).for_each(|id| topic.join(id, Lane::SERVERS));
            let mut places = vec![0; count as usize];
            const MESSAGES: usize = 16;
            for _ in 0..MESSAGES {
                let order: Vec<u32> = topic.in_turn().collect();
                for (place, &id) in order.iter().enumerate() {
                    places[id as usize] += place;
                }
                let mut all = order;
                all.sort_unstable();
                assert!(all.into_iter().eq(0..count), "everybody once");
            }
            let middle = MESSAGES * (count as usize - 1) / 2;
            let worst = places.iter().map(|place| place.abs_diff(middle)).max().unwrap();
            // A place is never further from the middle, on average, than a fifth of all places.
            assert!(worst * 5 <= MESSAGES * count as usize, "{count}: {worst} from {middle}");
        }
    }
}
