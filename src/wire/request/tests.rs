//! Requests that are understood, and refusals that name what is wrong.

use super::*;

#[test]
fn understands_the_documented_requests() {
    let r = parse(r#"{"method":"subscribe","req_id":1,"params":{"channel":"book","symbol":["a","b"],"depth":25}}"#).unwrap();
    assert_eq!(r.req_id.as_deref(), Some("1"));
    let Call::Subscribe(t) = r.call else { panic!("{r:?}") };
    assert_eq!((t.channel, t.depth, t.mode, t.symbols.len()), (Channel::Book, Some(25), None, 2));

    let r = parse(r#"{"params":{"symbol":"*","channel":"quote","mode":"conflate"},"method":"subscribe","req_id":"x\"y"}"#).unwrap();
    assert_eq!(r.req_id.as_deref(), Some(r#""x\"y""#));
    let Call::Subscribe(t) = r.call else { panic!("{r:?}") };
    assert_eq!((t.mode, t.symbols), (Some(Mode::Conflate), vec!["*".to_owned()]));

    for (pace, expected) in [
        (r#""max_hz":10"#, (Some(Mode::Conflate), Some(100))),
        (r#""mode":"conflate","max_hz":0.3"#, (Some(Mode::Conflate), Some(3334))),
        (r#""mode":"batch","batch_ms":250"#, (Some(Mode::Batch), Some(250))),
        (r#""mode":"auto""#, (Some(Mode::Auto), None)),
    ] {
        let params = format!(r#"{{"channel":"book","symbol":"a",{pace}}}"#);
        let text = format!(r#"{{"method":"subscribe","params":{params}}}"#);
        let Call::Subscribe(t) = parse(&text).unwrap().call else { panic!() };
        assert_eq!((t.mode, t.period_ms), expected, "{pace}");
    }

    let full =
        r#"{"method":"unsubscribe","params":{"channel":"book","symbol":"a","depth":"full"}}"#;
    let Call::Unsubscribe(t) = parse(full).unwrap().call else { panic!() };
    assert_eq!(t.depth, Some(0));

    let bar = |interval: &str| {
        let params = format!(r#"{{"channel":"bar","symbol":"a"{interval}}}"#);
        let text = format!(r#"{{"method":"subscribe","params":{params}}}"#);
        let Call::Subscribe(t) = parse(&text).unwrap().call else { panic!() };
        (t.channel.span(t.variant()).map(Span::as_str), t.depth)
    };
    assert_eq!(bar(r#","interval":"5m""#), (Some("5m"), Some(2)));
    assert_eq!(bar(""), (Some("1m"), None), "what unsubscribes from all, subscribes to this");
    assert_eq!(
        parse(r#"{"method":"ping","params":{"t":-5}}"#).unwrap().call,
        Call::Ping { t: Some(-5) }
    );
    assert_eq!(
        parse(r#"{"method":"list_symbols"}"#).unwrap().call,
        Call::ListSymbols { venue: None }
    );
}

#[test]
fn names_what_is_wrong() {
    for (text, code, names) in [
        ("", "bad_json", "not JSON"),
        ("[]", "bad_json", "an array"),
        (r#"{"method":1}"#, "bad_value", "`method`"),
        (r#"{}"#, "missing_field", "`method`"),
        (r#"{"method":"sub"}"#, "unknown_method", "`sub`"),
        (r#"{"method":"ping","req_id":1.5}"#, "bad_value", "1.5"),
        (r#"{"method":"ping","extra":1}"#, "unknown_field", "`extra`"),
        (r#"{"method":"ping","params":{"x":1}}"#, "unknown_field", "`x`"),
        (r#"{"method":"ping","params":[]}"#, "bad_value", "`params`"),
        (r#"{"method":"subscribe"}"#, "missing_field", "`channel`"),
        (r#"{"method":"subscribe","params":{"channel":"trade"}}"#, "missing_field", "`symbol`"),
        (
            r#"{"method":"subscribe","params":{"channel":"bars","symbol":"a"}}"#,
            "bad_value",
            "\"bars\" for `channel`, expected one of trade, quote, book, status, bar, ticker",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"bar","symbol":"a","interval":"2m"}}"#,
            "bad_value",
            r#"bad value "2m" for `interval`, expected one of "1s", "1m", "5m", "1h""#,
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"bar","symbol":"a","interval":60}}"#,
            "bad_value",
            "bad value 60 for `interval`",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"ticker","symbol":"a","interval":"1m"}}"#,
            "bad_value",
            "channel bar only",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"bar","symbol":"a","depth":5}}"#,
            "bad_value",
            "book only",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"bar","symbol":"a","mode":"conflate"}}"#,
            "bad_value",
            "`mode`",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":[]}}"#,
            "bad_value",
            "`symbol`",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":[1]}}"#,
            "bad_value",
            "bad value 1",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":"a","dept":3}}"#,
            "unknown_field",
            "`dept`",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":"a","depth":3}}"#,
            "bad_value",
            "book only",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","depth":0}}"#,
            "bad_value",
            "1 to 1000",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","depth":1001}}"#,
            "bad_value",
            "1001",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","mode":"all","max_hz":5}}"#,
            "bad_value",
            "`max_hz` 5 goes with mode conflate only",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","max_hz":101}}"#,
            "bad_value",
            "bad value 101 for `max_hz`, expected a number from 0.1 to 100",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","batch_ms":5}}"#,
            "bad_value",
            "`batch_ms` 5 goes with mode batch only",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":"a","mode":"batch","batch_ms":4}}"#,
            "bad_value",
            "5 to 10000 milliseconds",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":"a","max_age_ms":1.5}}"#,
            "bad_value",
            "bad value 1.5 for `max_age_ms`, expected 0 to 1000 milliseconds",
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":"a","max_age_ms":1001}}"#,
            "bad_value",
            "1001",
        ),
    ] {
        let refusal = parse(text).unwrap_err();
        assert_eq!(refusal.code, code, "{text}: {refusal:?}");
        assert!(refusal.message.contains(names), "{text}: {}", refusal.message);
    }
}

#[test]
fn an_answer_does_not_echo_megabytes() {
    let text = format!(r#"{{"method":"{}"}}"#, "ä".repeat(100_000));
    let refusal = parse(&text).unwrap_err();
    assert!(refusal.message.len() < 1000);
}
