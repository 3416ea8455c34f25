//! Random by weight: `P(i) = w_i / W`, exactly, in O(1).
//!
//! The alias method (Walker 1977; Vose, "A linear algorithm for generating random numbers with a given
//! distribution", 1991) in integers: each of n columns holds W units, of which a column's own endpoint
//! takes the first `threshold` and its alias the rest. A draw takes a column and a unit of it. Nothing is
//! rounded, so the probabilities are exact; the table is rebuilt in O(n) when the candidates change.
//!
//! While some are full, the table would have to be made anew for each that fills or frees; then the unit is
//! found in a Fenwick tree over the weights of the others: the same law, O(log n) for each draw and each change.

use alloc::vec::Vec;

use super::{Candidate, Roster, View, equal_weights, fenwick::Fenwick};
use crate::prng::Prng;

#[derive(Debug, Default)]
pub(crate) struct Random {
    /// One for each candidate; empty when all weights are equal.
    columns: Vec<Column>,
    /// The units of a column: the sum of the weights.
    units: u64,
    /// The weights of those that may be picked, 0 for the others; from the time on that one of them is full.
    free: Option<Fenwick>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: u64,
    alias: u32,
}

/// How often a draw of one that is left out is repeated before the rest is walked through.
const REDRAWS: usize = 8;

impl Random {
    pub(super) fn rebuild(&mut self, roster: &Roster) {
        let new = &roster.candidates[..];
        self.columns.clear();
        self.free = None;
        if equal_weights(new) {
            return;
        }
        self.units = new.iter().map(|candidate| u64::from(candidate.weight)).sum();
        let count = new.len() as u64;
        // A weight is below 2^30 and there are at most 2^17: what a column is filled with fits.
        self.columns.extend(
            (0..)
                .zip(new)
                .map(|(alias, candidate)| Column { threshold: u64::from(candidate.weight) * count, alias }),
        );
        let (mut poor, mut rich): (Vec<u32>, Vec<u32>) =
            (0..new.len() as u32).partition(|&index| self.columns[index as usize].threshold < self.units);
        // Each poor one is filled up by a rich one, which may be poor after that.
        while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
            let taker = &mut self.columns[taker as usize];
            taker.alias = giver;
            let given = self.units - taker.threshold;
            let giver_column = &mut self.columns[giver as usize];
            giver_column.threshold -= given;
            if giver_column.threshold < self.units {
                rich.pop();
                poor.push(giver);
            }
        }
    }

    /// One more may be picked. O(log n).
    pub(super) fn admit(&mut self, index: usize, candidate: Candidate) {
        if let Some(free) = &mut self.free {
            free.add(index, candidate.weight.into());
        }
    }

    /// One may not be picked any more. O(log n).
    pub(super) fn remove(&mut self, index: usize, candidate: Candidate) {
        if let Some(free) = &mut self.free {
            free.subtract(index, candidate.weight.into());
        }
    }

    /// O(1), while some are full O(log n). Where some are left out, those are drawn again, and after some draws O(n): both give each of
    /// the rest its share of the rest.
    pub(super) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        if !self.columns.is_empty() && !view.roster.free.has_all() && self.free.is_none() {
            let weight = |(index, candidate): (usize, &Candidate)| {
                if view.roster.free.contains(index) { candidate.weight.into() } else { 0 }
            };
            self.free = Some(Fenwick::of(view.roster.candidates.iter().enumerate().map(weight)));
        }
        let draws = if view.skip.is_empty() { 1 } else { REDRAWS };
        (0..draws)
            .find_map(|_| self.draw(&view, prng).filter(|&index| !view.skips(index)))
            .or_else(|| pick_from_rest(view, prng))
    }

    fn draw(&self, view: &View<'_>, prng: &mut Prng) -> Option<usize> {
        let count = view.count();
        if count == 0 {
            return None;
        }
        if let Some(free) = self.free.as_ref().filter(|_| !view.roster.free.has_all()) {
            return Some(free.find(prng.below(free.total())).0);
        }
        let index = view.nth(prng.below(count as u64) as usize);
        match self.columns.get(index) {
            Some(column) if prng.below(self.units) >= column.threshold => Some(column.alias as usize),
            _ => Some(index),
        }
    }
}

fn pick_from_rest(view: View<'_>, prng: &mut Prng) -> Option<usize> {
    let total = view.rest().map(|(_, candidate)| u64::from(candidate.weight)).sum();
    let mut draw = prng.below(total);
    for (index, candidate) in view.rest() {
        match draw.checked_sub(candidate.weight.into()) {
            Some(rest) => draw = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
impl Random {
    /// What each candidate has of all columns together: its weight times their number.
    pub(super) fn units(&self) -> Vec<u64> {
        let mut units = alloc::vec![0; self.columns.len()];
        for (index, column) in self.columns.iter().enumerate() {
            units[index] += column.threshold;
            units[column.alias as usize] += self.units - column.threshold;
        }
        units
    }
}
