//! Least request: the endpoint with the fewest requests in flight for its weight, counting the one to
//! be placed.

use core::cmp::Ordering;

use super::View;
use crate::prng::Prng;

/// O(n). Ties are drawn in proportion to the weights by reservoir sampling: taking the first of them
/// would send all of a quiet service's traffic to one endpoint.
pub(super) fn pick(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let mut rest = view.rest();
    let (mut best_index, mut best) = rest.next()?;
    let mut tied_weight = u64::from(best.weight);
    for (index, candidate) in rest {
        let weight = u64::from(candidate.weight);
        let takes = match view.compare(candidate, best) {
            Ordering::Greater => false,
            Ordering::Less => {
                tied_weight = weight;
                true
            }
            Ordering::Equal => {
                tied_weight += weight;
                prng.below(tied_weight) < weight
            }
        };
        if takes {
            (best_index, best) = (index, candidate);
        }
    }
    Some(best_index)
}
