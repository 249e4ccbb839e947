//! What Kraken demands of those who connect to its spot WebSocket API v2.

use std::fmt::Write;
use std::time::Duration;

use simd_json::tape::{Object, Value};

use super::DEPTHS;
use crate::decimal::Decimal;
use crate::instrument::Listing;
use crate::spec::Kinds;
use crate::venue::json::{Fault, Reader, decimal, integer, quoted, text, wrong};
use crate::venue::rules::{Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules};

/// Levels a side where none are asked for.
///
/// Deep enough for what clients look at, and a snapshot is some 10 KB a symbol, which is what a
/// resubscription costs; 1,000 levels are ten times that, and none of the levels beyond the tenth
/// is covered by the checksum, so that a deeper book is not a better known one. Shallower, the best
/// ten would be all there is: the venue's own client subscribes to 25 when 10 are wanted, so as not
/// to depend on the level that moves up being in the same message
/// (<https://github.com/krakenfx/kraken-api-sdk>, `docs/guides/order-book.md`).
const DEFAULT_DEPTH: u16 = 100;

/// Symbols in one request. No limit is documented; 100 names are some 1.5 KB, and a request that
/// is refused as a whole costs no more than these.
const REQUEST_SYMBOLS: usize = 100;

/// Symbols on one connection. No limit is documented ("it is possible to stream all available
/// market data for all currency pairs without reaching the WebSocket connection limits"), so it is
/// our choice: the whole market is six connections, and one that dies takes a sixth of it.
const CONNECTION_SYMBOLS: usize = 250;

/// The numbers of <https://docs.kraken.com/exchange/guides/websockets/introduction>,
/// <https://docs.kraken.com/exchange/guides/websockets/reconnection> and
/// <https://docs.kraken.com/exchange/guides/rest/ratelimits>.
const LIMITS: Limits = Limits {
    // Cloudflare takes "approximately 150" attempts "per rolling 10 minutes per IP" and bans the
    // address for 10 minutes beyond. 120, as in the venue's own client: others may sit behind the
    // same address, and so do the REST requests.
    connects: Rate::new(120, 600),
    // Not published: it "will vary depending upon the load on the system", and the answer is then
    // "Exceeded msg rate". Five a second get the whole market subscribed in seconds; bursts of one
    // request per symbol are what has been refused.
    requests: Rate::new(5, 1),
    // Public REST requests: about one a second per address.
    rest: Rate::new(1, 1),
    // A connection is closed after about a minute without activity; a ping counts.
    ping: Some(Duration::from_secs(30)),
    // A heartbeat comes about every second once anything is subscribed to; the guide to
    // reconnection recommends a deadline of 5 seconds.
    silence: Duration::from_secs(5),
    life: None,
};

/// The rules for one feed.
pub(super) struct KrakenRules {
    channels: Kinds,
    depth: u16,
}

/// The rules for these options.
pub(in crate::venue) fn rules(options: Options) -> Result<Box<dyn Rules>, String> {
    let depth = options.depth.unwrap_or(DEFAULT_DEPTH);
    if !DEPTHS.contains(&depth) {
        return Err(format!("depth={depth}: expected 10, 25, 100, 500 or 1000"));
    }
    Ok(Box::new(KrakenRules { channels: options.channels, depth }))
}

impl Rules for KrakenRules {
    fn ws(&self) -> &'static str {
        "wss://ws.kraken.com"
    }

    fn rest(&self) -> &'static str {
        "https://api.kraken.com"
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn routes(&self) -> Vec<Route> {
        let Kinds { trade, quote, book } = self.channels;
        let route = Route { path: "/v2", channels: self.channels, symbols: CONNECTION_SYMBOLS };
        if trade || quote || book { vec![route] } else { Vec::new() }
    }

    /// The whole list is one page. `assetVersion=1` asks for the names that the WebSocket API v2
    /// takes: without it `BTC/USD` is `XXBTZUSD`, and even `wsname` is still `XBT/USD` (Dogecoin:
    /// `XDG/USD`), which v2 refuses with "Currency pair not supported".
    fn listing(&self) -> Vec<Get> {
        vec![Get { path: "/0/public/AssetPairs?assetVersion=1".to_owned(), weight: 1 }]
    }

    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        let mut at = String::new();
        let read = Reader::new().read_as(reply, quoted, |root| read_pairs(root, &mut at));
        read.map_err(|fault| ListingError(format!("{at}{fault}")))
    }

    /// Each symbol of a request is answered for by itself.
    fn answers(&self, channels: Kinds, natives: &[Box<str>]) -> Option<usize> {
        let all = [channels.book, channels.quote, channels.trade];
        Some(natives.len() * all.into_iter().filter(|wanted| *wanted).count())
    }

    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String> {
        // Trades of a snapshot fill what was missed between two connections. A book's subscription
        // is known by its depth, so its end names it too.
        let depth = self.depth;
        let book = match ask {
            Ask::Subscribe => format!(r#","depth":{depth},"snapshot":true"#),
            Ask::Unsubscribe => format!(r#","depth":{depth}"#),
        };
        let (trade, quote) = match ask {
            Ask::Subscribe => (r#","snapshot":true"#, r#","event_trigger":"bbo","snapshot":true"#),
            Ask::Unsubscribe => ("", ""),
        };
        let mut texts = Vec::new();
        for (wanted, channel, options) in [
            (channels.book, "book", &*book),
            (channels.quote, "ticker", quote),
            (channels.trade, "trade", trade),
        ] {
            if wanted {
                let requests = natives.chunks(REQUEST_SYMBOLS);
                texts.extend(requests.map(|chunk| request(ask, channel, options, chunk, id)));
            }
        }
        texts
    }

    /// <https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/ping>.
    fn ping(&self, id: &mut u64) -> Option<String> {
        let text = format!(r#"{{"method":"ping","req_id":{id}}}"#);
        *id += 1;
        Some(text)
    }
}

/// One request, as <https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book> has it.
fn request(ask: Ask, channel: &str, options: &str, natives: &[Box<str>], id: &mut u64) -> String {
    let method = match ask {
        Ask::Subscribe => "subscribe",
        Ask::Unsubscribe => "unsubscribe",
    };
    let mut text = format!(r#"{{"method":"{method}","params":{{"channel":"{channel}","symbol":["#);
    for (at, native) in natives.iter().enumerate() {
        // Names of the venue's list: letters and digits with a slash, nothing to be escaped.
        let comma = if at == 0 { "" } else { "," };
        _ = write!(text, r#"{comma}"{native}""#);
    }
    _ = write!(text, r#"]{options}}},"req_id":{id}}}"#);
    *id += 1;
    text
}

/// Reads the whole reply. `at` becomes what an error is to start with.
fn read_pairs(root: Value<'_, '_>, at: &mut String) -> Result<Page, Fault> {
    let object = root.as_object().ok_or_else(|| wrong("reply", root, "an object"))?;
    let errors = object.get("error").and_then(|errors| errors.as_array());
    if let Some(error) = errors.and_then(|errors| errors.iter().next()) {
        return Err(Fault::Venue(text("error", Some(error))?.to_owned()));
    }
    let result = object.get("result").ok_or(Fault::Missing("result"))?;
    let pairs = result.as_object().ok_or_else(|| wrong("result", result, "an object"))?;
    let mut page = Page::default();
    for (key, pair) in &pairs {
        *at = format!("pair {key:?}: ");
        let pair = pair.as_object().ok_or_else(|| wrong("pair", pair, "an object"))?;
        page.listings.extend(listing(key, &pair)?);
    }
    Ok(page)
}

/// A pair that is traded now; `None` for the others.
///
/// <https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs>. `status` is absent
/// from a minority of pairs that are traded all the same (the venue's own client tolerates that); in
/// `cancel_only` and `post_only` nothing is matched.
fn listing(key: &str, pair: &Object<'_, '_>) -> Result<Option<Listing>, Fault> {
    let optional = |name: &'static str| match pair.get(name) {
        Some(value) => text(name, Some(value)).map(Some),
        None => Ok(None),
    };
    let is_traded =
        matches!(optional("status")?.unwrap_or("online"), "online" | "limit_only" | "reduce_only");
    // Pairs of another venue of the same company need a subscription of another kind.
    let is_here = optional("execution_venue")?.unwrap_or("international") == "international";
    // The key is the name in v2, but for some new pairs, whose key has no slash.
    let (base, quote) = match key.split_once('/') {
        Some(names) => names,
        None => (text("base", pair.get("base"))?, text("quote", pair.get("quote"))?),
    };
    let is_plain = |name: &str| !name.is_empty() && name.chars().all(char::is_alphanumeric);
    if !(is_traded && is_here && is_plain(base) && is_plain(quote)) {
        return Ok(None);
    }
    let mut listing = Listing::pair(&format!("{base}/{quote}"), base, quote);
    listing.tick_size = match pair.get("tick_size") {
        Some(size) => Some(decimal("tick_size", Some(size))?),
        None => step("pair_decimals", pair)?,
    };
    listing.lot_size = step("lot_decimals", pair)?;
    Ok(Some(listing))
}

/// The step of a number of so many decimal places.
fn step(name: &'static str, pair: &Object<'_, '_>) -> Result<Option<Decimal>, Fault> {
    let Some(value) = pair.get(name) else { return Ok(None) };
    let places = i8::try_from(integer(name, Some(value))?)
        .map_err(|_| wrong(name, value, "at most 127 places"))?;
    Ok(Some(Decimal::new(1, -places)))
}
