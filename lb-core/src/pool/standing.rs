//! Who may be picked: ejections, and the lists that picks are made from.

use alloc::vec::Vec;

use super::{
    Cause, Change, EndpointId, Pool,
    tiers::{Census, Seat},
};
use crate::{health::Health, outlier, select::Candidate, slow_start, time::Instant};

/// How many endpoints there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Ready and of some weight: what the cap on ejections is a share of.
    serving: usize,
    /// Those of them that are ejected.
    ejected: usize,
    /// Those of them that are up and not ejected.
    healthy: usize,
}

impl Pool {
    /// Brings the lists up to date if anything has changed; the first of those that wait gets what is free.
    pub(super) fn freshen(&mut self, now: Instant) {
        if self.stale || now >= self.next_change {
            self.refresh(now);
        } else if !self.crossed.is_empty() {
            self.seat_crossed(now);
            self.serve_queue(now);
        }
    }

    /// Notes that an endpoint filled or freed. While weights grow the lists are made anew, as they are for every
    /// other change then.
    #[cold]
    pub(super) fn cross(&mut self, id: EndpointId) {
        if self.grows {
            self.stale = true;
        } else if !self.stale {
            self.crossed.push(id);
        }
    }

    /// Tells the lists who filled or freed.
    pub(super) fn seat_crossed(&mut self, now: Instant) {
        let Self { crossed, slab, tiers, .. } = self;
        let standing = |id| {
            let member = slab.get(id)?;
            Some((member.tier, slab.in_flight(id.slot) >= member.max_in_flight))
        };
        tiers.set_full(crossed, standing, slab.loads(), now);
        crossed.clear();
    }

    /// Does so whether anything has changed or not.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.rebuild(now);
        self.serve_queue(now);
    }

    /// The lists alone.
    pub(super) fn rebuild(&mut self, now: Instant) {
        self.end_ejections(now);
        self.standing = self.tally();
        self.end_surplus_ejections(now);
        self.compare_rates(now);
        self.next_change = if self.config.outlier.compares() { self.next_sweep } else { Instant::FAR_FUTURE };
        self.grows = false;
        self.crossed.clear();
        let mut census: Vec<Census> = (0..self.tiers.count()).map(|_| Census::default()).collect();
        for &slot in &self.order {
            let in_flight = self.slab.in_flight(slot);
            let Some(member) = self.slab.at_mut(slot).filter(|member| member.weight > 0) else { continue };
            let Some(tier) = census.get_mut(member.tier) else { continue };
            tier.members.push(member.candidate());
            if !member.serves() {
                continue;
            }
            tier.total += 1;
            let is_healthy = match member.standing.ejected_until() {
                Some(until) => {
                    self.next_change = self.next_change.min(until);
                    false
                }
                None => member.health.health() == Health::Up,
            };
            let mut weight = slow_start::full_weight(member.weight);
            if is_healthy {
                let (grown, grows) =
                    slow_start::effective_weight(member.weight, member.came_up, &self.config.slow_start, now);
                weight = grown;
                if grows {
                    self.grows = true;
                    self.next_change = self.next_change.min(now + slow_start::TICK);
                } else {
                    member.came_up = None;
                }
            }
            let is_full = in_flight >= member.max_in_flight;
            let seat = Seat { candidate: Candidate { weight, ..member.candidate() }, is_full };
            tier.all.push(seat);
            if is_healthy {
                tier.healthy += 1;
                tier.up.push(seat);
            }
        }
        let (overprovisioning, panic) = (self.config.overprovisioning_percent, self.config.panic_percent);
        self.tiers.rebuild(census, overprovisioning, panic, self.slab.loads(), now);
        self.stale = false;
    }

    /// Ejects an endpoint that failed too often, unless too many are out already.
    pub(super) fn try_eject(&mut self, id: EndpointId, why: Cause, now: Instant) {
        if self.stale || now >= self.next_change {
            self.rebuild(now);
        }
        self.eject(id, why, now);
    }

    /// Ejects by the tally as it stands. The last healthy one stays in unless the configuration allows to
    /// eject all: a bad endpoint is better than none.
    fn eject(&mut self, id: EndpointId, why: Cause, now: Instant) {
        let config = &self.config.outlier;
        let room = self.standing.ejected < outlier::ejected_max(config, self.standing.serving);
        let alone = self.standing.healthy <= 1 && config.max_ejected_percent < 100;
        let Some(member) = self.slab.get_mut(id) else { return };
        let is_healthy = member.serves() && member.health.health() == Health::Up && !member.ejected();
        if !room || alone || !is_healthy {
            return;
        }
        let length = member.standing.eject(config, now);
        let transition = member.transition(Change::Ejected { length, until: now + length, why });
        self.transitions.push(transition);
        self.standing.ejected += 1;
        self.standing.healthy -= 1;
        self.stale = true;
    }

    /// At the end of an interval: compares the success rates in it, and ejects those out of line, the worst
    /// first.
    fn compare_rates(&mut self, now: Instant) {
        let config = &self.config.outlier;
        if !config.compares() || now < self.next_sweep {
            return;
        }
        self.next_sweep = now + config.interval;
        let mut records = Vec::with_capacity(self.order.len());
        for &slot in &self.order {
            let Some(member) = self.slab.at_mut(slot) else { continue };
            records.push((member.id, member.standing.take_record()));
        }
        let counted: Vec<outlier::Record> = records.iter().map(|&(_, record)| record).collect();
        for (place, rule) in outlier::outliers(&self.config.outlier, &counted) {
            self.eject(records[place].0, Cause::Rate(rule), now);
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for member in self.members().filter(|member| member.serves()) {
            tally.serving += 1;
            tally.ejected += usize::from(member.ejected());
            tally.healthy += usize::from(!member.ejected() && member.health.health() == Health::Up);
        }
        tally
    }

    fn end_ejections(&mut self, now: Instant) {
        for &slot in &self.order {
            let Some(member) = self.slab.at_mut(slot) else { continue };
            if member.standing.ejected_until().is_some_and(|until| until <= now) {
                self.transitions.push(member.end_ejection(now));
            }
        }
    }

    /// A smaller pool, or a smaller share, allows fewer ejections: those that end first end now.
    fn end_surplus_ejections(&mut self, now: Instant) {
        let max = outlier::ejected_max(&self.config.outlier, self.standing.serving);
        while self.standing.ejected > max {
            let ejected = self.members().filter(|member| member.ejected());
            let next = ejected.min_by_key(|member| member.standing.ejected_until()).map(|member| member.id);
            let Some(member) = next.and_then(|id| self.slab.get_mut(id)) else { return };
            let is_up = member.serves() && member.health.health() == Health::Up;
            self.transitions.push(member.end_ejection(now));
            self.standing.ejected -= 1;
            self.standing.healthy += usize::from(is_up);
        }
    }
}
