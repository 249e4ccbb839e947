//! The ingest without its threads: see [`crate::bench`].

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{Instruments, Sink, Stop, Tick};

use super::recorder::Recorder;
use super::{FeedSink, FeedStats, Parcel, Worker};
use crate::books::State;
use crate::limits;
use crate::reactor::{Hub, Link, Settings};
use crate::ring;
use crate::stats::IngestReport;

/// A feed's sink, the channel behind it, and the ingest's work up to the ring.
pub struct FeedSide {
    sink: FeedSink,
    worker: Worker,
    parcels: Receiver<Parcel>,
    give_back: Sender<Vec<Tick>>,
    shown: Mutex<IngestReport>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) ring: ring::Handle<TICK_WORDS>,
    pub(crate) state: Arc<State>,
}

impl FeedSide {
    /// One feed of these instruments, before a ring of the default size and one reactor.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let hub = Arc::new(Hub {
            budget: crate::budget::Budget::new(0),
            access: crate::access::Access::open(),
            settings: settings(),
            epoch: String::new(),
            delay_ms: 0,
            others: Default::default(),
            instruments,
            paced: Default::default(),
            subscribers: Default::default(),
            traces: Arc::new(crate::trace::Traces::new(0, false)),
            links: vec![Arc::new(Link::new(0))],
        });
        let (producer, ring) = ring::channel(limits::RING_SLOTS).expect("a valid default");
        let state = Arc::new(State::with_history(limits::HISTORY));
        let (to_ingest, parcels) = bounded(limits::BATCHES);
        let (give_back, empty) = bounded(limits::BATCHES);
        let stats = Arc::new(FeedStats::new("bench".to_owned(), None));
        let recorder = Recorder::new(producer, state.writer(), hub.instruments.clone());
        FeedSide {
            sink: FeedSink::new(0, false, to_ingest, empty, stats.clone()),
            worker: Worker {
                hub: hub.clone(),
                recorder,
                stop: Stop::new(),
                feeds: vec![stats],
                to_ring: Arc::default(),
            },
            parcels,
            give_back,
            shown: Mutex::default(),
            hub,
            ring,
            state,
        }
    }

    /// Where the feed puts its ticks. Nobody takes them before [`FeedSide::ingest`]: what is
    /// flushed more often than the channel is long, without that, waits for ever.
    pub fn sink(&mut self) -> &mut dyn Sink {
        &mut self.sink
    }

    /// What the ingest's thread does with all that was flushed so far.
    pub fn ingest(&mut self) {
        while let Ok(parcel) = self.parcels.try_recv() {
            match parcel {
                Parcel::Batch(batch) => self.worker.take(batch, &self.give_back, &self.shown),
                Parcel::Cut(cut) => self.worker.cut(cut),
            }
        }
    }

    /// Puts ticks, flushes, ingests.
    pub fn publish(&mut self, ticks: &[Tick]) {
        ticks.iter().for_each(|tick| self.sink.put(tick));
        // This side holds both ends of the channel: it is not closed.
        let _ = self.sink.flush();
        self.ingest();
    }

    /// What the ingest has counted.
    pub fn report(&self) -> IngestReport {
        self.shown.lock().clone()
    }
}

/// The defaults, but for limits on what one client may have.
fn settings() -> Settings {
    Settings {
        outbox_bytes: limits::OUTBOX_BYTES,
        max_age_ns: limits::MAX_AGE_MS * 1_000_000,
        conflate: false,
        slow_grace_ms: 60_000,
        max_subscriptions: 10_000,
        request_rate: 1_000,
        max_message_bytes: 64 * limits::KIB,
        compress: false,
        ping_interval_ms: 60_000,
        ping_timeout_ms: 60_000,
        drain_spread_ms: [0, 1],
        drill: None,
    }
}
