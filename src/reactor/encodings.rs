//! The reactor's encodings: every message encoded once, in chunks, shared by all sessions that
//! have it pending as [`Range`]s.
//!
//! Invariant: a range lies within one chunk. Invariant: a chunk lives as long as a session in the
//! flush queue may refer to it; the queue's head knows the oldest such chunk, because sessions
//! enter the queue in the order of their first pending range. Blocked sessions copy their share
//! out (see [`crate::session::outbox`]) and pin nothing.

use std::collections::VecDeque;

use fastwebsockets::OpCode;

use super::runs::{List, Runs};
use crate::limits;
use crate::wire::deflate::Deflater;
use crate::wire::form::{Form, Framing};
use crate::wire::frame;

/// A piece of the encodings: one frame, or several adjacent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) chunk: u32,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Range {
    /// Takes `next` in where it follows without a hole; says whether it did.
    pub(crate) fn merge(&mut self, next: Range) -> bool {
        let adjacent = self.chunk == next.chunk && self.start + self.len == next.start;
        if adjacent {
            self.len += next.len;
        }
        adjacent
    }
}

/// The chunks, oldest first.
#[derive(Debug)]
pub(crate) struct Encodings {
    chunks: VecDeque<Vec<u8>>,
    /// The number of `chunks[0]`; numbers wrap.
    first: u32,
    /// A chunk that was released, kept so that the steady state allocates nothing.
    spare: Vec<Vec<u8>>,
    message: Vec<u8>,
    deflater: Deflater,
    deflated: Deflated,
    runs: Runs,
}

/// What was compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deflated {
    pub(crate) messages: u64,
    /// Bytes before.
    pub(crate) plain_bytes: u64,
    /// Bytes after.
    pub(crate) bytes: u64,
}

/// Chunks kept for reuse; more than two are only in use after a burst.
const SPARE_CHUNKS: usize = 4;

impl Encodings {
    pub(crate) fn new() -> Self {
        let mut chunks = VecDeque::new();
        chunks.push_back(Vec::with_capacity(limits::ENCODING_CHUNK));
        Encodings {
            chunks,
            first: 0,
            spare: Vec::new(),
            message: Vec::new(),
            deflater: Deflater::default(),
            deflated: Deflated::default(),
            runs: Runs::new(),
        }
    }

    /// Encodes one message with `write` and frames it as a WebSocket's text.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range {
        self.message(Form::NATIVE, write)
    }

    /// Encodes one message with `write` and frames it as its form says.
    pub(crate) fn message(&mut self, form: Form, write: impl FnOnce(&mut Vec<u8>)) -> Range {
        self.message.clear();
        write(&mut self.message);
        let need = self.message.len() + frame::MAX_HEAD;
        let full = self.chunks.back().is_none_or(|chunk| chunk.capacity() - chunk.len() < need);
        if full {
            self.open(need);
        }
        let chunk = self.chunks.len() - 1;
        let last = &mut self.chunks[chunk];
        let start = last.len();
        match gain(&mut self.deflater, form, &self.message, limits::DEFLATE_SHARED_BYTES) {
            Some(packed) => {
                self.deflated.note(&self.message, packed);
                frame::deflated(OpCode::Text, packed, last);
            }
            None => form.frame(&self.message, last),
        }
        Range {
            chunk: self.first.wrapping_add(chunk as u32),
            start: start as u32,
            len: (last.len() - start) as u32,
        }
    }

    /// Appends a message that one client alone is told, framed as its form says; compressed only where it is large.
    pub(crate) fn own(&mut self, form: Form, message: &[u8], out: &mut Vec<u8>) {
        match gain(&mut self.deflater, form, message, limits::DEFLATE_OWN_BYTES) {
            Some(packed) => {
                self.deflated.note(message, packed);
                frame::deflated(OpCode::Text, packed, out);
            }
            None => form.frame(message, out),
        }
    }

    /// Appends a message compressed.
    pub(crate) fn deflated(&mut self, opcode: OpCode, message: &[u8], out: &mut Vec<u8>) {
        let packed = self.deflater.deflate(message);
        self.deflated.note(message, packed);
        frame::deflated(opcode, packed, out);
    }

    /// What was compressed so far.
    pub(crate) fn compressed(&self) -> Deflated {
        self.deflated
    }

    /// Takes in bytes that are framed already.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Range {
        let full =
            self.chunks.back().is_none_or(|chunk| chunk.capacity() - chunk.len() < bytes.len());
        if full {
            self.open(bytes.len());
        }
        let chunk = self.chunks.len() - 1;
        let last = &mut self.chunks[chunk];
        let start = last.len() as u32;
        last.extend_from_slice(bytes);
        Range { chunk: self.first.wrapping_add(chunk as u32), start, len: bytes.len() as u32 }
    }

    fn open(&mut self, need: usize) {
        let chunk = match self.spare.pop() {
            Some(chunk) if chunk.capacity() >= need => chunk,
            _ => Vec::with_capacity(need.max(limits::ENCODING_CHUNK)),
        };
        self.chunks.push_back(chunk);
    }

    /// The bytes of a range.
    pub(crate) fn bytes(&self, range: Range) -> &[u8] {
        let chunk = &self.chunks[range.chunk.wrapping_sub(self.first) as usize];
        &chunk[range.start as usize..(range.start + range.len) as usize]
    }

    /// Notes a range as pending in a session's list.
    pub(crate) fn append(&mut self, list: &mut List, range: Range) {
        self.runs.append(list, range);
    }

    /// Empties a session's list.
    pub(crate) fn forget(&mut self, list: &mut List) {
        self.runs.forget(list);
    }

    /// Appends the bytes of a list.
    pub(crate) fn copy(&self, list: &List, out: &mut Vec<u8>) {
        for range in self.runs.iter(list) {
            out.extend_from_slice(self.bytes(range));
        }
    }

    /// The bytes of a list that is one range.
    pub(crate) fn whole(&self, list: &List) -> Option<&[u8]> {
        self.runs.only(list).map(|range| self.bytes(range))
    }

    /// The number of the oldest chunk held.
    pub(crate) fn oldest(&self) -> u32 {
        self.first
    }

    /// The number of the chunk that is being filled.
    pub(crate) fn newest(&self) -> u32 {
        self.first.wrapping_add(self.chunks.len() as u32 - 1)
    }

    /// Frees all chunks before number `oldest` (which must not be beyond the newest).
    pub(crate) fn release(&mut self, oldest: u32) {
        while self.first != oldest && self.chunks.len() > 1 {
            if let Some(mut chunk) = self.chunks.pop_front() {
                chunk.clear();
                // A chunk of unusual size belonged to one huge snapshot.
                if self.spare.len() < SPARE_CHUNKS && chunk.capacity() <= 2 * limits::ENCODING_CHUNK
                {
                    self.spare.push(chunk);
                }
            }
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Nothing refers to anything: start the newest chunk over.
    pub(crate) fn reset(&mut self) {
        self.release(self.newest());
        self.runs.reset();
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.clear();
        }
    }

    /// Bytes held, used or not.
    pub(crate) fn held(&self) -> usize {
        let chunks = self.chunks.iter().chain(&self.spare).map(Vec::capacity).sum::<usize>();
        self.runs.held() + self.deflater.held() + chunks
    }
}

/// A message compressed, where its form allows that, it has `least` bytes and gets shorter.
fn gain<'a>(
    deflater: &'a mut Deflater,
    form: Form,
    message: &[u8],
    least: usize,
) -> Option<&'a [u8]> {
    if form.framing() != Framing::Deflated || message.len() < least {
        return None;
    }
    Some(deflater.deflate(message)).filter(|packed| packed.len() < message.len())
}

impl Deflated {
    fn note(&mut self, plain: &[u8], packed: &[u8]) {
        self.messages += 1;
        self.plain_bytes += plain.len() as u64;
        self.bytes += packed.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_chunks_come_and_go() {
        let mut all = Encodings::new();
        let mut a = all.text(|out| out.extend_from_slice(b"one"));
        let b = all.text(|out| out.extend_from_slice(b"two"));
        assert!(a.merge(b));
        assert_eq!(all.bytes(a), b"\x81\x03one\x81\x03two");

        let big = all.text(|out| out.resize(limits::ENCODING_CHUNK, b'x'));
        assert_ne!(big.chunk, a.chunk);
        assert!(!a.merge(big));
        all.release(a.chunk);
        assert_eq!(all.bytes(a).len(), 10);
        all.release(big.chunk);
        assert_eq!(all.bytes(big).len(), limits::ENCODING_CHUNK + 10);

        for _ in 0..1000 {
            let range = all.text(|out| out.resize(10_000, b'y'));
            all.release(range.chunk);
        }
        assert!(all.held() < 8 * limits::ENCODING_CHUNK, "{}", all.held());
        all.reset();
        let c = all.text(|out| out.extend_from_slice(b"z"));
        assert_eq!(c.start, 0);
    }
}
