//! What Binance's USD-M futures demand of those who connect.
//!
//! - WebSocket:
//!   <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams>
//! - REST: <https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api>

use std::time::Duration;

use super::rules::{encoded, named, read_listing, requests, route, singly, streams};
use super::symbols::dated;
use crate::spec::Kinds;
use crate::venue::rules::{Ask, Get, Limits, ListingError, Options, Page, Rate, Route, Rules};

/// Levels a side of a snapshot with their weights:
/// <https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Order-Book>.
const DEPTHS: [(u16, u32); 7] =
    [(5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1_000, 20)];

/// Levels a side where the feed does not say: the most, as the documented procedure has it.
const DEFAULT_DEPTH: u16 = 1_000;

/// The rules of USD-M futures.
pub(in crate::venue) fn make(options: Options) -> Result<Box<dyn Rules>, String> {
    let wanted = options.depth.unwrap_or(DEFAULT_DEPTH);
    let found = DEPTHS.into_iter().find(|(depth, _)| *depth == wanted);
    let (depth, weight) = found.ok_or_else(|| {
        let depths = DEPTHS.map(|(depth, _)| depth.to_string()).join(", ");
        format!("depth={wanted}: expected one of {depths} levels")
    })?;
    Ok(Box::new(Usdm { channels: options.channels, depth, weight }))
}

/// USD-M futures, as one feed wants them.
#[derive(Debug)]
struct Usdm {
    channels: Kinds,
    /// Levels a side of a snapshot.
    depth: u16,
    /// What a snapshot of them costs.
    weight: u32,
}

impl Rules for Usdm {
    fn ws(&self) -> &'static str {
        "wss://fstream.binance.com"
    }

    fn rest(&self) -> &'static str {
        "https://fapi.binance.com"
    }

    fn limits(&self) -> Limits {
        Limits {
            // Not documented for futures: spot's.
            connects: Rate::new(300, 300),
            // "10 incoming messages per second": half of them, as with spot, whose server has been
            // seen to count more strictly than it says.
            requests: Rate::new(5, 1),
            // `REQUEST_WEIGHT` of `exchangeInfo`.
            rest: Rate::new(2_400, 60),
            // The server pings every 3 minutes, the client only answers.
            ping: None,
            // Too rare to notice a dead connection by: a quiet one is pinged (RFC 6455 has every
            // server answer).
            silence: Duration::from_secs(60),
            life: Some(Duration::from_secs(24 * 3_600)),
        }
    }

    /// Since 2026-04-23 a stream comes on its own path only; on another one a subscription is
    /// confirmed and nothing follows. Book and book tickers are `public`, trades `market`:
    /// <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Important-WebSocket-Change-Notice>.
    fn routes(&self) -> Vec<Route> {
        let public = Kinds { trade: false, ..self.channels };
        let market = Kinds { trade: self.channels.trade, quote: false, book: false };
        let routes = [route("/public/stream", public), route("/market/stream", market)];
        routes.into_iter().flatten().collect()
    }

    fn listing(&self) -> Vec<Get> {
        vec![Get { path: "/fapi/v1/exchangeInfo".to_owned(), weight: 1 }]
    }

    /// Perpetuals (`PERPETUAL`, `TRADIFI_PERPETUAL`) are named like a pair; a contract that ends
    /// has its date appended.
    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError> {
        read_listing(reply, |native| dated(native).map(|(_, date)| date.to_owned()))
    }

    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String> {
        // The only stream of trades that is documented.
        requests(ask, natives, &streams(channels, "aggTrade"), id)
    }

    fn singly(
        &self,
        channels: Kinds,
        natives: &[Box<str>],
        nth: usize,
        id: &mut u64,
    ) -> Vec<String> {
        singly(natives, &streams(channels, "aggTrade"), nth, id)
    }

    fn named(&self, request: &str) -> Vec<Box<str>> {
        named(request)
    }

    fn snapshot(&self, native: &str) -> Option<Get> {
        let path = format!("/fapi/v1/depth?symbol={}&limit={}", encoded(native), self.depth);
        Some(Get { path, weight: self.weight })
    }
}
