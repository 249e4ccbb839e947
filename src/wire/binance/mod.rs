//! The Binance dialect: what clients of Binance's spot market data send and expect, for the
//! instruments of any venue.
//!
//! Pure: text in, values out, and bytes appended. Who calls it knows sockets, topics and books.
//! Every form is that of Binance's own documentation
//! (<https://github.com/binance/binance-spot-api-docs>): [`url`], [`streams`], [`request`] and
//! [`encode`] follow `web-socket-streams.md`, [`query`] and [`rest`] follow `rest-api.md` and
//! `errors.md`. [`names`] is our own: Binance has one venue, tickcast several.

#[cfg(test)]
mod captures;
pub mod encode;
pub mod form;
pub mod names;
mod number;
pub mod query;
pub mod request;
pub mod rest;
pub mod streams;
pub mod url;

/// The venue whose instruments have the names that clients of the dialect know.
pub const VENUE: &str = "binance";

/// In which unit times are told (`timeUnit` of a URL, the header `X-MBX-TIME-UNIT` over HTTP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Milliseconds since the Unix epoch.
    #[default]
    Milli,
    /// Microseconds since the Unix epoch.
    Micro,
}

impl Unit {
    /// The unit of this name, as Binance spells it: all upper or all lower case.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "MILLISECOND" | "millisecond" => Some(Unit::Milli),
            "MICROSECOND" | "microsecond" => Some(Unit::Micro),
            _ => None,
        }
    }

    /// Nanoseconds in this unit, cut off.
    pub const fn of_ns(self, ns: u64) -> u64 {
        match self {
            Unit::Milli => ns / 1_000_000,
            Unit::Micro => ns / 1_000,
        }
    }

    /// Seconds in this unit.
    pub const fn of_s(self, s: u64) -> u64 {
        match self {
            Unit::Milli => s * 1_000,
            Unit::Micro => s * 1_000_000,
        }
    }
}
