//! Colours, or none: everything that a colour says is said by a sign or a word too.

use ratatui::style::{Color, Modifier, Style};

/// How things look. Of the terminal's own palette, so that they suit its background.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    colours: bool,
}

impl Theme {
    /// Colours unless `NO_COLOR` is set and not empty (<https://no-color.org>).
    pub(crate) fn of_environment() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Theme { colours: !refused }
    }

    /// None.
    pub(crate) fn plain() -> Self {
        Theme { colours: false }
    }

    #[cfg(test)]
    pub(super) fn new(colours: bool) -> Self {
        Theme { colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Bids, buyers, prices that rose.
    pub(super) fn up(self) -> Style {
        self.colour(Color::Green)
    }

    /// Asks, sellers, prices that fell.
    pub(super) fn down(self) -> Style {
        self.colour(Color::Red)
    }

    pub(crate) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// What is to be noticed.
    pub(crate) fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Labels, and what does not hold any more.
    pub(crate) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The row that a key would open.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The cells that a size covers.
    pub(super) fn bar(self, bid: bool) -> Style {
        match self.colours {
            true => {
                Style::new().fg(Color::Indexed(15)).bg(Color::Indexed(if bid { 22 } else { 52 }))
            }
            false => Style::new().add_modifier(Modifier::REVERSED),
        }
    }
}
