//! The command line. Parsing and checking only.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::message::{StampFormat, StampKey};

/// A channel of the native protocol that carries ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    /// Every trade.
    Trade,
    /// The best bid and ask.
    Quote,
    /// The order book.
    Book,
}

impl Channel {
    /// The channel's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Trade => "trade",
            Channel::Quote => "quote",
            Channel::Book => "book",
        }
    }
}

/// Which stamp of a message its latency is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stamp {
    /// ts.event: when the tick was due
    Event,
    /// ts.recv: when the server got it
    Recv,
    /// none: count deliveries only
    None,
}

/// The unit of `--stamp-key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// nanoseconds
    Ns,
    /// microseconds
    Us,
    /// milliseconds
    Ms,
}

/// The clock of the stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// CLOCK_REALTIME
    Real,
    /// CLOCK_MONOTONIC (server on the same machine)
    Mono,
}

/// Loads a WebSocket fan-out server and measures what its clients get.
///
/// The load is open loop: the server's feed sets the pace, the clients only read. Latency is the time from a tick's own stamp to the
/// moment its bytes were read, so that a tick which the server (or this program) was late with is charged in full: nothing is left out
/// by waiting. Counted are the ticks whose stamp lies within the measured window, however late they come.
#[derive(Debug, Clone, Parser)]
#[command(name = "tickcast-loadtest", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    /// Where the server listens
    #[arg(long, default_value = "ws://127.0.0.1:7070/v1/ws", value_name = "URL")]
    pub url: String,

    /// File with the token that the server wants, which all clients give
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Clients that behave
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
    pub clients: usize,

    /// Connect and subscribe to nothing: for memory per connection and connect rate
    #[arg(long)]
    pub idle: bool,

    /// Symbols to choose from, or a numbered pattern such as sim:S%-USD (% is 0000, 0001, ...); asks the server when left out
    #[arg(long, value_delimiter = ',', value_name = "SYMBOL", help_heading = "Subscriptions")]
    pub symbols: Vec<String>,

    /// How many symbols a pattern of --symbols stands for
    #[arg(long, value_name = "N", help_heading = "Subscriptions")]
    pub symbol_count: Option<usize>,

    /// Symbols that each client subscribes to, chosen by --seed
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Subscriptions")]
    pub per: usize,

    /// Channel to subscribe to; repeat it for several
    #[arg(
        long = "channel",
        default_value = "trade",
        value_name = "CHANNEL",
        help_heading = "Subscriptions"
    )]
    pub channels: Vec<Channel>,

    /// Levels a side of the book channel, 1 to 1000; the full book when left out
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Subscriptions")]
    pub depth: Option<u16>,

    /// Messages a second and subscription at most, sums of what happens: mode conflate
    #[arg(long, value_name = "HZ", help_heading = "Subscriptions")]
    pub max_hz: Option<f64>,

    /// Which symbols go to whom, and when clients come and go: equal seeds, equal runs
    #[arg(long, default_value_t = 42, value_name = "SEED", help_heading = "Subscriptions")]
    pub seed: u64,

    /// Clients that subscribe and then never read
    #[arg(
        long,
        default_value_t = 0,
        value_name = "N",
        help_heading = "Clients that misbehave (besides --clients, reported apart)"
    )]
    pub stalled: usize,

    /// Clients that read at most so many bytes per second
    #[arg(long, value_name = "N:BYTES_PER_S", value_parser = parse_slow, help_heading = "Clients that misbehave (besides --clients, reported apart)")]
    pub slow: Option<(usize, u64)>,

    /// Clients that disconnect and come back, each about every so many seconds
    #[arg(long, value_name = "N:SECONDS", value_parser = parse_churn, help_heading = "Clients that misbehave (besides --clients, reported apart)")]
    pub churn: Option<(usize, Duration)>,

    /// Clients that are all dropped in the middle of the window and reconnect at once
    #[arg(
        long,
        default_value_t = 0,
        value_name = "N",
        help_heading = "Clients that misbehave (besides --clients, reported apart)"
    )]
    pub storm: usize,

    /// Those who come back (--storm, --churn) say where they were and are owed all since: what they miss
    /// counts as a gap. Not with --depth or --max-hz
    #[arg(
        long,
        conflicts_with_all = ["depth", "max_hz", "subscribe_text", "idle"],
        help_heading = "Clients that misbehave (besides --clients, reported apart)"
    )]
    pub resume: bool,

    /// Receive buffer of the stalled and slow clients, bytes; the system's default when left out
    #[arg(
        long,
        value_name = "BYTES",
        help_heading = "Clients that misbehave (besides --clients, reported apart)"
    )]
    pub slow_rcvbuf: Option<usize>,

    /// Seconds between the last client's subscription and the warm-up; memory is read at its end
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Timing")]
    pub settle: Duration,

    /// Seconds of load that are not measured
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Timing")]
    pub warmup: Duration,

    /// Seconds of the measured window
    #[arg(long, short = 'd', default_value = "10", value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Timing")]
    pub duration: Duration,

    /// Seconds to wait for what is late when the window has ended
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Timing")]
    pub drain: Duration,

    /// Clients that may be connecting at a time
    #[arg(long, default_value_t = 128, value_name = "N", help_heading = "Timing")]
    pub connect_inflight: usize,

    /// Seconds within which all clients must be subscribed
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Timing")]
    pub connect_timeout: Duration,

    /// Threads that read
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "This program")]
    pub threads: usize,

    /// Poll without sleeping: no wake-up is charged to the server, at the price of a whole core per thread
    #[arg(long, help_heading = "This program")]
    pub spin: bool,

    /// Check seq and prev of every K-th client only
    #[arg(long, default_value_t = 1, value_name = "K", help_heading = "This program")]
    pub check_every: usize,

    /// Loopback source addresses (127.0.0.2, .3, ...): each has about 28,000 ports
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=250), help_heading = "This program")]
    pub sources: u8,

    /// This process is number K (from 1) of N that share the clients: for more clients than a process may open files
    #[arg(long, value_name = "K/N", value_parser = parse_part, help_heading = "This program")]
    pub part: Option<(usize, usize)>,

    /// The server's process: its CPU per delivery and memory per connection are reported
    #[arg(long, value_name = "PID", help_heading = "What is measured")]
    pub server_pid: Option<u32>,

    /// Ticks per second of the feed, over all symbols and subscribed channels: reach is also reported against it
    #[arg(long, value_name = "TICKS", help_heading = "What is measured")]
    pub expect_rate: Option<f64>,

    /// The stamp that latency is measured from
    #[arg(long, default_value = "event", value_name = "STAMP", help_heading = "What is measured")]
    pub stamp: Stamp,

    /// Fail when the good clients got less than this share of what they were owed
    #[arg(long, value_name = "SHARE", help_heading = "Thresholds (exit 1 when one fails)")]
    pub assert_reach: Option<f64>,

    /// Fail when the good clients got less than this share of what --expect-rate promises
    #[arg(
        long,
        value_name = "SHARE",
        requires = "expect_rate",
        help_heading = "Thresholds (exit 1 when one fails)"
    )]
    pub assert_rate_reach: Option<f64>,

    /// Fail when a good client noticed a gap
    #[arg(long, help_heading = "Thresholds (exit 1 when one fails)")]
    pub assert_no_gaps: bool,

    /// Fail when a good client was closed
    #[arg(long, help_heading = "Thresholds (exit 1 when one fails)")]
    pub assert_no_closes: bool,

    /// Fail when the good clients' p99 is over this
    #[arg(long, value_name = "MILLISECONDS", help_heading = "Thresholds (exit 1 when one fails)")]
    pub assert_p99: Option<f64>,

    /// Fail when the good clients' p99 during the storm is over so many times that before it
    #[arg(
        long,
        value_name = "TIMES",
        requires = "storm",
        help_heading = "Thresholds (exit 1 when one fails)"
    )]
    pub assert_storm: Option<f64>,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,

    /// Write the good clients' latencies as HdrHistogram percentile text, in milliseconds
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,

    /// Write a report with plots, one self-contained file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,

    /// Title of the reports
    #[arg(
        long,
        default_value = "tickcast load test",
        value_name = "TEXT",
        help_heading = "Output"
    )]
    pub title: String,

    /// No progress on stderr
    #[arg(long, short = 'q', help_heading = "Output")]
    pub quiet: bool,

    /// Text to subscribe with; {symbols} becomes "A","B",... and no answer is waited for
    #[arg(long, value_name = "TEXT", requires = "symbols", help_heading = "Other servers")]
    pub subscribe_text: Option<String>,

    /// Text before the digits of the stamp, such as '"ts":'
    #[arg(long, value_name = "TEXT", help_heading = "Other servers")]
    pub stamp_key: Option<String>,

    /// Unit of --stamp-key
    #[arg(long, default_value = "us", value_name = "UNIT", help_heading = "Other servers")]
    pub stamp_unit: Unit,

    /// Units to take off --stamp-key first
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Other servers")]
    pub stamp_offset: u64,

    /// Clock of the stamps
    #[arg(long, default_value = "real", value_name = "CLOCK", help_heading = "Other servers")]
    pub stamp_clock: Clock,

    /// Mask requests with zeroes, for servers that do not unmask
    #[arg(long, help_heading = "Other servers")]
    pub zero_mask: bool,

    /// Messages without prev count up by one
    #[arg(long, help_heading = "Other servers")]
    pub contiguous: bool,
}

const EXAMPLES: &str = "\
Examples:
  tickcast-loadtest --clients 1000 --duration 10
  tickcast-loadtest -n 2000 --per 20 --symbols sim:S%-USD --symbol-count 500 --expect-rate 10000 \\
      --server-pid $(pidof tickcast) --assert-reach 1.0 --assert-no-gaps --html report.html
  tickcast-loadtest -n 1000 --stalled 100 --slow 10:1000 --churn 50:2
  tickcast-loadtest -n 10000 --idle --server-pid $(pidof tickcast)

Exit: 0 fine, 1 a threshold failed, 2 wrong usage, 3 the run could not be done.";

/// A wrong value that clap alone cannot see.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Not `ws://HOST[:PORT][/PATH]`.
    #[error("--url {0}: expected ws://HOST[:PORT][/PATH]")]
    Url(String),
    /// The name does not resolve.
    #[error("--url: {0} does not resolve to an address: {1}")]
    Resolve(String, String),
    /// No token in the file for it.
    #[error("--token-file {0:?}: {1}")]
    Token(PathBuf, String),
    /// A count that must not be zero.
    #[error("{0} is 0, expected at least 1")]
    Zero(&'static str),
    /// A pattern needs a count.
    #[error(
        "--symbols {0} is a numbered pattern: say how many symbols it stands for with --symbol-count"
    )]
    PatternCount(String),
    /// A count needs a pattern.
    #[error("--symbol-count needs one pattern with a % in --symbols, such as sim:S%-USD")]
    CountWithoutPattern,
    /// More symbols per client than there are.
    #[error("--per {per}: there are only {symbols} symbols")]
    Per {
        /// What was asked for.
        per: usize,
        /// What there is.
        symbols: usize,
    },
    /// Nothing to do.
    #[error("no clients: --clients is 0 and no others are asked for")]
    NoClients,
}

impl Args {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// A count of zero, or `--symbols` and `--symbol-count` that do not fit together.
    pub fn check(&self) -> Result<(), ArgsError> {
        for (name, value) in [
            ("--per", self.per),
            ("--threads", self.threads),
            ("--connect-inflight", self.connect_inflight),
            ("--check-every", self.check_every),
        ] {
            if value == 0 {
                return Err(ArgsError::Zero(name));
            }
        }
        if self.duration.is_zero() {
            return Err(ArgsError::Zero("--duration"));
        }
        if self.total() == 0 {
            return Err(ArgsError::NoClients);
        }
        match (self.pattern(), self.symbol_count) {
            (Some(pattern), None) => Err(ArgsError::PatternCount(pattern.to_string())),
            (None, Some(_)) => Err(ArgsError::CountWithoutPattern),
            (Some(_), Some(0)) => Err(ArgsError::Zero("--symbol-count")),
            _ => Ok(()),
        }
    }

    /// Clients of every kind.
    pub fn total(&self) -> usize {
        let slow = self.slow.map_or(0, |(count, _)| count);
        let churn = self.churn.map_or(0, |(count, _)| count);
        self.clients + self.stalled + slow + churn + self.storm
    }

    /// The pattern of `--symbols`, when it is one.
    pub fn pattern(&self) -> Option<&str> {
        self.symbols
            .first()
            .filter(|first| self.symbols.len() == 1 && first.contains('%'))
            .map(String::as_str)
    }

    /// How a stamp is read.
    pub fn stamp_format(&self) -> StampFormat {
        if let Some(key) = &self.stamp_key {
            let unit_ns = match self.stamp_unit {
                Unit::Ns => 1,
                Unit::Us => 1_000,
                Unit::Ms => 1_000_000,
            };
            return StampFormat {
                key: StampKey::Text(key.clone()),
                unit_ns,
                offset: self.stamp_offset,
            };
        }
        StampFormat::native(match self.stamp {
            Stamp::Event => StampKey::Event,
            Stamp::Recv => StampKey::Recv,
            Stamp::None => StampKey::None,
        })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text} seconds: expected 0 or more"))
}

fn split_count(text: &str, form: &str) -> Result<(usize, String), String> {
    let (count, value) =
        text.split_once(':').ok_or_else(|| format!("`{text}`: expected {form}"))?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of clients, expected {form}"))?;
    Ok((count, value.to_string()))
}

fn parse_slow(text: &str) -> Result<(usize, u64), String> {
    let (count, rate) = split_count(text, "N:BYTES_PER_S")?;
    match rate.parse() {
        Ok(rate) if rate > 0 => Ok((count, rate)),
        _ => Err(format!("`{rate}` is not a number of bytes per second above 0")),
    }
}

fn parse_churn(text: &str) -> Result<(usize, Duration), String> {
    let (count, seconds) = split_count(text, "N:SECONDS")?;
    let period = parse_seconds(&seconds)?;
    if period < Duration::from_millis(10) {
        Err(format!("{seconds} seconds: expected at least 0.01"))
    } else {
        Ok((count, period))
    }
}

fn parse_part(text: &str) -> Result<(usize, usize), String> {
    let parts = text
        .split_once('/')
        .and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match parts {
        Some((part, parts)) if (1..=parts).contains(&part) => Ok((part, parts)),
        _ => Err(format!("`{text}`: expected K/N with K from 1 to N")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Args, String> {
        let args = Args::try_parse_from(std::iter::once("x").chain(words.split_whitespace()))
            .map_err(|error| error.to_string())?;
        args.check().map_err(|error| error.to_string())?;
        Ok(args)
    }

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn profiles_are_parsed() {
        let args =
            parse("-n 5 --slow 10:1000 --churn 3:0.5 --stalled 2 --storm 4 --part 2/3").unwrap();
        assert_eq!(args.slow, Some((10, 1000)));
        assert_eq!(args.churn, Some((3, Duration::from_millis(500))));
        assert_eq!(args.part, Some((2, 3)));
        assert_eq!(args.total(), 24);
    }

    #[test]
    fn wrong_values_say_what_was_expected() {
        for (words, part) in [
            ("--slow 10", "N:BYTES_PER_S"),
            ("--slow 10:0", "above 0"),
            ("--churn x:1", "not a number of clients"),
            ("--part 4/3", "K from 1 to N"),
            ("--duration=-1", "expected 0 or more"),
            ("--duration 0", "--duration is 0"),
            ("--clients 0", "no clients"),
            ("--depth 2000", "1000"),
            ("--symbols S%", "--symbol-count"),
            ("--symbol-count 3", "pattern"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.contains(part), "{words}: {error}");
        }
    }
}
