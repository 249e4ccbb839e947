//! What a client missed while its connection was broken: found on the ring and sent before what comes
//! from then on.
//!
//! As a snapshot does, the replay ends between two ticks, at the moment at which the session enters its
//! topic. A long one is sent in parts, and each part begins where the one before it ended, so that
//! nothing is kept for it but a sequence. Where something is not known any more, the client is told so
//! and begins anew: it is never left with a gap that it does not know of.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Kind, Side, Tick};

use super::Core;
use super::market::Entry;
use super::trails::{Since, Spot, Track, Trails};
use crate::derive::{Bar, Span};
use crate::limits;
use crate::session::Join;
use crate::session::resume::{Begin, Loss, Start};
use crate::session::subs::{Key, Terms};
use crate::wire::binance::encode::Day;
use crate::wire::encode::{self, Heads};
use crate::wire::native::{BookHead, Named};
use crate::wire::request::Channel;

/// What became of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// Messages up to this sequence have been sent, there are more.
    Part(u64),
    /// It needs ticks that this reactor has not taken yet.
    Later,
    /// The ring is still being looked through.
    Looking,
}

/// Where a client stands in a subscription.
enum Stand {
    /// Behind this sequence.
    At(u64),
    Lost(Loss),
    Not(Step),
}

impl Core {
    /// Sends what a client missed in one subscription, or a part of it, and takes the session into the
    /// topic once it has all.
    pub(super) fn resume(&mut self, id: u32, join: Join, terms: Terms) -> Step {
        let key = join.key;
        let (last, covered) = self.open_topic(&key, terms);
        let told = matches!(join.begin.start, Start::Going(_));
        if covered > self.consumer.position() {
            return Step::Later;
        }
        let seq = match self.stand(&key, last, join.begin.start) {
            Stand::At(seq) => seq,
            Stand::Lost(loss) => return self.lost(id, join, terms, loss),
            Stand::Not(step) => return step,
        };
        if let Some(loss) = self.uncertain(&key, seq < last) {
            return self.lost(id, join, terms, loss);
        }
        let (mut frames, mut missed) = (Vec::new(), Vec::new());
        let (step, sent) = self.replay(&key, seq, last, &mut missed);
        if step == Ok(Step::Looking) {
            return Step::Looking;
        }
        if !told && (step.is_ok() || sent > 0) {
            self.report.resumed += 1;
            self.tell_resumed(&key, None, Some(seq), &mut frames);
        }
        frames.append(&mut missed);
        if !frames.is_empty() {
            self.push_own(id, |out| out.extend_from_slice(&frames));
        }
        self.report.replayed += sent as u64;
        if let Some(session) = self.sessions.get_mut(id as usize) {
            session.fresh_delivered += sent as u32;
        }
        match step {
            Ok(Step::Done) => self.enter(id, &key, terms),
            Ok(_) => {}
            Err(loss) => return self.lost(id, join, terms, loss),
        }
        step.unwrap_or(Step::Done)
    }

    /// Takes a session into its topic, which it has all messages of.
    fn enter(&mut self, id: u32, key: &Key, terms: Terms) {
        if let Some(topic) = self.market.entries[key.instrument as usize].topic(key, terms) {
            topic.join(id, terms.lane);
        }
        if let Some(held) = self.sessions.get_mut(id as usize).and_then(|s| s.held.as_mut()) {
            held.forget(std::iter::once(key));
        }
    }

    /// Begins anew, for what was missed cannot be told.
    pub(super) fn lost(&mut self, id: u32, join: Join, terms: Terms, loss: Loss) -> Step {
        self.report.not_resumed += 1;
        let mut frames = Vec::new();
        let (last, _) = self.open_topic(&join.key, terms);
        // All others begin with a snapshot.
        let seq = (join.key.channel == Channel::Trade).then_some(last);
        self.tell_resumed(&join.key, Some(loss), seq, &mut frames);
        self.push_own(id, |out| out.extend_from_slice(&frames));
        let begin = Begin { start: Start::Now, history: join.begin.history };
        self.join(id, Join { begin, ..join }, terms);
        Step::Done
    }

    /// Makes the topic of a subscription. Its last sequence, and the ring position from which on this
    /// reactor knows of it.
    fn open_topic(&mut self, key: &Key, terms: Terms) -> (u64, u64) {
        let index = key.instrument as usize;
        match key.channel.span(key.depth) {
            Some(span) => {
                let at = self.bar_line(key.instrument, span);
                let bars = &mut self.market.entries[index].bars[at];
                let place = bars.line.find_or_make(key, terms.cadence);
                return (bars.line.topics[place].last, bars.from);
            }
            None if key.channel == Channel::Book => {
                if self.market.entries[index].book.is_none() {
                    self.load_book(index);
                }
                let entry = &mut self.market.entries[index];
                let place = entry.book_topic(key, terms);
                return (entry.books.topics[place].last, entry.from.max(entry.book_from));
            }
            None => {}
        }
        let entry = &mut self.market.entries[index];
        let from = entry.from;
        let Some(line) = entry.line(key.channel, key.depth) else { return (0, from) };
        let place = line.find_or_make(key, terms.cadence);
        (line.topics[place].last, from)
    }

    /// After which sequence a client goes on whose topic has come to `last`.
    fn stand(&mut self, key: &Key, last: u64, start: Start) -> Stand {
        let position = match start {
            Start::After(seq) | Start::Going(seq) if seq <= last => return Stand::At(seq),
            Start::After(seq) | Start::Going(seq) => return self.ahead(key, seq, last),
            Start::At(position) => position,
            Start::Now | Start::Lost(_) => return Stand::At(last),
        };
        let here = self.consumer.position();
        if position > here {
            // Another reactor has been faster.
            let soon = position <= here + self.consumer.lag();
            return if soon { Stand::Not(Step::Later) } else { Stand::Lost(Loss::Ahead) };
        }
        let Some(trails) = self.trails() else { return Stand::Not(Step::Looking) };
        if !trails.reaches(position) {
            return Stand::Lost(Loss::TooOld);
        }
        match trails.at(&Track::of(key), position) {
            Ok(seq) => Stand::At(seq.min(last)),
            Err(None) => Stand::At(last),
            Err(Some(first)) if first > last => Stand::At(last),
            Err(Some(first)) if is_counted(key) => Stand::At(first - 1),
            Err(Some(first)) if key.channel == Channel::Trade => {
                match self.kept_before(key, first) {
                    Some(seq) => Stand::At(seq),
                    None => Stand::Lost(Loss::TooOld),
                }
            }
            Err(Some(_)) => Stand::Lost(Loss::TooOld),
        }
    }

    /// The same for a client that says it has more than the topic has come to.
    fn ahead(&mut self, key: &Key, seq: u64, last: u64) -> Stand {
        let entry = &mut self.market.entries[key.instrument as usize];
        let here = match (key.channel, &entry.book) {
            (Channel::Book, Some(book)) => book.seq(),
            _ => last,
        };
        if seq <= here {
            // What lies between has changed nothing in view.
            return Stand::At(last);
        }
        let known = self.state.get(entry.info.id).map_or(0, |state| {
            let state = state.lock();
            match key.channel {
                Channel::Trade => state.trade_seq,
                Channel::Quote => state.quote_seq,
                Channel::Book => state.book_seq,
                Channel::Status => state.status_seq,
                Channel::Bar | Channel::Ticker => {
                    match (key.channel.span(key.depth), &state.series) {
                        (Some(span), Some(series)) => series.snapshot(span).1,
                        _ => 0,
                    }
                }
            }
        });
        if seq <= known { Stand::Not(Step::Later) } else { Stand::Lost(Loss::Ahead) }
    }

    /// Why a book cannot be brought on by what happened to it, where that is so.
    fn uncertain(&self, key: &Key, missed: bool) -> Option<Loss> {
        if key.channel != Channel::Book {
            return None;
        }
        let book = self.market.entries[key.instrument as usize].book.as_ref();
        let Some(book) = book.filter(|book| book.is_known()) else { return Some(Loss::Replaced) };
        let (bids, asks) = book.levels();
        // Of a full one, the server drops levels that the events do not mention.
        let is_cut = key.depth != 0 || bids.max(asks) >= limits::BOOK_LEVELS_MAX;
        (missed && is_cut).then_some(Loss::Depth)
    }

    /// Where events lie on the ring, if all of it has been looked at.
    fn trails(&mut self) -> Option<&mut Trails> {
        let here = self.consumer.position();
        let trails = self.trails.get_or_insert_with(|| Box::new(Trails::new(&self.consumer)));
        trails.used_ms = self.now.ms;
        let all = trails.look(here);
        self.trails.as_deref_mut().filter(|_| all)
    }

    /// Drops the places of events once nobody asks for them any more.
    pub(super) fn drop_trails(&mut self) {
        if self.trails.as_ref().is_some_and(|trails| trails.is_old(self.now.ms)) {
            self.trails = None;
        }
    }

    /// Writes messages behind one sequence up to another, a bounded number of them; says how many, and
    /// how it ended.
    fn replay(
        &mut self,
        key: &Key,
        seq: u64,
        last: u64,
        frames: &mut Vec<u8>,
    ) -> (Result<Step, Loss>, usize) {
        if seq >= last {
            return (Ok(Step::Done), 0);
        }
        let track = Track::of(key);
        let Some(trails) = self.trails() else { return (Ok(Step::Looking), 0) };
        match trails.after(&track, seq, last, is_counted(key)) {
            Since::All(count) => self.replay_ring(key, seq, count, frames),
            Since::Unknown if key.channel == Channel::Trade => {
                self.replay_kept(key, seq, last, frames)
            }
            Since::Unknown => (Err(Loss::TooOld), 0),
            Since::Broken => (Err(Loss::Replaced), 0),
        }
    }

    fn replay_ring(
        &mut self,
        key: &Key,
        seq: u64,
        count: usize,
        frames: &mut Vec<u8>,
    ) -> (Result<Step, Loss>, usize) {
        let track = Track::of(key);
        let mut ticks = std::mem::take(&mut self.past);
        let (mut prev, mut sent) = (seq, 0);
        let mut message = Vec::new();
        let heads = &self.market.entries[key.instrument as usize].heads;
        let mut whole = true;
        while sent < count.min(limits::REPLAYED_AT_ONCE)
            && frames.len() < limits::SNAPSHOTS_BYTES_PER_WRITE
        {
            let Some(trails) = &mut self.trails else { break };
            let spot: Option<Spot> = trails.nth(&track, seq, sent);
            whole = spot.is_some_and(|spot| trails.read(spot, &mut ticks));
            let (Some(spot), true) = (spot, whole) else { break };
            message.clear();
            event(&mut message, key, heads, &ticks, prev);
            key.form.frame(&message, frames);
            prev = spot.seq;
            sent += 1;
        }
        ticks.clear();
        ticks.shrink_to(limits::TICKS_PER_TURN);
        self.past = ticks;
        match (whole, sent == count) {
            (false, _) => (Err(Loss::TooOld), sent),
            (true, true) => (Ok(Step::Done), sent),
            (true, false) => (Ok(Step::Part(prev)), sent),
        }
    }

    /// The same for trades that the ring does not have any more.
    fn replay_kept(
        &mut self,
        key: &Key,
        seq: u64,
        last: u64,
        frames: &mut Vec<u8>,
    ) -> (Result<Step, Loss>, usize) {
        let mut ticks = std::mem::take(&mut self.past);
        ticks.clear();
        let before = self.kept(key, last + 1, limits::HISTORY_MAX, &mut ticks);
        let first = ticks.partition_point(|tick| tick.seq <= seq);
        let follows = before.is_some_and(|before| first > 0 || before <= seq);
        let heads = &self.market.entries[key.instrument as usize].heads;
        let mut prev = seq;
        let mut message = Vec::new();
        let missed = &ticks[first..];
        let sent = if follows { missed.len().min(limits::REPLAYED_AT_ONCE) } else { 0 };
        for tick in &missed[..sent] {
            message.clear();
            encode::trade(&mut message, key.form, heads, tick, prev);
            key.form.frame(&message, frames);
            prev = tick.seq;
        }
        let done = sent == missed.len();
        ticks.clear();
        ticks.shrink_to(limits::HISTORY);
        self.past = ticks;
        match (follows, done) {
            (false, _) => (Err(Loss::TooOld), 0),
            (true, true) => (Ok(Step::Done), sent),
            (true, false) => (Ok(Step::Part(prev)), sent),
        }
    }

    /// Copies the newest trades before a sequence that are kept; the sequence before them, if any are.
    fn kept(&mut self, key: &Key, before: u64, count: usize, out: &mut Vec<Tick>) -> Option<u64> {
        let id = self.market.entries[key.instrument as usize].info.id;
        let state = self.state.get(id)?.lock();
        Some(state.history.as_ref()?.trades(Some(before), count, out))
    }

    /// The sequence of the trade before another one, where that is known.
    fn kept_before(&mut self, key: &Key, seq: u64) -> Option<u64> {
        let mut newest = Vec::new();
        let before = self.kept(key, seq, 1, &mut newest)?;
        // Nothing was forgotten: there was none.
        Some(newest.first().map_or(before, |tick| tick.seq))
    }

    /// Writes what came before a subscription begins: trades before its first one, closed bars before
    /// the one that its snapshot has.
    pub(super) fn past(&mut self, key: &Key, terms: Terms, count: usize, frames: &mut Vec<u8>) {
        let mut message = Vec::new();
        let (last, _) = self.open_topic(key, terms);
        let Some(span) = key.channel.span(key.depth) else {
            let mut ticks = std::mem::take(&mut self.past);
            ticks.clear();
            let mut prev = self.kept(key, last + 1, count, &mut ticks).unwrap_or(0);
            let heads = &self.market.entries[key.instrument as usize].heads;
            for tick in &ticks {
                message.clear();
                encode::past_trade(&mut message, key.form, heads, tick, prev);
                key.form.frame(&message, frames);
                prev = tick.seq;
            }
            self.past = ticks;
            return;
        };
        let entry = &mut self.market.entries[key.instrument as usize];
        let Some(at) = entry.bars.iter().position(|bars| bars.span() == span) else { return };
        let bars = &mut entry.bars[at];
        let newest = bars.bar;
        let Some(topic) = bars.line.find(key, terms.cadence) else { return };
        let Some(shown) = Entry::bar_at(topic, newest) else { return };
        let mut past = Vec::new();
        if let Some(state) = self.state.get(entry.info.id)
            && let Some(history) = &state.lock().history
        {
            history.bars(span, Some(shown.start_s), count, &mut past);
        }
        for bar in &past {
            message.clear();
            encode::past_bar(&mut message, key.form, &entry.heads, bar);
            key.form.frame(&message, frames);
        }
    }

    fn tell_resumed(&self, key: &Key, loss: Option<Loss>, seq: Option<u64>, frames: &mut Vec<u8>) {
        let heads = &self.market.entries[key.instrument as usize].heads;
        let interval = (key.channel == Channel::Bar).then(|| key.channel.span(key.depth));
        let named = Named {
            channel: key.channel.as_str(),
            depth: (key.channel == Channel::Book && key.depth != 0).then_some(key.depth),
            interval: interval.flatten().map(Span::as_str),
        };
        let mut message = Vec::new();
        let lost = loss.map(Loss::as_str);
        encode::resumed(&mut message, key.form, heads, named, lost, seq);
        key.form.frame(&message, frames);
    }
}

/// Whether each sequence of a channel is one more than the one before it.
fn is_counted(key: &Key) -> bool {
    matches!(key.channel, Channel::Bar | Channel::Ticker | Channel::Status)
}

/// Appends the message of an event that follows `prev`.
fn event(out: &mut Vec<u8>, key: &Key, heads: &Heads, ticks: &[Tick], prev: u64) {
    let Some(last) = ticks.last() else { return };
    match last.kind {
        Kind::Trade => encode::trade(out, key.form, heads, last, prev),
        Kind::Quote => encode::quote(out, key.form, heads, last, Some(prev)),
        Kind::Status => {
            let of = last.as_status();
            encode::feed_status(out, key.form, heads, of.state, of.age_ms);
        }
        Kind::Bar => {
            let Some(bar) = Bar::from_ticks(ticks) else { return };
            let day = Day { bar: &bar, quote: None, trade: None };
            encode::bar(out, key.form, heads, &day, last.seq, Some(prev));
        }
        Kind::Level => {
            let head = BookHead {
                depth: None,
                seq: last.seq,
                prev: Some(prev),
                ts_event: last.ts_event,
                ts_recv: last.ts_recv,
            };
            let [bids, asks] = [Side::Buy, Side::Sell].map(|side| levels(ticks, side));
            encode::book(out, key.form, heads, &head, bids.into_iter(), asks.into_iter());
        }
        Kind::Cut => {}
    }
}

/// What an event says of one side of a book, best first; of a level that it has several times, the last.
fn levels(ticks: &[Tick], side: Side) -> Vec<(Decimal, Decimal)> {
    let mut levels: Vec<(Decimal, Decimal)> = ticks
        .iter()
        .filter(|tick| tick.side() == side && !tick.has(flags::EMPTY))
        .map(|tick| (tick.as_level().price, tick.as_level().size))
        .rev()
        .collect();
    // Stable: of equal prices the first is the last that was said.
    levels.sort_by(|(a, _), (b, _)| if side == Side::Buy { b.cmp(a) } else { a.cmp(b) });
    levels.dedup_by(|later, first| later.0 == first.0);
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_feeds::{InstrumentId, Level, Stamp};

    #[test]
    fn the_levels_of_an_event_come_best_first_and_once() {
        let level = |side, price, size| {
            let (price, size) = (Decimal::new(price, 0), Decimal::new(size, 0));
            let stamp = Stamp { event: 0, recv: 0, seq: 1 };
            Tick::level(InstrumentId(0), stamp, 0, &Level { side, price, size, first: 0 })
        };
        let ticks = [
            level(Side::Buy, 10, 1),
            level(Side::Sell, 20, 1),
            level(Side::Buy, 12, 2),
            level(Side::Buy, 10, 0),
            level(Side::Sell, 19, 3),
        ];
        let dec = |a, b| (Decimal::new(a, 0), Decimal::new(b, 0));
        assert_eq!(levels(&ticks, Side::Buy), [dec(12, 2), dec(10, 0)]);
        assert_eq!(levels(&ticks, Side::Sell), [dec(19, 3), dec(20, 1)]);
    }
}
