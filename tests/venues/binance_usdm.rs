//! Binance's USD-M futures, as their documentation has them.
//!
//! <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams>
//! and the pages below it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::local::{Answer, Protocol};
use super::world::{ASK, BID, Book, Happening, Random, Step, World};

/// Where books and book tickers come.
pub const PUBLIC: &str = "/public/stream";
/// Where aggregates of trades come.
pub const MARKET: &str = "/market/stream";

/// The exchange. Its symbols are those of the world; a name with a `_` ends with a date.
#[derive(Default)]
pub struct Usdm {
    /// Books that were asked for.
    pub books: u64,
    /// A symbol whose streams are no valid ones.
    pub refused: Option<&'static str>,
}

impl Protocol for Usdm {
    /// "A connection with no routed path only receives /public data":
    /// <https://developers.binance.com/zh-CN/docs/products/caas/market-data-streams>.
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        self.received_at(PUBLIC, text, subscribed, world)
    }

    /// A stream of another path is confirmed, and nothing follows.
    fn received_at(
        &mut self,
        path: &str,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        _: &World,
    ) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        let id = request["id"].as_u64().expect("an unsigned integer");
        let streams: Vec<&str> = request["params"]
            .as_array()
            .expect("params")
            .iter()
            .map(|stream| stream.as_str().expect("a stream"))
            .collect();
        if streams.iter().any(|stream| is_of(stream, self.refused)) {
            return vec![invalid_stream(id)];
        }
        for stream in streams {
            let own = if stream.ends_with("@aggTrade") { MARKET } else { PUBLIC };
            match request["method"].as_str() {
                Some("SUBSCRIBE") if own == path => drop(subscribed.insert(stream.to_owned())),
                Some("SUBSCRIBE") => {}
                _ => drop(subscribed.remove(stream)),
            }
        }
        vec![json!({"result": null, "id": id}).to_string()]
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        if path == "/fapi/v1/exchangeInfo" {
            return Answer::ok(exchange_info(world));
        }
        let Some(query) = path.strip_prefix("/fapi/v1/depth?") else { return Answer::not_found() };
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)).expect("the parameter")
        };
        let limit: usize = parameter("limit=").parse().expect("a number");
        assert!([5, 10, 20, 50, 100, 500, 1_000].contains(&limit), "{limit} levels");
        let truth = &world.truths[parameter("symbol=")];
        let side = |side| -> Vec<[String; 2]> {
            let levels = truth.book.best_first(side).into_iter().take(limit);
            levels.map(|(price, size)| [price.to_string(), size.to_string()]).collect()
        };
        // The ids of all books are one sequence: a snapshot may be as of one at which another book
        // changed.
        self.books += 1;
        let last = truth.last + self.books % 2;
        let book = json!({"lastUpdateId": last, "E": time(0) + 2, "T": time(0),
            "bids": side(BID), "asks": side(ASK)});
        Answer::ok(book.to_string())
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        let (symbol, at) = (step.native.to_ascii_lowercase(), time(step.at_ns));
        let message = |stream: &str, data: Value| {
            let stream = format!("{symbol}@{stream}");
            let text = json!({"stream": stream, "data": data}).to_string();
            (stream, text)
        };
        match &step.what {
            Happening::Book { first, last, changes } => {
                let side = |wanted| -> Vec<[String; 2]> {
                    let of = changes.iter().filter(|(side, ..)| *side == wanted);
                    of.map(|(_, price, size)| [price.to_string(), size.to_string()]).collect()
                };
                let depth = json!({"e": "depthUpdate", "E": at + 1, "T": at, "s": step.native,
                    "U": first + (last - first) / 2, "u": last, "pu": first - 1,
                    "b": side(BID), "a": side(ASK)});
                let ticker = book_ticker(&step.native, *last, at, &world.truths[&step.native].book);
                vec![message("bookTicker", ticker), message("depth@100ms", depth)]
            }
            Happening::Trade(trade) => {
                let data = json!({"e": "aggTrade", "E": at + 1, "s": step.native, "a": trade.id,
                    "p": trade.price.to_string(), "q": trade.size.to_string(),
                    "f": trade.id * 3, "l": trade.id * 3 + 2, "T": at, "m": trade.taker_sold});
                vec![message("aggTrade", data)]
            }
            Happening::Verbatim => Vec::new(),
        }
    }
}

/// Milliseconds, as all times of futures.
pub fn time(at_ns: u64) -> u64 {
    1_700_000_000_000 + at_ns / 1_000_000
}

/// Whether it is a stream of this symbol.
pub fn is_of(stream: &str, native: Option<&str>) -> bool {
    let (symbol, _) = stream.split_once('@').expect("<symbol>@<stream>");
    native.is_some_and(|native| native.eq_ignore_ascii_case(symbol))
}

/// One stream that is none spoils the whole request: <https://github.com/ccxt/ccxt/pull/19833>.
pub fn invalid_stream(id: u64) -> String {
    let error = json!({"code": 2, "msg": "Invalid request: invalid stream"});
    json!({"error": error, "id": id}).to_string()
}

fn book_ticker(native: &str, last: u64, at: u64, book: &Book) -> Value {
    let (bid, bid_size) = book.best_first(BID)[0];
    let (ask, ask_size) = book.best_first(ASK)[0];
    json!({"e": "bookTicker", "u": last, "E": at + 1, "T": at, "s": native,
        "b": bid.to_string(), "B": bid_size.to_string(),
        "a": ask.to_string(), "A": ask_size.to_string()})
}

fn exchange_info(world: &World) -> String {
    let symbols: Vec<Value> = world
        .truths
        .keys()
        .map(|native| {
            let pair = native.split('_').next().expect("a name");
            let (base, quote) = pair.split_at(pair.len() - 4);
            let kind = if pair == native { "PERPETUAL" } else { "CURRENT_QUARTER" };
            json!({"symbol": native, "pair": pair, "contractType": kind, "status": "TRADING",
                "baseAsset": base, "quoteAsset": quote, "marginAsset": quote, "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.001"}]})
        })
        .collect();
    // Enough that no test is held up by it.
    let limit = json!({"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE",
        "intervalNum": 1, "limit": 1_000_000});
    json!({"timezone": "UTC", "rateLimits": [limit], "symbols": symbols}).to_string()
}

/// Update ids rise by so much: other books change in between.
pub fn stride(random: &mut Random) -> u64 {
    3 + random.below(40)
}
