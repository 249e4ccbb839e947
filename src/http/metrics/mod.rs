//! `/metrics`: what there is to tell is gathered once ([`family`]) and written in the format that is asked for.

mod doors;
mod family;
mod feeds;
mod histogram;
mod protobuf;
mod reactors;
mod text;

use std::sync::atomic::Ordering;

use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Response, StatusCode};

use super::{Body, Plane, api, typed};
use crate::budget::Budget;
use family::Families;

pub(super) fn answer(plane: &Plane, headers: &HeaderMap) -> Response<Body> {
    let all = gather(plane);
    if wants_protobuf(headers) {
        typed(StatusCode::OK, protobuf::MIME, protobuf::write(&all))
    } else {
        typed(StatusCode::OK, text::MIME, text::write(&all))
    }
}

fn gather(plane: &Plane) -> Families {
    let mut all = Families::default();
    let labels: [(_, &dyn ToString); 2] =
        [("version", &env!("CARGO_PKG_VERSION")), ("commit", &env!("TICKCAST_COMMIT"))];
    all.gauge("tickcast_build_info", "What runs.").with(&labels, true);
    let uptime = plane.started.elapsed().as_secs_f64();
    all.gauge("tickcast_uptime_seconds", "Time since the start.").is(uptime);
    reactors::gather(&mut all, plane, &api::reports(plane));
    feeds::gather(&mut all, plane);
    doors::gather(&mut all, plane);
    memory(&mut all, &plane.live.hub.budget);
    all
}

/// Whether the protobuf format is asked for, and text not sooner (RFC 9110 section 12.5.1). Prometheus does that where it
/// takes native histograms.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    let (mut protobuf, mut text) = (0.0, 0.0);
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("");
        let (mut quality, mut is_ours) = (1.0, true);
        for part in parts {
            match part.split_once('=') {
                Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                Some(("proto", value)) => is_ours &= value == "io.prometheus.client.MetricFamily",
                Some(("encoding", value)) => is_ours &= value == "delimited",
                _ => {}
            }
        }
        let best: &mut f64 = match kind {
            "application/vnd.google.protobuf" if is_ours => &mut protobuf,
            "text/plain" | "text/*" | "*/*" => &mut text,
            _ => continue,
        };
        *best = best.max(quality);
    }
    protobuf > 0.0 && protobuf >= text
}

fn memory(all: &mut Families, budget: &Budget) {
    for (name, help, value) in [
        ("tickcast_memory_budget_bytes", "What all clients may hold; 0: no limit.", budget.most()),
        ("tickcast_memory_held_bytes", "What all clients make the server hold.", budget.held()),
        ("tickcast_memory_resident_bytes", "Memory of the process.", resident()),
    ] {
        all.gauge(name, help).is(value as u64);
    }
    let name = "tickcast_memory_refused_total";
    let help = "Clients refused because the budget was nearly used up.";
    all.counter(name, help).is(budget.refused.load(Ordering::Relaxed));
}

/// What the kernel says that this process has; 0 where it does not.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm");
    let pages = pages.ok().and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    fn asked(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        wants_protobuf(&headers)
    }

    #[test]
    fn protobuf_is_for_those_who_ask_for_it() {
        // Prometheus 2.42 with and without native histograms, 3.0 with them, a browser, curl, and nobody.
        let open = "application/openmetrics-text;version=1.0.0;q=0.8,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(asked(&format!("{PROTOBUF},{open}")));
        assert!(!asked(open));
        let three = "escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
            text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert!(asked(&format!("{PROTOBUF};{three}")));
        assert!(!asked("text/html,application/xhtml+xml,*/*;q=0.8") && !asked("*/*"));
        assert!(!wants_protobuf(&HeaderMap::new()));
    }

    #[test]
    fn another_protobuf_or_one_that_is_liked_less_is_not_sent() {
        assert!(!asked(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"
        ));
        assert!(!asked("application/vnd.google.protobuf;proto=other;encoding=delimited"));
        assert!(!asked(&format!("{PROTOBUF};q=0.4, text/plain;q=0.5")));
        assert!(!asked(&format!("{PROTOBUF};q=0")) && !asked(&format!("{PROTOBUF};q=x")));
    }
}
