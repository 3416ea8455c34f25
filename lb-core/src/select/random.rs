//! Random by weight: `P(i) = w_i / W`, exactly.

use alloc::vec::Vec;

use super::{View, equal_weights};
use crate::prng::Prng;

#[derive(Debug, Default)]
pub(crate) struct Random {
    /// Running sums of the weights; empty when all weights are equal.
    sums: Vec<u64>,
}

impl Random {
    pub(super) fn rebuild(&mut self, new: &[super::Candidate]) {
        self.sums.clear();
        if !equal_weights(new) {
            let running = new.iter().scan(0, |sum, candidate| {
                *sum += u64::from(candidate.weight);
                Some(*sum)
            });
            self.sums.extend(running);
        }
    }

    /// O(1) with equal weights, else O(log n).
    pub(super) fn pick(&self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        if !view.skip.is_empty() {
            return pick_from_rest(view, prng);
        }
        match self.sums.last() {
            Some(&total) => {
                let draw = prng.below(total);
                Some(self.sums.partition_point(|&sum| sum <= draw))
            }
            None if view.candidates().is_empty() => None,
            None => usize::try_from(prng.below(view.candidates().len() as u64)).ok(),
        }
    }
}

/// O(n); retries only.
fn pick_from_rest(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let total = view.rest().map(|(_, candidate)| u64::from(candidate.weight)).sum();
    let mut draw = prng.below(total);
    for (index, candidate) in view.rest() {
        match draw.checked_sub(candidate.weight.into()) {
            Some(rest) => draw = rest,
            None => return Some(index),
        }
    }
    None
}
