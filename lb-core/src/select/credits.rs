//! The credits of a weighted round, and the two rules that pick by them.
//!
//! Each pick adds its weight to every endpoint's credit and charges the one that is taken the sum W of the
//! weights. Credits of endpoints of one weight therefore rise together: what is kept is what a credit would have
//! been at the first pick, and the number of picks. So whoever has the most among the endpoints of one weight
//! has it until one of them is charged, joins or leaves, and is found by a tournament tree for each weight: O(k +
//! log n) a pick for k different weights, O(log n) for one that joins or leaves.
//!
//! Those that left keep the credit that they left with.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Roster, round_robin::Rule};

/// After so many picks credits are kept as they are anew; in tests so few that they come by it. With weights below
/// 2^30 what was added stays below 2^51.
const PICKS_MAX: i64 = if cfg!(test) { 50 } else { 1 << 20 };

/// In place of a credit that takes no part.
const ABSENT: i64 = i64::MIN;

/// Credits by the index of a candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Credits {
    /// How many take part.
    count: i64,
    /// W, the sum of their weights.
    total: i64,
    /// Picks since credits were last kept as they are.
    picks: i64,
    seats: Vec<Seat>,
    classes: Vec<Class>,
    /// The trees of all classes, one after the other. In each the root is at 1, and the children of a node at twice
    /// its place and after that. A node has the most credit below it, as of no picks.
    nodes: Vec<i64>,
}

/// Where an endpoint's credit is kept.
#[derive(Clone, Copy, Debug)]
struct Seat {
    class: u32,
    /// Among those of its class, in the order of their indexes.
    place: u32,
    /// Its credit while it takes no part.
    aside: i64,
}

/// The endpoints of one weight.
#[derive(Clone, Debug)]
struct Class {
    weight: i64,
    /// Their indexes, rising.
    members: Vec<u32>,
    /// How many of them take part.
    count: u32,
    /// Where its tree begins.
    tree: usize,
    /// The number of the tree's leaves, a power of two.
    leaves: usize,
}

impl Credits {
    /// `credits` by index; those that are not free take no part yet. O(n log k).
    pub(super) fn new(roster: &Roster, credits: &[i64]) -> Self {
        let mut by_weight: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (index, candidate) in (0..).zip(&roster.candidates) {
            by_weight.entry(candidate.weight).or_default().push(index);
        }
        let aside = |&aside: &i64| Seat { class: 0, place: 0, aside };
        let mut new = Self { seats: credits.iter().map(aside).collect(), ..Self::default() };
        let mut end = 0;
        for (class, (weight, members)) in (0..).zip(by_weight) {
            for (place, &index) in (0..).zip(&members) {
                let seat = &mut new.seats[index as usize];
                (seat.class, seat.place) = (class, place);
            }
            let leaves = members.len().next_power_of_two();
            new.classes.push(Class { weight: weight.into(), members, count: 0, tree: end, leaves });
            end += 2 * leaves;
        }
        new.nodes = vec![ABSENT; end];
        roster.free.iter().for_each(|index| new.join(index, credits[index]));
        new
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// What one has, whether it takes part or not.
    pub(super) fn of(&self, index: usize) -> i64 {
        let seat = self.seats[index];
        let class = &self.classes[seat.class as usize];
        match self.nodes[class.tree + class.leaves + seat.place as usize] {
            ABSENT => seat.aside,
            credit => credit + class.weight * self.picks,
        }
    }

    /// The weight of the one at `index`.
    pub(super) fn weight(&self, index: usize) -> i64 {
        self.classes[self.seats[index].class as usize].weight
    }

    /// The sum of the weights of those that take part, and the greatest number that divides all of them; 0 and 0 if
    /// there are none.
    pub(super) fn weights(&self) -> (i64, i64) {
        let present = self.classes.iter().filter(|class| class.count > 0);
        (self.total, present.fold(0, |common, class| gcd(common, class.weight)))
    }

    /// One takes part from now on, with this credit.
    pub(super) fn join(&mut self, index: usize, credit: i64) {
        let class = &mut self.classes[self.seats[index].class as usize];
        class.count += 1;
        self.count += 1;
        self.total += class.weight;
        let first = credit - class.weight * self.picks;
        self.set(index, first);
    }

    /// One takes no part any more.
    pub(super) fn leave(&mut self, index: usize) {
        self.seats[index].aside = self.of(index);
        let class = &mut self.classes[self.seats[index].class as usize];
        class.count -= 1;
        self.count -= 1;
        self.total -= class.weight;
        self.set(index, ABSENT);
    }

    /// The next one, by `rule`. Those of `skip`, which take part, neither gain nor pay.
    pub(super) fn pick(&mut self, rule: Rule, skip: &[u32]) -> Option<usize> {
        if self.picks >= PICKS_MAX {
            self.keep_as_they_are();
        }
        skip.iter().for_each(|&index| self.leave(index as usize));
        self.picks += 1;
        let best = match rule {
            Rule::Smooth => self.most_credit(),
            Rule::Chairman => self.first_deadline().or_else(|| self.most_credit()),
        };
        best.into_iter().for_each(|best| self.charge(best));
        skip.iter().for_each(|&index| self.join(index as usize, self.seats[index as usize].aside));
        best
    }

    /// So many picks were made elsewhere, and these were taken.
    pub(super) fn settle(&mut self, picks: i64, taken: impl Iterator<Item = usize>) {
        self.picks += picks;
        taken.for_each(|index| self.charge(index));
    }

    fn charge(&mut self, index: usize) {
        let Seat { class, place, .. } = self.seats[index];
        let class = &self.classes[class as usize];
        let first = self.nodes[class.tree + class.leaves + place as usize] - self.total;
        self.set(index, first);
    }

    /// The one with the most; the first of them.
    fn most_credit(&self) -> Option<usize> {
        let mut best: Option<(i64, usize)> = None;
        for class in self.classes.iter().filter(|class| class.count > 0) {
            let first = self.nodes[class.tree + 1];
            let credit = first + class.weight * self.picks;
            if best.is_none_or(|(most, _)| credit >= most) {
                let index = self.first_from(class, first);
                if best.is_none_or(|(most, before)| credit > most || index < before) {
                    best = Some((credit, index));
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// Tijdeman's rule with `d = 2n - 2`: eligible are those that are behind by at least `W/d`, and the deadline of
    /// an endpoint is the first pick after which it would be behind by more than `W - W/d`. The first deadline is
    /// taken, the first of them. There is always an eligible one unless credits were carried over from other weights.
    ///
    /// Credits are integers, so both may be rounded: with `least = ceil(W/d)` a credit has to be `least` to be
    /// eligible, and `W - least` is not too far behind yet.
    fn first_deadline(&self) -> Option<usize> {
        let parts = 2 * self.count - 2;
        if parts <= 0 {
            return None;
        }
        let least = -(-self.total).div_euclid(parts);
        let too_far = self.total - least + 1;
        let mut best: Option<(i64, usize)> = None;
        for class in self.classes.iter().filter(|class| class.count > 0) {
            let gained = class.weight * self.picks;
            let credit = self.nodes[class.tree + 1] + gained;
            if credit < least {
                continue;
            }
            // The fewest picks that bring it there: the quotient, rounded up.
            let deadline = -(credit - too_far).div_euclid(class.weight);
            let deadline = deadline.max(0);
            if best.is_none_or(|(first, _)| deadline <= first) {
                // Others of the class, with less credit, may have the same deadline.
                let enough = least.max(too_far - deadline * class.weight);
                let index = self.first_from(class, enough - gained);
                if best.is_none_or(|(first, before)| deadline < first || index < before) {
                    best = Some((deadline, index));
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// The first of a class that has `least` or more, as of no picks; there is one.
    fn first_from(&self, class: &Class, least: i64) -> usize {
        let mut node = 1;
        while node < class.leaves {
            node *= 2;
            node += usize::from(self.nodes[class.tree + node] < least);
        }
        class.members[node - class.leaves] as usize
    }

    /// Sets what one has, as of no picks.
    fn set(&mut self, index: usize, first: i64) {
        let Seat { class, place, .. } = self.seats[index];
        let class = &self.classes[class as usize];
        let tree = &mut self.nodes[class.tree..class.tree + 2 * class.leaves];
        let mut node = class.leaves + place as usize;
        tree[node] = first;
        while node > 1 {
            node /= 2;
            let most = tree[2 * node].max(tree[2 * node + 1]);
            if tree[node] == most {
                break;
            }
            tree[node] = most;
        }
    }

    /// Begins to count picks anew, so that what is added stays small. O(n).
    #[cold]
    fn keep_as_they_are(&mut self) {
        for class in &self.classes {
            let gained = class.weight * self.picks;
            let tree = &mut self.nodes[class.tree..class.tree + 2 * class.leaves];
            tree.iter_mut().filter(|credit| **credit != ABSENT).for_each(|credit| *credit += gained);
        }
        self.picks = 0;
    }
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
