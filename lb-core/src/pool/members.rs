//! Who belongs to a pool: the backends of the configuration, the addresses of their names, and what
//! an operator wants of them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::net::SocketAddr;

use super::{Change, EndpointId, Member, Pool, slab::identity, ticket::Site};
use crate::{
    concurrency::AdaptiveLimit,
    config::{self, AdminState, BackendAddress},
    health::{ActiveHealth, Health},
    limits::{ADDRESSES_PER_BACKEND_MAX, ENDPOINTS_PER_POOL_MAX},
    outlier::Standing,
    time::Instant,
};

/// A backend as written, and where it is.
#[derive(Debug)]
pub(super) struct Source {
    backend: config::Backend,
    /// The file's state, or what an operator said since.
    state: AdminState,
    /// Sorted, without repeats: the order of a DNS answer means nothing.
    addresses: Vec<SocketAddr>,
}

impl Source {
    fn new(backend: &config::Backend) -> Self {
        let addresses = match backend.address {
            BackendAddress::Ip(addr) => [addr].into(),
            BackendAddress::Name { .. } => Vec::new(),
        };
        Self { backend: backend.clone(), state: backend.state, addresses }
    }

    /// This source as a reload writes it. An operator's word holds until the file says something new.
    fn rewritten(&self, backend: &config::Backend) -> Self {
        let state = if backend.state == self.backend.state { self.state } else { backend.state };
        Self { backend: backend.clone(), state, addresses: self.addresses.clone() }
    }
}

/// An address as written, in a form that can be looked up.
type Written<'a> = (Option<SocketAddr>, &'a str, u16);

fn written(address: &BackendAddress) -> Written<'_> {
    match address {
        BackendAddress::Ip(addr) => (Some(*addr), "", addr.port()),
        BackendAddress::Name { host, port } => (None, host, *port),
    }
}

/// Requests that a backend may have in flight, its own word before the pool's.
fn max_in_flight(pool: &config::Pool, backend: &config::Backend) -> u32 {
    match backend.max_in_flight.unwrap_or(pool.max_in_flight) {
        0 => u32::MAX,
        max => max,
    }
}

impl Pool {
    pub(super) fn begin(&mut self, now: Instant) {
        self.sources = self.config.backends.iter().map(Source::new).collect();
        self.sync(true, now);
    }

    /// Follows another configuration. Endpoints whose address stays keep their health, what is in
    /// flight, their ejection and their place in the round. Those that are gone get nothing new and
    /// vanish when their tickets are back.
    pub fn reconfigure(&mut self, config: &config::Pool, now: Instant) {
        let old = core::mem::replace(&mut self.config, config.clone());
        let before: BTreeMap<Written<'_>, &Source> =
            self.sources.iter().map(|source| (written(&source.backend.address), source)).collect();
        let sources = config.backends.iter().map(|backend| match before.get(&written(&backend.address)) {
            Some(source) => source.rewritten(backend),
            None => Source::new(backend),
        });
        self.sources = sources.collect();
        if !config.picks_like(&old) {
            self.tiers.restart(config);
        }
        if old.health_check != config.health_check {
            self.forget_schedule();
        }
        if config.health_check.is_none() {
            self.believe_all(now);
        }
        if !config.outlier.is_on() {
            self.end_all_ejections(now);
        }
        if old.outlier.compares() != config.outlier.compares()
            || old.outlier.interval != config.outlier.interval
        {
            self.next_sweep = now + config.outlier.interval;
        }
        self.adapt(now);
        self.sync(false, now);
    }

    /// The names that the server has to resolve, with their ports; a name may come more than once.
    pub fn names_to_resolve(&self) -> impl Iterator<Item = (&str, u16)> {
        self.sources.iter().filter_map(|source| match &source.backend.address {
            BackendAddress::Ip(_) => None,
            BackendAddress::Name { host, port } => Some((host.as_str(), *port)),
        })
    }

    /// Replaces the endpoints of a name by those at `addresses`. An empty answer keeps the old ones: a
    /// resolver that fails must not empty a pool.
    pub fn resolved(&mut self, host: &str, port: u16, addresses: &[SocketAddr], now: Instant) {
        let addresses: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let addresses: Vec<SocketAddr> = addresses.into_iter().take(ADDRESSES_PER_BACKEND_MAX).collect();
        if addresses.is_empty() {
            return;
        }
        let mut changed = false;
        for source in &mut self.sources {
            let named = matches!(&source.backend.address,
                BackendAddress::Name { host: h, port: p } if h == host && *p == port);
            if named && source.addresses != addresses {
                source.addresses.clone_from(&addresses);
                changed = true;
            }
        }
        if changed {
            self.sync(false, now);
        }
    }

    /// Says what an operator wants of the backends of this name; gives whether there is one. It holds
    /// until a reload writes another state than the file had before.
    pub fn set_state(&mut self, backend_name: &str, state: AdminState, now: Instant) -> bool {
        let mut found = false;
        for source in self.sources.iter_mut().filter(|source| source.backend.name == backend_name) {
            source.state = state;
            found = true;
        }
        if found {
            self.sync(false, now);
        }
        found
    }

    /// Follows the configuration's adaptive limit: one that stays goes on from what it found.
    pub(super) fn adapt(&mut self, now: Instant) {
        match (&self.config.concurrency, &mut self.adaptive) {
            (Some(config), Some(limit)) => limit.reconfigure(config),
            (Some(config), None) => {
                self.adaptive = Some(AdaptiveLimit::new(config, self.check_prng.fork(1), now));
            }
            (None, _) => self.adaptive = None,
        }
    }

    /// Makes the endpoints those of the sources. At the start of a pool nothing is told, and nobody
    /// starts slowly.
    fn sync(&mut self, start: bool, now: Instant) {
        let order: Vec<u32> = self
            .membership()
            .into_iter()
            .map(|(source, addr, same)| match same {
                Some(id) => self.keep(id.slot, source, now),
                None => self.add(source, addr, start, now),
            })
            .collect();
        let kept: BTreeSet<u32> = order.iter().copied().collect();
        for slot in core::mem::replace(&mut self.order, order) {
            if !kept.contains(&slot) {
                self.retire(slot);
            }
        }
        self.seat();
        self.index_sessions();
        self.schedule_checks(now);
        self.refresh(now);
    }

    /// Has a tier for each priority, and tells the endpoints theirs.
    fn seat(&mut self) {
        let priorities: BTreeSet<u32> = self.members().map(|member| member.priority).collect();
        let priorities: Vec<u32> = priorities.into_iter().collect();
        self.tiers.set_priorities(&priorities, &self.config);
        for &slot in &self.order {
            if let Some(member) = self.slab.at_mut(slot) {
                member.tier = self.tiers.index(member.priority);
            }
        }
    }

    /// Who is to belong to the pool: the index of a source, an address, and the endpoint that is there
    /// already. That is one with the same address, as written and as resolved.
    fn membership(&self) -> Vec<(usize, SocketAddr, Option<EndpointId>)> {
        let members = self.members().map(|member| ((written(&member.written), member.site.addr), member.id));
        let mut before: BTreeMap<_, EndpointId> = members.collect();
        let wanted = self.sources.iter().enumerate().flat_map(|(index, source)| {
            source.addresses.iter().map(move |&addr| (index, written(&source.backend.address), addr))
        });
        wanted
            .take(ENDPOINTS_PER_POOL_MAX)
            .map(|(index, written, addr)| (index, addr, before.remove(&(written, addr))))
            .collect()
    }

    fn keep(&mut self, slot: u32, source: usize, now: Instant) -> u32 {
        let (Some(member), Some(source)) = (self.slab.at_mut(slot), self.sources.get(source)) else {
            return slot;
        };
        if *member.site.name != *source.backend.name {
            let (name, addr) = (source.backend.name.as_str().into(), member.site.addr);
            member.site = Site { name, addr }.into();
            member.identity = identity(&member.site.name, &member.written, addr);
        }
        member.weight = source.backend.weight;
        member.priority = source.backend.priority;
        member.max_in_flight = max_in_flight(&self.config, &source.backend);
        if member.state != source.state {
            member.state = source.state;
            self.transitions.push(member.transition(Change::State(source.state)));
        }
        // What takes no traffic has nothing to be ejected from, and must not use up the cap.
        if !member.serves() && member.ejected() {
            self.transitions.push(member.end_ejection(now));
        }
        slot
    }

    fn add(&mut self, source: usize, addr: SocketAddr, start: bool, now: Instant) -> u32 {
        let source = &self.sources[source];
        let initial =
            self.config.health_check.as_ref().map_or(config::InitialHealth::Up, |check| check.initial);
        let slot = self.slab.insert(|id| Member {
            id,
            site: Site { name: source.backend.name.as_str().into(), addr }.into(),
            written: source.backend.address.clone(),
            identity: identity(&source.backend.name, &source.backend.address, addr),
            weight: source.backend.weight,
            priority: source.backend.priority,
            tier: 0,
            max_in_flight: max_in_flight(&self.config, &source.backend),
            state: source.state,
            health: ActiveHealth::new(initial),
            standing: Standing::default(),
            came_up: (!start).then_some(now),
            check_due: None,
            checking: None,
            retired: false,
        });
        if let Some(member) = self.slab.at(slot).filter(|_| !start) {
            self.transitions.push(member.transition(Change::Added));
        }
        slot
    }

    fn retire(&mut self, slot: u32) {
        let Some(member) = self.slab.at_mut(slot) else { return };
        member.retired = true;
        member.checking = None;
        let (id, due) = (member.id, member.check_due.take());
        self.transitions.push(member.transition(Change::Removed));
        if let Some(due) = due {
            self.schedule.remove(&(due, id));
        }
        self.slab.reclaim(id);
    }

    /// Without checks there is nobody to hold an endpoint down.
    fn believe_all(&mut self, now: Instant) {
        for &slot in &self.order {
            let Some(member) = self.slab.at_mut(slot) else { continue };
            if member.health.health() == Health::Down {
                member.came_up = Some(now);
                self.transitions.push(member.transition(Change::Up));
            }
            member.health = ActiveHealth::new(config::InitialHealth::Up);
        }
    }

    fn end_all_ejections(&mut self, now: Instant) {
        for &slot in &self.order {
            if let Some(member) = self.slab.at_mut(slot).filter(|member| member.ejected()) {
                self.transitions.push(member.end_ejection(now));
            }
        }
    }
}
