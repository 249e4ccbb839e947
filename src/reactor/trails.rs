//! Where the events of each channel of each instrument lie on the ring: for who comes back and is to
//! be told what it missed.
//!
//! Clients that lose their connections do so together. One pass over the ring finds the places of
//! all events there are, in pieces that fit a turn, and serves everybody who comes back; it is kept up
//! to date for as long as somebody does, and then dropped. Who never resumes pays nothing: the path of
//! the ticks is not touched.

use std::collections::{HashMap, VecDeque};

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{FeedState, Kind, Tick};

use crate::derive::Bar;
use crate::limits;
use crate::ring::{Consumer, Poll};
use crate::session::subs::Key;
use crate::wire::request::Channel;

/// One channel of one instrument; of bars, one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Track {
    instrument: u32,
    channel: Channel,
    span: u8,
}

impl Track {
    pub(crate) fn of(key: &Key) -> Self {
        let span = key.channel.span(key.depth).map_or(0, |span| span as u8);
        Track { instrument: key.instrument, channel: key.channel, span }
    }

    /// What an event's last tick belongs to, if to anything.
    fn of_tick(tick: &Tick) -> Option<Self> {
        let instrument = tick.instrument.0;
        let channel = match tick.kind {
            Kind::Trade => Channel::Trade,
            Kind::Quote => Channel::Quote,
            Kind::Level => Channel::Book,
            Kind::Status => Channel::Status,
            Kind::Bar => {
                let span = Bar::span_of(tick)?;
                let channel = match span {
                    crate::derive::Span::Rolling => Channel::Ticker,
                    _ => Channel::Bar,
                };
                return Some(Track { instrument, channel, span: span as u8 });
            }
            Kind::Cut => return None,
        };
        Some(Track { instrument, channel, span: 0 })
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) seq: u64,
    /// Ring position of its first tick.
    pub(crate) start: u64,
    /// Ring position behind its last tick.
    pub(crate) end: u64,
}

/// The events of one track, oldest first.
#[derive(Debug, Default)]
struct Trail {
    spots: VecDeque<Spot>,
    /// Of a book: behind the place on the ring at which it was last replaced or lost.
    broken: u64,
}

/// What is known of what came after some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// All of it, this many events: [`Trails::nth`].
    All(usize),
    /// Not all of it.
    Unknown,
    /// All, but the book was replaced.
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trails {
    /// Stands behind what has been looked at.
    reader: Consumer<TICK_WORDS>,
    /// Where the first look was.
    from: u64,
    /// Position of the first tick of an event whose last has not come yet.
    begun: Option<u64>,
    by_track: HashMap<Track, Trail>,
    count: usize,
    slots: u64,
    words: Vec<[u64; TICK_WORDS]>,
    /// When somebody last asked, milliseconds.
    pub(crate) used_ms: u64,
}

impl Trails {
    /// Of the ring that this reader reads; nothing is known yet.
    pub(crate) fn new(reader: &Consumer<TICK_WORDS>) -> Self {
        let mut reader = reader.fork();
        let from = reader.oldest().min(reader.position());
        // It lies before the tail.
        let _ = reader.seek(from);
        Trails {
            from,
            begun: None,
            by_track: HashMap::new(),
            count: 0,
            slots: reader.slots(),
            words: vec![[0; TICK_WORDS]; limits::TICKS_PER_TURN],
            reader,
            used_ms: 0,
        }
    }

    /// Looks at what there is up to a position, a bounded part of it; says whether that was all.
    pub(crate) fn look(&mut self, to: u64) -> bool {
        let mut left = limits::TRAIL_TICKS;
        while self.reader.position() < to && left > 0 {
            let position = self.reader.position();
            let most = (to - position).min(limits::TICKS_PER_TURN.min(left) as u64) as usize;
            let mut words = std::mem::take(&mut self.words);
            match self.reader.poll(&mut words[..most]) {
                Poll::Empty => left = 0,
                Poll::Read(count) => {
                    for (at, entry) in (position..).zip(&words[..count]) {
                        self.note(at, &Tick::from_words(*entry));
                    }
                    left -= count;
                }
                Poll::Lapped(_) => self.start_over(),
            }
            self.words = words;
        }
        self.reader.position() >= to
    }

    fn start_over(&mut self) {
        let used_ms = self.used_ms;
        *self = Trails { used_ms, ..Trails::new(&self.reader) };
    }

    fn note(&mut self, position: u64, tick: &Tick) {
        if tick.has(flags::FIRST) {
            self.begun = Some(position);
        }
        if !tick.has(flags::LAST) {
            return;
        }
        let start = match tick.kind {
            Kind::Level | Kind::Bar => self.begun.take(),
            _ => Some(position),
        };
        // The beginning of an event may lie before the first look.
        let (Some(start), Some(track)) = (start, Track::of_tick(tick)) else { return };
        let replaced = tick.kind == Kind::Level && tick.has(flags::SNAPSHOT);
        if replaced || tick.kind == Kind::Status && tick.as_status().state == FeedState::Resync {
            let book = Track { channel: Channel::Book, ..track };
            self.by_track.entry(book).or_default().broken = start + 1;
        }
        let trail = self.by_track.entry(track).or_default();
        trail.spots.push_back(Spot { seq: tick.seq, start, end: position + 1 });
        self.count += 1;
        // Of those that are gone one is left: what is behind it is known to follow it.
        let gone = (position + 1).saturating_sub(self.slots);
        while trail.spots.get(1).is_some_and(|next| next.start < gone) {
            trail.spots.pop_front();
            self.count -= 1;
        }
    }

    /// Whether nobody has asked for long, or it holds more than a ring does: places of what is gone, of
    /// instruments that are quiet.
    pub(crate) fn is_old(&self, now_ms: u64) -> bool {
        now_ms > self.used_ms + limits::TRAILS_KEPT_MS || self.count as u64 > 2 * self.slots
    }

    /// What came on a track after a sequence, up to another one. `counted`: sequences are consecutive.
    pub(super) fn after(&self, track: &Track, seq: u64, last: u64, counted: bool) -> Since {
        let Some(trail) = self.by_track.get(track) else { return Since::Unknown };
        let first = trail.spots.partition_point(|spot| spot.seq <= seq);
        let end = trail.spots.partition_point(|spot| spot.seq <= last);
        let follows = match counted {
            true => {
                let next = trail.spots.get(first).map_or(0, |spot| spot.seq);
                next == seq + 1 && (end - first) as u64 == last - seq
            }
            false => first > 0,
        };
        if !follows || first == end || trail.spots[first].start < self.reader.oldest() {
            return Since::Unknown;
        }
        if first > 0 && trail.broken > trail.spots[first - 1].end || first == 0 && trail.broken > 0
        {
            return Since::Broken;
        }
        Since::All(end - first)
    }

    /// The event of that number of those after a sequence.
    pub(super) fn nth(&self, track: &Track, seq: u64, nth: usize) -> Option<Spot> {
        let trail = self.by_track.get(track)?;
        let first = trail.spots.partition_point(|spot| spot.seq <= seq);
        trail.spots.get(first + nth).copied()
    }

    /// Which sequence of a track somebody has who has all that lies before a position: `Err` with the
    /// first sequence behind it, if there is one, where the one before it is not known.
    pub(super) fn at(&self, track: &Track, position: u64) -> Result<u64, Option<u64>> {
        let Some(trail) = self.by_track.get(track) else { return Err(None) };
        let first = trail.spots.partition_point(|spot| spot.end <= position);
        match first.checked_sub(1) {
            Some(before) => Ok(trail.spots[before].seq),
            None => Err(trail.spots.get(first).map(|spot| spot.seq)),
        }
    }

    /// The events between two positions, and the sequence before them where that is known.
    pub(crate) fn between(
        &self,
        track: Track,
        from: u64,
        to: u64,
    ) -> (Option<u64>, impl DoubleEndedIterator<Item = Spot>) {
        const NONE: &VecDeque<Spot> = &VecDeque::new();
        let spots = self.by_track.get(&track).map_or(NONE, |trail| &trail.spots);
        let first = spots.partition_point(|spot| spot.end <= from);
        let end = spots.partition_point(|spot| spot.end <= to).max(first);
        let before = first.checked_sub(1).map(|before| spots[before].seq);
        (before, spots.range(first..end).copied())
    }

    /// Whether all that lies behind a position has been looked at, and is still there.
    pub(crate) fn reaches(&self, position: u64) -> bool {
        position >= self.from && position >= self.reader.oldest()
    }

    /// Reads the ticks of an event; false where they are gone.
    pub(crate) fn read(&mut self, spot: Spot, out: &mut Vec<Tick>) -> bool {
        out.clear();
        let here = self.reader.position();
        let mut at = spot.start;
        let mut whole = true;
        while at < spot.end && whole {
            let most = ((spot.end - at) as usize).min(self.words.len());
            let words = &mut self.words[..most];
            whole = self.reader.seek(at).is_ok();
            match self.reader.poll(words) {
                Poll::Read(count) => {
                    out.extend(words[..count].iter().map(|entry| Tick::from_words(*entry)));
                    at += count as u64;
                }
                Poll::Empty | Poll::Lapped(_) => whole = false,
            }
        }
        // Behind what has been looked at nothing was: the tail only moves on.
        let _ = self.reader.seek(here);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{self, Producer};
    use crate::wire::form::Form;
    use tickcast_feeds::{Decimal, InstrumentId, Level, Side, Stamp, Status, Trade};

    fn stamp(seq: u64) -> Stamp {
        Stamp { event: 0, recv: seq, seq }
    }

    fn trade(instrument: u32, seq: u64) -> Tick {
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let trade = Trade { price, size, id: seq, side: Side::Buy };
        Tick::trade(InstrumentId(instrument), stamp(seq), &trade)
    }

    fn level(seq: u64, event: u8) -> Tick {
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let level = Level { side: Side::Buy, price, size, first: 0 };
        Tick::level(InstrumentId(0), stamp(seq), event, &level)
    }

    fn track(channel: Channel, instrument: u32) -> Track {
        Track::of(&Key { channel, instrument, depth: 0, form: Form::NATIVE })
    }

    fn publish(producer: &mut Producer<TICK_WORDS>, ticks: &[Tick]) {
        for tick in ticks {
            producer.publish(&tick.to_words());
        }
    }

    #[test]
    fn what_came_after_is_found_or_said_to_be_unknown() {
        let (mut producer, handle) = ring::channel(64).unwrap();
        let consumer = handle.consumer();
        publish(&mut producer, &[trade(0, 10), trade(1, 7), trade(0, 20), trade(0, 30)]);
        let mut trails = Trails::new(&consumer);
        assert!(trails.look(4));
        let zero = track(Channel::Trade, 0);
        assert_eq!(trails.after(&zero, 10, 30, false), Since::All(2));
        assert_eq!(trails.after(&zero, 15, 20, false), Since::All(1));
        // What was before the first that is known is not.
        assert_eq!(trails.after(&zero, 9, 30, false), Since::Unknown);
        assert_eq!(trails.after(&track(Channel::Quote, 0), 9, 30, false), Since::Unknown);
        let mut ticks = Vec::new();
        let spot = trails.nth(&zero, 10, 1).unwrap();
        assert!(trails.read(spot, &mut ticks));
        assert_eq!(ticks, [trade(0, 30)]);
        assert_eq!(trails.at(&zero, 1), Ok(10));
        assert_eq!(trails.at(&zero, 3), Ok(20));
        assert_eq!(trails.at(&track(Channel::Trade, 1), 1), Err(Some(7)));
        let (before, spots) = trails.between(zero, 1, 3);
        assert_eq!((before, spots.map(|spot| spot.seq).collect::<Vec<_>>()), (Some(10), vec![20]));
        // Counted ones need none before them.
        assert_eq!(trails.after(&track(Channel::Trade, 1), 6, 7, true), Since::All(1));
        assert_eq!(trails.after(&track(Channel::Trade, 1), 5, 7, true), Since::Unknown);
        // Overwritten: the last that is gone still says what follows it.
        (0..50).for_each(|at| publish(&mut producer, &[trade(0, 100 + at)]));
        assert!(trails.look(54));
        assert_eq!(trails.after(&zero, 30, 149, false), Since::All(50));
        (50..100).for_each(|at| publish(&mut producer, &[trade(0, 100 + at)]));
        assert!(trails.look(104));
        assert_eq!(trails.after(&zero, 30, 199, false), Since::Unknown);
        assert_eq!(trails.after(&zero, 199 - 40, 199, false), Since::All(40));
        assert!(!trails.is_old(0) && trails.is_old(limits::TRAILS_KEPT_MS + 1));
    }

    #[test]
    fn events_are_whole_and_a_replaced_book_is_broken() {
        let (mut producer, handle) = ring::channel(64).unwrap();
        let consumer = handle.consumer();
        let (first, last) = (flags::FIRST, flags::LAST);
        // The end of an event that began before the first look, then two whole ones.
        publish(&mut producer, &[level(1, last), level(2, first), level(2, last)]);
        publish(&mut producer, &[level(3, first), level(3, 0), level(3, last)]);
        let mut trails = Trails::new(&consumer);
        assert!(trails.look(6));
        let book = track(Channel::Book, 0);
        assert_eq!(trails.after(&book, 2, 3, false), Since::All(1));
        // In the middle of an event one has what was before it.
        assert_eq!((trails.at(&book, 5), trails.at(&book, 6)), (Ok(2), Ok(3)));
        let mut ticks = Vec::new();
        assert!(trails.read(trails.nth(&book, 2, 0).unwrap(), &mut ticks));
        assert_eq!(ticks.len(), 3);
        let resync = Status { state: FeedState::Resync, age_ms: 0 };
        publish(&mut producer, &[Tick::status(InstrumentId(0), stamp(1), resync)]);
        publish(&mut producer, &[level(9, first | last | flags::SNAPSHOT)]);
        publish(&mut producer, &[level(10, first | last)]);
        assert!(trails.look(9));
        assert_eq!(trails.after(&book, 3, 10, false), Since::Broken);
        assert_eq!(trails.after(&book, 9, 10, false), Since::All(1));
    }
}
