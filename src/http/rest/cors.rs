//! Which web pages may read the answers: CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use hyper::header::{self, HeaderMap, HeaderValue};

/// Seconds for which a browser may remember the answer to a preflight: what Chromium takes at most.
const MAX_AGE: &str = "7200";

/// The origins of `--cors-origin`.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// Pages of these origins may read the answers; `*`: all pages.
    pub(crate) fn new(origins: Vec<String>) -> Self {
        Cors { origins }
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
            let exposed = HeaderValue::from_static("Retry-After");
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

    /// Whether this is a browser's question beforehand.
    pub(crate) fn is_preflight(asked: &HeaderMap) -> bool {
        asked.contains_key(header::ORIGIN)
            && asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}
