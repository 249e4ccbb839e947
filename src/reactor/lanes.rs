//! The flush queues: sessions with ticks pending, in the order of their oldest.
//!
//! All sessions wait for the reactor's window, but a subscription may bound its own wait
//! (`max_age_ms`). Bounds are rounded down to a few values, each with a FIFO of its own, a lane: so
//! the head of each lane is the next to be due there, whatever the window is.
//!
//! A session stands in the lane of its first pending tick, and then in each more impatient one that a
//! later tick asks for. Whichever entry is due first flushes it; the others, of a `turn` that is
//! over by then, are stale.

use std::collections::VecDeque;

/// The bounds of the lanes, milliseconds. The last one's is the server's alone.
const BOUNDS_MS: [u64; 16] = [0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, u64::MAX];

/// A lane, by its number: the lower, the more impatient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane(u8);

impl Lane {
    /// Of sessions that say nothing: they wait as long as the server does.
    pub(crate) const SERVERS: Lane = Lane(BOUNDS_MS.len() as u8 - 1);

    /// The lane of a bound: its own, or the next tighter one.
    pub(crate) fn of(max_age_ms: u64) -> Lane {
        let above = BOUNDS_MS.partition_point(|&bound| bound <= max_age_ms);
        Lane(above.saturating_sub(1) as u8)
    }

    /// Its bound, milliseconds; none for the server's.
    pub(crate) fn max_age_ms(self) -> Option<u64> {
        (self != Lane::SERVERS).then(|| BOUNDS_MS[self.0 as usize])
    }

    fn window_ns(self, window_ns: u64) -> u64 {
        window_ns.min(BOUNDS_MS[self.0 as usize].saturating_mul(1_000_000))
    }
}

/// A session with something pending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) session: u32,
    /// The chunk of the encodings that was being filled when it came in.
    pub(crate) chunk: u32,
    /// When it came in, nanoseconds of the monotonic clock.
    pub(crate) since_ns: u64,
    /// The session's: each flush begins another.
    pub(crate) turn: u8,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: [VecDeque<Pending>; BOUNDS_MS.len()],
    /// A bit for each lane that is not empty: nearly always there is one.
    used: u16,
}

const _: () = assert!(BOUNDS_MS.len() <= u16::BITS as usize);

impl Lanes {
    pub(crate) fn new() -> Self {
        Lanes { lanes: Default::default(), used: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(crate) fn push(&mut self, lane: Lane, pending: Pending) {
        self.lanes[lane.0 as usize].push_back(pending);
        self.used |= 1 << lane.0;
    }

    /// The lane whose head is due first, and when, nanoseconds of the monotonic clock.
    pub(crate) fn due(&self, window_ns: u64) -> Option<(Lane, u64)> {
        self.heads()
            .map(|(lane, head)| (lane, head.since_ns + lane.window_ns(window_ns)))
            .min_by_key(|&(_, due_ns)| due_ns)
    }

    pub(crate) fn pop(&mut self, lane: Lane) -> Option<Pending> {
        let queue = &mut self.lanes[lane.0 as usize];
        let head = queue.pop_front();
        if queue.is_empty() {
            self.used &= !(1 << lane.0);
        }
        head
    }

    /// The oldest chunk that a waiting session may refer to; chunks are numbered from `first` on,
    /// and numbers wrap.
    pub(crate) fn oldest_chunk(&self, first: u32) -> Option<u32> {
        self.heads().map(|(_, head)| head.chunk).min_by_key(|chunk| chunk.wrapping_sub(first))
    }

    fn heads(&self) -> impl Iterator<Item = (Lane, &Pending)> {
        let mut left = self.used;
        std::iter::from_fn(move || {
            let lane = (left != 0).then(|| Lane(left.trailing_zeros() as u8))?;
            left &= left - 1;
            Some(lane)
        })
        .filter_map(|lane| Some((lane, self.lanes[lane.0 as usize].front()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn pending(session: u32, chunk: u32, since_ns: u64) -> Pending {
        Pending { session, chunk, since_ns, turn: 0 }
    }

    #[test]
    fn a_bound_is_never_exceeded_by_its_lane() {
        for ms in 0..500 {
            let lane = Lane::of(ms);
            assert!(lane.max_age_ms().is_some_and(|bound| bound <= ms), "{ms}: {lane:?}");
        }
        assert_eq!(Lane::of(u64::MAX), Lane::SERVERS);
        assert_eq!(Lane::of(6), Lane::of(5));
        assert_eq!(Lane::SERVERS.max_age_ms(), None);
        assert!(Lane::of(0) < Lane::of(1) && Lane::of(200) < Lane::SERVERS);
    }

    #[test]
    fn the_impatient_overtake_and_the_others_keep_their_order() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.due(5 * MS), None);
        lanes.push(Lane::SERVERS, pending(1, 7, 0));
        lanes.push(Lane::SERVERS, pending(2, 7, MS));
        lanes.push(Lane::of(1), pending(3, 8, 2 * MS));
        lanes.push(Lane::of(0), pending(4, 8, 4 * MS));
        let mut order = Vec::new();
        while let Some((lane, due_ns)) = lanes.due(5 * MS) {
            order.push((lanes.pop(lane).unwrap().session, due_ns / MS));
        }
        assert_eq!(order, [(3, 3), (4, 4), (1, 5), (2, 6)]);
        assert!(lanes.is_empty());
        // A window below a bound is the window for all.
        lanes.push(Lane::of(10), pending(1, 0, 3 * MS));
        lanes.push(Lane::SERVERS, pending(2, 0, 2 * MS));
        assert_eq!(lanes.due(0), Some((Lane::SERVERS, 2 * MS)));
    }

    #[test]
    fn the_oldest_chunk_is_that_of_the_lane_that_lags_most() {
        let mut lanes = Lanes::new();
        lanes.push(Lane::of(0), pending(1, 2, 0));
        lanes.push(Lane::SERVERS, pending(2, u32::MAX, 0));
        assert_eq!(lanes.oldest_chunk(u32::MAX - 1), Some(u32::MAX));
        lanes.pop(Lane::SERVERS);
        assert_eq!(lanes.oldest_chunk(u32::MAX - 1), Some(2));
    }
}
