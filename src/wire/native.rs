//! The native dialect, outgoing: ticks to JSON (docs/PROTOCOL.md).
//!
//! Everything that does not change from tick to tick stands ready in [`Heads`]; encoding one is
//! copying that, then a few integers. Nothing here allocates once the output has grown.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, FeedState, Side, Tick};

use super::encode::TradeSum;
use crate::derive::sum::{difference, percent};
use crate::derive::{Bar, Sum};

/// The parts of one instrument's messages that never change, built when it is listed.
#[derive(Debug)]
pub struct Heads {
    trade: Box<[u8]>,
    /// From `","symbol":"` to `,"seq":` of the other channels.
    symbol: Box<[u8]>,
}

impl Heads {
    /// The heads of `symbol`, which is quoted here as JSON wants it.
    pub fn new(symbol: &str) -> Self {
        let quoted = serde_json::Value::from(symbol).to_string();
        let trade =
            format!(r#"{{"channel":"trade","type":"update","symbol":{quoted},"seq":"#).into_bytes();
        let symbol = format!(r#","symbol":{quoted},"#).into_bytes();
        Heads { trade: trade.into(), symbol: symbol.into() }
    }
}

/// Appends an integer in decimal.
pub fn push_int(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    push_int(out, value);
}

fn push_decimal(out: &mut Vec<u8>, name: &[u8], value: Decimal) {
    out.extend_from_slice(name);
    value.write_to(out);
    out.push(b'"');
}

/// `,"ts":{...}}`: closes the message. Nanoseconds inside, microseconds on the wire.
fn push_stamps(out: &mut Vec<u8>, event_ns: u64, recv_ns: u64) {
    out.extend_from_slice(b",\"ts\":{");
    if event_ns != 0 {
        push_field(out, b"\"event\":", event_ns / 1000);
        out.push(b',');
    }
    push_field(out, b"\"recv\":", recv_ns / 1000);
    out.extend_from_slice(b"}}");
}

/// Appends a trade.
pub fn trade(out: &mut Vec<u8>, heads: &Heads, tick: &Tick, prev: u64) {
    out.extend_from_slice(&heads.trade);
    push_trade(out, tick, prev);
}

/// Appends a trade of the time before a subscription.
pub fn past_trade(out: &mut Vec<u8>, heads: &Heads, tick: &Tick, prev: u64) {
    push_opening(out, b"trade", heads, b"history", None);
    out.extend_from_slice(b"\"seq\":");
    push_trade(out, tick, prev);
}

fn push_trade(out: &mut Vec<u8>, tick: &Tick, prev: u64) {
    let trade = tick.as_trade();
    push_int(out, tick.seq);
    push_field(out, b",\"prev\":", prev);
    push_field(out, b",\"id\":", trade.id);
    out.extend_from_slice(match trade.side {
        Side::Buy => b",\"side\":\"buy\"",
        Side::Sell => b",\"side\":\"sell\"",
    });
    push_decimal(out, b",\"price\":\"", trade.price);
    push_decimal(out, b",\"qty\":\"", trade.size);
    if tick.has(flags::AGGREGATE) {
        out.extend_from_slice(b",\"aggregate\":true");
    }
    push_stamps(out, tick.ts_event, tick.ts_recv);
}

/// Appends several trades as one: price, side and id are the newest one's.
pub fn trades(out: &mut Vec<u8>, heads: &Heads, sum: &TradeSum, prev: u64) {
    let trade = sum.last.as_trade();
    out.extend_from_slice(&heads.trade);
    push_int(out, sum.last.seq);
    push_field(out, b",\"prev\":", prev);
    push_field(out, b",\"id\":", trade.id);
    out.extend_from_slice(match trade.side {
        Side::Buy => b",\"side\":\"buy\"",
        Side::Sell => b",\"side\":\"sell\"",
    });
    push_decimal(out, b",\"price\":\"", trade.price);
    push_sum(out, b",\"qty\":\"", sum.qty);
    push_field(out, b",\"count\":", sum.count);
    push_sum(out, b",\"buy_qty\":\"", sum.bought);
    push_decimal(out, b",\"high\":\"", sum.high.as_trade().price);
    push_decimal(out, b",\"low\":\"", sum.low.as_trade().price);
    push_stamps(out, sum.last.ts_event, sum.last.ts_recv);
}

/// Appends a quote: an update that follows `prev`, or a snapshot where there is none.
pub fn quote(out: &mut Vec<u8>, heads: &Heads, tick: &Tick, prev: Option<u64>) {
    let quote = tick.as_quote();
    push_opening(out, b"quote", heads, kind(prev), None);
    push_seq(out, tick.seq, prev);
    push_decimal(out, b",\"bid\":\"", quote.bid);
    push_decimal(out, b",\"bid_qty\":\"", quote.bid_size);
    push_decimal(out, b",\"ask\":\"", quote.ask);
    push_decimal(out, b",\"ask_qty\":\"", quote.ask_size);
    push_stamps(out, tick.ts_event, tick.ts_recv);
}

/// What a book message carries besides its levels.
#[derive(Clone, Copy, Debug)]
pub struct BookHead {
    /// Levels a side, `None` for the full book.
    pub depth: Option<u16>,
    /// Sequence of the event.
    pub seq: u64,
    /// Sequence of the message before it; `None` makes this a snapshot.
    pub prev: Option<u64>,
    /// Venue time in nanoseconds, 0 where unknown.
    pub ts_event: u64,
    /// Receive time in nanoseconds.
    pub ts_recv: u64,
}

/// Appends a book message with these levels, best first.
pub fn book(
    out: &mut Vec<u8>,
    heads: &Heads,
    head: &BookHead,
    bids: impl Iterator<Item = (Decimal, Decimal)>,
    asks: impl Iterator<Item = (Decimal, Decimal)>,
) {
    push_opening(out, b"book", heads, kind(head.prev), head.depth);
    push_seq(out, head.seq, head.prev);
    out.extend_from_slice(b",\"bids\":");
    push_levels(out, bids);
    out.extend_from_slice(b",\"asks\":");
    push_levels(out, asks);
    push_stamps(out, head.ts_event, head.ts_recv);
}

fn push_levels(out: &mut Vec<u8>, levels: impl Iterator<Item = (Decimal, Decimal)>) {
    out.push(b'[');
    for (i, (price, size)) in levels.enumerate() {
        out.extend_from_slice(if i == 0 { b"[\"" } else { b",[\"" });
        price.write_to(out);
        out.extend_from_slice(b"\",\"");
        size.write_to(out);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

/// What a message is that follows another one, or none.
fn kind(prev: Option<u64>) -> &'static [u8] {
    if prev.is_none() { b"snapshot" } else { b"update" }
}

fn push_opening(out: &mut Vec<u8>, channel: &[u8], heads: &Heads, kind: &[u8], depth: Option<u16>) {
    out.extend_from_slice(b"{\"channel\":\"");
    out.extend_from_slice(channel);
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(kind);
    out.push(b'"');
    out.extend_from_slice(&heads.symbol);
    if let Some(depth) = depth {
        push_field(out, b"\"depth\":", u64::from(depth));
        out.push(b',');
    }
}

fn push_seq(out: &mut Vec<u8>, seq: u64, prev: Option<u64>) {
    push_field(out, b"\"seq\":", seq);
    if let Some(prev) = prev {
        push_field(out, b",\"prev\":", prev);
    }
}

/// A sum, left out where it has no value.
fn push_sum(out: &mut Vec<u8>, name: &[u8], value: Sum) {
    if value.is_known() {
        out.extend_from_slice(name);
        value.write_to(out);
        out.push(b'"');
    }
}

/// Appends a bar: an update that follows `prev`, or a snapshot where there is none.
pub fn bar(out: &mut Vec<u8>, heads: &Heads, bar: &Bar, seq: u64, prev: Option<u64>) {
    push_opening(out, b"bar", heads, kind(prev), None);
    push_interval(out, bar);
    out.push(b',');
    push_seq(out, seq, prev);
    push_bar(out, bar);
}

/// Appends a bar that closed before a subscription.
pub fn past_bar(out: &mut Vec<u8>, heads: &Heads, bar: &Bar) {
    push_opening(out, b"bar", heads, b"history", None);
    push_interval(out, bar);
    push_bar(out, bar);
}

fn push_interval(out: &mut Vec<u8>, bar: &Bar) {
    out.extend_from_slice(b"\"interval\":\"");
    out.extend_from_slice(bar.span.as_str().as_bytes());
    out.push(b'"');
}

fn push_bar(out: &mut Vec<u8>, bar: &Bar) {
    push_field(out, b",\"start\":", bar.start_s * 1_000_000);
    push_field(out, b",\"end\":", bar.end_s() * 1_000_000);
    push_prices(out, bar);
    push_decimal(out, b",\"close\":\"", bar.close);
    push_sum(out, b",\"volume\":\"", bar.volume);
    push_sum(out, b",\"buy_volume\":\"", bar.bought);
    push_sum(out, b",\"quote_volume\":\"", bar.turnover);
    push_field(out, b",\"trades\":", bar.trades);
    out.extend_from_slice(if bar.is_final { b",\"final\":true" } else { b",\"final\":false" });
    if bar.revision > 0 {
        push_field(out, b",\"revision\":", bar.revision.into());
    }
    push_stamps(out, bar.event_ns, bar.recv_ns);
}

/// Appends the last 24 hours: an update that follows `prev`, or a snapshot where there is none.
pub fn ticker(out: &mut Vec<u8>, heads: &Heads, day: &Bar, seq: u64, prev: Option<u64>) {
    push_opening(out, b"ticker", heads, kind(prev), None);
    push_seq(out, seq, prev);
    push_field(out, b",\"start\":", day.start_s * 1_000_000);
    push_prices(out, day);
    push_decimal(out, b",\"last\":\"", day.close);
    push_sum(out, b",\"change\":\"", difference(day.close, day.open));
    if let Some(percent) = percent(day.close, day.open) {
        push_sum(out, b",\"change_percent\":\"", percent);
    }
    push_sum(out, b",\"volume\":\"", day.volume);
    push_sum(out, b",\"quote_volume\":\"", day.turnover);
    push_field(out, b",\"trades\":", day.trades);
    push_stamps(out, day.event_ns, day.recv_ns);
}

fn push_prices(out: &mut Vec<u8>, bar: &Bar) {
    push_decimal(out, b",\"open\":\"", bar.open);
    push_decimal(out, b",\"high\":\"", bar.high);
    push_decimal(out, b",\"low\":\"", bar.low);
}

/// Appends the state of an instrument's feed.
pub fn feed_status(out: &mut Vec<u8>, heads: &Heads, state: FeedState, age_ms: u64) {
    out.extend_from_slice(b"{\"channel\":\"status\",\"type\":\"feed\"");
    out.extend_from_slice(&heads.symbol);
    out.extend_from_slice(b"\"state\":\"");
    out.extend_from_slice(state.as_str().as_bytes());
    push_field(out, b"\",\"age_ms\":", age_ms);
    out.push(b'}');
}

/// Which subscription a message about it means.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its channel.
    pub channel: &'a str,
    /// Levels a side, of a book that is not full.
    pub depth: Option<u16>,
    /// The interval, of bars.
    pub interval: Option<&'a str>,
}

/// Appends whether a subscription goes on where the client was, and if not, why; with the sequence that
/// the next update's `prev` will be, where that is to be said.
pub fn resumed(
    out: &mut Vec<u8>,
    heads: &Heads,
    of: Named<'_>,
    lost: Option<&str>,
    seq: Option<u64>,
) {
    push_opening(out, of.channel.as_bytes(), heads, b"resume", of.depth);
    if let Some(interval) = of.interval {
        out.extend_from_slice(b"\"interval\":\"");
        out.extend_from_slice(interval.as_bytes());
        out.extend_from_slice(b"\",");
    }
    match lost {
        None => out.extend_from_slice(b"\"recovered\":true"),
        Some(reason) => {
            out.extend_from_slice(b"\"recovered\":false,\"reason\":\"");
            out.extend_from_slice(reason.as_bytes());
            out.push(b'"');
        }
    }
    if let Some(seq) = seq {
        push_field(out, b",\"seq\":", seq);
    }
    out.push(b'}');
}

/// What a client is told about its own lag.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// What is done about it: `disconnect`, `conflate` or `resync`.
    pub policy: &'static str,
    /// Ticks that the client did not get.
    pub skipped: u64,
    /// Bytes that wait for the client.
    pub queued_bytes: u64,
    /// Age of the oldest of them, milliseconds.
    pub oldest_ms: u64,
    /// `peer_window`, `network` or `server`.
    pub cause: &'static str,
}

/// Appends a lag status.
pub fn lag(out: &mut Vec<u8>, lag: &Lag) {
    out.extend_from_slice(b"{\"channel\":\"status\",\"type\":\"lag\",\"policy\":\"");
    out.extend_from_slice(lag.policy.as_bytes());
    push_field(out, b"\",\"skipped\":", lag.skipped);
    push_field(out, b",\"queued_bytes\":", lag.queued_bytes);
    push_field(out, b",\"oldest_ms\":", lag.oldest_ms);
    out.extend_from_slice(b",\"cause\":\"");
    out.extend_from_slice(lag.cause.as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Appends the status that announces a drain; the range says when to reconnect, milliseconds.
pub fn drain(out: &mut Vec<u8>, reconnect_ms: [u64; 2]) {
    push_field(
        out,
        b"{\"channel\":\"status\",\"type\":\"drain\",\"reconnect_ms\":[",
        reconnect_ms[0],
    );
    push_field(out, b",", reconnect_ms[1]);
    out.extend_from_slice(b"]}");
}

/// Appends a heartbeat of this time, nanoseconds.
pub fn heartbeat(out: &mut Vec<u8>, now_ns: u64) {
    push_field(out, b"{\"channel\":\"heartbeat\",\"time\":", now_ns / 1000);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::Span;
    use serde_json::{Value, json};
    use tickcast_feeds::{InstrumentId, Quote, Stamp, Trade};

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
        serde_json::from_slice(&out)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }

    const STAMP: Stamp =
        Stamp { event: 1_700_000_000_123_456_789, recv: 1_700_000_000_223_456_789, seq: 7 };

    #[test]
    fn a_trade_is_exact_to_the_last_digit() {
        let trade_in = Trade {
            price: "61837.63000000".parse().unwrap(),
            size: "0.02000000".parse().unwrap(),
            id: 99,
            side: Side::Sell,
        };
        let tick = Tick::trade(InstrumentId(0), STAMP, &trade_in);
        let heads = Heads::new("binance:BTC-USDT");
        assert_eq!(
            encoded(|out| trade(out, &heads, &tick, 6)),
            json!({"channel":"trade","type":"update","symbol":"binance:BTC-USDT","seq":7,"prev":6,
                "id":99,"side":"sell","price":"61837.63","qty":"0.02",
                "ts":{"event":1_700_000_000_123_456u64,"recv":1_700_000_000_223_456u64}})
        );
    }

    #[test]
    fn quotes_come_as_snapshot_or_update() {
        let q = Quote {
            bid: "1.50".parse().unwrap(),
            bid_size: "10".parse().unwrap(),
            ask: "1.625".parse().unwrap(),
            ask_size: "0.5".parse().unwrap(),
        };
        let tick = Tick::quote(InstrumentId(0), Stamp { event: 0, ..STAMP }, &q).unwrap();
        let heads = Heads::new("a\"b");
        let snapshot = encoded(|out| quote(out, &heads, &tick, None));
        assert_eq!(snapshot["type"], "snapshot");
        assert_eq!(snapshot["symbol"], "a\"b");
        assert!(snapshot.get("prev").is_none());
        assert!(snapshot["ts"].get("event").is_none());
        let update = encoded(|out| quote(out, &heads, &tick, Some(3)));
        assert_eq!((&update["type"], &update["prev"]), (&json!("update"), &json!(3)));
        assert_eq!((&update["bid"], &update["ask"]), (&json!("1.5"), &json!("1.625")));
    }

    #[test]
    fn books_list_their_levels() {
        let heads = Heads::new("x:A-B");
        let level = |p: &str, q: &str| (p.parse().unwrap(), q.parse().unwrap());
        let head = BookHead { depth: Some(2), seq: 9, prev: Some(8), ts_event: 0, ts_recv: 5000 };
        let bids = vec![level("2.0", "1"), level("1.9", "0")];
        assert_eq!(
            encoded(|out| book(out, &heads, &head, bids.into_iter(), std::iter::empty())),
            json!({"channel":"book","type":"update","symbol":"x:A-B","depth":2,"seq":9,"prev":8,
                "bids":[["2","1"],["1.9","0"]],"asks":[],"ts":{"recv":5}})
        );
    }

    fn a_bar(span: Span) -> Bar {
        Bar {
            span,
            start_s: 1_723_161_240,
            open: "61000".parse().unwrap(),
            high: "61840.50".parse().unwrap(),
            low: "60800.5".parse().unwrap(),
            close: "61840.40".parse().unwrap(),
            volume: Sum::new(150, -2),
            bought: Sum::new(0, -2),
            turnover: Sum::new(9_270_000_000, -5),
            trades: 3,
            is_final: false,
            revision: 0,
            event_ns: 1_723_161_241_000_000_000,
            recv_ns: 1_723_161_241_500_000_000,
        }
    }

    #[test]
    fn bars_say_whether_they_are_over_and_leave_out_what_has_no_value() {
        let heads = Heads::new("x:A-B");
        let open = a_bar(Span::Minute);
        let (event, recv) = (1_723_161_241_000_000u64, 1_723_161_241_500_000u64);
        assert_eq!(
            encoded(|out| bar(out, &heads, &open, 9, Some(8))),
            json!({"channel":"bar","type":"update","symbol":"x:A-B","interval":"1m","seq":9,"prev":8,
                "start":1_723_161_240_000_000u64,"end":1_723_161_300_000_000u64,"open":"61000",
                "high":"61840.5","low":"60800.5","close":"61840.4","volume":"1.5","buy_volume":"0",
                "quote_volume":"92700","trades":3,"final":false,"ts":{"event":event,"recv":recv}})
        );
        let lost = Bar { volume: Sum::NONE, bought: Sum::NONE, turnover: Sum::NONE, ..open };
        let again = Bar { is_final: true, revision: 2, ..lost };
        let again = encoded(|out| bar(out, &heads, &again, 10, None));
        assert_eq!((&again["type"], &again["final"]), (&json!("snapshot"), &json!(true)));
        assert_eq!((&again["revision"], &again["trades"]), (&json!(2), &json!(3)));
        for name in ["prev", "volume", "buy_volume", "quote_volume"] {
            assert!(again.get(name).is_none(), "{name} of {again}");
        }
    }

    #[test]
    fn tickers_tell_the_change_exactly_and_in_percent() {
        let heads = Heads::new("x:A-B");
        let day = a_bar(Span::Rolling);
        let (event, recv) = (1_723_161_241_000_000u64, 1_723_161_241_500_000u64);
        assert_eq!(
            encoded(|out| ticker(out, &heads, &day, 9, Some(8))),
            json!({"channel":"ticker","type":"update","symbol":"x:A-B","seq":9,"prev":8,
                "start":1_723_161_240_000_000u64,"open":"61000","high":"61840.5","low":"60800.5",
                "last":"61840.4","change":"840.4","change_percent":"1.38","volume":"1.5",
                "quote_volume":"92700","trades":3,"ts":{"event":event,"recv":recv}})
        );
        let free = Bar { open: Decimal::ZERO, ..day };
        let free = encoded(|out| ticker(out, &heads, &free, 9, None));
        assert_eq!((&free["change"], free.get("change_percent")), (&json!("61840.4"), None));
    }

    #[test]
    fn the_connection_s_own_messages_are_json() {
        let heads = Heads::new("x:A-B");
        encoded(|out| feed_status(out, &heads, FeedState::Resync, 3));
        encoded(|out| drain(out, [500, 8000]));
        encoded(|out| heartbeat(out, 1));
        let lag_in = Lag {
            policy: "disconnect",
            skipped: 1,
            queued_bytes: 2,
            oldest_ms: 3,
            cause: "server",
        };
        assert_eq!(encoded(|out| lag(out, &lag_in))["cause"], "server");
    }
}
