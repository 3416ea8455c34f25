//! How a request comes in: to an endpoint, into the queue, or not at all.

use super::{
    Ask, EndpointId, Outcome, Pool, Ticket, WaiterId,
    queue::{Turn, Waiter},
};
use crate::{limits::TRIES_MAX, reason::Reason, sticky::Handle, time::Instant};

/// What a request gets.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An endpoint.
    Ticket(Ticket),
    /// A place in the queue until then.
    Wait(WaiterId, Instant),
    /// Neither.
    Refused(Reason),
}

impl Pool {
    /// Takes a request to the endpoint of its `session`, or to one that the algorithm picks, or has it wait for
    /// one, at most until `deadline`.
    ///
    /// A session waits for its own endpoint while that is full. Where it cannot wait it goes elsewhere: a
    /// session that moves is better than none. A request that was `ask.tried` somewhere waits for another
    /// endpoint while there is one that is only full.
    pub(crate) fn enter(
        &mut self,
        ask: Ask<'_>,
        session: Option<Handle>,
        deadline: Instant,
        now: Instant,
    ) -> Entry {
        self.freshen(now);
        let own = session.and_then(|session| self.endpoint_of(session));
        let own = own.filter(|id| !ask.tried.contains(id));
        if let Some(id) = own {
            if let Some(ticket) = self.take_own(id, now) {
                return Entry::Ticket(ticket);
            }
            if self.has_room() {
                return self.wait(ask, Some(id), deadline, now);
            }
        }
        if let Some(ticket) = self.pick_free(&ask, now) {
            return Entry::Ticket(ticket);
        }
        if !self.tiers.is_usable() {
            return Entry::Refused(Reason::NoHealthyBackend);
        }
        if self.has_room() {
            return self.wait(ask, None, deadline, now);
        }
        let is_limited = !self.is_below_limit() && self.config.queue.length == 0;
        Entry::Refused(if is_limited { Reason::ConcurrencyLimit } else { Reason::QueueFull })
    }

    /// The same for another try after `tries`, which the budget has to pay for if it `pays`; none where the
    /// configuration or the budget does not allow one, or there is neither an endpoint nor a place in the queue.
    /// Then nothing is paid.
    pub(crate) fn enter_retry(
        &mut self,
        tries: u32,
        pays: bool,
        ask: Ask<'_>,
        deadline: Instant,
        now: Instant,
    ) -> Option<Entry> {
        if !self.may_retry(tries, pays, now) {
            return None;
        }
        let entry = self.enter(ask, None, deadline, now);
        if matches!(entry, Entry::Refused(_)) {
            return None;
        }
        if pays {
            self.pay_retry(now);
        }
        Some(entry)
    }

    /// An endpoint for another try after `tries`, if one has a free slot now; paid for only then.
    pub(crate) fn pick_retry(&mut self, tries: u32, ask: Ask<'_>, now: Instant) -> Option<Ticket> {
        if !self.may_retry(tries, true, now) {
            return None;
        }
        let ticket = self.pick(ask, now)?;
        self.pay_retry(now);
        Some(ticket)
    }

    fn may_retry(&mut self, tries: u32, pays: bool, now: Instant) -> bool {
        tries < self.config.retry.tries.min(TRIES_MAX)
            && (!pays || self.budget.allows(&self.config.retry, now))
    }

    fn pay_retry(&mut self, now: Instant) {
        let paid = self.budget.withdraw(&self.config.retry, now);
        debug_assert!(paid);
    }

    /// How it stands with a request that waits.
    pub(crate) fn turn(&mut self, id: WaiterId, now: Instant) -> Turn {
        self.freshen(now);
        self.queue.take(id)
    }

    /// A request waits no longer. What it was granted and did not take goes to the next one.
    pub(crate) fn leave(&mut self, id: WaiterId, now: Instant) {
        if let Some(ticket) = self.queue.leave(id) {
            self.finish(ticket, Outcome::Cancelled, now);
        }
    }

    /// Requests that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether [`Pool::poll_woken`] has something to give.
    #[must_use]
    pub fn has_woken(&self) -> bool {
        self.queue.has_woken()
    }

    /// A request that waits and has to call [`Exchange::next`](crate::exchange::Exchange::next) again, in
    /// the order of the queue; each is told once. Ask after every call that can free a slot.
    pub fn poll_woken(&mut self) -> Option<WaiterId> {
        self.queue.poll_woken()
    }

    fn has_room(&self) -> bool {
        self.queue.len() < self.config.queue.length as usize
    }

    fn wait(&mut self, ask: Ask<'_>, bound: Option<EndpointId>, deadline: Instant, now: Instant) -> Entry {
        let until = (now + self.config.queue.timeout).min(deadline);
        let waiter = Waiter { key: ask.key, tried: ask.tried.to_vec(), bound, until };
        Entry::Wait(self.queue.push(waiter), until)
    }

    /// A slot of the endpoint that a session is bound to.
    fn take_own(&mut self, id: EndpointId, now: Instant) -> Option<Ticket> {
        let is_free = self.slab.in_flight(id.slot) < self.slab.get(id)?.max_in_flight;
        if is_free && self.is_below_limit() { self.take(id, now) } else { None }
    }

    /// Gives what is free to those that wait, the first that can use it first.
    pub(super) fn serve_queue(&mut self, now: Instant) {
        while !self.queue.is_empty() {
            if self.stale {
                self.rebuild(now);
            } else if !self.crossed.is_empty() {
                self.seat_crossed(now);
            }
            self.unbind_moved();
            let Some((id, bound)) = self.next_served() else { return };
            if self.queue.is_late(id, now) {
                self.queue.expire(id);
                continue;
            }
            let ticket = match bound {
                Some(endpoint) => self.take_own(endpoint, now),
                None => self.take_unbound(id, now),
            };
            let Some(ticket) = ticket else { return };
            self.queue.grant(id, ticket);
        }
    }

    /// The first in the queue that can use something that is free, and the endpoint that it is bound to.
    fn next_served(&self) -> Option<(WaiterId, Option<EndpointId>)> {
        if !self.is_below_limit() {
            return None;
        }
        let is_free = |id: EndpointId| {
            self.slab.get(id).is_some_and(|member| self.slab.in_flight(id.slot) < member.max_in_flight)
        };
        let bound = self.queue.first_bound().filter(|&(endpoint, _)| is_free(endpoint));
        let bound = bound.map(|(endpoint, id)| (id, Some(endpoint))).min();
        let anyone = self.queue.first().filter(|_| self.tiers.has_free()).map(|id| (id, None));
        let first = [bound, anyone].into_iter().flatten().min();
        let mut earlier =
            self.queue.retries().take_while(|(id, _)| first.is_none_or(|(first, _)| *id < first));
        let retry = earlier.find(|(_, waiter)| self.tiers.has_free_for(&waiter.tried));
        retry.map(|(id, _)| (id, None)).or(first)
    }

    fn take_unbound(&mut self, id: WaiterId, now: Instant) -> Option<Ticket> {
        let ask = self.queue.get(id)?.ask();
        let id = self.tiers.pick(&ask, self.slab.loads(), &mut self.prng, now)?;
        self.take(id, now)
    }

    /// Sessions whose endpoint they cannot stay with any longer take any other.
    fn unbind_moved(&mut self) {
        loop {
            let moved = self.queue.first_bound().map(|(endpoint, _)| endpoint);
            let Some(endpoint) = moved.into_iter().find(|&endpoint| !self.keeps_sessions(endpoint)) else {
                return;
            };
            self.queue.unbind(endpoint);
        }
    }
}
