//! The flags of `serve` and `check-config`.

use clap::Args;

use super::choice::{BOOL, Choice, LOG_FORMAT, LOG_LEVEL, PIN, SLOW_CONSUMER};
use super::{AddressArgs, AdminArgs, TraceArgs};
use crate::config::units::{Bytes, Span, Spread};
use crate::limits;

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
    /// Time for the head of a request, and so for an upgrade; as long for TLS, and for a proxy's header
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
    /// Serve /v1/echo, which sends every message back: for tests, and not in public
    #[arg(long, value_name = "BOOL", env = "TICKCAST_ECHO", help_heading = "Network",
          default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = Choice(BOOL))]
    pub echo: String,

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
