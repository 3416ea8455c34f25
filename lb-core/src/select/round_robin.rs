//! Round robin: with equal weights a cursor that alternates exactly, else smooth weighted round robin.
//!
//! Smooth weighted round robin (nginx): each pick adds its weight to every endpoint's credit, takes
//! the one with the most (the first of them on a tie) and charges it the sum of the weights. Over a
//! period of `W / gcd` picks each endpoint is taken exactly `w_i / gcd` times, and after `t` picks an
//! endpoint is less than 1 ahead of `t * w_i / W` and less than n - 1 behind it.
//!
//! The round begins with the first endpoint, so that what a pool does can be foretold; many balancers
//! that start at once therefore begin alike.
//!
//! With equal weights that is plain alternation, for which a cursor does in O(1) what the credits do in
//! O(n); the one is turned into the other when the weights change.

use alloc::vec::Vec;

use super::{Candidate, Places, View, equal_weights};

#[derive(Debug)]
pub(crate) struct RoundRobin {
    equal: bool,
    /// The index that is next, with equal weights.
    cursor: usize,
    /// Credits by index, with unequal weights; their sum is 0 between picks.
    credits: Vec<i64>,
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self { equal: true, cursor: 0, credits: Vec::new() }
    }
}

impl RoundRobin {
    /// Endpoints that stay keep their place in the round, whatever joins or leaves.
    pub(super) fn rebuild(&mut self, old: &[Candidate], new: &[Candidate]) {
        let equal = equal_weights(new);
        if !equal {
            if self.equal {
                self.credits_of_cursor(old);
            }
            self.carry_credits(old, new);
        } else if self.equal {
            self.carry_cursor(old, new);
        } else {
            self.carry_credits(old, new);
            self.cursor = first_max(&self.credits);
            self.credits.clear();
        }
        self.equal = equal;
    }

    pub(super) fn pick(&mut self, view: View<'_>) -> Option<usize> {
        if self.equal { self.alternate(view) } else { self.smooth(view) }
    }

    /// O(1).
    fn alternate(&mut self, view: View<'_>) -> Option<usize> {
        let count = view.candidates().len();
        for _ in 0..count {
            let index = self.cursor;
            self.cursor = if index + 1 < count { index + 1 } else { 0 };
            if !view.skips(index) {
                return Some(index);
            }
        }
        None
    }

    /// O(n). Those that are left out neither gain nor pay, so the sum stays 0.
    fn smooth(&mut self, view: View<'_>) -> Option<usize> {
        let (mut total, mut best, mut most) = (0, None, i64::MIN);
        for (index, (credit, candidate)) in self.credits.iter_mut().zip(view.candidates()).enumerate() {
            if view.skips(index) {
                continue;
            }
            *credit += i64::from(candidate.weight);
            total += i64::from(candidate.weight);
            if *credit > most {
                (best, most) = (Some(index), *credit);
            }
        }
        self.credits[best?] -= total;
        best
    }

    /// The round goes on after the one that was taken last; if that one is gone, with the first from the
    /// old cursor on that is still there.
    fn carry_cursor(&mut self, old: &[Candidate], new: &[Candidate]) {
        let places = Places::of(new);
        let (served, due) = old.split_at(self.cursor.min(old.len()));
        let last = served.last().or(due.last()).and_then(|candidate| places.get(candidate.id));
        let next = || due.iter().chain(served).find_map(|candidate| places.get(candidate.id));
        let cursor = last.map(|place| place + 1).or_else(next).unwrap_or(0);
        self.cursor = if cursor < new.len() { cursor } else { 0 };
    }

    /// The credits that smooth weighted round robin would have come to: after k of n picks, k weights
    /// each, and those that were taken have paid n.
    fn credits_of_cursor(&mut self, old: &[Candidate]) {
        let (count, cursor) = (old.len() as i64, self.cursor as i64);
        self.credits.clear();
        self.credits.extend(old.iter().enumerate().map(|(index, candidate)| {
            let turns = if index < self.cursor { cursor - count } else { cursor };
            turns * i64::from(candidate.weight)
        }));
    }

    /// Credits follow their endpoints; newcomers begin with none. What those that left had is spread
    /// over the others, for the sum must be 0.
    fn carry_credits(&mut self, old: &[Candidate], new: &[Candidate]) {
        let places = Places::of(old);
        let total: i64 = new.iter().map(|candidate| i64::from(candidate.weight)).sum();
        let mut credits: Vec<i64> = new
            .iter()
            .map(|candidate| places.get(candidate.id).and_then(|place| self.credits.get(place)))
            .map(|credit| credit.copied().unwrap_or(0).clamp(-total, total))
            .collect();
        let surplus: i64 = credits.iter().sum();
        let count = (credits.len() as i64).max(1);
        let (each, extra) = (surplus.div_euclid(count), surplus.rem_euclid(count));
        for (index, credit) in credits.iter_mut().enumerate() {
            *credit -= each + i64::from((index as i64) < extra);
        }
        self.credits = credits;
    }
}

fn first_max(credits: &[i64]) -> usize {
    let most = credits.iter().max();
    credits.iter().position(|credit| Some(credit) == most).unwrap_or(0)
}

#[cfg(test)]
impl RoundRobin {
    /// The credits, and whether they are out of use.
    pub(super) fn credits(&self) -> (&[i64], bool) {
        (&self.credits, self.equal)
    }
}
