//! Instruments: dense ids on the tick path, canonical symbols everywhere else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use crate::claims::Claims;
use crate::decimal::Decimal;

/// A dense number for an instrument, given in the order of listing from 0. Valid for the life of
/// the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// The id as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One instrument as it was listed; never changes afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Its dense id.
    pub id: InstrumentId,
    /// `venue:BASE-QUOTE`, the name clients use.
    pub symbol: String,
    /// The venue's short name, lower case: `binance`, `coinbase`, `sim`.
    pub venue: String,
    /// The venue's own name for it: `BTCUSDT`, `BTC-USD`.
    pub native: String,
    /// What is traded: `BTC`.
    pub base: String,
    /// What it is priced in: `USDT`.
    pub quote: String,
    /// The step of its prices, in units of the quote currency; `None` where the venue did not say.
    pub tick_size: Option<Decimal>,
    /// The step of its quantities, in units of the base currency; `None` where the venue did not say.
    pub lot_size: Option<Decimal>,
    /// Whether its quotes are derived from its book, because the venue sends none.
    pub quotes_from_book: bool,
}

/// What a venue says of an instrument when it lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The venue's own name for it: `BTCUSDT`, `BTC/USD`, `BTC-USDT-SWAP`.
    pub native: String,
    /// What is traded: `BTC`.
    pub base: String,
    /// What it is priced in: `USDT`.
    pub quote: String,
    /// What tells it from the spot pair of the same two: `SWAP`, `260327`. The symbol is then
    /// `venue:BASE-QUOTE-CONTRACT`.
    pub contract: Option<String>,
    /// The step of its prices, in units of the quote currency.
    pub tick_size: Option<Decimal>,
    /// The step of its quantities, in units of the base currency.
    pub lot_size: Option<Decimal>,
    /// Whether its quotes are to be derived from its book, because the venue sends none.
    pub quotes_from_book: bool,
}

impl Listing {
    /// A pair of which only the names are known.
    pub fn pair(native: &str, base: &str, quote: &str) -> Self {
        let (native, base, quote) = (native.to_owned(), base.to_owned(), quote.to_owned());
        Listing { native, base, quote, ..Listing::default() }
    }

    /// `BASE-QUOTE`, or `BASE-QUOTE-CONTRACT`.
    pub fn pair_name(&self) -> String {
        match &self.contract {
            Some(contract) => format!("{}-{}-{contract}", self.base, self.quote),
            None => format!("{}-{}", self.base, self.quote),
        }
    }
}

/// Every instrument that any feed has listed: append-only and shared.
///
/// Feeds list, reactors and requests look up. The tick path needs no lock: a reader keeps the
/// [`Arc`]s it has seen and asks again only when [`Instruments::len`] has grown.
#[derive(Debug, Default)]
pub struct Instruments {
    count: AtomicU32,
    inner: RwLock<Inner>,
    claims: Claims,
}

#[derive(Debug, Default)]
struct Inner {
    all: Vec<Arc<Instrument>>,
    by_symbol: HashMap<String, InstrumentId>,
    by_native: HashMap<(String, String), InstrumentId>,
}

impl Instruments {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which of them publishers have claimed.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// How many are listed; ids run from 0 to this, exclusive.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire) as usize
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of `base`-`quote` at `venue`, listed now if it was not; `native` is the venue's own
    /// name for it. Listing again is harmless and keeps the first id.
    pub fn list(&self, venue: &str, native: &str, base: &str, quote: &str) -> InstrumentId {
        match self.find_native(venue, native) {
            Some(id) => id,
            None => self.list_as(venue, &Listing::pair(native, base, quote)),
        }
    }

    /// The same with all that the venue says of it. What was listed first stays as it is.
    pub fn list_as(&self, venue: &str, listing: &Listing) -> InstrumentId {
        let native = listing.native.as_str();
        if let Some(id) = self.find_native(venue, native) {
            return id;
        }
        let mut inner = self.inner.write();
        let symbol = format!("{venue}:{}", listing.pair_name());
        if let Some(&id) = inner.by_symbol.get(&symbol) {
            inner.by_native.insert((venue.to_owned(), native.to_owned()), id);
            return id;
        }
        let id = InstrumentId(inner.all.len() as u32);
        inner.all.push(Arc::new(Instrument {
            id,
            symbol: symbol.clone(),
            venue: venue.to_owned(),
            native: native.to_owned(),
            base: listing.base.clone(),
            quote: listing.quote.clone(),
            tick_size: listing.tick_size,
            lot_size: listing.lot_size,
            quotes_from_book: listing.quotes_from_book,
        }));
        inner.by_symbol.insert(symbol, id);
        inner.by_native.insert((venue.to_owned(), native.to_owned()), id);
        self.count.store(inner.all.len() as u32, Ordering::Release);
        id
    }

    /// The instrument of this id.
    pub fn get(&self, id: InstrumentId) -> Option<Arc<Instrument>> {
        self.inner.read().all.get(id.index()).cloned()
    }

    /// The instrument of this canonical symbol (`venue:BASE-QUOTE`, as listed).
    pub fn find(&self, symbol: &str) -> Option<InstrumentId> {
        self.inner.read().by_symbol.get(symbol).copied()
    }

    /// The instrument that `venue` calls `native`.
    pub fn find_native(&self, venue: &str, native: &str) -> Option<InstrumentId> {
        let inner = self.inner.read();
        // A borrowed pair cannot look up an owned one without building it: off the tick path.
        inner.by_native.get(&(venue.to_owned(), native.to_owned())).copied()
    }

    /// Those listed from index `from` on, in the order of listing.
    pub fn since(&self, from: usize) -> Vec<Arc<Instrument>> {
        self.inner.read().all.get(from..).map(<[_]>::to_vec).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dense_and_listing_twice_is_harmless() {
        let all = Instruments::new();
        let a = all.list("binance", "BTCUSDT", "BTC", "USDT");
        let b = all.list("coinbase", "BTC-USD", "BTC", "USD");
        assert_eq!((a, b), (InstrumentId(0), InstrumentId(1)));
        assert_eq!(all.list("binance", "BTCUSDT", "BTC", "USDT"), a);
        assert_eq!(all.list("binance", "btcusdt", "BTC", "USDT"), a);
        assert_eq!(all.len(), 2);
        assert_eq!(all.find("coinbase:BTC-USD"), Some(b));
        assert_eq!(all.find_native("binance", "btcusdt"), Some(a));
        assert_eq!(all.since(1).len(), 1);
        assert_eq!(all.get(a).unwrap().symbol, "binance:BTC-USDT");
    }

    #[test]
    fn a_listing_is_kept_and_a_contract_is_no_spot_pair() {
        let all = Instruments::new();
        let spot = Listing::pair("BTC-USDT", "BTC", "USDT");
        let swap = Listing {
            native: "BTC-USDT-SWAP".to_owned(),
            contract: Some("SWAP".to_owned()),
            tick_size: Some("0.1".parse().unwrap()),
            ..spot.clone()
        };
        let (a, b) = (all.list_as("okx", &spot), all.list_as("okx", &swap));
        assert_eq!((a, b), (InstrumentId(0), InstrumentId(1)));
        let listed = all.get(b).unwrap();
        assert_eq!(
            (listed.symbol.as_str(), listed.tick_size),
            ("okx:BTC-USDT-SWAP", swap.tick_size)
        );
        assert_eq!(all.list_as("okx", &Listing { tick_size: None, ..swap }), b);
    }
}
