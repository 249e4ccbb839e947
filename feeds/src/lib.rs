//! The vocabulary of tickcast (ticks, exact decimals, instruments) and everything that makes
//! ticks: the venues' parsers, recordings, the replay of captures, the synthetic market.
//!
//! The modules stand in the order of the data's path. A feed hands ticks to a [`Sink`]; it cannot
//! know that rings, reactors or sockets exist.

mod abreast;
pub mod claims;
pub mod clock;
pub mod decimal;
pub mod dial;
pub mod feed;
pub mod instrument;
pub mod lines;
pub mod live;
pub mod pem;
pub mod record;
pub mod replay;
pub mod rest;
pub mod sink;
pub mod spec;
pub mod sync;
pub mod synthetic;
pub mod tick;
pub mod venue;

pub use decimal::{Decimal, DecimalError};
pub use feed::{Feed, FeedError, RunContext};
pub use instrument::{Instrument, InstrumentId, Instruments, Listing};
pub use sink::{Sink, SinkClosed, Stop, VecSink};
pub use spec::{FeedSpec, LinesSpec, LiveSpec, ReplaySpec, SpecError, SyntheticSpec};
pub use tick::{FeedState, Kind, Level, Quote, Side, Stamp, Status, Tick, Trade};
