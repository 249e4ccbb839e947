//! What Binance spot demands of those who connect, and what its futures demand alike.
//!
//! - WebSocket: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
//! - REST: <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>

use std::time::Duration;

use simd_json::tape::Object;

use crate::decimal::Decimal;
use crate::instrument::Listing;
use crate::spec::Kinds;
use crate::venue::event::array;
use crate::venue::json::{Fault, Field, Reader, decimal, integer, text, wrong};
use crate::venue::rules::{Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules};
use crate::venue::slots::is_asset;

/// "A single connection can listen to a maximum of 1024 streams", of spot and of futures.
pub(super) const MAX_STREAMS: usize = 1_024;

/// The longest request, in bytes. Undocumented: the server has been seen to answer a request of
/// 4,096 bytes, frame header included, and to stay silent on a longer one
/// (<https://github.com/binance/binance-connector-rust/issues/27>).
const MAX_REQUEST: usize = 4_000;

/// Levels a side of a snapshot where the feed does not say.
const DEFAULT_DEPTH: u16 = 1_000;

/// The deepest snapshot: "If limit > 5000, only 5000 entries will be returned."
const MAX_DEPTH: u16 = 5_000;

/// The rules of spot.
pub(in crate::venue) fn make(options: Options) -> Result<Box<dyn Rules>, String> {
    let depth = options.depth.unwrap_or(DEFAULT_DEPTH);
    if !(1..=MAX_DEPTH).contains(&depth) {
        return Err(format!("depth={depth}: expected 1 to {MAX_DEPTH} levels"));
    }
    Ok(Box::new(Spot { channels: options.channels, depth }))
}

/// Spot, as one feed wants it.
#[derive(Debug)]
struct Spot {
    channels: Kinds,
    /// Levels a side of a snapshot. By default 1,000, at a weight of 50: of 6,000 a minute that is
    /// two books a second, where 5,000 levels would take five times as long.
    depth: u16,
}

impl Rules for Spot {
    fn ws(&self) -> &'static str {
        "wss://stream.binance.com:9443"
    }

    fn rest(&self) -> &'static str {
        "https://api.binance.com"
    }

    fn limits(&self) -> Limits {
        Limits {
            // "300 connections per attempt every 5 minutes per IP".
            connects: Rate::new(300, 300),
            // "5 incoming messages per second", pongs among them. How the server counts is not
            // said, and one that sent every 250 ms has been closed ("Too many requests"):
            // <https://docs.rs/crate/polyoxide-binance/0.48.0/source/src/spot/ws/mod.rs>.
            requests: Rate::new(2, 1),
            rest: Rate::new(6_000, 60),
            // The server pings every 20 s, the client only answers.
            ping: None,
            silence: Duration::from_secs(40),
            life: Some(Duration::from_secs(24 * 3_600)),
        }
    }

    fn routes(&self) -> Vec<Route> {
        // Times are milliseconds without the parameter.
        route("/stream?timeUnit=MICROSECOND", self.channels).into_iter().collect()
    }

    fn listing(&self) -> Vec<Get> {
        let path = "/api/v3/exchangeInfo?symbolStatus=TRADING&showPermissionSets=false";
        vec![Get { path: path.to_owned(), weight: 20 }]
    }

    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        read_listing(reply, |_| None)
    }

    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String> {
        requests(ask, natives, &streams(channels, "trade"), id)
    }

    fn singly(
        &self,
        channels: Kinds,
        natives: &[Box<str>],
        nth: usize,
        id: &mut u64,
    ) -> Vec<String> {
        singly(natives, &streams(channels, "trade"), nth, id)
    }

    fn named(&self, request: &str) -> Vec<Box<str>> {
        named(request)
    }

    fn snapshot(&self, native: &str) -> Option<Get> {
        let weight = match self.depth {
            ..=100 => 5,
            101..=500 => 25,
            501..=1_000 => 50,
            _ => 250,
        };
        let path = format!("/api/v3/depth?symbol={}&limit={}", encoded(native), self.depth);
        Some(Get { path, weight })
    }
}

/// A route for these channels, each of which takes one stream a symbol.
pub(super) fn route(path: &'static str, channels: Kinds) -> Option<Route> {
    let streams = [channels.trade, channels.quote, channels.book];
    let count = streams.into_iter().filter(|on| *on).count();
    Some(Route { path, channels, symbols: MAX_STREAMS.checked_div(count)? })
}

/// What follows `<symbol>@` in the names of these channels' streams.
pub(super) fn streams(channels: Kinds, trades: &'static str) -> Vec<&'static str> {
    let all = [
        (channels.trade, trades),
        (channels.quote, "bookTicker"),
        // The faster of its two speeds.
        (channels.book, "depth@100ms"),
    ];
    all.into_iter().filter(|(on, _)| *on).map(|(_, stream)| stream).collect()
}

/// The requests for these streams of every symbol. A symbol's are never split over two.
pub(super) fn requests(
    ask: Ask,
    natives: &[Box<str>],
    streams: &[&str],
    id: &mut u64,
) -> Vec<String> {
    let method = match ask {
        Ask::Subscribe => "SUBSCRIBE",
        Ask::Unsubscribe => "UNSUBSCRIBE",
    };
    let (mut texts, mut open) = (Vec::new(), String::new());
    for native in natives {
        // "All symbols for streams are lowercase".
        let symbol = native.to_ascii_lowercase();
        let names: Vec<_> = streams.iter().map(|stream| format!("\"{symbol}@{stream}\"")).collect();
        let names = names.join(",");
        // What follows the list is no longer than this.
        let end = r#"],"id":18446744073709551615}"#.len();
        if !open.is_empty() && open.len() + 1 + names.len() + end > MAX_REQUEST {
            texts.push(close(std::mem::take(&mut open), id));
        }
        if open.is_empty() {
            open = format!(r#"{{"method":"{method}","params":[{names}"#);
        } else {
            open.push(',');
            open.push_str(&names);
        }
    }
    if !open.is_empty() && !streams.is_empty() {
        texts.push(close(open, id));
    }
    texts
}

/// The requests for each symbol of the `nth` request by itself; none where it has but one.
pub(super) fn singly(
    natives: &[Box<str>],
    streams: &[&str],
    nth: usize,
    id: &mut u64,
) -> Vec<String> {
    let all = requests(Ask::Subscribe, natives, streams, &mut 0);
    let of_it = all.get(nth).map(|text| named(text)).unwrap_or_default();
    match &of_it[..] {
        [] | [_] => Vec::new(),
        several => several
            .iter()
            .flat_map(|one| requests(Ask::Subscribe, std::slice::from_ref(one), streams, id))
            .collect(),
    }
}

/// The symbols that a request names, each once.
pub(super) fn named(request: &str) -> Vec<Box<str>> {
    let mut natives: Vec<Box<str>> = Vec::new();
    for (name, _) in request.split('"').filter_map(|part| part.split_once('@')) {
        let native = name.to_ascii_uppercase();
        if natives.last().is_none_or(|last| **last != *native) {
            natives.push(native.into());
        }
    }
    natives
}

/// Ends a request with its id.
fn close(mut open: String, id: &mut u64) -> String {
    open.push_str(&format!(r#"],"id":{id}}}"#));
    *id += 1;
    open
}

/// A symbol as it stands in a URL; Binance lists Chinese names too.
pub(super) fn encoded(native: &str) -> String {
    let mut out = String::with_capacity(native.len());
    for byte in native.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Reads `exchangeInfo`: the symbols that are `TRADING`, and the limit of REST weight. `contract`
/// finds in a name what tells it from the pair.
pub(super) fn read_listing(
    reply: &[u8],
    contract: impl Fn(&str) -> Option<String>,
) -> Result<Page, ListingError> {
    let page = Reader::new().read(reply, |root| {
        let object = root.as_object().ok_or(Fault::Unknown)?;
        if let Some(message) = object.get("msg") {
            return Err(Fault::Venue(text("msg", Some(message))?.to_owned()));
        }
        let mut page = Page { rest: rest(object.get("rateLimits"))?, ..Page::default() };
        for symbol in &array("symbols", object.get("symbols"))? {
            let symbol = symbol.as_object().ok_or_else(|| wrong("symbols", symbol, "objects"))?;
            if text("status", symbol.get("status"))? == "TRADING" {
                page.listings.extend(listing(&symbol, &contract)?);
            }
        }
        Ok(page)
    });
    page.map_err(|fault| ListingError(fault.to_string()))
}

/// One symbol; `None` if its names cannot stand in `venue:BASE-QUOTE[-CONTRACT]`.
fn listing(
    symbol: &Object<'_, '_>,
    contract: impl Fn(&str) -> Option<String>,
) -> Result<Option<Listing>, Fault> {
    let native = text("symbol", symbol.get("symbol"))?;
    let base = text("baseAsset", symbol.get("baseAsset"))?;
    let quote = text("quoteAsset", symbol.get("quoteAsset"))?;
    let is_name = native.split('_').all(is_asset) && native.matches('_').count() <= 1;
    if !is_name || !is_asset(base) || !is_asset(quote) {
        return Ok(None);
    }
    let contract = contract(native);
    let mut listing = Listing { contract, ..Listing::pair(native, base, quote) };
    for filter in &array("filters", symbol.get("filters"))? {
        let filter = filter.as_object().ok_or_else(|| wrong("filters", filter, "objects"))?;
        match text("filterType", filter.get("filterType"))? {
            "PRICE_FILTER" => listing.tick_size = step("tickSize", filter.get("tickSize"))?,
            "LOT_SIZE" => listing.lot_size = step("stepSize", filter.get("stepSize"))?,
            _ => {}
        }
    }
    Ok(Some(listing))
}

/// A step of prices or sizes; 0 disables the rule:
/// <https://developers.binance.com/docs/binance-spot-api-docs/filters>.
fn step(name: &'static str, field: Field<'_, '_>) -> Result<Option<Decimal>, Fault> {
    let step = decimal(name, field)?;
    Ok((step.mantissa != 0).then_some(step))
}

/// The `REQUEST_WEIGHT` among the rate limits: `{"rateLimitType":"REQUEST_WEIGHT",
/// "interval":"MINUTE","intervalNum":1,"limit":6000}`.
fn rest(field: Field<'_, '_>) -> Result<Option<Rate>, Fault> {
    if field.is_none() {
        return Ok(None);
    }
    for limit in &array("rateLimits", field)? {
        let limit = limit.as_object().ok_or_else(|| wrong("rateLimits", limit, "objects"))?;
        if text("rateLimitType", limit.get("rateLimitType"))? != "REQUEST_WEIGHT" {
            continue;
        }
        let unit = match text("interval", limit.get("interval"))? {
            "SECOND" => 1,
            "MINUTE" => 60,
            "DAY" => 86_400,
            _ => continue,
        };
        let intervals = integer("intervalNum", limit.get("intervalNum"))?.clamp(1, 1_000);
        let count = u32::try_from(integer("limit", limit.get("limit"))?).unwrap_or(u32::MAX);
        return Ok((count > 0).then(|| Rate::new(count, unit * intervals)));
    }
    Ok(None)
}
