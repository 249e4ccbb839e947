//! From the ring to messages: each tick is encoded once for each topic that somebody listens to.

use std::sync::atomic::Ordering;

use tickcast_feeds::{FeedState, Kind, Tick};

use super::Core;
use super::deliver::{Message, News};
use super::market::Entry;
use super::topic::Topic;
use crate::books::{Book, Journal, Mark};
use crate::ring::Poll;
use crate::session::held::Stand;
use crate::session::subs::Key;
use crate::stats;
use crate::wire::encode::{self, TradeSum};
use crate::wire::native::BookHead;
use crate::wire::request::Channel;

impl Core {
    /// Takes at most a turn's ticks from the ring; says how many.
    pub(super) fn take_ticks(&mut self) -> usize {
        if self.holds_back() {
            return 0;
        }
        let mut words = std::mem::take(&mut self.words);
        let position = self.consumer.position();
        let taken = match self.consumer.poll(&mut words) {
            Poll::Empty => 0,
            Poll::Read(count) => {
                let sampled = self.hub.traces.pick(position, &words[..count]);
                let sampled = sampled.unwrap_or(usize::MAX);
                for (i, entry) in words[..count].iter().enumerate() {
                    let (position, tick) = (position + i as u64, Tick::from_words(*entry));
                    if i == sampled {
                        self.sampled_tick(position, &tick);
                    } else {
                        self.tick(position, &tick);
                    }
                }
                self.report.ticks += count as u64;
                let recv_ns = Tick::from_words(words[0]).ts_recv;
                stats::record(&mut self.report.to_encoded, self.hub.age_ns(recv_ns));
                count
            }
            Poll::Lapped(lost) => {
                self.recover(lost);
                1
            }
        };
        self.words = words;
        if taken > 0 {
            self.link.position.store(self.consumer.position(), Ordering::Release);
            self.joiners.extend(self.parked.drain(..));
        }
        taken
    }

    pub(super) fn tick(&mut self, position: u64, tick: &Tick) {
        if tick.instrument.index() >= self.market.entries.len() {
            self.list_new();
        }
        let Some(entry) = self.market.get_mut(tick.instrument) else { return };
        if position < entry.from {
            return;
        }
        match tick.kind {
            Kind::Trade => self.trade(tick),
            Kind::Quote => self.quote(tick),
            Kind::Level => {
                if entry.book.is_some() && position >= entry.book_from {
                    self.level(tick);
                }
            }
            Kind::Status => self.status(position, tick),
            Kind::Cut => {
                if entry.book.is_some() && position >= entry.book_from {
                    self.cut(tick.instrument.index());
                }
            }
            Kind::Bar => {
                if !entry.bars.is_empty() {
                    self.bar_part(position, tick);
                }
            }
        }
    }

    fn trade(&mut self, tick: &Tick) {
        let (market, encodings, mut fan_out) = self.split();
        let Entry { heads, trade, bars, last_trade, .. } =
            &mut market.entries[tick.instrument.index()];
        trade.last = tick.seq;
        if !bars.is_empty() {
            *last_trade = Some(*tick);
        }
        let news = News::of(Channel::Trade, tick, false);
        for topic in &mut trade.topics {
            if let Some(paced) = topic.paced.as_mut().filter(|_| !topic.cadence.is_gathered()) {
                match &mut paced.trades {
                    Some(sum) => sum.add(tick),
                    None => paced.trades = Some(TradeSum::new(tick)),
                }
            }
            fan_out.tell(encodings, topic, news, |out, form, prev| {
                encode::trade(out, form, heads, tick, prev);
            });
        }
    }

    fn quote(&mut self, tick: &Tick) {
        let (market, encodings, mut fan_out) = self.split();
        let Entry { heads, quote, last_quote, .. } = &mut market.entries[tick.instrument.index()];
        quote.last = tick.seq;
        *last_quote = Some(*tick);
        let news = News::of(Channel::Quote, tick, true);
        for topic in &mut quote.topics {
            fan_out.tell(encodings, topic, news, |out, form, prev| {
                encode::quote(out, form, heads, tick, Some(prev));
            });
        }
    }

    fn status(&mut self, position: u64, tick: &Tick) {
        let of = tick.as_status();
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[tick.instrument.index()];
        entry.feed = of.state;
        entry.feed_ns = tick.ts_recv;
        if of.state == FeedState::Resync {
            // Nothing derived from the broken book goes out until the next snapshot. A book that
            // was copied from the state may have that snapshot already.
            if position >= entry.book_from {
                entry.lose_book();
            }
            if entry.info.quotes_from_book {
                entry.last_quote = None;
            }
        }
        let Entry { heads, status, .. } = entry;
        status.last = tick.seq;
        let news = News::of(Channel::Status, tick, false);
        for topic in &mut status.topics {
            fan_out.tell(encodings, topic, news, |out, form, _| {
                encode::feed_status(out, form, heads, of.state, of.age_ms);
            });
        }
    }

    fn level(&mut self, tick: &Tick) {
        let mut assembler = std::mem::take(&mut self.assembler);
        if let Some(event) = assembler.push(tick) {
            self.book_event(event);
        }
        self.assembler = assembler;
    }

    fn book_event(&mut self, event: &[Tick]) {
        let Some(last) = event.last() else { return };
        let index = last.instrument.index();
        match self.market.entries[index].apply_event(event) {
            Ok(applied) if applied.snapshot => self.book_snapshots(index),
            Ok(applied) if applied.changed => self.book_updates(index),
            Ok(_) => {}
            Err(error) => {
                let entry = &self.market.entries[index];
                // Between a resync and its snapshot there is no book to apply to.
                if entry.book.as_ref().is_some_and(|book| book.is_known()) {
                    tracing::warn!(%error, symbol = %entry.info.symbol, "book event refused");
                    self.report.book_errors += 1;
                    self.reload_book(index);
                }
            }
        }
    }

    /// Sends the whole book to everyone who listens to it.
    pub(super) fn book_snapshots(&mut self, index: usize) {
        let (market, encodings, mut fan_out) = self.split();
        let Entry { heads, books, book, info, .. } = &mut market.entries[index];
        let Some(book) = book else { return };
        for topic in &mut books.topics {
            let key = key_of(topic, info.id.0);
            // Whoever knows no snapshots is told the difference, at the next stroke.
            if encode::is_bridged(topic.form) || topic.is_merged() {
                if let Some(paced) = &mut topic.paced {
                    paced.fresh = !encode::is_bridged(topic.form);
                }
                fan_out.note_dirty(topic, key);
                continue;
            }
            fan_out.send_gathered(encodings, topic);
            topic.last = book.seq();
            let (view, head) = (topic.view(), book_head(topic, book, None));
            let range = encodings.message(topic.form, |out| {
                encode::book(out, topic.form, heads, &head, view.bids(book), view.asks(book));
            });
            let hold = Some((key, Stand { fresh: true, ..Stand::at(0) }));
            let message = Message { range, recv_ns: book.ts_recv(), hold, snapshot: true };
            fan_out.send(encodings, topic, message);
        }
    }

    fn book_updates(&mut self, index: usize) {
        let mut changes = std::mem::take(&mut self.changes);
        let (market, encodings, mut fan_out) = self.split();
        let Entry { heads, books, book, info, journal, .. } = &mut market.entries[index];
        let Some(book) = book else { return };
        // Where whoever is held back from this event stands: before it.
        let mark = journal.as_ref().map_or(Mark::default(), |journal| journal.end());
        for topic in &mut books.topics {
            let key = key_of(topic, info.id.0);
            if topic.is_merged() {
                fan_out.note_dirty(topic, key);
                continue;
            }
            topic.view().changes(book, &mut changes);
            if changes.is_empty() {
                continue;
            }
            let mut head = book_head(topic, book, Some(topic.last));
            topic.last = book.seq();
            let (bids, asks) = (changes.bids.iter().copied(), changes.asks.iter().copied());
            if let Some(paced) = &mut topic.paced {
                paced.gather(|out| encode::book(out, topic.form, heads, &head, bids, asks));
                fan_out.note_dirty(topic, key);
                continue;
            }
            let prev = head.prev.get_or_insert_default();
            let hold = Some((key, Stand { mark, ..Stand::at(*prev) }));
            let range = encodings.message(topic.form, |out| {
                encode::book(out, topic.form, heads, &head, bids, asks);
            });
            let message = Message { range, recv_ns: book.ts_recv(), hold, snapshot: false };
            fan_out.send(encodings, topic, message);
        }
        if fan_out.held && journal.is_none() {
            *journal = Some(Box::new(Journal::new(book)));
        }
        if let Some(journal) = journal {
            journal.note(book);
        }
        market.note_journal(index);
        self.changes = changes;
    }
}

/// The subscription that a book's topic serves.
pub(super) fn key_of(topic: &Topic, instrument: u32) -> Key {
    Key { channel: Channel::Book, instrument, depth: topic.depth, form: topic.form }
}

/// The head of a book's message to a topic.
pub(super) fn book_head(topic: &Topic, book: &Book, prev: Option<u64>) -> BookHead {
    BookHead {
        depth: (topic.depth != 0).then_some(topic.depth),
        seq: book.seq(),
        prev,
        ts_event: book.ts_event(),
        ts_recv: book.ts_recv(),
    }
}
