//! The generator of random numbers, written out here because "the same seed gives the same
//! ticks" must outlive every version of a crate.

/// xoshiro256++ by Blackman and Vigna (public domain, <https://prng.di.unimi.it>): fast, and good
/// enough for a market that nobody bets on.
#[derive(Clone, Debug)]
pub(super) struct Rng([u64; 4]);

impl Rng {
    /// A generator whose stream depends on `seed` alone.
    pub(super) fn new(seed: u64) -> Self {
        // The state is filled by splitmix64, as the authors advise: seeds 0, 1, 2 then differ.
        let mut state = seed;
        Rng([(); 4].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number below `bound`, which is not 0. The bias is below `bound / 2^32`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.bits() as u32) * u64::from(bound)) >> 32) as u32
    }

    /// Whether a thing of this probability, in percent, happens.
    pub(super) fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance
    }

    /// A number in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Draws an index by given weights in constant time: Walker's alias method, tables after Vose
/// (IEEE Trans. Softw. Eng. 17, 1991). Forty lines instead of a dependency, and two array reads
/// per draw, which is what a million ticks a second from thousands of symbols ask for.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    /// For each column: below this (in 2^32nds) the column itself is drawn, else its alias.
    columns: Vec<(u32, u32)>,
}

impl Alias {
    /// Of Zipf's law: the weight of index `k` is `(k + 1)^-exponent`; 0 is uniform.
    pub(super) fn zipf(count: usize, exponent: f64) -> Self {
        let weights: Vec<f64> = (0..count).map(|k| (k as f64 + 1.0).powf(-exponent)).collect();
        Alias::new(&weights)
    }

    fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut scaled: Vec<f64> = weights.iter().map(|w| w / mean).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..scaled.len()).partition(|&i| scaled[i] < 1.0);
        let mut columns: Vec<(u32, u32)> =
            (0..scaled.len()).map(|i| (u32::MAX, i as u32)).collect();
        while let (Some(&little), Some(&big)) = (small.last(), large.last()) {
            small.pop();
            columns[little] = ((scaled[little] * 4_294_967_296.0) as u32, big as u32);
            scaled[big] -= 1.0 - scaled[little];
            if scaled[big] < 1.0 {
                large.pop();
                small.push(big);
            }
        }
        Alias { columns }
    }

    /// An index.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let bits = rng.bits();
        let at = (((bits >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (keep, alias) = self.columns[at];
        // The low half is independent of the high half that chose the column.
        if (bits as u32) <= keep { at } else { alias as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // xoshiro256++ from the state 1, 2, 3, 4: the reference vector of the rand_xoshiro crate.
        let mut rng = Rng([1, 2, 3, 4]);
        assert_eq!(
            [(); 4].map(|()| rng.bits()),
            [41943041, 58720359, 3588806011781223, 3591011842654386]
        );
    }

    #[test]
    fn draws_follow_the_weights() {
        for exponent in [0.0, 1.0, 2.5] {
            let (count, draws) = (50, 400_000);
            let alias = Alias::zipf(count, exponent);
            let mut rng = Rng::new(7);
            let mut seen = vec![0u32; count];
            for _ in 0..draws {
                seen[alias.draw(&mut rng)] += 1;
            }
            let total: f64 = (1..=count).map(|k| (k as f64).powf(-exponent)).sum();
            for (k, &n) in seen.iter().enumerate() {
                let expected = draws as f64 * (k as f64 + 1.0).powf(-exponent) / total;
                // Six standard deviations of a fixed seed: no luck involved.
                let slack = 6.0 * expected.sqrt() + 1.0;
                assert!((f64::from(n) - expected).abs() < slack, "{exponent} {k}: {n} {expected}");
            }
        }
    }
}
