//! What is copied out of the ingest's state for an answer: a little at a time, under the
//! instrument's lock, into buffers that are there.

use bytes::Bytes;
use tickcast_feeds::{FeedState, InstrumentId, Tick};

use super::encode::{self, Object};
use crate::books::{Depth, InstrumentState, PriceSize, Reader};
use crate::clock;
use crate::derive::{Bar, Span};
use crate::limits;
use crate::wire::native::push_int;
use crate::wire::request::Channel;

/// The newest of one instrument, all of one moment.
#[derive(Debug)]
pub(crate) struct View {
    quote: Option<Tick>,
    trade: Option<Tick>,
    ticker: Option<(Bar, u64)>,
    pub(crate) feed: FeedState,
    feed_since_ns: u64,
    /// Whether the book is known; what follows is of it.
    pub(crate) has_book: bool,
    bids: Vec<PriceSize>,
    asks: Vec<PriceSize>,
    book_seq: u64,
    book_event_ns: u64,
    book_recv_ns: u64,
}

impl Default for View {
    fn default() -> Self {
        View {
            quote: None,
            trade: None,
            ticker: None,
            feed: FeedState::Live,
            feed_since_ns: 0,
            has_book: false,
            bids: Vec::new(),
            asks: Vec::new(),
            book_seq: 0,
            book_event_ns: 0,
            book_recv_ns: 0,
        }
    }
}

impl View {
    /// Takes over what is known of an instrument, the book to a depth.
    pub(crate) fn take(&mut self, reader: &mut Reader, id: InstrumentId, depth: Depth) {
        self.bids.clear();
        self.asks.clear();
        if let Some(levels) = depth.levels() {
            self.bids.reserve(levels);
            self.asks.reserve(levels);
        }
        match reader.get(id) {
            Some(state) => self.copy(&state.lock(), depth),
            None => self.copy(&InstrumentState::new(), depth),
        }
    }

    fn copy(&mut self, state: &InstrumentState, depth: Depth) {
        (self.quote, self.trade) = (state.last_quote, state.last_trade);
        let day = state.series.as_ref().map(|series| series.snapshot(Span::Rolling));
        // It is made now.
        let recv_ns = clock::real_ns();
        self.ticker = day.and_then(|(bar, seq)| Some((Bar { recv_ns, ..bar? }, seq)));
        (self.feed, self.feed_since_ns) = (state.feed, state.feed_since);
        let book = &state.book;
        self.has_book = book.is_known();
        if self.has_book {
            self.bids.extend(depth.bids(book));
            self.asks.extend(depth.asks(book));
        }
        self.book_seq = book.seq();
        (self.book_event_ns, self.book_recv_ns) = (book.ts_event(), book.ts_recv());
    }

    /// Levels that were taken, of both sides.
    pub(crate) fn levels(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Adds the fields of the book.
    pub(crate) fn book(&self, object: &mut Object<'_>, depth: Depth) {
        if let Some(depth) = depth.levels() {
            object.int("depth", depth as u64);
        }
        object.int("seq", self.book_seq);
        encode::levels(object, "bids", &self.bids);
        encode::levels(object, "asks", &self.asks);
        object.stamps(self.book_event_ns, self.book_recv_ns);
    }

    /// The same for a full book that is too large to be written at once; its levels leave this
    /// view. `out`: an open object without these fields, which the last part closes.
    pub(crate) fn book_parts(
        &mut self,
        mut out: Vec<u8>,
    ) -> impl FnMut() -> Option<Bytes> + 'static {
        let mut levels = std::mem::take(&mut self.bids);
        let bids = levels.len();
        levels.append(&mut std::mem::take(&mut self.asks));
        let stamps = (self.book_event_ns, self.book_recv_ns);
        out.extend_from_slice(b",\"seq\":");
        push_int(&mut out, self.book_seq);
        out.extend_from_slice(b",\"bids\":[");
        let mut at = 0;
        move || {
            if at > levels.len() {
                return None;
            }
            let end = levels.len().min(at + limits::REST_LEVELS_PER_PART);
            for (place, level) in (at..end).zip(&levels[at..end]) {
                if place == bids {
                    out.extend_from_slice(b"],\"asks\":[");
                } else if place > 0 {
                    out.push(b',');
                }
                encode::level(&mut out, level);
            }
            at = end;
            if end == levels.len() {
                if bids == end {
                    out.extend_from_slice(b"],\"asks\":[");
                }
                out.extend_from_slice(b"],");
                let mut ts = Vec::new();
                let mut object = Object::open(&mut ts);
                object.stamps(stamps.0, stamps.1).close();
                // The object of these fields is open already.
                out.extend_from_slice(&ts[1..]);
                at = end + 1;
            }
            Some(Bytes::from(std::mem::take(&mut out)))
        }
    }

    /// Adds the fields of the ticker; false where no trade has come.
    pub(crate) fn ticker(&self, object: &mut Object<'_>) -> bool {
        if let Some((bar, seq)) = &self.ticker {
            encode::ticker(object, bar, *seq);
        }
        self.ticker.is_some()
    }

    /// Adds a field for each channel of which something is known.
    pub(crate) fn all(
        &self,
        object: &mut Object<'_>,
        depth: Depth,
        shown: impl Fn(Channel) -> bool,
    ) {
        let age_ms = match self.feed_since_ns {
            0 => 0,
            since => clock::real_ns().saturating_sub(since) / 1_000_000,
        };
        let mut status = Object::open(object.field("status"));
        status.text("state", self.feed.as_str()).int("age_ms", age_ms).close();
        if let Some(tick) = self.quote.as_ref().filter(|_| shown(Channel::Quote)) {
            let mut quote = Object::open(object.field("quote"));
            encode::quote(&mut quote, tick);
            quote.close();
        }
        if let Some(tick) = self.trade.as_ref().filter(|_| shown(Channel::Trade)) {
            let mut trade = Object::open(object.field("trade"));
            encode::trade(&mut trade, tick, None);
            trade.close();
        }
        if self.has_book && shown(Channel::Book) {
            let mut book = Object::open(object.field("book"));
            self.book(&mut book, depth);
            book.close();
        }
        if self.ticker.is_some() && shown(Channel::Ticker) {
            let mut ticker = Object::open(object.field("ticker"));
            self.ticker(&mut ticker);
            ticker.close();
        }
    }
}

/// The newest trades before a sequence, oldest first, and the sequence of the one before them.
pub(crate) fn trades(
    reader: &mut Reader,
    id: InstrumentId,
    before: Option<u64>,
    count: usize,
) -> (Vec<Tick>, u64) {
    let mut out = Vec::with_capacity(count);
    let state = reader.get(id).map(|state| state.lock());
    let history = state.as_ref().and_then(|state| state.history.as_ref());
    let prev = history.map_or(0, |history| history.trades(before, count, &mut out));
    (out, prev)
}

/// The newest closed bars that begin before a time (seconds), oldest first, and the open one.
pub(crate) fn bars(
    reader: &mut Reader,
    id: InstrumentId,
    span: Span,
    before_s: Option<u64>,
    count: usize,
) -> (Vec<Bar>, Option<Bar>) {
    let mut out = Vec::with_capacity(count);
    let Some(state) = reader.get(id).map(|state| state.lock()) else { return (out, None) };
    if let Some(history) = &state.history {
        history.bars(span, before_s, count, &mut out);
    }
    (out, state.series.as_ref().and_then(|series| series.open(span)))
}
