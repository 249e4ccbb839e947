//! The dialect's variants of a [`Form`], and which subscription serves a stream.

use super::Unit;
use super::streams::Kind;
use crate::derive::Span;
use crate::wire::form::Form;
use crate::wire::request::Channel;

/// The stream is named at length: see [`Stream::long`](super::streams::Stream::long).
pub const LONG: u8 = 0b10_0000;
const COMBINED: u8 = 0b1000;
const MICRO: u8 = 0b0100;
/// Which of the streams of one channel: see [`Served::of`].
const STREAM: u8 = 0b0011;

/// The form of a connection: whether its messages stand in envelopes, and the unit of its times.
pub const fn of_connection(combined: bool, unit: Unit) -> Form {
    let micro = if matches!(unit, Unit::Micro) { MICRO } else { 0 };
    Form::binance(if combined { COMBINED | micro } else { micro })
}

/// Whether messages stand in envelopes.
pub const fn is_combined(variant: u8) -> bool {
    variant & COMBINED != 0
}

/// The unit of times.
pub const fn unit(variant: u8) -> Unit {
    if variant & MICRO != 0 { Unit::Micro } else { Unit::Milli }
}

/// Whether the stream is named at length.
pub const fn is_long(variant: u8) -> bool {
    variant & LONG != 0
}

/// Which of its channel's streams it is.
pub const fn stream(variant: u8) -> u8 {
    variant & STREAM
}

/// The quotes of all symbols, told apart from those of one in their envelopes.
pub const QUOTES_OF_ALL: u8 = 1;

/// Whether it is a stream of all symbols whose messages are of one each.
pub const fn is_of_all(channel: Channel, variant: u8) -> bool {
    matches!(channel, Channel::Quote) && stream(variant) == QUOTES_OF_ALL
}

/// The subscription that serves a stream of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What delivers it.
    pub channel: Channel,
    /// As in a subscription's key.
    pub depth: u16,
    /// To be added to the connection's variant.
    pub stream: u8,
    /// Milliseconds between two messages; 0: each at once.
    pub period_ms: u64,
}

impl Served {
    /// What serves this kind of stream.
    pub fn of(kind: Kind) -> Self {
        let served = |channel, depth, stream, period_ms: u16| Served {
            channel,
            depth,
            stream,
            period_ms: period_ms.into(),
        };
        match kind {
            Kind::Trade => served(Channel::Trade, 0, 0, 0),
            Kind::AggTrade => served(Channel::Trade, 0, 1, 0),
            Kind::BookTicker => served(Channel::Quote, 0, 0, 0),
            Kind::Depth { ms } => served(Channel::Book, 0, u8::from(ms == 100), ms),
            Kind::Partial { levels, ms } => {
                served(Channel::Book, levels.into(), 2 + u8::from(ms == 100), ms)
            }
            Kind::Ticker => served(Channel::Ticker, 0, 0, 1_000),
            Kind::MiniTicker => served(Channel::Ticker, 0, 1, 1_000),
            Kind::Kline(span) => served(Channel::Bar, span as u16, 0, 0),
        }
    }

    /// The kind of stream that a subscription serves.
    pub fn kind(channel: Channel, depth: u16, variant: u8) -> Option<Kind> {
        let ms = if variant & 1 == 1 { 100 } else { 1_000 };
        Some(match (channel, stream(variant)) {
            (Channel::Trade, 0) => Kind::Trade,
            (Channel::Trade, _) => Kind::AggTrade,
            (Channel::Quote, _) => Kind::BookTicker,
            (Channel::Book, 0 | 1) => Kind::Depth { ms },
            (Channel::Book, _) => Kind::Partial { levels: u8::try_from(depth).ok()?, ms },
            (Channel::Ticker, 0) => Kind::Ticker,
            (Channel::Ticker, _) => Kind::MiniTicker,
            (Channel::Bar, _) => Kind::Kline(*Span::BARS.get(usize::from(depth))?),
            (Channel::Status, _) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::binance::streams::Stream;
    use crate::wire::form::Language;

    #[test]
    fn every_stream_is_served_by_a_subscription_of_its_own() {
        let mut seen = Vec::new();
        for name in [
            "trade",
            "aggTrade",
            "bookTicker",
            "depth",
            "depth@100ms",
            "depth5",
            "depth5@100ms",
            "depth10",
            "depth20@100ms",
            "ticker",
            "miniTicker",
            "kline_1s",
            "kline_1m",
            "kline_1h",
        ] {
            let name = format!("x@{name}");
            let kind = Stream::parse(&name).unwrap().kind;
            let served = Served::of(kind);
            let Language::Binance(variant) = of_connection(true, Unit::Micro).language() else {
                panic!("another language");
            };
            let variant = variant | served.stream;
            assert_eq!(Served::kind(served.channel, served.depth, variant), Some(kind), "{name}");
            assert!(is_combined(variant) && unit(variant) == Unit::Micro);
            let key = (served.channel, served.depth, served.stream);
            assert!(!seen.contains(&key), "{name}");
            seen.push(key);
        }
    }
}
