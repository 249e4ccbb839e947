//! From a capture's messages to its venue's parser.

use std::path::Path;
use std::sync::Arc;

use tickcast_feeds::replay::Decoder;
use tickcast_feeds::venue::{self, Context, Venue};
use tickcast_feeds::{Instruments, Sink};

/// The decoder of a capture: of the venue that its file name begins with, else of the venue whose
/// messages the first ones look like.
pub(crate) fn for_capture(path: &Path, instruments: &Arc<Instruments>) -> Box<dyn Decoder> {
    let name =
        path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let venue = venue::NAMES
        .iter()
        .find(|venue| name.starts_with(**venue))
        .and_then(|venue| venue::by_name(venue, instruments));
    Box::new(CaptureDecoder { venue, instruments: instruments.clone() })
}

struct CaptureDecoder {
    venue: Option<Box<dyn Venue>>,
    instruments: Arc<Instruments>,
}

impl Decoder for CaptureDecoder {
    fn message(&mut self, text: &[u8], recv_ns: u64, url: Option<&str>, sink: &mut dyn Sink) {
        if self.venue.is_none() {
            self.venue =
                venue::recognise(text).and_then(|name| venue::by_name(name, &self.instruments));
        }
        match &mut self.venue {
            Some(venue) => venue.message(text, recv_ns, Context { symbol: None, url }, sink),
            None => sink.reject("unknown_venue", "no known venue sends such a message", text),
        }
    }

    fn restart(&mut self) {
        if let Some(venue) = &mut self.venue {
            venue.restart();
        }
    }
}
