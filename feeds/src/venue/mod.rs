//! The venues: what they send and what they demand.
//!
//! A [`Venue`] is a parser, pure: it reads no clock, no socket and no file. It keeps what a stream
//! needs to be understood (the symbols met, the chain of each book), so there is one parser per feed
//! or capture, fed in the order of arrival. A message that cannot be understood goes to
//! [`Sink::reject`] with the text as received and puts no tick at all. [`Rules`] are what a venue
//! demands of those who connect. [`VENUES`] is the table of both: a venue is its file and its line
//! there.
//!
//! Invariant: what a parser puts is a function of the [`Input`]s that it was given, so that a
//! recording of them is enough to get the same ticks again.

use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::Object;

use crate::instrument::Instruments;
use crate::sink::Sink;

mod binance;
mod bybit;
mod coinbase;
mod event;
mod handover;
mod json;
mod kraken;
mod levels;
mod names;
pub mod native;
mod okx;
pub mod rules;
mod scan;
mod serial;
mod slots;
mod time;
mod top;

pub use binance::Binance;
pub use bybit::Bybit;
pub use coinbase::Coinbase;
pub use kraken::Kraken;
pub use okx::Okx;
pub use rules::{Options, Rules};

/// A venue that is known here.
#[derive(Debug)]
pub struct Entry {
    /// The short name that its symbols start with: `binance`.
    pub name: &'static str,
    parser: fn(Arc<Instruments>) -> Box<dyn Venue>,
    rules: Option<MakeRules>,
    recognise: fn(&Object<'_, '_>) -> bool,
}

type MakeRules = fn(Options) -> Result<Box<dyn Rules>, String>;

/// Every venue, by name.
pub static VENUES: &[Entry] = &[
    Entry {
        name: Coinbase::NAME,
        parser: |instruments| Box::new(Coinbase::new(instruments)),
        rules: Some(coinbase::rules),
        recognise: coinbase::recognise,
    },
    Entry {
        name: Binance::USDM,
        parser: |instruments| Box::new(Binance::usdm(instruments)),
        rules: Some(binance::usdm::make),
        recognise: binance::recognise_usdm,
    },
    Entry {
        name: Binance::NAME,
        parser: |instruments| Box::new(Binance::new(instruments)),
        rules: Some(binance::rules::make),
        recognise: binance::recognise,
    },
    Entry {
        name: Kraken::NAME,
        parser: |instruments| Box::new(Kraken::new(instruments)),
        rules: Some(kraken::rules),
        recognise: kraken::recognise,
    },
    Entry {
        name: Bybit::SPOT,
        parser: |instruments| Box::new(Bybit::spot(instruments)),
        rules: Some(bybit::spot_rules),
        recognise: bybit::recognise_spot,
    },
    Entry {
        name: Bybit::LINEAR,
        parser: |instruments| Box::new(Bybit::linear(instruments)),
        rules: Some(bybit::linear_rules),
        recognise: bybit::recognise_linear,
    },
    Entry {
        name: Okx::NAME,
        parser: |instruments| Box::new(Okx::new(instruments)),
        rules: Some(okx::rules::make),
        recognise: okx::recognise,
    },
];

impl Entry {
    /// Its parser, which lists symbols in `instruments` when a message first names them.
    pub fn parser(&self, instruments: &Arc<Instruments>) -> Box<dyn Venue> {
        (self.parser)(Arc::clone(instruments))
    }

    /// Whether it can be connected to.
    pub fn is_live(&self) -> bool {
        self.rules.is_some()
    }

    /// Its rules; `None` where it cannot be connected to.
    ///
    /// # Errors
    /// What is wrong with the options: `depth=20: expected 10, 25, ...`.
    pub fn rules(&self, options: Options) -> Option<Result<Box<dyn Rules>, String>> {
        self.rules.map(|make| make(options))
    }
}

/// The names of [`VENUES`].
pub fn names() -> impl Iterator<Item = &'static str> {
    VENUES.iter().map(|entry| entry.name)
}

/// The venue of this name, case ignored.
pub fn find(name: &str) -> Option<&'static Entry> {
    VENUES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

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
    /// The connection that it came on. No two that are open at the same time have the same number.
    pub link: u16,
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

/// What a message means for the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing but that it is alive.
    Alive,
    /// A subscription was confirmed.
    Confirmed,
    /// A request was refused, or a part of it; the message went to [`Sink::reject`].
    Refused,
    /// A subscription was refused as a whole, also what would have been served if it had been asked
    /// for alone ([`Rules::singly`]); the message went to [`Sink::reject`]. It is the request of
    /// this id; where the venue names none, the first that was not answered before.
    RefusedAll(Option<u64>),
    /// The same, because too many were sent, and which one is not said: what is not subscribed to
    /// is to be asked for again after a while.
    Hasty,
    /// The venue is about to close it: another one is to be opened before.
    Leaving,
}

/// What a parser needs for an instrument whose book is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The venue's name of the instrument.
    pub native: Box<str>,
    /// How to get it.
    pub how: How,
    /// How many snapshots of it have come since a connection was to carry it: one that came and
    /// broke before anybody looked is told from one that has not come.
    pub snapshots: u32,
}

/// How a venue gives a snapshot of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Over REST: [`Rules::snapshot`].
    Fetch,
    /// In the stream, to who subscribes anew.
    Resubscribe,
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
    fn message(
        &mut self,
        text: &[u8],
        recv_ns: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Heard;

    /// Forgets sequences and books, because the source starts over (a replay loops). The symbols
    /// stay listed. Not for a reconnect: that is [`Venue::lost`].
    fn restart(&mut self);

    /// The messages that were understood and left out on purpose.
    fn ignored(&self) -> &Ignored;

    /// A subscription to these symbols was confirmed: their data come from now on, among them the
    /// book if `book`. Without one they are live now.
    fn expect(&mut self, natives: &[Box<str>], book: bool, recv_ns: u64, sink: &mut dyn Sink);

    /// A connection is gone. The `orphans` are carried by no other: they are stale from here on.
    fn lost(&mut self, link: u16, orphans: &[Box<str>], recv_ns: u64, sink: &mut dyn Sink);

    /// The book of this symbol has turned out to be wrong (see [`Sink::refused`]).
    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink);

    /// Appends what is needed to complete the books that are not. Walks over all symbols: to be
    /// asked now and then, not per message. What is needed is said until it has come.
    fn wants(&self, out: &mut Vec<Want>);
}

/// All that can happen to a parser, in one type: what a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A message of a connection: [`Venue::message`].
    Message {
        /// The connection.
        link: u16,
        /// As received.
        text: &'a [u8],
    },
    /// The reply to a REST request: [`Venue::message`].
    Reply {
        /// The request, path and query.
        url: &'a str,
        /// As received.
        text: &'a [u8],
    },
    /// [`Venue::expect`].
    Expect {
        /// The venue's names of the symbols.
        natives: &'a [Box<str>],
        /// Whether books are among the data.
        book: bool,
    },
    /// [`Venue::lost`].
    Lost {
        /// The connection.
        link: u16,
        /// The symbols that no other carries.
        orphans: &'a [Box<str>],
    },
    /// [`Venue::distrust`].
    Distrust {
        /// The venue's name of the symbol.
        native: &'a str,
    },
}

impl Input<'_> {
    /// Gives it to a parser.
    pub fn apply(&self, venue: &mut dyn Venue, recv_ns: u64, sink: &mut dyn Sink) -> Heard {
        match *self {
            Input::Message { link, text } => {
                let context = Context { link, ..Context::default() };
                return venue.message(text, recv_ns, context, sink);
            }
            Input::Reply { url, text } => {
                let context = Context { url: Some(url), ..Context::default() };
                return venue.message(text, recv_ns, context, sink);
            }
            Input::Expect { natives, book } => venue.expect(natives, book, recv_ns, sink),
            Input::Lost { link, orphans } => venue.lost(link, orphans, recv_ns, sink),
            Input::Distrust { native } => venue.distrust(native, recv_ns, sink),
        }
        Heard::Alive
    }
}

/// The venue that sent `text`, by the keys of its objects. `None` for what could be anybody's: try
/// the next message. Allocates: for the first messages of a capture.
pub fn recognise(text: &[u8]) -> Option<&'static Entry> {
    let mut text = text.to_vec();
    let tape = simd_json::to_tape(&mut text).ok()?;
    let object = tape.as_value().as_object()?;
    VENUES.iter().find(|entry| (entry.recognise)(&object))
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
        self.add(name, 1);
    }

    fn add(&mut self, name: &str, more: u64) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| **known == *name) {
            *count = count.saturating_add(more);
        } else if name == Self::OTHER
            || (self.counts.len() < Self::MAX_NAMES && name.len() <= Self::MAX_NAME)
        {
            self.counts.push((name.into(), more));
        } else {
            self.add(Self::OTHER, more);
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
            (r#"{"e":"depthUpdate","s":"BTCUSDT","U":8,"u":9,"b":[],"a":[]}"#, Some("binance")),
            (
                r#"{"stream":"x@depth","data":{"e":"depthUpdate","U":8,"u":9,"pu":3}}"#,
                Some("binance-usdm"),
            ),
            (r#"{"e":"aggTrade","s":"BTCUSDT","a":1,"l":2,"M":true}"#, Some("binance")),
            (r#"{"e":"aggTrade","s":"BTCUSDT","a":1,"l":2,"nq":"1"}"#, Some("binance-usdm")),
            (r#"{"e":"bookTicker","u":1,"s":"B","T":1,"b":"1"}"#, Some("binance-usdm")),
            (r#"{"lastUpdateId":1,"E":1,"T":1,"bids":[],"asks":[]}"#, Some("binance-usdm")),
            (r#"{"e":"trade","s":"BTCUSDT","X":"MARKET"}"#, Some("binance-usdm")),
            (r#"{"product_id":"BTC-USD","type":"match"}"#, Some("coinbase")),
            (r#"{"type":"subscriptions","channels":[]}"#, Some("coinbase")),
            (r#"{"channel":"trade","type":"update","data":[]}"#, Some("kraken")),
            (r#"{"method":"pong","time_in":"","time_out":""}"#, Some("kraken")),
            (r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"data":[]}"#, Some("okx")),
            (r#"{"event":"error","code":"60012","msg":"","connId":"a4"}"#, Some("okx")),
            (r#"{"result":null,"id":1}"#, None),
            (r#"{"type":"error"}"#, None),
            (r#"[1]"#, None),
            ("", None),
            ("{", None),
        ] {
            assert_eq!(recognise(text.as_bytes()).map(|entry| entry.name), venue, "{text}");
        }
        let instruments = Arc::new(Instruments::new());
        for name in names() {
            let entry = find(&name.to_uppercase()).unwrap();
            assert_eq!((entry.name, entry.parser(&instruments).name()), (name, name));
        }
        assert!(find("mtgox").is_none());
    }

    #[test]
    fn a_url_names_the_symbol() {
        let url = "https://api.binance.com/api/v3/depth?limit=1000&symbol=NKNUSDT";
        let context = Context { url: Some(url), ..Context::default() };
        assert_eq!(context.symbol(), Some("NKNUSDT"));
        assert_eq!(Context { symbol: Some("BTCUSDT"), ..context }.symbol(), Some("BTCUSDT"));
        assert_eq!(
            Context { url: Some("https://example.com/"), ..Context::default() }.symbol(),
            None
        );
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
