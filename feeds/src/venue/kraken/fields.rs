//! The fields of Kraken's messages.

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::tick::{Quote, Side, Stamp, Trade};
use crate::venue::json::{Fault, Field, boolean, decimal, integer, text, wrong};
use crate::venue::scan::Scan;
use crate::venue::time::from_rfc3339;

/// A trade as read.
#[derive(Debug)]
pub(super) struct Print<'i> {
    pub(super) symbol: &'i str,
    /// Nanoseconds since the Unix epoch, 0 where it does not say.
    pub(super) time: u64,
    pub(super) trade: Trade,
}

impl<'i> Print<'i> {
    /// Reads a message in the form in which one new trade comes.
    pub(super) fn scan(text: &'i [u8]) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.literal(r#"{"channel":"trade","type":"update","data":[{"symbol":""#)?;
        let symbol = scan.string()?;
        scan.literal(r#","side":""#)?;
        let side = scan.side("buy", "sell")?;
        scan.literal(r#"","price":"#)?;
        let price = scan.decimal(b',')?;
        scan.literal(r#","qty":"#)?;
        let size = scan.decimal(b',')?;
        scan.literal(r#","ord_type":""#)?;
        scan.skip_string()?;
        scan.literal(r#","trade_id":"#)?;
        let id = scan.whole(b',')?;
        scan.literal(r#","timestamp":""#)?;
        let time = scan.rfc3339()?;
        scan.literal("}]}")?;
        scan.end()?;
        Some(Print { symbol, time, trade: Trade { price, size, id, side } })
    }
}

/// The fields that are read, of messages, answers and the entries of `data`.
#[derive(Default)]
pub(super) struct Fields<'t, 'i> {
    pub(super) channel: Field<'t, 'i>,
    pub(super) kind: Field<'t, 'i>,
    pub(super) data: Field<'t, 'i>,
    pub(super) method: Field<'t, 'i>,
    pub(super) success: Field<'t, 'i>,
    pub(super) result: Field<'t, 'i>,
    pub(super) error: Field<'t, 'i>,
    pub(super) depth: Field<'t, 'i>,
    pub(super) symbol: Field<'t, 'i>,
    pub(super) timestamp: Field<'t, 'i>,
    pub(super) trade_id: Field<'t, 'i>,
    pub(super) side: Field<'t, 'i>,
    pub(super) price: Field<'t, 'i>,
    pub(super) qty: Field<'t, 'i>,
    pub(super) bid: Field<'t, 'i>,
    pub(super) bid_qty: Field<'t, 'i>,
    pub(super) ask: Field<'t, 'i>,
    pub(super) ask_qty: Field<'t, 'i>,
    pub(super) bids: Field<'t, 'i>,
    pub(super) asks: Field<'t, 'i>,
    pub(super) checksum: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// The fields of an object.
    pub(super) fn of(name: &'static str, value: Value<'t, 'i>) -> Result<Self, Fault> {
        let object = value.as_object().ok_or_else(|| wrong(name, value, "an object"))?;
        let mut fields = Fields::default();
        for (key, value) in &object {
            let field = match key {
                "channel" => &mut fields.channel,
                "type" => &mut fields.kind,
                "data" => &mut fields.data,
                "method" => &mut fields.method,
                "success" => &mut fields.success,
                "result" => &mut fields.result,
                // Too many requests are answered with a capital: `{"Error": "Exceeded msg rate"}`.
                "error" | "Error" => &mut fields.error,
                "depth" => &mut fields.depth,
                "symbol" => &mut fields.symbol,
                "timestamp" => &mut fields.timestamp,
                "trade_id" => &mut fields.trade_id,
                "side" => &mut fields.side,
                "price" => &mut fields.price,
                "qty" => &mut fields.qty,
                "bid" => &mut fields.bid,
                "bid_qty" => &mut fields.bid_qty,
                "ask" => &mut fields.ask,
                "ask_qty" => &mut fields.ask_qty,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "checksum" => &mut fields.checksum,
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(fields)
    }

    /// Whether the message is a snapshot, not an update.
    pub(super) fn is_snapshot(&self) -> Result<bool, Fault> {
        match text("type", self.kind)? {
            "snapshot" => Ok(true),
            "update" => Ok(false),
            _ => Err(unexpected("type", self.kind, "snapshot or update")),
        }
    }

    /// The pair that it is about.
    pub(super) fn symbol(&self) -> Result<&'i str, Fault> {
        text("symbol", self.symbol)
    }

    /// The venue's time where it says so: snapshots of books have one only lately.
    pub(super) fn stamp(&self, recv: u64, seq: u64) -> Result<Stamp, Fault> {
        let Some(value) = self.timestamp else { return Ok(Stamp { event: 0, recv, seq }) };
        let event = from_rfc3339(text("timestamp", self.timestamp)?)
            .ok_or_else(|| wrong("timestamp", value, "a time as 2023-10-06T17:35:55.440295Z"))?;
        Ok(Stamp { event, recv, seq })
    }

    /// Whether the message refuses a request, and with what words.
    pub(super) fn refusal(&self) -> Result<Option<String>, Fault> {
        let refused = match self.success {
            Some(_) => !boolean("success", self.success)?,
            None => self.error.is_some(),
        };
        if !refused {
            return Ok(None);
        }
        let error = text("error", self.error)?;
        // "Currency pair not supported XBT/USD" names it, others do not.
        Ok(Some(match self.symbol.and_then(|symbol| symbol.into_string()) {
            Some(symbol) if !error.contains(symbol) => format!("{error}: {symbol}"),
            _ => error.to_owned(),
        }))
    }

    /// One trade.
    pub(super) fn print(&self) -> Result<Print<'i>, Fault> {
        let trade = self.trade()?;
        Ok(Print { time: self.stamp(0, 0)?.event, symbol: self.symbol()?, trade })
    }

    fn trade(&self) -> Result<Trade, Fault> {
        // "The side of the taker order."
        let side = match text("side", self.side)? {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(unexpected("side", self.side, "buy or sell")),
        };
        let (price, size) = (decimal("price", self.price)?, decimal("qty", self.qty)?);
        Ok(Trade { price, size, id: integer("trade_id", self.trade_id)?, side })
    }

    /// Best bid and ask.
    pub(super) fn quote(&self) -> Result<Quote, Fault> {
        Ok(Quote {
            bid: decimal("bid", self.bid)?,
            bid_size: decimal("bid_qty", self.bid_qty)?,
            ask: decimal("ask", self.ask)?,
            ask_size: decimal("ask_qty", self.ask_qty)?,
        })
    }

    /// The CRC32 of a book.
    pub(super) fn checksum(&self) -> Result<u32, Fault> {
        u32::try_from(integer("checksum", self.checksum)?)
            .map_err(|_| unexpected("checksum", self.checksum, "a whole number below 2^32"))
    }
}

/// The fault of a field whose value is none of those expected.
fn unexpected(name: &'static str, field: Field<'_, '_>, expected: &'static str) -> Fault {
    field.map_or(Fault::Missing(name), |value| wrong(name, value, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::scan::tests::forms;

    #[test]
    fn the_usual_form_of_a_trade_is_taken() {
        for text in forms("kraken") {
            assert!(Print::scan(text.as_bytes()).is_some(), "{text}");
        }
    }
}
