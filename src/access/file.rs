//! The file of `--access`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;
use toml::value::{Datetime, Offset};

use super::fields::granting;
use super::grant::{Grant, Rights};
use super::remote::Bell;
use super::{Stamp, Table, issuers};
use crate::limits;

/// Why a file of access cannot be used, in one line.
#[derive(Debug, Error)]
#[error("{}: {why}", path.display())]
pub struct AccessError {
    path: PathBuf,
    why: String,
}

impl AccessError {
    pub(super) fn new(path: &Path, why: String) -> Self {
        AccessError { path: path.to_owned(), why }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    anonymous: Option<Entry>,
    #[serde(default)]
    token: Vec<Entry>,
    #[serde(default)]
    issuer: Vec<issuers::Section>,
}

granting! {
    /// One who may see something.
    Entry {
        name: Option<String>,
        sha256: Option<String>,
        expires: Option<Datetime>,
        #[serde(default)]
        operator: bool,
    }
}

impl Table {
    /// Reads one; what is looked at on the way is added to `files`.
    pub(super) fn read(
        path: &Path,
        bell: &Arc<Bell>,
        files: &mut Vec<Stamp>,
    ) -> Result<Self, AccessError> {
        let error = |why| AccessError::new(path, why);
        // Before the text: what is changed meanwhile is read again.
        files.push(Stamp::new(path));
        let text =
            std::fs::read_to_string(path).map_err(|why| error(format!("cannot read it: {why}")))?;
        let whole: Whole = toml::from_str(&text).map_err(|why| error(located(&text, &why)))?;
        // Half a file that is being written may be that too.
        if whole.anonymous.is_none() && whole.token.is_empty() && whole.issuer.is_empty() {
            let why = "nobody is in it, expected [[token]], [[issuer]] or [anonymous]";
            return Err(error(why.to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let issuers = issuers::read(whole.issuer, folder, bell, files).map_err(error)?;
        let anonymous = whole.anonymous.map(|entry| entry.anonymous()).transpose();
        let mut table = Table {
            anonymous: anonymous.map_err(|why| error(format!("[anonymous]: {why}")))?,
            tokens: Vec::new(),
            issuers,
        };
        for (at, entry) in whole.token.into_iter().enumerate() {
            let (hash, grant) = entry
                .token()
                .map_err(|why| error(format!("[[token]] {} of the file: {why}", at + 1)))?;
            if table.tokens.iter().any(|(known, _)| *known == hash) {
                return Err(error(format!(
                    "[[token]] {} of the file: its hash is there twice",
                    at + 1
                )));
            }
            table.tokens.push((hash, Arc::new(grant)));
        }
        let delays = table.delays();
        if delays.len() > limits::DELAYS_MAX {
            let most = limits::DELAYS_MAX;
            return Err(error(format!(
                "{} different `delay`s, expected at most {most}: each is a market of its own",
                delays.len()
            )));
        }
        Ok(table)
    }
}

/// An error of TOML in one line, with its place.
fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    format!("line {line}: {message}")
}

impl Entry {
    fn anonymous(self) -> Result<Arc<Grant>, String> {
        if self.sha256.is_some() {
            return Err("`sha256` is for [[token]]: these give none".to_owned());
        }
        let name = self.name.clone().unwrap_or_else(|| "anonymous".to_owned());
        Ok(Arc::new(Grant::new(name, self.rights()?)))
    }

    fn token(self) -> Result<([u8; 32], Grant), String> {
        let name = self.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or("expected a `name`, to know it by in logs")?;
        let text = self.sha256.as_deref().unwrap_or("");
        let hash = hash(text).ok_or_else(|| {
            format!(
                "{name}: `sha256` of {} characters, expected the 64 hexadecimal digits that \
                 `printf %s TOKEN | sha256sum` prints",
                text.len()
            )
        })?;
        let rights = self.rights().map_err(|why| format!("{name}: {why}"))?;
        Ok((hash, Grant::new(name, rights)))
    }

    fn rights(mut self) -> Result<Rights, String> {
        let expires = self.expires.map(|at| {
            unix_ms(&at).ok_or_else(|| {
                format!(
                    "`expires` {at}, expected a time with its zone such as 2027-01-31T12:00:00Z"
                )
            })
        });
        let rights = self.fields().whole()?;
        if self.operator && rights.delay_ms > 0 {
            return Err("`delay` and `operator`: an operator sees what comes in now".to_owned());
        }
        Ok(Rights { expires_ms: expires.transpose()?, operator: self.operator, ..rights })
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Unix time in milliseconds; `None` before 1970, and without a zone.
fn unix_ms(at: &Datetime) -> Option<u64> {
    let (date, time) = (at.date?, at.time?);
    let minutes = match at.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = days(i64::from(date.year), i64::from(date.month), i64::from(date.day)) * 86_400
        + i64::from(time.hour) * 3_600
        + (i64::from(time.minute) - minutes) * 60
        + i64::from(time.second.unwrap_or(0));
    let millis = i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(seconds * 1_000 + millis).ok()
}

/// Days since 1970-01-01 of a date of the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:30:00+02:00", 951_820_200),
            ("2026-11-27T09:00:00Z", 1_795_770_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(unix_ms(&text.parse().expect("a time")), Some(seconds * 1_000), "{text}");
        }
        assert_eq!(unix_ms(&"2027-01-01T00:00:00".parse().expect("a time")), None, "no zone");
        assert_eq!(unix_ms(&"2027-01-01".parse().expect("a date")), None);
    }
}
