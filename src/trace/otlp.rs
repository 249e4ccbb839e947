//! Traces for a collector: OTLP over HTTP, as JSON (<https://opentelemetry.io/docs/specs/otlp/>). One kind of
//! POST, a second apart: no crate of OpenTelemetry is needed for it.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tickcast_feeds::dial;

use super::{Trace, Traces};
use crate::limits;

/// Between two posts.
const PERIOD: Duration = Duration::from_secs(1);
/// A collector that has not answered by then has not taken them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a collector is: `http://HOST:PORT`, with a path or the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "expected http://HOST:PORT, such as http://127.0.0.1:4318".to_owned();
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().filter(|_| !host.is_empty()).ok_or_else(bad)?;
        let path = match uri.path() {
            "" | "/" => "/v1/traces",
            path => path,
        };
        let (authority, path) = (authority.to_string(), path.to_owned());
        Ok(Endpoint { host, port, authority, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Posts what there is once a second, until dropped. Traces that the collector does not take are counted
/// and gone.
pub(crate) async fn export(traces: Arc<Traces>, endpoint: Endpoint) {
    let run = RandomState::new().build_hasher().finish();
    let mut told = false;
    loop {
        tokio::time::sleep(PERIOD).await;
        let some = traces.take(limits::TRACES_WAITING);
        if some.is_empty() {
            continue;
        }
        let posted = tokio::time::timeout(PATIENCE, post(&endpoint, body(&some, run).to_string()));
        let posted = posted.await.unwrap_or_else(|_| Err("no answer".into()));
        let counter = if posted.is_ok() { &traces.sent } else { &traces.lost };
        counter.fetch_add(some.len() as u64, Ordering::Relaxed);
        if let Err(error) = posted
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!(%error, %endpoint, "traces were not taken (further failures are counted)");
        }
    }
}

type PostError = Box<dyn std::error::Error>;

async fn post(endpoint: &Endpoint, body: String) -> Result<(), PostError> {
    let stream = dial::reach(&endpoint.host, endpoint.port).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its failures come out of the request too.
    tokio::task::spawn_local(async move { connection.await.ok() });
    let request = Request::post(&endpoint.path)
        .header(header::HOST, &endpoint.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("answered with {status}").into()),
    }
}

/// An `ExportTraceServiceRequest`. `run` tells this run of the server from others.
fn body(traces: &[Trace], run: u64) -> Value {
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans(trace, run)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "tickcast"),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ]},
        "scopeSpans": [{"scope": {"name": "tickcast"}, "spans": spans}],
    }]})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit numbers are texts in JSON of protobuf.
fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// A tick's trace is the same on all reactors; each has a span of its own there, with one for each stage below it.
fn spans(trace: &Trace, run: u64) -> Vec<Value> {
    let trace_id = format!("{run:016x}{:016x}", trace.position.wrapping_add(1));
    // Unique within the trace, and not 0: reactors are few, and stages fewer.
    let span_id = |stage: u64| format!("{:016x}", (trace.reactor as u64 + 1) << 8 | stage);
    let span = |stage: u64, name: &str, from_ns: u64, to_ns: u64| {
        json!({
            "traceId": trace_id, "spanId": span_id(stage), "name": name, "kind": 1,
            "startTimeUnixNano": from_ns.to_string(), "endTimeUnixNano": to_ns.max(from_ns).to_string(),
        })
    };
    let end_ns = trace.writes.map_or(trace.encoded_ns, |(_, last_ns)| last_ns);
    let mut root = span(0, "tick", trace.recv_ns, end_ns);
    root["attributes"] = json!([
        text("symbol", &trace.symbol),
        text("channel", trace.kind),
        number("seq", trace.seq),
        number("reactor", trace.reactor as u64),
        number("event_unix_nano", trace.event_ns),
        number("messages", trace.messages),
        number("recipients", trace.recipients),
        number("writes", trace.written),
        number("blocked", trace.blocked),
    ]);
    let mut all = vec![root];
    let mut stage = |number: u64, name: &str, from_ns: u64, to_ns: u64| {
        let mut child = span(number, name, from_ns, to_ns);
        child["parentSpanId"] = json!(span_id(0));
        all.push(child);
    };
    if let Some((taken_ns, ring_ns)) = trace.ingest {
        stage(1, "feed", trace.recv_ns, taken_ns);
        stage(2, "ingest", taken_ns, ring_ns);
        stage(3, "ring", ring_ns, trace.read_ns);
    }
    stage(4, "encode", trace.read_ns, trace.encoded_ns);
    if let Some((first_ns, last_ns)) = trace.writes {
        stage(5, "wait", trace.encoded_ns, first_ns);
        stage(6, "write", first_ns, last_ns);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_taken_apart() {
        let shown = |text: &str| text.parse::<Endpoint>().map(|at| at.to_string());
        assert_eq!(
            shown("http://127.0.0.1:4318").as_deref(),
            Ok("http://127.0.0.1:4318/v1/traces")
        );
        assert_eq!(shown("http://[::1]:1/a/b").as_deref(), Ok("http://[::1]:1/a/b"));
        for bad in ["", "127.0.0.1:4318", "https://a:4318", "http://a", "http://:1", "http://a:x"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stages_are_spans_below_the_tick_in_their_order() {
        let trace = Trace {
            reactor: 1,
            symbol: "x:A-B".to_owned(),
            kind: "trade",
            position: 500,
            seq: 7,
            event_ns: 900,
            recv_ns: 1_000,
            ingest: Some((1_100, 1_200)),
            read_ns: 1_300,
            encoded_ns: 1_400,
            messages: 1,
            recipients: 3,
            writes: Some((1_500, 1_600)),
            written: 2,
            blocked: 1,
        };
        let value = body(std::slice::from_ref(&trace), 9);
        let spans = value["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans");
        let names: Vec<_> =
            spans.iter().map(|span| span["name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["tick", "feed", "ingest", "ring", "encode", "wait", "write"]);
        let root = &spans[0];
        assert_eq!(
            (&root["startTimeUnixNano"], &root["endTimeUnixNano"]),
            (&json!("1000"), &json!("1600"))
        );
        assert!(root.get("parentSpanId").is_none());
        let mut at = json!("1000");
        for span in &spans[1..] {
            assert_eq!(span["parentSpanId"], root["spanId"]);
            assert_eq!(span["startTimeUnixNano"], at, "without a gap");
            at = span["endTimeUnixNano"].clone();
        }
        for span in spans {
            let is_hex = |key: &str, len| {
                let text = span[key].as_str().expect("an id");
                text.len() == len
                    && text.bytes().all(|b| b.is_ascii_hexdigit())
                    && text.bytes().any(|b| b != b'0')
            };
            assert!(is_hex("traceId", 32) && is_hex("spanId", 16), "{span}");
        }
        let ids: std::collections::BTreeSet<_> =
            spans.iter().map(|span| span["spanId"].to_string()).collect();
        assert_eq!(ids.len(), spans.len());
        // What is not known is left out.
        let bare = Trace { ingest: None, writes: None, ..trace };
        let names: Vec<_> = super::spans(&bare, 9).iter().map(|s| s["name"].to_string()).collect();
        assert_eq!(names, ["\"tick\"", "\"encode\""]);
    }
}
