//! The thread that writes a recording.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::manifest::{Manifest, State, sync_directory};
use super::names::{directory, redacted, utc};
use super::output::{Output, Packer, Rotation};
use super::recording::{is_blank, is_recording};
use super::tap::{Lane, LaneTap};
use super::{RecordError, VERSION, WRITE_EVERY};
use crate::live::{MakeTap, Tap, Tapped};

/// A recording that is being made.
pub struct Recorder {
    directory: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Told once why a recording could not be gone on with, on the writer's thread.
pub type OnStop = dyn FnOnce(&RecordError) + Send;

struct Shared {
    lanes: Mutex<Vec<Arc<Lane>>>,
    stats: Arc<Stats>,
    closing: AtomicBool,
}

/// What is known of a recording while it is made.
#[derive(Debug, Default)]
pub struct Stats {
    /// A [`State`].
    state: AtomicU8,
    messages: AtomicU64,
    bytes: AtomicU64,
    compressed: AtomicU64,
    dropped: AtomicU64,
}

impl Stats {
    /// [`State::Open`] while it goes on.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Open,
            1 => State::Closed,
            _ => State::Stopped,
        }
    }

    /// Messages and REST replies written.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Bytes of lines written, before compression.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of files written.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Ordering::Relaxed)
    }

    /// Inputs that are missing because the disk was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn note_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_messages(&self, messages: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn note_bytes(&self, bytes: u64, compressed: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.compressed.fetch_add(compressed, Ordering::Relaxed);
    }

    fn end(&self, state: State) {
        let number = match state {
            State::Open => 0,
            State::Closed => 1,
            State::Stopped => 2,
        };
        self.state.store(number, Ordering::Relaxed);
    }
}

impl Recorder {
    /// Begins a recording in a new directory below `parent`, named after `now_ns`; `written_by`
    /// names the program. `on_stop` is told why, should it end before [`Recorder::close`].
    ///
    /// # Errors
    /// [`RecordError::NotEmpty`] and [`RecordError::IsRecording`] for a parent that holds
    /// something else, [`RecordError::Io`] where it cannot be written.
    pub fn start(
        parent: &Path,
        rotation: Rotation,
        written_by: &str,
        now_ns: u64,
        on_stop: Box<OnStop>,
    ) -> Result<Self, RecordError> {
        let directory = create(parent, now_ns)?;
        let manifest = Manifest {
            version: VERSION,
            written_by: written_by.to_owned(),
            started: utc(now_ns),
            state: State::Open,
            error: None,
            feeds: Vec::new(),
        };
        manifest.write(&directory)?;
        let stats = Arc::new(Stats::default());
        let shared =
            Arc::new(Shared { lanes: Mutex::default(), stats, closing: AtomicBool::new(false) });
        let packer = Packer::new().map_err(RecordError::io("compress in", &directory))?;
        let writer = Writer {
            directory: directory.clone(),
            shared: Arc::clone(&shared),
            rotation,
            manifest,
            outputs: Vec::new(),
            packer,
        };
        let run = move || writer.run(on_stop);
        let thread = thread::Builder::new().name("record".to_owned()).spawn(run);
        let thread = thread.map_err(RecordError::io("start a thread for", &directory))?;
        Ok(Recorder { directory, shared, thread: Some(thread) })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What makes the taps of the feeds that it records.
    pub fn taps(&self) -> Arc<MakeTap> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |feed: Tapped<'_>| Some(shared.tap(feed)))
    }

    /// What is known of it, also after its end.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// Writes what its taps have kept, and ends it. To be called when the feeds have ended.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.closing.store(true, Ordering::Release);
        thread.thread().unpark();
        let _ = thread.join(); // a panic has been told on stderr
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Shared {
    fn tap(&self, feed: Tapped<'_>) -> Box<dyn Tap> {
        let mut lanes = self.lanes.lock();
        let lane = Arc::new(Lane {
            number: lanes.len() as u32 + 1,
            venue: feed.venue,
            spec: redacted(feed.feed),
            waiting: Default::default(),
            empty: Default::default(),
        });
        lanes.push(Arc::clone(&lane));
        Box::new(LaneTap::new(lane, Arc::clone(&self.stats)))
    }
}

/// Whether a directory that is there may take recordings: it is empty, or has others.
///
/// # Errors
/// What else it holds, or why it cannot be read.
pub fn may_take(parent: &Path) -> Result<(), RecordError> {
    if is_recording(parent) {
        return Err(RecordError::IsRecording(parent.to_owned()));
    }
    for entry in fs::read_dir(parent).map_err(RecordError::io("read", parent))? {
        let entry = entry.map_err(RecordError::io("read", parent))?.path();
        if !is_recording(&entry) && !is_blank(&entry) {
            return Err(RecordError::NotEmpty(parent.to_owned()));
        }
    }
    Ok(())
}

/// Makes the directory of a recording, after looking at what is around it.
fn create(parent: &Path, now_ns: u64) -> Result<PathBuf, RecordError> {
    fs::create_dir_all(parent).map_err(RecordError::io("create", parent))?;
    may_take(parent)?;
    let name = directory(now_ns);
    for attempt in 1.. {
        // Two that begin in the same second.
        let name = if attempt == 1 { name.clone() } else { format!("{name}-{attempt}") };
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(RecordError::io("create", &path)(error)),
            Ok(()) => {
                sync_directory(parent).map_err(RecordError::io("sync", parent))?;
                return Ok(path);
            }
        }
    }
    unreachable!("there are more names than directories")
}

struct Writer {
    directory: PathBuf,
    shared: Arc<Shared>,
    rotation: Rotation,
    manifest: Manifest,
    outputs: Vec<Output>,
    packer: Packer,
}

impl Writer {
    fn run(mut self, on_stop: Box<OnStop>) {
        loop {
            // Asked before: what was kept before the end was asked for is written.
            let closing = self.shared.closing.load(Ordering::Acquire);
            let done = self.write().and_then(|()| if closing { self.close() } else { Ok(()) });
            if let Err(error) = done {
                self.stop(&error);
                on_stop(&error);
                return;
            }
            if closing {
                return;
            }
            thread::park_timeout(WRITE_EVERY);
        }
    }

    /// Writes what waits.
    fn write(&mut self) -> Result<(), RecordError> {
        let new: Vec<_> =
            self.shared.lanes.lock().iter().skip(self.outputs.len()).cloned().collect();
        let mut news = !new.is_empty();
        for lane in new {
            self.outputs.push(Output::new(lane, &self.directory, self.rotation));
        }
        let mut blocks = Vec::new();
        for (place, output) in self.outputs.iter_mut().enumerate() {
            let Some(mut block) = output.lane.waiting.take() else { continue };
            news |= output.prepare(&mut block, &mut self.packer, &self.shared.stats)?;
            blocks.push((place, block));
        }
        // Before what it is about: a kill in between must not cost its readers the instruments.
        if news {
            self.write_manifest()?;
        }
        for (place, mut block) in blocks {
            let output = &mut self.outputs[place];
            output.write(&mut block, &mut self.packer, &self.shared.stats)?;
            block.clear();
            output.lane.empty.store(Some(block));
        }
        Ok(())
    }

    fn write_manifest(&mut self) -> Result<(), RecordError> {
        self.manifest.feeds = self.outputs.iter().map(|output| output.entry.clone()).collect();
        self.manifest.write(&self.directory)
    }

    fn close(&mut self) -> Result<(), RecordError> {
        self.outputs.iter_mut().try_for_each(Output::close)?;
        self.manifest.state = State::Closed;
        self.write_manifest()?;
        self.shared.stats.end(State::Closed);
        Ok(())
    }

    fn stop(&mut self, error: &RecordError) {
        self.shared.stats.end(State::Stopped);
        self.outputs.iter_mut().for_each(Output::abandon);
        (self.manifest.state, self.manifest.error) = (State::Stopped, Some(error.to_string()));
        // The disk may have no room for this either: the last one stands then.
        let _ = self.write_manifest();
    }
}
