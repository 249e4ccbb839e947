//! The address of a server's WebSocket.

use std::str::FromStr;

use hyper::Uri;
use thiserror::Error;

use super::DEFAULT_URL;

const PATH: &str = "/v1/ws";

/// The address of a server's WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// With TLS.
    pub(super) secure: bool,
    /// Path and query.
    pub(super) target: String,
    /// As the `Host` header has it.
    pub(super) authority: String,
}

/// Why a text is not an address to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum UrlError {
    #[error("expected ws://HOST:PORT{PATH} or wss://HOST{PATH}, such as {DEFAULT_URL}")]
    Form,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(UrlError::Form),
        };
        let authority = uri.authority().ok_or(UrlError::Form)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // A colon with no number, or one too large, after it would pass as no port at all.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") if secure => 443,
            Some("") => 80,
            Some(_) => authority.port_u16().ok_or(UrlError::Form)?,
            None => return Err(UrlError::Form),
        };
        if host.is_empty() {
            return Err(UrlError::Form);
        }
        let target = match uri.path_and_query().map(|target| target.as_str()) {
            None | Some("/") => PATH,
            Some(target) => target,
        };
        let (host, authority) = (host.to_owned(), authority.to_string());
        Ok(Url { host, port, secure, target: target.to_owned(), authority })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let url = |text: &str| text.parse::<Url>().map(|url| (url.host, url.port, url.target));
        let is = |host: &str, port, target: &str| Ok((host.to_owned(), port, target.to_owned()));
        assert_eq!(url(DEFAULT_URL), is("127.0.0.1", 7070, PATH));
        assert_eq!(url("ws://localhost:1"), is("localhost", 1, PATH));
        assert_eq!(url("ws://[::1]:7070/"), is("::1", 7070, PATH));
        assert_eq!(url("ws://feed.example/ws?a=b"), is("feed.example", 80, "/ws?a=b"));
        assert_eq!(url("wss://feed.example"), is("feed.example", 443, PATH));
        assert!("wss://feed.example".parse::<Url>().is_ok_and(|url| url.secure));
        for text in ["", "localhost:7070", "http://localhost:7070/v1/ws", "ws://", "ws://:1", "/v1"]
        {
            assert_eq!(url(text), Err(UrlError::Form), "{text}");
        }
        assert_eq!(url("ws://localhost:65536/"), Err(UrlError::Form));
        assert_eq!(url("ws://localhost:/"), Err(UrlError::Form));
    }
}
