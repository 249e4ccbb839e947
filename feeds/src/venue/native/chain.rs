//! What the lines of one symbol must fit together by: sequences, the book's links, the state that
//! clients see.

use super::{Refusal, Stamp, Status};
use crate::claims::{Granted, Past};
use crate::instrument::InstrumentId;
use crate::sink::Sink;
use crate::tick::{FeedState, Tick};

/// One symbol of a publisher.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: InstrumentId,
    /// Venue, base, quote.
    pub(super) name: (String, String, String),
    /// Whether the claim is this publisher's now.
    pub(super) held: bool,
    /// The state that the publisher gave, where it is not live.
    said: Option<FeedState>,
    /// The state that clients see.
    shown: Option<FeedState>,
    /// The last sequences of this publisher, 0 before the first and where it gives none.
    trade: u64,
    quote: u64,
    book: Book,
    /// What was handed on, by this publisher and those before it.
    past: Past,
}

/// What is known of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Book {
    /// There was none.
    None,
    /// An earlier publisher had one: whatever clients see is old until there is a snapshot.
    Awaited,
    /// Complete up to `seq`, with so many levels a side (0: all).
    Live { seq: u64, depth: u64 },
    /// Something is missing.
    Broken,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put it, with this sequence (0: to be counted).
    Put(u64),
    /// It says what is known.
    Known,
}

impl Slot {
    pub(super) fn new(name: (String, String, String), granted: Granted) -> Self {
        let mut slot = Slot {
            id: granted.id,
            name,
            held: true,
            said: None,
            shown: None,
            trade: 0,
            quote: 0,
            book: Book::None,
            past: Past::default(),
        };
        slot.hold(granted.past);
        slot
    }

    /// The claim is ours (again); `past` is what others did since it was.
    pub(super) fn hold(&mut self, past: Option<Past>) {
        self.held = true;
        if let Some(past) = past {
            (self.trade, self.quote, self.said, self.past) = (0, 0, None, past);
            self.book = if past.book { Book::Awaited } else { Book::None };
            // It has been stale since the one before left.
            self.shown = past.book.then_some(FeedState::Stale);
        }
    }

    /// What whoever comes next has to know.
    pub(super) fn past(&self) -> Past {
        Past { book: self.book != Book::None, ..self.past }
    }

    /// The state as it is.
    pub(super) fn state(&self) -> FeedState {
        match (self.book, self.said) {
            (Book::Broken, _) => FeedState::Resync,
            (_, Some(said)) => said,
            (Book::Awaited, None) => FeedState::Stale,
            (Book::None | Book::Live { .. }, None) => FeedState::Live,
        }
    }

    /// Puts a status where the state is not what clients see.
    pub(super) fn show(
        &mut self,
        state: FeedState,
        stamp: Stamp,
        age_ms: u64,
        sink: &mut dyn Sink,
    ) {
        if self.shown.replace(state) != Some(state) {
            let stamp = Stamp { seq: 0, ..stamp };
            sink.put(&Tick::status(self.id, stamp, Status { state, age_ms }));
        }
    }

    /// The publisher gives a state, which holds until it gives another.
    pub(super) fn say(&mut self, state: FeedState) {
        self.said = (state != FeedState::Live).then_some(state);
        // The server drops the book at this.
        if state == FeedState::Resync && self.book != Book::None {
            self.book = Book::Broken;
        }
    }

    /// The sequence of a trade with this one of the publisher's.
    pub(super) fn trade(&mut self, seq: u64) -> Result<u64, Refusal> {
        rise("trade", &mut self.trade, seq)?;
        Ok(hand_on(&mut self.past.trade, seq))
    }

    /// What to do with a quote.
    pub(super) fn quote(&mut self, seq: u64, snapshot: bool) -> Result<Step, Refusal> {
        if snapshot && seq != 0 && seq == self.quote {
            return Ok(Step::Known);
        }
        if snapshot && seq < self.quote {
            self.start_over();
        }
        rise("quote", &mut self.quote, seq)?;
        Ok(Step::Put(hand_on(&mut self.past.quote, seq)))
    }

    /// A snapshot of the book replaces it, whatever came before.
    pub(super) fn snapshot(&mut self, seq: u64, depth: u64) {
        if matches!(self.book, Book::Live { seq: last, .. } if seq != 0 && seq < last) {
            self.start_over();
        }
        self.book = Book::Live { seq, depth };
        self.said = self.said.filter(|said| *said != FeedState::Resync);
    }

    /// Checks that an update of the book follows what came before.
    pub(super) fn update(
        &mut self,
        seq: u64,
        prev: Option<u64>,
        depth: u64,
    ) -> Result<(), Refusal> {
        let Book::Live { seq: last, depth: of } = self.book else {
            self.book = Book::Broken;
            return Err(Refusal::NoSnapshot);
        };
        if depth != of {
            let expected = if of == 0 {
                "no depth, like that of the snapshot".to_owned()
            } else {
                format!("{of}, that of the snapshot")
            };
            return Err(Refusal::Unfit { field: "depth", given: depth, expected });
        }
        if seq != 0 && seq <= last {
            return Err(Refusal::Repeated { channel: "book", seq, last });
        }
        if let Some(prev) = prev.filter(|prev| *prev != last) {
            self.book = Book::Broken;
            return Err(Refusal::Gap { prev, last });
        }
        if seq != 0 {
            self.book = Book::Live { seq, depth };
        }
        Ok(())
    }

    /// A snapshot with a lower sequence: the publisher's own source started over.
    fn start_over(&mut self) {
        (self.trade, self.quote) = (0, 0);
    }
}

/// Takes a sequence that must be above the last; one that is not was sent before.
fn rise(channel: &'static str, last: &mut u64, seq: u64) -> Result<(), Refusal> {
    if seq == 0 {
        return Ok(());
    }
    if seq <= *last {
        return Err(Refusal::Repeated { channel, seq, last: *last });
    }
    *last = seq;
    Ok(())
}

/// The publisher's own sequence where it is above all that were handed on; else 0, for the ingest
/// to count: it takes a number that goes back for a repetition.
fn hand_on(highest: &mut u64, seq: u64) -> u64 {
    if seq <= *highest {
        return 0;
    }
    *highest = seq;
    seq
}
