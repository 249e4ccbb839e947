//! The control plane's HTTP side.

pub mod assets;
