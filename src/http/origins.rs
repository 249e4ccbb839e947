//! What web pages of other origins may do: read answers over HTTP, which browsers ask about (CORS,
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>), and open WebSockets, which they do not, but say
//! where the page is from (<https://www.rfc-editor.org/rfc/rfc6455#section-10.2>).

use hyper::header::{self, HeaderMap, HeaderValue};

/// Seconds for which a browser may remember the answer to a preflight: what Chromium takes at most.
const MAX_AGE: &str = "7200";

/// The origins of `--cors-origin`.
#[derive(Debug)]
pub(crate) struct Origins {
    origins: Vec<String>,
}

impl Origins {
    /// Pages of these origins may; `*`: all pages.
    pub(crate) fn new(origins: Vec<String>) -> Self {
        Origins { origins }
    }

    /// Adds to an answer what lets the page that asked read it, if it may. `preflight`: the answer
    /// is to the browser's question beforehand.
    pub(crate) fn apply(&self, asked: &HeaderMap, answer: &mut HeaderMap, preflight: bool) {
        let allowed = if self.origins.iter().any(|origin| origin == "*") {
            Some(HeaderValue::from_static("*"))
        } else if self.origins.is_empty() {
            None
        } else {
            // The answer depends on who asks, also when it is somebody who may not.
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
            let is_listed = |origin: &&HeaderValue| {
                self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
            };
            asked.get(header::ORIGIN).filter(is_listed).cloned()
        };
        let Some(allowed) = allowed else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if !preflight {
            let exposed = HeaderValue::from_static("Retry-After, Tickcast-Delay");
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            return;
        }
        let methods = HeaderValue::from_static("GET, HEAD");
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        // No header that is asked for means anything here; libraries send some of their own.
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            let vary = HeaderValue::from_static("Access-Control-Request-Headers");
            answer.append(header::VARY, vary);
        }
    }

    /// Whether the one who asks may open a WebSocket: no page, one of this server's own (`host`: as whom a
    /// proxy was asked), or one of a listed origin. A browser lets any page open one, with what it knows of this server.
    ///
    /// # Errors
    /// The origin of a page that may not.
    pub(crate) fn may_open<'a>(
        &self,
        asked: &'a HeaderMap,
        host: Option<&str>,
    ) -> Result<(), &'a HeaderValue> {
        let Some(origin) = asked.get(header::ORIGIN) else { return Ok(()) };
        let listed = |one: &String| one == "*" || one.as_bytes() == origin.as_bytes();
        let direct = asked.get(header::HOST).and_then(|host| host.to_str().ok());
        if self.origins.iter().any(listed)
            || [direct, host].iter().any(|host| is_own(origin, *host))
        {
            return Ok(());
        }
        Err(origin)
    }

    /// Whether this is a browser's question beforehand.
    pub(crate) fn is_preflight(asked: &HeaderMap) -> bool {
        asked.contains_key(header::ORIGIN)
            && asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// Whether a page of this origin was got where it now asks. The scheme is left out: a proxy may take TLS off.
fn is_own(origin: &HeaderValue, host: Option<&str>) -> bool {
    let of_page = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    of_page.zip(host).is_some_and(|(of_page, host)| of_page.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_may_not_unless_they_are_listed() {
        let may = |listed: &[&str], origin: Option<&str>, host: Option<&str>| {
            let mut headers = HeaderMap::new();
            let given = [(header::ORIGIN, origin), (header::HOST, host)];
            for (name, value) in given.into_iter().filter_map(|(n, v)| Some((n, v?))) {
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            let listed = listed.iter().map(|&text| text.to_owned()).collect();
            Origins::new(listed).may_open(&headers, None).is_ok()
        };
        assert!(may(&[], None, None), "no browser");
        for (origin, host) in [
            ("http://127.0.0.1:7070", "127.0.0.1:7070"),
            ("https://feed.example", "feed.example"),
            ("https://feed.example", "FEED.example"),
            ("http://[::1]:7070", "[::1]:7070"),
        ] {
            assert!(may(&[], Some(origin), Some(host)), "{origin} at {host}");
        }
        for (origin, host) in [
            ("https://evil.example", Some("feed.example")),
            ("https://feed.example.evil", Some("feed.example")),
            ("https://evilfeed.example", Some("feed.example")),
            ("http://127.0.0.1:8080", Some("127.0.0.1:7070")),
            ("null", Some("feed.example")),
            ("feed.example", Some("feed.example")),
            ("https://feed.example", None),
        ] {
            assert!(!may(&["https://app.example"], Some(origin), host), "{origin} at {host:?}");
            assert!(may(&["*"], Some(origin), host));
        }
        assert!(may(&["https://app.example"], Some("https://app.example"), Some("feed.example")));
    }
}
