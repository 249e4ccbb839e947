//! The screen: what its thread draws, and the keys that it reads.

use std::io::{self, BufWriter, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::crossterm::{execute, queue};

use super::{Shared, view};
use crate::watch::terminal::{Entered, PICTURE};
use crate::watch::theme::Theme;

/// Between two looks at keys and at what is to be drawn.
const FRAME: Duration = Duration::from_millis(100);
pub(super) fn show(shared: &Shared, quit: &AtomicBool) -> io::Result<()> {
    let _entered = Entered::new()?;
    let out = BufWriter::with_capacity(PICTURE, io::stdout());
    let mut terminal = Terminal::new(CrosstermBackend::new(out))?;
    let (theme, mut drawn) = (Theme::of_environment(), None);
    while !quit.load(Ordering::Relaxed) {
        let next = Instant::now() + FRAME;
        let revision = shared.model.lock().revision();
        if drawn != Some(revision) {
            draw(&mut terminal, shared, theme)?;
            drawn = Some(revision);
        }
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if quits(key) => return Ok(()),
                Event::Resize(..) => drawn = None,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Lays the picture out under the lock, and writes it without.
fn draw(
    terminal: &mut Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    shared: &Shared,
    theme: Theme,
) -> io::Result<()> {
    queue!(terminal.backend_mut(), BeginSynchronizedUpdate)?;
    terminal.draw(|frame| {
        let model = shared.model.lock();
        view::draw(&model, theme, frame.area(), frame.buffer_mut());
    })?;
    execute!(terminal.backend_mut(), EndSynchronizedUpdate)
}

/// The terminal makes no signal of Ctrl-C while it is drawn on.
fn quits(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('c' | 'd') => control,
            KeyCode::Char('q') | KeyCode::Esc => true,
            _ => false,
        }
}
