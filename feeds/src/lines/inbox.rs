//! Messages of lines that the server's control plane hands in.
//!
//! The parsing is done on the feed's own thread: the control plane only waits for the outcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use thiserror::Error;

use super::publisher::{Publisher, Terms, Told};
use crate::clock::{Clock, LONGEST_SLEEP_NS, SystemClock};
use crate::feed::{Feed, FeedError, RunContext};
use crate::instrument::Instruments;
use crate::sink::{Sink, SinkClosed};
use crate::spec::LinesSpec;

/// Messages that wait at most. Whoever hands in waits for the outcome before it hands in more: one
/// of each of 128 connections (the most that a spec allows) and the word that it has gone, and the
/// requests, of which the server takes few at a time. So it is never full but by mistake.
const WAITING: usize = 512;

/// Who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Requests: all of them are one publisher, for the next may come from anywhere.
    Requests,
    /// A connection, by its number.
    Connection(u64),
}

/// A message of one or more lines.
pub struct Post {
    /// Who it is from.
    pub source: Source,
    /// The lines; `None`: the connection has gone.
    pub lines: Option<Vec<u8>>,
    /// Called on the feed's thread with what became of it.
    pub done: Box<dyn FnOnce(Outcome) + Send>,
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines that were accepted.
    pub accepted: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// What the publisher is to be told.
    pub told: Vec<Told>,
    /// It sent rubbish and is to be closed.
    pub closed: bool,
    /// How long it is to send nothing because it is over its rate, nanoseconds. Of a request that
    /// came while this was so, no line was read.
    pub wait_ns: u64,
}

/// More messages wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many messages wait for the feed, or it has ended")]
pub struct Full;

/// Where messages are handed in. Clones lead to the same feed.
#[derive(Clone, Debug)]
pub struct Inbox(SyncSender<Post>);

impl Inbox {
    /// Hands a message in.
    ///
    /// # Errors
    /// [`Full`]; `done` is not called then.
    pub fn post(&self, post: Post) -> Result<(), Full> {
        self.0.try_send(post).map_err(|_| Full)
    }
}

/// A feed of what is handed in, and where to.
pub fn inbox(spec: LinesSpec, instruments: &Arc<Instruments>) -> (Inbox, Box<dyn Feed>) {
    let (sender, receiver) = sync_channel(WAITING);
    let feed = InboxFeed {
        terms: spec.terms(),
        spec,
        instruments: instruments.clone(),
        receiver,
        publishers: HashMap::new(),
    };
    (Inbox(sender), Box::new(feed))
}

struct InboxFeed {
    terms: Terms,
    spec: LinesSpec,
    instruments: Arc<Instruments>,
    receiver: Receiver<Post>,
    publishers: HashMap<Source, Publisher>,
}

impl InboxFeed {
    fn take(&mut self, post: Post, now: u64, sink: &mut dyn Sink) -> Result<(), SinkClosed> {
        let Post { source, lines, done } = post;
        let Some(lines) = lines else {
            if let Some(mut gone) = self.publishers.remove(&source) {
                gone.leave(now, sink);
            }
            done(Outcome::default());
            return sink.flush();
        };
        let (terms, all) = (&self.terms, &self.instruments);
        let publisher = self.publishers.entry(source).or_insert_with(|| {
            let name = match source {
                Source::Requests => "request".to_owned(),
                Source::Connection(number) => format!("connection {number}"),
            };
            Publisher::new(name, terms, all.clone(), now)
        });
        publisher.tend(now, sink);
        if source == Source::Requests {
            if publisher.debt() > 0 {
                done(Outcome { wait_ns: publisher.debt(), ..Outcome::default() });
                return Ok(());
            }
            publisher.begin();
        }
        let before = publisher.counts();
        publisher.take(&lines, now, sink);
        publisher.end(now, sink);
        let after = publisher.counts();
        // In the stream before its sender is told so.
        let flushed = sink.flush();
        done(Outcome {
            accepted: after.0 - before.0,
            rejected: after.1 - before.1,
            told: publisher.told().collect(),
            closed: publisher.is_closed(),
            wait_ns: publisher.debt(),
        });
        flushed
    }

    fn serve(&mut self, sink: &mut dyn Sink, context: &RunContext) -> Result<(), SinkClosed> {
        let clock = SystemClock::new();
        while !context.stop.is_stopped() {
            match self.receiver.recv_timeout(Duration::from_nanos(LONGEST_SLEEP_NS)) {
                Ok(post) => self.take(post, clock.now(), sink)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock.now();
            self.publishers.values_mut().for_each(|publisher| publisher.tend(now, sink));
            sink.flush()?;
        }
        let now = clock.now();
        self.publishers.values_mut().for_each(|publisher| publisher.leave(now, sink));
        sink.flush()
    }
}

impl Feed for InboxFeed {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn thread_name(&self) -> String {
        "publish".to_owned()
    }

    fn lossless(&self) -> bool {
        false
    }

    fn run(
        mut self: Box<Self>,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<(), FeedError> {
        // A closed sink is a stop.
        let _ = self.serve(sink, context);
        Ok(())
    }
}
