//! Recordings whose process is killed, or whose disk is full. The process is this program again,
//! told by a variable what to do.

mod record;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use record::{ENDLESS, Owned, data_files, read, start, tap};
use tempfile::tempdir;
use tickcast_feeds::record::{Hole, Manifest, Recording, Rotation, State};

/// Where the child is to record.
const WHERE: &str = "TICKCAST_TEST_RECORDING";

/// Nothing takes longer on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// This program, to run one of its ignored tests below `parent`; after what `prefix` has set up.
fn child(prefix: &[&str], test: &str, parent: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words = prefix.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    words.push(program.display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--ignored", "--exact", "--nocapture", test]);
    command.env(WHERE, parent);
    command
}

fn told() -> Option<PathBuf> {
    std::env::var_os(WHERE).map(PathBuf::from)
}

/// A message that says which one it is and hardly compresses.
fn numbered(n: u64, len: usize) -> Owned {
    let mut state = n;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + ((state >> 33) % 64) as u8)
    };
    Owned::message(0, &format!("{n} {}", (0..len).map(step).collect::<String>()))
}

/// How many messages a recording holds, which must be the first ones; holes are not counted.
fn first_messages(directory: &Path, len: usize) -> u64 {
    let (records, sink) = read(directory, 0);
    let torn = |record: &Owned| matches!(record, Owned::Hole(Hole::Torn { .. }));
    assert!(sink.rejects.len() <= 1, "{:?}", sink.rejects);
    let messages = records.iter().filter(|(_, record)| !torn(record));
    messages.zip(0..).map(|((_, record), n)| assert_eq!(*record, numbered(n, len))).count() as u64
}

#[test]
fn what_was_written_before_a_kill_is_readable() {
    let parent = tempdir().unwrap();
    let mut child =
        child(&[], "child_records_for_ever", parent.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut written = lines.filter_map(|line| line.strip_prefix("written ")?.parse::<u64>().ok());
    let sure = written.nth(3).unwrap();
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let directory = Recording::find(parent.path()).unwrap().unwrap();
    let readable = first_messages(&directory, 50);
    assert!(readable >= sure, "{readable} of {sure}");
    assert!(data_files(&directory).len() > 1);
    let manifest = Manifest::read(&directory).unwrap().unwrap();
    assert_eq!(manifest.state, State::Open);
    // A bare end of a file is no harm either.
    let last = data_files(&directory).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
    assert!(first_messages(&directory, 50) < readable);
}

#[test]
#[ignore = "the child of a test"]
fn child_records_for_ever() {
    let Some(parent) = told() else { return };
    let (recorder, _) = start(&parent, Rotation { bytes: 200_000, age_ns: u64::MAX });
    let stats = recorder.stats();
    let mut tap = tap(&recorder, "binance");
    let mut told = 0;
    let until = Instant::now() + PATIENCE;
    for n in 0.. {
        tap.keep(record::START + n, &numbered(n, 50).input());
        while n > stats.messages() + 20_000 {
            std::thread::park_timeout(Duration::from_millis(1)); // else it would drop some
        }
        if Instant::now() > until {
            return; // nobody kills it
        }
        if stats.messages() > told {
            told = stats.messages();
            println!("written {told}");
        }
    }
}

/// What `ulimit -f` allows, KiB.
const LIMIT_KIB: u64 = 256;

/// A file that may not grow: the kernel answers EFBIG, by the same way as ENOSPC.
#[test]
fn a_limit_on_files_stops_the_recording_and_nothing_else() {
    let parent = tempdir().unwrap();
    let limit = format!("trap '' XFSZ; ulimit -f {LIMIT_KIB}; exec \"$@\"");
    let prefix = ["bash", "-c", &limit, "bash"];
    let done = child(&prefix, "child_fills_the_disk", parent.path()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains("File too large (os error 27)"), "{text}");
    // What was written is cut at the last whole frame.
    let directory = Recording::find(parent.path()).unwrap().unwrap();
    assert!(first_messages(&directory, 1_000) > 0);
    assert_eq!(read(&directory, 0).1.rejects, []);
    let manifest = Manifest::read(&directory).unwrap().unwrap();
    assert_eq!(manifest.state, State::Stopped);
    assert!(manifest.error.unwrap().contains("1-binance.0001.zst"));
}

/// A disk of 256 KiB, where users may make file systems of their own in a namespace.
#[test]
fn a_full_disk_stops_the_recording_and_nothing_else() {
    let parent = tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=256k tmpfs \"$TICKCAST_TEST_RECORDING\" && exec \"$@\"";
    let prefix = ["unshare", "-rm", "bash", "-c", mount, "bash"];
    let can = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "tmpfs"])
        .arg(parent.path())
        .output();
    if !can.is_ok_and(|can| can.status.success()) {
        eprintln!("SKIPPED: no file system can be mounted here (unshare -rm mount)");
        return;
    }
    let done = child(&prefix, "child_fills_the_disk", parent.path()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains("No space left on device (os error 28)"), "{text}");
}

#[test]
#[ignore = "the child of a test"]
fn child_fills_the_disk() {
    let Some(parent) = told() else { return };
    let (recorder, stopped) = start(&parent, ENDLESS);
    let stats = recorder.stats();
    let mut tap = tap(&recorder, "binance");
    let until = Instant::now() + PATIENCE;
    let mut n = 0;
    while stats.state() == State::Open {
        assert!(Instant::now() < until, "the disk does not fill");
        // One frame at a time, so that some fit.
        let before = stats.messages();
        for _ in 0..50 {
            tap.keep(record::START + n, &numbered(n, 1_000).input());
            n += 1;
        }
        while stats.state() == State::Open && stats.messages() == before {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    // The feed does not notice.
    let dropped = stats.dropped();
    tap.keep(record::START + n, &numbered(n, 1_000).input());
    assert_eq!((stats.state(), stats.dropped()), (State::Stopped, dropped));
    let directory = recorder.directory().to_owned();
    recorder.close();
    assert!(first_messages(&directory, 1_000) >= stats.messages());
    println!("{}", stopped.lock().unwrap().take().unwrap());
}

#[test]
fn why_it_stopped_is_told_once() {
    let parent = tempdir().unwrap();
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let on_stop = Box::new(move |_: &_| *count.lock().unwrap() += 1);
    let recorder = tickcast_feeds::record::Recorder::start(
        parent.path(),
        ENDLESS,
        "tickcast test",
        record::START,
        on_stop,
    )
    .unwrap();
    let mut tap = tap(&recorder, "binance");
    // Somebody has taken the file's name.
    std::fs::write(recorder.directory().join("1-binance.0001.zst"), "mine").unwrap();
    tap.keep(record::START, &numbered(0, 10).input());
    let stats = recorder.stats();
    recorder.close();
    assert_eq!((stats.state(), *told.lock().unwrap()), (State::Stopped, 1));
}
