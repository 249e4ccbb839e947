//! The command line that all have in common: `--listen ADDRESS:PORT --symbols N --rate N [WORD...]`.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What was asked for.
#[derive(Debug)]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Symbols of the feed, `sim:S0000-USD` and on.
    pub symbols: u32,
    /// Ticks per second over all symbols.
    pub rate: f64,
    /// The words that are no flags.
    pub words: Vec<String>,
}

impl Args {
    /// Reads the process's own, and allows it as many open files as it may have.
    ///
    /// # Errors
    /// An unknown flag, or a value that is none.
    pub fn read() -> anyhow::Result<Args> {
        let mut args = Args {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            symbols: 1,
            rate: 100.0,
            words: Vec::new(),
        };
        let mut texts = std::env::args().skip(1);
        while let Some(text) = texts.next() {
            let mut value = || texts.next().with_context(|| format!("{text} needs a value"));
            match text.as_str() {
                "--listen" => args.listen = value()?.parse().context("--listen")?,
                "--symbols" => args.symbols = value()?.parse().context("--symbols")?,
                "--rate" => args.rate = value()?.parse().context("--rate")?,
                flag if flag.starts_with('-') => {
                    bail!("unknown flag {flag}, expected --listen, --symbols or --rate")
                }
                _ => args.words.push(text),
            }
        }
        if args.symbols == 0 || args.rate.is_nan() || args.rate <= 0.0 {
            bail!("--symbols {} --rate {}: expected more than 0", args.symbols, args.rate);
        }
        allow_files();
        Ok(args)
    }
}

/// Raises the soft limit to the hard one; where that fails, accepting will say so.
fn allow_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
