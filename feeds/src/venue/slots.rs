//! What a parser keeps per instrument, found by the venue's own name without allocating.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::json::Fault;
use super::{How, Want};
use crate::instrument::{InstrumentId, Instruments};
use crate::sink::Sink;
use crate::sync::{BookSync, put_state};
use crate::tick::{FeedState, Stamp};

/// More instruments than any venue lists (Binance spot: about 3,500 with the delisted ones), so
/// that a stream of invented names cannot grow the registry for ever.
pub(super) const MAX_INSTRUMENTS: usize = 16_384;

/// The longest native name, in bytes. Binance's and Coinbase's longest have 20.
const MAX_NAME: usize = 40;

/// One instrument's state in a parser.
#[derive(Debug)]
pub(super) struct Slot<S> {
    /// The dense id that its ticks carry.
    pub(super) id: InstrumentId,
    /// The venue's own name.
    pub(super) native: Box<str>,
    /// Whether it was listed as one whose quotes the server derives from the book.
    pub(super) quotes_from_book: bool,
    /// What the parser keeps.
    pub(super) state: S,
}

/// All instruments that one parser has met.
#[derive(Debug)]
pub(super) struct Slots<S> {
    venue: &'static str,
    instruments: Arc<Instruments>,
    index: HashMap<Box<str>, usize, RandomState>,
    slots: Vec<Slot<S>>,
}

impl<S: Default> Slots<S> {
    pub(super) fn new(venue: &'static str, instruments: Arc<Instruments>) -> Self {
        Slots { venue, instruments, index: HashMap::default(), slots: Vec::new() }
    }

    /// Whether a message has named `native` before.
    pub(super) fn knows(&self, native: &str) -> bool {
        self.index.contains_key(native)
    }

    /// The slot of `native`, listed now if it is new; `split` finds its base and quote.
    pub(super) fn resolve<'n>(
        &mut self,
        native: &'n str,
        split: impl FnOnce(&'n str) -> Option<(&'n str, &'n str)>,
    ) -> Result<&mut Slot<S>, Fault> {
        let at = match self.index.get(native) {
            Some(&at) => at,
            None => self.list(native, split)?,
        };
        Ok(&mut self.slots[at])
    }

    #[cold]
    fn list<'n>(
        &mut self,
        native: &'n str,
        split: impl FnOnce(&'n str) -> Option<(&'n str, &'n str)>,
    ) -> Result<usize, Fault> {
        let shown = || native.chars().take(MAX_NAME).collect::<String>();
        if self.slots.len() >= MAX_INSTRUMENTS {
            return Err(Fault::Full { symbol: shown(), limit: MAX_INSTRUMENTS });
        }
        // What a live feed has listed needs no guess at its parts.
        let id = match self.instruments.find_native(self.venue, native) {
            Some(id) => id,
            None => {
                let (base, quote) = Some(native)
                    .filter(|name| name.len() <= MAX_NAME)
                    .and_then(split)
                    .filter(|(base, quote)| is_asset(base) && is_asset(quote))
                    .ok_or_else(|| Fault::Symbol(shown()))?;
                self.instruments.list(self.venue, native, base, quote)
            }
        };
        let at = self.slots.len();
        let quotes_from_book = self.instruments.get(id).is_some_and(|i| i.quotes_from_book);
        self.slots.push(Slot { id, native: native.into(), quotes_from_book, state: S::default() });
        self.index.insert(native.into(), at);
        Ok(at)
    }

    /// The slot of `native`, if it was met before.
    pub(super) fn get(&mut self, native: &str) -> Option<&mut Slot<S>> {
        self.index.get(native).map(|&at| &mut self.slots[at])
    }

    /// All that were met. For what concerns a connection, not for the path of a tick.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<S>> {
        self.slots.iter_mut()
    }

    /// The name of the one instrument known, for messages that belong to "the" symbol.
    pub(super) fn only(&self) -> Result<&str, Fault> {
        match &self.slots[..] {
            [slot] => Ok(&slot.native),
            many => Err(Fault::NoSymbol { known: many.len() }),
        }
    }

    /// Forgets every state; the instruments stay listed.
    pub(super) fn restart(&mut self) {
        for slot in &mut self.slots {
            slot.state = S::default();
        }
    }
}

/// A parser's state that holds the chain of the instrument's book.
pub(super) trait HasBook {
    /// The chain.
    fn book(&self) -> &BookSync;
    /// The chain, to be changed.
    fn book_mut(&mut self) -> &mut BookSync;
}

/// What all parsers do alike with the books of their instruments; see [`super::Venue`].
impl<S: Default + HasBook> Slots<S> {
    /// See [`super::Venue::expect`]. What was never listed is passed over.
    pub(super) fn expect(
        &mut self,
        natives: &[Box<str>],
        book: bool,
        recv_ns: u64,
        sink: &mut dyn Sink,
    ) {
        for native in natives {
            let Ok(slot) = self.resolve(native, |_| None) else { continue };
            if book {
                slot.state.book_mut().expect();
            } else if !slot.state.book().is_pending() {
                // Else it is live once its book is, which another connection carries.
                let stamp = Stamp { recv: recv_ns, ..Stamp::default() };
                put_state(slot.id, stamp, FeedState::Live, sink);
            }
        }
    }

    /// See [`super::Venue::lost`].
    pub(super) fn lost(
        &mut self,
        link: u16,
        orphans: &[Box<str>],
        recv_ns: u64,
        sink: &mut dyn Sink,
    ) {
        for native in orphans {
            // Also what is only listed: it is stale until its data come.
            let Ok(slot) = self.resolve(native, |_| None) else { continue };
            // A younger connection may have begun the book before it was confirmed.
            if !slot.state.book().is_owned_but_by(link) {
                slot.state.book_mut().suspend(slot.id, recv_ns, sink);
            }
        }
        for slot in &mut self.slots {
            if slot.state.book().is_owned_by(link) {
                slot.state.book_mut().discard(slot.id, recv_ns, sink);
            }
            slot.state.book_mut().forget(link, slot.id, recv_ns, sink);
        }
    }

    /// See [`super::Venue::distrust`].
    pub(super) fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        if let Some(&at) = self.index.get(native) {
            let slot = &mut self.slots[at];
            slot.state.book_mut().discard(slot.id, recv_ns, sink);
        }
    }

    /// See [`super::Venue::wants`].
    pub(super) fn wants(&self, how: How, out: &mut Vec<Want>) {
        let waiting = self.slots.iter().filter(|slot| slot.state.book().wants_snapshot());
        out.extend(waiting.map(|slot| {
            let snapshots = slot.state.book().snapshots();
            Want { native: slot.native.clone(), how, snapshots }
        }));
    }
}

/// Whether a name can stand in `venue:BASE-QUOTE`: letters and digits of any script (Binance lists
/// Chinese names too), none of the symbols that separate or match.
pub(super) fn is_asset(name: &str) -> bool {
    !name.is_empty() && name.chars().all(char::is_alphanumeric)
}
