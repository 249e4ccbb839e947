//! Bytes as they stand on the wire.

pub mod frame;
