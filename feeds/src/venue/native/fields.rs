//! One line: from its JSON to a message, all of it read before anything is changed.

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use super::super::event::Event;
use super::super::json::{Fault, Field, boolean, decimal, integer, text, wrong};
use super::{MAX_LEVELS, Refusal};
use crate::tick::{FeedState, Quote, Side, Stamp, Trade};

/// The fields that a line may have.
pub(super) const NAMES: [&str; 20] = [
    "channel",
    "type",
    "symbol",
    "seq",
    "prev",
    "id",
    "side",
    "price",
    "qty",
    "aggregate",
    "bid",
    "bid_qty",
    "ask",
    "ask_qty",
    "depth",
    "bids",
    "asks",
    "state",
    "age_ms",
    "ts",
];

/// What JSON readers that keep numbers as doubles read exactly (RFC 8259, section 6).
const SEQ_LIMIT: u64 = 1 << 53;

/// Microseconds since 1970 that are in 1973 or later; seconds and milliseconds of today are below.
const FIRST_MICROSECONDS: u64 = 100_000_000_000_000;

/// The longest unknown name that an error shows, in characters.
const SHOWN: usize = 32;

/// The fields of a line as they were found.
#[derive(Default)]
pub(super) struct Fields<'t, 'i> {
    channel: Field<'t, 'i>,
    kind: Field<'t, 'i>,
    symbol: Field<'t, 'i>,
    seq: Field<'t, 'i>,
    prev: Field<'t, 'i>,
    id: Field<'t, 'i>,
    side: Field<'t, 'i>,
    price: Field<'t, 'i>,
    qty: Field<'t, 'i>,
    aggregate: Field<'t, 'i>,
    bid: Field<'t, 'i>,
    bid_qty: Field<'t, 'i>,
    ask: Field<'t, 'i>,
    ask_qty: Field<'t, 'i>,
    depth: Field<'t, 'i>,
    bids: Field<'t, 'i>,
    asks: Field<'t, 'i>,
    state: Field<'t, 'i>,
    age_ms: Field<'t, 'i>,
    ts: Field<'t, 'i>,
}

/// A line that concerns a symbol.
pub(super) struct Message<'i> {
    pub(super) symbol: &'i str,
    /// With the publisher's sequence, 0 where it gives none.
    pub(super) stamp: Stamp,
    pub(super) body: Body,
}

/// What it says; the levels of a book are in the event.
pub(super) enum Body {
    Trade { trade: Trade, aggregate: bool },
    Quote { quote: Quote, snapshot: bool },
    Book { depth: u64, prev: Option<u64>, snapshot: bool },
    Status { state: FeedState, age_ms: u64 },
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn of(object: &Object<'t, 'i>, strict: bool) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        let mut unknown = None;
        for (key, value) in object {
            let field = match key {
                "channel" => &mut fields.channel,
                "type" => &mut fields.kind,
                "symbol" => &mut fields.symbol,
                "seq" => &mut fields.seq,
                "prev" => &mut fields.prev,
                "id" => &mut fields.id,
                "side" => &mut fields.side,
                "price" => &mut fields.price,
                "qty" => &mut fields.qty,
                "aggregate" => &mut fields.aggregate,
                "bid" => &mut fields.bid,
                "bid_qty" => &mut fields.bid_qty,
                "ask" => &mut fields.ask,
                "ask_qty" => &mut fields.ask_qty,
                "depth" => &mut fields.depth,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "state" => &mut fields.state,
                "age_ms" => &mut fields.age_ms,
                "ts" => &mut fields.ts,
                other => {
                    unknown = unknown.or(Some(other));
                    continue;
                }
            };
            *field = Some(value);
        }
        match unknown {
            Some(field) if strict && !fields.is_of_the_connection() => {
                Err(Refusal::UnknownField { field: field.chars().take(SHOWN).collect() })
            }
            _ => Ok(fields),
        }
    }

    /// What a server says about its connection to `watch`, not about a symbol.
    fn is_of_the_connection(&self) -> bool {
        let is = |field: Field<'t, 'i>, name| field.and_then(|f| f.into_string()) == Some(name);
        is(self.channel, "heartbeat")
            || is(self.channel, "status") && (is(self.kind, "lag") || is(self.kind, "drain"))
    }

    /// The message; `None` for one that concerns no symbol.
    pub(super) fn message(
        &self,
        recv: u64,
        event: &mut Event,
    ) -> Result<Option<Message<'i>>, Refusal> {
        if self.is_of_the_connection() {
            return Ok(None);
        }
        let channel = text("channel", self.channel)?;
        if !["trade", "quote", "book", "status"].contains(&channel) {
            return Err(Refusal::UnknownChannel(channel.chars().take(SHOWN).collect()));
        }
        let symbol = text("symbol", self.symbol)?;
        let stamp = Stamp { event: self.time()?, recv, seq: self.seq("seq", self.seq)? };
        let body = match channel {
            "trade" => self.trade(stamp)?,
            "quote" => self.quote()?,
            "book" => self.book(stamp, event)?,
            _ => self.status()?,
        };
        Ok(Some(Message { symbol, stamp, body }))
    }

    fn trade(&self, stamp: Stamp) -> Result<Body, Fault> {
        self.kind(Some("update"), &["update"])?;
        let side = match one_of("side", self.side, &["buy", "sell"], "\"buy\" or \"sell\"")? {
            "buy" => Side::Buy,
            _ => Side::Sell,
        };
        let id = self.id.map_or(Ok(stamp.seq), |_| integer("id", self.id))?;
        let (price, size) = (decimal("price", self.price)?, decimal("qty", self.qty)?);
        let aggregate =
            self.aggregate.map_or(Ok(false), |_| boolean("aggregate", self.aggregate))?;
        Ok(Body::Trade { trade: Trade { price, size, id, side }, aggregate })
    }

    fn quote(&self) -> Result<Body, Fault> {
        let snapshot = self.kind(Some("update"), &["update", "snapshot"])? == "snapshot";
        let quote = Quote {
            bid: decimal("bid", self.bid)?,
            bid_size: decimal("bid_qty", self.bid_qty)?,
            ask: decimal("ask", self.ask)?,
            ask_size: decimal("ask_qty", self.ask_qty)?,
        };
        let aligned = quote.bid.align(quote.ask).and(quote.bid_size.align(quote.ask_size));
        aligned.ok_or(Fault::Spread)?;
        Ok(Body::Quote { quote, snapshot })
    }

    fn book(&self, stamp: Stamp, event: &mut Event) -> Result<Body, Fault> {
        let snapshot = self.kind(None, &["update", "snapshot"])? == "snapshot";
        let prev = self.prev.map(|_| self.seq("prev", self.prev)).transpose()?;
        if prev.is_some() && stamp.seq == 0 {
            return Err(Fault::Missing("seq"));
        }
        let depth = self.depth.map_or(Ok(0), |_| integer("depth", self.depth))?;
        event.begin(stamp, 0);
        for (name, side, field) in [("bids", Side::Buy, self.bids), ("asks", Side::Sell, self.asks)]
        {
            // An update may leave out a side that did not change.
            if let Some(value) = field {
                let levels = value.as_array().map_or(0, |levels| levels.len());
                if levels > MAX_LEVELS {
                    return Err(wrong(name, value, "at most 20000 levels"));
                }
                event.levels(name, side, field)?;
            } else if snapshot {
                return Err(Fault::Missing(name));
            }
        }
        Ok(Body::Book { depth, prev, snapshot })
    }

    fn status(&self) -> Result<Body, Fault> {
        self.kind(Some("feed"), &["feed"])?;
        const STATES: [&str; 4] = ["live", "stale", "resync", "halted"];
        let state = match one_of("state", self.state, &STATES, "live, stale, resync or halted")? {
            "live" => FeedState::Live,
            "stale" => FeedState::Stale,
            "resync" => FeedState::Resync,
            _ => FeedState::Halted,
        };
        let age_ms = self.age_ms.map_or(Ok(0), |_| integer("age_ms", self.age_ms))?;
        Ok(Body::Status { state, age_ms })
    }

    /// The field `type`, one of these.
    fn kind(
        &self,
        default: Option<&'static str>,
        known: &[&'static str],
    ) -> Result<&'static str, Fault> {
        match (self.kind, default) {
            (None, Some(default)) => Ok(default),
            _ => {
                let expected = if known.len() > 1 {
                    "\"update\" or \"snapshot\""
                } else {
                    "the type of the channel, or none"
                };
                one_of("type", self.kind, known, expected)
            }
        }
    }

    /// A sequence, 0 where there is none.
    fn seq(&self, name: &'static str, field: Field<'t, 'i>) -> Result<u64, Fault> {
        let Some(value) = field else { return Ok(0) };
        let seq = integer(name, field)?;
        if seq >= SEQ_LIMIT {
            return Err(wrong(name, value, "a whole number below 2^53"));
        }
        Ok(seq)
    }

    /// When it happened, nanoseconds; 0 where the line does not say. When a server received it,
    /// `ts.recv`, is that server's matter: here it arrives now.
    fn time(&self) -> Result<u64, Refusal> {
        let Some(value) = self.ts else { return Ok(0) };
        let object =
            value.as_object().ok_or_else(|| wrong("ts", value, "an object with event and recv"))?;
        let mut at = None;
        for (key, value) in &object {
            match key {
                "event" => at = Some(value),
                "recv" => {}
                other => {
                    let field = other.chars().take(SHOWN).collect::<String>();
                    return Err(Refusal::UnknownField { field: format!("ts.{field}") });
                }
            }
        }
        let Some(value) = at else { return Ok(0) };
        let micros = integer("ts.event", at)?;
        let nanos = micros.checked_mul(1_000).filter(|_| micros >= FIRST_MICROSECONDS);
        nanos.map_or_else(
            || {
                let expected = "microseconds since 1970, a number of today's has 16 digits";
                Err(wrong("ts.event", value, expected).into())
            },
            Ok,
        )
    }
}

/// A string that is one of these.
fn one_of(
    name: &'static str,
    field: Field<'_, '_>,
    known: &[&'static str],
    expected: &'static str,
) -> Result<&'static str, Fault> {
    let given = text(name, field)?;
    let value: Value<'_, '_> = field.ok_or(Fault::Missing(name))?;
    let found = known.iter().find(|known| **known == given);
    found.copied().ok_or_else(|| wrong(name, value, expected))
}
