//! Bars and tickers for who polls. The ingest makes them known while somebody listens; a client that
//! polls does not between two polls, so the control market listens on for it, for a while.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tickcast_feeds::InstrumentId;

use crate::books::Reader;
use crate::clock;
use crate::derive::{Bar, Span, Wanted};
use crate::http::Market;
use crate::limits;

/// What is listened to.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// By instrument and span.
    all: RefCell<HashMap<(u32, u8), Listener>>,
    /// Somebody looks after it.
    is_tended: Cell<bool>,
}

#[derive(Debug)]
struct Listener {
    _wanted: Wanted,
    from: u64,
    used_ms: u64,
}

impl Heard {
    /// Listens from now on, if it has not. Says from which ring position on all that is told of this
    /// span is on the ring, which goes up to `tail`.
    pub(super) fn listen(
        &self,
        reader: &mut Reader,
        id: InstrumentId,
        span: Span,
        tail: u64,
    ) -> u64 {
        let mut all = self.all.borrow_mut();
        let listener = all.entry((id.0, span as u8)).or_insert_with(|| {
            let mut state = reader.slot(id).lock();
            let demand = state.demand.get_or_insert_default().clone();
            let before = tail.max(state.position);
            // Of what has not been traded yet nothing has been missed.
            let from = state.series.as_mut().map_or(0, |series| {
                series.listened(span);
                before
            });
            Listener { _wanted: Wanted::new(demand, span), from, used_ms: 0 }
        });
        listener.used_ms = clock::now().ms;
        listener.from
    }

    /// Listens no longer to what nobody has polled for long; says whether that was all.
    fn tidy(&self) -> bool {
        let now_ms = clock::now().ms;
        let mut all = self.all.borrow_mut();
        all.retain(|_, listener| now_ms < listener.used_ms + limits::POLL_BARS_KEPT_MS);
        all.is_empty()
    }
}

/// Sees to it that nothing is listened to for good.
pub(super) fn tend(market: &Rc<Market>) {
    let heard = &market.polls.heard;
    if heard.all.borrow().is_empty() || heard.is_tended.replace(true) {
        return;
    }
    let market = market.clone();
    tokio::task::spawn_local(async move {
        while !market.polls.heard.tidy() {
            tokio::time::sleep(limits::POLL_BARS_LOOK).await;
        }
        market.polls.heard.is_tended.set(false);
    });
}

/// The newest of a span, and its sequence.
pub(super) fn newest(reader: &mut Reader, id: InstrumentId, span: Span) -> Option<(Bar, u64)> {
    let state = reader.get(id)?.lock();
    let (bar, seq) = state.series.as_ref()?.snapshot(span);
    drop(state);
    let mut bar = bar?;
    // The last 24 hours are made now.
    if bar.recv_ns == 0 {
        bar.recv_ns = clock::real_ns();
    }
    Some((bar, seq))
}
