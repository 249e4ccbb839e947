//! The fields of Binance's messages, and how symbols are spelt in them.

use std::borrow::Cow;

use simd_json::tape::{Object, Value};

use crate::tick::{Side, Trade};
use crate::venue::json::{Fault, Field, boolean, decimal, integer, text, wrong};
use crate::venue::scan::Scan;
use crate::venue::time::from_epoch;

/// A plain trade as read.
#[derive(Debug)]
pub(super) struct Print<'i> {
    pub(super) symbol: &'i str,
    /// Nanoseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) trade: Trade,
}

impl<'i> Print<'i> {
    /// Reads a message in the form in which spot sends trades, raw or of a combined stream.
    pub(super) fn scan(text: &'i [u8]) -> Option<Self> {
        let mut scan = Scan::new(text);
        let is_combined = scan.has(r#"{"stream":""#);
        if is_combined {
            scan.skip_string()?;
            scan.literal(r#","data":"#)?;
        }
        scan.literal(r#"{"e":"trade","E":"#)?;
        scan.whole(b',')?;
        scan.literal(r#","s":""#)?;
        let symbol = scan.string()?;
        scan.literal(r#","t":"#)?;
        let id = scan.whole(b',')?;
        scan.literal(r#","p":""#)?;
        let price = scan.decimal(b'"')?;
        scan.literal(r#"","q":""#)?;
        let size = scan.decimal(b'"')?;
        scan.literal(r#"","T":"#)?;
        let time = scan.epoch(b',')?;
        scan.literal(r#","m":"#)?;
        let side = taker(scan.boolean()?);
        scan.literal(r#","M":"#)?;
        scan.boolean()?;
        scan.literal(if is_combined { "}}" } else { "}" })?;
        scan.end()?;
        Some(Print { symbol, time, trade: Trade { price, size, id, side } })
    }
}

/// `m`: the buyer was the maker, so the taker sold.
fn taker(buyer_is_maker: bool) -> Side {
    if buyer_is_maker { Side::Sell } else { Side::Buy }
}

/// The fields of a payload that are read, under their own names. A letter means different things
/// in different messages (`a` is an id, a price or the asks).
#[derive(Default)]
#[allow(non_snake_case)]
pub(super) struct Fields<'t, 'i> {
    pub(super) e: Field<'t, 'i>,
    pub(super) E: Field<'t, 'i>,
    pub(super) s: Field<'t, 'i>,
    pub(super) t: Field<'t, 'i>,
    pub(super) p: Field<'t, 'i>,
    pub(super) q: Field<'t, 'i>,
    pub(super) T: Field<'t, 'i>,
    pub(super) m: Field<'t, 'i>,
    pub(super) l: Field<'t, 'i>,
    pub(super) U: Field<'t, 'i>,
    pub(super) u: Field<'t, 'i>,
    pub(super) pu: Field<'t, 'i>,
    pub(super) X: Field<'t, 'i>,
    pub(super) b: Field<'t, 'i>,
    pub(super) B: Field<'t, 'i>,
    pub(super) a: Field<'t, 'i>,
    pub(super) A: Field<'t, 'i>,
    pub(super) last_update_id: Field<'t, 'i>,
    pub(super) bids: Field<'t, 'i>,
    pub(super) asks: Field<'t, 'i>,
    pub(super) symbols: Field<'t, 'i>,
    pub(super) result: Field<'t, 'i>,
    pub(super) error: Field<'t, 'i>,
    pub(super) id: Field<'t, 'i>,
    pub(super) msg: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "e" => &mut fields.e,
                "E" => &mut fields.E,
                "s" => &mut fields.s,
                "t" => &mut fields.t,
                "p" => &mut fields.p,
                "q" => &mut fields.q,
                "T" => &mut fields.T,
                "m" => &mut fields.m,
                "l" => &mut fields.l,
                "U" => &mut fields.U,
                "u" => &mut fields.u,
                "pu" => &mut fields.pu,
                "X" => &mut fields.X,
                "b" => &mut fields.b,
                "B" => &mut fields.B,
                "a" => &mut fields.a,
                "A" => &mut fields.A,
                "lastUpdateId" => &mut fields.last_update_id,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "symbols" => &mut fields.symbols,
                "result" => &mut fields.result,
                "error" => &mut fields.error,
                "id" => &mut fields.id,
                "msg" => &mut fields.msg,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// The event's time in nanoseconds: of the trade, else of the message; 0 without either.
    pub(super) fn time(&self) -> Result<u64, Fault> {
        let (name, field) = if self.T.is_some() { ("T", self.T) } else { ("E", self.E) };
        let Some(value) = field else { return Ok(0) };
        from_epoch(integer(name, field)?)
            .ok_or_else(|| wrong(name, value, "milliseconds or microseconds since 1970"))
    }

    pub(super) fn trade(&self, id: u64) -> Result<Trade, Fault> {
        let side = taker(boolean("m", self.m)?);
        Ok(Trade { price: decimal("p", self.p)?, size: decimal("q", self.q)?, id, side })
    }

    pub(super) fn print(&self) -> Result<Print<'i>, Fault> {
        let trade = self.trade(integer("t", self.t)?)?;
        Ok(Print { time: self.time()?, symbol: text("s", self.s)?, trade })
    }

    /// Whether a trade is one of the insurance fund or the like, which futures' plain trades tell.
    pub(super) fn is_off_market(&self) -> Result<bool, Fault> {
        Ok(self.X.is_some() && text("X", self.X)? != "MARKET")
    }

    pub(super) fn is_book_ticker(&self) -> bool {
        [self.u, self.s, self.b, self.B, self.a, self.A].iter().all(Option::is_some)
    }
}

/// The stream's name and the payload of `{"stream","data"}`, or the message itself.
pub(super) fn unwrap_combined<'t, 'i>(
    root: Value<'t, 'i>,
) -> Result<(Option<&'i str>, Value<'t, 'i>), Fault> {
    let Some(object) = root.as_object() else { return Ok((None, root)) };
    let (mut stream, mut data) = (None, None);
    for (key, value) in &object {
        match key {
            "stream" => stream = Some(value),
            "data" => data = Some(value),
            _ => {}
        }
    }
    match (stream, data) {
        (None, _) => Ok((None, root)),
        (Some(_), Some(payload)) => Ok((Some(text("stream", stream)?), payload)),
        (Some(_), None) => Err(Fault::Missing("data")),
    }
}

/// `name` in upper case, in a buffer that is reused.
pub(super) fn set_upper(upper: &mut String, name: &str) {
    upper.clear();
    upper.push_str(name);
    upper.make_ascii_uppercase();
}

/// A symbol as it stands in a URL, its percent-encoded bytes decoded (Binance lists Chinese names).
pub(super) fn decoded(symbol: &str) -> Cow<'_, str> {
    if !symbol.contains('%') {
        return Cow::Borrowed(symbol);
    }
    let mut parts = symbol.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        let Some(byte) = code else { return Cow::Borrowed(symbol) };
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(symbol), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::scan::tests::forms;

    #[test]
    fn the_usual_form_of_a_trade_is_taken() {
        for text in forms("binance") {
            assert!(Print::scan(text.as_bytes()).is_some(), "{text}");
        }
    }
}
