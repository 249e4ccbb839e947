//! The messages' fields, as found and as read.

use simd_json::tape::{Object, Value};

use crate::decimal::Decimal;
use crate::tick::{Side, Stamp, Tick, Trade, flags};
use crate::venue::event::{array, times};
use crate::venue::json::{Fault, Field, decimal, integer, text, wrong};
use crate::venue::scan::Scan;
use crate::venue::time::from_epoch;

/// A trade as read.
#[derive(Debug)]
pub(super) struct Print {
    /// Nanoseconds since the Unix epoch.
    time: u64,
    /// Its size is in contracts where it is of one.
    trade: Trade,
    /// Whether it sums several.
    is_sum: bool,
    /// Whether its makers are ordinary ones.
    pub(super) is_ordinary: bool,
}

impl Print {
    /// Reads a message in the form in which one trade comes, with the symbol's name.
    pub(super) fn scan(text: &[u8]) -> Option<(&str, Self)> {
        let mut scan = Scan::new(text);
        scan.literal(r#"{"arg":{"channel":"trades","instId":""#)?;
        let native = scan.string()?;
        scan.literal(r#"},"data":[{"instId":""#)?;
        scan.skip_string()?;
        scan.literal(r#","tradeId":""#)?;
        let id = scan.whole(b'"')?;
        scan.literal(r#"","px":""#)?;
        let price = scan.decimal(b'"')?;
        scan.literal(r#"","sz":""#)?;
        let size = scan.decimal(b'"')?;
        scan.literal(r#"","side":""#)?;
        let side = scan.side("buy", "sell")?;
        scan.literal(r#"","ts":""#)?;
        let time = scan.epoch(b'"')?;
        scan.literal(r#"","count":""#)?;
        let is_sum = scan.whole(b'"')? > 1;
        scan.literal(r#"","source":""#)?;
        let is_ordinary = scan.string()? == ORDINARY;
        scan.literal(r#","seqId":"#)?;
        scan.whole(b'}')?;
        scan.literal("}]}")?;
        scan.end()?;
        let trade = Trade { price, size, id, side };
        Some((native, Print { time, trade, is_sum, is_ordinary }))
    }

    /// The tick, of no instrument yet; one contract is `unit` of the base currency.
    pub(super) fn tick(&self, recv: u64, unit: Decimal) -> Result<Tick, Fault> {
        let trade = Trade { size: times(self.trade.size, unit)?, ..self.trade };
        let stamp = Stamp { event: self.time, recv, seq: trade.id };
        let mut tick = Tick::trade(Default::default(), stamp, &trade);
        if self.is_sum {
            tick.flags |= flags::AGGREGATE;
        }
        Ok(tick)
    }
}

/// The `source` of ordinary makers.
const ORDINARY: &str = "0";

/// The fields of a message that are read.
#[derive(Default)]
pub(super) struct Fields<'t, 'i> {
    pub(super) arg: Field<'t, 'i>,
    pub(super) action: Field<'t, 'i>,
    pub(super) data: Field<'t, 'i>,
    pub(super) event: Field<'t, 'i>,
    pub(super) code: Field<'t, 'i>,
    pub(super) msg: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "arg" => &mut fields.arg,
                "action" => &mut fields.action,
                "data" => &mut fields.data,
                "event" => &mut fields.event,
                "code" => &mut fields.code,
                "msg" => &mut fields.msg,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// The channel and the symbol.
    pub(super) fn arg(&self) -> Result<(&'i str, Field<'t, 'i>), Fault> {
        let arg = self.arg.ok_or(Fault::Missing("arg"))?;
        let object = arg.as_object().ok_or_else(|| wrong("arg", arg, "an object"))?;
        Ok((text("channel", object.get("channel"))?, object.get("instId")))
    }

    /// The one entry of `data`.
    pub(super) fn one(&self) -> Result<Data<'t, 'i>, Fault> {
        let data = array("data", self.data)?;
        let mut entries = data.iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Data::of(entry),
            _ => Err(self.data.map_or(Fault::Missing("data"), |v| wrong("data", v, "one entry"))),
        }
    }
}

/// The fields of an entry of `data` that are read.
#[derive(Default)]
pub(super) struct Data<'t, 'i> {
    pub(super) asks: Field<'t, 'i>,
    pub(super) bids: Field<'t, 'i>,
    pub(super) ts: Field<'t, 'i>,
    pub(super) seq_id: Field<'t, 'i>,
    pub(super) prev_seq_id: Field<'t, 'i>,
    pub(super) trade_id: Field<'t, 'i>,
    pub(super) px: Field<'t, 'i>,
    pub(super) sz: Field<'t, 'i>,
    pub(super) side: Field<'t, 'i>,
    pub(super) count: Field<'t, 'i>,
    pub(super) source: Field<'t, 'i>,
}

impl<'t, 'i> Data<'t, 'i> {
    pub(super) fn of(entry: Value<'t, 'i>) -> Result<Self, Fault> {
        let object = entry.as_object().ok_or_else(|| wrong("data", entry, "objects"))?;
        let mut data = Data::default();
        for (key, value) in &object {
            let field = match key {
                "asks" => &mut data.asks,
                "bids" => &mut data.bids,
                "ts" => &mut data.ts,
                "seqId" => &mut data.seq_id,
                "prevSeqId" => &mut data.prev_seq_id,
                "tradeId" => &mut data.trade_id,
                "px" => &mut data.px,
                "sz" => &mut data.sz,
                "side" => &mut data.side,
                "count" => &mut data.count,
                "source" => &mut data.source,
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(data)
    }

    /// The event's stamp; its time is in milliseconds.
    pub(super) fn stamp(&self, recv: u64, seq: u64) -> Result<Stamp, Fault> {
        let value = self.ts.ok_or(Fault::Missing("ts"))?;
        let event = from_epoch(integer("ts", self.ts)?)
            .ok_or_else(|| wrong("ts", value, "milliseconds since 1970"))?;
        Ok(Stamp { event, recv, seq })
    }

    /// The best level of a side of `bbo-tbt`; zeros where the side is empty.
    pub(super) fn best(
        &self,
        name: &'static str,
        side: Field<'_, '_>,
    ) -> Result<(Decimal, Decimal), Fault> {
        let Some(level) = array(name, side)?.iter().next() else {
            return Ok((Decimal::ZERO, Decimal::ZERO));
        };
        let parts = level.as_array().ok_or_else(|| wrong(name, level, "[price, size]"))?;
        let mut parts = parts.iter();
        Ok((decimal(name, parts.next())?, decimal(name, parts.next())?))
    }

    /// One trade.
    pub(super) fn print(&self) -> Result<Print, Fault> {
        let id = integer("tradeId", self.trade_id)?;
        // "Trade side of taker".
        let side = match text("side", self.side)? {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => {
                let missing = Fault::Missing("side");
                return Err(self.side.map_or(missing, |v| wrong("side", v, "buy or sell")));
            }
        };
        let (price, size) = (decimal("px", self.px)?, decimal("sz", self.sz)?);
        let (trade, time) = (Trade { price, size, id, side }, self.stamp(0, id)?.event);
        // Both came later than the rest, and captures may lack them.
        let is_sum = self.count.is_some() && integer("count", self.count)? > 1;
        let is_ordinary = self.source.is_none() || text("source", self.source)? == ORDINARY;
        Ok(Print { time, trade, is_sum, is_ordinary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::scan::tests::forms;

    #[test]
    fn the_usual_form_of_a_trade_is_taken() {
        for text in forms("okx") {
            assert!(Print::scan(text.as_bytes()).is_some(), "{text}");
        }
    }
}
