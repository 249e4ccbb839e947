//! The flags of `top`.

use clap::Args;

use crate::top;

/// The flags of `top`, as they were given.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// The server: the door of its operators, or a listener of clients. http://HOST:PORT,
    /// https://HOST:PORT or unix:PATH
    #[arg(value_name = "URL", default_value = top::DEFAULT_URL)]
    pub url: String,
    /// File with the token of an operator. (TICKCAST_TOKEN takes the token itself)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for https
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// Print one picture as text, of one second, and end
    #[arg(long)]
    pub once: bool,
}

pub(super) const AFTER_TOP: &str = "\
Looks at the server once a second: reactors (clients, what they deliver and write a second, the 99th
percentile from a tick's receipt to its write in that second, ticks that they are behind the ring, how
much of a core they have), feeds, and the clients that lag, the longest first, with the cause. q quits;
NO_COLOR is respected. A server that is gone is waited for. Where there is no terminal, one picture is
printed.

Examples:
  tickcast top                                                          a server without --access
  tickcast top http://127.0.0.1:7071 --token-file admin.token           by the door of operators
  tickcast top unix:/run/tickcast/admin.sock --token-file admin.token
  TICKCAST_TOKEN=... tickcast top --once https://feed.example           one picture";
