//! The power of d choices: the least loaded of d distinct endpoints drawn at random (Mitzenmacher, "The
//! Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! The draw is uniform and weights act on the load alone. No endpoint can therefore get more than d/n
//! of the traffic: a weight that asks for more is not honoured, and one that swallows requests because
//! it fails them quickly gets no more either.

use core::cmp::Ordering;

use super::{View, draw::Draw};
use crate::prng::Prng;

/// O(d), by load. Equals are drawn among.
pub(super) fn pick(view: View<'_>, choices: u32, prng: &mut Prng) -> Option<usize> {
    let mut draw = Draw::candidates(&view);
    let mut best = draw.next(prng)?;
    let mut ties = 1;
    for _ in 1..choices {
        let Some(other) = draw.next(prng) else { break };
        match view.compare(view.candidates()[other], view.candidates()[best]) {
            Ordering::Greater => {}
            Ordering::Equal => {
                ties += 1;
                if prng.below(ties) + 1 == ties {
                    best = other;
                }
            }
            Ordering::Less => (best, ties) = (other, 1),
        }
    }
    Some(best)
}
