//! The decoder for captures of the venues that there are parsers for.

use std::sync::Arc;

use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::venue::{self, Context, Entry, VENUES, Venue};

use super::Decoder;

/// The cause under which messages are given to [`Sink::reject`] as long as no venue is recognised.
pub const UNKNOWN_VENUE: &str = "unknown venue";

/// After so many messages that no venue is recognised in, it is no longer tried: it costs a
/// parse each.
const MOST_TRIES: u32 = 1_000;

/// Finds out by a capture's first messages which venue it is of, then hands them to its parser.
pub struct VenueDecoder {
    instruments: Arc<Instruments>,
    venue: Option<Box<dyn Venue>>,
    tries: u32,
}

impl VenueDecoder {
    /// A decoder that lists the symbols it meets in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        VenueDecoder { instruments, venue: None, tries: 0 }
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
}
