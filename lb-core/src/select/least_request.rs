//! Least request: the endpoint with the fewest requests in flight for its weight, counting the one to
//! be placed.
//!
//! The candidates are the leaves of a tournament: each inner node knows the lightest below it and the
//! weight of all that tie with it. A change of load plays O(log n) matches again, and a pick walks down
//! from the root. One that is full is a leaf where nobody stands. Ties are drawn in proportion to the weights: taking the first of them would send all
//! of a quiet service's traffic to one endpoint.

use alloc::{vec, vec::Vec};
use core::cmp::Ordering;

use super::{Candidate, Roster, View};
use crate::prng::Prng;

#[derive(Debug, Default)]
pub(crate) struct LeastRequest {
    /// A binary tree: the children of `i` are `2i` and `2i + 1`, the root is 1. Leaves stand in the second
    /// half.
    nodes: Vec<Node>,
}

/// The lightest below a node.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Its requests in flight, and one; 0 where there is nobody.
    load: u64,
    weight: u32,
    /// The weights of all with the same load for their weight.
    tied: u64,
}

impl Node {
    fn leaf(candidate: Candidate, load: u32) -> Self {
        let Candidate { weight, .. } = candidate;
        Self { load: u64::from(load) + 1, weight, tied: weight.into() }
    }

    /// Nobody is heavier than anybody. A load is at most 2^32 and a weight below 2^30.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.load, other.load) {
            (0, _) | (_, 0) => (self.load == 0).cmp(&(other.load == 0)),
            (a, b) => (a * u64::from(other.weight)).cmp(&(b * u64::from(self.weight))),
        }
    }

    fn winner(left: Self, right: Self) -> Self {
        match left.compare(&right) {
            Ordering::Less => left,
            Ordering::Greater => right,
            Ordering::Equal => Self { tied: left.tied + right.tied, ..left },
        }
    }
}

impl LeastRequest {
    /// O(n).
    pub(super) fn rebuild(&mut self, roster: &Roster, loads: &[u32]) {
        let leaves = roster.candidates.len().next_power_of_two();
        self.nodes = vec![Node::default(); 2 * leaves];
        for (index, candidate) in roster.eligible() {
            self.nodes[leaves + index] = Node::leaf(candidate, loads[candidate.id.slot as usize]);
        }
        for index in (1..leaves).rev() {
            self.play(index);
        }
    }

    /// One may not be picked any more. O(log n).
    pub(super) fn remove(&mut self, index: usize) {
        self.set(index, Node::default());
    }

    /// O(log n).
    pub(super) fn on_load(&mut self, index: usize, candidate: Candidate, load: u32) {
        self.set(index, Node::leaf(candidate, load));
    }

    /// O(log n); as much again for each that is left out.
    pub(super) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        for &index in view.skip {
            self.set(index as usize, Node::default());
        }
        let picked = self.draw(prng);
        for &index in view.skip {
            let candidate = view.candidate(index as usize);
            self.set(index as usize, Node::leaf(candidate, view.in_flight[candidate.id.slot as usize]));
        }
        picked
    }

    fn draw(&self, prng: &mut Prng) -> Option<usize> {
        let root = self.nodes.get(1).filter(|root| root.load > 0)?;
        let is_alone = root.tied == u64::from(root.weight);
        let mut draw = if is_alone { 0 } else { prng.below(root.tied) };
        let (mut index, leaves) = (1, self.nodes.len() / 2);
        while index < leaves {
            let left = &self.nodes[2 * index];
            // What ties with the root below `index` stands left, right or on both sides.
            let ties = if left.compare(root).is_eq() { left.tied } else { 0 };
            let goes_left = draw < ties;
            draw -= if goes_left { 0 } else { ties };
            index = 2 * index + usize::from(!goes_left);
        }
        Some(index - leaves)
    }

    fn set(&mut self, index: usize, leaf: Node) {
        let mut index = index + self.nodes.len() / 2;
        self.nodes[index] = leaf;
        while index > 1 {
            index /= 2;
            self.play(index);
        }
    }

    fn play(&mut self, index: usize) {
        self.nodes[index] = Node::winner(self.nodes[2 * index], self.nodes[2 * index + 1]);
    }
}
