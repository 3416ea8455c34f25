//! A pool: the endpoints behind a name, who may be picked, and what is in flight.
//!
//! This is the one unit that changes while requests flow. The calls, in the order of their role:
//!
//! - what it is made of: [`Pool::new`], [`Pool::reconfigure`], [`Pool::resolved`], [`Pool::set_state`];
//! - a request: [`Pool::pick`] gives a [`Ticket`], [`Pool::finish`] takes it back with an [`Outcome`]
//!   (an [`Exchange`](crate::exchange::Exchange) does both);
//! - active checks: [`Pool::poll_check`] says which are due, [`Pool::on_check`] takes their results;
//! - time: [`Pool::next_wake`] says when [`Pool::wake`] and [`Pool::poll_check`] have something to do;
//! - effects: [`Pool::poll_transition`] tells what changed.
//!
//! An endpoint is eligible when its state is ready, its weight above 0, its health up, and it is not
//! ejected. The eligible ones stand in a dense list that is rebuilt at the first pick after a change,
//! so a pick costs what the algorithm costs.

mod checks;
mod members;
mod slab;
#[cfg(test)]
mod tests;
mod ticket;
mod transition;

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::net::SocketAddr;

pub use self::{
    checks::Check,
    ticket::{Ask, EndpointId, Outcome, Ticket},
    transition::{Change, Transition},
};
use self::{
    members::Source,
    slab::{Member, Slab},
    ticket::Answered,
    transition::Transitions,
};
use crate::{
    config::{self, AdminState},
    health::Health,
    limits::TRIES_MAX,
    outlier,
    prng::Prng,
    reason::Reason,
    retry::RetryBudget,
    select::{Candidate, Picker, Sample, Verdict},
    slow_start,
    time::{Instant, nanos},
};

/// The endpoints behind a name, and their standing. See the [module](self).
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    config: config::Pool,
    /// For picks.
    prng: Prng,
    /// For the times of checks: apart, so that a check more or less does not change the picks.
    check_prng: Prng,
    /// The backends as written, in the order of the file, with their addresses.
    sources: Vec<Source>,
    slab: Slab,
    /// Slots of the endpoints that live, in the order of `sources`.
    order: Vec<u32>,
    /// Those that may be picked, in the same order, and how; out of date while `stale`.
    picker: Picker,
    stale: bool,
    /// When time alone changes who may be picked.
    next_change: Instant,
    standing: Tally,
    /// Requests in flight, at endpoints that left the pool as well.
    in_flight: u64,
    /// Requests that have no response head yet.
    pending: u32,
    budget: RetryBudget,
    /// Checks that wait for their time.
    schedule: BTreeSet<(Instant, EndpointId)>,
    transitions: Transitions,
}

/// How many endpoints there are, as of the last rebuild.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Ready and of some weight: what the cap on ejections is a share of.
    serving: usize,
    /// Those of them that are ejected.
    ejected: usize,
}

/// An endpoint as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Which.
    pub endpoint: EndpointId,
    /// What the configuration calls the backend.
    pub name: Arc<str>,
    /// Where it is.
    pub addr: SocketAddr,
    /// As configured.
    pub weight: u32,
    /// Requests.
    pub in_flight: u32,
    /// What active checks say.
    pub health: Health,
    /// When its ejection ends, if it is ejected.
    pub ejected_until: Option<Instant>,
    /// What an operator wants of it.
    pub state: AdminState,
}

impl EndpointStatus {
    /// Whether it may be picked.
    #[must_use]
    pub fn eligible(&self) -> bool {
        self.state == AdminState::Ready
            && self.weight > 0
            && self.health == Health::Up
            && self.ejected_until.is_none()
    }
}

impl Pool {
    /// A pool at the start of its life: backends with an address are there, those with a name wait for
    /// [`Pool::resolved`].
    #[must_use]
    pub fn new(name: Arc<str>, config: &config::Pool, mut prng: Prng, now: Instant) -> Self {
        let mut pool = Self {
            name,
            config: config.clone(),
            check_prng: prng.fork(0),
            prng,
            sources: Vec::new(),
            slab: Slab::default(),
            order: Vec::new(),
            picker: Picker::new(config),
            stale: true,
            next_change: Instant::FAR_FUTURE,
            standing: Tally::default(),
            in_flight: 0,
            pending: 0,
            budget: RetryBudget::new(&config.retry, now),
            schedule: BTreeSet::new(),
            transitions: Transitions::default(),
        };
        pool.begin(now);
        pool
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The configuration that it follows now.
    #[must_use]
    pub fn config(&self) -> &config::Pool {
        &self.config
    }

    /// Requests in flight: tickets that are out, those of endpoints that left the pool as well.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Requests that have no response head yet.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// The endpoints that are part of the pool, in the order of the configuration.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointStatus> {
        self.order.iter().filter_map(|&slot| {
            let member = self.slab.at(slot)?;
            Some(EndpointStatus {
                endpoint: member.id,
                name: member.name.clone(),
                addr: member.addr,
                weight: member.weight,
                in_flight: self.slab.in_flight(slot),
                health: member.health.health(),
                ejected_until: member.standing.ejected_until(),
                state: member.state,
            })
        })
    }

    /// Takes one of the eligible endpoints for a request; none when there is no eligible one. Those that
    /// the request tried before are avoided where there are others.
    pub fn pick(&mut self, ask: Ask<'_>, now: Instant) -> Option<Ticket> {
        if self.stale || now >= self.next_change {
            self.refresh(now);
        }
        let id = self.picker.pick(&ask, self.slab.loads(), &mut self.prng, now)?;
        self.take(id, now)
    }

    /// A ticket of this endpoint.
    fn take(&mut self, id: EndpointId, now: Instant) -> Option<Ticket> {
        let member = self.slab.acquire(id)?;
        let ticket = Ticket { id, addr: member.addr, name: member.name.clone(), since: now, answered: None };
        self.in_flight += 1;
        self.picker.on_load(id, self.slab.loads());
        Some(ticket)
    }

    /// Tells that the head of a response came: what latency-aware algorithms call latency ends here. How
    /// fast a client takes a body says nothing about the endpoint, and a body may go on for hours.
    pub fn answered(&mut self, ticket: &mut Ticket, status: u16, now: Instant) {
        let (answered, verdict) = match status {
            500..600 => (Answered::WithServerError, Verdict::Failed),
            _ => (Answered::Well, Verdict::Answered),
        };
        if ticket.answered.replace(answered).is_none() {
            self.observe(ticket, verdict, now);
        }
    }

    /// Takes a ticket back: the request is no longer in flight, and the endpoint is judged by how it
    /// went.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) {
        let id = ticket.id;
        let Some(member) = self.slab.release(id) else {
            debug_assert!(false, "a ticket of another pool");
            return;
        };
        self.in_flight -= 1;
        if member.retired {
            self.slab.reclaim(id);
            return;
        }
        if outcome == Outcome::Success {
            member.standing.on_success();
        } else if outcome.is_failure() && member.standing.on_failure(&self.config.outlier) {
            self.try_eject(id, outcome, now);
        }
        self.picker.on_load(id, self.slab.loads());
        match (ticket.answered, outcome) {
            (None, Outcome::Success) => self.observe(&ticket, Verdict::Answered, now),
            (None, Outcome::Cancelled) => self.observe(&ticket, Verdict::CutShort, now),
            (None | Some(Answered::Well), _) if outcome.is_failure() => {
                self.observe(&ticket, Verdict::Failed, now);
            }
            _ => {}
        }
    }

    fn observe(&mut self, ticket: &Ticket, verdict: Verdict, now: Instant) {
        let latency_nanos = nanos(now.since(ticket.since));
        self.picker.observe(ticket.id, Sample { latency_nanos, verdict }, now);
    }

    /// When [`Pool::wake`] or [`Pool::poll_check`] next has something to do; none while nothing is due
    /// by time alone. Ask again after every other call.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let check = self.schedule.first().map_or(Instant::FAR_FUTURE, |&(at, _)| at);
        let next = if self.stale { Instant::ZERO } else { self.next_change };
        Some(check.min(next)).filter(|&at| at < Instant::FAR_FUTURE)
    }

    /// Does what time alone does: ejections end, weights grow. Being late costs nothing but the log's
    /// punctuality: picks look at the time themselves.
    pub fn wake(&mut self, now: Instant) {
        if self.stale || now >= self.next_change {
            self.refresh(now);
        }
    }

    /// Whether [`Pool::poll_transition`] has something to give.
    #[must_use]
    pub fn has_transitions(&self) -> bool {
        !self.transitions.is_empty()
    }

    /// What a Host field calls this endpoint: its backend's address as written. None once it is gone.
    #[must_use]
    pub fn authority(&self, endpoint: EndpointId) -> Option<String> {
        self.slab.get(endpoint).map(|member| member.written.to_string())
    }

    /// The oldest change that was not told yet.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Transitions that were dropped because nobody polled them.
    #[must_use]
    pub fn transitions_lost(&self) -> u64 {
        self.transitions.lost
    }

    /// Takes a request in: it is pending from now on and pays into the retry budget.
    ///
    /// # Errors
    /// [`Reason::TooManyPending`] when as many as the configuration allows are waiting already.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Reason> {
        if self.pending >= self.config.limits.pending {
            return Err(Reason::TooManyPending);
        }
        self.pending += 1;
        self.budget.deposit(&self.config.retry, now);
        Ok(())
    }

    /// A request is pending no longer.
    pub(crate) fn settle(&mut self) {
        debug_assert!(self.pending > 0);
        self.pending = self.pending.saturating_sub(1);
    }

    /// Picks for another try after `tries`, if the configuration and the budget allow one; it is paid
    /// for only when there is an endpoint.
    pub(crate) fn pick_retry(&mut self, tries: u32, ask: Ask<'_>, now: Instant) -> Option<Ticket> {
        if tries >= self.config.retry.tries.min(TRIES_MAX) || !self.budget.allows(&self.config.retry, now) {
            return None;
        }
        let ticket = self.pick(ask, now)?;
        let paid = self.budget.withdraw(&self.config.retry, now);
        debug_assert!(paid);
        Some(ticket)
    }

    /// Ejects an endpoint that failed too often, unless too many are out already. The last eligible one
    /// stays in unless the configuration allows to eject all: a bad endpoint is better than none.
    fn try_eject(&mut self, id: EndpointId, why: Outcome, now: Instant) {
        if self.stale || now >= self.next_change {
            self.refresh(now);
        }
        let config = &self.config.outlier;
        let room = self.standing.ejected < outlier::ejected_max(config, self.standing.serving);
        let alone = self.picker.eligible().len() <= 1 && config.max_ejected_percent < 100;
        let Some(member) = self.slab.get_mut(id) else { return };
        if !room || alone || !member.serves() || member.health.health() == Health::Down {
            return;
        }
        let length = member.standing.eject(config, now);
        let transition = member.transition(Change::Ejected { length, until: now + length, why });
        self.transitions.push(transition);
        self.stale = true;
    }

    /// Brings the list of the eligible up to date.
    fn refresh(&mut self, now: Instant) {
        self.end_ejections(now);
        self.standing = self.tally();
        self.end_surplus_ejections(now);
        let mut eligible = Vec::with_capacity(self.order.len());
        self.next_change = Instant::FAR_FUTURE;
        for &slot in &self.order {
            let Some(member) = self.slab.at_mut(slot).filter(|member| member.serves()) else { continue };
            if let Some(until) = member.standing.ejected_until() {
                self.next_change = self.next_change.min(until);
                continue;
            }
            if member.health.health() == Health::Down {
                continue;
            }
            let window = self.config.slow_start;
            let (weight, grows) = slow_start::effective_weight(member.weight, member.came_up, window, now);
            if grows {
                self.next_change = self.next_change.min(now + slow_start::TICK);
            } else {
                member.came_up = None;
            }
            eligible.push(Candidate { weight, ..member.candidate() });
        }
        let members = self.members().filter(|member| member.weight > 0).map(Member::candidate).collect();
        self.picker.rebuild(eligible, members, self.slab.loads(), now);
        self.stale = false;
    }

    fn tally(&self) -> Tally {
        let serving = || self.members().filter(|member| member.serves());
        Tally { serving: serving().count(), ejected: serving().filter(|member| member.ejected()).count() }
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
            self.transitions.push(member.end_ejection(now));
            self.standing.ejected -= 1;
        }
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.order.iter().filter_map(|&slot| self.slab.at(slot))
    }
}
