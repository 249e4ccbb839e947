//! The lines of a capture, two formats in one file if need be:
//!
//! - `<receive time, ns> <message>`, as hftbacktest's collector writes;
//! - cryptofeed's raw data collection: `<receive time, s>: <message>`, `URL -> <time>: <reply to a
//!   REST request>`, and what carries no data: `URL <- <time>: <frame sent>`, `URL <-> <time>` at a
//!   connect, `configuration: {...}`.

use std::ops::Range;

/// What one line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Something that was received.
    Message(Head),
    /// Nothing for a stream: what was sent, a connect, a configuration, an empty line.
    Skip,
}

/// Where the parts of a message stand in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// When it was received, nanoseconds since the Unix epoch.
    pub(super) recv: u64,
    /// The URL that it answers, where it is a REST reply.
    pub(super) url: Option<Range<usize>>,
    /// The message as received.
    pub(super) text: Range<usize>,
}

/// Takes a line apart, or says what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Line, &'static str> {
    let end = line.trim_ascii_end().len();
    let line = &line[..end];
    match line.first() {
        None => Ok(Line::Skip),
        Some(b'0'..=b'9') => parse_message(line),
        Some(_) if line.starts_with(b"configuration: ") => Ok(Line::Skip),
        Some(_) => parse_address(line),
    }
}

fn parse_message(line: &[u8]) -> Result<Line, &'static str> {
    let space = find(line, b" ").ok_or("expected a message after the receive time")?;
    let recv = match line[..space].strip_suffix(b":") {
        Some(seconds) => parse_seconds(seconds)?,
        None => parse_nanos(&line[..space])?,
    };
    message(line, recv, None, space + 1)
}

/// `URL -> ...`, `URL <- ...`, `URL <-> ...`.
fn parse_address(line: &[u8]) -> Result<Line, &'static str> {
    const EXPECTED: &str = "expected a receive time, or a URL and an arrow";
    let space = find(line, b" ").ok_or(EXPECTED)?;
    let (url, rest) = (&line[..space], &line[space + 1..]);
    if find(url, b"://").is_none() || std::str::from_utf8(url).is_err() {
        return Err(EXPECTED);
    }
    if rest.starts_with(b"<- ") || rest.starts_with(b"<-> ") {
        return Ok(Line::Skip);
    }
    let reply = rest.strip_prefix(b"-> ").ok_or(EXPECTED)?;
    let colon = find(reply, b": ").ok_or("expected a receive time and a reply after the arrow")?;
    let recv = parse_seconds(&reply[..colon])?;
    message(line, recv, Some(0..space), line.len() - reply.len() + colon + 2)
}

fn message(
    line: &[u8],
    recv: u64,
    url: Option<Range<usize>>,
    from: usize,
) -> Result<Line, &'static str> {
    let text = from..line.len();
    if line.get(text.clone()).is_none_or(<[u8]>::is_empty) {
        return Err("expected a message after the receive time");
    }
    Ok(Line::Message(Head { recv, url, text }))
}

fn parse_nanos(text: &[u8]) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a receive time in nanoseconds";
    digits(text).ok_or(EXPECTED)
}

/// Seconds with a fraction, exactly: through a float the last three digits would be noise. Digits
/// beyond the nanosecond are dropped.
fn parse_seconds(text: &[u8]) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a receive time in seconds";
    let (whole, fraction) = match find(text, b".") {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b"0"[..]),
    };
    let mut nanos = [b'0'; 9];
    for (digit, &given) in nanos.iter_mut().zip(fraction) {
        *digit = given;
    }
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(EXPECTED);
    }
    let whole = digits(whole).and_then(|seconds| seconds.checked_mul(1_000_000_000));
    whole.zip(digits(&nanos)).and_then(|(a, b)| a.checked_add(b)).ok_or(EXPECTED)
}

/// A number of decimal digits only; `None` for anything else and beyond 64 bits.
fn digits(text: &[u8]) -> Option<u64> {
    let number = |sum: u64, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, number) }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receive time, URL and text of a message.
    type Read<'a> = (u64, Option<&'a str>, &'a str);

    fn read(line: &str) -> Result<Option<Read<'_>>, &'static str> {
        Ok(match parse(line.as_bytes())? {
            Line::Skip => None,
            Line::Message(head) => {
                Some((head.recv, head.url.map(|url| &line[url]), &line[head.text]))
            }
        })
    }

    #[test]
    fn both_formats() {
        assert_eq!(
            read("1723161253937085768 {\"a\": 1}\n"),
            Ok(Some((1_723_161_253_937_085_768, None, "{\"a\": 1}")))
        );
        assert_eq!(
            read("1633998512.0633569: {\"a\":1}\r\n"),
            Ok(Some((1_633_998_512_063_356_900, None, "{\"a\":1}")))
        );
        assert_eq!(
            read("https://x.com/d?symbol=A&limit=5 -> 1633998512.320639: {\"b\": 2}"),
            Ok(Some((
                1_633_998_512_320_639_000,
                Some("https://x.com/d?symbol=A&limit=5"),
                "{\"b\": 2}"
            )))
        );
        assert_eq!(read("wss://x.com <- 1633998512.3: {\"event\":\"subscribe\"}"), Ok(None));
        assert_eq!(read("wss://x.com <-> 1633998512.3"), Ok(None));
        assert_eq!(read("configuration: {\"trades\":[]}"), Ok(None));
        assert_eq!(read("\r\n"), Ok(None));
    }

    #[test]
    fn seconds_are_exact() {
        for (text, nanos) in [
            // 1723161253.937085768 is not a double: its neighbours are 238 ns apart.
            ("1723161253.937085768", 1_723_161_253_937_085_768),
            ("1723161253.9370857689", 1_723_161_253_937_085_768),
            ("1723161253", 1_723_161_253_000_000_000),
            ("0.5", 500_000_000),
            ("1.000000001", 1_000_000_001),
        ] {
            assert_eq!(parse_seconds(text.as_bytes()), Ok(nanos), "{text}");
        }
        for text in ["", ".", "1.", ".5", "1.5e3", "-1.0", "1.2.3", "18446744074.0"] {
            assert!(parse_seconds(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_lines_say_why() {
        for line in [
            "hello",
            "hello world",
            "1723161253937085768",
            "1723161253937085768 ",
            "99999999999999999999999 {}",
            "12x {}",
            "1723161253.5 {}",
            "1723161253.5:{}",
            "x.com -> 1.5: {}",
            "https://x.com -> 1.5",
            "https://x.com -> soon: {}",
            "https://x.com => 1.5: {}",
            "{\"a\":1}",
        ] {
            assert!(read(line).is_err_and(|why| why.starts_with("expected")), "{line}");
        }
    }
}
