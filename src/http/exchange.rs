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
use crate::access::{Grant, Held};
use crate::books::{InstrumentState, Reader};
use crate::clock;
use crate::derive::{Bar, Span};
use crate::limits;
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
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    listed: Vec<Arc<Instrument>>,
    names: Names,
    state: Reader,
}

/// Instruments, one after the other.
type Ids = Box<dyn Iterator<Item = InstrumentId>>;

/// The newest of an instrument, without its book.
struct Newest {
    bar: Option<Bar>,
    quote: Option<Tick>,
    trade: Option<Tick>,
}

impl Exchange {
    pub(crate) fn new(instruments: Arc<Instruments>, state: Reader, cuts: Rc<Cuts>) -> Self {
        let inner = Inner { listed: Vec::new(), names: Names::default(), state };
        Exchange { instruments, cuts, inner: Rc::new(inner.into()) }
    }

    /// Answers a request of the dialect; `None` where the path is not below its own.
    pub(super) async fn answer(
        &self,
        request: &Request<Incoming>,
        grant: &Held,
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
                let mut response = typed(StatusCode::OK, JSON, Bytes::new());
                *response.body_mut() = body;
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

    async fn carry_out(&self, call: Call, unit: Unit, grant: &Held) -> Result<Body, Fault> {
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
                let ids = self.inner.borrow().ids(which, grant)?;
                rest::info_begin(&mut out, now_ns, unit);
                let frame = (out, rest::INFO_END);
                return Ok(self.list(frame, ids, grant, |out, inner, id| {
                    let is_halted = inner.is_halted(id);
                    let listed = Listed {
                        symbol: inner.names.symbol_of(id.0),
                        assets: inner.names.assets_of(id.0),
                        info: &inner.listed[id.index()],
                        is_halted,
                    };
                    rest::listed(out, &listed);
                }));
            }
            Call::Depth { symbol, limit } => {
                let id = self.inner.borrow().id(&symbol, grant)?;
                let cut = self.cuts.snapshot(id).await.ok_or_else(Fault::not_now)?;
                let body = cut.body(limit, |out, book| rest::depth(out, book, limit));
                return body.map(Body::from).ok_or_else(Fault::not_now);
            }
            Call::Ticker { which, mini } => {
                return self.each(which, grant, move |out, symbol, newest| {
                    let Some(bar) = &newest.bar else { return };
                    let (quote, trade) = (newest.quote.as_ref(), newest.trade.as_ref());
                    let day = Day { bar, quote, trade };
                    match mini {
                        true => rest::mini_ticker(out, symbol, &day, unit),
                        false => rest::ticker(out, symbol, &day, unit),
                    }
                });
            }
            Call::Price(which) => {
                return self.each(which, grant, |out, symbol, newest| {
                    if let Some(trade) = &newest.trade {
                        rest::price(out, symbol, trade.as_trade().price);
                    }
                });
            }
            Call::BookTicker(which) => {
                return self.each(which, grant, |out, symbol, newest| {
                    if let Some(quote) = &newest.quote {
                        rest::book_ticker(out, symbol, quote);
                    }
                });
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

    /// An object for one symbol, an array for several: of those that `write` has something to say of.
    fn each(
        &self,
        which: Which,
        grant: &Held,
        write: impl Fn(&mut Vec<u8>, &str, &Newest) + 'static,
    ) -> Result<Body, Fault> {
        let is_one = matches!(which, Which::One(_));
        let mut ids = self.inner.borrow().ids(which, grant)?;
        let write = move |out: &mut Vec<u8>, inner: &mut Inner, id: InstrumentId| {
            let newest = inner.newest(id);
            write(out, inner.names.symbol_of(id.0), &newest);
        };
        if !is_one {
            return Ok(self.list((b"[".to_vec(), b"]"), ids, grant, write));
        }
        let mut out = Vec::new();
        let inner = &mut *self.inner.borrow_mut();
        ids.by_ref().for_each(|id| write(&mut out, inner, id));
        if out.is_empty() { Err(Fault::not_now()) } else { Ok(out.into()) }
    }

    /// What is between the two of a frame: of each symbol that is granted what `write` has to say, with commas.
    fn list(
        &self,
        (begin, end): (Vec<u8>, &'static [u8]),
        ids: Ids,
        grant: &Held,
        write: impl Fn(&mut Vec<u8>, &mut Inner, InstrumentId) + 'static,
    ) -> Body {
        let (inner, grant) = (self.inner.clone(), grant.clone());
        let mut list = List { inner, grant, ids, begin, end: Some(end), first: true, write };
        let mut part = list.next();
        match list.end {
            // That was all.
            None => part.unwrap_or_default().into(),
            Some(_) => Body::parts(move || part.take().or_else(|| list.next())),
        }
    }
}

/// An answer of many symbols, made as the client takes it.
struct List<W> {
    inner: Rc<RefCell<Inner>>,
    grant: Held,
    ids: Ids,
    begin: Vec<u8>,
    /// Until it has been written.
    end: Option<&'static [u8]>,
    first: bool,
    write: W,
}

impl<W: Fn(&mut Vec<u8>, &mut Inner, InstrumentId)> List<W> {
    /// The next part. It breaks off when the token is over: half a list is not to be taken for all.
    fn next(&mut self) -> Option<Bytes> {
        let end = self.end?;
        if self.grant.is_over(clock::real_ns() / 1_000_000) {
            return None;
        }
        let (mut out, mut one) = (std::mem::take(&mut self.begin), Vec::new());
        let inner = &mut *self.inner.borrow_mut();
        for _ in 0..limits::REST_SYMBOLS_PER_PART {
            let Some(id) = self.ids.next() else {
                self.end = None;
                out.extend_from_slice(end);
                break;
            };
            if self.grant.has(&inner.listed[id.index()]) {
                one.clear();
                (self.write)(&mut one, inner, id);
                if !one.is_empty() && !std::mem::take(&mut self.first) {
                    out.push(b',');
                }
                out.extend_from_slice(&one);
            }
            if out.len() >= limits::REST_PART_BYTES {
                break;
            }
        }
        Some(out.into())
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

    /// The instruments that are meant.
    fn ids(&self, which: Which, grant: &Grant) -> Result<Ids, Fault> {
        let symbols = match which {
            // Those that are not granted are left out as they come.
            Which::All => return Ok(Box::new((0..self.listed.len() as u32).map(InstrumentId))),
            Which::One(symbol) => vec![symbol],
            Which::Several(symbols) => symbols,
        };
        let ids: Result<Vec<_>, _> = symbols.iter().map(|symbol| self.id(symbol, grant)).collect();
        Ok(Box::new(ids?.into_iter()))
    }

    /// Whether its venue has halted it.
    fn is_halted(&mut self, id: InstrumentId) -> bool {
        self.state.get(id).is_some_and(|state| state.lock().feed == FeedState::Halted)
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
