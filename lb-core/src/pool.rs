//! A pool: the endpoints behind a name, who may be picked, and what is in flight.
//!
//! This is the one unit that changes while requests flow. The calls, in the order of their role:
//!
//! - what it is made of: [`Pool::new`], [`Pool::reconfigure`], [`Pool::resolved`], [`Pool::set_state`];
//! - a request: [`Pool::pick`] gives a [`Ticket`], [`Pool::finish`] takes it back with an [`Outcome`]
//!   (an [`Exchange`](crate::exchange::Exchange) does both);
//! - active checks: [`Pool::poll_check`] says which are due, [`Pool::on_check`] takes their results;
//! - probes, with an algorithm that wants them: [`Pool::poll_probe`] and [`Pool::on_probe`];
//! - time: [`Pool::next_wake`] says when [`Pool::wake`] and [`Pool::poll_check`] have something to do;
//! - effects: [`Pool::poll_transition`] tells what changed, [`Pool::poll_woken`] which of those that wait
//!   for a slot have to ask again.
//!
//! An endpoint is eligible when its state is ready, its weight above 0, its health up, and it is not
//! ejected. It may be picked while it has fewer requests in flight than its `max_in_flight`. Those that may be
//! picked stand in a dense list for each priority, which is rebuilt at the first pick after a change, so a pick
//! costs what the algorithm costs. Reaching `max_in_flight` and falling below it do not rebuild the lists: those
//! who did are noted, and at the next pick the lists learn of each in O(log n).
//!
//! # Waiting
//! When every usable endpoint is full, or the adaptive limit is reached, a request waits if the `queue` has
//! room. The order is first in, first out: whatever frees a slot (a finish, a reload, the end of an ejection)
//! gives it to the first that can use it before it returns, and no newcomer overtakes. Between calls there is
//! therefore never both a free slot and a request that could use it. A request whose turn has come holds its
//! ticket already and counts as in flight.

mod checks;
mod members;
mod probes;
mod queue;
mod sessions;
mod slab;
mod standing;
#[cfg(test)]
mod tests;
mod ticket;
mod tiers;
mod transition;
mod waiting;

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::net::SocketAddr;

pub use self::{
    checks::Check,
    probes::{Probe, ProbeAnswer},
    queue::WaiterId,
    ticket::{Ask, EndpointId, Outcome, Ticket},
    transition::{Cause, Change, Transition},
};
use self::{
    members::Source,
    queue::Queue,
    sessions::Sessions,
    slab::{Member, Slab},
    standing::Tally,
    ticket::Answered,
    tiers::Tiers,
    transition::Transitions,
};
pub(crate) use self::{queue::Turn, ticket::Site, waiting::Entry};
use crate::{
    concurrency::AdaptiveLimit,
    config::{self, AdminState},
    health::Health,
    prng::Prng,
    reason::Reason,
    retry::RetryBudget,
    select::{Sample, Verdict},
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
    /// Those that may be picked, by priority, and how; out of date while `stale`.
    tiers: Tiers,
    stale: bool,
    /// Those that filled or freed since the lists learnt of it last, unless these are `stale`.
    crossed: Vec<EndpointId>,
    /// Whether some effective weight grows: then a rebuild brings all of them up to date.
    grows: bool,
    /// When time alone changes who may be picked.
    next_change: Instant,
    standing: Tally,
    /// When success rates are compared next.
    next_sweep: Instant,
    /// Those that wait for a slot.
    queue: Queue,
    /// The limit on requests in flight that is found by itself.
    adaptive: Option<AdaptiveLimit>,
    sessions: Sessions,
    /// Requests in flight, at endpoints that left the pool as well.
    in_flight: u64,
    /// Requests that have no response head yet.
    pending: u32,
    budget: RetryBudget,
    /// Checks that wait for their time.
    schedule: BTreeSet<(Instant, EndpointId)>,
    transitions: Transitions,
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
            tiers: Tiers::new(config),
            stale: true,
            crossed: Vec::new(),
            grows: false,
            next_change: Instant::FAR_FUTURE,
            standing: Tally::default(),
            next_sweep: now + config.outlier.interval,
            queue: Queue::default(),
            adaptive: None,
            sessions: Sessions::default(),
            in_flight: 0,
            pending: 0,
            budget: RetryBudget::new(&config.retry, now),
            schedule: BTreeSet::new(),
            transitions: Transitions::default(),
        };
        pool.adapt(now);
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
                name: member.site.name.clone(),
                addr: member.site.addr,
                weight: member.weight,
                in_flight: self.slab.in_flight(slot),
                health: member.health.health(),
                ejected_until: member.standing.ejected_until(),
                state: member.state,
            })
        })
    }

    /// Takes one of the eligible endpoints that have a free slot for a request; none when there is none.
    /// Those that the request tried before are avoided where there are others, even if these are full. It asks
    /// for what is free now: a request that can wait goes through an [`Exchange`](crate::exchange::Exchange).
    pub fn pick(&mut self, ask: Ask<'_>, now: Instant) -> Option<Ticket> {
        self.freshen(now);
        self.pick_free(&ask, now)
    }

    /// The same when the lists are up to date.
    fn pick_free(&mut self, ask: &Ask<'_>, now: Instant) -> Option<Ticket> {
        if !self.is_below_limit() || !self.tiers.has_free_for(ask.tried) {
            return None;
        }
        let id = self.tiers.pick(ask, self.slab.loads(), &mut self.prng, now)?;
        self.take(id, now)
    }

    /// Whether the adaptive limit lets one more request be in flight.
    fn is_below_limit(&self) -> bool {
        self.adaptive.as_ref().is_none_or(|limit| self.in_flight < limit.limit().into())
    }

    /// Requests that may be in flight by the adaptive limit; none without one.
    #[must_use]
    pub fn adaptive_limit(&self) -> Option<u32> {
        self.adaptive.as_ref().map(AdaptiveLimit::limit)
    }

    /// A ticket of this endpoint.
    fn take(&mut self, id: EndpointId, now: Instant) -> Option<Ticket> {
        let member = self.slab.acquire(id)?;
        let ticket = Ticket { id, site: member.site.clone(), since: now, answered: None };
        let (tier, max) = (member.tier, member.max_in_flight);
        self.in_flight += 1;
        // A full endpoint is none that may be picked.
        if self.slab.in_flight(id.slot) >= max {
            self.cross(id);
        }
        self.tiers.on_load(tier, id, self.slab.loads());
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
            if let Some(limit) = self.adaptive.as_mut().filter(|_| verdict == Verdict::Answered) {
                limit.on_success(ticket.since, now);
                self.serve_queue(now);
            }
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
            self.serve_queue(now);
            return;
        }
        let (tier, max) = (member.tier, member.max_in_flight);
        if outcome == Outcome::Success {
            member.standing.on_success();
            self.budget.on_success(&self.config.retry, now);
        }
        if self.config.outlier.compares() && (outcome == Outcome::Success || outcome.is_failure()) {
            member.standing.count(outcome == Outcome::Success);
        }
        let ejects = outcome.is_failure() && member.standing.on_failure(&self.config.outlier);
        // A full endpoint has a free slot again.
        if self.slab.in_flight(id.slot) + 1 >= max {
            self.cross(id);
        }
        if ejects {
            self.try_eject(id, Cause::Failures(outcome), now);
        }
        self.tiers.on_load(tier, id, self.slab.loads());
        match (ticket.answered, outcome) {
            (None, Outcome::Success) => self.observe(&ticket, Verdict::Answered, now),
            (None, Outcome::Cancelled) => self.observe(&ticket, Verdict::CutShort, now),
            (None | Some(Answered::Well), _) if outcome.is_failure() => {
                self.observe(&ticket, Verdict::Failed, now);
            }
            _ => {}
        }
        self.serve_queue(now);
    }

    #[inline]
    fn observe(&mut self, ticket: &Ticket, verdict: Verdict, now: Instant) {
        if self.tiers.observes()
            && let Some(tier) = self.slab.get(ticket.id).map(|member| member.tier)
        {
            let latency_nanos = nanos(now.since(ticket.since));
            self.tiers.observe(tier, ticket.id, Sample { latency_nanos, verdict }, now);
        }
    }

    /// When [`Pool::wake`] or [`Pool::poll_check`] next has something to do; none while nothing is due
    /// by time alone. Ask again after every other call.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let check = self.schedule.first().map_or(Instant::FAR_FUTURE, |&(at, _)| at);
        let next = if self.stale { Instant::ZERO } else { self.next_change };
        Some(check.min(next)).filter(|&at| at < Instant::FAR_FUTURE)
    }

    /// Whether there is something to do before `scheduled`, a time at which somebody will look in any case: one of
    /// the `poll_` functions has something to give, or [`Pool::next_wake`] is earlier.
    #[must_use]
    #[inline]
    pub fn wants(&self, scheduled: Instant) -> bool {
        self.next_wake().is_some_and(|at| at < scheduled)
            || self.has_transitions()
            || self.has_woken()
            || self.has_probes()
    }

    /// Does what time alone does: ejections end, weights grow. Being late costs nothing but the log's
    /// punctuality: picks look at the time themselves.
    pub fn wake(&mut self, now: Instant) {
        self.freshen(now);
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
        self.budget.on_request(&self.config.retry, now);
        Ok(())
    }

    /// A request is pending no longer.
    pub(crate) fn settle(&mut self) {
        debug_assert!(self.pending > 0);
        self.pending = self.pending.saturating_sub(1);
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.order.iter().filter_map(|&slot| self.slab.at(slot))
    }
}
