//! The files of a recording, damaged at will: reading them ends, does not panic, tells every hole,
//! and what is read of them makes whole events.
//!
//! Where the first byte is odd, the rest is lines in a frame that is right; else it is the file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tickcast_feeds::record::{Hole, Record, Recording};
use tickcast_feeds::{Instruments, VecSink};

/// A directory of this process.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("tickcast-fuzz-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).expect("a directory");
    path
});

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    let packed = match kind % 2 {
        0 => bytes.to_vec(),
        _ => zstd::bulk::compress(bytes, 1).expect("compresses"),
    };
    fs::write(DIRECTORY.join("1-binance.0001.zst"), &packed).expect("writes");
    let Ok(recording) = Recording::open(&DIRECTORY) else { return };
    let feed = &recording.feeds()[0];
    let instruments = Arc::new(Instruments::new());
    for listing in &feed.listings {
        instruments.list_as(feed.venue.name, listing);
    }
    let mut parser = feed.venue.parser(&instruments);
    let (mut sink, mut told) = (VecSink::default(), VecSink::default());
    let (mut reader, mut lost) = (feed.reader(), 0);
    reader.advance(&mut told);
    while let (Some(recv), Some(record)) = (reader.recv(), reader.record()) {
        match record {
            Record::Input(input) => {
                input.apply(&mut *parser, recv, &mut sink);
            }
            Record::Hole(Hole::Damaged { bytes, .. } | Hole::Torn { bytes, .. }) => lost += bytes,
            Record::Hole(_) => {}
        }
        reader.advance(&mut told);
    }
    assert!(reader.recv().is_none(), "a time without a record");
    assert!(lost <= packed.len() as u64);
    tickcast_fuzz::check_events(&sink.ticks);
});
