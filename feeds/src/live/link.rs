//! One connection's conversation: subscriptions go out at the venue's pace, messages come in, pings
//! and pongs both ways, silence is noticed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use fastwebsockets::{Frame, OpCode};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::backoff::Jitter;
use super::budget::Budget;
use super::engine::{Engine, Link};
use super::shard;
use super::socket::{Reader, Writer};
use super::stats::bump;
use crate::clock::Clock;
use crate::venue::Heard;
use crate::venue::rules::Ask;

/// A frame that cannot be written for so long is written to nobody.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A subscription that nobody confirms is taken to be one after this time: the books tell whether.
const CONFIRM_NS: u64 = 5_000_000_000;

/// For so long a younger connection and the old one both carry the data, so that nothing falls
/// between them however far apart the venue's machines are.
const OVERLAP_NS: u64 = 2_000_000_000;

/// A connection is not replaced before it is so old, whatever the venue says: one that announces its
/// end to all who come is not stormed.
const YOUTH_NS: u64 = 5_000_000_000;

/// The longest that nothing is looked at.
const LONGEST_NAP_NS: u64 = 1_000_000_000;

/// Messages in a row before the other connections get a turn.
const MESSAGES_PER_TURN: usize = 64;

/// How a conversation came to its end.
pub(super) enum End {
    /// A younger connection has taken over.
    Replaced,
    /// It broke, and a younger connection is on its way, which rings when it carries the data.
    Succeeded(String, Rc<Notify>),
    /// It broke.
    Lost(String),
}

/// What is to be done about time and by whom.
struct Talk<'e, 'a> {
    engine: &'e Engine<'a>,
    number: u16,
    link: &'e Link,
    writer: Writer,
    queue: VecDeque<String>,
    sends: Budget,
    /// When the last of the first subscriptions was sent.
    asked_ns: Option<u64>,
    confirmed_ns: Option<u64>,
    opened_ns: u64,
    heard_ns: u64,
    probed_ns: Option<u64>,
    ping_ns: u64,
    /// When a younger connection is to be opened.
    retire_ns: u64,
    /// Rung by the younger connection, when there is one.
    leave: Option<Rc<Notify>>,
}

/// Talks until the end. `predecessor` is told to go when this connection carries the data.
pub(super) async fn converse(
    engine: &Engine<'_>,
    number: u16,
    link: &Link,
    (mut reader, writer): (Reader, Writer),
    predecessor: &mut Option<Rc<Notify>>,
) -> End {
    let mut talk = Talk::new(engine, number, link, writer);
    let mut in_a_row = 0;
    loop {
        // Reading must not be given up half-way: the same read goes on whatever else happens.
        let mut reading = pin!(reader.next());
        let mut read = poll_once(reading.as_mut()).await;
        if read.is_some() && in_a_row == MESSAGES_PER_TURN {
            // The others, and what is due by the clock, also when messages never cease.
            in_a_row = 0;
            if let Err(end) = talk.due(predecessor).await {
                return end;
            }
            if poll_once(pin!(rung(talk.leave.as_deref()))).await.is_some() {
                return talk.part().await;
            }
            tokio::task::yield_now().await;
        }
        let read = loop {
            if let Some(read) = read.take() {
                break read;
            }
            in_a_row = 0;
            engine.flush();
            let nap = match talk.due(predecessor).await {
                Ok(nap) => nap,
                Err(end) => return end,
            };
            tokio::select! {
                biased;
                done = reading.as_mut() => read = Some(done),
                () = link.bell.notified() => {}
                () = rung(talk.leave.as_deref()) => return talk.part().await,
                () = sleep(nap) => {}
            }
        };
        in_a_row += 1;
        let frame = match read {
            Ok(frame) => frame,
            Err(error) => return talk.broke(&error.to_string()),
        };
        if let Err(end) = talk.heard(frame).await {
            return end;
        }
    }
}

/// The result of a future that is ready now.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

async fn rung(bell: Option<&Notify>) {
    match bell {
        Some(bell) => bell.notified().await,
        None => std::future::pending().await,
    }
}

impl<'e, 'a> Talk<'e, 'a> {
    fn new(engine: &'e Engine<'a>, number: u16, link: &'e Link, writer: Writer) -> Self {
        let now = engine.clock.now();
        let shard = &link.shard;
        let mut id = engine.request_id.get();
        let asks = engine.rules.ask(Ask::Subscribe, shard.channels, &shard.natives, &mut id);
        engine.request_id.set(id);
        Talk {
            engine,
            number,
            link,
            writer,
            queue: asks.into(),
            sends: Budget::new(engine.limits.requests),
            asked_ns: None,
            confirmed_ns: None,
            opened_ns: now,
            heard_ns: now,
            probed_ns: None,
            ping_ns: engine.limits.ping.map_or(u64::MAX, |every| now + every.as_nanos() as u64),
            retire_ns: engine.retire_after(now),
            leave: None,
        }
    }

    fn broke(&self, why: &str) -> End {
        let why = format!("connection to {} lost: {why}", self.engine.ws);
        match &self.leave {
            Some(leave) => End::Succeeded(why, leave.clone()),
            None => End::Lost(why),
        }
    }

    /// Does what is due by the clock; says how long nothing else is.
    async fn due(&mut self, predecessor: &mut Option<Rc<Notify>>) -> Result<Duration, End> {
        let mut now = self.engine.clock.now();
        let mut next = now + LONGEST_NAP_NS;
        self.queue.extend(self.link.outgoing.borrow_mut().drain(..));
        while !self.queue.is_empty() {
            match self.sends.take(now, 1) {
                Ok(()) => {
                    let text = self.queue.pop_front().unwrap_or_default();
                    self.send(Frame::text(text.into_bytes().into())).await?;
                    now = self.engine.clock.now();
                }
                Err(at) => {
                    next = next.min(at);
                    break;
                }
            }
        }
        self.link.waiting.set(self.queue.len());
        if self.queue.is_empty() && self.asked_ns.is_none() {
            self.asked_ns = Some(now);
        }
        if self.confirmed_ns.is_none() && self.asked_ns.is_some_and(|at| at + CONFIRM_NS <= now) {
            self.confirm(now);
        }
        self.keep_alive(now).await?;
        if now >= self.retire_ns && self.leave.is_none() {
            self.leave = Some(shard::replace(self.engine, &self.link.shard));
        }
        match self.confirmed_ns {
            Some(at) if predecessor.is_some() && at + OVERLAP_NS <= now => {
                if let Some(old) = predecessor.take() {
                    old.notify_one();
                }
            }
            Some(at) if predecessor.is_some() => next = next.min(at + OVERLAP_NS),
            _ => {}
        }
        for at in [self.ping_ns, self.retire_ns, self.silent_ns()] {
            if at > now {
                next = next.min(at);
            }
        }
        Ok(Duration::from_nanos(next.saturating_sub(now)))
    }

    /// When silence is to be acted upon.
    fn silent_ns(&self) -> u64 {
        self.probed_ns.unwrap_or(self.heard_ns) + self.engine.limits.silence.as_nanos() as u64
    }

    /// Pings that the venue demands, and one when nothing is heard; no answer to that is the end.
    async fn keep_alive(&mut self, now: u64) -> Result<(), End> {
        let silent = self.silent_ns() <= now;
        if silent && self.probed_ns.is_some() {
            let seconds = (now - self.heard_ns) / 1_000_000_000;
            return Err(self.broke(&format!("nothing heard for {seconds} s")));
        }
        if silent || self.ping_ns <= now {
            let mut id = self.engine.request_id.get();
            let ping = self.engine.rules.ping(&mut id);
            self.engine.request_id.set(id);
            let frame = match ping {
                Some(text) => Frame::text(text.into_bytes().into()),
                None => Frame::new(true, OpCode::Ping, None, (&b""[..]).into()),
            };
            self.send(frame).await?;
            if silent {
                self.probed_ns = Some(now);
            }
            if let Some(every) = self.engine.limits.ping {
                self.ping_ns = now + every.as_nanos() as u64;
            }
        }
        Ok(())
    }

    async fn send(&mut self, frame: Frame<'_>) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.writer.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broke(&error.to_string())),
            Err(_) => Err(self.broke("it takes no messages")),
        }
    }

    fn confirm(&mut self, now: u64) {
        self.confirmed_ns = Some(now);
        self.engine.confirmed(self.link);
    }

    /// Takes a frame from the venue.
    async fn heard(&mut self, frame: Frame<'_>) -> Result<(), End> {
        let heard = match frame.opcode {
            OpCode::Text | OpCode::Binary => self.engine.message(self.number, &frame.payload),
            OpCode::Ping => {
                self.send(Frame::pong(frame.payload)).await?;
                Heard::Alive
            }
            OpCode::Close => return Err(self.closed(&frame.payload).await),
            OpCode::Pong | OpCode::Continuation => Heard::Alive,
        };
        self.heard_ns = self.engine.clock.now();
        self.link.heard_ns.set(self.heard_ns);
        self.probed_ns = None;
        match heard {
            Heard::Alive => {}
            Heard::Confirmed if self.asked_ns.is_some() && self.confirmed_ns.is_none() => {
                self.confirm(self.heard_ns);
            }
            Heard::Confirmed => {}
            Heard::Refused => bump(&self.engine.stats.refused),
            Heard::Leaving => self.retire_ns = self.retire_ns.min(self.opened_ns + YOUTH_NS),
        }
        Ok(())
    }

    /// The venue closes; its answer is the same code.
    async fn closed(&mut self, payload: &[u8]) -> End {
        let why = match payload {
            [a, b, reason @ ..] => {
                let code = u16::from_be_bytes([*a, *b]);
                format!("closed by the venue, code {code} {}", String::from_utf8_lossy(reason))
            }
            _ => "closed by the venue".to_owned(),
        };
        let _ = self.send(Frame::close_raw(payload.into())).await;
        self.broke(&why)
    }

    /// Says goodbye: a younger connection has taken over.
    async fn part(&mut self) -> End {
        let _ = self.send(Frame::close(1000, b"")).await;
        End::Replaced
    }
}

impl Engine<'_> {
    /// When a connection that was opened now is to be replaced: some time before the venue ends it,
    /// and not all at once.
    fn retire_after(&self, now: u64) -> u64 {
        let Some(life) = self.limits.life else { return u64::MAX };
        let life = life.as_nanos() as u64;
        now + life - life / 20 - Jitter::new(now).below(life / 20 + 1)
    }
}
