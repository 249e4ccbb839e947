//! What a load test needs of a data message, found without parsing the JSON: the channel, whether it is a snapshot, which stream it belongs
//! to, its `seq` and `prev`, and the publish stamp.
//!
//! The order of the keys is not relied upon. It is guessed, because a server tends to keep one: every search begins where the last one
//! ended, tries that very place first, and starts over from the beginning of the message when it finds nothing.

use std::cell::Cell;

use memchr::{memchr, memmem::Finder};

/// Which stamp of a message its latency is measured from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StampKey {
    /// `ts.event`: the venue's time; of the synthetic feed, the time a tick was due.
    Event,
    /// `ts.recv`: the arrival at the server.
    Recv,
    /// The digits after this text, for servers that speak something else.
    Text(String),
    /// No stamp: deliveries are counted, latencies are not.
    None,
}

/// How the digits of a stamp become nanoseconds of the clock that is read on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampFormat {
    /// Where the stamp stands.
    pub key: StampKey,
    /// Nanoseconds per unit of the stamp: 1,000 for microseconds.
    pub unit_ns: u64,
    /// Units to take off first.
    pub offset: u64,
}

impl StampFormat {
    /// The native protocol's stamps: microseconds since the Unix epoch (docs/PROTOCOL.md, Conventions).
    pub fn native(key: StampKey) -> Self {
        StampFormat { key, unit_ns: 1_000, offset: 0 }
    }
}

/// What kind of message it is (docs/PROTOCOL.md, Data and Status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tick: what deliveries are counted in.
    Update,
    /// The state on subscribing, or after a recovery: begins its stream anew, and has no latency worth the name.
    Snapshot,
    /// `type: resume`: the stream goes on where the client was, or does not.
    Resume,
    /// `channel: heartbeat`.
    Heartbeat,
    /// `status` of type `lag`: an eviction follows.
    Lag,
    /// `status` of type `drain`: the server stops.
    Drain,
    /// Any other status.
    Status,
}

/// One message, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Hash of channel and symbol, see [`stream_key`]; `None` when the message names no symbol.
    pub stream: Option<u64>,
    /// The message's own number.
    pub seq: Option<u64>,
    /// The number of the message before it.
    pub prev: Option<u64>,
    /// The publish stamp, nanoseconds of the stamp's clock.
    pub stamp_ns: Option<u64>,
}

struct Key {
    text: Vec<u8>,
    finder: Finder<'static>,
}

impl Key {
    fn new(text: &str) -> Self {
        Key { text: text.as_bytes().to_vec(), finder: Finder::new(text.as_bytes()).into_owned() }
    }

    /// The place just behind the key, looked for at `from`, then behind it, then everywhere.
    #[inline]
    fn behind(&self, payload: &[u8], from: usize) -> Option<usize> {
        let rest = payload.get(from..).unwrap_or_default();
        if rest.starts_with(&self.text) {
            return Some(from + self.text.len());
        }
        let at = match self.finder.find(rest) {
            Some(at) => from + at,
            None => self.finder.find(payload)?,
        };
        Some(at + self.text.len())
    }

    /// The string that follows the key (which ends in a quote), and the place behind its closing quote and the comma.
    #[inline]
    fn string<'a>(&self, payload: &'a [u8], from: usize) -> Option<(&'a [u8], usize)> {
        let start = self.behind(payload, from)?;
        let length = memchr(b'"', &payload[start..])?;
        Some((&payload[start..start + length], start + length + 2))
    }

    /// The unsigned integer that follows the key, and the place behind its comma.
    #[inline]
    fn number(&self, payload: &[u8], from: usize) -> Option<(u64, usize)> {
        let start = self.behind(payload, from)?;
        let (value, length) = digits(&payload[start..])?;
        Some((value, start + length + 1))
    }
}

/// The value of eight digits; `None` when one of them is none.
#[inline]
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    let text = u64::from_le_bytes(bytes);
    // A byte is a digit when its upper half is 3 and stays 3 with 6 added.
    let halves = (text & 0xf0f0_f0f0_f0f0_f0f0)
        | ((text.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0) >> 4);
    if halves != 0x3333_3333_3333_3333 {
        return None;
    }
    // The first digit is the lowest byte: pairs, then fours, then all eight, each step in one multiplication.
    let ones = text & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(10).wrapping_add(ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff)
}

/// The integer at the start of `bytes` and how many digits it has; `None` without a digit or beyond 64 bits.
#[inline]
fn digits(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    let mut length = 0;
    // Stamps have 16 digits or more.
    while length < 16
        && let Some(eight) = bytes[length..].first_chunk::<8>()
        && let Some(eight) = eight_digits(*eight)
    {
        value = value * 100_000_000 + eight;
        length += 8;
    }
    for &byte in &bytes[length..] {
        if !byte.is_ascii_digit() {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        length += 1;
    }
    (length > 0).then_some((value, length))
}

/// Which stream a message belongs to: a 64-bit hash of its channel and symbol. Two of a run's few thousand streams fall together with a
/// probability of about 10⁻¹³, which would show as gaps.
#[inline]
pub fn stream_key(channel: &[u8], symbol: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = channel.len() as u64 ^ ((symbol.len() as u64) << 32);
    for part in [channel, symbol] {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
            hash ^= hash >> 32;
        }
    }
    crate::plan::mix(hash)
}

/// The searchers of one thread, made once.
pub struct Scanner {
    channel: Key,
    kind: Key,
    symbol: Key,
    seq: Key,
    prev: Key,
    ts: Key,
    stamp: Option<Key>,
    /// How far from the end of the last message its `ts` stood, 0 before the first: what comes before it varies in length.
    from_end: Cell<usize>,
    format: StampFormat,
    /// Whether a message without `prev` is taken to follow `seq - 1`.
    contiguous: bool,
}

impl Scanner {
    /// Searchers for messages whose stamp has the given format. With `contiguous`, a message without `prev` is taken to follow `seq - 1`.
    pub fn new(format: StampFormat, contiguous: bool) -> Self {
        let stamp = match &format.key {
            StampKey::Event => Some(Key::new("\"event\":")),
            StampKey::Recv => Some(Key::new("\"recv\":")),
            StampKey::Text(text) => Some(Key::new(text)),
            StampKey::None => None,
        };
        Scanner {
            channel: Key::new("\"channel\":\""),
            kind: Key::new("\"type\":\""),
            symbol: Key::new("\"symbol\":\""),
            seq: Key::new("\"seq\":"),
            prev: Key::new("\"prev\":"),
            ts: Key::new("\"ts\":{"),
            stamp,
            from_end: Cell::new(0),
            format,
            contiguous,
        }
    }

    /// Finds only what a client needs whose numbers are not checked: the kind and the stamp. At millions of messages a second, the
    /// rest is what the load generator spends most of its time on.
    #[inline]
    pub fn scan_unchecked(&self, payload: &[u8]) -> Message {
        let (_, kind, at) = self.kind(payload);
        let from = match self.from_end.get() {
            0 => at,
            from_end => at.max(payload.len().saturating_sub(from_end)),
        };
        let stamp_ns = (kind == Kind::Update).then(|| self.stamp(payload, from)).flatten();
        Message { kind, stream: None, seq: None, prev: None, stamp_ns }
    }

    /// The channel, the kind, and the place behind both.
    #[inline]
    fn kind<'a>(&self, payload: &'a [u8]) -> (&'a [u8], Kind, usize) {
        let (channel, at) = self.channel.string(payload, 1).unwrap_or((b"", 1));
        let (kind, at) = match channel {
            b"heartbeat" => (Kind::Heartbeat, at),
            b"status" => match self.kind.string(payload, at) {
                Some((b"lag", at)) => (Kind::Lag, at),
                Some((b"drain", at)) => (Kind::Drain, at),
                _ => (Kind::Status, at),
            },
            _ => match self.kind.string(payload, at) {
                Some((b"snapshot", at)) => (Kind::Snapshot, at),
                Some((b"resume", at)) => (Kind::Resume, at),
                Some((_, at)) => (Kind::Update, at),
                None => (Kind::Update, at),
            },
        };
        (channel, kind, at)
    }

    /// Finds what matters in a message.
    #[inline]
    pub fn scan(&self, payload: &[u8]) -> Message {
        let (channel, kind, at) = self.kind(payload);
        if !matches!(kind, Kind::Update | Kind::Snapshot | Kind::Resume) {
            return Message { kind, stream: None, seq: None, prev: None, stamp_ns: None };
        }
        let (stream, at) = match self.symbol.string(payload, at) {
            Some((symbol, at)) => (Some(stream_key(channel, symbol)), at),
            None => (None, at),
        };
        let (seq, at) =
            self.seq.number(payload, at).map_or((None, at), |(seq, at)| (Some(seq), at));
        let mut at = at;
        let mut prev = None;
        if kind == Kind::Update {
            match self.prev.number(payload, at) {
                Some((number, behind)) => (prev, at) = (Some(number), behind),
                None if self.contiguous => prev = seq.map(|seq| seq.wrapping_sub(1)),
                None => {}
            }
        }
        Message { kind, stream, seq, prev, stamp_ns: self.stamp(payload, at) }
    }

    #[inline]
    fn stamp(&self, payload: &[u8], from: usize) -> Option<u64> {
        let key = self.stamp.as_ref()?;
        let (value, _) = match self.format.key {
            StampKey::Event | StampKey::Recv => {
                let start = self.ts.behind(payload, from)?;
                self.from_end.set(payload.len() - start + self.ts.text.len());
                let length = memchr(b'}', &payload[start..])?;
                key.number(&payload[start..start + length], 0)?
            }
            _ => key.number(payload, from)?,
        };
        value.checked_sub(self.format.offset)?.checked_mul(self.format.unit_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native() -> Scanner {
        Scanner::new(StampFormat::native(StampKey::Event), false)
    }

    const TRADE: &[u8] = br#"{"channel":"trade","type":"update","symbol":"binance:BTC-USDT","seq":3735683259,"prev":3735683258,"id":3735683259,"side":"buy","price":"61837.63","qty":"0.02","ts":{"event":1763699999000123,"recv":1763699999000456}}"#;

    #[test]
    fn a_trade_gives_its_stream_numbers_and_stamp() {
        let message = native().scan(TRADE);
        assert_eq!(message.kind, Kind::Update);
        assert_eq!(message.stream, Some(stream_key(b"trade", b"binance:BTC-USDT")));
        assert_eq!((message.seq, message.prev), (Some(3735683259), Some(3735683258)));
        assert_eq!(message.stamp_ns, Some(1763699999000123000));
        let by_arrival = Scanner::new(StampFormat::native(StampKey::Recv), false).scan(TRADE);
        assert_eq!(by_arrival.stamp_ns, Some(1763699999000456000));
        assert_eq!(
            Scanner::new(StampFormat::native(StampKey::None), false).scan(TRADE).stamp_ns,
            None
        );
    }

    #[test]
    fn the_order_of_the_keys_does_not_matter() {
        let turned = br#"{"ts":{"recv":1763699999000456,"event":1763699999000123},"qty":"0.02","prev":3735683258,"seq":3735683259,"symbol":"binance:BTC-USDT","type":"update","channel":"trade"}"#;
        assert_eq!(native().scan(turned), native().scan(TRADE));
    }

    #[test]
    fn unchecked_clients_get_the_same_kind_and_stamp_wherever_the_stamp_stood_before() {
        let turned = br#"{"ts":{"recv":1763699999000456,"event":1763699999000789},"qty":"0.02","symbol":"a","type":"update","channel":"trade"}"#;
        let snapshot = br#"{"channel":"quote","type":"snapshot","symbol":"a","seq":5,"ts":{"event":1763699999000123}}"#;
        let scanner = native();
        for payload in [TRADE, TRADE, turned, TRADE, snapshot, &TRADE[..150], b"{}", TRADE] {
            let whole = native().scan(payload);
            let brief = scanner.scan_unchecked(payload);
            assert_eq!(brief.kind, whole.kind);
            let stamp = if whole.kind == Kind::Update { whole.stamp_ns } else { None };
            assert_eq!(brief.stamp_ns, stamp, "{}", String::from_utf8_lossy(payload));
            assert_eq!((brief.stream, brief.seq, brief.prev), (None, None, None));
        }
    }

    #[test]
    fn digits_end_where_they_end() {
        for text in [
            "",
            "7",
            "12345678",
            "123456789",
            "1234567812345678",
            "1763699999000123",
            "18446744073709551615",
            "0000000000000000000000000000001",
        ] {
            let expected = text.parse::<u64>().ok().map(|value| (value, text.len()));
            assert_eq!(digits(text.as_bytes()), expected, "{text}");
            for behind in [",", "}", "/", ":", "a", "\u{b9}", " 12345678"] {
                assert_eq!(
                    digits(format!("{text}{behind}").as_bytes()),
                    expected,
                    "{text}{behind}"
                );
            }
        }
        assert_eq!(digits(b"18446744073709551616"), None, "beyond 64 bits");
        for position in 0..8 {
            for byte in 0..=255u8 {
                let mut text = *b"12345678";
                text[position] = byte;
                assert_eq!(eight_digits(text).is_some(), byte.is_ascii_digit(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_stamp_is_taken_from_ts_alone() {
        let message = native().scan(br#"{"channel":"trade","type":"update","symbol":"a","seq":2,"prev":1,"event":7,"ts":{"recv":9}}"#);
        assert_eq!(
            message.stamp_ns, None,
            "the venue gave no time; `event` outside of `ts` is another thing"
        );
    }

    #[test]
    fn snapshots_and_the_connections_own_messages_are_told_apart() {
        let kinds = [
            (
                &br#"{"channel":"quote","type":"snapshot","symbol":"a","seq":5,"bid":"1"}"#[..],
                Kind::Snapshot,
            ),
            (br#"{"channel":"heartbeat","time":1}"#, Kind::Heartbeat),
            (br#"{"channel":"status","type":"lag","policy":"disconnect"}"#, Kind::Lag),
            (br#"{"channel":"status","type":"drain","reconnect_ms":[500,8000]}"#, Kind::Drain),
            (br#"{"channel":"status","type":"feed","symbol":"a","state":"live"}"#, Kind::Status),
        ];
        for (payload, kind) in kinds {
            assert_eq!(native().scan(payload).kind, kind, "{}", String::from_utf8_lossy(payload));
        }
        assert_eq!(native().scan(kinds[0].0).seq, Some(5));
    }

    #[test]
    fn another_servers_stamps_are_read_by_key_unit_and_offset() {
        let format = StampFormat {
            key: StampKey::Text("\"ts\":".into()),
            unit_ns: 1,
            offset: 1_000_000_000_000_000_000,
        };
        let message = Scanner::new(format, true).scan(
            br#"{"type":"trade","symbol":"S0001","price":"64000.01","id":"0000000001","seq":7,"ts":1000000000000000123}"#,
        );
        assert_eq!((message.kind, message.seq, message.prev), (Kind::Update, Some(7), Some(6)));
        assert_eq!(message.stamp_ns, Some(123));
    }

    #[test]
    fn numbers_that_are_none_are_absent() {
        for payload in [
            &b""[..],
            b"{}",
            b"\"seq\":",
            br#"{"channel":"trade"#,
            br#"{"seq":99999999999999999999999,"ts":{"event":}}"#,
        ] {
            let message = native().scan(payload);
            assert_eq!(
                (message.seq, message.stamp_ns),
                (None, None),
                "{}",
                String::from_utf8_lossy(payload)
            );
        }
    }

    #[test]
    fn streams_differ_by_channel_and_symbol() {
        let mut keys = std::collections::HashSet::new();
        for symbol in 0..10_000 {
            for channel in ["trade", "quote", "book"] {
                assert!(keys.insert(stream_key(
                    channel.as_bytes(),
                    format!("sim:S{symbol:04}-USD").as_bytes()
                )));
            }
        }
    }
}
