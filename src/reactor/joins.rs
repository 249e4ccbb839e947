//! Snapshots: how a subscription gets its first state and then every tick after it.
//!
//! A subscription whose channel has a state (all but trades) joins its topic at the moment
//! its snapshot is pushed, which is between two ticks: no gap, no duplicate. Joins are done a few
//! at a time, and only while the client's outbox is far from its bound, so that `book` of `*`
//! neither stalls a turn nor evicts the client.

use std::collections::VecDeque;

use super::Core;
use super::market::{Entry, Wildcard};
use super::resume::Step;
use super::strokes::view_here;
use super::ticks::book_head;
use crate::clock;
use crate::limits;
use crate::session::Join;
use crate::session::resume::{Begin, Loss, Start};
use crate::session::subs::{Key, Sub, Terms};
use crate::wire::encode;
use crate::wire::request::Channel;

impl Core {
    /// Adds a subscription that the session does not have yet.
    pub(crate) fn subscribe(&mut self, id: u32, key: Key, terms: Terms, wild: bool) {
        self.subscribe_from(id, key, terms, wild, Begin::NOW);
    }

    /// The same, beginning so.
    pub(crate) fn subscribe_from(
        &mut self,
        id: u32,
        key: Key,
        terms: Terms,
        wild: bool,
        begin: Begin,
    ) {
        if !self.admit(id, key, terms, wild) {
            return;
        }
        if key.channel == Channel::Trade && begin == Begin::NOW {
            // Trades have no state to begin with.
            if let Some(entry) = self.market.entries.get_mut(key.instrument as usize) {
                entry.trade.join(id, &key, terms.cadence, terms.lane);
            }
        } else if key.channel == Channel::Book && encode::is_unbegun(key.form) {
            self.follow_book(id, key, terms);
        } else {
            self.join_later(id, Join { key, fresh: true, begin });
        }
    }

    /// Adds a subscription to a session that may have it; whether it may. There is no other way to one, so that
    /// no dialect, wildcard or listing can forget to ask.
    fn admit(&mut self, id: u32, key: Key, terms: Terms, wild: bool) -> bool {
        if !self.may(id, &key) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        session.subs.insert(key, Sub { terms, wild, waits: false });
        self.report.subscriptions += 1;
        true
    }

    /// Whether a session may see this.
    pub(crate) fn may(&self, id: u32, key: &Key) -> bool {
        let entry = self.market.entries.get(key.instrument as usize);
        let session = self.sessions.get(id as usize);
        session.zip(entry).is_some_and(|(session, entry)| {
            session.grant.covers(&entry.info, key.channel, key.depth)
        })
    }

    /// Joins a book's stream that begins without a snapshot. At once: its client gets the snapshot by
    /// itself, over HTTP, as soon as it has its answer, and it has to lie in what it is told.
    fn follow_book(&mut self, id: u32, key: Key, terms: Terms) {
        let began_ns = clock::now().mono_ns;
        self.join(id, Join { key, fresh: true, begin: Begin::default() }, terms);
        self.newcomer_took(began_ns);
    }

    /// A wildcard's subscription to an instrument that has just been listed: none of its ticks has
    /// been seen here, so there is no snapshot to wait for and the first tick is the first message.
    pub(super) fn subscribe_listed(&mut self, wildcard: &Wildcard, instrument: u32) {
        let key = wildcard.key(instrument);
        let Some(session) = self.sessions.get_mut(wildcard.session as usize) else { return };
        // Another wildcard may have been first.
        if session.subs.contains(&key) {
            return;
        }
        // A feed has a state from the beginning, a trade never; the bars of trades that are not read yet may
        // have begun.
        if !matches!(wildcard.channel, Channel::Quote | Channel::Book) {
            return self.subscribe(wildcard.session, key, wildcard.terms, true);
        }
        if !self.admit(wildcard.session, key, wildcard.terms, true) {
            return;
        }
        let entry = &mut self.market.entries[instrument as usize];
        match wildcard.channel {
            Channel::Book => {
                entry.book.get_or_insert_default();
                let at = entry.book_topic(&key, wildcard.terms);
                entry.books.topics[at].join(wildcard.session, wildcard.terms.lane);
                self.market.note_journal(instrument as usize);
            }
            _ => {
                let Terms { cadence, lane, .. } = wildcard.terms;
                entry.quote.join(wildcard.session, &key, cadence, lane);
            }
        }
    }

    /// Another snapshot of something subscribed.
    pub(crate) fn rejoin(&mut self, id: u32, key: Key) {
        self.rejoin_from(id, key, Begin::NOW);
    }

    /// The same, with what is to come before it.
    pub(crate) fn rejoin_from(&mut self, id: u32, key: Key, begin: Begin) {
        if key.channel != Channel::Trade || begin.history > 0 {
            self.join_later(id, Join { key, fresh: false, begin });
        }
    }

    /// Joins another topic, with a snapshot or what the client missed.
    pub(crate) fn join_anew(&mut self, id: u32, key: Key, begin: Begin) {
        self.join_later(id, Join { key, fresh: true, begin });
        // A snapshot that waits is of a topic that it is not in any more.
        if let Some(session) = self.sessions.get_mut(id as usize) {
            let waiting = session.joins.iter_mut().filter(|join| join.key == key);
            waiting.for_each(|join| (join.fresh, join.begin) = (true, begin));
        }
    }

    pub(super) fn rejoin_all(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let keys: Vec<Key> = session.subs.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.rejoin(id, key);
        }
    }

    fn join_later(&mut self, id: u32, join: Join) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let Some(sub) = session.subs.get_mut(&join.key) else { return };
        // One that waits for a snapshot gets it anyway: who asks again and again makes no queue.
        if std::mem::replace(&mut sub.waits, true) {
            return;
        }
        session.joins.push_back(join);
        if !session.joining {
            session.joining = true;
            self.joiners.push_back(id);
        }
    }

    /// Does joins, one client after the other, as far as newcomers may have the time; says how many.
    pub(super) fn do_joins(&mut self) -> usize {
        if self.joiners.is_empty() {
            return 0;
        }
        let mut done = 0;
        let mut began_ns = clock::now().mono_ns;
        while !self.joiners.is_empty() {
            if !self.admission.is_open_for_snapshots() {
                self.admission.put_off();
                break;
            }
            let Some(id) = self.joiners.pop_front() else { break };
            done += self.join_some(id);
            began_ns = self.newcomer_took(began_ns);
        }
        done
    }

    /// One write's worth of a client's joins: a write costs more than a snapshot.
    fn join_some(&mut self, id: u32) -> usize {
        let room = self.hub.settings.outbox_bytes / 4;
        let mut done = 0;
        loop {
            let Some(session) = self.sessions.get_mut(id as usize) else { return done };
            // With a full outbox the flush puts it back in line.
            if session.out.len() > room || session.out.is_blocked() {
                session.joining = false;
                session.special = true;
                break;
            }
            if done > 0 && session.out.len() >= limits::SNAPSHOTS_BYTES_PER_WRITE {
                self.joiners.push_back(id);
                break;
            }
            let Some(join) = session.joins.pop_front() else {
                session.joining = false;
                session.joins = VecDeque::new();
                break;
            };
            let Some(sub) = session.subs.get_mut(&join.key) else { continue };
            sub.waits = false;
            let terms = sub.terms;
            match self.begin(id, join, terms) {
                Step::Done => {}
                Step::Part(seq) => self.put_back(id, join, Start::Going(seq)),
                Step::Later => {
                    self.put_back(id, join, join.begin.start);
                    self.parked.push(id);
                    break;
                }
                Step::Looking => {
                    self.put_back(id, join, join.begin.start);
                    self.joiners.push_front(id);
                    break;
                }
            }
            done += 1;
        }
        if self.urgent.back() == Some(&id) {
            self.urgent.pop_back();
        }
        self.flush(id);
        done
    }

    /// A join that is not done goes on where it is.
    fn put_back(&mut self, id: u32, mut join: Join, start: Start) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if let Some(sub) = session.subs.get_mut(&join.key) {
            sub.waits = true;
            join.begin.start = start;
            session.joins.push_front(join);
        }
    }

    fn begin(&mut self, id: u32, join: Join, terms: Terms) -> Step {
        if join.key.instrument as usize >= self.market.entries.len() {
            return Step::Done;
        }
        match join.begin.start {
            Start::Now => {
                self.join(id, join, terms);
                Step::Done
            }
            Start::Lost(loss) => self.lost(id, join, terms, loss),
            // What is told in sums is not told again one by one.
            _ if !terms.cadence.is_every() => self.lost(id, join, terms, Loss::Mode),
            _ => self.resume(id, join, terms),
        }
    }

    /// Sends a snapshot, with what is to come before it, and takes the session into the topic.
    pub(super) fn join(&mut self, id: u32, Join { key, fresh, begin }: Join, terms: Terms) {
        let mut message = Vec::new();
        match key.channel {
            Channel::Trade => self.join_trades(&key, terms),
            Channel::Quote => self.join_quotes(&key, terms, &mut message),
            Channel::Status => self.join_status(&key, terms, &mut message),
            Channel::Book => self.join_book(&key, terms, &mut message),
            Channel::Bar | Channel::Ticker => self.join_bars(&key, terms, &mut message),
        }
        if fresh
            && let Some(topic) = self.market.entries[key.instrument as usize].topic(&key, terms)
        {
            topic.join(id, terms.lane);
        }
        // What was held back is older than the snapshot.
        if !message.is_empty()
            && let Some(held) = self.sessions.get_mut(id as usize).and_then(|s| s.held.as_mut())
        {
            held.forget(std::iter::once(&key));
        }
        let mut frames = Vec::new();
        if begin.history > 0 {
            self.past(&key, terms, begin.history.into(), &mut frames);
        }
        if !(frames.is_empty() && message.is_empty()) {
            self.push_framed(id, |encodings, out| {
                out.extend_from_slice(&frames);
                if !message.is_empty() {
                    encodings.own(key.form, &message, out);
                }
            });
        }
    }

    fn join_trades(&mut self, key: &Key, terms: Terms) {
        self.flush_gathered(key, terms);
        self.market.entries[key.instrument as usize].trade.find_or_make(key, terms.cadence);
    }

    fn join_quotes(&mut self, key: &Key, terms: Terms, message: &mut Vec<u8>) {
        self.flush_gathered(key, terms);
        let Entry { heads, quote, last_quote, .. } =
            &mut self.market.entries[key.instrument as usize];
        let at = quote.find_or_make(key, terms.cadence);
        let topic = &mut quote.topics[at];
        let tick = Entry::quote_at(topic, *last_quote);
        if let Some(paced) = topic.paced.as_mut().filter(|paced| paced.is_new) {
            // The first who is there has what is known now.
            paced.is_new = false;
            paced.quote = tick;
        }
        if let Some(tick) = tick {
            encode::quote(message, key.form, heads, &tick, None);
        }
    }

    fn join_status(&mut self, key: &Key, terms: Terms, message: &mut Vec<u8>) {
        let now_ns = self.now.ns;
        let entry = &mut self.market.entries[key.instrument as usize];
        let age_ms = match entry.feed_ns {
            0 => 0,
            since => now_ns.saturating_sub(since) / 1_000_000,
        };
        entry.status.find_or_make(key, terms.cadence);
        encode::feed_status(message, key.form, &entry.heads, entry.feed, age_ms);
    }

    fn join_book(&mut self, key: &Key, terms: Terms, message: &mut Vec<u8>) {
        let index = key.instrument as usize;
        if self.market.entries[index].book.is_none() {
            self.load_book(index);
        }
        self.flush_gathered(key, terms);
        let entry = &mut self.market.entries[index];
        let at = entry.book_topic(key, terms);
        self.market.note_journal(index);
        let entry = &mut self.market.entries[index];
        if encode::is_unbegun(key.form) {
            return;
        }
        let mut changes = std::mem::take(&mut self.changes);
        let Entry { heads, books, book, journal, .. } = entry;
        let topic = &mut books.topics[at];
        if let Some(book) = book.as_ref().filter(|book| book.is_known()) {
            // What others were sent last: nothing in view has changed since, or they are told at the
            // next stroke.
            let mut head = book_head(topic, book, None);
            head.seq = topic.last;
            let view = topic.view();
            match (&topic.paced, journal) {
                // Everybody gets a snapshot at the next stroke.
                (Some(paced), _) if paced.fresh => {}
                (Some(paced), Some(journal)) if topic.is_merged() => {
                    let mark = paced.mark;
                    if view_here(topic, book, journal, mark, &mut changes) {
                        let bids = changes.bids.iter().copied();
                        let asks = changes.asks.iter().copied();
                        encode::book(message, key.form, heads, &head, bids, asks);
                    }
                }
                _ => {
                    let (bids, asks) = (view.bids(book), view.asks(book));
                    encode::book(message, key.form, heads, &head, bids, asks);
                }
            }
        }
        self.changes = changes;
    }

    /// Sends what a topic has gathered: who joins now has it in the snapshot.
    pub(super) fn flush_gathered(&mut self, key: &Key, terms: Terms) {
        if !terms.cadence.is_gathered() {
            return;
        }
        let (market, encodings, mut fan_out) = self.split();
        if let Some(topic) = market.entries[key.instrument as usize].topic(key, terms) {
            fan_out.send_gathered(encodings, topic);
        }
    }
}
