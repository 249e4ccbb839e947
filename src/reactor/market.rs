//! What a reactor knows of each instrument, and who on this reactor listens to it.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::{FeedState, Instrument, InstrumentId, Tick};

use super::arrays::Array;
use super::topic::{BarLine, Line, Topic};
use crate::books::{Applied, Book, BookError, Journal};
use crate::session::subs::{Key, Terms};
use crate::session::symbols::Names;
use crate::session::wanted::Wanted;
use crate::wire::binance;
use crate::wire::encode::{self, Heads};
use crate::wire::form::Form;
use crate::wire::request::Channel;

/// One instrument.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: Arc<Instrument>,
    pub(crate) heads: Heads,
    pub(crate) trade: Line,
    pub(crate) quote: Line,
    pub(crate) status: Line,
    /// By depth; their `last` is the book's.
    pub(crate) books: Line,
    /// Only of spans that somebody here listens to.
    pub(crate) bars: Vec<BarLine>,
    /// Kept only while somebody here listens to it.
    pub(crate) book: Option<Box<Book>>,
    /// Ring position before which book ticks are in `book` already.
    pub(crate) book_from: u64,
    /// What happened to the book, while somebody is told less often, or later.
    pub(crate) journal: Option<Box<Journal>>,
    /// It is on the list of those that have a journal.
    pub(crate) has_journal: bool,
    /// The last good book while the feed rebuilds it, where the journal must go on over that.
    pub(crate) old_book: Option<Box<Book>>,
    pub(crate) last_quote: Option<Tick>,
    /// Kept only while somebody listens to bars.
    pub(crate) last_trade: Option<Tick>,
    pub(crate) feed: FeedState,
    /// When that state began, nanoseconds; 0 before the first status.
    pub(crate) feed_ns: u64,
    /// Ring position before which all ticks of this instrument are accounted for.
    pub(crate) from: u64,
}

impl Entry {
    fn new(info: Arc<Instrument>, binance: &str) -> Self {
        Entry {
            heads: Heads::new(&info, binance),
            info,
            trade: Line::default(),
            quote: Line::default(),
            status: Line::default(),
            books: Line::default(),
            bars: Vec::new(),
            book: None,
            book_from: 0,
            journal: None,
            has_journal: false,
            old_book: None,
            last_quote: None,
            last_trade: None,
            feed: FeedState::Live,
            feed_ns: 0,
            from: 0,
        }
    }

    /// The topics of a channel, of bars: of their span, where somebody listens to it.
    pub(crate) fn line(&mut self, channel: Channel, depth: u16) -> Option<&mut Line> {
        match channel {
            Channel::Trade => Some(&mut self.trade),
            Channel::Quote => Some(&mut self.quote),
            Channel::Status => Some(&mut self.status),
            Channel::Book => Some(&mut self.books),
            Channel::Bar | Channel::Ticker => {
                let span = channel.span(depth)?;
                self.bars.iter_mut().find(|bars| bars.span() == span).map(|bars| &mut bars.line)
            }
        }
    }

    /// The topic of a subscription, if it exists.
    pub(crate) fn topic(&mut self, key: &Key, terms: Terms) -> Option<&mut Topic> {
        self.line(key.channel, key.depth)?.find(key, terms.cadence)
    }

    /// The index in `books` of a topic, made now if there is none. Its journal begins, if it needs one.
    pub(crate) fn book_topic(&mut self, key: &Key, terms: Terms) -> usize {
        let seq = self.book.as_ref().map_or(0, |book| book.seq());
        self.books.last = seq;
        let at = self.books.find_or_make(key, terms.cadence);
        let topic = &mut self.books.topics[at];
        let is_merged = topic.is_merged();
        if let (Some(paced), Some(book)) = (&mut topic.paced, &self.book)
            && is_merged
            && paced.is_new
        {
            paced.is_new = false;
            // A stream without snapshots begins wherever it is joined.
            paced.fresh = !book.is_known() && !encode::is_unbegun(key.form);
            let journal = self.journal.get_or_insert_with(|| Box::new(Journal::new(book)));
            paced.mark = journal.end();
        }
        at
    }

    /// Applies an event to the book, and notes in the journal what a snapshot changes.
    pub(crate) fn apply_event(&mut self, event: &[Tick]) -> Result<Applied, BookError> {
        let Some(book) = &mut self.book else { return Ok(Applied::default()) };
        let old = match &self.journal {
            Some(_) if event.last().is_some_and(|tick| tick.has(flags::SNAPSHOT)) => {
                self.old_book.take().or_else(|| book.is_known().then(|| book.clone()))
            }
            _ => None,
        };
        let applied = book.apply_event(event)?;
        if let (Some(old), Some(journal)) = (old, &mut self.journal) {
            journal.note_replaced(&old, book);
        }
        Ok(applied)
    }

    /// The book is broken: nothing is known of it until its next snapshot.
    pub(crate) fn lose_book(&mut self) {
        let Some(book) = &mut self.book else { return };
        if self.journal.is_some() && book.is_known() {
            self.old_book = Some(book.clone());
        }
        book.clear();
    }

    /// Another copy takes the book's place.
    pub(crate) fn replace_book(&mut self, new: Book) {
        let old = self.old_book.take().or_else(|| self.book.take().filter(|book| book.is_known()));
        match (&mut self.journal, old) {
            (Some(journal), Some(old)) if new.is_known() => journal.note_replaced(&old, &new),
            (Some(_), old) => self.old_book = old,
            (None, _) => {}
        }
        self.book = Some(Box::new(new));
    }

    /// Takes a session out of a topic; books and bars that nobody listens to any more are dropped.
    pub(crate) fn leave(&mut self, session: u32, key: &Key, terms: Terms) {
        if let Some(line) = self.line(key.channel, key.depth) {
            line.leave(session, key, terms.cadence);
        }
        if key.channel.span(key.depth).is_some() {
            self.bars.retain(|bars| !bars.line.topics.is_empty());
        }
        if key.channel == Channel::Book && self.books.topics.is_empty() {
            self.book = None;
            self.journal = None;
            self.old_book = None;
        }
    }
}

/// A subscription to everything that matches, later listings included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    pub(crate) session: u32,
    pub(crate) channel: Channel,
    pub(crate) depth: u16,
    pub(crate) form: Form,
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
        (self.session, self.channel, self.depth, self.form, &self.venue)
            == (other.session, other.channel, other.depth, other.form, &other.venue)
    }

    /// The subscription to one instrument.
    pub(crate) fn key(&self, instrument: u32) -> Key {
        Key { channel: self.channel, instrument, depth: self.depth, form: self.form }
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
    /// The same in another dialect.
    pub(crate) binance: binance::names::Names,
    /// Instruments that have a journal of their book.
    pub(crate) journals: Vec<u32>,
    /// Messages of all instruments at once.
    pub(crate) arrays: Vec<Array>,
    /// Streams that clients asked for, of symbols that are not listed yet.
    pub(crate) wanted: Wanted,
}

impl Market {
    pub(crate) fn list(&mut self, info: Arc<Instrument>) {
        debug_assert_eq!(info.id.index(), self.entries.len());
        self.symbols.list(&info);
        let renamed = self.binance.list(&info);
        let binance = self.binance.symbol_of(info.id.0);
        self.entries.push(Entry::new(info, binance));
        if let Some(entry) = renamed.and_then(|id| self.entries.get_mut(id as usize)) {
            entry.heads = Heads::new(&entry.info, self.binance.symbol_of(entry.info.id.0));
        }
    }

    /// Puts an instrument on the list of those that have a journal, where it has one.
    pub(crate) fn note_journal(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        if entry.journal.is_some() && !std::mem::replace(&mut entry.has_journal, true) {
            self.journals.push(index as u32);
        }
    }

    pub(crate) fn get_mut(&mut self, id: InstrumentId) -> Option<&mut Entry> {
        self.entries.get_mut(id.index())
    }
}
