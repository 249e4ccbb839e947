//! The list of instruments, for the rules (what can be subscribed to) and for the parser (what one
//! contract is):
//! <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>.

use simd_json::tape::{Object, Value};

use crate::decimal::Decimal;
use crate::instrument::Listing;
use crate::venue::event::{array, times};
use crate::venue::json::{Fault, Field, decimal, text, wrong};
use crate::venue::slots::is_asset;

/// One base unit a "contract": a spot pair, whose sizes need no conversion.
pub(super) const ONE: Decimal = Decimal::new(1, 0);

/// An instrument that is traded now.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) listing: Listing,
    /// How much of the base currency one contract is; [`ONE`] for a spot pair.
    pub(super) unit: Decimal,
}

/// Reads `{"code":"0","msg":"","data":[...]}`: those whose `state` is `live`, and of the contracts
/// the linear ones.
pub(super) fn read(root: Value<'_, '_>) -> Result<Vec<Instrument>, Fault> {
    let object = root.as_object().ok_or(Fault::Unknown)?;
    check_code(object.get("code"), object.get("msg"))?;
    let mut instruments = Vec::new();
    for row in &array("data", object.get("data"))? {
        let row = row.as_object().ok_or_else(|| wrong("data", row, "objects"))?;
        // Those that are not open yet may lack their name and their steps.
        if text("state", row.get("state"))? == "live" {
            instruments.extend(instrument(&row)?);
        }
    }
    Ok(instruments)
}

/// A reply of REST says `"code":"0"`, or what is wrong.
pub(super) fn check_code(code: Field<'_, '_>, msg: Field<'_, '_>) -> Result<(), Fault> {
    match text("code", code)? {
        "0" => Ok(()),
        code => Err(Fault::Venue(format!("{code} {}", text("msg", msg).unwrap_or_default()))),
    }
}

/// One instrument; `None` for one that has no place here (see [`contract`]).
fn instrument(row: &Object<'_, '_>) -> Result<Option<Instrument>, Fault> {
    let native = text("instId", row.get("instId"))?;
    let kind = text("instType", row.get("instType"))?;
    let (base, quote, contract, unit) = match kind {
        "SPOT" => {
            let base = text("baseCcy", row.get("baseCcy"))?;
            (base, text("quoteCcy", row.get("quoteCcy"))?, None, ONE)
        }
        "SWAP" | "FUTURES" => match contract(native, row)? {
            Some((base, quote, contract, unit)) => (base, quote, Some(contract), unit),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    if !native.split(['-', '_']).all(is_asset) || !is_asset(base) || !is_asset(quote) {
        return Ok(None);
    }
    let lot = times(decimal("lotSz", row.get("lotSz"))?, unit)?;
    let listing = Listing {
        contract,
        tick_size: Some(decimal("tickSz", row.get("tickSz"))?),
        lot_size: Some(lot),
        ..Listing::pair(native, base, quote)
    };
    Ok(Some(Instrument { listing, unit }))
}

/// Base, quote, the rest of the name, and how much of the base one contract is.
///
/// `BTC-USDT-SWAP` and `BTC-USD_UM-260327` are of the pair that `uly` names, and the rest tells
/// one contract from another: `SWAP`, `UM-260327`. An inverse contract (`BTC-USD-SWAP`) is worth
/// so many dollars: what that is in bitcoin depends on the price and is not a decimal, so there is
/// no exact size in units of the base currency, and it is left out.
fn contract<'i>(
    native: &str,
    row: &Object<'_, 'i>,
) -> Result<Option<(&'i str, &'i str, String, Decimal)>, Fault> {
    if text("ctType", row.get("ctType"))? != "linear" {
        return Ok(None);
    }
    let pair = text("uly", row.get("uly"))?;
    let rest = native.strip_prefix(pair).map(|rest| rest.trim_start_matches(['-', '_']));
    let (Some((base, quote)), Some(rest)) = (pair.split_once('-'), rest) else { return Ok(None) };
    if rest.is_empty() || text("ctValCcy", row.get("ctValCcy"))? != base {
        return Ok(None);
    }
    let value = decimal("ctVal", row.get("ctVal"))?;
    // "Contract multiplier": 1 so far, and empty where there is none.
    let unit = match row.get("ctMult") {
        Some(factor) if text("ctMult", Some(factor))?.is_empty() => value,
        Some(factor) => times(value, decimal("ctMult", Some(factor))?)?,
        None => value,
    };
    if unit.mantissa == 0 {
        return Err(Fault::Value {
            field: "ctVal",
            got: "0".to_owned(),
            expected: "the size of a contract, more than 0",
        });
    }
    Ok(Some((base, quote, rest.replace('_', "-"), unit)))
}
