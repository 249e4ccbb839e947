//! Which of a venue's instruments a feed is about.

use crate::instrument::Listing;

/// What came of a spec's symbols.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    /// By their place in the list, each once, in the order of the spec.
    pub(super) places: Vec<usize>,
    /// Those that no instrument matches.
    pub(super) unknown: Vec<String>,
}

/// Finds the listings that the symbols name: by the venue's own name or by `BASE-QUOTE`, in any
/// case; `*` stands for any letters.
pub(super) fn select(symbols: &[String], listings: &[Listing]) -> Selected {
    let mut selected = Selected::default();
    let mut taken = vec![false; listings.len()];
    for symbol in symbols {
        let mut found = false;
        for (place, listing) in listings.iter().enumerate() {
            if matches(symbol, &listing.native) || matches(symbol, &listing.pair_name()) {
                found = true;
                if !std::mem::replace(&mut taken[place], true) {
                    selected.places.push(place);
                }
            }
        }
        // A pattern may match later.
        if !found && !symbol.contains('*') {
            selected.unknown.push(symbol.clone());
        }
    }
    selected
}

/// Whether a name is what the pattern says, letter by letter but for the case.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&name[in_name]) => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    (at, in_name) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// The names most like one that is unknown, for the error.
pub(super) fn near(symbol: &str, listings: &[Listing]) -> Vec<String> {
    let wanted = symbol.to_ascii_uppercase();
    let mut scored: Vec<(usize, &str)> = listings
        .iter()
        .map(|listing| (shared(&wanted, &listing.native), listing.native.as_str()))
        .filter(|(shared, _)| *shared >= 3)
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.len().cmp(&b.1.len())));
    scored.into_iter().take(3).map(|(_, native)| native.to_owned()).collect()
}

/// How many letters two names have in common at their beginnings.
fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listings() -> Vec<Listing> {
        vec![
            Listing::pair("BTCUSDT", "BTC", "USDT"),
            Listing::pair("ETHUSDT", "ETH", "USDT"),
            Listing::pair("ETHBTC", "ETH", "BTC"),
        ]
    }

    fn found(symbols: &[&str]) -> (Vec<usize>, Vec<String>) {
        let symbols: Vec<String> = symbols.iter().map(|&s| s.to_owned()).collect();
        let selected = select(&symbols, &listings());
        (selected.places, selected.unknown)
    }

    #[test]
    fn by_either_name_in_any_case_and_each_once() {
        assert_eq!(found(&["ethusdt", "BTC-USDT", "BTCUSDT"]), (vec![1, 0], vec![]));
        assert_eq!(found(&["*"]), (vec![0, 1, 2], vec![]));
        assert_eq!(found(&["*-usdt", "ETHUSDT"]), (vec![0, 1], vec![]));
        assert_eq!(found(&["eth*"]), (vec![1, 2], vec![]));
        assert_eq!(found(&["*h*t"]), (vec![1], vec![]));
        assert_eq!(found(&["BTC", "DOGE*"]), (vec![], vec!["BTC".to_owned()]));
        assert_eq!(near("BTCUSD", &listings()), ["BTCUSDT"]);
    }
}
