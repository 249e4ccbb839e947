//! The messages' fields, as found and as read.

use simd_json::tape::{Object, Value};

use crate::decimal::Decimal;
use crate::tick::{Side, Stamp, Tick, Trade, flags};
use crate::venue::event::{array, times};
use crate::venue::json::{Fault, Field, decimal, integer, text, wrong};
use crate::venue::time::from_epoch;

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

    /// The trade, its stamp, whether it sums several, and whether its makers are ordinary ones.
    pub(super) fn trade(&self, recv: u64, unit: Decimal) -> Result<(Tick, bool), Fault> {
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
        let (price, size) = (decimal("px", self.px)?, times(decimal("sz", self.sz)?, unit)?);
        let trade = Trade { price, size, id, side };
        let mut tick = Tick::trade(Default::default(), self.stamp(recv, id)?, &trade);
        // Both came later than the rest, and captures may lack them.
        if self.count.is_some() && integer("count", self.count)? > 1 {
            tick.flags |= flags::AGGREGATE;
        }
        let ordinary = self.source.is_none() || text("source", self.source)? == "0";
        Ok((tick, ordinary))
    }
}
