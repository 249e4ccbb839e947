//! Streams that clients of the Binance dialect asked for before their symbols are listed.

use std::collections::{BTreeSet, HashMap};

use crate::wire::binance::streams::Stream;

/// See the module. By symbol, for there may be many of both: clients that ask for what nobody lists, and
/// symbols that are listed later.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// By symbol in upper case: sessions, and the names of their streams.
    by_symbol: HashMap<String, BTreeSet<(u32, String)>>,
    by_session: HashMap<u32, BTreeSet<String>>,
}

impl Wanted {
    /// A session waits for the stream of this name.
    pub(crate) fn insert(&mut self, id: u32, name: &str) {
        let Some(symbol) = symbol_of(name) else { return };
        if self.by_session.entry(id).or_default().insert(name.to_owned()) {
            self.by_symbol.entry(symbol).or_default().insert((id, name.to_owned()));
        }
    }

    /// It does not any more.
    pub(crate) fn remove(&mut self, id: u32, name: &str) {
        if let Some(names) = self.by_session.get_mut(&id)
            && names.remove(name)
        {
            if names.is_empty() {
                self.by_session.remove(&id);
            }
            self.forget(id, name.to_owned());
        }
    }

    /// It waits for nothing any more.
    pub(crate) fn leave(&mut self, id: u32) {
        for name in self.by_session.remove(&id).into_iter().flatten() {
            self.forget(id, name);
        }
    }

    fn forget(&mut self, id: u32, name: String) {
        let Some(symbol) = symbol_of(&name) else { return };
        if let Some(all) = self.by_symbol.get_mut(&symbol) {
            all.remove(&(id, name));
            if all.is_empty() {
                self.by_symbol.remove(&symbol);
            }
        }
    }

    /// What a session waits for.
    pub(crate) fn of(&self, id: u32) -> impl Iterator<Item = &str> {
        self.by_session.get(&id).into_iter().flatten().map(String::as_str)
    }

    /// How much that is.
    pub(crate) fn count(&self, id: u32) -> usize {
        self.by_session.get(&id).map_or(0, BTreeSet::len)
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// Who waits for streams of this symbol (in upper case), with their names; they do not any more.
    pub(crate) fn take(&mut self, symbol: &str) -> Vec<(u32, String)> {
        let all: Vec<_> = self.by_symbol.remove(symbol).into_iter().flatten().collect();
        for (id, name) in &all {
            if let Some(names) = self.by_session.get_mut(id) {
                names.remove(name);
                if names.is_empty() {
                    self.by_session.remove(id);
                }
            }
        }
        all
    }
}

fn symbol_of(name: &str) -> Option<String> {
    Stream::parse(name).ok()?.symbol.map(str::to_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_found_by_symbol_and_by_session() {
        let mut wanted = Wanted::default();
        for (id, name) in
            [(1, "xy@trade"), (2, "XY@depth"), (1, "xy@trade"), (1, "z@trade"), (3, "xy@ticker")]
        {
            wanted.insert(id, name);
        }
        assert_eq!((wanted.count(1), wanted.count(2), wanted.count(9)), (2, 1, 0));
        assert!(wanted.of(1).eq(["xy@trade", "z@trade"]));
        wanted.remove(3, "xy@ticker");
        wanted.remove(3, "z@trade");
        let taken = wanted.take("XY");
        assert_eq!(taken, [(1, "xy@trade".to_owned()), (2, "XY@depth".to_owned())]);
        assert_eq!((wanted.take("XY"), wanted.count(1), wanted.count(2)), (vec![], 1, 0));
        wanted.leave(1);
        assert!(wanted.is_empty() && wanted.by_symbol.is_empty());
    }
}
