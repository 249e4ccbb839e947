//! One feed of a recording, record by record.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

use super::frames::{Frame, Frames};
use super::line::{Head, Parsed, What};
use super::manifest::ListingEntry;
use super::{RecordError, VERSION};
use crate::instrument::Listing;
use crate::sink::Sink;
use crate::venue::Input;

/// The cause under which a line that is none is given to [`Sink::reject`].
pub const BAD_LINE: &str = "recording line";

/// The cause under which what is missing from a recording is given to [`Sink::reject`].
pub const HOLE: &str = "recording incomplete";

/// What a recording holds at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// What the venue's parser was given.
    Input(Input<'a>),
    /// Something is missing here.
    Hole(&'a Hole),
}

/// What is missing from a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hole {
    /// So many inputs were not written: the disk was too slow.
    Dropped(u64),
    /// Part of a file cannot be read; what follows it can.
    Damaged {
        /// The file's name.
        file: String,
        /// Where, in bytes.
        at: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// The end of the last file was not written: the process was killed. Nothing follows.
    Torn {
        /// The file's name.
        file: String,
        /// Where, in bytes.
        at: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// A file ends too early, between two frames, or is another one.
    Miscounted {
        /// The file's name.
        file: String,
        /// Inputs in it.
        read: u64,
        /// Inputs that the manifest says are in it.
        expected: u64,
    },
    /// A file is not there, or cannot be read.
    Missing {
        /// The file's name.
        file: String,
        /// What the system said.
        why: String,
    },
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hole::Dropped(inputs) => write!(f, "{inputs} inputs dropped, the disk was too slow"),
            Hole::Damaged { file, at, bytes } => {
                write!(f, "{file} is damaged: {bytes} bytes from {at} on cannot be read")
            }
            Hole::Torn { file, at, bytes } => {
                write!(
                    f,
                    "{file} is torn: its last {bytes} bytes, from {at} on, are no whole frame"
                )
            }
            Hole::Miscounted { file, read, expected } => {
                write!(f, "{file} holds {read} inputs, the manifest says {expected}")
            }
            Hole::Missing { file, why } => write!(f, "{file} cannot be read: {why}"),
        }
    }
}

/// A data file, and what the manifest says is in it.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    pub(super) path: PathBuf,
    /// `None` where the manifest does not know it.
    pub(super) expected: Option<Expected>,
}

/// What a data file should hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) inputs: u64,
    /// More is as wrong as less. It is not where the file was written to after the manifest.
    pub(super) is_exact: bool,
}

impl Expected {
    fn is_met_by(self, inputs: u64) -> bool {
        inputs == self.inputs || (inputs > self.inputs && !self.is_exact)
    }
}

/// One feed's inputs, in the order in which they were received. It stands on a record, or at the
/// end.
pub struct FeedReader {
    files: VecDeque<DataFile>,
    frames: Option<Frames>,
    /// The name of the file that is read.
    file: String,
    /// What should be in it; `None` where nobody knows, or what is missing was told already.
    expected: Option<Expected>,
    /// Inputs that were read of it.
    inputs: u64,
    lines: Vec<u8>,
    /// Where the line after the present one begins.
    next: usize,
    /// Where the present line stands.
    line: (usize, usize),
    parsed: Parsed,
    hole: Option<Hole>,
    /// A hole before anything that has a time: it gets that of the first input.
    early: Option<Hole>,
    /// The present line is an input that comes after the present hole.
    held: bool,
    recv: Option<u64>,
    newest: u64,
    meta: Meta,
}

/// What the files say besides the inputs.
#[derive(Default)]
pub(super) struct Meta {
    pub(super) head: Option<Head>,
    pub(super) listings: Vec<Listing>,
}

impl FeedReader {
    /// A reader of these files; to be advanced to its first record.
    pub(super) fn new(files: impl IntoIterator<Item = DataFile>) -> Self {
        FeedReader {
            files: files.into_iter().collect(),
            frames: None,
            file: String::new(),
            expected: None,
            inputs: 0,
            lines: Vec::new(),
            next: 0,
            line: (0, 0),
            parsed: Parsed::default(),
            hole: None,
            early: None,
            held: false,
            recv: None,
            newest: 0,
            meta: Meta::default(),
        }
    }

    /// When what it stands on was received, nanoseconds since the Unix epoch; of a hole, about.
    pub fn recv(&self) -> Option<u64> {
        self.recv
    }

    /// What it stands on.
    pub fn record(&self) -> Option<Record<'_>> {
        self.recv?;
        match &self.hole {
            Some(hole) => Some(Record::Hole(hole)),
            None => self.parsed.input(&self.lines[self.line.0..self.line.1]).map(Record::Input),
        }
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Goes on to the next record. Lines that are none, and holes, are rejected on the way.
    pub fn advance(&mut self, sink: &mut dyn Sink) {
        (self.recv, self.hole) = (None, None);
        if std::mem::take(&mut self.held) {
            self.recv = Some(self.newest);
            return;
        }
        loop {
            while self.next < self.lines.len() {
                if self.read_line(sink) {
                    return;
                }
            }
            if !self.read_frame() {
                return;
            }
            if let Some(hole) = self.hole.take() {
                sink.reject(HOLE, &hole.to_string(), b"");
                if self.newest == 0 {
                    self.early.get_or_insert(hole);
                    continue;
                }
                (self.recv, self.hole) = (Some(self.newest), Some(hole));
                return;
            }
        }
    }

    /// Takes the next line; whether it is a record.
    fn read_line(&mut self, sink: &mut dyn Sink) -> bool {
        let rest = &self.lines[self.next..];
        let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        self.line = (self.next, self.next + len);
        self.next += len + 1;
        let line = &self.lines[self.line.0..self.line.1];
        if let Err(why) = self.parsed.read(line) {
            sink.reject(BAD_LINE, &format!("{}: {why}", self.file), line);
            self.expected = None;
            return false;
        }
        match &self.parsed.what {
            What::Nothing => return false,
            What::Head(json) => {
                if let Ok(head) = serde_json::from_slice(&line[json.clone()]) {
                    self.meta.head.get_or_insert(head);
                }
                return false;
            }
            What::Listed(json) => {
                let entries: Vec<ListingEntry> =
                    serde_json::from_slice(&line[json.clone()]).unwrap_or_default();
                self.meta.list(entries.iter().map(Listing::from));
                return false;
            }
            What::Gap(inputs) => {
                let hole = Hole::Dropped(*inputs);
                sink.reject(HOLE, &hole.to_string(), b"");
                self.hole = Some(hole);
            }
            _ => {
                self.inputs += 1;
                self.hole = self.early.take();
                self.held = self.hole.is_some();
            }
        }
        self.newest = self.parsed.recv;
        self.recv = Some(self.newest);
        true
    }

    /// Reads the next frame, or finds a hole; `false` at the end.
    fn read_frame(&mut self) -> bool {
        (self.next, self.line) = (0, (0, 0));
        self.lines.clear();
        let Some(frames) = &mut self.frames else { return self.open() };
        let file = self.file.clone();
        match frames.next(&mut self.lines) {
            Ok(Frame::Lines) => return true,
            Ok(Frame::End) => {
                self.frames = None;
                let expected = self.expected.filter(|expected| !expected.is_met_by(self.inputs));
                self.hole = expected.map(|Expected { inputs, .. }| Hole::Miscounted {
                    file,
                    read: self.inputs,
                    expected: inputs,
                });
            }
            Ok(Frame::Damaged { at, bytes }) => {
                self.expected = None;
                self.hole = Some(Hole::Damaged { file, at, bytes });
            }
            Ok(Frame::Torn { at, bytes }) => {
                self.frames = None;
                self.hole = Some(match self.files.is_empty() {
                    true => Hole::Torn { file, at, bytes },
                    false => Hole::Damaged { file, at, bytes },
                });
            }
            Err(error) => {
                self.frames = None;
                self.hole = Some(Hole::Missing { file, why: error.to_string() });
            }
        }
        self.lines.clear();
        true
    }

    /// Goes on to the next file; `false` where there is none.
    fn open(&mut self) -> bool {
        let Some(DataFile { path, expected }) = self.files.pop_front() else { return false };
        (self.expected, self.inputs) = (expected, 0);
        let name = path.file_name().unwrap_or_default();
        self.file = name.to_string_lossy().into_owned();
        match Frames::open(&path) {
            Ok(frames) => self.frames = Some(frames),
            Err(error) => {
                let (file, why) = (self.file.clone(), error.to_string());
                self.hole = Some(Hole::Missing { file, why });
            }
        }
        true
    }
}

impl Meta {
    fn list(&mut self, listings: impl Iterator<Item = Listing>) {
        for listing in listings {
            if !self.listings.iter().any(|known| known.native == listing.native) {
                self.listings.push(listing);
            }
        }
    }
}

/// The head of a data file; `None` where its beginning is damaged.
///
/// # Errors
/// [`RecordError::Version`], [`RecordError::Io`].
pub(super) fn head(path: &std::path::Path) -> Result<Option<Head>, RecordError> {
    let mut frames = Frames::open(path).map_err(RecordError::io("open", path))?;
    let mut lines = Vec::new();
    let frame = frames.next(&mut lines).map_err(RecordError::io("read", path))?;
    let line = lines.split(|&byte| byte == b'\n').next().filter(|_| frame == Frame::Lines);
    let json = line.and_then(|line| line.strip_prefix(super::line::HEAD.as_bytes()));
    let Some(json) = json else { return Ok(None) };
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice(json) {
        Ok(Versioned { version }) if version > VERSION => {
            Err(RecordError::Version { path: path.to_owned(), found: version })
        }
        _ => Ok(serde_json::from_slice(json).ok()),
    }
}
