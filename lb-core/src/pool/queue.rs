//! Who waits for a slot: first in, first out, each until its own deadline.
//!
//! Nearly all can use a slot of any endpoint. A request of a sticky session whose endpoint is full is bound to
//! that one, and a retry does not want those that failed it. They have their places in the same order, and
//! never hold up those behind them. A queue knows nothing of what is free: `Pool::serve_queue` does, and asks
//! for the first of each kind.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{EndpointId, Ticket};
use crate::time::Instant;

/// A request that waits: greater ones came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

#[cfg(test)]
impl WaiterId {
    /// That of the first one in a pool.
    pub(crate) fn first() -> Self {
        Self(0)
    }
}

/// What a request waits for.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    /// What hashing algorithms place it by.
    pub(super) key: Option<u64>,
    /// Endpoints that it was sent to before.
    pub(super) tried: Vec<EndpointId>,
    /// The one endpoint that it waits for, if not any.
    pub(super) bound: Option<EndpointId>,
    /// From then on it takes no slot.
    pub(super) until: Instant,
}

/// How it stands with a request that waited.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Its turn has come.
    Granted(Ticket),
    /// Not yet.
    Waiting,
    /// It is not in the queue: its time was up.
    Over,
}

/// Those that wait, and those whose turn has come and who have not taken it yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    waiters: BTreeMap<WaiterId, Waiter>,
    /// Those of `waiters` that can use any endpoint.
    anyone: BTreeSet<WaiterId>,
    /// Those that were sent to some already.
    retries: BTreeSet<WaiterId>,
    /// Those that can use only one.
    bound: BTreeSet<(EndpointId, WaiterId)>,
    granted: BTreeMap<WaiterId, Ticket>,
    /// Those with news that were not told yet.
    woken: BTreeSet<WaiterId>,
}

impl Queue {
    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Puts a request behind all others.
    pub(super) fn push(&mut self, waiter: Waiter) -> WaiterId {
        let id = WaiterId(self.next);
        self.next += 1;
        match waiter.bound {
            Some(endpoint) => self.bound.insert((endpoint, id)),
            None => self.unbound(&waiter).insert(id),
        };
        self.waiters.insert(id, waiter);
        id
    }

    /// The first of those that can use any endpoint.
    pub(super) fn first(&self) -> Option<WaiterId> {
        self.anyone.first().copied()
    }

    /// The retries, in order.
    pub(super) fn retries(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.retries.iter().filter_map(|id| Some((*id, self.waiters.get(id)?)))
    }

    /// One that waits.
    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    /// For each endpoint that requests are bound to, the first of them.
    pub(super) fn first_bound(&self) -> impl Iterator<Item = (EndpointId, WaiterId)> {
        let mut next = self.bound.first().copied();
        core::iter::from_fn(move || {
            let (endpoint, id) = next?;
            next = self.bound.range((endpoint, WaiterId(u64::MAX))..).next().copied();
            Some((endpoint, id))
        })
    }

    /// Whether `id` may no longer be granted anything.
    pub(super) fn is_late(&self, id: WaiterId, now: Instant) -> bool {
        self.waiters.get(&id).is_none_or(|waiter| waiter.until <= now)
    }

    /// Those bound to `endpoint` can use any from now on, in their old places.
    pub(super) fn unbind(&mut self, endpoint: EndpointId) {
        let ids: Vec<WaiterId> = self
            .bound
            .range((endpoint, WaiterId(0))..)
            .take_while(|(at, _)| *at == endpoint)
            .map(|&(_, id)| id)
            .collect();
        for id in ids {
            self.bound.remove(&(endpoint, id));
            let Some(mut waiter) = self.waiters.remove(&id) else { continue };
            waiter.bound = None;
            self.unbound(&waiter).insert(id);
            self.waiters.insert(id, waiter);
        }
    }

    /// Ends a wait with a slot, to be fetched with [`Queue::take`].
    pub(super) fn grant(&mut self, id: WaiterId, ticket: Ticket) {
        self.remove(id);
        self.granted.insert(id, ticket);
        self.woken.insert(id);
    }

    /// Ends a wait without one.
    pub(super) fn expire(&mut self, id: WaiterId) {
        self.remove(id);
        self.woken.insert(id);
    }

    /// How it stands with `id`. What it gives other than [`Turn::Waiting`] it gives once.
    pub(super) fn take(&mut self, id: WaiterId) -> Turn {
        if self.waiters.contains_key(&id) {
            return Turn::Waiting;
        }
        self.woken.remove(&id);
        self.granted.remove(&id).map_or(Turn::Over, Turn::Granted)
    }

    /// The request has gone, or its time is up: out of the queue at once. A slot that it was granted and did
    /// not take comes back.
    pub(super) fn leave(&mut self, id: WaiterId) -> Option<Ticket> {
        self.remove(id);
        self.woken.remove(&id);
        self.granted.remove(&id)
    }

    /// Whether [`Queue::poll_woken`] has something to give.
    pub(super) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// The first with news, each told once.
    pub(super) fn poll_woken(&mut self) -> Option<WaiterId> {
        self.woken.pop_first()
    }

    /// The set of those that are bound to no endpoint and are like `waiter`.
    fn unbound(&mut self, waiter: &Waiter) -> &mut BTreeSet<WaiterId> {
        if waiter.tried.is_empty() { &mut self.anyone } else { &mut self.retries }
    }

    fn remove(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiters.remove(&id) else { return };
        match waiter.bound {
            Some(endpoint) => self.bound.remove(&(endpoint, id)),
            None => self.unbound(&waiter).remove(&id),
        };
    }
}

impl Waiter {
    /// The pick that it waits for.
    pub(super) fn ask(&self) -> super::Ask<'_> {
        super::Ask { key: self.key, tried: &self.tried }
    }
}

/// For the model.
#[cfg(test)]
impl Queue {
    pub(super) fn is_queued(&self, id: WaiterId) -> bool {
        self.waiters.contains_key(&id)
    }

    pub(super) fn bound_to(&self, id: WaiterId) -> Option<EndpointId> {
        self.waiters.get(&id)?.bound
    }

    pub(super) fn granted_count(&self) -> usize {
        self.granted.len()
    }

    pub(super) fn granted(&self) -> impl Iterator<Item = WaiterId> {
        self.granted.keys().copied()
    }
}
