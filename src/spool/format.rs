//! What stands in a segment: frames of records, and how they are read back from whatever is there.
//!
//! A frame is a head (magic, length packed, length raw) and a zstd frame with its checksum. In it are records of
//! 16 bytes (kind, flag, feed, count, time) and what they count. A segment begins with a frame of one [`Head`].

use serde::{Deserialize, Serialize};
use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{Instrument, Listing, Tick};

/// What every frame begins with; the digit is the version of the format.
const MAGIC: [u8; 4] = *b"TSP1";

/// Bytes of a frame's head.
pub(super) const FRAME_HEAD: usize = 12;

/// Bytes of a record's head.
const RECORD_HEAD: usize = 16;

const TICK_BYTES: usize = TICK_WORDS * 8;

/// The most that a frame holds: what is collected, and one event of the largest size behind it.
pub(super) const MOST_RAW: usize = 64 << 20;

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Which start of the machine its times are of.
    pub(super) boot: String,
    /// Which start of the server wrote it.
    pub(super) run: u64,
}

/// An instrument, as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) id: u32,
    pub(super) venue: String,
    native: String,
    base: String,
    quote: String,
    contract: Option<String>,
    tick_size: Option<String>,
    lot_size: Option<String>,
    quotes_from_book: bool,
}

impl From<&Instrument> for Listed {
    fn from(info: &Instrument) -> Self {
        let pair = format!("{}:{}-{}-", info.venue, info.base, info.quote);
        Listed {
            id: info.id.0,
            venue: info.venue.clone(),
            native: info.native.clone(),
            base: info.base.clone(),
            quote: info.quote.clone(),
            contract: info.symbol.strip_prefix(&pair).map(str::to_owned),
            tick_size: info.tick_size.map(|step| step.to_string()),
            lot_size: info.lot_size.map(|step| step.to_string()),
            quotes_from_book: info.quotes_from_book,
        }
    }
}

impl Listed {
    pub(super) fn listing(&self) -> Listing {
        let step = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        Listing {
            native: self.native.clone(),
            base: self.base.clone(),
            quote: self.quote.clone(),
            contract: self.contract.clone(),
            tick_size: step(&self.tick_size),
            lot_size: step(&self.lot_size),
            quotes_from_book: self.quotes_from_book,
        }
    }
}

/// One thing that happened, at a time of the monotonic clock at or before which it was on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) mono_ns: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Head(Head),
    /// Instruments; `again` where those of before are among them.
    Listed {
        again: bool,
        all: Vec<Listed>,
    },
    /// Whole events of one feed.
    Ticks {
        feed: u16,
        ticks: Vec<Tick>,
    },
    /// All of an instrument at this place, as events: of use to who has not what was before.
    Snapshot {
        feed: u16,
        ticks: Vec<Tick>,
    },
    /// So many ticks are missing here.
    Gap {
        missing: u64,
    },
}

const HEAD: u8 = 0;
const LISTED: u8 = 1;
const TICKS: u8 = 2;
const SNAPSHOT: u8 = 3;
const GAP: u8 = 4;

fn put_record(out: &mut Vec<u8>, kind: u8, flag: bool, feed: u16, count: usize, mono_ns: u64) {
    out.extend_from_slice(&[kind, u8::from(flag)]);
    out.extend_from_slice(&feed.to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.extend_from_slice(&mono_ns.to_le_bytes());
}

pub(super) fn put_head(out: &mut Vec<u8>, head: &Head, mono_ns: u64) {
    put_json(out, HEAD, false, head, mono_ns);
}

pub(super) fn put_listed(out: &mut Vec<u8>, again: bool, all: &[Listed], mono_ns: u64) {
    put_json(out, LISTED, again, &all, mono_ns);
}

fn put_json(out: &mut Vec<u8>, kind: u8, flag: bool, value: &impl Serialize, mono_ns: u64) {
    // Plain structs into memory: it cannot fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    put_record(out, kind, flag, 0, text.len(), mono_ns);
    out.extend_from_slice(&text);
}

pub(super) fn put_ticks(
    out: &mut Vec<u8>,
    snapshot: bool,
    feed: u16,
    ticks: &[Tick],
    mono_ns: u64,
) {
    let kind = if snapshot { SNAPSHOT } else { TICKS };
    put_record(out, kind, false, feed, ticks.len(), mono_ns);
    out.reserve(ticks.len() * TICK_BYTES);
    for word in ticks.iter().flat_map(Tick::to_words) {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

pub(super) fn put_gap(out: &mut Vec<u8>, missing: u64, mono_ns: u64) {
    put_record(out, GAP, false, 0, size_of::<u64>(), mono_ns);
    out.extend_from_slice(&missing.to_le_bytes());
}

/// Takes the next record off; `None` where there is none, or none that is one.
pub(super) fn take(bytes: &mut &[u8]) -> Option<Record> {
    let (head, rest) = bytes.split_at_checked(RECORD_HEAD)?;
    let feed = u16::from_le_bytes([head[2], head[3]]);
    let count = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    let mono_ns = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let is_ticks = matches!(head[0], TICKS | SNAPSHOT);
    let len = if is_ticks { count.checked_mul(TICK_BYTES)? } else { count };
    let (body, rest) = rest.split_at_checked(len)?;
    let what = match head[0] {
        HEAD => What::Head(serde_json::from_slice(body).ok()?),
        LISTED => What::Listed { again: head[1] != 0, all: serde_json::from_slice(body).ok()? },
        TICKS => What::Ticks { feed, ticks: ticks(body) },
        SNAPSHOT => What::Snapshot { feed, ticks: ticks(body) },
        GAP => What::Gap { missing: u64::from_le_bytes(body.try_into().ok()?) },
        _ => return None,
    };
    *bytes = rest;
    Some(Record { mono_ns, what })
}

fn ticks(bytes: &[u8]) -> Vec<Tick> {
    let (all, _) = bytes.as_chunks::<TICK_BYTES>();
    let word = |tick: &[u8; TICK_BYTES], at: usize| {
        u64::from_le_bytes(*tick.as_chunks::<8>().0.get(at).unwrap_or(&[0; 8]))
    };
    all.iter().map(|tick| Tick::from_words(std::array::from_fn(|at| word(tick, at)))).collect()
}

/// Puts records into a frame, behind what is in `out`.
///
/// # Errors
/// zstd's: too little memory.
pub(super) fn pack(
    raw: &[u8],
    compressor: &mut zstd::bulk::Compressor<'_>,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let packed = compressor.compress(raw)?;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(())
}

/// The lengths, packed and raw, that a frame's head says; `None` where it is none.
pub(super) fn lengths(head: &[u8; FRAME_HEAD]) -> Option<(usize, usize)> {
    let number = |at: usize| {
        let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    let (packed, raw) = (number(4), number(8));
    // What does not shrink grows a little.
    let fits = raw <= MOST_RAW && packed <= raw + raw / 128 + 1_024;
    (head[..4] == MAGIC && fits).then_some((packed, raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tickcast_feeds::{Decimal, InstrumentId, Instruments, Side, Stamp, Trade};

    fn trades(count: u64) -> Vec<Tick> {
        let price = Decimal::new(7, -2);
        let trade = |id| Trade { price, size: price, id, side: Side::Sell };
        let stamp = |seq| Stamp { event: 1, recv: 2, seq };
        (0..count).map(|n| Tick::trade(InstrumentId(3), stamp(n), &trade(n))).collect()
    }

    fn all(mut bytes: &[u8]) -> Vec<Record> {
        std::iter::from_fn(|| take(&mut bytes)).collect()
    }

    #[test]
    fn records_come_back_as_they_were() {
        let instruments = Instruments::new();
        instruments.list("sim", "A", "A", "USD");
        let swap = Listing {
            contract: Some("SWAP".to_owned()),
            tick_size: "0.5".parse().ok(),
            quotes_from_book: true,
            ..Listing::pair("B", "B", "USD")
        };
        instruments.list_as("okx", &swap);
        let listed: Vec<Listed> =
            instruments.since(0).iter().map(|info| Listed::from(&**info)).collect();
        assert_eq!(listed[0].listing(), Listing::pair("A", "A", "USD"));
        assert_eq!(listed[1].listing(), swap);
        let head = Head { boot: "b".to_owned(), run: 9 };
        let ticks = trades(5);
        let mut raw = Vec::new();
        put_head(&mut raw, &head, 1);
        put_listed(&mut raw, true, &listed, 2);
        put_ticks(&mut raw, false, 4, &ticks, 3);
        put_ticks(&mut raw, true, 5, &ticks[..1], 4);
        put_gap(&mut raw, 77, 5);
        let expected = [
            What::Head(head),
            What::Listed { again: true, all: listed },
            What::Ticks { feed: 4, ticks: ticks.clone() },
            What::Snapshot { feed: 5, ticks: ticks[..1].to_vec() },
            What::Gap { missing: 77 },
        ];
        let expected: Vec<Record> =
            (1..).zip(expected).map(|(mono_ns, what)| Record { mono_ns, what }).collect();
        assert_eq!(all(&raw), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_records_and_an_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = &bytes[..];
            while take(&mut rest).is_some() {}
            prop_assert!(rest.len() <= bytes.len());
            if let Some(head) = bytes.first_chunk() {
                prop_assert!(lengths(head).is_none_or(|(_, raw)| raw <= MOST_RAW));
            }
        }

        #[test]
        fn a_record_that_is_cut_short_is_none(cut in 1_usize..80) {
            let mut raw = Vec::new();
            put_ticks(&mut raw, false, 0, &trades(1), 3);
            prop_assert_eq!(all(&raw[..raw.len() - cut]), vec![]);
        }
    }
}
