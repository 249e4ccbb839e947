//! Where a live feed shows what it receives to who wants to keep it: a recording.

use crate::instrument::Listing;
use crate::venue::Input;

/// Keeps what a feed receives. Called on the feed's thread, between the socket and the parser: it
/// may copy, but neither wait nor write to a disk.
pub trait Tap: Send {
    /// These instruments are subscribed to; what is kept after it may name them.
    fn listed(&mut self, listings: &[Listing]);

    /// Something was received at `recv_ns`, nanoseconds since the Unix epoch; the parser gets it
    /// next. The times never go back.
    fn keep(&mut self, recv_ns: u64, input: &Input<'_>);
}

/// The feed whose inputs are to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Tapped<'a> {
    /// Its spec.
    pub feed: &'a str,
    /// The venue's short name.
    pub venue: &'static str,
}

/// Makes the tap of a feed; `None` where nothing is to be kept.
pub type MakeTap = dyn Fn(Tapped<'_>) -> Option<Box<dyn Tap>> + Send + Sync;
