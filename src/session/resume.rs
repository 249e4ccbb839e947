//! How a subscription begins: with what is now, or where a client was that comes back.

use std::collections::HashMap;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// Now, with a snapshot.
    #[default]
    Now,
    /// Behind the message of this sequence.
    After(u64),
    /// The same, and the client has been told that it recovers and was sent what came up to there.
    Going(u64),
    /// At this ring position: the client has all that lies before it.
    At(u64),
    /// Now, for what it missed cannot be told.
    Lost(Loss),
}

/// Why a client is not told what it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its sequences are of another start of the server.
    Epoch,
    /// No such sequence has been given out.
    Ahead,
    /// The server does not know any more what came right after it.
    TooOld,
    /// The book was replaced or lost in between.
    Replaced,
    /// The changes of a book to a depth are not known any more.
    Depth,
    /// It is told in sums or batches, which are not told again one by one.
    Mode,
}

impl Loss {
    /// The name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Loss::Epoch => "epoch",
            Loss::Ahead => "ahead",
            Loss::TooOld => "too_old",
            Loss::Replaced => "replaced",
            Loss::Depth => "depth",
            Loss::Mode => "mode",
        }
    }
}

/// How a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) start: Start,
    /// How many of the past are sent first, where it begins now.
    pub(crate) history: u16,
}

impl Begin {
    pub(crate) const NOW: Begin = Begin { start: Start::Now, history: 0 };
}

/// Where the subscriptions of one request begin.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// By instrument.
    pub(crate) each: HashMap<u32, Start>,
    /// All others.
    pub(crate) others: Start,
    pub(crate) history: u16,
}

impl Starts {
    /// Whoever says where it was is told that it cannot go on from there: its updates are sums.
    pub(crate) fn summed(mut self) -> Self {
        let lose = |start: &mut Start| {
            if matches!(start, Start::After(_)) {
                *start = Start::Lost(Loss::TooOld);
            }
        };
        self.each.values_mut().for_each(lose);
        lose(&mut self.others);
        self
    }

    pub(crate) fn of(&self, instrument: u32) -> Begin {
        let start = self.each.get(&instrument).copied().unwrap_or(self.others);
        Begin { start, history: self.history }
    }
}
