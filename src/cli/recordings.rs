//! The flags of the commands about recordings.

use std::path::PathBuf;

use clap::Args;

use super::choice::{Choice, LOG_FORMAT, LOG_LEVEL};
use crate::config::units::{Bytes, Span};
use crate::limits;

/// The flags of `record`, as they were given: some of those of `serve`, under the same names.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// A venue to record, repeatable, as in --feed binance:BTCUSDT,ETHUSDT
    #[arg(long, value_name = "SPEC", required = true, env = "TICKCAST_FEED")]
    pub feed: Vec<String>,
    /// Compressed size at which a file is closed and the next one begun
    #[arg(long, value_name = "SIZE",
          default_value_t = Bytes(limits::RECORD_FILE_BYTES).to_string())]
    pub record_file_bytes: String,
    /// Time after which it is
    #[arg(long, value_name = "DURATION",
          default_value_t = Span(limits::RECORD_FILE_AGE).to_string())]
    pub record_file_age: String,
    /// Least severe messages to log, on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = Choice(LOG_LEVEL))]
    pub log_level: String,
    /// Form of the log lines
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = Choice(LOG_FORMAT))]
    pub log_format: String,
    /// Where to: a directory that is new, empty, or has recordings in it
    #[arg(value_name = "DIR")]
    pub record: String,
}

pub(super) const AFTER_RECORD: &str = "\
Each run makes a recording in a directory of its own below DIR, named after its start. Ends with
Ctrl-C, or when the disk is full. docs/RECORDING.md says what is in it and what a kill can cost.

Examples:
  tickcast record --feed binance:BTCUSDT,ETHUSDT rec
  tickcast inspect rec                              what it holds, gaps and rates
  tickcast --feed replay:rec,speed=20               serves it";

/// The flags of `inspect`, as they were given.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// What --feed replay: takes: a recording, a capture, or a directory of them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}

pub(super) const AFTER_INSPECT: &str = "\
Lines that begin with ! tell what is wrong. `gaps` are breaks in the chain of a book's diffs, `resyncs`
all times that a book was unknown, `down` how long it was, with + if it still was at the end.

Examples:
  tickcast inspect rec
  tickcast inspect --json rec | jq '.feeds[].symbols[] | select(.gaps > 0)'";
