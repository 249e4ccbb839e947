//! Snapshots: how a subscription gets its first state and then every tick after it.
//!
//! A subscription whose channel has a state (all but trades) joins its topic at the moment
//! its snapshot is pushed, which is between two ticks: no gap, no duplicate. Joins are done a few
//! at a time, and only while the client's outbox is far from its bound, so that `book` of `*`
//! neither stalls a turn nor evicts the client.

use std::collections::VecDeque;

use super::Core;
use super::lanes::Lane;
use super::market::{Topic, Wildcard};
use crate::clock;
use crate::limits;
use crate::session::Join;
use crate::session::subs::{Key, Sub, Terms};
use crate::wire::frame;
use crate::wire::native::{self, BookHead};
use crate::wire::request::Channel;

impl Core {
    /// Adds a subscription that the session does not have yet.
    pub(crate) fn subscribe(&mut self, id: u32, key: Key, terms: Terms, wild: bool) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.subs.insert(key, Sub { terms, wild, waits: false });
        self.report.subscriptions += 1;
        if key.channel == Channel::Trade {
            // Trades have no state to begin with.
            if let Some(entry) = self.market.entries.get_mut(key.instrument as usize) {
                entry.trade.join(id, terms.lane);
            }
        } else {
            self.join_later(id, Join { key, fresh: true });
        }
    }

    /// A wildcard's subscription to an instrument that has just been listed: none of its ticks has
    /// been seen here, so there is no snapshot to wait for and the first tick is the first message.
    pub(super) fn subscribe_listed(&mut self, wildcard: &Wildcard, instrument: u32) {
        let key = Key { channel: wildcard.channel, instrument, depth: wildcard.depth };
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
        session.subs.insert(key, Sub { terms: wildcard.terms, wild: true, waits: false });
        self.report.subscriptions += 1;
        let entry = &mut self.market.entries[instrument as usize];
        match wildcard.channel {
            Channel::Book => {
                entry.book.get_or_insert_default();
                let at = entry.book_topic(wildcard.depth);
                entry.books[at].topic.join(wildcard.session, wildcard.terms.lane);
            }
            _ => entry.quote.join(wildcard.session, wildcard.terms.lane),
        }
    }

    /// Another snapshot of something subscribed.
    pub(crate) fn rejoin(&mut self, id: u32, key: Key) {
        if key.channel != Channel::Trade {
            self.join_later(id, Join { key, fresh: false });
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
            let lane = sub.terms.lane;
            self.join(id, join, lane);
            done += 1;
        }
        if self.urgent.back() == Some(&id) {
            self.urgent.pop_back();
        }
        self.flush(id);
        done
    }

    fn join(&mut self, id: u32, Join { key, fresh }: Join, lane: Lane) {
        let lane = fresh.then_some(lane);
        let index = key.instrument as usize;
        if index >= self.market.entries.len() {
            return;
        }
        let mut message = Vec::new();
        match key.channel {
            Channel::Trade => {}
            Channel::Quote => {
                let entry = &mut self.market.entries[index];
                if let Some(tick) = &entry.last_quote {
                    native::quote(&mut message, &entry.heads, tick, None);
                }
                join_topic(&mut entry.quote, id, lane);
                // What was held back is older than the snapshot.
                if let Some(conflated) =
                    self.sessions.get_mut(id as usize).and_then(|s| s.conflated.as_mut())
                {
                    conflated.forget(std::iter::once(key.instrument));
                }
            }
            Channel::Status => {
                let now_ns = self.now.ns;
                let entry = &mut self.market.entries[index];
                let age_ms = match entry.feed_ns {
                    0 => 0,
                    since => now_ns.saturating_sub(since) / 1_000_000,
                };
                native::feed_status(&mut message, &entry.heads, entry.feed, age_ms);
                join_topic(&mut entry.status, id, lane);
            }
            Channel::Book => self.join_book(id, key.depth, index, lane, &mut message),
            Channel::Bar | Channel::Ticker => self.join_bars(id, key, lane, &mut message),
        }
        if !message.is_empty() {
            self.push_own(id, |out| frame::text(&message, out));
        }
    }

    fn join_book(
        &mut self,
        id: u32,
        depth: u16,
        index: usize,
        lane: Option<Lane>,
        message: &mut Vec<u8>,
    ) {
        if self.market.entries[index].book.is_none() {
            self.load_book(index);
        }
        let entry = &mut self.market.entries[index];
        let at = entry.book_topic(depth);
        let topic = &mut entry.books[at];
        join_topic(&mut topic.topic, id, lane);
        let Some(book) = entry.book.as_ref().filter(|book| book.is_known()) else { return };
        let head = BookHead {
            depth: (depth != 0).then_some(depth),
            // What others at this depth were sent last: nothing in view has changed since.
            seq: topic.topic.last,
            prev: None,
            ts_event: book.ts_event(),
            ts_recv: book.ts_recv(),
        };
        native::book(message, &entry.heads, &head, topic.view.bids(book), topic.view.asks(book));
    }
}

/// `lane`: none for a session that is in the topic already.
pub(super) fn join_topic(topic: &mut Topic, id: u32, lane: Option<Lane>) {
    if let Some(lane) = lane {
        topic.join(id, lane);
    }
}
