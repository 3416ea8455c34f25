//! Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, "Using name-based
//! mappings to increase hit rates", 1998), with weights by the logarithm method (Schindelhauer and
//! Schomaker, "Weighted distributed hash tables", 2005).
//!
//! Each endpoint has a random number u in (0, 1) for each key, and the least `-ln(u) / weight` wins: the
//! first of n alarm clocks that ring at rates w_i. So `P(i) = w_i / W`, and a change of one endpoint or
//! its weight moves keys to it or from it, never between others.

use super::{Candidate, View, fixed::minus_log2};
use crate::{hash::mix, prng::Prng};

/// A candidate's alarm clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    index: usize,
    candidate: Candidate,
    /// `-log2(u)` in parts of 2^56.
    time: u64,
}

impl Clock {
    fn rings_before(&self, other: &Self) -> bool {
        let times = u128::from(self.time) * u128::from(other.candidate.weight);
        let other_times = u128::from(other.time) * u128::from(self.candidate.weight);
        (times, self.candidate.identity) < (other_times, other.candidate.identity)
    }

    /// Whether one whose `u` is `number / 2^64` rings later for certain, without its logarithm: for
    /// `-log2(u) >= (1 - u) / ln 2`, of which 23/16 is a little less. Near 1 the logarithm's own error counts.
    fn surely_rings_before(&self, number: u64, candidate: Candidate) -> bool {
        let rest = !number >> 8; // 1 - u in parts of 2^56
        let least = u128::from(rest) * 23 * u128::from(self.candidate.weight);
        rest > NEAR && least > u128::from(self.time) * 16 * u128::from(candidate.weight)
    }
}

/// 2^-36, in parts of 2^56: from there on the bound is below the logarithm by more than that is wrong by.
const NEAR: u64 = 1 << 20;

/// O(n), with some `ln n` logarithms.
pub(super) fn pick(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let key = mix(view.key.unwrap_or_else(|| prng.next_u64()));
    let mut first: Option<Clock> = None;
    let look = |(index, candidate): (usize, Candidate)| {
        let number = mix(key ^ candidate.identity);
        if first.is_some_and(|first| first.surely_rings_before(number, candidate)) {
            return;
        }
        let clock = Clock { index, candidate, time: minus_log2(number) };
        if first.is_none_or(|first| clock.rings_before(&first)) {
            first = Some(clock);
        }
    };
    if view.skip.is_empty() && view.roster.free.has_all() {
        view.roster.candidates.iter().copied().enumerate().for_each(look);
    } else {
        view.rest().for_each(look);
    }
    first.map(|clock| clock.index)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{super::Roster, *};
    use crate::{pool::EndpointId, time::Instant};

    /// Every logarithm, and the least of the times.
    fn all_logarithms(view: View<'_>, key: u64) -> Option<usize> {
        let ring_time = |identity: u64| minus_log2(mix(mix(key) ^ identity));
        let clocks = view.rest().map(|(index, candidate)| (index, ring_time(candidate.identity), candidate));
        let first = clocks.min_by(|(_, a_time, a), (_, b_time, b)| {
            let times = u128::from(*a_time) * u128::from(b.weight);
            times.cmp(&(u128::from(*b_time) * u128::from(a.weight))).then_with(|| a.identity.cmp(&b.identity))
        });
        first.map(|(index, ..)| index)
    }

    proptest! {
        #[test]
        fn the_bound_changes_no_pick(
            weights in prop::collection::vec(prop_oneof![Just(1000u32), 1u32..=1_000_000_000, 1000u32..5000], 1..40), keys: [u64; 8], full: u32,
        ) {
            let candidate = |(slot, &weight): (usize, &u32)| {
                let id = EndpointId { slot: slot as u32, generation: 0 };
                // Some have the same identity.
                Candidate { id, weight, identity: mix(slot as u64 / 2 + 1) }
            };
            let candidates: Vec<Candidate> = weights.iter().enumerate().map(candidate).collect();
            let roster = Roster::new(candidates, |index| full.rotate_left(3) >> (index % 32) & 3 == 3);
            for key in keys {
                let view = View { roster: &roster, in_flight: &[], skip: &[], key: Some(key), now: Instant::ZERO };
                prop_assert_eq!(pick(view, &mut Prng::new(1)), all_logarithms(view, key));
            }
        }

        /// Where the bound says that a clock rings later, its logarithm says so too, near 1 as well.
        #[test]
        fn the_bound_is_below_the_logarithm(zeros in 0u32..64, below: u64) {
            let number = !(below >> zeros);
            let rest = !number >> 8;
            prop_assert!(rest <= NEAR || u128::from(rest) * 23 < u128::from(minus_log2(number)) * 16);
        }
    }
}
