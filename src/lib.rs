//! tickcast: exchange feeds in, every tick encoded once, thousands of WebSocket clients out.
//!
//! The modules stand in the order of a tick's path; docs/ARCHITECTURE.md is the map.

pub mod cli;
pub mod config;
pub mod limits;
pub mod logging;

pub mod clock;
pub mod server;

pub mod access;
pub mod address;
pub mod books;
mod budget;
pub mod derive;
mod drill;
mod ingest;
mod reactor;
pub mod ring;
pub mod session;
pub mod transport;
pub mod wire;

pub mod check;
pub mod http;
pub mod inspect;
pub mod record;
mod reload;
pub mod spool;
pub mod stats;
pub mod top;
pub mod trace;
pub mod watch;

#[doc(hidden)]
pub mod bench;
