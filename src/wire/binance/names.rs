//! How instruments are named in the dialect.
//!
//! Binance writes `BTCUSDT`: letters and digits, no separator, one venue. So an instrument has
//!
//! - a *joined* name: the venue's own where that is letters, digits and `_` (`BTCUSDT`), else base,
//!   quote and contract without separators (`XBT/USD` of Kraken is `BTCUSD`, `BTC-USDT-SWAP` of OKX
//!   is `BTCUSDTSWAP`);
//! - a *full* name, the venue's before it: `KRAKEN_BTCUSD`, `BINANCE_USDM_BTCUSDT`. Binance allows
//!   letters, digits, `-`, `_` and `.` in a symbol, so clients let it pass, in URLs and stream names
//!   too; `-` is not used, for some (cryptofeed) have it between base and quote;
//! - a *symbol*, which is what messages and `exchangeInfo` say: the joined name where it is this
//!   instrument's, else the full one.
//!
//! A joined name is `binance`'s where that venue lists it, else its who lists it alone. Where
//! several others list it, it is nobody's: to hand out the prices of whichever venue came first
//! would be worse than to know no such symbol.

use std::collections::HashMap;

use tickcast_feeds::Instrument;

use super::VENUE;
use crate::limits;

/// One instrument's names.
#[derive(Clone, Debug)]
struct Named {
    joined: String,
    full: String,
    is_binance: bool,
    /// The joined name is its symbol.
    bare: bool,
    base: String,
    quote: String,
}

/// The names of all listed instruments.
#[derive(Debug, Default)]
pub struct Names {
    /// By id; instruments are listed in the order of their ids.
    all: Vec<Named>,
    /// Full names, `VENUE:NATIVE` and `VENUE:BASE-QUOTE`, upper case.
    by_full: HashMap<String, u32>,
    /// Joined names, upper case, to who lists them.
    by_joined: HashMap<String, Vec<u32>>,
}

impl Names {
    /// Takes an instrument in. Returns the instrument that lost its joined name by that, whose
    /// [`Names::symbol_of`] is another from now on.
    pub fn list(&mut self, info: &Instrument) -> Option<u32> {
        let id = self.all.len() as u32;
        debug_assert_eq!(id, info.id.0, "instruments are listed in the order of their ids");
        let joined = joined(info);
        let venue = info.venue.to_uppercase();
        let prefix = venue.replace(|c: char| !c.is_alphanumeric(), "_");
        let mut full = format!("{prefix}_{joined}");
        if self.by_full.contains_key(&full) {
            // `AB`-`C` and `A`-`BC` of one venue: rare, and still to be reached.
            full = format!("{prefix}_{}", pair(info).to_uppercase());
        }
        for name in [
            full.clone(),
            info.symbol.to_uppercase(),
            format!("{venue}:{}", info.native.to_uppercase()),
        ] {
            self.by_full.entry(name).or_insert(id);
        }
        self.all.push(Named {
            is_binance: info.venue == VENUE,
            bare: false,
            base: info.base.clone(),
            quote: info.quote.clone(),
            joined: joined.clone(),
            full,
        });
        let before = self.owner(&joined);
        self.by_joined.entry(joined.clone()).or_default().push(id);
        let after = self.owner(&joined);
        if let Some(named) = after.and_then(|id| self.all.get_mut(id as usize)) {
            named.bare = true;
        }
        let loser = before.filter(|_| before != after)?;
        self.all.get_mut(loser as usize)?.bare = false;
        Some(loser)
    }

    fn owner(&self, joined: &str) -> Option<u32> {
        let listed = self.by_joined.get(joined)?;
        let is_binance = |id: &u32| self.all.get(*id as usize).is_some_and(|it| it.is_binance);
        match listed.iter().copied().find(is_binance) {
            Some(id) => Some(id),
            None => match listed.as_slice() {
                [id] => Some(*id),
                _ => None,
            },
        }
    }

    /// Every name of an instrument that is listed, in upper case.
    pub fn names_of(&self, info: &Instrument) -> Vec<String> {
        let Some(named) = self.all.get(info.id.index()) else { return Vec::new() };
        let venue = info.venue.to_uppercase();
        let mut names = vec![
            named.joined.clone(),
            named.full.clone(),
            info.symbol.to_uppercase(),
            format!("{venue}:{}", info.native.to_uppercase()),
        ];
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The instrument of this name, in upper or lower case: its symbol (`BTCUSDT`), its full name
    /// (`KRAKEN_BTCUSD`), or `venue:` and the venue's own name or `BASE-QUOTE`
    /// (`kraken:BTC-USD`). `None` where no instrument has it, or several have.
    pub fn resolve(&self, name: &str) -> Option<u32> {
        if name.len() > limits::SYMBOL_BYTES {
            return None;
        }
        let name = name.to_uppercase();
        self.owner(&name).or_else(|| self.by_full.get(&name).copied())
    }

    /// The symbol of an instrument; empty for one that is not listed.
    pub fn symbol_of(&self, id: u32) -> &str {
        match self.all.get(id as usize) {
            Some(named) if named.bare => &named.joined,
            Some(named) => &named.full,
            None => "",
        }
    }

    /// Base and quote as `exchangeInfo` tells them, which together are the symbol wherever the
    /// venue's own name allows it. Clients make names of their own of them (`BTC/USD`,
    /// `BTC-USD`) and keep one market for each: so a symbol with a venue has it in its base too
    /// (`KRAKEN_BTC`), and what tells a contract from its pair is in its quote (`USDTSWAP`).
    pub fn assets_of(&self, id: u32) -> (&str, &str) {
        let Some(named) = self.all.get(id as usize) else { return ("", "") };
        let symbol = self.symbol_of(id);
        let upper = |text: &str| text.to_uppercase();
        if let Some(base) = symbol.strip_suffix(&upper(&named.quote)).filter(|it| !it.is_empty()) {
            return (base, &symbol[base.len()..]);
        }
        let prefix = symbol.len() - named.joined.len().min(symbol.len());
        match symbol.get(prefix..).and_then(|pair| pair.strip_prefix(&upper(&named.base))) {
            Some(quote) if !quote.is_empty() => symbol.split_at(symbol.len() - quote.len()),
            _ => (&named.base, &named.quote),
        }
    }
}

/// `BASE-QUOTE`, or `BASE-QUOTE-CONTRACT`.
fn pair(info: &Instrument) -> &str {
    info.symbol.split_once(':').map_or(info.symbol.as_str(), |(_, pair)| pair)
}

fn joined(info: &Instrument) -> String {
    let is_plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !info.native.is_empty() && is_plain(&info.native) {
        return info.native.to_uppercase();
    }
    pair(info).chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_feeds::{Instruments, Listing};

    fn listed(list: impl FnOnce(&Instruments)) -> Names {
        let all = Instruments::new();
        list(&all);
        let mut names = Names::default();
        for info in all.since(0) {
            names.list(&info);
        }
        names
    }

    #[test]
    fn a_symbol_is_the_venue_s_own_name_or_the_pair_joined() {
        let names = listed(|all| {
            all.list("binance", "BTCUSDT", "BTC", "USDT");
            all.list("kraken", "XBT/USD", "BTC", "USD");
            all.list("coinbase", "ETH-USD", "ETH", "USD");
            all.list("sim", "S0001-USD", "S0001", "USD");
            all.list("binance-usdm", "BTCUSDT_260327", "BTC", "USDT");
        });
        let symbols: Vec<_> = (0..5).map(|id| names.symbol_of(id)).collect();
        assert_eq!(symbols, ["BTCUSDT", "BTCUSD", "ETHUSD", "S0001USD", "BTCUSDT_260327"]);
        for (id, ways) in [
            (0, ["btcusdt", "BINANCE_BTCUSDT", "binance:btc-usdt", "binance:BTCUSDT"]),
            (1, ["BtcUsd", "kraken_btcusd", "kraken:BTC-USD", "KRAKEN:xbt/usd"]),
            (2, ["ethusd", "COINBASE_ETHUSD", "coinbase:ETH-USD", "Coinbase:eth-usd"]),
        ] {
            for name in ways {
                assert_eq!(names.resolve(name), Some(id), "{name}");
            }
        }
        for name in ["", "BTC-USDT", "XBTUSD", "kraken:", "okx_btcusd"] {
            assert_eq!(names.resolve(name), None, "{name}");
        }
        assert_eq!(names.resolve(&"x".repeat(10_000)), None);
        assert_eq!(names.symbol_of(9), "");
    }

    #[test]
    fn what_several_list_is_binance_s_or_nobody_s() {
        let all = Instruments::new();
        all.list("kraken", "XBT/USD", "BTC", "USD");
        all.list("coinbase", "BTC-USD", "BTC", "USD");
        all.list("okx", "BTC-USD", "BTC", "USD");
        all.list("binance", "BTCUSD", "BTC", "USD");
        all.list("bybit", "BTCUSD", "BTC", "USD");
        let mut names = Names::default();
        let infos = all.since(0);
        assert_eq!(names.list(&infos[0]), None);
        assert_eq!((names.resolve("btcusd"), names.symbol_of(0)), (Some(0), "BTCUSD"));
        assert_eq!(names.list(&infos[1]), Some(0));
        assert_eq!(names.resolve("btcusd"), None);
        assert_eq!((names.symbol_of(0), names.symbol_of(1)), ("KRAKEN_BTCUSD", "COINBASE_BTCUSD"));
        assert_eq!(names.list(&infos[2]), None);
        assert_eq!(names.list(&infos[3]), None);
        assert_eq!((names.resolve("btcusd"), names.symbol_of(3)), (Some(3), "BTCUSD"));
        assert_eq!(names.list(&infos[4]), None);
        assert_eq!((names.resolve("btcusd"), names.symbol_of(4)), (Some(3), "BYBIT_BTCUSD"));
        assert_eq!(names.resolve("kraken_btcusd"), Some(0));
    }

    #[test]
    fn binance_takes_its_name_from_who_had_it() {
        let all = Instruments::new();
        all.list("bybit", "BTCUSDT", "BTC", "USDT");
        all.list("binance", "BTCUSDT", "BTC", "USDT");
        let mut names = Names::default();
        let infos = all.since(0);
        assert_eq!(names.list(&infos[0]), None);
        assert_eq!(names.list(&infos[1]), Some(0));
        assert_eq!((names.symbol_of(0), names.symbol_of(1)), ("BYBIT_BTCUSDT", "BTCUSDT"));
    }

    #[test]
    fn assets_make_the_symbol_and_tell_markets_apart() {
        let swap = |native: &str| Listing {
            contract: Some("SWAP".to_owned()),
            ..Listing::pair(native, "BTC", "USDT")
        };
        let names = listed(|all| {
            all.list("binance", "BTCUSDT", "BTC", "USDT");
            all.list("okx", "BTC-USDT", "BTC", "USDT");
            all.list_as("okx", &swap("BTC-USDT-SWAP"));
            all.list("binance-usdm", "BTCUSDT", "BTC", "USDT");
            all.list("odd", "XYZ", "BTC", "USDT");
        });
        let shown: Vec<_> = (0..5).map(|id| (names.symbol_of(id), names.assets_of(id))).collect();
        assert_eq!(
            shown,
            [
                ("BTCUSDT", ("BTC", "USDT")),
                ("OKX_BTCUSDT", ("OKX_BTC", "USDT")),
                ("BTCUSDTSWAP", ("BTC", "USDTSWAP")),
                ("BINANCE_USDM_BTCUSDT", ("BINANCE_USDM_BTC", "USDT")),
                ("XYZ", ("BTC", "USDT")),
            ]
        );
    }

    #[test]
    fn pairs_that_join_to_one_name_are_still_apart() {
        let names = listed(|all| {
            all.list("kraken", "AB/C", "AB", "C");
            all.list("kraken", "A/BC", "A", "BC");
        });
        assert_eq!(names.resolve("abc"), None);
        assert_eq!(names.resolve(names.symbol_of(0)), Some(0));
        assert_eq!(names.resolve(names.symbol_of(1)), Some(1));
        assert_eq!(names.symbol_of(1), "KRAKEN_A-BC");
    }
}
