//! A broadcast ring in safe Rust: one writer that never waits, any number of readers.

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

/// The fewest slots a ring may have: with one, a reader could never be behind by an entry while
/// the next is being written.
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
