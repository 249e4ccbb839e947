//! A spool as it may be found on disk, and what is played of it, for the fuzz target `spool`. Not for any other use.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tickcast_feeds::{
    Decimal, InstrumentId, Instruments, Kind, Side, SinkClosed, Stamp, Tick, Trade,
};

use super::format::{self, Head, Listed};
use super::script::Script;
use super::segments::{Next, Segments};
use super::{Cause, Stats};

/// Room for any of it.
const MOST: u64 = 1 << 30;
const BOOT: &str = "boot";
/// The number of the trade that is played last.
const LAST: u64 = 77;

/// What was played of a spool.
#[derive(Debug)]
pub struct Played {
    /// What a delayed market was handed.
    pub ticks: Vec<Tick>,
    /// Places at which something was found damaged.
    pub damaged: u64,
}

/// Plays a spool in this directory: a file that is nothing but `bytes`, one in which they follow a head that is right,
/// and one that is as it was written. `framed` are records, and are put into a frame that is right.
///
/// Whatever they are, all of the last file is played, and nothing of what nobody listed.
///
/// # Errors
/// A directory that cannot be written.
pub fn play(directory: &Path, bytes: &[u8], framed: bool) -> io::Result<Played> {
    let bytes = if framed { frame(bytes)? } else { bytes.to_vec() };
    let files = [bytes.clone(), [opening(1)?, bytes].concat(), [opening(2)?, ending()?].concat()];
    for (number, file) in (1..).zip(files) {
        fs::write(directory.join(format!("{number:012}.spool")), file)?;
    }
    let stats = Arc::new(Stats::default());
    let segments = Segments::open(directory, MOST, BOOT, Arc::clone(&stats))?;
    let instruments = Arc::new(Instruments::new());
    let mut script = Script::new(Arc::clone(&instruments));
    let (mut reader, mut raw, mut ticks) = (segments.reader()?, Vec::new(), Vec::new());
    let mut hand = |_: u16, more: Vec<Tick>| {
        ticks.extend(more);
        Ok(())
    };
    loop {
        let played: Result<(), SinkClosed> = match reader.next(&mut raw) {
            Next::Frame => script.frame(&raw, &mut |_| Ok(()), &mut hand),
            Next::Gap => script.lose(&mut hand),
            Next::Missing(_) | Next::Nothing => break,
        };
        assert!(played.is_ok(), "everything is taken");
    }
    let is_listed = |tick: &Tick| tick.instrument.index() < instruments.len();
    assert!(ticks.iter().all(is_listed), "a tick of nobody");
    let last = ticks.last().map(|tick| (tick.kind, tick.seq));
    assert_eq!(last, Some((Kind::Trade, LAST)), "the last file is not played");
    Ok(Played { ticks, damaged: stats.gaps(Cause::Damaged) })
}

fn frame(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.include_checksum(true)?;
    let mut out = Vec::new();
    format::pack(raw, &mut compressor, &mut out)?;
    Ok(out)
}

fn opening(run: u64) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    format::put_head(&mut raw, &Head { boot: BOOT.to_owned(), run }, 0);
    frame(&raw)
}

/// A symbol and its trade.
fn ending() -> io::Result<Vec<u8>> {
    let instruments = Instruments::new();
    instruments.list("sim", "LAST", "LAST", "USD");
    let listed: Vec<Listed> =
        instruments.since(0).iter().map(|info| Listed::from(&**info)).collect();
    let price = Decimal::new(1, 0);
    let trade = Trade { price, size: price, id: LAST, side: Side::Buy };
    let tick = Tick::trade(InstrumentId(0), Stamp { event: 0, recv: 1, seq: LAST }, &trade);
    let mut raw = Vec::new();
    format::put_listed(&mut raw, true, &listed, 0);
    format::put_ticks(&mut raw, false, 0, &[tick], 0);
    frame(&raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(bytes: &[u8], framed: bool) -> (usize, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let played = play(folder.path(), bytes, framed).expect("plays");
        (played.ticks.len(), played.damaged)
    }

    #[test]
    fn what_is_right_is_played_and_damage_is_told() {
        assert_eq!(played(b"", false), (1, 0));
        assert_eq!(played(b"no frame", false), (1, 1));
        // Records that are none: the frame is right.
        assert_eq!(played(b"no record", true), (1, 0));
        let whole = ending().expect("packs");
        assert_eq!(played(&whole, false).1, 0);
        // What the file behind it lists is another start's, so both trades are told, and the gap between.
        assert_eq!(played(&whole, false).0, 3);
        assert_eq!(played(&whole[..whole.len() - 1], false), (1, 1));
    }
}
