//! Where endpoints live: slots that are used again under a new generation.

use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddr;

use super::{Change, EndpointId, Transition, ticket::Site};
use crate::{
    config::{AdminState, BackendAddress},
    hash::{hash, mix},
    health::ActiveHealth,
    outlier::Standing,
    select::Candidate,
    slow_start,
    time::Instant,
};

/// The hash of an endpoint's name, and of its address if a name of the DNS led to it: the same in every
/// process and after every reload, wherever the backend stands in the file.
pub(super) fn identity(name: &str, written: &BackendAddress, addr: SocketAddr) -> u64 {
    let name = hash(name.as_bytes());
    match (written, addr) {
        (BackendAddress::Ip(_), _) => name,
        (BackendAddress::Name { .. }, SocketAddr::V4(addr)) => mix(name ^ hash(&addr.ip().octets())),
        (BackendAddress::Name { .. }, SocketAddr::V6(addr)) => mix(name ^ hash(&addr.ip().octets())),
    }
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: EndpointId,
    pub(super) site: Arc<Site>,
    /// The address as written; with that of the site it says who this is across reloads.
    pub(super) written: BackendAddress,
    /// What hashing algorithms know it by: see [`identity`].
    pub(super) identity: u64,
    pub(super) weight: u32,
    pub(super) priority: u32,
    /// The place of its priority's tier.
    pub(super) tier: usize,
    /// Requests that it may have in flight.
    pub(super) max_in_flight: u32,
    pub(super) state: AdminState,
    pub(super) health: ActiveHealth,
    pub(super) standing: Standing,
    /// When it came up, while slow start holds it back.
    pub(super) came_up: Option<Instant>,
    /// When its next check is due; then `Pool::schedule` has it too.
    pub(super) check_due: Option<Instant>,
    /// When the check that is on began.
    pub(super) checking: Option<Instant>,
    /// It left the pool, and waits for its tickets.
    pub(super) retired: bool,
}

impl Member {
    /// Whether the configuration and the operator let it take traffic.
    pub(super) fn serves(&self) -> bool {
        self.state == AdminState::Ready && self.weight > 0
    }

    /// What selectors see of it, with its full weight.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate { id: self.id, weight: slow_start::full_weight(self.weight), identity: self.identity }
    }

    pub(super) fn ejected(&self) -> bool {
        self.standing.ejected_until().is_some()
    }

    pub(super) fn end_ejection(&mut self, now: Instant) -> Transition {
        self.standing.release(now);
        self.came_up = Some(now);
        self.transition(Change::Returned)
    }

    pub(super) fn transition(&self, change: Change) -> Transition {
        Transition { endpoint: self.id, name: self.site.name.clone(), addr: self.site.addr, change }
    }
}

/// Endpoints by slot. In-flight counts stand apart, dense, for the selectors that scan them.
#[derive(Debug, Default)]
pub(super) struct Slab {
    members: Vec<Option<Member>>,
    in_flight: Vec<u32>,
    /// The generation that the next endpoint in a slot gets.
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slab {
    /// Adds what `member` makes of its id.
    pub(super) fn insert(&mut self, member: impl FnOnce(EndpointId) -> Member) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.in_flight.push(0);
            self.generations.push(0);
            (self.members.len() - 1) as u32
        });
        let index = slot as usize;
        self.members[index] = Some(member(EndpointId { slot, generation: self.generations[index] }));
        slot
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Member> {
        self.members.get(slot as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Member> {
        self.members.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&Member> {
        self.at(id.slot).filter(|member| member.id == id)
    }

    pub(super) fn get_mut(&mut self, id: EndpointId) -> Option<&mut Member> {
        self.at_mut(id.slot).filter(|member| member.id == id)
    }

    pub(super) fn in_flight(&self, slot: u32) -> u32 {
        self.in_flight.get(slot as usize).copied().unwrap_or(0)
    }

    pub(super) fn loads(&self) -> &[u32] {
        &self.in_flight
    }

    /// One more request in flight.
    pub(super) fn acquire(&mut self, id: EndpointId) -> Option<&Member> {
        let member = self.members.get(id.slot as usize)?.as_ref().filter(|member| member.id == id)?;
        self.in_flight[id.slot as usize] += 1;
        Some(member)
    }

    /// One less.
    pub(super) fn release(&mut self, id: EndpointId) -> Option<&mut Member> {
        let member = self.members.get_mut(id.slot as usize)?.as_mut().filter(|member| member.id == id)?;
        let in_flight = &mut self.in_flight[id.slot as usize];
        debug_assert!(*in_flight > 0);
        *in_flight = in_flight.saturating_sub(1);
        Some(member)
    }

    /// Frees the slot of a retired endpoint, unless tickets are still out.
    pub(super) fn reclaim(&mut self, id: EndpointId) {
        let index = id.slot as usize;
        if self.in_flight(id.slot) == 0 && self.get_mut(id).is_some_and(|member| member.retired) {
            self.members[index] = None;
            self.generations[index] = self.generations[index].wrapping_add(1);
            self.free.push(id.slot);
        }
    }
}
