//! tickcast.

pub mod http;
