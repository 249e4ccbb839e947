//! Order books and last values: what a client gets before its stream begins.
//!
//! The modules stand in the order of the data's path: [`sequence`] numbers what the feeds send,
//! [`event`] gathers the ticks of one event, [`book`] applies it, [`view`] says what a client that
//! holds the best N levels must be told, [`journal`] what one that is told less often must be, [`history`]
//! keeps the newest trades and bars, [`state`] keeps the newest of everything where reactors can copy it from.
//!
//! Invariants:
//! - An event is applied whole or not at all, and nobody sees a book in the middle of one.
//! - The book is a function of its snapshot and the events after it: a reactor that copies it and
//!   applies the same events has the same book, level for level.
//! - A book that may differ from the venue's is not known ([`Book::is_known`]) and is not shown.
//!   [`InstrumentState::apply_event`] keeps this rule, for the ingest and for who applies the
//!   ring's events to a copy.

pub mod book;
pub mod event;
pub mod history;
pub mod journal;
pub mod sequence;
mod side;
pub mod state;
pub mod view;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod tests;

pub use book::{Applied, Book, BookError, MAX_LEVELS, PriceSize};
pub use event::{Assembler, MAX_EVENT_TICKS};
pub use history::{History, Room};
pub use journal::{Journal, Mark};
pub use sequence::{Sequenced, Sequencer, Sequencers};
pub use state::{InstrumentState, Reader, State, Writer};
pub use view::{Changes, Depth, DepthError, MAX_DEPTH};
