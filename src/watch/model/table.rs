//! The rows of the table: filtered, in the order of their names, one of them selected.

use super::market::Market;

/// See the module. A selection is of a symbol, not of a place: it stays where new ones appear.
#[derive(Debug, Default)]
pub(in crate::watch) struct Table {
    /// What a name is to contain, in lower case.
    pub(in crate::watch) filter: String,
    /// Whether keys go to the filter.
    pub(in crate::watch) editing: bool,
    /// Numbers of markets, those that are shown.
    pub(in crate::watch) rows: Vec<usize>,
    /// The market that the user went to; before that, and where it is not shown, the first is it.
    selected: Option<usize>,
    /// The markets and the filter that the rows were made of.
    made_of: Option<(usize, String)>,
}

impl Table {
    /// Makes the rows, if there are other markets or another filter than before.
    pub(super) fn refresh(&mut self, markets: &[Market]) {
        let made_of = (markets.len(), self.filter.clone());
        if self.made_of.as_ref() == Some(&made_of) {
            return;
        }
        self.made_of = Some(made_of);
        let shown = |&at: &usize| markets[at].symbol.to_lowercase().contains(&self.filter);
        self.rows = (0..markets.len()).filter(shown).collect();
        self.rows.sort_unstable_by(|&a, &b| markets[a].symbol.cmp(&markets[b].symbol));
    }

    /// The selected row, counted from the first.
    pub(in crate::watch) fn place(&self) -> usize {
        self.rows.iter().position(|&row| Some(row) == self.selected).unwrap_or(0)
    }

    /// The selected market's number.
    pub(super) fn selected(&self) -> Option<usize> {
        self.rows.get(self.place()).copied()
    }

    /// Moves the selection by so many rows, up to an end.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let place = self.place().saturating_add_signed(by).min(last);
        self.selected = self.rows.get(place).copied();
    }
}
