//! Round robin: with equal weights a cursor that alternates exactly, else by credits.
//!
//! Each pick adds its weight to every endpoint's [credit](super::credits) and charges the one that is taken the sum
//! W of the weights. After t picks a credit is `t * w_i - W * count_i`: what the endpoint is behind its share, in
//! parts of W. Two rules say who is taken:
//!
//! - [`Rule::Smooth`] (nginx's smooth weighted round robin): the one with the most credit, the first of
//!   them on a tie. An endpoint is never ahead by 1 pick, and never behind by n - 1.
//! - [`Rule::Chairman`] (Tijdeman, "The chairman assignment problem", 1980): of those that would not get
//!   too far ahead, the one that would be too far behind first. Nobody is ever ahead or behind by more than
//!   `1 - 1/(2n - 2)`, which is the least that is possible for all weights.
//!
//! Over a period of `W / gcd` picks each endpoint is taken exactly `w_i / gcd` times. A first period is reckoned by
//! the credits, at O(k + log n) a pick for k different weights; if they have come back to where they were, and it is
//! not too long, it is played again from then on, at O(1) a pick.
//!
//! The round begins with the first endpoint, so that what a pool does can be foretold; many balancers
//! that start at once therefore begin alike.
//!
//! With equal weights both rules are plain alternation, for which a cursor does what the credits do; the one is
//! turned into the other when the weights change.
//!
//! A member that is full or down for a while keeps its place in the round: it is passed, and has the credit
//! again that it had when it comes back. Otherwise one that is full after each request would begin anew each
//! time, and be taken every time. That is O(log n) for one that fills or frees, and with unequal weights what a
//! period that played owes to the credits, which is no more than its picks.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Candidate, Roster, View, credits::Credits, equal_weights, period::Period};
use crate::pool::EndpointId;

/// No credit that is carried over is further from 0: those of 2^17 endpoints have a sum.
const CREDIT_MAX: i64 = i64::MAX >> 18;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Smooth weighted round robin.
    Smooth,
    /// Tijdeman's chairman assignment.
    Chairman,
}

#[derive(Debug)]
pub(crate) struct RoundRobin {
    rule: Rule,
    equal: bool,
    /// The index at or after which the next one is that has a free slot, with equal weights.
    cursor: usize,
    /// Who was taken last, with equal weights.
    last: Option<EndpointId>,
    /// That one has left for good: the cursor is all that is known of the place in the round.
    is_last_gone: bool,
    /// By candidate, with unequal weights; with those that are `away` their sum is 0 between picks. Out of date
    /// while `period` plays.
    credits: Credits,
    /// Credits of members that are no candidates now.
    away: BTreeMap<EndpointId, i64>,
    /// The sum is not 0: there was nobody who could have had the rest, or a credit was too far from 0.
    is_unbalanced: bool,
    /// The sum of the members' weights that the credits are parts of.
    total: i64,
    period: Period,
}

impl RoundRobin {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            equal: true,
            cursor: 0,
            last: None,
            is_last_gone: false,
            credits: Credits::default(),
            away: BTreeMap::new(),
            is_unbalanced: false,
            total: 0,
            period: Period::default(),
        }
    }

    /// `members` are all that belong to the round, now or later, in its order. Those that stay keep their
    /// place, whatever joins or leaves.
    pub(super) fn rebuild(&mut self, old: &Roster, new: &Roster, members: &[Candidate]) {
        let equal = equal_weights(&new.candidates) && equal_weights(members);
        match (self.equal, equal) {
            (true, true) => self.carry_cursor(old, new, members),
            (_, false) => {
                self.carry_credits(old, new, members);
                self.period.begin(new.candidates.len(), self.credits.weights());
            }
            (false, true) => {
                self.carry_credits(old, new, members);
                self.cursor_of_credits(new);
            }
        }
        self.equal = equal;
    }

    /// A candidate may be picked again.
    pub(super) fn admit(&mut self, index: usize) {
        if !self.equal {
            self.stop_period();
            let credit = self.credits.of(index);
            let carried = credit.clamp(-CREDIT_MAX, CREDIT_MAX);
            self.is_unbalanced |= credit != carried;
            self.credits.join(index, carried);
        }
    }

    /// A candidate may not be picked for a while.
    pub(super) fn remove(&mut self, index: usize) {
        if !self.equal {
            self.stop_period();
            self.credits.leave(index);
        }
    }

    /// All that filled was told, or after that all that freed.
    pub(super) fn on_full(&mut self, fills: bool, roster: &Roster, members: &[Candidate]) {
        if self.equal {
            if self.is_last_gone {
                self.cursor = roster.free.next(self.cursor).unwrap_or(0);
            }
        } else if !fills {
            if self.is_unbalanced {
                self.rebuild(roster, roster, members);
            } else {
                self.stop_period();
                self.period.begin(roster.candidates.len(), self.credits.weights());
            }
        }
    }

    /// The credits become what the period so far leaves of them.
    fn stop_period(&mut self) {
        if let Some((picks, taken)) = self.period.stop() {
            self.credits.settle(picks, taken);
        }
    }

    /// `id`, which stands at `index`, was taken because there was no other.
    pub(super) fn on_only(&mut self, index: usize, id: EndpointId) {
        self.last = Some(id);
        self.is_last_gone = false;
        self.cursor = index + 1;
    }

    pub(super) fn pick(&mut self, view: View<'_>) -> Option<usize> {
        if self.equal {
            return self.alternate(view);
        }
        if self.period.plays() {
            return self.period.play(|index| view.skips(index));
        }
        let index = self.credits.pick(self.rule, view.skip)?;
        if view.skip.is_empty() {
            self.period.add(index, self.credits.weight(index));
        } else {
            self.period.restart();
        }
        Some(index)
    }

    /// O(1), while some are full O(log n).
    fn alternate(&mut self, view: View<'_>) -> Option<usize> {
        for _ in 0..view.count() {
            let index = view.roster.free.next(self.cursor)?;
            self.cursor = index + 1;
            if !view.skips(index) {
                self.last = Some(view.candidate(index).id);
                self.is_last_gone = false;
                return Some(index);
            }
        }
        None
    }

    /// The round goes on after the one that was taken last; if that one is gone, with the first from the
    /// old cursor on that is still there.
    fn carry_cursor(&mut self, old: &Roster, new: &Roster, members: &[Candidate]) {
        let Some(last) = self.last else {
            self.cursor = 0;
            return;
        };
        let place = members.iter().position(|member| member.id == last);
        self.is_last_gone = place.is_none();
        let next = match place {
            Some(place) => {
                let (before, after) = members.split_at(place + 1);
                after.iter().chain(before).find_map(|member| new.place(member.id))
            }
            None => {
                let old: Vec<(usize, Candidate)> = old.eligible().collect();
                let (before, after) = old.split_at(old.partition_point(|&(index, _)| index < self.cursor));
                after.iter().chain(before).find_map(|(_, candidate)| new.index(candidate.id))
            }
        };
        self.cursor = next.unwrap_or(0);
    }

    /// The round goes on with the one that has the most credit.
    fn cursor_of_credits(&mut self, new: &Roster) {
        let eligible: Vec<(usize, Candidate)> = new.eligible().collect();
        let most = eligible.iter().map(|&(index, _)| self.credits.of(index)).max();
        let next = eligible.iter().position(|&(index, _)| Some(self.credits.of(index)) == most).unwrap_or(0);
        self.cursor = eligible.get(next).map_or(0, |&(index, _)| index);
        let before = next.checked_sub(1).and_then(|place| eligible.get(place)).or(eligible.last());
        self.last = before.map(|(_, candidate)| candidate.id);
        self.is_last_gone = false;
        self.credits = Credits::default();
        self.period = Period::default();
        self.away.clear();
        self.is_unbalanced = false;
    }

    /// The credits that smooth weighted round robin would have come to: after k of n picks, k weights
    /// each, and those that were taken have paid n.
    fn credits_of_cursor(&self, old: &Roster) -> Vec<(EndpointId, i64)> {
        let (eligible, cursor) =
            (old.free.count() as i64, old.free.rank(self.cursor.min(old.candidates.len())));
        let taken = if (cursor as i64) < eligible { cursor } else { 0 };
        let credit = |(place, (_, candidate)): (usize, (usize, Candidate))| {
            let turns = if place < taken { taken as i64 - eligible } else { taken as i64 };
            (candidate.id, turns * i64::from(candidate.weight))
        };
        old.eligible().enumerate().map(credit).collect()
    }

    /// Credits follow their endpoints; newcomers begin with none. What those that left for good had is spread
    /// over the others, for the sum must be 0.
    fn carry_credits(&mut self, old: &Roster, new: &Roster, members: &[Candidate]) {
        let known: Vec<(EndpointId, i64)> = if self.equal {
            self.credits_of_cursor(old)
        } else {
            self.stop_period();
            let credit = |(index, candidate): (usize, &Candidate)| (candidate.id, self.credits.of(index));
            old.candidates.iter().enumerate().map(credit).collect()
        };
        self.away.extend(known);
        // Debts from other weights, which may have been far greater, are forgiven down to one request.
        let total: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
        let most = if total == self.total { CREDIT_MAX } else { total };
        self.total = total;
        let mut credits = vec![0; new.candidates.len()];
        for (index, candidate) in new.eligible() {
            credits[index] = self.away.remove(&candidate.id).unwrap_or(0).clamp(-most, most);
        }
        let away = members.iter().filter_map(|member| Some((member.id, self.away.remove(&member.id)?)));
        self.away = away.collect();
        let surplus = credits.iter().sum::<i64>() + self.away.values().sum::<i64>();
        let count = new.free.count() as i64;
        self.is_unbalanced = surplus != 0 && count == 0;
        let (each, extra) = (surplus.div_euclid(count.max(1)), surplus.rem_euclid(count.max(1)));
        for (rank, index) in (0..).zip(new.free.iter()) {
            credits[index] -= each + i64::from(rank < extra);
        }
        let is_full = |&(index, _): &(usize, &Candidate)| !new.free.contains(index);
        for (index, candidate) in new.candidates.iter().enumerate().filter(is_full) {
            credits[index] = self.away.remove(&candidate.id).unwrap_or(0);
        }
        self.credits = Credits::new(new, &credits);
    }
}

#[cfg(test)]
impl RoundRobin {
    /// The credits as of the last pick, if they are in use.
    pub(super) fn credits(&self) -> Option<Vec<i64>> {
        let (mut credits, mut period) = (self.credits.clone(), self.period.clone());
        if let Some((picks, taken)) = period.stop() {
            credits.settle(picks, taken);
        }
        (!self.equal).then(|| (0..credits.len()).map(|index| credits.of(index)).collect())
    }

    pub(super) fn plays(&self) -> bool {
        self.period.plays()
    }
}
