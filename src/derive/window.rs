//! The last 24 hours, by the minute.
//!
//! A bucket holds the trades of one minute, and goes when all of it is older than 24 h: the window is up
//! to a minute wider. (Binance rounds its rolling windows to the minute in the same way:
//! <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>, "Individual
//! Symbol Rolling Window Statistics Streams".) Minutes without trades cost nothing.
//!
//! All windows share a budget of buckets. Once it is used up, a minute is added to its
//! predecessor's bucket while both lie in the same hour: a window has 26 buckets of its own
//! then, and is up to an hour wider.

use std::collections::VecDeque;

use tickcast_feeds::Decimal;

use super::bar::{Bar, Deal, Span, above};
use super::sum::Sum;
use crate::limits;

const MINUTE_NS: i64 = 60_000_000_000;
/// Minutes that the window holds.
const MINUTES: u32 = 24 * 60;
/// Room for the first minutes' buckets, so that a young window does not grow one by one.
const FIRST_BUCKETS: usize = 8;

/// The trades of one minute, or of some minutes of one hour. Numbers are kept apart from their
/// exponents, which makes 80 bytes of what would be 144.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Event time of the first trade.
    open_ns: i64,
    open: i64,
    high: i64,
    low: i64,
    volume: [u64; 2],
    turnover: [u64; 2],
    trades: u32,
    /// Minutes since the Unix epoch: the first that is in it.
    minute: u32,
    /// How many minutes later the last one is.
    wider: u8,
    exps: [i8; 3],
    volume_exp: i16,
    turnover_exp: i16,
}

const _: () = assert!(size_of::<Bucket>() == 80);

fn wide([low, high]: [u64; 2]) -> i128 {
    (high as i128) << 64 | i128::from(low)
}

fn narrow(value: i128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

impl Bucket {
    fn new(minute: u32, deal: &Deal) -> Self {
        let (price, exp) = (deal.price.mantissa, deal.price.exponent);
        let mut bucket = Bucket {
            open_ns: deal.at_ns,
            open: price,
            high: price,
            low: price,
            volume: [0; 2],
            turnover: [0; 2],
            trades: 0,
            minute,
            wider: 0,
            exps: [exp; 3],
            volume_exp: 0,
            turnover_exp: 0,
        };
        bucket.add(deal);
        bucket
    }

    fn add(&mut self, deal: &Deal) {
        if deal.at_ns < self.open_ns {
            (self.open_ns, self.open, self.exps[0]) =
                (deal.at_ns, deal.price.mantissa, deal.price.exponent);
        }
        if above(deal.price, self.high()) {
            (self.high, self.exps[1]) = (deal.price.mantissa, deal.price.exponent);
        }
        if above(self.low(), deal.price) {
            (self.low, self.exps[2]) = (deal.price.mantissa, deal.price.exponent);
        }
        let (mut volume, mut turnover) = (self.volume(), self.turnover());
        deal.add_to(&mut volume, &mut turnover);
        let ((volume, volume_exp), (turnover, turnover_exp)) = (volume.parts(), turnover.parts());
        (self.volume, self.volume_exp) = (narrow(volume), volume_exp);
        (self.turnover, self.turnover_exp) = (narrow(turnover), turnover_exp);
        self.trades = self.trades.saturating_add(1);
    }

    fn open(&self) -> Decimal {
        Decimal::new(self.open, self.exps[0])
    }

    fn high(&self) -> Decimal {
        Decimal::new(self.high, self.exps[1])
    }

    fn low(&self) -> Decimal {
        Decimal::new(self.low, self.exps[2])
    }

    fn volume(&self) -> Sum {
        Sum::new(wide(self.volume), self.volume_exp)
    }

    fn turnover(&self) -> Sum {
        Sum::new(wide(self.turnover), self.turnover_exp)
    }

    /// The last minute that is in it.
    fn until(&self) -> u32 {
        self.minute + u32::from(self.wider)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Window {
    /// By minute, oldest first.
    buckets: VecDeque<Bucket>,
    volume: Sum,
    turnover: Sum,
    trades: u64,
    high: Decimal,
    low: Decimal,
    last: Decimal,
    last_ns: i64,
    /// Nothing older is taken in: this minute's window has passed it.
    from: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// No trade yet.
    pub const fn new() -> Self {
        Window {
            buckets: VecDeque::new(),
            volume: Sum::ZERO,
            turnover: Sum::ZERO,
            trades: 0,
            high: Decimal::ZERO,
            low: Decimal::ZERO,
            last: Decimal::ZERO,
            last_ns: i64::MIN,
            from: 0,
        }
    }

    /// Takes a trade in; false where it is older than the window. `used` counts the buckets of all
    /// windows.
    pub fn add(&mut self, deal: &Deal, used: &mut usize) -> bool {
        let minute = (deal.at_ns / MINUTE_NS) as u32;
        if minute < self.from {
            return false;
        }
        let first = self.buckets.is_empty();
        if first || above(deal.price, self.high) {
            self.high = deal.price;
        }
        if first || above(self.low, deal.price) {
            self.low = deal.price;
        }
        deal.add_to(&mut self.volume, &mut self.turnover);
        self.trades += 1;
        if deal.at_ns >= self.last_ns {
            (self.last, self.last_ns) = (deal.price, deal.at_ns);
        }
        self.bucket(minute, deal, used);
        true
    }

    fn bucket(&mut self, minute: u32, deal: &Deal, used: &mut usize) {
        // Nearly always the newest.
        let after = self.buckets.iter().rposition(|bucket| bucket.minute <= minute);
        let at = after.map_or(0, |at| at + 1);
        if let Some(before) = after.and_then(|at| self.buckets.get_mut(at)) {
            let same_hour = before.minute / 60 == minute / 60;
            if before.until() >= minute {
                return before.add(deal);
            }
            if same_hour && *used >= limits::TICKER_BUCKETS {
                before.wider = (minute - before.minute) as u8;
                return before.add(deal);
            }
        }
        if self.buckets.capacity() == 0 {
            self.buckets.reserve(FIRST_BUCKETS);
        }
        *used += 1;
        self.buckets.insert(at, Bucket::new(minute, deal));
    }

    /// Drops what is older than 24 h at this event time; says whether anything was.
    pub fn expire(&mut self, now_ns: i64, used: &mut usize) -> bool {
        let now = u32::try_from(now_ns / MINUTE_NS).unwrap_or(0);
        self.from = self.from.max(now.saturating_sub(MINUTES));
        let (mut gone, mut extreme) = (0, false);
        while let Some(bucket) = self.buckets.front().filter(|b| b.until() < self.from) {
            gone += 1;
            extreme |= self.without(&bucket.clone());
            self.buckets.pop_front();
        }
        self.settle(gone, extreme, used);
        gone > 0
    }

    /// The source went back to this event time: what would come again is taken out.
    pub fn go_back(&mut self, to_ns: i64, used: &mut usize) {
        let minute = (to_ns / MINUTE_NS) as u32;
        let (mut gone, mut extreme) = (0, false);
        while let Some(bucket) = self.buckets.back().filter(|b| b.until() >= minute) {
            gone += 1;
            extreme |= self.without(&bucket.clone());
            self.buckets.pop_back();
        }
        self.settle(gone, extreme, used);
        self.last_ns = i64::MIN;
        self.from = self.from.min(minute.saturating_sub(MINUTES));
    }

    /// Takes a bucket's trades out of the sums; says whether it may have held the high or the low.
    fn without(&mut self, bucket: &Bucket) -> bool {
        self.volume.subtract(bucket.volume());
        self.turnover.subtract(bucket.turnover());
        self.trades -= u64::from(bucket.trades);
        bucket.high() == self.high || bucket.low() == self.low
    }

    /// After buckets went: what cannot be had by subtraction is had from those that are left.
    fn settle(&mut self, gone: usize, extreme: bool, used: &mut usize) {
        *used = used.saturating_sub(gone);
        if extreme && let Some(first) = self.buckets.front() {
            (self.high, self.low) = (first.high(), first.low());
            for bucket in &self.buckets {
                if above(bucket.high(), self.high) {
                    self.high = bucket.high();
                }
                if above(self.low, bucket.low()) {
                    self.low = bucket.low();
                }
            }
        }
        // A sum that was lost may fit again.
        if gone > 0 && !(self.volume.is_known() && self.turnover.is_known()) {
            (self.volume, self.turnover) = (Sum::ZERO, Sum::ZERO);
            for bucket in &self.buckets {
                for (sum, part) in
                    [(&mut self.volume, bucket.volume()), (&mut self.turnover, bucket.turnover())]
                {
                    let (mantissa, exponent) = part.parts();
                    if part.is_known() { sum.add(mantissa, exponent) } else { *sum = Sum::NONE }
                }
            }
        }
    }

    /// The event time at which the oldest bucket is to go.
    pub fn next_expiry(&self) -> Option<i64> {
        let oldest = self.buckets.front()?;
        Some((i64::from(oldest.until()) + i64::from(MINUTES) + 1) * MINUTE_NS)
    }

    /// How many buckets it has.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether it holds no trade.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// What its trades come to. Where all are too old, the last price stands for itself; `None`
    /// before the first trade.
    pub fn summary(&self) -> Option<Bar> {
        let price = self.last;
        let mut bar = Bar {
            span: Span::Rolling,
            start_s: u64::from(self.from) * 60,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: self.volume,
            bought: Sum::ZERO,
            turnover: self.turnover,
            trades: self.trades,
            is_final: false,
            revision: 0,
            event_ns: self.last_ns.max(0) as u64,
            recv_ns: 0,
        };
        match self.buckets.front() {
            Some(first) => {
                bar.start_s = u64::from(first.minute) * 60;
                (bar.open, bar.high, bar.low) = (first.open(), self.high, self.low);
            }
            None if self.last_ns == i64::MIN => return None,
            None => {}
        }
        Some(bar)
    }
}
