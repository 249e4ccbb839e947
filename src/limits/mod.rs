//! Every cap of the system, with the reason for its value.
//!
//! What an operator may want to change is a flag whose default (and range) stands here; the rest
//! are constants. Relations between them are asserted at compile time below, so a change that
//! breaks one does not build.

mod answers;
mod clients;
mod disk;
mod doors;
mod history;
mod operators;
mod pace;
mod reactor;
mod slow;
mod tokens;

use std::ops::RangeInclusive;

pub use answers::*;
pub use clients::*;
pub use disk::*;
pub use doors::*;
pub use history::*;
pub use operators::*;
pub use pace::*;
pub use reactor::*;
pub use slow::*;
pub use tokens::*;

/// One KiB, in bytes.
pub const KIB: usize = 1024;
/// One MiB, in bytes.
pub const MIB: usize = 1024 * KIB;

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
    // Whoever connects asks for something.
    assert!(HTTP_RATE >= CONNECT_RATE && HTTP_RATE >= PROBE_RATE);
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
