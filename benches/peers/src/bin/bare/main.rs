//! What the machine can do: one thread, epoll, frames encoded once, ticks made inline, nothing else.
//!
//! `bare --listen ADDRESS:PORT --symbols N --rate N copy|age MS`
//!
//! - `copy`: everything that is due is encoded, then every client that has something gets it in one send, and so on.
//! - `age MS`: a client is flushed when its oldest pending tick is so old, with everything that is pending at that
//!   moment; ticks that become due during a pass ride along.

mod client;
mod frames;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use anyhow::{Context, bail};
use client::Client;
use frames::Frames;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;
use tickcast_peers::args::Args;
use tickcast_peers::feed::{Feed, now_ns};

/// The listener's event; a client's is its index.
const LISTENER: u64 = u64::MAX;
/// Ticks that are taken at most before the next sends: the schedule may be faster than the sends.
const TICKS_PER_PASS: usize = 4_096;
/// The same when ticks may ride along.
const TICKS_PER_TURN: usize = 64;
/// Sends between two looks at the schedule.
const SENDS_PER_TURN: usize = 32;
/// Sends between two looks at the sockets.
const SENDS_PER_WAIT: usize = 512;

/// When a client that has something pending is flushed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Copy,
    /// Nanoseconds.
    Age(u64),
}

fn mode(words: &[String]) -> anyhow::Result<Mode> {
    match words {
        [word] if word == "copy" => Ok(Mode::Copy),
        [word, ms] if word == "age" => {
            let ms: f64 = ms.parse().context("age")?;
            Ok(Mode::Age((ms * 1e6) as u64))
        }
        _ => bail!("unknown mode {words:?}, expected copy or age MS"),
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::read()?;
    let mode = mode(&args.words)?;
    // To the nanosecond; the default of 50 us would be a latency of its own.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let listener = TcpListener::bind(args.listen)?;
    // The queue of std's bind is 128.
    rustix::net::listen(&listener, 4_096)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut bare = Bare {
        epoll,
        listener,
        clients: Vec::new(),
        subscribers: vec![Vec::new(); args.symbols as usize],
        feed: Feed::new(args.symbols, args.rate, now_ns()),
        frames: Frames::new(),
        queue: VecDeque::new(),
        scratch: Vec::new(),
    };
    bare.run(mode)
}

struct Bare {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By index, which is never used again.
    clients: Vec<Option<Client>>,
    /// Clients by symbol.
    subscribers: Vec<Vec<u32>>,
    feed: Feed,
    frames: Frames,
    /// Clients with something pending and when the oldest of it was due, oldest first.
    queue: VecDeque<(u64, u32)>,
    scratch: Vec<u8>,
}

impl Bare {
    fn run(&mut self, mode: Mode) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(1_024);
        loop {
            self.wait(mode, &mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    index => self.event(index as u32, event.flags),
                }
            }
            match mode {
                Mode::Copy => {
                    self.take_due(TICKS_PER_PASS);
                    while let Some((_, index)) = self.queue.pop_front() {
                        self.flush(index);
                    }
                }
                Mode::Age(age_ns) => self.flush_by_age(age_ns),
            }
        }
    }

    fn flush_by_age(&mut self, age_ns: u64) {
        let mut sends = 0;
        while sends < SENDS_PER_WAIT {
            let now = self.take_due(TICKS_PER_TURN);
            let before = sends;
            while sends < before + SENDS_PER_TURN
                && let Some(&(due, index)) = self.queue.front()
                && due + age_ns <= now
            {
                self.queue.pop_front();
                self.flush(index);
                sends += 1;
            }
            if sends == before {
                break;
            }
        }
    }

    /// Waits for sockets until something is due.
    fn wait(&self, mode: Mode, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let next = match (mode, self.queue.front()) {
            (Mode::Age(age_ns), Some((due, _))) => self.feed.due_ns().min(due + age_ns),
            _ => self.feed.due_ns(),
        };
        let left = next.saturating_sub(now_ns());
        let timeout = Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            tv_nsec: (left % 1_000_000_000) as i64,
        };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("epoll_wait"),
        }
    }

    /// Encodes ticks that are due and notes them as pending; says what time it is.
    fn take_due(&mut self, limit: usize) -> u64 {
        if self.queue.is_empty() {
            self.frames.restart();
        }
        let now = now_ns();
        for _ in 0..limit {
            if self.feed.due_ns() > now || !self.frames.has_room(self.oldest()) {
                break;
            }
            let tick = self.feed.next_tick();
            let subscribers = &self.subscribers[tick.symbol as usize];
            if subscribers.is_empty() {
                continue;
            }
            self.scratch.clear();
            self.feed.encode(&tick, now, &mut self.scratch);
            let range = self.frames.text(&self.scratch);
            for &index in subscribers {
                let Some(client) = &mut self.clients[index as usize] else { continue };
                if client.pending.is_empty() {
                    self.queue.push_back((tick.due_ns, index));
                }
                range.append_to(&mut client.pending);
            }
        }
        now
    }

    /// Where the oldest pending frame begins: clients enter the queue with their first one.
    fn oldest(&self) -> Option<u64> {
        self.queue.iter().find_map(|(_, index)| {
            self.clients[*index as usize].as_ref()?.pending.first().map(|range| range.start)
        })
    }

    fn flush(&mut self, index: u32) {
        let Some(client) = &mut self.clients[index as usize] else { return };
        if client.flush(&self.frames, &mut self.scratch, &self.epoll, index).is_err() {
            self.close(index);
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let socket =
                match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Ok(socket) => socket,
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR | Errno::CONNABORTED) => continue,
                    Err(error) => return Err(error).context("accept"),
                };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let data = EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.clients.push(Some(Client::new(socket)));
        }
    }

    fn event(&mut self, index: u32, flags: EventFlags) {
        let Some(client) = &mut self.clients[index as usize] else { return };
        let mut result = Ok(Vec::new());
        if flags.contains(EventFlags::OUT) {
            result = client.send_backlog(&self.epoll, index).map(|()| Vec::new());
        }
        if result.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            result = client.receive(&self.feed, self.subscribers.len() as u32, &mut self.scratch);
        }
        match result {
            Ok(subscribed) => {
                for symbol in subscribed {
                    let subscribers = &mut self.subscribers[symbol as usize];
                    if !subscribers.contains(&index) {
                        subscribers.push(index);
                    }
                }
            }
            Err(_) => self.close(index),
        }
    }

    fn close(&mut self, index: u32) {
        self.clients[index as usize] = None;
        for subscribers in &mut self.subscribers {
            subscribers.retain(|other| *other != index);
        }
    }
}
