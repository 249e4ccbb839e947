//! The first row and the last: where one is, how the connection is, what is wrong, what keys do.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::Slot;
use super::theme::Theme;
use crate::watch::model::{Feed, Link, Model};

/// The first row: what is shown on the left, the connection on the right. The connection comes
/// first where there is not enough room, unless all is well.
pub(super) fn head(
    model: &Model,
    what: &Line<'_>,
    now: Instant,
    theme: Theme,
    slot: Slot,
    buf: &mut Buffer,
) {
    let connection = connection(model, now, theme);
    slot.left(buf, what);
    let free = slot.width.saturating_sub(what.width() as u16 + 1);
    let fits = connection.iter().rev().find(|line| line.width() <= usize::from(free));
    match (fits, &model.link) {
        (Some(line), _) => slot.right(buf, line),
        (None, Link::Connected) => {}
        (None, Link::Reconnecting { .. }) => slot.right(buf, &connection[0]),
    }
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
