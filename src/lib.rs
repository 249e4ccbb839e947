//! tickcast.

pub mod ring;
