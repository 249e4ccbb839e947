//! Draws a model: a function of it, the time and the room that there is.
//!
//! Rows have their places whatever happens, so that the eye need not look for them: the state of
//! the connection at the top right, troubles in the last row, the spread in the middle of the ladder.

mod bars;
mod ladder;
mod table;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod theme;

use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::model::Model;
pub(super) use theme::Theme;

/// Draws the model.
pub(super) fn draw(model: &Model, now: Instant, theme: Theme, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    match &model.open {
        Some(open) => ladder::draw(model, open, now, theme, area, buf),
        None => table::draw(model, now, theme, area, buf),
    }
}
