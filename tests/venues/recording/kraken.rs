//! Of Kraken's protocol the trades: another venue beside the first.
//!
//! <https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/trade>

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::local::{Answer, Protocol};
use crate::world::{Happening, Step, World};

pub struct Kraken;

impl Protocol for Kraken {
    fn received(&mut self, text: &str, topics: &mut BTreeSet<String>, _: &World) -> Vec<String> {
        let request: Value = serde_json::from_str(text).expect("JSON");
        let symbols = request["params"]["symbol"].as_array().into_iter().flatten();
        let answer = |symbol: &Value| {
            topics.insert(symbol.as_str().expect("text").to_owned());
            let result = json!({"channel": "trade", "symbol": symbol, "snapshot": true});
            json!({"method": "subscribe", "result": result, "success": true,
                "time_in": "2023-11-14T22:13:20.000001Z", "time_out": "2023-11-14T22:13:20.000002Z",
                "req_id": request["req_id"]})
            .to_string()
        };
        symbols.map(answer).collect()
    }

    fn get(&mut self, _: &str, world: &World) -> Answer {
        let pairs = world.truths.keys().map(|name| {
            let (base, quote) = name.split_once('/').expect("a pair");
            let pair = json!({"base": base, "quote": quote, "status": "online",
                "pair_decimals": 2, "lot_decimals": 8});
            (name.clone(), pair)
        });
        let pairs: serde_json::Map<String, Value> = pairs.collect();
        Answer::ok(json!({"error": [], "result": pairs}).to_string())
    }

    fn messages(&mut self, step: &Step, _: &World) -> Vec<(String, String)> {
        let Happening::Trade(trade) = &step.what else { return Vec::new() };
        let (symbol, id) = (&step.native, trade.id);
        let (price, size) = (trade.price, trade.size);
        let side = if trade.taker_sold { "sell" } else { "buy" };
        // Numbers are bare and exact.
        let text = format!(
            r#"{{"channel":"trade","type":"update","data":[{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{size},"ord_type":"limit","trade_id":{id},"timestamp":"2023-11-14T22:13:20.000001Z"}}]}}"#
        );
        vec![(symbol.clone(), text)]
    }

    /// About every second; without any the connection counts as dead.
    fn heartbeat(&mut self) -> Option<String> {
        Some(r#"{"channel":"heartbeat"}"#.to_owned())
    }
}
