//! The power of two choices: the less loaded of two distinct endpoints drawn at random (Mitzenmacher,
//! "The Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! The draw is uniform and weights act on the load alone. No endpoint can therefore get more than 2/n
//! of the traffic: a weight that asks for more is not honoured.

use core::cmp::Ordering;

use super::View;
use crate::prng::Prng;

/// O(1); O(n) where some are left out.
pub(super) fn pick(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let (first, second) = draw(view, prng)?;
    if first == second {
        return Some(first);
    }
    match view.compare(view.candidates()[first], view.candidates()[second]) {
        Ordering::Less => Some(first),
        Ordering::Greater => Some(second),
        Ordering::Equal => Some(if prng.below(2) == 0 { first } else { second }),
    }
}

/// Two distinct indexes; the same twice where there is only one.
pub(super) fn draw(view: View<'_>, prng: &mut Prng) -> Option<(usize, usize)> {
    let count = if view.skip.is_empty() { view.candidates().len() } else { view.rest().count() };
    let first = prng.below(count as u64) as usize;
    let mut second = prng.below(count.saturating_sub(1) as u64) as usize;
    if second >= first && count > 1 {
        second += 1;
    }
    Some((nth(view, first)?, nth(view, second)?))
}

/// The index of the n-th candidate that is not left out.
fn nth(view: View<'_>, n: usize) -> Option<usize> {
    if view.skip.is_empty() {
        return (n < view.candidates().len()).then_some(n);
    }
    view.rest().nth(n).map(|(index, _)| index)
}
