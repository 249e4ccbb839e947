//! From the ring to the outboxes: encode once, note as pending for each subscriber.

use std::sync::atomic::Ordering;

use slab::Slab;
use tickcast_feeds::{FeedState, Kind, Tick};

use super::Core;
use super::encodings::{Encodings, Range};
use super::lanes::{Lane, Lanes, Pending};
use super::market::{Market, Topic};
use crate::clock::Now;
use crate::ring::Poll;
use crate::session::end::{CLOSE_SLOW, Reason};
use crate::session::{Dialect, Session};
use crate::stats::Report;
use crate::wire::native::{self, BookHead, Lag};

/// What delivering one message needs of the core, but for the encodings.
pub(super) struct FanOut<'a> {
    sessions: &'a mut Slab<Session>,
    queue: &'a mut Lanes,
    overflowing: &'a mut Vec<u32>,
    crowd: &'a mut usize,
    report: &'a mut Report,
    limit: usize,
    conflate_quotes: bool,
    now: Now,
    max_age_ns: u64,
}

/// One message on its way to the subscribers of its topic.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) range: Range,
    pub(super) recv_ns: u64,
    /// For a quote, which may be conflated: its instrument and `prev`.
    pub(super) quote: Option<(u32, u64)>,
    /// A snapshot, which may exceed the outbox.
    pub(super) snapshot: bool,
}

impl FanOut<'_> {
    pub(super) fn send(&mut self, encodings: &mut Encodings, topic: &mut Topic, message: Message) {
        let since_ns = self.since_ns(message.recv_ns);
        for id in topic.in_turn() {
            self.deliver(encodings, id, Lane::SERVERS, since_ns, message);
        }
        for &(id, lane) in &topic.impatient {
            self.deliver(encodings, id, lane, since_ns, message);
        }
        self.report.deliveries += (topic.subs.len() + topic.impatient.len()) as u64;
        self.report.encoded += 1;
    }

    /// Since when a message waits, by the monotonic clock: since it was received, not since this
    /// reactor came to look at it. Stamps of a replay may be of another year.
    fn since_ns(&self, recv_ns: u64) -> u64 {
        let age_ns = self.now.ns.saturating_sub(recv_ns).min(self.max_age_ns);
        self.now.mono_ns.saturating_sub(age_ns)
    }

    fn deliver(
        &mut self,
        encodings: &mut Encodings,
        id: u32,
        lane: Lane,
        since_ns: u64,
        message: Message,
    ) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.special && !self.takes_more(encodings, id, message) {
            return;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if message.snapshot {
            session.special = true;
            session.allowance = session.allowance.max(message.range.len as usize);
        }
        let allowance = if session.special { session.allowance } else { 0 };
        session.fresh_delivered += 1;
        session.out.push(message.range, encodings);
        // The socket may take it: whether this client is slow shows when it is flushed.
        if session.out.len() > self.limit + allowance {
            self.overflowing.push(id);
        }
        self.wait(id, lane, since_ns, message);
    }

    /// Puts a session in line for its flush, unless it stands there already and waits no longer.
    fn wait(&mut self, id: u32, lane: Lane, since_ns: u64, message: Message) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.oldest_ns == 0 {
            session.oldest_ns = message.recv_ns.max(1);
        }
        if session.queued && session.lane <= lane {
            return;
        }
        // An entry in a more patient lane stays: whichever is due first flushes the session.
        (session.queued, session.lane) = (true, lane);
        let (chunk, turn) = (message.range.chunk, session.turn);
        self.queue.push(lane, Pending { session: id, chunk, since_ns, turn });
    }

    /// Whether a special session is to be delivered to like any other. If not, this has been dealt
    /// with: it is ending, or the message is held back, or waits behind what its socket refused.
    fn takes_more(&mut self, encodings: &mut Encodings, id: u32, message: Message) -> bool {
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        if session.is_ending() || session.overflowed {
            return false;
        }
        if let Some((instrument, prev)) = message.quote
            && session.holds_back(instrument, self.conflate_quotes)
        {
            session.conflated.get_or_insert_default().hold(instrument, prev);
            return false;
        }
        if !session.out.is_blocked() {
            return true;
        }
        let len = message.range.len as usize;
        if message.snapshot {
            session.allowance = session.allowance.max(len);
        }
        if session.out.len() + len > self.limit + session.allowance {
            session.overflowed = true;
            self.overflowing.push(id);
            return false;
        }
        session.fresh_delivered += 1;
        session.out.push(message.range, encodings);
        if !session.crowded && session.out.len() > self.limit / 2 {
            session.crowded = true;
            *self.crowd += 1;
        }
        false
    }
}

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
                for (i, entry) in words[..count].iter().enumerate() {
                    self.tick(position + i as u64, &Tick::from_words(*entry));
                }
                self.report.ticks += count as u64;
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
        }
        taken
    }

    fn tick(&mut self, position: u64, tick: &Tick) {
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
            Kind::Bar => {
                if !entry.bars.is_empty() {
                    self.bar_part(position, tick);
                }
            }
        }
    }

    /// Splits the core into what is encoded, what encodes and what delivers.
    pub(super) fn split(&mut self) -> (&mut Market, &mut Encodings, FanOut<'_>) {
        let fan_out = FanOut {
            sessions: &mut self.sessions,
            queue: &mut self.queue,
            overflowing: &mut self.overflowing,
            crowd: &mut self.crowd,
            report: &mut self.report,
            limit: self.hub.settings.outbox_bytes,
            conflate_quotes: self.hub.settings.conflate_quotes,
            now: self.now,
            max_age_ns: self.hub.settings.max_age_ns,
        };
        (&mut self.market, &mut self.encodings, fan_out)
    }

    fn trade(&mut self, tick: &Tick) {
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[tick.instrument.index()];
        let prev = std::mem::replace(&mut entry.trade.last, tick.seq);
        if !entry.trade.is_empty() {
            let range = encodings.text(|out| native::trade(out, &entry.heads, tick, prev));
            let message = Message { range, recv_ns: tick.ts_recv, quote: None, snapshot: false };
            fan_out.send(encodings, &mut entry.trade, message);
        }
    }

    fn quote(&mut self, tick: &Tick) {
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[tick.instrument.index()];
        let prev = std::mem::replace(&mut entry.quote.last, tick.seq);
        entry.last_quote = Some(*tick);
        if !entry.quote.is_empty() {
            let range = encodings.text(|out| native::quote(out, &entry.heads, tick, Some(prev)));
            let quote = Some((tick.instrument.0, prev));
            fan_out.send(
                encodings,
                &mut entry.quote,
                Message { range, recv_ns: tick.ts_recv, quote, snapshot: false },
            );
        }
    }

    fn status(&mut self, position: u64, tick: &Tick) {
        let status = tick.as_status();
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[tick.instrument.index()];
        entry.feed = status.state;
        entry.feed_ns = tick.ts_recv;
        entry.status.last = tick.seq;
        if status.state == FeedState::Resync {
            // Nothing derived from the broken book goes out until the next snapshot. A book that
            // was copied from the state may have that snapshot already.
            if let Some(book) = &mut entry.book
                && position >= entry.book_from
            {
                book.clear();
            }
            if entry.info.quotes_from_book {
                entry.last_quote = None;
            }
        }
        if !entry.status.is_empty() {
            let range = encodings
                .text(|out| native::feed_status(out, &entry.heads, status.state, status.age_ms));
            let message = Message { range, recv_ns: tick.ts_recv, quote: None, snapshot: false };
            fan_out.send(encodings, &mut entry.status, message);
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
        let Some(book) = &mut self.market.entries[index].book else { return };
        match book.apply_event(event) {
            Ok(applied) if applied.snapshot => self.book_snapshots(index),
            Ok(applied) if applied.changed => self.book_updates(index),
            Ok(_) => {}
            Err(error) => {
                // Between a resync and its snapshot there is no book to apply to.
                if book.is_known() {
                    tracing::warn!(%error, symbol = %self.market.entries[index].info.symbol, "book event refused");
                    self.report.book_errors += 1;
                    self.reload_book(index);
                }
            }
        }
    }

    /// Sends the whole book to everyone who listens to it.
    pub(super) fn book_snapshots(&mut self, index: usize) {
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[index];
        let Some(book) = &entry.book else { return };
        for topic in &mut entry.books {
            let head = BookHead {
                depth: (topic.depth != 0).then_some(topic.depth),
                seq: book.seq(),
                prev: None,
                ts_event: book.ts_event(),
                ts_recv: book.ts_recv(),
            };
            topic.topic.last = book.seq();
            let view = topic.view;
            let range = encodings.text(|out| {
                native::book(out, &entry.heads, &head, view.bids(book), view.asks(book))
            });
            let message = Message { range, recv_ns: book.ts_recv(), quote: None, snapshot: true };
            fan_out.send(encodings, &mut topic.topic, message);
        }
    }

    fn book_updates(&mut self, index: usize) {
        let mut changes = std::mem::take(&mut self.changes);
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[index];
        if let Some(book) = &entry.book {
            for topic in &mut entry.books {
                topic.view.changes(book, &mut changes);
                if changes.is_empty() {
                    continue;
                }
                let head = BookHead {
                    depth: (topic.depth != 0).then_some(topic.depth),
                    seq: book.seq(),
                    prev: Some(std::mem::replace(&mut topic.topic.last, book.seq())),
                    ts_event: book.ts_event(),
                    ts_recv: book.ts_recv(),
                };
                let (bids, asks) = (changes.bids.iter().copied(), changes.asks.iter().copied());
                let range =
                    encodings.text(|out| native::book(out, &entry.heads, &head, bids, asks));
                let message =
                    Message { range, recv_ns: book.ts_recv(), quote: None, snapshot: false };
                fan_out.send(encodings, &mut topic.topic, message);
            }
        }
        self.changes = changes;
    }

    /// Takes the book over from the ingest's and sends it whole.
    fn reload_book(&mut self, index: usize) {
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
                entry.book = Some(Box::new(state.book.clone()));
                entry.book_from = state.position;
            }
            None => entry.book = Some(Box::default()),
        }
    }

    /// The writer overtook this reactor. What is lost is lost, but nobody must be left with a
    /// wrong picture: everything is taken over from the ingest's state, everybody is told, and
    /// gets fresh quotes and books. Lost trades show in `prev`.
    fn recover(&mut self, lost: u64) {
        tracing::warn!(reactor = self.link.id, lost, "lapped by the ring");
        self.report.lapped += 1;
        self.report.lost += lost;
        self.assembler.reset();
        self.bar_parts.reset();
        self.list_new();
        for index in 0..self.market.entries.len() {
            self.take_over(index);
        }
        let range = self.encodings.text(|out| {
            let lag = Lag {
                policy: "resync",
                skipped: lost,
                queued_bytes: 0,
                oldest_ms: 0,
                cause: "server",
            };
            native::lag(out, &lag);
        });
        let ids: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.dialect == Dialect::Native && !session.subs.is_empty())
            .map(|(id, _)| id as u32)
            .collect();
        for id in ids {
            self.push(id, range);
            self.rejoin_all(id);
        }
    }

    fn take_over(&mut self, index: usize) {
        let Some(state) = self.state.get(self.market.entries[index].info.id) else { return };
        let entry = &mut self.market.entries[index];
        let state = state.lock();
        entry.from = state.position;
        entry.trade.last = state.trade_seq;
        entry.quote.last = state.quote_seq;
        entry.last_quote = state.last_quote;
        entry.status.last = state.status_seq;
        if state.feed_since != 0 {
            entry.feed = state.feed;
            entry.feed_ns = state.feed_since;
        }
        if entry.book.is_some() {
            entry.book = Some(Box::new(state.book.clone()));
            entry.book_from = state.position;
            for topic in &mut entry.books {
                topic.topic.last = state.book.seq();
            }
        }
        entry.bars.iter_mut().for_each(|bars| bars.take_over(&state));
    }

    /// Pushes a shared message to one session.
    pub(super) fn push(&mut self, id: u32, range: Range) {
        let (_, encodings, mut fan_out) = self.split();
        let now = fan_out.now;
        let message = Message { range, recv_ns: now.ns, quote: None, snapshot: false };
        fan_out.deliver(encodings, id, Lane::SERVERS, now.mono_ns, message);
    }

    /// Takes in instruments that were listed since, with the wildcards that match them.
    pub(crate) fn list_new(&mut self) {
        for info in self.hub.instruments.since(self.market.entries.len()) {
            self.market.list(info.clone());
            let wildcards: Vec<_> =
                self.market.wildcards.iter().filter(|w| w.matches(&info)).cloned().collect();
            for wildcard in wildcards {
                self.subscribe_listed(&wildcard, info.id.0);
            }
        }
    }

    /// Sessions that were found over their bound: one try to flush, then the policy. What is still
    /// over its bound is judged now: a number may have been given to another session since.
    pub(super) fn deal_with_overflow(&mut self) {
        while let Some(id) = self.overflowing.pop() {
            let Some(session) = self.sessions.get(id as usize) else { continue };
            if session.is_ending() {
                continue;
            }
            if !session.out.is_blocked() {
                self.flush(id);
            }
            let Some(session) = self.sessions.get(id as usize) else { continue };
            let bound = self.bound(session);
            let over = session.out.is_blocked() && session.out.len() > bound;
            if (over || session.overflowed) && !session.is_ending() {
                self.evict(id, Reason::SlowOverflow, CLOSE_SLOW);
            }
        }
    }
}
