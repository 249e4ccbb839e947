//! What the writer and the readers share: the slots and the two counters.

use crossbeam::utils::CachePadded;

use super::RingError;
use super::sync::{AtomicU64, Ordering};

/// Room for one entry. Aligned to a cache line, so that an entry of eight words is exactly one
/// line and the line being written never holds a neighbour that is being read.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot<const W: usize>([AtomicU64; W]);

impl<const W: usize> Slot<W> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Overwrites the entry, word by word; ordered by the writer's counters alone.
    #[inline]
    pub(super) fn store(&self, entry: &[u64; W]) {
        for (word, value) in self.0.iter().zip(entry) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    /// Copies the entry, word by word: a candidate until the reader has validated it.
    #[inline]
    pub(super) fn load(&self, entry: &mut [u64; W]) {
        for (word, value) in self.0.iter().zip(entry) {
            *value = word.load(Ordering::Relaxed);
        }
    }
}

/// The memory behind a [`channel`](super::channel). Only the producer writes to it.
#[derive(Debug)]
pub(super) struct Ring<const W: usize> {
    /// No entry at or beyond this position has been touched yet.
    pub(super) intent: CachePadded<AtomicU64>,
    /// Every entry before this position is complete.
    pub(super) tail: CachePadded<AtomicU64>,
    slots: Box<[Slot<W>]>,
}

impl<const W: usize> Ring<W> {
    pub(super) fn new(slots: usize) -> Result<Self, RingError> {
        const { assert!(W > 0, "an entry has at least one word") };
        if !slots.is_power_of_two() || !(super::MIN_SLOTS..=super::MAX_SLOTS).contains(&slots) {
            return Err(RingError::Slots { slots });
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(slots).map_err(|source| RingError::Memory { slots, source })?;
        memory.extend((0..slots).map(|_| Slot::new()));
        Ok(Self {
            intent: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            slots: memory.into_boxed_slice(),
        })
    }

    /// How many entries the ring holds.
    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Where the entry at `position` lives. The length is a power of two, so its low bits select
    /// the slot; written with the length itself, the compiler sees that it is in bounds.
    #[inline]
    fn index(&self, position: u64) -> usize {
        position as usize & (self.slots.len() - 1)
    }

    /// The slot of the entry at `position`.
    #[inline]
    pub(super) fn slot(&self, position: u64) -> &Slot<W> {
        &self.slots[self.index(position)]
    }

    /// The slots of `count` entries from `position` on, in order: up to the end of the memory,
    /// then from its start. Walking two slices costs no bounds check per entry.
    #[inline]
    pub(super) fn run(&self, position: u64, count: usize) -> [&[Slot<W>]; 2] {
        let (wrapped, ahead) = self.slots.split_at(self.index(position));
        let first = count.min(ahead.len());
        [&ahead[..first], &wrapped[..count - first]]
    }
}
