//! Running sums that change: a Fenwick tree ("A new data structure for cumulative frequency tables", 1994).

use alloc::vec::Vec;

/// Numbers by index, of which one can be changed, and the place of a running sum found, in O(log n).
#[derive(Clone, Debug, Default)]
pub(super) struct Fenwick {
    /// The sum of a block that ends at each index; from 1 on.
    sums: Vec<u64>,
    total: u64,
}

impl Fenwick {
    /// O(n).
    pub(super) fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut sums: Vec<u64> = core::iter::once(0).chain(numbers).collect();
        let total = sums.iter().sum();
        for index in 1..sums.len() {
            let parent = index + lowest_bit(index);
            if parent < sums.len() {
                sums[parent] += sums[index];
            }
        }
        Self { sums, total }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Adds to the number at `index`.
    pub(super) fn add(&mut self, index: usize, more: u64) {
        self.total += more;
        self.change(index, |sum| sum + more);
    }

    /// Takes from the number at `index`, which has as much.
    pub(super) fn subtract(&mut self, index: usize, less: u64) {
        self.total -= less;
        self.change(index, |sum| sum - less);
    }

    fn change(&mut self, index: usize, new: impl Fn(u64) -> u64) {
        let mut index = index + 1;
        while let Some(sum) = self.sums.get_mut(index) {
            *sum = new(*sum);
            index += lowest_bit(index);
        }
    }

    /// The sum of the numbers before `index`.
    pub(super) fn before(&self, index: usize) -> u64 {
        let (mut index, mut sum) = (index, 0);
        while index > 0 {
            sum += self.sums[index];
            index -= lowest_bit(index);
        }
        sum
    }

    /// The index of the number in which `sum`, which is below the total, falls, and how far into it.
    pub(super) fn find(&self, sum: u64) -> (usize, u64) {
        let (mut index, mut rest) = (0, sum);
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            if let Some(&block) = self.sums.get(index + step)
                && block <= rest
            {
                index += step;
                rest -= block;
            }
            step /= 2;
        }
        (index, rest)
    }
}

fn lowest_bit(index: usize) -> usize {
    index & index.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Oracle: the numbers, added up one by one.
        #[test]
        fn sums_are_right(
            mut numbers in prop::collection::vec(0u64..9, 1..40), changes in prop::collection::vec((any::<usize>(), 0u64..9), 0..20),
        ) {
            let mut fenwick = Fenwick::of(numbers.iter().copied());
            for (index, number) in changes {
                let index = index % numbers.len();
                if number >= numbers[index] {
                    fenwick.add(index, number - numbers[index]);
                } else {
                    fenwick.subtract(index, numbers[index] - number);
                }
                numbers[index] = number;
            }
            prop_assert_eq!(fenwick.total(), numbers.iter().sum::<u64>());
            let mut found = Vec::new();
            for (index, &number) in numbers.iter().enumerate() {
                prop_assert_eq!(fenwick.before(index), numbers[..index].iter().sum::<u64>());
                found.extend((0..number).map(|rest| (index, rest)));
            }
            let all: Vec<_> = (0..fenwick.total()).map(|sum| fenwick.find(sum)).collect();
            prop_assert_eq!(all, found);
        }
    }
}
