//! Times in the buckets of Prometheus: the classic ones, whose bounds are ours, and the native ones, whose bounds are
//! powers of one base (<https://prometheus.io/docs/specs/native_histograms/>).

use hdrhistogram::Histogram;

/// Upper bounds of the classic buckets, microseconds: the same in every version, so that servers can be added up.
const BOUNDS_US: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];

/// Each power of two has 2^3 native buckets: a bucket's upper bound is 1.09 times its lower one. What is recorded is
/// exact to 0.8 %, or half a microsecond, so that few times land in a neighbour of their bucket.
pub(super) const SCHEMA: i32 = 3;

/// What was recorded, all told, seconds.
pub(super) fn sum(times: &Histogram<u64>) -> f64 {
    recorded(times).map(|(seconds, count)| seconds * count as f64).sum()
}

/// Upper bounds in seconds, and how many took at most so long, without the last one, which is infinite.
pub(super) fn classic(times: &Histogram<u64>) -> impl Iterator<Item = (f64, u64)> {
    // From 0 each time: of two ranges that meet inside one of the histogram's own buckets, both count it.
    BOUNDS_US.iter().map(|us| (*us as f64 / 1e6, times.count_between(0, us * 1_000)))
}

/// The native buckets that hold something, ascending: a bucket's number, and how many are in it. That of number N is
/// over 2^((N-1)/8) and up to 2^(N/8) seconds.
pub(super) fn native(times: &Histogram<u64>) -> Vec<(i32, u64)> {
    let mut buckets: Vec<(i32, u64)> = Vec::new();
    for (seconds, count) in recorded(times) {
        let number = (seconds.log2() * f64::from(1 << SCHEMA)).ceil() as i32;
        match buckets.last_mut() {
            Some((last, so_far)) if *last == number => *so_far += count,
            _ => buckets.push((number, count)),
        }
    }
    buckets
}

/// Seconds, and how many took as long.
fn recorded(times: &Histogram<u64>) -> impl Iterator<Item = (f64, u64)> {
    times.iter_recorded().map(|step| {
        let ns = times.median_equivalent(step.value_iterated_to());
        (ns as f64 / 1e9, step.count_at_value())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::new_histogram;

    fn of(all: &[u64]) -> Histogram<u64> {
        let mut times = new_histogram();
        all.iter().for_each(|ns| times.saturating_record(*ns));
        times
    }

    #[test]
    fn classic_buckets_hold_their_upper_bound_and_all_below() {
        let times = of(&[1, 10_000, 11_000, 5_000_000_000, 6_000_000_000]);
        let buckets: Vec<_> = classic(&times).collect();
        assert_eq!(buckets[0], (0.000_01, 2));
        assert_eq!((buckets[1], buckets[16]), ((0.000_02, 3), (2.0, 3)));
        assert_eq!((buckets.len(), buckets[17]), (18, (5.0, 4)));
        assert!((sum(&times) - 11.0).abs() < 0.05, "{}", sum(&times));
    }

    #[test]
    fn a_second_is_the_bucket_of_number_0() {
        // Over 2^(-1/8) up to 1 s; over 2^(3/8) up to 2^(4/8); nothing where nothing is.
        let times = of(&[1_400_000_000, 995_000_000, 930_000_000]);
        assert_eq!(native(&times), [(0, 2), (4, 1)]);
        assert_eq!(native(&of(&[])), []);
    }

    proptest! {
        #[test]
        fn each_time_is_in_its_native_bucket_or_next_to_it(all in prop::collection::vec(10_000_u64..59_000_000_000, 1..50)) {
            let buckets = native(&of(&all));
            prop_assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", buckets);
            prop_assert_eq!(buckets.iter().map(|bucket| bucket.1).sum::<u64>(), all.len() as u64);
            for ns in all {
                let exact = ((ns as f64 / 1e9).log2() * 8.0).ceil() as i32;
                prop_assert!(buckets.iter().any(|(number, _)| (number - exact).abs() <= 1), "{ns}: {buckets:?}");
            }
        }
    }
}
