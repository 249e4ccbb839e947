//! Coinbase Exchange, as its documentation has it, and what goes wrong with it.
//!
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>
//!
//! Tickers and heartbeats are steps of the history like all else, so that a test knows what comes
//! between two of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::checker::{Checker, PATIENT, Seen, Trust};
use super::common::Server;
use super::local::{Answer, LocalVenue, Protocol};
use super::world::{ASK, BID, Happening, Step, Trade, Truth, World};

mod captures;
mod faults;

/// The channels that a product is subscribed to in all.
const CHANNELS: [&str; 4] = ["heartbeat", "level2_batch", "matches", "ticker"];

/// The exchange. Its products are those of the world.
#[derive(Default)]
pub struct Coinbase {
    /// The newest trade of each product.
    last: HashMap<String, Trade>,
    /// Counts what happens; it is in tickers and heartbeats.
    sequence: u64,
    /// Products that are listed, and refused when they are subscribed to.
    refused: Vec<&'static str>,
    /// A snapshot comes so many updates late.
    late: usize,
    /// Products whose snapshot is still to come, after so many updates.
    withheld: HashMap<String, usize>,
}

impl Protocol for Coinbase {
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        let names = |key: &str| -> Vec<&str> {
            let names = request[key].as_array().expect("a list").iter();
            names.map(|name| name.as_str().expect("a name")).collect()
        };
        let (products, channels) = (names("product_ids"), names("channels"));
        // One that is wrong, and the request is ignored as a whole:
        // <https://github.com/coinbase/coinbase-pro-node/issues/174>.
        if let Some(wrong) = products.iter().find(|product| self.refused.contains(product)) {
            let reason = format!("{wrong} is not a valid product");
            let error =
                json!({"type": "error", "message": "Failed to subscribe", "reason": reason});
            return vec![error.to_string()];
        }
        let mut fresh = Vec::new();
        for &channel in &channels {
            assert!(CHANNELS.contains(&channel), "{channel} demands a key or is none");
            for &product in &products {
                let topic = format!("{channel}:{product}");
                match request["type"].as_str() {
                    Some("unsubscribe") => drop(subscribed.remove(&topic)),
                    Some("subscribe") => {
                        if subscribed.insert(topic) {
                            fresh.push((channel, product));
                        }
                    }
                    other => panic!("{other:?} is no request"),
                }
            }
        }
        let mut answers = vec![subscriptions(subscribed)];
        for (channel, product) in fresh {
            answers.extend(match channel {
                "level2_batch" if self.late > 0 => {
                    self.withheld.insert(product.to_owned(), self.late);
                    None
                }
                "level2_batch" => Some(snapshot(product, &world.truths[product])),
                "matches" => self.last.get(product).map(|t| traded("last_match", product, t, 0)),
                "ticker" => self.ticker(product, 0, world),
                _ => None,
            });
        }
        answers
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        match path {
            "/products" => Answer::ok(products(world)),
            _ => Answer::not_found(),
        }
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        self.sequence += 1;
        let (product, at) = (step.native.as_str(), step.at_ns);
        if let Happening::Trade(trade) = &step.what {
            self.last.insert(product.to_owned(), trade.clone());
        }
        if let Some((topic, text)) = step.captured.as_ref().filter(|(_, text)| !text.is_empty()) {
            return vec![(topic.clone(), text.clone())];
        }
        let (channel, text) = match &step.what {
            Happening::Book { changes, .. } => {
                let (sides, size) = (["buy", "sell"], changes.len());
                let changes: Vec<[String; 3]> = changes
                    .iter()
                    .map(|(s, price, size)| [sides[*s].into(), price.to_string(), size.to_string()])
                    .collect();
                assert!(size > 0, "the venue sends no empty update");
                ("level2_batch", Some(update(product, at, &changes)))
            }
            Happening::Trade(trade) => ("matches", Some(traded("match", product, trade, at))),
            Happening::Verbatim => match step.captured.as_ref().map(|(what, _)| what.as_str()) {
                Some("ticker") => ("ticker", self.ticker(product, at, world)),
                Some("heartbeat") => ("heartbeat", Some(self.beat(product, at))),
                Some("restart") => {
                    self.sequence = 1;
                    ("heartbeat", Some(self.beat(product, at)))
                }
                Some("cross") => {
                    let ask = world.truths[product].book.best(ASK).expect("an ask").0;
                    let changes = [["buy".to_owned(), ask.to_string(), "1.5".to_owned()]];
                    ("level2_batch", Some(update(product, at, &changes)))
                }
                other => panic!("{other:?} is no message"),
            },
        };
        let topic = format!("{channel}:{product}");
        let mut messages: Vec<_> = text.map(|text| (topic.clone(), text)).into_iter().collect();
        if channel == "level2_batch"
            && let Some(left) = self.withheld.get_mut(product)
        {
            *left -= 1;
            if *left == 0 {
                self.withheld.remove(product);
                messages.push((topic, snapshot(product, &world.truths[product])));
            }
        }
        messages
    }
}

impl Coinbase {
    fn beat(&self, product: &str, at: u64) -> String {
        let trade = self.last.get(product).map_or(0, |trade| trade.id);
        json!({"type": "heartbeat", "sequence": self.sequence, "last_trade_id": trade,
            "product_id": product, "time": time(at)})
        .to_string()
    }

    /// None where there was no trade yet.
    fn ticker(&self, product: &str, at: u64, world: &World) -> Option<String> {
        let trade = self.last.get(product)?;
        let book = &world.truths[product].book;
        let [bid, ask] = [BID, ASK].map(|side| book.best(side).expect("a level"));
        let side = if trade.taker_sold { "sell" } else { "buy" };
        let ticker = json!({"type": "ticker", "sequence": self.sequence, "product_id": product,
            "price": trade.price.to_string(), "open_24h": "1", "volume_24h": "2", "low_24h": "1",
            "high_24h": "3", "volume_30d": "4", "best_bid": bid.0.to_string(),
            "best_bid_size": bid.1.to_string(), "best_ask": ask.0.to_string(),
            "best_ask_size": ask.1.to_string(), "side": side, "time": time(at),
            "trade_id": trade.id, "last_size": trade.size.to_string()});
        Some(ticker.to_string())
    }
}

/// All that a connection is subscribed to. `level2_batch` goes by another name here.
fn subscriptions(subscribed: &BTreeSet<String>) -> String {
    let channels: Vec<Value> = CHANNELS
        .iter()
        .filter_map(|channel| {
            let of =
                |topic: &String| topic.strip_prefix(channel)?.strip_prefix(':').map(Value::from);
            let products: Vec<Value> = subscribed.iter().filter_map(of).collect();
            let name = if *channel == "level2_batch" { "level2_50" } else { channel };
            (!products.is_empty()).then(|| json!({"name": name, "product_ids": products}))
        })
        .collect();
    json!({"type": "subscriptions", "channels": channels}).to_string()
}

fn snapshot(product: &str, truth: &Truth) -> String {
    let side = |side| -> Vec<[String; 2]> {
        let levels = truth.book.best_first(side).into_iter();
        levels.map(|(price, size)| [price.to_string(), size.to_string()]).collect()
    };
    json!({"type": "snapshot", "product_id": product, "bids": side(BID), "asks": side(ASK)})
        .to_string()
}

/// The changes last, so that a digit that is corrupted is one of a price or size.
fn update(product: &str, at: u64, changes: &[[String; 3]]) -> String {
    let (time, changes) = (time(at), json!(changes));
    format!(r#"{{"type":"l2update","product_id":"{product}","time":"{time}","changes":{changes}}}"#)
}

/// `match` or `last_match`; `side` is the maker's.
fn traded(kind: &str, product: &str, trade: &Trade, at: u64) -> String {
    let side = if trade.taker_sold { "buy" } else { "sell" };
    json!({"type": kind, "trade_id": trade.id, "sequence": 50,
        "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8",
        "taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1", "time": time(at),
        "product_id": product, "size": trade.size.to_string(), "price": trade.price.to_string(),
        "side": side})
    .to_string()
}

fn products(world: &World) -> String {
    let product = |native: &String| {
        let (base, quote) = native.split_once('-').expect("a pair");
        json!({"id": native, "base_currency": base, "quote_currency": quote,
            "quote_increment": "0.01", "base_increment": "0.00000001",
            "display_name": format!("{base}/{quote}"), "min_market_funds": "1",
            "margin_enabled": false, "post_only": false, "limit_only": false,
            "cancel_only": false, "status": "online", "status_message": "",
            "trading_disabled": false, "fx_stablecoin": false, "auction_mode": false})
    };
    Value::from_iter(world.truths.keys().map(product)).to_string()
}

/// So many nanoseconds after the captures begin.
fn time(at_ns: u64) -> String {
    let micros = (16 * 3_600 + 43 * 60 + 37) * 1_000_000 + at_ns / 1_000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("2021-04-17T{hours:02}:{minutes:02}:{seconds:02}.{micros:06}Z")
}

/// A step that is a message only: a `ticker` or a `heartbeat`; a heartbeat of a venue that has
/// begun to count anew (`restart`); an update that crosses the book, and never happened (`cross`).
fn aside(native: &str, at_ns: u64, what: &str) -> Step {
    let captured = Some((what.to_owned(), String::new()));
    Step { native: native.to_owned(), at_ns, what: Happening::Verbatim, captured }
}

/// The history with a heartbeat of every product every so often.
fn with_beats(script: Vec<Step>, every_ns: u64) -> Vec<Step> {
    let natives: BTreeSet<String> = script.iter().map(|step| step.native.clone()).collect();
    let (mut out, mut next) = (Vec::new(), 0);
    for step in script {
        if step.at_ns >= next {
            next += every_ns;
            out.extend(natives.iter().map(|native| aside(native, step.at_ns, "heartbeat")));
        }
        out.push(step);
    }
    out
}

/// The history with a ticker after every trade.
fn with_tickers(script: Vec<Step>) -> Vec<Step> {
    let mut out = Vec::new();
    for step in script {
        let ticker = aside(&step.native, step.at_ns, "ticker");
        let is_trade = matches!(step.what, Happening::Trade(_));
        out.push(step);
        out.extend(is_trade.then_some(ticker));
    }
    out
}

/// A venue, tickcast connected to it, and a client of that.
struct Run {
    venue: Arc<LocalVenue>,
    server: Server,
    checker: Checker,
    script: Vec<Step>,
}

/// What a run is besides its history.
#[derive(Clone, Copy, Default)]
struct Terms<'a> {
    /// More keys of the feed.
    more: &'a str,
    /// A product that is subscribed to and not looked at.
    besides: &'a str,
    trust: Trust,
}

impl Run {
    /// Every product of the world is looked at, but for one.
    fn begin(protocol: Coinbase, world: World, script: Vec<Step>, terms: Terms<'_>) -> Self {
        let mut natives: Vec<String> = world.truths.keys().cloned().collect();
        natives.sort();
        let venue = Arc::new(LocalVenue::start(protocol, world));
        let spec = venue.spec(&format!("coinbase:{}", natives.join(",")), terms.more);
        // Whole books of ten products at once are more than the default ring holds.
        let ring = ["--ring-slots", "262144"];
        let server = Server::start(&[&PATIENT[..], &ring, &["--feed", &spec]].concat());
        natives.retain(|native| native != terms.besides);
        let names: Vec<String> = natives.iter().map(|n| format!("coinbase:{n}")).collect();
        let symbols: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(natives.iter().map(String::as_str)).collect();
        let checker = Checker::start_with(&server, &venue, &symbols, terms.trust);
        let lines = if terms.more.contains("lines=2") { 2 } else { 1 };
        venue.wait_subscribed(CHANNELS.len() * natives.len() * lines);
        Run { venue, server, checker, script }
    }

    fn play_all(&self) {
        self.venue.play(&self.script, 1.0, |_, _| None);
    }

    /// Waits until a live metric satisfies something.
    fn wait_live(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.server.wait_metric(&format!("tickcast_live_{name}"), "", wanted);
    }
}

/// What a server says of its feed.
fn feed(server: &Server) -> Value {
    let (_, feeds) = server.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    feeds["feeds"][0].clone()
}

/// How often the server has left out what goes by this name.
fn ignored(server: &Server, name: &str) -> u64 {
    feed(server)["live"]["ignored"][name].as_u64().unwrap_or(0)
}

/// The name of a symbol at the venue.
fn native(symbol: &str) -> &str {
    symbol.strip_prefix("coinbase:").expect("of this venue")
}

/// Every trade came once, many books did, and every quote was the best of its book.
fn all_whole(seen: &HashMap<String, Seen>, venue: &LocalVenue) {
    for (symbol, seen) in seen {
        let trades = venue.world(|world| world.truths[native(symbol)].trades.clone());
        assert_eq!(seen.trades, trades, "{symbol}");
        assert!(seen.books > 1, "{symbol}");
        quotes_are_right(symbol, seen);
    }
}

fn quotes_are_right(symbol: &str, seen: &Seen) {
    let counts = (seen.quotes_without_book, seen.quotes_off_book, seen.unquoted);
    assert!(seen.quotes_are_of_the_book(), "{symbol}: {} quotes, {counts:?}", seen.quotes);
}
