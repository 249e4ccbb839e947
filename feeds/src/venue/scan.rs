//! Trades read straight from a message's text.
//!
//! Trades are short, come one by one, and each venue writes its own in one order, without a space.
//! What the JSON reader makes of such a message takes two or three times as long as the trade. So
//! each venue's `Print::scan` walks over the text in the order of that form, and what differs from
//! it by a byte goes the way of all other messages. This is a way round the reader for the rule,
//! never another notion of what a message may be.
//!
//! Invariant: what is taken here is valid JSON of which the fields of the venue give the same
//! values. The literals spell the keys, each once; a value is taken only in its plainest form.

use crate::decimal::{Decimal, whole_until};
use crate::tick::Side;
use crate::venue::time::{from_epoch, from_rfc3339};

/// What is left of a message. Each method takes something off its front, or says `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Scan(text)
    }

    /// Exactly this.
    #[inline]
    pub(super) fn literal(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal.as_bytes())?;
        Some(())
    }

    /// This, if it is there.
    #[inline]
    pub(super) fn has(&mut self, literal: &str) -> bool {
        self.literal(literal).is_some()
    }

    /// One of two, which say whether the taker bought or sold.
    #[inline]
    pub(super) fn side(&mut self, buy: &str, sell: &str) -> Option<Side> {
        if self.has(buy) {
            return Some(Side::Buy);
        }
        self.literal(sell).map(|()| Side::Sell)
    }

    /// `true` or `false`.
    #[inline]
    pub(super) fn boolean(&mut self) -> Option<bool> {
        if self.has("true") {
            return Some(true);
        }
        self.literal("false").map(|()| false)
    }

    /// The inside of a string, and its end: ASCII without escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let text = self.0;
        self.skip_string()?;
        str::from_utf8(&text[..text.len() - self.0.len() - 1]).ok()
    }

    /// The same where it does not matter what it is.
    #[inline]
    pub(super) fn skip_string(&mut self) -> Option<()> {
        // Eight characters at once, without a branch for each.
        while let Some((eight, rest)) = self.0.split_first_chunk::<8>()
            && eight.iter().fold(true, |plain, &b| plain & is_plain(b))
        {
            self.0 = rest;
        }
        let len = self.0.iter().position(|&b| !is_plain(b))?;
        self.0 = self.0[len..].strip_prefix(b"\"")?;
        Some(())
    }

    /// A whole number without a sign, up to `end`, which stays.
    #[inline]
    pub(super) fn whole(&mut self, end: u8) -> Option<u64> {
        let (number, len) = match whole_until(end, self.0) {
            Some(found) => found,
            None => self.last_whole(end)?,
        };
        // Bare, it may not begin with a zero.
        let plain = self.0[0] != b'0' || len == 1;
        self.0 = &self.0[len..];
        plain.then_some(number)
    }

    /// The same so near to the end of the text that it cannot be read eight characters at once.
    fn last_whole(&self, end: u8) -> Option<(u64, usize)> {
        let len = self.0.iter().take(17).position(|&b| b == end).filter(|len| *len > 0)?;
        let digit = |b: &u8| b.is_ascii_digit().then(|| u64::from(b - b'0'));
        let number = self.0[..len].iter().try_fold(0, |sum, b| Some(sum * 10 + digit(b)?))?;
        Some((number, len))
    }

    /// A decimal without a sign, up to `end`, which stays.
    #[inline]
    pub(super) fn decimal(&mut self, end: u8) -> Option<Decimal> {
        let (number, len) = Decimal::parse_until(end, self.0)?;
        // Bare, it may not begin with a point.
        let plain = self.0[0] != b'.';
        self.0 = &self.0[len..];
        plain.then_some(number)
    }

    /// Milliseconds or microseconds up to `end`, as nanoseconds.
    #[inline]
    pub(super) fn epoch(&mut self, end: u8) -> Option<u64> {
        from_epoch(self.whole(end)?)
    }

    /// A time as Coinbase and Kraken write it, and the end of its string.
    #[inline]
    pub(super) fn rfc3339(&mut self) -> Option<u64> {
        from_rfc3339(self.string()?)
    }

    /// The end of the message.
    #[inline]
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// What stands for itself in a string.
#[inline]
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::instrument::Instruments;
    use crate::sink::VecSink;
    use crate::tick::Tick;
    use crate::venue::{self, Context, Heard};

    /// A trade as each venue sends it.
    const FORMS: [(&str, &str); 9] = [
        (
            "binance",
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342123,"m":true,"M":true}}"#,
        ),
        (
            "binance",
            r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63","q":"2","T":1723161255342,"m":false,"M":true}"#,
        ),
        (
            "coinbase",
            r#"{"type":"match","trade_id":82007,"maker_order_id":"9d2861bd-1703","taker_order_id":"dd068ce5-f175","side":"buy","size":"1008.2","price":"0.5752","product_id":"SKL-GBP","sequence":27883326,"time":"2021-04-17T16:43:29.571587Z"}"#,
        ),
        (
            "coinbase",
            r#"{"type":"last_match","trade_id":1,"maker_order_id":"9","taker_order_id":"","side":"sell","size":"70","price":"0.4394","product_id":"NU-GBP","sequence":1,"time":"2021-04-17T16:43:18Z"}"#,
        ),
        (
            "kraken",
            r#"{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}"#,
        ),
        (
            "bybit",
            r#"{"topic":"publicTrade.SOLUSDT","ts":1790398535416,"type":"snapshot","data":[{"i":"2210000001608762408","T":1790398535414,"p":"120.69","v":"2.0193","S":"Sell","seq":162270086950,"s":"SOLUSDT","BT":false,"RPI":true},{"i":"2210000001608762409","T":1790398535414,"p":"120.68","v":"0.5","S":"Buy","seq":162270086950,"s":"SOLUSDT","BT":true,"RPI":false}]}"#,
        ),
        (
            "bybit-linear",
            r#"{"topic":"publicTrade.BTCPERP","type":"snapshot","ts":1774021164273,"data":[{"T":1774021164272,"s":"BTCPERP","S":"Sell","v":"0.001","p":"69916.80","L":"MinusTick","i":"0c931d9a-b703-5c34-9aeb-860867cf1f66","BT":false,"RPI":false,"seq":549792210006}]}"#,
        ),
        (
            "okx",
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":1234}]}"#,
        ),
        (
            "okx",
            r#"{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"1","px":"1","sz":"1","side":"sell","ts":"1","count":"1","source":"1","seqId":0}]}"#,
        ),
    ];

    /// Those of one venue.
    pub(in crate::venue) fn forms(venue: &str) -> Vec<&'static str> {
        let forms: Vec<_> =
            FORMS.iter().filter(|(name, _)| *name == venue).map(|(_, text)| *text).collect();
        assert!(!forms.is_empty());
        forms
    }

    /// All that a new parser does with a message.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        heard: Heard,
        ticks: Vec<Tick>,
        rejects: Vec<(&'static str, String)>,
        ignored: Vec<(String, u64)>,
    }

    fn outcome(venue: &str, text: &str) -> Outcome {
        let instruments = Arc::new(Instruments::new());
        let mut parser = venue::find(venue).unwrap().parser(&instruments);
        let mut sink = VecSink::default();
        let heard = parser.message(text.as_bytes(), 1, Context::default(), &mut sink);
        let rejects = sink.rejects.into_iter().map(|(kind, detail, _)| {
            // Which character it was is not the same with a space before.
            (kind, if kind == "bad_json" { String::new() } else { detail })
        });
        let ignored = parser.ignored().iter().map(|(name, count)| (name.to_owned(), count));
        let (rejects, ignored) = (rejects.collect(), ignored.collect());
        Outcome { heard, ticks: sink.ticks, rejects, ignored }
    }

    /// No message that begins with a space is taken here.
    fn both_ways(venue: &str, text: &str) -> Outcome {
        let there = outcome(venue, text);
        assert_eq!(there, outcome(venue, &format!(" {text}")), "{text}");
        there
    }

    #[test]
    fn each_form_makes_its_trades_both_ways() {
        for (venue, text) in FORMS {
            let outcome = both_ways(venue, text);
            assert!(!outcome.ticks.is_empty() && outcome.rejects.is_empty(), "{text}");
        }
    }

    #[test]
    fn whatever_one_character_is_changed_to_both_ways_agree() {
        for (venue, text) in FORMS {
            for at in 0..text.len() {
                let (before, after) = (&text[..at], &text[at + 1..]);
                both_ways(venue, &format!("{before}{after}"));
                both_ways(venue, before);
                for other in "02.-\"\\}, é\u{1}".chars() {
                    both_ways(venue, &format!("{before}{other}{after}"));
                    both_ways(venue, &format!("{before}{other}{}", &text[at..]));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_values_are_both_ways_agree(
            symbol in r#"BTCUSDT|BTC-USDT|BTC/USD|BTCPERP|[A-Zé/*:\\"-]{0,9}"#,
            wholes in prop::array::uniform2("[1-9][0-9]{0,18}|[0-9]{1,21}|-1|1e3|[0-9]\\.[0-9]"),
            decimals in prop::array::uniform2(
                r"[0-9]{1,9}(\.[0-9]{1,9})?|[0-9]{0,20}(\.[0-9]{0,20})?|-1|1e3|x",
            ),
            time in "1[0-9]{12}|1[0-9]{15}|[0-9]{1,20}",
            stamp in r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,10})?Z",
            side in "buy|sell|Buy|Sell|x",
            maker in "true|false|1",
        ) {
            let ([id, other], [price, size]) = (wholes, decimals);
            for (venue, text) in [
                ("binance", format!(r#"{{"e":"trade","E":{other},"s":"{symbol}","t":{id},"p":"{price}","q":"{size}","T":{time},"m":{maker},"M":true}}"#)),
                ("coinbase", format!(r#"{{"type":"match","trade_id":{id},"maker_order_id":"{side}","taker_order_id":"","side":"{side}","size":"{size}","price":"{price}","product_id":"{symbol}","sequence":{other},"time":"{stamp}"}}"#)),
                ("kraken", format!(r#"{{"channel":"trade","type":"update","data":[{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{size},"ord_type":"market","trade_id":{id},"timestamp":"{stamp}"}}]}}"#)),
                ("bybit", format!(r#"{{"topic":"publicTrade.{symbol}","ts":{other},"type":"snapshot","data":[{{"i":"{id}","T":{time},"p":"{price}","v":"{size}","S":"{side}","seq":{id},"s":"{symbol}","BT":{maker},"RPI":true}}]}}"#)),
                ("bybit-linear", format!(r#"{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{other},"data":[{{"T":{time},"s":"{symbol}","S":"{side}","v":"{size}","p":"{price}","L":"{side}","i":"{other}","BT":{maker},"RPI":false,"seq":{id}}}]}}"#)),
                ("okx", format!(r#"{{"arg":{{"channel":"trades","instId":"{symbol}"}},"data":[{{"instId":"{symbol}","tradeId":"{id}","px":"{price}","sz":"{size}","side":"{side}","ts":"{time}","count":"{other}","source":"0","seqId":{other}}}]}}"#)),
            ] {
                both_ways(venue, &text);
            }
        }
    }

    #[test]
    fn numbers_are_read_up_to_their_end() {
        for (text, whole, decimal) in [
            ("7,", Some(7), Some("7")),
            ("0,", Some(0), Some("0")),
            ("07,", None, Some("7")),
            ("1234567,xxxxxxxxxxxx", Some(1_234_567), Some("1234567")),
            ("12345678,xxxxxxxxxxxx", Some(12_345_678), Some("12345678")),
            ("123456789012345,xxxxxx", Some(123_456_789_012_345), Some("123456789012345")),
            ("1234567890123456,xxxx", Some(1_234_567_890_123_456), Some("1234567890123456")),
            ("1234567890123456,", Some(1_234_567_890_123_456), Some("1234567890123456")),
            ("12345678901234567,xxxx", None, None),
            ("1.50,xxxxxxxxxxxxxxx", None, Some("1.5")),
            (".5,xxxxxxxxxxxxxxx", None, None),
            (",xxxxxxxxxxxxxxx", None, None),
            (",", None, None),
            ("", None, None),
            ("1x,xxxxxxxxxxxxxxx", None, None),
            ("12", None, None),
        ] {
            let mut scan = Scan::new(text.as_bytes());
            assert_eq!(scan.whole(b','), whole, "{text}");
            let number = Scan::new(text.as_bytes()).decimal(b',');
            let number = number.map(|number| number.to_string());
            // So near to the end it may be left to the other way.
            assert!(
                number.as_deref() == decimal || (number.is_none() && text.len() < 17),
                "{text}"
            );
        }
    }

    #[test]
    fn strings_are_plain_ascii() {
        for (text, inside, rest) in [
            (r#"abc",x"#, Some("abc"), ",x"),
            (r#"","#, Some(""), ","),
            (r#"0123456789abcdef""#, Some("0123456789abcdef"), ""),
        ] {
            let mut scan = Scan::new(text.as_bytes());
            assert_eq!((scan.string(), scan.0), (inside, rest.as_bytes()), "{text}");
        }
        for text in
            ["abc", "", "a\\\"b\"", "a\\u0041\"", "é\"", "a\tb\"", "12345678é\"", "\u{7f}\""]
        {
            assert_eq!(Scan::new(text.as_bytes()).string(), None, "{text}");
        }
    }
}
