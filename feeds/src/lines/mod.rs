//! Any source as a feed: newline-delimited JSON ticks (docs/PUBLISH.md) from the standard input,
//! from sockets, or handed in by the server's `/v1/publish`.
//!
//! `split` cuts bytes into lines, `publisher` reads and bounds those of one publisher (pure, like
//! the parser, `venue::native`), `socket` opens what the spec names, `serve` is the loop over
//! publishers that are connected, `inbox` the one over messages that are handed in.

mod inbox;
mod publisher;
mod serve;
mod socket;
mod split;

pub use inbox::{Full, Inbox, Outcome, Post, Source, inbox};
pub use publisher::{
    MAX_LINE_BYTES, MAX_RUBBISH, Publisher, TOLD_BURST, TOLD_PER_SECOND, Terms, Told,
};
pub use serve::LinesFeed;
pub use socket::OpenError;
