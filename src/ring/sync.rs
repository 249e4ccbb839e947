//! The ring's atomics: those of `std`, or loom's when its model checker explores the ring.
//!
//! The switch is a cfg of our own: `cfg(loom)` is also read by tokio, whose `net` does not compile
//! under it.

#[cfg(ring_loom)]
pub(super) use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};
#[cfg(not(ring_loom))]
pub(super) use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};
