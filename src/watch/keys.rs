//! What keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Something that the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Moves the selection by rows.
    Step(isize),
    /// By screens.
    Page(isize),
    First,
    Last,
    /// The selected symbol.
    Open,
    Back,
    /// Keys go to the filter from now on.
    Filter,
    /// To the filter.
    Type(char),
    Erase,
    /// The filter stands.
    Accept,
}

/// What a key means while the filter is, or is not, being typed. Ctrl-C quits always: the terminal
/// makes no signal of it while it is drawn on.
pub(super) fn action(key: KeyEvent, editing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if control => Action::Quit,
        KeyCode::Up => Action::Step(-1),
        KeyCode::Down => Action::Step(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home => Action::First,
        KeyCode::End => Action::Last,
        KeyCode::Esc => Action::Back,
        KeyCode::Enter if editing => Action::Accept,
        KeyCode::Backspace if editing => Action::Erase,
        KeyCode::Char(typed) if editing && !control => Action::Type(typed),
        _ if editing || control => return None,
        KeyCode::Enter | KeyCode::Right => Action::Open,
        KeyCode::Left | KeyCode::Backspace => Action::Back,
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('k') => Action::Step(-1),
        KeyCode::Char('j') => Action::Step(1),
        KeyCode::Char('g') => Action::First,
        KeyCode::Char('G') => Action::Last,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_commands_or_the_filters() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert_eq!(action(key(KeyCode::Char('q')), false), Some(Action::Quit));
        assert_eq!(action(key(KeyCode::Char('q')), true), Some(Action::Type('q')));
        assert_eq!(action(key(KeyCode::Enter), false), Some(Action::Open));
        assert_eq!(action(key(KeyCode::Enter), true), Some(Action::Accept));
        assert_eq!(action(key(KeyCode::Esc), true), Some(Action::Back));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(interrupt, false), Some(Action::Quit));
        assert_eq!(action(interrupt, true), Some(Action::Quit));
    }
}
