//! The command line of the load generator: parse, run, report, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use tickcast_loadtest::args::Args;
use tickcast_loadtest::{RunError, report, run};

/// A threshold failed.
const FAILED: u8 = 1;
/// Wrong usage, as clap has it.
const USAGE: u8 = 2;
/// The run could not be done.
const BROKEN: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    match run::run(&args).and_then(|outcome| report::write_files(&args, &outcome).map(|()| outcome))
    {
        Ok(outcome) => {
            print!("{}", report::table::render(&outcome.summary));
            if outcome.summary.failed.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FAILED)
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, RunError::Args(_)) { USAGE } else { BROKEN })
        }
    }
}
