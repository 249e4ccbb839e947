//! What a client says, and what it is answered.

use std::ops::ControlFlow;

use fastwebsockets::OpCode;
use serde_json::json;

use super::Dialect;
use super::answer::{opening, pace};
use super::end::{CLOSE_POLICY, Reason};
use super::reader::Incoming;
use super::resume::Start;
use super::subs::Terms;
use crate::access::Grant;
use crate::clock;
use crate::derive::Span;
use crate::drill::Fault;
use crate::limits;
use crate::reactor::Core;
use crate::wire::form::Framing;
use crate::wire::frame;
use crate::wire::native::push_int;
use crate::wire::request::{self, Call, Channel, Refusal, Request};

impl Core {
    /// Takes bytes from a client's socket.
    pub(crate) fn received(&mut self, id: u32, bytes: &mut [u8]) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let ping_interval_ms = self.ping_interval_ms(session.dialect);
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.is_ending() {
            // Nothing is answered any more; the reading goes on for the end of the connection.
            return;
        }
        session.heard_ms = self.now.ms;
        session.pinged = false;
        session.ping_ms = self.now.ms + ping_interval_ms;
        self.report.received_bytes += bytes.len() as u64;
        let (dialect, form) = (session.dialect, session.form);
        if form.is_stream() {
            // There is nothing to say on a stream of events.
            return;
        }
        // Taken out while what it reads is acted upon, which may end the session.
        let mut reader = std::mem::take(&mut session.reader);
        self.reading -= reader.held();
        let mut inflater = std::mem::take(&mut self.inflater);
        let limits = self.read_limits(form);
        let result = reader.feed(bytes, &limits, &mut inflater, &mut |incoming| {
            self.incoming(id, dialect, incoming)
        });
        inflater.trim();
        self.inflater = inflater;
        match self.sessions.get_mut(id as usize) {
            Some(session) => {
                self.reading += reader.held();
                session.reader = reader;
            }
            None => self.left_unread(id, &bytes[bytes.len() - reader.unread()..]),
        }
        if let Err(violation) = result {
            self.report.violations += 1;
            self.close(id, Reason::Protocol, Some(violation.code()), &violation.to_string());
        }
    }

    fn incoming(&mut self, id: u32, dialect: Dialect, incoming: Incoming<'_>) -> ControlFlow<()> {
        if let (Incoming::Text(text), Some(drill)) = (&incoming, &self.hub.settings.drill)
            && let Some(fault) = drill.of(text)
        {
            self.provoke(fault);
            return ControlFlow::Continue(());
        }
        match (incoming, dialect) {
            (Incoming::Ping(payload), _) => {
                self.push_own(id, |out| frame::pong(payload, out));
            }
            (Incoming::Pong(_), _) => {}
            (Incoming::Close { code, .. }, _) => {
                // Answered with the same code, then the server ends the connection first
                // (RFC 6455 sections 5.5.1 and 7.1.1).
                self.close(id, Reason::ClosedByPeer, code, "");
            }
            (Incoming::Text(text), Dialect::Echo) => self.echo(id, OpCode::Text, text.as_bytes()),
            (Incoming::Binary(bytes), Dialect::Echo) => self.echo(id, OpCode::Binary, bytes),
            (Incoming::Text(text), Dialect::Native) => self.request(id, text),
            (Incoming::Text(text), Dialect::Binance) => self.binance_request(id, text.as_bytes()),
            // Some clients send their JSON so.
            (Incoming::Binary(bytes), Dialect::Binance) => self.binance_request(id, bytes),
            (Incoming::Binary(_), Dialect::Native) => {
                self.report.violations += 1;
                self.close(id, Reason::Protocol, Some(1003), "binary message, expected text");
            }
        }
        self.answered(id);
        match self.sessions.get(id as usize) {
            Some(session) if !session.is_ending() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn provoke(&mut self, fault: Fault) {
        match fault {
            Fault::Panic => panic!("a drill"),
            Fault::PanicInTurn => self.drilled = true,
            Fault::ClockStep(seconds) => clock::step(seconds),
        }
    }

    /// Sends a message back, compressed where that was negotiated, whether it gains by it or not.
    fn echo(&mut self, id: u32, opcode: OpCode, payload: &[u8]) {
        let Some(form) = self.sessions.get(id as usize).map(|session| session.form) else { return };
        self.push_framed(id, |encodings, out| match form.framing() {
            Framing::Deflated => encodings.deflated(opcode, payload, out),
            _ => frame::whole(opcode, payload, out),
        });
    }

    fn request(&mut self, id: u32, text: &str) {
        let time_in = self.now.ns;
        self.report.requests += 1;
        let refused_by_rate = self.over_rate(id);
        let parsed = request::parse(text);
        if let Some(hopeless) = refused_by_rate {
            if hopeless {
                return self.close(
                    id,
                    Reason::RequestRate,
                    Some(CLOSE_POLICY),
                    "too many requests",
                );
            }
            let (req_id, method) = match parsed {
                Ok(request) => (request.req_id, Some(request.call.method().to_owned())),
                Err(refusal) => (refusal.req_id, refusal.method),
            };
            let rate = self.hub.settings.request_rate;
            let message = format!("over {rate} requests per second, this one was not carried out");
            return self.refuse(id, &Refusal { method, req_id, code: "rate_limited", message });
        }
        match parsed {
            Err(refusal) => self.refuse(id, &refusal),
            Ok(Request { req_id, call }) if !self.is_for_strangers(id, &call) => {
                self.refuse_stranger(id, req_id, &call);
            }
            Ok(Request { req_id, call }) => match call {
                Call::Subscribe(target) => {
                    self.subscribe_to(id, req_id.as_deref(), &target, Start::Now);
                }
                Call::Unsubscribe(target) => self.unsubscribe_from(id, req_id.as_deref(), &target),
                Call::ListSubscriptions => self.list_subscriptions(id, req_id.as_deref()),
                Call::ListSymbols { venue } => {
                    self.list_symbols(id, req_id.as_deref(), venue.as_deref());
                }
                Call::Ping { t } => self.pong(id, req_id.as_deref(), t, time_in),
                Call::Auth { token } => self.authenticate(id, req_id.as_deref(), &token),
            },
        }
    }

    /// Whether a request is over the rate; `Some(true)` when the client goes on and on.
    pub(super) fn over_rate(&mut self, id: u32) -> Option<bool> {
        let burst = self.burst();
        let rate = self.hub.settings.request_rate;
        let session = self.sessions.get_mut(id as usize)?;
        let earned = (self.now.ms - session.tokens_ms.min(self.now.ms)).saturating_mul(rate.into());
        session.tokens_ms = self.now.ms;
        let earned = i32::try_from(earned).unwrap_or(i32::MAX);
        session.tokens = session.tokens.saturating_add(earned).min(burst) - 1000;
        if session.tokens >= 0 {
            return None;
        }
        self.report.rate_limited += 1;
        Some(session.tokens < -burst)
    }

    /// Charges a request that costs far more than others as so many more of them. What is owed at
    /// once is half a burst, so that the next request is refused but does not end the session.
    pub(super) fn charge(&mut self, id: u32, requests: usize) {
        let owed = -self.burst() / 2;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let cost = i32::try_from(requests.saturating_mul(1000)).unwrap_or(i32::MAX);
        session.tokens = session.tokens.saturating_sub(cost).max(owed.min(session.tokens));
    }

    /// Charges a request for the symbols that were held against what is granted.
    pub(super) fn charge_looks(&mut self, id: u32, grant: &Grant, symbols: usize) {
        self.charge(id, symbols.saturating_mul(grant.width()) / limits::LOOKS_PER_REQUEST);
    }

    pub(super) fn refuse(&mut self, id: u32, refusal: &Refusal) {
        self.report.refused += 1;
        let mut answer =
            opening(refusal.method.as_deref().unwrap_or(""), refusal.req_id.as_deref());
        let error = json!({"code": refusal.code, "message": refusal.message});
        answer.extend_from_slice(format!(",\"success\":false,\"error\":{error}}}").as_bytes());
        self.push_own(id, |out| frame::text(&answer, out));
    }

    fn pong(&mut self, id: u32, req_id: Option<&str>, t: Option<i64>, time_in: u64) {
        let mut answer = opening("pong", req_id);
        if let Some(t) = t {
            answer.extend_from_slice(format!(",\"t\":{t}").as_bytes());
        }
        answer.extend_from_slice(b",\"time_in\":");
        push_int(&mut answer, time_in / 1000);
        answer.extend_from_slice(b",\"time_out\":");
        push_int(&mut answer, crate::clock::real_ns() / 1000);
        answer.push(b'}');
        self.push_own(id, |out| frame::text(&answer, out));
    }

    fn list_subscriptions(&mut self, id: u32, req_id: Option<&str>) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let one = |channel: Channel, symbol: &str, depth: u16, terms: Terms| {
            let mode = terms.mode.as_str();
            let mut one = json!({"channel": channel.as_str(), "symbol": symbol, "mode": mode});
            if let Some(max_age_ms) = terms.lane.max_age_ms() {
                one["max_age_ms"] = json!(max_age_ms);
            }
            if let Some((name, value)) = pace(terms) {
                one[name] = value;
            }
            match channel {
                Channel::Book if depth == 0 => one["depth"] = json!("full"),
                Channel::Book => one["depth"] = json!(depth),
                Channel::Bar => one["interval"] = json!(channel.span(depth).map(Span::as_str)),
                _ => {}
            }
            one
        };
        let explicit = session.subs.iter().filter(|(_, sub)| !sub.wild).map(|(key, sub)| {
            let symbol = &self.market.entries[key.instrument as usize].info.symbol;
            one(key.channel, symbol, key.depth, sub.terms)
        });
        let wild = self.wildcards_of(id).map(|w| one(w.channel, &w.pattern(), w.depth, w.terms));
        let result: Vec<_> = explicit.chain(wild).collect();
        self.answer_list(id, "list_subscriptions", req_id, &result);
    }

    fn list_symbols(&mut self, id: u32, req_id: Option<&str>, venue: Option<&str>) {
        self.list_new();
        let Some(session) = self.sessions.get(id as usize) else { return };
        let entries = self.market.entries.iter().map(|entry| &entry.info);
        let result: Vec<_> = entries
            .filter(|info| venue.is_none_or(|venue| venue.eq_ignore_ascii_case(&info.venue)))
            .filter(|info| session.grant.has(info))
            .map(|info| {
                let mut symbol = json!({"symbol": info.symbol, "venue": info.venue,
                    "native": info.native, "base": info.base, "quote": info.quote});
                for (name, step) in [("tick_size", info.tick_size), ("lot_size", info.lot_size)] {
                    if let Some(step) = step {
                        symbol[name] = json!(step.to_string());
                    }
                }
                symbol
            })
            .collect();
        let grant = session.grant.shared();
        self.charge(id, result.len() / limits::SYMBOLS_PER_REQUEST);
        self.charge_looks(id, &grant, self.market.entries.len());
        self.answer_list(id, "list_symbols", req_id, &result);
    }

    fn answer_list(
        &mut self,
        id: u32,
        method: &str,
        req_id: Option<&str>,
        result: &[serde_json::Value],
    ) {
        let mut answer = opening(method, req_id);
        answer.extend_from_slice(b",\"success\":true,\"result\":");
        // Writing values into memory cannot fail.
        let _ = serde_json::to_writer(&mut answer, result);
        answer.push(b'}');
        let Some(form) = self.sessions.get(id as usize).map(|session| session.form) else { return };
        self.push_framed(id, |encodings, out| encodings.own(form, &answer, out));
    }
}
