//! A series against naive sums over the trades that it was given.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickcast_feeds::{Decimal, InstrumentId, Side, Stamp, Tick, Trade};

use super::bar::Deal;
use super::{BAR_TICKS, Bar, Series, Span, Sum, Turn, Window};
use crate::limits;

const MS: i64 = 1_000_000;
/// 2024-08-08 23:54:00.5 UTC.
const BEGIN_MS: i64 = 1_723_161_240_500;
const ALL: u8 = 0b1_1111;

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A trade at an event time, received at another; milliseconds since [`BEGIN_MS`].
fn trade_at(at_ms: i64, recv_ms: i64, price: &str, size: &str, side: Side) -> Tick {
    let ns = |ms: i64| ((BEGIN_MS + ms) * MS) as u64;
    let trade = Trade { price: dec(price), size: dec(size), id: 0, side };
    let stamp = Stamp { event: ns(at_ms), recv: ns(recv_ms), seq: 0 };
    Tick::trade(InstrumentId(0), stamp, &trade)
}

fn trade(at_ms: i64, price: &str, size: &str) -> Tick {
    trade_at(at_ms, at_ms, price, size, Side::Buy)
}

/// A series and all that it has made known.
struct Run {
    series: Series,
    wanted: u8,
    buckets: usize,
    late: u64,
    sent: Vec<(Bar, u64)>,
    /// All bars that were over, revised ones again.
    kept: Vec<Bar>,
}

impl Run {
    fn new() -> Self {
        Run {
            series: Series::new(),
            wanted: ALL,
            buckets: 0,
            late: 0,
            sent: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn turn(&mut self, with: impl FnOnce(&mut Series, &mut Turn<'_>)) {
        let Run { series, wanted, buckets, late, sent, kept } = self;
        let emit = &mut |bar: &Bar, seq| sent.push((*bar, seq));
        let keep = &mut |bar: &Bar| kept.push(*bar);
        with(series, &mut Turn { wanted: *wanted, buckets, late, emit, keep });
    }

    fn advance_ns(&mut self, ns: i64) {
        self.turn(|series, turn| series.advance(ns, turn));
    }

    fn advance(&mut self, ms: i64) {
        self.advance_ns((BEGIN_MS + ms) * MS);
    }

    /// Does all that is due up to then, each when it is.
    fn clock(&mut self, ns: i64) {
        while let Some(due_ns) = self.series.due().filter(|&due_ns| due_ns <= ns) {
            self.advance_ns(due_ns);
        }
    }

    fn trade(&mut self, trade: &Tick) {
        self.turn(|series, turn| series.trade(trade, turn));
    }

    /// What was sent of a span since the last call, in short: start of its bar in seconds since
    /// the beginning, trades, close, and how it ends.
    fn sent(&mut self, span: Span) -> Vec<String> {
        let short = |bar: &Bar| {
            let start = bar.start_s as i64 - BEGIN_MS / 1000;
            let end = match (bar.is_final, bar.revision) {
                (false, _) => String::new(),
                (true, 0) => "!".to_owned(),
                (true, revision) => format!("!{revision}"),
            };
            format!("{start}: {} at {}{end}", bar.trades, bar.close)
        };
        let sent = std::mem::take(&mut self.sent);
        sent.iter().filter(|(bar, _)| bar.span == span).map(|(bar, _)| short(bar)).collect()
    }
}

#[test]
fn an_open_bar_is_told_of_at_most_four_times_a_second_and_once_when_it_is_over() {
    let mut run = Run::new();
    run.trade(&trade(0, "10", "1"));
    assert_eq!(run.sent(Span::Second), ["0: 1 at 10"]);
    for (ms, price) in [(10, "11"), (20, "12"), (240, "13")] {
        run.trade(&trade(ms, price, "1"));
    }
    assert_eq!(run.sent(Span::Second), [""; 0], "too soon");
    assert_eq!(run.series.due(), Some((BEGIN_MS + 250) * MS));
    run.advance(250);
    assert_eq!(run.sent(Span::Second), ["0: 4 at 13"], "what waited");
    run.advance(400);
    assert_eq!(run.sent(Span::Second), [""; 0], "nothing changed");
    // It ends at 500 ms, and by the clock half a second later; a minute does then not.
    assert_eq!(run.series.due(), Some((BEGIN_MS + 1000) * MS));
    run.advance(999);
    assert!(run.sent.is_empty());
    run.advance(1000);
    assert_eq!(run.sent.len(), 1);
    assert_eq!(run.sent(Span::Second), ["0: 4 at 13!"]);
    // The first trade of a later bar closes it at once.
    run.trade(&trade(3_600, "14", "1"));
    run.trade(&trade(3_700, "15", "1"));
    run.trade(&trade(5_000, "16", "1"));
    assert_eq!(
        run.sent(Span::Second),
        ["4: 1 at 14", "4: 2 at 15!", "5: 1 at 16"],
        "no bars of empty seconds"
    );
}

#[test]
fn a_late_trade_amends_the_newest_closed_bar_and_no_other() {
    let mut run = Run::new();
    run.trade(&trade(0, "10", "1"));
    run.trade(&trade(600, "11", "1"));
    run.sent(Span::Second);
    // Between the two in time: they open and close nothing.
    run.trade(&trade_at(100, 650, "12", "1", Side::Buy));
    run.trade(&trade_at(50, 660, "9", "1", Side::Buy));
    assert_eq!(run.sent(Span::Second), [""; 0], "too soon");
    run.advance(850);
    assert_eq!(run.sent(Span::Second), ["0: 3 at 12!1"]);
    assert_eq!(run.late, 0);
    // In a second that had no bar, when a later one is open: it is over already.
    run.trade(&trade(3_600, "13", "1"));
    run.sent(Span::Second);
    run.trade(&trade_at(2_000, 3_700, "14", "1", Side::Buy));
    assert_eq!(run.sent(Span::Second), ["2: 1 at 14!"]);
    // Too late for its second; its minute takes it.
    run.trade(&trade_at(0, 3_800, "99", "1", Side::Buy));
    assert_eq!((run.sent(Span::Second).len(), run.late), (0, 1));
    let (minute, _) = run.series.snapshot(Span::Minute);
    assert_eq!(minute.map(|bar| (bar.trades, bar.high)), Some((7, dec("99"))));
}

#[test]
fn an_amended_bar_is_told_of_before_the_next_one_takes_its_place() {
    let mut run = Run::new();
    for (at_ms, recv_ms, price) in
        [(450, 450, "10"), (1_400, 1_400, "11"), (460, 1_450, "12"), (1_500, 1_500, "14")]
    {
        run.trade(&trade_at(at_ms, recv_ms, price, "1", Side::Buy));
    }
    let before = ["0: 1 at 10", "0: 1 at 10!", "1: 1 at 11"];
    let then = ["0: 2 at 12!1", "1: 1 at 11!"];
    assert_eq!(run.sent(Span::Second), [&before[..], &then[..]].concat());
}

#[test]
fn a_venue_s_clock_and_a_capture_s_year_do_not_matter() {
    // Events are stamped 15 minutes before they come, as a delayed feed's are, or ahead of that.
    for lag_ms in [900_000, -1_270] {
        let mut run = Run::new();
        run.trade(&trade_at(0, lag_ms, "10", "1", Side::Sell));
        run.trade(&trade_at(400, lag_ms + 400, "11", "1", Side::Sell));
        run.sent(Span::Second);
        run.clock((BEGIN_MS + lag_ms + 999) * MS);
        assert_eq!(run.sent(Span::Second), [""; 0]);
        run.clock((BEGIN_MS + lag_ms + 1000) * MS);
        assert_eq!(run.sent(Span::Second), ["0: 2 at 11!"]);
    }
    // Without a venue's time, that of the receipt says where a trade belongs.
    let mut run = Run::new();
    let mut tick = trade(700, "10", "1");
    tick.ts_event = 0;
    run.trade(&tick);
    assert_eq!(run.sent(Span::Second), ["1: 1 at 10"]);
    // And stamps that are nonsense do no harm.
    tick.ts_event = u64::MAX;
    run.trade(&tick);
    (tick.ts_event, tick.ts_recv) = (u64::MAX, u64::MAX);
    run.trade(&tick);
    run.advance_ns(i64::MAX);
}

#[test]
fn a_source_that_starts_over_begins_anew_if_its_times_go_back() {
    let loops = |times: &[i64]| {
        let mut run = Run::new();
        for &ms in times {
            run.trade(&trade(ms, "10", "1"));
            run.trade(&trade(ms + 5_000, "11", "1"));
            run.series.restart();
        }
        run
    };
    let mut back = loops(&[0, 0]);
    let hours: Vec<String> = back.sent(Span::Hour);
    // Hours begin at 23:00: 3,240 s earlier.
    assert_eq!(hours[..2], ["-3240: 1 at 10", "-3240: 2 at 11"]);
    let anew = ["-3240: 2 at 11!", "-3240: 1 at 10", "-3240: 2 at 11"];
    assert_eq!(hours[2..], anew, "closed and begun anew");
    assert_eq!((back.late, back.series.snapshot(Span::Rolling).0.unwrap().trades), (0, 2));

    // Laid on the present, the second pass simply goes on, even if it overlaps a little.
    let mut on = loops(&[0, 4_900, 60_000]);
    assert_eq!(on.late, 0);
    assert_eq!(on.series.snapshot(Span::Rolling).0.unwrap().trades, 6);
    assert_eq!(on.sent(Span::Hour).last().unwrap(), "-3240: 6 at 11");
}

#[test]
fn one_trade_of_next_year_is_not_the_last_one_until_then() {
    const YEAR_MS: i64 = 31_536_000_000;
    let of_next_year = |recv_ms| trade_at(YEAR_MS, recv_ms, "666", "1", Side::Buy);
    let mut run = Run::new();
    run.trade(&trade(0, "10", "1"));
    run.trade(&of_next_year(100));
    run.trade(&trade(300, "11", "1"));
    assert_eq!(run.sent(Span::Second), ["0: 1 at 10", "0: 2 at 11"]);
    assert_eq!(run.late, 5, "of all bars and of the ticker");
    // If it is the first, its time is believed for a while.
    let mut run = Run::new();
    run.trade(&of_next_year(0));
    let mut dropped = 0;
    for ms in (100..).step_by(400) {
        assert!(ms < 60_000);
        run.trade(&trade(ms, "11", "1"));
        if run.sent(Span::Second).iter().any(|bar| bar.ends_with("at 11")) {
            break;
        }
        dropped += 1;
    }
    assert!((25..40).contains(&dropped), "{dropped} in some ten seconds");
    let (ticker, _) = run.series.snapshot(Span::Rolling);
    assert!(ticker.is_some_and(|day| day.high < dec("666")), "{ticker:?}");
    // A venue that sets its clock right is believed as soon.
    let ahead = (0..100).map(|i| i * 400 + 100_000);
    ahead.for_each(|ms| run.trade(&trade_at(ms + 7_200_000, ms, "12", "1", Side::Buy)));
    let (bar, _) = run.series.snapshot(Span::Second);
    assert!(bar.is_some_and(|bar| bar.close == dec("12")), "{bar:?}");
    // A burst of what was missed during a break does not take the bars back with it.
    let mut run = Run::new();
    run.trade(&trade(100_000, "10", "1"));
    run.trade(&trade(101_000, "10", "1"));
    (0..100).for_each(|ms| run.trade(&trade_at(ms, 101_001 + ms, "11", "1", Side::Buy)));
    run.trade(&trade(101_200, "12", "1"));
    let (bar, _) = run.series.snapshot(Span::Second);
    assert_eq!(bar.map(|bar| (bar.trades, bar.close)), Some((2, dec("12"))));
}

#[test]
fn what_nobody_listens_to_is_kept_and_not_told() {
    let mut run = Run::new();
    run.wanted = Span::Minute.bit();
    run.trade(&trade(0, "10", "1"));
    run.trade(&trade(70_000, "11", "1"));
    assert_eq!(run.sent.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(run.sent.iter().all(|(bar, _)| bar.span == Span::Minute));
    let (bar, seq) = run.series.snapshot(Span::Second);
    assert_eq!((bar.map(|bar| bar.close), seq), (Some(dec("11")), 1), "one stands for all that");
    // Who begins to listen is told of what happens from then on.
    run.wanted = ALL;
    run.sent.clear();
    run.advance(80_000);
    assert_eq!(run.sent(Span::Second), ["70: 1 at 11!"]);
}

#[test]
fn a_bar_is_the_same_after_the_ring() {
    let deal = Deal::new(&trade_at(0, 9, "-12.5", "0.001", Side::Buy));
    let mut bar = Bar::new(Span::FiveMinutes, 1_723_161_000, &deal);
    (bar.high, bar.low) = (dec("1e3"), dec("0.00000001"));
    (bar.is_final, bar.revision, bar.trades) = (true, 255, (1 << 40) - 1);
    (bar.volume, bar.bought) = (Sum::new(i128::MAX, -3), Sum::new(-5, -3));
    bar.turnover = Sum::new(i128::MIN, -20);
    let ticks = bar.to_ticks(InstrumentId(7), 9);
    let ring: Vec<Tick> = ticks.iter().map(|tick| Tick::from_words(tick.to_words())).collect();
    assert_eq!((ring.len(), Bar::from_ticks(&ring)), (BAR_TICKS, Some(bar)));
    assert!(ring.iter().all(|tick| (tick.seq, tick.instrument.0) == (9, 7)));
    // What left its bits has no value, on the other side either.
    (bar.volume, bar.turnover) = (Sum::NONE, Sum::NONE);
    let back = Bar::from_ticks(&bar.to_ticks(InstrumentId(7), 9)).unwrap();
    assert_eq!([back.volume, back.bought, back.turnover], [Sum::NONE; 3]);
    assert_eq!(Bar::from_ticks(&ring[..2]), None);
    assert_eq!(Bar::from_ticks(&[trade(0, "1", "1"); 3]), None);
}

#[test]
fn a_sum_that_does_not_fit_is_left_out_and_comes_back_when_it_fits_again() {
    let mut run = Run::new();
    run.trade(&trade(0, "1", "1e100"));
    run.trade(&trade(1, "1", "1e-100"));
    let (bar, _) = run.series.snapshot(Span::Minute);
    let bar = bar.unwrap();
    assert_eq!((bar.volume, bar.turnover, bar.trades), (Sum::NONE, Sum::NONE, 2));
    run.trade(&trade(3_600_000, "1", "2"));
    run.advance(86_400_000 + 120_000);
    let (day, _) = run.series.snapshot(Span::Rolling);
    assert_eq!(day.map(|day| (day.trades, day.volume)), Some((1, Sum::new(2, 0))));
}

#[test]
fn windows_that_have_used_up_their_buckets_share_them_by_the_hour() {
    let mut window = Window::new();
    let mut used = limits::TICKER_BUCKETS;
    for minute in 0..3_000 {
        let deal = Deal::new(&trade(minute * 60_000, "10", "1"));
        assert!(window.add(&deal, &mut used));
        window.expire(deal.at_ns, &mut used);
    }
    assert!(window.len() <= 26, "{}", window.len());
    assert_eq!(used, limits::TICKER_BUCKETS + window.len());
    let day = window.summary().unwrap();
    assert!((1_440..=1_500).contains(&day.trades), "{}", day.trades);
    // Too old for the window.
    assert!(!window.add(&Deal::new(&trade(0, "10", "1")), &mut used));
}

/// One trade of a made-up market.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// Milliseconds since the one before it, of their receipts.
    gap_ms: i64,
    /// How much longer than the fastest it was under way.
    delay_ms: i64,
    price: i64,
    size: i64,
    /// Places of the quantity.
    places: i8,
    bought: bool,
}

fn made(gap_ms: impl Strategy<Value = i64>) -> impl Strategy<Value = Made> {
    (gap_ms, 0..300i64, 9_000..11_000i64, 0..50i64, 0..4i8, any::<bool>()).prop_map(
        |(gap_ms, delay_ms, price, size, places, bought)| Made {
            gap_ms,
            delay_ms,
            price,
            size,
            places,
            bought,
        },
    )
}

/// What a bar of these trades (event time and trade, in order of arrival) is, all in whole numbers:
/// open, high, low, close in hundredths; volume, bought, turnover in 10^-5; trades.
fn naive(trades: &[(i64, Made)]) -> [i128; 8] {
    let price = |made: &Made| i128::from(made.price);
    let size = |made: &Made| i128::from(made.size) * 10i128.pow(3 - made.places as u32);
    let mut by_time = trades.to_vec();
    by_time.sort_by_key(|(at, _)| *at); // stable
    let all = || trades.iter().map(|(_, made)| made);
    let (first, last) = (by_time[0].1, by_time[by_time.len() - 1].1);
    [
        price(&first),
        all().map(price).max().unwrap(),
        all().map(price).min().unwrap(),
        price(&last),
        all().map(size).sum::<i128>() * 100,
        all().filter(|made| made.bought).map(size).sum::<i128>() * 100,
        all().map(|made| price(made) * size(made)).sum(),
        trades.len() as i128,
    ]
}

fn numbers(bar: &Bar) -> [i128; 8] {
    let price = |price: Decimal| price.rescale(-2).unwrap().into();
    let sum = |sum: Sum| sum.at(-5).unwrap();
    [
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        sum(bar.volume),
        sum(bar.bought),
        sum(bar.turnover),
        bar.trades.into(),
    ]
}

fn tick(made: &Made, at_ms: i64, recv_ms: i64) -> Tick {
    let ns = |ms: i64| ((BEGIN_MS + ms) * MS) as u64;
    let price = Decimal::new(made.price, -2);
    let size = Decimal::new(made.size, -made.places);
    let side = if made.bought { Side::Buy } else { Side::Sell };
    let stamp = Stamp { event: ns(at_ms), recv: ns(recv_ms), seq: 0 };
    Tick::trade(InstrumentId(0), stamp, &Trade { price, size, id: 0, side })
}

/// What holds of any stream of bars of one span.
fn check_stream(sent: &[(Bar, u64)]) -> BTreeMap<u64, Bar> {
    let mut last = BTreeMap::new();
    let mut updated_ns = None;
    for (place, (bar, seq)) in sent.iter().enumerate() {
        assert_eq!(*seq, place as u64 + 1);
        let before = last.insert(bar.start_s, *bar);
        if bar.is_final {
            let revisions = before.filter(|before| before.is_final).map(|b| b.revision + 1);
            assert_eq!(bar.revision, revisions.unwrap_or(0), "{bar:?}");
        } else {
            assert!(before.is_none_or(|before| !before.is_final), "{bar:?}");
            assert_eq!(last.last_key_value().map(|(start, _)| *start), Some(bar.start_s));
            let since = updated_ns.replace(bar.recv_ns).map_or(u64::MAX, |ns| bar.recv_ns - ns);
            assert!(since >= limits::BAR_UPDATE_PERIOD.as_nanos() as u64, "{since}");
        }
    }
    last
}

proptest! {
    /// Trades that overtake each other by less than a third of a second: every bar is exact in
    /// the end, and nothing is too late.
    #[test]
    fn bars_are_what_their_trades_come_to(
        all in prop::collection::vec(made(prop_oneof![0..50i64, 0..3_000i64, 0..200_000i64]), 1..120)
    ) {
        let mut run = Run::new();
        let mut trades = Vec::new();
        let mut recv_ms = 1_270;
        for (place, made) in all.iter().enumerate() {
            recv_ms += made.gap_ms;
            // The first one is not late: what was before it is not known.
            let delay_ms = if place == 0 { 299 } else { made.delay_ms };
            let at_ms = recv_ms - 1_270 + 299 - delay_ms;
            run.clock((BEGIN_MS + recv_ms) * MS);
            run.trade(&tick(made, at_ms, recv_ms));
            trades.push((at_ms, *made));
        }
        run.clock((BEGIN_MS + recv_ms + 3_700_000) * MS);
        prop_assert_eq!(run.late, 0);
        for span in Span::BARS {
            let sent: Vec<_> =
                run.sent.iter().filter(|(bar, _)| bar.span == span).copied().collect();
            let last = check_stream(&sent);
            let mut expected: BTreeMap<u64, Vec<(i64, Made)>> = BTreeMap::new();
            for &(at_ms, made) in &trades {
                let at_s = ((BEGIN_MS + at_ms) / 1000) as u64;
                expected.entry(at_s - at_s % span.seconds()).or_default().push((at_ms, made));
            }
            prop_assert!(last.values().all(|bar| bar.is_final));
            prop_assert!(last.keys().eq(expected.keys()), "{:?}", span);
            for (start_s, trades) in &expected {
                prop_assert_eq!(numbers(&last[start_s]), naive(trades), "{:?} {}", span, start_s);
            }
        }
    }

    /// Whatever order trades come in, and however far apart: what is counted as too late is exactly
    /// what is missing, and bars hold trades of their own time only.
    #[test]
    fn no_trade_is_put_into_another_bar_or_lost_uncounted(
        all in prop::collection::vec((0..8_000i64, 0..100i64), 1..100)
    ) {
        let mut run = Run::new();
        let mut recv_ms = 0;
        for &(at_ms, gap_ms) in &all {
            recv_ms += gap_ms;
            run.clock((BEGIN_MS + recv_ms) * MS);
            // The price says when it was.
            run.trade(&trade_at(at_ms, recv_ms, &(BEGIN_MS + at_ms).to_string(), "1", Side::Buy));
        }
        run.advance(1_000_000_000);
        let sent: Vec<_> =
            run.sent.iter().filter(|(bar, _)| bar.span == Span::Second).copied().collect();
        let seconds = |price: Decimal| price.rescale(0).unwrap() as u64 / 1000;
        let mut counted = 0;
        for bar in check_stream(&sent).values() {
            prop_assert!(bar.is_final);
            prop_assert_eq!([bar.low, bar.high].map(seconds), [bar.start_s; 2]);
            prop_assert!(bar.open == bar.low && bar.close == bar.high);
            counted += bar.trades;
        }
        // All of them are of one minute and one hour: only seconds may miss some.
        prop_assert_eq!(counted + run.late, all.len() as u64);
    }

    /// The ticker is what the trades of the last 1,440 minutes, and this one, come to.
    #[test]
    fn the_ticker_is_what_the_last_24_hours_come_to(
        all in prop::collection::vec(made(prop_oneof![0..90_000i64, 0..20_000_000i64]), 1..80)
    ) {
        let mut run = Run::new();
        let (mut trades, mut recv_ms) = (Vec::new(), 0);
        for made in &all {
            recv_ms += made.gap_ms;
            run.clock((BEGIN_MS + recv_ms) * MS);
            run.trade(&tick(made, recv_ms, recv_ms));
            trades.push((recv_ms, *made));
            let minute = |ms: i64| (BEGIN_MS + ms) / 60_000;
            let within: Vec<_> = trades
                .iter()
                .filter(|(at_ms, _)| minute(*at_ms) >= minute(recv_ms) - 1_440)
                .copied()
                .collect();
            let day = run.series.snapshot(Span::Rolling).0.unwrap();
            let mut expected = naive(&within);
            expected[5] = 0; // not kept of a day
            prop_assert_eq!(numbers(&day), expected);
            prop_assert_eq!(day.start_s as i64 / 60, minute(within[0].0));
        }
        let sent: Vec<_> =
            run.sent.iter().filter(|(bar, _)| bar.span == Span::Rolling).copied().collect();
        for pair in sent.windows(2) {
            prop_assert!(pair[1].0.recv_ns - pair[0].0.recv_ns >= 250_000_000);
        }
        // When all of it is a day old, the last price stands alone, and that is told.
        run.sent.clear();
        run.clock((BEGIN_MS + recv_ms + 90_000_000) * MS);
        let (day, _) = run.sent.iter().rfind(|(bar, _)| bar.span == Span::Rolling).unwrap();
        let last = i128::from(all[all.len() - 1].price);
        prop_assert_eq!(numbers(day), [last, last, last, last, 0, 0, 0, 0]);
        prop_assert_eq!(run.buckets, 0);
    }
}

#[test]
fn what_is_over_is_kept_whoever_listens() {
    let mut run = Run { wanted: 0, ..Run::new() };
    run.turn(|series, turn| series.trade(&trade(0, "10", "1"), turn));
    run.turn(|series, turn| series.trade(&trade(1_000, "11", "1"), turn));
    assert!(run.sent.is_empty());
    let told = |run: &Run| -> Vec<(u64, u64, u8)> {
        let seconds = run.kept.iter().filter(|bar| bar.span == Span::Second && bar.is_final);
        seconds
            .map(|bar| (bar.start_s - BEGIN_MS as u64 / 1000, bar.trades, bar.revision))
            .collect()
    };
    assert_eq!(told(&run), [(0, 1, 0)]);
    // A late one, told of when the next bar is over at the latest.
    run.turn(|series, turn| series.trade(&trade_at(400, 1_100, "9", "1", Side::Buy), turn));
    run.advance(5_000);
    assert_eq!(told(&run), [(0, 1, 0), (0, 2, 1), (1, 1, 0)]);
    // Each says when the server made it.
    assert!(run.kept.iter().all(|bar| bar.recv_ns > 0));
}
