//! What is held back from a client that takes no more: where it stands in each subscription. Once it
//! takes bytes again it is told, for each, what leads from there to what the others have: the newest
//! quote, the sum of a book's changes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use super::subs::Key;
use crate::books::Mark;
use crate::wire::request::Channel;

/// Where a client stands in one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Sequence of the last message that it was sent.
    pub(crate) prev: u64,
    /// Of a book: that moment in its journal.
    pub(crate) mark: Mark,
    /// A snapshot was held back: what was before does not count.
    pub(crate) fresh: bool,
}

impl Stand {
    /// Behind the message of this sequence.
    pub(crate) fn at(prev: u64) -> Self {
        Stand { prev, mark: Mark::default(), fresh: false }
    }
}

/// See the module. Only clients that fall behind have one.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The sequence at which the client stands: before the first message that was held back.
    stands: HashMap<Key, u64>,
    /// What is to be known of books besides: most that is held are quotes, by the thousand.
    books: HashMap<Key, (Mark, bool)>,
    /// The same subscriptions, the longest held first: none starves behind busier ones.
    order: VecDeque<Key>,
    /// Messages that were replaced by later ones since the client was last told.
    pub(crate) skipped: u64,
}

impl Held {
    /// Holds a message back; the client then stands there, or where it stood already.
    pub(crate) fn hold(&mut self, key: Key, stand: Stand) {
        match self.stands.entry(key) {
            Entry::Occupied(_) => self.skipped += 1,
            Entry::Vacant(empty) => {
                empty.insert(stand.prev);
                self.order.push_back(key);
            }
        }
        if key.channel == Channel::Book {
            let (_, fresh) = self.books.entry(key).or_insert((stand.mark, false));
            *fresh |= stand.fresh;
        }
    }

    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.stands.contains_key(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stands.is_empty()
    }

    /// How many subscriptions are held back.
    pub(crate) fn len(&self) -> usize {
        self.stands.len()
    }

    /// The one that was held longest, and where the client stands: it is to be told now.
    pub(crate) fn next(&mut self) -> Option<(Key, Stand)> {
        let key = self.order.pop_front()?;
        let prev = self.stands.remove(&key)?;
        let (mark, fresh) = self.books.remove(&key).unwrap_or_default();
        Some((key, Stand { prev, mark, fresh }))
    }

    /// Where the client stands in a subscription that is held back.
    pub(crate) fn stand(&self, key: &Key) -> Option<Stand> {
        let prev = *self.stands.get(key)?;
        let (mark, fresh) = self.books.get(key).copied().unwrap_or_default();
        Some(Stand { prev, mark, fresh })
    }

    /// The books that are held, and the moments at which the client stands.
    pub(crate) fn books(&self) -> impl Iterator<Item = (&Key, Mark)> {
        self.books.iter().map(|(key, (mark, _))| (key, *mark))
    }

    /// Forgets what is not wanted any more, or was sent otherwise.
    pub(crate) fn forget<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        let before = self.stands.len();
        for key in keys {
            self.stands.remove(key);
            self.books.remove(key);
        }
        if self.stands.len() != before {
            self.order.retain(|key| self.stands.contains_key(key));
        }
    }

    /// Heap bytes held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.stands.capacity() * size_of::<(Key, u64)>()
            + self.books.capacity() * size_of::<(Key, (Mark, bool))>()
            + self.order.capacity() * size_of::<Key>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::form::Form;

    fn key(instrument: u32) -> Key {
        Key { channel: Channel::Book, instrument, depth: 0, form: Form::NATIVE }
    }

    #[test]
    fn the_longest_held_comes_first_and_keeps_its_first_prev() {
        let mut held = Held::default();
        for (instrument, prev) in [(3, 30), (1, 10), (3, 31), (2, 20), (1, 11), (3, 32)] {
            held.hold(key(instrument), Stand::at(prev));
        }
        assert_eq!((held.skipped, held.len()), (3, 3));
        held.forget([key(1), key(9)].iter());
        assert!(!held.holds(&key(1)) && held.holds(&key(2)));
        assert_eq!(held.next(), Some((key(3), Stand::at(30))));
        held.hold(key(3), Stand::at(40));
        assert_eq!(held.next(), Some((key(2), Stand::at(20))));
        held.hold(key(3), Stand { fresh: true, ..Stand::at(41) });
        let fresh = Stand { fresh: true, ..Stand::at(40) };
        assert_eq!(held.next(), Some((key(3), fresh)));
        assert_eq!((held.next(), held.is_empty()), (None, true));
    }

    #[test]
    fn holding_and_forgetting_in_turn_leaves_nothing_behind() {
        let mut held = Held::default();
        for round in 0..10_000 {
            held.hold(key(7), Stand::at(round));
            held.forget(std::iter::once(&key(7)));
        }
        assert!(held.is_empty() && held.bytes() < 1000, "{}", held.bytes());
    }
}
