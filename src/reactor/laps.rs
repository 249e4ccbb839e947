//! What is taken over from the ingest's state: books that somebody begins to listen to, and everything once
//! the ring's writer has overtaken this reactor.

use super::Core;
use super::market::Entry;
use super::ticks::key_of;
use crate::books::Book;
use crate::session::Dialect;
use crate::wire::encode;
use crate::wire::form::Form;
use crate::wire::native::{self, Lag};

impl Core {
    /// Takes the book over from the ingest's and sends it whole.
    pub(super) fn reload_book(&mut self, index: usize) {
        self.load_book(index);
        if self.market.entries[index].book.as_ref().is_some_and(|book| book.is_known()) {
            self.book_snapshots(index);
        }
    }

    /// Copies the ingest's book, which may be ahead of this reactor: ticks of before are skipped.
    pub(super) fn load_book(&mut self, index: usize) {
        let entry = &mut self.market.entries[index];
        match self.state.get(entry.info.id) {
            Some(state) => {
                let state = state.lock();
                let (book, position) = (state.book.clone(), state.position);
                drop(state);
                entry.replace_book(book);
                entry.book_from = position;
            }
            None => entry.replace_book(Book::new()),
        }
    }

    /// The writer overtook this reactor. What is lost is lost, but nobody must be left with a
    /// wrong picture: everything is taken over from the ingest's state, everybody is told, and
    /// gets fresh quotes and books. Lost trades show in `prev`.
    pub(super) fn recover(&mut self, lost: u64) {
        tracing::warn!(reactor = self.link.id, lost, "lapped by the ring");
        self.report.lapped += 1;
        self.report.lost += lost;
        self.assembler.reset();
        self.bar_parts.reset();
        self.list_new();
        for index in 0..self.market.entries.len() {
            self.take_over(index);
        }
        let lag =
            Lag { policy: "resync", skipped: lost, queued_bytes: 0, oldest_ms: 0, cause: "server" };
        let ids: Vec<(u32, Form)> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.dialect == Dialect::Native && !session.subs.is_empty())
            .map(|(id, session)| (id as u32, session.form))
            .collect();
        for (id, form) in ids {
            let range = self.encodings.message(form, |out| native::lag(out, &lag));
            self.push(id, range);
            self.rejoin_all(id);
        }
        for index in 0..self.market.entries.len() {
            self.tell_merged(index);
        }
    }

    /// Those who are told sums are told what differs since, or get their snapshot.
    fn tell_merged(&mut self, index: usize) {
        let (market, _, mut fan_out) = self.split();
        let Entry { books, book, info, .. } = &mut market.entries[index];
        if !book.as_ref().is_some_and(|book| book.is_known()) {
            return;
        }
        for topic in books.topics.iter_mut().filter(|topic| topic.is_merged()) {
            let key = key_of(topic, info.id.0);
            fan_out.note_dirty(topic, key);
        }
    }

    fn take_over(&mut self, index: usize) {
        let Some(state) = self.state.get(self.market.entries[index].info.id) else { return };
        let entry = &mut self.market.entries[index];
        let state = state.lock();
        entry.from = state.position;
        entry.trade.skip_to(state.trade_seq, true);
        entry.quote.skip_to(state.quote_seq, false);
        entry.last_quote = state.last_quote;
        entry.status.skip_to(state.status_seq, true);
        (entry.feed, entry.feed_ns) = (state.feed, state.feed_since);
        if entry.book.is_some() {
            entry.replace_book(state.book.clone());
            entry.book_from = state.position;
            for topic in entry.books.topics.iter_mut() {
                let (merged, bridged) = (topic.is_merged(), encode::is_bridged(topic.form));
                match &mut topic.paced {
                    // They stand where they stood until the next stroke.
                    Some(paced) if merged => paced.fresh = !bridged,
                    _ => topic.last = state.book.seq(),
                }
            }
        }
        entry.bars.iter_mut().for_each(|bars| bars.take_over(&state));
    }
}
