//! `tickcast watch`: a client in the terminal.
//!
//! On a terminal it is a screen (`screen`): a table of symbols, and the book and trades of one. Into
//! a pipe, or with `--json`, it prints what the server sends (`lines`), and so is a relay too.
//!
//! The screen is made of three parts. `model` is what is known: messages and keys go in, requests
//! come out; it reads no clock and touches no socket. `view` draws a model. `client` is the
//! connection and `terminal` the terminal, on a thread of its own: a terminal that takes its time
//! must not make a slow consumer of this client.

mod answer;
mod client;
mod connection;
mod keys;
mod lines;
mod message;
mod model;
pub(crate) mod terminal;
mod url;
mod view;
pub(crate) use view::theme;

use std::io::IsTerminal;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{CLIENT_TOKEN, Token, WatchArgs};
use crate::derive::Span;
use crate::limits;
use connection::Server;

/// Where `watch` looks when it is told nothing: a server with its default address.
pub const DEFAULT_URL: &str = "ws://127.0.0.1:7070/v1/ws";

/// What is said where the server wants a token and has none.
fn wants_a_token() -> String {
    format!("it wants a token: --token-file FILE, or {CLIENT_TOKEN}")
}

/// What is said where the server has told that the token ends.
const TOKEN_ENDS: &str = "the token ends within a minute, and the connection with it";

/// What lines are made of when no channel is named.
const DEFAULT_CHANNELS: [&str; 2] = ["quote", "trade"];

/// What to watch, checked.
#[derive(Clone, Debug)]
pub struct Watch {
    server: Server,
    channels: Vec<String>,
    depth: Option<Value>,
    interval: Option<&'static str>,
    symbols: Vec<String>,
    count: Option<u64>,
    /// Whether lines are wanted even on a terminal.
    lines: bool,
}

impl Watch {
    /// Checks what the command line gave.
    ///
    /// # Errors
    /// The flag, its value and what was expected.
    pub fn new(args: WatchArgs, token: Token) -> Result<Self, String> {
        let server = Server::new(&args.url, args.ca.as_deref(), token)?;
        let depth = args.depth.as_deref().map(depth).transpose()?;
        if depth.is_some() && args.channel.iter().all(|channel| channel != "book") {
            return Err("--depth: only books have one, add --channel book".to_owned());
        }
        let interval = args.interval.as_deref().map(interval).transpose()?;
        if interval.is_some() && args.channel.iter().all(|channel| channel != "bar") {
            return Err("--interval: only bars have one, add --channel bar".to_owned());
        }
        // Who says which messages, or how many, wants messages.
        let lines = args.json || !args.channel.is_empty() || args.count.is_some();
        let defaults = args.channel.is_empty().then_some(DEFAULT_CHANNELS).into_iter().flatten();
        let mut channels: Vec<String> = Vec::new();
        for channel in args.channel.into_iter().chain(defaults.map(str::to_owned)) {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let count = args.count.as_deref().map(count).transpose()?;
        Ok(Watch { server, channels, depth, interval, symbols: args.symbols, count, lines })
    }

    /// The subscriptions, numbered by their channel's place.
    fn requests(&self) -> impl Iterator<Item = String> {
        self.channels.iter().enumerate().map(|(id, channel)| {
            let mut params = json!({ "channel": channel, "symbol": self.symbols });
            if let (Some(depth), "book") = (&self.depth, channel.as_str()) {
                params["depth"] = depth.clone();
            }
            if let (Some(interval), "bar") = (self.interval, channel.as_str()) {
                params["interval"] = json!(interval);
            }
            json!({ "method": "subscribe", "req_id": id, "params": params }).to_string()
        })
    }
}

fn depth(text: &str) -> Result<Value, String> {
    match text.parse::<usize>() {
        _ if text == "full" => Ok(json!(text)),
        Ok(levels @ 1..=limits::BOOK_DEPTH_MAX) => Ok(json!(levels)),
        _ => Err(format!(
            "--depth {text:?}: expected 1 to {} levels or \"full\"",
            limits::BOOK_DEPTH_MAX
        )),
    }
}

fn interval(text: &str) -> Result<&'static str, String> {
    let names = Span::BARS.map(Span::as_str);
    let error = || format!("--interval {text:?}: expected one of {}", names.join(", "));
    Span::interval(text).map(Span::as_str).ok_or_else(error)
}

fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| format!("--count {text:?}: expected a whole number from 1"))
}

/// Watches until the user ends it: SIGINT or SIGTERM, `q`, the end of stdout's reader, or
/// `--count` messages.
///
/// # Errors
/// A first connection or subscription that does not come about, or an stdout that fails.
pub fn run(watch: &Watch) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let [interrupt, terminate] = &mut signals;
        let watching = async {
            if watch.lines || !on_a_terminal() {
                return lines::run(watch).await;
            }
            client::run(watch).await
        };
        tokio::select! {
            ended = watching => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// Whether there is a terminal that can be drawn on, and whose keys can be read.
pub(crate) fn on_a_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb
}
