//! A publisher's bytes, cut at will: whatever they are, the lines in them are read alike however they are cut, whole events or
//! nothing come of them, and what is told is JSON.
use std::sync::Arc;

use tickcast_feeds::claims::Allowance;
use tickcast_feeds::lines::{Publisher, Terms};
use tickcast_feeds::venue::native::Rules;
use tickcast_feeds::{Instruments, Tick, VecSink};

const NOW: u64 = 1_700_000_000_000_000_000;

/// What came of them: the ticks, how many lines were accepted and rejected, and whether the publisher is closed.
fn read(bytes: &[u8], size: usize) -> (Vec<Tick>, (u64, u64), bool) {
    let instruments = Arc::new(Instruments::new());
    let allowance = Arc::new(Allowance::new(8));
    let rules = Rules { venue: None, strict: true, allowance };
    let terms = Terms { rules, rate: 1_000, idle_ns: 1 };
    let mut publisher = Publisher::new(String::new(), &terms, instruments.clone(), NOW);
    let mut sink = VecSink::default();
    for piece in bytes.chunks(size) {
        publisher.take(piece, NOW, &mut sink);
    }
    publisher.end(NOW, &mut sink);
    for told in publisher.told() {
        let mut json = Vec::new();
        told.write_json(&mut json);
        serde_json::from_slice::<serde_json::Value>(&json).expect("what is told is JSON");
    }
    publisher.tend(NOW + 1, &mut sink);
    publisher.leave(NOW + 2, &mut sink);
    super::venues::check_events(&sink.ticks);
    assert!(instruments.len() <= 8);
    (sink.ticks, publisher.counts(), publisher.is_closed())
}

/// The target. Understood are lines of which none is rejected.
pub fn lines(input: &[u8]) -> bool {
    let Some((&size, bytes)) = input.split_first() else { return false };
    let whole = read(bytes, usize::MAX);
    assert!(read(bytes, usize::from(size) + 1) == whole);
    let (_, (accepted, rejected), _) = whole;
    accepted > 0 && rejected == 0
}
