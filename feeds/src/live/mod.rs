//! Live feeds: connections to venues, held by their rules.
//!
//! [`LiveFeed`] is a feed like any other. On its thread: `engine` is what its connections share, `shard`
//! keeps one connection, `link` is the conversation over it, `socket`, `endpoint` and `rest` are the
//! network, `recovery` says which books to ask for anew, `answers` what a connection was granted, `refusals` what of it is to be asked for again part by part, `budget`
//! and `backoff` how often anything may be tried. What a venue demands is in its [`Rules`], what its messages mean in its
//! [`Venue`](trait@crate::venue::Venue); nothing here knows a venue.
//!
//! Invariants:
//! - Every input of the parser goes through `Engine::input`, in the order in which it was received, and
//!   is shown to the [`Tap`] first: what the tap kept makes the same ticks again.
//! - A connection that is replaced goes only after a younger one has carried the data for a while.

mod answers;
mod backoff;
mod budget;
mod engine;
mod link;
mod recovery;
mod refusals;
mod select;
mod shard;
mod socket;
mod stats;
mod tap;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use crate::dial::{TlsError, UrlError};
pub use stats::LiveStats;
pub use tap::{MakeTap, Tap, Tapped};

use crate::clock::Clock;
use crate::dial::{Dialer, Endpoint};
use crate::feed::{Feed, FeedError, RunContext};
use crate::instrument::{Instruments, Listing};
use crate::rest::{self, Bounds};
use crate::sink::Sink;
use crate::spec::LiveSpec;
use crate::venue::rules::{Get, Page};
use crate::venue::{self, Entry, Input, Rules};

use backoff::{Backoff, Jitter};
use engine::{Engine, Parts, Task};
use shard::Shard;

/// How often what is done by the clock is done: the longest that a broken book waits to be asked for.
const TICK: Duration = Duration::from_millis(10);

/// How often a venue is asked what it lists, where a spec has a `*` in it.
const RELIST: Duration = Duration::from_secs(3_600);

/// More pages than any venue's list has.
const MAX_PAGES: usize = 100;

/// Why a live feed cannot be opened, or runs no more.
#[derive(Debug, Error)]
pub enum LiveError {
    /// There is nothing to connect to it by.
    #[error("{0} cannot be connected to in this version")]
    NoRules(&'static str),
    /// Something that the venue does not have.
    #[error("{0}")]
    Rules(String),
    /// An address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing that was asked for exists.
    #[error("{venue} lists none of {symbols}{}", hint(.near))]
    NoSymbol {
        /// The venue.
        venue: &'static str,
        /// What was asked for.
        symbols: String,
        /// Names that are spelt alike.
        near: Vec<String>,
    },
    /// The system refuses what the feed's thread needs.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
}

fn hint(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    }
}

/// A venue's data, as they happen.
pub struct LiveFeed {
    spec: LiveSpec,
    entry: &'static Entry,
    rules: Box<dyn Rules>,
    instruments: Arc<Instruments>,
    dialer: Dialer,
    ws: Endpoint,
    rest: Endpoint,
    stats: Arc<LiveStats>,
}

impl LiveFeed {
    /// Checks the spec and what is needed to connect; connects to nothing yet.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn open(spec: LiveSpec, instruments: &Arc<Instruments>) -> Result<Self, LiveError> {
        let entry = venue::find(spec.venue).ok_or(LiveError::NoRules(spec.venue))?;
        let rules = entry.rules(spec.options()).ok_or(LiveError::NoRules(spec.venue))?;
        let rules = rules.map_err(LiveError::Rules)?;
        let dialer = Dialer::new(spec.ca.as_deref())?;
        let ws = Endpoint::new(spec.url.as_deref().unwrap_or(rules.ws()))?;
        let rest = Endpoint::new(spec.rest.as_deref().unwrap_or(rules.rest()))?;
        let (instruments, stats) = (Arc::clone(instruments), Arc::default());
        Ok(LiveFeed { spec, entry, rules, instruments, dialer, ws, rest, stats })
    }

    async fn serve(self, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        let name = self.name();
        let tap = context.tap(Tapped { feed: &name, venue: self.entry.name });
        let engine = Engine::new(Parts {
            rules: self.rules,
            venue: self.entry.parser(&self.instruments),
            spec: self.spec,
            dialer: self.dialer,
            ws: self.ws,
            rest: self.rest,
            stats: self.stats,
            instruments: self.instruments,
            sink,
            tap,
        });
        tokio::select! {
            result = run(&engine) => result,
            () = until_stopped(&engine, context) => Ok(()),
        }
    }
}

impl Feed for LiveFeed {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn thread_name(&self) -> String {
        // "binance-usdm" and nothing more: Linux keeps 15 bytes.
        self.entry.name.chars().take(15).collect()
    }

    fn lossless(&self) -> bool {
        false
    }

    fn live(&self) -> Option<Arc<LiveStats>> {
        Some(Arc::clone(&self.stats))
    }

    fn run(self: Box<Self>, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().build().map_err(LiveError::from)?;
        let result = runtime.block_on(self.serve(sink, context));
        // A look-up of a name may be under way on a thread of its own, and nobody waits for it.
        runtime.shutdown_background();
        result
    }
}

/// Returns when the process stops or nobody takes ticks.
async fn until_stopped(engine: &Engine<'_>, context: &RunContext) {
    while !context.stop.is_stopped() && !engine.is_closed() {
        sleep(TICK).await;
    }
}

/// Finds out what there is, and keeps connections to it for ever.
async fn run(engine: &Engine<'_>) -> Result<(), FeedError> {
    subscribe(engine).await?;
    let is_open = engine.spec.symbols.iter().any(|symbol| symbol.contains('*'));
    let mut tasks = FuturesUnordered::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if is_open {
        tasks.push(perform(engine, Task::Relist));
    }
    let mut ticks = 0_u64;
    loop {
        tasks.extend(engine.take_tasks().into_iter().map(|task| perform(engine, task)));
        tokio::select! {
            Some(()) = tasks.next(), if !tasks.is_empty() => {}
            () = engine.bell.notified() => {}
            _ = tick.tick() => {
                engine.tick();
                ticks += 1;
                if ticks.is_multiple_of(100) {
                    engine.publish_ignored();
                }
            }
        }
    }
}

async fn perform(engine: &Engine<'_>, task: Task) {
    match task {
        Task::Keep(shard, predecessor) => shard::keep(engine, &shard, predecessor).await,
        Task::Fetch(native, get) => engine.fetch(&native, &get).await,
        Task::Relist => loop {
            sleep(RELIST).await;
            // The names were right before; what else goes wrong is tried again in an hour.
            subscribe(engine).await.unwrap_or_default();
        },
    }
}

/// Lists what the spec names and is not subscribed to yet, and begins to keep connections to it.
async fn subscribe(engine: &Engine<'_>) -> Result<(), FeedError> {
    let spec = &engine.spec;
    let listings = list(engine).await;
    let selected = select::select(&spec.symbols, &listings);
    if selected.places.is_empty() {
        let near = spec.symbols.iter().flat_map(|symbol| select::near(symbol, &listings));
        let near = near.take(3).collect();
        let symbols = spec.symbols.join(", ");
        return Err(LiveError::NoSymbol { venue: spec.venue, symbols, near }.into());
    }
    if !selected.unknown.is_empty() {
        let near = select::near(&selected.unknown[0], &listings);
        engine.trouble(&format!(
            "{} does not list {}{}",
            spec.venue,
            selected.unknown.join(", "),
            hint(&near)
        ));
    }
    let chosen = selected.places.into_iter().map(|place| &listings[place]);
    let chosen: Vec<Listing> =
        chosen.filter(|listing| engine.is_new(&listing.native)).cloned().collect();
    engine.listed(&chosen);
    for listing in &chosen {
        engine.instruments.list_as(spec.venue, listing);
    }
    let natives: Vec<Box<str>> = chosen.iter().map(|one| one.native.as_str().into()).collect();
    // Nobody carries them yet: whoever subscribes now is told so.
    engine.input(&Input::Lost { link: u16::MAX, orphans: &natives });
    engine.flush();
    let mut links = 0;
    for route in engine.rules.routes() {
        for shard in Shard::cut(&route, &natives, spec.channels.book) {
            for _ in 0..spec.lines {
                links += 1;
                engine.begin(Task::Keep(shard.clone(), None));
            }
        }
    }
    engine.stats.symbols.fetch_add(natives.len() as u64, Ordering::Relaxed);
    engine.stats.links_wanted.fetch_add(links, Ordering::Relaxed);
    Ok(())
}

/// The venue's list of instruments; asked for until it comes and there are some.
async fn list(engine: &Engine<'_>) -> Vec<Listing> {
    let mut backoff = Backoff::new(500_000_000, 60_000_000_000);
    let mut jitter = Jitter::new(engine.clock.now());
    loop {
        match pages(engine).await {
            // In its maintenance a venue trades nothing: that is over some time.
            Ok(listings) if listings.is_empty() => {
                engine.trouble(&format!("{} lists nothing at present", engine.spec.venue));
            }
            Ok(listings) => return listings,
            Err(why) => engine.trouble(&why),
        }
        sleep(Duration::from_nanos(backoff.next(&mut jitter))).await;
    }
}

/// All pages of it.
async fn pages(engine: &Engine<'_>) -> Result<Vec<Listing>, String> {
    let mut listings = Vec::new();
    let mut left: Vec<Get> = engine.rules.listing();
    let mut count = 0;
    while let Some(get) = left.pop() {
        count += 1;
        if count > MAX_PAGES {
            return Err(format!("list of instruments: more than {MAX_PAGES} pages"));
        }
        engine.spend(&engine.weight, get.weight).await;
        let reply = rest::get(&engine.dialer, &engine.rest, &get.path, Bounds::VENUE).await;
        let reply = reply.map_err(|error| {
            engine.rest_failed(&error);
            format!("list of instruments of {}: {error}", engine.rest)
        })?;
        let page: Page = engine.rules.read_listing(&reply).map_err(|error| error.to_string())?;
        // What stands in it only the parser may need to know (the size of a contract).
        engine.input(&Input::Reply { url: &get.path, text: &reply });
        listings.extend(page.listings);
        left.extend(page.next);
        if let Some(rate) = page.rest {
            engine.weight.borrow_mut().set(rate);
        }
    }
    Ok(listings)
}
