//! The venues' notations of time, read into nanoseconds since the Unix epoch.

/// Below this a count since 1970 is milliseconds, from here on microseconds: 10^14 ms is the year
/// 5138, 10^14 us is 1973, so the two cannot be confused.
const FIRST_MICROSECONDS: u64 = 100_000_000_000_000;

/// Milliseconds or microseconds since the Unix epoch, told apart by size; `None` where the
/// nanoseconds overflow. Binance sends milliseconds unless `timeUnit=MICROSECOND` was asked for:
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>.
pub(super) fn from_epoch(count: u64) -> Option<u64> {
    count.checked_mul(if count < FIRST_MICROSECONDS { 1_000_000 } else { 1_000 })
}

/// `YYYY-MM-DDTHH:MM:SS[.f]Z` with one to nine places, the profile of RFC 3339 that Coinbase
/// sends; `None` for anything else, times before 1970 and after 2554 included.
pub(super) fn from_rfc3339(text: &str) -> Option<u64> {
    let text = text.as_bytes();
    let (head, tail) = text.split_at_checked(19)?;
    let separated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separated.iter().any(|&(at, separator)| head[at] != separator) {
        return None;
    }
    let (year, month, day) = (digits(&head[..4])?, digits(&head[5..7])?, digits(&head[8..10])?);
    let hour = digits(&head[11..13])?;
    let (minute, second) = (digits(&head[14..16])?, digits(&head[17..19])?);
    // RFC 3339 allows a leap second; it is counted as the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 || day < 1 || day > days_in(year, month)? {
        return None;
    }
    let seconds =
        days_since_epoch(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction(tail)?)
}

/// The nanoseconds of `Z` or `.f{1,9}Z`.
fn fraction(tail: &[u8]) -> Option<u64> {
    let places = match tail {
        [b'Z'] => return Some(0),
        [b'.', places @ .., b'Z'] if (1..=9).contains(&places.len()) => places,
        _ => return None,
    };
    Some(digits(places)? * 10u64.pow(9 - places.len() as u32))
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> Option<u64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(28 + u64::from(is_leap(year))),
        _ => None,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar; `None` before 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = |years: u64| years / 4 - years / 100 + years / 400;
    let passed = year.checked_sub(1970)?;
    let this_year = u64::from(month > 2 && is_leap(year));
    let in_year = BEFORE_MONTH[month as usize - 1] + this_year + day - 1;
    Some(passed * 365 + leap_days(year - 1) - leap_days(1969) + in_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_that_venues_send() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("2021-04-17T16:43:36.989711Z", 1_618_677_816_989_711_000),
            ("2000-02-29T23:59:59.5Z", 951_868_799_500_000_000),
            ("2024-12-31T23:59:60Z", 1_735_689_600_000_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000_000_000),
        ] {
            assert_eq!(from_rfc3339(text), Some(ns), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "2021-04-17",
            "2021-04-17T16:43:36",
            "2021-04-17 16:43:36Z",
            "2021-04-17T16:43:36.Z",
            "2021-04-17T16:43:36.0000000001Z",
            "2021-04-17T16:43:36+00:00",
            "2021-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-00-01T00:00:00Z",
            "2021-01-00T00:00:00Z",
            "2021-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "202x-01-01T00:00:00Z",
            "2021-01-01T00:00:0é",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut expected = 0;
        for year in 1970..2500 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month).unwrap() {
                    assert_eq!(days_since_epoch(year, month, day), Some(expected));
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn tells_milliseconds_from_microseconds() {
        assert_eq!(from_epoch(1_723_161_255_342), Some(1_723_161_255_342_000_000));
        assert_eq!(from_epoch(1_723_161_255_342_123), Some(1_723_161_255_342_123_000));
        assert_eq!(from_epoch(0), Some(0));
        assert_eq!(from_epoch(u64::MAX), None);
        assert_eq!(from_epoch(99_999_999_999_999), None);
    }
}
