//! JSON in, typed values out, with no allocation per message.
//!
//! Messages are read into simd-json's tape. Of the ways measured in `benches/parse.rs` it is the
//! fastest that does not depend on the order of keys, and it is the one whose buffers survive from
//! message to message.

use simd_json::prelude::*;
use simd_json::tape::{Tape, Value};
use simd_json::{Buffers, INPUT_PADDING, fill_tape_padded};
use thiserror::Error;

use super::Heard;
use crate::decimal::Decimal;
use crate::sink::Sink;

/// How much of an offending value an error shows, in characters.
const SHOWN: usize = 64;

/// Why a message is kept out of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("not JSON: {0}")]
    Json(String),
    #[error("a message of an unknown kind")]
    Unknown,
    #[error("no field `{0}`")]
    Missing(&'static str),
    #[error("field `{field}` is {got}, expected {expected}")]
    Value { field: &'static str, got: String, expected: &'static str },
    #[error("update ids run backwards: first {first}, last {last}")]
    Sequence { first: u64, last: u64 },
    #[error("symbol {0:?} cannot be split into base and quote")]
    Symbol(String),
    #[error("a snapshot that names no symbol, and {known} symbols are known here, not one")]
    NoSymbol { known: usize },
    #[error("symbol {symbol:?} is one more than the {limit} instruments that a parser keeps")]
    Full { symbol: String, limit: usize },
    #[error("{0:?} is no pair, and no list of instruments has told what one contract of it is")]
    Contract(String),
    #[error("bid and ask (or their sizes) fit no common power of ten in 63 bits")]
    Spread,
    #[error("the venue reports: {0}")]
    Venue(String),
    /// A whole request; see [`Heard::RefusedAll`].
    #[error("the venue reports: {why}")]
    Request { why: String, id: Option<u64> },
    /// A price sent as a bare fraction, which the tape holds as a float. Never leaves
    /// [`Reader::read`]: the message is read again with its numbers quoted.
    #[error("a bare fraction")]
    Fraction,
}

impl Fault {
    /// Gives the message to the sink as one that is kept out of the stream.
    #[cold]
    pub(super) fn reject(&self, text: &[u8], sink: &mut dyn Sink) -> Heard {
        sink.reject(self.kind(), &self.to_string(), text);
        match self {
            Fault::Venue(_) => Heard::Refused,
            Fault::Request { id, .. } => Heard::RefusedAll(*id),
            _ => Heard::Alive,
        }
    }

    /// The short name under which sinks count the cause.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Fault::Json(_) => "bad_json",
            Fault::Unknown => "unknown_message",
            Fault::Missing(_) => "missing_field",
            Fault::Value { .. } | Fault::Spread | Fault::Fraction => "bad_value",
            Fault::Sequence { .. } => "bad_sequence",
            Fault::Symbol(_) => "bad_symbol",
            Fault::NoSymbol { .. } => "no_symbol",
            Fault::Full { .. } => "too_many_symbols",
            Fault::Contract(_) => "unknown_contract",
            Fault::Venue(_) | Fault::Request { .. } => "venue_error",
        }
    }
}

/// Reads messages into a tape, with every buffer reused.
pub(super) struct Reader {
    /// The message and simd-json's padding: strings are unescaped in place, and the caller's text
    /// stays as it is for [`Sink::reject`](crate::sink::Sink::reject). simd-json would make this
    /// copy itself for a text without padding, so it costs nothing.
    text: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Reader { text: Vec::new(), buffers: Buffers::default(), tape: Tape(Vec::new()) }
    }

    /// Hands the message's value to `visit`.
    ///
    /// `visit` runs a second time when it returns [`Fault::Fraction`], so it reads everything
    /// before it changes anything.
    pub(super) fn read<R>(
        &mut self,
        text: &[u8],
        mut visit: impl FnMut(Value<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.text.clear();
        self.text.extend_from_slice(text);
        match self.visit(&mut visit) {
            Err(Fault::Fraction) => {
                self.text.clear();
                quote_numbers(text, &mut self.text);
                self.visit(&mut visit)
            }
            result => result,
        }
    }

    /// The same for a venue whose numbers are all bare, where reading once more would be the rule:
    /// every number is quoted first, so its digits are as they were sent.
    pub(super) fn read_quoted<R>(
        &mut self,
        text: &[u8],
        mut visit: impl FnMut(Value<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.text.clear();
        quote_numbers(text, &mut self.text);
        self.visit(&mut visit)
    }

    fn visit<R>(
        &mut self,
        visit: &mut impl FnMut(Value<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let len = self.text.len();
        self.text.resize(len + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let read = fill_tape_padded(&mut self.text, len, &mut self.buffers, &mut tape);
        let result = match read {
            Ok(()) if !tape.0.is_empty() => visit(tape.as_value()),
            Ok(()) => Err(Fault::Json("empty".to_owned())),
            Err(error) => Err(Fault::Json(error.to_string())),
        };
        self.tape = tape.reset();
        result
    }
}

/// Copies valid JSON with every bare number put in quotes: its digits survive as they were sent.
fn quote_numbers(text: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped, mut in_number) = (false, false, false);
    for &byte in text {
        let numeric = matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        if in_number && !numeric {
            out.push(b'"');
            in_number = false;
        }
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if !in_number && matches!(byte, b'0'..=b'9' | b'-') {
            out.push(b'"');
            in_number = true;
        }
        out.push(byte);
    }
    if in_number {
        out.push(b'"');
    }
}

/// `value` as an error shows it.
fn shown(value: Value<'_, '_>) -> String {
    if let Some(text) = value.as_str() {
        format!("{:?}", text.chars().take(SHOWN).collect::<String>())
    } else if let Some(number) = value.as_u64() {
        number.to_string()
    } else if let Some(number) = value.as_i64() {
        number.to_string()
    } else if let Some(number) = value.as_f64() {
        number.to_string()
    } else {
        format!("of the type {:?}", value.value_type())
    }
}

/// The fault of a field that holds something else than `expected`.
#[cold]
pub(super) fn wrong(field: &'static str, value: Value<'_, '_>, expected: &'static str) -> Fault {
    Fault::Value { field, got: shown(value), expected }
}

/// A field's value, as found while walking over an object.
pub(super) type Field<'t, 'i> = Option<Value<'t, 'i>>;

fn present<'t, 'i>(name: &'static str, field: Field<'t, 'i>) -> Result<Value<'t, 'i>, Fault> {
    field.ok_or(Fault::Missing(name))
}

/// A string.
pub(super) fn text<'i>(name: &'static str, field: Field<'_, 'i>) -> Result<&'i str, Fault> {
    let value = present(name, field)?;
    value.into_string().ok_or_else(|| wrong(name, value, "a string"))
}

/// `true` or `false`.
pub(super) fn boolean(name: &'static str, field: Field<'_, '_>) -> Result<bool, Fault> {
    let value = present(name, field)?;
    value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))
}

/// A whole number of 64 bits without a sign, bare or in quotes.
pub(super) fn integer(name: &'static str, field: Field<'_, '_>) -> Result<u64, Fault> {
    let value = present(name, field)?;
    let number = match value.as_str() {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
        None => value.as_u64(),
    };
    number.ok_or_else(|| wrong(name, value, "a whole number below 2^64"))
}

/// A price or a quantity: an exact decimal that is not negative, in quotes or bare.
pub(super) fn decimal(name: &'static str, field: Field<'_, '_>) -> Result<Decimal, Fault> {
    const EXPECTED: &str = "a decimal of at most 18 digits, not negative";
    let value = present(name, field)?;
    let number = match value.as_str() {
        Some(digits) => Decimal::parse(digits.as_bytes()).ok(),
        None if value.as_f64().is_some() => return Err(Fault::Fraction),
        None => value.as_i64().map(|whole| Decimal::new(whole, 0)),
    };
    number.filter(|n| n.mantissa >= 0).ok_or_else(|| wrong(name, value, EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R>(json: &str, visit: impl Fn(Value<'_, '_>) -> Result<R, Fault>) -> Result<R, Fault> {
        Reader::new().read(json.as_bytes(), visit)
    }

    fn number(json: &str) -> Result<String, Fault> {
        read(json, |value| decimal("p", Some(value)).map(|d| d.to_string()))
    }

    #[test]
    fn decimals_are_exact_in_quotes_and_bare() {
        for (json, expected) in [
            (r#""61837.63000000""#, "61837.63"),
            ("61837.63", "61837.63"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            (" 900719925474099.3 ", "900719925474099.3"),
            ("9007199254740993", "9007199254740993"),
            ("1e-7", "0.0000001"),
            ("0", "0"),
        ] {
            assert_eq!(number(json).as_deref(), Ok(expected), "{json}");
        }
        for json in [r#""""#, r#""-1""#, "-1", "-1.5", "true", "null", "[]", "{}", r#""1.2.3""#] {
            assert_eq!(number(json).unwrap_err().kind(), "bad_value", "{json}");
        }
    }

    #[test]
    fn numbers_are_quoted_and_strings_left_alone() {
        let mut out = Vec::new();
        quote_numbers(br#"{"a\\":[-1.5e+3,2],"1\"2":true,"n":null,"x":3}"#, &mut out);
        let expected = r#"{"a\\":["-1.5e+3","2"],"1\"2":true,"n":null,"x":"3"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_error_shows_the_value_cut() {
        let long = format!("\"{}\"", "x".repeat(1000));
        let fault = read(&long, |value| integer("u", Some(value))).unwrap_err();
        assert!(fault.to_string().len() < 150, "{fault}");
        let fault = read("[1]", |value| integer("u", Some(value))).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "field `u` is of the type Array, expected a whole number below 2^64"
        );
    }

    #[test]
    fn a_reader_recovers_from_what_is_not_json() {
        let mut reader = Reader::new();
        for text in ["", " ", "{", "\"", "nul", "{\"a\":}", "\u{0}", "[1,]"] {
            let fault = reader.read(text.as_bytes(), |_| Ok(())).unwrap_err();
            assert_eq!(fault.kind(), "bad_json", "{text:?}");
        }
        assert_eq!(reader.read(b"7", |value| integer("u", Some(value))), Ok(7));
    }
}
