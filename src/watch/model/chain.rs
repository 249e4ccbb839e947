//! The proof that nothing is missing: `prev` of each message is `seq` of the one before.

/// The chain of one channel and symbol on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::watch) struct Chain {
    /// The newest sequence, unknown before the first message.
    last: Option<u64>,
}

impl Chain {
    /// A chain whose next message is to follow this one.
    pub(super) fn after(seq: Option<u64>) -> Self {
        Chain { last: seq }
    }

    /// Takes a message; false where one before it is missing. A snapshot (without `prev`) begins a
    /// chain, and so does the first message where nothing is known.
    pub(super) fn link(&mut self, prev: Option<u64>, seq: u64) -> bool {
        let linked = match (self.last, prev) {
            (Some(last), Some(prev)) => last == prev,
            _ => true,
        };
        self.last = Some(seq);
        linked
    }
}
