//! Live venues: `binance:BTCUSDT,ETHUSDT,depth=1000`.

use std::fmt;
use std::path::PathBuf;

use super::parts::Parts;
use super::{Kinds, SpecError};
use crate::venue::{Entry, Options};

/// A venue to connect to: `VENUE:SYMBOL[,SYMBOL...][,key=value,...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSpec {
    /// The venue's short name, one of [`crate::venue::VENUES`].
    pub venue: &'static str,
    /// Symbols as they were given: the venue's own names, `BASE-QUOTE`, or either with `*` in it,
    /// which stands for any letters; at least one.
    pub symbols: Vec<String>,
    /// Which kinds of data; all by default.
    pub channels: Kinds,
    /// Levels a side of the book that is asked for; the venue's default without it.
    pub depth: Option<u16>,
    /// How many connections carry each symbol, 1 or 2; 1 by default. With two, what comes on both
    /// is put once, and the death of one loses nothing.
    pub lines: u8,
    /// The age at which a connection is replaced, seconds, in place of what the venue's rules say.
    pub life: Option<u32>,
    /// How long nothing may be heard of a connection before it is asked whether it lives, seconds, in
    /// place of what the venue's rules say; after as long again it is given up.
    pub silence: Option<u32>,
    /// The base URL of the WebSocket, in place of the venue's.
    pub url: Option<String>,
    /// The base URL of the REST API, in place of the venue's.
    pub rest: Option<String>,
    /// A file of certificates (PEM) to trust besides the system's.
    pub ca: Option<PathBuf>,
}

const KEYS: [&str; 8] = ["channels", "depth", "lines", "life", "silence", "url", "rest", "ca"];

/// The longest list of symbols in one spec.
const MAX_SYMBOLS: usize = 10_000;

impl LiveSpec {
    /// These symbols of a venue, with every key at its default.
    pub fn new(venue: &'static str, symbols: Vec<String>) -> Self {
        LiveSpec {
            venue,
            symbols,
            channels: Kinds::ALL,
            depth: None,
            lines: 1,
            life: None,
            silence: None,
            url: None,
            rest: None,
            ca: None,
        }
    }

    /// What it wants of the venue.
    pub fn options(&self) -> Options {
        Options { channels: self.channels, depth: self.depth }
    }

    pub(super) fn read(venue: &'static Entry, text: &str) -> Result<Self, SpecError> {
        let feed = venue.name;
        let (keys, symbols): (Vec<&str>, Vec<&str>) =
            text.split(',').filter(|part| !part.is_empty()).partition(|part| part.contains('='));
        if symbols.is_empty() {
            return Err(SpecError::NoSymbol { feed });
        }
        if symbols.len() > MAX_SYMBOLS {
            return Err(SpecError::TooManySymbols {
                feed,
                given: symbols.len(),
                most: MAX_SYMBOLS,
            });
        }
        let mut spec = LiveSpec::new(feed, symbols.into_iter().map(str::to_owned).collect());
        for part in &Parts::read(feed, &KEYS, &keys.join(","))?.0 {
            match part.key {
                "channels" => spec.channels = part.kinds()?,
                "depth" => spec.depth = Some(part.integer(1, 5_000, "1 to 5000 levels")? as u16),
                "lines" => spec.lines = part.integer(1, 2, "1 or 2")? as u8,
                "life" => {
                    let life = part.integer(1, 10_000_000, "1 to 10000000 seconds")?;
                    spec.life = Some(life as u32);
                }
                "silence" => {
                    let silence = part.integer(1, 3_600, "1 to 3600 seconds")?;
                    spec.silence = Some(silence as u32);
                }
                "url" => {
                    spec.url = Some(part.url(&["wss://", "ws://"], "a URL as wss://HOST[:PORT]")?)
                }
                "rest" => {
                    let expected = "a URL as https://HOST[:PORT]";
                    spec.rest = Some(part.url(&["https://", "http://"], expected)?);
                }
                _ => spec.ca = Some(part.value.into()),
            }
        }
        if let Some(Err(why)) = venue.rules(spec.options()) {
            return Err(SpecError::Rules { feed, why });
        }
        Ok(spec)
    }
}

impl fmt::Display for LiveSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.venue, self.symbols.join(","))?;
        if self.channels != Kinds::ALL {
            write!(f, ",channels={}", self.channels)?;
        }
        if let Some(depth) = self.depth {
            write!(f, ",depth={depth}")?;
        }
        if self.lines != 1 {
            write!(f, ",lines={}", self.lines)?;
        }
        if let Some(life) = self.life {
            write!(f, ",life={life}")?;
        }
        if let Some(silence) = self.silence {
            write!(f, ",silence={silence}")?;
        }
        for (key, value) in [("url", &self.url), ("rest", &self.rest)] {
            if let Some(value) = value {
                write!(f, ",{key}={value}")?;
            }
        }
        match &self.ca {
            Some(ca) => write!(f, ",ca={}", ca.display()),
            None => Ok(()),
        }
    }
}
