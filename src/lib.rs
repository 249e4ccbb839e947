//! tickcast.

pub mod session;
pub mod wire;
