//! A market: what a request is answered from, once it is known who asks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::poll::Polls;
use super::rest::Rest;
use crate::reactor::Hub;
use crate::spool::Stats;

/// What is known of a spool.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub(crate) stats: Arc<Stats>,
    /// By delay in milliseconds, by how many more a market is late.
    pub(crate) lags: Vec<(u64, Arc<AtomicU64>)>,
}

/// See the module. Of one thread, the control plane's.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) hub: Arc<Hub>,
    /// The REST endpoints of the Binance dialect.
    pub(crate) exchange: Exchange,
    /// What polls are answered from.
    pub(crate) polls: Polls,
    /// What `/v1/...` is answered from.
    pub(crate) rest: Rest,
}

/// Says by how many seconds an answer is delayed.
const DELAY: HeaderName = HeaderName::from_static("tickcast-delay");

impl Market {
    /// Says in the head of an answer that it is of a delayed market, where it is.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        if self.hub.delay_ms > 0 {
            headers.insert(DELAY, HeaderValue::from(self.hub.delay_ms / 1_000));
        }
    }
}
