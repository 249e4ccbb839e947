//! Sizes and durations as people write them, and back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::{KIB, MIB};

const GIB: usize = 1024 * MIB;

/// A size in bytes: `65536`, `64KiB`, `1MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

/// A duration: `500ms`, `5s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A range of durations, both ends included: `500ms..8s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The shortest.
    pub from: Duration,
    /// The longest, not less than `from`.
    pub to: Duration,
}

impl From<(Duration, Duration)> for Spread {
    fn from((from, to): (Duration, Duration)) -> Self {
        Spread { from, to }
    }
}

/// What was expected instead of the text.
pub type Expected = String;

impl FromStr for Bytes {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || "expected a size such as 65536, 512KiB, 1MiB or 1GiB".to_owned();
        let (number, unit) = split_unit(text);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => KIB,
            "mib" => MIB,
            "gib" => GIB,
            // Whether "1MB" means 1,000,000 or 1,048,576 bytes is not ours to guess.
            "k" | "kb" | "m" | "mb" | "g" | "gb" => {
                let binary = unit[..1].to_uppercase();
                return Err(format!("expected binary units, write {number}{binary}iB"));
            }
            _ => return Err(expected()),
        };
        let number: usize = number.parse().map_err(|_| expected())?;
        number.checked_mul(factor).map(Bytes).ok_or_else(expected)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0"),
            n if n % GIB == 0 => write!(f, "{}GiB", n / GIB),
            n if n % MIB == 0 => write!(f, "{}MiB", n / MIB),
            n if n % KIB == 0 => write!(f, "{}KiB", n / KIB),
            n => write!(f, "{n}"),
        }
    }
}

impl FromStr for Span {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || "expected a duration such as 500ms, 5s, 2m or 1h".to_owned();
        let (number, unit) = split_unit(text);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" if !number.is_empty() => {
                return Err(format!("expected a unit, write {number}s or {number}ms"));
            }
            _ => return Err(expected()),
        };
        let number: u64 = number.parse().map_err(|_| expected())?;
        number.checked_mul(millis).map(|ms| Span(Duration::from_millis(ms))).ok_or_else(expected)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            0 => write!(f, "0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for Spread {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || "expected two durations such as 500ms..8s".to_owned();
        let (from, to) = text.split_once("..").ok_or_else(expected)?;
        let Span(from) = from.parse().map_err(|_| expected())?;
        let Span(to) = to.parse().map_err(|_| expected())?;
        if from > to {
            let (from, to) = (Span(from), Span(to));
            return Err(format!("expected the shorter duration first, write {to}..{from}"));
        }
        Ok(Spread { from, to })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", Span(self.from), Span(self.to))
    }
}

/// The digits in front and the rest.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_show_the_largest_whole_unit() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1500", 1_500, "1500"),
            ("2048", 2_048, "2KiB"),
            ("512KiB", 524_288, "512KiB"),
            ("1mib", 1_048_576, "1MiB"),
            ("1024MiB", 1_073_741_824, "1GiB"),
            ("7B", 7, "7"),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
        for text in
            ["", "KiB", "-1", "1.5MiB", "1 MiB", "1XB", "99999999999GiB", "18446744073709551616"]
        {
            assert!(text.parse::<Bytes>().unwrap_err().contains("512KiB"), "{text}");
        }
        assert!("10MB".parse::<Bytes>().unwrap_err().contains("write 10MiB"));
        assert!("64k".parse::<Bytes>().unwrap_err().contains("write 64KiB"));
    }

    #[test]
    fn durations_read_and_show_the_largest_whole_unit() {
        for (text, millis, shown) in [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("5000ms", 5_000, "5s"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), shown);
        }
        for text in ["", "s", "-5s", "1.5s", "5 s", "5sec", "18446744073709551615h"] {
            assert!(text.parse::<Span>().unwrap_err().contains("500ms, 5s"), "{text}");
        }
        assert!("5".parse::<Span>().unwrap_err().contains("write 5s or 5ms"));
    }

    #[test]
    fn spreads_are_two_durations_in_order() {
        let spread: Spread = "500ms..8s".parse().unwrap();
        assert_eq!(spread, Spread::from((Duration::from_millis(500), Duration::from_secs(8))));
        assert_eq!(spread.to_string(), "500ms..8s");
        assert!("1s..1s".parse::<Spread>().is_ok());
        for text in ["", "8s", "..8s", "1s-2s", "1s..", "1s..2s..3s"] {
            assert!(text.parse::<Spread>().unwrap_err().contains("500ms..8s"), "{text}");
        }
        assert!("8s..1s".parse::<Spread>().unwrap_err().contains("write 1s..8s"));
    }
}
