//! From what a client writes to the instruments it means.

use std::collections::HashMap;

use tickcast_feeds::Instrument;

use crate::access::Grant;
use crate::limits;
use crate::wire::request::cut;

/// What a name in a request stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Symbols {
    /// One instrument, by its id.
    One(u32),
    /// Everything, of one venue or of all, later listings included.
    All(Option<String>),
}

/// Why a name stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// A code of docs/PROTOCOL.md.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What may have been meant.
    pub(crate) near: Vec<String>,
}

/// The names of all listed instruments.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Canonical symbols, and the venue's own names after the venue's, in the case in which lookups
    /// come.
    by_symbol: HashMap<String, u32>,
    /// `BASE-QUOTE` to who lists it.
    bare: HashMap<String, Vec<u32>>,
    all: Vec<String>,
    venues: Vec<String>,
}

impl Names {
    pub(crate) fn list(&mut self, info: &Instrument) {
        let id = info.id.0;
        self.by_symbol.insert(folded(&info.symbol), id);
        // A canonical name wins: `okx:BTC-USDT` is both.
        self.by_symbol.entry(folded(&format!("{}:{}", info.venue, info.native))).or_insert(id);
        let bare = info.symbol.split_once(':').map_or("", |(_, pair)| pair).to_uppercase();
        self.bare.entry(bare).or_default().push(id);
        self.all.push(info.symbol.clone());
        if !self.venues.contains(&info.venue) {
            self.venues.push(info.venue.clone());
        }
    }

    /// What a name stands for: `*`, `venue:*`, `venue:BASE-QUOTE`, the venue's own name after the
    /// venue's (`binance:BTCUSDT`), or `BASE-QUOTE` where exactly one venue lists it, of those that are granted:
    /// who else does is not told; upper or lower case.
    pub(crate) fn resolve(&self, name: &str, grant: &Grant) -> Result<Symbols, Unknown> {
        if name == "*" {
            return Ok(Symbols::All(None));
        }
        if name.len() > limits::SYMBOL_BYTES {
            return Err(Self::unknown(name));
        }
        if let Some(venue) = name.strip_suffix(":*") {
            let venue = venue.to_lowercase();
            return match self.venues.contains(&venue) {
                true => Ok(Symbols::All(Some(venue))),
                false => Err(Self::unknown(name)),
            };
        }
        if let Some(&id) = self.by_symbol.get(&folded(name)) {
            return Ok(Symbols::One(id));
        }
        let listed = self.bare.get(&name.to_uppercase()).into_iter().flatten();
        let named = listed.filter_map(|&id| self.all.get(id as usize).map(|symbol| (id, symbol)));
        let granted: Vec<_> = named.filter(|(_, symbol)| grant.has_name(symbol)).collect();
        match &granted[..] {
            [] => Err(Self::unknown(name)),
            [(id, _)] => Ok(Symbols::One(*id)),
            several => Err(Unknown {
                code: "ambiguous_symbol",
                message: format!("{} is listed by {} venues, name one", cut(name), several.len()),
                near: several
                    .iter()
                    .take(limits::SUGGESTIONS)
                    .map(|(_, symbol)| (*symbol).clone())
                    .collect(),
            }),
        }
    }

    fn unknown(name: &str) -> Unknown {
        let message = format!("no such symbol: {}", cut(name));
        Unknown { code: "unknown_symbol", message, near: Vec::new() }
    }

    /// The listed symbols most like a name, the most alike first. Compares with thousands: not for
    /// every name of a long request.
    pub(crate) fn near(&self, name: &str) -> Vec<String> {
        if name.len() > limits::SYMBOL_BYTES {
            return Vec::new();
        }
        let wildcards = self.venues.iter().map(|venue| format!("{venue}:*"));
        let name = folded(name);
        let has_venue = name.contains(':');
        let mut scored: Vec<(f64, String)> = self
            .all
            .iter()
            .take(limits::SUGGESTIONS_SEARCHED)
            .cloned()
            .chain(wildcards)
            .filter_map(|symbol| {
                let compared = match symbol.split_once(':') {
                    Some((_, bare)) if !has_venue => bare.to_uppercase(),
                    _ => folded(&symbol),
                };
                let score = strsim::jaro_winkler(&name, &compared);
                (score >= limits::SUGGESTION_LIKENESS).then_some((score, symbol))
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        scored.into_iter().take(limits::SUGGESTIONS).map(|(_, symbol)| symbol).collect()
    }
}

/// `venue` lower case, the rest upper case: the form in which names are compared.
fn folded(name: &str) -> String {
    match name.split_once(':') {
        Some((venue, rest)) => format!("{}:{}", venue.to_lowercase(), rest.to_uppercase()),
        None => name.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_feeds::Instruments;

    fn names() -> Names {
        let all = Instruments::new();
        all.list("binance", "BTCUSDT", "BTC", "USDT");
        all.list("binance", "ETHUSDT", "ETH", "USDT");
        all.list("coinbase", "BTC-USD", "BTC", "USD");
        all.list("kraken", "XBT/USD", "BTC", "USD");
        let mut names = Names::default();
        all.since(0).iter().for_each(|info| names.list(info));
        names
    }

    #[test]
    fn names_resolve_in_any_case_bare_or_wild() {
        let (names, all) = (names(), Grant::everything());
        assert_eq!(names.resolve("binance:BTC-USDT", &all), Ok(Symbols::One(0)));
        assert_eq!(names.resolve("BINANCE:eth-usdt", &all), Ok(Symbols::One(1)));
        assert_eq!(names.resolve("binance:ethusdt", &all), Ok(Symbols::One(1)));
        assert_eq!(names.resolve("kraken:xbt/usd", &all), Ok(Symbols::One(3)));
        assert_eq!(names.resolve("eth-usdt", &all), Ok(Symbols::One(1)));
        assert_eq!(names.resolve("*", &all), Ok(Symbols::All(None)));
        assert_eq!(names.resolve("Binance:*", &all), Ok(Symbols::All(Some("binance".to_owned()))));
    }

    #[test]
    fn what_is_not_known_gets_suggestions() {
        let (names, all) = (names(), Grant::everything());
        // Who has none of them is not told that there are some.
        assert_eq!(names.resolve("BTC-USD", &Grant::nothing()).unwrap_err().code, "unknown_symbol");
        let ambiguous = names.resolve("BTC-USD", &all).unwrap_err();
        assert_eq!(ambiguous.code, "ambiguous_symbol");
        assert_eq!(ambiguous.near, ["coinbase:BTC-USD", "kraken:BTC-USD"]);
        let typo = names.resolve("binance:BTC-USTD", &all).unwrap_err();
        assert_eq!(typo.code, "unknown_symbol");
        assert_eq!(names.near("binance:BTC-USTD")[0], "binance:BTC-USDT");
        assert_eq!(names.near("ETH-USTD")[0], "binance:ETH-USDT");
        assert_eq!(names.near("binanse:*")[0], "binance:*");
        assert!(names.resolve(&"x".repeat(10_000), &all).unwrap_err().message.len() < 300);
    }
}
