//! JSON in, typed values out, with no allocation per message.
//!
//! Messages are read into simd-json's tape, but for trades in a venue's usual form (`scan.rs`). Of
//! the ways measured in `benches/parse.rs` it is the fastest that does not depend on the order of
//! keys, and it is the one whose buffers survive from message to message.

use simd_json::prelude::*;
use simd_json::tape::{Tape, Value};
use simd_json::{Buffers, INPUT_PADDING, fill_tape_padded};
use thiserror::Error;

use super::Heard;
use super::levels::Cuts;
use crate::decimal::{Decimal, parse_whole};
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

/// How a message is copied to where it is read.
pub(super) type CopyText = fn(&[u8], &mut Vec<u8>);

/// Reads messages into a tape, with every buffer reused.
pub(super) struct Reader {
    /// The message and simd-json's padding: strings are unescaped in place, and the caller's text
    /// stays as it is for [`Sink::reject`](crate::sink::Sink::reject). simd-json would make this
    /// copy itself for a text without padding, so it costs nothing.
    text: Vec<u8>,
    /// The levels that are read already.
    cuts: Cuts,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Reader {
    pub(super) fn new() -> Self {
        let (text, cuts, buffers) = (Vec::new(), Cuts::default(), Buffers::default());
        Reader { text, cuts, buffers, tape: Tape(Vec::new()) }
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
        match self.read_as(text, as_sent, &mut visit) {
            Err(Fault::Fraction) => self.read_as(text, quoted, visit),
            result => result,
        }
    }

    /// The same of a message that is copied in this way: [`quoted`] for a venue whose numbers are
    /// all bare, where reading once more would be the rule.
    pub(super) fn read_as<R>(
        &mut self,
        text: &[u8],
        copy: CopyText,
        visit: impl FnOnce(Value<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.text.clear();
        copy(text, &mut self.text);
        let len = self.pad();
        self.visit(len, visit)
    }

    /// The same of a message that may hold levels: `visit` takes what was cut out of it.
    ///
    /// It runs a second time, on all of the message, where it says that something is wrong with one
    /// that is not whole.
    pub(super) fn read_levels<R>(
        &mut self,
        text: &[u8],
        copy: CopyText,
        mut visit: impl FnMut(Value<'_, '_>, &mut Cuts) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.text.clear();
        let mut cuts = std::mem::take(&mut self.cuts);
        cuts.cut(text, &mut self.text, copy);
        let (len, is_whole) = (self.pad(), cuts.is_empty());
        cuts.place(&self.text);
        let result = self.visit(len, |root| visit(root, &mut cuts));
        self.cuts = cuts;
        let mut again = |copy| self.read_as(text, copy, |root| visit(root, &mut Cuts::default()));
        match result {
            Err(Fault::Fraction) => again(quoted),
            Err(_) if !is_whole => match again(copy) {
                Err(Fault::Fraction) => again(quoted),
                result => result,
            },
            result => result,
        }
    }

    /// Adds the padding; the length without it.
    fn pad(&mut self) -> usize {
        let len = self.text.len();
        self.text.resize(len + INPUT_PADDING, b' ');
        len
    }

    fn visit<R>(
        &mut self,
        len: usize,
        visit: impl FnOnce(Value<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
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

/// Copies a message as it is.
pub(super) fn as_sent(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
}

/// Copies valid JSON with every bare number put in quotes: its digits survive as they were sent.
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    let is_numeric = |b: u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'"' => {
                out.push(b'"');
                copy_string(after, out)
            }
            b'0'..=b'9' | b'-' => {
                out.push(b'"');
                while let [byte, after @ ..] = rest
                    && is_numeric(*byte)
                {
                    out.push(*byte);
                    rest = after;
                }
                out.push(b'"');
                rest
            }
            _ => {
                out.push(*byte);
                after
            }
        };
    }
}

/// Copies the inside of a string and the quote at its end; what follows it. Eight characters at
/// once: most of a message is names.
fn copy_string<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    while let Some((eight, after)) = text.split_first_chunk::<8>()
        && !eight.contains(&b'\\')
    {
        out.extend_from_slice(eight);
        if let Some(end) = eight.iter().position(|&b| b == b'"') {
            out.truncate(out.len() - 7 + end);
            return &text[end + 1..];
        }
        text = after;
    }
    let mut escaped = false;
    while let [byte, after @ ..] = text {
        out.push(*byte);
        text = after;
        if *byte == b'"' && !escaped {
            break;
        }
        escaped = !escaped && *byte == b'\\';
    }
    text
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
        Some(digits) => parse_whole(digits),
        None => value.as_u64(),
    };
    number.ok_or_else(|| wrong(name, value, "a whole number below 2^64"))
}

/// A price or a quantity: an exact decimal that is not negative, in quotes or bare.
#[inline]
pub(super) fn decimal(name: &'static str, field: Field<'_, '_>) -> Result<Decimal, Fault> {
    // In quotes but for one venue, so this much is worth being inlined.
    if let Some(digits) = field.and_then(|value| value.into_string())
        && let Ok(number) = Decimal::parse(digits.as_bytes())
        && number.mantissa >= 0
    {
        return Ok(number);
    }
    bare_decimal(name, field)
}

/// The same where it is not in quotes, or no such number.
#[inline(never)]
fn bare_decimal(name: &'static str, field: Field<'_, '_>) -> Result<Decimal, Fault> {
    const EXPECTED: &str = "a decimal of at most 18 digits, not negative";
    let value = present(name, field)?;
    if value.as_f64().is_some() {
        return Err(Fault::Fraction);
    }
    let number = value.as_i64().map(|whole| Decimal::new(whole, 0));
    number.filter(|n| n.mantissa >= 0).ok_or_else(|| wrong(name, value, EXPECTED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        quoted(br#"{"a\\":[-1.5e+3,2],"1\"2":true,"n":null,"x":3}"#, &mut out);
        let expected = r#"{"a\\":["-1.5e+3","2"],"1\"2":true,"n":null,"x":"3"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// What a state machine over single bytes makes of a text.
    fn quoted_byte_by_byte(text: &[u8]) -> Vec<u8> {
        let (mut in_string, mut escaped, mut in_number) = (false, false, false);
        let mut out = Vec::new();
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
        out
    }

    proptest! {
        #[test]
        fn any_text_is_quoted_as_byte_by_byte(text in r#"([0-9.eE+-]{1,9}|[a-z]{1,9}|[":,{}\\]){0,40}"#) {
            let mut out = Vec::new();
            quoted(text.as_bytes(), &mut out);
            prop_assert_eq!(out, quoted_byte_by_byte(text.as_bytes()), "{}", text);
        }
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
