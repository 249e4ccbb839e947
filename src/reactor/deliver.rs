//! From the ring to the outboxes: encode once, note as pending for each subscriber.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use slab::Slab;
use tickcast_feeds::{FeedState, Kind, Tick};

use super::Core;
use super::cadence::{Cadences, Dirty};
use super::encodings::{Encodings, Range};
use super::lanes::{Lane, Lanes, Pending};
use super::market::{Entry, Market};
use super::topic::Topic;
use crate::books::{Book, Journal, Mark};
use crate::clock::Now;
use crate::limits;
use crate::ring::Poll;
use crate::session::end::{CLOSE_SLOW, Reason};
use crate::session::held::Stand;
use crate::session::subs::Key;
use crate::session::{Dialect, Session};
use crate::stats::Report;
use crate::wire::encode::{self, TradeSum};
use crate::wire::form::Form;
use crate::wire::native::{self, BookHead, Lag};
use crate::wire::request::Channel;

/// What delivering one message needs of the core, but for the encodings.
pub(super) struct FanOut<'a> {
    sessions: &'a mut Slab<Session>,
    queue: &'a mut Lanes,
    cadences: &'a mut Cadences,
    urgent: &'a mut VecDeque<u32>,
    overflowing: &'a mut Vec<u32>,
    crowd: &'a mut usize,
    report: &'a mut Report,
    limit: usize,
    now: Now,
    max_age_ns: u64,
    /// Somebody was held back: where it stands is to be kept.
    pub(super) held: bool,
}

/// One message on its way to the subscribers of its topic.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) range: Range,
    pub(super) recv_ns: u64,
    /// Where a client stands that is not sent it: for what may be held back and made up for later.
    pub(super) hold: Option<(Key, Stand)>,
    /// A snapshot, which may exceed the outbox.
    pub(super) snapshot: bool,
}

/// What happened in a topic.
#[derive(Clone, Copy)]
pub(super) struct News {
    pub(super) channel: Channel,
    pub(super) instrument: u32,
    pub(super) seq: u64,
    pub(super) recv_ns: u64,
    /// Only the newest counts: a client that falls behind may be spared the others.
    pub(super) may_hold: bool,
}

impl FanOut<'_> {
    /// Tells the subscribers of a topic what happened: at once, or at the next stroke of its cadence.
    /// `write` appends the message that follows a sequence.
    pub(super) fn tell(
        &mut self,
        encodings: &mut Encodings,
        topic: &mut Topic,
        news: News,
        write: impl FnOnce(&mut Vec<u8>, Form, u64),
    ) {
        let key = Key {
            channel: news.channel,
            instrument: news.instrument,
            depth: topic.depth,
            form: topic.form,
        };
        if topic.paced.is_none() {
            let prev = std::mem::replace(&mut topic.last, news.seq);
            let form = topic.form;
            let range = encodings.message(form, |out| write(out, form, prev));
            let hold = news.may_hold.then_some((key, Stand::at(prev)));
            let message = Message { range, recv_ns: news.recv_ns, hold, snapshot: false };
            return self.send(encodings, topic, message);
        }
        if topic.cadence.is_gathered() {
            let prev = std::mem::replace(&mut topic.last, news.seq);
            let form = topic.form;
            let Some(paced) = &mut topic.paced else { return };
            paced.gather(|out| write(out, form, prev));
        }
        self.note_dirty(topic, key);
        if topic.paced.as_ref().is_some_and(|paced| paced.gathered.len() > limits::GATHERED_BYTES) {
            self.send_gathered(encodings, topic);
        }
    }

    /// Puts a topic on the list of those to tell at the next stroke.
    pub(super) fn note_dirty(&mut self, topic: &mut Topic, key: Key) {
        let Some(paced) = &mut topic.paced else { return };
        if !std::mem::replace(&mut paced.dirty, true) {
            self.cadences.note(Dirty { key, cadence: topic.cadence }, self.now.mono_ns);
        }
    }

    /// Sends what was gathered as one array.
    pub(super) fn send_gathered(&mut self, encodings: &mut Encodings, topic: &mut Topic) {
        let Some(paced) = topic.paced.as_mut().filter(|paced| !paced.gathered.is_empty()) else {
            return;
        };
        let recv_ns = self.now.ns;
        let range = encodings.message(topic.form, |out| {
            out.push(b'[');
            out.extend_from_slice(&paced.gathered);
            out.push(b']');
        });
        paced.gathered.clear();
        paced.gathered.shrink_to(limits::GATHERED_BYTES / 16);
        self.send(encodings, topic, Message { range, recv_ns, hold: None, snapshot: false });
    }

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

    pub(super) fn deliver(
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
        let holds_back = message.hold.is_some_and(|(key, _)| session.holds_back(&key));
        if let Some((key, stand)) = message.hold
            && (holds_back || self.falls_behind(encodings, id, &key))
        {
            let Some(session) = self.sessions.get_mut(id as usize) else { return false };
            session.held.get_or_insert_default().hold(key, stand);
            self.held = true;
            // It could take bytes, but what it missed could not be told yet: tried again.
            if !session.out.is_blocked() && session.out.is_empty() {
                self.urgent.push_back(id);
            }
            return false;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
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

impl FanOut<'_> {
    /// Moves a client to conflated delivery where it has fallen behind, and tells it so.
    fn falls_behind(&mut self, encodings: &mut Encodings, id: u32, key: &Key) -> bool {
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        if !session.falls_behind(key, self.limit) {
            return false;
        }
        session.behind = true;
        self.report.fell_behind += 1;
        if session.dialect.is_native() {
            let lag = Lag {
                policy: "conflate",
                skipped: 0,
                queued_bytes: session.out.len() as u64,
                oldest_ms: session.silent_ms(self.now.ms),
                cause: "peer_window",
            };
            let form = session.form;
            let mut message = Vec::new();
            native::lag(&mut message, &lag);
            session.out.push_own(encodings, |out| form.frame(&message, out));
        }
        true
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
            self.joiners.extend(self.parked.drain(..));
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

    /// Splits the core into what is encoded, what encodes and what delivers.
    pub(super) fn split(&mut self) -> (&mut Market, &mut Encodings, FanOut<'_>) {
        let fan_out = FanOut {
            sessions: &mut self.sessions,
            queue: &mut self.queue,
            cadences: &mut self.cadences,
            urgent: &mut self.urgent,
            overflowing: &mut self.overflowing,
            crowd: &mut self.crowd,
            report: &mut self.report,
            limit: self.hub.settings.outbox_bytes,
            now: self.now,
            max_age_ns: self.hub.settings.max_age_ns,
            held: false,
        };
        (&mut self.market, &mut self.encodings, fan_out)
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
        if state.feed_since != 0 {
            entry.feed = state.feed;
            entry.feed_ns = state.feed_since;
        }
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

    /// Pushes a shared message to one session.
    pub(super) fn push(&mut self, id: u32, range: Range) {
        let (_, encodings, mut fan_out) = self.split();
        let now = fan_out.now;
        let message = Message { range, recv_ns: now.ns, hold: None, snapshot: false };
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
            self.open_wanted(info.id.0);
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

impl News {
    /// What a tick tells.
    pub(super) fn of(channel: Channel, tick: &Tick, may_hold: bool) -> Self {
        let (seq, recv_ns) = (tick.seq, tick.ts_recv);
        News { channel, instrument: tick.instrument.0, seq, recv_ns, may_hold }
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
