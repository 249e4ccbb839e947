//! What the servers to compare with have in common: their command line, a feed of trades, and as much of
//! docs/PROTOCOL.md as tickcast-loadtest needs.
//!
//! None of them has limits, pings, a policy for slow clients or metrics: tickcast is measured with all of
//! these on.

pub mod args;
pub mod feed;
pub mod requests;
