//! The private parts, as the benches and the test of allocations drive them: on the caller's
//! thread, step by step. Not for any other use, and no promise is made of it.
//!
//! A [`FeedSide`] is what stands between a feed and the ring; a [`Reactor`] follows that ring. What
//! they do is done by the server's own code: here is only what takes the threads' place.

pub use crate::ingest::bench::FeedSide;
pub use crate::reactor::bench::{Reactor, Window};
