//! Stream names: `btcusdt@depth@100ms`, `!ticker@arr`.
//!
//! Binance wants symbols in lower case and answers nothing for others; here they are in any case.
//! Kinds are as Binance writes them (`1m` and `1M` differ by case alone). A client is told the
//! names that it gave: it looks for them in `"stream"`.

use std::fmt;

use crate::derive::Span;
use crate::limits;

/// What a stream delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each trade.
    Trade,
    /// Trades, those of one taker at one price summed where the venue does so.
    AggTrade,
    /// Best bid and ask.
    BookTicker,
    /// The changes of a book.
    Depth {
        /// How often, milliseconds: 1000 or 100.
        ms: u16,
    },
    /// The best levels of a book.
    Partial {
        /// How many a side: 5, 10 or 20.
        levels: u8,
        /// How often, milliseconds: 1000 or 100.
        ms: u16,
    },
    /// The last 24 hours, in short.
    MiniTicker,
    /// The last 24 hours.
    Ticker,
    /// Bars.
    Kline(Span),
}

/// A stream: of one symbol, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream<'a> {
    /// The symbol as the client wrote it; `None` for all symbols, which there is for
    /// [`Kind::Ticker`] and [`Kind::MiniTicker`] (arrays) and [`Kind::BookTicker`] (one by one).
    pub symbol: Option<&'a str>,
    /// What it delivers.
    pub kind: Kind,
    /// Named with what is otherwise left out: `@depth@1000ms`, `@kline_1h@+08:00`. It delivers the same,
    /// but is another stream: clients look for the name that they gave.
    pub long: bool,
}

/// Why a name is no stream that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// No stream has such a name, or no instrument can have that symbol.
    Malformed,
    /// Binance has such a stream, this server does not.
    Missing,
}

/// Intervals of Binance's that no bar here has.
const OTHER_INTERVALS: [&str; 12] =
    ["3m", "15m", "30m", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];

/// Streams of a symbol that Binance has and that cannot be made of market data alone, or are not.
const OTHER_KINDS: [&str; 6] =
    ["avgPrice", "blockTrade", "referencePrice", "ticker_1h", "ticker_4h", "ticker_1d"];

impl<'a> Stream<'a> {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NotServed`]. A symbol that is not listed is none: it may be, later.
    pub fn parse(name: &'a str) -> Result<Self, NotServed> {
        if let Some(all) = name.strip_prefix('!') {
            let kind = match all {
                "ticker@arr" => Kind::Ticker,
                "miniTicker@arr" => Kind::MiniTicker,
                "bookTicker" | "bookTicker@arr" => Kind::BookTicker,
                "ticker_1h@arr" | "ticker_4h@arr" | "ticker_1d@arr" => {
                    return Err(NotServed::Missing);
                }
                _ => return Err(NotServed::Malformed),
            };
            return Ok(Stream { symbol: None, kind, long: false });
        }
        match name.split_once('@') {
            Some((symbol, kind)) if (1..=limits::SYMBOL_BYTES).contains(&symbol.len()) => {
                let (kind, long) = Kind::parse(kind)?;
                Ok(Stream { symbol: Some(symbol), kind, long })
            }
            _ => Err(NotServed::Malformed),
        }
    }
}

impl Kind {
    /// The kind, and whether it was named at length.
    fn parse(text: &str) -> Result<(Self, bool), NotServed> {
        let kind = match text {
            "trade" => Kind::Trade,
            "aggTrade" => Kind::AggTrade,
            "bookTicker" => Kind::BookTicker,
            "miniTicker" => Kind::MiniTicker,
            "ticker" => Kind::Ticker,
            other if OTHER_KINDS.contains(&other) => return Err(NotServed::Missing),
            other => match (other.strip_prefix("kline_"), other.strip_prefix("depth")) {
                (Some(interval), _) => Kind::Kline(Self::span(interval)?),
                (_, Some(depth)) => Self::depth(depth).ok_or(NotServed::Malformed)?,
                _ => return Err(NotServed::Malformed),
            },
        };
        Ok((kind, text.ends_with("@1000ms") || text.ends_with("@+08:00")))
    }

    /// What a name at length has behind the kind.
    pub const fn rest(self, long: bool) -> &'static str {
        match self {
            Kind::Depth { ms: 1_000 } | Kind::Partial { ms: 1_000, .. } if long => "@1000ms",
            Kind::Kline(_) if long => "@+08:00",
            _ => "",
        }
    }

    fn span(text: &str) -> Result<Span, NotServed> {
        // Bars of an hour and less begin at the same moments there.
        let interval = text.strip_suffix("@+08:00").unwrap_or(text);
        match Span::interval(interval) {
            Some(span) => Ok(span),
            None if OTHER_INTERVALS.contains(&interval) => Err(NotServed::Missing),
            None => Err(NotServed::Malformed),
        }
    }

    /// `""`, `"@100ms"`, `"5"`, `"5@100ms"`.
    fn depth(text: &str) -> Option<Self> {
        let (levels, ms) = match text.split_once('@') {
            Some((levels, "100ms")) => (levels, 100),
            Some((levels, "1000ms")) => (levels, 1_000),
            Some(_) => return None,
            None => (text, 1_000),
        };
        Some(match levels {
            "" => Kind::Depth { ms },
            "5" => Kind::Partial { levels: 5, ms },
            "10" => Kind::Partial { levels: 10, ms },
            "20" => Kind::Partial { levels: 20, ms },
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = |ms: u16| if ms == 100 { "@100ms" } else { "" };
        match *self {
            Kind::Trade => f.write_str("trade"),
            Kind::AggTrade => f.write_str("aggTrade"),
            Kind::BookTicker => f.write_str("bookTicker"),
            Kind::Depth { ms } => write!(f, "depth{}", speed(ms)),
            Kind::Partial { levels, ms } => write!(f, "depth{levels}{}", speed(ms)),
            Kind::MiniTicker => f.write_str("miniTicker"),
            Kind::Ticker => f.write_str("ticker"),
            Kind::Kline(span) => write!(f, "kline_{}", span.as_str()),
        }
    }
}

/// The name with the symbol in lower case.
impl fmt::Display for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.symbol, self.kind) {
            (Some(symbol), kind) => {
                write!(f, "{}@{kind}{}", symbol.to_lowercase(), kind.rest(self.long))
            }
            (None, Kind::BookTicker) => f.write_str("!bookTicker"),
            (None, kind) => write!(f, "!{kind}@arr"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let of = |symbol, kind| Stream { symbol: Some(symbol), kind, long: false };
        let all = |kind| Stream { symbol: None, kind, long: false };
        for (name, stream) in [
            ("btcusdt@trade", of("btcusdt", Kind::Trade)),
            ("btcusdt@aggTrade", of("btcusdt", Kind::AggTrade)),
            ("btcusdt@bookTicker", of("btcusdt", Kind::BookTicker)),
            ("btcusdt@depth", of("btcusdt", Kind::Depth { ms: 1_000 })),
            ("btcusdt@depth@100ms", of("btcusdt", Kind::Depth { ms: 100 })),
            ("btcusdt@depth5", of("btcusdt", Kind::Partial { levels: 5, ms: 1_000 })),
            ("btcusdt@depth10@100ms", of("btcusdt", Kind::Partial { levels: 10, ms: 100 })),
            ("kraken_btcusd@depth20", of("kraken_btcusd", Kind::Partial { levels: 20, ms: 1_000 })),
            ("kraken:btc-usd@miniTicker", of("kraken:btc-usd", Kind::MiniTicker)),
            ("btcusdt@ticker", of("btcusdt", Kind::Ticker)),
            ("btcusdt@kline_1m", of("btcusdt", Kind::Kline(Span::Minute))),
            ("!ticker@arr", all(Kind::Ticker)),
            ("!miniTicker@arr", all(Kind::MiniTicker)),
            ("!bookTicker", all(Kind::BookTicker)),
        ] {
            assert_eq!(Stream::parse(name), Ok(stream), "{name}");
            assert_eq!(stream.to_string(), name);
        }
    }

    #[test]
    fn what_is_not_canonical_is_understood() {
        let canonical = |name| Stream::parse(name).map(|stream| stream.to_string());
        assert_eq!(canonical("BTCUSDT@trade").as_deref(), Ok("btcusdt@trade"));
        for long in ["btcusdt@depth@1000ms", "btcusdt@depth5@1000ms", "btcusdt@kline_1h@+08:00"] {
            assert_eq!(canonical(long).as_deref(), Ok(long));
            let stream = Stream::parse(long).unwrap();
            assert!(stream.long && Stream { long: false, ..stream }.to_string() != long);
        }
        assert_eq!(canonical("!bookTicker@arr").as_deref(), Ok("!bookTicker"));
    }

    #[test]
    fn what_is_not_served_is_told_from_what_there_is_not() {
        for name in ["btcusdt@kline_1M", "btcusdt@kline_1d@+08:00", "btcusdt@avgPrice"] {
            assert_eq!(Stream::parse(name), Err(NotServed::Missing), "{name}");
        }
        assert_eq!(Stream::parse("!ticker_1h@arr"), Err(NotServed::Missing));
        for name in [
            "",
            "3",
            "btcusdt",
            "@trade",
            "btcusdt@",
            "btcusdt@TRADE",
            "btcusdt@depth7",
            "btcusdt@depth@250ms",
            "btcusdt@depth5@",
            "btcusdt@kline_",
            "btcusdt@kline_2m",
            "!trade@arr",
            "btcusdt@trade@100ms",
            "!",
            "btcusdt@depth5@100ms@100ms",
        ] {
            assert_eq!(Stream::parse(name), Err(NotServed::Malformed), "{name}");
        }
        let long = format!("{}@trade", "x".repeat(10_000));
        assert_eq!(Stream::parse(&long), Err(NotServed::Malformed));
    }
}
