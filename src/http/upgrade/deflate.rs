//! Whether messages are compressed: the negotiation of permessage-deflate (RFC 7692 sections 5 and 7.1).

use hyper::header::{self, HeaderMap, HeaderValue};

use crate::wire::deflate::WINDOW_BITS;

const NAME: &str = "permessage-deflate";

/// The answer to the first offer that can be accepted, if there is one: an offer that is malformed or asks for what this server does not do is
/// declined, and the next one is looked at.
pub(in crate::http) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    let mut offers =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| split(value, ','));
    let window = offers.find_map(offer)?;
    // A client that names a window is told what it gets.
    let window =
        window.map_or(String::new(), |_| format!("; server_max_window_bits={WINDOW_BITS}"));
    // Both are the server's to demand (section 7.1.1), and all that it shares depends on the first.
    let answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover{window}");
    HeaderValue::from_str(&answer).ok()
}

/// The window that the client asks for, where this is an offer that is accepted.
fn offer(text: &str) -> Option<Option<u8>> {
    let mut parts = split(text, ';');
    if parts.next()?.trim() != NAME {
        return None;
    }
    let mut seen = Vec::new();
    let mut window = None;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim())?)),
            None => (part.trim(), None),
        };
        // Each at most once (section 7.1).
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // What the client compresses with is inflated with the largest window, whatever its own is.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => {
                bits(&value)?;
            }
            ("server_max_window_bits", Some(value)) => {
                window = Some(bits(&value).filter(|bits| *bits >= WINDOW_BITS)?);
            }
            _ => return None,
        }
    }
    Some(window)
}

/// 8 to 15, without leading zeros (section 7.1.2).
fn bits(value: &str) -> Option<u8> {
    (8..=15).find(|bits| value == bits.to_string())
}

/// The value of a parameter: a token, as it is or in quotes (RFC 6455 section 9.1).
fn unquoted(value: &str) -> Option<String> {
    let token = match value.strip_prefix('"') {
        Some(rest) => {
            let inner = rest.strip_suffix('"')?;
            let mut chars = inner.chars();
            let mut token = String::new();
            while let Some(char) = chars.next() {
                token.push(if char == '\\' { chars.next()? } else { char });
            }
            token
        }
        None => value.to_owned(),
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!token.is_empty() && token.bytes().all(is_token)).then_some(token)
}

/// The parts between separators that stand outside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        let separates = char == separator && !quoted;
        match char {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).expect("a header");
            headers.append(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        accept(&headers).map(|value| value.to_str().expect("text").to_owned())
    }

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const WINDOW: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                          server_max_window_bits=9";

    #[test]
    fn offers_that_are_accepted() {
        for offer in [
            "permessage-deflate",
            // Browsers, `ws`.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=\"8\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            " permessage-deflate ;\tclient_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(PLAIN), "{offer}");
        }
        for offer in [
            // The package `websockets`.
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits = \"15\"",
            r#"permessage-deflate; server_max_window_bits="1\0""#,
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(WINDOW), "{offer}");
        }
    }

    #[test]
    fn offers_that_are_declined() {
        for offer in [
            "",
            "permessage-deflat",
            "Permessage-Deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=10 11",
            // The comma stands in the value, and the value is no token.
            "permessage-deflate; unknown=\"a, permessage-deflate\"",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn the_first_offer_that_can_be_accepted_is() {
        let none = "permessage-deflate; server_max_window_bits=8";
        let second =
            format!("{none}, permessage-deflate; server_max_window_bits=10, permessage-deflate");
        assert_eq!(answer(&[&second]).as_deref(), Some(WINDOW));
        assert_eq!(answer(&[none, "permessage-deflate"]).as_deref(), Some(PLAIN));
    }
}
