//! tickcast.

pub mod ring;
pub mod books;
//! tickcast: exchange feeds in, every tick encoded once, thousands of WebSocket clients out.

pub mod cli;
pub mod config;
pub mod limits;
pub mod logging;
pub mod server;
pub mod session;
pub mod wire;
pub mod http;
