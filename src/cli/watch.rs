//! The flags of `watch`.

use clap::Args;

use crate::watch;

/// The flags of `watch`, as they were given.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// The server's WebSocket
    #[arg(long, value_name = "URL", default_value = watch::DEFAULT_URL)]
    pub url: String,
    /// Certificates (PEM) to trust besides the system's, for wss
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// File with the token that the server wants, read for each connection. (TICKCAST_TOKEN takes the
    /// token itself)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
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

/// What follows the flags in its help.
pub(super) const AFTER_WATCH: &str = "\
On a terminal: the book and trades of one symbol, or a table of several. q quits, / filters, Enter
opens a symbol, Esc goes back. NO_COLOR is respected.

Into a pipe, or with --json, --channel or --count: messages go to stdout as they come; what concerns
the connection goes to stderr. Ends with Ctrl-C, with the reader of its output, or after --count.

A lost connection is made again.

Examples:
  tickcast watch binance:BTC-USDT                   the screen: book, trades, quote of one symbol
  tickcast watch 'binance:*'                        the screen: a table of a venue's symbols
  tickcast watch --url wss://feed.example           another server, encrypted
  tickcast watch --url wss://feed.example --token-file desk.token
  tickcast watch --json                             quotes and trades of everything, as lines
  tickcast watch --channel trade binance:BTC-USDT   trades of one symbol, as lines
  tickcast watch --channel book --depth 5 --count 1 BTC-USDT
  tickcast watch --channel bar --interval 1m BTC-USDT
  tickcast watch | jq -r 'select(.channel == \"trade\") | [.symbol, .price, .qty] | @tsv'";

/// What `watch --channel` accepts.
const CHANNEL: [&str; 6] = ["quote", "trade", "book", "bar", "ticker", "status"];
