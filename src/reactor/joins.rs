//! Snapshots: how a subscription gets its first state and then every tick after it.
//!
//! A subscription whose channel has a state (quote, book, status) joins its topic at the moment
//! its snapshot is pushed, which is between two ticks: no gap, no duplicate. Joins are done a few
//! at a time, and only while the client's outbox is far from its bound, so that `book` of `*`
//! neither stalls a turn nor evicts the client.

use std::collections::HashSet;

use super::Core;
use super::market::{Topic, Wildcard};
use crate::limits;
use crate::session::{Join, Sub};
use crate::wire::frame;
use crate::wire::native::{self, BookHead};
use crate::wire::request::Channel;

impl Core {
    /// Adds a subscription that the session does not have yet.
    pub(crate) fn subscribe(&mut self, id: u32, sub: Sub) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.subs.push(sub);
        self.report.subscriptions += 1;
        if sub.channel == Channel::Trade {
            // Trades have no state to begin with.
            if let Some(entry) = self.market.entries.get_mut(sub.instrument as usize) {
                entry.trade.join(id);
            }
        } else {
            self.join_later(id, Join { sub, fresh: true });
        }
    }

    /// A wildcard's subscription to one instrument, unless the session has it.
    pub(crate) fn subscribe_wild(&mut self, wildcard: &Wildcard, instrument: u32) {
        let sub = Sub {
            instrument,
            depth: wildcard.depth,
            channel: wildcard.channel,
            mode: wildcard.mode,
            wild: true,
        };
        let session = self.sessions.get(wildcard.session as usize);
        if session.is_some_and(|session| !session.subs.iter().any(|have| have.same(&sub))) {
            self.subscribe(wildcard.session, sub);
        }
    }

    /// A wildcard's subscription to an instrument that has just been listed: none of its ticks has
    /// been seen here, so there is no snapshot to wait for and the first tick is the first message.
    pub(super) fn subscribe_listed(&mut self, wildcard: &Wildcard, instrument: u32) {
        self.subscribe_wild(wildcard, instrument);
        let Some(session) = self.sessions.get_mut(wildcard.session as usize) else { return };
        let is_it = |join: &mut Join| {
            (join.sub.instrument, join.sub.channel, join.sub.depth)
                == (instrument, wildcard.channel, wildcard.depth)
        };
        // A feed has a state from the beginning. Another wildcard may have been first.
        let has_state = wildcard.channel == Channel::Status;
        if has_state || session.joins.pop_back_if(is_it).is_none() {
            return;
        }
        let entry = &mut self.market.entries[instrument as usize];
        match wildcard.channel {
            Channel::Book => {
                entry.book.get_or_insert_default();
                let at = entry.book_topic(wildcard.depth);
                entry.books[at].topic.join(wildcard.session);
            }
            _ => entry.quote.join(wildcard.session),
        }
    }

    /// Another snapshot of something subscribed.
    pub(crate) fn rejoin(&mut self, id: u32, sub: Sub) {
        if sub.channel != Channel::Trade {
            self.join_later(id, Join { sub, fresh: false });
        }
    }

    pub(super) fn rejoin_all(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        // One that waits for a snapshot gets it anyway. A set, because laps come when there is no
        // time for a scan per subscription, and thousands may wait.
        let key = |sub: &Sub| (sub.instrument, sub.depth, sub.channel as u8);
        let waiting: HashSet<_> = session.joins.iter().map(|join| key(&join.sub)).collect();
        let subs: Vec<Sub> =
            session.subs.iter().filter(|sub| !waiting.contains(&key(sub))).copied().collect();
        for sub in subs {
            self.rejoin(id, sub);
        }
    }

    fn join_later(&mut self, id: u32, join: Join) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.joins.push_back(join);
        if !session.joining {
            session.joining = true;
            self.joiners.push_back(id);
        }
    }

    /// Does a bounded number of joins; says how many.
    pub(super) fn do_joins(&mut self) -> usize {
        let mut done = 0;
        let mut bytes = 0;
        while done < limits::JOINS_PER_POLL && bytes < limits::SNAPSHOT_BYTES_PER_POLL {
            let Some(id) = self.joiners.pop_front() else { break };
            let room = self.hub.settings.outbox_bytes / 4;
            let Some(session) = self.sessions.get_mut(id as usize) else { continue };
            // With a full outbox the flush puts it back in line.
            if session.out.len() > room || session.out.is_blocked() {
                session.joining = false;
                continue;
            }
            let before = session.out.len();
            let Some(join) = session.joins.pop_front() else {
                session.joining = false;
                session.joins = Default::default();
                continue;
            };
            self.joiners.push_back(id);
            self.join(id, join);
            done += 1;
            bytes +=
                self.sessions.get(id as usize).map_or(0, |s| s.out.len().saturating_sub(before));
        }
        done
    }

    fn join(&mut self, id: u32, Join { sub, fresh }: Join) {
        let index = sub.instrument as usize;
        if index >= self.market.entries.len() {
            return;
        }
        let mut message = Vec::new();
        match sub.channel {
            Channel::Trade => {}
            Channel::Quote => {
                let entry = &mut self.market.entries[index];
                if let Some(tick) = &entry.last_quote {
                    native::quote(&mut message, &entry.heads, tick, None);
                }
                join_topic(&mut entry.quote, id, fresh);
            }
            Channel::Status => {
                let now_ns = self.now.ns;
                let entry = &mut self.market.entries[index];
                let age_ms = match entry.feed_ns {
                    0 => 0,
                    since => now_ns.saturating_sub(since) / 1_000_000,
                };
                native::feed_status(&mut message, &entry.heads, entry.feed, age_ms);
                join_topic(&mut entry.status, id, fresh);
            }
            Channel::Book => self.join_book(id, sub.depth, index, fresh, &mut message),
        }
        if !message.is_empty() {
            if let Some(session) = self.sessions.get_mut(id as usize) {
                session.allowance = session.allowance.max(message.len());
            }
            self.push_own(id, |out| frame::text(&message, out));
        }
    }

    fn join_book(&mut self, id: u32, depth: u16, index: usize, fresh: bool, message: &mut Vec<u8>) {
        if self.market.entries[index].book.is_none() {
            self.load_book(index);
        }
        let entry = &mut self.market.entries[index];
        let at = entry.book_topic(depth);
        let topic = &mut entry.books[at];
        join_topic(&mut topic.topic, id, fresh);
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

fn join_topic(topic: &mut Topic, id: u32, fresh: bool) {
    if fresh {
        topic.join(id);
    }
}
