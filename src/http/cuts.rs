//! Snapshots of books that fit the streams, at most so many a second for each book: who asks in between
//! shares the next one.
//!
//! One that was taken before somebody asked is of no use to them: their stream may begin after it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tickcast_feeds::InstrumentId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::books::{Book, InstrumentState};
use crate::ingest::Cutter;
use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cuts {
    cutter: Arc<Cutter>,
    flights: RefCell<HashMap<InstrumentId, Flight>>,
}

/// A snapshot for all who asked, and what they are answered: written once for each depth.
#[derive(Debug)]
pub(crate) struct Cut {
    state: InstrumentState,
    bodies: RefCell<Vec<(usize, Bytes)>>,
}

impl Cut {
    /// What `write` says of the book for this number of levels; `None` where the book is not known.
    pub(crate) fn body(
        &self,
        levels: usize,
        write: impl FnOnce(&mut Vec<u8>, &Book),
    ) -> Option<Bytes> {
        if !self.state.book.is_known() {
            return None;
        }
        let mut bodies = self.bodies.borrow_mut();
        if let Some((_, body)) = bodies.iter().find(|(of, _)| *of == levels) {
            return Some(body.clone());
        }
        let mut out = Vec::new();
        write(&mut out, &self.state.book);
        let body = Bytes::from(out);
        bodies.push((levels, body.clone()));
        Some(body)
    }
}

#[derive(Debug, Default)]
struct Flight {
    waiting: Vec<oneshot::Sender<Rc<Cut>>>,
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
    pub(crate) async fn snapshot(self: &Rc<Self>, id: InstrumentId) -> Option<Rc<Cut>> {
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
            let cut = self.cutter.cut(id).await;
            let cut = cut.map(|state| Rc::new(Cut { state, bodies: RefCell::default() }));
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
