//! The validated, typed configuration.
//!
//! Flags beat environment variables, variables beat the configuration file, the file beats the
//! defaults. Whatever its origin, a value is read by one set of rules, and an error names the
//! origin, the value and what would do.

mod addresses;
mod admin;
mod doors;
mod error;
mod file;
mod machine;
mod memory;
mod origin;
mod proxies;
mod record;
mod shown;
mod spool;
mod token;
mod trace;
pub mod units;
mod values;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tickcast_feeds::spec::LinesSource;
use tickcast_feeds::{FeedSpec, LinesSpec};
use tracing::Level;

use crate::cli::{self, Given, Origin, Settings};
use crate::limits;
use crate::logging::LogFormat;
pub use addresses::Addresses;
pub use admin::{Admin, AdminAt, Secret};
pub use doors::Doors;
pub use error::ConfigError;
pub use machine::Machine;
pub use proxies::Proxies;
pub use record::Record;
pub use spool::Spool;
pub use token::Token;
pub use trace::Traced;
use units::{Bytes, Span, Spread};
pub(crate) use values::cut;
use values::{
    address, drain_spread, feed, log_format, log_level, number, one_of, request_rate, ring_slots,
    slow_consumer,
};

/// Everything that `serve` needs to know. Built by [`load`] only, so it is always consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients come in.
    pub doors: Doors,
    /// From the accept to the end of the upgrade.
    pub handshake_timeout: Duration,
    /// Between the server's pings.
    pub ping_interval: Duration,
    /// Silence after a ping that makes a client a dead one.
    pub ping_timeout: Duration,
    /// The web origins whose pages may read the market data over HTTP; `*`: all.
    pub cors_origins: Vec<String>,
    /// Clients that offer permessage-deflate get it.
    pub compress: bool,
    /// Whether `/v1/echo` is served.
    pub echo: bool,
    /// The file that says who may see what; all may see everything where there is none.
    pub access: Option<PathBuf>,
    /// The sources of ticks, at least one.
    pub feeds: Vec<FeedSpec>,
    /// What publishers must give; `None`: there is no `/v1/publish`. With one, there is exactly
    /// one feed `publish`.
    pub publish_token: Option<Token>,
    /// The file that the token is from.
    pub publish_token_file: Option<String>,
    /// Whether what live feeds receive is kept, and how.
    pub record: Record,
    /// Where what is delayed waits.
    pub spool: Spool,
    /// Threads that serve clients, at least one.
    pub reactors: usize,
    /// Whether reactors were asked to be bound to cores.
    pub pin: Pin,
    /// The core of each reactor, in order; empty when they are not bound.
    pub cores: Vec<usize>,
    /// Ticks that the ring holds, a power of two.
    pub ring_slots: usize,
    /// Longest that a tick may wait for others to the same client.
    pub max_age: Duration,
    /// Clients at a time.
    pub max_clients: usize,
    /// Connections that have not finished their upgrade.
    pub max_handshakes: usize,
    /// What one address may have.
    pub addresses: Addresses,
    /// What proxies before the server are believed.
    pub proxies: Proxies,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Requests per second of one client.
    pub request_rate: NonZeroU32,
    /// Trades of a symbol, and closed bars of each of its intervals, that are kept.
    pub history: usize,
    /// Bytes of a client's largest message.
    pub max_message_bytes: usize,
    /// Bytes that may wait for a client.
    pub outbox_bytes: usize,
    /// Bytes that all clients together may make the server hold; 0: no limit.
    pub memory_budget: usize,
    /// What a slow client gets.
    pub slow_consumer: SlowConsumer,
    /// How long a client may take nothing while bytes wait for it.
    pub slow_grace: Duration,
    /// From the signal to the exit.
    pub drain_deadline: Duration,
    /// When drained clients are told to reconnect.
    pub drain_spread: Spread,
    /// Where operators come in, if anywhere.
    pub admin: Option<Admin>,
    /// The least severe messages that are logged.
    pub log_level: Level,
    /// The form of the log lines.
    pub log_format: LogFormat,
    /// Which ticks are traced.
    pub traced: Traced,
}

impl Config {
    /// Requests that a client may send at once before the rate holds it back.
    pub fn request_burst(&self) -> u32 {
        self.request_rate.get() * limits::REQUEST_BURST_SECONDS
    }
}

/// Whether reactors are bound to cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Each to its own core.
    Always,
    /// Never.
    Never,
    /// When there are several cores and no more reactors than cores.
    Auto,
}

/// What happens to a client whose outbox stays over its limit for the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is told why and closed.
    Disconnect,
    /// It gets the latest values only.
    Conflate,
}

/// A [`Config`] and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: Settings,
}

impl Loaded {
    /// Whether somebody gave this setting a value.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.origins.get(name).is_some_and(|given| given.origin != Origin::Default)
    }
}

/// Reads the settings of the command line and the environment, and of the file they name, into a
/// configuration for this machine.
///
/// # Errors
/// The first value that is wrong.
pub fn load(settings: Settings, machine: &Machine) -> Result<Loaded, ConfigError> {
    let mut origins = settings;
    if let Some(Given { origin, values }) = origins.remove("config") {
        let place = if origin == Origin::Env { "TICKCAST_CONFIG" } else { "--config" };
        for (name, given) in file::read(place, values.first().map_or("", String::as_str))? {
            if origins.get(&name).is_none_or(|before| before.origin < given.origin) {
                origins.insert(name, given);
            }
        }
    }
    let config = Reader { settings: &origins, machine }.config()?;
    Ok(Loaded { config, origins })
}

/// Turns texts into values.
struct Reader<'a> {
    settings: &'a Settings,
    machine: &'a Machine,
}

impl Reader<'_> {
    fn config(&self) -> Result<Config, ConfigError> {
        if self.machine.open_files < limits::DESCRIPTORS_MIN {
            return Err(ConfigError::TooFewFiles { open_files: self.machine.open_files });
        }
        let reactors =
            self.or("reactors", self.machine.parallelism.min(limits::REACTORS_MAX), |text| {
                number(text, 1..=limits::REACTORS_MAX)
            })?;
        let (pin, cores) = self.required("pin", |text| self.pin(text, reactors))?;
        let max_handshakes = self.max_handshakes()?;
        let (publish_token_file, publish_token) = self.publish_token()?;
        let feeds = self.feeds(publish_token.is_some())?;
        Ok(Config {
            doors: self.doors()?,
            handshake_timeout: self.span("handshake-timeout", &limits::HANDSHAKE_TIMEOUT_RANGE)?,
            ping_interval: self.span("ping-interval", &limits::PING_RANGE)?,
            ping_timeout: self.span("ping-timeout", &limits::PING_RANGE)?,
            cors_origins: self.cors_origins()?,
            compress: self.required("compress", |text| one_of(text, cli::BOOL, &[true, false]))?,
            echo: self.required("echo", |text| one_of(text, cli::BOOL, &[true, false]))?,
            access: self.or("access", None, |text| doors::path(text).map(Some))?,
            record: self.record(&feeds)?,
            spool: self.spool()?,
            feeds,
            publish_token,
            publish_token_file,
            reactors,
            pin,
            cores,
            ring_slots: self.required("ring-slots", ring_slots)?,
            max_clients: self.max_clients(max_handshakes)?,
            max_handshakes,
            addresses: self.addresses(max_handshakes)?,
            proxies: self.proxies()?,
            max_subscriptions: self.required("max-subscriptions", |text| {
                number(text, 1..=limits::SUBSCRIPTIONS_MAX)
            })?,
            request_rate: self.required("request-rate", request_rate)?,
            history: self.required("history", |text| number(text, 0..=limits::HISTORY_MAX))?,
            max_message_bytes: self.size("max-message-bytes", &limits::MESSAGE_BYTES_RANGE)?,
            outbox_bytes: self.size("outbox-bytes", &limits::OUTBOX_BYTES_RANGE)?,
            memory_budget: self.memory_budget()?,
            slow_consumer: self.required("slow-consumer", slow_consumer)?,
            max_age: self.max_age()?,
            slow_grace: self.span("slow-grace", &limits::SLOW_GRACE_RANGE)?,
            drain_deadline: self.span("drain-deadline", &limits::DRAIN_DEADLINE_RANGE)?,
            drain_spread: self.required("drain-spread", drain_spread)?,
            admin: self.admin()?,
            log_level: self.required("log-level", log_level)?,
            log_format: self.required("log-format", log_format)?,
            traced: self.traced()?,
        })
    }

    /// A setting that always has a text: the definition gives it a default.
    fn required<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let given = self.settings.get(name);
        let text = given.and_then(|given| given.values.first()).map_or("", String::as_str);
        read(text).map_err(|why| self.error(name, text, why))
    }

    /// A setting whose default depends on the machine.
    fn or<T>(
        &self,
        name: &str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        if self.settings.contains_key(name) { self.required(name, read) } else { Ok(default) }
    }

    fn error(&self, name: &str, value: &str, why: String) -> ConfigError {
        let place = match self.settings.get(name).map(|given| &given.origin) {
            Some(Origin::Env) => cli::variable(name),
            Some(Origin::File { path, line }) => format!("{path}:{line}: {name}"),
            Some(Origin::Flag | Origin::Default) | None => format!("--{name}"),
        };
        ConfigError::Value { place, value: cut(value), why }
    }

    fn span(&self, name: &str, range: &RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        self.required(name, |text| {
            let Span(value) = text.parse()?;
            let (least, most) = (Span(*range.start()), Span(*range.end()));
            let why = || format!("expected a duration from {least} to {most}");
            range.contains(&value).then_some(value).ok_or_else(why)
        })
    }

    fn memory_budget(&self) -> Result<usize, ConfigError> {
        let default = (self.machine.memory / limits::BUDGET_SHARE).max(limits::BUDGET_MIN);
        self.or("memory-budget", default, |text| {
            let Bytes(value) = text.parse()?;
            let why = || format!("expected 0 or at least {}", Bytes(limits::BUDGET_MIN));
            (value == 0 || value >= limits::BUDGET_MIN).then_some(value).ok_or_else(why)
        })
    }

    fn max_age(&self) -> Result<Duration, ConfigError> {
        self.required("max-age-ms", |text| number(text, 0..=limits::MAX_AGE_MS_MAX as usize))
            .map(|ms| Duration::from_millis(ms as u64))
    }

    fn size(&self, name: &str, range: &RangeInclusive<usize>) -> Result<usize, ConfigError> {
        self.required(name, |text| {
            let Bytes(value) = text.parse()?;
            let (least, most) = (Bytes(*range.start()), Bytes(*range.end()));
            let why = || format!("expected a size from {least} to {most}");
            range.contains(&value).then_some(value).ok_or_else(why)
        })
    }

    fn pin(&self, text: &str, reactors: usize) -> Result<(Pin, Vec<usize>), String> {
        let pin = one_of(text, cli::PIN, &[Pin::Always, Pin::Never, Pin::Auto])?;
        let cores = &self.machine.cores;
        let fits = reactors <= cores.len();
        let bind = match pin {
            Pin::Always if fits => true,
            Pin::Always => {
                let cores = cores.len();
                return Err(format!(
                    "{reactors} reactors cannot have a core each of {cores}, \
                     expected --reactors {cores} or less, or --pin auto"
                ));
            }
            Pin::Never => false,
            Pin::Auto => fits && cores.len() > 1,
        };
        Ok((pin, if bind { cores[..reactors].to_vec() } else { Vec::new() }))
    }

    /// The token and the file that it is from.
    fn publish_token(&self) -> Result<(Option<String>, Option<Token>), ConfigError> {
        let name = "publish-token-file";
        let file = self.settings.get(name).and_then(|given| given.values.first());
        if let Some(path) = file {
            let token = Token::read(path).map_err(|why| self.error(name, path, why))?;
            return Ok((Some(path.clone()), Some(token)));
        }
        let Some(given) = self.settings.get(cli::TOKEN) else { return Ok((None, None)) };
        let token = Token::new(given.values.first().map_or("", String::as_str));
        let hidden = |why| ConfigError::Value {
            place: cli::TOKEN_VARIABLE.to_owned(),
            value: "(not shown)".to_owned(),
            why,
        };
        Ok((None, Some(token.map_err(hidden)?)))
    }

    fn feeds(&self, publish: bool) -> Result<Vec<FeedSpec>, ConfigError> {
        let mut feeds = self.given_feeds()?;
        let count = |source: &LinesSource| {
            let is =
                |feed: &&FeedSpec| matches!(feed, FeedSpec::Lines(spec) if spec.source == *source);
            feeds.iter().filter(is).count()
        };
        let error = |value: &str, why: &str| Err(self.error("feed", value, why.to_owned()));
        if count(&LinesSource::Stdin) > 1 {
            return error("stdin", "there is one standard input, expected it once");
        }
        // Two feeds of a venue would share its limits without knowing of each other.
        let mut venues: Vec<&str> = Vec::new();
        for feed in &feeds {
            if let FeedSpec::Live(spec) = feed {
                if venues.contains(&spec.venue) {
                    let why = "is given twice, expected all its symbols in one --feed";
                    return error(spec.venue, why);
                }
                venues.push(spec.venue);
            }
        }
        match (count(&LinesSource::Publish), publish) {
            (0, true) => {
                feeds.push(FeedSpec::Lines(LinesSpec::new(LinesSource::Publish)));
                Ok(feeds)
            }
            (0, false) | (1, true) => Ok(feeds),
            (1, false) => error("publish", "it needs a token, expected --publish-token-file FILE"),
            _ => error("publish", "there is one /v1/publish, expected it once"),
        }
    }

    fn given_feeds(&self) -> Result<Vec<FeedSpec>, ConfigError> {
        let Some(texts) = self.several("feed") else { return Ok(Vec::new()) };
        if texts.is_empty() || texts.len() > limits::FEEDS_MAX {
            let why = format!("expected 1 to {} feeds", limits::FEEDS_MAX);
            return Err(self.error("feed", &texts.len().to_string(), why));
        }
        let read = |text: &str| feed(text.trim()).map_err(|why| self.error("feed", text, why));
        texts.into_iter().map(read).collect()
    }

    /// The texts of a repeatable setting.
    fn several(&self, name: &str) -> Option<Vec<&str>> {
        let given = self.settings.get(name)?;
        Some(match given.origin {
            // One variable holds them all.
            Origin::Env => given.values.iter().flat_map(|all| all.split(';')).collect(),
            _ => given.values.iter().map(String::as_str).collect(),
        })
    }

    fn cors_origins(&self) -> Result<Vec<String>, ConfigError> {
        let name = "cors-origin";
        let read = |text: &str| {
            origin::read(text.trim()).map_err(|why| self.error(name, text, why.to_owned()))
        };
        self.several(name).unwrap_or_default().into_iter().map(read).collect()
    }

    /// What the limit of open files leaves for connections.
    fn connections(&self) -> usize {
        self.machine.open_files - limits::DESCRIPTORS_RESERVED
    }

    fn max_handshakes(&self) -> Result<usize, ConfigError> {
        let share = self.machine.open_files / limits::HANDSHAKES_SHARE;
        self.or("max-handshakes", limits::HANDSHAKES.min(share), |text| {
            number(text, 1..=self.connections() - 1).map_err(|why| self.because_of_files(&why))
        })
    }

    fn max_clients(&self, max_handshakes: usize) -> Result<usize, ConfigError> {
        let most = self.connections() - max_handshakes;
        self.or("max-clients", limits::CLIENTS.min(most), |text| {
            number(text, 1..=most).map_err(|why| self.because_of_files(&why))
        })
    }

    fn because_of_files(&self, why: &str) -> String {
        let files = self.machine.open_files;
        format!("{why}; this process may open {files} files (`ulimit -Hn` raises that)")
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
