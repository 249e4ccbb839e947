//! A broadcast ring in safe Rust: one writer that never waits, any number of readers, each of
//! which gets every entry or learns how many it missed.
//!
//! An entry is `W` words of 64 bits ([`channel`] is generic over `W`); its position is how many
//! entries were published before it. The ring holds a power of two of them.
//!
//! ```
//! use tickcast::ring::{Poll, channel};
//!
//! let (mut producer, handle) = channel::<2>(1024)?;
//! let mut consumer = handle.consumer();
//! producer.publish(&[1, 2]);
//! producer.publish_batch(&[[3, 4], [5, 6]]);
//!
//! let mut out = [[0; 2]; 64];
//! assert_eq!(consumer.poll(&mut out), Poll::Read(3));
//! assert_eq!(out[..3], [[1, 2], [3, 4], [5, 6]]);
//! # Ok::<(), tickcast::ring::RingError>(())
//! ```
//!
//! # The algorithm
//!
//! That of Aeron's broadcast transmitter and receiver, for entries of one size. Two counters are
//! shared, both positions and both stored by the writer alone:
//!
//! ```text
//!     writer                                  reader at `next`
//!  1  intent = end of what it will write   5  tail: nothing before it is left to read? Empty
//!  2  release fence                        6  copy the words of entries next..next + n
//!  3  words of the entries                 7  acquire fence
//!  4  tail = end of what it wrote          8  intent - next > slots? Lapped, else the copy is good
//! ```
//!
//! The words are atomics, loaded and stored relaxed: a copy that races with the writer is not
//! undefined behaviour but a wrong guess, which step 8 throws away. On x86-64 every one of these
//! steps is a plain `mov`. Readers store nothing that is shared: they cost the writer the cache
//! misses of being looked at, and each other nothing.
//!
//! The counters move once per batch. The intent may moreover run ahead of what is being written
//! by up to 64 entries, so that a writer of single entries stores it seldom. Both only make a
//! reader's verdict stricter: see the fourth invariant.
//!
//! A sequence number in every slot instead (a seqlock each) would take the counters' lines out of
//! the readers' way, but an entry of eight words would no longer be one line, its number would be
//! loaded and checked once per entry rather than once per batch, and it would be stored twice per
//! entry: by count, more for everybody as soon as batches are read (argued, not measured).
//!
//! # The orderings, and what each is for
//!
//! - *Release store of the tail, acquire load of it* (4, 5): a reader that sees a tail sees the
//!   words of every entry before it, or of later ones; never a fresh slot, never an earlier lap.
//! - *Release fence after the intent* (2) with the *acquire fence after the copy* (7): if a copied
//!   word came from an entry of a later lap, the fences synchronise through that word, and the
//!   load of the intent (8) yields at least what was announced for that entry. A release *store*
//!   of the intent would not do: it orders what precedes it, and the words come after. Nor would
//!   an acquire load of the intent: it orders what follows it, and the copy comes before.
//! - *Relaxed* for everything else: the fences order it.
//!
//! # Invariants
//!
//! Invariant: one thread at a time stores to the ring: [`Producer`] is neither `Clone` nor shared.
//!
//! Invariant: before a word of the entry at `p` is stored, an intent greater than `p` has been
//! stored and fenced, and no later intent is less.
//!
//! Invariant: the tail never decreases, and everything before it is complete.
//!
//! Invariant: the intent is at most [`Producer::max_batch`] beyond the tail, so a reader whose lag
//! never exceeds seven eighths of the slots (all but one, below sixteen slots) is never lapped;
//! one whose lag exceeds the slots always is.
//!
//! Invariant: what [`Poll::Read`] delivers are whole entries in order, each the one at its
//! position; for every consumer, entries read and entries lost add up to the distance it came.
//!
//! Positions are 64 bits wide and do not wrap: 10^9 entries per second would take 584 years.
//!
//! # History
//!
//! A reader may go back ([`Consumer::seek`]): its next poll is that of a reader which begins there, so
//! what holds for the one holds for the other. What was overwritten shows as a lap.
//!
//! # After a lap
//!
//! A lapped consumer continues at the tail, not at the oldest entry that is left. Right at the
//! oldest it would be lapped again at once. Half-way it would have half the room before the next
//! lap, so that a reader which is too slow would be lapped twice as often, though it would lose
//! the same share of the entries in the long run: that depends on its speed alone; and what it did
//! read would be older. Whoever keeps state from the entries must rebuild it after any loss and
//! has no use for those between. The tail is also the end of a batch, where the middle of the ring
//! may be the middle of an event.
//!
//! # How it is proven
//!
//! `tests.rs` compares it with an oracle under proptest; `loom_tests.rs` explores small rings under
//! loom (`scripts/loom`), relaxed loads returning any value that the memory model lets them, and
//! `scripts/miri` runs the code as it is under some of those;
//! `tests/ring_torn.rs` races real threads. The tests were shown to fail: see `loom_tests.rs` for
//! the list of mutations.

mod consumer;
mod producer;
mod slot;
mod sync;

#[cfg(all(test, ring_loom))]
mod loom_tests;
#[cfg(all(test, not(ring_loom)))]
mod tests;

use std::collections::TryReserveError;

pub use consumer::{Consumer, Poll};
pub use producer::Producer;
use slot::Ring;
use sync::{Arc, Ordering};

/// The fewest slots a ring may have: with one, an entry would be lost as soon as the writer starts
/// on the next.
pub const MIN_SLOTS: usize = 2;

/// The most slots a ring may have: 4 GiB of entries of eight words, nearly two hours of 10,000
/// entries per second. More is a mistyped number, and would take the machine's memory first.
pub const MAX_SLOTS: usize = 1 << 26;

/// Why there is no ring, or no consumer.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The number of slots is not a power of two, or out of range.
    #[error("ring of {slots} slots: expected a power of two from {MIN_SLOTS} to {MAX_SLOTS}")]
    Slots {
        /// The number asked for.
        slots: usize,
    },
    /// The memory for the slots was refused.
    #[error("ring of {slots} slots: no memory for it")]
    Memory {
        /// The number asked for.
        slots: usize,
        /// What the allocator said.
        source: TryReserveError,
    },
    /// A consumer was asked to start at an entry that has not been published.
    #[error("position {position} lies ahead of the ring's tail {tail}: expected one up to it")]
    Ahead {
        /// The position asked for.
        position: u64,
        /// The position of the next entry to be published.
        tail: u64,
    },
}

/// Makes a ring of `slots` entries of `W` words: its only producer, and the handle that consumers
/// come from.
///
/// # Errors
/// [`RingError::Slots`] unless `slots` is a power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`];
/// [`RingError::Memory`] when the allocation is refused.
pub fn channel<const W: usize>(slots: usize) -> Result<(Producer<W>, Handle<W>), RingError> {
    let ring = Arc::new(Ring::new(slots)?);
    Ok((Producer::new(Arc::clone(&ring)), Handle { ring }))
}

/// Where consumers come from; cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Handle<const W: usize> {
    ring: Arc<Ring<W>>,
}

impl<const W: usize> Handle<W> {
    /// A consumer that stands at the tail: it will read what is published from now on.
    pub fn consumer(&self) -> Consumer<W> {
        Consumer::new(Arc::clone(&self.ring), self.position())
    }

    /// A consumer whose first entry is the one at `position`. If that has been overwritten, its
    /// first poll says [`Poll::Lapped`].
    ///
    /// # Errors
    /// [`RingError::Ahead`] when `position` is greater than the tail.
    pub fn consumer_at(&self, position: u64) -> Result<Consumer<W>, RingError> {
        let tail = self.position();
        if position > tail {
            return Err(RingError::Ahead { position, tail });
        }
        Ok(Consumer::new(Arc::clone(&self.ring), position))
    }

    /// The tail: the position of the next entry to be published, so far as this thread can see.
    pub fn position(&self) -> u64 {
        self.ring.tail.load(Ordering::Acquire)
    }

    /// How many entries the ring holds.
    pub fn slots(&self) -> usize {
        self.ring.capacity() as usize
    }
}
