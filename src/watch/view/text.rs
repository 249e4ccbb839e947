//! Text in cells: numbers that keep their digits, times, lines whose ends fall off.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use tickcast_feeds::Decimal;

/// Where something is written: a part of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) width: u16,
}

impl Slot {
    /// The row of an area that is so far down.
    pub(super) fn row(area: Rect, down: u16) -> Self {
        Slot { x: area.x, y: area.y + down, width: area.width }
    }

    /// The part from there on, at most so wide.
    pub(super) fn part(self, from: u16, width: u16) -> Self {
        let from = from.min(self.width);
        Slot { x: self.x + from, width: width.min(self.width - from), ..self }
    }

    /// Writes from the left.
    pub(super) fn left(self, buf: &mut Buffer, line: &Line<'_>) {
        buf.set_line(self.x, self.y, line, self.width);
    }

    /// Writes up to the right end.
    pub(super) fn right(self, buf: &mut Buffer, line: &Line<'_>) {
        let width = (line.width() as u16).min(self.width);
        buf.set_line(self.x + self.width - width, self.y, line, width);
    }

    /// Writes in the middle.
    pub(super) fn middle(self, buf: &mut Buffer, line: &Line<'_>) {
        let width = (line.width() as u16).min(self.width);
        buf.set_line(self.x + (self.width - width) / 2, self.y, line, width);
    }

    /// Changes the style of what is there.
    pub(super) fn style(self, buf: &mut Buffer, style: Style) {
        buf.set_style(Rect::new(self.x, self.y, self.width, 1), style);
    }
}

/// The number as the server wrote it, with faint zeros up to so many places. Where it is wider than
/// its column, places are cut, and a sign says so: other digits are never shown for it.
pub(super) fn number(text: &str, places: usize, width: u16, style: Style) -> Line<'static> {
    let width = usize::from(width);
    let length = text.chars().count();
    if length > width {
        let kept = text.chars().take(width.saturating_sub(1)).collect::<String>();
        return Line::styled(kept + "…", style);
    }
    let zeros: String = filling(text, places).chars().take(width - length).collect();
    let zeros = if zeros == "." { String::new() } else { zeros };
    let faint = style.add_modifier(ratatui::style::Modifier::DIM);
    Line::from(vec![Span::styled(text.to_owned(), style), Span::styled(zeros, faint)])
}

/// The same in a line of text: as wide as it is.
pub(super) fn filled(text: &str, places: usize, style: Style) -> Vec<Span<'static>> {
    number(text, places, width(text, places), style).spans
}

/// What `number` fills with.
fn filling(text: &str, places: usize) -> String {
    let (point, has) = match text.split_once('.') {
        Some((_, fraction)) => ("", fraction.len()),
        None if places > 0 => (".", 0),
        None => ("", 0),
    };
    format!("{point}{}", "0".repeat(places.saturating_sub(has)))
}

/// Cells of a number that is filled.
pub(super) fn width(text: &str, places: usize) -> u16 {
    (text.chars().count() + filling(text, places).len()) as u16
}

/// A line of these pieces, as many as fit whole: half a price is a wrong price.
pub(super) fn pieces<'a>(pieces: Vec<Vec<Span<'a>>>, width: u16) -> Line<'a> {
    let mut line = Line::default();
    for piece in pieces {
        let needed = line.width() + piece.iter().map(Span::width).sum::<usize>();
        if needed > usize::from(width) {
            break;
        }
        line.spans.extend(piece);
    }
    line
}

/// Microseconds since the epoch as the time of its day, UTC.
pub(super) fn time(micros: u64, milliseconds: bool) -> String {
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let text = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if milliseconds { format!("{text}.{:03}", micros / 1000 % 1000) } else { text }
}

/// An exact difference, and what it is of the middle in hundredths of a basis point.
pub(super) fn spread(bid: Decimal, ask: Decimal) -> Option<(Decimal, i128)> {
    let (a, b, exponent) = ask.align(bid)?;
    let (difference, sum) = (a.checked_sub(b)?, i128::from(a) + i128::from(b));
    let hundredths = (i128::from(difference) * 2_000_000).checked_div(sum)?;
    Some((Decimal::new(difference, exponent), hundredths))
}

/// How many of `cells` a size covers, of one that covers them all.
pub(super) fn cells(size: Decimal, largest: Decimal, cells: u16) -> u16 {
    let Some((size, largest, _)) = size.align(largest) else { return 0 };
    let covered = (i128::from(size) * i128::from(cells) * 2 + i128::from(largest))
        .checked_div(i128::from(largest) * 2);
    covered.and_then(|n| u16::try_from(n).ok()).unwrap_or(0).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, places: usize, width: u16) -> String {
        number(text, places, width, Style::new()).to_string()
    }

    #[test]
    fn numbers_are_filled_and_never_changed() {
        assert_eq!(shown("61837.6", 2, 10), "61837.60");
        assert_eq!(shown("61838", 2, 10), "61838.00");
        assert_eq!(shown("61838", 0, 10), "61838");
        assert_eq!(shown("0.00000012", 2, 10), "0.00000012");
        assert_eq!(shown("61837.63", 2, 8), "61837.63");
        assert_eq!(shown("61837.63", 2, 7), "61837.…", "cut, and it says so");
        assert_eq!(shown("61838", 2, 6), "61838", "no point without a place");
        assert_eq!(shown("5", 0, 0), "…");
    }

    #[test]
    fn a_spread_is_exact() {
        let of = |bid: &str, ask: &str| {
            spread(bid.parse().unwrap(), ask.parse().unwrap()).map(|(d, bp)| (d.to_string(), bp))
        };
        assert_eq!(of("61837.63", "61837.64"), Some(("0.01".to_owned(), 0)));
        assert_eq!(of("0.1", "0.3"), Some(("0.2".to_owned(), 1_000_000)));
        assert_eq!(of("0", "0"), None);
    }

    #[test]
    fn bars_cover_their_share() {
        let of = |size: &str| cells(size.parse().unwrap(), "8".parse().unwrap(), 16);
        assert_eq!([of("8"), of("4"), of("0.5"), of("0.2")], [16, 8, 1, 0]);
        assert_eq!(cells(Decimal::ZERO, Decimal::ZERO, 16), 0);
    }

    #[test]
    fn times_are_of_the_day() {
        assert_eq!(time(1_723_161_255_012_345, true), "23:54:15.012");
        assert_eq!(time(1_723_161_255_012_345, false), "23:54:15");
    }
}
