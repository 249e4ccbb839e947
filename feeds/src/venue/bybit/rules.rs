//! What Bybit demands of those who connect.

use std::fmt::Write;
use std::time::Duration;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use super::market::{Market, contract, is_asset};
use crate::decimal::Decimal;
use crate::instrument::Listing;
use crate::spec::Kinds;
use crate::venue::event::array;
use crate::venue::json::{Fault, Field, Reader, decimal, text, wrong};
use crate::venue::rules::{Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules};

/// Levels a side that are offered as snapshot and deltas, every 20, 100 and 200 ms, the same for
/// spot and linear: <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>. The one
/// level of `orderbook.1` is the source of quotes.
const DEPTHS: [u16; 3] = [50, 200, 1000];
/// As often as other venues send theirs.
const DEFAULT_DEPTH: u16 = 200;

/// "Spot can input up to 10 args for each subscription request":
/// <https://bybit-exchange.github.io/docs/v5/ws/connect#public-channel---args-limits>. Linear has
/// no such limit, but there too one topic that is refused (`error:handler not found,topic:...`)
/// refuses its whole request, so that small ones lose less.
const MAX_ARGS: usize = 10;
/// "For one public connection, you cannot have length of "args" array over 21,000 characters"
/// (the same page).
const MAX_ARGS_CHARS: usize = 21_000;
/// Longer than Bybit's names are (`1000000BABYDOGEUSDT` has 19), to reckon with.
const LONG_NAME: usize = 24;

pub(super) struct BybitRules {
    market: Market,
    channels: Kinds,
    depth: u16,
}

/// The rules of a market.
///
/// # Errors
/// A depth that is not offered.
pub(super) fn make(market: Market, options: Options) -> Result<Box<dyn Rules>, String> {
    let depth = options.depth.unwrap_or(DEFAULT_DEPTH);
    if !DEPTHS.contains(&depth) {
        return Err(format!(
            "depth={depth}: expected 50, 200 or 1000 (the best bid and ask are the channel `quote`)"
        ));
    }
    Ok(Box::new(BybitRules { market, channels: options.channels, depth }))
}

impl BybitRules {
    /// What comes before the symbol in the topics of these channels.
    fn topics(&self, channels: Kinds) -> impl Iterator<Item = String> {
        let trade = channels.trade.then(|| "publicTrade.".to_owned());
        let quote = channels.quote.then(|| "orderbook.1.".to_owned());
        let book = channels.book.then(|| format!("orderbook.{}.", self.depth));
        [trade, quote, book].into_iter().flatten()
    }

    /// All topics of these symbols, each as an argument.
    fn args(&self, channels: Kinds, natives: &[Box<str>]) -> Vec<String> {
        let topics: Vec<String> = self.topics(channels).collect();
        let of = |native| topics.iter().map(move |topic| format!("\"{topic}{native}\""));
        natives.iter().flat_map(of).collect()
    }

    /// The request for a page of the list; `cursor` as the page before gave it.
    fn page(&self, cursor: Option<&str>) -> Get {
        let mut path = format!("/v5/market/instruments-info?category={}", self.market.category());
        // "Spot does not support pagination, so `limit`, `cursor` are invalid."
        if self.market == Market::Linear {
            path.push_str("&limit=1000");
        }
        if let Some(cursor) = cursor {
            path.push_str("&cursor=");
            push_cursor(&mut path, cursor);
        }
        Get { path, weight: 1 }
    }

    fn read(&self, root: Value<'_, '_>) -> Result<Page, Fault> {
        let object = root.as_object().ok_or(Fault::Unknown)?;
        let code = object.get("retCode");
        if code.and_then(|code| code.as_i64()) != Some(0) {
            let code = code.ok_or(Fault::Missing("retCode"))?;
            let reason = object.get("retMsg").and_then(|reason| reason.into_string());
            let reason = reason.unwrap_or("no reason given");
            return Err(Fault::Venue(format!("retCode {}: {reason}", code.as_i64().unwrap_or(-1))));
        }
        let result = member("result", &object)?;
        let mut page = Page::default();
        let mut entries = 0;
        for entry in &array("list", result.get("list"))? {
            let entry = entry.as_object().ok_or_else(|| wrong("list", entry, "objects"))?;
            page.listings.extend(self.listing_of(&entry)?);
            entries += 1;
        }
        // A page may point on although it is the last: the next one is empty then.
        let cursor = result.get("nextPageCursor").and_then(|cursor| cursor.into_string());
        page.next = cursor
            .filter(|cursor| !cursor.is_empty() && entries > 0)
            .map(|cursor| self.page(Some(cursor)));
        Ok(page)
    }

    /// An entry of the list; `None` where it is not traded now, is of another kind, or has a name
    /// that can be no symbol.
    fn listing_of(&self, entry: &Object<'_, '_>) -> Result<Option<Listing>, Fault> {
        let native = text("symbol", entry.get("symbol"))?;
        let base = text("baseCoin", entry.get("baseCoin"))?;
        let quote = text("quoteCoin", entry.get("quoteCoin"))?;
        // Pre-market contracts (`PreLaunch`) have no book before they trade continuously.
        let mut wanted = text("status", entry.get("status"))? == "Trading"
            && is_asset(base)
            && is_asset(quote)
            && native.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        if self.market == Market::Linear {
            let kind = text("contractType", entry.get("contractType"))?;
            wanted &= matches!(kind, "LinearPerpetual" | "LinearFutures");
        }
        if !wanted {
            return Ok(None);
        }
        let lot = match self.market {
            Market::Spot => "basePrecision",
            Market::Linear => "qtyStep",
        };
        let contract = (self.market == Market::Linear).then(|| contract(native).into_owned());
        Ok(Some(Listing {
            contract,
            tick_size: step(entry, "priceFilter", "tickSize")?,
            lot_size: step(entry, "lotSizeFilter", lot)?,
            ..Listing::pair(native, base, quote)
        }))
    }
}

impl Rules for BybitRules {
    fn ws(&self) -> &'static str {
        "wss://stream.bybit.com"
    }

    fn rest(&self) -> &'static str {
        "https://api.bybit.com"
    }

    fn limits(&self) -> Limits {
        Limits {
            // "Do not build over 500 connections in 5 minutes. This is counted per WebSocket
            // domain" (the page of MAX_ARGS), so spot and linear share them: less than half each.
            connects: Rate::new(200, 300),
            // Nothing is said about public connections. Bursts of 200 requests are known to have
            // been taken; a tenth of that in a second is patience.
            requests: Rate::new(20, 1),
            // "600 requests within a 5-second window per IP", shared in the same way:
            // <https://bybit-exchange.github.io/docs/v5/rate-limit>.
            rest: Rate::new(300, 5),
            // "We recommend that you send the ping heartbeat packet every 20 seconds" (the page of
            // MAX_ARGS).
            ping: Some(Duration::from_secs(20)),
            // `orderbook.1` is repeated after three seconds without a change. Without quotes
            // nothing need come, and gateways that speak this protocol are known to close after
            // ten seconds in which they themselves sent nothing: a pong counts.
            silence: Duration::from_secs(8),
            life: None,
        }
    }

    fn routes(&self) -> Vec<Route> {
        // Each argument in its quotes, with its comma and its share of the brackets.
        let chars: usize =
            self.topics(self.channels).map(|topic| topic.len() + LONG_NAME + 4).sum();
        let path = match self.market {
            Market::Spot => "/v5/public/spot",
            Market::Linear => "/v5/public/linear",
        };
        let symbols = MAX_ARGS_CHARS.checked_div(chars);
        symbols
            .map(|symbols| Route { path, channels: self.channels, symbols })
            .into_iter()
            .collect()
    }

    fn listing(&self) -> Vec<Get> {
        vec![self.page(None)]
    }

    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        Reader::new()
            .read(reply, |root| self.read(root))
            .map_err(|fault| ListingError(fault.to_string()))
    }

    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String> {
        let op = match ask {
            Ask::Subscribe => "subscribe",
            Ask::Unsubscribe => "unsubscribe",
        };
        let args = self.args(channels, natives);
        args.chunks(MAX_ARGS).map(|args| request(op, args, id)).collect()
    }

    /// Not from what the refusal says: it names one topic, and there may be more that are bad.
    fn singly(
        &self,
        channels: Kinds,
        natives: &[Box<str>],
        nth: usize,
        id: &mut u64,
    ) -> Vec<String> {
        let args = self.args(channels, natives);
        match args.chunks(MAX_ARGS).nth(nth) {
            Some(args) if args.len() > 1 => {
                args.chunks(1).map(|arg| request("subscribe", arg, id)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn ping(&self, id: &mut u64) -> Option<String> {
        let text = format!(r#"{{"req_id":"{id}","op":"ping"}}"#);
        *id += 1;
        Some(text)
    }
}

fn request(op: &str, args: &[String], id: &mut u64) -> String {
    let args = args.join(",");
    let text = format!(r#"{{"req_id":"{id}","op":"{op}","args":[{args}]}}"#);
    *id += 1;
    text
}

fn member<'t, 'i>(name: &'static str, object: &Object<'t, 'i>) -> Result<Object<'t, 'i>, Fault> {
    let value = object.get(name).ok_or(Fault::Missing(name))?;
    value.as_object().ok_or_else(|| wrong(name, value, "an object"))
}

/// A step of prices or sizes; zero is none.
fn step(
    entry: &Object<'_, '_>,
    filter: &'static str,
    name: &'static str,
) -> Result<Option<Decimal>, Fault> {
    let field: Field<'_, '_> = member(filter, entry)?.get(name);
    let step = decimal(name, field)?;
    Ok(Some(step).filter(|step| step.mantissa != 0))
}

/// A cursor comes ready for the URL (`first%3DBIOUSDT%26last%3DBIOUSDT`) and goes back as it is;
/// what could not stand there is escaped all the same.
fn push_cursor(path: &mut String, cursor: &str) {
    for byte in cursor.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}
