//! The progress of a run, once a second: a line on stderr and a row of the report.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::control::{Control, monotonic_ns};
use crate::summary::Second;

/// Once a second: a line on stderr and a row of the series.
pub(crate) struct ProgressLine {
    control: Arc<Control>,
    quiet: bool,
    pub(crate) clients: usize,
    /// When the window begins, as soon as that is known, monotonic nanoseconds.
    pub(crate) window_start: Option<u64>,
    /// The window's seconds so far, and those just before and after it.
    pub(crate) seconds: Vec<Second>,
    last_at: u64,
    last: Totals,
}

#[derive(Clone, Default)]
struct Totals {
    updates: u64,
    other_updates: u64,
    gaps: u64,
    busy_ns: Vec<u64>,
}

impl ProgressLine {
    pub(crate) fn new(control: Arc<Control>, quiet: bool, clients: usize) -> Self {
        let last = Totals { busy_ns: vec![0; control.progress.len()], ..Totals::default() };
        ProgressLine {
            control,
            quiet,
            clients,
            window_start: None,
            seconds: Vec::new(),
            last_at: monotonic_ns(),
            last,
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for progress in &self.control.progress {
            totals.updates += progress.updates.load(Ordering::Relaxed);
            totals.other_updates += progress.other_updates.load(Ordering::Relaxed);
            totals.gaps += progress.gaps.load(Ordering::Relaxed);
            totals.busy_ns.push(progress.busy_ns.load(Ordering::Relaxed));
        }
        totals
    }

    /// Shows the last second, when one is over.
    pub(crate) fn show(&mut self, phase: &str) {
        let now = monotonic_ns();
        let elapsed = now - self.last_at;
        if elapsed < 1_000_000_000 {
            return;
        }
        let totals = self.totals();
        let per_second = |now: u64, before: u64| (now - before) as f64 * 1e9 / elapsed as f64;
        let worst_ns = self
            .control
            .progress
            .iter()
            .map(|progress| progress.worst_ns.swap(0, Ordering::Relaxed))
            .max();
        let busy =
            totals.busy_ns.iter().zip(&self.last.busy_ns).map(|(now, before)| now - before).max();
        let second = Second {
            at: self
                .window_start
                .map_or(f64::NEG_INFINITY, |start| (now as f64 - start as f64) / 1e9),
            good_per_second: per_second(totals.updates, self.last.updates),
            other_per_second: per_second(totals.other_updates, self.last.other_updates),
            worst_us: worst_ns.unwrap_or(0) as f64 / 1e3,
            open: self.control.open(),
            busy_share: busy.unwrap_or(0) as f64 / elapsed as f64,
        };
        if !self.quiet {
            self.line(phase, &second, totals.gaps);
        }
        if self.window_start.is_some() {
            self.seconds.push(second);
        }
        (self.last_at, self.last) = (now, totals);
    }

    fn line(&self, phase: &str, second: &Second, gaps: u64) {
        let at = if second.at.is_finite() { format!("{:6.1} s", second.at) } else { " ".repeat(8) };
        let line = format!(
            "{at}  {phase:<10}  {:>6}/{} open  {:>9.0} updates/s  worst {:>9.3} ms  gaps {gaps}  busy {:>3.0} %",
            second.open,
            self.clients,
            second.good_per_second + second.other_per_second,
            second.worst_us / 1e3,
            second.busy_share * 100.0,
        );
        let mut stderr = std::io::stderr().lock();
        let dim = stderr.is_terminal();
        // A progress line that cannot be written is no reason to stop.
        let _ =
            if dim { writeln!(stderr, "\x1b[2m{line}\x1b[0m") } else { writeln!(stderr, "{line}") };
    }
}
