//! Recording what live feeds receive, while serving or without: see [`tickcast_feeds::record`].

use std::io::Write as _;
use std::sync::Arc;

use rustix::process::Signal;
use tickcast_feeds::Instruments;
use tickcast_feeds::feed::Feed;
use tickcast_feeds::record::{RecordError, Recorder, State};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;
use crate::books;
use crate::clock;
use crate::config::{Config, Record};
use crate::ingest::Ingest;
use crate::limits;
use crate::ring;
use crate::server;

/// What a recording calls its author.
const AUTHOR: &str = concat!("tickcast ", env!("CARGO_PKG_VERSION"), " ", env!("TICKCAST_COMMIT"));

/// Begins the recording that the configuration asks for, if it does. To be called on a runtime.
///
/// # Errors
/// A directory that holds something else, or cannot be written.
pub(crate) fn start(record: &Record) -> anyhow::Result<Option<Recorder>> {
    let Some(directory) = &record.directory else { return Ok(None) };
    // By default a limit on the size of files (RLIMIT_FSIZE) kills who reaches it. With a handler,
    // whichever, the write fails instead, and only the recording stops.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let on_stop = Box::new(|error: &RecordError| tracing::error!(%error, "recording stopped"));
    let now = clock::real_ns();
    let recorder = Recorder::start(directory, record.rotation(), AUTHOR, now, on_stop)?;
    tracing::info!(directory = %recorder.directory().display(), "recording");
    Ok(Some(recorder))
}

/// The state of a recording, as it is shown.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Open => "recording",
        State::Closed => "closed",
        State::Stopped => "stopped",
    }
}

/// Records without serving, until SIGINT or SIGTERM.
///
/// # Errors
/// What keeps it from starting, a disk that is full, and the end of all feeds.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let instruments = Arc::new(Instruments::new());
    let (feeds, _) = server::open_feeds(config, &instruments)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let mut stop = server::stop_signals()?;
        run_feeds(config, &instruments, feeds, async {
            server::signalled(&mut stop).await;
        })
        .await
    })
}

/// Records these feeds until `stop`. They run before an ingest, as they do when clients are served: a
/// book that does not fit is noticed, and fetched again.
async fn run_feeds(
    config: &Config,
    instruments: &Arc<Instruments>,
    feeds: Vec<Box<dyn Feed>>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let recorder = start(&config.record)?;
    let Some(recorder) = recorder else { anyhow::bail!("no directory to record into") };
    let stats = recorder.stats();
    let hub = server::new_hub(config, &Access::open(), instruments, &Arc::default());
    let (producer, _ring) = ring::channel(*limits::RING_SLOTS_RANGE.start())?;
    let state = Arc::new(books::State::new());
    let taps = recorder.taps();
    let ingest = Ingest::start(&hub, producer, state.writer(), feeds, Some(&taps), ())?;
    // Whoever reads it may have gone.
    let _ = writeln!(std::io::stdout(), "recording to {}", recorder.directory().display());
    let failure = async {
        loop {
            tokio::time::sleep(limits::RECORD_LOOK).await;
            if stats.state() == State::Stopped {
                return "recording stopped, the log says why";
            }
            if ingest.feeds.iter().all(|feed| *feed.state.lock() != "running") {
                return "every feed has ended, the log says why";
            }
        }
    };
    let failed = tokio::select! {
        () = stop => None,
        why = failure => Some(why),
    };
    let whole = ingest.stop();
    recorder.close();
    let (messages, dropped) = (stats.messages(), stats.dropped());
    tracing::info!(messages, dropped, bytes = stats.compressed(), "recorded");
    match failed {
        Some(why) => anyhow::bail!(why),
        None if !whole => anyhow::bail!("a thread of the ingest panicked"),
        None if stats.state() == State::Stopped => anyhow::bail!("the recording is not complete"),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
