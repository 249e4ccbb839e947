//! The ring under loom: every interleaving and every value that a relaxed load may return, for
//! rings small enough to be exhausted (two readers: with at most three preemptions). Run by
//! `scripts/loom`.
//!
//! loom models the two fences that the ring uses: a release fence snapshots what later relaxed
//! stores publish, an acquire fence synchronises with every store that the thread has read. It
//! does not model a load that returns a store of the future, on which nothing here relies.
//!
//! These mutations were tried, one at a time, and every one made tests here fail:
//! - the intent stored after the words;
//! - the release fence removed, put before the store of the intent, or replaced by a release store;
//! - the acquire fence removed;
//! - the tail stored relaxed; the tail loaded relaxed;
//! - the tail stored before the words;
//! - no validation of the copy; validation before the copy, or off by one;
//! - a batch that announces only its first entry; an announcement that comes one entry late.
//!
//! Of those run against it too, the stress in `tests/ring_torn.rs` caught the ones that are wrong
//! on any machine (intent after words, no validation, validation off by one). On x86-64, whose
//! stores and loads keep their order, it did not notice the missing fences and the relaxed tail:
//! that is what loom is for.

use loom::thread;

use super::{Consumer, Poll, Producer, channel};

/// Every word a function of the position, none the zero of a fresh slot.
fn entry(position: u64) -> [u64; 2] {
    [position + 1, !position]
}

/// One poll, whose every entry must be the one at the consumer's position.
fn poll(consumer: &mut Consumer<2>, room: usize) -> Poll {
    let mut out = [[0; 2]; 2];
    let start = consumer.position();
    let found = consumer.poll(&mut out[..room]);
    if let Poll::Read(count) = found {
        for (position, got) in (start..).zip(&out[..count]) {
            assert_eq!(*got, entry(position), "torn or stale entry at {position}");
        }
        assert_eq!(consumer.position(), start + count as u64);
    }
    if let Poll::Lapped(lost) = found {
        assert!(lost > 0);
        assert_eq!(consumer.position(), start + lost);
    }
    found
}

/// Reads to the end, which the caller knows to be in sight; every entry was read or lost.
fn drain(mut consumer: Consumer<2>, total: u64) {
    while poll(&mut consumer, 2) != Poll::Empty {}
    assert_eq!(consumer.position(), total);
}

fn publish(producer: &mut Producer<2>, count: u64) {
    for _ in 0..count {
        producer.publish(&entry(producer.position()));
    }
}

/// One reader polls an entry that the writer is about to overwrite, and again after it.
#[test]
fn one_reader_while_the_writer_wraps() {
    loom::model(|| {
        let (mut producer, handle) = channel::<2>(2).expect("a small ring");
        let mut consumer = handle.consumer();
        publish(&mut producer, 1);
        let reader = thread::spawn(move || {
            let _ = poll(&mut consumer, 2);
            let _ = poll(&mut consumer, 1);
            consumer
        });
        publish(&mut producer, 2);
        drain(reader.join().expect("the reader"), 3);
    });
}

/// Two readers, of which one stands on the entry being overwritten.
#[test]
fn two_readers_while_the_writer_wraps() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (mut producer, handle) = channel::<2>(2).expect("a small ring");
        publish(&mut producer, 1);
        let readers = [0, 1].map(|position| {
            let mut consumer = handle.consumer_at(position).expect("published");
            thread::spawn(move || {
                let _ = poll(&mut consumer, 2);
                let _ = poll(&mut consumer, 2);
                consumer
            })
        });
        publish(&mut producer, 2);
        for reader in readers {
            drain(reader.join().expect("a reader"), 3);
        }
    });
}

/// A reader that has read to the tail goes back to an entry which is about to be overwritten.
#[test]
fn a_reader_goes_back_while_the_writer_wraps() {
    loom::model(|| {
        let (mut producer, handle) = channel::<2>(2).expect("a small ring");
        publish(&mut producer, 1);
        let mut consumer = handle.consumer();
        let reader = thread::spawn(move || {
            let _ = poll(&mut consumer, 1);
            consumer.seek(0).expect("published");
            let _ = poll(&mut consumer, 2);
            consumer
        });
        publish(&mut producer, 2);
        drain(reader.join().expect("the reader"), 3);
    });
}

/// A batch overwrites the oldest entries under a reader who copies several at once, across the
/// end of the memory; what becomes visible is all of a batch or nothing.
#[test]
fn a_batch_is_visible_at_once() {
    loom::model(|| {
        let (mut producer, handle) = channel::<2>(16).expect("a small ring");
        assert_eq!(producer.max_batch(), 2);
        publish(&mut producer, 15);
        let mut oldest = handle.consumer_at(0).expect("published");
        let mut newest = handle.consumer();
        let reader = thread::spawn(move || {
            let _ = poll(&mut oldest, 2);
            let news = poll(&mut newest, 2);
            assert!(matches!(news, Poll::Empty | Poll::Read(2)), "half a batch: {news:?}");
            [oldest, newest]
        });
        producer.publish_batch(&[entry(15), entry(16)]);
        for consumer in reader.join().expect("the reader") {
            drain(consumer, 17);
        }
    });
}

/// One announcement covers several single entries: the second to be overwritten is none the less
/// known to the reader who stands on it.
#[test]
fn an_entry_under_an_earlier_announcement() {
    loom::model(|| {
        let (mut producer, handle) = channel::<2>(16).expect("a small ring");
        publish(&mut producer, 16);
        let mut consumer = handle.consumer_at(1).expect("published");
        let reader = thread::spawn(move || {
            let _ = poll(&mut consumer, 1);
            let _ = poll(&mut consumer, 1);
            consumer
        });
        publish(&mut producer, 2);
        drain(reader.join().expect("the reader"), 18);
    });
}
