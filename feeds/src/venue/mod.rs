//! The venues' parsers: a message as received in, ticks out.
//!
//! A parser is pure: it reads no clock, no socket and no file. It keeps what a stream needs to be
//! understood (the symbols met, the chain of each book), so there is one parser per connection or
//! capture, fed in the order of arrival. A message that cannot be understood goes to
//! [`Sink::reject`] with the text as received and puts no tick at all.

use std::sync::Arc;

use simd_json::prelude::*;

use crate::instrument::Instruments;
use crate::sink::Sink;

mod binance;
mod coinbase;
mod event;
mod json;
mod names;
pub mod native;
mod slots;
mod time;
mod top;

pub use binance::Binance;
pub use coinbase::Coinbase;

/// The venues that [`by_name`] knows.
pub const NAMES: [&str; 2] = [Binance::NAME, Coinbase::NAME];

/// What is known about a message besides its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// The venue's own name (`BTCUSDT`; case does not matter) of the symbol that a message belongs
    /// to if it names none, as Binance's REST depth snapshot does. Where this and
    /// [`url`](Self::url) are absent and the parser has met exactly one symbol, it is that one.
    pub symbol: Option<&'a str>,
    /// The URL that the message answers, where it is a REST reply: its `symbol=` parameter is taken
    /// where [`symbol`](Self::symbol) is absent.
    pub url: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// The symbol, given outright or in the URL's query.
    pub fn symbol(&self) -> Option<&'a str> {
        self.symbol.or_else(|| {
            let (_, query) = self.url?.split_once('?')?;
            query.split('&').find_map(|pair| pair.strip_prefix("symbol="))
        })
    }
}

/// A venue's parser.
pub trait Venue: Send {
    /// The short name that its symbols start with: `binance`, `coinbase`.
    fn name(&self) -> &'static str;

    /// Reads one message, as received from the venue (a WebSocket text or a REST reply), and puts
    /// its ticks into `sink`, all of them or none.
    ///
    /// `recv_ns` is when it was received, in nanoseconds since the Unix epoch. A message that
    /// cannot be understood goes to [`Sink::reject`]; one that carries nothing for the stream is
    /// counted in [`Venue::ignored`]. The sink is not flushed.
    fn message(&mut self, text: &[u8], recv_ns: u64, context: Context<'_>, sink: &mut dyn Sink);

    /// Forgets sequences and books, because the source starts over (a replay loops). The symbols
    /// stay listed. Not for a reconnect: what was missed is found by the sequences.
    fn restart(&mut self);

    /// The messages that were understood and left out on purpose.
    fn ignored(&self) -> &Ignored;

    /// The native names of the symbols whose book waits for a snapshot that somebody must fetch.
    /// Walks over all symbols: to be asked now and then, not per message.
    fn wants_snapshot(&self) -> Vec<&str>;
}

/// The parser of a venue by its short name, case ignored; `None` for a name that is not in
/// [`NAMES`]. Symbols are listed in `instruments` when a message first names them.
pub fn by_name(name: &str, instruments: &Arc<Instruments>) -> Option<Box<dyn Venue>> {
    if name.eq_ignore_ascii_case(Binance::NAME) {
        Some(Box::new(Binance::new(Arc::clone(instruments))))
    } else if name.eq_ignore_ascii_case(Coinbase::NAME) {
        Some(Box::new(Coinbase::new(Arc::clone(instruments))))
    } else {
        None
    }
}

/// The name of the venue that sent `text`, for [`by_name`]: Binance's objects have `stream`, `e`,
/// `lastUpdateId` or the five keys of a book ticker, Coinbase's have `type` and `product_id` (or
/// `channels`, in its first answer). `None` for what could be anybody's: try the next message.
/// Allocates: for the first messages of a capture.
pub fn recognise(text: &[u8]) -> Option<&'static str> {
    let mut text = text.to_vec();
    let tape = simd_json::to_tape(&mut text).ok()?;
    let object = tape.as_value().as_object()?;
    let has = |key: &str| object.get(key).is_some();
    let book_ticker = ["u", "s", "b", "B", "a", "A"];
    if has("type") && (has("product_id") || has("channels")) {
        Some(Coinbase::NAME)
    } else if (has("stream") && has("data"))
        || object.get("e").is_some_and(|e| e.is_str())
        || has("lastUpdateId")
        || book_ticker.into_iter().all(has)
    {
        Some(Binance::NAME)
    } else {
        None
    }
}

/// How often messages were left out on purpose, by name: kinds that carry nothing for the stream
/// (`kline`, `heartbeat`) and those that it must not repeat (`duplicate trade`).
#[derive(Clone, Debug, Default)]
pub struct Ignored {
    counts: Vec<(Box<str>, u64)>,
}

impl Ignored {
    /// Names come from the network: beyond these many, further ones are counted as `other`.
    const MAX_NAMES: usize = 64;
    /// The longest name kept, in bytes.
    const MAX_NAME: usize = 64;
    const OTHER: &str = "other";

    fn note(&mut self, name: &str) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| **known == *name) {
            *count += 1;
        } else if name == Self::OTHER
            || (self.counts.len() < Self::MAX_NAMES && name.len() <= Self::MAX_NAME)
        {
            self.counts.push((name.into(), 1));
        } else {
            self.note(Self::OTHER);
        }
    }

    /// How many of this name.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.iter().find(|(known, _)| **known == *name).map_or(0, |&(_, count)| count)
    }

    /// Every name with its count, in the order of first sight.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, count)| (&**name, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn venues_are_recognised_by_their_keys() {
        for (text, venue) in [
            (r#"{"data":{},"stream":"btcusdt@trade"}"#, Some("binance")),
            (r#"{"s":"BTCUSDT","e":"trade"}"#, Some("binance")),
            (r#"{"u":1,"s":"B","b":"1","B":"1","a":"1","A":"1"}"#, Some("binance")),
            (r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#, Some("binance")),
            (r#"{"product_id":"BTC-USD","type":"match"}"#, Some("coinbase")),
            (r#"{"type":"subscriptions","channels":[]}"#, Some("coinbase")),
            (r#"{"result":null,"id":1}"#, None),
            (r#"{"type":"error"}"#, None),
            (r#"[1]"#, None),
            ("", None),
            ("{", None),
        ] {
            assert_eq!(recognise(text.as_bytes()), venue, "{text}");
        }
        let instruments = Arc::new(Instruments::new());
        for name in NAMES {
            assert_eq!(by_name(name, &instruments).unwrap().name(), name);
        }
        assert!(by_name("Kraken", &instruments).is_none());
    }

    #[test]
    fn a_url_names_the_symbol() {
        let url = "https://api.binance.com/api/v3/depth?limit=1000&symbol=NKNUSDT";
        let context = Context { url: Some(url), symbol: None };
        assert_eq!(context.symbol(), Some("NKNUSDT"));
        assert_eq!(Context { symbol: Some("BTCUSDT"), ..context }.symbol(), Some("BTCUSDT"));
        assert_eq!(Context { url: Some("https://example.com/"), symbol: None }.symbol(), None);
    }

    #[test]
    fn names_from_the_network_are_bounded() {
        let mut ignored = Ignored::default();
        for n in 0..1000 {
            ignored.note(&n.to_string());
        }
        ignored.note(&"x".repeat(1000));
        assert_eq!(ignored.get("63"), 1);
        assert_eq!(ignored.get("other"), 1000 - 64 + 1);
        assert_eq!(ignored.iter().count(), 65);
    }
}
