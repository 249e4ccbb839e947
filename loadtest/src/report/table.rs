//! The summary as a table for a terminal.

use std::fmt::Write;

use super::{bytes, percent, thousands, time};
use crate::summary::{GroupSummary, Latency, Summary};

/// Renders everything that a reader wants at a glance.
pub fn render(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "{}\n{}\n", summary.title, describe(summary));
    let _ = writeln!(out, "{}", clients(summary));
    for (name, text) in facts(summary) {
        let _ = writeln!(out, "{name:<14}{text}");
    }
    for warning in &summary.warnings {
        let _ = writeln!(out, "warning       {warning}");
    }
    for failed in &summary.failed {
        let _ = writeln!(out, "FAILED        {failed}");
    }
    out
}

/// One line: what was asked for.
pub(crate) fn describe(summary: &Summary) -> String {
    let parameters = &summary.parameters;
    if parameters.idle {
        return format!(
            "{} idle clients of {}, seed {}",
            thousands(parameters.clients as f64),
            parameters.url,
            parameters.seed
        );
    }
    let depth = parameters.depth.map_or(String::new(), |depth| format!(" (depth {depth})"));
    format!(
        "{} clients of {}, each {} of {} symbols, {}{depth}, {} s after {} s of warm-up, seed {}",
        thousands(parameters.clients as f64),
        parameters.url,
        parameters.per,
        parameters.symbols,
        parameters.channels.join(" + "),
        parameters.duration,
        parameters.warmup,
        parameters.seed,
    )
}

/// A row of the table: its name, and its cell for a kind of client.
pub(crate) type Column = (&'static str, fn(&GroupSummary) -> String);

/// The rows by kind of client: name and cell.
const COLUMNS: [Column; 13] = [
    ("clients", |group| thousands(group.clients as f64)),
    ("open", |group| thousands(group.open_at_end as f64)),
    ("deliveries/s", |group| thousands(group.deliveries_per_second)),
    ("bytes/s", |group| bytes(group.bytes_per_second)),
    ("reach", |group| group.reach.map_or("-".into(), percent)),
    ("gaps", |group| thousands(group.gaps as f64)),
    ("p50", |group| latency(group, |latency| latency.p50)),
    ("p90", |group| latency(group, |latency| latency.p90)),
    ("p99", |group| latency(group, |latency| latency.p99)),
    ("p99.9", |group| latency(group, |latency| latency.p99_9)),
    ("p99.99", |group| latency(group, |latency| latency.p99_99)),
    ("max", |group| latency(group, |latency| latency.max)),
    ("closed", closes),
];

/// The rows that matter only when clients leave and come back.
const COMING_BACK: [Column; 4] = [
    ("came back", |group| {
        if group.reconnects > 0 { thousands(group.reconnects as f64) } else { "-".into() }
    }),
    ("failed to", |group| {
        if group.reconnects > 0 { thousands(group.reconnect_failures as f64) } else { "-".into() }
    }),
    ("back p50", |group| {
        group.recovery_us.as_ref().map_or("-".into(), |recovery| time(recovery.p50))
    }),
    ("back last", |group| {
        group.recovery_us.as_ref().map_or("-".into(), |recovery| time(recovery.max))
    }),
];

/// The rows of this run's table.
pub(crate) fn columns(summary: &Summary) -> impl Iterator<Item = Column> {
    let back = summary.groups.iter().any(|group| group.reconnects + group.reconnect_failures > 0);
    COLUMNS.into_iter().chain(COMING_BACK.into_iter().filter(move |_| back))
}

fn latency(group: &GroupSummary, pick: fn(&Latency) -> f64) -> String {
    group.latency_us.as_ref().map_or("-".into(), |latency| time(pick(latency)))
}

/// `4008 x 100`, by code.
fn closes(group: &GroupSummary) -> String {
    let closes: Vec<String> =
        group.closes.iter().map(|(code, count)| format!("{code} x {count}")).collect();
    if closes.is_empty() { "-".into() } else { closes.join(", ") }
}

fn clients(summary: &Summary) -> String {
    let mut rows = vec![
        std::iter::once(String::new())
            .chain(summary.groups.iter().map(|group| group.name.to_string()))
            .collect(),
    ];
    for (name, cell) in columns(summary) {
        rows.push(
            std::iter::once(name.to_string())
                .chain(summary.groups.iter().map(cell))
                .collect::<Vec<_>>(),
        );
    }
    let widths: Vec<usize> = (0..=summary.groups.len())
        .map(|column| {
            rows.iter().map(|row: &Vec<String>| row[column].chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let _ = write!(out, "{:<14}", row[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(out, "{}{cell}  ", " ".repeat(width.max(&12) - cell.chars().count()));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// What is not by kind of client: name and sentence.
pub(crate) fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let connecting = &summary.connecting;
    let mut facts = vec![(
        "connect",
        format!(
            "{} clients in {:.3} s: {}/s; all subscribed after {:.3} s",
            thousands(connecting.clients as f64),
            connecting.seconds,
            thousands(connecting.per_second),
            connecting.subscribed_seconds
        ),
    )];
    if let (Some(reach), Some(rate)) = (summary.reach_by_rate, summary.parameters.expect_rate) {
        facts.push((
            "by rate",
            format!(
                "reach {} of the {} ticks/s that the feed makes",
                percent(reach),
                thousands(rate)
            ),
        ));
    }
    if let Some(storm) = &summary.storm {
        let p99 = |latency: &Option<Latency>| {
            latency.as_ref().map_or("-".into(), |latency| time(latency.p99))
        };
        let back = match storm.seconds {
            Some(seconds) => format!("the last back after {seconds:.3} s"),
            None => format!("only {} back", thousands(storm.back as f64)),
        };
        let ratio = storm.p99_ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2} times)"));
        facts.push((
            "storm",
            format!(
                "{} dropped, {back}; good clients' p99 {} before, {} meanwhile{ratio}, {} after",
                thousands(storm.clients as f64),
                p99(&storm.before_us),
                p99(&storm.during_us),
                p99(&storm.after_us),
            ),
        ));
    }
    if let Some(server) = &summary.server {
        let each = server
            .cpu_us_per_delivery
            .map_or(String::new(), |each| format!("{each:.3} µs of CPU per delivery; "));
        let share = server.cpu_seconds / summary.window_seconds * 100.0;
        let threads: Vec<String> = server
            .threads
            .iter()
            .take(6)
            .map(|(name, share)| format!("{name} {:.0} %", share * 100.0))
            .collect();
        let threads =
            if threads.is_empty() { String::new() } else { format!(" ({})", threads.join(", ")) };
        facts.push(("server", format!("{each}{share:.0} % of a core without its feed{threads}")));
        facts.push((
            "memory",
            format!(
                "{} per connection; {} before, {} connected, {} at the end",
                bytes(server.bytes_per_connection),
                bytes(server.resident_before as f64),
                bytes(server.resident_connected as f64),
                bytes(server.resident_end as f64)
            ),
        ));
    }
    for (number, thread) in summary.threads.iter().enumerate() {
        let turns = thread.turn_us.as_ref().map_or(String::new(), |turn| {
            format!(
                "; a turn takes p50 {}, p99 {}, max {}",
                time(turn.p50),
                time(turn.p99),
                time(turn.max)
            )
        });
        facts.push((
            "this program",
            format!(
                "thread {number}: busy {:.0} %, {:.0} % of a core, without one {:.0} %; {} reads/s{turns}",
                thread.busy_share * 100.0,
                thread.cpu_share * 100.0,
                thread.without_core_share * 100.0,
                thousands(thread.reads_per_second)
            ),
        ));
    }
    facts
}
