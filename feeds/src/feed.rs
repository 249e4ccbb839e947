//! What every feed is: something that runs on a thread of its own and puts ticks into a sink.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::instrument::Instruments;
use crate::lines::{LinesFeed, OpenError, inbox};
use crate::live::{LiveError, LiveFeed, LiveStats, MakeTap, Tap, Tapped};
use crate::record::RecordError;
use crate::replay::{Decoder, MakeDecoder, ReplayFeed, VenueDecoder};
use crate::sink::{Sink, Stop};
use crate::spec::{FeedSpec, LinesSource};
use crate::synthetic::{SyntheticFeed, VENUE};

/// A source of ticks, opened and ready to run.
pub trait Feed: Send {
    /// The spec it was opened from, for logs and metrics.
    fn name(&self) -> String;

    /// The name for the thread that runs it: at most 15 bytes, which is what Linux keeps.
    fn thread_name(&self) -> String;

    /// Whether it may be slowed by its consumers: then [`Sink::flush`] is to block until they
    /// have room, and nobody who keeps reading loses anything. A live feed answers `false`.
    fn lossless(&self) -> bool;

    /// What can be seen of a live feed while it runs; `None` for others.
    fn live(&self) -> Option<Arc<LiveStats>> {
        None
    }

    /// Runs until the source ends or the context says stop; everything put has been flushed
    /// when it returns `Ok`. A closed sink is a stop, not an error.
    ///
    /// # Errors
    /// Whatever ends the source before its time, see [`FeedError`].
    fn run(self: Box<Self>, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError>;
}

impl FeedSpec {
    /// Opens what the spec names, so that what is missing stops the start and not the run; the
    /// instruments are listed in `instruments`, a synthetic feed's now, a replay's as it meets
    /// them.
    ///
    /// # Errors
    /// See [`ReplayFeed::open`] and [`LinesFeed::open`]; a synthetic feed always opens.
    pub fn open(self, instruments: &Arc<Instruments>) -> Result<Box<dyn Feed>, FeedError> {
        let mut make =
            |_: &Path| -> Box<dyn Decoder> { Box::new(VenueDecoder::new(Arc::clone(instruments))) };
        self.open_with(instruments, &mut make)
    }

    /// The same with decoders of the caller's for a replay, one for each capture.
    ///
    /// # Errors
    /// As [`FeedSpec::open`].
    pub fn open_with(
        self,
        instruments: &Arc<Instruments>,
        make: &mut MakeDecoder<'_>,
    ) -> Result<Box<dyn Feed>, FeedError> {
        Ok(match self {
            FeedSpec::Synthetic(spec) => {
                instruments.claims().reserve(VENUE);
                Box::new(SyntheticFeed::open(spec, instruments))
            }
            FeedSpec::Replay(spec) => Box::new(ReplayFeed::open(spec, make)?),
            // Nobody can hand anything in: it ends at once.
            FeedSpec::Lines(spec) if spec.source == LinesSource::Publish => {
                inbox(spec, instruments).1
            }
            FeedSpec::Lines(spec) => Box::new(LinesFeed::open(spec, instruments)?),
            FeedSpec::Live(spec) => {
                instruments.claims().reserve(spec.venue);
                Box::new(LiveFeed::open(spec, instruments)?)
            }
        })
    }
}

/// What a running feed knows of the process around it.
#[derive(Clone)]
pub struct RunContext {
    /// Tells the feed to stop.
    pub stop: Stop,
    subscribers: Arc<dyn Fn() -> usize + Send + Sync>,
    taps: Option<Arc<MakeTap>>,
}

impl RunContext {
    /// A context of this stop handle; `subscribers` answers how many clients are subscribed to
    /// something at the moment.
    pub fn new(stop: Stop, subscribers: Arc<dyn Fn() -> usize + Send + Sync>) -> Self {
        RunContext { stop, subscribers, taps: None }
    }

    /// The same, and what live feeds receive is shown to the taps that `make` makes.
    pub fn with_taps(self, make: Arc<MakeTap>) -> Self {
        RunContext { taps: Some(make), ..self }
    }

    /// The tap for a feed, if what it receives is to be kept.
    pub fn tap(&self, feed: Tapped<'_>) -> Option<Box<dyn Tap>> {
        self.taps.as_ref().and_then(|make| make(feed))
    }

    /// How many clients are subscribed to something at the moment.
    pub fn subscribers(&self) -> usize {
        (self.subscribers)()
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// Why a feed could not be opened, or ended before its time.
#[derive(Debug, Error)]
pub enum FeedError {
    /// A capture is missing or may not be read.
    #[error("cannot open capture `{}`: {source}", path.display())]
    Open {
        /// The file as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A capture broke off: a disk error or a truncated or damaged compressed file. What was read
    /// before it has been put.
    #[error("capture `{}` is damaged after line {line}: {source}", path.display())]
    Read {
        /// The file as it was given.
        path: PathBuf,
        /// How many lines were read in full.
        line: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// No line of the captures is one.
    #[error(
        "no message in `{0}`: expected lines of `<receive ns> <json>` or `<receive s>: <json>`"
    )]
    Empty(String),
    /// A live feed.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A directory without a capture.
    #[error("no capture in directory `{}`", .0.display())]
    EmptyDirectory(PathBuf),
    /// A source of lines that cannot be opened.
    #[error(transparent)]
    Lines(OpenError),
    /// The standard input sends something else than ticks.
    #[error("what comes on `{0}` is no stream of ticks: see the rejected lines before this")]
    Rubbish(String),
    /// A recording cannot be replayed.
    #[error(transparent)]
    Recording(#[from] RecordError),
}
