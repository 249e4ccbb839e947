//! From a feed's thread to the writer's: lines in a block that the two hand to and fro.

use std::sync::Arc;

use crossbeam::atomic::AtomicCell;

use super::line::{most_bytes, put_input, put_listed};
use super::writer::Stats;
use super::{State, WAITING_BYTES};
use crate::instrument::Listing;
use crate::live::Tap;
use crate::venue::Input;

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) lines: Vec<u8>,
    /// When the first input in it was received; 0 without one.
    pub(super) first_ns: u64,
    /// When the last was.
    pub(super) last_ns: u64,
    /// Messages and REST replies in it.
    pub(super) messages: u64,
    /// Other inputs in it.
    pub(super) events: u64,
    /// Inputs that came after it and found no room.
    pub(super) dropped: u64,
    /// The instruments that are listed in it.
    pub(super) listings: Vec<Listing>,
}

impl Block {
    /// A buffer that has grown beyond this is given back: it was a burst, or a stuck disk.
    const KEPT_BYTES: usize = 4 << 20;

    /// Empties it, to be filled again.
    pub(super) fn clear(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        if lines.capacity() > Self::KEPT_BYTES {
            lines = Vec::new();
        }
        *self = Block { lines, ..Block::default() };
    }
}

/// What the feed's thread and the writer's share for one feed.
///
/// Whoever has taken the block out of the cell has it alone; whoever finds the cell empty goes on
/// without waiting. The feed puts back what it has added to, the writer keeps what it takes and
/// gives back an emptied one by the other cell, so that blocks are written in the order of their
/// lines.
pub(super) struct Lane {
    pub(super) number: u32,
    pub(super) venue: &'static str,
    /// The feed's spec, without secrets.
    pub(super) spec: String,
    pub(super) waiting: AtomicCell<Option<Box<Block>>>,
    pub(super) empty: AtomicCell<Option<Box<Block>>>,
}

// A lock could make the feed wait for a writer that was put off its core.
const _: () = assert!(AtomicCell::<Option<Box<Block>>>::is_lock_free());

/// The tap of a feed that is recorded.
pub(super) struct LaneTap {
    lane: Arc<Lane>,
    stats: Arc<Stats>,
    last_ns: u64,
}

impl LaneTap {
    pub(super) fn new(lane: Arc<Lane>, stats: Arc<Stats>) -> Self {
        LaneTap { lane, stats, last_ns: 0 }
    }

    fn add(&self, to: impl FnOnce(&mut Block)) {
        if self.stats.state() != State::Open {
            return;
        }
        let waiting = self.lane.waiting.take();
        let mut block = waiting.or_else(|| self.lane.empty.take()).unwrap_or_default();
        to(&mut block);
        self.lane.waiting.store(Some(block));
    }
}

impl Tap for LaneTap {
    fn listed(&mut self, listings: &[Listing]) {
        self.add(|block| {
            put_listed(&mut block.lines, self.last_ns, listings);
            block.listings.extend_from_slice(listings);
        });
    }

    fn keep(&mut self, recv_ns: u64, input: &Input<'_>) {
        self.last_ns = recv_ns;
        self.add(|block| {
            // Once something is missing, all is until the block is written: the gap is at its end.
            if block.dropped > 0 || block.lines.len() + most_bytes(input) > WAITING_BYTES {
                block.dropped += 1;
                self.stats.note_dropped();
                return;
            }
            put_input(&mut block.lines, recv_ns, input);
            if block.messages + block.events == 0 {
                block.first_ns = recv_ns;
            }
            block.last_ns = recv_ns;
            match input {
                Input::Message { .. } | Input::Reply { .. } => block.messages += 1,
                Input::Expect { .. } | Input::Lost { .. } | Input::Distrust { .. } => {
                    block.events += 1;
                }
            }
        });
    }
}
