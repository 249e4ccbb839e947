//! The ring in numbers: nanoseconds per entry published and per entry read, with 0..N readers.
//!
//! `cargo bench --bench ring`. Every figure is per entry of eight words (a tick). With more threads
//! than cores the figures are those of the scheduler: read them with the core count in mind.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickcast::ring::{Consumer, Handle, Poll, Producer, channel};

const WORDS: usize = 8;
const SLOTS: usize = 1 << 16;
const BATCH: usize = 64;
const READERS: [usize; 4] = [0, 1, 2, 4];

fn ring() -> (Producer<WORDS>, Handle<WORDS>) {
    channel(SLOTS).expect("a valid ring")
}

/// Criterion's first samples ask for a handful of entries, whose time would be that of starting the
/// threads: the threaded figures are taken over at least this many, then scaled.
const LEAST: u64 = 1 << 20;

/// What `wanted` entries take, from what `measured` entries took.
fn scaled(elapsed: Duration, wanted: u64, measured: u64) -> Duration {
    elapsed.mul_f64(wanted as f64 / measured as f64)
}

/// Reads and drops until told to stop.
fn follow(mut consumer: Consumer<WORDS>, stop: &AtomicBool) {
    let mut out = vec![[0; WORDS]; BATCH];
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(&mut out) {
            Poll::Read(count) => drop(black_box(&out[..count])),
            Poll::Empty => spin_loop(),
            Poll::Lapped(_) => {}
        }
    }
}

/// Runs `timed` while `readers` threads follow the ring.
fn beside_readers(
    handle: &Handle<WORDS>,
    readers: usize,
    timed: impl FnOnce() -> Duration,
) -> Duration {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..readers {
            let consumer = handle.consumer();
            scope.spawn(|| follow(consumer, &stop));
        }
        let elapsed = timed();
        stop.store(true, Ordering::Relaxed);
        elapsed
    })
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/publish");
    group.throughput(Throughput::Elements(1));
    for readers in READERS {
        group.bench_function(BenchmarkId::new("single", readers), |bencher| {
            bencher.iter_custom(|wanted| {
                let entries = wanted.max(LEAST);
                let (mut producer, handle) = ring();
                let elapsed = beside_readers(&handle, readers, || {
                    let begin = Instant::now();
                    for word in 0..entries {
                        producer.publish(black_box(&[word; WORDS]));
                    }
                    begin.elapsed()
                });
                scaled(elapsed, wanted, entries)
            });
        });
        group.bench_function(BenchmarkId::new("batch_64", readers), |bencher| {
            let batch = [[7; WORDS]; BATCH];
            bencher.iter_custom(|wanted| {
                let batches = wanted.max(LEAST).div_ceil(BATCH as u64);
                let (mut producer, handle) = ring();
                let elapsed = beside_readers(&handle, readers, || {
                    let begin = Instant::now();
                    for _ in 0..batches {
                        producer.publish_batch(black_box(&batch));
                    }
                    begin.elapsed()
                });
                scaled(elapsed, wanted, batches * BATCH as u64)
            });
        });
    }
    group.finish();
}

/// One reader's time over a full ring whose writer is silent, in the cache or not as it comes.
fn read_full(bencher: &mut criterion::Bencher<'_>, slots: usize, room: usize) {
    let (mut producer, handle) = channel::<WORDS>(slots).expect("a valid ring");
    producer.publish_iter((0..slots).map(|word| [word as u64; WORDS]));
    let mut out = vec![[0; WORDS]; room];
    bencher.iter_custom(|entries| {
        let begin = Instant::now();
        let mut left = entries;
        while left > 0 {
            let mut consumer = handle.consumer_at(0).expect("published");
            while let Poll::Read(count) = consumer.poll(&mut out) {
                black_box(&out);
                left = left.saturating_sub(count as u64);
                if left == 0 {
                    break;
                }
            }
        }
        begin.elapsed()
    });
}

/// The time of one reader to get entries from a writer at full speed, with others beside it.
fn read_live(bencher: &mut criterion::Bencher<'_>, readers: usize) {
    bencher.iter_custom(|wanted| {
        let entries = wanted.max(LEAST);
        let (mut producer, handle) = ring();
        let mut consumer = handle.consumer();
        let writing = AtomicBool::new(true);
        thread::scope(|scope| {
            let writing = &writing;
            scope.spawn(move || {
                let batch = [[7; WORDS]; BATCH];
                while writing.load(Ordering::Relaxed) {
                    producer.publish_batch(black_box(&batch));
                }
            });
            let elapsed = beside_readers(&handle, readers - 1, || {
                let mut out = vec![[0; WORDS]; BATCH];
                while handle.position() == 0 {
                    spin_loop();
                }
                let begin = Instant::now();
                let mut left = entries;
                while left > 0 {
                    if let Poll::Read(count) = consumer.poll(&mut out) {
                        black_box(&out);
                        left = left.saturating_sub(count as u64);
                    }
                }
                begin.elapsed()
            });
            writing.store(false, Ordering::Relaxed);
            scaled(elapsed, wanted, entries)
        })
    });
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/read");
    group.throughput(Throughput::Elements(1));
    for room in [1, 8, BATCH, 256] {
        group.bench_function(BenchmarkId::new("in_cache", room), |bencher| {
            read_full(bencher, 256, room);
        });
    }
    group.bench_function(BenchmarkId::new("from_memory", BATCH), |bencher| {
        read_full(bencher, SLOTS, BATCH);
    });
    for readers in [1, 2, 4] {
        group.bench_function(BenchmarkId::new("live", readers), |bencher| {
            read_live(bencher, readers);
        });
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = short();
    targets = publish, read
}
criterion_main!(benches);
