//! Stress of the ring with real threads, meant for release mode: every entry that a reader gets is
//! whole and in its place, and what it does not get it is told of.
//!
//! The writer runs at full speed until every reader has done its share of work, so the test is
//! bounded by counts and does not depend on how the threads are scheduled. It was shown to fail:
//! with the intent stored after the words, without the validation of the copy, and with a
//! validation that is off by one, each time on the first run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tickcast::ring::{Consumer, Handle, Poll, Producer, channel};

const WORDS: usize = 8;
/// Small, so that the writer is round in about a microsecond.
const SLOTS: usize = 64;
/// Entries that a reader must have checked.
const READ: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
/// Laps that a reader must have gone through.
const LAPS: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };

/// Words that have nothing in common with those of a neighbour, all functions of the position.
fn entry(position: u64) -> [u64; WORDS] {
    std::array::from_fn(|word| {
        (position + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7 * word as u32)
    })
}

/// What one reader found.
#[derive(Default)]
struct Tally {
    read: u64,
    lost: u64,
    laps: u64,
    /// Polls in a row that found nothing.
    empty: u32,
}

impl Tally {
    /// Spins, since a reader that sleeps at the tail of so small a ring wakes up lapped; but not
    /// for long, since with fewer cores than threads the writer may be waiting for this one.
    fn wait(&mut self) {
        self.empty += 1;
        if self.empty.is_multiple_of(10_000) {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    fn done(&self) -> bool {
        self.read >= READ && self.laps >= LAPS
    }

    /// One poll, checked entry by entry.
    fn poll(&mut self, consumer: &mut Consumer<WORDS>, out: &mut [[u64; WORDS]]) {
        let start = consumer.position();
        match consumer.poll(out) {
            Poll::Empty => self.wait(),
            Poll::Read(count) => {
                self.empty = 0;
                for (position, got) in (start..).zip(&out[..count]) {
                    assert_eq!(*got, entry(position), "torn entry at {position}");
                }
                self.read += count as u64;
            }
            Poll::Lapped(lost) => {
                self.lost += lost;
                self.laps += 1;
            }
        }
    }
}

/// Keeps up as it can; now and then it sleeps until it is lapped for certain.
fn follow(mut consumer: Consumer<WORDS>, room: usize) -> (Tally, Consumer<WORDS>) {
    let mut tally = Tally::default();
    let mut out = vec![[0; WORDS]; room];
    let start = consumer.position();
    while !tally.done() {
        let pause = tally.laps * READ < tally.read * LAPS;
        while pause && consumer.lag() <= SLOTS as u64 {
            // More threads than cores, perhaps: the writer must run for this to end.
            thread::yield_now();
        }
        tally.poll(&mut consumer, &mut out);
        assert_eq!(consumer.position(), start + tally.read + tally.lost);
    }
    (tally, consumer)
}

/// Stands where the writer is about to write, again and again: nearly every copy is a race.
fn provoke(handle: &Handle<WORDS>, room: usize) -> Tally {
    let mut tally = Tally::default();
    let mut out = vec![[0; WORDS]; room];
    for turn in 0.. {
        if tally.done() {
            break;
        }
        // From the entry under the pen to a few ahead of it: some of these copies are valid.
        let back = SLOTS as u64 - turn % (SLOTS as u64 - 1);
        let position = handle.position().saturating_sub(back);
        let mut consumer = handle.consumer_at(position).expect("a position of the past");
        tally.poll(&mut consumer, &mut out);
    }
    tally
}

/// Publishes at full speed, singly and in batches by turns, until `readers` have gone.
fn write(producer: &mut Producer<WORDS>, working: &AtomicUsize) {
    let mut batch = 0;
    while working.load(Ordering::Relaxed) > 0 {
        for _ in 0..64 {
            let position = producer.position();
            producer.publish(&entry(position));
            batch = (batch + 1) % (SLOTS / 4);
            let position = producer.position();
            producer.publish_iter((0..batch).map(|offset| entry(position + offset as u64)));
        }
    }
}

/// Counts a reader out even when it panics: the writer must not run for ever.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn no_reader_gets_a_torn_entry() {
    let (mut producer, handle) = channel::<WORDS>(SLOTS).expect("a small ring");
    let working = AtomicUsize::new(3);
    let written = AtomicBool::new(false);
    thread::scope(|scope| {
        for room in [1, SLOTS] {
            let consumer = handle.consumer();
            let (working, written) = (&working, &written);
            scope.spawn(move || {
                let (mut tally, mut consumer) = {
                    let _leaving = Leaving(working);
                    follow(consumer, room)
                };
                while !written.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                let mut out = vec![[0; WORDS]; room];
                while consumer.lag() > 0 {
                    tally.poll(&mut consumer, &mut out);
                }
                eprintln!(
                    "follower: {} read, {} lost in {} laps",
                    tally.read, tally.lost, tally.laps
                );
                assert_eq!(tally.read + tally.lost, consumer.position(), "every entry counted");
            });
        }
        scope.spawn(|| {
            let _leaving = Leaving(&working);
            let tally = provoke(&handle, 4);
            eprintln!("provoker: {} read, {} laps", tally.read, tally.laps);
        });
        write(&mut producer, &working);
        written.store(true, Ordering::Release);
    });
    assert_eq!(handle.position(), producer.position());
}
