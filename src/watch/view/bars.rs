//! The first row and the last: where one is, how the connection is, what is wrong, what keys do.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::Slot;
use super::theme::Theme;
use crate::watch::answer::delayed;
use crate::watch::model::{Feed, Link, Model};

/// The first row: what is shown on the left, on the right that it is delayed, and the connection. Where there is not
/// enough room, the connection comes first unless all is well, and that it is delayed comes before everything: who
/// delays it has to say so.
pub(super) fn head(
    model: &Model,
    what: &Line<'_>,
    now: Instant,
    theme: Theme,
    slot: Slot,
    buf: &mut Buffer,
) {
    let right = right(model, now, theme, slot.width);
    let free = slot.width.saturating_sub(what.width() as u16 + 1);
    let fits = right.iter().rev().find(|line| line.width() <= usize::from(free));
    let is_needed = model.delay_ms > 0 || model.link != Link::Connected;
    let Some(line) = fits.or(right.first().filter(|_| is_needed)) else {
        return slot.left(buf, what);
    };
    slot.part(0, slot.width.saturating_sub(line.width() as u16 + 1)).left(buf, what);
    slot.right(buf, line);
}

/// What stands on the right, from the shortest way to say it to the longest.
fn right(model: &Model, now: Instant, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let connection = connection(model, now, theme);
    let Some(mark) = mark(model, width) else { return connection };
    let mark = Span::styled(mark, theme.warning());
    let beside = |connection: Line<'static>| {
        let mut line = Line::from(vec![mark.clone(), Span::raw("  ")]);
        line.spans
            .extend(connection.spans.into_iter().map(|span| span.patch_style(connection.style)));
        line
    };
    let alone = (model.link == Link::Connected).then(|| Line::from(mark.clone()));
    alone.into_iter().chain(connection.into_iter().map(beside)).collect()
}

/// The mark of what is delayed; where there is no room for it, without the number: a part of one is a wrong one.
pub(super) fn mark(model: &Model, width: u16) -> Option<String> {
    let mark = delayed(model.delay_ms)?;
    Some(if mark.len() > usize::from(width) { "delayed".to_owned() } else { mark })
}

/// The state of the connection, from the shortest way to say it to the longest.
fn connection(model: &Model, now: Instant, theme: Theme) -> Vec<Line<'static>> {
    match &model.link {
        Link::Connected => {
            let far = model.latency.map_or_else(String::new, |far| format!(" {}", latency(far)));
            if let Some(cause) = model.lagging(now) {
                let line = |text: String| Line::styled(text, theme.warning());
                let long = format!("◌ lagging: {cause}{far}");
                return vec![line("◌".to_owned()), line("◌ lagging".to_owned()), line(long)];
            }
            let sign = Span::styled("●", theme.good());
            let line = |text: String| Line::from(vec![sign.clone(), Span::raw(text)]);
            vec![line(String::new()), line(far.clone()), line(format!(" connected{far}"))]
        }
        Link::Reconnecting { at, tries, .. } => {
            let left = at.saturating_duration_since(now);
            let long = match left.is_zero() {
                true => format!("○ reconnecting, try {tries}"),
                false => format!("○ reconnecting in {:.1} s, try {tries}", left.as_secs_f32()),
            };
            let line = |text: String| Line::styled(text, theme.warning());
            vec![line("○".to_owned()), line("○ reconnecting".to_owned()), line(long)]
        }
    }
}

fn latency(far: Duration) -> String {
    match far.as_micros() {
        micros @ ..10_000 => format!("{}.{} ms", micros / 1000, micros / 100 % 10),
        micros @ ..10_000_000 => format!("{} ms", micros / 1000),
        micros => format!("{} s", micros / 1_000_000),
    }
}

/// The sign, the word and the style of a feed's state.
pub(super) fn feed(model: &Model, feed: Feed, theme: Theme) -> (&'static str, &'static str, Style) {
    if model.link != Link::Connected {
        return ("○", "offline", theme.warning());
    }
    let (sign, style) = match feed {
        Feed::Unknown => (" ", Style::new()),
        Feed::Live => ("●", theme.good()),
        Feed::Stale | Feed::Resync => ("◌", theme.warning()),
        Feed::Halted => ("■", theme.warning()),
    };
    (sign, feed.as_str(), style)
}

/// The sign and the style of a price that moved.
pub(super) fn moved(moved: Ordering, theme: Theme) -> (&'static str, Style) {
    match moved {
        Ordering::Greater => ("▲", theme.up()),
        Ordering::Less => ("▼", theme.down()),
        Ordering::Equal => (" ", Style::new()),
    }
}

/// The last row: what is wrong, else what keys do; the counters on the right.
pub(super) fn foot(
    model: &Model,
    trouble: Option<&str>,
    keys: &str,
    theme: Theme,
    slot: Slot,
    buf: &mut Buffer,
) {
    let left = match trouble {
        Some(trouble) => Line::styled(trouble.to_owned(), theme.warning()),
        None => Line::styled(keys.to_owned(), theme.faint()),
    };
    let gaps = match model.gaps {
        0 => Span::styled("0 gaps", theme.faint()),
        1 => Span::styled("1 gap", theme.warning()),
        gaps => Span::styled(format!("{gaps} gaps"), theme.warning()),
    };
    let rate = Span::styled(format!("{} msg/s  ", model.rate), theme.faint());
    let counters = Line::from(vec![rate, gaps]);
    if left.width() + counters.width() < usize::from(slot.width) {
        slot.right(buf, &counters);
    }
    slot.left(buf, &left);
}

/// What is wrong with everything, the worst first.
pub(super) fn trouble(model: &Model, now: Instant) -> Option<String> {
    match &model.link {
        Link::Reconnecting { why, .. } => Some(format!("all of this is old: {why}")),
        Link::Connected => model.notice(now).map(str::to_owned),
    }
}
