//! The files of a recording, damaged at will: reading them ends, does not panic, tells every hole,
//! and what is read of them makes whole events.
//!
//! Where the first byte is odd, the rest is lines in a frame that is right; else it is the file.
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use tickcast_feeds::record::{Hole, Record, Recording};
use tickcast_feeds::{Instruments, VecSink};

/// A directory of this process.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("tickcast-fuzz-{}", std::process::id());
    std::env::temp_dir().join(name)
});

/// The target. Understood is a recording without a hole of which something was put.
pub fn recording(input: &[u8]) -> bool {
    let Some((&kind, bytes)) = input.split_first() else { return false };
    let packed = match kind % 2 {
        0 => bytes.to_vec(),
        _ => zstd::bulk::compress(bytes, 1).expect("compresses"),
    };
    fs::create_dir_all(&*DIRECTORY).expect("a directory");
    fs::write(DIRECTORY.join("1-binance.0001.zst"), &packed).expect("writes");
    let understood = Recording::open(&DIRECTORY).is_ok_and(|it| read(&it, packed.len()));
    fs::remove_dir_all(&*DIRECTORY).expect("removes");
    understood
}

/// Reads it, a file of so many bytes.
fn read(recording: &Recording, len: usize) -> bool {
    let feed = &recording.feeds()[0];
    let instruments = Arc::new(Instruments::new());
    for listing in &feed.listings {
        instruments.list_as(feed.venue.name, listing);
    }
    let mut parser = feed.venue.parser(&instruments);
    let (mut sink, mut told) = (VecSink::default(), VecSink::default());
    let (mut reader, mut lost, mut holes) = (feed.reader(), 0, 0);
    reader.advance(&mut told);
    while let (Some(recv), Some(record)) = (reader.recv(), reader.record()) {
        match record {
            Record::Input(input) => {
                input.apply(&mut *parser, recv, &mut sink);
            }
            Record::Hole(hole) => {
                holes += 1;
                if let Hole::Damaged { bytes, .. } | Hole::Torn { bytes, .. } = hole {
                    lost += bytes;
                }
            }
        }
        reader.advance(&mut told);
    }
    assert!(reader.recv().is_none(), "a time without a record");
    assert!(lost <= len as u64);
    super::venues::check_events(&sink.ticks);
    holes == 0 && !sink.ticks.is_empty()
}
