//! The replay: captures of real traffic, and recordings, as a feed.
//!
//! `line` and `capture` read one file, [`crate::record`] a recording, `merge` joins several,
//! `pacing` says when; what a message means is a [`Decoder`]'s business: `venues` has the one for
//! the venues that are known here.

mod capture;
mod line;
mod merge;
mod pacing;
mod venues;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub use capture::{BAD_LINE, MAX_LINE_BYTES};
pub use pacing::Pacing;
pub use venues::{UNKNOWN_VENUE, VenueDecoder};

use crate::clock::{Clock, LONGEST_SLEEP_NS, SystemClock};
use crate::feed::{Feed, FeedError, RunContext};
use crate::record::{Hole, Record, RecordError, RecordedFeed, Recording};
use crate::sink::{Sink, SinkClosed};
use crate::spec::{ReplaySpec, Speed};
use crate::venue::Input;

use capture::Capture;
use merge::{Content, Merge, Message};
use pacing::{Stamping, Stamps};

/// Flush at least after so many messages.
const FLUSH_MESSAGES: usize = 256;

/// How often to look whether enough clients are there.
const WAIT_NS: u64 = 10_000_000;

/// The pause between two passes of a looping replay, in the present's nanoseconds.
const LOOP_GAP_NS: u64 = 1_000_000;

/// Makes ticks of a capture's messages.
pub trait Decoder: Send {
    /// Reads one message as it was received at `recv_ns` (nanoseconds since the Unix epoch, the
    /// capture's) and puts its ticks into the sink, or rejects it; `url` is the URL that it
    /// answers where it is a REST reply.
    fn message(&mut self, text: &[u8], recv_ns: u64, url: Option<&str>, sink: &mut dyn Sink);

    /// Forgets what it knows of earlier messages: the capture starts over.
    fn restart(&mut self);

    /// What follows is of this feed of a recording. Told once, before anything else.
    fn recorded(&mut self, feed: &RecordedFeed) {
        let _ = feed;
    }

    /// The replay of a recording is about to begin, and may wait for clients first.
    fn begin(&mut self, sink: &mut dyn Sink) {
        let _ = sink;
    }

    /// Takes what the venue's parser was given when it was recorded.
    fn input(&mut self, input: &Input<'_>, recv_ns: u64, sink: &mut dyn Sink) {
        match *input {
            Input::Message { text, .. } => self.message(text, recv_ns, None, sink),
            Input::Reply { url, text } => self.message(text, recv_ns, Some(url), sink),
            Input::Expect { .. } | Input::Lost { .. } | Input::Distrust { .. } => {}
        }
    }

    /// Something is missing from the recording here; the sink has been told.
    fn hole(&mut self, hole: &Hole, recv_ns: u64, sink: &mut dyn Sink) {
        let _ = (hole, recv_ns, sink);
    }
}

/// Makes the decoder for a capture, given the path of its first file, or for a feed of a
/// recording, given its directory.
pub type MakeDecoder<'a> = dyn FnMut(&Path) -> Box<dyn Decoder> + 'a;

/// A replay whose files have been found.
///
/// Files whose names are alike up to the first dot, in the same directory, are parts of one
/// capture and share a decoder: `BINANCE.ws.1.0` and the order books in `BINANCE.http.0.0` belong
/// together, `btcusdt.jsonl.gz` and `ethusdt.jsonl.gz` do not.
pub struct ReplayFeed {
    spec: ReplaySpec,
    files: Vec<File>,
    decoders: Vec<Box<dyn Decoder>>,
}

/// What is replayed in its own order.
struct File {
    origin: Origin,
    /// The index of its decoder.
    decoder: usize,
}

/// Where it is from.
enum Origin {
    /// A capture file.
    Capture(PathBuf),
    /// A feed of a recording: all its files.
    Recorded(RecordedFeed),
}

impl File {
    fn is_recorded(&self) -> bool {
        matches!(self.origin, Origin::Recorded(_))
    }
}

/// Why a pass ended early.
enum End {
    /// The process stops.
    Stopped,
    /// The capture is at fault.
    Failed(FeedError),
}

impl From<SinkClosed> for End {
    fn from(_: SinkClosed) -> Self {
        End::Stopped
    }
}

impl From<FeedError> for End {
    fn from(error: FeedError) -> Self {
        End::Failed(error)
    }
}

impl ReplayFeed {
    /// Finds the files (a directory is a recording, holds one, or stands for the captures in it, by
    /// name), and makes sure that they can be read.
    ///
    /// # Errors
    /// [`FeedError::Open`] for what is missing or may not be read, [`FeedError::EmptyDirectory`],
    /// [`FeedError::Recording`].
    pub fn open(spec: ReplaySpec, make: &mut MakeDecoder<'_>) -> Result<Self, FeedError> {
        let (mut paths, mut files, mut decoders) = (Vec::new(), Vec::new(), Vec::new());
        for path in &spec.files {
            let Some(directory) = Recording::find(path)? else {
                expand(path, &mut paths)?;
                continue;
            };
            for feed in Recording::open(&directory)?.feeds() {
                let mut decoder = make(&directory);
                decoder.recorded(feed);
                let origin = Origin::Recorded(feed.clone());
                files.push(File { origin, decoder: decoders.len() });
                decoders.push(decoder);
            }
        }
        let mut by_capture = HashMap::new();
        for path in paths {
            Capture::open(&path)?;
            let decoder = *by_capture.entry(capture_of(&path)).or_insert_with(|| {
                decoders.push(make(&path));
                decoders.len() - 1
            });
            files.push(File { origin: Origin::Capture(path), decoder });
        }
        Ok(ReplayFeed { spec, files, decoders })
    }

    /// Runs by this clock until the captures end, for ever where the spec says loop.
    ///
    /// # Errors
    /// [`FeedError::Read`] at the end of a pass in which a file broke off, [`FeedError::Empty`]
    /// where there is no message at all, [`FeedError::Open`] for a file that has gone.
    pub fn run_by(
        mut self,
        clock: &impl Clock,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<(), FeedError> {
        match self.run_passes(clock, sink, context) {
            Ok(()) | Err(End::Stopped) => Ok(()),
            Err(End::Failed(error)) => Err(error),
        }
    }

    fn run_passes(
        &mut self,
        clock: &impl Clock,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<(), End> {
        if self.files.iter().any(File::is_recorded) {
            self.decoders.iter_mut().for_each(|decoder| decoder.begin(sink));
            sink.flush()?;
        }
        while context.subscribers() < self.spec.wait {
            if context.stop.is_stopped() {
                return Err(End::Stopped);
            }
            clock.sleep_until(clock.now() + WAIT_NS);
        }
        let mut base = clock.now();
        loop {
            let end = self.run_pass(base, clock, sink, context)?;
            if !self.spec.repeat || context.stop.is_stopped() {
                return Ok(());
            }
            base = clock.now().max(end.saturating_add(LOOP_GAP_NS));
            sink.restart();
            self.decoders.iter_mut().for_each(|decoder| decoder.restart());
        }
    }

    /// One pass over the captures; answers when its last message was due.
    fn run_pass(
        &mut self,
        base: u64,
        clock: &impl Clock,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<u64, End> {
        let mut merge = Merge::open(&self.files, sink)?;
        let Some(first) = merge.recv() else {
            merge.finish()?;
            return Err(self.empty().into());
        };
        let pacing = Pacing::new(self.spec.speed, first, base);
        let mut end = base;
        let mut now = clock.now();
        let mut unflushed = 0;
        while let Some(message) = merge.message() {
            let due = pacing.due(message.recv);
            if due > now {
                now = clock.now();
            }
            if due > now || unflushed == FLUSH_MESSAGES {
                unflushed = 0;
                sink.flush()?;
                if due > now {
                    clock.sleep_until(due.min(now + LONGEST_SLEEP_NS));
                }
                if context.stop.is_stopped() {
                    return Err(End::Stopped);
                }
                now = clock.now();
                continue;
            }
            end = end.max(due);
            self.put(&message, pacing, clock, sink);
            unflushed += 1;
            merge.advance(sink);
        }
        sink.flush()?;
        merge.finish()?;
        Ok(end)
    }

    fn put(
        &mut self,
        message: &Message<'_>,
        pacing: Pacing,
        clock: &impl Clock,
        sink: &mut dyn Sink,
    ) {
        let stamps = match (self.spec.rebase, self.spec.speed) {
            (false, _) => Stamps::Keep,
            (true, Speed::Max) => Stamps::Now { recv: message.recv, now: clock.now() },
            (true, Speed::Millionths(_)) => Stamps::Shift(pacing),
        };
        let decoder = &mut self.decoders[self.files[message.file].decoder];
        let sink = &mut Stamping { sink, stamps };
        match message.content {
            Content::Text(url, text) => decoder.message(text, message.recv, url, sink),
            Content::Record(Record::Input(input)) => decoder.input(&input, message.recv, sink),
            Content::Record(Record::Hole(hole)) => decoder.hole(hole, message.recv, sink),
        }
    }

    /// Why there is nothing to replay.
    fn empty(&self) -> FeedError {
        match self.spec.files.first().filter(|_| self.files.iter().all(File::is_recorded)) {
            Some(path) => RecordError::Empty(path.clone()).into(),
            None => FeedError::Empty(self.spec.to_string()),
        }
    }
}

impl Feed for ReplayFeed {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn thread_name(&self) -> String {
        "replay".to_owned()
    }

    fn lossless(&self) -> bool {
        self.spec.speed == Speed::Max
    }

    fn run(self: Box<Self>, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        SystemClock::sharpen_this_thread();
        self.run_by(&SystemClock::new(), sink, context)
    }
}

/// The file, or the captures in the directory.
fn expand(path: &Path, out: &mut Vec<PathBuf>) -> Result<(), FeedError> {
    let error = |source| FeedError::Open { path: path.to_owned(), source };
    if !path.is_dir() {
        out.push(path.to_owned());
        return Ok(());
    }
    let before = out.len();
    for entry in fs::read_dir(path).map_err(error)? {
        let file = entry.map_err(error)?.path();
        // A licence or a note that lies beside them is not meant.
        if file.is_file() && Capture::recognise(&file)? {
            out.push(file);
        }
    }
    out[before..].sort();
    if out.len() == before {
        return Err(FeedError::EmptyDirectory(path.to_owned()));
    }
    Ok(())
}

/// What the files of one capture have in common.
fn capture_of(path: &Path) -> (Option<PathBuf>, OsString) {
    let name = path.file_name().unwrap_or_default();
    let bytes = name.as_encoded_bytes();
    let stem = bytes.split(|&byte| byte == b'.').find(|part| !part.is_empty()).unwrap_or(bytes);
    (path.parent().map(Path::to_owned), String::from_utf8_lossy(stem).into_owned().into())
}
