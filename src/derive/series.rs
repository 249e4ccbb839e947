//! All that is derived of one instrument's trades, and when clients are to be told of it.
//!
//! A bar is *open* while trades may come to it. It is closed, once, by the first trade of a later bar, or by the
//! clock: [`limits::BAR_CLOSE_DELAY`] after its end. The newest closed bar of each interval is kept: a
//! trade that comes late is still counted in it, and it is sent again, as final again, with its
//! revision; that ends when the next one closes. (So does Alpaca, by its `updatedBars`:
//! <https://docs.alpaca.markets/docs/real-time-stock-pricing-data>.) A trade that is later still is left
//! out of that interval and counted. No trade is ever put into a bar of another time, and an interval
//! without trades has no bar.
//!
//! An update of an open bar, or of the ticker, follows the one before it by
//! [`limits::BAR_UPDATE_PERIOD`] at least; what changes in between waits for that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tickcast_feeds::Tick;

use super::alarm::Alarm;
use super::bar::{Bar, Deal, Span};
use super::window::Window;
use crate::limits;

const SECOND_NS: i64 = 1_000_000_000;
const CLOSE_DELAY_NS: i64 = limits::BAR_CLOSE_DELAY.as_nanos() as i64;
const PERIOD_NS: i64 = limits::BAR_UPDATE_PERIOD.as_nanos() as i64;
const LEAP_NS: i64 = limits::TRADE_LEAP.as_nanos() as i64;
const BACK_NS: i64 = limits::RESTART_BACK.as_nanos() as i64;
const STUCK_NS: i64 = limits::LATE_TRADES_FOR.as_nanos() as i64;

/// Which spans of one instrument somebody listens to: how many reactors have a topic of it.
#[derive(Debug, Default)]
pub struct Demand([AtomicU16; Span::ALL.len()]);

impl Demand {
    /// The bits ([`Span::bit`]) of those that are wanted.
    pub fn bits(&self) -> u8 {
        let wanted = |span: &Span| self.0[*span as usize].load(Ordering::Relaxed) > 0;
        Span::ALL.iter().filter(|span| wanted(span)).map(|span| span.bit()).sum()
    }
}

/// As long as this lives, bars of its span are made known.
#[derive(Debug)]
pub struct Wanted {
    demand: Arc<Demand>,
    span: Span,
}

impl Wanted {
    /// Wants a span of the instrument whose demand this is.
    pub fn new(demand: Arc<Demand>, span: Span) -> Self {
        demand.0[span as usize].fetch_add(1, Ordering::Relaxed);
        Wanted { demand, span }
    }

    /// What is wanted.
    pub fn span(&self) -> Span {
        self.span
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.demand.0[self.span as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a series is given besides trades.
pub struct Turn<'a> {
    /// What somebody listens to, as [`Demand::bits`].
    pub wanted: u8,
    /// Buckets that all windows have.
    pub buckets: &'a mut usize,
    /// Counts trades that came too late, once for each span that they are missing from.
    pub late: &'a mut u64,
    /// Takes what is to be made known, with its sequence.
    pub emit: &'a mut dyn FnMut(&Bar, u64),
    /// Takes every bar when it is over, and again when it is revised, whoever listens.
    pub keep: &'a mut dyn FnMut(&Bar),
}

/// A bar that trades are put into.
#[derive(Clone, Copy, Debug)]
struct Growing {
    bar: Bar,
    /// Event time of the trade that opened it: an earlier one may come later.
    first_ns: i64,
}

impl Growing {
    fn new(span: Span, start_s: u64, deal: &Deal) -> Self {
        Growing { bar: Bar::new(span, start_s, deal), first_ns: deal.at_ns }
    }

    /// First and last are so by event time; of equal times, by their order here.
    fn add(&mut self, deal: &Deal) {
        if deal.at_ns < self.first_ns {
            (self.first_ns, self.bar.open) = (deal.at_ns, deal.price);
        }
        if deal.at_ns as u64 >= self.bar.event_ns {
            (self.bar.event_ns, self.bar.close) = (deal.at_ns as u64, deal.price);
        }
        self.bar.count(deal);
    }
}

/// The bars of one interval.
#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    open: Option<Growing>,
    closed: Option<Growing>,
}

/// Where a trade belongs.
enum Place {
    /// In the open bar.
    Open,
    /// In the newest closed bar.
    Closed,
    /// In a bar to be opened, after all others.
    New,
    /// In a bar of its own that is over already, between the newest closed one and the open one.
    Between,
    /// Before all that can be changed.
    Late,
}

impl Interval {
    fn place(&self, start_s: u64) -> Place {
        let start = |growing: &Option<Growing>| growing.as_ref().map(|it| it.bar.start_s);
        let (open, closed) = (start(&self.open), start(&self.closed));
        if open == Some(start_s) {
            Place::Open
        } else if closed == Some(start_s) {
            Place::Closed
        } else if open.or(closed).is_none_or(|newest| start_s > newest) {
            Place::New
        } else if closed.is_some_and(|closed| start_s > closed) {
            Place::Between
        } else {
            Place::Late
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Series {
    intervals: [Interval; Span::BARS.len()],
    window: Window,
    /// Sequence of the newest message of each span, 0 before the first.
    seqs: [u64; Span::ALL.len()],
    /// When the newest update of each span was sent, receive time.
    sent_ns: [i64; Span::ALL.len()],
    /// Bits of spans that changed since their last update.
    changed: u8,
    /// Bits of spans whose newest closed bar changed since it was sent.
    amended: u8,
    /// Bits of spans of which something was not told, for nobody listened: it has used up a sequence, so
    /// that whoever comes back sees that there was something.
    untold: u8,
    /// Event time of the newest trade, and by how much it is ahead of its receipt.
    newest_ns: i64,
    ahead_ns: i64,
    /// The source started over: the next trade may be of any time.
    restarted: bool,
    /// Trades in a row that were out of time, and the receive time of the first of them.
    late_run: u32,
    late_since_ns: i64,
    /// When somebody will call [`Series::advance`]: for who keeps the clock.
    pub alarm: Alarm,
}

// What a symbol with trades costs, beside the minutes of its window.
const _: () = assert!(size_of::<Series>() <= 2_560);

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

impl Series {
    /// No trade yet.
    pub const fn new() -> Self {
        Series {
            intervals: [Interval { open: None, closed: None }; Span::BARS.len()],
            window: Window::new(),
            seqs: [0; Span::ALL.len()],
            sent_ns: [i64::MIN; Span::ALL.len()],
            changed: 0,
            amended: 0,
            untold: 0,
            newest_ns: 0,
            ahead_ns: 0,
            restarted: false,
            late_run: 0,
            late_since_ns: 0,
            alarm: Alarm::new(),
        }
    }

    /// Takes a trade in, and makes known what may be now.
    pub fn trade(&mut self, trade: &Tick, turn: &mut Turn<'_>) {
        let deal = Deal::new(trade);
        if std::mem::take(&mut self.restarted) || self.is_stuck(deal.recv_ns) {
            self.start_over(&deal, turn);
        } else if self.leaps(&deal) {
            *turn.late += Span::ALL.len() as u64;
            return self.note_late(deal.recv_ns);
        }
        if deal.at_ns >= self.newest_ns {
            (self.newest_ns, self.ahead_ns) = (deal.at_ns, deal.at_ns - deal.recv_ns);
        }
        let at_s = (deal.at_ns / SECOND_NS) as u64;
        let mut late = 0;
        for span in Span::BARS {
            late += u64::from(!self.put(span, at_s - at_s % span.seconds(), &deal, turn));
        }
        if late == 0 {
            self.late_run = 0;
        } else {
            self.note_late(deal.recv_ns);
        }
        if self.window.add(&deal, turn.buckets) {
            self.changed |= Span::Rolling.bit();
        } else {
            late += 1;
        }
        *turn.late += late;
        self.send(deal.recv_ns, turn);
    }

    /// Puts a trade into its bar; false where it is too late for that.
    fn put(&mut self, span: Span, start_s: u64, deal: &Deal, turn: &mut Turn<'_>) -> bool {
        let interval = &mut self.intervals[span as usize];
        match (interval.place(start_s), &mut interval.open, &mut interval.closed) {
            (Place::Open, Some(open), _) => {
                open.add(deal);
                self.changed |= span.bit();
            }
            (Place::Closed, _, Some(closed)) => {
                closed.add(deal);
                self.amended |= span.bit();
            }
            (Place::New, ..) => {
                self.close(span, deal.recv_ns, turn);
                let open = Growing::new(span, start_s, deal);
                self.intervals[span as usize].open = Some(open);
                self.changed |= span.bit();
            }
            (Place::Between, ..) => {
                let mut over = Growing::new(span, start_s, deal);
                over.bar.is_final = true;
                self.send_amended(span, deal.recv_ns, turn);
                self.tell_closed(&over.bar, deal.recv_ns, turn);
                self.intervals[span as usize].closed = Some(over);
            }
            _ => return false,
        }
        true
    }

    /// Closes the open bar, if there is one, and makes it known: whole, and for the first time.
    fn close(&mut self, span: Span, at_ns: i64, turn: &mut Turn<'_>) {
        let interval = &mut self.intervals[span as usize];
        let Some(mut open) = interval.open.take() else { return };
        self.send_amended(span, at_ns, turn);
        open.bar.is_final = true;
        self.changed &= !span.bit();
        self.tell_closed(&open.bar, at_ns, turn);
        self.intervals[span as usize].closed = Some(open);
    }

    fn send_amended(&mut self, span: Span, at_ns: i64, turn: &mut Turn<'_>) {
        let amended = self.amended & span.bit() != 0;
        self.amended &= !span.bit();
        if let Some(closed) = &mut self.intervals[span as usize].closed
            && amended
        {
            closed.bar.revision = closed.bar.revision.saturating_add(1);
            let bar = closed.bar;
            self.tell_closed(&bar, at_ns, turn);
        }
    }

    fn tell_closed(&mut self, bar: &Bar, at_ns: i64, turn: &mut Turn<'_>) {
        (turn.keep)(&Bar { recv_ns: at_ns.max(0) as u64, ..*bar });
        self.emit(bar, at_ns, turn);
    }

    fn emit(&mut self, bar: &Bar, at_ns: i64, turn: &mut Turn<'_>) {
        if turn.wanted & bar.span.bit() == 0 {
            return self.pass_over(bar.span.bit());
        }
        self.untold &= !bar.span.bit();
        let seq = &mut self.seqs[bar.span as usize];
        *seq += 1;
        (turn.emit)(&Bar { recv_ns: at_ns.max(0) as u64, ..*bar }, *seq);
    }

    /// Something of these spans is not told; one sequence stands for all of it.
    fn pass_over(&mut self, spans: u8) {
        let first = spans & !self.untold;
        if first == 0 {
            return;
        }
        self.untold |= first;
        for span in Span::ALL.into_iter().filter(|span| first & span.bit() != 0) {
            self.seqs[span as usize] += 1;
        }
    }

    /// Sends what changed and was not sent too recently.
    fn send(&mut self, at_ns: i64, turn: &mut Turn<'_>) {
        self.pass_over(self.changed & !turn.wanted);
        self.changed &= turn.wanted;
        if (self.changed | self.amended) == 0 {
            return;
        }
        for span in Span::ALL {
            let bit = span.bit();
            let sent_ns = self.sent_ns[span as usize];
            // A clock that went back has sent nothing yet.
            let early = at_ns >= sent_ns && at_ns < sent_ns.saturating_add(PERIOD_NS);
            if (self.changed | self.amended) & bit == 0 || early {
                continue;
            }
            self.sent_ns[span as usize] = at_ns;
            if self.amended & bit != 0 {
                self.send_amended(span, at_ns, turn);
            }
            if self.changed & bit != 0 {
                self.changed &= !bit;
                if let Some(bar) = self.newest(span) {
                    self.emit(&bar, at_ns, turn);
                }
            }
        }
    }

    fn newest(&self, span: Span) -> Option<Bar> {
        match self.intervals.get(span as usize) {
            Some(interval) => interval.open.or(interval.closed).map(|growing| growing.bar),
            None => self.window.summary(),
        }
    }

    /// It is this receive time: what is over is closed, what is too old goes, what waited is sent.
    pub fn advance(&mut self, at_ns: i64, turn: &mut Turn<'_>) {
        let event_ns = at_ns.saturating_add(self.ahead_ns);
        for span in Span::BARS {
            let open = &self.intervals[span as usize].open;
            if open.is_some_and(|open| end_ns(&open.bar) <= event_ns) {
                self.close(span, at_ns, turn);
            }
        }
        if self.window.expire(event_ns, turn.buckets) {
            self.changed |= Span::Rolling.bit();
        }
        self.send(at_ns, turn);
    }

    /// The receive time at which [`Series::advance`] has something to do.
    pub fn due(&self) -> Option<i64> {
        let open = self.intervals.iter().filter_map(|interval| interval.open.as_ref());
        let ends = open.map(|open| end_ns(&open.bar));
        let by_event = ends.chain(self.window.next_expiry()).min();
        let by_event = by_event.map(|ns| ns.saturating_sub(self.ahead_ns));
        let waiting = self.changed | self.amended;
        if waiting == 0 {
            return by_event;
        }
        let waits = Span::ALL.into_iter().filter(|span| waiting & span.bit() != 0);
        let by_recv = waits.map(|span| self.sent_ns[span as usize].saturating_add(PERIOD_NS));
        by_event.into_iter().chain(by_recv).min()
    }

    /// The source starts over: the next trade may be of any time.
    pub fn restart(&mut self) {
        self.restarted = true;
    }

    /// Whether a trade's time is far beyond what has passed since the newest one.
    fn leaps(&self, deal: &Deal) -> bool {
        let ahead_ns = deal.at_ns - deal.recv_ns;
        self.newest_ns != 0 && ahead_ns.saturating_sub(self.ahead_ns) > LEAP_NS
    }

    fn note_late(&mut self, recv_ns: i64) {
        if self.late_run == 0 {
            self.late_since_ns = recv_ns;
        }
        self.late_run = self.late_run.saturating_add(1);
    }

    /// Whether trades have been out of time for so long that the time of the bars must be wrong: a
    /// first trade of next year would otherwise be the last one until then.
    fn is_stuck(&self, recv_ns: i64) -> bool {
        self.late_run >= limits::LATE_TRADES
            && (recv_ns - self.late_since_ns >= STUCK_NS || recv_ns < self.late_since_ns)
    }

    /// If this trade is well before the newest one, or far beyond it, everything begins anew with it; the open
    /// bars end as they are. If not, time simply goes on.
    fn start_over(&mut self, deal: &Deal, turn: &mut Turn<'_>) {
        if deal.at_ns >= self.newest_ns - BACK_NS && !self.leaps(deal) {
            return;
        }
        for span in Span::BARS {
            self.close(span, deal.recv_ns, turn);
            self.send_amended(span, deal.recv_ns, turn);
            self.intervals[span as usize] = Interval::default();
        }
        self.window.go_back(deal.at_ns, turn.buckets);
        self.newest_ns = 0;
        self.late_run = 0;
    }

    /// Somebody takes a snapshot of a span, and listens from now on: what is not told after they leave
    /// counts anew.
    pub fn listened(&mut self, span: Span) {
        self.untold &= !span.bit();
    }

    /// The bar of an interval that is not over; none of [`Span::Rolling`].
    pub fn open(&self, span: Span) -> Option<Bar> {
        self.intervals.get(span as usize)?.open.map(|growing| growing.bar)
    }

    /// The newest bar of a span, and the sequence of the newest message about it: what a
    /// subscriber begins with. The last one that closed where none is open.
    pub fn snapshot(&self, span: Span) -> (Option<Bar>, u64) {
        (self.newest(span), self.seqs[span as usize])
    }
}

/// When a bar is over by the clock, event time.
fn end_ns(bar: &Bar) -> i64 {
    bar.end_s() as i64 * SECOND_NS + CLOSE_DELAY_NS
}
