//! The ring against an oracle, the edges of its API, and a few threads. `scripts/miri` runs these too.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Consumer, MAX_SLOTS, Poll, Producer, RingError, channel};

/// Every word a function of the position, none the zero of a fresh slot.
fn entry(position: u64) -> [u64; 3] {
    [position + 1, !position, position.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1]
}

fn entries(from: u64, count: u64) -> Vec<[u64; 3]> {
    (from..from + count).map(entry).collect()
}

/// What the ring must do: the entries it still holds, and where every reader stands.
struct Oracle {
    slots: u64,
    tail: u64,
    held: VecDeque<[u64; 3]>,
    readers: Vec<u64>,
}

impl Oracle {
    fn publish(&mut self, entry: [u64; 3]) {
        self.held.push_back(entry);
        if self.held.len() as u64 > self.slots {
            self.held.pop_front();
        }
        self.tail += 1;
    }

    /// What the reader must find. Between the history that is promised and the slots there are,
    /// both answers are right: `lapped` says which one the ring gave.
    fn poll(&mut self, reader: usize, room: usize, lapped: bool) -> (Poll, Vec<[u64; 3]>) {
        let oldest = self.tail - self.held.len() as u64;
        let next = &mut self.readers[reader];
        let lost = self.tail - *next;
        let promised = self.slots - (self.slots / 8).max(1);
        if *next < oldest || (lapped && lost > promised) {
            *next = self.tail;
            return (Poll::Lapped(lost), Vec::new());
        }
        let skip = (*next - oldest) as usize;
        let found: Vec<_> = self.held.iter().skip(skip).take(room).copied().collect();
        *next += found.len() as u64;
        (if found.is_empty() { Poll::Empty } else { Poll::Read(found.len()) }, found)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    Batch(u64),
    Poll { reader: usize, room: usize },
    Join,
    JoinAt(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Publish),
        3 => (0_u64..80).prop_map(Step::Batch),
        8 => (0_usize..8, 0_usize..160).prop_map(|(reader, room)| Step::Poll { reader, room }),
        1 => Just(Step::Join),
        1 => (0_u64..160).prop_map(Step::JoinAt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_oracle_says(
        power in 1_u32..8,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let slots = 1_usize << power;
        let (mut producer, handle) = channel::<3>(slots).expect("a small ring");
        let mut consumers: Vec<Consumer<3>> = vec![handle.consumer()];
        let mut oracle =
            Oracle { slots: slots as u64, tail: 0, held: VecDeque::new(), readers: vec![0] };
        for step in steps {
            match step {
                Step::Publish => {
                    let entry = entry(oracle.tail);
                    prop_assert_eq!(producer.publish(&entry), oracle.tail);
                    oracle.publish(entry);
                }
                Step::Batch(count) => {
                    let batch = entries(oracle.tail, count);
                    prop_assert_eq!(producer.publish_batch(&batch), oracle.tail);
                    batch.into_iter().for_each(|entry| oracle.publish(entry));
                }
                Step::Poll { reader, room } => {
                    let reader = reader % consumers.len();
                    let mut out = vec![[0; 3]; room];
                    let found = consumers[reader].poll(&mut out);
                    let (expected, read) = oracle.poll(reader, room, matches!(found, Poll::Lapped(_)));
                    prop_assert_eq!(found, expected);
                    prop_assert_eq!(&out[..read.len()], &read[..]);
                }
                Step::Join => {
                    consumers.push(handle.consumer());
                    oracle.readers.push(oracle.tail);
                }
                Step::JoinAt(back) => {
                    let position = oracle.tail.saturating_sub(back);
                    consumers.push(handle.consumer_at(position).expect("published"));
                    oracle.readers.push(position);
                }
            }
            prop_assert_eq!(producer.position(), oracle.tail);
            prop_assert_eq!(handle.position(), oracle.tail);
            for (consumer, next) in consumers.iter().zip(&oracle.readers) {
                prop_assert_eq!(consumer.position(), *next);
                prop_assert_eq!(consumer.lag(), oracle.tail - next);
            }
        }
    }
}

#[test]
fn refuses_slots_it_cannot_index() {
    for slots in [0, 1, 3, 100, MAX_SLOTS + 1, MAX_SLOTS * 2, usize::MAX] {
        let refused = channel::<8>(slots).expect_err("not a power of two, or out of range");
        assert!(matches!(refused, RingError::Slots { slots: named } if named == slots));
        assert_eq!(
            refused.to_string(),
            format!("ring of {slots} slots: expected a power of two from 2 to 67108864")
        );
    }
}

#[test]
fn refuses_to_start_ahead_of_the_tail() {
    let (mut producer, handle) = channel::<3>(4).expect("a small ring");
    producer.publish(&entry(0));
    assert!(handle.consumer_at(1).is_ok());
    let refused = handle.consumer_at(2).expect_err("nothing there yet");
    assert!(matches!(refused, RingError::Ahead { position: 2, tail: 1 }));
}

#[test]
fn a_reader_goes_back_as_far_as_the_history_reaches() {
    let (mut producer, handle) = channel::<3>(64).expect("a ring");
    (0..200).for_each(|position| {
        producer.publish(&entry(position));
    });
    let mut consumer = handle.consumer();
    assert!(consumer.seek(201).is_err());
    assert_eq!((consumer.position(), consumer.oldest()), (200, 144));
    consumer.seek(consumer.oldest()).expect("published");
    let mut fork = consumer.fork();
    let mut out = [[0; 3]; 64];
    assert_eq!(consumer.poll(&mut out), Poll::Read(56));
    assert_eq!(out[0], entry(144));
    assert_eq!((consumer.position(), fork.position()), (200, 144));
    assert_eq!(fork.poll(&mut out[..1]), Poll::Read(1));
    consumer.seek(100).expect("published");
    assert_eq!(consumer.poll(&mut out), Poll::Lapped(100));
}

#[test]
fn seven_eighths_are_history_and_more_than_the_slots_are_a_lap() {
    let (mut producer, handle) = channel::<3>(64).expect("a small ring");
    let mut out = [[0; 3]; 64];
    for published in 0..200 {
        let mut consumer = handle.consumer();
        for _ in 0..56 {
            producer.publish(&entry(producer.position()));
        }
        assert_eq!(consumer.lag(), 56);
        assert_eq!(consumer.poll(&mut out), Poll::Read(56));
        assert_eq!(out[..56], entries(57 * published, 56));
        producer.publish(&entry(producer.position()));
    }
    let mut consumer = handle.consumer_at(producer.position() - 65).expect("published");
    assert_eq!(consumer.poll(&mut out), Poll::Lapped(65));
    assert_eq!(consumer.poll(&mut out), Poll::Empty);
    producer.publish(&entry(11_400));
    assert_eq!(consumer.poll(&mut out), Poll::Read(1));
    assert_eq!(out[0], entry(11_400));
}

/// Gives `given` entries while it announces `announced`; panics instead of ending if `panics`.
struct Liar {
    position: u64,
    given: u64,
    announced: usize,
    panics: bool,
}

impl Iterator for Liar {
    type Item = [u64; 3];

    fn next(&mut self) -> Option<Self::Item> {
        if self.given == 0 {
            assert!(!self.panics, "out of entries");
            return None;
        }
        self.given -= 1;
        self.position += 1;
        Some(entry(self.position - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.announced, Some(self.announced))
    }
}

impl ExactSizeIterator for Liar {}

fn publish_liar(producer: &mut Producer<3>, given: u64, announced: usize, panics: bool) {
    producer.publish_iter(Liar { position: producer.position(), given, announced, panics });
}

#[test]
fn an_iterator_whose_length_lies_is_taken_at_the_lesser() {
    let (mut producer, handle) = channel::<3>(16).expect("a small ring");
    let mut consumer = handle.consumer();
    publish_liar(&mut producer, 3, 8, false);
    assert_eq!(producer.position(), 3);
    publish_liar(&mut producer, 8, 3, false);
    assert_eq!(producer.position(), 6);
    let mut out = [[0; 3]; 16];
    assert_eq!(consumer.poll(&mut out), Poll::Read(6));
    assert_eq!(out[..6], entries(0, 6));
}

#[test]
fn a_panic_in_the_iterator_publishes_none_of_its_batch() {
    let (mut producer, handle) = channel::<3>(16).expect("a small ring");
    producer.publish_batch(&entries(0, 16));
    let mut oldest = handle.consumer_at(0).expect("published");
    let mut newer = handle.consumer_at(2).expect("published");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        publish_liar(&mut producer, 1, 2, true);
    }));
    assert!(panicked.is_err());
    assert_eq!(producer.position(), 16);
    let mut out = [[0; 3]; 32];
    // The batch had announced two entries and overwritten one: both are gone for the readers.
    assert_eq!(oldest.poll(&mut out), Poll::Lapped(16));
    assert_eq!(newer.poll(&mut out), Poll::Read(14));
    assert_eq!(out[..14], entries(2, 14));
    producer.publish(&entry(16));
    assert_eq!(newer.poll(&mut out), Poll::Read(1));
    assert_eq!(out[0], entry(16));
}

#[test]
fn a_batch_beyond_the_lead_is_announced_whole() {
    let (mut producer, handle) = channel::<3>(1024).expect("a small ring");
    producer.publish_batch(&entries(0, 1024));
    let mut under_the_pen = handle.consumer_at(100).expect("published");
    let mut beyond = handle.consumer_at(128).expect("published");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        publish_liar(&mut producer, 110, 128, true);
    }));
    assert!(panicked.is_err());
    let mut out = [[0; 3]; 4];
    assert_eq!(under_the_pen.poll(&mut out), Poll::Lapped(924));
    assert_eq!(beyond.poll(&mut out), Poll::Read(4));
    assert_eq!(out[..], entries(128, 4));
}

/// So few entries that miri comes to the end of them, with its threads in any order and with whatever a relaxed load may
/// return; `tests/ring_torn.rs` is for real threads.
#[test]
fn readers_on_other_threads_get_whole_entries_or_a_lap() {
    const ENTRIES: u64 = 120;
    let (mut producer, handle) = channel::<3>(8).expect("a small ring");
    std::thread::scope(|scope| {
        for room in [1, 3, 8] {
            let mut consumer = handle.consumer();
            scope.spawn(move || {
                let mut out = [[0; 3]; 8];
                while consumer.position() < ENTRIES {
                    let next = consumer.position();
                    let came = match consumer.poll(&mut out[..room]) {
                        Poll::Read(count) => {
                            assert_eq!(out[..count], entries(next, count as u64));
                            count as u64
                        }
                        Poll::Lapped(lost) => lost,
                        Poll::Empty => 0,
                    };
                    assert_eq!(consumer.position(), next + came);
                    std::thread::yield_now();
                }
            });
        }
        while producer.position() < ENTRIES {
            producer.publish(&entry(producer.position()));
            producer.publish_batch(&entries(producer.position(), 2));
            std::thread::yield_now();
        }
    });
}

#[test]
fn the_ends_cross_threads() {
    fn crosses<T: Send>() {}
    fn shared<T: Send + Sync + Clone>() {}
    crosses::<Producer<8>>();
    crosses::<Consumer<8>>();
    shared::<super::Handle<8>>();
}
