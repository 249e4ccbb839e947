//! Who publishes which symbol: one publisher at a time.
//!
//! The feeds that are built in name what they list themselves and ask nobody; publishers (Python
//! scripts, relays) come from outside, several at a time, and two of them that wrote one book
//! would make it nobody's. So a publisher claims a symbol with its first line and holds it until
//! it leaves or has been silent for too long; what a built-in feed lists is not to be had.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use thiserror::Error;

use crate::instrument::{InstrumentId, Instruments};

/// A publisher, for as long as it is connected; no two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(u64);

/// How many symbols the publishers of one feed may still list. Instruments are never forgotten, so
/// that this bounds what a publisher gone mad costs, however often it connects.
#[derive(Debug)]
pub struct Allowance {
    all: usize,
    left: AtomicUsize,
}

impl Allowance {
    /// So many.
    pub fn new(symbols: usize) -> Self {
        Allowance { all: symbols, left: AtomicUsize::new(symbols) }
    }

    fn take(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What is kept of a symbol from one publisher to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// It had a book, which whoever comes next has to send anew.
    pub book: bool,
    /// The highest sequence of a trade that was handed on, 0 for none.
    pub trade: u64,
    /// The highest sequence of a quote that was handed on, 0 for none.
    pub quote: u64,
}

/// A claim that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The symbol's instrument.
    pub id: InstrumentId,
    /// `None` where nobody has published it since this publisher did; else what went before.
    pub past: Option<Past>,
}

/// Why a symbol is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Another publisher has it.
    #[error("symbol {0} is published by another publisher, who is connected")]
    Publisher(String),
    /// A built-in feed lists it.
    #[error("symbol {0} belongs to another feed")]
    Feed(String),
    /// A built-in feed has the venue.
    #[error("venue {0} belongs to another feed")]
    Venue(String),
    /// The feed's allowance is used up.
    #[error(
        "symbol {symbol} is one more than the {limit} that the publishers of this feed may list (key `symbols`)"
    )]
    Full {
        /// The symbol.
        symbol: String,
        /// The allowance.
        limit: usize,
    },
}

#[derive(Debug)]
struct Claim {
    owner: Owner,
    held: bool,
    past: Past,
}

/// The claims of all publishers of the process.
#[derive(Debug, Default)]
pub struct Claims {
    owners: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    venues: Vec<String>,
    claims: HashMap<InstrumentId, Claim>,
}

impl Claims {
    /// A number for a publisher that has just come.
    pub fn owner(&self) -> Owner {
        Owner(self.owners.fetch_add(1, Ordering::Relaxed))
    }

    /// Keeps a venue's symbols from publishers: a built-in feed will list them.
    pub fn reserve(&self, venue: &str) {
        self.inner.lock().venues.push(venue.to_owned());
    }

    /// Claims `venue:base-quote`, in the case in which it is to be listed; it is listed where it
    /// was not.
    ///
    /// # Errors
    /// [`Denied`] tells who has it.
    pub fn claim(
        &self,
        instruments: &Instruments,
        (venue, base, quote): (&str, &str, &str),
        owner: Owner,
        allowance: &Allowance,
    ) -> Result<Granted, Denied> {
        let symbol = format!("{venue}:{base}-{quote}");
        let mut inner = self.inner.lock();
        if inner.venues.iter().any(|reserved| reserved == venue) {
            return Err(Denied::Venue(venue.to_owned()));
        }
        let Some(id) = instruments.find(&symbol) else {
            if !allowance.take() {
                return Err(Denied::Full { symbol, limit: allowance.all });
            }
            let id = instruments.list(venue, &format!("{base}-{quote}"), base, quote);
            inner.claims.insert(id, Claim { owner, held: true, past: Past::default() });
            return Ok(Granted { id, past: Some(Past::default()) });
        };
        match inner.claims.get_mut(&id) {
            None => Err(Denied::Feed(symbol)),
            Some(claim) if claim.owner == owner => {
                claim.held = true;
                Ok(Granted { id, past: None })
            }
            Some(claim) if claim.held => Err(Denied::Publisher(symbol)),
            Some(claim) => {
                (claim.owner, claim.held) = (owner, true);
                Ok(Granted { id, past: Some(claim.past) })
            }
        }
    }

    /// Gives a symbol back, to be claimed by whoever comes next.
    pub fn release(&self, id: InstrumentId, owner: Owner, past: Past) {
        if let Some(claim) = self.inner.lock().claims.get_mut(&id)
            && claim.owner == owner
        {
            (claim.held, claim.past) = (false, past);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: (&str, &str, &str) = ("my", "BTC", "USD");

    #[test]
    fn a_symbol_has_one_owner_at_a_time() {
        let all = Instruments::new();
        let claims = all.claims();
        let allowance = Allowance::new(10);
        let (a, b) = (claims.owner(), claims.owner());
        let claim = |owner| claims.claim(&all, PAIR, owner, &allowance);
        let first = claim(a).unwrap();
        assert_eq!(first.past, Some(Past::default()));
        assert_eq!(claim(a), Ok(Granted { id: first.id, past: None }));
        assert_eq!(claim(b), Err(Denied::Publisher("my:BTC-USD".into())));
        let past = Past { book: true, trade: 7, quote: 0 };
        claims.release(first.id, b, Past::default());
        assert!(claim(b).is_err(), "only its owner gives it back");
        claims.release(first.id, a, past);
        assert_eq!(claim(b), Ok(Granted { id: first.id, past: Some(past) }));
        assert!(claim(a).is_err());
    }

    #[test]
    fn what_other_feeds_have_is_not_to_be_had() {
        let all = Instruments::new();
        let claims = all.claims();
        let (owner, allowance) = (claims.owner(), Allowance::new(10));
        all.list("my", "BTC-USD", "BTC", "USD");
        let claim = |pair| claims.claim(&all, pair, owner, &allowance);
        assert_eq!(claim(PAIR), Err(Denied::Feed("my:BTC-USD".into())));
        claims.reserve("sim");
        assert_eq!(claim(("sim", "X", "Y")), Err(Denied::Venue("sim".into())));
        assert!(claim(("my", "ETH", "USD")).is_ok());
    }

    #[test]
    fn listings_are_bounded_for_good() {
        let all = Instruments::new();
        let claims = all.claims();
        let allowance = Allowance::new(2);
        let claim = |base, owner| claims.claim(&all, ("my", base, "USD"), owner, &allowance);
        let a = claims.owner();
        assert!(claim("A", a).is_ok() && claim("B", a).is_ok());
        assert!(matches!(claim("C", claims.owner()), Err(Denied::Full { limit: 2, .. })));
        assert!(claim("A", a).is_ok(), "what is listed stays");
        assert_eq!(all.len(), 2);
    }
}
