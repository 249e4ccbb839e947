//! A spool's files, damaged at will: reading them ends and does not panic, what comes behind is played, and what is told to
//! be damaged is one place in each file.
//!
//! Where the first byte is odd, the rest is records in a frame that is right; else it is the file.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A directory of this process.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("tickcast-fuzz-spool-{}", std::process::id());
    std::env::temp_dir().join(name)
});

/// The target. Understood is what has a tick and no damage.
pub fn spool(input: &[u8]) -> bool {
    let Some((&kind, bytes)) = input.split_first() else { return false };
    let framed = kind % 2 == 1;
    fs::create_dir_all(&*DIRECTORY).expect("a directory");
    let played = tickcast::spool::fuzz::play(&DIRECTORY, bytes, framed).expect("plays");
    fs::remove_dir_all(&*DIRECTORY).expect("removes");
    assert!(played.damaged <= if framed { 0 } else { 2 }, "{played:?}");
    // One is of the file behind it.
    played.ticks.len() > 1 && played.damaged == 0
}
