//! Frames, encoded once and shared by all who have them pending: one buffer, used in a circle.

/// Bytes of the buffer.
const CAPACITY: u64 = 8 << 20;
/// More than any frame has.
const LARGEST: u64 = 1 << 10;

/// Adjacent frames, by their place in all bytes that were ever written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    len: u64,
}

impl Range {
    /// Adds this to what is pending, as one piece with the last where they touch.
    pub(crate) fn append_to(self, pending: &mut Vec<Range>) {
        match pending.last_mut() {
            // Where the circle closes, what is adjacent in number is not so in memory.
            Some(last)
                if last.start + last.len == self.start && !self.start.is_multiple_of(CAPACITY) =>
            {
                last.len += self.len;
            }
            _ => pending.push(self),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    written: u64,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Frames { bytes: vec![0; CAPACITY as usize], written: 0 }
    }

    /// Whether another frame leaves the one that begins at `oldest` as it is.
    pub(crate) fn has_room(&self, oldest: Option<u64>) -> bool {
        // Twice the largest: the end of the buffer may have to be skipped.
        oldest.is_none_or(|oldest| self.written + 2 * LARGEST <= oldest + CAPACITY)
    }

    /// Nothing is pending: begins at the front again, which is in the cache.
    pub(crate) fn restart(&mut self) {
        self.written = 0;
    }

    /// Writes a text frame (RFC 6455 section 5.2), in one piece. Payloads are those of the feed: 126 bytes or more,
    /// which a length of two bytes holds.
    pub(crate) fn text(&mut self, payload: &[u8]) -> Range {
        let len = 4 + payload.len() as u64;
        assert!(payload.len() >= 126 && len <= LARGEST, "a payload of {} bytes", payload.len());
        if self.written % CAPACITY + len > CAPACITY {
            self.written = self.written.next_multiple_of(CAPACITY);
        }
        let range = Range { start: self.written, len };
        self.written += len;
        let at = (range.start % CAPACITY) as usize;
        let [high, low] = (payload.len() as u16).to_be_bytes();
        self.bytes[at..at + 4].copy_from_slice(&[0x81, 126, high, low]);
        self.bytes[at + 4..at + len as usize].copy_from_slice(payload);
        range
    }

    pub(crate) fn bytes(&self, range: Range) -> &[u8] {
        let at = (range.start % CAPACITY) as usize;
        &self.bytes[at..at + range.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_on_both_sides_of_the_circles_end_stay_two_pieces() {
        let mut frames = Frames::new();
        // 8 MiB / 256 B: the last frame of the circle ends exactly where it closes.
        let payload = [b'x'; 252];
        let mut pending = Vec::new();
        for number in 0..CAPACITY / 256 + 1 {
            let range = frames.text(&payload);
            if number + 2 >= CAPACITY / 256 {
                range.append_to(&mut pending);
            }
        }
        let lengths: Vec<usize> = pending.iter().map(|range| frames.bytes(*range).len()).collect();
        assert_eq!(lengths, [512, 256]);
    }

    #[test]
    fn frames_stay_as_they_are_until_the_circle_has_closed() {
        let mut frames = Frames::new();
        let mut kept = Vec::new();
        let mut number = 0;
        // Three times around, with the last few frames pending.
        while frames.written < 3 * CAPACITY {
            assert!(frames.has_room(kept.first().map(|(range, _): &(Range, _)| range.start)));
            let payload = vec![number; 200 + usize::from(number)];
            let range = frames.text(&payload);
            assert_eq!(frames.bytes(range)[..2], [0x81, 126]);
            kept.push((range, payload));
            number = number.wrapping_add(1);
            if kept.len() > 100 {
                let (range, payload) = kept.remove(0);
                assert_eq!(frames.bytes(range)[4..], payload);
            }
        }
        assert!(!frames.has_room(Some(frames.written - CAPACITY + LARGEST)));
    }

    #[test]
    fn frames_that_touch_are_one_piece() {
        let mut frames = Frames::new();
        let mut pending = Vec::new();
        for payload in [[1; 126], [2; 126]] {
            frames.text(&payload).append_to(&mut pending);
        }
        frames.text(&[3; 126]);
        frames.text(&[4; 126]).append_to(&mut pending);
        assert_eq!(pending.iter().map(|range| range.len).collect::<Vec<_>>(), [260, 130]);
    }
}
