//! The decoder for captures of the venues that there are parsers for.

use std::sync::Arc;

use crate::instrument::Instruments;
use crate::record::{Hole, RecordedFeed};
use crate::sink::Sink;
use crate::venue::{self, Context, Entry, Input, VENUES, Venue};

use super::Decoder;

/// The cause under which messages are given to [`Sink::reject`] as long as no venue is recognised.
pub const UNKNOWN_VENUE: &str = "unknown venue";

/// After so many messages that no venue is recognised in, it is no longer tried: it costs a
/// parse each.
const MOST_TRIES: u32 = 1_000;

/// Finds out by a capture's first messages which venue it is of, then hands them to its parser. A
/// recording says so itself.
pub struct VenueDecoder {
    instruments: Arc<Instruments>,
    venue: Option<Box<dyn Venue>>,
    tries: u32,
    /// The venue's names of what a recording lists.
    listed: Vec<Box<str>>,
}

impl VenueDecoder {
    /// A decoder that lists the symbols it meets in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        VenueDecoder { instruments, venue: None, tries: 0, listed: Vec::new() }
    }

    /// The venue that sent this: by the message, or by the URL that it answers.
    fn recognise(&mut self, text: &[u8], url: Option<&str>) -> Option<Box<dyn Venue>> {
        if self.tries == MOST_TRIES {
            return None;
        }
        self.tries += 1;
        let by_url = || {
            let (_, rest) = url?.split_once("://")?;
            // `api.binance.com`, `api.binance.us`, `api.pro.coinbase.com`: one label is the venue.
            let labels = || rest.split('/').next().into_iter().flat_map(|host| host.split('.'));
            VENUES.iter().find(|entry| labels().any(|label| label == entry.name))
        };
        let entry: &Entry = by_url().or_else(|| venue::recognise(text))?;
        Some(entry.parser(&self.instruments))
    }
}

impl Decoder for VenueDecoder {
    fn message(&mut self, text: &[u8], recv_ns: u64, url: Option<&str>, sink: &mut dyn Sink) {
        if self.venue.is_none() {
            self.venue = self.recognise(text, url);
        }
        match &mut self.venue {
            Some(venue) => {
                venue.message(text, recv_ns, Context { url, ..Context::default() }, sink);
            }
            None => {
                let names: Vec<&str> = venue::names().collect();
                let detail = format!("expected a message of {}", names.join(" or "));
                sink.reject(UNKNOWN_VENUE, &detail, text);
            }
        }
    }

    fn restart(&mut self) {
        if let Some(venue) = &mut self.venue {
            venue.restart();
        }
    }

    fn recorded(&mut self, feed: &RecordedFeed) {
        for listing in &feed.listings {
            self.instruments.list_as(feed.venue.name, listing);
            self.listed.push(listing.native.as_str().into());
        }
        self.venue = Some(feed.venue.parser(&self.instruments));
    }

    /// Nobody carries what is listed, as when a live feed has listed it: whoever subscribes now is
    /// told that it is stale, since nobody knows when.
    fn begin(&mut self, sink: &mut dyn Sink) {
        if let Some(venue) = self.venue.as_mut().filter(|_| !self.listed.is_empty()) {
            venue.lost(u16::MAX, &self.listed, 0, sink);
        }
    }

    /// What the sink refuses in a replay is of no concern: that it was refused when it was recorded
    /// is among the inputs.
    fn input(&mut self, input: &Input<'_>, recv_ns: u64, sink: &mut dyn Sink) {
        if let Some(venue) = &mut self.venue {
            input.apply(&mut **venue, recv_ns, sink);
        }
    }

    /// No book can be trusted whose diffs may be among what is missing.
    fn hole(&mut self, hole: &Hole, recv_ns: u64, sink: &mut dyn Sink) {
        if matches!(hole, Hole::Torn { .. }) {
            return;
        }
        if let Some(venue) = &mut self.venue {
            for native in &self.listed {
                venue.distrust(native, recv_ns, sink);
            }
        }
    }
}
