//! Kraken spot, as its documentation has it, and what goes wrong with it.
//!
//! <https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book>, its neighbours `trade`,
//! `ticker`, `heartbeat`, `status` and `ping`, and the guide
//! <https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2>.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::checker::{Checker, PATIENT, Seen};
use super::common::Server;
use super::local::{Answer, Fault, LONG, LocalVenue, Protocol};
use super::world::{ASK, BID, Book, Change, Happening, Step, Trade, World, invented};

mod connections;
mod losses;
mod many;
mod messages;

/// A snapshot of trades has the last 50.
const SHOWN_TRADES: usize = 50;

/// The exchange. Its symbols are those of the world, its depth too.
#[derive(Default)]
pub struct Kraken {
    /// What those who are subscribed know of each book: its best levels.
    views: HashMap<String, Book>,
    /// The last trades, oldest first, as they are written.
    trades: HashMap<String, VecDeque<String>>,
    /// When the last step was.
    at_ns: u64,
    /// A symbol that is listed and cannot be subscribed to.
    unsupported: Option<&'static str>,
    /// So many requests are answered with the venue's word on the rate of messages.
    too_fast: u32,
    /// The snapshot of a book comes so many steps of it after the subscription ...
    late: u32,
    /// ... and what happens before it is told too.
    early_updates: bool,
    /// Steps left until the snapshot of a book.
    withheld: HashMap<String, u32>,
    /// No heartbeats.
    is_mute: bool,
}

/// The CRC32 of IEEE 802.3, bit by bit.
fn crc32(text: &str) -> u32 {
    !text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

/// Over the ten best asks, then bids: price and quantity of each as they are written, without the
/// point and the zeros before the first digit.
fn checksum(book: &Book) -> u32 {
    let levels = [ASK, BID].map(|side| book.best_first(side).into_iter().take(10));
    let digits = levels.into_iter().flatten().flat_map(|(price, size)| {
        [fixed(price, 2), fixed(size, 8)]
            .map(|text| text.replace('.', "").trim_start_matches('0').to_owned())
    });
    crc32(&digits.collect::<String>())
}

/// With all of its places, as Kraken writes prices and quantities.
fn fixed(number: Decimal, places: i8) -> String {
    let digits = number.rescale(-places).expect("no more places");
    let unit = 10_i64.pow(places.unsigned_abs().into());
    format!("{}.{:0width$}", digits / unit, digits % unit, width = places as usize)
}

fn time(at_ns: u64) -> String {
    let micros = at_ns / 1_000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!("2023-11-14T22:{:02}:{:02}.{micros:06}Z", seconds / 60, seconds % 60)
}

/// A message about a book. The time is before the levels, where the documentation has it last:
/// what is corrupted in a test is the last fraction.
fn book_message(kind: &str, native: &str, at_ns: u64, changes: &[Change], crc: u32) -> String {
    let side = |wanted| {
        let of = changes.iter().filter(|(side, ..)| *side == wanted);
        let level = |(_, price, size): &Change| {
            format!(r#"{{"price":{},"qty":{}}}"#, fixed(*price, 2), fixed(*size, 8))
        };
        of.map(level).collect::<Vec<_>>().join(",")
    };
    let (time, bids, asks) = (time(at_ns), side(BID), side(ASK));
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{native}","timestamp":"{time}","bids":[{bids}],"asks":[{asks}],"checksum":{crc}}}]}}"#
    )
}

fn ticker_message(kind: &str, native: &str, book: &Book) -> String {
    let best = |side| {
        let (price, size) = book.best_first(side)[0];
        (fixed(price, 2), fixed(size, 8))
    };
    let ((bid, bid_qty), (ask, ask_qty)) = (best(BID), best(ASK));
    format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{native}","bid":{bid},"bid_qty":{bid_qty},"ask":{ask},"ask_qty":{ask_qty},"last":{bid},"volume":2.5,"vwap":1.5,"low":0.5,"high":3.5,"change":-0.5,"change_pct":-0.17}}]}}"#
    )
}

fn trade_entry(native: &str, at_ns: u64, trade: &Trade) -> String {
    let side = if trade.taker_sold { "sell" } else { "buy" };
    let (id, time) = (trade.id, time(at_ns));
    let (price, size) = (fixed(trade.price, 2), fixed(trade.size, 8));
    format!(
        r#"{{"symbol":"{native}","side":"{side}","price":{price},"qty":{size},"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}"#
    )
}

fn trade_message(kind: &str, entries: &str) -> String {
    format!(r#"{{"channel":"trade","type":"{kind}","data":[{entries}]}}"#)
}

/// All of a view, as changes of an empty one.
fn whole(view: &Book) -> Vec<Change> {
    Book::default().changes_to(view)
}

/// What those who have the view `old` are told of the book now: what is new or other in its best
/// levels, and what is gone from it; nothing of what only fell out of the best.
fn told(old: &Book, book: &Book, depth: usize) -> Vec<Change> {
    let mut changes = old.changes_to(&book.view(depth));
    changes
        .retain(|(side, price, size)| size.mantissa != 0 || !book.sides[*side].contains_key(price));
    changes
}

impl Kraken {
    pub fn new(world: &World) -> Self {
        let names = || world.truths.keys().cloned();
        // Whatever is traded here was traded before.
        let first =
            Trade { id: 1, price: Decimal::new(1, 0), size: Decimal::new(1, 0), taker_sold: true };
        let trades = names().map(|name| {
            let entry = trade_entry(&name, 0, &first);
            (name, VecDeque::from([entry]))
        });
        Kraken {
            views: names()
                .map(|name| {
                    let view = world.truths[&name].book.view(world.depth);
                    (name, view)
                })
                .collect(),
            trades: trades.collect(),
            ..Kraken::default()
        }
    }

    fn snapshot(&mut self, channel: &str, native: &str) -> String {
        match channel {
            "book" => {
                let view = &self.views[native];
                book_message("snapshot", native, self.at_ns, &whole(view), checksum(view))
            }
            "ticker" => ticker_message("snapshot", native, &self.views[native]),
            _ => trade_message("snapshot", &Vec::from(self.trades[native].clone()).join(",")),
        }
    }

    /// One symbol of a request: its answer, and what follows it.
    fn ask(
        &mut self,
        request: &Value,
        native: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
        out: &mut Vec<String>,
    ) {
        let params = &request["params"];
        let (method, channel) = (&request["method"], params["channel"].as_str().expect("text"));
        let topic = format!("{channel}:{native}");
        let times = [("time_in", time(self.at_ns)), ("time_out", time(self.at_ns))];
        let mut answer = json!({"method": method, "req_id": request["req_id"]});
        times.into_iter().for_each(|(name, time)| answer[name] = json!(time));
        let is_known = world.truths.contains_key(native) && self.unsupported != Some(native);
        let error = match (method.as_str(), subscribed.contains(&topic)) {
            _ if !is_known => Some(format!("Currency pair not supported {native}")),
            (Some("subscribe"), true) => Some("Already subscribed".to_owned()),
            (Some("unsubscribe"), false) => Some("Subscription Not Found".to_owned()),
            _ => None,
        };
        answer["success"] = json!(error.is_none());
        if let Some(error) = error {
            (answer["error"], answer["symbol"]) = (json!(error), json!(native));
            return out.push(answer.to_string());
        }
        answer["result"] = json!({"channel": channel, "symbol": native});
        if channel == "book" {
            assert_eq!(params["depth"].as_u64(), Some(world.depth as u64), "{request}");
            answer["result"]["depth"] = json!(world.depth);
        }
        if method == "unsubscribe" {
            subscribed.remove(&topic);
            return out.push(answer.to_string());
        }
        subscribed.insert(topic);
        answer["result"]["snapshot"] = json!(true);
        out.push(answer.to_string());
        if channel == "book" && self.late > 0 {
            self.withheld.insert(native.to_owned(), self.late);
        } else {
            out.push(self.snapshot(channel, native));
        }
    }

    /// What those who are subscribed are told of a book that has changed.
    fn book_changed(&mut self, native: &str, world: &World) -> Vec<(String, String)> {
        let book = &world.truths[native].book;
        let view = book.view(world.depth);
        let old = self.views.insert(native.to_owned(), view.clone()).expect("a known symbol");
        let changes = told(&old, book, world.depth);
        let mut out = Vec::new();
        let best = |book: &Book| [BID, ASK].map(|side| book.best_first(side)[0]);
        if best(&old) != best(&view) {
            out.push((format!("ticker:{native}"), ticker_message("update", native, &view)));
        }
        let topic = format!("book:{native}");
        let mut is_withheld = false;
        if let Some(left) = self.withheld.get_mut(native) {
            *left -= 1;
            is_withheld = *left > 0;
            if !is_withheld {
                self.withheld.remove(native);
                out.push((topic, self.snapshot("book", native)));
                return out;
            }
        }
        if !changes.is_empty() && (!is_withheld || self.early_updates) {
            let text = book_message("update", native, self.at_ns, &changes, checksum(&view));
            out.push((topic, text));
        }
        out
    }

    /// <https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs>.
    fn asset_pairs(world: &World) -> String {
        let pairs = world.truths.keys().map(|native| {
            let (base, quote) = native.split_once('/').expect("a pair");
            let pair = json!({"altname": format!("{base}{quote}"), "wsname": native,
                "aclass_base": "currency", "base": base, "aclass_quote": "currency",
                "quote": quote, "lot": "unit", "cost_decimals": 5, "pair_decimals": 2,
                "lot_decimals": 8, "tick_size": "0.01", "ordermin": "0.00005",
                "status": "online"});
            (native.clone(), pair)
        });
        let pairs: serde_json::Map<String, Value> = pairs.collect();
        json!({"error": [], "result": pairs}).to_string()
    }
}

impl Protocol for Kraken {
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        if request["method"] == "ping" {
            let time = time(self.at_ns);
            let pong = json!({"method": "pong", "req_id": request["req_id"], "time_in": time,
                "time_out": time});
            return vec![pong.to_string()];
        }
        if self.too_fast > 0 {
            self.too_fast -= 1;
            return vec![json!({"Error": "Exceeded msg rate"}).to_string()];
        }
        let mut out = Vec::new();
        for native in request["params"]["symbol"].as_array().expect("symbols") {
            let native = native.as_str().expect("a name");
            self.ask(&request, native, subscribed, world, &mut out);
        }
        out
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        match path {
            "/0/public/AssetPairs?assetVersion=1" => Answer::ok(Self::asset_pairs(world)),
            _ => Answer::not_found(),
        }
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        self.at_ns = step.at_ns;
        match &step.what {
            Happening::Book { .. } => self.book_changed(&step.native, world),
            Happening::Trade(trade) => {
                let entry = trade_entry(&step.native, step.at_ns, trade);
                let trades = self.trades.get_mut(&step.native).expect("a known symbol");
                trades.push_back(entry.clone());
                if trades.len() > SHOWN_TRADES {
                    trades.pop_front();
                }
                vec![(format!("trade:{}", step.native), trade_message("update", &entry))]
            }
            Happening::Verbatim => Vec::new(),
        }
    }

    fn heartbeat(&mut self) -> Option<String> {
        (!self.is_mute).then(|| r#"{"channel":"heartbeat"}"#.to_owned())
    }
}

const SYMBOLS: [(&str, &str); 2] = [("kraken:BTC-USD", "BTC/USD"), ("kraken:ETH-USD", "ETH/USD")];

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
}

/// A depth at which every loss shows: all levels are under the checksum.
const CHECKED: usize = 10;

fn history(steps: usize) -> (World, Vec<Step>) {
    invented(&["BTC/USD", "ETH/USD"], steps, 1_000_000, 7, CHECKED, |_| 1)
}

/// An invented history of so many milliseconds' steps.
fn begin(steps: usize, more: &str) -> Run {
    begin_as(steps, more, |_| {})
}

/// The same at a venue that is different.
fn begin_as(steps: usize, more: &str, change: impl FnOnce(&mut Kraken)) -> Run {
    let (world, script) = history(steps);
    let mut protocol = Kraken::new(&world);
    change(&mut protocol);
    let venue = Arc::new(LocalVenue::start(protocol, world));
    let server = serve(&venue, &format!("kraken:BTC-USD,ETH-USD,depth=10{more}"));
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    let lines = if more.contains("lines=2") { 2 } else { 1 };
    venue.wait_subscribed(6 * lines);
    Run { venue, server, checker, script }
}

/// Tickcast with this feed of the venue.
fn serve(venue: &LocalVenue, feed: &str) -> Server {
    Server::start(&[&PATIENT[..], &["--feed", &venue.spec(feed, "")]].concat())
}

impl Run {
    /// The history with a fault every so often, from the 100th step on and not at its end.
    fn play_with(&self, every: usize, what: Fault) {
        let end = self.script.len() - 50;
        self.venue.play(&self.script, 1.0, |index, _: &Step| {
            ((100..end).contains(&index) && index % every == 0).then_some(what)
        });
    }

    /// The same until both books were rebuilt so often; of the steps that `which` picks.
    fn play_until_resynced(
        &self,
        times: usize,
        every: usize,
        what: Fault,
        which: impl Fn(&Step) -> bool,
    ) {
        let enough = || self.checker.all_resynced(&SYMBOLS.map(|(_, native)| native), times);
        self.venue.play_until(&self.script, enough, |index, step| {
            (index >= 100 && index % every == 0 && which(step)).then_some(what)
        });
    }

    fn play_all(&self) {
        self.venue.play(&self.script, 1.0, |_, _| None);
    }

    /// What happens after the history.
    fn play_on(&self, steps: usize) {
        let (_, script) = history(self.script.len() + steps);
        self.venue.play(&script[self.script.len()..], f64::INFINITY, |_, _| None);
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }

    /// Ends well, with all trades, and gives what was seen.
    fn finish_whole(self) -> HashMap<String, Seen> {
        let seen = self.checker.finish();
        for (symbol, native) in SYMBOLS {
            let trades = self.venue.world(|world| world.truths[native].trades.clone());
            assert_eq!(seen[symbol].trades, trades, "{symbol}");
            assert!(seen[symbol].books > 50);
        }
        seen
    }
}

/// How often books were rebuilt.
fn resyncs(seen: &HashMap<String, Seen>) -> usize {
    seen.values().map(|seen| seen.times("resync")).sum()
}

/// What clients sent, without pings.
fn requests(venue: &LocalVenue) -> Vec<Value> {
    let heard = venue.heard();
    let requests = heard.iter().map(|(_, text)| serde_json::from_str(text).expect("JSON"));
    requests.filter(|request: &Value| request["method"] != "ping").collect()
}
