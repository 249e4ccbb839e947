//! What one client is subscribed to: found and ended in logarithmic time, so that a client that
//! subscribes to much, again and again, costs its reactor little.

use std::collections::BTreeMap;

use crate::reactor::cadence::Cadence;
use crate::reactor::lanes::Lane;
use crate::wire::form::Form;
use crate::wire::request::{Channel, Mode};

/// What makes two subscriptions the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// First, so that one channel's subscriptions are neighbours.
    pub(crate) channel: Channel,
    pub(crate) instrument: u32,
    /// Levels a side for a book, 0 for all of them; a bar's interval, its place in `Span::BARS`; 0 for
    /// other channels.
    pub(crate) depth: u16,
    pub(crate) form: Form,
}

/// How a subscription is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) mode: Mode,
    /// How often it is told.
    pub(crate) cadence: Cadence,
    /// How long a tick of it may wait for others.
    pub(crate) lane: Lane,
}

impl Terms {
    /// Every tick, at once.
    pub(crate) const EVERY: Terms =
        Terms { mode: Mode::All, cadence: Cadence::EVERY, lane: Lane::SERVERS };
}

/// One subscription: a few bytes and no strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) terms: Terms,
    /// Comes from a wildcard, which counts as one subscription.
    pub(crate) wild: bool,
    /// A snapshot is still to be sent.
    pub(crate) waits: bool,
}

const _: () = assert!(size_of::<Key>() + size_of::<Sub>() <= 13);

/// All of a client's, by channel and instrument.
#[derive(Debug, Default)]
pub(crate) struct Subs(BTreeMap<Key, Sub>);

impl Subs {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Sub> {
        self.0.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Sub> {
        self.0.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: Key, sub: Sub) {
        self.0.insert(key, sub);
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Sub> {
        self.0.remove(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, Sub)> + '_ {
        self.0.iter().map(|(key, sub)| (*key, *sub))
    }

    /// Those of one channel, of one instrument or of all.
    pub(crate) fn of(
        &self,
        channel: Channel,
        instrument: Option<u32>,
    ) -> impl Iterator<Item = Key> + '_ {
        let (first, last) = (instrument.unwrap_or(0), instrument.unwrap_or(u32::MAX));
        let from = Key { channel, instrument: first, depth: 0, form: Form::MIN };
        let to = Key { channel, instrument: last, depth: u16::MAX, form: Form::MAX };
        self.0.range(from..=to).map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_s_subscriptions_are_found_by_instrument() {
        let sub = Sub { terms: Terms::EVERY, wild: false, waits: false };
        let key =
            |channel, instrument, depth| Key { channel, instrument, depth, form: Form::NATIVE };
        let mut subs = Subs::default();
        for one in [
            key(Channel::Book, 7, 25),
            key(Channel::Book, 7, 0),
            key(Channel::Book, 8, u16::MAX),
            key(Channel::Trade, 7, 0),
            key(Channel::Status, u32::MAX, 0),
        ] {
            subs.insert(one, sub);
        }
        let of = |channel, instrument| subs.of(channel, instrument).collect::<Vec<_>>();
        assert_eq!(
            of(Channel::Book, Some(7)),
            [key(Channel::Book, 7, 0), key(Channel::Book, 7, 25)]
        );
        assert_eq!(of(Channel::Book, None).len(), 3);
        assert_eq!(of(Channel::Status, None), [key(Channel::Status, u32::MAX, 0)]);
        assert_eq!(of(Channel::Quote, None), []);
    }
}
