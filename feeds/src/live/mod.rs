//! Live feeds: connections to venues, held by their rules.

pub mod tap;

pub use tap::{MakeTap, Tap, Tapped};
