//! What an inspection tells.

use serde::Serialize;
use tickcast_feeds::Instruments;
use tickcast_feeds::record::{FileEntry, RecordedFeed, Recording, State, utc};

use super::tally::Tally;

/// What a recording or captures hold.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What the recordings say of themselves; none for captures.
    pub(super) recordings: Vec<Said>,
    /// When the first input was received, nanoseconds since the Unix epoch, and as RFC 3339.
    pub(super) first_ns: u64,
    pub(super) first: String,
    /// When the last was.
    pub(super) last_ns: u64,
    pub(super) last: String,
    /// Messages and REST replies, and bytes of their texts.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Messages a second, of all feeds together.
    pub(super) rate: Rate,
    /// Symbols that were listed.
    pub(super) symbols: usize,
    /// Feeds, or captures.
    pub(super) feeds: Vec<Feed>,
    /// Lines that are none.
    pub(super) rejects: Vec<Reject>,
    /// What else is wrong.
    pub(super) notices: Vec<String>,
}

/// What a recording says of itself.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    pub(super) path: String,
    pub(super) version: u32,
    pub(super) written_by: String,
    pub(super) started: String,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The manifest is missing: what it said was read from the files.
    pub(super) rebuilt: bool,
    /// The files that are there, and their bytes.
    pub(super) disk_files: usize,
    pub(super) disk_bytes: u64,
    /// What the manifest says of them.
    pub(super) files: Vec<FileEntry>,
}

/// Messages a second.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Rate {
    pub(super) mean: f64,
    /// Of the seconds, silent ones included.
    pub(super) p99: u64,
    pub(super) peak: u64,
    /// The second of the peak.
    pub(super) peak_at: String,
}

/// A feed of a recording, or a capture.
#[derive(Debug, Serialize)]
pub(super) struct Feed {
    /// The spec, or the file.
    pub(super) name: String,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) rate: Rate,
    /// By what comes of them.
    pub(super) kinds: Vec<Kind>,
    /// REST replies among the messages.
    pub(super) replies: u64,
    /// Subscriptions confirmed.
    pub(super) confirmed: u64,
    /// Times that a book turned out to be wrong.
    pub(super) distrusted: u64,
    /// Inputs that are missing because the disk was too slow.
    pub(super) dropped: u64,
    /// What is missing of files.
    pub(super) holes: Vec<String>,
    pub(super) links: Vec<Link>,
    pub(super) symbols: Vec<Symbol>,
    /// Messages that were not understood, by cause.
    pub(super) rejects: Vec<Reject>,
}

/// Messages of which the same came.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Kind {
    /// `trade`, `quote`, `book`, or `none`: an answer, a heartbeat, a duplicate, a diff that waits.
    pub(super) kind: &'static str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A connection.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Link {
    pub(super) link: u16,
    pub(super) messages: u64,
    /// Times that it was lost.
    pub(super) lost: u64,
    /// The longest time without a message while it was there, and when that began.
    pub(super) silence_ms: u64,
    pub(super) silence_at: String,
}

/// A symbol.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Symbol {
    pub(super) symbol: String,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) trades: u64,
    pub(super) quotes: u64,
    /// Events of the book, snapshots included.
    pub(super) books: u64,
    pub(super) snapshots: u64,
    /// Breaks in the chain of the book's diffs.
    pub(super) gaps: u64,
    /// Times that the book was unknown for any reason, gaps included.
    pub(super) resyncs: u64,
    /// Time that the data were stale or the book unknown.
    pub(super) down_ms: u64,
    /// Whether they were at the end.
    pub(super) down: bool,
}

/// A cause for which messages were rejected.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Reject {
    pub(super) kind: &'static str,
    pub(super) count: u64,
    /// What was wrong with the first, and its text, cut.
    pub(super) detail: String,
    pub(super) text: String,
}

impl Report {
    pub(super) fn new(recordings: &[Recording], all: &Tally, instruments: &Instruments) -> Self {
        let all_of = all.report(instruments);
        let (first_ns, last_ns) = all.span();
        Report {
            recordings: recordings.iter().map(Said::of).collect(),
            first_ns,
            first: utc(first_ns),
            last_ns,
            last: utc(last_ns),
            messages: all_of.messages,
            bytes: all_of.bytes,
            rate: all_of.rate,
            symbols: instruments.len(),
            feeds: Vec::new(),
            rejects: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl Said {
    fn of(recording: &Recording) -> Self {
        let manifest = recording.manifest();
        let paths = recording.feeds().iter().flat_map(RecordedFeed::files);
        let sizes: Vec<u64> =
            paths.filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).collect();
        Said {
            path: recording.directory().display().to_string(),
            version: manifest.version,
            written_by: manifest.written_by.clone(),
            started: manifest.started.clone(),
            state: manifest.state,
            error: manifest.error.clone(),
            rebuilt: recording.is_rebuilt(),
            disk_files: sizes.len(),
            disk_bytes: sizes.iter().sum(),
            files: manifest.feeds.iter().flat_map(|feed| feed.files.clone()).collect(),
        }
    }
}
