//! Names of files and directories, times as people read them, specs without secrets.

use std::path::Path;

use crate::venue;

/// The name of a feed's data file of this number, from 1: `1-binance.0001.zst`.
pub(super) fn data_file(feed: u32, venue: &str, file: u32) -> String {
    format!("{feed}-{venue}.{file:04}.zst")
}

/// The parts of such a name: feed, venue, number.
pub(super) fn parse_data_file(name: &str) -> Option<(u32, &str, u32)> {
    let (feed, rest) = name.split_once('-')?;
    let (rest, file) = rest.strip_suffix(".zst")?.rsplit_once('.')?;
    // `from_str` would take a sign.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let well_named = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let plain = file.len() >= 4 && well_named && number(feed) && number(file);
    plain.then_some((feed.parse().ok()?, rest, file.parse().ok()?))
}

/// Whether a path is named as a data file of a recording is.
pub fn is_data_file(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).and_then(parse_data_file).is_some()
}

/// A time in nanoseconds since the Unix epoch, as `2026-11-25T22:37:02.123Z` (RFC 3339).
pub fn utc(ns: u64) -> String {
    let (seconds, millis) = (ns / 1_000_000_000, ns / 1_000_000 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A directory's name for a recording that begins at this time: `20261125T223702Z`.
pub(super) fn directory(ns: u64) -> String {
    let text = utc(ns);
    let whole = text.split('.').next().unwrap_or(&text);
    format!("{}Z", whole.replace(['-', ':'], ""))
}

/// Year, month and day of a day since 1970: years begin in March, so that the leap day is the last
/// (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day_of_month)
}

/// A feed's spec without what may be a secret: names, passwords and queries in its URLs.
pub fn redacted(spec: &str) -> String {
    let mut out = Vec::new();
    for part in spec.split(',') {
        let Some((scheme, rest)) = part.split_once("://") else {
            out.push(part.to_owned());
            continue;
        };
        let (rest, _) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        out.push(format!("{scheme}://{host}{path}"));
    }
    out.join(",")
}

/// The names of the venues that there are parsers for, for errors.
pub(super) fn venues() -> String {
    venue::names().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_feed_venue_and_number_in_their_names() {
        for (feed, venue, file, name) in [
            (1, "binance", 1, "1-binance.0001.zst"),
            (12, "coinbase", 10_000, "12-coinbase.10000.zst"),
        ] {
            assert_eq!(data_file(feed, venue, file), name);
            assert_eq!(parse_data_file(name), Some((feed, venue, file)));
        }
        for name in [
            "binance.0001.zst",
            "1-binance.zst",
            "1-binance.1.zst",
            "1-.0001.zst",
            "x.zst",
            "1-binance.+001.zst",
            "1-a-b.0001.zst",
            "1-binance.0001.zst.tmp",
            "-1-b.0001.zst",
        ] {
            assert_eq!(parse_data_file(name), None, "{name}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
        assert_eq!(utc(1_723_161_253_937_085_768), "2024-08-08T23:54:13.937Z");
        assert_eq!(directory(1_723_161_253_937_085_768), "20240808T235413Z");
        assert!(utc(u64::MAX).starts_with("2554-07-21"));
    }

    #[test]
    fn secrets_stay_out() {
        for (spec, shown) in [
            ("binance:BTCUSDT,depth=20", "binance:BTCUSDT,depth=20"),
            (
                "binance:*,url=wss://me:pass@host:1/ws?token=x,rest=https://h/#k,lines=2",
                "binance:*,url=wss://host:1/ws,rest=https://h/,lines=2",
            ),
            ("b:A,url=wss://a@b@c/d@e", "b:A,url=wss://c/d@e"),
        ] {
            assert_eq!(redacted(spec), shown);
        }
    }
}
