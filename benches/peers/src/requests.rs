//! Requests of clients: `subscribe` to trades and `list_symbols`, each with its answer.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::feed::{symbol_name, symbol_number};

/// What is to be done about a request.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// The text to answer with.
    pub answer: String,
    /// Symbols that the client now gets.
    pub subscribed: Vec<u32>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    req_id: Option<Value>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    channel: Option<String>,
    symbol: Option<Names>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// Reads a request and answers it. `seq` says the newest sequence of a symbol where that is known exactly.
pub fn reply(text: &[u8], symbols: u32, seq: impl Fn(u32) -> Option<u64>) -> Reply {
    let request: Request = match serde_json::from_slice(text) {
        Ok(request) => request,
        Err(error) => return refusal("", None, "bad_json", &error.to_string()),
    };
    let Request { method, req_id, params } = request;
    match (method.as_str(), params) {
        ("subscribe", Some(Params { channel: Some(channel), symbol: Some(names) }))
            if channel == "trade" =>
        {
            let names = match names {
                Names::One(name) => vec![name],
                Names::Many(names) => names,
            };
            subscribe(req_id.as_ref(), &names, symbols, seq)
        }
        ("list_symbols", _) => {
            let entry = |number| json!({"symbol": symbol_name(number), "venue": "sim"});
            let result: Vec<Value> = (0..symbols).map(entry).collect();
            let answer =
                json!({"method": method, "req_id": req_id, "success": true, "result": result});
            Reply { answer: answer.to_string(), subscribed: Vec::new() }
        }
        _ => {
            let wanted = "expected subscribe with channel trade, or list_symbols";
            refusal(&method, req_id.as_ref(), "bad_value", wanted)
        }
    }
}

fn subscribe(
    req_id: Option<&Value>,
    names: &[String],
    symbols: u32,
    seq: impl Fn(u32) -> Option<u64>,
) -> Reply {
    let mut subscribed = Vec::new();
    let mut result = Vec::new();
    for name in names {
        let Some(number) = symbol_number(name, symbols) else {
            return refusal("subscribe", req_id, "unknown_symbol", name);
        };
        let mut entry = json!({"channel": "trade", "symbol": name, "mode": "all"});
        if let Some(seq) = seq(number) {
            entry["seq"] = seq.into();
        }
        result.push(entry);
        subscribed.push(number);
    }
    let answer =
        json!({"method": "subscribe", "req_id": req_id, "success": true, "result": result});
    Reply { answer: answer.to_string(), subscribed }
}

fn refusal(method: &str, req_id: Option<&Value>, code: &str, message: &str) -> Reply {
    let error = json!({"code": code, "message": message});
    let answer = json!({"method": method, "req_id": req_id, "success": false, "error": error});
    Reply { answer: answer.to_string(), subscribed: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> (Value, Vec<u32>) {
        let reply = reply(text.as_bytes(), 3, |number| Some(u64::from(number) * 10));
        (serde_json::from_str(&reply.answer).unwrap(), reply.subscribed)
    }

    #[test]
    fn a_subscription_has_a_result_per_symbol() {
        let (answer, subscribed) = answered(
            r#"{"method":"subscribe","req_id":9,"params":{"channel":"trade","symbol":["sim:S0002-USD","sim:S0000-USD"]}}"#,
        );
        assert_eq!(subscribed, [2, 0]);
        assert_eq!((&answer["req_id"], &answer["success"]), (&json!(9), &json!(true)));
        assert_eq!(answer["result"][0]["symbol"], "sim:S0002-USD");
        assert_eq!(answer["result"][0]["seq"], 20);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, code) in [
            ("{", "bad_json"),
            (r#"{"method":"ping"}"#, "bad_value"),
            (
                r#"{"method":"subscribe","params":{"channel":"book","symbol":"sim:S0000-USD"}}"#,
                "bad_value",
            ),
            (
                r#"{"method":"subscribe","params":{"channel":"trade","symbol":"sim:S0003-USD"}}"#,
                "unknown_symbol",
            ),
        ] {
            let (answer, subscribed) = answered(text);
            assert_eq!((&answer["success"], subscribed.len()), (&json!(false), 0));
            assert_eq!(answer["error"]["code"], code, "{text}");
        }
    }

    #[test]
    fn symbols_are_listed() {
        let (answer, _) = answered(r#"{"method":"list_symbols","req_id":"a"}"#);
        assert_eq!(answer["result"].as_array().unwrap().len(), 3);
        assert_eq!(answer["result"][1]["symbol"], "sim:S0001-USD");
    }
}
