//! What a server says of itself: `/v1/stats` and `/v1/connections`, as far as it is shown. What a server of
//! another version does not say is left out.

use serde::Deserialize;

/// Both, read together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) stats: Stats,
    pub(super) connections: Vec<Connection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub(super) version: String,
    /// Another one after a restart.
    pub(super) epoch: String,
    pub(super) uptime_s: f64,
    pub(super) symbols: u64,
    pub(super) clients: u64,
    pub(super) subscriptions: u64,
    pub(super) ticks: u64,
    pub(super) reactors: Vec<Reactor>,
    pub(super) feeds: Vec<Feed>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reactor {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) clients: u64,
    pub(super) subscriptions: u64,
    pub(super) deliveries: u64,
    pub(super) sends: u64,
    pub(super) sent_bytes: u64,
    pub(super) lapped: u64,
    pub(super) ring_lag: u64,
    pub(super) cpu_s: f64,
    pub(super) latency_us: Latency,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    /// Upper bound in microseconds, and how many up to it and beyond the one before.
    pub(super) buckets: Vec<(f64, u64)>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) ticks: u64,
    pub(super) rejected: u64,
    pub(super) idle_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub(super) connections: Vec<Connection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) name: String,
    pub(super) dialect: String,
    pub(super) subscriptions: u64,
    pub(super) queued_bytes: u64,
    pub(super) lag_ms: u64,
    pub(super) cause: Option<String>,
    pub(super) conflated: bool,
    pub(super) closing: Option<String>,
}
