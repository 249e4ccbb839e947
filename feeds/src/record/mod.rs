//! Recordings: what live feeds receive, kept on disk so that it can be replayed.
//!
//! docs/RECORDING.md describes the format. A [`Recorder`] makes taps for feeds (`tap`), whose lines
//! (`line`) a thread of its own (`writer`) compresses and writes (`output`); a `manifest` says what
//! is there. [`Recording`] opens such a directory, [`FeedReader`] reads a feed of it: `frames` what
//! survived of a file, `reader` the records in it.
//!
//! Invariant: a feed never waits for its recording. What does not fit is dropped, counted, and said
//! in the recording itself at the place where it is missing.
//!
//! Invariant: what was written is readable to the last whole frame, whatever ended the process.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod frames;
mod line;
mod manifest;
mod names;
mod output;
mod reader;
mod recording;
mod tap;
mod writer;

pub use manifest::{FileEntry, MANIFEST, Manifest, State};
pub use names::{is_data_file, redacted, utc};
pub use output::Rotation;
pub use reader::{BAD_LINE, FeedReader, HOLE, Hole, Record};
pub use recording::{RecordedFeed, Recording};
pub use writer::{OnStop, Recorder, Stats, may_take};

/// The version of the format that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// Bytes of lines that may wait for the disk, per feed: half a minute of a busy feed (1 MB/s) while
/// a disk is stuck. Also the longest line: the largest message of a venue is some 5 MB (a full
/// book in one text).
pub const WAITING_BYTES: usize = 32 << 20;

/// How often what was received is compressed and written, so that a kill costs half a second.
pub const WRITE_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Bytes of lines in a frame, give or take a line: enough to compress well, little enough that a
/// damaged one costs little. A frame is what can be read by itself.
pub const FRAME_BYTES: usize = 1 << 20;

/// The level of compression: zstd's default, at which a core compresses over 200 MB/s of JSON.
pub const LEVEL: i32 = 3;

/// Why something cannot be recorded, or a recording not be read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The system refused.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `create`, `write`, ...
        what: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory to record into that holds something else.
    #[error(
        "`{}` is not empty and holds no recordings: expected a new or empty directory, or one of recordings",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// A directory to record into that is itself a recording.
    #[error("`{}` is a recording: expected the directory around it", .0.display())]
    IsRecording(PathBuf),
    /// A file of a recording where the recording is to be named.
    #[error("`{}` is a file of a recording: expected the directory that it is in", .0.display())]
    DataFile(PathBuf),
    /// A directory of several recordings where one is to be named.
    #[error("`{}` holds {count} recordings: expected one of them, such as {newest} (the newest)", path.display())]
    Several {
        /// The directory.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The name of the newest.
        newest: String,
    },
    /// A recording of a later program.
    #[error("`{}` has the format's version {found}: expected at most {VERSION}, a newer tickcast reads it", path.display())]
    Version {
        /// The manifest or the data file.
        path: PathBuf,
        /// The version in it.
        found: u32,
    },
    /// A manifest that is none.
    #[error("`{}` is damaged: {why} (without it, the recording is read from its files)", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A venue that there is no parser for.
    #[error("`{}` is of venue `{venue}`: expected one of {known}", path.display())]
    Venue {
        /// The recording.
        path: PathBuf,
        /// The venue in it.
        venue: String,
        /// Those that are known here.
        known: String,
    },
    /// Nothing was recorded.
    #[error("nothing was recorded in `{}`", .0.display())]
    Empty(PathBuf),
}

impl RecordError {
    /// Makes errors of the system's about `path`.
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
        move |source| RecordError::Io { what, path: path.to_owned(), source }
    }
}
