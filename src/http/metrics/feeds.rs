//! What feeds bring, what the ingest makes of it, and what is kept of it on disk.

use std::sync::atomic::{AtomicU64, Ordering};

use tickcast_feeds::live::LiveStats;
use tickcast_feeds::record::{State, Stats};

use super::family::{Families, Kind};
use crate::http::{Plane, Spooled};
use crate::spool::Cause;

pub(super) fn gather(all: &mut Families, plane: &Plane) {
    let name = "tickcast_feed_ticks_total";
    let family = all.counter(name, "Ticks that a feed handed over.");
    for feed in &plane.feeds {
        family.with(&[("feed", &feed.name)], feed.ticks.load(Ordering::Relaxed));
    }
    let name = "tickcast_feed_rejected_total";
    let family = all.counter(name, "Messages of a feed kept out of the stream.");
    for feed in &plane.feeds {
        family.with(&[("feed", &feed.name)], feed.rejected.load(Ordering::Relaxed));
    }
    let family = all.gauge("tickcast_feed_up", "Whether a feed runs.");
    for feed in &plane.feeds {
        family.with(&[("feed", &feed.name)], *feed.state.lock() == "running");
    }
    let name = "tickcast_feed_idle_seconds";
    let family = all.gauge(name, "Time since a feed last handed ticks over, or began.");
    for feed in &plane.feeds {
        family.with(&[("feed", &feed.name)], feed.age().as_secs_f64());
    }
    live(all, plane);
    ingest(all, plane);
    recording(all, plane.recording.as_deref());
    if let Some(spooled) = &plane.spool {
        spool(all, spooled);
    }
    publishers(all, plane);
}

/// The connections of live feeds.
fn live(all: &mut Families, plane: &Plane) {
    type Get = fn(&LiveStats) -> &AtomicU64;
    let metrics: [(&str, &str, Kind, Get); 13] = [
        ("symbols", "Symbols that are subscribed to.", Kind::Gauge, |s| &s.symbols),
        ("links", "Connections that carry data.", Kind::Gauge, |s| &s.links),
        ("links_wanted", "Connections that should carry data.", Kind::Gauge, |s| &s.links_wanted),
        ("books_incomplete", "Books that wait for a snapshot.", Kind::Gauge, |s| &s.incomplete),
        ("connects_total", "Connections that came about.", Kind::Counter, |s| &s.connects),
        ("connect_failures_total", "Tries that led to no connection.", Kind::Counter, |s| {
            &s.connect_failures
        }),
        ("losses_total", "Connections that broke.", Kind::Counter, |s| &s.losses),
        ("replaced_total", "Connections replaced before their end.", Kind::Counter, |s| {
            &s.replaced
        }),
        ("messages_total", "Messages received.", Kind::Counter, |s| &s.messages),
        ("bytes_total", "Bytes of the messages received.", Kind::Counter, |s| &s.bytes),
        ("refused_total", "Requests that the venue refused.", Kind::Counter, |s| &s.refused),
        ("recoveries_total", "Books that were asked for anew.", Kind::Counter, |s| &s.recoveries),
        ("recovery_failures_total", "Books that were not to be had.", Kind::Counter, |s| {
            &s.recovery_failures
        }),
    ];
    let feeds = || plane.feeds.iter().filter_map(|feed| Some((feed, feed.live.as_ref()?)));
    if feeds().next().is_none() {
        return;
    }
    for (name, help, kind, get) in metrics {
        let family = all.begin(format!("tickcast_live_{name}"), help, kind);
        for (feed, stats) in feeds() {
            family.with(&[("feed", &feed.name)], get(stats).load(Ordering::Relaxed));
        }
    }
    let name = "tickcast_live_ignored_total";
    let family = all.counter(name, "Messages left out on purpose, by what they are.");
    for (feed, stats) in feeds() {
        for (what, count) in stats.ignored.lock().iter() {
            family.with(&[("feed", &feed.name), ("what", what)], *count);
        }
    }
}

fn ingest(all: &mut Families, plane: &Plane) {
    let help = "From a tick's receipt to the ring, the first tick of each batch.";
    all.histogram("tickcast_recv_to_ring_seconds", help).is(plane.to_ring.copy());
    let report = plane.ingest.lock().clone();
    for (name, help, value) in [
        ("tickcast_ingest_ticks_total", "Ticks published to the ring.", report.ticks),
        ("tickcast_ingest_duplicates_total", "Ticks dropped as already seen.", report.duplicates),
        (
            "tickcast_ingest_book_errors_total",
            "Book events that did not fit the book.",
            report.book_errors,
        ),
        (
            "tickcast_ingest_paced_total",
            "Times that a replay waited for the reactors.",
            report.paced,
        ),
        (
            "tickcast_ingest_late_trades_total",
            "Trades too late for a bar, per interval that they are missing from.",
            report.late_trades,
        ),
    ] {
        all.counter(name, help).is(value);
    }
}

/// Nothing where nothing is recorded.
fn recording(all: &mut Families, stats: Option<&Stats>) {
    let Some(stats) = stats else { return };
    let up = u64::from(stats.state() == State::Open);
    for (name, help, kind, value) in [
        ("tickcast_record_state", "1 while recording, 0 when it had to stop.", Kind::Gauge, up),
        ("tickcast_record_messages_total", "Messages recorded.", Kind::Counter, stats.messages()),
        (
            "tickcast_record_dropped_total",
            "Messages and events missing from the recording because the disk was too slow.",
            Kind::Counter,
            stats.dropped(),
        ),
        (
            "tickcast_record_bytes_total",
            "Bytes recorded, before compression.",
            Kind::Counter,
            stats.bytes(),
        ),
        (
            "tickcast_record_compressed_bytes_total",
            "Bytes of the recording's files.",
            Kind::Counter,
            stats.compressed(),
        ),
    ] {
        all.begin(name, help, kind).is(value);
    }
}

fn spool(all: &mut Families, spooled: &Spooled) {
    let stats = &spooled.stats;
    let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
    let failing = u64::from(stats.failing.load(Ordering::Relaxed));
    for (name, help, kind, value) in [
        ("bytes", "Bytes of what waits to be played.", Kind::Gauge, read(&stats.bytes)),
        ("segments", "Files of it.", Kind::Gauge, read(&stats.segments)),
        ("failing", "1 while the disk takes nothing.", Kind::Gauge, failing),
        ("written_bytes_total", "Bytes written.", Kind::Counter, read(&stats.written_bytes)),
        ("ticks_total", "Ticks written.", Kind::Counter, read(&stats.ticks)),
        ("lost_ticks_total", "Ticks missing, as far as known.", Kind::Counter, stats.lost()),
    ] {
        all.begin(format!("tickcast_spool_{name}"), help, kind).is(value);
    }
    let name = "tickcast_spool_gaps_total";
    let family = all.counter(name, "Places at which something is missing, by why.");
    for cause in Cause::ALL {
        family.with(&[("cause", &cause.as_str())], stats.gaps(cause));
    }
    let name = "tickcast_delayed_lag_seconds";
    let family = all.gauge(name, "By how much more than its delay a market is late.");
    for (delay_ms, lag_ms) in &spooled.lags {
        family.with(&[("delay", &(delay_ms / 1_000))], read(lag_ms) as f64 / 1e3);
    }
}

/// Nothing where nobody may publish.
fn publishers(all: &mut Families, plane: &Plane) {
    let Some(door) = &plane.publish else { return };
    let (connections, messages, refused) = door.counts();
    let help = "WebSockets of publishers at /v1/publish.";
    all.gauge("tickcast_publish_connections", help).is(connections);
    for (name, help, value) in [
        ("tickcast_publish_messages_total", "Messages of lines taken there.", messages),
        ("tickcast_publish_refused_total", "Requests there that were not read.", refused),
    ] {
        all.counter(name, help).is(value);
    }
}

#[cfg(test)]
mod tests {
    use tickcast_feeds::live::Tapped;
    use tickcast_feeds::record::{Recorder, Rotation};
    use tickcast_feeds::venue::Input;

    use super::super::text;
    use super::*;

    #[test]
    fn a_recording_that_stopped_is_told() {
        let name = format!("tickcast-metrics-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let rotation = Rotation { bytes: 1, age_ns: 1 };
        let recorder = Recorder::start(&folder, rotation, "test", 1, Box::new(|_| {})).unwrap();
        let stats = recorder.stats();
        let make = recorder.taps();
        let mut tap = make(Tapped { feed: "binance:*", venue: "binance" }).unwrap();
        let shown = || {
            let mut all = Families::default();
            recording(&mut all, Some(&stats));
            text::write(&all)
        };
        tap.keep(1, &Input::Message { link: 0, text: b"{}" });
        while stats.messages() == 0 {
            std::thread::yield_now();
        }
        let text = shown();
        assert!(text.contains("\ntickcast_record_state 1\n"), "{text}");
        assert!(text.contains("\ntickcast_record_messages_total 1\n"), "{text}");
        // Somebody has taken the next file's name.
        std::fs::write(recorder.directory().join("1-binance.0002.zst"), "").unwrap();
        tap.keep(2, &Input::Message { link: 0, text: b"{}" });
        recorder.close();
        std::fs::remove_dir_all(&folder).unwrap();
        let text = shown();
        assert!(text.contains("\ntickcast_record_state 0\n"), "{text}");
        assert!(text.contains("\ntickcast_record_messages_total 1\n"), "{text}");
        let mut nothing = Families::default();
        recording(&mut nothing, None);
        assert_eq!(text::write(&nothing), "");
    }
}
