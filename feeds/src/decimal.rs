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
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        match Decimal::parse_short(text) {
            Some(decimal) => Ok(decimal),
            None => Decimal::parse_any(text),
        }
    }

    /// Reads what nearly all prices and quantities are: at most sixteen characters, all of them
    /// digits but for one point. `None` for anything else.
    ///
    /// The characters are looked at eight at once, so that hardly a branch depends on them: digits
    /// that the processor cannot foresee cost more in branches than in arithmetic.
    #[inline]
    pub(crate) fn parse_short(text: &[u8]) -> Option<Self> {
        let (high, low) = sixteen_digits_of(text)?;
        of_digits(high, low)
    }

    /// The same of a text that goes on after the number, with this byte; and where that is. `None`
    /// also for some that are so near to the end of the text that it cannot be read eight at once.
    #[inline]
    pub(crate) fn parse_until(end: u8, text: &[u8]) -> Option<(Self, usize)> {
        let (high, low, len) = sixteen_digits_until(end, text)?;
        Some((of_digits(high, low)?, len))
    }

    /// Digit by digit: long texts, signs, exponents, and whatever is no number.
    #[inline(never)]
    fn parse_any(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text.first() {
            Some(b'-') => (true, &text[1..]),
            _ => (false, text),
        };
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

/// Reads a whole number of 64 bits, of nothing but digits.
#[inline]
pub(crate) fn parse_whole(text: &str) -> Option<u64> {
    match sixteen_digits_of(text.as_bytes()) {
        Some((high, low)) => of_whole(high, low),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// The same at the front of a text that goes on with this byte; and where that is. See
/// [`Decimal::parse_until`].
#[inline]
pub(crate) fn whole_until(end: u8, text: &[u8]) -> Option<(u64, usize)> {
    let (high, low, len) = sixteen_digits_until(end, text)?;
    Some((of_whole(high, low)?, len))
}

/// Eight characters `0`.
const ZEROS: u64 = each(b'0');

/// What a point is among the values of digits.
const POINT: u8 = b'.' ^ b'0';

/// The byte `b` eight times.
const fn each(b: u8) -> u64 {
    u64::from_ne_bytes([b; 8])
}

/// The values of at most eight digits, the last in the highest byte, zeros before the first. What
/// is no digit has another value.
#[inline]
fn digits_of(text: &[u8]) -> u64 {
    let missing = 8 * ((8 - text.len() as u32) & 7);
    let chars = if let Some(&all) = text.first_chunk() {
        u64::from_le_bytes(all)
    } else if let (Some(&first), Some(&last)) = (text.first_chunk(), text.last_chunk()) {
        // They overlap unless there are eight: what is of both is shifted out of the first.
        let first = u64::from(u32::from_le_bytes(first)) << missing & 0xffff_ffff;
        first | u64::from(u32::from_le_bytes(last)) << 32
    } else {
        text.iter().fold(0, |chars, &b| chars >> 8 | u64::from(b) << 56)
    };
    chars ^ ZEROS << missing
}

/// The same of one to sixteen: the last eight, and those before them, which come first.
#[inline]
fn sixteen_digits_of(text: &[u8]) -> Option<(u64, u64)> {
    match text.len() {
        1..=8 => Some((0, digits_of(text))),
        9..=16 => {
            let (first, last) = text.split_last_chunk::<8>()?;
            Some((digits_of(first), u64::from_le_bytes(*last) ^ ZEROS))
        }
        _ => None,
    }
}

/// The same of what stands before the byte `end`, and where that is.
#[inline]
fn sixteen_digits_until(end: u8, text: &[u8]) -> Option<(u64, u64, usize)> {
    let (first, rest) = text.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*first);
    if let Some(len @ 1..) = position(end, first) {
        let digits = (first ^ ZEROS) << (64 - 8 * len);
        return Some((0, digits, len as usize));
    }
    let more = u64::from_le_bytes(*rest.first_chunk()?);
    let Some(len) = position(end, more) else {
        let is_sixteen = text.get(16) == Some(&end);
        return is_sixteen.then_some((first ^ ZEROS, more ^ ZEROS, 16));
    };
    // The last eight, and those before them.
    let (high, low) = match 8 * len {
        0 => (0, first ^ ZEROS),
        bits => ((first ^ ZEROS) << (64 - bits), (first >> bits | more << (64 - bits)) ^ ZEROS),
    };
    Some((high, low, 8 + len as usize))
}

/// The number of sixteen digits.
#[inline]
fn of_whole(high: u64, low: u64) -> Option<u64> {
    (are_digits(high) && are_digits(low))
        .then(|| eight_digits(high) * 100_000_000 + eight_digits(low))
}

/// The first byte of eight that is this one, from the lowest.
#[inline]
fn position(byte: u8, bytes: u64) -> Option<u32> {
    let others = bytes ^ each(byte);
    let found = others.wrapping_sub(each(1)) & !others & each(0x80);
    (found != 0).then(|| found.trailing_zeros() / 8)
}

/// The number of sixteen digits, one of which may be a point.
#[inline]
fn of_digits(mut high: u64, mut low: u64) -> Option<Decimal> {
    let mut places = 0;
    if let Some(at) = position(POINT, low) {
        // A point alone is no number; zeros before it are rare enough to be read the other way.
        if low == u64::from(POINT) << 56 && high == 0 {
            return None;
        }
        low = without(low, at) | high >> 56;
        high <<= 8;
        places = 7 - at;
    } else if let Some(at) = position(POINT, high) {
        high = without(high, at);
        places = 15 - at;
    }
    if !(are_digits(high) && are_digits(low)) {
        return None;
    }
    let mut mantissa = eight_digits(low);
    if high != 0 {
        mantissa += eight_digits(high) * 100_000_000;
    }
    Some(Decimal { mantissa: mantissa as i64, exponent: -(places as i8) })
}

/// What is left without the byte `at`: those before it move up by one.
#[inline]
fn without(digits: u64, at: u32) -> u64 {
    let before = digits & ((1 << (8 * at)) - 1);
    let after = digits & (u64::MAX << (8 * at) << 8);
    before << 8 | after
}

#[inline]
fn are_digits(digits: u64) -> bool {
    (digits.wrapping_add(each(0x76)) | digits) & each(0x80) == 0
}

/// The number of eight digits: neighbours are joined to pairs, pairs to fours, and those to one.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
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
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // The prices of one book mostly have one exponent.
        if self.exponent == other.exponent {
            return self.mantissa.cmp(&other.mantissa);
        }
        self.cmp_scaled(other)
    }
}

impl Decimal {
    /// The order of two that differ in their exponents.
    fn cmp_scaled(&self, other: &Self) -> Ordering {
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
    use proptest::prelude::*;

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

    proptest! {
        /// Eight characters at once give what one after the other gives, of numbers and of what is
        /// nearly one.
        #[test]
        fn short_texts_are_read_like_any(
            text in "[0-9]{0,17}[-.e/:\\x00\u{b0}0-9]?[0-9]{0,9}[.0]?",
            rest in "[\",]?[0-9.]{0,20}",
        ) {
            let parts = |d: Decimal| (d.mantissa, d.exponent);
            let any = Decimal::parse_any(text.as_bytes()).map(parts);
            let short = Decimal::parse_short(text.as_bytes()).map(parts);
            let is_short = text.len() <= 16 && !text.contains(['-', 'e']);
            let is_zero = any == Ok((0, 0));
            match short {
                Some(short) => prop_assert_eq!(Ok(short), any),
                None => prop_assert!(!is_short || is_zero || any.is_err()),
            }
            let until = Decimal::parse_until(b'"', format!("{text}\"{rest}").as_bytes());
            let is_whole = text.len() + rest.len() >= 15 && text.len() < 16;
            match until {
                Some((until, len)) => prop_assert_eq!((Ok(parts(until)), len), (any, text.len())),
                None => prop_assert!(!is_whole || short.is_none()),
            }
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
