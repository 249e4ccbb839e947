//! Markets: what is live, and what is the same for those who may see it later only.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread::JoinHandle;

use anyhow::Context as _;
use rustix::process::Signal;
use tickcast_feeds::tick::TICK_WORDS;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Ends, pin};
use crate::access::Access;
use crate::books::State;
use crate::check::spool_of;
use crate::config::Config;
use crate::http::{self, Market};
use crate::ingest::Ingest;
use crate::reactor::{self, Command, Hub, Link, Others};
use crate::ring::{self, Handle, Producer};
use crate::spool::Spool;
use crate::trace::Traces;

type Threads = Vec<JoinHandle<std::io::Result<()>>>;

/// A market before anything comes in: its ring, its state, and its reactors, which run.
pub(super) struct Floor {
    pub(super) hub: Arc<Hub>,
    pub(super) ring: Handle<TICK_WORDS>,
    pub(super) state: Arc<State>,
    threads: Threads,
}

impl Floor {
    /// Starts the reactors.
    pub(super) fn open(
        config: &Config,
        hub: Arc<Hub>,
        alive: &mpsc::Sender<()>,
    ) -> anyhow::Result<(Self, Producer<TICK_WORDS>)> {
        let (producer, ring) = ring::channel(config.ring_slots)?;
        let state = Arc::new(State::with_history(config.history));
        let mut floor = Floor { hub, ring, state, threads: Vec::new() };
        floor.start(config, alive)?;
        Ok((floor, producer))
    }

    fn start(&mut self, config: &Config, alive: &mpsc::Sender<()>) -> std::io::Result<()> {
        for link in &self.hub.links {
            let (hub, link) = (self.hub.clone(), link.clone());
            let (consumer, state) = (self.ring.consumer(), self.state.reader());
            let core = config.cores.get(link.id).copied();
            let name = format!("reactor-{}", link.id);
            let ends = Ends(alive.clone());
            let run = move || {
                let _ends = ends;
                pin(core);
                reactor::run(hub, link, consumer, state)
            };
            self.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(())
    }

    /// What requests are answered from.
    pub(super) fn market(&self, config: &Config, ingest: &Ingest) -> Rc<Market> {
        Rc::new(Market {
            hub: self.hub.clone(),
            exchange: http::exchange::Exchange::new(
                self.hub.instruments.clone(),
                self.state.reader(),
                http::cuts::Cuts::new(ingest.cutter.clone()),
            ),
            polls: http::poll::Polls::new(self.ring.consumer()),
            rest: http::rest::Rest::new(
                self.state.reader(),
                config.cors_origins.clone(),
                config.history,
            ),
        })
    }

    /// Ends the reactors.
    pub(super) fn close(self) -> anyhow::Result<()> {
        for link in &self.hub.links {
            link.send(Command::Stop);
        }
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => anyhow::bail!("a reactor panicked while it was closing its clients"),
            }
        }
        Ok(())
    }
}

/// The reactors of all markets, which those of one ask where to send a client that belongs to another.
pub(super) fn others(config: &Config, access: &Access) -> Arc<Others> {
    let link = |id| Arc::new(Link::new(id));
    let live = (0, (0..config.reactors).map(link).collect());
    // One each: who is delayed has no haste.
    let delayed = (config.reactors..).zip(access.delays()).map(|(id, ms)| (*ms, vec![link(id)]));
    Arc::new(std::iter::once(live).chain(delayed).collect())
}

/// The reactors of the market of a delay.
pub(super) fn links(others: &Others, delay_ms: u64) -> Vec<Arc<Link>> {
    let own = others.iter().find(|(delay, _)| *delay == delay_ms);
    own.map_or(Vec::new(), |(_, links)| links.clone())
}

/// What all threads of a delayed market share, and what they share with the live one.
fn delayed_hub(live: &Hub, delay_ms: u64) -> Arc<Hub> {
    Arc::new(Hub {
        access: live.access.clone(),
        budget: live.budget.clone(),
        settings: live.settings.clone(),
        // Positions of one market mean nothing in another.
        epoch: format!("{}d{delay_ms}", live.epoch),
        delay_ms,
        others: live.others.clone(),
        instruments: Arc::default(),
        paced: AtomicBool::new(false),
        subscribers: Arc::new(AtomicUsize::new(0)),
        // A tick is followed by its position on the live ring.
        traces: Arc::new(Traces::new(0, false)),
        links: links(&live.others, delay_ms),
    })
}

/// The spool and the markets that it is played to.
pub(super) struct Delayed {
    spool: Spool,
    floors: Vec<(Floor, Ingest)>,
    lags: Vec<(u64, Arc<AtomicU64>)>,
}

impl Delayed {
    /// Starts them where somebody is granted what is delayed. To be called before the live ingest starts: the
    /// spool has all from the beginning on.
    pub(super) fn start(
        config: &Config,
        access: &Arc<Access>,
        live: &Floor,
        alive: &mpsc::Sender<()>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(directory) = spool_of(config, access).context("--access")? else {
            return Ok(None);
        };
        // By default a limit on the size of files (RLIMIT_FSIZE) kills who reaches it. With a handler, whichever, the
        // write fails instead.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        let (ring, state) = (live.ring.consumer(), live.state.reader());
        let (most, instruments) = (config.spool.bytes as u64, live.hub.instruments.clone());
        let spool = Spool::start(directory, most, ring, state, instruments)
            .with_context(|| format!("--spool-dir {}", directory.display()))?;
        let mut delayed = Delayed { spool, floors: Vec::new(), lags: Vec::new() };
        for &delay_ms in access.delays() {
            let (floor, producer) = Floor::open(config, delayed_hub(&live.hub, delay_ms), alive)?;
            let player = delayed.spool.player(delay_ms, floor.hub.instruments.clone())?;
            delayed.lags.push((delay_ms, player.lag_ms()));
            let (writer, ends) = (floor.state.writer(), Ends(alive.clone()));
            let ingest = Ingest::start_delayed(&floor.hub, producer, writer, player, ends)?;
            delayed.floors.push((floor, ingest));
        }
        Ok(Some(delayed))
    }

    pub(super) fn markets(&self, config: &Config) -> Vec<Rc<Market>> {
        self.floors.iter().map(|(floor, ingest)| floor.market(config, ingest)).collect()
    }

    pub(super) fn hubs(&self) -> impl Iterator<Item = &Arc<Hub>> {
        self.floors.iter().map(|(floor, _)| &floor.hub)
    }

    /// What is known of the spool; by how many milliseconds each market is later than it should be.
    pub(super) fn spool(&self) -> http::Spooled {
        http::Spooled { stats: self.spool.stats(), lags: self.lags.clone() }
    }

    /// Ends them, after the live ingest; false when a thread had panicked.
    ///
    /// # Errors
    /// As [`Floor::close`].
    pub(super) fn close(self) -> anyhow::Result<bool> {
        self.spool.close();
        let mut whole = true;
        for (floor, ingest) in self.floors {
            whole &= ingest.stop();
            floor.close()?;
        }
        Ok(whole)
    }
}
