//! What is derived from trades: bars (OHLCV) and the 24 h ticker, exact, by the time of the trades.
//!
//! Pure: a [`Series`] is a function of the trades it is given and of the times it is told, and
//! reads no clock. The modules stand in the order of the data's path: [`sum`] adds up without
//! rounding, [`bar`] is one bar and its form on the ring, [`window`] the last 24 hours by the
//! minute, [`series`] keeps all of one instrument and says what clients are to be told.
//!
//! Times are of two kinds. *Event time* is the venue's (the receive time where it gives none): it
//! says which bar a trade belongs to. *Receive time* is the feed's clock: it says when a bar that
//! gets no further trade is over, and how often an update may be sent. The newest trade of an
//! instrument tells how far the two are apart, so that captures of other years, venues whose clock
//! is off, and delayed feeds close their bars like any other.

pub mod alarm;
pub mod bar;
pub mod series;
pub mod sum;
#[cfg(test)]
mod tests;
pub mod window;

pub use bar::{BAR_TICKS, Bar, Span};
pub use series::{Demand, Series, Turn, Wanted};
pub use sum::Sum;
pub use window::Window;
