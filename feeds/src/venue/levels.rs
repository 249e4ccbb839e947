//! Levels read straight from a message's text.
//!
//! A depth message is a hundred bytes around hundreds of levels, each in the very same form. What
//! the JSON reader makes of one (six marks and up to five nodes) takes longer than its two numbers
//! do. So arrays of levels are read here, number by number, and an empty string takes their place in
//! the text that the JSON reader gets. What differs by a byte from the forms known here stays where
//! it is: this is a way round the reader for the rule, never another notion of what a message may
//! be.
//!
//! Invariant: the text is valid with the strings if and only if it was valid without. An array of
//! one of these forms is valid JSON, and so is a string. Where what looks like one stands within a
//! string, its first quote ends that, and a digit or letter follows: not valid; nor are the two
//! strings that then stand side by side.

// Not the whole prelude, whose `iter` of a `Vec` allocates.
use simd_json::prelude::ValueIntoString;

use super::json::Field;
use crate::decimal::Decimal;
use crate::tick::Side;

/// Shorter messages have so few levels that looking for them would cost as much as it saves.
const SHORTEST: usize = 512;

/// What takes the place of an array.
const MARK: &[u8] = br#""""#;

/// How venues write a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `["61800.5","1.25"]`; further strings of digits are passed over.
    Pair,
    /// `["buy","61800.5","1.25"]`.
    Sided,
    /// `{"price":61800.5,"qty":1.25}`.
    Object,
}

/// One level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Bid or ask, of [`Form::Sided`] alone.
    pub(super) side: Side,
    /// As sent, of at most sixteen characters.
    pub(super) price: Decimal,
    /// Likewise.
    pub(super) size: Decimal,
}

/// The levels of a message that were cut out of its text.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    rows: Vec<Row>,
    arrays: Vec<Array>,
}

#[derive(Debug)]
struct Array {
    /// Where the inside of its mark is, in the text with marks; later its address.
    mark: usize,
    form: Form,
    /// Where its rows end; they begin where those of the array before end.
    end: usize,
}

impl Cuts {
    /// Starts over.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.arrays.clear();
    }

    /// Whether anything was cut out.
    pub(super) fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Copies a message with marks in the place of its arrays of levels, and keeps those. `copy` is
    /// given what lies between.
    pub(super) fn cut(
        &mut self,
        text: &[u8],
        out: &mut Vec<u8>,
        copy: impl Fn(&[u8], &mut Vec<u8>),
    ) {
        self.clear();
        if text.len() < SHORTEST {
            return copy(text, out);
        }
        let (mut copied, mut at) = (0, 0);
        while let Some(found) = text[at..].iter().position(|&b| b == b'[') {
            at += found;
            let Some(rest) = self.array(&text[at..]) else {
                at += 1;
                continue;
            };
            copy(&text[copied..at], out);
            out.extend_from_slice(MARK);
            if let Some(array) = self.arrays.last_mut() {
                array.mark = out.len() - 1;
            }
            at = text.len() - rest.len();
            copied = at;
        }
        copy(&text[copied..], out);
    }

    /// The text with the marks is at this address now.
    pub(super) fn place(&mut self, text: &[u8]) {
        for array in &mut self.arrays {
            array.mark += text.as_ptr().addr();
        }
    }

    /// The levels that were in the place of this string, if it is a mark: by where it stands, for
    /// anybody may send an empty string.
    pub(super) fn rows(&self, field: Field<'_, '_>, form: Form) -> Option<&[Row]> {
        if self.arrays.is_empty() {
            return None;
        }
        let mark = field?.into_string()?.as_ptr().addr();
        let at = self.arrays.iter().position(|array| array.mark == mark)?;
        let begin = at.checked_sub(1).map_or(0, |before| self.arrays[before].end);
        (self.arrays[at].form == form).then(|| &self.rows[begin..self.arrays[at].end])
    }

    /// Reads an array of levels; what follows it.
    fn array<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let form = match text.get(..4)? {
            [b'[', b'[', b'"', b'b' | b's'] => Form::Sided,
            [b'[', b'[', b'"', b'0'..=b'9'] => Form::Pair,
            [b'[', b'{', b'"', b'p'] => Form::Object,
            _ => return None,
        };
        let begin = self.rows.len();
        let rest = self.levels(form, &text[1..]);
        match rest {
            Some(_) => self.arrays.push(Array { mark: 0, form, end: self.rows.len() }),
            None => self.rows.truncate(begin),
        }
        rest
    }

    fn levels<'a>(&mut self, form: Form, mut rest: &'a [u8]) -> Option<&'a [u8]> {
        loop {
            let (row, after) = match form {
                Form::Pair => pair(Side::Buy, rest.strip_prefix(br#"[""#)?)?,
                Form::Sided => sided(rest)?,
                Form::Object => object(rest)?,
            };
            self.rows.push(row);
            rest = match after {
                [b',', rest @ ..] => rest,
                [b']', rest @ ..] => return Some(rest),
                _ => return None,
            };
        }
    }
}

#[inline]
fn sided(text: &[u8]) -> Option<(Row, &[u8])> {
    if let Some(rest) = text.strip_prefix(br#"["buy",""#) {
        return pair(Side::Buy, rest);
    }
    pair(Side::Sell, text.strip_prefix(br#"["sell",""#)?)
}

/// From the price's first digit on.
#[inline]
fn pair(side: Side, text: &[u8]) -> Option<(Row, &[u8])> {
    let (price, rest) = number(text, b'"')?;
    let (size, rest) = number(rest.strip_prefix(br#"",""#)?, b'"')?;
    let mut rest = &rest[1..];
    while let Some(more) = rest.strip_prefix(br#",""#) {
        let digits = more.iter().take_while(|b| b.is_ascii_digit()).count();
        rest = more[digits..].strip_prefix(br#"""#)?;
    }
    Some((Row { side, price, size }, rest.strip_prefix(b"]")?))
}

#[inline]
fn object(text: &[u8]) -> Option<(Row, &[u8])> {
    let (price, rest) = number(text.strip_prefix(br#"{"price":"#)?, b',')?;
    let (size, rest) = number(rest.strip_prefix(br#","qty":"#)?, b'}')?;
    Some((Row { side: Side::Buy, price, size }, &rest[1..]))
}

/// A number of at most sixteen characters before `end`, which is what is left begins with.
#[inline]
fn number(text: &[u8], end: u8) -> Option<(Decimal, &[u8])> {
    let (number, len) = match Decimal::parse_until(end, text) {
        Some(found) => found,
        None => last_number(text, end)?,
    };
    // What begins with a point is no number where it is bare.
    (text[0] != b'.').then_some((number, &text[len..]))
}

/// The same at the end of a message.
#[cold]
fn last_number(text: &[u8], end: u8) -> Option<(Decimal, usize)> {
    let len = text.iter().take(17).position(|&b| b == end)?;
    Some((Decimal::parse_short(&text[..len])?, len))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::instrument::Instruments;
    use crate::sink::VecSink;
    use crate::venue::{self, Context};

    /// Long enough to be looked into.
    fn long(text: &str) -> String {
        format!("{}{text}", " ".repeat(SHORTEST))
    }

    fn cut(text: &str) -> (String, Vec<(Form, Vec<String>)>) {
        let (mut cuts, mut out) = (Cuts::default(), Vec::new());
        cuts.cut(long(text).as_bytes(), &mut out, |part, out| out.extend_from_slice(part));
        let mut begin = 0;
        let arrays = cuts.arrays.iter().map(|array| {
            let rows = &cuts.rows[begin..array.end];
            begin = array.end;
            let row = |r: &Row| format!("{:?} {}x{}", r.side, r.price, r.size);
            (array.form, rows.iter().map(row).collect())
        });
        let arrays = arrays.collect();
        (String::from_utf8(out).unwrap().trim_start().to_owned(), arrays)
    }

    #[test]
    fn the_forms_of_the_venues_are_cut_out() {
        for (text, left, form, rows) in [
            (
                r#"{"b":[["1.50","2"],["3","0.0"]],"u":7}"#,
                r#"{"b":"","u":7}"#,
                Form::Pair,
                vec!["Buy 1.5x2", "Buy 3x0"],
            ),
            (r#"[["1","2","0","13"]]"#, r#""""#, Form::Pair, vec!["Buy 1x2"]),
            (
                r#"{"c":[["sell","1","2"],["buy","0.00000003","4000000.12345678"]]}"#,
                r#"{"c":""}"#,
                Form::Sided,
                vec!["Sell 1x2", "Buy 0.00000003x4000000.12345678"],
            ),
            (
                r#"{"bids":[{"price":1.50,"qty":20}],"x":[]}"#,
                r#"{"bids":"","x":[]}"#,
                Form::Object,
                vec!["Buy 1.5x20"],
            ),
        ] {
            let rows = rows.into_iter().map(str::to_owned).collect();
            assert_eq!(cut(text), (left.to_owned(), vec![(form, rows)]), "{text}");
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for text in [
            r#"{"b":[]}"#,
            r#"[["1","2"],["3"]]"#,
            r#"[["1","2"] ]"#,
            r#"[["1","2",[]]]"#,
            r#"[["1","2","x"]]"#,
            r#"[["1","-2"]]"#,
            r#"[["1","2e3"]]"#,
            r#"[["1","12345678901234567"]]"#,
            r#"[["1","2"],{"price":1,"qty":2}]"#,
            r#"[["hold","1","2"]]"#,
            r#"[{"price":1,"qty":.2}]"#,
            r#"[{"price":1,"qty":2,"x":3}]"#,
            r#"[{"qty":1,"price":2}]"#,
            r#"[["1","2"]"#,
            r#"[["1","#,
        ] {
            assert_eq!(cut(text), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn short_messages_are_not_looked_into() {
        let (mut cuts, mut out) = (Cuts::default(), Vec::new());
        let text = br#"[["1","2"]]"#;
        cuts.cut(text, &mut out, |part, out| out.extend_from_slice(part));
        assert!(cuts.is_empty() && out == text);
    }

    /// The parts of which messages are made here, and of what is nearly one.
    const PARTS: &str = r#"(\[\["1","2"\]\]|\[\{"price":1,"qty":2\}\]|\[\["buy","1","2"\]|"a"|[{}:,"\\]|\]|\[|1){0,9}"#;

    /// What a new parser makes of a venue's messages.
    fn ticks(venue: &str, texts: &[&str]) -> VecSink {
        let instruments = Arc::new(Instruments::new());
        let mut parser = venue::find(venue).unwrap().parser(&instruments);
        let mut sink = VecSink::default();
        for text in texts {
            parser.message(text.as_bytes(), 1, Context::default(), &mut sink);
        }
        sink
    }

    proptest! {
        #[test]
        fn what_is_left_is_valid_where_the_text_was(text in PARTS) {
            let is_valid = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
            prop_assert_eq!(is_valid(&cut(&text).0), is_valid(&text), "{}", text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// A space in every array sends a message the other way.
        #[test]
        fn both_ways_lead_to_the_same_ticks(
            levels in prop::collection::vec(
                (r"[0-9]{1,9}(\.[0-9]{0,9})?", r"[0-9]{1,3}(\.[0-9]{1,8})?|-1|1e3"), 1..40,
            ),
            sides in any::<u64>(),
        ) {
            let pad = " ".repeat(SHORTEST);
            let all = |form: &dyn Fn(usize, &str, &str) -> String| {
                let each = levels.iter().enumerate().map(|(n, (price, size))| form(n, price, size));
                each.collect::<Vec<_>>().join(",")
            };
            let pairs = all(&|_, price, size| format!(r#"["{price}","{size}"]"#));
            let longer = all(&|_, price, size| format!(r#"["{price}","{size}","0","7"]"#));
            let sided = all(&|n, price, size| {
                let side = if sides >> (n % 64) & 1 == 0 { "buy" } else { "sell" };
                format!(r#"["{side}","{price}","{size}"]"#)
            });
            let objects = all(&|_, price, size| format!(r#"{{"price":{price},"qty":{size}}}"#));
            for (venue, text) in [
                ("binance", format!(r#"{{"stream":"btcusdt@depth5","data":{{"lastUpdateId":9,"bids":[{pairs}],"asks":[{longer}]}}}}"#)),
                ("coinbase", format!(r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{sided}]}}"#)),
                ("coinbase", format!(r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{pairs}]}}"#)),
                ("bybit", format!(r#"{{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{{"s":"BTCUSDT","b":[{pairs}],"a":[{sided}],"u":3,"seq":7}}}}"#)),
                ("bybit", format!(r#"{{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{{"s":"BTCUSDT","b":[],"a":[{pairs}],"u":3,"seq":7}}}}"#)),
                ("okx", format!(r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"snapshot","data":[{{"asks":[{longer}],"bids":[{pairs}],"ts":"1597026383085","prevSeqId":-1,"seqId":9}}]}}"#)),
                ("kraken", format!(r#"{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD","bids":[{objects}],"asks":[],"checksum":0}}]}}"#)),
            ] {
                let first = r#"{"type":"snapshot","product_id":"BTC-USD","bids":[],"asks":[]}"#;
                let first = if venue == "coinbase" { first } else { "{}" };
                let there = ticks(venue, &[first, &format!("{pad}{text}")]);
                let back = ticks(venue, &[first, &format!("{pad}{}", text.replace('[', "[ "))]);
                prop_assert_eq!(&there.ticks, &back.ticks, "{}", text);
                let why = |sink: &VecSink| sink.rejects.iter().map(|r| (r.0, r.1.clone())).collect::<Vec<_>>();
                prop_assert_eq!(why(&there), why(&back), "{}", text);
            }
        }
    }
}
