//! The terminal: entered, drawn on from a thread of its own, and left as it was.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, queue, style};
use tokio::sync::oneshot;

use super::client::Shared;
use super::keys;
use super::view::{self, Theme};

/// The shortest time between two pictures: 20 a second are as many as an eye can use.
const FRAME: Duration = Duration::from_millis(50);
/// A picture is made anew after this even if nothing came: what is old says so.
const IDLE: Duration = Duration::from_millis(250);
/// How long the end waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a picture: one write, and the terminal sees it whole.
pub(crate) const PICTURE: usize = 64 * 1024;

/// The thread that draws and reads keys. Ends, and restores the terminal, when it is dropped.
pub(crate) struct Screen {
    quit: Arc<AtomicBool>,
    ended: oneshot::Receiver<io::Result<()>>,
    /// Closed when the thread is over.
    alive: mpsc::Receiver<()>,
}

impl Screen {
    /// Takes the terminal: `show` draws and reads keys until the user quits, or until it is told to.
    pub(crate) fn start(show: impl FnOnce(&AtomicBool) -> io::Result<()> + Send + 'static) -> Self {
        let quit = Arc::new(AtomicBool::new(false));
        let ((end, ended), (living, alive)) = (oneshot::channel(), mpsc::sync_channel::<()>(1));
        let flag = Arc::clone(&quit);
        let body = move || {
            let _living = living;
            let _ = end.send(show(&flag));
        };
        // Without a thread `end` is dropped, which `ended` tells.
        let _ = std::thread::Builder::new().name("screen".to_owned()).spawn(body);
        Screen { quit, ended, alive }
    }

    /// Waits until the user quits.
    ///
    /// # Errors
    /// The terminal failed.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let ended = (&mut self.ended).await.map_err(|_| anyhow!("the screen has failed"))?;
        ended.context("the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        let over = self.alive.recv_timeout(PATIENCE);
        if over == Err(mpsc::RecvTimeoutError::Timeout) {
            // It is stuck in a write, for the terminal takes nothing: its mode can be mended still.
            let _ = disable_raw_mode();
        }
    }
}

/// A terminal in raw mode with its second screen; restored on drop and on panics.
pub(crate) struct Entered;

impl Entered {
    pub(crate) fn new() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        });
        let entered = Entered;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(entered)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back; whatever fails, the rest is tried.
fn restore() {
    let mut out = io::stdout();
    let _ = queue!(out, EndSynchronizedUpdate, style::ResetColor, LeaveAlternateScreen);
    let _ = queue!(out, cursor::Show);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// Draws and reads keys until the user, or the program, quits.
pub(super) fn show(shared: &Shared, quit: &AtomicBool) -> io::Result<()> {
    let _entered = Entered::new()?;
    let out = BufWriter::with_capacity(PICTURE, io::stdout());
    let mut terminal = Terminal::new(CrosstermBackend::new(out))?;
    let theme = Theme::of_environment();
    let (mut next, mut drawn) = (Instant::now(), None);
    while !quit.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= next {
            let revision = shared.model.lock().revision();
            let old = drawn.is_none_or(|(_, at)| now.duration_since(at) >= IDLE);
            if old || drawn.is_some_and(|(before, _)| before != revision) {
                draw(&mut terminal, shared, theme, now)?;
                drawn = Some((revision, now));
            }
            next = Instant::now() + FRAME;
        }
        if event::poll(next.saturating_duration_since(Instant::now()))? && pressed(shared)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Lays the picture out under the lock, and writes it without.
fn draw(
    terminal: &mut Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    shared: &Shared,
    theme: Theme,
    now: Instant,
) -> io::Result<()> {
    queue!(terminal.backend_mut(), BeginSynchronizedUpdate)?;
    terminal.draw(|frame| {
        let mut model = shared.model.lock();
        model.resized(frame.area().height);
        model.prepare();
        if model.has_requests() {
            shared.requests.notify_one();
        }
        view::draw(&model, now, theme, frame.area(), frame.buffer_mut());
    })?;
    execute!(terminal.backend_mut(), EndSynchronizedUpdate)
}

/// Takes what the terminal says; true if that is to quit.
fn pressed(shared: &Shared) -> io::Result<bool> {
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let mut model = shared.model.lock();
    let quit = keys::action(key, model.table.editing).is_some_and(|action| model.act(action));
    shared.requests.notify_one();
    Ok(quit)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set where `panics` is to panic: in a terminal of its own.
    const PANIC: &str = "TICKCAST_TEST_PANIC";

    #[test]
    fn panics() {
        if std::env::var_os(PANIC).is_some() {
            let _entered = Entered::new().expect("a terminal");
            panic!("as the test wants");
        }
    }

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        let this = std::env::current_exe().expect("a test");
        let test = format!("{} --exact watch::terminal::tests::panics --nocapture", this.display());
        // `script` makes the terminal, `stty -g` writes its modes.
        let command = format!("stty -g; {PANIC}=1 {test}; stty -g");
        let output = Command::new("script").args(["-qec", &command, "/dev/null"]).output();
        let output = String::from_utf8(output.expect("script runs").stdout).expect("UTF-8");
        let at = |text: &str| output.find(text).unwrap_or_else(|| panic!("{text:?} in {output}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{output}");
        assert!(at("\x1b[?1049l") < at("as the test wants"), "readable afterwards: {output}");
        let modes: Vec<&str> =
            output.lines().filter(|line| line.matches(':').count() > 20).collect();
        assert_eq!(modes.len(), 2, "{output}");
        assert_eq!(modes[0], modes[1], "{output}");
    }
}
