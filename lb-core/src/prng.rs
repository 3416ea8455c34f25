//! The generator behind every random choice: seedable, forkable, the same on every platform.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A pseudo-random generator (xoshiro256++, Blackman and Vigna 2019, seeded through SplitMix64).
///
/// Not for secrets. Equal seeds give equal draws.
///
/// ```
/// use lb_core::prng::Prng;
/// let (mut a, mut b) = (Prng::new(7), Prng::new(7));
/// assert_eq!(a.below(1000), b.below(1000));
/// ```
#[derive(Clone, Debug)]
pub struct Prng(Xoshiro256PlusPlus);

impl Prng {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// An independent generator for the part of the program called `label`. A tree of forks keeps the
    /// draws of one part from disturbing those of its siblings.
    #[must_use]
    pub fn fork(&mut self, label: u64) -> Self {
        Self::new(self.next_u64() ^ label.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `0..bound`, without modulo bias (Lemire, "Fast random integer generation
    /// in an interval", 2019). Gives 0 for a bound of 0 or 1, and draws nothing for these.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            let low = product as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut prng = Prng::new(1);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[prng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn bounds_of_zero_and_one_draw_nothing() {
        let mut prng = Prng::new(1);
        let mut untouched = prng.clone();
        assert_eq!((prng.below(0), prng.below(1)), (0, 0));
        assert_eq!(prng.next_u64(), untouched.next_u64());
    }

    #[test]
    fn forks_differ_by_label() {
        let (mut a, mut b) = (Prng::new(3), Prng::new(3));
        assert_ne!(a.fork(1).next_u64(), b.fork(2).next_u64());
    }
}
