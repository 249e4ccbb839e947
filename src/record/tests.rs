//! Recording a feed that is none, from its start to its end.

use std::path::PathBuf;
use std::time::Duration;

use tickcast_feeds::live::Tapped;
use tickcast_feeds::record::Recording;
use tickcast_feeds::venue::Input;
use tickcast_feeds::{FeedError, Listing, RunContext, Sink, VecSink};

use super::*;
use crate::cli;
use crate::config::{self, Machine};

/// A feed that receives ten messages and then nothing, until it is to stop; or ends.
struct Ten {
    ends: bool,
}

impl Feed for Ten {
    fn name(&self) -> String {
        "binance:BTCUSDT".to_owned()
    }

    fn thread_name(&self) -> String {
        "ten".to_owned()
    }

    fn lossless(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, _: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        let mut tap = context.tap(Tapped { feed: &self.name(), venue: "binance" }).unwrap();
        tap.listed(&[Listing::pair("BTCUSDT", "BTC", "USDT")]);
        for n in 0..10 {
            tap.keep(1_000 + n, &Input::Message { link: 0, text: b"{}" });
        }
        while !self.ends && !context.stop.is_stopped() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> Folder {
    let name = format!("tickcast-record-{}-{name}", std::process::id());
    Folder(std::env::temp_dir().join(name))
}

fn record(folder: &Folder, ends: bool, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Ok(cli::Action::Serve(settings)) = cli::parse(["tickcast".into()]) else { panic!() };
    let mut config = config::load(settings, &Machine::probe()).unwrap().config;
    config.record.directory = Some(folder.0.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run_feeds(&config, &Arc::default(), vec![Box::new(Ten { ends })], stop))
}

fn messages(folder: &Folder) -> u64 {
    let Ok(Some(directory)) = Recording::find(&folder.0) else { return 0 };
    // The manifest's count of a file that is open lags behind.
    let Ok(recording) = Recording::open(&directory) else { return 0 };
    let (mut reader, mut messages) = (recording.feeds()[0].reader(), 0);
    reader.advance(&mut VecSink::default());
    while reader.recv().is_some() {
        messages += 1;
        reader.advance(&mut VecSink::default());
    }
    messages
}

#[test]
fn a_signal_ends_it_in_order() {
    let folder = folder("signal");
    let stop = async {
        while messages(&folder) < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    record(&folder, false, stop).unwrap();
    let directory = Recording::find(&folder.0).unwrap().unwrap();
    let recording = Recording::open(&directory).unwrap();
    assert_eq!(recording.manifest().state, State::Closed);
    assert!(recording.manifest().written_by.starts_with("tickcast 0."));
    assert_eq!(recording.feeds()[0].listings[0].native, "BTCUSDT");
}

#[test]
fn the_end_of_all_feeds_ends_it_with_an_error() {
    let folder = folder("ends");
    let error = record(&folder, true, std::future::pending()).unwrap_err();
    assert!(error.to_string().contains("every feed has ended"), "{error}");
    assert_eq!(messages(&folder), 10);
}

#[test]
fn a_disk_that_fails_ends_it_with_an_error() {
    let folder = folder("fails");
    // Something has the name of the feed's file as soon as the directory is there.
    let spoil = folder.0.clone();
    let spoiler = std::thread::spawn(move || {
        loop {
            for entry in std::fs::read_dir(&spoil).into_iter().flatten().flatten() {
                let taken = entry.path().join("1-binance.0001.zst");
                if std::fs::create_dir(taken).is_ok() {
                    return;
                }
            }
            std::thread::yield_now();
        }
    });
    let result = record(&folder, false, async {
        while !spoiler.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending().await
    });
    spoiler.join().unwrap();
    let error = result.unwrap_err();
    assert!(error.to_string().contains("recording stopped"), "{error}");
}
