//! The `key=value` parts of a spec, and what somebody meant who misspelt one.

use crate::decimal::Decimal;

use super::{Kinds, SpecError};

/// The `key=value` parts of one spec, the keys known and none twice.
pub(super) struct Parts<'a>(pub(super) Vec<Part<'a>>);

/// One of them.
pub(super) struct Part<'a> {
    feed: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn read(
        feed: &'static str,
        keys: &'static [&'static str],
        text: &'a str,
    ) -> Result<Self, SpecError> {
        let mut parts = Parts(Vec::new());
        if text.is_empty() {
            return Ok(parts);
        }
        for part in text.split(',') {
            let not = || SpecError::NotKeyValue { feed, part: part.to_owned() };
            let (given, value) = part.split_once('=').ok_or_else(not)?;
            let Some(&key) = keys.iter().find(|&&key| key == given) else {
                let (key, near) = (given.to_owned(), nearest(given, keys));
                return Err(SpecError::UnknownKey { feed, key, expected: keys.join(", "), near });
            };
            if parts.has(key) {
                return Err(SpecError::Twice { feed, key });
            }
            parts.0.push(Part { feed, key, value });
        }
        Ok(parts)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|part| part.key == key)
    }
}

impl Part<'_> {
    pub(super) fn bad(&self, expected: &'static str) -> SpecError {
        SpecError::BadValue {
            feed: self.feed,
            key: self.key,
            value: self.value.to_owned(),
            expected,
        }
    }

    pub(super) fn integer(
        &self,
        low: u64,
        high: u64,
        expected: &'static str,
    ) -> Result<u64, SpecError> {
        let number = self.value.parse().ok().filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| self.bad(expected))
    }

    /// A decimal as millionths; more than six places are refused, not rounded.
    pub(super) fn millionths(
        &self,
        low: u64,
        high: u64,
        expected: &'static str,
    ) -> Result<u64, SpecError> {
        let number = Decimal::parse(self.value.as_bytes()).ok().and_then(|d| d.rescale(-6));
        let number =
            number.and_then(|n| u64::try_from(n).ok()).filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| self.bad(expected))
    }

    /// A base URL of one of these schemes, without the slash at its end.
    pub(super) fn url(
        &self,
        schemes: &[&str],
        expected: &'static str,
    ) -> Result<String, SpecError> {
        let url = self.value.trim_end_matches('/');
        let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
        match host.filter(|host| !host.is_empty()) {
            Some(_) => Ok(url.to_owned()),
            None => Err(self.bad(expected)),
        }
    }

    pub(super) fn zipf(&self) -> Result<f64, SpecError> {
        let number = self.value.parse().ok().filter(|n| (0.0..=5.0).contains(n));
        // `-0` is in the range and would not display as it was read.
        number.map(f64::abs).ok_or_else(|| self.bad("0 (uniform) to 5"))
    }

    pub(super) fn flag(&self) -> Result<bool, SpecError> {
        match self.value {
            "true" | "on" => Ok(true),
            "false" | "off" => Ok(false),
            _ => Err(self.bad("`true` or `false`")),
        }
    }

    pub(super) fn kinds(&self) -> Result<Kinds, SpecError> {
        let mut kinds = Kinds { trade: false, quote: false, book: false };
        for name in self.value.split('+') {
            match name {
                "trade" => kinds.trade = true,
                "quote" => kinds.quote = true,
                "book" => kinds.book = true,
                _ => return Err(self.bad("trade, quote or book, several joined with `+`")),
            }
        }
        Ok(kinds)
    }
}

/// The name that `given` is most likely to be a slip of: at most two letters off, or an
/// abbreviation.
pub(super) fn nearest(given: &str, names: &[&'static str]) -> Option<&'static str> {
    let given = given.to_ascii_lowercase();
    let by_distance = names.iter().map(|&name| (distance(&given, name), name)).min();
    match by_distance {
        Some((off, name)) if off <= 2 && off < name.len() / 2 + 1 => Some(name),
        _ => names.iter().copied().find(|name| given.len() >= 2 && name.starts_with(&given)),
    }
}

/// The edit distance of Levenshtein, by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
