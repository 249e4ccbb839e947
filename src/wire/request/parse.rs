//! From a client's text to a request, or to what is wrong with it.

use serde_json::{Map, Value};

use super::{Call, Channel, Mode, Refusal, Request, Secret, Seqs, Since, Target, distinct};
use crate::derive::Span;
use crate::limits;

type Error = (&'static str, String);

const METHODS: [&str; 6] =
    ["subscribe", "unsubscribe", "list_subscriptions", "list_symbols", "ping", "auth"];

/// Reads one request.
///
/// # Errors
/// A [`Refusal`] to send back.
pub fn parse(text: &str) -> Result<Request, Refusal> {
    let mut refusal = Refusal { method: None, req_id: None, code: "", message: String::new() };
    let refuse = |mut refusal: Refusal, (code, message): Error| {
        refusal.code = code;
        refusal.message = message;
        refusal
    };
    let mut object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(other) => {
            let message = format!("expected a JSON object, got {}", kind(&other));
            return Err(refuse(refusal, ("bad_json", message)));
        }
        Err(e) => return Err(refuse(refusal, ("bad_json", format!("not JSON: {e}")))),
    };
    match object.remove("req_id") {
        None | Some(Value::Null) => {}
        Some(id @ Value::String(_)) => refusal.req_id = Some(id.to_string()),
        Some(Value::Number(id)) if id.is_u64() => refusal.req_id = Some(id.to_string()),
        Some(other) => {
            let error = bad_value("req_id", &other, "an unsigned integer or a string");
            return Err(refuse(refusal, error));
        }
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) => method,
        Some(other) => return Err(refuse(refusal, bad_value("method", &other, "a string"))),
        None => {
            return Err(refuse(refusal, ("missing_field", "missing field `method`".to_owned())));
        }
    };
    refusal.method = Some(cut(&method));
    let call = params(&mut object).and_then(|params| {
        no_more("request", &object, &["method", "req_id", "params"])?;
        call(&method, params)
    });
    match call {
        Ok(call) => Ok(Request { req_id: refusal.req_id, call }),
        Err(error) => Err(refuse(refusal, error)),
    }
}

fn params(object: &mut Map<String, Value>) -> Result<Map<String, Value>, Error> {
    match object.remove("params") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(params)) => Ok(params),
        Some(other) => Err(bad_value("params", &other, "an object")),
    }
}

fn call(method: &str, mut params: Map<String, Value>) -> Result<Call, Error> {
    let call = match method {
        "subscribe" => return target(params).map(Call::Subscribe),
        "unsubscribe" => return target(params).map(Call::Unsubscribe),
        "list_subscriptions" => {
            no_more("params", &params, &[])?;
            Call::ListSubscriptions
        }
        "list_symbols" => {
            let venue = match params.remove("venue") {
                None | Some(Value::Null) => None,
                Some(Value::String(venue)) => Some(venue),
                Some(other) => return Err(bad_value("venue", &other, "a string")),
            };
            no_more("params", &params, &["venue"])?;
            Call::ListSymbols { venue }
        }
        "ping" => {
            let t = match params.remove("t") {
                None | Some(Value::Null) => None,
                Some(other) => {
                    Some(other.as_i64().ok_or_else(|| bad_value("t", &other, "an integer"))?)
                }
            };
            no_more("params", &params, &["t"])?;
            Call::Ping { t }
        }
        "auth" => {
            let token = match params.remove("token") {
                Some(Value::String(token)) => Secret(token),
                // What was given may be a token all the same.
                _ => return Err(("bad_value", "expected `token`, a string".to_owned())),
            };
            no_more("params", &params, &["token"])?;
            Call::Auth { token }
        }
        other => {
            let message =
                format!("unknown method `{}`, expected one of {}", cut(other), METHODS.join(", "));
            return Err(("unknown_method", message));
        }
    };
    Ok(call)
}

/// Reads the params of `subscribe` and `unsubscribe`.
///
/// # Errors
/// One of the codes of docs/PROTOCOL.md, and what is wrong.
pub(crate) fn target(mut params: Map<String, Value>) -> Result<Target, Error> {
    let channel = match params.remove("channel") {
        Some(Value::String(name)) => Channel::parse(&name).ok_or_else(|| {
            let expected = "one of trade, quote, book, status, bar, ticker";
            bad_value("channel", &Value::from(name), expected)
        })?,
        Some(other) => return Err(bad_value("channel", &other, "a string")),
        None => return Err(("missing_field", "missing field `channel`".to_owned())),
    };
    let symbols = symbols(params.remove("symbol"))?;
    let depth = depth(channel, params.remove("depth"))?;
    let interval = interval(channel, params.remove("interval"))?;
    let mode = mode(channel, params.remove("mode"))?;
    let max_age_ms = max_age_ms(params.remove("max_age_ms"))?;
    let max_hz = max_hz(mode, params.remove("max_hz"))?;
    let batch_ms = batch_ms(mode, params.remove("batch_ms"))?;
    let since = since(channel, params.remove("since"))?;
    let history = history(channel, &symbols, params.remove("history"))?;
    let known = [
        "channel",
        "symbol",
        "depth",
        "interval",
        "mode",
        "max_hz",
        "batch_ms",
        "max_age_ms",
        "since",
        "history",
    ];
    no_more("params", &params, &known)?;
    let mode = mode.or(max_hz.map(|_| Mode::Conflate));
    let period_ms = max_hz.or(batch_ms);
    if let Some(since) = &since {
        fits(since, mode, &symbols)?;
    }
    let depth = depth.or(interval);
    Ok(Target { channel, symbols, depth, mode, max_age_ms, period_ms, since, history })
}

fn since(channel: Channel, value: Option<Value>) -> Result<Option<Since>, Error> {
    const EXPECTED: &str =
        "{\"epoch\":\"...\",\"seq\":number} or {\"epoch\":\"...\",\"seq\":{symbol:number,...}}";
    let mut object = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(other) if channel == Channel::Status => {
            let message = format!(
                "`since` {} goes with channels that have a `seq`: all but status",
                cut_value(&other)
            );
            return Err(("bad_value", message));
        }
        Some(Value::Object(object)) => object,
        Some(other) => return Err(bad_value("since", &other, EXPECTED)),
    };
    let epoch = match object.remove("epoch") {
        Some(Value::String(epoch)) => epoch,
        Some(other) => return Err(bad_value("since.epoch", &other, "a string")),
        None => return Err(("missing_field", "missing field `epoch` in `since`".to_owned())),
    };
    let number = |value: &Value| {
        value.as_u64().ok_or_else(|| bad_value("since.seq", value, "an unsigned integer"))
    };
    let seq = match object.remove("seq") {
        None => return Err(("missing_field", "missing field `seq` in `since`".to_owned())),
        Some(Value::Object(each)) if each.len() > limits::REQUEST_SYMBOLS => {
            let most = limits::REQUEST_SYMBOLS;
            let message = format!("{} symbols in `since.seq`, expected at most {most}", each.len());
            return Err(("bad_value", message));
        }
        Some(Value::Object(each)) => {
            let each = each.into_iter().map(|(symbol, seq)| Ok((symbol, number(&seq)?)));
            Seqs::Each(each.collect::<Result<_, Error>>()?)
        }
        Some(one) => Seqs::One(number(&one)?),
    };
    no_more("since", &object, &["epoch", "seq"])?;
    Ok(Some(Since { epoch, seq }))
}

/// A sequence says where one symbol was, and what is told in sums is not told again one by one.
fn fits(since: &Since, mode: Option<Mode>, symbols: &[String]) -> Result<(), Error> {
    if matches!(mode, Some(Mode::Conflate | Mode::Batch)) {
        let message = "`since` goes with modes all and auto, which are told every tick";
        return Err(("bad_value", message.to_owned()));
    }
    match (&since.seq, symbols) {
        (Seqs::One(_), [one]) if !one.ends_with('*') => Ok(()),
        (Seqs::One(seq), _) => {
            let message = format!(
                "`since.seq` {seq} goes with one symbol, expected {{symbol:number,...}} for several or a wildcard"
            );
            Err(("bad_value", message))
        }
        (Seqs::Each(_), _) => Ok(()),
    }
}

fn history(channel: Channel, symbols: &[String], value: Option<Value>) -> Result<u16, Error> {
    let value = match value {
        None | Some(Value::Null) => return Ok(0),
        Some(value) => value,
    };
    if !matches!(channel, Channel::Trade | Channel::Bar) {
        let message = format!("`history` {} goes with channels trade and bar", cut_value(&value));
        return Err(("bad_value", message));
    }
    if let Some(wildcard) = symbols.iter().find(|symbol| symbol.ends_with('*')) {
        let message =
            format!("`history` goes with symbols, not with the wildcard {}", cut(wildcard));
        return Err(("bad_value", message));
    }
    match value.as_u64() {
        Some(count) if count <= limits::REQUEST_HISTORY.into() => Ok(count as u16),
        _ => {
            let expected = format!("0 to {}", limits::REQUEST_HISTORY);
            Err(bad_value("history", &value, &expected))
        }
    }
}

fn symbols(value: Option<Value>) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "a symbol or an array of symbols";
    let symbols = match value {
        None => return Err(("missing_field", "missing field `symbol`".to_owned())),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many
            .into_iter()
            .map(|one| match one {
                Value::String(one) => Ok(one),
                other => Err(bad_value("symbol", &other, EXPECTED)),
            })
            .collect::<Result<Vec<_>, _>>()?,
        Some(other) => return Err(bad_value("symbol", &other, EXPECTED)),
    };
    if symbols.is_empty() {
        return Err(("bad_value", format!("bad value [] for `symbol`, expected {EXPECTED}")));
    }
    if symbols.len() > limits::REQUEST_SYMBOLS {
        let message = format!(
            "{} symbols in one request, expected at most {}",
            symbols.len(),
            limits::REQUEST_SYMBOLS
        );
        return Err(("bad_value", message));
    }
    Ok(distinct(symbols))
}

fn depth(channel: Channel, value: Option<Value>) -> Result<Option<u16>, Error> {
    let expected = format!("1 to {} or \"full\"", limits::BOOK_DEPTH_MAX);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(other) if channel != Channel::Book => {
            Err(("bad_value", format!("`depth` {} goes with channel book only", cut_value(&other))))
        }
        Some(Value::String(full)) if full == "full" => Ok(Some(0)),
        Some(other) => match other.as_u64() {
            Some(n) if (1..=limits::BOOK_DEPTH_MAX as u64).contains(&n) => Ok(Some(n as u16)),
            _ => Err(bad_value("depth", &other, &expected)),
        },
    }
}

fn interval(channel: Channel, value: Option<Value>) -> Result<Option<u16>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(other) if channel != Channel::Bar => Err((
            "bad_value",
            format!("`interval` {} goes with channel bar only", cut_value(&other)),
        )),
        Some(other) => match other.as_str().and_then(Span::interval) {
            Some(span) => Ok(Some(span as u16)),
            None => {
                let names = Span::BARS.map(|span| format!("\"{}\"", span.as_str())).join(", ");
                Err(bad_value("interval", &other, &format!("one of {names}")))
            }
        },
    }
}

fn mode(channel: Channel, value: Option<Value>) -> Result<Option<Mode>, Error> {
    // The state of a feed is told as it changes, and of a bar each last word counts.
    let merges = !matches!(channel, Channel::Status | Channel::Bar);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(mode)) if mode == "all" => Ok(Some(Mode::All)),
        Some(Value::String(mode)) if mode == "auto" => Ok(Some(Mode::Auto)),
        Some(Value::String(mode)) if mode == "batch" => Ok(Some(Mode::Batch)),
        Some(Value::String(mode)) if mode == "conflate" && merges => Ok(Some(Mode::Conflate)),
        Some(other) => {
            let expected = match merges {
                true => "\"all\", \"auto\", \"conflate\" or \"batch\"",
                false => "\"all\" or \"batch\" (\"conflate\" is for trade, quote, book and ticker)",
            };
            Err(bad_value("mode", &other, expected))
        }
    }
}

/// Milliseconds between two messages.
fn max_hz(mode: Option<Mode>, value: Option<Value>) -> Result<Option<u64>, Error> {
    let expected = format!("a number from {} to {}", limits::MAX_HZ.start(), limits::MAX_HZ.end());
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(other) if !matches!(mode, None | Some(Mode::Conflate)) => {
            let message = format!("`max_hz` {} goes with mode conflate only", cut_value(&other));
            Err(("bad_value", message))
        }
        Some(other) => match other.as_f64() {
            Some(hz) if limits::MAX_HZ.contains(&hz) => Ok(Some((1_000.0 / hz).ceil() as u64)),
            _ => Err(bad_value("max_hz", &other, &expected)),
        },
    }
}

fn batch_ms(mode: Option<Mode>, value: Option<Value>) -> Result<Option<u64>, Error> {
    let range = limits::BATCH_MS_RANGE;
    let expected = format!("{} to {} milliseconds", range.start(), range.end());
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(other) if mode != Some(Mode::Batch) => {
            let message = format!("`batch_ms` {} goes with mode batch only", cut_value(&other));
            Err(("bad_value", message))
        }
        Some(other) => match other.as_u64() {
            Some(ms) if range.contains(&ms) => Ok(Some(ms)),
            _ => Err(bad_value("batch_ms", &other, &expected)),
        },
    }
}

fn max_age_ms(value: Option<Value>) -> Result<Option<u64>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(other) => match other.as_u64() {
            Some(ms) if ms <= limits::MAX_AGE_MS_MAX => Ok(Some(ms)),
            _ => {
                let expected = format!("0 to {} milliseconds", limits::MAX_AGE_MS_MAX);
                Err(bad_value("max_age_ms", &other, &expected))
            }
        },
    }
}

fn no_more(place: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    match object.keys().next() {
        None => Ok(()),
        Some(key) => {
            let expected = match known {
                [] => "none".to_owned(),
                known => format!("one of {}", known.join(", ")),
            };
            let message = format!("unknown field `{}` in {place}, expected {expected}", cut(key));
            Err(("unknown_field", message))
        }
    }
}

fn bad_value(field: &str, value: &Value, expected: &str) -> Error {
    ("bad_value", format!("bad value {} for `{field}`, expected {expected}", cut_value(value)))
}

fn cut_value(value: &Value) -> String {
    cut(&value.to_string())
}

/// At most [`limits::LOG_TEXT_BYTES`] bytes of what a client wrote: an answer must not echo megabytes.
pub fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(limits::LOG_TEXT_BYTES);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
