//! The screen: drawn and read from a thread of its own.

use std::io::{self, BufWriter, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::crossterm::{execute, queue};
use tokio::sync::oneshot;

use super::{Shared, view};
use crate::watch::terminal::{Entered, PATIENCE};
use crate::watch::theme::Theme;

/// Between two looks at keys and at what is to be drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Bytes of a picture: one write, and the terminal sees it whole.
const PICTURE: usize = 64 * 1024;

/// The thread. Ends, and restores the terminal, when it is dropped.
pub(super) struct Screen {
    quit: Arc<AtomicBool>,
    ended: oneshot::Receiver<io::Result<()>>,
    /// Closed when the thread is over.
    alive: mpsc::Receiver<()>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let quit = Arc::new(AtomicBool::new(false));
        let ((end, ended), (living, alive)) = (oneshot::channel(), mpsc::sync_channel::<()>(1));
        let flag = Arc::clone(&quit);
        let body = move || {
            let _living = living;
            let _ = end.send(show(&shared, &flag));
        };
        // Without a thread `end` is dropped, which `ended` tells.
        let _ = std::thread::Builder::new().name("screen".to_owned()).spawn(body);
        Screen { quit, ended, alive }
    }

    /// Waits until the user quits.
    ///
    /// # Errors
    /// The terminal failed.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        let ended = (&mut self.ended).await.map_err(|_| anyhow!("the screen has failed"))?;
        ended.context("the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        if self.alive.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It is stuck in a write, for the terminal takes nothing: its mode can be mended still.
            let _ = ratatui::crossterm::terminal::disable_raw_mode();
        }
    }
}

fn show(shared: &Shared, quit: &AtomicBool) -> io::Result<()> {
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
