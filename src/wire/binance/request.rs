//! Requests over a WebSocket and their answers, worded as Binance words them ("Live
//! Subscribing/Unsubscribing to streams" and "Error Messages" of `web-socket-streams.md`).
//!
//! Binance reads requests with the same library as this does, and repeats what that says: so errors
//! are the same to the column.

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use crate::wire::request::cut;

/// The most characters of an `id` that is a string.
const ID_CHARS: usize = 36;

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to echo in the answer: a 64-bit integer, a string or `null`, as JSON.
    pub id: String,
    /// What is asked.
    pub call: Call,
}

/// The methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Start these streams.
    Subscribe(Vec<String>),
    /// Stop these streams.
    Unsubscribe(Vec<String>),
    /// Which streams there are.
    ListSubscriptions,
    /// Whether messages are to come as `{"stream":...,"data":...}`.
    SetCombined(bool),
    /// Whether they do.
    GetCombined,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request's `id` as JSON, where the request could be read.
    pub id: Option<String>,
    /// 0: unknown property; 1: not a boolean; 2: not a request; 3: not JSON.
    pub code: u8,
    /// What is wrong.
    pub message: String,
}

#[derive(Deserialize)]
enum Method {
    #[serde(rename = "SUBSCRIBE")]
    Subscribe,
    #[serde(rename = "UNSUBSCRIBE")]
    Unsubscribe,
    #[serde(rename = "LIST_SUBSCRIPTIONS")]
    ListSubscriptions,
    #[serde(rename = "SET_PROPERTY")]
    SetProperty,
    #[serde(rename = "GET_PROPERTY")]
    GetProperty,
}

/// An absent `id` is told from one that is `null`.
#[derive(Deserialize)]
struct Raw {
    method: Method,
    #[serde(default)]
    params: Option<Vec<Value>>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Reads a client's message.
///
/// # Errors
/// [`Refusal`]: what to answer.
pub fn parse(text: &[u8]) -> Result<Request, Refusal> {
    let raw: Raw = serde_json::from_slice(text).map_err(|e| unread(&e))?;
    let Some(id) = raw.id.as_ref().and_then(id) else {
        return Err(invalid(None, "request ID must be an unsigned integer"));
    };
    match call(&raw.method, raw.params.unwrap_or_default()) {
        Ok(call) => Ok(Request { id, call }),
        Err((code, message)) => Err(Refusal { id: Some(id), code, message: message.to_owned() }),
    }
}

fn unread(error: &serde_json::Error) -> Refusal {
    // It quotes the method that there is not, which may be as long as a message.
    let said = cut(&error.to_string());
    match error.classify() {
        Category::Data => invalid(None, &said),
        _ => Refusal { id: None, code: 3, message: format!("Invalid JSON: {said}") },
    }
}

fn invalid(id: Option<String>, what: &str) -> Refusal {
    Refusal { id, code: 2, message: format!("Invalid request: {what}") }
}

fn id(value: &Value) -> Option<String> {
    let good = match value {
        Value::Null => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => text.chars().count() <= ID_CHARS,
        _ => false,
    };
    good.then(|| value.to_string())
}

fn call(method: &Method, params: Vec<Value>) -> Result<Call, (u8, &'static str)> {
    const TOO_MANY: (u8, &str) = (2, "Invalid request: too many parameters");
    let call = match method {
        Method::Subscribe => return names(params).map(Call::Subscribe),
        Method::Unsubscribe => return names(params).map(Call::Unsubscribe),
        Method::ListSubscriptions if params.is_empty() => Call::ListSubscriptions,
        Method::GetProperty if params.len() <= 1 => {
            property(&params)?;
            Call::GetCombined
        }
        Method::SetProperty if params.len() <= 2 => {
            property(&params)?;
            match params.get(1) {
                Some(Value::Bool(combined)) => Call::SetCombined(*combined),
                _ => return Err((1, "Invalid value type: expected Boolean")),
            }
        }
        _ => return Err(TOO_MANY),
    };
    Ok(call)
}

fn names(params: Vec<Value>) -> Result<Vec<String>, (u8, &'static str)> {
    let name = |value| match value {
        Value::String(name) => Ok(name),
        _ => Err((2, "Invalid request: stream name must be a string")),
    };
    params.into_iter().map(name).collect()
}

/// `combined` is the only one there is.
fn property(params: &[Value]) -> Result<(), (u8, &'static str)> {
    match params.first() {
        Some(Value::String(name)) if name == "combined" => Ok(()),
        Some(Value::String(_)) => Err((0, "Unknown property")),
        _ => Err((2, "Invalid request: property name must be a string")),
    }
}

impl Refusal {
    /// A name in `params` that is no stream's.
    pub fn no_stream(id: String) -> Self {
        invalid(Some(id), "invalid stream")
    }

    /// A stream that Binance has and this server does not: an error rather than silence, which
    /// would look like a quiet market.
    pub fn not_served(id: String, stream: &str) -> Self {
        invalid(Some(id), &format!("stream {} is not served", cut(stream)))
    }

    /// A stream that its client may not have.
    pub fn forbidden(id: String, stream: &str, why: &str) -> Self {
        invalid(Some(id), &format!("stream {} is not granted: {why}", cut(stream)))
    }

    /// More streams than a connection may have.
    pub fn too_many_streams(id: String, most: usize) -> Self {
        invalid(Some(id), &format!("too many streams, at most {most} per connection"))
    }

    /// More requests than a connection may make.
    pub fn too_many_requests(id: Option<String>) -> Self {
        invalid(id, "too many requests")
    }

    /// Appends the answer: `{"error":{"code":2,"msg":"..."},"id":1}`, without an id where there is
    /// none.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":{\"code\":");
        out.push(b'0' + self.code);
        out.extend_from_slice(b",\"msg\":");
        out.extend_from_slice(Value::from(self.message.as_str()).to_string().as_bytes());
        out.push(b'}');
        match &self.id {
            Some(id) => push_id(out, id),
            None => out.push(b'}'),
        }
    }
}

fn push_id(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.push(b'}');
}

/// Appends `{"result":null,"id":1}`: done.
pub fn done(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"result\":null");
    push_id(out, id);
}

/// Appends `{"result":true,"id":1}`: a property's value.
pub fn value(out: &mut Vec<u8>, id: &str, value: bool) {
    out.extend_from_slice(if value { b"{\"result\":true" } else { b"{\"result\":false" });
    push_id(out, id);
}

/// Appends `{"result":["btcusdt@trade"],"id":1}`: names of streams, as the client gave them.
pub fn list<'a>(out: &mut Vec<u8>, id: &str, streams: impl Iterator<Item = &'a str>) {
    out.extend_from_slice(b"{\"result\":[");
    for (i, stream) in streams.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(Value::from(stream).to_string().as_bytes());
    }
    out.push(b']');
    push_id(out, id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_of(text: &str) -> (String, Call) {
        let request = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        (request.id, request.call)
    }

    fn answer(text: &str) -> String {
        let mut out = Vec::new();
        parse(text.as_bytes()).expect_err(text).write_to(&mut out);
        serde_json::from_slice::<Value>(&out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_read_and_their_ids_kept() {
        let streams = || vec!["btcusdt@aggTrade".to_owned(), "btcusdt@depth".to_owned()];
        assert_eq!(
            call_of(
                r#"{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth"],"id":1}"#
            ),
            ("1".to_owned(), Call::Subscribe(streams()))
        );
        let uuid = "9d32157c-a556-4d27-9866-66760a174b57";
        assert_eq!(
            call_of(&format!(
                r#"{{"id":"{uuid}","method":"UNSUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth"]}}"#
            )),
            (format!("\"{uuid}\""), Call::Unsubscribe(streams()))
        );
        for (id, call) in
            [("-9223372036854775808", Call::ListSubscriptions), ("null", Call::ListSubscriptions)]
        {
            let text = format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#);
            assert_eq!(call_of(&text), (id.to_owned(), call));
        }
        assert_eq!(
            call_of(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":5}"#).1,
            Call::SetCombined(true)
        );
        assert_eq!(
            call_of(r#"{"method":"GET_PROPERTY","params":["combined"],"id":"a\"b"}"#),
            (r#""a\"b""#.to_owned(), Call::GetCombined)
        );
        assert_eq!(call_of(r#"{"method":"SUBSCRIBE","id":1}"#).1, Call::Subscribe(Vec::new()));
        assert_eq!(
            call_of(r#"{"method":"LIST_SUBSCRIPTIONS","params":[],"id":1,"x":2}"#).1,
            Call::ListSubscriptions
        );
    }

    #[test]
    fn errors_have_binance_s_codes_and_words() {
        for (text, said) in [
            (
                r#"{"method":"SET_PROPERTY","params":["speed",true],"id":1}"#,
                r#"{"error":{"code":0,"msg":"Unknown property"},"id":1}"#,
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}"#,
                r#"{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":1}"#,
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined"],"id":1}"#,
                r#"{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":1}"#,
            ),
            (
                r#"{"method":"GET_PROPERTY","params":[7],"id":"x"}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":"x"}"#,
            ),
            (
                r#"{"method":"GET_PROPERTY","id":null}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":null}"#,
            ),
            (
                r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"]}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}"#,
            ),
            (
                r#"{"method":"SUBSCRIBE","params":[],"id":1.5}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}"#,
            ),
            (
                r#"{"method":"SUBSCRIBE","params":[],"id":"0123456789012345678901234567890123456"}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}"#,
            ),
            (
                r#"{ "id": 1, "method": "FETCH"}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: unknown variant `FETCH`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 28"}}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}"#,
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}"#,
            ),
            (
                r#"{"params":[],"id":1}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: missing field `method` at line 1 column 20"}}"#,
            ),
            (
                r#"{"method":"SUBSCRIBE","params":[5],"id":1}"#,
                r#"{"error":{"code":2,"msg":"Invalid request: stream name must be a string"},"id":1}"#,
            ),
            (
                "",
                r#"{"error":{"code":3,"msg":"Invalid JSON: EOF while parsing a value at line 1 column 0"}}"#,
            ),
            (
                "hello",
                r#"{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}"#,
            ),
            (
                "[]",
                r#"{"error":{"code":2,"msg":"Invalid request: invalid length 0, expected struct Raw with 3 elements at line 1 column 2"}}"#,
            ),
        ] {
            assert_eq!(answer(text), said, "{text}");
        }
        let long = answer(&format!(r#"{{"method":"{}","id":1}}"#, "X".repeat(10_000)));
        assert!(long.len() < 400, "{long}");
    }

    #[test]
    fn answers_are_json() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&|out| done(out, "1")), r#"{"result":null,"id":1}"#);
        assert_eq!(written(&|out| value(out, "\"a\"", true)), r#"{"result":true,"id":"a"}"#);
        assert_eq!(
            written(&|out| list(out, "null", ["btcusdt@trade", "a\"b@depth"].into_iter())),
            r#"{"result":["btcusdt@trade","a\"b@depth"],"id":null}"#
        );
        assert_eq!(written(&|out| list(out, "3", std::iter::empty())), r#"{"result":[],"id":3}"#);
        let refusal = Refusal::no_stream("7".to_owned());
        assert_eq!(
            written(&|out| refusal.write_to(out)),
            r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":7}"#
        );
    }
}
