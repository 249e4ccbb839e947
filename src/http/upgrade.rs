//! From an HTTP request to a WebSocket: RFC 6455 section 4.2.
//!
//! fastwebsockets answers the challenge; what it does not look at (method, version, `Upgrade`,
//! `Connection`, the key's length, subprotocols) is looked at here, so that a bad upgrade gets an
//! answer that says what is wrong.

pub(super) mod deflate;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::{Body, plain};

/// The subprotocol of the native dialect.
pub(super) const SUBPROTOCOL: &str = "tickcast.v1.json";

/// What extensions and subprotocols may be chosen where they are offered.
#[derive(Clone, Copy, Default)]
pub(super) struct Choices {
    /// The subprotocol of the native dialect.
    pub(super) subprotocol: bool,
    /// permessage-deflate.
    pub(super) deflate: bool,
}

/// A WebSocket that is about to be.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// What to wait for after the response was sent.
    pub(super) upgraded: fastwebsockets::upgrade::UpgradeFut,
    /// permessage-deflate was chosen.
    pub(super) deflate: bool,
}

/// Answers a request for a WebSocket.
///
/// # Errors
/// The response to a bad upgrade: 400, 405 or 426.
pub(super) fn answer(
    request: &mut Request<Incoming>,
    choices: Choices,
) -> Result<Answer, Box<Response<Body>>> {
    check(request)?;
    let deflate = choices.deflate.then(|| deflate::accept(request.headers())).flatten();
    let chosen = choices.subprotocol && offers(request.headers(), SUBPROTOCOL);
    let (response, upgraded) = fastwebsockets::upgrade::upgrade(request)
        .map_err(|error| Box::new(plain(StatusCode::BAD_REQUEST, &format!("{error}\n"))))?;
    let mut response = response.map(|_| Body::default());
    if chosen {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let extensions = deflate.is_some();
    if let Some(accepted) = deflate {
        response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, accepted);
    }
    Ok(Answer { response, upgraded, deflate: extensions })
}

/// Looks at the head of a request for a WebSocket.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Box<Response<Body>>> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let mut response = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("{} is not for WebSockets, expected GET\n", request.method()),
        );
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Err(response.into());
    }
    if request.version() != Version::HTTP_11 {
        let message = format!("{:?} cannot be upgraded, expected HTTP/1.1\n", request.version());
        return Err(plain(StatusCode::BAD_REQUEST, &message).into());
    }
    if !has_token(headers, header::UPGRADE, "websocket") {
        return Err(upgrade_required("this is a WebSocket, expected `Upgrade: websocket`\n").into());
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(plain(StatusCode::BAD_REQUEST, "expected `Connection: Upgrade`\n").into());
    }
    let one = |name| {
        let mut all = headers.get_all(name).iter();
        match (all.next(), all.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    match one(header::SEC_WEBSOCKET_VERSION) {
        Some("13") => {}
        other => {
            let message = format!(
                "Sec-WebSocket-Version {} is not supported, expected 13\n",
                other.map_or_else(|| "(none, or several)".to_owned(), |v| format!("{v:?}"))
            );
            return Err(upgrade_required(&message).into());
        }
    }
    match one(header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key) => Ok(()),
        _ => Err(plain(
            StatusCode::BAD_REQUEST,
            "expected one Sec-WebSocket-Key of 16 bytes in base64\n",
        )
        .into()),
    }
}

fn upgrade_required(message: &str) -> Response<Body> {
    let mut response = plain(StatusCode::UPGRADE_REQUIRED, message);
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// 16 bytes in base64 are 22 characters and two of padding; of the last character only two bits
/// count.
fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.len() == 24
        && bytes.ends_with(b"==")
        && bytes[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        && matches!(bytes[21], b'A' | b'Q' | b'g' | b'w')
}

fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

/// Subprotocols are compared exactly.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|t| t == protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes() {
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(!is_key("dGhlIHNhbXBsZSBub25jZR=="));
        assert!(!is_key("dGhlIHNhbXBsZSBub25j"));
        assert!(!is_key("not base64 at all!!!!!=="));
    }

    #[test]
    fn tokens_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a"));
        headers.append(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("b, tickcast.v1.json"),
        );
        assert!(has_token(&headers, header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, header::CONNECTION, "up"));
        assert!(offers(&headers, SUBPROTOCOL));
    }
}
