//! The fields of a message, found in one walk over its keys.

use simd_json::tape::Object;

use crate::tick::{Side, Stamp, Trade};
use crate::venue::json::{Fault, Field, decimal, integer, text, wrong};
use crate::venue::scan::Scan;
use crate::venue::time::from_rfc3339;

/// A trade as read.
#[derive(Debug)]
pub(super) struct Print<'i> {
    pub(super) product: &'i str,
    /// Nanoseconds since the Unix epoch, 0 where it does not say.
    pub(super) time: u64,
    pub(super) trade: Trade,
    /// Whether it is a `last_match`.
    pub(super) is_first: bool,
}

impl<'i> Print<'i> {
    /// Reads a message in the form in which the venue sends trades: not the order of its
    /// documentation.
    pub(super) fn scan(text: &'i [u8]) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.literal(r#"{"type":""#)?;
        let is_first = scan.has("last_");
        scan.literal(r#"match","trade_id":"#)?;
        let id = scan.whole(b',')?;
        scan.literal(r#","maker_order_id":""#)?;
        scan.skip_string()?;
        scan.literal(r#","taker_order_id":""#)?;
        scan.skip_string()?;
        scan.literal(r#","side":""#)?;
        let maker = scan.side("buy", "sell")?;
        scan.literal(r#"","size":""#)?;
        let size = scan.decimal(b'"')?;
        scan.literal(r#"","price":""#)?;
        let price = scan.decimal(b'"')?;
        scan.literal(r#"","product_id":""#)?;
        let product = scan.string()?;
        scan.literal(r#","sequence":"#)?;
        scan.whole(b',')?;
        scan.literal(r#","time":""#)?;
        let time = scan.rfc3339()?;
        scan.literal("}")?;
        scan.end()?;
        let trade = Trade { price, size, id, side: taker(maker) };
        Some(Print { product, time, trade, is_first })
    }
}

/// The side of a trade is its maker's: the taker did the opposite.
fn taker(maker: Side) -> Side {
    match maker {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// `buy` or `sell`.
pub(super) fn side(field: Field<'_, '_>) -> Result<Side, Fault> {
    match text("side", field)? {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(field.map_or(Fault::Missing("side"), |v| wrong("side", v, "buy or sell"))),
    }
}

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

    pub(super) fn print(&self, is_first: bool) -> Result<Print<'i>, Fault> {
        let id = integer("trade_id", self.trade_id)?;
        let side = taker(side(self.side)?);
        let (price, size) = (decimal("price", self.price)?, decimal("size", self.size)?);
        let time = self.stamp(0, 0)?.event;
        let product = text("product_id", self.product_id)?;
        Ok(Print { product, time, trade: Trade { price, size, id, side }, is_first })
    }

    /// The event's time in nanoseconds, 0 where the message has none (a snapshot).
    pub(super) fn stamp(&self, recv: u64, seq: u64) -> Result<Stamp, Fault> {
        let Some(value) = self.time else { return Ok(Stamp { event: 0, recv, seq }) };
        let event = from_rfc3339(text("time", self.time)?)
            .ok_or_else(|| wrong("time", value, "a time as 2021-04-17T16:43:36.989711Z"))?;
        Ok(Stamp { event, recv, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::scan::tests::forms;

    #[test]
    fn the_usual_form_of_a_trade_is_taken() {
        for text in forms("coinbase") {
            assert!(Print::scan(text.as_bytes()).is_some(), "{text}");
        }
    }
}
