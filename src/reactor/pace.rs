//! How long a client's oldest pending tick may wait for company: the window W of a reactor.
//!
//! A send costs about the same whether it carries one message or ten, so waiting saves CPU once a
//! second message comes within the window, and costs latency always. While the reactor has time
//! to spare W is 0. When sending each message alone would fill the core, W is where the sum of two
//! shares is least: the share of the core that sends take, and the share of `--max-age-ms` that
//! waiting takes, weighed with [`AGE_WEIGHT`]. With a load L (the share that sends would take at
//! W = 0) and r messages a second to a client, a window gathers 1 + rW messages, and
//!
//! > L / (1 + rW) + k W / A   is least where   1 + rW = sqrt(L r A / k).
//!
//! A window shorter than the gap between two messages of a client gathers nothing, so W is that
//! gap at least, or 0 where even `--max-age-ms` does not hold one.
//!
//! L and r are taken from what arrives, not from what W made of it, and so the window does not
//! chase its own effect. Pure: the clock and the counters are passed in.

/// What the counters said since the last observation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    /// Length of the observation, nanoseconds.
    pub(crate) span_ns: u64,
    /// Messages noted for clients.
    pub(crate) deliveries: u64,
    /// Writes to sockets.
    pub(crate) sends: u64,
    /// Time spent in them, nanoseconds.
    pub(crate) send_ns: u64,
    /// Messages a second to one client, the mean over messages: busy clients count as often as
    /// they are sent to. 0 where not known.
    pub(crate) rate: f64,
}

/// The controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    max_age_ns: u64,
    /// Smoothed messages a second, and nanoseconds a send.
    deliveries: f64,
    send_ns: f64,
    rate: f64,
    gathers: bool,
    window_ns: u64,
}

/// Load from which on messages are gathered: below, a core has time for each alone.
const GATHER_LOAD: f64 = 0.85;
/// Load below which that ends; lower, so that a load at the border does not flap.
const ALONE_LOAD: f64 = 0.70;
/// What the whole of `--max-age-ms` is worth in cores.
const AGE_WEIGHT: f64 = 0.5;
/// Room for jitter in a gap between two messages.
const GAP_SLACK: f64 = 1.1;
/// Weight of the newest observation: a step in the load is followed to 90 % in some 5 observations.
const NEWEST: f64 = 0.4;

impl Pace {
    /// A window of 0, to grow up to `max_age_ns`.
    pub(crate) fn new(max_age_ns: u64) -> Self {
        Pace { max_age_ns, deliveries: 0.0, send_ns: 0.0, rate: 0.0, gathers: false, window_ns: 0 }
    }

    /// The window now, nanoseconds.
    pub(crate) fn window_ns(&self) -> u64 {
        self.window_ns
    }

    /// The share of a core that sends would take at W = 0.
    pub(crate) fn load(&self) -> f64 {
        self.deliveries * self.send_ns / 1e9
    }

    /// Takes in an observation and sets the window.
    pub(crate) fn observe(&mut self, seen: &Observed) {
        if seen.span_ns == 0 {
            return;
        }
        let smooth = |old: &mut f64, new: f64| *old += NEWEST * (new - *old);
        smooth(&mut self.deliveries, seen.deliveries as f64 * 1e9 / seen.span_ns as f64);
        if seen.sends > 0 {
            let each = seen.send_ns as f64 / seen.sends as f64;
            let first = self.send_ns == 0.0;
            if first { self.send_ns = each } else { smooth(&mut self.send_ns, each) }
        }
        smooth(&mut self.rate, seen.rate);
        let threshold = if self.gathers { ALONE_LOAD } else { GATHER_LOAD };
        self.gathers = self.load() >= threshold;
        self.window_ns = if self.gathers { self.best_window() } else { 0 };
    }

    /// Sets the window, up to the next observation.
    #[cfg(test)]
    pub(crate) fn set_window(&mut self, window_ns: u64) {
        self.window_ns = window_ns;
    }

    fn best_window(&self) -> u64 {
        let max_age = self.max_age_ns as f64 / 1e9;
        if self.rate <= 0.0 || max_age <= 0.0 {
            return 0;
        }
        let gap = GAP_SLACK / self.rate;
        if gap > max_age {
            return 0;
        }
        let gathered = (self.load() * self.rate * max_age / AGE_WEIGHT).sqrt();
        let window = (gathered - 1.0) / self.rate;
        (window.clamp(gap, max_age) * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A core with clients that all get `rate` messages a second each: what a tenth of a second
    /// looks like at the window that is in force.
    fn seen(pace: &Pace, clients: f64, rate: f64) -> Observed {
        let deliveries = clients * rate / 10.0;
        let gathered = 1.0 + (rate * pace.window_ns() as f64 / 1e9).floor();
        // About what was measured: 2 us a send and 0.15 us for each further message in it.
        let each = 1_850.0 + 150.0 * gathered;
        // A core has a tenth of a second for it; more sends than that are merged by necessity.
        let sends = (deliveries / gathered).min(100.0 * MS as f64 / each);
        Observed {
            span_ns: 100 * MS,
            deliveries: deliveries as u64,
            sends: sends as u64,
            send_ns: (sends * each) as u64,
            rate,
        }
    }

    fn settle(pace: &mut Pace, clients: f64, rate: f64) -> Vec<u64> {
        (0..40)
            .map(|_| {
                let seen = seen(pace, clients, rate);
                pace.observe(&seen);
                pace.window_ns()
            })
            .collect()
    }

    #[test]
    fn no_wait_while_there_is_time_to_spare() {
        let mut pace = Pace::new(5 * MS);
        assert!(settle(&mut pace, 1000.0, 300.0).iter().all(|&w| w == 0));
        assert!(settle(&mut pace, 10_000.0, 1.0).iter().all(|&w| w == 0));
    }

    #[test]
    fn a_full_core_holds_the_gap_and_settles() {
        let mut pace = Pace::new(5 * MS);
        let windows = settle(&mut pace, 1000.0, 500.0);
        let last = *windows.last().unwrap();
        assert!((2 * MS..4 * MS).contains(&last), "{windows:?}");
        // A step is followed within a second, and then nothing moves by more than a tenth.
        for pair in windows[10..].windows(2) {
            assert!(pair[0].abs_diff(pair[1]) * 10 <= pair[0], "{windows:?}");
        }
    }

    #[test]
    fn no_flapping_at_any_load() {
        for clients in (100..3000).step_by(50) {
            let mut pace = Pace::new(5 * MS);
            let windows = settle(&mut pace, f64::from(clients), 500.0);
            let switches = windows.windows(2).filter(|w| (w[0] == 0) != (w[1] == 0)).count();
            assert!(switches <= 1, "{clients}: {windows:?}");
        }
    }

    #[test]
    fn the_objective_is_kept_and_used() {
        for (age, rate) in [(1, 500.0), (5, 4_500.0), (10, 400.0), (10, 50_000.0)] {
            let mut pace = Pace::new(age * MS);
            let windows = settle(&mut pace, 2000.0, rate);
            assert!(windows.iter().all(|&w| w <= age * MS), "{age} ms: {windows:?}");
        }
        // No gap fits in 1 ms: waiting would only cost latency.
        let mut pace = Pace::new(MS);
        assert_eq!(settle(&mut pace, 2000.0, 500.0).last(), Some(&0));
        let (mut tight, mut wide) = (Pace::new(5 * MS), Pace::new(10 * MS));
        let tight = *settle(&mut tight, 2000.0, 400.0).last().unwrap();
        let wide = *settle(&mut wide, 2000.0, 400.0).last().unwrap();
        assert!(wide > tight + MS, "{tight} {wide}");
        let mut never = Pace::new(0);
        assert!(settle(&mut never, 5000.0, 500.0).iter().all(|&w| w == 0));
    }

    #[test]
    fn a_ramp_moves_it_smoothly_and_idle_ends_it() {
        let mut pace = Pace::new(5 * MS);
        let mut windows = Vec::new();
        for step in 0..200 {
            let seen = seen(&pace, 1000.0, 300.0 + f64::from(step) * 20.0);
            pace.observe(&seen);
            windows.push(pace.window_ns());
        }
        let on: Vec<u64> = windows.iter().copied().skip_while(|&w| w == 0).collect();
        assert!(!on.is_empty() && on.iter().all(|&w| w > 0), "{windows:?}");
        for pair in on.windows(2) {
            assert!(pair[0].abs_diff(pair[1]) * 5 <= pair[0], "{windows:?}");
        }
        for _ in 0..20 {
            pace.observe(&Observed { span_ns: 100 * MS, ..Observed::default() });
        }
        assert_eq!(pace.window_ns(), 0);
    }

    #[test]
    fn a_burst_of_a_tenth_of_a_second_is_over_within_half_a_second() {
        let mut pace = Pace::new(5 * MS);
        settle(&mut pace, 1000.0, 50.0);
        let burst = seen(&pace, 1000.0, 2_000.0);
        pace.observe(&burst);
        for _ in 0..5 {
            let calm = seen(&pace, 1000.0, 50.0);
            pace.observe(&calm);
        }
        assert_eq!(pace.window_ns(), 0);
    }

    #[test]
    fn one_hot_symbol_among_cold_ones_counts_by_its_messages() {
        // 1,000 clients at 500 a second make the load; 9,000 others hear something once a second.
        let mut pace = Pace::new(5 * MS);
        for _ in 0..30 {
            let mut all = seen(&pace, 1000.0, 500.0);
            all.deliveries += 900;
            all.rate = (1000.0 * 500.0 * 500.0 + 9000.0) / (1000.0 * 500.0 + 9000.0);
            pace.observe(&all);
        }
        assert!((2 * MS..4 * MS).contains(&pace.window_ns()), "{}", pace.window_ns());
    }
}
