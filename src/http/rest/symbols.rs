//! Names of symbols for the control plane: what is listed, found by the rules of docs/PROTOCOL.md.

use std::cell::RefCell;
use std::sync::Arc;

use hyper::StatusCode;
use tickcast_feeds::{Instrument, Instruments};

use super::Error;
use crate::access::Grant;
use crate::limits;
use crate::session::symbols::{Names, Symbols};
use crate::wire::request::{Channel, cut};

/// Symbols that are taken over before others get a turn.
const LISTED_PER_TURN: usize = 1_000;

/// All that is listed, by name and in order. Empty until somebody asks: who never does pays nothing.
#[derive(Debug, Default)]
pub(crate) struct Directory(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Names,
    all: Vec<Arc<Instrument>>,
    venues: Vec<String>,
}

impl Directory {
    /// Takes over what has been listed since, a part at a time.
    pub(crate) async fn catch_up(&self, instruments: &Instruments) {
        let known = self.len();
        if known == instruments.len() {
            return;
        }
        for part in instruments.since(known).chunks(LISTED_PER_TURN) {
            {
                let mut inner = self.0.borrow_mut();
                for info in part {
                    // Another request may have been faster meanwhile.
                    if info.id.index() == inner.all.len() {
                        inner.list(info);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().all.len()
    }

    /// Those from one place on, at most `count`, in the order of their listing.
    pub(crate) fn range(&self, from: usize, count: usize) -> Vec<Arc<Instrument>> {
        self.0.borrow().all.iter().skip(from).take(count).cloned().collect()
    }

    /// The venue of this name, in any case, if anything of it is granted: which others there are is not told.
    ///
    /// # Errors
    /// None of them lists anything here.
    pub(crate) fn venue(&self, name: &str, grant: &Grant) -> Result<String, Error> {
        let inner = self.0.borrow();
        let known = inner.venues.iter().find(|venue| venue.eq_ignore_ascii_case(name));
        if let Some(venue) = known.filter(|venue| inner.shows(venue, grant)) {
            return Ok(venue.clone());
        }
        let venues = inner.venues(grant);
        let expected = match venues.as_slice() {
            [] => "nothing that is granted is listed yet".to_owned(),
            venues => format!("expected one of {}", venues.join(", ")),
        };
        let message = format!("no such venue: {}, {expected}", cut(name));
        let mut error = Error::new(StatusCode::NOT_FOUND, "unknown_venue", message);
        let likeness = |venue: &str| strsim::jaro_winkler(venue, &name.to_lowercase());
        error.near = venues
            .into_iter()
            .filter(|venue| likeness(venue) >= limits::SUGGESTION_LIKENESS)
            .take(limits::SUGGESTIONS)
            .map(str::to_owned)
            .collect();
        Err(error)
    }

    /// The instruments that are meant: one, or all that a wildcard matches now.
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    pub(crate) fn matching(
        &self,
        name: &str,
        grant: &Grant,
    ) -> Result<Vec<Arc<Instrument>>, Error> {
        let venue = match self.0.borrow().names.resolve(name, grant) {
            Ok(Symbols::All(venue)) => venue,
            _ => return self.resolve(name, true, grant).map(|one| vec![one]),
        };
        let inner = self.0.borrow();
        let matched = |info: &&Arc<Instrument>| venue.as_ref().is_none_or(|v| *v == info.venue);
        let granted = |info: &&Arc<Instrument>| grant.has(info);
        Ok(inner.all.iter().filter(matched).filter(granted).cloned().collect())
    }

    /// The instrument that is meant. `suggest`: whether to search for what may have been meant
    /// instead, which compares with thousands.
    ///
    /// # Errors
    /// None has that name, several have, or it is a wildcard.
    pub(crate) fn resolve(
        &self,
        name: &str,
        suggest: bool,
        grant: &Grant,
    ) -> Result<Arc<Instrument>, Error> {
        let inner = self.0.borrow();
        let unknown = match inner.names.resolve(name, grant) {
            Ok(Symbols::One(id)) => {
                let info = &inner.all[id as usize];
                // What state it is in goes with everything that is granted.
                grant.allows(info, Channel::Status, 0).map_err(|denied| Error::denied(&denied))?;
                return Ok(info.clone());
            }
            Ok(Symbols::All(_)) => {
                let message = format!("{} is for subscriptions, expected a symbol", cut(name));
                return Err(Error::bad("bad_value", message));
            }
            Err(unknown) => unknown,
        };
        let status = match unknown.code {
            "ambiguous_symbol" => StatusCode::BAD_REQUEST,
            _ => StatusCode::NOT_FOUND,
        };
        let mut error = Error::new(status, unknown.code, unknown.message);
        error.near = unknown.near;
        if error.near.is_empty() && suggest {
            // Wildcards may be near, and are nothing to ask for here.
            error.near = inner.names.near(name);
            error.near.retain(|near| !near.ends_with('*'));
        }
        error.near.retain(|near| grant.has_name(near));
        Err(error)
    }
}

impl Inner {
    /// Whether a venue has a symbol that is granted.
    fn shows(&self, venue: &str, grant: &Grant) -> bool {
        let is_it = |info: &Arc<Instrument>| info.venue == venue && grant.has(info);
        grant.has_all() || self.all.iter().any(is_it)
    }

    /// All that have one.
    fn venues(&self, grant: &Grant) -> Vec<&str> {
        if grant.has_all() {
            return self.venues.iter().map(String::as_str).collect();
        }
        let mut venues = Vec::new();
        for info in self.all.iter().filter(|info| grant.has(info)) {
            if !venues.contains(&info.venue.as_str()) {
                venues.push(info.venue.as_str());
            }
        }
        venues
    }

    fn list(&mut self, info: &Arc<Instrument>) {
        self.names.list(info);
        self.all.push(info.clone());
        if !self.venues.contains(&info.venue) {
            self.venues.push(info.venue.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(count: usize) -> Directory {
        let all = Instruments::new();
        for venue in ["binance", "kraken"] {
            for at in 0..count {
                let base = format!("B{at}");
                all.list(venue, &format!("{base}/USD"), &base, "USD");
            }
        }
        let directory = Directory::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Two requests at once take nothing over twice.
        runtime.block_on(async {
            tokio::join!(directory.catch_up(&all), directory.catch_up(&all));
        });
        directory
    }

    #[test]
    fn everything_is_taken_over_once_and_found() {
        let directory = directory(2_500);
        assert_eq!(directory.len(), 5_000);
        let symbols: Vec<_> =
            directory.range(2_499, 2).iter().map(|info| info.symbol.clone()).collect();
        assert_eq!(symbols, ["binance:B2499-USD", "kraken:B0-USD"]);
        assert!(directory.range(5_000, 2).is_empty());
        let found = directory.resolve("KRAKEN:b7/usd", true, &Grant::everything()).unwrap();
        assert_eq!(found.symbol, "kraken:B7-USD");
        let two = directory.resolve("B7-USD", true, &Grant::everything()).unwrap_err();
        assert_eq!((two.status, two.code), (StatusCode::BAD_REQUEST, "ambiguous_symbol"));
        assert_eq!(two.near.len(), 2);
        let none = directory.resolve("kraken:B7-UDS", true, &Grant::everything()).unwrap_err();
        assert_eq!((none.status, none.code), (StatusCode::NOT_FOUND, "unknown_symbol"));
        assert!(!none.near.is_empty());
        assert!(
            directory
                .resolve("kraken:B7-UDS", false, &Grant::everything())
                .unwrap_err()
                .near
                .is_empty()
        );
        assert_eq!(
            directory.resolve("kraken:*", true, &Grant::everything()).unwrap_err().code,
            "bad_value"
        );
    }

    #[test]
    fn venues_are_found_in_any_case_or_suggested() {
        let (directory, all) = (directory(1), Grant::everything());
        assert_eq!(directory.venue("Kraken", &all).unwrap(), "kraken");
        let error = directory.venue("kracken", &all).unwrap_err();
        assert_eq!(error.near, ["kraken"]);
        assert!(error.message.contains("expected one of binance, kraken"), "{}", error.message);
        assert!(Directory::default().venue("x", &all).unwrap_err().message.contains("nothing"));
        let none = directory.venue("kraken", &Grant::nothing()).unwrap_err();
        assert!(none.near.is_empty() && none.message.contains("nothing"), "{}", none.message);
    }
}
