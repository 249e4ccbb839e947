//! The writing side.

use super::slot::Ring;
use super::sync::{Arc, Ordering, fence};

/// The one writer of a ring. It never waits for a reader.
#[derive(Debug)]
pub struct Producer<const W: usize> {
    ring: Arc<Ring<W>>,
    /// The writer's own copy of the ring's tail: nobody else moves it, so it is never read back
    /// from the line that the readers poll.
    tail: u64,
    /// The intent last stored.
    announced: u64,
    /// The least that an announcement runs ahead of the tail, entries.
    lead: u64,
}

/// How far the intent is moved ahead when it must move, at most: publishing one entry at a time
/// then touches the intent's line once in so many entries, and the readers, who load it on every
/// poll, find it in their own cache. Beyond some dozens the saving is too small to see, and the
/// entries are history that readers can no longer stand on.
const MAX_LEAD: usize = 64;

impl<const W: usize> Producer<W> {
    pub(super) fn new(ring: Arc<Ring<W>>) -> Self {
        let mut producer = Self { ring, tail: 0, announced: 0, lead: 0 };
        producer.lead = producer.max_batch().min(MAX_LEAD) as u64;
        producer
    }

    /// Publishes one entry; returns its position.
    #[inline]
    pub fn publish(&mut self, entry: &[u64; W]) -> u64 {
        let position = self.tail;
        self.announce(position + 1);
        self.ring.slot(position).store(entry);
        self.complete(position + 1);
        position
    }

    /// Publishes the entries in order; returns the position of the first.
    ///
    /// As [`publish_iter`](Self::publish_iter).
    #[inline]
    pub fn publish_batch(&mut self, entries: &[[u64; W]]) -> u64 {
        self.publish_iter(entries.iter().copied())
    }

    /// Publishes the entries in order, made as they are written; returns the position of the first.
    ///
    /// The counters move once per batch of at most [`max_batch`](Self::max_batch) entries, which
    /// the readers therefore see all at once; longer input is several batches. `len()` is what is
    /// announced: an iterator that yields more is cut there, one that yields fewer publishes what
    /// it gave. If it panics, the batch at hand is not published and the ring stays sound.
    #[inline]
    pub fn publish_iter<I>(&mut self, entries: I) -> u64
    where
        I: IntoIterator<Item = [u64; W], IntoIter: ExactSizeIterator>,
    {
        let first = self.tail;
        let mut entries = entries.into_iter();
        let mut left = entries.len();
        while left > 0 {
            let batch = left.min(self.max_batch());
            let written = self.publish_part(batch, &mut entries);
            if written < batch {
                break;
            }
            left -= batch;
        }
        first
    }

    /// One batch; returns how many entries the iterator gave for it.
    #[inline]
    fn publish_part(
        &mut self,
        batch: usize,
        entries: &mut impl Iterator<Item = [u64; W]>,
    ) -> usize {
        let start = self.tail;
        self.announce(start + batch as u64);
        let mut written = 0;
        'batch: for part in self.ring.run(start, batch) {
            for slot in part {
                let Some(entry) = entries.next() else { break 'batch };
                slot.store(&entry);
                written += 1;
            }
        }
        self.complete(start + written as u64);
        written
    }

    /// Makes sure that the readers know, before any word is stored for an entry before `end`, that
    /// it may be overwriting an older one.
    #[inline]
    fn announce(&mut self, end: u64) {
        if end <= self.announced {
            return;
        }
        self.announced = end.max(self.tail + self.lead);
        self.ring.intent.store(self.announced, Ordering::Relaxed);
        // Whoever loads a word stored after this fence, and fences likewise, loads this intent.
        fence(Ordering::Release);
    }

    /// Hands every entry before `tail` to the readers.
    #[inline]
    fn complete(&mut self, tail: u64) {
        self.tail = tail;
        self.ring.tail.store(tail, Ordering::Release);
    }

    /// The position that the next entry will have: how many have been published.
    #[inline]
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// How many entries the ring holds.
    #[inline]
    pub fn slots(&self) -> usize {
        self.ring.capacity() as usize
    }

    /// The most entries that become visible at once: an eighth of the ring, at least one.
    ///
    /// While a batch is being written, the readers have that much less history to stand on.
    #[inline]
    pub fn max_batch(&self) -> usize {
        (self.slots() / 8).max(1)
    }
}
