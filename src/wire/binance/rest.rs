//! Bodies over HTTP, field for field as `rest-api.md` documents them. What Binance says and tickcast
//! cannot know is as in [`encode`](super::encode): ids of bars' first trades are -1, and so on.

use serde::Serialize;
use tickcast_feeds::{Decimal, Instrument, Tick};

use super::Unit;
use super::encode::{
    Day, bought_turnover, buyer_is_maker, made_at, partial_depth, push_bool, push_field,
    push_first_last, time_of,
};
use super::number::{PLACES, push_decimal, push_sum};
use crate::books::Book;
use crate::derive::{Bar, Sum};

/// Appends an array of what `write` appends of each.
pub fn array<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Appends the answer to `/api/v3/ping`.
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{}");
}

/// Appends the answer to `/api/v3/time`.
pub fn time(out: &mut Vec<u8>, now_ns: u64, unit: Unit) {
    push_field(out, b"{\"serverTime\":", unit.of_ns(now_ns));
    out.push(b'}');
}

/// An instrument as `exchangeInfo` lists it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// [`Names::symbol_of`](super::names::Names::symbol_of)
    pub symbol: &'a str,
    /// [`Names::assets_of`](super::names::Names::assets_of)
    pub assets: (&'a str, &'a str),
    /// All else.
    pub info: &'a Instrument,
    /// The venue halted trading.
    pub is_halted: bool,
}

/// Appends how the answer to `/api/v3/exchangeInfo` begins; what is listed follows, with commas between, and
/// [`INFO_END`].
pub fn info_begin(out: &mut Vec<u8>, now_ns: u64, unit: Unit) {
    push_field(out, b"{\"timezone\":\"UTC\",\"serverTime\":", unit.of_ns(now_ns));
    out.extend_from_slice(b",\"rateLimits\":[],\"exchangeFilters\":[],\"symbols\":[");
}

/// How it ends.
pub const INFO_END: &[u8] = b"]}";

/// Appends what `/api/v3/exchangeInfo` says of one symbol.
///
/// Nothing can be traded here. What clients want of an exchange for trading (order types, filters)
/// is there so that they load: steps are the venue's where it says them, else 10^-8, and the other
/// bounds are wide open.
pub fn listed(out: &mut Vec<u8>, listed: &Listed<'_>) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, &Symbol::of(listed));
}

/// The most of a price or quantity where a filter wants one.
const MOST: &str = "9000000000.00000000";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Symbol<'a> {
    symbol: &'a str,
    status: &'static str,
    base_asset: &'a str,
    base_asset_precision: u8,
    quote_asset: &'a str,
    quote_precision: u8,
    quote_asset_precision: u8,
    base_commission_precision: u8,
    quote_commission_precision: u8,
    order_types: [&'static str; 3],
    iceberg_allowed: bool,
    oco_allowed: bool,
    oto_allowed: bool,
    opo_allowed: bool,
    quote_order_qty_market_allowed: bool,
    allow_trailing_stop: bool,
    cancel_replace_allowed: bool,
    amend_allowed: bool,
    peg_instructions_allowed: bool,
    is_spot_trading_allowed: bool,
    is_margin_trading_allowed: bool,
    filters: [Filter; 3],
    permissions: [&'static str; 0],
    permission_sets: [[&'static str; 1]; 1],
    default_self_trade_prevention_mode: &'static str,
    allowed_self_trade_prevention_modes: [&'static str; 1],
}

/// `filters.md`.
#[derive(Serialize)]
#[serde(tag = "filterType", rename_all_fields = "camelCase")]
enum Filter {
    #[serde(rename = "PRICE_FILTER")]
    Price { min_price: String, max_price: &'static str, tick_size: String },
    #[serde(rename = "LOT_SIZE")]
    Lot { min_qty: String, max_qty: &'static str, step_size: String },
    #[serde(rename = "NOTIONAL")]
    Notional {
        min_notional: &'static str,
        apply_min_to_market: bool,
        max_notional: &'static str,
        apply_max_to_market: bool,
        avg_price_mins: u8,
    },
}

impl<'a> Symbol<'a> {
    fn of(listed: &Listed<'a>) -> Self {
        let finest = Decimal::new(1, -(PLACES as i8));
        let tick = listed.info.tick_size.unwrap_or(finest);
        let lot = listed.info.lot_size.unwrap_or(finest);
        let (base_precision, quote_precision) = (places(lot), places(tick));
        Symbol {
            symbol: listed.symbol,
            status: if listed.is_halted { "HALT" } else { "TRADING" },
            base_asset: listed.assets.0,
            base_asset_precision: base_precision,
            quote_asset: listed.assets.1,
            quote_precision,
            quote_asset_precision: quote_precision,
            base_commission_precision: base_precision,
            quote_commission_precision: quote_precision,
            order_types: ["LIMIT", "LIMIT_MAKER", "MARKET"],
            iceberg_allowed: false,
            oco_allowed: false,
            oto_allowed: false,
            opo_allowed: false,
            quote_order_qty_market_allowed: false,
            allow_trailing_stop: false,
            cancel_replace_allowed: false,
            amend_allowed: false,
            peg_instructions_allowed: false,
            is_spot_trading_allowed: true,
            is_margin_trading_allowed: false,
            filters: [
                Filter::Price { min_price: plain(tick), max_price: MOST, tick_size: plain(tick) },
                Filter::Lot { min_qty: plain(lot), max_qty: MOST, step_size: plain(lot) },
                Filter::Notional {
                    min_notional: "0.00000000",
                    apply_min_to_market: false,
                    max_notional: MOST,
                    apply_max_to_market: false,
                    avg_price_mins: 5,
                },
            ],
            permissions: [],
            permission_sets: [["SPOT"]],
            default_self_trade_prevention_mode: "NONE",
            allowed_self_trade_prevention_modes: ["NONE"],
        }
    }
}

/// Places after the point that a step needs, at least Binance's eight.
fn places(step: Decimal) -> u8 {
    step.normalised().exponent.min(0).unsigned_abs().max(PLACES)
}

/// A step as a text of its own.
fn plain(step: Decimal) -> String {
    let mut text = Vec::new();
    push_decimal(&mut text, b"", step);
    String::from_utf8(text).unwrap_or_default().trim_matches('"').to_owned()
}

/// Appends the answer to `/api/v3/depth`: the best `limit` levels. A book that is not known is a
/// [`Fault::not_now`](super::query::Fault::not_now), not an empty one.
pub fn depth(out: &mut Vec<u8>, book: &Book, limit: usize) {
    partial_depth(out, book.seq(), book.bids().take(limit), book.asks().take(limit));
}

/// Appends the answer to `/api/v3/trades`: these, oldest first.
pub fn trades<'a>(out: &mut Vec<u8>, ticks: impl Iterator<Item = &'a Tick>, unit: Unit) {
    array(out, ticks, |out, tick| {
        let trade = tick.as_trade();
        push_field(out, b"{\"id\":", trade.id);
        push_decimal(out, b",\"price\":", trade.price);
        push_decimal(out, b",\"qty\":", trade.size);
        let cost = i128::from(trade.price.mantissa) * i128::from(trade.size.mantissa);
        let exp = i16::from(trade.price.exponent) + i16::from(trade.size.exponent);
        push_sum(out, b",\"quoteQty\":", Sum::new(cost, exp));
        push_field(out, b",\"time\":", unit.of_ns(time_of(tick)));
        push_bool(out, b",\"isBuyerMaker\":", buyer_is_maker(tick));
        out.extend_from_slice(b",\"isBestMatch\":true}");
    });
}

/// Appends the answer to `/api/v3/aggTrades`: these, oldest first.
pub fn agg_trades<'a>(out: &mut Vec<u8>, ticks: impl Iterator<Item = &'a Tick>, unit: Unit) {
    array(out, ticks, |out, tick| {
        let trade = tick.as_trade();
        push_field(out, b"{\"a\":", trade.id);
        push_decimal(out, b",\"p\":", trade.price);
        push_decimal(out, b",\"q\":", trade.size);
        push_first_last(out, tick);
        push_field(out, b",\"T\":", unit.of_ns(time_of(tick)));
        push_bool(out, b",\"m\":", buyer_is_maker(tick));
        out.extend_from_slice(b",\"M\":true}");
    });
}

/// Appends the answer to `/api/v3/klines`: these, oldest first.
pub fn klines<'a>(out: &mut Vec<u8>, bars: impl Iterator<Item = &'a Bar>, unit: Unit) {
    array(out, bars, |out, bar| {
        push_field(out, b"[", unit.of_s(bar.start_s));
        for price in [bar.open, bar.high, bar.low, bar.close] {
            push_decimal(out, b",", price);
        }
        push_sum(out, b",", bar.volume);
        push_field(out, b",", unit.of_s(bar.end_s()) - 1);
        push_sum(out, b",", bar.turnover);
        push_field(out, b",", bar.trades);
        push_sum(out, b",", bar.bought);
        push_sum(out, b",", bought_turnover(bar));
        out.extend_from_slice(b",\"0\"]");
    });
}

fn push_symbol(out: &mut Vec<u8>, symbol: &str) {
    out.extend_from_slice(b"{\"symbol\":");
    out.extend_from_slice(serde_json::Value::from(symbol).to_string().as_bytes());
}

/// Appends what `/api/v3/ticker/24hr` says of one symbol.
pub fn ticker(out: &mut Vec<u8>, symbol: &str, day: &Day<'_>, unit: Unit) {
    let bar = day.bar;
    push_symbol(out, symbol);
    push_sum(out, b",\"priceChange\":", day.change());
    push_sum(out, b",\"priceChangePercent\":", day.change_percent());
    push_sum(out, b",\"weightedAvgPrice\":", day.average());
    push_decimal(out, b",\"prevClosePrice\":", bar.open);
    push_decimal(out, b",\"lastPrice\":", bar.close);
    push_decimal(out, b",\"lastQty\":", day.last_size());
    let [bid, bid_size, ask, ask_size] = day.best();
    push_decimal(out, b",\"bidPrice\":", bid);
    push_decimal(out, b",\"bidQty\":", bid_size);
    push_decimal(out, b",\"askPrice\":", ask);
    push_decimal(out, b",\"askQty\":", ask_size);
    push_decimal(out, b",\"openPrice\":", bar.open);
    push_decimal(out, b",\"highPrice\":", bar.high);
    push_decimal(out, b",\"lowPrice\":", bar.low);
    push_day_end(out, day, unit);
}

/// Appends what `/api/v3/ticker/24hr?type=MINI` says of one symbol.
pub fn mini_ticker(out: &mut Vec<u8>, symbol: &str, day: &Day<'_>, unit: Unit) {
    let bar = day.bar;
    push_symbol(out, symbol);
    push_decimal(out, b",\"openPrice\":", bar.open);
    push_decimal(out, b",\"highPrice\":", bar.high);
    push_decimal(out, b",\"lowPrice\":", bar.low);
    push_decimal(out, b",\"lastPrice\":", bar.close);
    push_day_end(out, day, unit);
}

fn push_day_end(out: &mut Vec<u8>, day: &Day<'_>, unit: Unit) {
    let bar = day.bar;
    push_sum(out, b",\"volume\":", bar.volume);
    push_sum(out, b",\"quoteVolume\":", bar.turnover);
    push_field(out, b",\"openTime\":", unit.of_s(bar.start_s));
    push_field(out, b",\"closeTime\":", unit.of_ns(made_at(bar)));
    out.extend_from_slice(b",\"firstId\":-1");
    day.push_last_id(out, b",\"lastId\":");
    push_field(out, b",\"count\":", bar.trades);
    out.push(b'}');
}

/// Appends what `/api/v3/ticker/price` says of one symbol.
pub fn price(out: &mut Vec<u8>, symbol: &str, price: Decimal) {
    push_symbol(out, symbol);
    push_decimal(out, b",\"price\":", price);
    out.push(b'}');
}

/// Appends what `/api/v3/ticker/bookTicker` says of one symbol.
pub fn book_ticker(out: &mut Vec<u8>, symbol: &str, quote: &Tick) {
    let quote = quote.as_quote();
    push_symbol(out, symbol);
    push_decimal(out, b",\"bidPrice\":", quote.bid);
    push_decimal(out, b",\"bidQty\":", quote.bid_size);
    push_decimal(out, b",\"askPrice\":", quote.ask);
    push_decimal(out, b",\"askQty\":", quote.ask_size);
    out.push(b'}');
}

#[cfg(test)]
mod tests;
