//! Open-loop load generator for tickcast: thousands of WebSocket clients on one thread, each subscribed, read and checked, some of them
//! misbehaving on purpose.
//!
//! Stages, one module each: [`args`] (the command line), [`target`] (where to, as whom), [`plan`] (who subscribes to what), [`client`] (one connection, over [`frame`],
//! [`message`] and [`stream`]), the epoll loop, [`measure`] (counters and histograms), [`server`] (its CPU and memory), [`run`] (one run from
//! the first connect to the result) and [`report`].
//!
//! # Why the numbers can be trusted
//!
//! - *Open loop.* The feed sets the pace. Latency is taken from the tick's own stamp, not from when something was asked for, and what is
//!   stamped within the window is counted however late it comes: a server that stalls for a second shows every tick of that second late.
//! - *One clock read per read call*, just after it. Time that a client waited for its turn in this program counts as latency, so
//!   the generator can only make a server look worse, never better.
//! - *Its own load is reported*: CPU, time busy, time without a core, and how long its turns took. Above 80 % busy the result says so.

#![forbid(unsafe_code)]

pub mod args;
pub mod client;
mod control;
mod engine;
pub mod frame;
pub mod measure;
pub mod message;
pub mod plan;
mod progress;
pub mod report;
pub mod run;
pub mod server;
mod socket;
pub mod stream;
pub mod summary;
mod symbols;
pub mod target;

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a run could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The parameters do not fit together.
    #[error(transparent)]
    Args(#[from] args::ArgsError),
    /// A connection was refused or broke before it was subscribed.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// A connection was closed before it was subscribed.
    #[error("the server closed a connection before it was subscribed (close code {0})")]
    ClosedEarly(u16),
    /// The server refused, or makes no sense.
    #[error(transparent)]
    Session(#[from] client::SessionError),
    /// Not everybody got in.
    #[error("only {subscribed} of {clients} clients were subscribed within {seconds:.0} s")]
    Timeout {
        /// Who got in.
        subscribed: usize,
        /// Who should have.
        clients: usize,
        /// `--connect-timeout`, seconds.
        seconds: f64,
    },
    /// The descriptors do not suffice.
    #[error(
        "{clients} clients need about {needed} open files, and this process may open {limit}: raise `ulimit -n`, or share the clients among \
         processes with --part 1/2 and --part 2/2"
    )]
    OpenFiles {
        /// The clients of this process.
        clients: usize,
        /// What they need.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The server has no symbols.
    #[error("list_symbols: {0}")]
    Symbols(String),
    /// The server cannot be read from outside.
    #[error(transparent)]
    Server(#[from] server::ServerError),
    /// The system refused something.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
    /// A report cannot be written.
    #[error("cannot write {path}: {error}", path = .0.display(), error = .1)]
    Write(PathBuf, std::io::Error),
}
