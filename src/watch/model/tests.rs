//! What messages, keys and lost connections make of a model, and what it asks the server for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::*;

/// A model of these symbols, connected, and its start.
fn model(wanted: &[&str]) -> (Model, Instant) {
    let now = Instant::now();
    let wanted: Vec<String> = wanted.iter().map(|&symbol| symbol.to_owned()).collect();
    let mut model = Model::new(&wanted, now);
    model.connected();
    (model, now)
}

fn requests(model: &mut Model) -> Vec<Value> {
    let parsed = |text: String| serde_json::from_str(&text).expect("JSON");
    model.take_requests().into_iter().map(parsed).collect()
}

/// Method, channel and symbol of each request.
fn asked(model: &mut Model) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asked = |request: &Value| {
        let params = &request["params"];
        (text(&request["method"]), text(&params["channel"]), params["symbol"].clone())
    };
    requests(model).iter().map(asked).collect()
}

fn apply(model: &mut Model, message: &Value, now: Instant) -> Heard {
    model.apply(message.to_string().as_bytes(), now)
}

fn snapshot(seq: u64) -> Value {
    json!({"channel": "book", "type": "snapshot", "symbol": "x:A-B", "depth": 10, "seq": seq,
           "bids": [["1.5", "2"], ["1.4", "7"]], "asks": [["1.6", "3"]], "ts": {"recv": 1}})
}

fn update(prev: u64, seq: u64, bids: &Value) -> Value {
    json!({"channel": "book", "type": "update", "symbol": "x:A-B", "depth": 10, "seq": seq,
           "prev": prev, "bids": bids, "asks": [], "ts": {"recv": 1}})
}

fn trade(prev: u64, seq: u64, price: &str) -> Value {
    json!({"channel": "trade", "type": "update", "symbol": "x:A-B", "seq": seq, "prev": prev,
           "id": seq, "side": "buy", "price": price, "qty": "1", "ts": {"recv": 1}})
}

fn quote(symbol: &str, prev: Option<u64>, seq: u64, bid: &str) -> Value {
    let mut quote = json!({"channel": "quote", "symbol": symbol, "seq": seq, "bid": bid,
        "bid_qty": "1", "ask": "9", "ask_qty": "1", "ts": {"recv": 1}});
    if let Some(prev) = prev {
        quote["prev"] = json!(prev);
    }
    quote
}

fn bids(model: &Model) -> Vec<(String, String)> {
    let open = model.open.as_ref().expect("a ladder");
    let text = |level: &Level| (level.price.to_string(), level.qty.to_string());
    open.book.bids.iter().map(text).collect()
}

fn levels(levels: &[(&str, &str)]) -> Vec<(String, String)> {
    levels.iter().map(|(price, qty)| ((*price).to_owned(), (*qty).to_owned())).collect()
}

#[test]
fn one_symbol_is_a_ladder_and_several_are_a_table() {
    let (mut one, _) = model(&["x:A-B"]);
    let channels: Vec<String> =
        asked(&mut one).into_iter().map(|(_, channel, _)| channel).collect();
    assert_eq!(channels, ["quote", "ticker", "status", "trade", "book"]);
    assert!(one.open.is_some() && !one.has_table());
    for several in [&["x:*"][..], &["x:A-B", "x:C-D"]] {
        let (mut several, _) = model(several);
        assert_eq!(asked(&mut several).len(), 3, "no books of everything");
        assert!(several.open.is_none() && several.has_table());
    }
}

#[test]
fn a_gap_in_the_book_is_told_and_mended_by_a_new_snapshot() {
    let (mut model, now) = model(&["x:A-B"]);
    requests(&mut model);
    apply(&mut model, &snapshot(5), now);
    apply(&mut model, &update(5, 8, &json!([["1.5", "0"], ["1.45", "4"]])), now);
    assert_eq!(bids(&model), levels(&[("1.45", "4"), ("1.4", "7")]));
    assert_eq!((model.gaps, asked(&mut model).len()), (0, 0));

    apply(&mut model, &update(9, 10, &json!([["1.3", "1"]])), now);
    assert_eq!(model.gaps, 1);
    assert!(model.notice(now).is_some_and(|notice| notice.contains("gap in the book of x:A-B")));
    assert_eq!(model.notice(now + NOTICE), None, "no news any more");
    let again = ("subscribe".to_owned(), "book".to_owned(), json!("x:A-B"));
    assert_eq!(asked(&mut model), [again]);
    let open = model.open.as_ref().expect("a ladder");
    assert!(open.broken && !open.book.is_known());

    // What was under way does not count, and is no second gap.
    apply(&mut model, &update(10, 11, &json!([["1.3", "1"]])), now);
    assert_eq!((model.gaps, asked(&mut model).len()), (1, 0));
    apply(&mut model, &snapshot(12), now);
    assert_eq!(bids(&model), levels(&[("1.5", "2"), ("1.4", "7")]));
    let open = model.open.as_ref().expect("a ladder");
    assert!(!open.broken && open.book.is_known());
}

#[test]
fn a_snapshot_that_is_no_book_is_told_and_not_asked_for_again() {
    let (mut model, now) = model(&["x:A-B"]);
    requests(&mut model);
    for bids in [json!([["dear", "1"]]), json!([["1.00000000000000000001", "1"]])] {
        let mut book = snapshot(5);
        book["bids"] = bids;
        apply(&mut model, &book, now);
        assert!(model.notice(now).is_some_and(|notice| notice.contains("not understood")));
        assert_eq!(asked(&mut model).len(), 0);
    }
    apply(&mut model, &snapshot(6), now);
    assert!(model.open.as_ref().is_some_and(|open| open.book.is_known()));
}

#[test]
fn missing_trades_and_quotes_are_counted() {
    let (mut model, now) = model(&["x:A-B"]);
    let answer = json!({"method": "subscribe", "req_id": TRADE, "success": true,
        "result": [{"channel": "trade", "symbol": "x:A-B", "seq": 40}]});
    apply(&mut model, &answer, now);
    apply(&mut model, &trade(40, 41, "2"), now);
    apply(&mut model, &trade(41, 45, "2"), now);
    assert_eq!(model.gaps, 0);
    apply(&mut model, &trade(46, 47, "2"), now);
    assert_eq!(model.gaps, 1);
    let tape = &model.open.as_ref().expect("a ladder").tape;
    let gaps: Vec<bool> = tape.iter().map(|entry| *entry == Entry::Gap).collect();
    assert_eq!(gaps, [false, true, false, false], "it shows where");

    apply(&mut model, &quote("x:A-B", None, 7, "1"), now);
    apply(&mut model, &quote("x:A-B", Some(7), 8, "1.10"), now);
    apply(&mut model, &quote("x:A-B", Some(9), 10, "1.2"), now);
    assert_eq!(model.gaps, 2);
    let quote = model.markets.get("x:A-B").and_then(|market| market.quote.as_ref());
    assert_eq!(quote.map(|quote| &*quote.bid), Some("1.2"), "a quote is whole by itself");
}

#[test]
fn the_first_trade_after_the_answer_is_checked_too() {
    let (mut model, now) = model(&["x:A-B"]);
    let answer = json!({"method": "subscribe", "req_id": TRADE, "success": true,
        "result": [{"channel": "trade", "symbol": "x:A-B", "seq": 40}]});
    apply(&mut model, &answer, now);
    apply(&mut model, &trade(41, 42, "2"), now);
    assert_eq!(model.gaps, 1);
}

#[test]
fn a_lag_of_the_server_is_told_and_its_snapshots_are_awaited() {
    let (mut model, now) = model(&["x:A-B"]);
    apply(&mut model, &snapshot(5), now);
    apply(&mut model, &quote("x:A-B", None, 5, "1"), now);
    requests(&mut model);
    let lag = json!({"channel": "status", "type": "lag", "policy": "resync", "cause": "server",
                     "skipped": 412});
    apply(&mut model, &lag, now);
    let notice = model.notice(now).expect("told");
    assert!(notice.contains("the server fell behind") && notice.contains("412"), "{notice}");
    // Neither links, and neither is a gap: it was said before.
    apply(&mut model, &update(9, 10, &json!([])), now);
    apply(&mut model, &quote("x:A-B", Some(9), 10, "2"), now);
    assert_eq!((model.gaps, asked(&mut model).len()), (0, 0));
    apply(&mut model, &snapshot(11), now);
    assert!(model.open.as_ref().is_some_and(|open| open.book.is_known()));
}

#[test]
fn a_new_connection_begins_anew_and_keeps_what_is_shown() {
    let (mut model, now) = model(&["x:A-B"]);
    requests(&mut model);
    apply(&mut model, &snapshot(5), now);
    apply(&mut model, &trade(1, 2, "1.5"), now);
    model.lost("connection lost", now + Duration::from_secs(1), 1);
    model.second(now);
    assert_eq!(requests(&mut model), Vec::<Value>::new(), "nobody to ask");
    assert_eq!(bids(&model).len(), 2);
    model.connected();
    assert_eq!(asked(&mut model).len(), 5);
    let open = model.open.as_ref().expect("a ladder");
    assert!(!open.book.is_known() && open.book.bids.len() == 2);
    assert_eq!(open.tape[0], Entry::Gap, "who knows what was missed");
    // Another server numbers otherwise.
    apply(&mut model, &trade(700, 701, "1.5"), now);
    apply(&mut model, &snapshot(1), now);
    assert_eq!(model.gaps, 0);
}

#[test]
fn names_become_those_of_the_server() {
    let (mut model, now) = model(&["a-b"]);
    let answer = json!({"method": "subscribe", "req_id": QUOTE, "success": true,
        "result": [{"channel": "quote", "symbol": "x:A-B", "seq": 0}]});
    assert_eq!(apply(&mut model, &answer, now), Heard::Nothing);
    apply(&mut model, &snapshot(5), now);
    assert_eq!(bids(&model).len(), 2);
}

#[test]
fn nothing_granted_is_told_once_all_have_been_answered() {
    let (mut model, now) = model(&["NOSUCH"]);
    let refused = |id: u64| {
        json!({"method": "subscribe", "req_id": id, "success": false, "result": [],
            "errors": [{"symbol": "NOSUCH", "code": "unknown_symbol", "message": "no such symbol: NOSUCH",
                        "did_you_mean": ["x:SUCH-B"]}]})
    };
    assert_eq!(apply(&mut model, &refused(QUOTE), now), Heard::Nothing);
    assert_eq!(apply(&mut model, &refused(TICKER), now), Heard::Nothing);
    let why = "no such symbol: NOSUCH, did you mean x:SUCH-B?".to_owned();
    assert_eq!(apply(&mut model, &refused(STATUS), now), Heard::Refused(why));
}

#[test]
fn what_is_delayed_is_known_from_the_answers() {
    let (mut model, now) = model(&["x:*"]);
    let answer = |delay_ms: Option<u64>| {
        let mut answer = json!({"method": "subscribe", "req_id": QUOTE, "success": true,
            "result": [{"channel": "quote", "symbol": "x:*"}]});
        if let Some(delay_ms) = delay_ms {
            answer["delay_ms"] = json!(delay_ms);
        }
        answer
    };
    assert_eq!(model.delay_ms, 0);
    apply(&mut model, &answer(Some(900_000)), now);
    assert_eq!(model.delay_ms, 900_000);
    // Neither a refusal that does not say it, nor a pong, nor a lost connection makes what is shown younger.
    let refused = json!({"method": "subscribe", "req_id": STATUS, "success": false,
        "error": {"code": "rate_limited", "message": "slower"}});
    apply(&mut model, &refused, now);
    apply(&mut model, &json!({"method": "pong", "t": 1}), now);
    model.lost("connection lost", now, 1);
    model.connected();
    assert_eq!(model.delay_ms, 900_000);
    apply(&mut model, &answer(None), now);
    assert_eq!(model.delay_ms, 0, "the server grants it live now");
}

/// A table of three.
fn table() -> (Model, Instant) {
    let (mut model, now) = model(&["x:*"]);
    for symbol in ["x:C-B", "x:A-B", "x:B-B"] {
        apply(&mut model, &quote(symbol, None, 1, "1"), now);
    }
    model.prepare();
    requests(&mut model);
    (model, now)
}

fn rows(model: &Model) -> Vec<&str> {
    model.table.rows.iter().map(|&row| &*model.markets.all()[row].symbol).collect()
}

#[test]
fn the_selection_is_of_a_symbol() {
    let (mut model, now) = table();
    assert_eq!(rows(&model), ["x:A-B", "x:B-B", "x:C-B"]);
    model.act(Action::Step(1));
    apply(&mut model, &quote("x:AA-B", None, 1, "1"), now);
    model.prepare();
    assert_eq!((rows(&model)[1], model.table.place()), ("x:AA-B", 2), "still x:B-B");
    model.act(Action::Last);
    model.act(Action::Step(1));
    assert_eq!(model.table.place(), 3);
    model.act(Action::First);
    model.act(Action::Step(-1));
    assert_eq!(model.table.place(), 0);
}

#[test]
fn a_ladder_is_opened_and_closed() {
    let (mut model, now) = table();
    for action in [Action::Filter, Action::Type('C'), Action::Type('-'), Action::Accept] {
        assert!(!model.act(action));
    }
    model.prepare();
    assert_eq!(rows(&model), ["x:C-B"]);
    model.act(Action::Back);
    model.prepare();
    model.act(Action::Open);
    let of = |method: &str, channel: &str| (method.to_owned(), channel.to_owned(), json!("x:A-B"));
    assert_eq!(asked(&mut model), [of("subscribe", "trade"), of("subscribe", "book")]);
    apply(&mut model, &snapshot(5), now);
    assert_eq!(bids(&model).len(), 2);
    model.act(Action::Back);
    assert_eq!(asked(&mut model), [of("unsubscribe", "trade"), of("unsubscribe", "book")]);
    // Under way still.
    apply(&mut model, &update(7, 8, &json!([])), now);
    apply(&mut model, &trade(7, 8, "1"), now);
    assert_eq!((model.gaps, asked(&mut model).len()), (0, 0));
    assert!(model.act(Action::Quit));
}

#[test]
fn a_higher_window_gets_a_deeper_book() {
    let (mut model, now) = model(&["x:A-B"]);
    requests(&mut model);
    apply(&mut model, &snapshot(5), now);
    model.resized(20);
    assert_eq!(asked(&mut model).len(), 0, "10 levels fill it");
    model.resized(60);
    let asked = requests(&mut model);
    assert_eq!(asked[0]["method"], "unsubscribe");
    assert_eq!(
        (&asked[0]["params"]["depth"], &asked[1]["params"]["depth"]),
        (&json!(10), &json!(50))
    );
    apply(&mut model, &update(5, 6, &json!([["1.45", "1"]])), now);
    assert_eq!(bids(&model), levels(&[("1.5", "2"), ("1.4", "7")]), "of the old depth");
    let mut deep = snapshot(9);
    deep["depth"] = json!(50);
    apply(&mut model, &deep, now);
    assert_eq!(model.gaps, 0);
    assert!(model.open.as_ref().is_some_and(|open| open.book.is_known()));
}

#[test]
fn a_ping_measures_the_way() {
    let (mut model, now) = model(&["*"]);
    requests(&mut model);
    model.second(now + Duration::from_millis(10));
    let ping = requests(&mut model).remove(0);
    let pong = json!({"method": "pong", "req_id": PING, "t": ping["params"]["t"], "time_in": 1});
    apply(&mut model, &pong, now + Duration::from_millis(13));
    assert_eq!(model.latency, Some(Duration::from_millis(3)));
}

#[test]
fn what_is_not_understood_is_told_and_passed_over() {
    let (mut model, now) = model(&["*"]);
    for text in ["", "[]", "{\"channel\":\"quote\"}", "{\"channel\":\"news\",\"x\":1}", "{}"] {
        assert_eq!(model.apply(text.as_bytes(), now), Heard::Nothing, "{text}");
    }
    assert!(model.notice(now).is_some_and(|notice| notice.contains("not understood")));
    let drain = json!({"channel": "status", "type": "drain", "reconnect_ms": [5, 8]});
    assert_eq!(apply(&mut model, &drain, now), Heard::Drain(Some([5, 8])));
}

proptest! {
    /// The ladder is what a map of the same changes is, whatever their order.
    #[test]
    fn the_book_is_that_of_a_map(
        changes in prop::collection::vec((0i64..12, 0i64..4, prop::bool::ANY), 0..60),
    ) {
        let (mut model, now) = model(&["x:A-B"]);
        let empty = json!({"channel": "book", "symbol": "x:A-B", "depth": 10, "seq": 0,
                           "bids": [], "asks": []});
        apply(&mut model, &empty, now);
        let mut oracle: BTreeMap<(bool, i64), i64> = BTreeMap::new();
        for (seq, (price, qty, bid)) in (1u64..).zip(changes) {
            // The server keeps to the depth: so does this.
            let full = oracle.keys().filter(|(side, _)| *side == bid).count() == 10;
            if full && !oracle.contains_key(&(bid, price)) {
                continue;
            }
            match qty {
                0 => drop(oracle.remove(&(bid, price))),
                _ => drop(oracle.insert((bid, price), qty)),
            }
            let level = [Decimal::new(price + 1, -1).to_string(), qty.to_string()];
            let (bids, asks) = if bid { (vec![level], vec![]) } else { (vec![], vec![level]) };
            let prev = model.open.as_ref().and_then(|open| open.book.seq());
            let change = json!({"channel": "book", "symbol": "x:A-B", "depth": 10, "seq": seq,
                                "prev": prev, "bids": bids, "asks": asks});
            apply(&mut model, &change, now);
        }
        let book = &model.open.as_ref().expect("a ladder").book;
        let side = |levels: &[Level], bid: bool| {
            let shown = levels.iter().map(|level| (level.value, level.size)).collect::<Vec<_>>();
            let number = |(&(_, price), &qty): (&(bool, i64), &i64)| {
                (Decimal::new(price + 1, -1), Decimal::new(qty, 0))
            };
            let mut right: Vec<_> =
                oracle.iter().filter(|((side, _), _)| *side == bid).map(number).collect();
            if bid {
                right.reverse();
            }
            (shown, right)
        };
        let (bids, asks) = (side(&book.bids, true), side(&book.asks, false));
        prop_assert_eq!(bids.0, bids.1);
        prop_assert_eq!(asks.0, asks.1);
        prop_assert_eq!(model.gaps, 0);
    }
}
