//! A web origin as browsers write it: <https://www.rfc-editor.org/rfc/rfc6454#section-6.2>.

/// What was expected instead of most texts.
const EXPECTED: &str = "expected an origin as browsers send it, such as https://example.com or \
                        http://localhost:8080 (no path, no / at the end), or *";

/// Reads `scheme://host` or `scheme://host:port`, or `*` for all.
///
/// # Errors
/// What was expected: a text that no browser sends would never match.
pub(super) fn read(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, host) = text.split_once("://").ok_or(EXPECTED)?;
    let is_scheme =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    // Brackets and colons are those of an IPv6 address.
    let is_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("expected lower case, which is what browsers send");
    }
    let fits = !scheme.is_empty() && scheme.bytes().all(is_scheme);
    if !fits || host.is_empty() || host.starts_with(':') || !host.bytes().all(is_host) {
        return Err(EXPECTED);
    }
    if matches!(
        (scheme, host.rsplit_once(':')),
        ("https", Some((_, "443"))) | ("http", Some((_, "80")))
    ) {
        return Err("expected no port, for browsers leave out that of the scheme");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "*",
            "https://example.com",
            "http://localhost:8080",
            "https://xn--bcher-kva.example",
            "http://[::1]:3000",
            "chrome-extension://abc",
        ] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "example.com",
            "https://",
            "://x",
            "https://example.com/",
            "https://*.example.com",
            "https://a b",
            "https://u@x",
            "null",
            "https://:80",
        ] {
            assert_eq!(read(bad), Err(EXPECTED), "{bad}");
        }
        assert!(read("https://Example.com").unwrap_err().contains("lower case"));
        assert!(read("https://example.com:443").unwrap_err().contains("no port"));
        assert!(read("http://example.com:80").unwrap_err().contains("no port"));
    }
}
