//! A reactor after a panic: its clients are told and closed, who is still sent to it goes to others.
//!
//! What a panic left of topics, counters and half-written messages is not to be trusted, so nothing of
//! it is used again: of each session only its socket, and the rest of the frame that is under way.
//! The thread stays for the mailbox, since the control plane may send to it at the moment it fails.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::{Command, Core, Hub, Link, Reactor, least_busy};
use crate::budget::Sum;
use crate::limits;
use crate::session::end::{CLOSE_FAILED, Reason};
use crate::session::{Dialect, Session};
use crate::transport::Transport;
use crate::wire::native;

/// What clients are closed with.
const WHY: &str = "a part of the server failed: come back";

/// Notes a panic of what runs while it is there. Tokio catches those of tasks.
pub(super) struct Watch<'a> {
    failed: &'a Cell<bool>,
    link: &'a Link,
}

impl<'a> Watch<'a> {
    pub(super) fn new(reactor: &'a Reactor) -> Self {
        Watch { failed: &reactor.failed, link: &reactor.link }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.set(true);
            self.link.wake.knock();
        }
    }
}

/// A client that is being closed, and what it is still to be sent.
struct Leaver {
    stream: Rc<Transport>,
    bytes: Vec<u8>,
}

/// Closes the clients of a reactor that has panicked, and hands on those who are sent to it until the
/// process stops, or until no reactor is left.
///
/// # Errors
/// Always: that it has panicked.
pub(super) fn run(reactor: &Reactor, runtime: &Runtime) -> std::io::Result<()> {
    let link = &reactor.link;
    link.failed.store(true, Ordering::SeqCst);
    // A paced replay must not wait for it.
    link.position.store(u64::MAX, Ordering::Release);
    let (hub, leavers) = {
        let mut core = reactor.core.borrow_mut();
        (core.hub.clone(), core.abandon())
    };
    tracing::error!(
        reactor = link.id,
        clients = leavers.len(),
        "a reactor panicked: its clients are closed, the other reactors go on"
    );
    let local = LocalSet::new();
    local.block_on(runtime, async {
        let leaving: Vec<_> = leavers
            .into_iter()
            .map(|leaver| {
                let place = Place(reactor.link.clone());
                tokio::task::spawn_local(async move {
                    let _place = place;
                    // Who does not read it is gone all the same.
                    let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, leave(leaver)).await;
                })
            })
            .collect();
        hand_on(&hub, link).await;
        for task in leaving {
            let _ = task.await;
        }
    });
    Err(std::io::Error::other(format!("reactor {} panicked", link.id)))
}

/// A client's place among those of a reactor, given up when it is dropped.
struct Place(std::sync::Arc<Link>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads the mailbox until the process stops, or until no reactor is left to hand anything to.
async fn hand_on(hub: &Hub, link: &Link) {
    loop {
        while let Some(command) = link.mailbox.pop() {
            match command {
                Command::Adopt(adopt) => {
                    link.sessions.fetch_sub(1, Ordering::Relaxed);
                    // Where there is none, the connection ends here.
                    if let Some(other) = least_busy(&hub.links) {
                        other.sessions.fetch_add(1, Ordering::Relaxed);
                        other.send(Command::Adopt(adopt));
                    }
                }
                // Who asks sees by the missing answer that there is none.
                Command::Connections(..) | Command::Close(..) | Command::Drain => {}
                Command::Stop => return,
            }
        }
        if least_busy(&hub.links).is_none() {
            return;
        }
        link.wake.knocked().await;
    }
}

/// Sends a client its last words, then waits for its end: dropping the socket with unread bytes would
/// reset it under the close frame.
async fn leave(leaver: Leaver) -> std::io::Result<()> {
    let Leaver { stream, bytes } = leaver;
    let mut rest = &bytes[..];
    while !rest.is_empty() || stream.is_pending() {
        match stream.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if !rest.is_empty() || stream.is_pending() {
            stream.writable().await?;
        }
    }
    stream.shutdown_write()?;
    let mut buffer = [0; limits::KIB];
    loop {
        std::future::poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

impl Core {
    /// Takes all clients out, with what they are still to be sent.
    fn abandon(&mut self) -> Vec<Leaver> {
        let sessions = std::mem::take(&mut self.sessions);
        let mut leavers = Vec::with_capacity(sessions.len());
        for (_, session) in sessions {
            for task in session.task.iter().chain(&session.waiter) {
                task.abort();
            }
            self.report.ended
                [session.end.as_ref().map_or(Reason::Failed, |end| end.reason) as usize] += 1;
            if session.subscribed {
                self.hub.subscribers.fetch_sub(1, Ordering::Relaxed);
            }
            let stream = session.stream.clone();
            // What made the reactor fail may lie in what is looked at here.
            let words = catch_unwind(AssertUnwindSafe(|| self.last_words(session)));
            leavers.push(Leaver { stream, bytes: words.unwrap_or_default() });
        }
        self.report.sessions = 0;
        self.report.subscriptions = 0;
        self.report.outbox_bytes = 0;
        self.report.reading_bytes = 0;
        self.share.set(&Sum::new(0));
        self.report.ring_lag = 0;
        self.report.admission_waiting = 0;
        self.report.ending = 0;
        self.link.report.lock().clone_from(&self.report);
        leavers
    }

    /// The rest of the frame that is under way, then when to come back, and the close.
    fn last_words(&mut self, mut session: Session) -> Vec<u8> {
        if session.is_ending() {
            // It has them already.
            return session.out.gather(&self.encodings, &mut Vec::new()).to_vec();
        }
        session.out.cut(&mut self.encodings);
        let mut bytes = session.out.gather(&self.encodings, &mut Vec::new()).to_vec();
        let form = session.form;
        if session.dialect == Dialect::Native {
            let mut message = Vec::new();
            native::drain(&mut message, self.hub.settings.drain_spread_ms);
            form.frame(&message, &mut bytes);
        }
        form.close(Some(CLOSE_FAILED), WHY, &mut bytes);
        bytes
    }
}
