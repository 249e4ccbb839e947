//! What each reactor counts, and how long ticks take on their way through it.

use hdrhistogram::Histogram;

use super::family::{Families, Kind};
use crate::http::Plane;
use crate::session::end::Reason;
use crate::stats::Report;

const LAG_CAUSES: [&str; 3] = ["peer_window", "network", "server"];

/// A counter or gauge that each reactor has: name, help, type, value.
type Counted = (&'static str, &'static str, Kind, fn(&Report) -> u64);

const COUNTED: [Counted; 32] = [
    ("tickcast_sessions", "Sessions now.", Kind::Gauge, |r| r.sessions),
    (
        "tickcast_sessions_ending",
        "Sessions that were told to go and are not gone yet.",
        Kind::Gauge,
        |r| r.ending,
    ),
    ("tickcast_subscriptions", "Subscriptions now.", Kind::Gauge, |r| r.subscriptions),
    ("tickcast_sessions_accepted_total", "Sessions ever begun.", Kind::Counter, |r| r.accepted),
    ("tickcast_ticks_total", "Ticks taken from the ring.", Kind::Counter, |r| r.ticks),
    (
        "tickcast_encoded_total",
        "Messages encoded for subscribers, once each.",
        Kind::Counter,
        |r| r.encoded,
    ),
    (
        "tickcast_deliveries_total",
        "Messages delivered to subscribers' outboxes.",
        Kind::Counter,
        |r| r.deliveries,
    ),
    (
        "tickcast_conflated_total",
        "Quotes replaced by later ones before they were sent.",
        Kind::Counter,
        |r| r.conflated,
    ),
    (
        "tickcast_resumed_total",
        "Subscriptions that went on where their client was.",
        Kind::Counter,
        |r| r.resumed,
    ),
    (
        "tickcast_not_resumed_total",
        "Subscriptions whose client could not be told what it missed.",
        Kind::Counter,
        |r| r.not_resumed,
    ),
    (
        "tickcast_replayed_total",
        "Messages that clients had missed and were sent.",
        Kind::Counter,
        |r| r.replayed,
    ),
    ("tickcast_heartbeats_total", "Heartbeats sent.", Kind::Counter, |r| r.heartbeats),
    ("tickcast_sends_total", "Writes to sockets.", Kind::Counter, |r| r.sends),
    (
        "tickcast_sends_blocked_total",
        "Writes that a socket did not take whole.",
        Kind::Counter,
        |r| r.blocked,
    ),
    ("tickcast_sent_bytes_total", "Bytes that sockets took.", Kind::Counter, |r| r.sent_bytes),
    ("tickcast_deflate_messages_total", "Messages compressed, once each.", Kind::Counter, |r| {
        r.deflated
    }),
    ("tickcast_deflate_plain_bytes_total", "Bytes of these before.", Kind::Counter, |r| {
        r.deflated_plain_bytes
    }),
    ("tickcast_deflate_bytes_total", "Bytes of these after.", Kind::Counter, |r| r.deflated_bytes),
    ("tickcast_received_bytes_total", "Bytes that came from clients.", Kind::Counter, |r| {
        r.received_bytes
    }),
    ("tickcast_requests_total", "Requests from clients.", Kind::Counter, |r| r.requests),
    (
        "tickcast_requests_refused_total",
        "Requests refused as not understood or over the rate.",
        Kind::Counter,
        |r| r.refused,
    ),
    (
        "tickcast_protocol_violations_total",
        "Breaches of the WebSocket protocol by clients.",
        Kind::Counter,
        |r| r.violations,
    ),
    (
        "tickcast_book_errors_total",
        "Book events that did not fit a reactor's book.",
        Kind::Counter,
        |r| r.book_errors,
    ),
    (
        "tickcast_ring_laps_total",
        "Times that the ring's writer overtook the reactor.",
        Kind::Counter,
        |r| r.lapped,
    ),
    ("tickcast_ring_lost_ticks_total", "Ticks lost to that.", Kind::Counter, |r| r.lost),
    (
        "tickcast_ring_lag_ticks",
        "Ticks in the ring that the reactor has not taken.",
        Kind::Gauge,
        |r| r.ring_lag,
    ),
    (
        "tickcast_admission_paced_total",
        "Turns that put off work of newcomers so that ticks come first.",
        Kind::Counter,
        |r| r.admission_paced,
    ),
    (
        "tickcast_admission_waiting",
        "Newcomers' work that waits: sockets to take over, sessions to read from or to send snapshots to.",
        Kind::Gauge,
        |r| r.admission_waiting,
    ),
    ("tickcast_encodings_bytes", "Bytes of encodings held.", Kind::Gauge, |r| r.encodings_bytes),
    ("tickcast_outboxes_bytes", "Bytes of outboxes held.", Kind::Gauge, |r| r.outbox_bytes),
    ("tickcast_reading_bytes", "Bytes of clients' unfinished messages held.", Kind::Gauge, |r| {
        r.reading_bytes
    }),
    (
        "tickcast_memory_evicted_total",
        "Clients closed because all together held more than the memory budget.",
        Kind::Counter,
        |r| r.memory_evicted,
    ),
];

/// The same of what is counted in other units than it is shown in: seconds, shares.
type Scaled = (&'static str, &'static str, Kind, fn(&Report) -> f64);

const SCALED: [Scaled; 4] = [
    (
        "tickcast_flush_window_seconds",
        "How long ticks wait for others to the same client.",
        Kind::Gauge,
        |r| seconds(r.window_ns),
    ),
    (
        "tickcast_flush_load_ratio",
        "Share of a core that writes would take if no tick waited.",
        Kind::Gauge,
        |r| r.load_permille as f64 / 1e3,
    ),
    (
        "tickcast_admission_seconds_total",
        "Time that sockets, requests and snapshots took.",
        Kind::Counter,
        |r| seconds(r.admission_ns),
    ),
    (
        "tickcast_reactor_cpu_seconds_total",
        "Time that the reactor's thread has run.",
        Kind::Counter,
        |r| seconds(r.cpu_ns),
    ),
];

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Up to where a tick's way is timed: name, help, value.
type Stage = (&'static str, &'static str, fn(&Report) -> &Histogram<u64>);

const STAGES: [Stage; 2] = [
    (
        "tickcast_recv_to_encoded_seconds",
        "From a tick's receipt until it was encoded and noted for all who listen, the first tick of each turn.",
        |r| &r.to_encoded,
    ),
    (
        "tickcast_recv_to_write_seconds",
        "From a tick's receipt to the write that carried it, the oldest tick of each write.",
        |r| &r.to_write,
    ),
];

pub(super) fn gather(all: &mut Families, plane: &Plane, reports: &[Report]) {
    for (name, help, kind, value) in COUNTED {
        let family = all.begin(name, help, kind);
        reports.iter().for_each(|r| family.with(&[("reactor", &r.reactor)], value(r)));
    }
    let help = "1 while a reactor serves clients, 0 after it has panicked.";
    let family = all.gauge("tickcast_reactor_up", help);
    plane.links().for_each(|link| family.with(&[("reactor", &link.id)], !link.has_failed()));
    for (name, help, kind, value) in SCALED {
        let family = all.begin(name, help, kind);
        reports.iter().for_each(|r| family.with(&[("reactor", &r.reactor)], value(r)));
    }
    ended(all, reports);
    for (name, help, times) in STAGES {
        let family = all.histogram(name, help);
        reports.iter().for_each(|r| family.with(&[("reactor", &r.reactor)], times(r).clone()));
    }
}

fn ended(all: &mut Families, reports: &[Report]) {
    let family = all.counter("tickcast_sessions_ended_total", "Sessions ended, by reason.");
    for report in reports {
        for reason in Reason::ALL {
            let labels: [(_, &dyn ToString); 2] =
                [("reactor", &report.reactor), ("reason", &reason.as_str())];
            family.with(&labels, report.ended[reason as usize]);
        }
    }
    let family = all.counter("tickcast_slow_clients_total", "Slow clients closed, by cause.");
    for report in reports {
        for (cause, count) in LAG_CAUSES.iter().zip(report.lag_causes) {
            family.with(&[("reactor", &report.reactor), ("cause", cause)], count);
        }
    }
}
