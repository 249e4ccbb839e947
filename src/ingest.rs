//! From the feeds to the ring: one thread takes what all feeds hand over, numbers it, keeps the
//! books, publishes, and wakes the reactors.
//!
//! Feeds run on threads of their own and hand over batches through a bounded channel: a feed that
//! is ahead waits, the ring's writer never does (but for a paced replay, which can wait).

pub(crate) mod bench;
mod derived;
mod recorder;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use tickcast_feeds::feed::{Feed, RunContext};
use tickcast_feeds::live::{LiveStats, MakeTap};
use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{InstrumentId, Sink, SinkClosed, Stop, Tick};
use tokio::sync::oneshot;

use crate::books::{InstrumentState, Writer};
use crate::clock;
use crate::ingest::recorder::Recorder;
use crate::limits;
use crate::reactor::Hub;
use crate::ring::Producer;
use crate::spool::Player;
use crate::stats::{IngestReport, Times};

/// What a feed hands over at a time.
#[derive(Debug)]
struct Batch {
    ticks: Vec<Tick>,
    /// The source started over before these ticks.
    restart: bool,
    /// The feed can wait for its consumers.
    paced: bool,
    /// Which feed it is from.
    feed: usize,
}

/// What comes to the ingest.
#[derive(Debug)]
enum Parcel {
    Batch(Batch),
    Cut(Cut),
}

/// Asks for a snapshot of a book at which its streams are cut.
#[derive(Debug)]
struct Cut {
    instrument: InstrumentId,
    answer: oneshot::Sender<InstrumentState>,
}

/// Where to ask for snapshots of books that fit streams which are told less often than every event.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// None once the ingest stops.
    to_ingest: Mutex<Option<Sender<Parcel>>>,
}

impl Cutter {
    /// The newest of an instrument, its book in it, taken at a place on the ring where every stream of
    /// that book ends a message: one that a client has subscribed to before asking goes on from there.
    /// `None` while the server stops.
    pub(crate) async fn cut(&self, instrument: InstrumentId) -> Option<InstrumentState> {
        let (answer, cut) = oneshot::channel();
        let mut parcel = Parcel::Cut(Cut { instrument, answer });
        let to_ingest = self.to_ingest.lock().clone()?;
        // The channel is full while feeds are ahead of the ingest: a moment.
        while let Err(error) = to_ingest.try_send(parcel) {
            match error {
                TrySendError::Full(back) => parcel = back,
                TrySendError::Disconnected(_) => return None,
            }
            tokio::time::sleep(limits::CUT_RETRY).await;
        }
        cut.await.ok()
    }
}

/// What is known of one feed.
#[derive(Debug)]
pub(crate) struct FeedStats {
    /// Its spec.
    pub(crate) name: String,
    /// Ticks handed over.
    pub(crate) ticks: AtomicU64,
    /// When it last handed any over, or began, nanoseconds of the monotonic clock.
    pub(crate) last_ns: AtomicU64,
    /// Messages kept out of the stream.
    pub(crate) rejected: AtomicU64,
    /// `running`, `ended` or `failed`.
    pub(crate) state: Mutex<&'static str>,
    /// How many messages were rejected for which cause, and the newest of each.
    pub(crate) rejects: Mutex<Vec<Reject>>,
    /// What a live feed shows of itself.
    pub(crate) live: Option<Arc<LiveStats>>,
    /// Instruments whose book the ingest refused, until the feed asks for them.
    refused: Mutex<Vec<InstrumentId>>,
    /// Whether there are any: the feed asks often.
    has_refused: AtomicBool,
}

impl FeedStats {
    /// How long ago it last handed ticks over, or began.
    pub(crate) fn age(&self) -> Duration {
        let last_ns = self.last_ns.load(Ordering::Relaxed);
        Duration::from_nanos(clock::now().mono_ns.saturating_sub(last_ns))
    }

    fn new(name: String, live: Option<Arc<LiveStats>>) -> Self {
        FeedStats {
            name,
            live,
            refused: Mutex::default(),
            has_refused: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
            last_ns: AtomicU64::new(clock::now().mono_ns),
            rejected: AtomicU64::new(0),
            state: Mutex::new("running"),
            rejects: Mutex::default(),
        }
    }
}

/// A cause for which messages were rejected.
#[derive(Clone, Debug)]
pub(crate) struct Reject {
    /// The cause.
    pub(crate) kind: &'static str,
    /// How many.
    pub(crate) count: u64,
    /// What was wrong with the newest.
    pub(crate) detail: String,
    /// The newest, cut.
    pub(crate) text: String,
}

/// A feed's end of the channel.
struct FeedSink {
    batch: Batch,
    to_ingest: Sender<Parcel>,
    empty: Receiver<Vec<Tick>>,
    stats: Arc<FeedStats>,
}

impl FeedSink {
    /// The sink of the feed of this number; `empty` is where buffers come back.
    fn new(
        feed: usize,
        paced: bool,
        to_ingest: Sender<Parcel>,
        empty: Receiver<Vec<Tick>>,
        stats: Arc<FeedStats>,
    ) -> Self {
        let batch = Batch { ticks: Vec::new(), restart: false, paced, feed };
        FeedSink { batch, to_ingest, empty, stats }
    }
}

impl Sink for FeedSink {
    fn put(&mut self, tick: &Tick) {
        self.batch.ticks.push(*tick);
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        if self.batch.ticks.is_empty() {
            return Ok(());
        }
        self.stats.ticks.fetch_add(self.batch.ticks.len() as u64, Ordering::Relaxed);
        let next = Batch {
            ticks: self.empty.try_recv().unwrap_or_default(),
            restart: false,
            paced: self.batch.paced,
            feed: self.batch.feed,
        };
        let batch = std::mem::replace(&mut self.batch, next);
        self.to_ingest.send(Parcel::Batch(batch)).map_err(|_| SinkClosed)
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        self.stats.rejected.fetch_add(1, Ordering::Relaxed);
        let cut =
            String::from_utf8_lossy(&text[..text.len().min(limits::LOG_TEXT_BYTES)]).into_owned();
        let mut rejects = self.stats.rejects.lock();
        match rejects.iter_mut().find(|reject| reject.kind == kind) {
            Some(reject) => {
                reject.count += 1;
                detail.clone_into(&mut reject.detail);
                reject.text = cut;
            }
            None => {
                // Once per cause: a venue gone mad must not fill the log.
                tracing::warn!(
                    feed = self.stats.name,
                    kind,
                    detail,
                    text = cut,
                    "message rejected"
                );
                rejects.push(Reject { kind, count: 1, detail: detail.to_owned(), text: cut });
            }
        }
    }

    fn refused(&mut self, out: &mut Vec<InstrumentId>) {
        if self.stats.has_refused.load(Ordering::Relaxed)
            && self.stats.has_refused.swap(false, Ordering::Acquire)
        {
            out.append(&mut self.stats.refused.lock());
        }
    }

    fn note(&mut self, trouble: bool, text: &str) {
        if trouble {
            tracing::warn!(feed = self.stats.name, "{text}");
        } else {
            tracing::info!(feed = self.stats.name, "{text}");
        }
    }

    fn restart(&mut self) {
        // What was put before belongs to the time before; a closed sink shows at the next flush.
        let _ = self.flush();
        self.batch.restart = true;
    }
}

/// The ingest's threads.
pub(crate) struct Ingest {
    pub(crate) feeds: Vec<Arc<FeedStats>>,
    pub(crate) report: Arc<Mutex<IngestReport>>,
    pub(crate) to_ring: Arc<Times>,
    pub(crate) cutter: Arc<Cutter>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Ingest {
    /// Starts the ingest and a thread for each feed; what live ones receive is shown to the taps. `ends` is
    /// dropped when the ingest's thread ends.
    pub(crate) fn start(
        hub: &Arc<Hub>,
        producer: Producer<TICK_WORDS>,
        writer: Writer,
        feeds: Vec<Box<dyn Feed>>,
        taps: Option<&Arc<MakeTap>>,
        ends: impl Send + 'static,
    ) -> std::io::Result<Self> {
        let all_stats: Vec<_> =
            feeds.iter().map(|feed| Arc::new(FeedStats::new(feed.name(), feed.live()))).collect();
        let recorder = Recorder::new(producer, writer, hub.instruments.clone());
        let (mut ingest, to_ingest, empty) = Self::begin("ingest", hub, recorder, all_stats, ends)?;
        for (number, feed) in feeds.into_iter().enumerate() {
            if feed.lossless() {
                hub.paced.store(true, Ordering::Relaxed);
            }
            let stats = ingest.feeds[number].clone();
            let (to_ingest, empty) = (to_ingest.clone(), empty.clone());
            let sink = FeedSink::new(number, feed.lossless(), to_ingest, empty, stats);
            let subscribers = hub.subscribers.clone();
            let mut context = RunContext::new(
                ingest.stop.clone(),
                Arc::new(move || subscribers.load(Ordering::Relaxed)),
            );
            if let Some(taps) = taps {
                context = context.with_taps(Arc::clone(taps));
            }
            let name = feed.thread_name();
            let run = move || run_feed(feed, sink, &context);
            ingest.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(ingest)
    }

    /// Starts the ingest of a delayed market, and a thread that plays it what another one has numbered.
    pub(crate) fn start_delayed(
        hub: &Arc<Hub>,
        producer: Producer<TICK_WORDS>,
        writer: Writer,
        player: Player,
        ends: impl Send + 'static,
    ) -> std::io::Result<Self> {
        let recorder = Recorder::new(producer, writer, hub.instruments.clone()).numbered();
        let (mut ingest, to_ingest, _) =
            Self::begin("delayed-ingest", hub, recorder, Vec::new(), ends)?;
        let stop = ingest.stop.clone();
        // It may wait: what it plays is on disk.
        let batch =
            |feed: u16, ticks| Batch { ticks, restart: false, paced: true, feed: feed.into() };
        let run = move || {
            player.run(&stop, &mut |feed, ticks| {
                to_ingest.send(Parcel::Batch(batch(feed, ticks))).map_err(|_| SinkClosed)
            });
        };
        ingest.threads.push(std::thread::Builder::new().name("delayed-player".into()).spawn(run)?);
        Ok(ingest)
    }

    /// Starts the thread; then where feeds hand over, and where they find buffers that are free again.
    fn begin(
        name: &str,
        hub: &Arc<Hub>,
        recorder: Recorder,
        feeds: Vec<Arc<FeedStats>>,
        ends: impl Send + 'static,
    ) -> std::io::Result<(Self, Sender<Parcel>, Receiver<Vec<Tick>>)> {
        let stop = Stop::new();
        let (to_ingest, parcels) = bounded(limits::BATCHES);
        let (give_back, empty) = bounded(limits::BATCHES);
        let report = Arc::new(Mutex::new(IngestReport::default()));
        let to_ring = Arc::<Times>::default();
        let worker = Worker {
            hub: hub.clone(),
            recorder,
            stop: stop.clone(),
            feeds: feeds.clone(),
            to_ring: to_ring.clone(),
        };
        let shown = report.clone();
        let run = move || {
            let _ends = ends;
            worker.run(&parcels, &give_back, &shown);
        };
        let threads = vec![std::thread::Builder::new().name(name.to_owned()).spawn(run)?];
        let cutter = Arc::new(Cutter { to_ingest: Mutex::new(Some(to_ingest.clone())) });
        Ok((Ingest { feeds, report, to_ring, cutter, stop, threads }, to_ingest, empty))
    }

    /// Stops the feeds and waits for all threads; false when one of them had panicked.
    pub(crate) fn stop(self) -> bool {
        self.stop.stop();
        self.cutter.to_ingest.lock().take();
        // All of them, whatever became of the first.
        let panicked = self.threads.into_iter().filter_map(|thread| thread.join().err()).count();
        panicked == 0
    }
}

fn run_feed(feed: Box<dyn Feed>, mut sink: FeedSink, context: &RunContext) {
    let stats = sink.stats.clone();
    tracing::info!(feed = stats.name, "feed starts");
    // Whoever looks is told, also of a panic (whose words are in the log already).
    let result = catch_unwind(AssertUnwindSafe(|| feed.run(&mut sink, context)));
    // The process may be stopping: then nobody takes the rest.
    let _ = sink.flush();
    *stats.state.lock() = match result {
        Ok(Ok(())) => {
            let ticks = stats.ticks.load(Ordering::Relaxed);
            tracing::info!(feed = stats.name, ticks, "feed ended");
            "ended"
        }
        Ok(Err(error)) => {
            tracing::error!(feed = stats.name, %error, "feed failed");
            "failed"
        }
        Err(_) => {
            tracing::error!(feed = stats.name, "feed panicked");
            "failed"
        }
    };
}

/// The ingest's thread.
struct Worker {
    hub: Arc<Hub>,
    recorder: Recorder,
    stop: Stop,
    feeds: Vec<Arc<FeedStats>>,
    /// From the receipt of a batch's first tick to the ring.
    to_ring: Arc<Times>,
}

impl Worker {
    fn run(
        mut self,
        parcels: &Receiver<Parcel>,
        give_back: &Sender<Vec<Tick>>,
        shown: &Mutex<IngestReport>,
    ) {
        loop {
            match self.next(parcels) {
                Ok(Parcel::Batch(batch)) => self.take(batch, give_back, shown),
                Ok(Parcel::Cut(cut)) => self.cut(cut),
                Err(RecvTimeoutError::Timeout) => self.idle(shown),
                // The last feed has ended and the server stops: all senders are dropped.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// The next batch, waited for until something is due by the clock.
    fn next(&self, parcels: &Receiver<Parcel>) -> Result<Parcel, RecvTimeoutError> {
        // Under load there is one, and no clock to be read.
        if let Ok(parcel) = parcels.try_recv() {
            return Ok(parcel);
        }
        match self.recorder.rest(clock::now().mono_ns) {
            Some(rest) => parcels.recv_timeout(rest),
            None => parcels.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Cuts a book's streams, and answers with the book.
    fn cut(&mut self, cut: Cut) {
        let copy = self.recorder.cut(cut.instrument, clock::now().ns);
        if !self.recorder.is_empty() {
            self.publish(self.hub.paced.load(Ordering::Relaxed));
        }
        // Who asked may be gone.
        let _ = cut.answer.send(copy);
    }

    /// Does what is due by the clock.
    fn idle(&mut self, shown: &Mutex<IngestReport>) {
        self.recorder.idle(clock::now().mono_ns);
        if self.recorder.is_empty() {
            return;
        }
        self.publish(self.hub.paced.load(Ordering::Relaxed));
        shown.lock().clone_from(&self.recorder.report);
    }

    /// Does all that is to be done with a batch.
    fn take(
        &mut self,
        mut batch: Batch,
        give_back: &Sender<Vec<Tick>>,
        shown: &Mutex<IngestReport>,
    ) {
        if batch.restart {
            self.recorder.restart(batch.feed);
        }
        let clock::Now { mono_ns: now_ns, ns: taken_ns, .. } = clock::now();
        let from = self.recorder.position();
        // A delayed market has those of the live one, which are counted there.
        if let Some(feed) = self.feeds.get(batch.feed) {
            feed.last_ns.store(now_ns, Ordering::Relaxed);
        }
        let recv_ns = batch.ticks.first().map_or(0, |tick| tick.ts_recv);
        self.recorder.record(&mut batch.ticks, batch.feed, now_ns);
        for (feed, instrument) in self.recorder.refused.drain(..) {
            // Only live ones can get a book anew, and ask which.
            if let Some(feed) = self.feeds.get(feed).filter(|feed| feed.live.is_some()) {
                feed.refused.lock().push(instrument);
                feed.has_refused.store(true, Ordering::Release);
            }
        }
        // Before: a reactor may be done with it at once.
        self.hub.traces.note(from, self.recorder.end(), taken_ns);
        self.publish(batch.paced);
        if recv_ns > 0 {
            self.to_ring.record(clock::real_ns().saturating_sub(recv_ns));
        }
        shown.lock().clone_from(&self.recorder.report);
        batch.ticks.clear();
        match give_back.try_send(batch.ticks) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn publish(&mut self, paced: bool) {
        let Worker { hub, recorder, stop, .. } = self;
        let room = recorder.slots() as u64 / 2;
        recorder.publish(
            |end, report| !paced || wait_for_room(hub, stop, end, room, report),
            || hub.links.iter().for_each(|link| link.wake.wake()),
        );
    }
}

/// Waits until every reactor has dealt with enough that the ring does not lap it when it is filled
/// up to `end`; false when the process stops.
fn wait_for_room(hub: &Hub, stop: &Stop, end: u64, room: u64, report: &mut IngestReport) -> bool {
    let mut waited = false;
    loop {
        let slowest = hub.links.iter().map(|link| link.position.load(Ordering::Acquire));
        let slowest = slowest.min().unwrap_or(u64::MAX);
        if end <= slowest.saturating_add(room) {
            report.paced += u64::from(waited);
            return true;
        }
        if stop.is_stopped() {
            return false;
        }
        waited = true;
        sleep(limits::PACE_SLEEP);
    }
}

#[expect(clippy::disallowed_methods, reason = "the ingest serves no client, and waits for them")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use tickcast_feeds::feed::FeedError;

    use super::*;

    struct Panics;

    impl Feed for Panics {
        fn name(&self) -> String {
            "panics".to_owned()
        }

        fn thread_name(&self) -> String {
            self.name()
        }

        fn lossless(&self) -> bool {
            false
        }

        fn run(self: Box<Self>, _: &mut dyn Sink, _: &RunContext) -> Result<(), FeedError> {
            panic!("as feeds never do");
        }
    }

    #[test]
    fn a_feed_that_panics_has_failed() {
        let (to_ingest, _batches) = bounded(1);
        let (_give_back, empty) = bounded(1);
        let stats = Arc::new(FeedStats::new("panics".to_owned(), None));
        let sink = FeedSink::new(0, false, to_ingest, empty, stats.clone());
        run_feed(Box::new(Panics), sink, &RunContext::new(Stop::new(), Arc::new(|| 0)));
        assert_eq!(*stats.state.lock(), "failed");
    }
}
