//! Whether a client missed anything: the `seq`/`prev` chain of each of its streams (a channel of a symbol).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::message::Message;

/// Keys are hashes already ([`crate::message::stream_key`]), so that hashing them again is wasted.
#[derive(Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Never used for `u64`; here only because the trait asks for it.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A map keyed by [`crate::message::stream_key`].
pub type ByStream<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// One stream of one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stream {
    /// The `seq` of the newest message; `None` when it is not known what comes next.
    last: Option<u64>,
    /// Updates whose stamp lies within the measured window.
    pub delivered: u32,
    /// Gaps found at those updates, each at least one update that never came.
    pub missed: u32,
}

/// What an update's numbers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It follows the message before it, or it is the first.
    Follows,
    /// Something between is missing, or the order is wrong.
    Gap,
    /// It has no numbers to go by.
    Unnumbered,
}

/// The streams of one client.
#[derive(Debug, Default)]
pub struct Streams {
    map: ByStream<Stream>,
}

impl Streams {
    /// A new connection: what was missed in between was never owed, so no chain goes on.
    pub fn restart(&mut self) {
        for stream in self.map.values_mut() {
            stream.last = None;
        }
    }

    /// Where a stream stands.
    pub fn last(&self, stream: u64) -> Option<u64> {
        self.map.get(&stream)?.last
    }

    /// The server confirmed a subscription; `seq` is what the first update's `prev` must be (docs/PROTOCOL.md, subscribe).
    pub fn subscribed(&mut self, stream: u64, seq: Option<u64>) {
        self.map.entry(stream).or_default().last = seq;
    }

    /// A snapshot replaces everything before it.
    pub fn snapshot(&mut self, message: &Message) {
        if let Some(stream) = message.stream {
            self.map.entry(stream).or_default().last = message.seq;
        }
    }

    /// An update: checks that it follows the newest message of its stream. `measured` when its stamp lies within the window.
    #[inline]
    pub fn update(&mut self, message: &Message, measured: bool) -> Link {
        let Some(key) = message.stream else { return Link::Unnumbered };
        let stream = self.map.entry(key).or_default();
        stream.delivered += u32::from(measured);
        let (Some(seq), Some(prev)) = (message.seq, message.prev) else { return Link::Unnumbered };
        let last = stream.last.replace(seq);
        // `seq` rises strictly: one that does not is a repetition or out of order, even when `prev` fits.
        let gap = last.is_some_and(|last| prev != last || seq <= last);
        stream.missed += u32::from(gap && measured);
        if gap { Link::Gap } else { Link::Follows }
    }

    /// What came of each stream.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Stream)> {
        self.map.iter().map(|(key, stream)| (*key, stream))
    }
}

/// One stream over all clients of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTotal {
    /// Clients that were subscribed to it.
    pub clients: u64,
    /// Updates that they received, all together.
    pub delivered: u64,
    /// The most that one of them must have been sent: what it received and what it noticed missing.
    pub most: u64,
}

/// Streams over all clients.
#[derive(Debug, Default)]
pub struct StreamTotals {
    map: ByStream<StreamTotal>,
}

impl StreamTotals {
    /// Adds a client's streams.
    pub fn add(&mut self, streams: &Streams) {
        for (key, stream) in streams.iter() {
            let most = u64::from(stream.delivered) + u64::from(stream.missed);
            self.add_total(
                key,
                &StreamTotal { clients: 1, delivered: u64::from(stream.delivered), most },
            );
        }
    }

    /// Adds another thread's totals.
    pub fn merge(&mut self, other: &StreamTotals) {
        for (key, total) in &other.map {
            self.add_total(*key, total);
        }
    }

    fn add_total(&mut self, key: u64, other: &StreamTotal) {
        let total = self.map.entry(key).or_default();
        total.clients += other.clients;
        total.delivered += other.delivered;
        total.most = total.most.max(other.most);
    }

    /// Updates received, and updates that should have been: every client of a stream is owed what the best served client of that stream
    /// was sent, be it counted here or in `reference`. This also finds what the chain of numbers cannot: a stream that stops early.
    pub fn delivered_and_expected(&self, reference: &StreamTotals) -> (u64, u64) {
        self.map.iter().fold((0, 0), |(delivered, expected), (key, total)| {
            let most = total.most.max(reference.map.get(key).map_or(0, |other| other.most));
            (delivered + total.delivered, expected + total.clients * most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;

    fn update(seq: u64, prev: u64) -> Message {
        Message {
            kind: Kind::Update,
            stream: Some(1),
            seq: Some(seq),
            prev: Some(prev),
            stamp_ns: None,
        }
    }

    #[test]
    fn a_chain_without_a_break_has_no_gap_even_when_numbers_jump() {
        let mut streams = Streams::default();
        streams.subscribed(1, Some(10));
        for (seq, prev) in [(11, 10), (15, 11), (16, 15)] {
            assert_eq!(streams.update(&update(seq, prev), true), Link::Follows);
        }
    }

    #[test]
    fn a_missing_first_update_a_hole_and_a_repetition_are_gaps() {
        let mut streams = Streams::default();
        streams.subscribed(1, Some(10));
        assert_eq!(
            streams.update(&update(12, 11), true),
            Link::Gap,
            "the answer said that 10 comes before the first"
        );
        assert_eq!(streams.update(&update(14, 13), true), Link::Gap);
        assert_eq!(streams.update(&update(14, 13), true), Link::Gap);
        assert_eq!(streams.update(&update(14, 14), true), Link::Gap, "seq must rise");
        assert_eq!(streams.update(&update(15, 14), true), Link::Follows);
    }

    #[test]
    fn a_snapshot_begins_anew_and_an_unknown_beginning_is_no_gap() {
        let mut streams = Streams::default();
        assert_eq!(
            streams.update(&update(7, 3), false),
            Link::Follows,
            "a wildcard's stream: nothing is known before"
        );
        streams.snapshot(&Message { kind: Kind::Snapshot, ..update(40, 0) });
        assert_eq!(streams.update(&update(41, 40), false), Link::Follows);
    }

    #[test]
    fn a_new_connection_begins_a_new_chain_and_keeps_the_counts() {
        let mut streams = Streams::default();
        streams.subscribed(1, Some(0));
        streams.update(&update(1, 0), true);
        streams.restart();
        assert_eq!(streams.update(&update(9, 8), true), Link::Follows);
        assert_eq!(
            streams.iter().map(|(_, stream)| (stream.delivered, stream.missed)).collect::<Vec<_>>(),
            [(2, 0)]
        );
    }

    #[test]
    fn reach_is_measured_against_the_best_served_client() {
        let (mut all, mut cut, mut holes) =
            (Streams::default(), Streams::default(), Streams::default());
        for streams in [&mut all, &mut cut, &mut holes] {
            streams.subscribed(1, Some(0));
        }
        for seq in 1..=10 {
            all.update(&update(seq, seq - 1), true);
            if seq <= 4 {
                cut.update(&update(seq, seq - 1), true);
            }
            if seq != 5 {
                holes.update(&update(seq, seq - 1), true);
            }
        }
        let mut totals = StreamTotals::default();
        totals.add(&cut);
        totals.add(&holes);
        assert_eq!(
            totals.delivered_and_expected(&StreamTotals::default()),
            (13, 20),
            "9 received and 1 missed make 10 expected"
        );
        let mut reference = StreamTotals::default();
        reference.add(&all);
        reference.merge(&totals);
        assert_eq!(reference.delivered_and_expected(&reference), (23, 30));
    }
}
