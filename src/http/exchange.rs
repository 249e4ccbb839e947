//! The REST endpoints of the Binance dialect: `wire::binance` reads the requests and writes the answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tickcast_feeds::{FeedState, Instrument, InstrumentId, Instruments, Tick};

use super::cuts::Cuts;
use super::{Body, typed};
use crate::access::Grant;
use crate::books::{InstrumentState, Reader};
use crate::clock;
use crate::derive::{Bar, Span};
use crate::wire::binance::Unit;
use crate::wire::binance::encode::Day;
use crate::wire::binance::names::Names;
use crate::wire::binance::query::{self, Call, Fault, Which};
use crate::wire::binance::rest::{self, Listed};
use crate::wire::request::Channel;

/// What the endpoints are answered from.
#[derive(Debug)]
pub(crate) struct Exchange {
    instruments: Arc<Instruments>,
    cuts: Rc<Cuts>,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    listed: Vec<Arc<Instrument>>,
    names: Names,
    state: Reader,
}

/// The newest of an instrument, without its book.
struct Newest {
    bar: Option<Bar>,
    quote: Option<Tick>,
    trade: Option<Tick>,
}

impl Exchange {
    pub(crate) fn new(instruments: Arc<Instruments>, state: Reader, cuts: Rc<Cuts>) -> Self {
        let inner = Inner { listed: Vec::new(), names: Names::default(), state };
        Exchange { instruments, cuts, inner: inner.into() }
    }

    /// Answers a request of the dialect; `None` where the path is not below its own.
    pub(super) async fn answer(
        &self,
        request: &Request<Incoming>,
        grant: &Grant,
    ) -> Option<Response<Body>> {
        let uri = request.uri();
        let call = query::parse(uri.path(), uri.query().unwrap_or(""))?;
        if request.method() != Method::GET && call.is_ok() {
            let mut response = typed(StatusCode::METHOD_NOT_ALLOWED, JSON, &b"{}"[..]);
            let allow = hyper::header::HeaderValue::from_static("GET");
            response.headers_mut().insert(hyper::header::ALLOW, allow);
            return Some(response);
        }
        let unit = request
            .headers()
            .get("X-MBX-TIME-UNIT")
            .map_or(Some(Unit::Milli), |value| value.to_str().ok().and_then(Unit::parse));
        let result = match (call, unit) {
            (Ok(call), Some(unit)) => self.carry_out(call, unit, grant).await,
            (_, None) => Err(Fault::time_unit()),
            (Err(fault), _) => Err(fault),
        };
        Some(match result {
            Ok(body) => {
                let mut response = typed(StatusCode::OK, JSON, body);
                // Clients that keep to Binance's limits read it; there is none of that kind here.
                let weight = hyper::header::HeaderValue::from_static("1");
                response.headers_mut().insert("x-mbx-used-weight", weight.clone());
                response.headers_mut().insert("x-mbx-used-weight-1m", weight);
                response
            }
            Err(fault) => {
                let mut body = Vec::new();
                fault.write_to(&mut body);
                let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
                typed(status, JSON, body)
            }
        })
    }

    async fn carry_out(&self, call: Call, unit: Unit, grant: &Grant) -> Result<Bytes, Fault> {
        if let Some((channel, depth)) = shown(&call) {
            grant.allows_kind(channel, depth).map_err(|denied| Fault::forbidden(&denied))?;
        }
        let mut out = Vec::new();
        let now_ns = clock::real_ns();
        self.inner.borrow_mut().list_new(&self.instruments);
        match call {
            Call::Ping => rest::ping(&mut out),
            Call::Time => rest::time(&mut out, now_ns, unit),
            Call::ExchangeInfo(which) => {
                let (ids, _) = self.inner.borrow().ids(which, grant)?;
                let halted = self.inner.borrow_mut().halted(&ids);
                let inner = self.inner.borrow();
                let listed = ids.into_iter().map(|id| {
                    let is_halted = halted.contains(&id);
                    Listed {
                        symbol: inner.names.symbol_of(id.0),
                        assets: inner.names.assets_of(id.0),
                        info: &inner.listed[id.index()],
                        is_halted,
                    }
                });
                rest::exchange_info(&mut out, now_ns, listed, unit);
            }
            Call::Depth { symbol, limit } => {
                let id = self.inner.borrow().id(&symbol, grant)?;
                let cut = self.cuts.snapshot(id).await.ok_or_else(Fault::not_now)?;
                let body = cut.body(limit, |out, book| rest::depth(out, book, limit));
                return body.ok_or_else(Fault::not_now);
            }
            Call::Ticker { which, mini } => {
                self.each(&mut out, which, grant, |out, symbol, newest| {
                    let Some(bar) = &newest.bar else { return false };
                    let (quote, trade) = (newest.quote.as_ref(), newest.trade.as_ref());
                    let day = Day { bar, quote, trade };
                    match mini {
                        true => rest::mini_ticker(out, symbol, &day, unit),
                        false => rest::ticker(out, symbol, &day, unit),
                    }
                    true
                })?;
            }
            Call::Price(which) => {
                self.each(&mut out, which, grant, |out, symbol, newest| {
                    let Some(trade) = &newest.trade else { return false };
                    rest::price(out, symbol, trade.as_trade().price);
                    true
                })?;
            }
            Call::BookTicker(which) => {
                self.each(&mut out, which, grant, |out, symbol, newest| {
                    let Some(quote) = &newest.quote else { return false };
                    rest::book_ticker(out, symbol, quote);
                    true
                })?;
            }
            Call::Trades { symbol, limit } => {
                let trades = self.trades(&symbol, grant, |all| part(all, limit, false))?;
                rest::trades(&mut out, trades.iter(), unit);
            }
            Call::AggTrades { symbol, limit, from_id, range } => {
                let trades = self.trades(&symbol, grant, |mut all| {
                    all.retain(|tick| {
                        range.holds(time_of(tick))
                            && from_id.is_none_or(|id| tick.as_trade().id >= id)
                    });
                    let from_start = from_id.is_some() || range.start_ns.is_some();
                    part(all, limit, from_start)
                })?;
                rest::agg_trades(&mut out, trades.iter(), unit);
            }
            Call::Klines { symbol, span, limit, range } => {
                let bars = self.bars(&symbol, span, grant)?;
                let bars: Vec<Bar> = bars
                    .into_iter()
                    .filter(|bar| range.holds(bar.start_s * 1_000_000_000))
                    .collect();
                rest::klines(&mut out, part(bars, limit, range.start_ns.is_some()).iter(), unit);
            }
        }
        Ok(out.into())
    }

    /// The trades that are kept of a symbol, those of them that are wanted.
    fn trades(
        &self,
        symbol: &str,
        grant: &Grant,
        wanted: impl FnOnce(Vec<Tick>) -> Vec<Tick>,
    ) -> Result<Vec<Tick>, Fault> {
        let mut inner = self.inner.borrow_mut();
        let id = inner.id(symbol, grant)?;
        let mut all = Vec::new();
        if let Some(history) = inner.state.get(id).and_then(|state| state.lock().history.clone()) {
            history.trades(None, query::ROWS_MAX, &mut all);
        }
        Ok(wanted(all))
    }

    /// The bars that are kept of a symbol, and the open one.
    fn bars(&self, symbol: &str, span: Span, grant: &Grant) -> Result<Vec<Bar>, Fault> {
        let mut inner = self.inner.borrow_mut();
        let id = inner.id(symbol, grant)?;
        let mut all = Vec::new();
        if let Some(state) = inner.state.get(id) {
            let state = state.lock();
            if let Some(history) = &state.history {
                history.bars(span, None, query::ROWS_MAX, &mut all);
            }
            let open = state.series.as_ref().and_then(|series| series.snapshot(span).0);
            all.extend(open.filter(|bar| !bar.is_final));
        }
        Ok(all)
    }

    /// Appends an object for one symbol, an array for several: of those that `write` has something to
    /// say of.
    fn each(
        &self,
        out: &mut Vec<u8>,
        which: Which,
        grant: &Grant,
        mut write: impl FnMut(&mut Vec<u8>, &str, &Newest) -> bool,
    ) -> Result<(), Fault> {
        let mut inner = self.inner.borrow_mut();
        let (ids, is_one) = inner.ids(which, grant)?;
        if let (&[id], true) = (&ids[..], is_one) {
            let newest = inner.newest(id);
            let written = write(out, inner.names.symbol_of(id.0), &newest);
            return if written { Ok(()) } else { Err(Fault::not_now()) };
        }
        out.push(b'[');
        let mut one = Vec::new();
        for id in ids {
            let newest = inner.newest(id);
            one.clear();
            if write(&mut one, inner.names.symbol_of(id.0), &newest) {
                if out.len() > 1 {
                    out.push(b',');
                }
                out.extend_from_slice(&one);
            }
        }
        out.push(b']');
        Ok(())
    }
}

/// The venue's time, or that of receipt, nanoseconds.
fn time_of(tick: &Tick) -> u64 {
    if tick.ts_event == 0 { tick.ts_recv } else { tick.ts_event }
}

/// The oldest so many, or the newest.
fn part<T>(mut all: Vec<T>, limit: usize, from_start: bool) -> Vec<T> {
    if from_start {
        all.truncate(limit);
        return all;
    }
    all.split_off(all.len().saturating_sub(limit))
}

/// What a call shows of its symbols; the levels of books as a grant counts them.
fn shown(call: &Call) -> Option<(Channel, u16)> {
    Some(match call {
        Call::Ping | Call::Time | Call::ExchangeInfo(_) => return None,
        Call::Depth { limit, .. } => (Channel::Book, u16::try_from(*limit).unwrap_or(0)),
        Call::Trades { .. } | Call::AggTrades { .. } | Call::Price(_) => (Channel::Trade, 0),
        Call::BookTicker(_) => (Channel::Quote, 0),
        Call::Ticker { .. } => (Channel::Ticker, 0),
        Call::Klines { .. } => (Channel::Bar, 0),
    })
}

/// What a request without a token that will do is answered.
pub(super) fn unauthorized() -> Vec<u8> {
    let mut body = Vec::new();
    Fault::unauthorized().write_to(&mut body);
    body
}

/// What a request too many is answered.
pub(super) fn too_many_requests() -> Vec<u8> {
    let mut body = Vec::new();
    Fault::too_many_requests().write_to(&mut body);
    body
}

pub(super) const JSON: &str = "application/json;charset=UTF-8";

impl Inner {
    fn list_new(&mut self, instruments: &Instruments) {
        for info in instruments.since(self.listed.len()) {
            self.names.list(&info);
            self.listed.push(info);
        }
    }

    fn id(&self, symbol: &str, grant: &Grant) -> Result<InstrumentId, Fault> {
        let id = self.names.resolve(symbol).map(InstrumentId).ok_or_else(Fault::symbol)?;
        let info = &self.listed[id.index()];
        let allowed = grant.allows(info, Channel::Status, 0);
        allowed.map_err(|denied| Fault::forbidden(&denied)).map(|()| id)
    }

    /// The instruments, and whether it is one that was asked for as one.
    fn ids(&self, which: Which, grant: &Grant) -> Result<(Vec<InstrumentId>, bool), Fault> {
        match which {
            Which::One(symbol) => Ok((vec![self.id(&symbol, grant)?], true)),
            Which::Several(symbols) => {
                let ids: Result<Vec<_>, _> =
                    symbols.iter().map(|symbol| self.id(symbol, grant)).collect();
                Ok((ids?, false))
            }
            Which::All => {
                let granted = self.listed.iter().filter(|info| grant.has(info));
                Ok((granted.map(|info| info.id).collect(), false))
            }
        }
    }

    /// Those that their venue has halted.
    fn halted(&mut self, ids: &[InstrumentId]) -> Vec<InstrumentId> {
        let is_halted = |id: &&InstrumentId| {
            self.state.get(**id).is_some_and(|state| state.lock().feed == FeedState::Halted)
        };
        ids.iter().filter(is_halted).copied().collect()
    }

    fn newest(&mut self, id: InstrumentId) -> Newest {
        let of = |state: &InstrumentState| Newest {
            bar: state.series.as_ref().and_then(|series| series.snapshot(Span::Rolling).0),
            quote: state.last_quote,
            trade: state.last_trade,
        };
        match self.state.get(id) {
            Some(state) => of(&state.lock()),
            None => Newest { bar: None, quote: None, trade: None },
        }
    }
}
