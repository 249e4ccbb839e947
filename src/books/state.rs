//! The newest of everything, where the ingest writes it and reactors copy it from.
//!
//! Invariants:
//! - An event is in the state before it is on the ring. So a copy is never older than what its
//!   reader has read: the reader takes the copy, leaves out this instrument's ticks at positions
//!   below [`InstrumentState::position`], and goes on from there without gap or duplicate.
//! - The lock of an instrument is held over all ticks of an event: no copy is of half an event.
//! - Only copies are made under the lock; what is done with them is done outside.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tickcast_feeds::{FeedState, InstrumentId, Kind, Tick};

use super::book::{Applied, Book, BookError};
use super::history::{History, Room};
use crate::derive::{Demand, Series};

/// The newest of one instrument.
#[derive(Clone, Debug)]
pub struct InstrumentState {
    /// The ring position after the last tick that is in here: ticks of this instrument at this
    /// position and above are not.
    pub position: u64,
    /// The last trade.
    pub last_trade: Option<Tick>,
    /// The last quote.
    pub last_quote: Option<Tick>,
    /// The book; not known while its feed rebuilds it.
    pub book: Book,
    /// The state of the feed; live until the feed says otherwise: one that says nothing of its state has
    /// nothing to say.
    pub feed: FeedState,
    /// Since when the feed is in that state, nanoseconds since the Unix epoch (receive time); 0
    /// before the first status.
    pub feed_since: u64,
    /// When the newest trade, quote or book event was received, nanoseconds since the Unix
    /// epoch; 0 before the first.
    pub data_recv: u64,
    /// The last sequence of the trade channel, 0 before the first.
    pub trade_seq: u64,
    /// The last sequence of the quote channel, 0 before the first.
    pub quote_seq: u64,
    /// The last sequence of the book channel, 0 before the first.
    pub book_seq: u64,
    /// The last sequence of the status channel, 0 before the first.
    pub status_seq: u64,
    /// The feed that the newest event came from.
    pub source: u16,
    /// Bars and ticker, from the first trade on. The ingest's own: not part of a copy, reactors take
    /// [`Series::snapshot`]s.
    pub series: Option<Box<Series>>,
    /// The newest trades and closed bars, from the first on. The ingest's own, as those are: copy
    /// [`History::trades`] and [`History::bars`] out of it.
    pub history: Option<Box<History>>,
    /// Which of those somebody listens to, from the first who does on.
    pub demand: Option<Arc<Demand>>,
}

impl Default for InstrumentState {
    fn default() -> Self {
        Self::new()
    }
}

impl InstrumentState {
    /// Nothing known.
    pub const fn new() -> Self {
        InstrumentState {
            position: 0,
            last_trade: None,
            last_quote: None,
            book: Book::new(),
            feed: FeedState::Live,
            feed_since: 0,
            data_recv: 0,
            trade_seq: 0,
            quote_seq: 0,
            book_seq: 0,
            status_seq: 0,
            source: 0,
            series: None,
            history: None,
            demand: None,
        }
    }

    /// Applies one event of any kind, whose ticks will be (or are) at `first` and the following
    /// positions of the ring. A status [`FeedState::Resync`] clears the book.
    ///
    /// What it returns is about the book; for the other kinds it is nothing.
    ///
    /// # Errors
    /// [`BookError`]. The book then lacks an event that the venue has applied, so it is cleared:
    /// not known until the next snapshot. Position and sequences stay, so it is no matter whether
    /// the refused event is published: a reader that meets it has no book to apply it to.
    pub fn apply_event(&mut self, event: &[Tick], first: u64) -> Result<Applied, BookError> {
        let Some(last) = event.last() else {
            return Ok(Applied::default());
        };
        let mut applied = Applied::default();
        match last.kind {
            Kind::Trade => {
                self.last_trade = Some(*last);
                self.trade_seq = last.seq;
            }
            Kind::Quote => {
                self.last_quote = Some(*last);
                self.quote_seq = last.seq;
            }
            Kind::Level => {
                applied = self.apply_levels(event).inspect_err(|_| self.book.clear())?;
                self.book_seq = last.seq;
            }
            Kind::Status => self.apply_status(last),
            // They come from the series that is here.
            Kind::Bar | Kind::Cut => {}
        }
        if !matches!(last.kind, Kind::Status | Kind::Bar | Kind::Cut) {
            self.data_recv = last.ts_recv;
        }
        self.position = first + event.len() as u64;
        Ok(applied)
    }

    /// A book that is crossed is not the venue's: it shows here, before anybody sees it.
    fn apply_levels(&mut self, event: &[Tick]) -> Result<Applied, BookError> {
        let applied = self.book.apply_event(event)?;
        if let (Some((bid, _)), Some((ask, _))) = self.book.best()
            && bid >= ask
        {
            return Err(BookError::Crossed { seq: self.book.seq(), bid, ask });
        }
        Ok(applied)
    }

    fn apply_status(&mut self, tick: &Tick) {
        let state = tick.as_status().state;
        if state != self.feed || self.feed_since == 0 {
            self.feed_since = tick.ts_recv;
        }
        self.feed = state;
        self.status_seq = tick.seq;
        if state == FeedState::Resync {
            self.book.clear();
        }
    }

    /// Makes `self` a copy of `source`, in the buffers that are there: short under a lock.
    pub fn copy_from(&mut self, source: &Self) {
        let mut book = std::mem::take(&mut self.book);
        book.clone_from(&source.book);
        *self = InstrumentState { book, series: None, history: None, demand: None, ..*source };
    }
}

type Slot = Arc<Mutex<InstrumentState>>;

/// The newest of all instruments: an append-only list, one lock per instrument.
///
/// The list's own lock is taken only by who meets an instrument for the first time: [`Writer`]
/// and [`Reader`] keep what they have seen.
#[derive(Debug, Default)]
pub struct State {
    slots: RwLock<Vec<Slot>>,
    /// Trades and bars that are kept of each.
    history: usize,
}

impl State {
    /// No instrument yet, and of none a history.
    pub fn new() -> Self {
        Self::default()
    }

    /// No instrument yet; of each, `most` trades and as many bars of each interval will be kept.
    pub fn with_history(most: usize) -> Self {
        State { history: most, ..Self::default() }
    }

    /// How many instruments have a slot.
    pub fn len(&self) -> usize {
        self.slots.read().len()
    }

    /// All slots, with those of all ids up to this one, which are made now where they are missing.
    fn with(&self, id: InstrumentId) -> Vec<Slot> {
        let mut slots = self.slots.write();
        let wanted = slots.len().max(id.index() + 1);
        slots.resize_with(wanted, Slot::default);
        slots.clone()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ingest's side. One at a time: the positions of two would not be in order.
    pub fn writer(self: &Arc<Self>) -> Writer {
        let room = Room::new(self.history);
        Writer { state: Arc::clone(self), seen: self.slots.read().clone(), room }
    }

    /// A reactor's side, as many as there are reactors.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader { state: Arc::clone(self), seen: self.slots.read().clone() }
    }
}

/// Writes the state; see [`State::writer`].
#[derive(Debug)]
pub struct Writer {
    state: Arc<State>,
    seen: Vec<Slot>,
    room: Room,
}

impl Writer {
    /// Applies one event: [`InstrumentState::apply_event`], under the instrument's lock. To be
    /// called before the event is published at `first`.
    ///
    /// # Errors
    /// As [`InstrumentState::apply_event`].
    pub fn apply_event(&mut self, event: &[Tick], first: u64) -> Result<Applied, BookError> {
        let Some(tick) = event.first() else {
            return Ok(Applied::default());
        };
        self.slot(tick.instrument).lock().apply_event(event, first)
    }

    /// The slot of an instrument, made now if it has none. Ids are dense: one makes the slots of
    /// all below it too.
    pub fn slot(&mut self, id: InstrumentId) -> &Mutex<InstrumentState> {
        if id.index() >= self.seen.len() {
            self.seen = self.state.with(id);
        }
        &self.seen[id.index()]
    }

    /// The same, and the room that all histories have.
    pub fn slot_and_room(&mut self, id: InstrumentId) -> (&Mutex<InstrumentState>, &mut Room) {
        if id.index() >= self.seen.len() {
            self.seen = self.state.with(id);
        }
        (&self.seen[id.index()], &mut self.room)
    }
}

/// Reads the state; see [`State::reader`].
#[derive(Debug)]
pub struct Reader {
    state: Arc<State>,
    seen: Vec<Slot>,
}

impl Reader {
    /// The state of an instrument, to be locked shortly; `None` where no event of it or of a later
    /// id has come. One without events equals [`InstrumentState::new`].
    pub fn get(&mut self, id: InstrumentId) -> Option<&Mutex<InstrumentState>> {
        if id.index() >= self.seen.len() {
            let slots = self.state.slots.read();
            if slots.len() == self.seen.len() {
                return None;
            }
            self.seen.clone_from(&slots);
        }
        self.seen.get(id.index()).map(Arc::as_ref)
    }

    /// The slot of an instrument, made now if it has none: for who leaves word in it.
    pub fn slot(&mut self, id: InstrumentId) -> &Mutex<InstrumentState> {
        if id.index() >= self.seen.len() {
            self.seen = self.state.with(id);
        }
        &self.seen[id.index()]
    }

    /// Copies the state of an instrument into `out`; false where [`Reader::get`] has none, `out`
    /// then is as it was.
    pub fn copy_to(&mut self, id: InstrumentId, out: &mut InstrumentState) -> bool {
        match self.get(id) {
            Some(state) => {
                out.copy_from(&state.lock());
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_feeds::tick::flags;
    use tickcast_feeds::{Decimal, Level, Quote, Side, Stamp, Status, Trade};

    const ID: InstrumentId = InstrumentId(3);

    fn stamp(seq: u64) -> Stamp {
        Stamp { event: 0, recv: seq * 10, seq }
    }

    fn dec(mantissa: u64) -> Decimal {
        Decimal::new(mantissa as i64, 0)
    }

    /// An event that sets one bid and one ask to the same size.
    fn pair(seq: u64, size: u64, event: u8) -> [Tick; 2] {
        let level = |side, price| Level { side, price: dec(price), size: dec(size), first: 0 };
        [
            Tick::level(ID, stamp(seq), flags::FIRST | event, &level(Side::Buy, 100)),
            Tick::level(ID, stamp(seq), flags::LAST | event, &level(Side::Sell, 101)),
        ]
    }

    fn status(seq: u64, state: FeedState) -> [Tick; 1] {
        [Tick::status(ID, stamp(seq), Status { state, age_ms: 0 })]
    }

    #[test]
    fn holds_the_newest_of_each_kind() {
        let state = Arc::new(State::new());
        let (mut writer, mut reader) = (state.writer(), state.reader());
        assert!(reader.get(ID).is_none());
        assert!(state.is_empty());
        let trade = Trade { price: dec(7), size: dec(1), id: 5, side: Side::Sell };
        let trade = Tick::trade(ID, stamp(5), &trade);
        let quote = Quote { bid: dec(6), bid_size: dec(1), ask: dec(7), ask_size: dec(2) };
        let quote = Tick::quote(ID, stamp(6), &quote).unwrap();
        writer.apply_event(&[trade], 40).unwrap();
        writer.apply_event(&[quote], 41).unwrap();
        writer.apply_event(&status(1, FeedState::Live), 42).unwrap();
        writer.apply_event(&status(2, FeedState::Live), 43).unwrap();
        writer.apply_event(&pair(9, 4, flags::SNAPSHOT), 44).unwrap();
        writer.apply_event(&[], 99).unwrap();

        let mut copy = InstrumentState::new();
        assert!(reader.copy_to(ID, &mut copy));
        assert_eq!((copy.last_trade, copy.last_quote), (Some(trade), Some(quote)));
        assert_eq!((copy.trade_seq, copy.quote_seq), (5, 6));
        assert_eq!((copy.book_seq, copy.status_seq), (9, 2));
        assert_eq!((copy.feed, copy.feed_since, copy.data_recv), (FeedState::Live, 10, 90));
        assert_eq!(copy.position, 46);
        assert_eq!(copy.book.best().0, Some((dec(100), dec(4))));
        // Ids are dense: those below have slots without data, those above have none.
        assert_eq!(state.len(), 4);
        assert_eq!(reader.get(InstrumentId(0)).map(|slot| slot.lock().position), Some(0));
        assert!(!reader.copy_to(InstrumentId(4), &mut copy));
        assert_eq!(copy.position, 46);
    }

    #[test]
    fn a_book_that_may_be_wrong_is_not_known() {
        let mut state = InstrumentState::new();
        state.apply_event(&pair(1, 1, flags::SNAPSHOT), 0).unwrap();
        assert!(state.book.is_known());
        state.apply_event(&status(1, FeedState::Stale), 2).unwrap();
        assert!(state.book.is_known());
        state.apply_event(&status(2, FeedState::Resync), 3).unwrap();
        assert!(!state.book.is_known());
        assert_eq!(state.book.levels(), (0, 0));

        state.apply_event(&pair(2, 1, flags::SNAPSHOT), 4).unwrap();
        let mut bad = pair(3, 1, 0);
        bad[1].payload[1] = -1i64 as u64;
        let error = state.apply_event(&bad, 6).unwrap_err();
        assert_eq!(error, BookError::NegativeSize { price: dec(101), size: Decimal::new(-1, 0) });
        assert!(!state.book.is_known());
        assert_eq!((state.position, state.book_seq), (6, 2));
        assert_eq!(state.apply_event(&pair(4, 1, 0), 8), Err(BookError::Unknown { seq: 4 }));

        state.apply_event(&pair(5, 1, flags::SNAPSHOT), 8).unwrap();
        let crossing = Level { side: Side::Buy, price: dec(101), size: dec(1), first: 0 };
        let crossing = [Tick::level(ID, stamp(6), flags::FIRST | flags::LAST, &crossing)];
        let error = BookError::Crossed { seq: 6, bid: dec(101), ask: dec(101) };
        assert_eq!(state.apply_event(&crossing, 10), Err(error));
        assert!(!state.book.is_known());
    }

    /// One thread applies, others copy: every copy is of whole events and at their position.
    #[test]
    fn copies_are_of_whole_events() {
        const EVENTS: u64 = 20_000;
        let state = Arc::new(State::new());
        let mut writer = state.writer();
        writer.apply_event(&pair(1, 1, flags::SNAPSHOT), 2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut reader = state.reader();
                scope.spawn(move || {
                    let mut copy = InstrumentState::new();
                    let mut last = 0;
                    while last < EVENTS {
                        assert!(reader.copy_to(ID, &mut copy));
                        let (bid, ask) = copy.book.best();
                        let size = dec(copy.book_seq);
                        assert_eq!(bid, Some((dec(100), size)));
                        assert_eq!(ask, Some((dec(101), size)));
                        assert_eq!(copy.position, copy.book_seq * 2 + 2);
                        assert!(copy.book_seq >= last);
                        last = copy.book_seq;
                    }
                });
            }
            for seq in 2..=EVENTS {
                writer.apply_event(&pair(seq, seq, 0), seq * 2).unwrap();
            }
        });
    }
}
