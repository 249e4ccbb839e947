//! What waits to be sent to one client, bounded in bytes.
//!
//! While the client keeps up, that is only a list of ranges of the reactor's shared encodings: no
//! copy and no allocation. When the socket takes no more, the rest is copied out and what follows
//! is copied behind it, so that a stalled client pins nothing of the reactor's.
//!
//! Invariant: bytes go out in the order in which they were pushed.

use crate::limits;
use crate::reactor::encodings::{Encodings, Range};
use crate::reactor::runs::List;
use crate::wire::frame;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Goes before the shared ranges; only there while it is needed.
    own: Option<Box<Own>>,
    shared: List,
}

/// Bytes of this client's own: answers, snapshots, what was copied out.
///
/// Invariant: `bytes[frame..]` starts at a frame's head, and `frame <= head`, so that the rest can
/// be cut at a frame's end.
#[derive(Debug, Default)]
struct Own {
    bytes: Vec<u8>,
    /// Sent so far, of `bytes`.
    head: usize,
    /// Where the frame that `head` stands in starts, in `bytes`.
    frame: usize,
    blocked: bool,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.waiting().len()) + self.shared.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is nothing but shared ranges, if that.
    pub(crate) fn is_plain(&self) -> bool {
        self.own.is_none()
    }

    /// Whether the socket took less than was offered: nothing is sent until it is writable.
    pub(crate) fn is_blocked(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.blocked)
    }

    /// The socket is writable again.
    pub(crate) fn unblock(&mut self) {
        if let Some(own) = &mut self.own {
            own.blocked = false;
        }
    }

    /// Appends shared frames. The caller has checked the bound.
    pub(crate) fn push(&mut self, range: Range, encodings: &mut Encodings) {
        match &mut self.own {
            Some(own) if own.blocked => {
                own.make_room(range.len as usize);
                own.bytes.extend_from_slice(encodings.bytes(range));
            }
            _ => encodings.append(&mut self.shared, range),
        }
    }

    /// Appends frames of this client's own; `write` must append whole frames.
    pub(crate) fn push_own(&mut self, encodings: &mut Encodings, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.own_all(encodings).bytes);
    }

    /// The same with what it takes to compress them.
    pub(crate) fn push_framed(
        &mut self,
        encodings: &mut Encodings,
        write: impl FnOnce(&mut Encodings, &mut Vec<u8>),
    ) {
        let own = self.own_all(encodings);
        write(encodings, &mut own.bytes);
    }

    /// Takes the shared ranges into the own bytes.
    fn own_all(&mut self, encodings: &mut Encodings) -> &mut Own {
        let own = self.own.get_or_insert_default();
        if !self.shared.is_empty() {
            own.make_room(self.shared.len());
            encodings.copy(&self.shared, &mut own.bytes);
            encodings.forget(&mut self.shared);
        }
        own
    }

    /// All that waits as one slice: the shared bytes themselves where that is one range, else
    /// gathered into `scratch`.
    pub(crate) fn gather<'a>(
        &'a self,
        encodings: &'a Encodings,
        scratch: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        let own = self.own.as_ref().map_or(&[][..], |own| own.waiting());
        if self.shared.is_empty() {
            return own;
        }
        if own.is_empty()
            && let Some(bytes) = encodings.whole(&self.shared)
        {
            return bytes;
        }
        scratch.clear();
        scratch.extend_from_slice(own);
        encodings.copy(&self.shared, scratch);
        scratch
    }

    /// The socket took all that was gathered. A standing buffer per client would be most of an idle
    /// connection's memory: none is kept.
    pub(crate) fn sent_all(&mut self, encodings: &mut Encodings) {
        encodings.forget(&mut self.shared);
        self.own = None;
    }

    /// The socket took `n` bytes of what was gathered, and no more for now.
    pub(crate) fn sent_some(&mut self, n: usize, encodings: &mut Encodings) {
        let own = self.own_all(encodings);
        own.blocked = true;
        own.sent(n);
    }

    /// Drops everything behind the frame that is partly sent, which must be finished; says how
    /// many bytes were dropped.
    pub(crate) fn cut(&mut self, encodings: &mut Encodings) -> usize {
        let before = self.len();
        encodings.forget(&mut self.shared);
        if let Some(own) = &mut self.own {
            own.cut();
        }
        before - self.len()
    }

    /// Heap bytes held.
    pub(crate) fn held(&self) -> usize {
        self.own.as_ref().map_or(0, |own| size_of::<Own>() + own.bytes.capacity())
    }
}

impl Own {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Makes room for so many bytes. Sent ones are given back first, and growth is by a quarter:
    /// the bound of an outbox is one of memory, which doubling would take twice over.
    fn make_room(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        self.give_back();
        self.bytes.reserve_exact(more.max(self.bytes.len() / 4));
    }

    /// Drops the frames that were sent.
    fn give_back(&mut self) {
        self.bytes.drain(..self.frame);
        self.head -= self.frame;
        self.frame = 0;
    }

    fn sent(&mut self, n: usize) {
        self.head += n;
        while let Some(len) = len_at(&self.bytes[self.frame..]) {
            if self.frame + len > self.head {
                break;
            }
            self.frame += len;
        }
        // Sent bytes are given back once they are most of the buffer: amortised O(1) per byte.
        if self.frame > COMPACT_BYTES && self.frame * 2 > self.bytes.len() {
            self.give_back();
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    fn cut(&mut self) {
        let end = if self.head > self.frame {
            let rest = &self.bytes[self.frame..];
            self.frame + len_at(rest).unwrap_or(rest.len()).min(rest.len())
        } else {
            self.head
        };
        self.bytes.truncate(end);
        self.give_back();
        self.bytes.shrink_to_fit();
        // The last words follow: without room they would double what is held.
        self.bytes.reserve_exact(limits::OUTBOX_RESERVED_BYTES);
    }
}

/// The whole length of the frame or the server-sent event that starts here; `None` where that is not
/// known yet. A server's frame is final, so its top bit is set; a line of text begins with no such byte.
fn len_at(bytes: &[u8]) -> Option<usize> {
    if bytes.first()? & 0x80 != 0 {
        return frame::len_at(bytes);
    }
    bytes.windows(2).position(|end| end == b"\n\n").map(|at| at + 2)
}

/// Sent bytes below which a blocked outbox is not compacted.
const COMPACT_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to an outbox.
    #[derive(Clone, Debug)]
    enum Step {
        Shared(usize),
        Own(usize),
        /// The socket takes so many bytes.
        Flush(usize),
        Unblock,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..300usize).prop_map(Step::Shared),
            1 => (0..70_000usize).prop_map(Step::Own),
            3 => (0..2000usize).prop_map(Step::Flush),
            1 => Just(Step::Flush(usize::MAX)),
            2 => Just(Step::Unblock),
        ]
    }

    #[test]
    fn a_blocked_outbox_holds_little_more_than_what_waits() {
        let encodings = &mut Encodings::new();
        let mut outbox = Outbox::default();
        outbox.push_own(encodings, |out| frame::text([b'x'; 100], out));
        outbox.sent_some(1, encodings);
        for round in 0..10_000 {
            let range = encodings.text(|out| out.resize(150, b'y'));
            outbox.push(range, encodings);
            encodings.release(encodings.newest());
            let most = outbox.len() * 5 / 4 + 1000;
            assert!(outbox.held() <= most, "{} for {} in {round}", outbox.held(), outbox.len());
        }
        // Cut in the middle of a large frame, which is to be finished, with the last words behind.
        let mut outbox = Outbox::default();
        outbox.push_own(encodings, |out| frame::text(vec![b'x'; 300_000], out));
        outbox.sent_some(100_000, encodings);
        outbox.cut(encodings);
        outbox.push_own(encodings, |out| frame::text([b'z'; 200], out));
        outbox.push_own(encodings, |out| frame::close(4008, "slow", out));
        assert!(outbox.held() < 302_000, "{}", outbox.held());
    }

    proptest! {
        #[test]
        fn what_was_pushed_goes_out_in_order(steps in prop::collection::vec(step(), 0..200)) {
            let mut encodings = Encodings::new();
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut got = Vec::new();
            let mut scratch = Vec::new();
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Shared(len) => {
                        let range = encodings.text(|out| out.resize(len, i as u8));
                        expected.extend_from_slice(encodings.bytes(range));
                        outbox.push(range, &mut encodings);
                    }
                    Step::Own(len) => {
                        let body = vec![i as u8; len];
                        frame::text(&body, &mut expected);
                        outbox.push_own(&mut encodings, |out| frame::text(&body, out));
                    }
                    Step::Flush(room) if !outbox.is_blocked() => {
                        let all = outbox.gather(&encodings, &mut scratch).to_vec();
                        prop_assert_eq!(all.len(), outbox.len());
                        let n = room.min(all.len());
                        got.extend_from_slice(&all[..n]);
                        if n == all.len() { outbox.sent_all(&mut encodings) } else { outbox.sent_some(n, &mut encodings) }
                    }
                    Step::Flush(_) => {}
                    Step::Unblock => outbox.unblock(),
                }
                prop_assert_eq!(got.len() + outbox.len(), expected.len());
            }
            // Cutting ends at a frame's end, whatever was sent.
            let sent = got.len();
            let mut boundary = 0;
            while boundary < sent {
                boundary += frame::len_at(&expected[boundary..]).unwrap();
            }
            outbox.cut(&mut encodings);
            got.extend_from_slice(outbox.gather(&encodings, &mut scratch));
            prop_assert_eq!(got, &expected[..boundary]);
        }
    }
}
