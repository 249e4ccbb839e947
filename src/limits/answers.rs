//! Answers over HTTP, and what programs publish.

use std::time::Duration;

use super::KIB;

/// Channels of symbols that one poll may be about, all that its wildcards match counted: each is looked
/// at every [`POLL_LOOK`] while the poll waits.
pub const POLL_SUBSCRIPTIONS: usize = 100;

/// How often what polls wait for is looked at.
pub const POLL_LOOK: Duration = Duration::from_millis(50);

/// Seconds that a poll waits where it does not say so, and at most.
pub const POLL_SECONDS: u64 = 30;

/// See [`POLL_SECONDS`].
pub const POLL_SECONDS_MAX: u64 = 60;

/// How long bars and tickers are made for who polled them last, milliseconds: longer than the longest poll
/// and the pause behind it.
pub const POLL_BARS_KEPT_MS: u64 = 90_000;

/// How often is looked whether anybody still does.
pub const POLL_BARS_LOOK: Duration = Duration::from_secs(10);

/// Messages of one answer to a poll, and the bytes from which on no more are added: some milliseconds of
/// the control plane.
pub const POLL_MESSAGES: usize = 1_000;

/// See [`POLL_MESSAGES`].
pub const POLL_BYTES: usize = 256 * KIB;

/// Milliseconds after which a browser comes back whose stream of events broke, while the server does
/// not say otherwise: less than Chromium's own 3 s, more than a blink.
pub const SSE_RETRY_MS: u64 = 1_000;

/// Trades or bars in an answer where no `limit` is given; what Binance gives.
pub const REST_ITEMS: usize = 500;

/// Most trades or bars in an answer: 140 KB of trades, for which the control plane took 0.35 ms; who
/// wants more asks again with `before`.
pub const REST_ITEMS_MAX: usize = 1_000;

/// Largest `before`: sequences and times beyond 2^53 would be rounded by JavaScript, and none are.
pub const REST_BEFORE_MAX: u64 = (1 << 53) - 1;

/// Levels a side of `/v1/book` where no `depth` is given, as with Binance and Kraken.
pub const REST_BOOK_DEPTH: u64 = 100;

/// Levels a side of the books in `/v1/snapshot` where no `depth` is given: what a screen shows.
pub const REST_SNAPSHOT_DEPTH: u64 = 10;

/// Symbols of one `/v1/snapshot`: a screen's, and their names fit the head of a request.
pub const REST_SNAPSHOT_SYMBOLS: usize = 100;

/// Symbols that `/v1/symbols` encodes before others get a turn: 48 KB, 0.1 ms (100,000 of them took
/// the control plane 21 ms).
pub const REST_SYMBOLS_PER_PART: usize = 512;

/// Levels of a large book that are encoded before others get a turn: 0.4 ms (40,000 took the
/// control plane 3.9 ms).
pub const REST_LEVELS_PER_PART: usize = 4_096;

/// Bytes of snapshots that are gathered into a part: one of a few symbols is one.
pub const REST_PART_BYTES: usize = 32 * KIB;

/// Books of more than twice [`BOOK_DEPTH_MAX`](super::BOOK_DEPTH_MAX) levels that are on their way at a time. Each holds
/// its levels, 32 bytes each: 20 MB in all.
pub const REST_LARGE: usize = 16;

/// Bytes of the body of one `POST /v1/publish`: two of the longest lines. Who has more sends
/// several, or opens a WebSocket.
pub const PUBLISH_BODY_BYTES: usize = 2 * tickcast_feeds::lines::MAX_LINE_BYTES;

/// Such requests at a time; each holds its body. 64 MiB in all.
pub const PUBLISH_REQUESTS: usize = 16;

/// How long a publisher may take nothing of what it is told: it is told little, and not reading
/// it must not keep what waits for ever.
pub const PUBLISH_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a drain waits for publishers to take their close.
pub const PUBLISH_DRAIN: Duration = Duration::from_millis(500);
