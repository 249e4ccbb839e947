//! What OKX demands of those who connect.
//!
//! - WebSocket: <https://www.okx.com/docs-v5/en/#overview-websocket>
//! - Changes: <https://www.okx.com/docs-v5/log_en/>

use std::time::Duration;

use super::listing;
use crate::spec::Kinds;
use crate::venue::json::Reader;
use crate::venue::rules::{Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules};

/// The longest request, in bytes: "the total length of multiple channels cannot exceed 64 KB".
/// <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>
const MAX_REQUEST: usize = 64_000;

/// Symbols of a connection with books: "If you need to subscribe to many 50 or 400 depth level
/// channels, it is recommended to subscribe through multiple websocket connections, with each of
/// less than 30 channels."
const MAX_BOOKS: usize = 29;

/// Symbols of a connection without: no number is given. Two hundred channels of which each sends
/// at most every 10 ms are less than what the books of one connection come to in a busy market.
const MAX_SYMBOLS: usize = 100;

/// The types of instruments that are listed, each a page of its own.
const TYPES: [&str; 3] = ["SPOT", "SWAP", "FUTURES"];

/// The rules, with the depths that are open to who is not logged in: `books` and `books5`. (Of the
/// others `books-l2-tbt` and `books50-l2-tbt` are for the accounts of large traders.)
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel>
pub(in crate::venue) fn make(options: Options) -> Result<Box<dyn Rules>, String> {
    let book = match options.depth {
        None | Some(400) => "books",
        Some(5) => "books5",
        Some(depth) => return Err(format!("depth={depth}: expected 5 or 400 levels")),
    };
    Ok(Box::new(Public { channels: options.channels, book }))
}

/// The public endpoint, as one feed wants it.
#[derive(Debug)]
struct Public {
    channels: Kinds,
    /// The channel of books.
    book: &'static str,
}

impl Rules for Public {
    fn ws(&self) -> &'static str {
        // Without the port 8443 that it long had: the changelog of 2026-09-30 ends the service
        // there on 2026-10-31.
        "wss://ws.okx.com"
    }

    fn rest(&self) -> &'static str {
        "https://www.okx.com"
    }

    fn limits(&self) -> Limits {
        Limits {
            // "Connection limit: 3 requests per second (based on IP)".
            connects: Rate::new(3, 1),
            // "The total number of 'subscribe'/'unsubscribe'/'login' requests per connection is
            // limited to 480 times per hour."
            requests: Rate::new(480, 3_600),
            // Of the list of instruments: "20 requests per 2 seconds", by IP and type.
            rest: Rate::new(20, 2),
            ping: None,
            // "Set a timer of N seconds whenever a response message is received, where N is less
            // than 30", then send `ping` and wait as long for the `pong`: the server closes what
            // has carried nothing for 30 s.
            silence: Duration::from_secs(20),
            // No age is given. An upgrade of the service is announced 60 s before: code 64008.
            life: None,
        }
    }

    fn routes(&self) -> Vec<Route> {
        let Kinds { trade, quote, book } = self.channels;
        if !(trade || quote || book) {
            return Vec::new();
        }
        let symbols = if book { MAX_BOOKS } else { MAX_SYMBOLS };
        vec![Route { path: "/ws/v5/public", channels: self.channels, symbols }]
    }

    fn listing(&self) -> Vec<Get> {
        let page = |kind| format!("/api/v5/public/instruments?instType={kind}");
        TYPES.map(|kind| Get { path: page(kind), weight: 1 }).into()
    }

    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        let instruments = Reader::new()
            .read(reply, listing::read)
            .map_err(|fault| ListingError(fault.to_string()))?;
        let listings = instruments.into_iter().map(|instrument| instrument.listing).collect();
        Ok(Page { listings, ..Page::default() })
    }

    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String> {
        let op = match ask {
            Ask::Subscribe => "subscribe",
            Ask::Unsubscribe => "unsubscribe",
        };
        let channels =
            [(channels.trade, "trades"), (channels.quote, "bbo-tbt"), (channels.book, self.book)];
        let mut requests = Vec::new();
        let mut args = String::new();
        for native in natives {
            let of_symbol: Vec<String> = channels
                .iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, channel)| format!(r#"{{"channel":"{channel}","instId":"{native}"}}"#))
                .collect();
            let of_symbol = of_symbol.join(",");
            // A symbol's channels are not split over two requests.
            if !args.is_empty() && args.len() + 1 + of_symbol.len() > MAX_REQUEST - HEAD {
                requests.push(request(op, &args, id));
                args.clear();
            }
            if !args.is_empty() {
                args.push(',');
            }
            args.push_str(&of_symbol);
        }
        if !args.is_empty() {
            requests.push(request(op, &args, id));
        }
        requests
    }

    /// Each channel of each symbol is confirmed, or refused, by a message of its own.
    /// <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>
    fn answers(&self, channels: Kinds, natives: &[Box<str>]) -> Option<usize> {
        let channels = [channels.trade, channels.quote, channels.book];
        Some(natives.len() * channels.iter().filter(|wanted| **wanted).count())
    }

    fn ping(&self, _: &mut u64) -> Option<String> {
        Some("ping".to_owned())
    }
}

/// What a request is longer than its arguments, at most.
const HEAD: usize = r#"{"id":"18446744073709551615","op":"unsubscribe","args":[]}"#.len();

fn request(op: &str, args: &str, id: &mut u64) -> String {
    let text = format!(r#"{{"id":"{id}","op":"{op}","args":[{args}]}}"#);
    *id += 1;
    text
}
