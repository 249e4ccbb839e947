//! What a parser keeps per instrument, found by the venue's own name without allocating.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::json::Fault;
use crate::instrument::{InstrumentId, Instruments};

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
        let (base, quote) = Some(native)
            .filter(|name| name.len() <= MAX_NAME)
            .and_then(split)
            .filter(|(base, quote)| is_asset(base) && is_asset(quote))
            .ok_or_else(|| Fault::Symbol(shown()))?;
        let id = self.instruments.list(self.venue, native, base, quote);
        let at = self.slots.len();
        self.slots.push(Slot { id, native: native.into(), state: S::default() });
        self.index.insert(native.into(), at);
        Ok(at)
    }

    /// The name of the one instrument known, for messages that belong to "the" symbol.
    pub(super) fn only(&self) -> Result<&str, Fault> {
        match &self.slots[..] {
            [slot] => Ok(&slot.native),
            many => Err(Fault::NoSymbol { known: many.len() }),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<S>> {
        self.slots.iter()
    }

    /// Forgets every state; the instruments stay listed.
    pub(super) fn restart(&mut self) {
        for slot in &mut self.slots {
            slot.state = S::default();
        }
    }
}

/// Whether a name can stand in `venue:BASE-QUOTE`: letters and digits of any script (Binance lists
/// Chinese names too), none of the symbols that separate or match.
pub(super) fn is_asset(name: &str) -> bool {
    !name.is_empty() && name.chars().all(char::is_alphanumeric)
}
