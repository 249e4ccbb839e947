//! The answers, one function for each path of [`Route`](super::Route).

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tickcast_feeds::Instrument;

use super::encode::{self, Object};
use super::query::{Query, decode};
use super::{Error, JSON, market};
use crate::access::{Grant, Held};
use crate::books::Depth;
use crate::clock;
use crate::derive::Span;
use crate::http::{Body, Market, typed};
use crate::limits;
use crate::wire::request::{Channel, cut};

/// The instrument that a path names, of which this is granted; `depth` is 0 for all levels.
fn of_path(
    market: &Market,
    symbol: &str,
    grant: &Grant,
    channel: Channel,
    depth: u16,
) -> Result<Arc<Instrument>, Error> {
    if symbol.is_empty() {
        let message =
            "missing symbol, expected one such as /binance:BTC-USDT at the end of the path";
        return Err(Error::bad("missing_field", message.to_owned()));
    }
    let info = market.rest.names.resolve(&decode(symbol)?, true, grant)?;
    grant.allows(&info, channel, depth).map_err(|denied| Error::denied(&denied))?;
    Ok(info)
}

/// An answer of one object, which begins with the server's epoch.
fn object(market: &Market, fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut body = Vec::new();
    let mut object = Object::open(&mut body);
    object.text("epoch", &market.hub.epoch);
    fill(&mut object);
    object.close();
    body
}

/// What `depth=` says.
fn depth(query: &mut Query, default: u64, full: bool) -> Result<Depth, Error> {
    let Some(text) = query.take("depth") else {
        return Depth::top(default).map_err(|error| Error::bad("bad_value", error.to_string()));
    };
    if text == "full" && full {
        return Ok(Depth::FULL);
    }
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let levels = text.parse().ok().filter(|_| plain);
    levels.and_then(|levels| Depth::top(levels).ok()).ok_or_else(|| {
        let most = limits::BOOK_DEPTH_MAX;
        let expected =
            format!("a whole number from 1 to {most}{}", if full { ", or full" } else { "" });
        Error::bad_value("depth", &text, &expected)
    })
}

pub(super) fn list(
    market: &Rc<Market>,
    mut query: Query,
    grant: &Grant,
) -> Result<Response<Body>, Error> {
    let venue = query.take("venue");
    query.finish(&["venue"])?;
    let names = &market.rest.names;
    let venue = venue.map(|venue| names.venue(&venue, grant)).transpose()?;
    let (mut at, end) = (0, names.len());
    let (mut begun, mut first) = (false, true);
    let (market, patterns) = (market.clone(), grant.patterns());
    let next = move || {
        let mut out = Vec::new();
        if !std::mem::replace(&mut begun, true) {
            Object::open(&mut out).text("epoch", &market.hub.epoch).field("symbols").push(b'[');
        } else if at >= end {
            return None;
        }
        let count = limits::REST_SYMBOLS_PER_PART.min(end - at);
        for info in market.rest.names.range(at, count) {
            let granted = patterns.iter().any(|pattern| pattern.matches(&info.symbol));
            if granted && venue.as_ref().is_none_or(|venue| *venue == info.venue) {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                encode::instrument(&mut out, &info);
            }
        }
        at += count;
        if at >= end {
            out.extend_from_slice(b"]}");
        }
        Some(Bytes::from(out))
    };
    Ok(streamed(next))
}

fn streamed(next: impl FnMut() -> Option<Bytes> + 'static) -> Response<Body> {
    let mut response = typed(StatusCode::OK, JSON, Bytes::new());
    *response.body_mut() = Body::parts(next);
    response
}

pub(super) fn snapshot(
    market: &Rc<Market>,
    mut query: Query,
    grant: &Held,
) -> Result<Response<Body>, Error> {
    let symbols = query.take("symbols").unwrap_or_default();
    let depth = depth(&mut query, limits::REST_SNAPSHOT_DEPTH, false)?;
    query.finish(&["symbols", "depth"])?;
    let names: Vec<&str> = symbols.split(',').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        let message = "missing parameter `symbols`, expected one or several with commas between";
        return Err(Error::bad("missing_field", message.to_owned()));
    }
    if names.len() > limits::REST_SNAPSHOT_SYMBOLS {
        let most = limits::REST_SNAPSHOT_SYMBOLS;
        let message = format!("{} symbols in one request, expected at most {most}", names.len());
        return Err(Error::bad("bad_value", message));
    }
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        // A hundred typos in one request get a few suggestions.
        let suggest = errors.len() < limits::SUGGESTIONS_PER_REQUEST;
        match market.rest.names.resolve(name, suggest, grant) {
            Ok(info) => found.push(info),
            Err(error) => errors.push((name.to_owned(), error)),
        }
    }
    if found.is_empty() {
        return Err(errors.swap_remove(0).1);
    }
    Ok(streamed(snapshots(market.clone(), grant.clone(), found, errors, depth)))
}

/// The parts of an answer with the newest of several symbols: each is taken when its part is due. A client that takes
/// its time with them sees nothing of what came after its token was over.
fn snapshots(
    market: Rc<Market>,
    grant: Held,
    found: Vec<Arc<Instrument>>,
    errors: Vec<(String, Error)>,
    depth: Depth,
) -> impl FnMut() -> Option<Bytes> + 'static {
    let shown = Channel::ALL.map(|channel| grant.allows_kind(channel, depth.asked()).is_ok());
    let mut found = found.into_iter();
    let mut errors = Some(errors);
    let (mut begun, mut first) = (false, true);
    move || {
        let mut out = Vec::new();
        let now_ns = clock::real_ns();
        if !std::mem::replace(&mut begun, true) {
            let mut object = Object::open(&mut out);
            object.text("epoch", &market.hub.epoch).int("time", now_ns / 1000);
            object.field("symbols").push(b'[');
        }
        if let Some(errors) = &mut errors
            && grant.is_over(now_ns / 1_000_000)
        {
            errors.extend(found.by_ref().map(|info| (info.symbol.clone(), Error::over())));
        }
        for info in found.by_ref() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let mut view = market.rest.view.borrow_mut();
            view.take(&mut market.rest.reader.borrow_mut(), info.id, depth);
            let mut object = Object::open(&mut out);
            object.text("symbol", &info.symbol);
            view.all(&mut object, depth, |channel| shown[channel as usize]);
            object.close();
            if out.len() >= limits::REST_PART_BYTES {
                return Some(Bytes::from(out));
            }
        }
        let errors = errors.take()?;
        out.push(b']');
        if !errors.is_empty() {
            out.extend_from_slice(b",\"errors\":");
            encode::array(&mut out, &errors, |out, (name, error)| {
                let mut object = Object::open(out);
                object.text("symbol", &cut(name));
                error.fields(&mut object);
                object.close();
            });
        }
        out.push(b'}');
        Some(Bytes::from(out))
    }
}

pub(super) fn book(
    market: &Rc<Market>,
    symbol: &str,
    mut query: Query,
    grant: &Grant,
) -> Result<Response<Body>, Error> {
    let depth = depth(&mut query, limits::REST_BOOK_DEPTH, true)?;
    query.finish(&["depth"])?;
    let info = of_path(market, symbol, grant, Channel::Book, depth.asked())?;
    let rest = &market.rest;
    let mut view = rest.view.borrow_mut();
    view.take(&mut rest.reader.borrow_mut(), info.id, depth);
    if !view.has_book {
        let message = format!("the book of {} is not known now, try again", info.symbol);
        let mut error = Error::new(StatusCode::SERVICE_UNAVAILABLE, "book_not_known", message);
        error.state = Some(view.feed);
        return Err(error);
    }
    let is_large = view.levels() > 2 * limits::BOOK_DEPTH_MAX;
    if is_large && rest.large.get() >= limits::REST_LARGE {
        let message = format!("{} full books are being sent, try again", limits::REST_LARGE);
        return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
    }
    if is_large {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.text("epoch", &market.hub.epoch).text("symbol", &info.symbol);
        object.text("state", view.feed.as_str());
        let (mut next, one) = (view.book_parts(out), Large::new(market));
        return Ok(streamed(move || {
            let _counted = &one;
            next()
        }));
    }
    let body = object(market, |object| {
        object.text("symbol", &info.symbol).text("state", view.feed.as_str());
        view.book(object, depth);
    });
    Ok(typed(StatusCode::OK, JSON, body))
}

/// One more large answer, as long as it lives.
struct Large(Rc<Market>);

impl Large {
    fn new(market: &Rc<Market>) -> Self {
        market.rest.large.set(market.rest.large.get() + 1);
        Large(market.clone())
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.0.rest.large.set(self.0.rest.large.get() - 1);
    }
}

/// What `limit=` says.
fn limit(query: &mut Query) -> Result<usize, Error> {
    let limit = query.number("limit", 1..=limits::REST_ITEMS_MAX as u64)?;
    Ok(limit.map_or(limits::REST_ITEMS, |limit| limit as usize))
}

fn with_history(market: &Market) -> Result<(), Error> {
    if market.rest.has_history {
        return Ok(());
    }
    let message = "this server keeps no history (--history 0)".to_owned();
    Err(Error::new(StatusCode::NOT_FOUND, "no_history", message))
}

pub(super) fn trades(
    market: &Rc<Market>,
    symbol: &str,
    mut query: Query,
    grant: &Grant,
) -> Result<Response<Body>, Error> {
    let limit = limit(&mut query)?;
    let before = query.number("before", 0..=limits::REST_BEFORE_MAX)?;
    query.finish(&["limit", "before"])?;
    with_history(market)?;
    let info = of_path(market, symbol, grant, Channel::Trade, 0)?;
    let (ticks, mut prev) =
        market::trades(&mut market.rest.reader.borrow_mut(), info.id, before, limit);
    let body = object(market, |object| {
        object.text("symbol", &info.symbol);
        encode::array(object.field("trades"), &ticks, |out, tick| {
            let mut object = Object::open(out);
            encode::trade(&mut object, tick, Some(std::mem::replace(&mut prev, tick.seq)));
            object.close();
        });
    });
    Ok(typed(StatusCode::OK, JSON, body))
}

pub(super) fn bars(
    market: &Rc<Market>,
    symbol: &str,
    mut query: Query,
    grant: &Grant,
) -> Result<Response<Body>, Error> {
    let span = match query.take("interval") {
        None => Span::Minute,
        Some(name) => Span::interval(&name).ok_or_else(|| {
            let names = Span::BARS.map(Span::as_str).join(", ");
            Error::bad_value("interval", &name, &format!("one of {names}"))
        })?,
    };
    let limit = limit(&mut query)?;
    let before = query.number("before", 0..=limits::REST_BEFORE_MAX)?;
    query.finish(&["interval", "limit", "before"])?;
    with_history(market)?;
    let info = of_path(market, symbol, grant, Channel::Bar, 0)?;
    let before_s = before.map(|micros| micros.div_ceil(1_000_000));
    let reader = &mut market.rest.reader.borrow_mut();
    let (bars, open) = market::bars(reader, info.id, span, before_s, limit);
    let body = object(market, |object| {
        object.text("symbol", &info.symbol).text("interval", span.as_str());
        encode::array(object.field("bars"), &bars, |out, bar| {
            let mut object = Object::open(out);
            encode::bar(&mut object, bar);
            object.close();
        });
        // Apart from the others, so that nobody takes it for one that is over.
        if let Some(open) = open.filter(|_| before.is_none()) {
            let mut current = Object::open(object.field("current"));
            encode::bar(&mut current, &open);
            current.close();
        }
    });
    Ok(typed(StatusCode::OK, JSON, body))
}

pub(super) fn ticker(
    market: &Rc<Market>,
    symbol: &str,
    query: Query,
    grant: &Grant,
) -> Result<Response<Body>, Error> {
    query.finish(&[])?;
    let info = of_path(market, symbol, grant, Channel::Ticker, 0)?;
    let mut view = market.rest.view.borrow_mut();
    let depth = Depth::top(1).map_err(|error| Error::bad("bad_value", error.to_string()))?;
    view.take(&mut market.rest.reader.borrow_mut(), info.id, depth);
    let mut known = false;
    let body = object(market, |object| {
        object.text("symbol", &info.symbol);
        known = view.ticker(object);
    });
    if known {
        return Ok(typed(StatusCode::OK, JSON, body));
    }
    let message = format!("no trade of {} has come in the last 24 hours", info.symbol);
    Err(Error::new(StatusCode::NOT_FOUND, "no_trades", message))
}
