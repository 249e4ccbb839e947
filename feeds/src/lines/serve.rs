//! The loop of a feed of lines: one thread, several publishers, nothing that waits for one of them.
//!
//! What bounds a publisher: while the ingest is full, [`Sink::flush`] blocks and nothing is read,
//! so that TCP holds it back; while it is over its rate, its socket alone is not read.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::publisher::{Bucket, Publisher, Terms};
use super::socket::{self, Listener, OpenError};
use crate::clock::{Clock, LONGEST_SLEEP_NS, SystemClock};
use crate::feed::{Feed, FeedError, RunContext};
use crate::instrument::Instruments;
use crate::sink::{Sink, SinkClosed};
use crate::spec::{LinesSource, LinesSpec};

/// Read at a time from one publisher, before others and the sink have their turn.
const READ_BYTES: usize = 64 << 10;

/// What waits for a publisher that does not read what it is told, in bytes; more is left out.
const TOLD_BYTES: usize = 16 << 10;

/// How long a publisher that is closed may take to notice: dropped at once, what it had sent
/// would reset the connection, and the reason would be lost.
const LINGER_NS: u64 = 2_000_000_000;

/// The first pause before dialling again, and the longest.
const BACKOFF_NS: (u64, u64) = (500_000_000, 30_000_000_000);

/// How long an attempt to connect may take.
const CONNECT_NS: u64 = 10_000_000_000;

/// Notes in the log about publishers that come and go, per second.
const NOTES_PER_SECOND: u64 = 5;

/// A feed of lines, opened.
pub struct LinesFeed {
    spec: LinesSpec,
    instruments: Arc<Instruments>,
    listener: Option<Listener>,
    stdin: Option<OwnedFd>,
}

/// A publisher and its socket.
struct Connection {
    fd: OwnedFd,
    peer: String,
    publisher: Publisher,
    /// What it is told and has not taken.
    out: Vec<u8>,
    /// It is closed and has until then to notice.
    closing: Option<u64>,
    /// The standard input is told in the log.
    is_stdin: bool,
    ended: bool,
}

/// Where to connect to, when.
struct Dialling {
    attempt: usize,
    next: u64,
    backoff: u64,
    /// Under way, and until when.
    socket: Option<(OwnedFd, u64)>,
    random: u64,
}

/// All that runs.
struct Loop<'a> {
    spec: &'a LinesSpec,
    terms: Terms,
    instruments: &'a Arc<Instruments>,
    listener: Option<Listener>,
    dialling: Option<Dialling>,
    connections: Vec<Connection>,
    notes: Bucket,
    buffer: Box<[u8]>,
}

impl LinesFeed {
    /// Opens what the spec names: an address that is taken, or one that others can reach, is told
    /// at the start. Connecting out begins with the run.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(spec: LinesSpec, instruments: &Arc<Instruments>) -> Result<Self, OpenError> {
        let (mut listener, mut stdin) = (None, None);
        match &spec.source {
            LinesSource::Listen { place, public } => {
                listener = Some(Listener::open(place, *public)?);
            }
            LinesSource::Stdin => stdin = Some(socket::stdin()?),
            LinesSource::Connect(_) | LinesSource::Publish => {}
        }
        Ok(LinesFeed { spec, instruments: instruments.clone(), listener, stdin })
    }

    /// Where it listens, which tells the port that was free for port 0.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.listener.as_ref().and_then(Listener::address)
    }
}

impl Feed for LinesFeed {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn thread_name(&self) -> String {
        "lines".to_owned()
    }

    fn lossless(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        let LinesFeed { spec, instruments, listener, stdin } = *self;
        if let Some(address) = listener.as_ref().and_then(Listener::address) {
            sink.note(false, &format!("takes lines on tcp://{address}"));
        }
        let clock = SystemClock::new();
        let now = clock.now();
        let connect = matches!(spec.source, LinesSource::Connect(_));
        let dialling = connect.then(|| Dialling {
            attempt: 0,
            next: now,
            backoff: BACKOFF_NS.0,
            socket: None,
            random: now ^ u64::from(std::process::id()) << 32 | 1,
        });
        let mut all = Loop {
            spec: &spec,
            terms: spec.terms(),
            instruments: &instruments,
            listener,
            dialling,
            connections: Vec::new(),
            notes: Bucket::new(NOTES_PER_SECOND, NOTES_PER_SECOND),
            buffer: vec![0; READ_BYTES].into(),
        };
        if let Some(fd) = stdin {
            all.admit(fd, "stdin".to_owned(), true, now);
        }
        while !context.stop.is_stopped() {
            let done = all.turn(&clock, sink);
            // A closed sink is a stop.
            let Ok(false) = done else { break };
        }
        let now = clock.now();
        all.connections.iter_mut().for_each(|one| one.publisher.leave(now, sink));
        let rubbish = all.connections.iter().any(|one| one.is_stdin && one.publisher.is_closed());
        let _ = sink.flush(); // as above
        if rubbish { Err(FeedError::Rubbish(spec.to_string())) } else { Ok(()) }
    }
}

impl Loop<'_> {
    /// One turn: waits for something to do, but not long, and does it. `true` at the end of the
    /// standard input.
    fn turn(&mut self, clock: &impl Clock, sink: &mut dyn Sink) -> Result<bool, SinkClosed> {
        let ready = self.wait();
        let now = clock.now();
        self.dial(ready.dialled, now, sink);
        if ready.listener {
            self.accept(now, sink);
        }
        for (at, events) in ready.connections {
            let one = &mut self.connections[at];
            if events.contains(PollFlags::OUT) {
                one.write();
            }
            if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                one.read(&mut self.buffer, now, sink);
                sink.flush()?;
            }
        }
        let end = self.tend(now, sink);
        sink.flush()?;
        Ok(end)
    }

    /// Waits until a socket is ready, a publisher may be read again, or a tenth of a second is
    /// over.
    fn wait(&self) -> Ready {
        let mut longest = LONGEST_SLEEP_NS;
        let (mut fds, mut which) = (Vec::new(), Vec::new());
        if let Some(listener) = &self.listener {
            fds.push(PollFd::from_borrowed_fd(listener.fd(), PollFlags::IN));
            which.push(Who::Listener);
        }
        if let Some(Dialling { socket: Some((fd, _)), .. }) = &self.dialling {
            fds.push(PollFd::new(fd, PollFlags::OUT));
            which.push(Who::Dialling);
        }
        for (at, one) in self.connections.iter().enumerate() {
            let mut events = PollFlags::empty();
            match one.publisher.debt() {
                0 => events |= PollFlags::IN,
                debt => longest = longest.min(debt),
            }
            if one.closing.is_some() {
                events |= PollFlags::IN;
            }
            if !one.out.is_empty() {
                events |= PollFlags::OUT;
            }
            // Without events poll would still tell of a hang-up, over and over.
            if !events.is_empty() {
                fds.push(PollFd::new(&one.fd, events));
                which.push(Who::Connection(at));
            }
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: longest as _ };
        let mut ready = Ready::default();
        // An error is a signal: the turn goes on with nothing ready.
        if poll(&mut fds, Some(&timeout)).is_ok() {
            for (fd, who) in fds.iter().zip(which).filter(|(fd, _)| !fd.revents().is_empty()) {
                match who {
                    Who::Listener => ready.listener = true,
                    Who::Dialling => ready.dialled = true,
                    Who::Connection(at) => ready.connections.push((at, fd.revents())),
                }
            }
        }
        ready
    }

    fn accept(&mut self, now: u64, sink: &mut dyn Sink) {
        while let Some((fd, peer)) = self.listener.as_ref().and_then(Listener::accept) {
            if self.connections.len() < self.spec.publishers {
                self.note(now, sink, false, &format!("publisher {peer} connected"));
                self.admit(fd, peer, false, now);
            } else {
                let most = self.spec.publishers;
                let line = format!(
                    "{{\"type\":\"closing\",\"line\":0,\"code\":\"full\",\"message\":\"{most} \
                     publishers are connected, that is all there may be (key `publishers`)\"}}\n"
                );
                // A new socket has room for it; a publisher that is gone again needs no reason.
                let _ = send(&fd, line.as_bytes(), SendFlags::NOSIGNAL);
                self.note(now, sink, true, &format!("publisher {peer} refused: {most} are there"));
            }
        }
    }

    fn admit(&mut self, fd: OwnedFd, peer: String, is_stdin: bool, now: u64) {
        let all = self.instruments.clone();
        let publisher = Publisher::new(peer.clone(), &self.terms, all, now);
        let (out, closing) = (Vec::new(), None);
        let one = Connection { fd, peer, publisher, out, closing, is_stdin, ended: false };
        self.connections.push(one);
    }

    /// Begins to connect where it is time, and goes on with what was begun.
    fn dial(&mut self, dialled: bool, now: u64, sink: &mut dyn Sink) {
        let (Some(dialling), LinesSource::Connect(place)) = (&mut self.dialling, &self.spec.source)
        else {
            return;
        };
        let failed = match dialling.socket.take() {
            Some((fd, _)) if dialled => match socket::connected(&fd) {
                Ok(()) => {
                    let peer = place.to_string();
                    self.note(now, sink, false, &format!("connected to {peer}"));
                    self.admit(fd, peer, false, now);
                    return;
                }
                Err(error) => error.to_string(),
            },
            Some((_, until)) if now >= until => "no answer".to_owned(),
            waiting @ Some(_) => {
                dialling.socket = waiting;
                return;
            }
            None if !self.connections.is_empty() || now < dialling.next => return,
            None => match socket::dial(place, dialling.attempt) {
                Ok(fd) => {
                    dialling.attempt += 1;
                    dialling.socket = Some((fd, now + CONNECT_NS));
                    return;
                }
                Err(error) => error.to_string(),
            },
        };
        dialling.attempt += 1;
        let pause = dialling.again(now);
        let text =
            format!("cannot connect to {place}: {failed}; again in {} ms", pause / 1_000_000);
        self.note(now, sink, true, &text);
    }

    /// Looks after clocks and ends; `true` when the standard input has ended.
    fn tend(&mut self, now: u64, sink: &mut dyn Sink) -> bool {
        let mut gone = Vec::new();
        for (at, one) in self.connections.iter_mut().enumerate() {
            one.publisher.tend(now, sink);
            one.tell(now, sink);
            if one.ended || one.closing.is_some_and(|until| now >= until) {
                gone.push(at);
            }
        }
        let mut end = false;
        for at in gone.into_iter().rev() {
            if self.connections[at].is_stdin {
                // Stays for the feed's last words.
                end = true;
                continue;
            }
            let mut one = self.connections.remove(at);
            one.publisher.leave(now, sink);
            let (accepted, rejected) = one.publisher.counts();
            let peer = &one.peer;
            let text = format!("publisher {peer} left: {accepted} lines, {rejected} rejected");
            if let Some(dialling) = &mut self.dialling {
                // One that connects and says nothing is not there yet.
                if accepted > 0 {
                    dialling.backoff = BACKOFF_NS.0;
                }
                dialling.again(now);
            }
            self.note(now, sink, false, &text);
        }
        end
    }

    fn note(&mut self, now: u64, sink: &mut dyn Sink, trouble: bool, text: &str) {
        if self.notes.try_take(now) {
            sink.note(trouble, text);
        }
    }
}

impl Dialling {
    /// Sets the time of the next attempt: half of the backoff and a random part of the other half,
    /// so that those who lost the same server do not come back in step. Answers the pause.
    fn again(&mut self, now: u64) -> u64 {
        // Marsaglia's xorshift: good enough to scatter.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let pause = self.backoff / 2 + self.random % (self.backoff / 2);
        self.backoff = (self.backoff * 2).min(BACKOFF_NS.1);
        self.next = now + pause;
        pause
    }
}

/// What a wait ended with.
#[derive(Default)]
struct Ready {
    listener: bool,
    dialled: bool,
    connections: Vec<(usize, PollFlags)>,
}

enum Who {
    Listener,
    Dialling,
    Connection(usize),
}

impl Connection {
    fn read(&mut self, buffer: &mut [u8], now: u64, sink: &mut dyn Sink) {
        match rustix::io::read(self.fd.as_fd(), &mut *buffer) {
            Ok(0) => {
                if self.closing.is_none() {
                    self.publisher.end(now, sink);
                }
                self.ended = true;
            }
            Ok(_) if self.closing.is_some() => {}
            Ok(len) => self.publisher.take(&buffer[..len], now, sink),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Hands on what the publisher is to be told, and begins to close it where it sent rubbish.
    fn tell(&mut self, now: u64, sink: &mut dyn Sink) {
        for told in self.publisher.told() {
            if self.is_stdin {
                sink.note(true, &format!("line {}: {} ({})", told.line, told.message, told.code));
            } else if self.out.len() < TOLD_BYTES {
                told.write_json(&mut self.out);
                self.out.push(b'\n');
            }
        }
        self.write();
        if self.publisher.is_closed() && self.closing.is_none() {
            if self.is_stdin {
                self.ended = true;
                return;
            }
            sink.note(true, &format!("publisher {} closed: it sends rubbish", self.peer));
            self.closing = Some(now + LINGER_NS);
        }
        if self.closing.is_some() && self.out.is_empty() {
            let _ = shutdown(&self.fd, Shutdown::Write); // it may have gone by itself
        }
    }

    fn write(&mut self) {
        while !self.out.is_empty() {
            match send(&self.fd, &self.out, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(len) => drop(self.out.drain(..len)),
                Err(Errno::AGAIN) => return,
                // It does not listen, which is no reason not to listen to it.
                Err(_) => self.out.clear(),
            }
        }
    }
}

impl From<OpenError> for FeedError {
    fn from(error: OpenError) -> Self {
        FeedError::Lines(error)
    }
}
