//! A terminal for programs that draw on one: a pseudo-terminal, and what a person would see on it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{PATIENCE, pause};

/// A program on a terminal of its own, ended with the test.
pub struct Terminal {
    child: Child,
    master: File,
    /// Held open: the modes can be asked for when the program has gone.
    slave: File,
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
    paused: Arc<AtomicBool>,
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    vt100::Parser::new(nonzero(rows), nonzero(columns), 0)
}

fn nonzero(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("a size")
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts the program on a terminal of this size.
    pub fn start(columns: u16, rows: u16, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let path = std::ffi::OsStr::from_bytes(name.to_bytes());
        let slave = OpenOptions::new().read(true).write(true).open(path).expect("opens");
        tcsetwinsize(&slave, window(columns, rows)).expect("a size");
        let before = tcgetattr(&slave).expect("modes");
        let end = || Stdio::from(slave.try_clone().expect("a handle"));
        // With a session of its own, or its terminal would be the one that the tests run on.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_tickcast")])
            .args(args)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid runs");
        let screen = Arc::new(Mutex::new(parser(columns, rows)));
        let paused = Arc::new(AtomicBool::new(false));
        let master = File::from(master);
        let mut output = master.try_clone().expect("a handle");
        let (seen, stopped) = (Arc::clone(&screen), Arc::clone(&paused));
        std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                if stopped.load(Ordering::Relaxed) {
                    pause();
                    continue;
                }
                match output.read(&mut bytes) {
                    Ok(n @ 1..) => seen.lock().expect("no panic").process(&bytes[..n]),
                    _ => return,
                }
            }
        });
        Terminal { child, master, slave, before, screen, paused }
    }

    pub fn screen(&self) -> MutexGuard<'_, vt100::Parser> {
        self.screen.lock().expect("no panic")
    }

    /// What is seen.
    pub fn text(&self) -> String {
        self.screen().screen().contents()
    }

    /// Waits until what is seen satisfies `wanted`, and gives it.
    pub fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < until, "it stays at\n{text}");
            pause();
        }
    }

    /// Waits until all of these are seen.
    pub fn until_all(&self, texts: &[&str]) -> String {
        self.until(|seen| texts.iter().all(|text| seen.contains(text)))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        *self.screen() = parser(columns, rows);
        tcsetwinsize(&self.slave, window(columns, rows)).expect("a size");
    }

    /// Takes nothing from the program, or everything again.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Whether the program has the terminal for itself.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("modes");
        !modes.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Whether the modes are those of before the program.
    pub fn has_modes_of_before(&self) -> bool {
        let now = tcgetattr(&self.slave).expect("modes");
        let modes = |termios: &Termios| {
            (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes)
        };
        modes(&now) == modes(&self.before)
    }

    /// Waits for the end of the program, and that it left the terminal as it was.
    pub fn ends_well(&mut self) {
        assert_eq!(self.wait().code(), Some(0), "{}", self.text());
        assert!(self.has_modes_of_before(), "modes");
        let restored = |terminal: &Self| {
            let parser = terminal.screen();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        let until = Instant::now() + PATIENCE;
        while !restored(self) {
            assert!(Instant::now() < until, "screen and cursor");
            pause();
        }
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
            pause();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
