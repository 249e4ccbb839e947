//! Draws a model: totals, reactors, feeds, and the slowest clients, each as much as there is room for.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::model::{FeedRow, Model, ReactorRow};
use super::sample::Connection;
use crate::watch::theme::Theme;

/// From here on a core is as good as full.
const BUSY: f64 = 0.9;
/// From here on a 99th percentile is to be noticed, microseconds: that of the alert `TickcastLate`.
const LATE_US: f64 = 100_000.0;
/// And a feed's silence, in milliseconds.
const SILENT_MS: u64 = 10_000;
/// Rows of reactors and of feeds that are shown where there is little room.
const FEW: usize = 3;

/// Draws the model.
pub(super) fn draw(model: &Model, theme: Theme, area: Rect, buf: &mut Buffer) {
    let lines = lines(model, theme, area.width, Some(usize::from(area.height)));
    for (row, line) in area.rows().zip(lines) {
        buf.set_line(row.x, row.y, &line, row.width);
    }
}

/// The same as plain text, with all rows.
pub(super) fn text(model: &Model, columns: u16) -> String {
    let lines = lines(model, Theme::plain(), columns, None);
    lines.iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect()
}

fn lines(model: &Model, theme: Theme, width: u16, height: Option<usize>) -> Vec<Line<'static>> {
    let (reactors, feeds) = (model.reactors(), model.feeds());
    let slowest: Vec<&Connection> = model.slowest().collect();
    let mut lines = vec![head(model, theme, width), totals(model)];
    // Two lines are there, and each of the three parts has a blank one and a heading; keys at the end.
    let room = height.map(|height| height.saturating_sub(2 + 3 * 2 + usize::from(height > 12)));
    let (most_reactors, most_feeds) = match room {
        None => (reactors.len(), feeds.len()),
        Some(room) => shares(room, reactors.len(), feeds.len(), slowest.len()),
    };
    part(&mut lines, theme, REACTORS, &reactors, most_reactors, |row| reactor(row, theme));
    part(&mut lines, theme, FEEDS, &feeds, most_feeds, |row| feed(row, theme));
    let used = most_reactors.min(reactors.len()) + most_feeds.min(feeds.len());
    let most = room.map_or(slowest.len().max(1), |room| room.saturating_sub(used));
    part(&mut lines, theme, CLIENTS, &slowest, most, |row| client(row, theme));
    if slowest.is_empty() && most > 0 {
        lines.push(Line::styled("nobody lags", theme.faint()));
    }
    if let Some(height) = height.filter(|height| *height > 12) {
        lines.resize(height - 1, Line::default());
        lines.push(Line::styled("q quit", theme.faint()));
    }
    lines
}

/// Rows for reactors and feeds: all, as long as the clients have half the room, or at least a few.
fn shares(room: usize, reactors: usize, feeds: usize, clients: usize) -> (usize, usize) {
    let for_both = room.saturating_sub(clients.clamp(1, room / 2 + 1)).max(2);
    if reactors + feeds <= for_both {
        return (reactors, feeds);
    }
    let feeds_few = feeds.min(FEW.max(for_both / 2));
    let reactors_most = reactors.min(for_both.saturating_sub(feeds_few).max(1));
    (reactors_most, feeds.min(for_both.saturating_sub(reactors_most)).max(1))
}

/// A heading and rows; the last one says how many more there are.
fn part<T>(
    lines: &mut Vec<Line<'static>>,
    theme: Theme,
    heading: &'static str,
    rows: &[T],
    most: usize,
    line: impl Fn(&T) -> Line<'static>,
) {
    lines.extend([Line::default(), Line::styled(heading, theme.strong())]);
    let shown = if rows.len() > most { most.saturating_sub(1) } else { rows.len() };
    lines.extend(rows[..shown].iter().map(line));
    if shown < rows.len() && most > 0 {
        let more = format!("… and {} more", rows.len() - shown);
        lines.push(Line::styled(more, theme.faint()));
    }
}

fn head(model: &Model, theme: Theme, width: u16) -> Line<'static> {
    let totals = model.totals();
    let left = format!("tickcast {}  {}  up {}", totals.version, model.url, span(totals.uptime_s));
    let (sign, style) = match &model.trouble {
        None => ("● live".to_owned(), theme.good()),
        Some(why) => (format!("○ offline, all of this is old: {why}"), theme.warning()),
    };
    let room = usize::from(width).saturating_sub(left.chars().count() + sign.chars().count());
    Line::from(vec![
        Span::styled(left, theme.strong()),
        Span::raw(" ".repeat(room.max(2))),
        Span::styled(sign, style),
    ])
}

fn totals(model: &Model) -> Line<'static> {
    let totals = model.totals();
    let bytes = totals.bytes_s.map_or_else(|| "-".to_owned(), |bytes| format!("{}/s", size(bytes)));
    Line::raw(format!(
        "clients {}  subscriptions {}  symbols {}  ticks/s {}  delivered/s {}  sent {bytes}",
        whole(totals.clients as f64),
        whole(totals.subscriptions as f64),
        whole(totals.symbols as f64),
        rate(totals.ticks_s),
        rate(totals.deliveries_s),
    ))
}

const REACTORS: &str =
    "REACTOR   CLIENTS      SUBS  DELIVERED/S   WRITES/S  P99 FLUSH  RING LAG    LAPS  BUSY";

fn reactor(row: &ReactorRow, theme: Theme) -> Line<'static> {
    let noticed = |is: bool| if is { theme.warning() } else { Style::new() };
    let start = format!(
        "{:>7}  {:>8}  {:>8}  {:>11}  {:>9}  ",
        row.id,
        whole(row.clients as f64),
        whole(row.subscriptions as f64),
        rate(row.deliveries_s),
        rate(row.sends_s)
    );
    let p99 = row.p99_us.map_or_else(|| "-".to_owned(), micros);
    let busy = match row.busy {
        _ if row.failed => "down".to_owned(),
        Some(busy) => format!("{:.0}%", busy * 100.0),
        None => "-".to_owned(),
    };
    Line::from(vec![
        Span::raw(start),
        Span::styled(format!("{p99:>9}"), noticed(row.p99_us.is_some_and(|us| us > LATE_US))),
        Span::raw(format!("  {:>8}  ", whole(row.ring_lag as f64))),
        Span::styled(format!("{:>6}", whole(row.lapped as f64)), noticed(row.lapped > 0)),
        Span::styled(
            format!("  {busy:>4}"),
            noticed(row.failed || row.busy.is_some_and(|busy| busy > BUSY)),
        ),
    ])
}

const FEEDS: &str =
    "FEED                                      STATE       TICKS/S       IDLE  REJECTED";

fn feed(row: &FeedRow, theme: Theme) -> Line<'static> {
    let noticed = |is: bool| if is { theme.warning() } else { Style::new() };
    let idle = row.idle_ms.map_or_else(|| "never".to_owned(), millis);
    let is_running = row.state == "running";
    let is_silent = is_running && row.idle_ms.is_none_or(|ms| ms > SILENT_MS);
    Line::from(vec![
        Span::raw(format!("{:<40}  ", cut(&row.name, 40))),
        Span::styled(format!("{:<8}", cut(&row.state, 8)), noticed(row.state == "failed")),
        Span::raw(format!("  {:>9}  ", rate(row.ticks_s))),
        Span::styled(format!("{idle:>9}"), noticed(is_silent)),
        Span::raw(format!("  {:>8}", whole(row.rejected as f64))),
    ])
}

const CLIENTS: &str =
    "SLOWEST           PEER                   NAME        DIALECT  SUBS    QUEUED       LAG  CAUSE";

fn client(row: &&Connection, theme: Theme) -> Line<'static> {
    let cause = match (&row.closing, &row.cause) {
        (Some(reason), _) => format!("closing: {reason}"),
        (None, Some(cause)) if row.conflated => format!("{cause}, conflated"),
        (None, Some(cause)) => cause.clone(),
        (None, None) => "-".to_owned(),
    };
    Line::from(vec![
        Span::raw(format!(
            "{:<16}  {:<21}  {:<10}  {:<7}  {:>4}  {:>8}  {:>8}  ",
            cut(&row.id, 16),
            cut(&row.peer, 21),
            cut(&row.name, 10),
            cut(&row.dialect, 7),
            whole(row.subscriptions as f64),
            size(row.queued_bytes as f64),
            millis(row.lag_ms),
        )),
        Span::styled(cause, theme.warning()),
    ])
}

/// A text of at most so many cells; a sign says that it was cut.
fn cut(text: &str, most: usize) -> String {
    // What a client or an operator named may hold anything.
    let clean = |c: char| if c.is_control() { '?' } else { c };
    match text.chars().count() > most {
        true => text.chars().map(clean).take(most - 1).chain(['…']).collect(),
        false => text.chars().map(clean).collect(),
    }
}

/// A whole number; from a hundred thousand on in three digits and a letter.
fn whole(number: f64) -> String {
    let (scaled, letter) = match number {
        n if n < 99_999.5 => return format!("{n:.0}"),
        n if n < 999_500.0 => (n / 1e3, "k"),
        n if n < 999.5e6 => (n / 1e6, "M"),
        n => (n / 1e9, "G"),
    };
    let places = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.places$}{letter}")
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), whole)
}

fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1024.0 * 1024.0 => format!("{:.1} KiB", b / 1024.0),
        b if b < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", b / 1024.0 / 1024.0),
        b => format!("{:.1} GiB", b / 1024.0 / 1024.0 / 1024.0),
    }
}

fn micros(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

fn millis(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..600_000 => format!("{} s", ms / 1000),
        _ => span(ms as f64 / 1e3),
    }
}

/// A longer time, in its two largest units.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}
