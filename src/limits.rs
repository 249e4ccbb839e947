//! Every cap of the system, with the reason for its value.
//!
//! What an operator may want to change is a flag whose default (and range) stands here; the rest
//! are constants. Relations between them are asserted at compile time at the end of the file, so a
//! change that breaks one does not build.

use std::ops::RangeInclusive;
use std::time::Duration;

/// One KiB, in bytes.
pub const KIB: usize = 1024;
/// One MiB, in bytes.
pub const MIB: usize = 1024 * KIB;

// ---------------------------------------------------------------- ring and reactors

/// Default of `--ring-slots`, in ticks of 64 bytes: 4 MiB, about what a core's share of a
/// last-level cache holds, and 6.5 s of history at 10,000 ticks/s. A reactor that lags by more has
/// lost ticks.
pub const RING_SLOTS: usize = 65_536;

/// What `--ring-slots` accepts (powers of two only, in ticks). Below 1,024 one burst of the real
/// captures (164 messages in a millisecond, several ticks each) would lap a reactor that is in the
/// middle of a turn; 16 Mi slots are 1 GiB of memory.
pub const RING_SLOTS_RANGE: RangeInclusive<usize> = 1_024..=16 * 1024 * 1024;

/// Most `--reactors`. One per core is the point of them; this only stops a typo from starting
/// thousands of threads. The kernel's affinity masks, as we read them, end at 1,024 cores.
pub const REACTORS_MAX: usize = 256;

/// Ticks that a reactor takes from the ring in one turn. Bounded, because draining "until empty"
/// never ends under overload; 64 ticks are a few tens of microseconds of encoding, so a read or an
/// accept waits no longer than that.
pub const TICKS_PER_TURN: usize = 64;

/// Socket writes after which a reactor polls the ring again. A write costs 2 to 5 microseconds:
/// 32 of them keep the ring unwatched for at most about 150 microseconds.
pub const SENDS_PER_POLL: usize = 32;

/// Socket writes after which a reactor lets tokio poll the sockets: some 0.5 ms, which a read or a
/// new session may have to wait.
pub const SENDS_PER_TURN: usize = 256;

/// Default of `--max-age-ms`. Two ticks to a client whose symbols tick 400 times a second stand 2.5 ms
/// apart: a window must hold at least that to save anything, and 5 ms are still a third of a screen's
/// frame.
pub const MAX_AGE_MS: u64 = 5;

/// Most `--max-age-ms`, in milliseconds: beyond a second the feed is not live any more.
pub const MAX_AGE_MS_MAX: u64 = 1_000;

/// Bytes of a chunk of encodings: some thousand messages, so that opening one is rare, and small
/// enough to stay in a core's second-level cache.
pub const ENCODING_CHUNK: usize = 256 * KIB;

/// Bytes of the buffer that a reactor reads all its sessions into.
pub const READ_BUFFER_BYTES: usize = 64 * KIB;

/// Bytes of the buffer in which a reactor gathers a write that it keeps for the next one: a few
/// turns' messages of a busy client. A larger one is given back after the write.
pub const SCRATCH_BYTES: usize = MIB;

/// How hard messages are compressed (0 to 9). Above 1, Huffman codes are made for each message: an eighth to a third fewer bytes for two to
/// three times the CPU, which all who receive the message share. Above 2, up to 8 % fewer (docs/PERFORMANCE.md).
pub const DEFLATE_LEVEL: u32 = 2;

/// Bytes from which a message is compressed that is shared by all who receive it. One of 107 bytes saves 27, one of 47 nothing, and each
/// costs as much CPU as a longer one.
pub const DEFLATE_SHARED_BYTES: usize = 128;

/// Bytes from which a message is compressed that one client alone is told: a snapshot of a book, a list of symbols. Below,
/// a client's share of compressing it would be more than that of sending it.
pub const DEFLATE_OWN_BYTES: usize = KIB;

/// Slow clients of a reactor of which the kernel is asked why, where operators see who is connected: each
/// is a question to the kernel, which the reactor waits for.
pub const CAUSES_SHOWN: usize = 64;

/// Connections of operators at a time. They have none of those of clients, so that the door is open while
/// those are all in use.
pub const ADMIN_CONNECTIONS: usize = 16;

/// Bytes of what operators send: a code and a sentence.
pub const ADMIN_BODY_BYTES: usize = 4 * KIB;

/// How long the end of the server waits for answers to operators.
pub const ADMIN_CLOSE: Duration = Duration::from_secs(1);

/// Bytes of a socket's send buffer that `check` wants to be possible: what a path of 100 ms has under way at
/// 20 Mbit/s, several times what a screen is sent. With less, a client far away is a slow one.
pub const SEND_BUFFER_BYTES: u64 = 256 * KIB as u64;

/// Bytes of the receive buffer that `check` wants to be possible, for what a venue sends at once.
pub const RECEIVE_BUFFER_BYTES: u64 = MIB as u64;

/// Free bytes that `check` wants where recordings go: some hours of a dozen busy symbols.
pub const RECORD_FREE_BYTES: u64 = 1024 * MIB as u64;

/// How long before its end a certificate is to be replaced: programs that renew them do so earlier.
pub const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Most `--trace-sample`: a sample of one tick in a thousand million is none.
pub const TRACE_SAMPLE_MAX: usize = 1_000_000_000;

/// Batches with a tick of the sample that the ingest's times are kept of, until reactors ask for them: many
/// more than are traced at a time.
pub const TRACES_NOTED: usize = 64;

/// Traces that wait for a collector, which gets them once a second. More are lost, and counted.
pub const TRACES_WAITING: usize = 1_024;

/// How long a trace waits for the writes of its tick. Whoever has not been written to by then is counted as
/// blocked.
pub const TRACE_TIME: Duration = Duration::from_secs(1);

/// Buffers read from one session before others get their turn.
pub const READS_PER_WAKE: usize = 4;

/// Bytes of snapshots that a reactor gathers for one client before it writes them and turns to the
/// next: some dozen snapshots, since a write costs as much as several of them, and some 0.05 ms.
pub const SNAPSHOTS_BYTES_PER_WRITE: usize = 32 * KIB;

/// How often, in milliseconds, a reactor looks after its sessions' clocks and publishes its report.
pub const TEND_MS: u64 = 100;

/// A time without tending that is no work but a standstill: a turn takes a few milliseconds.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Shares of the sessions, one of which is looked after each time: all of them once a second.
pub const TEND_SHARES: usize = 10;

/// Sessions that are looked after each time at least, so that few sessions are looked after more
/// often than once a second.
pub const TEND_SESSIONS: usize = 1_000;

/// Waiting time of the ingest between two looks at the reactors when a replay is paced on them.
pub const PACE_SLEEP: Duration = Duration::from_micros(100);

/// Ticks that a feed hands over at a time at most.
pub const BATCH_TICKS: usize = 512;

/// Batches that wait for the ingest at most; then the feeds wait.
pub const BATCHES: usize = 64;

// ---------------------------------------------------------------- cadence and conflation

/// Topics whose cadence has struck that are told before a reactor looks at the ring again: at a few
/// microseconds each, and more for those with thousands of subscribers.
pub const TOPICS_PER_POLL: usize = 64;

/// What `max_hz` accepts: above 100 a second nothing is gained over every tick, below one in ten
/// seconds polling over HTTP is simpler.
pub const MAX_HZ: RangeInclusive<f64> = 0.1..=100.0;

/// What `batch_ms` accepts. Ten seconds of a busy symbol are some MiB.
pub const BATCH_MS_RANGE: RangeInclusive<u64> = 5..=10_000;

/// `batch_ms` where none is given.
pub const BATCH_MS: u64 = 100;

/// Time over which trades are summed up where a client gives no `max_hz`.
pub const TRADES_SUMMED_MS: u64 = 100;

/// Bytes of gathered messages that are sent before their time: a frame should not grow beyond what a
/// client's buffers are made for.
pub const GATHERED_BYTES: usize = 256 * KIB;

/// Most milliseconds between two pings to a client of the Binance dialect: as Binance's own.
pub const BINANCE_PING_MS: u64 = 20_000;

/// Shortest time between two snapshots of a book over REST that cut its streams: each is a message to
/// everybody who follows it.
pub const CUT_PERIOD: Duration = Duration::from_millis(100);

/// Books whose last cut is remembered.
pub const CUT_BOOKS: usize = 4_096;

/// Pause between two attempts to hand the ingest something while its channel is full.
pub const CUT_RETRY: Duration = Duration::from_millis(1);

/// Share of the outbox, as a divisor, that waits for a client when it is moved to conflated delivery:
/// early enough that trades, which are never merged unasked, have room while it catches up.
pub const BEHIND_SHARE: usize = 4;

/// Times `--slow-grace` that a client may seem to take nothing which is told sums, or will be (all of the
/// Binance dialect, where a connection is taken for dead after a minute): what waits for it does not grow. One
/// that reads some KB a second needs 20 s for 64 KiB, below which neither kernel may say that there is room.
pub const SLOW_GRACES: u64 = 4;

// ---------------------------------------------------------------- resuming

/// Ticks of the ring that are looked through at a time for what clients missed: 0.1 ms or so, less
/// than a slice of the time that newcomers have.
pub const TRAIL_TICKS: usize = 2_048;

/// Events that are replayed to a client before others get their turn: about 0.1 ms.
pub const REPLAYED_AT_ONCE: usize = 256;

/// How long the places of all events on the ring are kept up to date after somebody last asked for
/// them, milliseconds: clients that were cut off together come back within the time that a drain
/// tells them, [`DRAIN_SPREAD`], or some seconds later.
pub const TRAILS_KEPT_MS: u64 = 10_000;

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

// ---------------------------------------------------------------- bars and tickers

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

// ---------------------------------------------------------------- history

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

// ---------------------------------------------------------------- clients

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

// ---------------------------------------------------------------- requests

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
/// ([`REST_ITEMS_MAX`]), some 200 KB, a fifth of an outbox.
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

/// Listed symbols that a suggestion is searched in.
pub const SUGGESTIONS_SEARCHED: usize = 2_000;

/// Jaro-Winkler likeness from which on a name is worth suggesting.
pub const SUGGESTION_LIKENESS: f64 = 0.75;

/// Bytes of the largest snapshot of a full book, 1.9 MB. It may exceed an outbox: while
/// a snapshot is under way to a client, its outbox may hold that much more.
pub const BOOK_FULL_BYTES: usize = 2 * BOOK_LEVELS_MAX * LEVEL_JSON_BYTES + BOOK_HEAD_JSON_BYTES;

// ---------------------------------------------------------------- answers over HTTP

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

/// Books of more than twice [`BOOK_DEPTH_MAX`] levels that are on their way at a time. Each holds
/// its levels, 32 bytes each: 20 MB in all.
pub const REST_LARGE: usize = 16;

// ---------------------------------------------------------------- publishers

/// Bytes of a token that lets one publish: shorter ones can be guessed, longer ones do not fit the
/// head of a request beside its other fields.
pub const TOKEN_BYTES: RangeInclusive<usize> = 16..=512;

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

// ---------------------------------------------------------------- slow consumers

/// Default of `--outbox-bytes`: 1 MiB, some 5,000 messages of 200 bytes, which is what a screen of
/// 20 busy symbols misses in 10 s, or a full book of 10,000 levels a side. 1,000 clients that stall
/// at once hold at most 1 GiB.
pub const OUTBOX_BYTES: usize = MIB;

/// What `--outbox-bytes` accepts. Below 128 KiB the snapshot of a deep book would be an eviction;
/// above 1 GiB a handful of stalled clients is the end of the machine.
pub const OUTBOX_BYTES_RANGE: RangeInclusive<usize> = 128 * KIB..=1024 * MIB;

/// Bytes that the kernel takes for a client and has not sent yet (`TCP_NOTSENT_LOWAT`). Left to itself
/// it takes megabytes, in which a client's lag does not show and which no bound of ours counts; and
/// a socket of which a third must be free before it takes more makes a client that reads slowly
/// look like one that does not read. More than any one write of a client that keeps up.
pub const UNSENT_BYTES: u32 = 128 * KIB as u32;

/// Default of `--slow-grace`: how long a client may take nothing while bytes wait for it. One TCP retransmission
/// time-out and its back-off (0.2 + 0.4 + 0.8 + 1.6 s) fit, so one bad moment of a mobile network
/// is no eviction.
pub const SLOW_GRACE: Duration = Duration::from_secs(5);

/// What `--slow-grace` accepts; 0 evicts at once.
pub const SLOW_GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);

/// What the default of `--memory-budget` is of the memory there is, as a divisor: the ring, the state and histories have
/// the other half.
pub const BUDGET_SHARE: usize = 2;

/// Least `--memory-budget`: two reactors' encodings and some clients.
pub const BUDGET_MIN: usize = 4 * MIB;

/// Part of the budget, as a divisor, that is kept free of newcomers, and that clients which go make free: an eighth, so
/// that few go at a time and not one by one.
pub const BUDGET_ROOM: usize = 8;

/// Bytes from which on a client may be let go for the budget: with less it is not what the memory is full of.
pub const BUDGET_CLIENT_BYTES: usize = 16 * KIB;

/// Bytes of unfinished messages of a reactor's clients from which on it looks whose they are: then that is worth looking at each of
/// them.
pub const BUDGET_READING_BYTES: usize = MIB;

/// Clients of a reactor that are let go for the budget each time that it looks ([`TEND_MS`]): some milliseconds of its time, and of
/// full outboxes 640 MiB a second.
pub const BUDGET_EVICTIONS: usize = 64;

/// How long a client may take nothing of a large snapshot before that counts as what it makes the server hold, milliseconds.
pub const BUDGET_PATIENCE_MS: u64 = 1_000;

/// Bytes of an outbox that only the server's own last words use (a `lag` or `drain` status and the
/// close frame), so that a full outbox can still be told why it is closed.
pub const OUTBOX_RESERVED_BYTES: usize = KIB;

/// How long the last words to an evicted client are kept for it, which is not reading: long enough
/// for a stalled program that wakes up again to learn why it was closed.
pub const EVICT_LINGER: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------- handshakes and liveness

/// Bytes of an HTTP request's head. Browsers with many cookies send some 8 KiB; larger ones are an
/// attack or a mistake.
pub const HANDSHAKE_HEAD_BYTES: usize = 16 * KIB;

/// Default of `--handshake-timeout`: from the accept to the end of the upgrade. A TLS-terminating
/// proxy across an ocean needs 1 s; whoever takes 10 s holds a slot open on purpose.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What `--handshake-timeout` accepts.
pub const HANDSHAKE_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);

/// A connection that asks over plain HTTP is ended after this many `--handshake-timeout`s: a minute
/// by default, several scrapes of the metrics. Who needs longer connects again.
pub const HTTP_TIMEOUTS: u32 = 6;

/// Default of `--max-handshakes` in flight. A handshake holds up to [`HANDSHAKE_HEAD_BYTES`]:
/// 16 MiB in all. More wait in the kernel's accept queue, which costs nothing.
pub const HANDSHAKES: usize = 1_024;

/// Part of the descriptors that handshakes take at most where few are allowed: an eighth.
pub const HANDSHAKES_SHARE: usize = 8;

/// Default of `--max-clients-per-address`. Hundreds of people behind one address of an office are usual, and
/// twenty such addresses fill a server of [`CLIENTS`].
pub const CLIENTS_PER_ADDRESS: usize = 1_000;

/// What `--max-handshakes-per-address` is of `--max-handshakes`, as a divisor, where it is not given: one who
/// holds connections open leaves three quarters to others, and 256 at a time are more than an office
/// that comes back at once needs.
pub const HANDSHAKES_ADDRESS_SHARE: usize = 4;

/// Default of `--connect-rate`, connections a second from one address. A page makes six.
pub const CONNECT_RATE: u32 = 100;

/// Default of `--http-rate`, HTTP requests a second from one address. A hundred people behind one address who
/// poll ten times a second; the control plane answers many times as many.
pub const HTTP_RATE: u32 = 1_000;

/// Seconds of `--connect-rate` and `--http-rate` that may come at once: as many as [`CLIENTS_PER_ADDRESS`], so that
/// everybody behind one address may come back together.
pub const ADDRESS_BURST_SECONDS: u64 = 10;

/// Most of what is counted by address.
pub const PER_ADDRESS_MAX: usize = 1_000_000;

/// Default of `--exempt-address`: programs on this machine can take it anyway, and all that comes through a
/// proxy beside the server has that address.
pub const EXEMPT_ADDRESSES: [&str; 2] = ["127.0.0.0/8", "::1"];

/// Addresses that are remembered although nobody is connected from them, some 100 bytes each: those that
/// came or asked faster than `--connect-rate` or `--http-rate` within the last seconds.
pub const ADDRESSES_UNUSED: usize = 16_384;

/// Addresses below which none is forgotten.
pub const ADDRESSES_SWEPT: usize = 1_024;

/// Time between two lines of the log about refusals of one address, milliseconds, and between two in all.
pub const REFUSALS_LOG_MS: u64 = 60_000;
/// See [`REFUSALS_LOG_MS`].
pub const REFUSALS_LOG_PERIOD_MS: u64 = 1_000;

/// Bytes of a header of the PROXY protocol. Its senders keep to 536 (its specification, section 2.2), but for certificates of clients in it.
pub const PROXY_HEADER_BYTES: usize = 4 * KIB;

/// Default of `--ping-interval`. Shorter than the 30 to 60 s after which proxies and mobile
/// networks drop a silent connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Default of `--ping-timeout`: silence after a ping that makes a peer a dead one. With the default
/// interval a half-open connection is gone after 40 s.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What `--ping-interval` and `--ping-timeout` accept.
pub const PING_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);

/// Bytes of the buffer into which a thread reads all its TLS connections, one at a time: what is kept of a
/// message that is not whole, and at least one record of the largest size (RFC 8446 section 5.2).
pub const TLS_READ_BYTES: usize = TLS_PARTIAL_BYTES + 32 * KIB;

/// Bytes that are kept of a TLS message that is not whole. Records are at most 16 KiB and 256 bytes; a
/// client's handshake message of more than one record is an attack.
pub const TLS_PARTIAL_BYTES: usize = 32 * KIB;

/// Bytes that are encrypted at a time, and so the most that may wait, encrypted, for a socket that takes no
/// more: four records in one write. Larger flushes go in several writes.
pub const TLS_WRITE_BYTES: usize = 64 * KIB;

/// Between two looks at whether files of certificates and of access have changed.
pub const FILE_POLL: Duration = Duration::from_secs(2);

/// Before the end of its token a client is told of it: time to get another.
pub const GRANT_WARNING: Duration = Duration::from_secs(60);

/// Bytes of a signed token. Those of large companies' logins are 2 to 4 KiB; it has to fit the head of a request.
pub const SIGNED_TOKEN_BYTES: usize = 8 * KIB;

/// Bytes of the name (`sub`) in a signed token: what OpenID Connect allows.
pub const SUBJECT_BYTES: usize = 255;

/// Patterns of symbols in a signed token. Each is compared with each symbol for a wildcard, on a reactor's thread.
pub const CLAIM_PATTERNS: usize = 64;

/// Keys of one who signs tokens. A token without a name of its key is tried with each of them, 16 checks at most: less than a
/// millisecond. Large issuers have 2 to 8.
pub const KEYS_PER_ISSUER: usize = 16;

/// Those who sign tokens.
pub const ISSUERS: usize = 16;

/// Bytes of the secret of HS256, at least as long as the hash (RFC 7518, 3.2).
pub const SECRET_BYTES: usize = 32;

/// Seconds that the clocks of who signs a token and of this machine may differ, by default and at most.
pub const LEEWAY_SECONDS: u64 = 5;
/// See [`LEEWAY_SECONDS`].
pub const LEEWAY_SECONDS_MAX: u64 = 300;

/// Between two requests for keys: those who publish them say a day or more, and announce new ones hours before.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);

/// Between two requests for keys after one that failed.
pub const JWKS_RETRY: Duration = Duration::from_secs(15);

/// Between two requests for keys because of a token with a key that is not known: anybody can make one up.
pub const JWKS_COOLDOWN: Duration = Duration::from_secs(5);

/// Between two looks at whether keys are due.
pub const JWKS_POLL: Duration = Duration::from_secs(1);

/// For an answer with keys.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// A request with a key that is not known waits so long for keys that are under way.
pub const JWKS_WAIT: Duration = Duration::from_secs(2);

/// Bytes of an answer with keys: 16 keys with their certificates are 64 KiB.
pub const JWKS_BYTES: usize = 256 * KIB;

/// Requests that a wrong token counts as: with the default rate, some ten a second can be tried.
pub const REQUESTS_PER_GUESS: usize = 10;

/// Connections that wait in the kernel to be accepted; Linux caps it at `net.core.somaxconn`, 4,096.
pub const LISTEN_BACKLOG: u32 = 4_096;

/// Time without any other message after which a heartbeat is sent. Short enough for a page to
/// notice within 2 s that it shows old prices.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Bytes of the reason in a close frame: a control frame's payload is at most 125 bytes, the code
/// takes two (RFC 6455, 5.5 and 5.5.1).
pub const CLOSE_REASON_BYTES: usize = 123;

/// How long a peer may take to answer our close frame before the socket is dropped; the server
/// owes it nothing by then.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

// ---------------------------------------------------------------- shutdown

/// Default of `--drain-deadline`: from SIGTERM to exit. Less than the 30 s after which Kubernetes
/// kills, enough to flush every outbox of a client that reads.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What `--drain-deadline` accepts.
pub const DRAIN_DEADLINE_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// Default of `--drain-spread`: when clients are told to come back. 20,000 clients over 7.5 s are
/// 2,700 handshakes a second, which a starting server takes easily.
pub const DRAIN_SPREAD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Latest end of a `--drain-spread`: a page that stays dark for longer is reloaded by hand.
pub const DRAIN_SPREAD_MAX: Duration = Duration::from_secs(600);

// ---------------------------------------------------------------- recordings

/// Default of `--record-file-bytes`, compressed: what can still be sent to somebody, and some
/// minutes of a busy venue. What a damaged disk or a deletion takes is one file.
pub const RECORD_FILE_BYTES: usize = 64 * MIB;

/// What `--record-file-bytes` accepts. Smaller ones would be mostly heads, larger ones cannot be
/// handled any more.
pub const RECORD_FILE_BYTES_RANGE: RangeInclusive<usize> = MIB..=16 * 1024 * MIB;

/// Default of `--record-file-age`: a day is 24 files of a quiet venue, and a file that is closed,
/// and so safe from a loss of power, is at most an hour away.
pub const RECORD_FILE_AGE: Duration = Duration::from_secs(3_600);

/// What `--record-file-age` accepts.
pub const RECORD_FILE_AGE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(7 * 86_400);

/// How often `tickcast record` looks whether its feeds and the disk are still there.
pub const RECORD_LOOK: Duration = Duration::from_millis(200);

// ---------------------------------------------------------------- delayed markets

/// Shortest and longest `delay` of a grant: what exchanges ask for is 10 to 20 minutes. A day is what a spool can
/// still be sized for.
pub const DELAY_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Different delays in one file of access: each is a market with a ring, books and a reactor of its own.
pub const DELAYS_MAX: usize = 4;

/// Default of `--spool-bytes`: 15 minutes of 100,000 ticks a second at 14 bytes each (docs/PERFORMANCE.md) are 1.3 GB; three times that.
pub const SPOOL_BYTES: usize = 4 * 1024 * MIB;

/// What `--spool-bytes` accepts. Below it a file would hold next to nothing.
pub const SPOOL_BYTES_RANGE: RangeInclusive<usize> = MIB..=1024 * 1024 * MIB;

/// Files that the bytes of a spool are shared among, at least: so much of it is kept longer than needed, and as much
/// is lost when it is full.
pub const SPOOL_SEGMENTS: u64 = 16;

/// Age at which a file of a spool is closed: as long do books wait for a snapshot when a file is damaged.
pub const SPOOL_SEGMENT_AGE: Duration = Duration::from_secs(300);

/// Bytes of a frame before compression: a share of the spool within these.
pub const SPOOL_FRAME: (u64, u64) = (64 * KIB as u64, MIB as u64);

/// zstd's fastest usual level: half a microsecond of the spool's thread for a tick, reading the ring included.
pub const SPOOL_LEVEL: i32 = 1;

/// Between two looks of the spool's thread at the ring: a hundredth of a second of ticks has one time, and the ring
/// holds hundreds of those.
pub const SPOOL_ROUND: Duration = Duration::from_millis(10);

/// Age at which a frame is written that is not full: what a kill costs.
pub const SPOOL_WRITE: Duration = Duration::from_millis(250);

/// Ticks that are taken off the ring at a time, that a record holds, and that snapshots are copied of at a time, all
/// of them give or take an event: 256 KiB.
pub const SPOOL_TICKS: usize = 4_096;

/// Times that the ring is read before snapshots go on: they must not wait for a market to be quiet.
pub const SPOOL_POLLS: usize = 64;

/// Instruments that are copied at a time.
pub const SPOOL_COPIES: usize = 256;

/// Instruments in one record.
pub const SPOOL_LISTED: usize = 2_048;

/// Numbers of instruments that are believed: ten times what all venues together list.
pub const SPOOL_SYMBOLS: usize = 1 << 20;

/// After a disk took nothing, until it is asked again.
pub const SPOOL_RETRY: Duration = Duration::from_secs(1);

/// Between two looks of who plays a spool at what there is, and at whether it is to stop.
pub const SPOOL_LOOK: Duration = Duration::from_millis(20);

// ---------------------------------------------------------------- logging and configuration

/// Bytes of foreign text (a bad message, a bad value) that a log line or an error repeats.
pub const LOG_TEXT_BYTES: usize = 200;

/// Bytes of a configuration file: one with every key and a hundred feeds is 10 KiB; who names a
/// capture by mistake is told so rather than served slowly.
pub const CONFIG_FILE_BYTES: u64 = 1024 * 1024;

/// Most `--feed`s: each is a thread.
pub const FEEDS_MAX: usize = 64;

// ---------------------------------------------------------------- relations

const _: () = {
    assert!(RING_SLOTS.is_power_of_two());
    assert!(contains(&RING_SLOTS_RANGE, RING_SLOTS));
    // A turn must not be able to take a whole ring: the reader would lap itself.
    assert!(TICKS_PER_TURN * 4 <= *RING_SLOTS_RANGE.start());
    assert!(SENDS_PER_POLL > 0 && SENDS_PER_POLL <= SENDS_PER_TURN);
    assert!(BATCH_TICKS <= *RING_SLOTS_RANGE.start());

    assert!(BUDGET_CLIENT_BYTES < *OUTBOX_BYTES_RANGE.start() && BUDGET_READING_BYTES < BUDGET_MIN);
    assert!(contains(&OUTBOX_BYTES_RANGE, OUTBOX_BYTES));
    // A snapshot of the deepest book must fit any outbox, with room for the last words.
    assert!(*OUTBOX_BYTES_RANGE.start() > BOOK_SNAPSHOT_BYTES + OUTBOX_RESERVED_BYTES);
    // The default outbox holds a full book of 10,000 levels a side, as its doc says.
    assert!(OUTBOX_BYTES > 2 * 10_000 * LEVEL_JSON_BYTES + BOOK_HEAD_JSON_BYTES);
    assert!(ENCODING_CHUNK > BOOK_SNAPSHOT_BYTES);
    assert!(BOOK_DEPTH_MAX <= BOOK_LEVELS_MAX);
    assert!(REST_SNAPSHOT_SYMBOLS * (SYMBOL_BYTES + 3) < HANDSHAKE_HEAD_BYTES);
    assert!(REST_ITEMS <= REST_ITEMS_MAX && HISTORY <= HISTORY_MAX);
    assert!(HISTORY_FIRST > 0);

    assert!(POLL_SECONDS <= POLL_SECONDS_MAX && POLL_BARS_KEPT_MS > POLL_SECONDS_MAX * 1_000);

    assert!(contains(&MESSAGE_BYTES_RANGE, MESSAGE_BYTES));
    // The longest useful request: every symbol quoted, with a comma, and the rest of the object.
    assert!(REQUEST_SYMBOLS * (SYMBOL_BYTES + 3) + 256 <= MESSAGE_BYTES);
    assert!(REQUEST_SYMBOLS <= SUBSCRIPTIONS && SUBSCRIPTIONS <= SUBSCRIPTIONS_MAX);
    assert!(REQUEST_RATE <= REQUEST_RATE_MAX);
    assert!(REQUEST_RATE_MAX.checked_mul(REQUEST_BURST_SECONDS).is_some());

    // Both fit the head of a request.
    assert!(*TOKEN_BYTES.end() * 4 < HANDSHAKE_HEAD_BYTES);
    assert!(SIGNED_TOKEN_BYTES * 3 / 2 < HANDSHAKE_HEAD_BYTES);
    assert!(
        PUBLISH_BODY_BYTES > BOOK_FULL_BYTES
            && tickcast_feeds::lines::MAX_LINE_BYTES > BOOK_FULL_BYTES
    );
    assert!(tickcast_feeds::venue::native::MAX_LEVELS == BOOK_LEVELS_MAX);
    assert!(contains(&RECORD_FILE_BYTES_RANGE, RECORD_FILE_BYTES));

    // A control frame: the code and the reason.
    assert!(CLOSE_REASON_BYTES + 2 <= 125);
    assert!(OUTBOX_RESERVED_BYTES >= 4 * (LOG_TEXT_BYTES + 56));
    assert!(CONNECT_RATE as u64 * ADDRESS_BURST_SECONDS >= CLIENTS_PER_ADDRESS as u64);
    assert!(CLIENTS_PER_ADDRESS < CLIENTS && PER_ADDRESS_MAX <= u32::MAX as usize);
    assert!(DESCRIPTORS_RESERVED < DESCRIPTORS_MIN);
    assert!(DESCRIPTORS_MIN / HANDSHAKES_SHARE + DESCRIPTORS_RESERVED < DESCRIPTORS_MIN);
    // A silent page's heartbeat comes well before anybody could take the peer for dead.
    assert!(HEARTBEAT.as_millis() * 2 <= PING_INTERVAL.as_millis());
    assert!(CLOSE_TIMEOUT.as_millis() < DRAIN_DEADLINE.as_millis());
    assert!(DRAIN_SPREAD.0.as_millis() <= DRAIN_SPREAD.1.as_millis());
    assert!(DRAIN_SPREAD.1.as_millis() <= DRAIN_SPREAD_MAX.as_millis());
};

/// Whether the range holds the value; `RangeInclusive::contains` is not `const`.
const fn contains(range: &RangeInclusive<usize>, value: usize) -> bool {
    *range.start() <= value && value <= *range.end()
}
