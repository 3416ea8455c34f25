//! Drawing distinct indexes at random, without replacement.

use super::View;
use crate::{
    limits::{CHOICES_MAX, TRIES_MAX},
    prng::Prng,
};

/// What was drawn, or is left out, in rising order; the rest can still be drawn, each index with the same
/// probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    gone: [u32; (CHOICES_MAX + TRIES_MAX) as usize],
    count: usize,
    /// Indexes are below it.
    end: usize,
}

impl Draw {
    /// Draws from `0..end` but for `left_out`, which is in rising order.
    pub(super) fn new(end: usize, left_out: impl IntoIterator<Item = u32>) -> Self {
        let mut draw = Self { gone: [0; _], count: 0, end };
        for (slot, index) in draw.gone.iter_mut().zip(left_out) {
            *slot = index;
            draw.count += 1;
        }
        draw
    }

    /// Draws from the ranks of those that may be picked.
    pub(super) fn ranks(view: &View<'_>) -> Self {
        let ranks = view.skip.iter().map(|&index| view.roster.free.rank(index as usize) as u32);
        Self::new(view.count(), ranks)
    }

    /// One more; none when none is left. O(1) for what is drawn of few.
    pub(super) fn next(&mut self, prng: &mut Prng) -> Option<usize> {
        let left =
            self.end.checked_sub(self.count).filter(|&left| left > 0 && self.count < self.gone.len())?;
        let mut index = prng.below(left as u64) as u32;
        let mut place = 0;
        for &gone in &self.gone[..self.count] {
            if index < gone {
                break;
            }
            index += 1;
            place += 1;
        }
        self.gone.copy_within(place..self.count, place + 1);
        self.gone[place] = index;
        self.count += 1;
        Some(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_that_are_not_left_out_come_once(end in 0usize..15, out: BTreeSet<u8>, seed: u64) {
            let out: Vec<u32> = out.into_iter().map(u32::from).filter(|&index| (index as usize) < end).collect();
            let (mut draw, mut prng) = (Draw::new(end, out.iter().copied()), Prng::new(seed));
            let mut drawn: Vec<usize> = core::iter::from_fn(|| draw.next(&mut prng)).collect();
            drawn.sort_unstable();
            let expected: Vec<usize> = (0..end).filter(|&index| !out.contains(&(index as u32))).collect();
            prop_assert_eq!(drawn, expected);
        }
    }
}
