//! Feed specs: the text after `--feed`, such as `synthetic:symbols=500,rate=10000` or
//! `replay:btc.jsonl.gz+eth.jsonl.gz,speed=20`.
//!
//! `KIND[:PARTS]`, where the parts are separated by commas and each is `key=value`; a replay's
//! first part is its files, joined with `+`. A file name with a comma or a plus in it cannot be
//! given (a directory that holds it can).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::decimal::Decimal;
use crate::venue;

mod lines;
mod live;
mod parts;

pub use lines::{LinesSource, LinesSpec, Place};
pub use live::LiveSpec;
use parts::{Parts, nearest};

/// What a feed is to be, before anything is opened.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedSpec {
    /// A market made up here.
    Synthetic(SyntheticSpec),
    /// Captures of real traffic.
    Replay(ReplaySpec),
    /// A venue to connect to.
    Live(LiveSpec),
    /// Lines of ticks from anywhere.
    Lines(LinesSpec),
}

/// The synthetic market: `synthetic[:symbols=N,rate=R,only=K+K,zipf=Z,names=N,seed=S,bursts=B]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSpec {
    /// How many instruments, 1 to 100,000; 200 by default.
    pub symbols: usize,
    /// How many events a second in all, 2,000 by default. An event is what a venue would send as
    /// one message: a trade, a quote, or one book update of however many levels.
    pub rate: Rate,
    /// Which kinds of event there are; all by default.
    pub only: Kinds,
    /// The exponent of Zipf's law by which the instruments share the events, 0 (all alike) to 5;
    /// 1 by default.
    pub zipf: f64,
    /// What the instruments are called.
    pub names: Names,
    /// What the random numbers start from; 1 by default. Equal specs make equal ticks, stamps
    /// apart.
    pub seed: u64,
    /// Whether the events come in bursts, at the same mean rate, as real ones do. By default only
    /// when neither `rate` nor `zipf` is given: who asks for a rate gets it evenly paced.
    pub bursts: bool,
}

/// Captures: `replay:FILE[+FILE...][,speed=S,loop=B,rebase=B,wait=N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySpec {
    /// The capture files, merged by receive time; a directory stands for the captures in it.
    pub files: Vec<PathBuf>,
    /// How fast, 1 by default.
    pub speed: Speed,
    /// Whether to start over at the end; `false` by default: the feed ends.
    pub repeat: bool,
    /// Whether to shift all stamps so that the first receive time is now (and to scale their
    /// distances by the speed); `true` by default. Else they are the capture's.
    pub rebase: bool,
    /// Do not start before this many clients are subscribed; 0 by default.
    pub wait: usize,
}

/// Events per second, exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Millionths of an event per second, 1 to 10^13.
    pub per_million_seconds: u64,
}

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// This many millionths of the original speed, 100,000 (a tenth) to 10^9 (a thousand times).
    Millionths(u64),
    /// As fast as the consumers take it; nobody who keeps reading loses anything.
    Max,
}

/// What the synthetic instruments are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// `sim:BTC-USD`, `sim:ETH-USD`, ... and invented ones after those: a page looks good.
    #[default]
    Market,
    /// `sim:S0000-USD`, `sim:S0001-USD`, ...: a measuring tool can count them.
    Numbered,
}

/// Which kinds of event the synthetic market puts; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Trades.
    pub trade: bool,
    /// Best bid and ask.
    pub quote: bool,
    /// Book snapshots and updates.
    pub book: bool,
}

impl Kinds {
    /// All of them.
    pub const ALL: Kinds = Kinds { trade: true, quote: true, book: true };
}

/// What is wrong with a spec; one line that says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Not one of the feeds.
    #[error("unknown feed `{given}`: expected `synthetic[:key=value,...]`, `replay:FILE[+FILE...][,key=value,...]`, `stdin[:key=value,...]`, `tcp://HOST:PORT[,key=value,...]`, `unix:PATH[,key=value,...]` `publish[:key=value,...]`, or a venue with its symbols as `binance:BTCUSDT,ETHUSDT`{}", hint(.near))]
    UnknownFeed {
        /// What was given.
        given: String,
        /// A feed that is spelt alike.
        near: Option<&'static str>,
    },
    /// Not a key of this feed.
    #[error("unknown key `{key}` in feed `{feed}`: expected one of {expected}{}", hint(.near))]
    UnknownKey {
        /// The feed's kind.
        feed: &'static str,
        /// What was given.
        key: String,
        /// All keys.
        expected: String,
        /// A key that is spelt alike.
        near: Option<&'static str>,
    },
    /// A part that is not `key=value`.
    #[error("`{part}` in feed `{feed}`: expected key=value")]
    NotKeyValue {
        /// The feed's kind.
        feed: &'static str,
        /// What was given.
        part: String,
    },
    /// The same key twice.
    #[error("key `{key}` is given twice in feed `{feed}`")]
    Twice {
        /// The feed's kind.
        feed: &'static str,
        /// Which.
        key: &'static str,
    },
    /// A value that is not in its range.
    #[error("{key}={value} in feed `{feed}`: expected {expected}")]
    BadValue {
        /// The feed's kind.
        feed: &'static str,
        /// Which.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A replay of nothing.
    #[error("feed `replay` names no file: expected replay:FILE[+FILE...][,key=value,...]")]
    NoFile,
    /// A venue without a symbol.
    #[error(
        "feed `{feed}` names no symbol: expected {feed}:SYMBOL[,SYMBOL...][,key=value,...], `*` for all"
    )]
    NoSymbol {
        /// The venue.
        feed: &'static str,
    },
    /// More symbols than a spec may have.
    #[error("feed `{feed}` names {given} symbols, expected at most {most}: use `*`")]
    TooManySymbols {
        /// The venue.
        feed: &'static str,
        /// How many.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// Something that the venue does not have.
    #[error("feed `{feed}`: {why}")]
    Rules {
        /// The venue.
        feed: &'static str,
        /// What was given and what the venue takes.
        why: String,
    },
    /// A source of lines without an address.
    #[error("`{given}` names no address: expected {expected}")]
    NoPlace {
        /// What was given.
        given: String,
        /// What would do.
        expected: &'static str,
    },
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        SyntheticSpec {
            symbols: 200,
            rate: Rate { per_million_seconds: 2_000 * MILLION },
            only: Kinds::ALL,
            zipf: 1.0,
            names: Names::Market,
            seed: 1,
            bursts: true,
        }
    }
}

impl ReplaySpec {
    /// These files, with every key at its default.
    pub fn new(files: Vec<PathBuf>) -> Self {
        ReplaySpec {
            files,
            speed: Speed::Millionths(MILLION),
            repeat: false,
            rebase: true,
            wait: 0,
        }
    }
}

const MILLION: u64 = 1_000_000;
const SYNTHETIC: &str = "synthetic";
const REPLAY: &str = "replay";
const SYNTHETIC_KEYS: [&str; 7] = ["symbols", "rate", "only", "zipf", "names", "seed", "bursts"];
const REPLAY_KEYS: [&str; 4] = ["speed", "loop", "rebase", "wait"];

impl FromStr for FeedSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            SYNTHETIC => parse_synthetic(rest).map(FeedSpec::Synthetic),
            REPLAY => parse_replay(rest).map(FeedSpec::Replay),
            _ => {
                if let Some(kind) = lines::KINDS.into_iter().find(|known| *known == kind) {
                    return LinesSpec::parse(kind, rest).map(FeedSpec::Lines);
                }
                let live = venue::VENUES.iter().filter(|venue| venue.is_live());
                if let Some(venue) = venue::find(kind).filter(|venue| venue.is_live()) {
                    return LiveSpec::read(venue, rest).map(FeedSpec::Live);
                }
                let mut names = [&[SYNTHETIC, REPLAY], &lines::KINDS[..]].concat();
                names.extend(live.map(|venue| venue.name));
                let near = nearest(kind, &names);
                Err(SpecError::UnknownFeed { given: kind.to_owned(), near })
            }
        }
    }
}

fn parse_synthetic(text: &str) -> Result<SyntheticSpec, SpecError> {
    let mut spec = SyntheticSpec::default();
    let parts = Parts::read(SYNTHETIC, &SYNTHETIC_KEYS, text)?;
    for part in &parts.0 {
        match part.key {
            "symbols" => spec.symbols = part.integer(1, 100_000, "1 to 100000")? as usize,
            "rate" => {
                let expected = "ticks per second, 0.000001 to 10000000";
                let per_million_seconds = part.millionths(1, 10_000_000 * MILLION, expected)?;
                spec.rate = Rate { per_million_seconds };
            }
            "only" => spec.only = part.kinds()?,
            "zipf" => spec.zipf = part.zipf()?,
            "names" => {
                spec.names = match part.value {
                    "market" => Names::Market,
                    "numbered" => Names::Numbered,
                    _ => return Err(part.bad("`market` or `numbered`")),
                }
            }
            "seed" => spec.seed = part.integer(0, u64::MAX, "0 to 18446744073709551615")?,
            _ => spec.bursts = part.flag()?,
        }
    }
    if !parts.has("bursts") {
        spec.bursts = !parts.has("rate") && !parts.has("zipf");
    }
    Ok(spec)
}

fn parse_replay(text: &str) -> Result<ReplaySpec, SpecError> {
    let (files, rest) = text.split_once(',').unwrap_or((text, ""));
    let files: Vec<PathBuf> = files.split('+').map(PathBuf::from).collect();
    if files.iter().any(|file| file.as_os_str().is_empty()) {
        return Err(SpecError::NoFile);
    }
    let mut spec = ReplaySpec::new(files);
    for part in &Parts::read(REPLAY, &REPLAY_KEYS, rest)?.0 {
        match part.key {
            "speed" if part.value == "max" => spec.speed = Speed::Max,
            "speed" => {
                let speed =
                    part.millionths(MILLION / 10, 1_000 * MILLION, "0.1 to 1000, or `max`")?;
                spec.speed = Speed::Millionths(speed);
            }
            "loop" => spec.repeat = part.flag()?,
            "rebase" => spec.rebase = part.flag()?,
            _ => spec.wait = part.integer(0, 10_000_000, "a number of clients")? as usize,
        }
    }
    Ok(spec)
}

impl fmt::Display for FeedSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedSpec::Synthetic(spec) => spec.fmt(f),
            FeedSpec::Replay(spec) => spec.fmt(f),
            FeedSpec::Live(spec) => spec.fmt(f),
            FeedSpec::Lines(spec) => spec.fmt(f),
        }
    }
}

impl fmt::Display for SyntheticSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SYNTHETIC}:symbols={},rate={}", self.symbols, self.rate)?;
        if self.only != Kinds::ALL {
            write!(f, ",only={}", self.only)?;
        }
        let names = match self.names {
            Names::Market => "market",
            Names::Numbered => "numbered",
        };
        let bursts = self.bursts;
        write!(f, ",zipf={},names={names},seed={},bursts={bursts}", self.zipf, self.seed)
    }
}

impl fmt::Display for ReplaySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REPLAY}:")?;
        for (i, file) in self.files.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "+" }, file.display())?;
        }
        let (repeat, rebase) = (self.repeat, self.rebase);
        write!(f, ",speed={},loop={repeat},rebase={rebase},wait={}", self.speed, self.wait)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(self.per_million_seconds as i64, -6).fmt(f)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Millionths(n) => Decimal::new(*n as i64, -6).fmt(f),
            Speed::Max => f.write_str("max"),
        }
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.trade, "trade"), (self.quote, "quote"), (self.book, "book")];
        let names: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        f.write_str(&names.join("+"))
    }
}

fn hint(near: &Option<&'static str>) -> String {
    near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic(text: &str) -> SyntheticSpec {
        match text.parse().unwrap() {
            FeedSpec::Synthetic(spec) => spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_every_key() {
        let text = "synthetic:symbols=500,rate=10000,only=trade,zipf=0,names=numbered,seed=1";
        let spec = synthetic(text);
        let only = Kinds { trade: true, quote: false, book: false };
        let rate = Rate { per_million_seconds: 10_000_000_000 };
        let (names, seed) = (Names::Numbered, 1);
        let wanted =
            SyntheticSpec { symbols: 500, rate, only, zipf: 0.0, names, seed, bursts: false };
        assert_eq!(spec, wanted);
        let spec: FeedSpec =
            "replay:a.gz+b/c.zst,speed=0.1,loop=true,rebase=false,wait=3".parse().unwrap();
        let files = vec!["a.gz".into(), "b/c.zst".into()];
        let speed = Speed::Millionths(100_000);
        let wanted = ReplaySpec { files, speed, repeat: true, rebase: false, wait: 3 };
        assert_eq!(spec, FeedSpec::Replay(wanted));
    }

    #[test]
    fn defaults_and_when_bursts_are_on() {
        assert_eq!(synthetic("synthetic"), SyntheticSpec::default());
        assert_eq!(synthetic("synthetic:"), SyntheticSpec::default());
        assert!(synthetic("synthetic:symbols=7,seed=9").bursts);
        assert!(!synthetic("synthetic:rate=0.5").bursts);
        assert!(!synthetic("synthetic:zipf=1.2").bursts);
        assert!(synthetic("synthetic:rate=10,bursts=on").bursts);
        assert!(!synthetic("synthetic:bursts=off").bursts);
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in [
            "synthetic",
            "synthetic:symbols=3,rate=0.25,only=book+quote,zipf=0.8,names=numbered,seed=12",
            "synthetic:rate=10000000,bursts=on",
            "replay:a",
            "replay:a+b,speed=max,loop=true,wait=2",
            "replay:a,speed=12.5,rebase=false",
        ] {
            let spec: FeedSpec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse::<FeedSpec>(), Ok(spec), "{text}");
        }
    }

    #[test]
    fn errors_say_what_and_how_to_mend_it() {
        for (text, parts) in [
            ("sinthetic", &["unknown feed `sinthetic`", "did you mean `synthetic`?"][..]),
            ("kafka:x", &["unknown feed `kafka`", "replay:FILE"]),
            ("synthetic:symbol=5", &["unknown key `symbol`", "did you mean `symbols`?"]),
            ("synthetic:sym=5", &["did you mean `symbols`?"]),
            ("synthetic:frequency=5", &["one of symbols, rate, only, zipf, names, seed, bursts"]),
            ("synthetic:rate", &["`rate`", "expected key=value"]),
            ("synthetic:rate=1,rate=2", &["`rate` is given twice"]),
            ("synthetic:rate=0", &["rate=0", "expected ticks per second, 0.000001 to 10000000"]),
            ("synthetic:rate=1e9", &["rate=1e9"]),
            ("synthetic:rate=-5", &["rate=-5"]),
            ("synthetic:rate=0.0000001", &["rate=0.0000001"]),
            ("synthetic:symbols=0", &["symbols=0", "1 to 100000"]),
            ("synthetic:symbols=100001", &["symbols=100001"]),
            ("synthetic:zipf=NaN", &["zipf=NaN", "0 (uniform) to 5"]),
            ("synthetic:only=trades", &["only=trades", "trade, quote or book"]),
            ("synthetic:only=", &["only="]),
            ("synthetic:names=nice", &["names=nice", "`market` or `numbered`"]),
            ("replay", &["names no file"]),
            ("replay:a++b", &["names no file"]),
            ("replay:a,speed=0.09", &["speed=0.09", "0.1 to 1000, or `max`"]),
            ("replay:a,speed=1001", &["speed=1001"]),
            ("replay:a,rebased=1", &["unknown key `rebased`", "did you mean `rebase`?"]),
            ("replay:a,loop=maybe", &["loop=maybe", "`true` or `false`"]),
        ] {
            let error = text.parse::<FeedSpec>().unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
        let far = "synthetic:frequency=5".parse::<FeedSpec>().unwrap_err().to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }
}
