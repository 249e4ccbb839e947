//! The specs of sources of lines: `stdin[:key=value,...]`, `tcp://HOST:PORT[,key=value...]`,
//! `unix:PATH[,key=value...]` and `publish[:key=value,...]`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::SpecError;
use super::parts::{Part, Parts};
use crate::claims::Allowance;
use crate::decimal::Decimal;
use crate::lines::Terms;
use crate::venue::native::Rules;

/// Lines of ticks in the native form (docs/PUBLISH.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesSpec {
    /// Where they come from.
    pub source: LinesSource,
    /// The only venue that may be published; any that no other feed has by default.
    pub venue: Option<String>,
    /// Whether an unknown field is an error; `true` by default.
    pub strict: bool,
    /// Symbols that all publishers of the feed may list, 1 to 100,000; 4,096 by default.
    pub symbols: usize,
    /// Ticks per second of one publisher, 1 to 10,000,000; 100,000 by default, ten times what a
    /// busy venue sends, and well below what would keep other feeds out of the ingest.
    pub rate: u64,
    /// Milliseconds of silence after which a publisher's symbols are stale, 0 for never; 30,000 by
    /// default.
    pub idle_ms: u64,
    /// Publishers at a time, 1 to 128; 16 by default.
    pub publishers: usize,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinesSource {
    /// The standard input.
    Stdin,
    /// Publishers that connect.
    Listen {
        /// To where.
        place: Place,
        /// Whether it may be an address that others can reach.
        public: bool,
    },
    /// One publisher that is connected to.
    Connect(Place),
    /// The server's `/v1/publish`.
    Publish,
}

/// An address of a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

pub(super) const KINDS: [&str; 4] = ["stdin", "tcp", "unix", "publish"];
const COMMON: [&str; 5] = ["venue", "strict", "symbols", "rate", "idle"];
const PUBLISH: [&str; 6] = ["venue", "strict", "symbols", "rate", "idle", "publishers"];
const UNIX: [&str; 7] = ["venue", "strict", "symbols", "rate", "idle", "publishers", "connect"];
const TCP: [&str; 8] =
    ["venue", "strict", "symbols", "rate", "idle", "publishers", "connect", "public"];

impl LinesSpec {
    /// This source, with every key at its default.
    pub fn new(source: LinesSource) -> Self {
        LinesSpec {
            source,
            venue: None,
            strict: true,
            symbols: 4_096,
            rate: 100_000,
            idle_ms: 30_000,
            publishers: 16,
        }
    }

    /// What bounds each of its publishers. The allowance of symbols is the feed's: to be asked for
    /// once.
    pub fn terms(&self) -> Terms {
        let allowance = Arc::new(Allowance::new(self.symbols));
        let rules = Rules { venue: self.venue.clone(), strict: self.strict, allowance };
        Terms { rules, rate: self.rate, idle_ns: self.idle_ms * 1_000_000 }
    }

    /// Reads the text after the kind and its colon.
    pub(super) fn parse(kind: &'static str, text: &str) -> Result<Self, SpecError> {
        let (place, keys, rest) = match kind {
            "stdin" => (None, &COMMON[..], text),
            "publish" => (None, &PUBLISH[..], text),
            _ => {
                let (place, rest) = text.split_once(',').unwrap_or((text, ""));
                let keys: &'static [&'static str] = if kind == "tcp" { &TCP } else { &UNIX };
                (Some(self::place(kind, place)?), keys, rest)
            }
        };
        let mut spec = LinesSpec::new(LinesSource::Stdin);
        let (mut connect, mut public) = (false, false);
        for part in &Parts::read(kind, keys, rest)?.0 {
            match part.key {
                "connect" => connect = part.flag()?,
                "public" => public = part.flag()?,
                _ => spec.set(part)?,
            }
        }
        spec.source = match place {
            None if kind == "stdin" => LinesSource::Stdin,
            None => LinesSource::Publish,
            Some(place) if connect => LinesSource::Connect(place),
            Some(place) => LinesSource::Listen { place, public },
        };
        Ok(spec)
    }

    fn set(&mut self, part: &Part<'_>) -> Result<(), SpecError> {
        match part.key {
            "venue" => {
                let name = part.value;
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                if name.is_empty() || !name.chars().all(plain) {
                    return Err(part.bad("a venue's name of lower-case letters and digits"));
                }
                self.venue = Some(name.to_owned());
            }
            "strict" => self.strict = part.flag()?,
            "symbols" => self.symbols = part.integer(1, 100_000, "1 to 100000")? as usize,
            "rate" => {
                self.rate = part.integer(1, 10_000_000, "ticks per second, 1 to 10000000")?;
            }
            "idle" => {
                let expected = "seconds, 0 (never) or 0.1 to 86400";
                let micros = part.millionths(0, 86_400_000_000, expected)?;
                if micros != 0 && micros < 100_000 || micros % 1_000 != 0 {
                    return Err(part.bad(expected));
                }
                self.idle_ms = micros / 1_000;
            }
            _ => self.publishers = part.integer(1, 128, "1 to 128")? as usize,
        }
        Ok(())
    }
}

fn place(kind: &'static str, text: &str) -> Result<Place, SpecError> {
    if kind == "unix" {
        // A name with a NUL, or longer than sun_path of unix(7), names no socket.
        let good = (1..=107).contains(&text.len()) && !text.contains('\0');
        return good.then(|| Place::Unix(text.into())).ok_or_else(|| SpecError::NoPlace {
            given: format!("{kind}:{text}"),
            expected: "unix:PATH[,key=value,...], the path of at most 107 bytes",
        });
    }
    let address = text.strip_prefix("//").filter(|address| {
        let (host, port) = address.rsplit_once(':').unwrap_or(("", ""));
        !host.is_empty() && port.parse::<u16>().is_ok()
    });
    address.map(|address| Place::Tcp(address.to_owned())).ok_or_else(|| SpecError::NoPlace {
        given: format!("{kind}:{text}"),
        expected: "tcp://HOST:PORT[,key=value,...]",
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => write!(f, "tcp://{address}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for LinesSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = LinesSpec::new(LinesSource::Stdin);
        let mut keys = Vec::new();
        let head = match &self.source {
            LinesSource::Stdin => "stdin:".to_owned(),
            LinesSource::Publish => "publish:".to_owned(),
            LinesSource::Listen { place, public } => {
                if *public {
                    keys.push("public=true".to_owned());
                }
                place.to_string()
            }
            LinesSource::Connect(place) => {
                keys.push("connect=true".to_owned());
                place.to_string()
            }
        };
        if let Some(venue) = &self.venue {
            keys.push(format!("venue={venue}"));
        }
        if self.strict != default.strict {
            keys.push(format!("strict={}", self.strict));
        }
        let numbers = [
            ("symbols", self.symbols as u64, default.symbols as u64),
            ("rate", self.rate, default.rate),
            ("publishers", self.publishers as u64, default.publishers as u64),
        ];
        for (key, value, default) in numbers {
            if value != default {
                keys.push(format!("{key}={value}"));
            }
        }
        if self.idle_ms != default.idle_ms {
            keys.push(format!("idle={}", Decimal::new(self.idle_ms as i64, -3)));
        }
        let keys = keys.join(",");
        let comma = if head.ends_with(':') || keys.is_empty() { "" } else { "," };
        write!(f, "{head}{comma}{keys}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::FeedSpec;
    use super::*;

    #[test]
    fn reads_every_key() {
        let text = "tcp://127.0.0.1:9000,venue=my,strict=false,symbols=7,rate=50,idle=1.5,publishers=2,public=true";
        let FeedSpec::Lines(spec) = text.parse().unwrap() else { panic!("{text}") };
        let place = Place::Tcp("127.0.0.1:9000".into());
        let wanted = LinesSpec {
            source: LinesSource::Listen { place, public: true },
            venue: Some("my".into()),
            strict: false,
            symbols: 7,
            rate: 50,
            idle_ms: 1_500,
            publishers: 2,
        };
        assert_eq!(spec, wanted);
        let spec: FeedSpec = "unix:/run/x.sock,connect=true".parse().unwrap();
        let wanted = LinesSpec::new(LinesSource::Connect(Place::Unix("/run/x.sock".into())));
        assert_eq!(spec, FeedSpec::Lines(wanted));
        let spec: FeedSpec = "stdin".parse().unwrap();
        assert_eq!(spec, FeedSpec::Lines(LinesSpec::new(LinesSource::Stdin)));
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in [
            "stdin",
            "stdin:venue=my,idle=0",
            "publish:rate=10,publishers=3",
            "tcp://localhost:0",
            "tcp://[::1]:7000,connect=true,symbols=9",
            "unix:a.sock,strict=false,idle=0.25",
            "tcp://0.0.0.0:7000,public=true",
        ] {
            let spec: FeedSpec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse::<FeedSpec>(), Ok(spec), "{text}");
        }
    }

    #[test]
    fn errors_say_what_and_how_to_mend_it() {
        for (text, parts) in [
            ("tcp:127.0.0.1:9000", &["`tcp:127.0.0.1:9000`", "tcp://HOST:PORT"][..]),
            ("tcp://9000", &["tcp://HOST:PORT"]),
            ("tcp://host:99999", &["tcp://HOST:PORT"]),
            ("unix:", &["unix:PATH"]),
            ("unix:/a,public=true", &["unknown key `public`"]),
            ("stdin:publishers=2", &["unknown key `publishers`", "idle"]),
            ("stdin:venues=my", &["did you mean `venue`?"]),
            ("stdin:venue=My", &["venue=My", "lower-case"]),
            ("stdin:idle=0.01", &["idle=0.01", "0.1 to 86400"]),
            ("stdin:rate=0", &["rate=0", "1 to 10000000"]),
            ("publish:symbols=0", &["symbols=0"]),
            ("stdim", &["unknown feed `stdim`", "did you mean `stdin`?"]),
        ] {
            let error = text.parse::<FeedSpec>().unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }
}
