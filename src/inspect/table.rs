//! A report for people.

use std::fmt::Write as _;

use super::report::{Feed, Rate, Reject, Report, Said, Symbol};
use tickcast_feeds::record::State;

/// Symbols of a feed that are shown, the busiest, beside those that something is wrong with; JSON
/// has all.
const SYMBOLS: usize = 20;

/// Connections of a feed that are shown.
const LINKS: usize = 20;

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    for said in &report.recordings {
        recording(&mut out, said);
    }
    let seconds = report.last_ns.saturating_sub(report.first_ns) / 1_000_000_000;
    put(&mut out, format_args!("{} to {}, {}", report.first, report.last, duration(seconds)));
    let (messages, symbols) = (number(report.messages), number(report.symbols as u64));
    let size = size(report.bytes);
    put(&mut out, format_args!("{messages} messages of {size}, {symbols} symbols"));
    put(&mut out, format_args!("{}", rate(&report.rate)));
    for one in &report.feeds {
        feed(&mut out, one);
    }
    rejects(&mut out, "", &report.rejects);
    for notice in &report.notices {
        put(&mut out, format_args!("! {notice}"));
    }
    out
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(line); // a String takes everything
    out.push('\n');
}

fn recording(out: &mut String, said: &Said) {
    let state = match said.state {
        State::Open => "not closed: it is being written, or the process was killed",
        State::Closed => "closed",
        State::Stopped => "stopped",
    };
    put(out, format_args!("{}: {state}", said.path));
    if let Some(error) = &said.error {
        put(out, format_args!("! {error}"));
    }
    if said.rebuilt {
        put(out, format_args!("! the manifest is missing: what it said is read from the files"));
    } else {
        put(out, format_args!("written by {}, format {}", said.written_by, said.version));
    }
    put(out, format_args!("{} files of {}", said.disk_files, size(said.disk_bytes)));
}

fn feed(out: &mut String, feed: &Feed) {
    put(out, format_args!("\n{}", feed.name));
    let (messages, size_of_all) = (number(feed.messages), size(feed.bytes));
    let replies = number(feed.replies);
    put(
        out,
        format_args!("  {messages} messages of {size_of_all}, {replies} of them REST replies"),
    );
    put(out, format_args!("  {}", rate(&feed.rate)));
    for kind in feed.kinds.iter().filter(|kind| kind.messages > 0) {
        let (messages, size) = (number(kind.messages), size(kind.bytes));
        let name = if kind.kind == "none" { "no tick" } else { kind.kind };
        put(out, format_args!("  {name:<8} {messages:>14} messages {size:>10}"));
    }
    if feed.distrusted > 0 {
        put(out, format_args!("! {} times a book turned out to be wrong", feed.distrusted));
    }
    if feed.dropped > 0 {
        let dropped = number(feed.dropped);
        put(out, format_args!("! {dropped} inputs were dropped, the disk was too slow"));
    }
    for hole in &feed.holes {
        put(out, format_args!("! {hole}"));
    }
    rejects(out, "  ", &feed.rejects);
    links(out, feed);
    symbols(out, &feed.symbols);
}

fn links(out: &mut String, feed: &Feed) {
    for link in feed.links.iter().take(LINKS) {
        let (messages, silence) = (number(link.messages), millis(link.silence_ms));
        let lost =
            if link.lost > 0 { format!(", lost {} times", link.lost) } else { String::new() };
        let at = &link.silence_at;
        put(
            out,
            format_args!(
                "  link {}: {messages} messages, longest silence {silence} from {at}{lost}",
                link.link
            ),
        );
    }
    if feed.links.len() > LINKS {
        put(out, format_args!("  and {} more links (--json has all)", feed.links.len() - LINKS));
    }
}

fn symbols(out: &mut String, symbols: &[Symbol]) {
    if symbols.is_empty() {
        return;
    }
    put(
        out,
        format_args!(
            "  {:<24} {:>10} {:>10} {:>9} {:>9} {:>9} {:>6} {:>7} {:>9}",
            "symbol", "messages", "bytes", "trades", "quotes", "book", "gaps", "resyncs", "down"
        ),
    );
    let wrong = |symbol: &Symbol| symbol.resyncs > 0 || symbol.down;
    let mut left_out = 0;
    for (place, symbol) in symbols.iter().enumerate() {
        if place >= SYMBOLS && (!wrong(symbol) || place >= 10 * SYMBOLS) {
            left_out += 1;
            continue;
        }
        let down = millis(symbol.down_ms) + if symbol.down { "+" } else { "" };
        put(
            out,
            format_args!(
                "  {:<24} {:>10} {:>10} {:>9} {:>9} {:>9} {:>6} {:>7} {:>9}",
                symbol.symbol,
                symbol.messages,
                size(symbol.bytes),
                symbol.trades,
                symbol.quotes,
                symbol.books,
                symbol.gaps,
                symbol.resyncs,
                down
            ),
        );
    }
    if left_out > 0 {
        put(out, format_args!("  and {left_out} more symbols (--json has all)"));
    }
}

fn rejects(out: &mut String, indent: &str, rejects: &[Reject]) {
    for reject in rejects {
        let (count, kind, detail) = (number(reject.count), reject.kind, &reject.detail);
        put(out, format_args!("! {count} rejected, {kind}; the first: {detail}"));
        let text = reject.text.escape_debug().to_string().replace("\\\"", "\"");
        put(out, format_args!("{indent}    {text}"));
    }
}

fn rate(rate: &Rate) -> String {
    let (p99, peak, at) = (number(rate.p99), number(rate.peak), &rate.peak_at);
    let at = at.split('.').next().unwrap_or(at);
    let mean = rate.mean;
    format!("messages a second: mean {mean}, 99th percentile {p99}, peak {peak} at {at}Z")
}

/// A number with commas.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in bytes as people say it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn millis(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => duration(ms / 1_000),
    }
}

/// A time in seconds as people say it.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_write_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1_500, 2_000_000].map(size), ["999 B", "1.5 kB", "2.0 MB"]);
        assert_eq!([59, 61, 7_260].map(duration), ["59 s", "1 min 1 s", "2 h 1 min"]);
        assert_eq!([9_999, 10_000].map(millis), ["9999 ms", "10 s"]);
    }
}
