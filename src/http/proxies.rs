//! Whom a connection or a request is of, where a proxy is before the server.
//!
//! What anybody can say of themselves is not believed: a header of the PROXY protocol is read, and fields of a
//! request are looked at, only where the connection is one of a proxy that the operator trusts.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, HeaderValue};

use crate::config;
use crate::transport::Peer;

/// The proxies of `--trusted-proxy`.
#[derive(Debug)]
pub(crate) struct Proxies {
    settings: config::Proxies,
    /// Headers of the PROXY protocol that were understood, and those that were not.
    pub(super) taken: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Proxies {
    pub(crate) fn new(settings: config::Proxies) -> Self {
        Proxies { settings, taken: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Whether there are any at all.
    pub(super) fn is_used(&self) -> bool {
        self.settings.protocol
    }

    pub(super) fn is_trusted(&self, peer: Peer) -> bool {
        peer.address().map_or(self.settings.unix, |address| self.trusts(address))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a connection from there begins with a header of the PROXY protocol.
    pub(super) fn begins_with_header(&self, peer: Peer) -> bool {
        self.settings.protocol && self.is_trusted(peer)
    }

    /// Notes what a header said.
    pub(super) fn count(&self, understood: bool) {
        let counter = if understood { &self.taken } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whose a request is: of `X-Forwarded-For`, the last address that is no trusted proxy's, for each proxy
    /// adds at the end whom it has the request from. What is no address ends what is known.
    pub(super) fn client(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        let mut client = peer;
        if !self.is_trusted(peer) {
            return client;
        }
        let values = headers.get_all("x-forwarded-for");
        for value in values.iter().rev() {
            for item in value.to_str().unwrap_or("?").rsplit(',') {
                let Some(address) = address(item.trim()) else { return client };
                client = Peer::Forwarded(address);
                if !self.trusts(address) {
                    return client;
                }
            }
        }
        client
    }

    /// The name under which a page asked a trusted proxy, where that says so. The scheme is not asked for:
    /// an origin is compared without it.
    pub(super) fn host<'a>(&self, peer: Peer, headers: &'a HeaderMap) -> Option<&'a str> {
        let last = headers.get_all("x-forwarded-host").iter().next_back();
        let last = last.filter(|_| self.is_trusted(peer)).map(HeaderValue::to_str)?;
        last.ok()?.rsplit(',').next().map(str::trim)
    }
}

/// An address as proxies write it: alone, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(trusted: &[&str]) -> Proxies {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Proxies::new(config::Proxies { trusted, unix: true, protocol: false })
    }

    fn tcp(text: &str) -> Peer {
        Peer::Tcp(text.parse().unwrap())
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let proxies = proxies(&["10.0.0.0/8", "::1"]);
        for (peer, forwarded, client) in [
            ("10.0.0.1:5", &["203.0.113.7"][..], "203.0.113.7"),
            // What the client itself has said stands before what the proxies added.
            ("10.0.0.1:5", &["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1:5", &["1.2.3.4", "203.0.113.7 , 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1:5", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1:5", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1:5", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1:5", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1:5", &["203.0.113.7:80"], "203.0.113.7"),
            ("[::1]:5", &["203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1:5", &[], "10.0.0.1:5"),
            ("10.0.0.1:5", &["203.0.113.7, unknown"], "10.0.0.1:5"),
            ("10.0.0.1:5", &["203.0.113.7, unknown, 10.0.0.9"], "10.0.0.9"),
            ("10.0.0.1:5", &["203.0.113.7,"], "10.0.0.1:5"),
            // Who is no trusted proxy says what it likes.
            ("203.0.113.9:5", &["10.0.0.1"], "203.0.113.9:5"),
        ] {
            let found = proxies.client(tcp(peer), &headers("x-forwarded-for", forwarded));
            assert_eq!(found.to_string(), client, "{forwarded:?}");
        }
        let by_unix = proxies.client(Peer::Unix, &headers("x-forwarded-for", &["203.0.113.7"]));
        assert_eq!(by_unix.to_string(), "203.0.113.7");
    }

    #[test]
    fn the_host_is_what_a_trusted_proxy_says() {
        let proxies = proxies(&["10.0.0.0/8"]);
        let said = headers("x-forwarded-host", &["evil.example", "a.example, b.example"]);
        assert_eq!(proxies.host(tcp("10.0.0.1:5"), &said), Some("b.example"));
        assert_eq!(proxies.host(tcp("203.0.113.7:5"), &said), None);
        assert_eq!(proxies.host(tcp("10.0.0.1:5"), &HeaderMap::new()), None);
    }
}
