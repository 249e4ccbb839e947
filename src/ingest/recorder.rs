//! What becomes of a feed's batch: numbered, kept in the state, in words for the ring.
//!
//! No thread, no channel, no clock and no reactor: what the ingest does is a function of what it
//! is handed.

use std::sync::Arc;
use std::time::Duration;

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{FeedState, InstrumentId, Instruments, Kind, Quote, Stamp, Status, Tick};

use super::derived::Timelines;
use crate::books::{BookError, InstrumentState, Sequenced, Sequencers, Writer};
use crate::limits;
use crate::ring::Producer;
use crate::stats::IngestReport;

/// The ingest's side of the ring and of the state.
pub(super) struct Recorder {
    producer: Producer<TICK_WORDS>,
    writer: Writer,
    sequencers: Sequencers,
    /// Ticks have the sequences that they are to have, and the quotes that come from books are among them.
    numbered: bool,
    /// By instrument, the feed that its newest event came from.
    sources: Vec<usize>,
    /// By instrument, whether its source has started over since its newest tick; and of how many.
    restarted: Vec<bool>,
    restarts: usize,
    /// Instruments of which a book event was refused, with the feed that it came from, since this
    /// was last emptied.
    pub(super) refused: Vec<(usize, InstrumentId)>,
    /// By instrument, whether its quotes come from its book.
    quoted_from_book: Vec<bool>,
    instruments: Arc<Instruments>,
    /// When bars are over, and what is told of them.
    timelines: Timelines,
    /// Recorded and not published yet.
    words: Vec<[u64; TICK_WORDS]>,
    pub(super) report: IngestReport,
}

impl Recorder {
    pub(super) fn new(
        producer: Producer<TICK_WORDS>,
        writer: Writer,
        instruments: Arc<Instruments>,
    ) -> Self {
        Recorder {
            quoted_from_book: Vec::new(),
            instruments,
            producer,
            writer,
            numbered: false,
            sequencers: Sequencers::new(),
            sources: Vec::new(),
            restarted: Vec::new(),
            restarts: 0,
            refused: Vec::new(),
            timelines: Timelines::default(),
            words: Vec::new(),
            report: IngestReport::default(),
        }
    }

    /// The same for what another one has numbered already.
    pub(super) fn numbered(self) -> Self {
        Recorder { numbered: true, ..self }
    }

    /// Records what a feed handed over, `mono_ns`: it is in the state then, and in line for the
    /// ring.
    pub(super) fn record(&mut self, ticks: &mut [Tick], feed: usize, mono_ns: u64) {
        for event in ticks.chunk_by_mut(|tick, _| !tick.has(flags::LAST)) {
            self.note_source(event, feed);
            let recv_ns = event.first().map_or(0, |first| first.ts_recv);
            self.timelines.set(feed, recv_ns, mono_ns);
            self.advance(feed);
            self.event(event, feed);
        }
        // Others' time goes on, also while this one leaves the ingest no pause.
        self.pass(mono_ns, Some(feed));
    }

    /// Nothing has come, and it is `mono_ns`: what is due by the clock is recorded.
    pub(super) fn idle(&mut self, mono_ns: u64) {
        self.pass(mono_ns, None);
    }

    fn pass(&mut self, mono_ns: u64, but: Option<usize>) {
        for feed in 0..self.timelines.feeds() {
            if Some(feed) != but {
                self.timelines.pass(feed, mono_ns);
                self.advance(feed);
            }
        }
    }

    /// How long nothing is due, from `mono_ns` on; `None` while nothing is at all.
    pub(super) fn rest(&self, mono_ns: u64) -> Option<Duration> {
        self.timelines.rest(mono_ns)
    }

    fn note_source(&mut self, event: &[Tick], feed: usize) {
        let Some(first) = event.first() else { return };
        let index = first.instrument.index();
        if index >= self.sources.len() {
            self.sources.resize(index + 1, usize::MAX);
        }
        if std::mem::replace(&mut self.sources[index], feed) != feed {
            self.writer.slot(first.instrument).lock().source = feed as u16;
        }
        if self.numbered && first.has(flags::RESTART) {
            self.start_over(first.instrument);
        }
    }

    /// A feed starts over: the numbers of its instruments may go back, those of others may not.
    pub(super) fn restart(&mut self, feed: usize) {
        let its = |(index, source): (usize, &usize)| {
            (*source == feed).then_some(InstrumentId(index as u32))
        };
        let ids: Vec<InstrumentId> = self.sources.iter().enumerate().filter_map(its).collect();
        self.restarted.resize(self.sources.len(), false);
        for id in ids {
            self.start_over(id);
            self.restarts += usize::from(!std::mem::replace(&mut self.restarted[id.index()], true));
        }
    }

    fn start_over(&mut self, id: InstrumentId) {
        self.sequencers.restart_one(id);
        if let Some(series) = &mut self.writer.slot(id).lock().series {
            series.restart();
        }
    }

    /// Marks the first event of an instrument whose source has started over: others that read the ring number
    /// it no more, but make bars of it.
    fn mark_restart(&mut self, event: &mut [Tick]) {
        let Some(first) = event.first_mut() else { return };
        if let Some(restarted) = self.restarted.get_mut(first.instrument.index())
            && std::mem::take(restarted)
        {
            self.restarts -= 1;
            first.flags |= flags::RESTART;
        }
    }

    /// Numbers an event, applies it to the state, and puts it in line for the ring.
    /// What is derived from it comes right behind it.
    fn event(&mut self, event: &mut [Tick], feed: usize) {
        if self.is_unfounded(event) {
            return;
        }
        for tick in &mut *event {
            let sequenced = match self.numbered {
                true => self.sequencers.keep(tick),
                false => self.sequencers.next(tick),
            };
            match sequenced {
                Sequenced::Seq(seq) => tick.seq = seq,
                Sequenced::Duplicate { .. } => {
                    self.report.duplicates += 1;
                    return;
                }
            }
        }
        if self.restarts > 0 {
            self.mark_restart(event);
        }
        let position = self.producer.position() + self.words.len() as u64;
        match self.writer.apply_event(event, position) {
            Ok(_) => self.words.extend(event.iter().map(Tick::to_words)),
            Err(error) => return self.refused(event, &error),
        }
        let Some(last) = event.last() else { return };
        match last.kind {
            Kind::Trade => self.derive(last, feed),
            Kind::Level if !self.numbered && self.is_quoted_from_book(last.instrument) => {
                self.quote(last);
            }
            Kind::Status if last.as_status().state == FeedState::Resync => {
                self.forget_quote(last.instrument);
            }
            _ => {}
        }
    }

    /// Whether this says that a book is live whose snapshot has just been refused.
    fn is_unfounded(&mut self, event: &[Tick]) -> bool {
        let [tick] = event else { return false };
        !self.refused.is_empty()
            && tick.kind == Kind::Status
            && tick.as_status().state == FeedState::Live
            && self.refused.iter().any(|(_, id)| *id == tick.instrument)
            && !self.writer.slot(tick.instrument).lock().book.is_known()
    }

    /// Whether an instrument's quotes come from its book; asks its listing once.
    fn is_quoted_from_book(&mut self, id: InstrumentId) -> bool {
        if id.index() >= self.quoted_from_book.len() {
            let news = self.instruments.since(self.quoted_from_book.len());
            self.quoted_from_book.extend(news.iter().map(|info| info.quotes_from_book));
        }
        self.quoted_from_book.get(id.index()).is_some_and(|from_book| *from_book)
    }

    /// The best of a book as a quote, where an event has changed it. Counted: the venue numbers
    /// books, not quotes.
    fn quote(&mut self, last: &Tick) {
        let Recorder { producer, writer, sequencers, words, .. } = self;
        let mut state = writer.slot(last.instrument).lock();
        let (bid, ask) = state.book.best();
        let ((bid, bid_size), (ask, ask_size)) = (bid.unwrap_or_default(), ask.unwrap_or_default());
        let quote = Quote { bid, bid_size, ask, ask_size };
        if state.last_quote.is_some_and(|tick| tick.as_quote() == quote) {
            return;
        }
        let stamp = Stamp { event: last.ts_event, recv: last.ts_recv, seq: 0 };
        // A pair that fits no one exponent (18 digits between best bid and ask) has no quote.
        let Some(mut tick) = Tick::quote(last.instrument, stamp, &quote) else { return };
        if let Sequenced::Seq(seq) = sequencers.next(&tick) {
            tick.seq = seq;
        }
        let position = producer.position() + words.len() as u64;
        if state.apply_event(&[tick], position).is_ok() {
            words.push(tick.to_words());
        }
    }

    /// A quote that came from a book goes with it.
    fn forget_quote(&mut self, id: InstrumentId) {
        if self.is_quoted_from_book(id) {
            self.writer.slot(id).lock().last_quote = None;
        }
    }

    /// History, bars and ticker after a trade.
    fn derive(&mut self, trade: &Tick, feed: usize) {
        let Recorder { producer, writer, timelines, words, report, .. } = self;
        let (slot, room) = writer.slot_and_room(trade.instrument);
        let mut state = slot.lock();
        let before = words.len();
        timelines.trade((&mut state, room), trade, feed, words, report);
        if words.len() != before {
            state.position = producer.position() + words.len() as u64;
        }
    }

    /// Bars and tickers that are due by a feed's clock: a bounded number of symbols.
    fn advance(&mut self, feed: usize) {
        let Recorder { producer, writer, timelines, words, report, .. } = self;
        for _ in 0..limits::DUE_PER_EVENT {
            let Some((id, due_ns)) = timelines.next_due(feed) else { return };
            let (slot, room) = writer.slot_and_room(id);
            let mut state = slot.lock();
            let before = words.len();
            timelines.advance((&mut state, room), id, due_ns, feed, words, report);
            if words.len() != before {
                state.position = producer.position() + words.len() as u64;
            }
        }
    }

    /// A copy of an instrument's book, where it is known, and a mark on the ring at which it was taken.
    pub(super) fn cut(&mut self, id: InstrumentId, now_ns: u64) -> InstrumentState {
        let mut copy = InstrumentState::new();
        copy.copy_from(&self.writer.slot(id).lock());
        if copy.book.is_known() {
            let stamp = Stamp { event: 0, recv: now_ns, seq: copy.book.seq() };
            self.words.push(Tick::cut(id, stamp).to_words());
        }
        copy
    }

    /// A book event that does not fit its book: the book is unknown from here to the next
    /// snapshot, and everybody is told.
    fn refused(&mut self, event: &[Tick], error: &BookError) {
        let Some(last) = event.last() else { return };
        self.report.book_errors += 1;
        if self.report.book_errors == 1 {
            tracing::warn!(%error, instrument = last.instrument.0, "book event refused (further ones are counted)");
        }
        // Between a resync and its snapshot there is nothing new to tell, unless that is refused.
        let is_told = self.writer.slot(last.instrument).lock().feed == FeedState::Resync;
        if is_told && !last.has(flags::SNAPSHOT) {
            return;
        }
        if let Some(&feed) = self.sources.get(last.instrument.index()) {
            self.refused.push((feed, last.instrument));
        }
        if is_told {
            return;
        }
        let stamp = Stamp { event: last.ts_event, recv: last.ts_recv, seq: 0 };
        let status = Status { state: FeedState::Resync, age_ms: 0 };
        let mut tick = [Tick::status(last.instrument, stamp, status)];
        if let Sequenced::Seq(seq) = self.sequencers.next(&tick[0]) {
            tick[0].seq = seq;
        }
        let position = self.producer.position() + self.words.len() as u64;
        if self.writer.apply_event(&tick, position).is_ok() {
            self.words.push(tick[0].to_words());
        }
        self.forget_quote(last.instrument);
    }

    /// Publishes what was recorded, a quarter of the ring at a time. Before each part `room` is
    /// asked, with the position after it, whether to go on; after it `published` is called.
    pub(super) fn publish(
        &mut self,
        mut room: impl FnMut(u64, &mut IngestReport) -> bool,
        mut published: impl FnMut(),
    ) {
        for part in self.words.chunks(self.producer.slots() / 4) {
            let end = self.producer.position() + part.len() as u64;
            if !room(end, &mut self.report) {
                break;
            }
            self.producer.publish_batch(part);
            self.report.ticks += part.len() as u64;
            published();
        }
        self.words.clear();
    }

    /// Whether nothing is in line for the ring.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Where the next tick on the ring will be.
    pub(super) fn position(&self) -> u64 {
        self.producer.position()
    }

    /// The same once all that is in line is there.
    pub(super) fn end(&self) -> u64 {
        self.producer.position() + self.words.len() as u64
    }

    /// How many ticks the ring holds.
    pub(super) fn slots(&self) -> usize {
        self.producer.slots()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::State;
    use crate::derive::{Bar, Span, Wanted};
    use crate::ring::{self, Consumer, Poll};
    use tickcast_feeds::{Decimal, Level, Listing, Side, Trade};

    fn recorder(slots: usize) -> (Recorder, Consumer<TICK_WORDS>) {
        let (producer, ring) = ring::channel(slots).unwrap();
        let writer = Arc::new(State::new()).writer();
        (Recorder::new(producer, writer, Arc::default()), ring.consumer())
    }

    fn stamp(seq: u64) -> Stamp {
        Stamp { event: 0, recv: seq, seq }
    }

    fn trade(instrument: u32, seq: u64) -> Tick {
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let trade = Trade { price, size, id: seq, side: Side::Buy };
        Tick::trade(InstrumentId(instrument), stamp(seq), &trade)
    }

    /// Publishes all and reads it: kind, instrument and sequence of each tick.
    fn published(
        recorder: &mut Recorder,
        ring: &mut Consumer<TICK_WORDS>,
    ) -> Vec<(Kind, u32, u64)> {
        recorder.publish(|_, _| true, || {});
        let mut words = [[0; TICK_WORDS]; 64];
        let count = match ring.poll(&mut words) {
            Poll::Read(count) => count,
            Poll::Empty | Poll::Lapped(_) => 0,
        };
        let tick = |words: &[u64; TICK_WORDS]| Tick::from_words(*words);
        let ticks = words[..count].iter().map(tick);
        ticks.map(|tick| (tick.kind, tick.instrument.0, tick.seq)).collect()
    }

    #[test]
    fn a_restart_lets_the_numbers_of_its_own_instruments_go_back() {
        let (mut recorder, mut ring) = recorder(64);
        recorder.record(&mut [trade(0, 5), trade(0, 5), trade(0, 6)], 0, 0);
        recorder.record(&mut [trade(1, 9)], 1, 0);
        recorder.restart(0);
        recorder.record(&mut [trade(0, 5)], 0, 0);
        recorder.record(&mut [trade(1, 9)], 1, 0);
        let expected = [(0, 5), (0, 6), (1, 9), (0, 7)].map(|(id, seq)| (Kind::Trade, id, seq));
        assert_eq!(published(&mut recorder, &mut ring), expected);
        assert_eq!((recorder.report.ticks, recorder.report.duplicates), (4, 2));
    }

    #[test]
    fn a_book_event_without_its_book_becomes_a_status() {
        let (mut recorder, mut ring) = recorder(64);
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let level = Level { side: Side::Buy, price, size, first: 0 };
        let event = Tick::level(InstrumentId(0), stamp(3), flags::FIRST | flags::LAST, &level);
        recorder.record(&mut [event, trade(0, 4)], 0, 0);
        let expected = [(Kind::Status, 0, 1), (Kind::Trade, 0, 4)];
        assert_eq!(published(&mut recorder, &mut ring), expected);
        assert_eq!(recorder.report.book_errors, 1);
    }

    #[test]
    fn a_snapshot_that_is_refused_is_asked_for_again_and_makes_nothing_live() {
        let (mut recorder, mut ring) = recorder(64);
        let status = |state| Tick::status(InstrumentId(0), stamp(1), Status { state, age_ms: 0 });
        // A bid at an ask.
        let side = |side, flag| {
            let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
            let level = Level { side, price, size, first: 0 };
            Tick::level(InstrumentId(0), stamp(3), flag | flags::SNAPSHOT, &level)
        };
        let snapshot = [side(Side::Buy, flags::FIRST), side(Side::Sell, flags::LAST)];
        recorder.record(&mut [status(FeedState::Resync)], 0, 0);
        let mut ticks = [snapshot[0], snapshot[1], status(FeedState::Live)];
        recorder.record(&mut ticks, 0, 0);
        assert_eq!(published(&mut recorder, &mut ring), [(Kind::Status, 0, 1)]);
        assert_eq!(recorder.refused, [(0, InstrumentId(0))]);
        assert_eq!(recorder.writer.slot(InstrumentId(0)).lock().feed, FeedState::Resync);
    }

    #[test]
    fn what_there_is_no_room_for_is_not_published() {
        let (mut recorder, _ring) = recorder(64);
        let mut ticks: Vec<Tick> = (1..=50).map(|seq| trade(0, seq)).collect();
        recorder.record(&mut ticks, 0, 0);
        let (mut ends, mut bells) = (Vec::new(), 0);
        let room = |end, _: &mut IngestReport| {
            ends.push(end);
            end <= 32
        };
        recorder.publish(room, || bells += 1);
        assert_eq!((ends, bells, recorder.report.ticks), (vec![16, 32, 48], 2, 32));
        recorder.publish(|_, _| true, || bells += 1);
        assert_eq!((bells, recorder.report.ticks), (2, 32), "the rest was dropped");
    }

    /// The next words of a ring.
    fn words(ring: &mut Consumer<TICK_WORDS>) -> Vec<[u64; TICK_WORDS]> {
        let mut words = vec![[0; TICK_WORDS]; 64];
        let count = match ring.poll(&mut words) {
            Poll::Read(count) => count,
            Poll::Empty | Poll::Lapped(_) => 0,
        };
        words.truncate(count);
        words
    }

    #[test]
    fn what_one_has_numbered_comes_out_of_another_as_it_was() {
        let (mut first, mut ring) = recorder(64);
        let (second, mut later) = recorder(64);
        let mut second = second.numbered();
        let level = |seq, side, price, event| {
            let (price, size) = (Decimal::new(price, 0), Decimal::new(1, 0));
            Tick::level(InstrumentId(1), stamp(seq), event, &Level { side, price, size, first: 0 })
        };
        let whole = flags::FIRST | flags::LAST;
        let status = |state| Tick::status(InstrumentId(1), stamp(0), Status { state, age_ms: 0 });
        first.instruments.list_as("sim", &Listing::pair("A", "A", "USD"));
        let from_book = Listing { quotes_from_book: true, ..Listing::pair("B", "B", "USD") };
        first.instruments.list_as("sim", &from_book);
        first.record(&mut [trade(0, 0), trade(0, 0), trade(0, 9)], 0, 0);
        let snapshot = [
            level(5, Side::Buy, 1, flags::FIRST | flags::SNAPSHOT),
            level(5, Side::Sell, 3, flags::LAST | flags::SNAPSHOT),
        ];
        let mut book =
            [snapshot[0], snapshot[1], status(FeedState::Live), level(6, Side::Buy, 2, whole)];
        first.record(&mut book, 1, 0);
        first.restart(0);
        // The numbers go back, a diff is refused, the book is got anew.
        let diff = level(7, Side::Buy, 4, whole);
        first.record(
            &mut [trade(0, 2), diff, snapshot[0], snapshot[1], status(FeedState::Live)],
            0,
            0,
        );
        first.publish(|_, _| true, || {});
        let told = words(&mut ring);
        let ticks: Vec<Tick> = told.iter().map(|words| Tick::from_words(*words)).collect();
        let quotes = ticks.iter().filter(|tick| tick.kind == Kind::Quote).count();
        assert_eq!((quotes, ticks.iter().filter(|tick| tick.has(flags::RESTART)).count()), (3, 1));
        second.record(&mut ticks.clone(), 0, 0);
        second.publish(|_, _| true, || {});
        assert_eq!(words(&mut later), told);
        // What a snapshot says again is not told again, but a book is.
        let again = ticks.iter().rfind(|t| matches!(t.kind, Kind::Trade | Kind::Quote));
        let last = ticks.iter().rposition(|tick| tick.has(flags::SNAPSHOT)).expect("a book");
        let book = [ticks[last - 1], ticks[last]];
        second.record(&mut [*again.expect("some"), book[0], book[1]], 0, 0);
        second.publish(|_, _| true, || {});
        assert_eq!(words(&mut later), book.map(|tick| tick.to_words()));
    }

    const S: u64 = 1_000_000_000;
    /// A whole hour.
    const BEGIN: u64 = 1_723_158_000 * S;

    /// A trade that happened, and was received, so many milliseconds after [`BEGIN`].
    fn timed(instrument: u32, ms: u64) -> Tick {
        let mut tick = trade(instrument, 0);
        (tick.ts_event, tick.ts_recv) = (BEGIN + ms * 1_000_000, BEGIN + ms * 1_000_000);
        tick
    }

    /// Starts listening to seconds, as a reactor does.
    fn listen(recorder: &mut Recorder, instrument: u32) -> Wanted {
        let mut state = recorder.writer.slot(InstrumentId(instrument)).lock();
        Wanted::new(state.demand.get_or_insert_default().clone(), Span::Second)
    }

    /// Publishes all: of trades their instrument, of bars that, their start in seconds, and whether they are
    /// over.
    fn told(recorder: &mut Recorder, ring: &mut Consumer<TICK_WORDS>) -> Vec<String> {
        recorder.publish(|_, _| true, || {});
        let mut words = [[0; TICK_WORDS]; 64];
        let count = match ring.poll(&mut words) {
            Poll::Read(count) => count,
            Poll::Empty | Poll::Lapped(_) => 0,
        };
        let ticks: Vec<Tick> =
            words[..count].iter().map(|words| Tick::from_words(*words)).collect();
        let event = |event: &[Tick]| match Bar::from_ticks(event) {
            Some(bar) => {
                let end = if bar.is_final { "!" } else { "" };
                format!("{}@{}{end}", event[0].instrument.0, bar.start_s - BEGIN / S)
            }
            None => event[0].instrument.0.to_string(),
        };
        ticks.chunk_by(|tick, _| !tick.has(flags::LAST)).map(event).collect()
    }

    #[test]
    fn bars_follow_their_trade_and_end_by_the_clock_of_their_feed() {
        let (mut recorder, mut ring) = recorder(64);
        let _wanted = [listen(&mut recorder, 0), listen(&mut recorder, 1)];
        recorder.record(&mut [timed(0, 100), timed(1, 200), timed(2, 300)], 0, 5 * S);
        assert_eq!(told(&mut recorder, &mut ring), ["0", "0@0", "1", "1@0", "2"]);
        // The state has what is on the ring, and says so.
        let position = recorder.writer.slot(InstrumentId(1)).lock().position;
        assert_eq!(position, recorder.producer.position() - 1);
        // Over at 1,000 ms, closed half a second later: 1,200 ms after the newest tick.
        assert_eq!(recorder.rest(5 * S), Some(Duration::from_millis(1200)));
        recorder.idle(5 * S + 1_199_000_000);
        assert!(recorder.is_empty());
        recorder.idle(5 * S + 1_200_000_000);
        assert_eq!(told(&mut recorder, &mut ring), ["0@0!", "1@0!"]);
        recorder.idle(6 * S + 1_200_000_000);
        assert!(recorder.is_empty(), "a minute is not over");

        // Time passes by another symbol's ticks, also by those of another feed.
        recorder.record(&mut [timed(0, 5_000)], 0, 10 * S);
        recorder.record(&mut [timed(2, 6_499)], 0, 10 * S);
        assert_eq!(told(&mut recorder, &mut ring), ["0", "0@5", "2"]);
        recorder.record(&mut [timed(2, 6_500)], 0, 10 * S);
        assert_eq!(told(&mut recorder, &mut ring), ["0@5!", "2"]);
        recorder.record(&mut [timed(0, 8_000)], 0, 20 * S);
        recorder.record(&mut [timed(3, 0)], 1, 21 * S + 400_000_000);
        recorder.record(&mut [timed(3, 0)], 1, 21 * S + 500_000_000);
        assert_eq!(told(&mut recorder, &mut ring), ["0", "0@8", "3", "3", "0@8!"]);
    }

    #[test]
    fn who_keeps_the_clock_is_not_buried_under_what_it_was_told() {
        let (mut recorder, mut ring) = recorder(1 << 12);
        let _wanted = listen(&mut recorder, 0);
        // Trades under way for ever shorter: each says that its bar ends a little sooner.
        for ms in 0..50_000 {
            let mut tick = timed(0, ms);
            tick.ts_recv += 50_000_000 - ms * 1_000;
            recorder.record(&mut [tick], 0, 0);
            recorder.publish(|_, _| true, || {});
            let _ = ring.poll(&mut [[0; TICK_WORDS]; 64]);
        }
        assert!(recorder.timelines.waiting() < 64, "{}", recorder.timelines.waiting());
        // A trade now and then, and quiet between: seconds end before the minute that waits.
        for at in 1..100 {
            let mono_ns = at * 1_700_000_000;
            recorder.record(&mut [timed(0, 60_000 + at * 1_700)], 0, mono_ns);
            recorder.idle(mono_ns + 1_600_000_000);
            recorder.publish(|_, _| true, || {});
        }
        assert!(recorder.timelines.waiting() < 16, "{}", recorder.timelines.waiting());
    }

    #[test]
    fn a_restart_lets_the_times_of_its_own_instruments_go_back() {
        let (mut recorder, mut ring) = recorder(64);
        let _wanted = [listen(&mut recorder, 0), listen(&mut recorder, 1)];
        recorder.record(&mut [timed(0, 30_000)], 0, 0);
        recorder.record(&mut [timed(1, 30_000)], 1, 0);
        told(&mut recorder, &mut ring);
        recorder.restart(0);
        recorder.record(&mut [timed(0, 0)], 0, 0);
        recorder.record(&mut [timed(1, 0)], 1, 0);
        assert_eq!(told(&mut recorder, &mut ring), ["0", "0@30!", "0@0", "1"]);
        assert_eq!(recorder.report.late_trades, 1);
    }
}
