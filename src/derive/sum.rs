//! Sums of decimals without rounding.

use tickcast_feeds::Decimal;
use tickcast_feeds::decimal::write_plain;

/// The exponent of a sum that left 128 bits.
const LOST: i16 = i16::MAX;

/// The most powers of ten in an `i128`.
const DIGITS: u32 = 38;

/// An exact sum: 128 bits at the finest exponent of what was added.
///
/// A sum that would need more (some 38 digits between its largest and its finest addend) is lost:
/// it has no value from there on, rather than a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    mantissa: i128,
    exponent: i16,
}

impl Sum {
    /// Nothing added yet.
    pub const ZERO: Sum = Sum { mantissa: 0, exponent: 0 };
    /// One without a value.
    pub const NONE: Sum = Sum { mantissa: 0, exponent: LOST };

    /// The sum of these parts, as [`Sum::parts`] gave them.
    pub const fn new(mantissa: i128, exponent: i16) -> Self {
        Sum { mantissa, exponent }
    }

    /// Mantissa and power of ten.
    pub const fn parts(self) -> (i128, i16) {
        (self.mantissa, self.exponent)
    }

    /// Whether it has a value.
    pub const fn is_known(self) -> bool {
        self.exponent != LOST
    }

    /// Adds `mantissa * 10^exponent`.
    pub fn add(&mut self, mantissa: i128, exponent: i16) {
        if exponent == self.exponent {
            match self.mantissa.checked_add(mantissa) {
                Some(sum) => self.mantissa = sum,
                None => *self = Sum::NONE,
            }
        } else {
            *self = self.plus(mantissa, exponent).unwrap_or(Sum::NONE);
        }
    }

    /// Takes another sum away.
    pub fn subtract(&mut self, other: Sum) {
        match other.mantissa.checked_neg() {
            Some(mantissa) if other.is_known() => self.add(mantissa, other.exponent),
            _ => *self = Sum::NONE,
        }
    }

    fn plus(self, mantissa: i128, exponent: i16) -> Option<Sum> {
        if !self.is_known() {
            return None;
        }
        if mantissa == 0 {
            return Some(self);
        }
        if self.mantissa == 0 {
            return Some(Sum { mantissa, exponent });
        }
        let finest = self.exponent.min(exponent);
        let a = scaled(self.mantissa, self.exponent, finest)?;
        let b = scaled(mantissa, exponent, finest)?;
        Some(Sum { mantissa: a.checked_add(b)?, exponent: finest })
    }

    /// The mantissa at a finer exponent; `None` where it does not fit, or there is no value.
    pub fn at(self, exponent: i16) -> Option<i128> {
        if self.is_known() { scaled(self.mantissa, self.exponent, exponent) } else { None }
    }

    /// Appends the shortest plain notation, as [`Decimal::write_to`]; nothing where there is no
    /// value.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let Sum { mut mantissa, mut exponent } = self;
        if !self.is_known() {
            return;
        }
        if mantissa == 0 {
            exponent = 0;
        }
        while exponent < 0 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(mantissa.unsigned_abs());
        write_plain(out, mantissa < 0, digits.as_bytes(), exponent);
    }
}

impl From<Decimal> for Sum {
    fn from(value: Decimal) -> Self {
        Sum { mantissa: value.mantissa.into(), exponent: value.exponent.into() }
    }
}

fn scaled(mantissa: i128, from: i16, to: i16) -> Option<i128> {
    if mantissa == 0 || from == to {
        return Some(mantissa);
    }
    let by = u32::try_from(i32::from(from) - i32::from(to)).ok().filter(|&by| by <= DIGITS)?;
    mantissa.checked_mul(10i128.checked_pow(by)?)
}

/// `to - from`, exactly; a sum without value where that does not fit.
pub fn difference(to: Decimal, from: Decimal) -> Sum {
    let mut sum = Sum::from(to);
    sum.add(-i128::from(from.mantissa), from.exponent.into());
    sum
}

/// By how many percent `to` is above `from`, to two places, a half to the even one. `None` where
/// `from` is zero, or the numbers are too far apart for 128 bits.
pub fn percent(to: Decimal, from: Decimal) -> Option<Sum> {
    let change = difference(to, from);
    if !change.is_known() {
        return None;
    }
    let finest = change.exponent.min(from.exponent.into());
    let divisor = scaled(from.mantissa.into(), from.exponent.into(), finest)?.checked_abs()?;
    if divisor == 0 {
        return None;
    }
    let dividend = change.at(finest)?.checked_mul(10_000)?;
    let (mut quotient, rest) = (dividend / divisor, (dividend % divisor).unsigned_abs());
    // Against what is left to the divisor: twice the rest might not fit.
    let half = rest.cmp(&(divisor.unsigned_abs() - rest));
    if half.is_gt() || half.is_eq() && quotient % 2 != 0 {
        quotient += dividend.signum();
    }
    Some(Sum { mantissa: quotient, exponent: -2 })
}

/// Places of a quotient.
const PLACES: i16 = 8;

/// `dividend / divisor` to eight places, cut off; to fewer where that does not fit in 128 bits.
/// `None` where either has no value, or the divisor is zero.
pub fn quotient(dividend: Sum, divisor: Sum) -> Option<Sum> {
    if !(dividend.is_known() && divisor.is_known()) || divisor.mantissa == 0 {
        return None;
    }
    (0..=PLACES).rev().find_map(|places| {
        let by = i32::from(dividend.exponent) - i32::from(divisor.exponent) + i32::from(places);
        let factor = 10i128.checked_pow(by.unsigned_abs())?;
        let mantissa = if by >= 0 {
            dividend.mantissa.checked_mul(factor)?.checked_div(divisor.mantissa)?
        } else {
            dividend.mantissa.checked_div(divisor.mantissa.checked_mul(factor)?)?
        };
        Some(Sum { mantissa, exponent: -places })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn shown(sum: Sum) -> String {
        let mut out = Vec::new();
        sum.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn total(texts: &[&str]) -> Sum {
        let mut sum = Sum::ZERO;
        for text in texts {
            let value = d(text);
            sum.add(value.mantissa.into(), value.exponent.into());
        }
        sum
    }

    #[test]
    fn adds_what_no_float_could() {
        assert_eq!(shown(total(&["0.1", "0.2"])), "0.3");
        assert_eq!(shown(total(&["123456789012345678", "0.000000000000000001"])), {
            "123456789012345678.000000000000000001"
        });
        assert_eq!(shown(total(&["1e3", "2"])), "1002");
        assert_eq!(shown(total(&["0.00", "5.10", "-5.1"])), "0");
        assert_eq!(shown(total(&["-0.50"])), "-0.5");
        assert_eq!(shown(Sum::ZERO), "0");
        let mut sum = total(&["1.25", "2"]);
        sum.subtract(total(&["1.25"]));
        assert_eq!(shown(sum), "2");
    }

    #[test]
    fn what_does_not_fit_has_no_value_rather_than_a_wrong_one() {
        for (a, b) in
            [((i128::MAX, 0), (1, 0)), ((1, 100), (1, -100)), ((1, 39), (1, 0)), ((1, 38), (9, 0))]
        {
            let mut sum = Sum::new(a.0, a.1);
            sum.add(b.0, b.1);
            // 10^38 + 9 is the largest of these that fits.
            assert_eq!(sum.is_known(), a.1 == 38, "{a:?} {b:?}");
            sum.add(5, 0);
            assert_eq!(sum.is_known(), a.1 == 38, "and stays so");
        }
        let mut sum = Sum::new(5, 0);
        sum.subtract(Sum::NONE);
        assert_eq!((sum, shown(sum).as_str()), (Sum::NONE, ""));
        let mut sum = Sum::new(-1, 0);
        sum.subtract(Sum::new(i128::MIN, 0));
        assert_eq!(sum, Sum::NONE);
    }

    #[test]
    fn a_percentage_is_rounded_half_to_even() {
        let of = |to, from| percent(d(to), d(from)).map(shown);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of("110", "100"), is("10"));
        assert_eq!(of("99.5", "100"), is("-0.5"));
        assert_eq!(of("100.005", "100"), is("0"), "0.005 is half, 0.00 is even");
        assert_eq!(of("100.015", "100"), is("0.02"), "0.015 is half, 0.02 is even");
        assert_eq!(of("99.985", "100"), is("-0.02"));
        assert_eq!(of("99.995", "100"), is("0"));
        assert_eq!(of("100.0050000001", "100"), is("0.01"));
        assert_eq!(of("4", "3"), is("33.33"));
        assert_eq!(of("5", "3"), is("66.67"));
        assert_eq!(of("-1", "-2"), is("50"), "above is above, whatever the sign");
        assert_eq!(of("1", "0"), None);
        assert_eq!(of("1e100", "1e-100"), None);
    }

    #[test]
    fn a_quotient_has_eight_places_or_what_fits() {
        let of = |a: &str, b: &str| quotient(d(a).into(), d(b).into()).map(shown);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of("92700", "1.5"), is("61800"));
        assert_eq!(of("1", "3"), is("0.33333333"));
        assert_eq!(of("-2", "3"), is("-0.66666666"));
        assert_eq!(of("1e9", "1e-9"), is("1000000000000000000"));
        assert_eq!(of("1e-9", "1e9"), is("0"));
        assert_eq!(of("1e30", "7"), is("142857142857142857142857142857.14285714"));
        assert_eq!(
            of("1e33", "7"),
            is("142857142857142857142857142857142.85714"),
            "to fewer places"
        );
        assert_eq!((of("1", "0"), of("1e100", "1")), (None, None));
        assert_eq!(quotient(Sum::NONE, Sum::new(1, 0)), None);
        assert_eq!(quotient(Sum::new(1, 0), Sum::NONE), None);
    }
}
