//! What stands in a request's address: percent-encoding, and the parameters behind the `?`.

use std::ops::RangeInclusive;

use super::Error;
use crate::wire::request::cut;

/// Undoes percent-encoding (RFC 3986 section 2.1).
///
/// # Errors
/// A `%` without two hexadecimal digits, or bytes that are no UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, Error> {
    let bad = |expected| {
        let message = format!("bad encoding {:?}, expected {expected}", cut(text));
        Error::bad("bad_value", message)
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad("two hexadecimal digits after each %"));
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| bad("UTF-8"))
}

/// The parameters of a request. Each is taken once, and what is left in the end is unknown.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`.
    ///
    /// # Errors
    /// A bad encoding, or a name that comes twice.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Error> {
        let mut all: Vec<(String, String)> = Vec::new();
        for pair in text.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // As browsers and form libraries write a space.
            let (name, value) =
                (decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?);
            if all.iter().any(|(before, _)| *before == name) {
                let message =
                    format!("parameter `{}` is given twice, expected it once", cut(&name));
                return Err(Error::bad("bad_value", message));
            }
            all.push((name, value));
        }
        Ok(Query(all))
    }

    /// The text of a parameter, if it was given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A whole number, if it was given.
    ///
    /// # Errors
    /// One that is none, or out of the range.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        // `from_str` would take a sign.
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if plain && range.contains(&number) => Ok(Some(number)),
            _ => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                Err(Error::bad_value(name, &text, &expected))
            }
        }
    }

    /// No other parameter may have been given.
    ///
    /// # Errors
    /// One that is not `known`, which names all there are.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Error> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let expected = match known {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        let message = format!("unknown parameter `{}`, expected {expected}", cut(name));
        Err(Error::bad("unknown_field", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("kraken:XBT%2FUSD%20").unwrap(), "kraken:XBT/USD ");
        assert_eq!(decode("%C3%a9+").unwrap(), "é+");
        for bad in ["%", "%2", "a%2", "%zz", "%+1", "%ff", "%-1"] {
            assert!(decode(bad).unwrap_err().message.contains("expected"), "{bad}");
        }
    }

    #[test]
    fn parameters_are_taken_once_and_nothing_may_be_left() {
        let mut query = Query::parse(Some("a=1&b=x%26y&&c&d=1+2")).unwrap();
        assert_eq!(query.number("a", 1..=5).unwrap(), Some(1));
        assert_eq!(query.take("a"), None);
        assert_eq!(query.take("b").as_deref(), Some("x&y"));
        assert_eq!(query.take("d").as_deref(), Some("1 2"));
        let error = query.finish(&["a", "b"]).unwrap_err();
        assert_eq!(error.message, "unknown parameter `c`, expected a, b");
        assert!(Query::parse(Some("a=1&a=2")).unwrap_err().message.contains("twice"));
        assert!(Query::parse(None).unwrap().finish(&[]).is_ok());
        for bad in ["", "0", "6", "-1", "+1", "1.0", "99999999999999999999999", "x"] {
            let mut query = Query(vec![("a".to_owned(), bad.to_owned())]);
            let error = query.number("a", 1..=5).unwrap_err();
            assert!(error.message.ends_with("`a`, expected a whole number from 1 to 5"), "{bad}");
        }
    }
}
