//! The messages of the subscriptions, as the screen reads them (docs/PROTOCOL.md).
//!
//! Numbers stay the texts that the server wrote; unknown fields are passed over.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::Answer;

/// Any message of the server.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Quote(Quote<'a>),
    Trade(Trade<'a>),
    Book(Book<'a>),
    Ticker(Ticker<'a>),
    Feed(Feed<'a>),
    Lag(Lag<'a>),
    /// The token ends within a minute, and the connection with it.
    TokenEnds,
    /// The server stops; clients are to come back within this range, in milliseconds.
    Drain(Option<[u64; 2]>),
    /// The answer to a ping, with the number that was sent along.
    Pong(Option<u64>),
    Answer(Answer),
    /// Nothing that the screen shows.
    Other,
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Not JSON, or a field that is missing or of another kind.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let head: Head<'_> = serde_json::from_slice(text)?;
        Ok(match (head.channel.as_deref(), head.kind.as_deref(), head.method.as_deref()) {
            (Some("quote"), _, _) => Message::Quote(serde_json::from_slice(text)?),
            (Some("trade"), _, _) => Message::Trade(serde_json::from_slice(text)?),
            (Some("book"), _, _) => Message::Book(serde_json::from_slice(text)?),
            (Some("ticker"), _, _) => Message::Ticker(serde_json::from_slice(text)?),
            (Some("status"), Some("feed"), _) => Message::Feed(serde_json::from_slice(text)?),
            (Some("status"), Some("lag"), _) => Message::Lag(serde_json::from_slice(text)?),
            (Some("status"), Some("token"), _) => Message::TokenEnds,
            (Some("status"), Some("drain"), _) => Message::Drain(head.reconnect_ms),
            (None, _, Some("pong")) => Message::Pong(head.t),
            (None, _, Some(_)) => Message::Answer(serde_json::from_slice(text)?),
            _ => Message::Other,
        })
    }
}

/// What tells the messages apart.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    reconnect_ms: Option<[u64; 2]>,
    t: Option<u64>,
}

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Stamps {
    /// The venue's time, where it gives one.
    pub(super) event: Option<u64>,
    /// That of the arrival at the server.
    #[serde(default)]
    pub(super) recv: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Quote<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) seq: u64,
    /// The one before; a snapshot has none.
    pub(super) prev: Option<u64>,
    #[serde(borrow)]
    pub(super) bid: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) bid_qty: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) ask: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) ask_qty: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) seq: u64,
    /// The one before; a snapshot has none.
    pub(super) prev: Option<u64>,
    #[serde(borrow)]
    pub(super) side: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) price: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) qty: Cow<'a, str>,
    #[serde(default)]
    pub(super) ts: Stamps,
}

#[derive(Debug, Deserialize)]
pub(super) struct Book<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) seq: u64,
    /// The one before; a snapshot has none.
    pub(super) prev: Option<u64>,
    /// Levels a side, `None` for the full book.
    pub(super) depth: Option<usize>,
    /// Price and quantity; of an update the changes, of which `"0"` is a level that is gone.
    #[serde(borrow)]
    pub(super) bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    pub(super) asks: Vec<(&'a str, &'a str)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) seq: u64,
    /// The one before; a snapshot has none.
    pub(super) prev: Option<u64>,
    #[serde(borrow)]
    pub(super) last: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) high: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) low: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) change: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) change_percent: Option<Cow<'a, str>>,
    /// Left out where the exact sum does not fit.
    #[serde(borrow)]
    pub(super) volume: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Feed<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Lag<'a> {
    #[serde(borrow)]
    pub(super) policy: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) cause: Option<Cow<'a, str>>,
    pub(super) skipped: Option<u64>,
}
