//! Where feeds put their ticks. A feed knows this trait and nothing of rings, reactors or sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::instrument::InstrumentId;
use crate::tick::Tick;

/// The other side takes no more: the process is stopping. A feed that gets this returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sink is closed")]
pub struct SinkClosed;

/// Takes what a feed makes.
///
/// Ticks of one event (a book message of many levels) are put one after the other and the last
/// carries [`flags::LAST`](crate::tick::flags::LAST). Nothing put is promised to be delivered
/// before [`Sink::flush`].
pub trait Sink {
    /// Puts one tick. Cheap: no lock and no system call.
    fn put(&mut self, tick: &Tick);

    /// Hands over what was put. A feed flushes when it has nothing more at hand (a pause in its
    /// schedule, an empty socket) and at least every few hundred ticks. May block while the
    /// consumers are full, which is how a replay at full speed is paced.
    ///
    /// # Errors
    /// [`SinkClosed`] when the process is stopping.
    fn flush(&mut self) -> Result<(), SinkClosed>;

    /// Counts a message that was kept out of the stream: `kind` is a short static name of the
    /// cause (one log line per kind), `text` the message, which the sink cuts.
    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]);

    /// Tells whoever runs the process about the source: who came, who left, what went wrong
    /// (`trouble`). Becomes a line of the log, so the caller bounds how often.
    fn note(&mut self, _trouble: bool, _text: &str) {}

    /// The source starts over (a replay loops): venue sequences may go back.
    fn restart(&mut self);

    /// Moves to `out` the instruments of which a book event was put that does not fit the book (it
    /// crosses it, say) since this was last asked. Their book is not known from there on: whoever
    /// can get a new snapshot does. Cheap, to be asked after every message.
    fn refused(&mut self, out: &mut Vec<InstrumentId>) {
        let _ = out;
    }
}

/// Tells a feed to stop; cloned into each feed's thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A handle that has not been told to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all holders to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether to stop. A feed asks before each wait and sleeps no longer than 100 ms at a time.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A sink that keeps everything: for tests and benches.
#[derive(Debug, Default)]
pub struct VecSink {
    /// The ticks in the order they were put.
    pub ticks: Vec<Tick>,
    /// `(kind, detail, text)` of every rejected message.
    pub rejects: Vec<(&'static str, String, Vec<u8>)>,
    /// How often the source started over.
    pub restarts: usize,
}

impl Sink for VecSink {
    fn put(&mut self, tick: &Tick) {
        self.ticks.push(*tick);
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        self.rejects.push((kind, detail.to_owned(), text.to_vec()));
    }

    fn restart(&mut self) {
        self.restarts += 1;
    }
}
