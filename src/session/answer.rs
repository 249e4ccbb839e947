//! What a request is answered: a result or an error for each symbol.

use std::sync::Arc;

use serde_json::json;

use super::subs::Terms;
use super::symbols::{Names, Unknown};
use crate::access::{Denied, Grant};
use crate::derive::Span;
use crate::limits;
use crate::wire::native::push_int;
use crate::wire::request::{self, Channel, Mode, Target};

/// How often a subscription is told, as the client is: its field and what holds.
pub(super) fn pace(terms: Terms) -> Option<(&'static str, serde_json::Value)> {
    let ms = terms.cadence.period_ms();
    match (terms.mode, ms) {
        (_, 0) => None,
        (Mode::Batch, ms) => Some(("batch_ms", json!(ms))),
        (_, ms) if 1_000 % ms == 0 => Some(("max_hz", json!(1_000 / ms))),
        (_, ms) => Some(("max_hz", json!(1_000.0 / ms as f64))),
    }
}

pub(super) fn too_many(most: usize, of: &str) -> Unknown {
    let message = format!("more than {most} {of} (a wildcard counts as one subscription)");
    Unknown { code: "too_many_subscriptions", message, near: Vec::new() }
}

const FORBIDDEN: &str = "forbidden";

/// What is not granted, as a symbol's error.
pub(super) fn forbidden(denied: &Denied) -> Unknown {
    Unknown { code: FORBIDDEN, message: denied.to_string(), near: Vec::new() }
}

/// The beginning of every answer.
pub(super) fn opening(method: &str, req_id: Option<&str>) -> Vec<u8> {
    let mut out = format!("{{\"method\":{}", json!(method)).into_bytes();
    if let Some(req_id) = req_id {
        out.extend_from_slice(b",\"req_id\":");
        out.extend_from_slice(req_id.as_bytes());
    }
    out
}

/// The answer to `subscribe` and `unsubscribe`: a result or an error per symbol.
pub(super) struct Answer {
    /// Other symbols are not suggested.
    pub(super) grant: Arc<Grant>,
    result: Vec<u8>,
    errors: Vec<u8>,
    pub(super) suggested: usize,
    /// Symbols that are not granted, and why the first is not: for the log.
    pub(super) denied: usize,
    pub(super) first_denied: String,
}

impl Answer {
    pub(super) fn new(grant: &Arc<Grant>) -> Self {
        Answer {
            grant: grant.clone(),
            result: Vec::new(),
            errors: Vec::new(),
            suggested: 0,
            denied: 0,
            first_denied: String::new(),
        }
    }

    pub(super) fn entry(&mut self, symbol: &str, channel: Channel, depth: Option<u16>) {
        if !self.result.is_empty() {
            self.result.push(b',');
        }
        self.result.extend_from_slice(b"{\"channel\":\"");
        self.result.extend_from_slice(channel.as_str().as_bytes());
        self.result.extend_from_slice(b"\",\"symbol\":");
        self.result.extend_from_slice(json!(symbol).to_string().as_bytes());
        match depth {
            None => {}
            Some(depth) if channel == Channel::Bar => {
                let interval = channel.span(depth).map_or("", Span::as_str);
                let field = format!(",\"interval\":\"{interval}\"");
                self.result.extend_from_slice(field.as_bytes());
            }
            Some(0) => self.result.extend_from_slice(b",\"depth\":\"full\""),
            Some(depth) => {
                self.result.extend_from_slice(b",\"depth\":");
                push_int(&mut self.result, depth.into());
            }
        }
    }

    pub(super) fn subscribed(
        &mut self,
        symbol: &str,
        target: &Target,
        terms: Terms,
        epoch: &str,
        extra: &[(&str, u64)],
    ) {
        let has_variants = matches!(target.channel, Channel::Book | Channel::Bar);
        let depth = has_variants.then_some(target.variant());
        self.entry(symbol, target.channel, depth);
        let mode = terms.mode.as_str();
        self.result.extend_from_slice(format!(",\"mode\":\"{mode}\"").as_bytes());
        if let Some((name, value)) = pace(terms) {
            self.result.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        if let Some(max_age_ms) = terms.lane.max_age_ms() {
            self.result.extend_from_slice(format!(",\"max_age_ms\":{max_age_ms}").as_bytes());
        }
        self.result.extend_from_slice(format!(",\"epoch\":\"{epoch}\"").as_bytes());
        for (name, value) in extra {
            self.result.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        self.result.push(b'}');
    }

    pub(super) fn unsubscribed(&mut self, symbol: &str, target: &Target) {
        // Without a depth or interval, every one is gone.
        self.entry(symbol, target.channel, target.depth);
        self.result.push(b'}');
    }

    pub(super) fn unknown(&mut self, symbol: &str, mut unknown: Unknown, names: &Names) {
        // A thousand typos in one request get a few suggestions.
        if unknown.near.is_empty() && self.suggested < limits::SUGGESTIONS_PER_REQUEST {
            self.suggested += 1;
            unknown.near = names.near(symbol);
        }
        unknown.near.retain(|near| self.grant.has_name(near));
        self.error(symbol, &unknown);
    }

    pub(super) fn error(&mut self, symbol: &str, unknown: &Unknown) {
        if unknown.code == FORBIDDEN {
            if self.denied == 0 {
                self.first_denied.clone_from(&unknown.message);
            }
            self.denied += 1;
        }
        let mut error = json!({"symbol": request::cut(symbol), "code": unknown.code, "message": unknown.message});
        if !unknown.near.is_empty() {
            error["did_you_mean"] = json!(unknown.near);
        }
        if !self.errors.is_empty() {
            self.errors.push(b',');
        }
        self.errors.extend_from_slice(error.to_string().as_bytes());
    }

    /// `delay_ms` is by how much what is subscribed to is delayed.
    pub(super) fn finish(self, method: &str, req_id: Option<&str>, delay_ms: u64) -> Vec<u8> {
        let mut out = opening(method, req_id);
        let success = !self.result.is_empty();
        out.extend_from_slice(if success { b",\"success\":true" } else { b",\"success\":false" });
        out.extend_from_slice(b",\"result\":[");
        out.extend_from_slice(&self.result);
        out.push(b']');
        if !self.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":[");
            out.extend_from_slice(&self.errors);
            out.push(b']');
        }
        if delay_ms > 0 {
            out.extend_from_slice(b",\"delay_ms\":");
            push_int(&mut out, delay_ms);
        }
        out.push(b'}');
        out
    }
}
