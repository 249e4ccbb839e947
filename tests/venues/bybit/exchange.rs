//! The exchange, as its documentation has it.
//!
//! <https://bybit-exchange.github.io/docs/v5/ws/connect>,
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>,
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/trade>,
//! <https://bybit-exchange.github.io/docs/v5/market/instrument>.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::local::{Answer, Protocol};
use crate::world::{ASK, BID, Book, Change, Happening, Step, Trade, World};

/// One of its markets, each a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    Spot,
    Linear,
}

/// The matching engine's number at the beginning: about what it is in 2026.
const FIRST_SEQ: u64 = 1_000_000_000_000;
/// So many trades of one number can be told apart in an id.
const TRADES_PER_SEQ: u64 = 1_024;
const BEGINNING_MS: u64 = 1_760_000_000_000;

/// What the venue does otherwise than it should, to be changed while it runs.
#[derive(Debug, Default)]
pub struct Mood {
    /// Symbols that are listed and that no connection may subscribe to.
    pub refused: Vec<String>,
    /// So many subscriptions are refused, whatever they ask for.
    pub busy: u32,
    /// Refusals do not say which request they are of.
    pub is_terse: bool,
    /// No snapshot follows a subscription while this is set; with the next change afterwards.
    pub holds_snapshots: bool,
    /// Symbols whose numbers start again at 1 with their next change.
    pub restarting: Vec<String>,
    /// What is wrong with the next change of a book.
    pub slip: Option<Slip>,
}

/// Well-formed and wrong.
#[derive(Clone, Copy, Debug)]
pub enum Slip {
    /// The update id is too high.
    UpdateId,
    /// A bid above the best ask.
    Crossed,
}

/// What the venue's service knows of a symbol.
#[derive(Debug)]
struct Desk {
    /// Update ids, of the book and of its best prices.
    book_id: u64,
    quote_id: u64,
    seq: u64,
    time: u64,
    /// The book as it was last sent.
    view: Book,
    waits: bool,
}

impl Desk {
    fn new(view: Book) -> Self {
        let (seq, time) = (FIRST_SEQ, BEGINNING_MS);
        Desk { book_id: 18_521_288, quote_id: 7_961_638, seq, time, view, waits: false }
    }
}

pub struct Bybit {
    pub market: Market,
    /// Levels a side: `orderbook.50`.
    pub depth: usize,
    /// Entries in a page of the list.
    pub page: usize,
    pub mood: Arc<Mutex<Mood>>,
    desks: HashMap<String, Desk>,
}

impl Market {
    pub fn venue(self) -> &'static str {
        match self {
            Market::Spot => "bybit",
            Market::Linear => "bybit-linear",
        }
    }

    /// What tickcast calls a symbol of it.
    pub fn symbol(self, native: &str) -> String {
        let base = native.strip_suffix("USDT").expect("a pair with USDT");
        match self {
            Market::Spot => format!("bybit:{base}-USDT"),
            Market::Linear => format!("bybit-linear:{base}-USDT-PERP"),
        }
    }
}

/// Gives the trades of a script the ids that tickcast makes of the venue's numbers. Where two follow
/// each other they are of one order, and have one number.
pub fn number_trades(script: &mut [Step]) {
    let mut before: HashMap<String, Option<u64>> = HashMap::new();
    for step in script {
        let before = before.entry(step.native.clone()).or_default();
        *before = match &mut step.what {
            Happening::Trade(trade) => {
                let first = seq_at(step.at_ns) * TRADES_PER_SEQ;
                trade.id = before.map_or(first, |id| id + 1);
                Some(trade.id)
            }
            _ => None,
        };
    }
}

fn seq_at(at_ns: u64) -> u64 {
    FIRST_SEQ + at_ns / 1_000
}

impl Bybit {
    pub fn new(market: Market, depth: usize, page: usize, mood: Arc<Mutex<Mood>>) -> Self {
        Bybit { market, depth, page, mood, desks: HashMap::new() }
    }

    fn desk(&mut self, native: &str, world: &World) -> Option<&mut Desk> {
        let view = || world.truths.get(native).map(|truth| truth.book.view(self.depth));
        if !self.desks.contains_key(native) {
            self.desks.insert(native.to_owned(), Desk::new(view()?));
        }
        self.desks.get_mut(native)
    }

    /// Why a request is refused, if it is. All of it is, whatever else it asks for.
    fn refusal(
        &self,
        topics: &[&str],
        subscribed: &BTreeSet<String>,
        world: &World,
    ) -> Option<String> {
        if self.market == Market::Spot && topics.len() > 10 {
            return Some("args size >10".to_owned());
        }
        let mut mood = self.mood.lock();
        if mood.busy > 0 {
            mood.busy -= 1;
            return Some("Too many visits!".to_owned());
        }
        let is_offered = |topic: &str| {
            let (kind, native) = topic.rsplit_once('.').expect("a topic");
            let is_kind = ["publicTrade", "orderbook.1", &format!("orderbook.{}", self.depth)]
                .contains(&kind);
            let refused = &mood.refused;
            is_kind && world.truths.contains_key(native) && !refused.iter().any(|n| n == native)
        };
        topics.iter().find_map(|&topic| {
            if !is_offered(topic) {
                return Some(format!("error:handler not found,topic:{topic}"));
            }
            let again = subscribed.contains(topic);
            again.then(|| format!("error:already subscribed,topic:{topic}"))
        })
    }

    /// The snapshot that follows a subscription, if this topic has one.
    fn snapshot(&mut self, topic: &str, world: &World) -> Option<String> {
        let (kind, native) = topic.rsplit_once('.')?;
        let holds = self.mood.lock().holds_snapshots;
        let desk = self.desk(native, world)?;
        match kind {
            "publicTrade" => None,
            "orderbook.1" => Some(quote(topic, native, desk)),
            _ if holds => {
                desk.waits = true;
                None
            }
            _ => Some(snapshot(topic, native, "snapshot", desk)),
        }
    }

    fn book_messages(&mut self, native: &str, at_ns: u64, world: &World) -> Vec<(String, String)> {
        let (market, depth, mood) = (self.market, self.depth, self.mood.clone());
        let mut mood = mood.lock();
        let view = world.truths[native].book.view(depth);
        let desk = self.desk(native, world).expect("a listed symbol");
        let (book, best) = (format!("orderbook.{depth}.{native}"), format!("orderbook.1.{native}"));
        let changes = desk.view.changes_to(&view);
        let best_before = desk.view.view(1);
        desk.view = view;
        (desk.seq, desk.time) = (seq_at(at_ns), BEGINNING_MS + at_ns / 1_000_000);
        if let Some(place) = mood.restarting.iter().position(|name| name == native) {
            mood.restarting.swap_remove(place);
            (desk.book_id, desk.quote_id) = (1, 1);
            // "u"=1 is a snapshot, also where it does not say so.
            let kind = if market == Market::Spot { "snapshot" } else { "delta" };
            let whole = snapshot(&book, native, kind, desk);
            return vec![(book, whole), (best.clone(), quote(&best, native, desk))];
        }
        let mut messages = Vec::new();
        if !changes.is_empty() {
            desk.book_id += 1;
            messages.push((book.clone(), delta(&book, native, changes, desk, mood.slip.take())));
        }
        if best_before.hash() != desk.view.view(1).hash() {
            desk.quote_id += 1;
            messages.push((best.clone(), quote(&best, native, desk)));
        }
        if desk.waits && !mood.holds_snapshots {
            desk.waits = false;
            messages.push((book.clone(), snapshot(&book, native, "snapshot", desk)));
        }
        messages
    }

    fn trade_message(&self, native: &str, at_ns: u64, trade: &Trade) -> (String, String) {
        let topic = format!("publicTrade.{native}");
        let time = BEGINNING_MS + at_ns / 1_000_000;
        let side = if trade.taker_sold { "Sell" } else { "Buy" };
        let mut data = json!({"T": time, "s": native, "S": side, "v": trade.size.to_string(),
            "p": trade.price.to_string(), "BT": false, "RPI": false,
            "seq": trade.id / TRADES_PER_SEQ});
        match self.market {
            // Beyond 2^63.
            Market::Spot => data["i"] = json!(format!("2290{:017}", trade.id)),
            Market::Linear => {
                data["i"] = json!(format!("d9c5d5e4-3b5b-5b5e-8f7a-{:012x}", trade.id));
                data["L"] = json!("PlusTick");
            }
        }
        let text = json!({"topic": topic, "type": "snapshot", "ts": time, "data": [data]});
        (topic, text.to_string())
    }
}

impl Protocol for Bybit {
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        let op = request["op"].as_str().expect("op");
        let answer = |success: bool, message: &str| {
            json!({"success": success, "ret_msg": message, "conn_id": "2324d924-aa4d-45b0",
                "req_id": request["req_id"], "op": op})
        };
        if op == "ping" {
            return vec![answer(true, "pong").to_string()];
        }
        let topics: Vec<&str> = request["args"]
            .as_array()
            .expect("args")
            .iter()
            .collect::<Vec<_>>()
            .iter()
            .map(|topic| topic.as_str().expect("a topic"))
            .collect();
        if op == "unsubscribe" {
            topics.iter().for_each(|&topic| _ = subscribed.remove(topic));
            return vec![answer(true, "").to_string()];
        }
        if let Some(why) = self.refusal(&topics, subscribed, world) {
            let mut refusal = answer(false, &why);
            if self.mood.lock().is_terse {
                refusal.as_object_mut().expect("an object").remove("req_id");
            }
            return vec![refusal.to_string()];
        }
        subscribed.extend(topics.iter().map(|&topic| topic.to_owned()));
        let mut answers: Vec<String> =
            topics.iter().filter_map(|topic| self.snapshot(topic, world)).collect();
        // Nothing is said about their order.
        match self.market {
            Market::Spot => answers.insert(0, answer(true, "subscribe").to_string()),
            Market::Linear => answers.push(answer(true, "").to_string()),
        }
        answers
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        let query = match self.market {
            Market::Spot => "category=spot",
            Market::Linear => "category=linear&limit=1000",
        };
        let Some(rest) = path.strip_prefix("/v5/market/instruments-info?") else {
            return Answer::not_found();
        };
        let from = match rest.strip_prefix(query) {
            Some("") => Some(0),
            // A cursor goes back as it came, escapes and all.
            Some(more) => more.strip_prefix("&cursor=from%3D").and_then(|n| n.parse().ok()),
            None => None,
        };
        let Some(from) = from else {
            let error = json!({"retCode": 10001, "retMsg": "params error", "result": {}});
            return Answer::ok(error.to_string());
        };
        Answer::ok(self.list(from, world))
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        match &step.what {
            Happening::Book { .. } => self.book_messages(&step.native, step.at_ns, world),
            Happening::Trade(trade) => vec![self.trade_message(&step.native, step.at_ns, trade)],
            Happening::Verbatim => Vec::new(),
        }
    }
}

impl Bybit {
    /// A page of the list of instruments; the last entry of all is one that is not traded.
    fn list(&self, from: usize, world: &World) -> String {
        let mut natives: Vec<&str> = world.truths.keys().map(String::as_str).collect();
        natives.sort_unstable();
        natives.push("GONEUSDT");
        let entry = |native: &str| {
            let status = if native == "GONEUSDT" { "Closed" } else { "Trading" };
            let base = native.strip_suffix("USDT").expect("a pair with USDT");
            let mut entry = json!({"symbol": native, "baseCoin": base, "quoteCoin": "USDT",
                "status": status, "priceFilter": {"tickSize": "0.01"},
                "lotSizeFilter": {"basePrecision": "0.001", "qtyStep": "0.001"}});
            if self.market == Market::Linear {
                entry["contractType"] = json!("LinearPerpetual");
            }
            entry
        };
        let left = &natives[from.min(natives.len())..];
        let page = match self.market {
            Market::Spot => left.len(),
            Market::Linear => self.page.min(left.len()),
        };
        let entries: Vec<Value> = left[..page].iter().map(|native| entry(native)).collect();
        let mut result = json!({"list": entries});
        if self.market == Market::Linear {
            let more = page < left.len();
            let next = if more { format!("from%3D{}", from + page) } else { String::new() };
            result["nextPageCursor"] = json!(next);
        }
        json!({"retCode": 0, "retMsg": "OK", "result": result, "time": BEGINNING_MS}).to_string()
    }
}

/// The best levels of a side.
fn levels(book: &Book, side: usize, depth: usize) -> Vec<[String; 2]> {
    let levels = book.best_first(side).into_iter().take(depth);
    levels.map(|(price, size)| [price.to_string(), size.to_string()]).collect()
}

fn snapshot(topic: &str, native: &str, kind: &str, desk: &Desk) -> String {
    let data = json!({"s": native, "b": levels(&desk.view, BID, usize::MAX),
        "a": levels(&desk.view, ASK, usize::MAX), "u": desk.book_id, "seq": desk.seq});
    json!({"topic": topic, "type": kind, "ts": desk.time + 2, "data": data, "cts": desk.time})
        .to_string()
}

fn quote(topic: &str, native: &str, desk: &Desk) -> String {
    let data = json!({"s": native, "b": levels(&desk.view, BID, 1),
        "a": levels(&desk.view, ASK, 1), "u": desk.quote_id, "seq": desk.seq});
    json!({"topic": topic, "ts": desk.time + 2, "type": "snapshot", "data": data,
        "cts": desk.time})
    .to_string()
}

fn delta(
    topic: &str,
    native: &str,
    mut changes: Vec<Change>,
    desk: &Desk,
    slip: Option<Slip>,
) -> String {
    let mut id = desk.book_id;
    match slip {
        Some(Slip::UpdateId) => id += 7,
        Some(Slip::Crossed) => {
            let (price, size) = desk.view.best_first(ASK)[1];
            changes.push((BID, price, size));
        }
        None => {}
    }
    let side = |wanted| -> Vec<[String; 2]> {
        let of = changes.iter().filter(|(side, ..)| *side == wanted);
        of.map(|(_, price, size)| [price.to_string(), size.to_string()]).collect()
    };
    let data = json!({"s": native, "b": side(BID), "a": side(ASK), "u": id, "seq": desk.seq});
    json!({"topic": topic, "type": "delta", "ts": desk.time + 2, "data": data, "cts": desk.time})
        .to_string()
}
