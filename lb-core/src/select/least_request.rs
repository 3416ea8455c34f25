//! Least request: the endpoint with the fewest requests in flight for its weight, counting the one to
//! be placed.

use core::cmp::Ordering;

use super::View;
use crate::prng::Prng;

/// O(n). Ties are drawn in proportion to the weights: taking the first of them would send all of a
/// quiet service's traffic to one endpoint.
pub(super) fn pick(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let mut rest = view.rest();
    let (mut best_index, mut best) = rest.next()?;
    let mut tied_weight = u64::from(best.weight);
    for (index, candidate) in rest {
        match view.compare(candidate, best) {
            Ordering::Greater => {}
            Ordering::Equal => tied_weight += u64::from(candidate.weight),
            Ordering::Less => {
                (best_index, best) = (index, candidate);
                tied_weight = u64::from(best.weight);
            }
        }
    }
    if tied_weight == u64::from(best.weight) {
        return Some(best_index);
    }
    let mut draw = prng.below(tied_weight);
    // The first of the ties is `best`.
    let ties = view.rest().skip_while(|&(index, _)| index < best_index);
    for (index, candidate) in ties.filter(|&(_, candidate)| view.compare(candidate, best).is_eq()) {
        match draw.checked_sub(candidate.weight.into()) {
            Some(left) => draw = left,
            None => return Some(index),
        }
    }
    Some(best_index)
}
