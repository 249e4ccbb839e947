//! What Coinbase Exchange demands of those who connect.
//!
//! Docs, all under <https://docs.cdp.coinbase.com/exchange/>: `websocket-feed/overview`,
//! `websocket-feed/channels`, `websocket-feed/rate-limits`, `websocket-feed/best-practices`,
//! `rest-api/rate-limits`; the list of products is
//! <https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-known-trading-pairs>.

use std::time::Duration;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use crate::instrument::Listing;
use crate::spec::Kinds;
use crate::venue::event::array;
use crate::venue::json::{Fault, Reader, boolean, decimal, text, wrong};
use crate::venue::rules::{
    Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules as VenueRules,
};

/// How many products one connection carries. The venue names no limit; its best practices are to
/// "spread subscriptions over more than one websocket client connection". A book is sent whole when
/// it is subscribed to, up to about 1.5 MB, and who reads too slowly is cut off (`ErrSlowConsume`).
const PRODUCTS: usize = 50;

/// The rules; see the module's documentation.
#[derive(Debug)]
struct Rules {
    channels: Kinds,
}

/// The rules for these options.
pub(in crate::venue) fn rules(options: Options) -> Result<Box<dyn VenueRules>, String> {
    if let Some(depth) = options.depth {
        return Err(format!("depth={depth}: coinbase sends whole books only: expected no depth"));
    }
    Ok(Box::new(Rules { channels: options.channels }))
}

impl VenueRules for Rules {
    fn ws(&self) -> &'static str {
        "wss://ws-feed.exchange.coinbase.com"
    }

    fn rest(&self) -> &'static str {
        "https://api.exchange.coinbase.com"
    }

    fn limits(&self) -> Limits {
        Limits {
            // "Requests per second per IP: 8", "in bursts: up to 20".
            connects: Rate::new(8, 1),
            // "Messages sent by the client every second per IP: 100", and "10 RPS / 1000 burst
            // RPS": twenty connections at this rate stay below the one, and a burst of their
            // subscriptions below the other.
            requests: Rate::new(5, 1),
            // "Public endpoints: requests per second per IP: 10".
            rest: Rate::new(10, 1),
            // The venue demands no ping; every product has a heartbeat each second, so that five
            // of them are missing after this.
            ping: None,
            silence: Duration::from_secs(5),
            life: None,
        }
    }

    fn routes(&self) -> Vec<Route> {
        let Kinds { trade, quote, book } = self.channels;
        let any = trade || quote || book;
        let route = Route { path: "/", channels: self.channels, symbols: PRODUCTS };
        if any { vec![route] } else { Vec::new() }
    }

    fn listing(&self) -> Vec<Get> {
        // One page. The API refuses requests without a `User-Agent`.
        vec![Get { path: "/products".to_owned(), weight: 1 }]
    }

    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        let listings = Reader::new().read(reply, products);
        let listings = listings.map_err(|fault| ListingError(fault.to_string()))?;
        Ok(Page { listings, ..Page::default() })
    }

    /// `id` is not used: the venue's requests have none.
    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], _id: &mut u64) -> Vec<String> {
        let kind = match ask {
            Ask::Subscribe => "subscribe",
            Ask::Unsubscribe => "unsubscribe",
        };
        let names = names(channels, channels == self.channels);
        if names.is_empty() {
            return Vec::new();
        }
        let chunks = natives.chunks(PRODUCTS);
        chunks.map(|chunk| request(kind, chunk, &names)).collect()
    }

    /// One product that is refused spoils the whole request.
    fn singly(
        &self,
        channels: Kinds,
        natives: &[Box<str>],
        nth: usize,
        _id: &mut u64,
    ) -> Vec<String> {
        let names = names(channels, channels == self.channels);
        match natives.chunks(PRODUCTS).nth(nth) {
            None | Some([_]) => Vec::new(),
            Some(chunk) => chunk.chunks(1).map(|one| request("subscribe", one, &names)).collect(),
        }
    }
}

/// The channels that give these kinds. `level2` and `full` demand an API key, `level2_batch` does
/// not; its answer calls it `level2_50`, after its interval of 50 ms.
///
/// Heartbeats are of no kind. They come and go with everything that is subscribed to, and stay
/// where only a part of it (a book) is subscribed to anew.
fn names(channels: Kinds, everything: bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    if channels.trade {
        names.push("matches");
    }
    if channels.quote || channels.book {
        names.push("level2_batch");
    }
    if everything && !names.is_empty() {
        if names.contains(&"level2_batch") {
            // To check the book with.
            names.push("ticker");
        }
        names.push("heartbeat");
    }
    names
}

fn request(kind: &str, natives: &[Box<str>], channels: &[&str]) -> String {
    let products = natives.join(r#"",""#);
    let channels = channels.join(r#"",""#);
    format!(r#"{{"type":"{kind}","product_ids":["{products}"],"channels":["{channels}"]}}"#)
}

fn products(root: Value<'_, '_>) -> Result<Vec<Listing>, Fault> {
    if let Some(object) = root.as_object() {
        // `{"message":"..."}` is how the API refuses.
        return Err(Fault::Venue(text("message", object.get("message"))?.to_owned()));
    }
    let mut listings = Vec::new();
    for product in &array("products", Some(root))? {
        let object = product.as_object().ok_or_else(|| wrong("products", product, "objects"))?;
        listings.extend(listing(&object)?);
    }
    Ok(listings)
}

/// A product that is traded now, and by a name that can be asked for.
fn listing(product: &Object<'_, '_>) -> Result<Option<Listing>, Fault> {
    let name = |field: &'static str| text(field, product.get(field));
    let (native, base, quote) = (name("id")?, name("base_currency")?, name("quote_currency")?);
    // In `auction_mode` and `post_only` nothing is matched, and the book may be crossed.
    let mut closed = name("status")? != "online";
    for flag in ["trading_disabled", "cancel_only", "post_only", "auction_mode"] {
        let given = product.get(flag).filter(|value| !value.is_null());
        closed |= given.is_some() && boolean(flag, given)?;
    }
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_pair = native.split_once('-') == Some((base, quote)) && plain(base) && plain(quote);
    if closed || !is_pair {
        return Ok(None);
    }
    let step = |field: &'static str| decimal(field, product.get(field)).map(Some);
    Ok(Some(Listing {
        tick_size: step("quote_increment")?,
        lot_size: step("base_increment")?,
        quotes_from_book: true,
        ..Listing::pair(native, base, quote)
    }))
}
