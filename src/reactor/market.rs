//! What a reactor knows of each instrument, and who on this reactor listens to it.

use std::sync::Arc;

use tickcast_feeds::{FeedState, Instrument, InstrumentId, Tick};

use super::lanes::Lane;
use crate::books::{Book, Depth};
use crate::derive::{Bar, Span, Wanted};
use crate::session::subs::Terms;
use crate::session::symbols::Names;
use crate::wire::native::Heads;
use crate::wire::request::Channel;

/// The subscribers of one channel of one instrument, and where its sequence stands.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    /// Sequence of the last message, which is the next one's `prev`.
    pub(crate) last: u64,
    /// Session numbers.
    pub(crate) subs: Vec<u32>,
    /// Those of sessions that bound their wait, with the bound.
    pub(crate) impatient: Vec<(u32, Lane)>,
    /// Where the next fan-out starts, so that nobody is always the last.
    pub(crate) turn: usize,
}

impl Topic {
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

    pub(crate) fn is_empty(&self) -> bool {
        self.subs.is_empty() && self.impatient.is_empty()
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

/// One book at one depth.
#[derive(Debug)]
pub(crate) struct BookTopic {
    /// As in [`crate::session::subs::Key`].
    pub(crate) depth: u16,
    pub(crate) view: Depth,
    pub(crate) topic: Topic,
}

/// The bars of one span; the ticker is the rolling one.
#[derive(Debug)]
pub(crate) struct BarTopic {
    pub(crate) topic: Topic,
    /// The newest bar, once there is one.
    pub(crate) bar: Option<Bar>,
    /// Ring position before which bars are older than that.
    pub(crate) from: u64,
    /// Of which span they are; has the ingest make them known.
    pub(crate) wanted: Wanted,
}

impl BarTopic {
    pub(crate) fn span(&self) -> Span {
        self.wanted.span()
    }
}

/// One instrument.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: Arc<Instrument>,
    pub(crate) heads: Heads,
    pub(crate) trade: Topic,
    pub(crate) quote: Topic,
    pub(crate) status: Topic,
    pub(crate) books: Vec<BookTopic>,
    /// Only of spans that somebody here listens to.
    pub(crate) bars: Vec<BarTopic>,
    /// Kept only while somebody here listens to it.
    pub(crate) book: Option<Box<Book>>,
    /// Ring position before which book ticks are in `book` already.
    pub(crate) book_from: u64,
    pub(crate) last_quote: Option<Tick>,
    pub(crate) feed: FeedState,
    /// When that state began, nanoseconds; 0 before the first status.
    pub(crate) feed_ns: u64,
    /// Ring position before which all ticks of this instrument are accounted for.
    pub(crate) from: u64,
}

impl Entry {
    fn new(info: Arc<Instrument>) -> Self {
        Entry {
            heads: Heads::new(&info.symbol),
            info,
            trade: Topic::default(),
            quote: Topic::default(),
            status: Topic::default(),
            books: Vec::new(),
            bars: Vec::new(),
            book: None,
            book_from: 0,
            last_quote: None,
            feed: FeedState::Live,
            feed_ns: 0,
            from: 0,
        }
    }

    /// The topic of a subscription, if it exists.
    pub(crate) fn topic(&mut self, channel: Channel, depth: u16) -> Option<&mut Topic> {
        match channel {
            Channel::Trade => Some(&mut self.trade),
            Channel::Quote => Some(&mut self.quote),
            Channel::Status => Some(&mut self.status),
            Channel::Book => {
                self.books.iter_mut().find(|book| book.depth == depth).map(|book| &mut book.topic)
            }
            Channel::Bar | Channel::Ticker => {
                let span = channel.span(depth)?;
                self.bars.iter_mut().find(|bars| bars.span() == span).map(|bars| &mut bars.topic)
            }
        }
    }

    /// The index in `books` of the topic at this depth, made now if there is none.
    pub(crate) fn book_topic(&mut self, depth: u16) -> usize {
        if let Some(at) = self.books.iter().position(|book| book.depth == depth) {
            return at;
        }
        let last = self.book.as_ref().map_or(0, |book| book.seq());
        let view = Depth::top(u64::from(depth)).unwrap_or(Depth::FULL);
        self.books.push(BookTopic { depth, view, topic: Topic { last, ..Topic::default() } });
        self.books.len() - 1
    }

    /// Takes a session out of a topic; books and bars that nobody listens to any more are dropped.
    pub(crate) fn leave(&mut self, session: u32, channel: Channel, depth: u16) {
        if let Some(topic) = self.topic(channel, depth) {
            topic.leave(session);
        }
        if channel.span(depth).is_some() {
            self.bars.retain(|bars| !bars.topic.is_empty());
        }
        if channel == Channel::Book {
            self.books.retain(|book| !book.topic.is_empty());
            if self.books.is_empty() {
                self.book = None;
            }
        }
    }
}

/// A subscription to everything that matches, later listings included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    pub(crate) session: u32,
    pub(crate) channel: Channel,
    pub(crate) depth: u16,
    pub(crate) terms: Terms,
    /// `None` for all venues.
    pub(crate) venue: Option<String>,
}

impl Wildcard {
    pub(crate) fn matches(&self, info: &Instrument) -> bool {
        self.venue.as_deref().is_none_or(|venue| venue == info.venue)
    }

    /// Whether it is the same subscription, whatever its terms.
    pub(crate) fn same(&self, other: &Wildcard) -> bool {
        (self.session, self.channel, self.depth, &self.venue)
            == (other.session, other.channel, other.depth, &other.venue)
    }

    /// As the client writes it.
    pub(crate) fn pattern(&self) -> String {
        self.venue.as_ref().map_or_else(|| "*".to_owned(), |venue| format!("{venue}:*"))
    }
}

/// All instruments, by id.
#[derive(Debug, Default)]
pub(crate) struct Market {
    pub(crate) entries: Vec<Entry>,
    pub(crate) wildcards: Vec<Wildcard>,
    pub(crate) symbols: Names,
}

impl Market {
    pub(crate) fn list(&mut self, info: Arc<Instrument>) {
        debug_assert_eq!(info.id.index(), self.entries.len());
        self.symbols.list(&info);
        self.entries.push(Entry::new(info));
    }

    pub(crate) fn get_mut(&mut self, id: InstrumentId) -> Option<&mut Entry> {
        self.entries.get_mut(id.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_late_for_long() {
        for count in [1, 2, 3, 10, 97, 1000, 10_000] {
            let mut topic = Topic::default();
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
