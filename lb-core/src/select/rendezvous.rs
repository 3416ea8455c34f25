//! Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, "Using name-based
//! mappings to increase hit rates", 1998), with weights by the logarithm method (Schindelhauer and
//! Schomaker, "Weighted distributed hash tables", 2005).
//!
//! Each endpoint has a random number u in (0, 1) for each key, and the least `-ln(u) / weight` wins: the
//! first of n alarm clocks that ring at rates w_i. So `P(i) = w_i / W`, and a change of one endpoint or
//! its weight moves keys to it or from it, never between others.

use super::{View, fixed::minus_log2};
use crate::{hash::mix, prng::Prng};

/// O(n).
pub(super) fn pick(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let key = view.key.unwrap_or_else(|| prng.next_u64());
    let ring_time = |identity: u64| minus_log2(mix(mix(key) ^ identity));
    let clocks = view.rest().map(|(index, candidate)| (index, ring_time(candidate.identity), candidate));
    let first = clocks.min_by(|(_, a_time, a), (_, b_time, b)| {
        let times = u128::from(*a_time) * u128::from(b.weight);
        times.cmp(&(u128::from(*b_time) * u128::from(a.weight))).then_with(|| a.identity.cmp(&b.identity))
    });
    first.map(|(index, ..)| index)
}
