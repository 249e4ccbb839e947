//! How long to wait before the next try: doubling, with jitter, pure.

/// A little random, for jitter only: xorshift of a seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Jitter(seed | 1)
    }

    /// A number below `bound`, which is above zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Waits that double from `first` to `most`; each is spread over its upper half, so that those
/// who were cut off together do not come back together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first_ns: u64,
    most_ns: u64,
    failures: u32,
}

impl Backoff {
    pub(super) const fn new(first_ns: u64, most_ns: u64) -> Self {
        Backoff { first_ns, most_ns, failures: 0 }
    }

    /// The wait after one more failure, nanoseconds.
    pub(super) fn next(&mut self, jitter: &mut Jitter) -> u64 {
        let full = self.first_ns.saturating_mul(1 << self.failures.min(32)).min(self.most_ns);
        self.failures = self.failures.saturating_add(1);
        full / 2 + jitter.below(full / 2 + 1)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(100, 1_000);
        let mut jitter = Jitter::new(7);
        for most in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next(&mut jitter);
            assert!((most / 2..=most).contains(&wait), "{wait} of {most}");
        }
        backoff.reset();
        assert!(backoff.next(&mut jitter) <= 100);
        let waits: std::collections::HashSet<u64> =
            (0..20).map(|_| Backoff::new(1_000_000, 1_000_000).next(&mut jitter)).collect();
        assert!(waits.len() > 15, "jitter spreads");
    }
}
