//! The command line: parsing only. Values stay texts with their origin; [`crate::config`] turns
//! them into the typed configuration, so that flags, variables and the file are read by one set
//! of rules.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use thiserror::Error;

mod addresses;
mod admin;
mod check;
mod man;
mod recordings;
mod top;
mod trace;

use crate::config::units::{Bytes, Span, Spread};
use crate::inspect::Inspect;
use crate::limits;
use crate::top::{self as top_of, Top};
use crate::watch::{self, Watch};
pub use addresses::AddressArgs;
pub use admin::AdminArgs;
use check::AFTER_CHECK;
pub use check::CheckArgs;
pub use man::page;
use recordings::{AFTER_INSPECT, AFTER_RECORD};
pub use recordings::{InspectArgs, RecordArgs};
use top::AFTER_TOP;
pub use top::TopArgs;
pub use trace::TraceArgs;

/// What `--version` prints after the name: the version and the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TICKCAST_COMMIT"), ")");

const AFTER_HELP: &str = "\
Every flag is also an environment variable (--ring-slots is TICKCAST_RING_SLOTS; several feeds in
TICKCAST_FEED are separated by ';', as are origins, networks, certificates) and a key of the --config file (ring-slots = 65536;
feed = [\"...\", \"...\"]). A flag beats a variable, a variable beats the file.
Sizes are bytes or 512KiB, 1MiB, 1GiB; durations 500ms, 5s, 2m, 1h.

Examples:
  tickcast                                          a synthetic market on http://127.0.0.1:7070
  tickcast --feed synthetic:symbols=500,rate=10000  500 symbols, 10,000 ticks a second in all
  tickcast --feed binance:BTCUSDT,ETHUSDT           an exchange, live; with --feed kraken:BTC/USD a second one
  tickcast --feed replay:BTCUSDT.gz,speed=20        a capture, 20 times as fast as it happened
  tickcast --listen 0.0.0.0:7070 --slow-consumer conflate --log-format json
  tickcast watch 'sim:*'                            shows a running server's market
  tickcast top                                      what it does: reactors, feeds, slow clients
  tickcast inspect rec                              what a recording holds, its gaps and rates
  tickcast check-config --config tickcast.toml      what would run, and where each value is from
  tickcast check --config tickcast.toml             whether this machine suits it, and what to change
  tickcast completions bash > /etc/bash_completion.d/tickcast
  tickcast man > /usr/local/share/man/man1/tickcast.1";

/// The command line's definition.
#[derive(Debug, Parser)]
#[command(
    name = "tickcast",
    version = VERSION,
    about = "Real-time market data for thousands of WebSocket clients, every tick encoded once",
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`, which work without its name too.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients (what happens when no command is given)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Validate the configuration and print the effective one as TOML
    #[command(after_help = AFTER_HELP)]
    CheckConfig(Box<ServeArgs>),
    /// Judge the configuration and this machine: what to change, and how
    #[command(after_help = AFTER_CHECK)]
    Check(Box<CheckArgs>),
    /// Watch a running server: a screen on a terminal, JSON lines into a pipe
    #[command(after_help = AFTER_WATCH)]
    Watch(WatchArgs),
    /// What a running server does, live: reactors, feeds, the slowest clients
    #[command(after_help = AFTER_TOP)]
    Top(TopArgs),
    /// Keep what venues send, without serving it
    #[command(after_help = AFTER_RECORD)]
    Record(Box<RecordArgs>),
    /// Print what a recording or a capture holds: symbols, rates, gaps, what is wrong with it
    #[command(after_help = AFTER_INSPECT)]
    Inspect(InspectArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or that of a command
    Man {
        /// The command [default: all of tickcast]
        command: Option<String>,
    },
}

/// The flags of `watch`, as they were given.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// The server's WebSocket
    #[arg(long, value_name = "URL", default_value = watch::DEFAULT_URL)]
    pub url: String,
    /// Certificates (PEM) to trust besides the system's, for wss
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// Print the messages even on a terminal, one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Print this channel, repeatable [default: quote and trade]
    #[arg(long, value_name = "CHANNEL", value_parser = CHANNEL)]
    pub channel: Vec<String>,
    /// Levels a side of books: 1 to 1000, or full [default: full]
    #[arg(long, value_name = "N")]
    pub depth: Option<String>,
    /// Interval of bars: 1s, 1m, 5m or 1h [default: 1m]
    #[arg(long, value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// End after so many messages [default: never]
    #[arg(long, value_name = "N")]
    pub count: Option<String>,
    /// Symbols: venue:BASE-QUOTE, venue:* or * (in quotes, or the shell takes it)
    #[arg(value_name = "SYMBOL", default_value = "*")]
    pub symbols: Vec<String>,
}

const AFTER_WATCH: &str = "\
On a terminal: the book and trades of one symbol, or a table of several. q quits, / filters, Enter
opens a symbol, Esc goes back. NO_COLOR is respected.

Into a pipe, or with --json, --channel or --count: messages go to stdout as they come; what concerns
the connection goes to stderr. Ends with Ctrl-C, with the reader of its output, or after --count.

A lost connection is made again.

Examples:
  tickcast watch binance:BTC-USDT                   the screen: book, trades, quote of one symbol
  tickcast watch 'binance:*'                        the screen: a table of a venue's symbols
  tickcast watch --url wss://feed.example           another server, encrypted
  tickcast watch --json                             quotes and trades of everything, as lines
  tickcast watch --channel trade binance:BTC-USDT   trades of one symbol, as lines
  tickcast watch --channel book --depth 5 --count 1 BTC-USDT
  tickcast watch --channel bar --interval 1m BTC-USDT
  tickcast watch | jq -r 'select(.channel == \"trade\") | [.symbol, .price, .qty] | @tsv'";

/// The flags of `serve` and `check-config`, as the texts that were given.
///
/// Each long name is also the key in the configuration file, and `TICKCAST_` + the name in upper
/// case is the variable.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// TOML file with any of these flags as keys
    #[arg(long, value_name = "FILE", env = "TICKCAST_CONFIG")]
    pub config: Option<String>,

    /// Address and port to serve on; port 0 takes a free one; none: only where --listen-tls and
    /// --listen-unix say
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TICKCAST_LISTEN",
        help_heading = "Network",
        default_value = "127.0.0.1:7070"
    )]
    pub listen: String,
    /// Address and port to serve https and wss on [default: none]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TICKCAST_LISTEN_TLS",
        help_heading = "Network"
    )]
    pub listen_tls: Option<String>,
    /// Unix socket to serve on [default: none]
    #[arg(long, value_name = "PATH", env = "TICKCAST_LISTEN_UNIX", help_heading = "Network")]
    pub listen_unix: Option<String>,
    /// Certificate chain in PEM, the server's own first; repeatable: clients get the one for the
    /// name they ask for, others the first. Read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", env = "TICKCAST_TLS_CERT", help_heading = "Network")]
    pub tls_cert: Vec<String>,
    /// Key of the certificate in PEM; repeatable, in the order of --tls-cert
    #[arg(long, value_name = "FILE", env = "TICKCAST_TLS_KEY", help_heading = "Network")]
    pub tls_key: Vec<String>,
    /// Serve TLS with a certificate made at the start, which nobody trusts: for a first try
    #[arg(long, value_name = "BOOL", env = "TICKCAST_TLS_SELF_SIGNED", help_heading = "Network",
          default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = Choice(BOOL))]
    pub tls_self_signed: String,
    /// Time from the accept to the end of the WebSocket upgrade
    #[arg(long, value_name = "DURATION", env = "TICKCAST_HANDSHAKE_TIMEOUT",
          help_heading = "Network", default_value_t = Span(limits::HANDSHAKE_TIMEOUT).to_string())]
    pub handshake_timeout: String,
    /// Time between the server's pings
    #[arg(long, value_name = "DURATION", env = "TICKCAST_PING_INTERVAL",
          help_heading = "Network", default_value_t = Span(limits::PING_INTERVAL).to_string())]
    pub ping_interval: String,
    /// Silence after a ping that makes a client a dead one
    #[arg(long, value_name = "DURATION", env = "TICKCAST_PING_TIMEOUT",
          help_heading = "Network", default_value_t = Span(limits::PING_TIMEOUT).to_string())]
    pub ping_timeout: String,
    /// Web origin whose pages may read the market data of /v1 and open WebSockets, besides this
    /// server's own (scheme://host or scheme://host:port), repeatable; * for all [default: none]
    #[arg(long, value_name = "ORIGIN", env = "TICKCAST_CORS_ORIGIN", help_heading = "Network")]
    pub cors_origin: Vec<String>,
    /// Compress messages to clients that offer permessage-deflate: fewer bytes for more CPU
    #[arg(long, value_name = "BOOL", env = "TICKCAST_COMPRESS", help_heading = "Network",
          default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = Choice(BOOL))]
    pub compress: String,

    /// TOML file that says who may see what, by token (docs/ACCESS.md); without it all may see
    /// everything. Read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", env = "TICKCAST_ACCESS", help_heading = "Network")]
    pub access: Option<String>,

    /// A source of ticks, repeatable.
    #[arg(
        long,
        value_name = "SPEC",
        env = "TICKCAST_FEED",
        help_heading = "Feeds",
        default_value = "synthetic:",
        help = "A source of ticks, repeatable: synthetic:[symbols=N,rate=N,...], \
                  replay:FILE[+FILE...][,speed=N|max,...], or lines of JSON from stdin, \
                  tcp://HOST:PORT, unix:PATH or publish: (see docs/PUBLISH.md)"
    )]
    pub feed: Vec<String>,
    /// File with the token that publishers must give; opens /v1/publish. (TICKCAST_PUBLISH_TOKEN
    /// takes the token itself)
    #[arg(long, value_name = "FILE", env = "TICKCAST_PUBLISH_TOKEN_FILE", help_heading = "Feeds")]
    pub publish_token_file: Option<String>,

    /// Directory to keep what venues send in, for `--feed replay:DIR` and `inspect`
    #[arg(long, value_name = "DIR", env = "TICKCAST_RECORD", help_heading = "Recording")]
    pub record: Option<String>,
    /// Compressed size at which a file of a recording is closed and the next one begun
    #[arg(long, value_name = "SIZE", env = "TICKCAST_RECORD_FILE_BYTES",
          help_heading = "Recording",
          default_value_t = Bytes(limits::RECORD_FILE_BYTES).to_string())]
    pub record_file_bytes: String,
    /// Time after which it is
    #[arg(long, value_name = "DURATION", env = "TICKCAST_RECORD_FILE_AGE",
          help_heading = "Recording", default_value_t = Span(limits::RECORD_FILE_AGE).to_string())]
    pub record_file_age: String,

    /// Directory in which waits what is delayed, for grants of --access with a `delay`
    #[arg(long, value_name = "DIR", env = "TICKCAST_SPOOL_DIR", help_heading = "Delayed data")]
    pub spool_dir: Option<String>,
    /// Bytes that it may take
    #[arg(long, value_name = "SIZE", env = "TICKCAST_SPOOL_BYTES", help_heading = "Delayed data",
          default_value_t = Bytes(limits::SPOOL_BYTES).to_string())]
    pub spool_bytes: String,

    /// Threads that serve clients [default: one per core this process may use]
    #[arg(long, value_name = "N", env = "TICKCAST_REACTORS", help_heading = "Reactors")]
    pub reactors: Option<String>,
    /// Bind each reactor to a core; auto: when there are several cores and enough of them
    #[arg(long, value_name = "WHEN", env = "TICKCAST_PIN", help_heading = "Reactors",
          default_value = "auto", value_parser = Choice(PIN))]
    pub pin: String,
    /// Longest that a tick may wait for others to the same client, to save writes when a core is full; 0 never waits
    #[arg(long, value_name = "MS", env = "TICKCAST_MAX_AGE_MS", help_heading = "Reactors",
          default_value_t = limits::MAX_AGE_MS.to_string())]
    pub max_age_ms: String,
    /// Ticks that the ring holds (64 bytes each): a power of two
    #[arg(long, value_name = "N", env = "TICKCAST_RING_SLOTS", help_heading = "Reactors",
          default_value_t = limits::RING_SLOTS.to_string())]
    pub ring_slots: String,

    /// Clients at a time; more are answered 503 [default: 20000, or what the limit of open files allows]
    #[arg(long, value_name = "N", env = "TICKCAST_MAX_CLIENTS", help_heading = "Limits")]
    pub max_clients: Option<String>,
    /// Connections that have not finished their upgrade [default: 1024, or an eighth of the open files]
    #[arg(long, value_name = "N", env = "TICKCAST_MAX_HANDSHAKES", help_heading = "Limits")]
    pub max_handshakes: Option<String>,
    /// What one address may have, and who says what a client's is.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Subscriptions of one client; a wildcard counts as one
    #[arg(long, value_name = "N", env = "TICKCAST_MAX_SUBSCRIPTIONS", help_heading = "Limits",
          default_value_t = limits::SUBSCRIPTIONS.to_string())]
    pub max_subscriptions: String,
    /// Requests per second of one client; twice that many may come at once
    #[arg(long, value_name = "N", env = "TICKCAST_REQUEST_RATE", help_heading = "Limits",
          default_value_t = limits::REQUEST_RATE.to_string())]
    pub request_rate: String,
    /// Trades of a symbol, and closed bars of each of its intervals, to keep for those who come
    /// later; 0 keeps none
    #[arg(long, value_name = "N", env = "TICKCAST_HISTORY", help_heading = "Limits",
          default_value_t = limits::HISTORY.to_string())]
    pub history: String,
    /// Largest message of a client
    #[arg(long, value_name = "SIZE", env = "TICKCAST_MAX_MESSAGE_BYTES", help_heading = "Limits",
          default_value_t = Bytes(limits::MESSAGE_BYTES).to_string())]
    pub max_message_bytes: String,

    /// Bytes that may wait for a client
    #[arg(long, value_name = "SIZE", env = "TICKCAST_OUTBOX_BYTES",
          help_heading = "Slow consumers",
          default_value_t = Bytes(limits::OUTBOX_BYTES).to_string())]
    pub outbox_bytes: String,
    /// Bytes that all clients together may make the server hold; beyond it the largest go first (4008), and new ones are
    /// answered 503; 0: no limit [default: half of the memory that this process may have]
    #[arg(
        long,
        value_name = "SIZE",
        env = "TICKCAST_MEMORY_BUDGET",
        help_heading = "Slow consumers"
    )]
    pub memory_budget: Option<String>,
    /// What a slow client gets: disconnect (told why, closed with 4008) or conflate (latest quotes)
    #[arg(long, value_name = "POLICY", env = "TICKCAST_SLOW_CONSUMER",
          help_heading = "Slow consumers", default_value = "disconnect",
          hide_possible_values = true, value_parser = Choice(SLOW_CONSUMER))]
    pub slow_consumer: String,
    /// How long a client may take nothing while bytes wait for it
    #[arg(long, value_name = "DURATION", env = "TICKCAST_SLOW_GRACE",
          help_heading = "Slow consumers", default_value_t = Span(limits::SLOW_GRACE).to_string())]
    pub slow_grace: String,

    /// Time from SIGTERM or SIGINT to the exit
    #[arg(long, value_name = "DURATION", env = "TICKCAST_DRAIN_DEADLINE",
          help_heading = "Shutdown", default_value_t = Span(limits::DRAIN_DEADLINE).to_string())]
    pub drain_deadline: String,
    /// When drained clients are told to reconnect: a random time in this range
    #[arg(long, value_name = "FROM..TO", env = "TICKCAST_DRAIN_SPREAD", help_heading = "Shutdown",
          default_value_t = Spread::from(limits::DRAIN_SPREAD).to_string())]
    pub drain_spread: String,

    /// The door of operators.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// Least severe messages to log, on stderr
    #[arg(long, value_name = "LEVEL", env = "TICKCAST_LOG_LEVEL", help_heading = "Logging",
          default_value = "info", value_parser = Choice(LOG_LEVEL))]
    pub log_level: String,
    /// Form of the log lines
    #[arg(long, value_name = "FORMAT", env = "TICKCAST_LOG_FORMAT", help_heading = "Logging",
          default_value = "text", value_parser = Choice(LOG_FORMAT))]
    pub log_format: String,
    /// Traces.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// What `watch --channel` accepts.
const CHANNEL: [&str; 6] = ["quote", "trade", "book", "bar", "ticker", "status"];
/// What `--pin` accepts.
pub const PIN: &[&str] = &["true", "false", "auto"];
/// What flags that say yes or no accept.
pub const BOOL: &[&str] = &["true", "false"];
/// What `--slow-consumer` accepts.
pub const SLOW_CONSUMER: &[&str] = &["disconnect", "conflate"];
/// What `--log-level` accepts.
pub const LOG_LEVEL: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// What `--log-format` accepts.
pub const LOG_FORMAT: &[&str] = &["text", "json"];

/// Lists values for the help and for completion; the check itself is the configuration's, which
/// knows where a value came from.
#[derive(Clone)]
struct Choice(&'static [&'static str]);

impl TypedValueParser for Choice {
    type Value = String;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        _arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        let text =
            value.to_str().ok_or_else(|| clap::Error::new(ErrorKind::InvalidUtf8).with_cmd(cmd));
        text.map(str::to_owned)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|name| PossibleValue::new(*name))))
    }
}

/// Where a value came from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A configuration file.
    File {
        /// The file as it was named.
        path: String,
        /// The line of the value, from 1.
        line: usize,
    },
    /// An environment variable.
    Env,
    /// A flag.
    Flag,
}

/// The texts given for one setting, and where.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where they came from.
    pub origin: Origin,
    /// One text, or several for a repeatable setting.
    pub values: Vec<String>,
}

/// Settings by name, without the dashes in front: `ring-slots`.
pub type Settings = BTreeMap<String, Given>;

/// The setting that holds the token itself. It has no flag and no key in a file.
pub const TOKEN: &str = "publish-token";
/// Its variable.
pub const TOKEN_VARIABLE: &str = "TICKCAST_PUBLISH_TOKEN";

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Serve with these settings.
    Serve(Settings),
    /// Validate these settings and print them.
    CheckConfig(Settings),
    /// Judge these settings and the machine; as JSON or in words.
    Check(Settings, bool),
    /// Record with these settings.
    Record(Settings),
    /// Watch a server.
    Watch(Watch),
    /// Look at a server.
    Top(Top),
    /// Print what a recording holds.
    Inspect(Inspect),
    /// Print a completion script.
    Completions(Shell),
    /// Print this manual page, which is made already.
    Man(Vec<u8>),
    /// Print the help or the version that clap has made.
    Show(clap::Error),
}

/// A command line that cannot be understood, in one line.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UsageError(String);

/// The command line's definition. Variables are kept out of the help of each flag (one sentence at
/// its end tells their rule), and `--reactors -1` is a wrong number rather than an unknown flag.
pub fn command() -> clap::Command {
    fn quiet(command: clap::Command) -> clap::Command {
        let quiet_arg = |arg: Arg| {
            let valued = arg.get_action().takes_values();
            arg.hide_env(true).allow_negative_numbers(valued)
        };
        command.mut_args(quiet_arg).mut_subcommands(quiet)
    }
    quiet(Cli::command())
}

/// The names of all settings that a configuration file may hold, in the order of the help.
pub fn setting_names() -> Vec<String> {
    let args = ServeArgs::augment_args(clap::Command::new("settings"));
    let names = args.get_arguments().filter_map(Arg::get_long).map(str::to_owned);
    names.filter(|name| name != "config").collect()
}

/// Reads a command line, the program's name first, and the variables of the environment.
///
/// # Errors
/// One line that names what is wrong and how to mend it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, UsageError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(shown) if !shown.use_stderr() => return Ok(Action::Show(shown)),
        Err(error) => return Err(UsageError(one_line(&error))),
    };
    let mut settings = settings_of(&matches);
    // Of a variable only: a command line is there for everybody to see.
    if let Some(token) = std::env::var_os(TOKEN_VARIABLE) {
        let values = vec![token.to_string_lossy().into_owned()];
        settings.insert(TOKEN.to_owned(), Given { origin: Origin::Env, values });
    }
    match matches.subcommand() {
        Some(("completions", sub)) => match sub.get_one::<Shell>("shell") {
            Some(shell) => Ok(Action::Completions(*shell)),
            None => Err(UsageError("completions needs the name of a shell".to_owned())),
        },
        Some(("man", sub)) => {
            page(sub.get_one::<String>("command").map(String::as_str)).map(Action::Man)
        }
        Some(("watch", sub)) => {
            let args =
                WatchArgs::from_arg_matches(sub).map_err(|error| UsageError(one_line(&error)))?;
            Watch::new(args).map(Action::Watch).map_err(UsageError)
        }
        Some(("top", sub)) => {
            let args = TopArgs::from_arg_matches(sub).map_err(|e| UsageError(one_line(&e)))?;
            let token = std::env::var_os(top_of::TOKEN_VARIABLE);
            let token = token.map(|token| token.to_string_lossy().into_owned());
            Top::new(&args, token).map(Action::Top).map_err(UsageError)
        }
        Some(("inspect", sub)) => {
            let args = InspectArgs::from_arg_matches(sub);
            let InspectArgs { json, paths } = args.map_err(|error| UsageError(one_line(&error)))?;
            Ok(Action::Inspect(Inspect { paths, json }))
        }
        Some((name, sub)) => {
            // A flag may stand before or after the command's name; the later one wins.
            for (key, given) in settings_of(sub) {
                if settings.get(&key).is_none_or(|before| given.origin >= before.origin) {
                    settings.insert(key, given);
                }
            }
            Ok(match name {
                "check-config" => Action::CheckConfig(settings),
                "check" => Action::Check(settings, sub.get_flag("json")),
                "record" => Action::Record(settings),
                _ => Action::Serve(settings),
            })
        }
        None => Ok(Action::Serve(settings)),
    }
}

/// A shell's completion script.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "tickcast", &mut script);
    script
}

fn settings_of(matches: &ArgMatches) -> Settings {
    let args = ServeArgs::augment_args(clap::Command::new("settings"));
    let mut settings = Settings::new();
    for arg in args.get_arguments() {
        let id = arg.get_id().as_str();
        if matches.try_contains_id(id).is_err() {
            continue; // `record` has not all of them
        }
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Env,
            Some(_) => Origin::Default,
            None => continue,
        };
        let values: Vec<String> =
            matches.get_many::<String>(id).into_iter().flatten().cloned().collect();
        settings.insert(id.replace('_', "-"), Given { origin, values });
    }
    settings
}

/// The variable of a setting.
pub fn variable(setting: &str) -> String {
    format!("TICKCAST_{}", setting.replace('-', "_").to_uppercase())
}

/// A clap error in one line: what was given, what would do.
fn one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    let arg = context(ContextKind::InvalidArg).map(|arg| arg.escape_debug().to_string());
    let value = context(ContextKind::InvalidValue);
    match (error.kind(), arg) {
        (ErrorKind::UnknownArgument, Some(arg)) => {
            let what = if arg.starts_with('-') { "flag" } else { "argument" };
            let near = context(ContextKind::SuggestedArg);
            format!("unknown {what} {arg}{}", did_you_mean(near.as_deref(), "tickcast --help"))
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let given = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = context(ContextKind::SuggestedSubcommand);
            format!("unknown command {given:?}{}", did_you_mean(near.as_deref(), "tickcast --help"))
        }
        (ErrorKind::InvalidValue, Some(arg)) => {
            let valid = context(ContextKind::ValidValue)
                .map_or_else(String::new, |valid| format!(", expected one of {valid}"));
            match value {
                Some(value) => format!("{arg} {value:?}: not known{valid}"),
                None => format!("{arg}: no value given{valid}"),
            }
        }
        (ErrorKind::ArgumentConflict, Some(arg)) => format!("{arg}: give it only once"),
        _ => {
            let text = error.to_string();
            let words = text.strip_prefix("error: ").unwrap_or(&text).split_whitespace();
            let text = words.take_while(|&word| word != "Usage:").collect::<Vec<_>>().join(" ");
            format!("{text} (see tickcast --help)")
        }
    }
}

/// The end of a message about an unknown name.
fn did_you_mean(near: Option<&str>, otherwise: &str) -> String {
    match near {
        Some(near) => format!(", did you mean {near}?"),
        None => format!(" (see {otherwise})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_a_heading() {
        let args = ServeArgs::augment_args(clap::Command::new("settings"));
        for arg in args.get_arguments() {
            let name = arg.get_long().expect("settings have long names");
            let env = arg.get_env().and_then(|env| env.to_str());
            assert_eq!(env, Some(variable(name).as_str()));
            assert_eq!(arg.get_id().as_str().replace('_', "-"), name);
            assert!(name == "config" || arg.get_help_heading().is_some(), "{name}");
        }
    }
}
