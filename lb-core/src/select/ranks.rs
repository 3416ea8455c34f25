//! A set of indexes in which the k-th can be found: those of the endpoints that have a free slot.

use alloc::vec::Vec;

use super::fenwick::Fenwick;

const BITS: usize = u64::BITS as usize;

/// A set of the indexes below a number. While all are in it, what is asked costs nothing; else it is O(log n) to
/// ask and to change.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks {
    end: usize,
    count: usize,
    words: Vec<u64>,
    /// How many are in each word.
    counts: Fenwick,
}

impl Ranks {
    /// All indexes below `end` but for `left_out`.
    pub(super) fn new(end: usize, left_out: impl IntoIterator<Item = usize>) -> Self {
        let word =
            |index: usize| if end - index * BITS < BITS { (1 << (end - index * BITS)) - 1 } else { u64::MAX };
        let words: Vec<u64> = (0..end.div_ceil(BITS)).map(word).collect();
        let counts = Fenwick::of(words.iter().map(|word| u64::from(word.count_ones())));
        let mut ranks = Self { end, count: end, words, counts };
        left_out.into_iter().for_each(|index| ranks.remove(index));
        ranks
    }

    /// How many are in it.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn has_all(&self) -> bool {
        self.count == self.end
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.words.get(index / BITS).is_some_and(|word| word >> (index % BITS) & 1 == 1)
    }

    pub(super) fn insert(&mut self, index: usize) {
        if index < self.end && !self.contains(index) {
            self.words[index / BITS] |= 1 << (index % BITS);
            self.counts.add(index / BITS, 1);
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        if self.contains(index) {
            self.words[index / BITS] &= !(1 << (index % BITS));
            self.counts.subtract(index / BITS, 1);
            self.count -= 1;
        }
    }

    /// How many in it are below `index`, which is at most the end.
    #[inline]
    pub(super) fn rank(&self, index: usize) -> usize {
        if self.has_all() {
            return index;
        }
        let below = |word: &u64| (word & ((1 << (index % BITS)) - 1)).count_ones() as usize;
        self.counts.before(index / BITS) as usize + self.words.get(index / BITS).map_or(0, below)
    }

    /// The one with `rank` others below it; the end if there are not so many.
    #[inline]
    pub(super) fn nth(&self, rank: usize) -> usize {
        if self.has_all() || rank >= self.count {
            return rank.min(self.end);
        }
        let (index, rest) = self.counts.find(rank as u64);
        let mut word = self.words[index];
        for _ in 0..rest {
            word &= word - 1;
        }
        index * BITS + word.trailing_zeros() as usize
    }

    /// The least that is `index` or above it; if there is none, the least. None if it is empty.
    #[inline]
    pub(super) fn next(&self, index: usize) -> Option<usize> {
        if self.has_all() {
            return (self.end > 0).then_some(if index < self.end { index } else { 0 });
        }
        if self.contains(index) {
            return Some(index);
        }
        let rank = self.rank(index.min(self.end));
        let rank = if rank < self.count { rank } else { 0 };
        (self.count > 0).then(|| self.nth(rank))
    }

    /// In rising order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut left = word;
            core::iter::from_fn(move || {
                let bit = (left > 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(index * BITS + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Oracle: a sorted set.
        #[test]
        fn is_a_sorted_set(end in 1usize..300, ops in prop::collection::vec((any::<usize>(), any::<bool>()), 0..200)) {
            let mut ranks = Ranks::new(end, []);
            let mut set: BTreeSet<usize> = (0..end).collect();
            for (index, inserts) in ops {
                let index = index % end;
                if inserts {
                    ranks.insert(index);
                    set.insert(index);
                } else {
                    ranks.remove(index);
                    set.remove(&index);
                }
            }
            prop_assert_eq!((ranks.count(), ranks.has_all()), (set.len(), set.len() == end));
            prop_assert!(ranks.iter().eq(set.iter().copied()));
            for index in 0..=end {
                prop_assert_eq!(ranks.contains(index), set.contains(&index));
                prop_assert_eq!(ranks.rank(index), set.range(..index).count());
                prop_assert_eq!(ranks.next(index), set.range(index..).chain(&set).next().copied());
            }
            for (rank, &index) in set.iter().enumerate() {
                prop_assert_eq!(ranks.nth(rank), index);
            }
            let again = Ranks::new(end, (0..end).filter(|index| !set.contains(index)));
            prop_assert!(again.iter().eq(ranks.iter()) && again.count() == ranks.count());
        }
    }
}
