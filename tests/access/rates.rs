//! What a grant allows of how much and how often, also when it takes the place of another.

use serde_json::{Value, json};

use crate::common::Client;
use crate::common::kept::{ALL, Kept, one_and_all, token};

const SLOW: &str = "token-of-the-slow";

fn with_slow(more: &str) -> Kept {
    let slow = token("slow", SLOW, &format!("symbols = [\"*\"]\nmax_hz = 0.5\n{more}"));
    Kept::new(&(one_and_all() + &slow), &[])
}

fn asked(client: &mut Client, method: &str, params: &Value) -> Value {
    client.ask(&json!({"method": method, "params": params}))
}

fn auth(client: &mut Client, token: &str) {
    let answer = asked(client, "auth", &json!({"token": token}));
    assert_eq!(answer["success"], true, "{answer}");
}

/// What a client has: channel, symbol and mode of each.
fn subscriptions(client: &mut Client) -> Vec<[String; 3]> {
    let answer = client.ask(&json!({"method": "list_subscriptions"}));
    let all = answer["result"].as_array().expect("a list");
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| ["channel", "symbol", "mode"].map(|name| text(one, name))).collect()
}

#[test]
fn the_next_token_holds_what_was_subscribed_to_its_own_rate() {
    let kept = with_slow("");
    let mut client = kept.client("/v1/ws", ALL);
    for channel in ["trade", "quote", "status"] {
        client.subscribe(channel, &["*"]);
    }
    client.subscribe("book", &["sim:S0001-USD"]);
    auth(&mut client, SLOW);
    let modes: Vec<_> =
        subscriptions(&mut client).into_iter().map(|[c, _, mode]| [c, mode]).collect();
    for (channel, mode) in
        [("trade", "conflate"), ("quote", "conflate"), ("book", "conflate"), ("status", "all")]
    {
        assert!(modes.contains(&[channel.to_owned(), mode.to_owned()]), "{modes:?}");
    }
    // Of each symbol one quote at a time, and no single trade: two of a symbol are two seconds apart.
    let mut last = std::collections::HashMap::new();
    for _ in 0..40 {
        let message = client.message();
        let (channel, symbol) = (message["channel"].to_string(), message["symbol"].to_string());
        if message["type"] != "update" || channel == "\"status\"" {
            continue;
        }
        let recv = message["ts"]["recv"].as_u64().expect("a time");
        if let Some(before) = last.insert((channel, symbol), recv) {
            assert!(recv.saturating_sub(before) > 1_000_000, "{message}");
        }
    }
}

#[test]
fn the_next_token_ends_what_it_may_not_have_so_many_of() {
    let kept = with_slow("max_subscriptions = 2");
    let mut client = kept.client("/v1/ws", ALL);
    client.subscribe("quote", &["*"]);
    client.subscribe("trade", &["sim:S0000-USD", "sim:S0001-USD", "sim:S0002-USD"]);
    auth(&mut client, SLOW);
    let left = subscriptions(&mut client);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().any(|[channel, ..]| channel == "quote"), "{left:?}");
}

#[test]
fn a_token_that_is_renewed_changes_nothing_of_what_is_subscribed() {
    let kept = with_slow("");
    let mut client = kept.client("/v1/ws", ALL);
    client.subscribe("trade", &["*"]);
    asked(&mut client, "unsubscribe", &json!({"channel": "trade", "symbol": "sim:S0000-USD"}));
    auth(&mut client, ALL);
    for _ in 0..1_000 {
        assert_ne!(client.message()["symbol"], "sim:S0000-USD");
    }
}

#[test]
fn what_cannot_be_told_so_seldom_is_refused_or_left_out() {
    let kept = with_slow("");
    let mut client = kept.client("/v1/ws", SLOW);
    // Single trades of before are single trades.
    let trades = json!({"channel": "trade", "symbol": "sim:S0001-USD", "history": 100});
    assert_eq!(asked(&mut client, "subscribe", &trades)["success"], true);
    let first = client.until(|message| message["channel"] == "trade");
    assert_eq!(first["type"], "update", "{first}");
    let batch =
        json!({"channel": "quote", "symbol": "sim:S0001-USD", "mode": "batch", "batch_ms": 100});
    let answer = asked(&mut client, "subscribe", &batch);
    assert!(answer["result"][0]["batch_ms"].as_u64() >= Some(2_000), "{answer}");
    let mut binance = kept.client("/ws", SLOW);
    let subscribe = |names: Vec<&str>| json!({"method": "SUBSCRIBE", "params": names, "id": 1});
    binance.send(&subscribe(vec!["!ticker@arr"]));
    let answer = binance.message();
    assert!(answer.to_string().contains("0.5 messages a second"), "{answer}");
    // However often it is named.
    binance.send(&subscribe(vec!["!bookTicker"; 1_000]));
    binance.until(|message| message["id"] == 1);
    binance.send(&json!({"method": "LIST_SUBSCRIPTIONS", "id": 2}));
    let answer = binance.until(|message| message["id"] == 2);
    assert_eq!(answer["result"], json!(["!bookTicker"]), "{answer}");
    let mut last = std::collections::HashMap::new();
    for _ in 0..20 {
        let quote = binance.message();
        let (symbol, seq) = (quote["s"].to_string(), quote["u"].as_u64().expect("a number"));
        // 2,000 ticks a second of four symbols: each is told of hundreds at a time.
        if let Some(before) = last.insert(symbol, seq) {
            assert!(seq > before + 20, "{quote}");
        }
    }
}

#[test]
fn a_name_that_comes_a_thousand_times_is_one() {
    let kept = with_slow("");
    let mut client = kept.client("/v1/ws", ALL);
    for method in ["subscribe", "unsubscribe"] {
        let params = json!({"channel": "status", "symbol": vec!["*"; 1_000]});
        let answer = asked(&mut client, method, &params);
        assert_eq!(answer["result"].as_array().map(Vec::len), Some(1), "{answer}");
    }
}
