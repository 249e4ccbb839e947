//! `tickcast top`: what a server does, live, for those who run it.
//!
//! As in `watch`, `model` is what is known and pure, `view` draws it and is pure, `client` asks the server,
//! and `screen` is the terminal, on a thread of its own.

mod client;
mod model;
mod sample;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Token, TopArgs};
use crate::watch::on_a_terminal;
use crate::watch::terminal::Screen;
use client::Server;
use model::Model;

/// Where `top` looks when it is told nothing: a server with its default address.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// Between two looks at the server.
const SECOND: Duration = Duration::from_secs(1);
/// Columns of `--once`, which is no terminal's.
const ONCE_COLUMNS: u16 = 120;

/// What to look at, checked.
#[derive(Debug)]
pub struct Top {
    server: Server,
    once: bool,
}

impl Top {
    /// Checks what the command line gave.
    ///
    /// # Errors
    /// The flag, its value and what was expected.
    pub fn new(args: &TopArgs, token: &Token) -> Result<Self, String> {
        let server = Server::new(&args.url, args.ca.as_deref(), token)?;
        Ok(Top { server, once: args.once })
    }
}

/// What the client and the screen share.
#[derive(Debug)]
struct Shared {
    model: Mutex<Model>,
}

/// Shows until the user ends it: SIGINT, SIGTERM or `q`; with `--once`, or where there is no terminal,
/// prints one picture.
///
/// # Errors
/// A server that does not answer the first time, or a terminal that fails.
pub fn run(top: &Top) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let [mut interrupt, mut terminate, mut hangup] = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        tokio::select! {
            ended = show(top) => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hangup.recv() => Ok(()),
        }
    })
}

async fn show(top: &Top) -> anyhow::Result<()> {
    let mut model = Model::new(&top.server.to_string());
    let first = top.server.look().await;
    let first = first.with_context(|| format!("cannot look at {}", top.server))?;
    model.looked(first, Instant::now());
    if top.once || !on_a_terminal() {
        return print(top, model).await;
    }
    let shared = Arc::new(Shared { model: Mutex::new(model) });
    let shown = Arc::clone(&shared);
    let mut screen = Screen::start(move |quit| screen::show(&shown, quit));
    let looking = async {
        loop {
            tokio::time::sleep(SECOND).await;
            let looked = top.server.look().await;
            let mut model = shared.model.lock();
            match looked {
                Ok(sample) => model.looked(sample, Instant::now()),
                Err(error) => model.failed(&error.to_string()),
            }
        }
    };
    tokio::select! {
        () = looking => Ok(()),
        ended = screen.ended() => ended,
    }
}

/// Prints what a second has brought.
async fn print(top: &Top, mut model: Model) -> anyhow::Result<()> {
    tokio::time::sleep(SECOND).await;
    model.looked(top.server.look().await?, Instant::now());
    let mut out = std::io::stdout();
    let text = view::text(&model, ONCE_COLUMNS);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => bail!(error),
        _ => Ok(()),
    }
}
