//! Snapshots of books that fit the streams, at most so many a second for each book: who asks in between
//! shares the next one.
//!
//! One that was taken before somebody asked is of no use to them: their stream may begin after it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tickcast_feeds::InstrumentId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::books::InstrumentState;
use crate::ingest::Cutter;
use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cuts {
    cutter: Arc<Cutter>,
    flights: RefCell<HashMap<InstrumentId, Flight>>,
}

#[derive(Debug, Default)]
struct Flight {
    waiting: Vec<oneshot::Sender<Arc<InstrumentState>>>,
    /// A task is at it.
    under_way: bool,
    /// When the last was taken.
    last: Option<Instant>,
}

impl Cuts {
    pub(crate) fn new(cutter: Arc<Cutter>) -> Rc<Self> {
        Rc::new(Cuts { cutter, flights: RefCell::default() })
    }

    /// A snapshot of an instrument that is taken after this was called; `None` while the server stops.
    pub(crate) async fn snapshot(
        self: &Rc<Self>,
        id: InstrumentId,
    ) -> Option<Arc<InstrumentState>> {
        let (answer, snapshot) = oneshot::channel();
        let is_first = {
            let mut flights = self.flights.borrow_mut();
            if flights.len() >= limits::CUT_BOOKS {
                flights.retain(|_, flight| flight.under_way);
            }
            let flight = flights.entry(id).or_default();
            flight.waiting.push(answer);
            !std::mem::replace(&mut flight.under_way, true)
        };
        if is_first {
            tokio::task::spawn_local(self.clone().serve(id));
        }
        snapshot.await.ok()
    }

    async fn serve(self: Rc<Self>, id: InstrumentId) {
        loop {
            let last = self.flights.borrow().get(&id).and_then(|flight| flight.last);
            if let Some(last) = last {
                tokio::time::sleep_until(last + limits::CUT_PERIOD).await;
            }
            let waiting = match self.flights.borrow_mut().get_mut(&id) {
                Some(flight) => {
                    flight.under_way = !flight.waiting.is_empty();
                    std::mem::take(&mut flight.waiting)
                }
                None => return,
            };
            if waiting.is_empty() {
                return;
            }
            // Without one those who wait are let go.
            let cut = self.cutter.cut(id).await.map(Arc::new);
            for answer in waiting {
                if let Some(cut) = &cut {
                    // Who asked may be gone.
                    let _ = answer.send(cut.clone());
                }
            }
            if let Some(flight) = self.flights.borrow_mut().get_mut(&id) {
                flight.last = Some(Instant::now());
            }
        }
    }
}
