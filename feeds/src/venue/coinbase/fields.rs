//! The fields of a message, found in one walk over its keys.

use simd_json::tape::Object;

use crate::tick::Stamp;
use crate::venue::json::{Fault, Field, text, wrong};
use crate::venue::time::from_rfc3339;

/// The fields that are read.
#[derive(Default)]
pub(super) struct Fields<'t, 'i> {
    pub(super) kind: Field<'t, 'i>,
    pub(super) product_id: Field<'t, 'i>,
    pub(super) time: Field<'t, 'i>,
    pub(super) trade_id: Field<'t, 'i>,
    pub(super) sequence: Field<'t, 'i>,
    pub(super) side: Field<'t, 'i>,
    pub(super) price: Field<'t, 'i>,
    pub(super) size: Field<'t, 'i>,
    pub(super) best_bid: Field<'t, 'i>,
    pub(super) best_bid_size: Field<'t, 'i>,
    pub(super) best_ask: Field<'t, 'i>,
    pub(super) best_ask_size: Field<'t, 'i>,
    pub(super) changes: Field<'t, 'i>,
    pub(super) bids: Field<'t, 'i>,
    pub(super) asks: Field<'t, 'i>,
    pub(super) last_trade_id: Field<'t, 'i>,
    pub(super) message: Field<'t, 'i>,
    pub(super) reason: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "type" => &mut fields.kind,
                "product_id" => &mut fields.product_id,
                "time" => &mut fields.time,
                "trade_id" => &mut fields.trade_id,
                "sequence" => &mut fields.sequence,
                "side" => &mut fields.side,
                "price" => &mut fields.price,
                "size" => &mut fields.size,
                "best_bid" => &mut fields.best_bid,
                "best_bid_size" => &mut fields.best_bid_size,
                "best_ask" => &mut fields.best_ask,
                "best_ask_size" => &mut fields.best_ask_size,
                "changes" => &mut fields.changes,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "last_trade_id" => &mut fields.last_trade_id,
                "message" => &mut fields.message,
                "reason" => &mut fields.reason,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// The event's time in nanoseconds, 0 where the message has none (a snapshot).
    pub(super) fn stamp(&self, recv: u64, seq: u64) -> Result<Stamp, Fault> {
        let Some(value) = self.time else { return Ok(Stamp { event: 0, recv, seq }) };
        let event = from_rfc3339(text("time", self.time)?)
            .ok_or_else(|| wrong("time", value, "a time as 2021-04-17T16:43:36.989711Z"))?;
        Ok(Stamp { event, recv, seq })
    }
}
