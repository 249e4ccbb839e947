//! Bars, tickers, and what is kept of the past.

use std::time::Duration;

use super::MIB;

/// Time after a bar's end, by its venue's clock, at which it closes although no later trade has come:
/// the way of a trade across an ocean and the jitter of a venue's batches. Later ones amend it.
pub const BAR_CLOSE_DELAY: Duration = Duration::from_millis(500);

/// Shortest time between two updates of an open bar, or of a ticker: four a second are as many as a
/// person can follow. (Binance sends a kline of a second once a second, others every two.)
pub const BAR_UPDATE_PERIOD: Duration = Duration::from_millis(250);

/// Trades in a row that are too late for their bar, and the time that this must have gone on, after which
/// the time of the bars is taken to be wrong, not that of the trades. A venue that sends what was
/// missed during a break sends more of them, but in a shorter time.
pub const LATE_TRADES: u32 = 32;

/// See [`LATE_TRADES`].
pub const LATE_TRADES_FOR: Duration = Duration::from_secs(10);

/// How far a trade's time may be beyond what has passed since the newest one: an hour is more than any
/// venue's clock is set by, and one trade of next year must not end everything that is of today.
pub const TRADE_LEAP: Duration = Duration::from_secs(3_600);

/// How far a source that starts over must go back for its bars to begin anew. A replay that is laid on the
/// present goes on where it was, but for the jitter of its stamps.
pub const RESTART_BACK: Duration = Duration::from_secs(2);

/// Buckets of a minute that the tickers of all symbols have together, 80 bytes each: 160 MiB, which are
/// 1,450 symbols that trade in every minute of the day. With more, minutes of an hour share a bucket:
/// 26 a symbol then, so 100,000 symbols never have more than 360 MB.
pub const TICKER_BUCKETS: usize = 2 * MIB;

/// Bars and tickers of so many symbols are closed or sent by the clock between two events, so that
/// the end of a minute of 100,000 symbols does not hold up the ticks.
pub const DUE_PER_EVENT: usize = 64;

/// Longest that a symbol's bars are left alone while something is due later: what was due and was
/// overtaken by something earlier stays in the queue for so long at most.
pub const DUE_WITHIN: Duration = Duration::from_secs(60);

/// Default of `--history`: trades of a symbol, and closed bars of each of its intervals, that are
/// kept for who comes later. What one answer of a venue gives at most (Binance, `limit` of trades
/// and klines, <https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md>; Kraken
/// gives 1,000 and 720): a chart of 16 hours in minutes.
pub const HISTORY: usize = 1_000;

/// Most `--history`: ten times what is asked for at a time, 1.2 MB of each interval of a symbol.
pub const HISTORY_MAX: usize = 10_000;

/// Bytes that the trades of all symbols have together, and the bars of each interval: 320 MiB in
/// all. They are 1,048 symbols with [`HISTORY`] trades of 64 bytes, and 559 with as many bars of an
/// interval, 120 bytes each; with more busy symbols than that, each keeps fewer.
pub const HISTORY_BYTES: usize = 64 * MIB;

/// Trades, and bars of an interval, that every symbol has room for beside [`HISTORY_BYTES`] once it
/// has one: at most 2.2 KB a symbol, 220 MB for 100,000.
pub const HISTORY_FIRST: usize = 4;
