//! Round robin: with equal weights a cursor that alternates exactly, else by credits.
//!
//! Each pick adds its weight to every endpoint's credit and charges the one that is taken the sum W of the
//! weights. After t picks a credit is `t * w_i - W * count_i`: what the endpoint is behind its share, in
//! parts of W. Two rules say who is taken:
//!
//! - [`Rule::Smooth`] (nginx's smooth weighted round robin): the one with the most credit, the first of
//!   them on a tie. An endpoint is never ahead by 1 pick, and never behind by n - 1.
//! - [`Rule::Chairman`] (Tijdeman, "The chairman assignment problem", 1980): of those that would not get
//!   too far ahead, the one that would be too far behind first. Nobody is ever ahead or behind by more than
//!   `1 - 1/(2n - 2)`, which is the least that is possible for all weights.
//!
//! Over a period of `W / gcd` picks each endpoint is taken exactly `w_i / gcd` times. A first period is
//! reckoned at O(n) a pick; if the credits have come back to where they were, and it is not too long, it is
//! played again from then on, at O(1) a pick.
//!
//! The round begins with the first endpoint, so that what a pool does can be foretold; many balancers
//! that start at once therefore begin alike.
//!
//! With equal weights both rules are plain alternation, for which a cursor does in O(1) what the credits
//! do in O(n); the one is turned into the other when the weights change.
//!
//! A member that is full or down for a while keeps its place in the round: it is passed, and has the credit
//! again that it had when it comes back. Otherwise one that is full after each request would begin anew each
//! time, and be taken every time. With equal weights that is O(log n) for one that fills or frees; with others
//! it costs as much as a pick without a period, O(n).

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Candidate, Roster, View, equal_weights, period::Period};
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
    /// Those that may be picked, with their indexes, with unequal weights. What follows counts by places in it.
    eligible: Vec<(u32, Candidate)>,
    /// Credits, with unequal weights; with those that are `away` their sum is 0 between picks. Out
    /// of date while `period` plays.
    credits: Vec<i64>,
    /// Credits of members that may not be picked now.
    away: BTreeMap<EndpointId, i64>,
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
            eligible: Vec::new(),
            credits: Vec::new(),
            away: BTreeMap::new(),
            total: 0,
            period: Period::default(),
        }
    }

    /// `members` are all that belong to the round, now or later, in its order. Those that stay keep their
    /// place, whatever joins or leaves.
    pub(super) fn rebuild(&mut self, old: &Roster, new: &Roster, members: &[Candidate]) {
        let eligible: Vec<(u32, Candidate)> =
            new.eligible().map(|(index, candidate)| (index as u32, candidate)).collect();
        let equal = equal_weights(&new.candidates) && equal_weights(members);
        if !self.equal {
            self.period.stop(self.eligible.iter().map(|(_, candidate)| candidate), &mut self.credits);
        }
        if !equal {
            if self.equal {
                self.credits_of_cursor(old);
            }
            self.carry_credits(&eligible, members);
            self.period = Period::record(eligible.iter().map(|(_, candidate)| candidate), &self.credits);
            self.eligible = eligible;
        } else if self.equal {
            self.carry_cursor(old, new, members);
        } else {
            self.carry_credits(&eligible, members);
            let next = first_max(&self.credits);
            self.cursor = eligible.get(next).map_or(0, |&(index, _)| index as usize);
            let before = next.checked_sub(1).and_then(|place| eligible.get(place)).or(eligible.last());
            self.last = before.map(|(_, candidate)| candidate.id);
            self.is_last_gone = false;
            self.credits.clear();
            self.away.clear();
            self.eligible.clear();
            self.period = Period::default();
        }
        self.equal = equal;
    }

    /// Some of the candidates have filled, or else some may have freed, and nothing else has changed.
    pub(super) fn on_full(&mut self, fills: bool, roster: &Roster, members: &[Candidate]) {
        if !self.equal && !fills {
            self.rebuild(roster, roster, members);
        } else if self.equal && self.is_last_gone {
            self.cursor = roster.free.next(self.cursor).unwrap_or(0);
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
        let Self { eligible, period, .. } = self;
        let index = |place: usize| eligible.get(place).map(|&(index, _)| index as usize);
        if period.plays() {
            let place = period.play(|place| index(place).is_none_or(|index| view.skips(index)))?;
            return index(place);
        }
        let place = self.by_credit(view)?;
        if view.skip.is_empty() {
            self.period.add(place, &self.credits);
        } else {
            self.period.restart(&self.credits);
        }
        self.eligible.get(place).map(|&(index, _)| index as usize)
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

    /// Place and candidate of those that are not left out.
    fn rest(&self, view: View<'_>) -> impl Iterator<Item = (usize, Candidate)> {
        let places = self.eligible.iter().enumerate();
        places
            .filter(move |(_, (index, _))| !view.skips(*index as usize))
            .map(|(place, &(_, candidate))| (place, candidate))
    }

    /// O(n). Those that are left out neither gain nor pay, so the sum stays as it is.
    fn by_credit(&mut self, view: View<'_>) -> Option<usize> {
        let (mut total, mut count) = (0, 0);
        for (credit, &(index, candidate)) in self.credits.iter_mut().zip(&self.eligible) {
            if !view.skips(index as usize) {
                *credit += i64::from(candidate.weight);
                total += i64::from(candidate.weight);
                count += 1;
            }
        }
        let best = match self.rule {
            Rule::Smooth => self.most_credit(view),
            Rule::Chairman => self.first_deadline(view, total, count).or_else(|| self.most_credit(view)),
        }?;
        self.credits[best] -= total;
        Some(best)
    }

    fn most_credit(&self, view: View<'_>) -> Option<usize> {
        let credits = self.rest(view).map(|(index, _)| (index, self.credits[index]));
        credits.reduce(|most, other| if other.1 > most.1 { other } else { most }).map(|(index, _)| index)
    }

    /// Tijdeman's rule with `d = 2n - 2`: eligible are those that are behind by at least `1/d`, and the
    /// deadline of an endpoint is the first pick after which it would be behind by more than `1 - 1/d`. There
    /// is always an eligible one unless credits were carried over from other weights.
    fn first_deadline(&self, view: View<'_>, total: i64, count: i64) -> Option<usize> {
        let parts = i128::from(2 * count - 2);
        if parts == 0 {
            return None;
        }
        let total = i128::from(total);
        let deadlines = self.rest(view).filter_map(|(index, candidate)| {
            let credit = i128::from(self.credits[index]) * parts;
            let slack = total * (parts - 1) - credit;
            let deadline = slack.div_euclid(i128::from(candidate.weight) * parts) + 1;
            (credit >= total).then_some((deadline.max(0), index))
        });
        deadlines.min().map(|(_, index)| index)
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

    /// The credits that smooth weighted round robin would have come to: after k of n picks, k weights
    /// each, and those that were taken have paid n.
    fn credits_of_cursor(&mut self, old: &Roster) {
        self.eligible = old.eligible().map(|(index, candidate)| (index as u32, candidate)).collect();
        let place = self.eligible.partition_point(|&(index, _)| (index as usize) < self.cursor);
        let taken = if place < self.eligible.len() { place } else { 0 };
        let (count, cursor) = (self.eligible.len() as i64, taken as i64);
        self.credits.clear();
        self.credits.extend(self.eligible.iter().enumerate().map(|(place, (_, candidate))| {
            let turns = if place < taken { cursor - count } else { cursor };
            turns * i64::from(candidate.weight)
        }));
    }

    /// Credits follow their endpoints; newcomers begin with none. What those that left for good had is spread
    /// over the others, for the sum must be 0.
    fn carry_credits(&mut self, new: &[(u32, Candidate)], members: &[Candidate]) {
        for ((_, candidate), credit) in self.eligible.iter().zip(&self.credits) {
            self.away.insert(candidate.id, *credit);
        }
        // Debts from other weights, which may have been far greater, are forgiven down to one request.
        let total: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
        let most = if total == self.total { CREDIT_MAX } else { total };
        self.total = total;
        let mut carry = |(_, candidate): &(u32, Candidate)| {
            self.away.remove(&candidate.id).unwrap_or(0).clamp(-most, most)
        };
        let mut credits: Vec<i64> = new.iter().map(&mut carry).collect();
        let away = members.iter().filter_map(|member| Some((member.id, self.away.remove(&member.id)?)));
        self.away = away.collect();
        let surplus = credits.iter().sum::<i64>() + self.away.values().sum::<i64>();
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
    /// The credits as of the last pick, if they are in use.
    pub(super) fn credits(&self) -> Option<Vec<i64>> {
        let mut credits = self.credits.clone();
        self.period.clone().stop(self.eligible.iter().map(|(_, candidate)| candidate), &mut credits);
        (!self.equal).then_some(credits)
    }

    pub(super) fn plays(&self) -> bool {
        self.period.plays()
    }
}
