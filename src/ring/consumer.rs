//! The reading side.

use super::RingError;
use super::slot::Ring;
use super::sync::{Arc, Ordering, fence};

/// What a [`Consumer::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "entries may have been read or lost"]
pub enum Poll {
    /// Nothing new, or no room to put it.
    Empty,
    /// So many entries, at least one, stand at the start of the buffer, in order and complete.
    Read(usize),
    /// The writer overtook the reader: so many entries, at least one, were lost. The consumer now
    /// stands at the tail, and the buffer holds nothing of use.
    Lapped(u64),
}

/// One reader's place in the ring. Readers are independent: none writes to the ring.
#[derive(Debug)]
pub struct Consumer<const W: usize> {
    ring: Arc<Ring<W>>,
    /// Position of the next entry to read.
    next: u64,
}

impl<const W: usize> Consumer<W> {
    pub(super) fn new(ring: Arc<Ring<W>>, next: u64) -> Self {
        Self { ring, next }
    }

    /// Copies as many new entries into `out` as there are and as fit.
    ///
    /// The cost beyond the copy is two loads of the writer's counters per call, so a buffer for
    /// dozens of entries is much cheaper per entry than a small one. On anything but
    /// [`Poll::Read`], and past the entries read, the contents of `out` are unspecified.
    #[inline]
    pub fn poll(&mut self, out: &mut [[u64; W]]) -> Poll {
        // Pairs with the writer's release: the words of every entry before `tail` are in sight.
        let tail = self.ring.tail.load(Ordering::Acquire);
        let behind = tail - self.next;
        if behind > self.ring.capacity() {
            return self.skip();
        }
        // In bounds of usize: not more than the capacity, which is one.
        let count = (behind as usize).min(out.len());
        if count == 0 {
            return Poll::Empty;
        }
        self.copy(&mut out[..count]);
        if self.overtaken() {
            return self.skip();
        }
        self.next += count as u64;
        Poll::Read(count)
    }

    /// Copies entries from the reader's position on, complete or not.
    #[inline]
    fn copy(&self, out: &mut [[u64; W]]) {
        let parts = self.ring.run(self.next, out.len());
        let (first, second) = out.split_at_mut(parts[0].len());
        for (slots, entries) in parts.into_iter().zip([first, second]) {
            for (slot, entry) in slots.iter().zip(entries) {
                slot.load(entry);
            }
        }
    }

    /// Whether the writer may have touched the oldest entry copied: then the copy is worthless.
    #[inline]
    fn overtaken(&self) -> bool {
        // Pairs with the writer's fence: if any word copied came from a later entry, the load
        // below yields at least the intent announced for that entry.
        fence(Ordering::Acquire);
        self.ring.intent.load(Ordering::Relaxed) - self.next > self.ring.capacity()
    }

    /// Moves to the tail and says how many entries that skips.
    #[cold]
    fn skip(&mut self) -> Poll {
        let tail = self.ring.tail.load(Ordering::Acquire);
        let lost = tail - self.next;
        self.next = tail;
        Poll::Lapped(lost)
    }

    /// The position of the next entry that [`poll`](Self::poll) will read.
    #[inline]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes to `position`, back or ahead, as if this were a reader that begins there: an entry that
    /// has been overwritten shows at the next poll, which says [`Poll::Lapped`].
    ///
    /// # Errors
    /// [`RingError::Ahead`] when `position` is greater than the tail; the reader stays where it is.
    pub fn seek(&mut self, position: u64) -> Result<(), RingError> {
        let tail = self.ring.tail.load(Ordering::Acquire);
        if position > tail {
            return Err(RingError::Ahead { position, tail });
        }
        self.next = position;
        Ok(())
    }

    /// Another reader that begins where this one stands.
    pub fn fork(&self) -> Self {
        Self::new(Arc::clone(&self.ring), self.next)
    }

    /// The oldest entry at which a reader may begin without being lapped by the batch that is being
    /// written: seven eighths of the slots before the tail.
    pub fn oldest(&self) -> u64 {
        let capacity = self.ring.capacity();
        let tail = self.ring.tail.load(Ordering::Acquire);
        tail.saturating_sub(capacity - (capacity / 8).max(1))
    }

    /// How many entries the ring holds.
    pub fn slots(&self) -> u64 {
        self.ring.capacity()
    }

    /// How many published entries this reader has not read; more than the ring's slots means that
    /// it has been lapped and the next poll will say so.
    #[inline]
    pub fn lag(&self) -> u64 {
        self.ring.tail.load(Ordering::Acquire) - self.next
    }
}
