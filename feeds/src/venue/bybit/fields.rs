//! The fields of Bybit's messages that are read, each with what it must hold.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use simd_json::tape::{Object, Value};

use super::chain::{MAX_UPDATE_ID, Mark};
use super::market::Market;
use crate::decimal::Decimal;
use crate::tick::{Side, Trade};
use crate::venue::event::array;
use crate::venue::json::{Fault, Field, decimal, integer, text, wrong};
use crate::venue::scan::Scan;
use crate::venue::time::from_epoch;

/// A trade as read, before it is known to be new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print {
    /// The hash of its id.
    pub(super) id: u64,
    pub(super) mark: Mark,
    pub(super) trade: Trade,
}

impl Print {
    /// Reads a message in the form in which a market sends trades into `prints`; their symbol.
    pub(super) fn scan<'i>(
        market: Market,
        text: &'i [u8],
        prints: &mut Vec<Print>,
    ) -> Option<&'i str> {
        let mut scan = Scan::new(text);
        scan.literal(r#"{"topic":"publicTrade."#)?;
        let symbol = scan.string()?;
        scan.literal(match market {
            Market::Spot => r#","ts":"#,
            Market::Linear => r#","type":"snapshot","ts":"#,
        })?;
        scan.whole(b',')?;
        scan.literal(match market {
            Market::Spot => r#","type":"snapshot","data":["#,
            Market::Linear => r#","data":["#,
        })?;
        prints.clear();
        loop {
            prints.push(match market {
                Market::Spot => Print::scan_spot(&mut scan, symbol)?,
                Market::Linear => Print::scan_linear(&mut scan, symbol)?,
            });
            if !scan.has(",") {
                break;
            }
        }
        scan.literal("]}")?;
        scan.end()?;
        Some(symbol)
    }

    fn scan_spot(scan: &mut Scan<'_>, symbol: &str) -> Option<Self> {
        scan.literal(r#"{"i":""#)?;
        let id = hash(scan.string()?);
        scan.literal(r#","T":"#)?;
        let time = scan.epoch(b',')?;
        scan.literal(r#","p":""#)?;
        let price = scan.decimal(b'"')?;
        scan.literal(r#"","v":""#)?;
        let size = scan.decimal(b'"')?;
        scan.literal(r#"","S":""#)?;
        let side = scan.side("Buy", "Sell")?;
        scan.literal(r#"","seq":"#)?;
        let seq = scan.whole(b',')?;
        scan.literal(r#","s":""#)?;
        scan.literal(symbol)?;
        scan.literal(r#"","BT":"#)?;
        scan.boolean()?;
        scan.literal(r#","RPI":"#)?;
        scan.boolean()?;
        scan.literal("}")?;
        let trade = Trade { price, size, id: 0, side };
        Some(Print { id, mark: Mark { seq, time }, trade })
    }

    fn scan_linear(scan: &mut Scan<'_>, symbol: &str) -> Option<Self> {
        scan.literal(r#"{"T":"#)?;
        let time = scan.epoch(b',')?;
        scan.literal(r#","s":""#)?;
        scan.literal(symbol)?;
        scan.literal(r#"","S":""#)?;
        let side = scan.side("Buy", "Sell")?;
        scan.literal(r#"","v":""#)?;
        let size = scan.decimal(b'"')?;
        scan.literal(r#"","p":""#)?;
        let price = scan.decimal(b'"')?;
        scan.literal(r#"","L":""#)?;
        scan.skip_string()?;
        scan.literal(r#","i":""#)?;
        let id = hash(scan.string()?);
        scan.literal(r#","BT":"#)?;
        scan.boolean()?;
        scan.literal(r#","RPI":"#)?;
        scan.boolean()?;
        scan.literal(r#","seq":"#)?;
        let seq = scan.whole(b'}')?;
        scan.literal("}")?;
        let trade = Trade { price, size, id: 0, side };
        Some(Print { id, mark: Mark { seq, time }, trade })
    }
}

/// The same in every run, so that a recording gives the same ticks again.
fn hash(id: &str) -> u64 {
    FixedState::default().hash_one(id)
}

/// The fields of a message that are read.
#[derive(Default)]
pub(super) struct Fields<'t, 'i> {
    pub(super) topic: Field<'t, 'i>,
    pub(super) kind: Field<'t, 'i>,
    pub(super) ts: Field<'t, 'i>,
    pub(super) cts: Field<'t, 'i>,
    pub(super) data: Field<'t, 'i>,
    pub(super) op: Field<'t, 'i>,
    pub(super) success: Field<'t, 'i>,
    pub(super) ret_msg: Field<'t, 'i>,
    pub(super) req_id: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "topic" => &mut fields.topic,
                "type" => &mut fields.kind,
                "ts" => &mut fields.ts,
                "cts" => &mut fields.cts,
                "data" => &mut fields.data,
                "op" => &mut fields.op,
                "success" => &mut fields.success,
                "ret_msg" => &mut fields.ret_msg,
                "req_id" => &mut fields.req_id,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// When the matching engine made it, else when the message was made.
    pub(super) fn time(&self) -> Result<u64, Fault> {
        match self.cts {
            Some(_) => time("cts", self.cts),
            None => time("ts", self.ts),
        }
    }

    /// Whether it is a snapshot, not a delta.
    pub(super) fn is_snapshot(&self) -> Result<bool, Fault> {
        match text("type", self.kind)? {
            "snapshot" => Ok(true),
            "delta" => Ok(false),
            _ => Err(unlike("type", self.kind, "snapshot or delta")),
        }
    }
}

/// The fields of a book or of a trade that are read.
#[derive(Default)]
#[allow(non_snake_case)]
pub(super) struct Data<'t, 'i> {
    pub(super) s: Field<'t, 'i>,
    pub(super) b: Field<'t, 'i>,
    pub(super) a: Field<'t, 'i>,
    pub(super) u: Field<'t, 'i>,
    pub(super) seq: Field<'t, 'i>,
    pub(super) T: Field<'t, 'i>,
    pub(super) S: Field<'t, 'i>,
    pub(super) v: Field<'t, 'i>,
    pub(super) p: Field<'t, 'i>,
    pub(super) i: Field<'t, 'i>,
}

impl<'t, 'i> Data<'t, 'i> {
    /// Those of `value`, which must be of this symbol.
    pub(super) fn of(value: Value<'t, 'i>, symbol: &str) -> Result<Self, Fault> {
        let object = value.as_object().ok_or_else(|| wrong("data", value, "an object"))?;
        let mut data = Data::default();
        for (key, value) in &object {
            let field = match key {
                "s" => &mut data.s,
                "b" => &mut data.b,
                "a" => &mut data.a,
                "u" => &mut data.u,
                "seq" => &mut data.seq,
                "T" => &mut data.T,
                "S" => &mut data.S,
                "v" => &mut data.v,
                "p" => &mut data.p,
                "i" => &mut data.i,
                _ => continue,
            };
            *field = Some(value);
        }
        if text("s", data.s)? == symbol {
            Ok(data)
        } else {
            Err(unlike("s", data.s, "the symbol of the topic"))
        }
    }

    pub(super) fn update_id(&self) -> Result<u64, Fault> {
        let id = integer("u", self.u)?;
        if id <= MAX_UPDATE_ID { Ok(id) } else { Err(unlike("u", self.u, "below 2^48")) }
    }

    pub(super) fn print(&self) -> Result<Print, Fault> {
        // "Side of taker".
        let side = match text("S", self.S)? {
            "Buy" => Side::Buy,
            "Sell" => Side::Sell,
            _ => return Err(unlike("S", self.S, "Buy or Sell")),
        };
        let trade =
            Trade { price: decimal("p", self.p)?, size: decimal("v", self.v)?, id: 0, side };
        let id = hash(text("i", self.i)?);
        Ok(Print {
            id,
            mark: Mark { seq: integer("seq", self.seq)?, time: time("T", self.T)? },
            trade,
        })
    }
}

/// The best level of a side; price and size are zero where it is empty.
pub(super) fn best(name: &'static str, field: Field<'_, '_>) -> Result<(Decimal, Decimal), Fault> {
    let Some(entry) = array(name, field)?.iter().next() else {
        return Ok((Decimal::ZERO, Decimal::ZERO));
    };
    let parts = entry.as_array().ok_or_else(|| wrong(name, entry, "[price, size]"))?;
    let mut parts = parts.iter();
    Ok((decimal(name, parts.next())?, decimal(name, parts.next())?))
}

/// Milliseconds as nanoseconds.
pub(super) fn time(name: &'static str, field: Field<'_, '_>) -> Result<u64, Fault> {
    let count = integer(name, field)?;
    from_epoch(count).ok_or_else(|| unlike(name, field, "milliseconds since 1970"))
}

/// The fault of a field that is there and holds something else than `expected`.
#[cold]
pub(super) fn unlike(name: &'static str, field: Field<'_, '_>, expected: &'static str) -> Fault {
    field.map_or(Fault::Missing(name), |value| wrong(name, value, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::scan::tests::forms;

    #[test]
    fn the_usual_form_of_a_trade_is_taken() {
        for (market, venue) in [(Market::Spot, "bybit"), (Market::Linear, "bybit-linear")] {
            for text in forms(venue) {
                assert!(Print::scan(market, text.as_bytes(), &mut Vec::new()).is_some(), "{text}");
            }
        }
    }
}
