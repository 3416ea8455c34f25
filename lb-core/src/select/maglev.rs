//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
//! 2016, section 3.4): a table of prime size whose entries the members take in turns, each in the order of
//! its own permutation.
//!
//! With equal weights the members' shares of the table differ by one entry at most. With others the turns
//! come at rates that are the weights, and everybody has one in the beginning. When a member comes or
//! goes, some entries change between others as well: the price of even shares.

use alloc::{collections::BinaryHeap, vec, vec::Vec};
use core::cmp::Reverse;

use super::{Candidate, equal_weights};
use crate::hash::mix;

#[derive(Debug)]
pub(super) struct Maglev {
    /// A prime.
    size: u32,
    /// The member of each entry.
    entries: Vec<u32>,
}

/// No member has an entry yet.
const FREE: u32 = u32::MAX;

/// A member's way through the table: all entries once, in steps that are prime to its size.
#[derive(Clone, Copy, Debug)]
struct Permutation {
    next: u32,
    step: u32,
}

impl Permutation {
    fn new(identity: u64, size: u32) -> Self {
        // Two numbers that are independent of each other and of what the ring uses.
        let below = |salt: u64, bound: u32| (mix(identity ^ salt) % u64::from(bound)) as u32;
        Self { next: below(0x6f66_6673_6574, size), step: 1 + below(0x736b_6970, size - 1) }
    }

    fn advance(&mut self, size: u32) -> usize {
        let entry = self.next;
        let wraps = entry >= size - self.step;
        self.next = if wraps { entry - (size - self.step) } else { entry + self.step };
        entry as usize
    }
}

impl Maglev {
    pub(super) fn new(size: u32) -> Self {
        Self { size: size.max(2), entries: Vec::new() }
    }

    /// O(m log m) for m entries with equal weights: late in the filling most entries that a member looks at
    /// are taken. With others each turn costs O(log n) besides.
    pub(super) fn rebuild(&mut self, members: &[Candidate]) {
        self.entries.clear();
        if members.is_empty() {
            return;
        }
        let mut entries = vec![FREE; self.size as usize];
        let mut permutations: Vec<Permutation> =
            members.iter().map(|member| Permutation::new(member.identity, self.size)).collect();
        // There is a free entry at each turn, and a permutation comes to all.
        let mut take = |member: usize| {
            let permutation = &mut permutations[member];
            let mut entry = permutation.advance(self.size);
            while entries[entry] != FREE {
                entry = permutation.advance(self.size);
            }
            entries[entry] = member as u32;
        };
        if equal_weights(members) {
            (0..members.len()).cycle().take(self.size as usize).for_each(&mut take);
        } else {
            by_weight(members).take(self.size as usize).for_each(&mut take);
        }
        self.entries = entries;
    }

    /// The member of each entry.
    pub(super) fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// The first entry of a key; those that follow go through the table once. O(1).
    pub(super) fn start(&self, key: u64) -> usize {
        ((key % u64::from(self.size)) as usize).min(self.entries.len())
    }
}

/// Turns without end: the k-th of a member comes at the time `k / weight`, from k = 0 on.
fn by_weight(members: &[Candidate]) -> impl Iterator<Item = usize> {
    let mut due: BinaryHeap<Reverse<(u128, usize)>> =
        (0..members.len()).map(|index| Reverse((0, index))).collect();
    core::iter::from_fn(move || {
        let Reverse((time, index)) = due.pop()?;
        due.push(Reverse((time + (1 << 62) / u128::from(members[index].weight), index)));
        Some(index)
    })
}
