//! The native dialect, incoming: a client's text to a [`Request`], or to a [`Refusal`] that names
//! what is wrong and what was expected (docs/PROTOCOL.md).

mod parse;

pub(crate) use parse::target;
pub use parse::{cut, parse};

use std::collections::HashSet;

use crate::derive::Span;

/// What a subscription delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Trades.
    Trade,
    /// Best bid and ask.
    Quote,
    /// The order book, to a depth.
    Book,
    /// The state of a symbol's feed.
    Status,
    /// Bars of an interval.
    Bar,
    /// The last 24 hours.
    Ticker,
}

impl Channel {
    /// All of them.
    pub const ALL: [Channel; 6] = [
        Channel::Trade,
        Channel::Quote,
        Channel::Book,
        Channel::Status,
        Channel::Bar,
        Channel::Ticker,
    ];

    const NAMES: [(&'static str, Channel); 6] = [
        ("trade", Channel::Trade),
        ("quote", Channel::Quote),
        ("book", Channel::Book),
        ("status", Channel::Status),
        ("bar", Channel::Bar),
        ("ticker", Channel::Ticker),
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// The channel of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == name)
    }

    /// For channels that are derived from trades, what they span; `variant` as in [`Target`].
    pub fn span(self, variant: u16) -> Option<Span> {
        match self {
            Channel::Bar => Span::BARS.get(usize::from(variant)).copied(),
            Channel::Ticker => Some(Span::Rolling),
            _ => None,
        }
    }
}

/// How a subscription is served when the client cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every tick, and what the server's slow-consumer policy says when the client falls behind.
    Auto,
    /// Every tick, or none: a client that falls behind is closed.
    All,
    /// The latest value, books merged, trades summed up.
    Conflate,
    /// Every tick, many in one message.
    Batch,
}

impl Mode {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::All => "all",
            Mode::Conflate => "conflate",
            Mode::Batch => "batch",
        }
    }
}

/// What to subscribe to, or to unsubscribe from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The channel.
    pub channel: Channel,
    /// Symbols and wildcards as the client wrote them.
    pub symbols: Vec<String>,
    /// For a book: `None` where not given, `Some(0)` for `"full"`, else levels a side. For bars: `None`
    /// where no interval is given, else its place in [`Span::BARS`].
    pub depth: Option<u16>,
    /// `None` where not given.
    pub mode: Option<Mode>,
    /// How long an update may wait to share a send with others, milliseconds; `None` where not
    /// given.
    pub max_age_ms: Option<u64>,
    /// Milliseconds between two messages of a subscription, at least (`max_hz`) or at most
    /// (`batch_ms`); `None` where not given.
    pub period_ms: Option<u64>,
    /// Where the client was before it lost its connection.
    pub since: Option<Since>,
    /// How many of the past are to be sent first, of trades and closed bars; 0 where not given.
    pub history: u16,
}

/// Where a client was: what came after that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The epoch of the sequences.
    pub epoch: String,
    /// The last sequence that the client has.
    pub seq: Seqs,
}

/// Sequences of a [`Since`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seqs {
    /// Of the one symbol.
    One(u64),
    /// Of each of these symbols, as the client wrote them.
    Each(Vec<(String, u64)>),
}

impl Target {
    /// The depth or interval that a subscription without one is to.
    pub fn variant(&self) -> u16 {
        let unsaid = if self.channel == Channel::Bar { Span::Minute as u16 } else { 0 };
        self.depth.unwrap_or(unsaid)
    }

    /// Neither in sums nor in batches: what was missed can be told again.
    pub fn is_told_every_tick(&self) -> bool {
        !matches!(self.mode, Some(Mode::Conflate | Mode::Batch))
    }
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to echo in the answer, already JSON; `None` where the client gave none.
    pub req_id: Option<String>,
    /// What is asked.
    pub call: Call,
}

/// The methods.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Start to deliver.
    Subscribe(Target),
    /// Stop to deliver.
    Unsubscribe(Target),
    /// What this client is subscribed to.
    ListSubscriptions,
    /// The known symbols, of one venue or of all.
    ListSymbols {
        /// Only of this venue.
        venue: Option<String>,
    },
    /// A round trip.
    Ping {
        /// Echoed.
        t: Option<i64>,
    },
    /// Who the client is.
    Auth {
        /// What it has.
        token: Secret,
    },
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Call {
    /// The method's name on the wire.
    pub const fn method(&self) -> &'static str {
        match self {
            Call::Subscribe(_) => "subscribe",
            Call::Unsubscribe(_) => "unsubscribe",
            Call::ListSubscriptions => "list_subscriptions",
            Call::ListSymbols { .. } => "list_symbols",
            Call::Ping { .. } => "ping",
            Call::Auth { .. } => "auth",
        }
    }
}

/// Names without those that came before, in their order: one that comes a thousand times is one.
pub(crate) fn distinct(mut names: Vec<String>) -> Vec<String> {
    if names.len() > 1 {
        let mut seen = HashSet::with_capacity(names.len());
        names.retain(|name| seen.insert(name.clone()));
    }
    names
}

/// Why a request was not understood; the answer says so and the session goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The method, where it could be read.
    pub method: Option<String>,
    /// What to echo, already JSON.
    pub req_id: Option<String>,
    /// One of the codes of docs/PROTOCOL.md.
    pub code: &'static str,
    /// Names the value and what was expected.
    pub message: String,
}

#[cfg(test)]
mod tests;
