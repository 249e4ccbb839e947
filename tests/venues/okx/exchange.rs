//! OKX's public WebSocket and its list of instruments, as the documentation has them.
//!
//! <https://www.okx.com/docs-v5/en/#overview-websocket>,
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel>

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::super::local::{Answer, Protocol};
use super::super::world::{ASK, BID, Book, Change, Happening, Step, Truth, World};

/// What is sent as `ts` at the beginning of a history, milliseconds.
const BEGAN: u64 = 1_700_000_000_000;

/// What can be wrong with the exchange; a test changes it while it runs.
#[derive(Default)]
pub struct Mood {
    /// Symbols that are listed and whose channels "don't exist".
    pub refuses: BTreeSet<String>,
    /// So many requests are refused as a whole.
    pub too_frequent: u32,
    /// A snapshot is made, and comes, so many messages of its book late.
    pub holds: Option<usize>,
    /// The next update of a book has a bid too many, above the asks.
    pub crosses: bool,
}

/// The exchange. The symbols of the world are its `instId`s; quantities of what ends in `-SWAP` are
/// contracts of a hundredth there, and of the base currency in the world.
#[derive(Default)]
pub struct Okx {
    mood: Arc<Mutex<Mood>>,
    idle: Option<Duration>,
    now: u64,
    /// Snapshots that are late: the topic, and how many messages come before.
    held: Vec<(String, usize)>,
    /// The best levels that were last sent.
    best: HashMap<String, [Option<(Decimal, Decimal)>; 2]>,
}

impl Okx {
    /// One in this mood.
    pub fn new(mood: &Arc<Mutex<Mood>>) -> Self {
        Okx { mood: mood.clone(), now: BEGAN, ..Okx::default() }
    }

    /// Not as patient as the real one, which waits for 30 s.
    pub fn impatient(idle: Duration) -> Self {
        Okx { idle: Some(idle), now: BEGAN, ..Okx::default() }
    }
}

/// The longest request: "the total length of multiple channels cannot exceed 64 KB".
const MOST_BYTES: usize = 65_536;

const CONNECTION: &str = "a4d3ae55";

impl Protocol for Okx {
    fn parts(&self, text: &str) -> Vec<String> {
        let Ok(mut request) = serde_json::from_str::<Value>(text) else {
            return vec![text.to_owned()];
        };
        if self.mood.lock().too_frequent > 0 {
            return vec![text.to_owned()];
        }
        let args = request["args"].take();
        let part = |arg: &Value| {
            let mut part = request.clone();
            part["args"] = json!([arg]);
            part.to_string()
        };
        args.as_array().expect("args").iter().map(part).collect()
    }

    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        if text == "ping" {
            return vec!["pong".to_owned()];
        }
        let request: Value = serde_json::from_str(text).expect("JSON");
        // "Combination of case-sensitive alphanumerics, all numbers, or all letters of up to 32
        // characters."
        let id = request["id"].as_str().expect("an id");
        let is_id = id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.len() > MOST_BYTES || !is_id {
            return vec![error(id, "60012", &format!("Invalid request: {text}"))];
        }
        if self.mood.lock().too_frequent > 0 {
            self.mood.lock().too_frequent -= 1;
            return vec![error(id, "60014", "Requests too frequent")];
        }
        let op = request["op"].as_str().expect("an op");
        let mut answers = Vec::new();
        for arg in request["args"].as_array().expect("args") {
            let part = |name: &str| arg[name].as_str().expect("a name");
            let (channel, native) = (part("channel"), part("instId"));
            let is_served = ["trades", "bbo-tbt", "books", "books5"].contains(&channel)
                && world.truths.contains_key(native)
                && !self.mood.lock().refuses.contains(native);
            if !is_served {
                let why = format!(
                    "Wrong URL or channel:{channel},instId:{native} doesn't exist. Please use the \
                     correct URL, channel and parameters referring to API document."
                );
                answers.push(error(id, "60018", &why));
                continue;
            }
            let ack = json!({"id": id, "event": op, "arg": arg, "connId": CONNECTION});
            answers.push(ack.to_string());
            let topic = topic(channel, native);
            match op {
                "subscribe" => {
                    subscribed.insert(topic);
                    answers.extend(self.first(channel, native, &world.truths[native]));
                }
                "unsubscribe" => {
                    subscribed.remove(&topic);
                }
                other => panic!("{other}"),
            }
        }
        answers
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        let Some(kind) = path.strip_prefix("/api/v5/public/instruments?instType=") else {
            return Answer::not_found();
        };
        let of_kind = |native: &&String| native.ends_with("-SWAP") == (kind == "SWAP");
        let mut rows: Vec<Value> = match kind {
            "SPOT" | "SWAP" => world.truths.keys().filter(of_kind).map(|n| row(n)).collect(),
            _ => Vec::new(),
        };
        if kind == "SWAP" {
            let mut inverse = row("BTC-USD-SWAP");
            (inverse["ctType"], inverse["ctVal"]) = (json!("inverse"), json!("100"));
            inverse["ctValCcy"] = json!("USD");
            rows.push(inverse);
            rows.push(json!({"instType": "SWAP", "instId": "", "state": "preopen", "lotSz": ""}));
        }
        Answer::ok(json!({"code": "0", "msg": "", "data": rows}).to_string())
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        self.now = BEGAN + step.at_ns / 1_000_000;
        let native = step.native.as_str();
        match &step.what {
            Happening::Book { first, last, changes } => {
                self.changed(native, (first - 1, *last), changes, &world.truths[native])
            }
            Happening::Trade(trade) => {
                let side = if trade.taker_sold { "sell" } else { "buy" };
                let data = json!({"instId": native, "tradeId": trade.id.to_string(),
                    "px": trade.price.to_string(), "sz": counted(native, trade.size),
                    "side": side, "ts": self.now.to_string(), "count": "1", "source": "0",
                    "seqId": world.truths[native].last});
                vec![self.push("trades", native, None, &data)]
            }
            Happening::Verbatim => Vec::new(),
        }
    }

    fn shutdown(&self) -> Option<String> {
        let msg = "The connection will soon be closed for a service upgrade. Please reconnect.";
        let notice = json!({"event": "notice", "code": "64008", "msg": msg, "connId": CONNECTION});
        Some(notice.to_string())
    }

    fn idle(&self) -> Option<(Duration, u16, &'static str)> {
        Some((self.idle.unwrap_or(Duration::from_secs(30)), 4004, "No data received in 30s."))
    }
}

impl Okx {
    /// What is sent to who subscribes.
    fn first(&mut self, channel: &str, native: &str, truth: &Truth) -> Option<String> {
        let text = match channel {
            "books" => self.snapshot(native, truth),
            "books5" => self.short(native, truth).1,
            "bbo-tbt" => self.quote(native, truth).1,
            _ => return None,
        };
        match self.mood.lock().holds {
            Some(count) if channel == "books" => {
                self.held.push((topic(channel, native), count));
                None
            }
            _ => Some(text),
        }
    }

    /// A book has changed; `prev` and `seq` are the numbers before and after.
    fn changed(
        &mut self,
        native: &str,
        (prev, seq): (u64, u64),
        changes: &[Change],
        truth: &Truth,
    ) -> Vec<(String, String)> {
        let mut messages = Vec::new();
        let best = [BID, ASK].map(|side| truth.book.best_first(side).first().copied());
        if self.best.insert(native.to_owned(), best) != Some(best) {
            messages.push(self.quote(native, truth));
        }
        if !changes.is_empty() {
            messages.push(self.short(native, truth));
        }
        let mut side = [BID, ASK].map(|wanted| {
            let of = changes.iter().filter(|(side, ..)| *side == wanted);
            levels(native, of.map(|&(_, price, size)| (price, size)))
        });
        if !changes.is_empty() && std::mem::take(&mut self.mood.lock().crosses) {
            let above = best[ASK].expect("asks").0.to_string();
            side[BID] = json!([[above, "1.5", "0", "1"]]);
        }
        let [bids, asks] = side;
        let data = json!({"asks": asks, "bids": bids, "ts": self.now.to_string(), "checksum": 0,
            "prevSeqId": prev, "seqId": seq});
        messages.push(self.push("books", native, Some("update"), &data));
        let books = topic("books", native);
        for at in (0..self.held.len()).rev() {
            if self.held[at].0 != books {
                continue;
            }
            if self.held[at].1 > 0 {
                self.held[at].1 -= 1;
                continue;
            }
            let (topic, _) = self.held.remove(at);
            messages.push((topic, self.snapshot(native, truth)));
        }
        messages
    }

    fn push(
        &self,
        channel: &str,
        native: &str,
        action: Option<&str>,
        data: &Value,
    ) -> (String, String) {
        let mut message = json!({"arg": {"channel": channel, "instId": native}, "data": [data]});
        if let Some(action) = action {
            message["action"] = json!(action);
        }
        (topic(channel, native), message.to_string())
    }

    fn snapshot(&self, native: &str, truth: &Truth) -> String {
        let data = json!({"asks": side(native, &truth.book, ASK), "checksum": 0,
            "bids": side(native, &truth.book, BID), "ts": self.now.to_string(),
            "prevSeqId": -1, "seqId": truth.last});
        self.push("books", native, Some("snapshot"), &data).1
    }

    fn short(&self, native: &str, truth: &Truth) -> (String, String) {
        self.best(native, truth, "books5", 5)
    }

    fn quote(&self, native: &str, truth: &Truth) -> (String, String) {
        self.best(native, truth, "bbo-tbt", 1)
    }

    fn best(&self, native: &str, truth: &Truth, channel: &str, depth: usize) -> (String, String) {
        let book = truth.book.view(depth);
        let data = json!({"asks": side(native, &book, ASK), "bids": side(native, &book, BID),
            "ts": self.now.to_string(), "seqId": truth.last});
        self.push(channel, native, None, &data)
    }
}

pub fn topic(channel: &str, native: &str) -> String {
    format!("{channel}:{native}")
}

fn error(id: &str, code: &str, msg: &str) -> String {
    json!({"id": id, "event": "error", "code": code, "msg": msg, "connId": CONNECTION}).to_string()
}

/// `["411.8", "10", "0", "4"]`: "the depth price, the quantity at the price (number of contracts for
/// derivatives), deprecated and always 0, and the number of orders at the price".
fn levels(native: &str, levels: impl Iterator<Item = (Decimal, Decimal)>) -> Value {
    let level = |(price, size): (Decimal, Decimal)| {
        let orders = if size.mantissa == 0 { "0" } else { "3" };
        json!([price.to_string(), counted(native, size), "0", orders])
    };
    levels.map(level).collect()
}

fn side(native: &str, book: &Book, side: usize) -> Value {
    levels(native, book.best_first(side).into_iter())
}

/// The quantity as the exchange counts it: a hundred contracts are one of the base currency.
fn counted(native: &str, size: Decimal) -> String {
    match native.ends_with("-SWAP") {
        true => Decimal::new(size.mantissa, size.exponent + 2).to_string(),
        false => size.to_string(),
    }
}

/// A row of the list of instruments.
fn row(native: &str) -> Value {
    let mut parts = native.split('-');
    let [base, quote] = [parts.next(), parts.next()].map(|part| part.expect("a currency"));
    match parts.next() {
        None => json!({"instType": "SPOT", "instId": native, "baseCcy": base, "quoteCcy": quote,
            "uly": "", "ctVal": "", "ctMult": "", "ctValCcy": "", "ctType": "", "tickSz": "0.01",
            "lotSz": "0.001", "minSz": "0.001", "state": "live"}),
        Some(_) => json!({"instType": "SWAP", "instId": native, "baseCcy": "", "quoteCcy": "",
            "uly": format!("{base}-{quote}"), "instFamily": format!("{base}-{quote}"),
            "settleCcy": quote, "ctVal": "0.01", "ctMult": "1", "ctValCcy": base,
            "ctType": "linear", "tickSz": "0.01", "lotSz": "0.1", "minSz": "0.1",
            "state": "live"}),
    }
}
