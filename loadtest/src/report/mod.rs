//! The result as people and programs read it.

pub mod hgrm;
pub mod html;
pub mod json;
mod plot;
pub mod table;

use std::path::Path;

use crate::RunError;
use crate::args::Args;
use crate::run::Outcome;

/// Writes the files that were asked for.
///
/// # Errors
/// When one cannot be written.
pub fn write_files(args: &Args, outcome: &Outcome) -> Result<(), RunError> {
    if let Some(path) = &args.json {
        write(path, &json::render(&outcome.summary))?;
    }
    if let Some(path) = &args.hgrm {
        let good = outcome.latencies.iter().find(|(name, _)| *name == "good");
        write(path, &good.map(|(_, histogram)| hgrm::render(histogram)).unwrap_or_default())?;
    }
    if let Some(path) = &args.html {
        write(path, &html::render(outcome))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), RunError> {
    std::fs::write(path, text).map_err(|error| RunError::Write(path.to_path_buf(), error))
}

/// A number with thousands separated: `1,234,567`.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0.0 && digits != "0" { format!("-{out}") } else { out }
}

/// Microseconds with a unit that leaves three digits: `3.41 ms`.
pub(crate) fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let places = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.places$} {unit}")
}

/// Bytes with a unit: `1.5 MiB`.
pub(crate) fn bytes(count: f64) -> String {
    let size = count.abs();
    match size {
        size if size < 1024.0 => format!("{count:.0} B"),
        size if size < 1024.0 * 1024.0 => format!("{:.1} KiB", count / 1024.0),
        size if size < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", count / 1024.0 / 1024.0),
        _ => format!("{:.2} GiB", count / 1024.0 / 1024.0 / 1024.0),
    }
}

/// A share in percent, cut rather than rounded, so that 100 % means all: `99.99 %`.
pub(crate) fn percent(share: f64) -> String {
    let cut = (share * 1e6 + 1e-6).floor() / 1e4;
    if cut == cut.trunc() { format!("{cut:.0} %") } else { format!("{cut:.4} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [thousands(0.0), thousands(999.0), thousands(1234567.4), thousands(-1000.0)],
            ["0", "999", "1,234,567", "-1,000"]
        );
        assert_eq!(
            [time(0.5), time(12.34), time(999.7), time(3412.0), time(2e6)],
            ["0.50 µs", "12.3 µs", "1000 µs", "3.41 ms", "2.00 s"]
        );
        assert_eq!(
            [bytes(136.0), bytes(11264.0), bytes(3.5 * 1048576.0)],
            ["136 B", "11.0 KiB", "3.5 MiB"]
        );
        assert_eq!(
            [percent(1.0), percent(0.9999999), percent(0.5)],
            ["100 %", "99.9999 %", "50 %"]
        );
    }
}
