//! When the events are due. Open loop: the schedule does not know whether anybody keeps up.

use crate::spec::{Rate, SyntheticSpec};

use super::rng::Rng;

/// The times at which events are due, in nanoseconds since the Unix epoch, never falling.
#[derive(Clone, Debug)]
pub struct Schedule {
    due: u64,
    pace: Pace,
}

#[derive(Clone, Debug)]
enum Pace {
    Even(Even),
    Bursts(Box<Bursts>),
}

impl Schedule {
    /// The schedule of this spec, whose first event is due at `start`.
    pub fn new(spec: &SyntheticSpec, start: u64) -> Self {
        let even = Even::new(spec.rate);
        let pace = match spec.bursts {
            true => Pace::Bursts(Box::new(Bursts::new(spec, start))),
            false => Pace::Even(even),
        };
        Schedule { due: start, pace }
    }

    /// When the next event is due.
    pub const fn due(&self) -> u64 {
        self.due
    }

    /// Goes on to the event after it.
    pub fn advance(&mut self) {
        self.due = match &mut self.pace {
            Pace::Even(even) => self.due.saturating_add(even.step()),
            Pace::Bursts(bursts) => bursts.next().max(self.due),
        };
    }
}

/// Evenly spaced, to the nanosecond and without drift: what a division leaves over is carried.
#[derive(Clone, Debug)]
struct Even {
    whole: u64,
    rest: u64,
    per: u64,
    carried: u64,
}

/// Nanoseconds in a million seconds, the unit in which a [`Rate`] counts its events.
const PERIOD: u64 = 1_000_000_000_000_000;

impl Even {
    const fn new(rate: Rate) -> Self {
        let per = rate.per_million_seconds;
        Even { whole: PERIOD / per, rest: PERIOD % per, per, carried: 0 }
    }

    fn step(&mut self) -> u64 {
        self.carried += self.rest;
        if self.carried < self.per {
            return self.whole;
        }
        self.carried -= self.per;
        self.whole + 1
    }
}

/// Clusters that begin at random times (a Poisson process), most of one event and now and then
/// one of hundreds within a millisecond, at the spec's mean rate in the long run.
///
/// The shape is that of real traffic: a capture of two busy spot markets had a mean of 216
/// messages a second, 1,588 in its busiest second and 164 in its busiest millisecond.
#[derive(Clone, Debug)]
struct Bursts {
    rng: Rng,
    /// When the current cluster began, as an exact time and the nanoseconds' fraction.
    begun: u64,
    fraction: f64,
    /// The mean distance between two clusters' beginnings, nanoseconds.
    mean_gap: f64,
    /// The distance between two events of a cluster, nanoseconds.
    within: u64,
    /// How many events the current cluster has left, and how many it has had.
    left: u32,
    had: u32,
}

/// Clusters' sizes: so many in ten thousand have a size from `.1` to `.2`.
const SIZES: [(u32, u32, u32); 4] = [(8_500, 1, 1), (1_295, 2, 10), (200, 11, 40), (5, 120, 220)];

impl Bursts {
    fn new(spec: &SyntheticSpec, start: u64) -> Self {
        let mean_event = PERIOD as f64 / spec.rate.per_million_seconds as f64;
        let share = |&(chance, low, high): &(u32, u32, u32)| {
            f64::from(chance) / 10_000.0 * f64::from(low + high) / 2.0
        };
        let mean_size: f64 = SIZES.iter().map(share).sum();
        Bursts {
            // Not the market's numbers: what happens must not depend on when.
            rng: Rng::new(spec.seed ^ 0x6275_7273_7473),
            begun: start,
            fraction: 0.0,
            mean_gap: mean_event * mean_size,
            // Close together, but never so far that a cluster would hold up those after it.
            within: (mean_event / 4.0).min(4_000.0) as u64,
            left: 0,
            had: 1,
        }
    }

    fn next(&mut self) -> u64 {
        if self.left == 0 {
            self.left = self.size();
            self.had = 0;
            // `1 - unit` is never 0, so the logarithm is finite.
            let gap = -(1.0 - self.rng.unit()).ln() * self.mean_gap + self.fraction;
            self.begun = self.begun.saturating_add(gap as u64);
            self.fraction = gap.fract();
        }
        let due = self.begun.saturating_add(u64::from(self.had) * self.within);
        self.left -= 1;
        self.had += 1;
        due
    }

    fn size(&mut self) -> u32 {
        let mut at = self.rng.below(10_000);
        for (chance, low, high) in SIZES {
            if at < chance {
                return low + self.rng.below(high - low + 1);
            }
            at -= chance;
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> SyntheticSpec {
        match text.parse().unwrap() {
            crate::spec::FeedSpec::Synthetic(spec) => spec,
            other => panic!("{other}"),
        }
    }

    fn times(text: &str, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(&spec(text), 1_000);
        (0..count)
            .map(|_| {
                let due = schedule.due();
                schedule.advance();
                due
            })
            .collect()
    }

    #[test]
    fn even_is_exact_and_does_not_drift() {
        assert_eq!(times("synthetic:rate=4", 3), [1_000, 250_001_000, 500_001_000]);
        assert_eq!(times("synthetic:rate=0.5", 2), [1_000, 2_000_001_000]);
        let thirds = times("synthetic:rate=3", 3_001);
        assert_eq!(thirds[1..4], [333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(thirds[3_000], 1_000_000_001_000);
        let fast = times("synthetic:rate=7000000", 7_000_001);
        assert_eq!(fast[7_000_000], 1_000_001_000);
    }

    #[test]
    fn bursts_keep_the_mean_and_cluster() {
        for rate in [300u64, 100_000] {
            let count = 2_000_000;
            let times = times(&format!("synthetic:rate={rate},bursts=on"), count);
            assert!(times.is_sorted());
            let took = (times[count - 1] - times[0]) as f64 / 1e9;
            let mean = count as f64 / took;
            assert!((mean / rate as f64 - 1.0).abs() < 0.01, "{mean} of {rate}");
            let busiest = |span: u64| {
                let from = |i: usize| times.partition_point(|&t| t + span <= times[i]);
                (0..count).step_by(7).map(|i| i - from(i)).max().unwrap() as u64
            };
            let usual = rate / 1_000;
            assert!(busiest(1_000_000) >= 100 + usual, "{}", busiest(1_000_000));
            assert!(busiest(1_000_000_000) > rate, "{}", busiest(1_000_000_000));
        }
    }
}
