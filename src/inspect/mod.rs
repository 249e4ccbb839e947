//! `tickcast inspect`: what a recording or a capture holds, found by a replay without clients.
//!
//! The parsers run as they do in a replay, and what goes in and comes out is counted (`tally`, of
//! which each feed has one). A `report` is what is told, as JSON or as a `table`. One pass, in
//! memory that does not grow with the length of the recording.

mod report;
mod table;
mod tally;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tickcast_feeds::clock::Clock;
use tickcast_feeds::record::{HOLE, Hole, RecordedFeed, Recording};
use tickcast_feeds::replay::{Decoder, ReplayFeed, VenueDecoder};
use tickcast_feeds::spec::Speed;
use tickcast_feeds::venue::Input;
use tickcast_feeds::{
    FeedError, Instruments, ReplaySpec, RunContext, Sink, SinkClosed, Stop, Tick,
};

use report::Report;
use tally::{MOST_HOLES, Rejects, Shape, Tally};

/// What to inspect, and how to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// What a replay takes: a recording, captures, or a directory of them.
    pub paths: Vec<PathBuf>,
    /// JSON instead of a table.
    pub json: bool,
}

/// Inspects and prints to stdout.
///
/// # Errors
/// What cannot be opened, a recording of a later version, a closed stdout.
pub fn run(what: &Inspect) -> anyhow::Result<()> {
    let report = inspect(&what.paths)?;
    let text = match what.json {
        true => format!("{}\n", serde_json::to_string_pretty(&report)?),
        false => table::text(&report),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Inspects what these paths hold.
///
/// # Errors
/// As [`ReplayFeed::open`]; what breaks off in the middle is in the report.
fn inspect(paths: &[PathBuf]) -> Result<Report, FeedError> {
    let mut recordings = Vec::new();
    for path in paths {
        if let Some(directory) = Recording::find(path)? {
            recordings.push(Recording::open(&directory)?);
        }
    }
    let spec = ReplaySpec { speed: Speed::Max, rebase: false, ..ReplaySpec::new(paths.to_vec()) };
    let instruments = Arc::new(Instruments::new());
    let mut tallies = Vec::new();
    let overall = Arc::new(Mutex::new(Tally::new(String::new())));
    let feed = ReplayFeed::open(spec, &mut |path: &Path| {
        let tally = Arc::new(Mutex::new(Tally::new(path.display().to_string())));
        tallies.push(Arc::clone(&tally));
        let inner = VenueDecoder::new(Arc::clone(&instruments));
        Box::new(Inspecting { inner, tally, overall: Arc::clone(&overall) })
    })?;
    let mut lines = Lines::default();
    let context = RunContext::new(Stop::new(), Arc::new(|| 0));
    let broken = feed.run_by(&Timeless, &mut lines, &context).err();
    let mut report = Report::new(&recordings, &overall.lock(), &instruments);
    report.feeds = tallies.iter().map(|tally| tally.lock().report(&instruments)).collect();
    report.rejects = lines.rejects.report();
    report.notices.extend(lines.lone_holes(&report.feeds));
    report.notices.extend(broken.map(|error| error.to_string()));
    Ok(report)
}

/// A clock that nothing waits for.
struct Timeless;

impl Clock for Timeless {
    fn now(&self) -> u64 {
        0
    }

    fn sleep_until(&self, _: u64) {}
}

/// Counts lines that are none; the rest goes to the tallies.
#[derive(Default)]
struct Lines {
    rejects: Rejects,
    /// The first holes.
    holes: Vec<String>,
}

impl Lines {
    /// Holes that no feed has: of one that nothing else can be read of.
    fn lone_holes(self, feeds: &[report::Feed]) -> impl Iterator<Item = String> {
        let is_told =
            |hole: &str| feeds.iter().flat_map(|feed| &feed.holes).any(|told| told.ends_with(hole));
        self.holes.into_iter().filter(move |hole| !is_told(hole))
    }
}

impl Sink for Lines {
    fn put(&mut self, _: &Tick) {}

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        // Holes come to the decoder too, but for those that nothing follows or goes before.
        if kind != HOLE {
            self.rejects.note(kind, detail, text);
        } else if self.holes.len() < MOST_HOLES {
            self.holes.push(detail.to_owned());
        }
    }

    fn restart(&mut self) {}
}

/// A venue's decoder whose inputs and ticks are counted.
struct Inspecting {
    inner: VenueDecoder,
    tally: Arc<Mutex<Tally>>,
    /// Of all feeds together.
    overall: Arc<Mutex<Tally>>,
}

impl Inspecting {
    fn observe(
        &mut self,
        shape: Shape<'_>,
        recv_ns: u64,
        apply: impl FnOnce(&mut VenueDecoder, &mut dyn Sink),
    ) {
        self.overall.lock().begin(shape, recv_ns);
        let mut tally = self.tally.lock();
        tally.begin(shape, recv_ns);
        apply(&mut self.inner, &mut *tally);
        tally.end();
    }
}

impl Decoder for Inspecting {
    fn message(&mut self, text: &[u8], recv_ns: u64, url: Option<&str>, _: &mut dyn Sink) {
        let shape = match url {
            Some(_) => Shape::Reply { bytes: text.len() },
            None => Shape::Message { link: 0, bytes: text.len() },
        };
        self.observe(shape, recv_ns, |inner, sink| inner.message(text, recv_ns, url, sink));
    }

    fn restart(&mut self) {
        self.inner.restart();
    }

    fn recorded(&mut self, feed: &RecordedFeed) {
        self.tally.lock().name.clone_from(&feed.spec);
        self.inner.recorded(feed);
    }

    fn input(&mut self, input: &Input<'_>, recv_ns: u64, _: &mut dyn Sink) {
        self.observe(Shape::of(input), recv_ns, |inner, sink| inner.input(input, recv_ns, sink));
    }

    fn hole(&mut self, hole: &Hole, recv_ns: u64, _: &mut dyn Sink) {
        self.observe(Shape::Hole(hole), recv_ns, |inner, sink| inner.hole(hole, recv_ns, sink));
    }
}

#[cfg(test)]
mod tests;
