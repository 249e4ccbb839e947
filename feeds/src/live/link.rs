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

use super::answers::{Answers, Verdict};
use super::backoff::Jitter;
use super::budget::Budget;
use super::engine::{Engine, Link};
use super::refusals::Refusals;
use super::shard;
use super::socket::{Reader, Writer};
use super::stats::bump;
use crate::clock::Clock;
use crate::venue::Heard;
use crate::venue::rules::Ask;

/// A frame that cannot be written for so long is written to nobody.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// For so long a younger connection and the old one both carry the data, so that nothing falls
/// between them however far apart the venue's machines are.
const OVERLAP_NS: u64 = 2_000_000_000;

/// A venue that says that too much was asked is asked nothing for so long: longer than the window
/// in which any venue counts messages of a connection (a second).
const HASTE_NS: u64 = 2_000_000_000;
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
    refusals: Refusals,
    sends: Budget,
    /// When the last of the first subscriptions was sent.
    asked_ns: Option<u64>,
    /// The answers to them.
    answers: Answers,
    is_settled: bool,
    /// Since when it carries all that its predecessor did.
    whole_ns: Option<u64>,
    /// When all subscriptions are to be asked for again, because some were refused for haste.
    again_ns: Option<u64>,
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
        let first = engine.request_id.get();
        let asks = engine.subscriptions(link);
        let awaited = engine.rules.answers(shard.channels, &shard.natives).unwrap_or(asks.len());
        Talk {
            engine,
            number,
            link,
            writer,
            refusals: Refusals::new(first, asks.len()),
            queue: asks,
            sends: Budget::new(engine.limits.requests),
            asked_ns: None,
            answers: Answers::new(awaited),
            is_settled: false,
            whole_ns: None,
            again_ns: None,
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
        if self.again_ns.is_some_and(|at| at <= self.engine.clock.now()) {
            // The venue refuses those that it has granted, which does no harm.
            self.again_ns = None;
            self.queue.extend(self.engine.subscriptions(self.link));
        }
        let mut next = self.send_due().await?;
        let now = self.engine.clock.now();
        if self.queue.is_empty() && self.asked_ns.is_none() {
            self.asked_ns = Some(now);
        }
        self.settle(now)?;
        self.keep_alive(now).await?;
        if now >= self.retire_ns && self.leave.is_none() {
            self.leave = Some(shard::replace(self.engine, &self.link.shard));
        }
        if let Some(at) = self.whole_ns.filter(|_| predecessor.is_some()) {
            let over = at + OVERLAP_NS;
            match predecessor.take_if(|_| over <= now) {
                Some(old) => old.notify_one(),
                None => next = next.min(over),
            }
        }
        let again_ns = self.again_ns.unwrap_or(u64::MAX);
        for at in [self.ping_ns, self.retire_ns, self.silent_ns(), again_ns] {
            if at > now {
                next = next.min(at);
            }
        }
        Ok(Duration::from_nanos(next.saturating_sub(now)))
    }

    /// Sends what waits, as far as the venue's limits allow; says when there is more to be sent, at
    /// the latest.
    async fn send_due(&mut self) -> Result<u64, End> {
        let mut now = self.engine.clock.now();
        loop {
            let next = self.refusals.due().unwrap_or(u64::MAX);
            let idle = self.queue.is_empty() && self.link.broken.borrow().is_empty();
            if idle && now < next {
                return Ok(next.min(now + LONGEST_NAP_NS));
            }
            if let Err(at) = self.sends.take(now, 1) {
                return Ok(at.min(now + LONGEST_NAP_NS));
            }
            // Only now: what breaks while the pace holds us back goes along.
            if self.queue.is_empty() {
                self.queue = self.engine.resubscribe(self.link);
            }
            let part = self.refusals.next(now);
            let Some(text) = part.or_else(|| self.queue.pop_front()) else { continue };
            self.send(Frame::text(text.into_bytes().into())).await?;
            now = self.engine.clock.now();
        }
    }

    /// A subscription was refused as a whole: what it asked for is asked for part by part. What is
    /// refused by itself will not come.
    fn divide(&mut self, id: Option<u64>) {
        let Engine { rules, request_id, .. } = self.engine;
        let Some(nth) = self.refusals.refused(id) else {
            let part = self.refusals.part(id);
            let natives = part.map(|text| rules.named(&text)).unwrap_or_default();
            self.engine.refuse(self.link, &natives);
            return self.answered(false);
        };
        let shard = &self.link.shard;
        let first = request_id.get();
        let mut id = first;
        let parts = rules.singly(shard.channels, &shard.natives, nth, &mut id);
        request_id.set(id);
        if parts.is_empty() {
            // It had but one.
            let all = rules.ask(Ask::Subscribe, shard.channels, &shard.natives, &mut 0);
            let natives = all.get(nth).map(|text| rules.named(text)).unwrap_or_default();
            self.engine.refuse(self.link, &natives);
            return self.answered(false);
        }
        self.answers.divided(parts.len(), self.heard_ns);
        self.refusals.divide(first, parts, self.heard_ns);
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

    /// Looks at what was answered to the first subscriptions, parts of refused ones included.
    fn settle(&mut self, now: u64) -> Result<(), End> {
        let Some(asked_ns) = self.asked_ns.filter(|_| !self.is_settled) else { return Ok(()) };
        if self.refusals.due().is_some() {
            return Ok(());
        }
        match self.answers.verdict(asked_ns, now) {
            Verdict::Open => return Ok(()),
            Verdict::Refused => return Err(self.broke("it refuses all subscriptions")),
            Verdict::Granted { refused } => {
                self.engine.confirmed(self.link);
                let is_whole = self.link.shard.is_served_as_before(refused);
                self.link.is_whole.set(is_whole);
                self.whole_ns = is_whole.then_some(now);
            }
        }
        self.is_settled = true;
        Ok(())
    }

    /// Takes an answer to a subscription.
    fn answered(&mut self, is_granted: bool) {
        self.answers.heard(is_granted, self.heard_ns);
        if is_granted && self.asked_ns.is_some() {
            self.engine.confirmed(self.link);
        }
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
        if heard == Heard::Confirmed {
            self.refusals.confirmed();
        }
        match heard {
            Heard::Alive => {}
            Heard::Confirmed => self.answered(true),
            Heard::Refused => {
                bump(&self.engine.stats.refused);
                self.answered(false);
            }
            Heard::RefusedAll(id) => {
                bump(&self.engine.stats.refused);
                self.divide(id);
            }
            Heard::Hasty => {
                bump(&self.engine.stats.refused);
                let at = self.heard_ns + HASTE_NS;
                self.sends.block_until(at);
                self.again_ns = Some(at);
            }
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
