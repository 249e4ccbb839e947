//! Native names to base and quote.

use std::collections::HashMap;

/// Quote assets of Binance spot, longest first, so that `BTCFDUSD` is not taken for a pair in
/// `USD`. The list of <https://api.binance.com/api/v3/exchangeInfo>, with the retired ones that
/// captures still hold.
const QUOTE_ASSETS: [&str; 45] = [
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDS", "USDP", "USD1", "AEUR", "EURI", "IDRT",
    "BIDR", "BKRW", "BVND", "DOGE", "RLUSD", "TRX", "XRP", "DAI", "VAI", "PAX", "UST", "BTC",
    "ETH", "BNB", "SOL", "DOT", "USD", "EUR", "GBP", "TRY", "BRL", "AUD", "JPY", "MXN", "ARS",
    "COP", "CZK", "PLN", "RON", "RUB", "UAH", "ZAR", "NGN", "IDR",
];

/// Base and quote by native name, as the venue's `exchangeInfo` gives them.
pub(super) type Listed = HashMap<Box<str>, (Box<str>, Box<str>)>;

/// Splits a name of Binance: as listed, else by the longest quote asset that it ends with.
pub(super) fn split_joined<'a>(listed: &'a Listed, native: &'a str) -> Option<(&'a str, &'a str)> {
    if let Some((base, quote)) = listed.get(native) {
        return Some((base, quote));
    }
    QUOTE_ASSETS
        .iter()
        .filter_map(|quote| native.strip_suffix(quote))
        .filter(|base| !base.is_empty())
        .min_by_key(|base| base.len())
        .map(|base| (base, &native[base.len()..]))
}

/// Splits a name of Coinbase, `BASE-QUOTE`, at its only dash.
pub(super) fn split_dashed(native: &str) -> Option<(&str, &str)> {
    native.split_once('-').filter(|(_, quote)| !quote.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_quote_asset_wins() {
        let listed = Listed::default();
        for (native, split) in [
            ("BTCUSDT", Some(("BTC", "USDT"))),
            ("BTCFDUSD", Some(("BTC", "FDUSD"))),
            ("BTCUSD", Some(("BTC", "USD"))),
            ("BUSDUSDT", Some(("BUSD", "USDT"))),
            ("BLZETH", Some(("BLZ", "ETH"))),
            ("RUNEEUR", Some(("RUNE", "EUR"))),
            ("USDTTRY", Some(("USDT", "TRY"))),
            ("USDT", None),
            ("ABCXYZ", None),
            ("", None),
        ] {
            assert_eq!(split_joined(&listed, native), split, "{native}");
        }
    }

    #[test]
    fn what_is_listed_wins_over_the_list() {
        let listed = Listed::from([("AUSDT".into(), ("AUSD".into(), "T".into()))]);
        assert_eq!(split_joined(&listed, "AUSDT"), Some(("AUSD", "T")));
    }

    #[test]
    fn a_dash_splits_once() {
        assert_eq!(split_dashed("BTC-USD"), Some(("BTC", "USD")));
        assert_eq!(split_dashed("BTC-PERP-INTX"), None);
        assert_eq!(split_dashed("BTCUSD"), None);
    }
}
