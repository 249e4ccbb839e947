//! Exact decimals: an `i64` mantissa and a power of ten, never a float.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// An exact decimal number: `mantissa * 10^exponent`.
///
/// Prices and quantities keep the digits that the venue sent; two decimals of the same value
/// compare equal whatever their exponents (`1.50 == 1.5`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    /// The digits, signed.
    pub mantissa: i64,
    /// The power of ten that the mantissa is multiplied with; `-8` for eight places.
    pub exponent: i8,
}

/// Why a text is not a [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// No digit at all, or something that is not part of a number.
    #[error("not a decimal number")]
    Syntax,
    /// The digits do not fit in 63 bits, or the exponent does not fit in 8.
    #[error("decimal out of range: at most 18 significant digits")]
    Range,
}

/// The powers of ten that fit in an `i64`.
const POW10: [i64; 19] = {
    let mut table = [1i64; 19];
    let mut i = 1;
    while i < 19 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { mantissa: 0, exponent: 0 };

    /// A decimal of these parts.
    pub const fn new(mantissa: i64, exponent: i8) -> Self {
        Decimal { mantissa, exponent }
    }

    /// Reads plain (`"61837.63000000"`) or scientific (`"1e-7"`) notation.
    ///
    /// The exponent is minus the number of places given, so the digits survive as sent;
    /// trailing zeros are dropped only where the mantissa would overflow with them.
    ///
    /// # Errors
    /// [`DecimalError::Syntax`] for anything but a number, [`DecimalError::Range`] where it does
    /// not fit.
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text.first() {
            Some(b'-') => (true, &text[1..]),
            _ => (false, text),
        };
        // 18 digits cannot overflow an i64: the common case needs no checks per digit.
        let mut mantissa: i64 = 0;
        let mut places: i32 = 0;
        let mut seen_point = false;
        let mut seen_digit = false;
        let mut zeros: i32 = 0; // trailing zeros read but not yet multiplied in
        let mut at = 0;
        while at < digits.len() {
            match digits[at] {
                b'0' => {
                    zeros += 1;
                    places += i32::from(seen_point);
                    seen_digit = true;
                }
                d @ b'1'..=b'9' => {
                    mantissa = shift(mantissa, zeros + 1)?
                        .checked_add(i64::from(d - b'0'))
                        .ok_or(DecimalError::Range)?;
                    zeros = 0;
                    places += i32::from(seen_point);
                    seen_digit = true;
                }
                b'.' if !seen_point => seen_point = true,
                b'e' | b'E' if seen_digit => {
                    places -= parse_exponent(&digits[at + 1..])?;
                    break;
                }
                _ => return Err(DecimalError::Syntax),
            }
            at += 1;
        }
        if !seen_digit {
            return Err(DecimalError::Syntax);
        }
        match shift(mantissa, zeros) {
            Ok(all) => mantissa = all,
            Err(_) => places -= zeros,
        }
        let exponent = i8::try_from(-places).map_err(|_| DecimalError::Range)?;
        Ok(Decimal { mantissa: if negative { -mantissa } else { mantissa }, exponent })
    }

    /// The mantissa of this value at another exponent; `None` where digits would be lost or the
    /// mantissa would overflow.
    pub fn rescale(self, exponent: i8) -> Option<i64> {
        let shift_by = i32::from(self.exponent) - i32::from(exponent);
        match shift_by {
            0 => Some(self.mantissa),
            _ if self.mantissa == 0 => Some(0),
            1..=18 => self.mantissa.checked_mul(POW10[shift_by as usize]),
            -18..=-1 => {
                let divisor = POW10[-shift_by as usize];
                (self.mantissa % divisor == 0).then(|| self.mantissa / divisor)
            }
            _ => None,
        }
    }

    /// The product, exact; `None` where its digits do not fit.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let product = |a: Self, b: Self| {
            let mantissa = a.mantissa.checked_mul(b.mantissa)?;
            Some(Decimal::new(mantissa, a.exponent.checked_add(b.exponent)?))
        };
        product(self, other).or_else(|| product(self.normalised(), other.normalised()))
    }

    /// The same value with no trailing zeros in the mantissa; zero gets the exponent 0.
    pub fn normalised(self) -> Self {
        if self.mantissa == 0 {
            return Decimal::ZERO;
        }
        let mut out = self;
        while out.mantissa % 10 == 0 && out.exponent < i8::MAX {
            out.mantissa /= 10;
            out.exponent += 1;
        }
        out
    }

    /// The two mantissas at one shared exponent, the finer of the two; `None` on overflow.
    pub fn align(self, other: Self) -> Option<(i64, i64, i8)> {
        let exponent = self.exponent.min(other.exponent);
        match (self.rescale(exponent), other.rescale(exponent)) {
            (Some(a), Some(b)) => Some((a, b, exponent)),
            _ => {
                let (a, b) = (self.normalised(), other.normalised());
                let exponent = a.exponent.min(b.exponent);
                Some((a.rescale(exponent)?, b.rescale(exponent)?, exponent))
            }
        }
    }

    /// Appends the shortest plain notation: no exponent, no trailing zeros after the point
    /// (`61837.63`, `0`, `1200`).
    pub fn write_to(self, out: &mut Vec<u8>) {
        let value = if self.exponent < 0 { self.normalised() } else { self };
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(value.mantissa.unsigned_abs());
        write_plain(out, value.mantissa < 0, digits.as_bytes(), value.exponent.into());
    }
}

/// Appends `digits * 10^exponent` in plain notation. Digits are those of a number without leading
/// zeros; trailing zeros after the point are written as they are.
pub fn write_plain(out: &mut Vec<u8>, negative: bool, digits: &[u8], exponent: i16) {
    if negative {
        out.push(b'-');
    }
    let places = usize::from(exponent.unsigned_abs());
    if exponent >= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + places, b'0');
        }
        return;
    }
    if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// `mantissa * 10^by`, or a range error.
fn shift(mantissa: i64, by: i32) -> Result<i64, DecimalError> {
    if mantissa == 0 {
        return Ok(0);
    }
    let factor = usize::try_from(by).ok().and_then(|i| POW10.get(i)).ok_or(DecimalError::Range)?;
    mantissa.checked_mul(*factor).ok_or(DecimalError::Range)
}

fn parse_exponent(text: &[u8]) -> Result<i32, DecimalError> {
    let text = std::str::from_utf8(text).map_err(|_| DecimalError::Syntax)?;
    if text.len() > 4 {
        return Err(DecimalError::Range);
    }
    text.parse().map_err(|_| DecimalError::Syntax)
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl std::str::FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Decimal::parse(text.as_bytes())
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some((a, b, _)) = self.align(*other) {
            return a.cmp(&b);
        }
        // The exponents are too far apart for one i64: signs, then magnitudes decide.
        match self.mantissa.signum().cmp(&other.mantissa.signum()) {
            Ordering::Equal => {
                let magnitude =
                    |d: &Decimal| d.mantissa.unsigned_abs().ilog10() as i32 + i32::from(d.exponent);
                let by_size = magnitude(self).cmp(&magnitude(other));
                let by_size = if by_size == Ordering::Equal {
                    self.wide().cmp(&other.wide())
                } else {
                    by_size
                };
                if self.mantissa < 0 { by_size.reverse() } else { by_size }
            }
            unequal => unequal,
        }
    }
}

impl Decimal {
    /// The magnitude's digits scaled to 36 significant ones, to compare numbers of equal length.
    fn wide(&self) -> u128 {
        let digits = u128::from(self.mantissa.unsigned_abs());
        digits * 10u128.pow(35 - self.mantissa.unsigned_abs().ilog10())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_writes_what_venues_send() {
        for (text, shown) in [
            ("61837.63000000", "61837.63"),
            ("0.00000000", "0"),
            ("0.00000637", "0.00000637"),
            ("6500.00000000", "6500"),
            ("1000000", "1000000"),
            ("1e-7", "0.0000001"),
            ("1.5E3", "1500"),
            ("-0.50", "-0.5"),
            (".5", "0.5"),
            ("92233720368.54775807", "92233720368.54775807"),
            ("123456789012345678.00000000", "123456789012345678"),
            ("0.000000000000000001", "0.000000000000000001"),
        ] {
            assert_eq!(d(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_number() {
        for text in ["", ".", "-", "1.2.3", "abc", "1e", "NaN", "1,5", "0x10", " 1", "e5"] {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::Syntax), "{text}");
        }
        for text in ["99999999999999999999", "1e200", "0.12345678901234567890123"] {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::Range), "{text}");
        }
    }

    #[test]
    fn compares_by_value() {
        assert_eq!(d("1.50"), d("1.5"));
        assert!(d("1.49999999") < d("1.5"));
        assert!(d("-2") < d("-1.5"));
        assert!(d("1e100") > d("123456789012345678"));
        assert!(d("-1e100") < d("1e-100"));
        assert!(d("1e-100") > Decimal::ZERO);
    }

    #[test]
    fn products_are_exact_or_none() {
        for (a, b, product) in [
            ("0.01", "413.28", "4.1328"),
            ("10000000", "0.1", "1000000"),
            ("0", "0.01", "0"),
            ("1000000000000000000.000", "0.0010", "1000000000000000"),
            ("-1.5", "2", "-3"),
        ] {
            assert_eq!(d(a).checked_mul(d(b)), Some(d(product)), "{a} x {b}");
        }
        assert_eq!(d("123456789012345678").checked_mul(d("123.456")), None);
        assert_eq!(d("1e-100").checked_mul(d("1e-100")), None);
    }

    #[test]
    fn rescales_exactly_or_not_at_all() {
        assert_eq!(d("1.5").rescale(-8), Some(150_000_000));
        assert_eq!(d("1.5").rescale(0), None);
        assert_eq!(d("2.0").rescale(0), Some(2));
        assert_eq!(d("9e18").rescale(-1), None);
    }
}
