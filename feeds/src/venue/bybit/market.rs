//! The two markets and the names of their instruments.

use std::borrow::Cow;

/// One of Bybit's markets (its `category`); each is a venue of its own here, for the same name
/// (`BTCUSDT`) is a different instrument in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    /// Spot.
    Spot,
    /// Perpetuals and futures that settle in USDT or USDC.
    Linear,
}

/// What tells a perpetual from the spot pair.
const PERPETUAL: &str = "PERP";

/// Quote coins of Bybit spot, past ones included; none ends with another.
const QUOTES: [&str; 15] = [
    "USDT", "USDC", "USDE", "USDQ", "USDR", "BTC", "ETH", "SOL", "MNT", "DAI", "EUR", "BRL", "BRZ",
    "PLN", "TRY",
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// The parts of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts<'n> {
    pub(super) base: &'n str,
    pub(super) quote: &'n str,
    pub(super) contract: Option<Cow<'n, str>>,
}

impl Market {
    /// The name of the venue.
    pub(super) const fn venue(self) -> &'static str {
        match self {
            Market::Spot => "bybit",
            Market::Linear => "bybit-linear",
        }
    }

    /// What Bybit calls it: <https://bybit-exchange.github.io/docs/v5/enum#category>.
    pub(super) const fn category(self) -> &'static str {
        match self {
            Market::Spot => "spot",
            Market::Linear => "linear",
        }
    }

    /// The parts of a name that no list has explained, as in a capture. Names of contracts:
    /// <https://bybit-exchange.github.io/docs/v5/enum#symbol>.
    pub(super) fn split(self, native: &str) -> Option<Parts<'_>> {
        let (base, quote, contract) = match self {
            Market::Spot => {
                let (base, quote) = split_spot(native)?;
                (base, quote, None)
            }
            Market::Linear => {
                let (base, quote) = split_linear(native)?;
                (base, quote, Some(contract(native)))
            }
        };
        Some(Parts { base, quote, contract }).filter(|parts| is_asset(parts.base))
    }
}

fn split_spot(native: &str) -> Option<(&str, &str)> {
    QUOTES.into_iter().find_map(|quote| Some((native.strip_suffix(quote)?, quote)))
}

/// `BTCUSDT`, `BTCPERP` (USDC), `BTCUSDT-26DEC25`, `BTC-26DEC25` (USDC).
fn split_linear(native: &str) -> Option<(&str, &str)> {
    let (pair, dated) = match native.split_once('-') {
        Some((pair, _)) => (pair, true),
        None => (native, false),
    };
    let known = [("USDT", "USDT"), ("PERP", "USDC"), ("USDC", "USDC")];
    let split = known.into_iter().find_map(|(end, quote)| Some((pair.strip_suffix(end)?, quote)));
    split.or(dated.then_some((pair, "USDC")))
}

/// What tells a contract from the spot pair and from its like: `PERP`, or the date of delivery as
/// `251226`, which Bybit writes `26DEC25`.
pub(super) fn contract(native: &str) -> Cow<'_, str> {
    match native.rsplit_once('-') {
        None => Cow::Borrowed(PERPETUAL),
        Some((_, date)) => date_code(date).map_or(Cow::Borrowed(date), Cow::Owned),
    }
}

fn date_code(date: &str) -> Option<String> {
    let (day, rest) = date.split_at_checked(date.len().checked_sub(5)?)?;
    let (month, year) = rest.split_at_checked(3)?;
    let day: u8 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let year: u8 = year.parse().ok()?;
    Some(format!("{year:02}{month:02}{day:02}"))
}

/// Whether a name can stand in `venue:BASE-QUOTE`.
pub(super) fn is_asset(name: &str) -> bool {
    !name.is_empty() && name.chars().all(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(market: Market, native: &str) -> Option<String> {
        let parts = market.split(native)?;
        let contract = parts.contract.map(|contract| format!("-{contract}")).unwrap_or_default();
        Some(format!("{}-{}{contract}", parts.base, parts.quote))
    }

    #[test]
    fn names_are_split() {
        for (native, expected) in [
            ("BTCUSDT", Some("BTC-USDT")),
            ("ETHBTC", Some("ETH-BTC")),
            ("BTCUSDE", Some("BTC-USDE")),
            ("ETHMNT", Some("ETH-MNT")),
            ("MNTUSDT", Some("MNT-USDT")),
            ("USDT", None),
            ("A-BUSDT", None),
        ] {
            assert_eq!(split(Market::Spot, native).as_deref(), expected, "{native}");
        }
        for (native, expected) in [
            ("BTCUSDT", Some("BTC-USDT-PERP")),
            ("1000PEPEUSDT", Some("1000PEPE-USDT-PERP")),
            ("USDCUSDT", Some("USDC-USDT-PERP")),
            ("BTCPERP", Some("BTC-USDC-PERP")),
            ("BTC-26DEC25", Some("BTC-USDC-251226")),
            ("BTCUSDT-2JAN26", Some("BTC-USDT-260102")),
            ("BTCUSDT-W", Some("BTC-USDT-W")),
            ("BTCUSD", None),
            ("USDT", None),
            ("-26DEC25", None),
        ] {
            assert_eq!(split(Market::Linear, native).as_deref(), expected, "{native}");
        }
    }

    #[test]
    fn a_date_that_is_none_stays_as_it_is() {
        for date in ["", "DEC25", "0DEC25", "32DEC25", "26XYZ25", "26DECxx", "26DEÄ5", "é6DEC25"]
        {
            assert_eq!(date_code(date), None, "{date}");
        }
    }
}
