//! Plain HTTP: health, metrics, statistics, who is connected, and the page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tickcast_feeds::live::LiveStats;
use tokio::sync::oneshot;

use super::rest::Error;
use super::rest::query::Query;
use super::{Body, Plane, admin, assets, metrics, plain, typed};
use crate::reactor::Command;
use crate::reactor::asked::Wanted;
use crate::record;
use crate::stats::{ConnectionInfo, Report, new_histogram};

/// Connections listed where no `limit` is given.
const CONNECTIONS: usize = 1_000;
/// The most that are listed.
const CONNECTIONS_MAX: usize = 100_000;
/// A reactor that has not answered by then is stuck.
pub(super) const REACTOR_PATIENCE: Duration = Duration::from_secs(2);

/// The counters of a moment ago, for rates.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    at: Option<Instant>,
    ticks: u64,
    deliveries: u64,
    ticks_per_s: f64,
    deliveries_per_s: f64,
}

pub(super) async fn answer(plane: &Plane, request: &Request<Incoming>) -> Response<Body> {
    let is_admin = request.uri().path().starts_with("/v1/admin");
    if !is_admin && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = format!("{} is not allowed here, expected GET\n", request.method());
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &message);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => health(plane).await,
        "/readyz" => ready(plane),
        "/metrics" => metrics::answer(plane, request.headers()),
        "/v1/stats" => json_answer(&stats(plane)),
        "/v1/feeds" => json_answer(&feeds(plane)),
        "/v1/connections" => connections(plane, request.uri().query()).await,
        path => match assets::find(path) {
            Some(asset) => page(request, &asset),
            None => plain(
                StatusCode::NOT_FOUND,
                "nothing here; there are / /v1/ws /v1/sse /v1/poll /v1/symbols /v1/snapshot /v1/book/{symbol} /v1/trades/{symbol} /v1/bars/{symbol} /v1/ticker/{symbol} /v1/openapi.json /v1/asyncapi.json /v1/publish /v1/stats /v1/connections /v1/feeds /metrics /healthz /readyz\n",
            ),
        },
    }
}

fn json_answer(value: &Value) -> Response<Body> {
    typed(StatusCode::OK, "application/json", value.to_string())
}

fn page(request: &Request<Incoming>, asset: &assets::Asset) -> Response<Body> {
    let mut response = typed(StatusCode::OK, asset.mime, asset.body);
    let headers = response.headers_mut();
    // Asked anew each time, sent anew only when it changed: a new server has a new page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(assets::CONTENT_SECURITY_POLICY),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(etag) = HeaderValue::from_str(asset.etag) {
        let same = has(request.headers(), asset.etag);
        headers.insert(header::ETAG, etag);
        if same {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::default();
        }
    }
    response
}

/// Whether the client has this version: RFC 9110 section 13.1.2, where a tag that a proxy made weak
/// by compressing the body counts too.
fn has(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(',').map(str::trim))
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Alive: every reactor answers.
async fn health(plane: &Plane) -> Response<Body> {
    for link in plane.links() {
        if link.has_failed() {
            let message = format!("reactor {} has failed: restart when it suits\n", link.id);
            return plain(StatusCode::SERVICE_UNAVAILABLE, &message);
        }
        let (ask, answer) = oneshot::channel();
        link.send(Command::Connections(Wanted { most: 0, slowest: false }, ask));
        if !matches!(tokio::time::timeout(REACTOR_PATIENCE, answer).await, Ok(Ok(_))) {
            let message = format!("reactor {} does not answer\n", link.id);
            return plain(StatusCode::SERVICE_UNAVAILABLE, &message);
        }
    }
    plain(StatusCode::OK, "ok\n")
}

/// Ready: there is something to serve and the server stays.
fn ready(plane: &Plane) -> Response<Body> {
    if plane.draining.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if plane.admin.as_ref().is_some_and(admin::Door::is_cordoned) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "cordoned by an operator\n");
    }
    let failed: Vec<_> = plane
        .feeds
        .iter()
        .filter(|feed| *feed.state.lock() == "failed")
        .map(|f| &*f.name)
        .collect();
    if !failed.is_empty() && failed.len() == plane.feeds.len() {
        let message = format!("no feed runs, failed: {}\n", failed.join(" "));
        return plain(StatusCode::SERVICE_UNAVAILABLE, &message);
    }
    plain(StatusCode::OK, "ready\n")
}

pub(super) async fn connections(plane: &Plane, query: Option<&str>) -> Response<Body> {
    let wanted = match wanted(query) {
        Ok(wanted) => wanted,
        Err(error) => return error.into_response(),
    };
    let mut all = Vec::new();
    for link in plane.links().filter(|link| !link.has_failed()) {
        let (ask, answer) = oneshot::channel();
        // The slowest of all may be one reactor's.
        let most = if wanted.slowest { wanted.most } else { wanted.most - all.len() };
        link.send(Command::Connections(Wanted { most, ..wanted }, ask));
        match tokio::time::timeout(REACTOR_PATIENCE, answer).await {
            Ok(Ok(some)) => all.extend(some),
            _ => {
                let message = format!("reactor {} does not answer\n", link.id);
                return plain(StatusCode::SERVICE_UNAVAILABLE, &message);
            }
        }
    }
    if wanted.slowest {
        all.sort_by_key(|info| std::cmp::Reverse(info.lag_ms));
        all.truncate(wanted.most);
    }
    let all: Vec<Value> = all.iter().map(connection).collect();
    let clients: usize = plane.links().map(|l| l.sessions.load(Ordering::Relaxed)).sum();
    json_answer(&json!({"clients": clients, "shown": all.len(), "connections": all}))
}

/// Reads the query of `/v1/connections`.
fn wanted(query: Option<&str>) -> Result<Wanted, Error> {
    let mut query = Query::parse(query)?;
    let most = query.number("limit", 0..=CONNECTIONS_MAX as u64)?;
    let slowest = match query.take("sort") {
        None => false,
        Some(sort) if sort == "lag" => true,
        Some(sort) => return Err(Error::bad_value("sort", &sort, "lag")),
    };
    query.finish(&["limit", "sort"])?;
    Ok(Wanted { most: most.map_or(CONNECTIONS, |most| most as usize), slowest })
}

pub(super) fn connection(info: &ConnectionInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "peer": info.peer.to_string(),
        "tls": info.tls,
        "name": info.name,
        "dialect": info.dialect,
        "reactor": info.id.reactor,
        "connected_ms": info.connected_ms,
        "subscriptions": info.subscriptions,
        "delivered": info.delivered,
        "sent_bytes": info.sent_bytes,
        "queued_bytes": info.queued_bytes,
        "lag_ms": info.lag_ms,
        "blocked_ms": info.blocked_ms,
        "cause": info.cause,
        "conflated": info.conflated,
        "ring_lag": info.ring_lag,
        "closing": info.ending.map(|reason| reason.as_str()),
    })
}

pub(super) fn reports(plane: &Plane) -> Vec<Report> {
    plane.links().map(|link| link.report.lock().clone()).collect()
}

fn stats(plane: &Plane) -> Value {
    let reports = reports(plane);
    let mut latency = new_histogram();
    for report in &reports {
        // The same bounds: adding cannot fail.
        let _ = latency.add(&report.to_write);
    }
    let ticks = plane.ingest.lock().ticks;
    let sum = |f: fn(&Report) -> u64| reports.iter().map(f).sum::<u64>();
    let deliveries = sum(|r| r.deliveries);
    let (ticks_per_s, deliveries_per_s) = rates(plane, ticks, deliveries);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("TICKCAST_COMMIT"),
        "epoch": plane.live.hub.epoch,
        "uptime_s": plane.started.elapsed().as_secs_f64(),
        "symbols": plane.live.hub.instruments.len(),
        "clients": sum(|r| r.sessions),
        "subscriptions": sum(|r| r.subscriptions),
        "ticks": ticks,
        "ticks_per_s": ticks_per_s.round(),
        "deliveries": deliveries,
        "deliveries_per_s": deliveries_per_s.round(),
        "latency_us": latency_us(&latency, 2.0),
        "reactors": reports.iter().zip(plane.links()).map(|(r, link)| json!({
            "id": r.reactor, "state": if link.has_failed() { "failed" } else { "running" }, "clients": r.sessions, "subscriptions": r.subscriptions, "ticks": r.ticks,
            "deliveries": r.deliveries, "sends": r.sends, "sent_bytes": r.sent_bytes, "lapped": r.lapped,
            "ring_lag": r.ring_lag, "cpu_s": r.cpu_ns as f64 / 1e9, "load_ratio": r.load_permille as f64 / 1e3,
            "latency_us": latency_us(&r.to_write, FINE),
        })).collect::<Vec<_>>(),
        "feeds": plane.feeds.iter().map(|feed| json!({
            "name": feed.name, "state": *feed.state.lock(),
            "ticks": feed.ticks.load(Ordering::Relaxed), "rejected": feed.rejected.load(Ordering::Relaxed),
            "idle_ms": feed.age().as_millis() as u64,
        })).collect::<Vec<_>>(),
        "recording": plane.recording.as_ref().map(|stats| json!({
            "state": record::state_name(stats.state()), "messages": stats.messages(),
            "bytes": stats.bytes(), "compressed_bytes": stats.compressed(), "dropped": stats.dropped(),
        })),
    })
}

/// The step of a reactor's buckets: `top` has its 99th percentile of a second from two readings of them.
const FINE: f64 = 1.25;

/// Quantiles of latencies and what they are from: buckets by their upper bounds, each `step` times the one
/// before it; doubling ones are enough to draw, and few enough to read.
fn latency_us(latency: &Histogram<u64>, step: f64) -> Value {
    let micros = |ns: u64| ns as f64 / 1000.0;
    let quantile = |q| micros(latency.value_at_quantile(q));
    let buckets: Vec<_> = latency
        .iter_log(1_000, step)
        .map(|step| (micros(step.value_iterated_to() + 1), step.count_since_last_iteration()))
        .collect();
    json!({
        "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p999": quantile(0.999),
        "max": if latency.is_empty() { 0.0 } else { micros(latency.max()) },
        "count": latency.len(), "buckets": buckets,
    })
}

/// Rates over at least half a second.
fn rates(plane: &Plane, ticks: u64, deliveries: u64) -> (f64, f64) {
    let mut rates = plane.rates.lock();
    let now = Instant::now();
    let before = *rates.at.get_or_insert(plane.started);
    let seconds = (now - before).as_secs_f64();
    if seconds >= 0.5 {
        rates.ticks_per_s = ticks.saturating_sub(rates.ticks) as f64 / seconds;
        rates.deliveries_per_s = deliveries.saturating_sub(rates.deliveries) as f64 / seconds;
        (rates.at, rates.ticks, rates.deliveries) = (Some(now), ticks, deliveries);
    }
    (rates.ticks_per_s, rates.deliveries_per_s)
}

fn feeds(plane: &Plane) -> Value {
    let feeds: Vec<_> = plane
        .feeds
        .iter()
        .map(|feed| {
            let rejects: Vec<_> = feed
                .rejects
                .lock()
                .iter()
                .map(|r| json!({"kind": r.kind, "count": r.count, "detail": r.detail, "text": r.text}))
                .collect();
            let mut shown = json!({
                "name": feed.name, "state": *feed.state.lock(),
                "ticks": feed.ticks.load(Ordering::Relaxed),
                "rejected": feed.rejected.load(Ordering::Relaxed), "rejects": rejects,
            });
            if let Some(stats) = &feed.live {
                shown["live"] = live(stats);
            }
            shown
        })
        .collect();
    json!({ "feeds": feeds })
}

/// What a live feed's connections do.
fn live(stats: &LiveStats) -> Value {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let ignored: serde_json::Map<String, Value> =
        stats.ignored.lock().iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    json!({
        "symbols": count(&stats.symbols),
        "links": count(&stats.links),
        "links_wanted": count(&stats.links_wanted),
        "books_incomplete": count(&stats.incomplete),
        "connects": count(&stats.connects),
        "connect_failures": count(&stats.connect_failures),
        "losses": count(&stats.losses),
        "replaced": count(&stats.replaced),
        "messages": count(&stats.messages),
        "bytes": count(&stats.bytes),
        "refused": count(&stats.refused),
        "recoveries": count(&stats.recoveries),
        "recovery_failures": count(&stats.recovery_failures),
        "last_error": *stats.last_error.lock(),
        "ignored": ignored,
    })
}
