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
    if choices == 2 && view.skip.is_empty() {
        return pick_of_two(view, prng);
    }
    let mut draw = Draw::ranks(&view);
    let mut best = view.nth(draw.next(prng)?);
    let mut ties = 1;
    for _ in 1..choices {
        let Some(other) = draw.next(prng).map(|rank| view.nth(rank)) else { break };
        match view.compare(view.candidate(other), view.candidate(best)) {
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

/// The same for two choices and nobody left out, which is nearly always: the same draws without the account of what
/// was drawn.
#[inline]
pub(super) fn pick_of_two(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let count = view.count() as u64;
    if count == 0 {
        return None;
    }
    let first = prng.below(count);
    let one = view.nth(first as usize);
    if count == 1 {
        return Some(one);
    }
    let second = prng.below(count - 1);
    let other = view.nth((second + u64::from(second >= first)) as usize);
    let takes_other = match view.compare(view.candidate(other), view.candidate(one)) {
        Ordering::Less => true,
        Ordering::Equal => prng.below(2) == 1,
        Ordering::Greater => false,
    };
    Some(if takes_other { other } else { one })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{
        super::{Candidate, Roster},
        *,
    };
    use crate::{pool::EndpointId, time::Instant};

    proptest! {
        /// Oracle: the loop for any number of choices, which three choices of two endpoints go through.
        #[test]
        fn two_choices_are_those_of_the_loop(loads in prop::collection::vec((0u32..3, 1u32..3), 2..9), full: u8, seed: u64) {
            let candidate = |slot: usize| {
                let id = EndpointId { slot: slot as u32, generation: 0 };
                Candidate { id, weight: loads[slot].1, identity: 0 }
            };
            let candidates: Vec<Candidate> = (0..loads.len()).map(candidate).collect();
            let roster = Roster::new(candidates, |index| index > 0 && full >> index & 1 == 1);
            let in_flight: Vec<u32> = loads.iter().map(|&(load, _)| load).collect();
            let view = View { roster: &roster, in_flight: &in_flight, skip: &[], key: None, now: Instant::ZERO };
            let (mut one, mut other) = (Prng::new(seed), Prng::new(seed));
            for _ in 0..20 {
                let mut draw = Draw::ranks(&view);
                let first = draw.next(&mut other).map(|rank| view.nth(rank)).unwrap();
                let expected = match draw.next(&mut other).map(|rank| view.nth(rank)) {
                    None => first,
                    Some(second) => match view.compare(view.candidate(second), view.candidate(first)) {
                        Ordering::Less => second,
                        Ordering::Equal if other.below(2) == 1 => second,
                        _ => first,
                    },
                };
                prop_assert_eq!(pick(view, 2, &mut one), Some(expected));
            }
            prop_assert_eq!(one.next_u64(), other.next_u64(), "as many draws");
        }
    }
}
