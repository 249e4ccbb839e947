//! A spool's files, damaged at will: reading them ends and does not panic, what comes behind is played, and what is told to
//! be damaged is one place in each file.
//!
//! Where the first byte is odd, the rest is records in a frame that is right; else it is the file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// A directory of this process.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("tickcast-fuzz-spool-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).expect("a directory");
    path
});

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    let framed = kind % 2 == 1;
    let played = tickcast::spool::fuzz::play(&DIRECTORY, bytes, framed).expect("a directory");
    assert!(played.damaged <= if framed { 0 } else { 2 }, "{played:?}");
});
