//! `/metrics`: the Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tickcast_feeds::live::LiveStats;

use tickcast_feeds::record::{State, Stats};

use super::addresses::Refusal;
use super::{Plane, Spooled, TlsCounters, api};
use crate::access::Issuer;
use crate::budget::Budget;
use crate::session::end::Reason;
use crate::spool::Cause;
use crate::stats::{LATENCY_BOUNDS_US, Report, Times};
use crate::trace::Traces;
use crate::transport::certificates::Certificates;

/// The format's content type.
pub(super) const MIME: &str = "text/plain; version=0.0.4; charset=utf-8";

const LAG_CAUSES: [&str; 3] = ["peer_window", "network", "server"];

/// A counter or gauge that each reactor has: name, help, type, value.
type Family = (&'static str, &'static str, &'static str, fn(&Report) -> u64);

const FAMILIES: [Family; 32] = [
    ("tickcast_sessions", "Sessions now.", "gauge", |r| r.sessions),
    (
        "tickcast_sessions_ending",
        "Sessions that were told to go and are not gone yet.",
        "gauge",
        |r| r.ending,
    ),
    ("tickcast_subscriptions", "Subscriptions now.", "gauge", |r| r.subscriptions),
    ("tickcast_sessions_accepted_total", "Sessions ever begun.", "counter", |r| r.accepted),
    ("tickcast_ticks_total", "Ticks taken from the ring.", "counter", |r| r.ticks),
    ("tickcast_encoded_total", "Messages encoded for subscribers, once each.", "counter", |r| {
        r.encoded
    }),
    ("tickcast_deliveries_total", "Messages delivered to subscribers' outboxes.", "counter", |r| {
        r.deliveries
    }),
    (
        "tickcast_conflated_total",
        "Quotes replaced by later ones before they were sent.",
        "counter",
        |r| r.conflated,
    ),
    (
        "tickcast_resumed_total",
        "Subscriptions that went on where their client was.",
        "counter",
        |r| r.resumed,
    ),
    (
        "tickcast_not_resumed_total",
        "Subscriptions whose client could not be told what it missed.",
        "counter",
        |r| r.not_resumed,
    ),
    (
        "tickcast_replayed_total",
        "Messages that clients had missed and were sent.",
        "counter",
        |r| r.replayed,
    ),
    ("tickcast_heartbeats_total", "Heartbeats sent.", "counter", |r| r.heartbeats),
    ("tickcast_sends_total", "Writes to sockets.", "counter", |r| r.sends),
    ("tickcast_sends_blocked_total", "Writes that a socket did not take whole.", "counter", |r| {
        r.blocked
    }),
    ("tickcast_sent_bytes_total", "Bytes that sockets took.", "counter", |r| r.sent_bytes),
    ("tickcast_deflate_messages_total", "Messages compressed, once each.", "counter", |r| {
        r.deflated
    }),
    ("tickcast_deflate_plain_bytes_total", "Bytes of these before.", "counter", |r| {
        r.deflated_plain_bytes
    }),
    ("tickcast_deflate_bytes_total", "Bytes of these after.", "counter", |r| r.deflated_bytes),
    ("tickcast_received_bytes_total", "Bytes that came from clients.", "counter", |r| {
        r.received_bytes
    }),
    ("tickcast_requests_total", "Requests from clients.", "counter", |r| r.requests),
    (
        "tickcast_requests_refused_total",
        "Requests refused as not understood or over the rate.",
        "counter",
        |r| r.refused,
    ),
    (
        "tickcast_protocol_violations_total",
        "Breaches of the WebSocket protocol by clients.",
        "counter",
        |r| r.violations,
    ),
    (
        "tickcast_book_errors_total",
        "Book events that did not fit a reactor's book.",
        "counter",
        |r| r.book_errors,
    ),
    (
        "tickcast_ring_laps_total",
        "Times that the ring's writer overtook the reactor.",
        "counter",
        |r| r.lapped,
    ),
    ("tickcast_ring_lost_ticks_total", "Ticks lost to that.", "counter", |r| r.lost),
    (
        "tickcast_ring_lag_ticks",
        "Ticks in the ring that the reactor has not taken.",
        "gauge",
        |r| r.ring_lag,
    ),
    (
        "tickcast_admission_paced_total",
        "Turns that put off work of newcomers so that ticks come first.",
        "counter",
        |r| r.admission_paced,
    ),
    (
        "tickcast_admission_waiting",
        "Newcomers' work that waits: sockets to take over, sessions to read from or to send snapshots to.",
        "gauge",
        |r| r.admission_waiting,
    ),
    ("tickcast_encodings_bytes", "Bytes of encodings held.", "gauge", |r| r.encodings_bytes),
    ("tickcast_outboxes_bytes", "Bytes of outboxes held.", "gauge", |r| r.outbox_bytes),
    ("tickcast_reading_bytes", "Bytes of clients' unfinished messages held.", "gauge", |r| {
        r.reading_bytes
    }),
    (
        "tickcast_memory_evicted_total",
        "Clients closed because all together held more than the memory budget.",
        "counter",
        |r| r.memory_evicted,
    ),
];

/// The same of what is counted in other units than it is shown in: seconds, shares.
type Scaled = (&'static str, &'static str, &'static str, fn(&Report) -> f64);

const SCALED: [Scaled; 4] = [
    (
        "tickcast_flush_window_seconds",
        "How long ticks wait for others to the same client.",
        "gauge",
        |r| seconds(r.window_ns),
    ),
    (
        "tickcast_flush_load_ratio",
        "Share of a core that writes would take if no tick waited.",
        "gauge",
        |r| r.load_permille as f64 / 1e3,
    ),
    (
        "tickcast_admission_seconds_total",
        "Time that sockets, requests and snapshots took.",
        "counter",
        |r| seconds(r.admission_ns),
    ),
    (
        "tickcast_reactor_cpu_seconds_total",
        "Time that the reactor's thread has run.",
        "counter",
        |r| seconds(r.cpu_ns),
    ),
];

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// All metrics.
pub(super) fn text(plane: &Plane) -> String {
    let mut out = String::with_capacity(16 << 10);
    let reports = api::reports(plane);
    family(&mut out, "tickcast_build_info", "What runs.", "gauge");
    let commit = env!("TICKCAST_COMMIT");
    line(
        &mut out,
        "tickcast_build_info",
        &format!("version=\"{}\",commit=\"{commit}\"", env!("CARGO_PKG_VERSION")),
        1,
    );
    family(&mut out, "tickcast_uptime_seconds", "Time since the start.", "gauge");
    let _ = writeln!(out, "tickcast_uptime_seconds {:.3}", plane.started.elapsed().as_secs_f64());
    for (name, help, kind, value) in FAMILIES {
        family(&mut out, name, help, kind);
        for report in &reports {
            line(&mut out, name, &format!("reactor=\"{}\"", report.reactor), value(report));
        }
    }
    let name = "tickcast_reactor_up";
    family(&mut out, name, "1 while a reactor serves clients, 0 after it has panicked.", "gauge");
    for link in plane.links() {
        line(&mut out, name, &format!("reactor=\"{}\"", link.id), u64::from(!link.has_failed()));
    }
    for (name, help, kind, value) in SCALED {
        family(&mut out, name, help, kind);
        for report in &reports {
            let _ = writeln!(out, "{name}{{reactor=\"{}\"}} {}", report.reactor, value(report));
        }
    }
    ended(&mut out, &reports);
    latency(&mut out, &reports);
    feeds(&mut out, plane);
    recording(&mut out, plane.recording.as_deref());
    if let Some(spooled) = &plane.spool {
        spool(&mut out, spooled);
    }
    control(&mut out, plane);
    publishers(&mut out, plane);
    memory(&mut out, &plane.live.hub.budget);
    out
}

fn family(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn ended(out: &mut String, reports: &[Report]) {
    let name = "tickcast_sessions_ended_total";
    family(out, name, "Sessions ended, by reason.", "counter");
    for report in reports {
        for reason in Reason::ALL {
            let labels = format!("reactor=\"{}\",reason=\"{}\"", report.reactor, reason.as_str());
            line(out, name, &labels, report.ended[reason as usize]);
        }
    }
    let name = "tickcast_slow_clients_total";
    family(out, name, "Slow clients closed, by cause.", "counter");
    for report in reports {
        for (cause, count) in LAG_CAUSES.iter().zip(report.lag_causes) {
            line(out, name, &format!("reactor=\"{}\",cause=\"{cause}\"", report.reactor), count);
        }
    }
}

fn latency(out: &mut String, reports: &[Report]) {
    let name = "tickcast_recv_to_write_seconds";
    family(
        out,
        name,
        "From a tick's receipt to the write that carried it, the oldest tick of each write.",
        "histogram",
    );
    for report in reports {
        let reactor = format!("reactor=\"{}\"", report.reactor);
        let mut sum = 0.0;
        for step in report.latency.iter_recorded() {
            sum += step.value_iterated_to() as f64 / 1e9 * step.count_at_value() as f64;
        }
        for bound in LATENCY_BOUNDS_US {
            // From 0 each time: of two ranges that meet inside one of the histogram's own buckets,
            // both count it.
            let below = report.latency.count_between(0, bound * 1000);
            let _ =
                writeln!(out, "{name}_bucket{{{reactor},le=\"{}\"}} {below}", bound as f64 / 1e6);
        }
        let count = report.latency.len();
        let _ = writeln!(out, "{name}_bucket{{{reactor},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{reactor}}} {sum}\n{name}_count{{{reactor}}} {count}");
    }
}

fn to_ring(out: &mut String, times: &Times) {
    let name = "tickcast_recv_to_ring_seconds";
    let help = "From a tick's receipt to the ring, the oldest tick of each batch.";
    family(out, name, help, "histogram");
    for (bound, below) in LATENCY_BOUNDS_US.into_iter().zip(times.cumulated()) {
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", bound as f64 / 1e6);
    }
    let (count, sum) = (times.count(), times.sum_ns() as f64 / 1e9);
    let _ = writeln!(
        out,
        "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
    );
}

fn feeds(out: &mut String, plane: &Plane) {
    family(out, "tickcast_feed_ticks_total", "Ticks that a feed handed over.", "counter");
    for feed in &plane.feeds {
        line(
            out,
            "tickcast_feed_ticks_total",
            &label("feed", &feed.name),
            feed.ticks.load(Ordering::Relaxed),
        );
    }
    family(
        out,
        "tickcast_feed_rejected_total",
        "Messages of a feed kept out of the stream.",
        "counter",
    );
    for feed in &plane.feeds {
        line(
            out,
            "tickcast_feed_rejected_total",
            &label("feed", &feed.name),
            feed.rejected.load(Ordering::Relaxed),
        );
    }
    family(out, "tickcast_feed_up", "Whether a feed runs.", "gauge");
    for feed in &plane.feeds {
        line(
            out,
            "tickcast_feed_up",
            &label("feed", &feed.name),
            u64::from(*feed.state.lock() == "running"),
        );
    }
    let name = "tickcast_feed_idle_seconds";
    family(out, name, "Time since a feed last handed ticks over, or began.", "gauge");
    for feed in &plane.feeds {
        let seconds = feed.age().as_secs_f64();
        let _ = writeln!(out, "{name}{{{}}} {seconds:.3}", label("feed", &feed.name));
    }
    live(out, plane);
    let report = plane.ingest.lock().clone();
    to_ring(out, &report.to_ring);
    for (name, help, value) in [
        ("tickcast_ingest_ticks_total", "Ticks published to the ring.", report.ticks),
        ("tickcast_ingest_duplicates_total", "Ticks dropped as already seen.", report.duplicates),
        (
            "tickcast_ingest_book_errors_total",
            "Book events that did not fit the book.",
            report.book_errors,
        ),
        (
            "tickcast_ingest_paced_total",
            "Times that a replay waited for the reactors.",
            report.paced,
        ),
        (
            "tickcast_ingest_late_trades_total",
            "Trades too late for a bar, per interval that they are missing from.",
            report.late_trades,
        ),
    ] {
        family(out, name, help, "counter");
        line(out, name, "", value);
    }
}

/// The connections of live feeds.
fn live(out: &mut String, plane: &Plane) {
    type Get = fn(&LiveStats) -> &AtomicU64;
    let metrics: [(&str, &str, &str, Get); 13] = [
        ("symbols", "Symbols that are subscribed to.", "gauge", |s| &s.symbols),
        ("links", "Connections that carry data.", "gauge", |s| &s.links),
        ("links_wanted", "Connections that should carry data.", "gauge", |s| &s.links_wanted),
        ("books_incomplete", "Books that wait for a snapshot.", "gauge", |s| &s.incomplete),
        ("connects_total", "Connections that came about.", "counter", |s| &s.connects),
        ("connect_failures_total", "Tries that led to no connection.", "counter", |s| {
            &s.connect_failures
        }),
        ("losses_total", "Connections that broke.", "counter", |s| &s.losses),
        ("replaced_total", "Connections replaced before their end.", "counter", |s| &s.replaced),
        ("messages_total", "Messages received.", "counter", |s| &s.messages),
        ("bytes_total", "Bytes of the messages received.", "counter", |s| &s.bytes),
        ("refused_total", "Requests that the venue refused.", "counter", |s| &s.refused),
        ("recoveries_total", "Books that were asked for anew.", "counter", |s| &s.recoveries),
        ("recovery_failures_total", "Books that were not to be had.", "counter", |s| {
            &s.recovery_failures
        }),
    ];
    let feeds = || plane.feeds.iter().filter_map(|feed| Some((feed, feed.live.as_ref()?)));
    if feeds().next().is_none() {
        return;
    }
    for (name, help, kind, get) in metrics {
        let name = format!("tickcast_live_{name}");
        family(out, &name, help, kind);
        for (feed, stats) in feeds() {
            line(out, &name, &label("feed", &feed.name), get(stats).load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_live_ignored_total";
    family(out, name, "Messages left out on purpose, by what they are.", "counter");
    for (feed, stats) in feeds() {
        for (what, count) in stats.ignored.lock().iter() {
            let labels = format!("{},{}", label("feed", &feed.name), label("what", what));
            line(out, name, &labels, *count);
        }
    }
}

fn publishers(out: &mut String, plane: &Plane) {
    let Some(door) = &plane.publish else { return };
    let (connections, messages, refused) = door.counts();
    let name = "tickcast_publish_connections";
    family(out, name, "WebSockets of publishers at /v1/publish.", "gauge");
    line(out, name, "", connections);
    for (name, help, value) in [
        ("tickcast_publish_messages_total", "Messages of lines taken there.", messages),
        ("tickcast_publish_refused_total", "Requests there that were not read.", refused),
    ] {
        family(out, name, help, "counter");
        line(out, name, "", value);
    }
}

/// Nothing where nothing is recorded.
fn spool(out: &mut String, spooled: &Spooled) {
    let stats = &spooled.stats;
    let failing = AtomicU64::new(stats.failing.load(Ordering::Relaxed).into());
    let lost = AtomicU64::new(stats.lost());
    for (name, help, kind, value) in [
        ("tickcast_spool_bytes", "Bytes of what waits to be played.", "gauge", &stats.bytes),
        ("tickcast_spool_segments", "Files of it.", "gauge", &stats.segments),
        ("tickcast_spool_failing", "1 while the disk takes nothing.", "gauge", &failing),
        ("tickcast_spool_written_bytes_total", "Bytes written.", "counter", &stats.written_bytes),
        ("tickcast_spool_ticks_total", "Ticks written.", "counter", &stats.ticks),
        ("tickcast_spool_lost_ticks_total", "Ticks missing, as far as known.", "counter", &lost),
    ] {
        family(out, name, help, kind);
        line(out, name, "", value.load(Ordering::Relaxed));
    }
    let name = "tickcast_spool_gaps_total";
    family(out, name, "Places at which something is missing, by why.", "counter");
    for cause in Cause::ALL {
        line(out, name, &label("cause", cause.as_str()), stats.gaps(cause));
    }
    let name = "tickcast_delayed_lag_seconds";
    family(out, name, "By how much more than its delay a market is late.", "gauge");
    for (delay_ms, lag_ms) in &spooled.lags {
        let (delay_s, lag_ms) = (delay_ms / 1_000, lag_ms.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}{{delay=\"{delay_s}\"}} {}", lag_ms as f64 / 1e3);
    }
}

fn recording(out: &mut String, stats: Option<&Stats>) {
    let Some(stats) = stats else { return };
    let up = u64::from(stats.state() == State::Open);
    for (name, help, kind, value) in [
        ("tickcast_record_state", "1 while recording, 0 when it had to stop.", "gauge", up),
        ("tickcast_record_messages_total", "Messages recorded.", "counter", stats.messages()),
        (
            "tickcast_record_dropped_total",
            "Messages and events missing from the recording because the disk was too slow.",
            "counter",
            stats.dropped(),
        ),
        (
            "tickcast_record_bytes_total",
            "Bytes recorded, before compression.",
            "counter",
            stats.bytes(),
        ),
        (
            "tickcast_record_compressed_bytes_total",
            "Bytes of the recording's files.",
            "counter",
            stats.compressed(),
        ),
    ] {
        family(out, name, help, kind);
        line(out, name, "", value);
    }
}

fn memory(out: &mut String, budget: &Budget) {
    for (name, help, value) in [
        ("tickcast_memory_budget_bytes", "What all clients may hold; 0: no limit.", budget.most()),
        ("tickcast_memory_held_bytes", "What all clients make the server hold.", budget.held()),
        ("tickcast_memory_resident_bytes", "Memory of the process.", resident()),
    ] {
        family(out, name, help, "gauge");
        line(out, name, "", value as u64);
    }
    let name = "tickcast_memory_refused_total";
    family(out, name, "Clients refused because the budget was nearly used up.", "counter");
    line(out, name, "", budget.refused.load(Ordering::Relaxed));
}

/// What the kernel says that this process has; 0 where it does not.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm");
    let pages = pages.ok().and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * rustix::param::page_size()
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}

fn control(out: &mut String, plane: &Plane) {
    let counters = &plane.counters;
    let name = "tickcast_handshakes";
    family(out, name, "Handshakes and plain requests under way.", "gauge");
    line(out, name, "", counters.handshakes.load(Ordering::Relaxed));
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
        family(out, name, help, "counter");
        line(out, name, "", value.load(Ordering::Relaxed));
    }
    let name = "tickcast_address_refused_total";
    family(out, name, "Connections refused because of their address, by why.", "counter");
    for why in Refusal::ALL {
        line(out, name, &label("reason", why.as_str()), plane.addresses.refused(why));
    }
    let name = "tickcast_addresses";
    family(out, name, "Addresses that something is counted of.", "gauge");
    line(out, name, "", plane.addresses.kept() as u64);
    if plane.proxies.is_used() {
        let name = "tickcast_proxy_headers_total";
        family(out, name, "Headers of the PROXY protocol, by whether they would do.", "counter");
        let proxies = &plane.proxies;
        for (result, count) in [("taken", &proxies.taken), ("refused", &proxies.refused)] {
            line(out, name, &label("result", result), count.load(Ordering::Relaxed));
        }
    }
    let access = &plane.live.hub.access;
    if access.is_kept() {
        let name = "tickcast_access_total";
        family(out, name, "Requests and tokens of clients, by whether they got in.", "counter");
        for (result, count) in [("granted", &access.granted), ("refused", &access.refused)] {
            line(out, name, &label("result", result), count.load(Ordering::Relaxed));
        }
        keys_of_tokens(out, &access.issuers());
    }
    traces(out, &plane.live.hub.traces);
    if let Some(door) = &plane.admin {
        let name = "tickcast_admin_requests_total";
        family(out, name, "Requests of operators, by whether they had the token.", "counter");
        for (result, count) in [("granted", &door.granted), ("refused", &door.refused)] {
            line(out, name, &label("result", result), count.load(Ordering::Relaxed));
        }
        let name = "tickcast_cordoned";
        family(out, name, "1 while an operator has new clients sent away.", "gauge");
        line(out, name, "", u64::from(door.is_cordoned()));
    }
    if let Some(certificates) = &plane.certificates {
        tls(out, &counters.tls, certificates);
    }
}

/// The keys that are asked for over HTTP, of each issuer that has such.
fn keys_of_tokens(out: &mut String, issuers: &[Arc<Issuer>]) {
    let all = || issuers.iter().filter_map(|one| Some((one, one.remote.as_ref()?)));
    if all().next().is_none() {
        return;
    }
    let name = "tickcast_access_jwks_fetches_total";
    family(out, name, "Requests for the keys of an issuer, by whether keys came.", "counter");
    for (issuer, remote) in all() {
        for (result, count) in [("ok", &remote.fetched), ("failed", &remote.failed)] {
            let labels = format!("issuer=\"{}\",result=\"{result}\"", issuer.name);
            line(out, name, &labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_access_jwks_keys";
    family(out, name, "Keys of an issuer that its tokens are checked with.", "gauge");
    for (issuer, _) in all() {
        line(out, name, &label("issuer", &issuer.name), issuer.keys() as u64);
    }
    let name = "tickcast_access_jwks_fetched_timestamp_seconds";
    family(out, name, "When the keys of an issuer came last, Unix time; 0 for never.", "gauge");
    for (issuer, remote) in all() {
        let at = remote.fetched_at.load(Ordering::Relaxed);
        line(out, name, &label("issuer", &issuer.name), at);
    }
}

/// Nothing where nothing is sampled.
fn traces(out: &mut String, traces: &Traces) {
    if !traces.is_on() {
        return;
    }
    for (name, help, value) in [
        ("tickcast_traces_total", "Ticks that were traced, by reactor each.", &traces.made),
        ("tickcast_traces_sent_total", "Traces that a collector took.", &traces.sent),
        ("tickcast_traces_lost_total", "Traces that it did not take.", &traces.lost),
    ] {
        family(out, name, help, "counter");
        line(out, name, "", value.load(Ordering::Relaxed));
    }
}

fn tls(out: &mut String, counters: &TlsCounters, certificates: &Certificates) {
    let name = "tickcast_tls_handshakes_total";
    family(out, name, "TLS handshakes that came to their end.", "counter");
    for (version, of_version) in ["1.2", "1.3"].iter().zip(&counters.established) {
        for (resumed, count) in ["false", "true"].iter().zip(of_version) {
            let labels = format!("version=\"{version}\",resumed=\"{resumed}\"");
            line(out, name, &labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_tls_handshakes_failed_total";
    family(out, name, "TLS handshakes that did not, by why.", "counter");
    for (why, count) in ["lost", "late", "refused"].iter().zip(&counters.failed) {
        line(out, name, &label("why", why), count.load(Ordering::Relaxed));
    }
    let name = "tickcast_tls_reloads_total";
    family(
        out,
        name,
        "Times that certificates were read again, by whether they would do.",
        "counter",
    );
    for (result, count) in
        [("taken", &certificates.reloads), ("refused", &certificates.reloads_failed)]
    {
        line(out, name, &label("result", result), count.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use tickcast_feeds::live::Tapped;
    use tickcast_feeds::record::{Recorder, Rotation};
    use tickcast_feeds::venue::Input;

    use super::*;

    #[test]
    fn a_recording_that_stopped_is_told() {
        let name = format!("tickcast-metrics-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let rotation = Rotation { bytes: 1, age_ns: 1 };
        let recorder = Recorder::start(&folder, rotation, "test", 1, Box::new(|_| {})).unwrap();
        let stats = recorder.stats();
        let make = recorder.taps();
        let mut tap = make(Tapped { feed: "binance:*", venue: "binance" }).unwrap();
        let shown = || {
            let mut out = String::new();
            recording(&mut out, Some(&stats));
            out
        };
        tap.keep(1, &Input::Message { link: 0, text: b"{}" });
        while stats.messages() == 0 {
            std::thread::yield_now();
        }
        let text = shown();
        assert!(text.contains("\ntickcast_record_state 1\n"), "{text}");
        assert!(text.contains("\ntickcast_record_messages_total 1\n"), "{text}");
        // Somebody has taken the next file's name.
        std::fs::write(recorder.directory().join("1-binance.0002.zst"), "").unwrap();
        tap.keep(2, &Input::Message { link: 0, text: b"{}" });
        recorder.close();
        std::fs::remove_dir_all(&folder).unwrap();
        let text = shown();
        assert!(text.contains("\ntickcast_record_state 0\n"), "{text}");
        assert!(text.contains("\ntickcast_record_messages_total 1\n"), "{text}");
        let mut nothing = String::new();
        recording(&mut nothing, None);
        assert_eq!(nothing, "");
    }
}
