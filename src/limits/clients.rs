//! What clients may have and ask for.

use std::ops::RangeInclusive;

use super::{KIB, MIB};

/// Default of `--max-clients` where the limit of open files allows it. With the default outbox,
/// 20,000 clients that all stall are 20 GB of queued frames at the very worst; who has more memory
/// raises the flag knowingly.
pub const CLIENTS: usize = 20_000;

/// Descriptors that are kept for everything but clients: the listener, an epoll, an eventfd and a
/// timer per reactor, captures and the configuration, the control plane's own requests.
pub const DESCRIPTORS_RESERVED: usize = 256;

/// Fewest open files that the server starts with: the reserve and a useful number of clients.
pub const DESCRIPTORS_MIN: usize = 512;

/// Default of `--max-subscriptions` per client, in (channel, symbol, depth) triples; a wildcard
/// counts as one. More than a large screen shows, few enough that 1,000 greedy clients cost
/// megabytes, not gigabytes.
pub const SUBSCRIPTIONS: usize = 4_096;

/// Wildcards of one client: each may stand for thousands of subscriptions, and one book at one more
/// depth is more work for every event of every book. All channels of all venues fit easily.
pub const WILDCARDS: usize = 16;

/// Most `--max-subscriptions`: beyond this a wildcard is what the client wants.
pub const SUBSCRIPTIONS_MAX: usize = 1 << 20;

/// Default of `--request-rate`, in requests per second and client. A person clicking, or a script
/// that subscribes symbol by symbol, stays far below it.
pub const REQUEST_RATE: u32 = 100;

/// Most `--request-rate`, in requests per second: past a million the bucket limits nothing.
pub const REQUEST_RATE_MAX: u32 = 1_000_000;

/// Seconds of `--request-rate` that may come at once: a client that has just connected sends all
/// its subscriptions together.
pub const REQUEST_BURST_SECONDS: u32 = 2;

/// Default of `--max-message-bytes`, the size of a client's message when its fragments are put
/// together: the longest useful request, [`REQUEST_SYMBOLS`] names of [`SYMBOL_BYTES`], fits.
pub const MESSAGE_BYTES: usize = 64 * KIB;

/// What `--max-message-bytes` accepts, in bytes: a plain request must fit, and no client may make
/// the server hold more than 16 MiB for it.
pub const MESSAGE_BYTES_RANGE: RangeInclusive<usize> = KIB..=16 * MIB;

/// Symbols in one request. Larger sets are several requests, or a wildcard, so that one request
/// cannot occupy a reactor for long.
pub const REQUEST_SYMBOLS: usize = 1_000;

/// Largest `history` of a subscription, trades or bars: as many as an answer over HTTP has
/// ([`REST_ITEMS_MAX`](super::REST_ITEMS_MAX)), some 200 KB, a fifth of an outbox.
pub const REQUEST_HISTORY: u16 = 1_000;

/// Bytes of the longest symbol that is looked up or repeated in an error, `venue:BASE-QUOTE`.
pub const SYMBOL_BYTES: usize = 48;

/// Largest `depth` of a `book` subscription, in levels a side. The deepest that venues offer as a
/// partial book is 1,000 (Kraken) and no screen shows more; `"full"` is there for the rest.
pub const BOOK_DEPTH_MAX: usize = 1_000;

/// Levels a side that a book holds at most; the worst beyond it are dropped. A book kept from a
/// venue's changes grows without end far from the market; 20,000 is 20 times the deepest view by
/// number and 4 times the deepest snapshot that Binance gives (5,000, `GET /api/v3/depth`).
pub const BOOK_LEVELS_MAX: usize = 20_000;

/// Bytes of one book level as JSON, `["61837.63","3.78826"],`, at its longest for decimals of 18
/// digits: two times 19 characters and 8 of punctuation, rounded up.
pub const LEVEL_JSON_BYTES: usize = 48;

/// Bytes of a book message beside its levels: names, sequence numbers, times, the frame's head.
pub const BOOK_HEAD_JSON_BYTES: usize = 512;

/// Bytes of the largest snapshot of a book with a depth: both sides at [`BOOK_DEPTH_MAX`].
pub const BOOK_SNAPSHOT_BYTES: usize = 2 * BOOK_DEPTH_MAX * LEVEL_JSON_BYTES + BOOK_HEAD_JSON_BYTES;

/// Suggestions for a symbol that is not known.
pub const SUGGESTIONS: usize = 3;

/// Unknown symbols of one request that get suggestions: each costs a comparison with
/// [`SUGGESTIONS_SEARCHED`] names, about 0.3 ms.
pub const SUGGESTIONS_PER_REQUEST: usize = 3;

/// Requests that one such search is charged as: it costs as much as dozens of pings.
pub const REQUESTS_PER_SUGGESTION: usize = 4;

/// Symbols of a `list_symbols` that are charged as one request: the answer to a client that lists
/// 100,000 symbols takes some 40 ms, so it may not ask for it 100 times a second.
pub const SYMBOLS_PER_REQUEST: usize = 256;

/// Symbols times patterns of a grant that a request may hold against each other for the price of one: some 2 ms of
/// a reactor.
pub const LOOKS_PER_REQUEST: usize = 32_768;

/// Listed symbols that a suggestion is searched in.
pub const SUGGESTIONS_SEARCHED: usize = 2_000;

/// Jaro-Winkler likeness from which on a name is worth suggesting.
pub const SUGGESTION_LIKENESS: f64 = 0.75;

/// Bytes of the largest snapshot of a full book, 1.9 MB. It may exceed an outbox: while
/// a snapshot is under way to a client, its outbox may hold that much more.
pub const BOOK_FULL_BYTES: usize = 2 * BOOK_LEVELS_MAX * LEVEL_JSON_BYTES + BOOK_HEAD_JSON_BYTES;
