//! Who comes in, by which door, and who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::family::Families;
use crate::access::Issuer;
use crate::http::addresses::Refusal;
use crate::http::{Plane, TlsCounters, admin};
use crate::trace::Traces;
use crate::transport::certificates::Certificates;

pub(super) fn gather(all: &mut Families, plane: &Plane) {
    let counters = &plane.counters;
    let handshakes = counters.handshakes.load(Ordering::Relaxed);
    all.gauge("tickcast_handshakes", "Handshakes and plain requests under way.").is(handshakes);
    for (name, help, value) in [
        ("tickcast_connections_accepted_total", "Connections accepted.", &counters.accepted),
        ("tickcast_accept_errors_total", "Accepts that failed.", &counters.accept_errors),
        (
            "tickcast_accept_paced_total",
            "Times that accepting waited because --max-handshakes were under way.",
            &counters.accept_paced,
        ),
        ("tickcast_http_requests_total", "HTTP requests, upgrades included.", &counters.requests),
        ("tickcast_upgrades_total", "Upgrades to a WebSocket.", &counters.upgrades),
        ("tickcast_upgrades_refused_total", "Bad upgrades refused.", &counters.upgrades_refused),
        (
            "tickcast_upgrades_foreign_total",
            "Upgrades refused because a page of another origin asked.",
            &counters.foreign,
        ),
        (
            "tickcast_upgrades_full_total",
            "Upgrades refused because the server is full or drains.",
            &counters.full,
        ),
    ] {
        all.counter(name, help).is(value.load(Ordering::Relaxed));
    }
    addresses(all, plane);
    let access = &plane.live.hub.access;
    if access.is_kept() {
        let help = "Requests and tokens of clients, by whether they got in.";
        by_result(all, "tickcast_access_total", help, &access.granted, &access.refused);
        keys_of_tokens(all, &access.issuers());
    }
    traces(all, &plane.live.hub.traces);
    if let Some(door) = &plane.admin {
        operators(all, door);
    }
    if let Some(certificates) = &plane.certificates {
        tls(all, &counters.tls, certificates);
    }
}

fn by_result(
    all: &mut Families,
    name: &'static str,
    help: &'static str,
    granted: &AtomicU64,
    refused: &AtomicU64,
) {
    let family = all.counter(name, help);
    family.with(&[("result", &"granted")], granted.load(Ordering::Relaxed));
    family.with(&[("result", &"refused")], refused.load(Ordering::Relaxed));
}

fn addresses(all: &mut Families, plane: &Plane) {
    let name = "tickcast_address_refused_total";
    let family =
        all.counter(name, "Connections and requests refused because of their address, by why.");
    for why in Refusal::ALL {
        family.with(&[("reason", &why.as_str())], plane.addresses.refused(why));
    }
    let kept = plane.addresses.kept() as u64;
    all.gauge("tickcast_addresses", "Addresses that something is counted of.").is(kept);
    let proxies = &plane.proxies;
    if proxies.is_used() {
        let name = "tickcast_proxy_headers_total";
        let family = all.counter(name, "Headers of the PROXY protocol, by whether they would do.");
        for (result, count) in [("taken", &proxies.taken), ("refused", &proxies.refused)] {
            family.with(&[("result", &result)], count.load(Ordering::Relaxed));
        }
    }
}

fn operators(all: &mut Families, door: &admin::Door) {
    let help = "Requests of operators, by whether they had the token.";
    by_result(all, "tickcast_admin_requests_total", help, &door.granted, &door.refused);
    let help = "1 while an operator has new clients sent away.";
    all.gauge("tickcast_cordoned", help).is(door.is_cordoned());
}

/// The keys that are asked for over HTTP, of each issuer that has such.
fn keys_of_tokens(all: &mut Families, issuers: &[Arc<Issuer>]) {
    let remote = || issuers.iter().filter_map(|one| Some((one, one.remote.as_ref()?)));
    if remote().next().is_none() {
        return;
    }
    let name = "tickcast_access_jwks_fetches_total";
    let family = all.counter(name, "Requests for the keys of an issuer, by whether keys came.");
    for (issuer, remote) in remote() {
        for (result, count) in [("ok", &remote.fetched), ("failed", &remote.failed)] {
            let labels: [(_, &dyn ToString); 2] = [("issuer", &issuer.name), ("result", &result)];
            family.with(&labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_access_jwks_keys";
    let family = all.gauge(name, "Keys of an issuer that its tokens are checked with.");
    for (issuer, _) in remote() {
        family.with(&[("issuer", &issuer.name)], issuer.keys() as u64);
    }
    let name = "tickcast_access_jwks_fetched_timestamp_seconds";
    let help = "When the keys of an issuer came last, Unix time; 0 for never.";
    let family = all.gauge(name, help);
    for (issuer, remote) in remote() {
        family.with(&[("issuer", &issuer.name)], remote.fetched_at.load(Ordering::Relaxed));
    }
}

/// Nothing where nothing is sampled.
fn traces(all: &mut Families, traces: &Traces) {
    if !traces.is_on() {
        return;
    }
    for (name, help, value) in [
        ("tickcast_traces_total", "Ticks that were traced, by reactor each.", &traces.made),
        ("tickcast_traces_sent_total", "Traces that a collector took.", &traces.sent),
        ("tickcast_traces_lost_total", "Traces that it did not take.", &traces.lost),
    ] {
        all.counter(name, help).is(value.load(Ordering::Relaxed));
    }
}

fn tls(all: &mut Families, counters: &TlsCounters, certificates: &Certificates) {
    let name = "tickcast_tls_handshakes_total";
    let family = all.counter(name, "TLS handshakes that came to their end.");
    for (version, of_version) in ["1.2", "1.3"].iter().zip(&counters.established) {
        for (resumed, count) in ["false", "true"].iter().zip(of_version) {
            let labels: [(_, &dyn ToString); 2] = [("version", version), ("resumed", resumed)];
            family.with(&labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_tls_handshakes_failed_total";
    let family = all.counter(name, "TLS handshakes that did not, by why.");
    for (why, count) in ["lost", "late", "refused"].iter().zip(&counters.failed) {
        family.with(&[("why", why)], count.load(Ordering::Relaxed));
    }
    if let Some(ends) = certificates.ends() {
        let name = "tickcast_tls_certificate_expiry_timestamp_seconds";
        let help = "When the first of the certificates in use ends, Unix time.";
        all.gauge(name, help).with(&[], ends);
    }
    let name = "tickcast_tls_reloads_total";
    let help = "Times that certificates were read again, by whether they would do.";
    let family = all.counter(name, help);
    let (taken, refused) = (&certificates.reloads, &certificates.reloads_failed);
    for (result, count) in [("taken", taken), ("refused", refused)] {
        family.with(&[("result", &result)], count.load(Ordering::Relaxed));
    }
}
