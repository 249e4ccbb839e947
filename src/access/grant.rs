//! What the holder of a token may see.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use thiserror::Error;
use tickcast_feeds::Instrument;

use super::Refused;
use crate::wire::request::Channel;

/// See the module.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Whose it is, for logs and for the holder.
    pub(crate) name: String,
    /// Which token it is of (`jti`), for logs, where that says so.
    pub(crate) token: Option<String>,
    pub(super) rights: Rights,
    /// Connections that hold it, or another token of the same holder.
    live: Arc<AtomicUsize>,
    /// Its own, or that of the key which signed it.
    revoked: Arc<AtomicBool>,
    /// It alone was taken back, of all that its key signed.
    taken_back: AtomicBool,
}

/// What is granted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rights {
    pub(super) symbols: Vec<Pattern>,
    pub(super) channels: Vec<Channel>,
    /// Levels a side of books; where there is none, all.
    pub(super) depth: Option<u16>,
    pub(super) max_subscriptions: Option<usize>,
    pub(super) max_hz: Option<f64>,
    pub(super) connections: Option<usize>,
    /// Unix time, milliseconds.
    pub(super) expires_ms: Option<u64>,
    /// Metrics, statistics and who is connected.
    pub(super) operator: bool,
    /// How much later than it comes they see what there is; 0 where it is not delayed.
    pub(super) delay_ms: u64,
}

/// Why something is not shown; the text says what is.
#[derive(Clone, Debug, PartialEq, Error)]
pub(crate) enum Denied {
    #[error("{symbol} is not granted to {name}, which has {granted}")]
    Symbol { symbol: String, name: String, granted: String },
    #[error("{channel} is not granted to {name}, which has {granted}")]
    Channel { channel: &'static str, name: String, granted: String },
    #[error("{name} may have {most} messages a second, and single trades cannot be left out here")]
    Rate { name: String, most: f64 },
    #[error("{name} may have {most} messages a second, and this is told {hz} times")]
    TooOften { name: String, most: f64, hz: f64 },
    #[error("{name} may see books of up to {most} levels")]
    Depth { name: String, most: u16 },
}

/// Patterns that are named in a message.
const PATTERNS_SHOWN: usize = 8;

impl Grant {
    pub(super) fn new(name: String, rights: Rights) -> Self {
        Grant::signed(name, None, rights, Arc::default(), Arc::default())
    }

    /// That of a signed token.
    pub(super) fn signed(
        name: String,
        token: Option<String>,
        rights: Rights,
        live: Arc<AtomicUsize>,
        revoked: Arc<AtomicBool>,
    ) -> Self {
        Grant { name, token, rights, live, revoked, taken_back: AtomicBool::new(false) }
    }

    /// All there is.
    pub(crate) fn everything() -> Self {
        let rights = Rights { symbols: vec![Pattern::ALL], operator: true, ..Rights::nothing() };
        Grant::new("everybody".to_owned(), Rights { channels: Channel::ALL.to_vec(), ..rights })
    }

    /// For those who have yet to say who they are.
    pub(crate) fn nothing() -> Self {
        Grant::new("nobody".to_owned(), Rights::nothing())
    }

    /// Whether another is the same but for who holds it.
    pub(super) fn is_like(&self, other: &Grant) -> bool {
        self.name == other.name && self.rights == other.rights
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Takes this one back, whatever becomes of others of its key.
    pub(super) fn take_back(&self) {
        self.taken_back.store(true, Ordering::Relaxed);
    }

    /// Gives it to one more connection, or to one that had another (`instead`) of the same holder.
    pub(super) fn hold(
        self: Arc<Self>,
        now_ms: u64,
        instead: Option<&Held>,
    ) -> Result<Held, Refused> {
        if self.is_over(now_ms) {
            return Err(Refused::Expired);
        }
        let own = usize::from(instead.is_some_and(|held| Arc::ptr_eq(&held.live, &self.live)));
        let before = self.live.fetch_add(1, Ordering::Relaxed);
        let held = Held(self);
        match held.rights.connections {
            Some(most) if before >= most.saturating_add(own) => Err(Refused::Full),
            _ => Ok(held),
        }
    }

    /// Whether it has been taken back, or its time is over.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.is_revoked() || self.rights.expires_ms.is_some_and(|at| now_ms >= at)
    }

    /// Whether it was taken back.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed) || self.taken_back.load(Ordering::Relaxed)
    }

    /// Whether that was for itself, and not for something that it shares with others.
    pub(crate) fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Relaxed)
    }

    /// When it ends, Unix time in milliseconds.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        self.rights.expires_ms
    }

    /// How much later than it comes its holder sees what there is, milliseconds: whoever holds it belongs to
    /// the market of that delay and to no other.
    pub(crate) fn delay_ms(&self) -> u64 {
        self.rights.delay_ms
    }

    pub(crate) fn is_operator(&self) -> bool {
        self.rights.operator
    }

    /// Whether a symbol may be seen at all.
    pub(crate) fn has(&self, info: &Instrument) -> bool {
        self.has_name(&info.symbol)
    }

    /// The same of its canonical name.
    pub(crate) fn has_name(&self, symbol: &str) -> bool {
        self.rights.symbols.iter().any(|pattern| pattern.matches(symbol))
    }

    /// How many patterns a symbol is held against.
    pub(crate) fn width(&self) -> usize {
        self.rights.symbols.len()
    }

    /// Whether another one is for the same symbols, channels and depths.
    pub(crate) fn shows_like(&self, other: &Grant) -> bool {
        let what =
            |rights: &Rights| (rights.symbols.clone(), rights.channels.clone(), rights.depth);
        what(&self.rights) == what(&other.rights)
    }

    /// Whether there is no symbol that may not be seen.
    pub(crate) fn has_all(&self) -> bool {
        self.rights.symbols.contains(&Pattern::ALL)
    }

    /// Whether this may be seen, without the words for why not: asked of every symbol for a wildcard.
    pub(crate) fn covers(&self, info: &Instrument, channel: Channel, depth: u16) -> bool {
        self.has_channel(channel) && self.has_depth(channel, depth) && self.has(info)
    }

    // What state a feed is in goes with everything.
    fn has_channel(&self, channel: Channel) -> bool {
        channel == Channel::Status || self.rights.channels.contains(&channel)
    }

    fn has_depth(&self, channel: Channel, depth: u16) -> bool {
        channel != Channel::Book || self.rights.depth.is_none_or(|most| (1..=most).contains(&depth))
    }

    /// Whether this may be seen; `depth` is the levels a side, 0 for all.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows(
        &self,
        info: &Instrument,
        channel: Channel,
        depth: u16,
    ) -> Result<(), Denied> {
        if !self.has(info) {
            let symbol = info.symbol.clone();
            return Err(Denied::Symbol {
                symbol,
                name: self.name.clone(),
                granted: self.symbols(),
            });
        }
        self.allows_kind(channel, depth)
    }

    /// Whether this may be seen of the symbols that are granted.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows_kind(&self, channel: Channel, depth: u16) -> Result<(), Denied> {
        self.allows_channel(channel)?;
        if self.rights.symbols.is_empty() {
            let symbol = "*".to_owned();
            return Err(Denied::Symbol {
                symbol,
                name: self.name.clone(),
                granted: self.symbols(),
            });
        }
        match self.rights.depth {
            Some(most) if !self.has_depth(channel, depth) => {
                Err(Denied::Depth { name: self.name.clone(), most })
            }
            _ => Ok(()),
        }
    }

    /// Whether a channel may be seen, of whatever symbol.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows_channel(&self, channel: Channel) -> Result<(), Denied> {
        if self.has_channel(channel) {
            return Ok(());
        }
        let granted = self.channels().join(", ");
        Err(Denied::Channel { channel: channel.as_str(), name: self.name.clone(), granted })
    }

    /// Whether a channel may be seen of all symbols in one message.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows_all(&self, channel: Channel) -> Result<(), Denied> {
        self.allows_channel(channel)?;
        if self.has_all() {
            return Ok(());
        }
        let symbol = "*".to_owned();
        Err(Denied::Symbol { symbol, name: self.name.clone(), granted: self.symbols() })
    }

    /// Whether a channel may be seen event by event: trades cannot be left out, only summed up.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows_unsummed(&self, channel: Channel) -> Result<(), Denied> {
        match self.rights.max_hz {
            Some(most) if channel == Channel::Trade => {
                Err(Denied::Rate { name: self.name.clone(), most })
            }
            _ => Ok(()),
        }
    }

    /// Whether something may be told so many times a second.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allows_hz(&self, hz: f64) -> Result<(), Denied> {
        match self.rights.max_hz {
            Some(most) if most < hz => Err(Denied::TooOften { name: self.name.clone(), most, hz }),
            _ => Ok(()),
        }
    }

    /// Subscriptions of one connection, where the server allows so many.
    pub(crate) fn max_subscriptions(&self, servers: usize) -> usize {
        self.rights.max_subscriptions.map_or(servers, |most| most.min(servers))
    }

    /// Messages a second of one subscription.
    pub(crate) fn max_hz(&self) -> Option<f64> {
        self.rights.max_hz
    }

    /// The least time between two of them, milliseconds.
    pub(crate) fn period_ms(&self) -> Option<u64> {
        self.rights.max_hz.map(|hz| (1_000.0 / hz).ceil() as u64)
    }

    /// The patterns, for an answer that is made after the request.
    pub(crate) fn patterns(&self) -> Vec<Pattern> {
        self.rights.symbols.clone()
    }

    /// The patterns, as they are shown.
    pub(crate) fn symbols(&self) -> String {
        let texts = self.rights.symbols.iter().map(|pattern| pattern.0.as_ref());
        // It may be said of each of a thousand symbols.
        let shown: Vec<&str> = texts.take(PATTERNS_SHOWN).collect();
        match self.rights.symbols.len() {
            0 => "none".to_owned(),
            count if count > shown.len() => {
                format!("{} and {} more", shown.join(", "), count - shown.len())
            }
            _ => shown.join(", "),
        }
    }

    /// The channels, as they are shown.
    pub(crate) fn channels(&self) -> Vec<&'static str> {
        self.rights.channels.iter().map(|channel| channel.as_str()).collect()
    }
}

impl Rights {
    /// A field of which this grants more than the other, if there is one.
    pub(super) fn beyond(&self, ceiling: &Rights) -> Option<&'static str> {
        let within = |pattern: &Pattern| ceiling.symbols.iter().any(|most| most.covers(pattern));
        [
            ("symbols", !self.symbols.iter().all(within)),
            ("channels", !self.channels.iter().all(|one| ceiling.channels.contains(one))),
            ("depth", exceeds(self.depth, ceiling.depth)),
            ("max_subscriptions", exceeds(self.max_subscriptions, ceiling.max_subscriptions)),
            ("max_hz", exceeds(self.max_hz, ceiling.max_hz)),
            ("connections", exceeds(self.connections, ceiling.connections)),
            // What comes sooner is more.
            ("delay", self.delay_ms < ceiling.delay_ms),
        ]
        .into_iter()
        .find_map(|(field, is_beyond)| is_beyond.then_some(field))
    }

    pub(super) fn nothing() -> Self {
        Rights {
            symbols: Vec::new(),
            channels: Vec::new(),
            depth: None,
            max_subscriptions: None,
            max_hz: None,
            connections: None,
            expires_ms: None,
            operator: false,
            delay_ms: 0,
        }
    }
}

/// Whether a limit lets through what another does not; none is no limit.
fn exceeds<T: PartialOrd>(limit: Option<T>, ceiling: Option<T>) -> bool {
    match (limit, ceiling) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(limit), Some(ceiling)) => limit > ceiling,
    }
}

/// A grant in the hands of one connection, which counts as long as this lives.
#[derive(Debug)]
pub(crate) struct Held(Arc<Grant>);

impl Held {
    /// One that nobody counts: for those who have yet to say who they are.
    pub(crate) fn nothing() -> Self {
        let grant = Arc::new(Grant::nothing());
        grant.live.fetch_add(1, Ordering::Relaxed);
        Held(grant)
    }

    /// One of everything: for benches and tests.
    pub(crate) fn everything() -> Self {
        let grant = Arc::new(Grant::everything());
        grant.live.fetch_add(1, Ordering::Relaxed);
        Held(grant)
    }
}

impl Held {
    /// What is held, uncounted: to look at it while its holder is changed.
    pub(crate) fn shared(&self) -> Arc<Grant> {
        self.0.clone()
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Held(self.0.clone())
    }
}

impl Deref for Held {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `venue:BASE-QUOTE` with `*` for any text, in the case of canonical symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(std::borrow::Cow<'static, str>);

impl Pattern {
    pub(super) const ALL: Pattern = Pattern(std::borrow::Cow::Borrowed("*"));

    /// Reads one.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = match text.split_once(':') {
            _ if text == "*" => return Some(Pattern::ALL),
            Some((venue, pair)) if !venue.is_empty() && !pair.is_empty() => {
                format!("{}:{}", venue.to_lowercase(), pair.to_uppercase())
            }
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_graphic();
        text.bytes().all(plain).then_some(Pattern(text.into()))
    }

    /// Whether it matches all that another does. What stands for any text there is matched by what does here only: in
    /// a symbol there is no `*`.
    pub(super) fn covers(&self, other: &Pattern) -> bool {
        self.matches(&other.0)
    }

    /// Each part between `*`s is looked for as early as it comes, which is enough: the last has to be at the
    /// end.
    pub(crate) fn matches(&self, symbol: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| symbol.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}
