//! What is told at the strokes of a cadence, and what is made up for to clients that were held back:
//! in both cases the sum of what happened since.
//!
//! Invariant: whoever is in a topic has, after each message, what was true at one position of the
//! ring, and the `prev` of its next message is the `seq` of that one. A client that was held back is
//! brought to where the topic stands, not to now, so that it goes on with the others.

use tickcast_feeds::Tick;

use super::cadence::Dirty;
use super::deliver::Message;
use super::encodings::Encodings;
use super::market::Entry;
use super::ticks::{book_head, key_of};
use super::topic::Topic;
use super::{Core, arrays};
use crate::books::{Book, Changes, Mark};
use crate::derive::Bar;
use crate::limits;
use crate::session::held::Stand;
use crate::session::subs::Key;
use crate::wire::binance::encode::Day;
use crate::wire::encode;
use crate::wire::native::{self, Lag};
use crate::wire::request::Channel;

impl Core {
    /// Tells some of the topics whose cadence has struck; says how many.
    pub(super) fn tell_due(&mut self) -> usize {
        let mut told = 0;
        while told < limits::TOPICS_PER_POLL {
            let Some(dirty) = self.cadences.pop(self.now.mono_ns) else { break };
            self.stroke(dirty);
            told += 1;
        }
        told
    }

    fn stroke(&mut self, Dirty { key, cadence }: Dirty) {
        if key.instrument == arrays::ALL {
            return self.tell_array(key.form);
        }
        // What is told waits from now on: until now it was not to be told.
        let now_ns = self.now.ns;
        let mut changes = std::mem::take(&mut self.changes);
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[key.instrument as usize];
        // Its last subscriber may have left.
        let Some(place) = entry.line(key.channel, key.depth).and_then(|l| l.place(&key, cadence))
        else {
            self.changes = changes;
            return;
        };
        if cadence.is_gathered() {
            if let Some(line) = entry.line(key.channel, key.depth) {
                let topic = &mut line.topics[place];
                topic.paced.iter_mut().for_each(|paced| paced.dirty = false);
                fan_out.send_gathered(encodings, topic);
            }
        } else if key.channel == Channel::Book {
            // A book that is being rebuilt has none: its snapshot makes the topic dirty again.
            if let Some(message) = entry.book_stroke(place, now_ns, encodings, &mut changes) {
                fan_out.send(encodings, &mut entry.books.topics[place], message);
            }
            let topic = &entry.books.topics[place];
            if topic.paced.as_ref().is_some_and(|paced| paced.is_lost) {
                let lost: Vec<u32> = topic.sessions().collect();
                lost.into_iter().for_each(|id| self.evict_lost(id));
            }
        } else if let Some(message) = entry.value_stroke(&key, place, now_ns, encodings)
            && let Some(line) = entry.line(key.channel, key.depth)
        {
            fan_out.send(encodings, &mut line.topics[place], message);
        }
        self.changes = changes;
    }

    /// Cuts the books' streams of an instrument here: whoever is told less often is told now, so that a
    /// snapshot taken at this position ends where a message of every stream ends.
    pub(crate) fn cut(&mut self, index: usize) {
        let mut changes = std::mem::take(&mut self.changes);
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[index];
        for place in 0..entry.books.topics.len() {
            let topic = &entry.books.topics[place];
            if !encode::is_unbegun(topic.form) {
                continue;
            }
            if let Some(message) = entry.cut_stroke(place, encodings, &mut changes) {
                fan_out.send(encodings, &mut entry.books.topics[place], message);
            }
        }
        self.changes = changes;
    }

    /// A client that was held back can take bytes again: it is told the sum of what it missed, as much
    /// at a time as fits its outbox easily. The rest goes on being held until its turn.
    pub(super) fn make_up(&mut self, id: u32) {
        let room = self.hub.settings.outbox_bytes / 4;
        let mut changes = std::mem::take(&mut self.changes);
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let Some(mut held) = session.held.take() else { return };
        let oldest_ms = session.silent_ms(self.now.ms);
        let (mut out, mut frames) = (Vec::new(), Vec::new());
        let (mut sent, mut lost) = (0, false);
        for _ in 0..held.len() {
            if frames.len() >= room {
                break;
            }
            let Some((key, stand)) = held.next() else { break };
            out.clear();
            match self.missed(id, &key, stand, &mut changes, &mut out) {
                Missed::Told if out.is_empty() => {}
                Missed::Told => {
                    self.encodings.own(key.form, &out, &mut frames);
                    sent += 1;
                }
                Missed::Later => held.hold(key, stand),
                Missed::Never => lost = true,
            }
        }
        self.changes = changes;
        if held.skipped > 0 {
            self.report.conflated += held.skipped;
            let skipped = std::mem::take(&mut held.skipped);
            let queued_bytes = frames.len() as u64;
            let (policy, cause) = ("conflate", "peer_window");
            self.tell_lag(id, &mut frames, Lag { policy, skipped, queued_bytes, oldest_ms, cause });
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if !held.is_empty() {
            session.held = Some(held);
        } else if std::mem::take(&mut session.behind) {
            self.report.caught_up += 1;
            let (policy, cause) = ("caught_up", "peer_window");
            let lag = Lag { policy, skipped: 0, queued_bytes: 0, oldest_ms, cause };
            self.tell_lag(id, &mut frames, lag);
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.fresh_delivered += sent;
        session.special = true;
        if frames.is_empty() {
            session.special = session.is_special();
        } else {
            // A sum may be as large as a snapshot, which may exceed the outbox.
            session.allowance = session.allowance.max(frames.len());
            session.out.push_own(&mut self.encodings, |bytes| bytes.extend_from_slice(&frames));
            self.enqueue(id);
        }
        if lost {
            self.evict_lost(id);
        }
    }

    /// Appends a lag status, where the client's dialect has words for it.
    pub(super) fn tell_lag(&self, id: u32, frames: &mut Vec<u8>, lag: Lag) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        if session.dialect.is_native() {
            let mut message = Vec::new();
            native::lag(&mut message, &lag);
            session.form.frame(&message, frames);
        }
    }

    /// Writes what leads from where a client stands to where its topic does.
    fn missed(
        &mut self,
        id: u32,
        key: &Key,
        stand: Stand,
        changes: &mut Changes,
        out: &mut Vec<u8>,
    ) -> Missed {
        let Some(sub) = self.sessions.get(id as usize).and_then(|s| s.subs.get(key)) else {
            return Missed::Told;
        };
        let terms = sub.terms;
        let Some(entry) = self.market.entries.get_mut(key.instrument as usize) else {
            return Missed::Told;
        };
        let line = entry.line(key.channel, key.depth);
        let Some(place) = line.and_then(|line| line.place(key, terms.cadence)) else {
            return Missed::Told;
        };
        if key.channel == Channel::Book {
            return entry.book_missed(place, stand, changes, out);
        }
        entry.value_missed(key, place, stand.prev, out);
        Missed::Told
    }

    /// Drops of the journals what nobody needs any more.
    pub(super) fn trim_journals(&mut self) {
        if self.market.journals.is_empty() {
            return;
        }
        let mut oldest: std::collections::HashMap<u32, Mark> = Default::default();
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.special) {
            for (key, stand) in session.held.iter().flat_map(|held| held.books()) {
                let mark = oldest.entry(key.instrument).or_insert(stand);
                *mark = mark.min(stand);
            }
        }
        let with_journal = std::mem::take(&mut self.market.journals);
        for &instrument in &with_journal {
            let entry = &mut self.market.entries[instrument as usize];
            let held = oldest.get(&entry.info.id.0).copied();
            let paced = entry.books.topics.iter().filter(|topic| topic.is_merged());
            let marks = paced.filter_map(|topic| topic.paced.as_ref().map(|paced| paced.mark));
            match (marks.chain(held).reduce(Mark::min), &mut entry.journal) {
                (Some(mark), Some(journal)) => journal.trim(mark),
                (None, journal) => *journal = None,
                _ => {}
            }
            entry.has_journal = false;
        }
        for instrument in with_journal {
            self.market.note_journal(instrument as usize);
        }
    }
}

/// What became of something that a client missed.
enum Missed {
    /// It is written, or there is nothing to say.
    Told,
    /// Not now.
    Later,
    /// It reaches back too far, and the dialect knows no snapshots.
    Never,
}

impl Entry {
    /// The message of a book's topic at its stroke, if there is one.
    fn book_stroke(
        &mut self,
        place: usize,
        recv_ns: u64,
        encodings: &mut Encodings,
        changes: &mut Changes,
    ) -> Option<Message> {
        let Entry { heads, books, book, journal, info, .. } = self;
        let topic = &mut books.topics[place];
        let key = key_of(topic, info.id.0);
        let view = topic.view();
        let paced = topic.paced.as_mut()?;
        paced.dirty = false;
        let (book, journal) = (book.as_ref().filter(|book| book.is_known())?, journal.as_mut()?);
        let stand = Stand { mark: paced.mark, ..Stand::at(topic.last) };
        let told = journal.changes(book, paced.mark, view, changes);
        let fresh = std::mem::take(&mut paced.fresh) || !told;
        paced.mark = journal.end();
        if !fresh && changes.is_empty() {
            return None;
        }
        let whole = fresh || encode::is_whole(topic.form);
        if whole && encode::is_unbegun(topic.form) {
            // Beyond all that a journal holds, within a second: they have to begin anew.
            paced.is_lost = true;
            return None;
        }
        let head = book_head(topic, book, (!whole).then_some(topic.last));
        topic.last = book.seq();
        let range = match whole {
            true => encodings.message(topic.form, |out| {
                encode::book(out, topic.form, heads, &head, view.bids(book), view.asks(book));
            }),
            false => encodings.message(topic.form, |out| {
                let (bids, asks) = (changes.bids.iter().copied(), changes.asks.iter().copied());
                encode::book(out, topic.form, heads, &head, bids, asks);
            }),
        };
        let hold = Some((key, Stand { fresh, ..stand }));
        Some(Message { range, recv_ns, hold, snapshot: fresh })
    }

    /// The message that brings a stream without snapshots to here, if it does not stand here already.
    fn cut_stroke(
        &mut self,
        place: usize,
        encodings: &mut Encodings,
        changes: &mut Changes,
    ) -> Option<Message> {
        let Entry { heads, books, book, journal, info, .. } = self;
        let topic = &mut books.topics[place];
        let key = key_of(topic, info.id.0);
        let (book, journal) = (book.as_ref().filter(|book| book.is_known())?, journal.as_mut()?);
        let view = topic.view();
        let paced = topic.paced.as_mut()?;
        if topic.last == book.seq() || !journal.changes(book, paced.mark, view, changes) {
            return None;
        }
        // Also where nothing changed: the snapshot's sequence must be one of the stream's.
        let stand = Stand { mark: paced.mark, ..Stand::at(topic.last) };
        paced.mark = journal.end();
        let head = book_head(topic, book, Some(topic.last));
        topic.last = book.seq();
        let range = encodings.message(topic.form, |out| {
            let (bids, asks) = (changes.bids.iter().copied(), changes.asks.iter().copied());
            encode::book(out, topic.form, heads, &head, bids, asks);
        });
        Some(Message { range, recv_ns: book.ts_recv(), hold: Some((key, stand)), snapshot: false })
    }

    /// The message of another topic at its stroke: the newest value, or the sum of the trades.
    fn value_stroke(
        &mut self,
        key: &Key,
        place: usize,
        recv_ns: u64,
        encodings: &mut Encodings,
    ) -> Option<Message> {
        let (quote, bar) = (self.last_quote, self.bar_of(key));
        let Entry { heads, trade, quote: quotes, bars, last_trade, .. } = self;
        let line = match key.channel {
            Channel::Trade => trade,
            Channel::Quote => quotes,
            _ => &mut bars.iter_mut().find(|b| Some(b.span()) == key.channel.span(key.depth))?.line,
        };
        let newest = line.last;
        let topic = &mut line.topics[place];
        let (form, prev) = (topic.form, topic.last);
        let paced = topic.paced.as_mut()?;
        paced.dirty = false;
        if key.channel == Channel::Trade {
            let sum = paced.trades.take()?;
            topic.last = sum.last.seq;
            let range = encodings.message(form, |out| encode::trades(out, form, heads, &sum, prev));
            return Some(Message { range, recv_ns, hold: None, snapshot: false });
        }
        if newest == prev {
            return None;
        }
        let range = match key.channel {
            Channel::Quote => {
                let tick = quote?;
                paced.quote = quote;
                topic.last = tick.seq;
                encodings.message(form, |out| encode::quote(out, form, heads, &tick, Some(prev)))
            }
            _ => {
                let bar = bar?;
                paced.bar = Some(bar);
                topic.last = newest;
                let day = Day { bar: &bar, quote: quote.as_ref(), trade: last_trade.as_ref() };
                encodings
                    .message(form, |out| encode::bar(out, form, heads, &day, newest, Some(prev)))
            }
        };
        let hold = Some((*key, Stand::at(prev)));
        Some(Message { range, recv_ns, hold, snapshot: false })
    }

    /// The newest bar of a subscription.
    fn bar_of(&self, key: &Key) -> Option<Bar> {
        let span = key.channel.span(key.depth)?;
        self.bars.iter().find(|bars| bars.span() == span)?.bar
    }

    /// The quote that a topic's subscribers have.
    pub(super) fn quote_at(topic: &Topic, newest: Option<Tick>) -> Option<Tick> {
        match &topic.paced {
            Some(paced) if topic.is_merged() && paced.quote.is_some() => paced.quote,
            _ => newest,
        }
    }

    /// The bar that a topic's subscribers have.
    pub(super) fn bar_at(topic: &Topic, newest: Option<Bar>) -> Option<Bar> {
        match &topic.paced {
            Some(paced) if topic.is_merged() && paced.bar.is_some() => paced.bar,
            _ => newest,
        }
    }

    fn value_missed(&mut self, key: &Key, place: usize, prev: u64, out: &mut Vec<u8>) {
        let (quote, bar) = (self.last_quote, self.bar_of(key));
        let Entry { heads, quote: quotes, bars, last_trade, .. } = self;
        if key.channel == Channel::Quote {
            let topic = &quotes.topics[place];
            if let Some(tick) = Entry::quote_at(topic, quote).filter(|tick| tick.seq != prev) {
                encode::quote(out, key.form, heads, &tick, Some(prev));
            }
            return;
        }
        let Some(bars) = bars.iter().find(|b| Some(b.span()) == key.channel.span(key.depth)) else {
            return;
        };
        let topic = &bars.line.topics[place];
        if let Some(bar) = Entry::bar_at(topic, bar).filter(|_| topic.last != prev) {
            let day = Day { bar: &bar, quote: quote.as_ref(), trade: last_trade.as_ref() };
            encode::bar(out, key.form, heads, &day, topic.last, Some(prev));
        }
    }

    fn book_missed(
        &mut self,
        place: usize,
        stand: Stand,
        changes: &mut Changes,
        out: &mut Vec<u8>,
    ) -> Missed {
        let Entry { heads, books, book, journal, .. } = self;
        let topic = &mut books.topics[place];
        let bridged = encode::is_unbegun(topic.form);
        let (Some(book), Some(journal)) = (book.as_ref().filter(|b| b.is_known()), journal) else {
            // It is being rebuilt: a stream that knows no snapshots goes on from here afterwards.
            return if bridged { Missed::Later } else { Missed::Told };
        };
        let whole = stand.fresh || encode::is_whole(topic.form);
        let here = match &topic.paced {
            Some(paced) if paced.fresh => return Missed::Told,
            Some(paced) => paced.mark,
            None => journal.end(),
        };
        if topic.last == stand.prev && !whole {
            return Missed::Told;
        }
        let is_now = journal.is_end(here);
        let told = !whole
            && match is_now {
                true => journal.changes(book, stand.mark, topic.view(), changes),
                false if topic.depth == 0 => journal.changes_until(book, stand.mark, here, changes),
                false => false,
            };
        let whole = !told && !bridged && view_here(topic, book, journal, here, changes);
        if !told && !whole {
            // Where the topic stands was folded over: it goes on with its next message.
            let never = bridged && journal.is_lost(stand.mark);
            return if never { Missed::Never } else { Missed::Later };
        }
        let mut head = book_head(topic, book, told.then_some(stand.prev));
        head.seq = topic.last;
        let (bids, asks) = (changes.bids.iter().copied(), changes.asks.iter().copied());
        encode::book(out, topic.form, heads, &head, bids, asks);
        Missed::Told
    }
}

/// The view of a topic where it stands, into `out`; false where that is not known any more.
pub(super) fn view_here(
    topic: &Topic,
    book: &Book,
    journal: &mut crate::books::Journal,
    mark: Mark,
    out: &mut Changes,
) -> bool {
    let view = topic.view();
    if journal.is_end(mark) {
        out.bids.clear();
        out.asks.clear();
        out.bids.extend(view.bids(book));
        out.asks.extend(view.asks(book));
        return true;
    }
    journal.view_at(book, mark, view, out)
}
