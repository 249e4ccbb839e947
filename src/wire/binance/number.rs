//! Numbers as Binance writes them: strings with eight places.
//!
//! Not for looks alone: python-binance takes a level out of its book where the size *is*
//! `"0.00000000"`, and keeps levels by the text of their prices. What needs more places has them.

use tickcast_feeds::Decimal;
use tickcast_feeds::decimal::write_plain;

use crate::derive::Sum;

/// Places after the point.
pub(super) const PLACES: u8 = 8;

const EXPONENT: i8 = -(PLACES as i8);

/// Appends `name` and a number.
pub(super) fn push_decimal(out: &mut Vec<u8>, name: &[u8], value: Decimal) {
    out.extend_from_slice(name);
    out.push(b'"');
    match value.rescale(EXPONENT) {
        Some(mantissa) => {
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(mantissa.unsigned_abs());
            write_plain(out, mantissa < 0, digits.as_bytes(), EXPONENT.into());
        }
        None => {
            let start = out.len();
            value.write_to(out);
            pad(out, start);
        }
    }
    out.push(b'"');
}

/// Appends `name` and a sum; zero where it has no value.
pub(super) fn push_sum(out: &mut Vec<u8>, name: &[u8], value: Sum) {
    out.extend_from_slice(name);
    out.push(b'"');
    let start = out.len();
    let value = if value.is_known() { value } else { Sum::ZERO };
    value.write_to(out);
    pad(out, start);
    out.push(b'"');
}

/// Fills the number that begins at `start` up to its places.
fn pad(out: &mut Vec<u8>, start: usize) {
    let number = &out[start..];
    let has = number.iter().position(|&byte| byte == b'.').map(|point| number.len() - point - 1);
    if has.is_none() {
        out.push(b'.');
    }
    let missing = usize::from(PLACES).saturating_sub(has.unwrap_or(0));
    out.resize(out.len() + missing, b'0');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_eight_places_or_what_they_need() {
        for (number, text) in [
            ("0", "0.00000000"),
            ("0.000", "0.00000000"),
            ("-1.5", "-1.50000000"),
            ("61837.63000000", "61837.63000000"),
            ("1e3", "1000.00000000"),
            ("0.0000000001", "0.0000000001"),
            ("0.00000001000", "0.00000001"),
            // Do not fit in 63 bits at eight places.
            ("900000000000000000", "900000000000000000.00000000"),
            ("1234567890123456.78", "1234567890123456.78000000"),
        ] {
            let value: Decimal = number.parse().unwrap();
            let (mut decimal, mut sum) = (Vec::new(), Vec::new());
            push_decimal(&mut decimal, b"", value);
            push_sum(&mut sum, b"", value.into());
            let wanted = format!("\"{text}\"");
            assert_eq!(String::from_utf8(decimal).unwrap(), wanted);
            assert_eq!(String::from_utf8(sum).unwrap(), wanted);
        }
        let mut lost = Vec::new();
        push_sum(&mut lost, b",\"q\":", Sum::NONE);
        assert_eq!(lost, br#","q":"0.00000000""#);
    }
}
