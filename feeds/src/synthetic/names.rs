//! What the synthetic instruments are called and where their prices start.

use std::collections::HashSet;

use super::rng::Rng;
use crate::spec::Names;

/// An instrument to be: its base name and its starting price, `ticks * 10^exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The base currency or stock: `BTC`.
    pub(super) base: String,
    /// The starting price in units of the smallest price step.
    pub(super) ticks: i64,
    /// The price step is ten to this.
    pub(super) exponent: i8,
}

/// The busiest first: with Zipf's law the head of this list is what a viewer sees moving.
const KNOWN: [(&str, i64, i8); 60] = [
    ("BTC", 684_213, -1),
    ("ETH", 268_245, -2),
    ("SOL", 15_437, -2),
    ("XRP", 58_214, -5),
    ("DOGE", 10_283, -5),
    ("AAPL", 21_324, -2),
    ("NVDA", 10_491, -2),
    ("TSLA", 19_884, -2),
    ("ADA", 33_871, -5),
    ("AVAX", 21_563, -3),
    ("LINK", 10_427, -3),
    ("MSFT", 40_269, -2),
    ("AMZN", 16_580, -2),
    ("SPY", 53_006, -2),
    ("BNB", 50_873, -2),
    ("LTC", 61_440, -3),
    ("DOT", 44_920, -4),
    ("SUI", 92_310, -5),
    ("META", 50_963, -2),
    ("GOOG", 16_375, -2),
    ("QQQ", 44_825, -2),
    ("TRX", 12_744, -5),
    ("BCH", 34_512, -2),
    ("NEAR", 38_740, -4),
    ("UNI", 59_930, -4),
    ("APT", 58_210, -4),
    ("AMD", 13_633, -2),
    ("PEPE", 80_640, -10),
    ("ICP", 76_350, -4),
    ("ETC", 18_934, -3),
    ("FIL", 36_410, -4),
    ("ATOM", 46_050, -4),
    ("ARB", 55_310, -5),
    ("OP", 13_684, -4),
    ("NFLX", 62_901, -2),
    ("INJ", 17_852, -3),
    ("AAVE", 10_318, -2),
    ("COIN", 20_371, -2),
    ("XLM", 98_340, -6),
    ("HBAR", 52_170, -6),
    ("MKR", 203_460, -2),
    ("ALGO", 12_283, -5),
    ("JPM", 20_584, -2),
    ("VISA", 26_001, -2),
    ("INTC", 19_710, -3),
    ("GRT", 14_370, -5),
    ("LDO", 10_452, -4),
    ("SAND", 25_330, -5),
    ("MANA", 26_470, -5),
    ("SNX", 13_291, -4),
    ("CRV", 27_640, -5),
    ("COMP", 42_130, -3),
    ("XTZ", 66_820, -5),
    ("EOS", 48_350, -5),
    ("ZEC", 34_760, -3),
    ("DASH", 23_950, -3),
    ("YFI", 491_235, -2),
    ("ENJ", 14_490, -5),
    ("CHZ", 51_320, -6),
    ("BAT", 15_780, -5),
];

/// The first `count` listings; depends on nothing but `count` and `names`, so that a seed changes
/// what happens on the market, not what is listed there.
pub(super) fn listings(count: usize, names: Names) -> Vec<Listing> {
    let mut rng = Rng::new(0x7469_636b);
    let mut out = Vec::with_capacity(count);
    if names == Names::Market {
        out.extend(KNOWN.iter().take(count).map(|&(base, ticks, exponent)| Listing {
            base: base.to_owned(),
            ticks,
            exponent,
        }));
    }
    let mut taken: HashSet<String> = out.iter().map(|l| l.base.clone()).collect();
    while out.len() < count {
        let base = match names {
            Names::Numbered => format!("S{:04}", out.len()),
            // Ten thousand short names are easy to find; after that a syllable more.
            Names::Market => invent(&mut rng, if out.len() < 10_000 { 2 } else { 3 }),
        };
        if taken.insert(base.clone()) {
            let ticks = 10_000 + i64::from(rng.below(90_000));
            let exponent = -2 - rng.below(4) as i8;
            out.push(Listing { base, ticks, exponent });
        }
    }
    out
}

/// A ticker one can say aloud: open syllables, and now and then a closing consonant.
fn invent(rng: &mut Rng, syllables: usize) -> String {
    // G, K, P and Z are left out: most of the words nobody wants on a screen need one of them.
    const ONSETS: &[u8] = b"BCDFHJLMNRSTVWX";
    const VOWELS: &[u8] = b"AEIOU";
    const CODAS: &[u8] = b"LMNRST";
    let mut name = String::with_capacity(8);
    let mut letter = |set: &[u8], rng: &mut Rng| {
        name.push(char::from(set[rng.below(set.len() as u32) as usize]));
    };
    for _ in 0..syllables {
        letter(ONSETS, rng);
        letter(VOWELS, rng);
    }
    if rng.percent(40) {
        letter(CODAS, rng);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_stable() {
        let all = listings(5_000, Names::Market);
        let distinct: HashSet<&str> = all.iter().map(|l| l.base.as_str()).collect();
        assert_eq!(distinct.len(), 5_000);
        assert_eq!(&listings(200, Names::Market)[..], &all[..200]);
        assert_eq!((all[0].base.as_str(), all[1].base.as_str()), ("BTC", "ETH"));
        assert!(all.iter().all(|l| l.base.bytes().all(|b| b.is_ascii_uppercase())));
    }

    #[test]
    fn numbers_have_four_digits_or_more() {
        let all = listings(10_001, Names::Numbered);
        assert_eq!(all[0].base, "S0000");
        assert_eq!(all[9_999].base, "S9999");
        assert_eq!(all[10_000].base, "S10000");
    }
}
