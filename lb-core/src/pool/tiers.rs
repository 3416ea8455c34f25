//! The tiers of a pool: endpoints of equal priority, each with a picker of its own, and which tier a request
//! goes to.

use alloc::vec::Vec;

use super::{Ask, EndpointId};
use crate::{
    config,
    hash::mix,
    priority::{TierHealth, TierLoad, loads},
    prng::Prng,
    select::{Candidate, Picker, Sample},
    time::Instant,
};

/// What a rebuild says about one tier.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those that are up and not ejected, full ones as well.
    pub(super) healthy: usize,
    /// Those that the configuration and the operator let serve.
    pub(super) total: usize,
    /// The healthy ones, in the order of the configuration.
    pub(super) up: Vec<Seat>,
    /// All that serve, healthy or not.
    pub(super) all: Vec<Seat>,
    /// All with a weight, with their full ones: what tables are made of.
    pub(super) members: Vec<Candidate>,
}

/// An endpoint that may get traffic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) candidate: Candidate,
    /// It has as many requests as it may have.
    pub(super) is_full: bool,
}

#[derive(Debug)]
struct Tier {
    priority: u32,
    picker: Picker,
    load: TierLoad,
}

/// All tiers, the preferred one first; there is always one.
#[derive(Debug)]
pub(super) struct Tiers(Vec<Tier>);

impl Tiers {
    pub(super) fn new(config: &config::Pool) -> Self {
        Self([Tier::new(0, config)].into())
    }

    /// Follows another algorithm, from its beginning.
    pub(super) fn restart(&mut self, config: &config::Pool) {
        for tier in &mut self.0 {
            tier.picker = Picker::new(config);
        }
    }

    /// Has a tier for each of `priorities`, which are sorted and not repeated. Those that stay keep their
    /// picker's state.
    pub(super) fn set_priorities(&mut self, priorities: &[u32], config: &config::Pool) {
        if self.0.iter().map(|tier| &tier.priority).eq(priorities) || priorities.is_empty() {
            return;
        }
        let mut old = core::mem::take(&mut self.0);
        self.0 = priorities
            .iter()
            .map(|&priority| match old.iter().position(|tier| tier.priority == priority) {
                Some(index) => old.swap_remove(index),
                None => Tier::new(priority, config),
            })
            .collect();
    }

    /// The place of a priority.
    pub(super) fn index(&self, priority: u32) -> usize {
        self.0.iter().position(|tier| tier.priority == priority).unwrap_or(0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes what there is in each tier, in their order.
    pub(super) fn rebuild(
        &mut self,
        census: Vec<Census>,
        overprovisioning_percent: u32,
        panic_percent: u32,
        in_flight: &[u32],
        now: Instant,
    ) {
        let health: Vec<TierHealth> =
            census.iter().map(|tier| TierHealth { healthy: tier.healthy, total: tier.total }).collect();
        let loads = loads(&health, overprovisioning_percent, panic_percent);
        for ((tier, census), load) in self.0.iter_mut().zip(census).zip(loads) {
            let seats = if load.panics { census.all } else { census.up };
            tier.load = load;
            let candidates = seats.iter().map(|seat| seat.candidate).collect();
            tier.picker.rebuild(candidates, |index| seats[index].is_full, census.members, in_flight, now);
        }
    }

    /// Those of `crossed` may have filled or freed since; `standing` tells the place of the tier of each, and
    /// whether it is full now.
    pub(super) fn set_full(
        &mut self,
        crossed: &[EndpointId],
        standing: impl Fn(EndpointId) -> Option<(usize, bool)>,
        in_flight: &[u32],
        now: Instant,
    ) {
        for (place, tier) in self.0.iter_mut().enumerate() {
            let here =
                |&id: &EndpointId| standing(id).filter(|&(at, _)| at == place).map(|(_, full)| (id, full));
            tier.picker.set_full(crossed.iter().filter_map(here), in_flight, now);
        }
    }

    /// Whether there is anybody to send a request to, now or when a slot is free.
    pub(super) fn is_usable(&self) -> bool {
        self.0.iter().any(|tier| tier.is_open() || tier.load.percent > 0 && tier.picker.full() > 0)
    }

    /// Whether a tier that gets traffic has a free slot.
    pub(super) fn has_free(&self) -> bool {
        self.0.iter().any(Tier::is_open)
    }

    /// Whether it has one for a request that was sent to `tried` before: one of the others, unless there are no
    /// others, not even full ones.
    #[inline]
    pub(super) fn has_free_for(&self, tried: &[EndpointId]) -> bool {
        if tried.is_empty() {
            return self.has_free();
        }
        let waits = |tier: &Tier| tier.load.percent > 0 && tier.picker.full() > tier.picker.count(tried).1;
        self.0.iter().any(|tier| tier.offers(tried)) || self.has_free() && !self.0.iter().any(waits)
    }

    /// The endpoint for a request; none when no tier that gets traffic has a free slot. A tier is drawn by
    /// its load, for a request with a key by the key; one that is full, or has only endpoints that were tried,
    /// gives its turn to the first that is not and has others.
    pub(super) fn pick(
        &mut self,
        ask: &Ask<'_>,
        in_flight: &[u32],
        prng: &mut Prng,
        now: Instant,
    ) -> Option<EndpointId> {
        // One tier is the usual case, and gets all.
        if let [tier] = &mut self.0[..]
            && tier.load.percent == 100
        {
            return if tier.is_open() { tier.picker.pick(ask, in_flight, prng, now) } else { None };
        }
        let drawn = self.draw(ask, prng);
        let place = |fits: &dyn Fn(&Tier) -> bool| {
            let is_drawn = self.0.get(drawn).is_some_and(fits);
            if is_drawn { Some(drawn) } else { self.0.iter().position(fits) }
        };
        let others = if ask.tried.is_empty() { None } else { place(&|tier| tier.offers(ask.tried)) };
        let index = others.or_else(|| place(&Tier::is_open))?;
        self.0.get_mut(index)?.picker.pick(ask, in_flight, prng, now)
    }

    fn draw(&self, ask: &Ask<'_>, prng: &mut Prng) -> usize {
        // One tier gets all, most of the time; then nothing is drawn.
        if let Some(index) = self.0.iter().position(|tier| tier.load.percent == 100) {
            return index;
        }
        let point = match ask.key {
            Some(key) => mix(key) % 100,
            None => prng.below(100),
        };
        let mut sum = 0;
        let reaches = |tier: &Tier| {
            sum += u64::from(tier.load.percent);
            point < sum
        };
        self.0.iter().position(reaches).unwrap_or(0)
    }

    /// A request began or ended at an endpoint of the tier at `index`.
    pub(super) fn on_load(&mut self, index: usize, id: EndpointId, in_flight: &[u32]) {
        if let Some(tier) = self.0.get_mut(index) {
            tier.picker.on_load(id, in_flight);
        }
    }

    /// A request at an endpoint of the tier at `index` was answered, failed or was given up.
    pub(super) fn observe(&mut self, index: usize, id: EndpointId, sample: Sample, now: Instant) {
        if let Some(tier) = self.0.get_mut(index) {
            tier.picker.observe(id, sample, now);
        }
    }

    /// Whether [`Tiers::observe`] does anything: all tiers have one algorithm.
    #[inline]
    pub(super) fn observes(&self) -> bool {
        self.0.first().is_some_and(|tier| tier.picker.observes())
    }

    pub(super) fn has_probes(&self) -> bool {
        self.0.first().is_some_and(|tier| tier.picker.probes())
            && self.0.iter().any(|tier| tier.picker.has_probes())
    }

    /// The next endpoint that is to be probed.
    pub(super) fn poll_probe(&mut self) -> Option<EndpointId> {
        self.0.iter_mut().find_map(|tier| tier.picker.poll_probe())
    }

    /// What an endpoint answered to a probe; those that it does not belong to take no notice.
    pub(super) fn on_probe(
        &mut self,
        id: EndpointId,
        answer: Option<(u32, u64)>,
        prng: &mut Prng,
        now: Instant,
    ) {
        for tier in &mut self.0 {
            tier.picker.on_probe(id, answer, prng, now);
        }
    }
}

impl Tier {
    fn new(priority: u32, config: &config::Pool) -> Self {
        Self { priority, picker: Picker::new(config), load: TierLoad::default() }
    }

    fn is_open(&self) -> bool {
        self.load.percent > 0 && self.picker.free() > 0
    }

    /// Whether somebody other than `tried` may be picked.
    fn offers(&self, tried: &[EndpointId]) -> bool {
        self.load.percent > 0 && self.picker.free() > self.picker.count(tried).0
    }
}
