//! Selection: which of the eligible endpoints takes the next request.
//!
//! A [`Picker`] holds the candidates, which are the endpoints that traffic goes to, in a dense list, knows which
//! of them have a free slot, and has the [`Selector`] that ranks these. What a selector learns comes through six
//! calls: [`Picker::rebuild`] when the candidates or the members change, [`Picker::set_full`] when one fills or
//! frees, [`Picker::pick`], [`Picker::on_load`] when a request began or ended at an endpoint, and
//! [`Picker::observe`] when one was answered or failed. Each algorithm stands in a file of its own,
//! with its rule, its cost and its source.
//!
//! Nothing but the full ones tells a pool at its caps from one without: what is picked is what would be if the
//! full ones were not in the list. Selectors that draw from a list draw a *rank* among those with a free slot.
//!
//! A selector sees only endpoints that may be picked. Those that the same request was sent to before are
//! left out; never all of them. Everything is integer arithmetic, so equal seeds give equal picks
//! everywhere.

mod credits;
mod draw;
mod fenwick;
mod fixed;
mod hashed;
mod join_idle_queue;
mod jump;
mod least_request;
mod maglev;
mod p2c;
mod peak_ewma;
mod period;
mod prequal;
mod random;
mod ranks;
mod rendezvous;
mod ring;
mod roster;
mod round_robin;
mod spots;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use self::{
    roster::{Roster, Skip},
    round_robin::Rule,
};
use crate::{
    config::{self, Algorithm},
    pool::{Ask, EndpointId},
    prng::Prng,
    time::Instant,
};

/// An endpoint that may be picked while it has a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: EndpointId,
    /// Effective weight, at least 1 and at most `WEIGHT_MAX * 1000`: below 2^30.
    pub(crate) weight: u32,
    /// A hash that names it in every process and after every reload.
    pub(crate) identity: u64,
}

/// What a request said about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From the pick to the head of the response, or to whatever there was instead of one.
    pub(crate) latency_nanos: u64,
    pub(crate) verdict: Verdict,
}

/// How a latency is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is that of an answer.
    Answered,
    /// It is that of a failure, which may have come faster than any answer.
    Failed,
    /// The request was given up by then: an answer would have taken longer.
    CutShort,
}

/// The endpoints of a tier, and the algorithm that picks among those with a free slot.
#[derive(Debug)]
pub(crate) struct Picker {
    roster: Roster,
    selector: Selector,
    /// All that belong to the pool, as of the last rebuild.
    members: Vec<Candidate>,
}

impl Picker {
    pub(crate) fn new(config: &config::Pool) -> Self {
        Self { roster: Roster::default(), selector: Selector::new(config), members: Vec::new() }
    }

    /// How many may be picked.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.roster.free.count()
    }

    /// How many could be if they were not full.
    #[inline]
    pub(crate) fn full(&self) -> usize {
        self.roster.candidates.len() - self.free()
    }

    /// How many of `ids` may be picked, and how many of them only are full.
    pub(crate) fn count(&self, ids: &[EndpointId]) -> (usize, usize) {
        self.roster.count(ids)
    }

    /// Takes `candidates` as those that traffic goes to from now on; `is_full` tells by index who of them may
    /// not be picked. `members` are all endpoints that belong to the pool with a weight, with their full
    /// weights, whether they may be picked now or not: what tables are made of that must not move when one of
    /// them is down for a while. `loads` are requests in flight, by slot.
    pub(crate) fn rebuild(
        &mut self,
        candidates: Vec<Candidate>,
        is_full: impl Fn(usize) -> bool,
        members: Vec<Candidate>,
        loads: &[u32],
        now: Instant,
    ) {
        let old = core::mem::replace(&mut self.roster, Roster::new(candidates, is_full));
        self.members = members;
        let change = Change { old: &old, roster: &self.roster, members: &self.members, loads, now };
        self.selector.rebuild(change);
    }

    /// Some of the candidates, each with whether it is full, may be picked no longer, or again: all that
    /// happened since the lists were last up to date. O(log n) for each that changes; weighted round robin looks
    /// at its different weights besides, once.
    pub(crate) fn set_full(
        &mut self,
        changed: impl Iterator<Item = (EndpointId, bool)> + Clone,
        loads: &[u32],
        now: Instant,
    ) {
        if changed.clone().next().is_none() {
            return;
        }
        // Those that fill first, so that what comes of both does not depend on their order.
        for fills in [true, false] {
            for (id, _) in changed.clone().filter(|&(_, is_full)| is_full == fills) {
                let Some(index) = self.roster.place(id) else { continue };
                if self.roster.free.contains(index) != fills {
                    continue;
                }
                let candidate = self.roster.candidates[index];
                if fills {
                    self.roster.free.remove(index);
                    self.selector.remove(index, candidate, &self.roster);
                } else {
                    self.roster.free.insert(index);
                    self.selector.admit(index, candidate, loads[id.slot as usize], now);
                }
            }
            if let Selector::RoundRobin(round_robin) = &mut self.selector {
                round_robin.on_full(fills, &self.roster, &self.members);
            }
        }
    }

    /// The endpoint for a request; none only when there is no eligible one.
    pub(crate) fn pick(
        &mut self,
        ask: &Ask<'_>,
        loads: &[u32],
        prng: &mut Prng,
        now: Instant,
    ) -> Option<EndpointId> {
        if self.free() == 1 {
            let index = self.roster.free.nth(0);
            let only = self.roster.candidates[index].id;
            if let Selector::RoundRobin(round_robin) = &mut self.selector {
                round_robin.on_only(index, only);
            }
            return Some(only);
        }
        if ask.tried.is_empty()
            && let Selector::P2c { choices: 2 } = self.selector
        {
            let view = View { roster: &self.roster, in_flight: loads, skip: &[], key: ask.key, now };
            return p2c::pick_of_two(view, prng).map(|index| self.roster.candidates[index].id);
        }
        let skip = if ask.tried.is_empty() { Skip::default() } else { self.roster.skip(ask.tried) };
        let view = View { roster: &self.roster, in_flight: loads, skip: skip.indexes(), key: ask.key, now };
        let index = self.selector.pick(view, prng)?;
        self.roster.candidates.get(index).map(|candidate| candidate.id)
    }

    /// A request began or ended at `id`; `loads` are those from now on.
    #[inline]
    pub(crate) fn on_load(&mut self, id: EndpointId, loads: &[u32]) {
        if self.selector.counts_loads()
            && let Some(index) = self.roster.index(id)
        {
            self.selector.on_load(index, self.roster.candidates[index], loads[id.slot as usize]);
        }
    }

    /// Whether [`Picker::observe`] does anything.
    #[inline]
    pub(crate) fn observes(&self) -> bool {
        matches!(self.selector, Selector::PeakEwma(_) | Selector::Prequal(_))
    }

    /// A request at `id` was answered, failed or was given up.
    pub(crate) fn observe(&mut self, id: EndpointId, sample: Sample, now: Instant) {
        self.selector.observe(id, sample, now);
    }

    /// Whether the algorithm wants probes.
    #[inline]
    pub(crate) fn probes(&self) -> bool {
        matches!(self.selector, Selector::Prequal(_))
    }

    /// Whether [`Picker::poll_probe`] has something to give.
    pub(crate) fn has_probes(&self) -> bool {
        matches!(&self.selector, Selector::Prequal(prequal) if prequal.has_probes())
    }

    /// The next endpoint that is to be probed.
    pub(crate) fn poll_probe(&mut self) -> Option<EndpointId> {
        match &mut self.selector {
            Selector::Prequal(prequal) => prequal.poll_probe(),
            _ => None,
        }
    }

    /// What an endpoint answered to a probe: requests in flight and a latency in nanoseconds; none if it
    /// did not.
    pub(crate) fn on_probe(
        &mut self,
        id: EndpointId,
        answer: Option<(u32, u64)>,
        prng: &mut Prng,
        now: Instant,
    ) {
        if let Selector::Prequal(prequal) = &mut self.selector {
            prequal.on_probe(id, answer, &self.roster, prng, now);
        }
    }
}

/// What a selector is told when the endpoints change.
struct Change<'a> {
    /// That before.
    old: &'a Roster,
    roster: &'a Roster,
    members: &'a [Candidate],
    /// Requests in flight, by slot.
    loads: &'a [u32],
    now: Instant,
}

/// What a selector sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    roster: &'a Roster,
    /// Requests in flight, by the slot of an endpoint.
    in_flight: &'a [u32],
    /// Indexes of candidates to leave out, in rising order; never all of them.
    skip: &'a [u32],
    key: Option<u64>,
    now: Instant,
}

impl View<'_> {
    /// How many may be picked, those that are left out as well.
    #[inline]
    fn count(&self) -> usize {
        self.roster.free.count()
    }

    /// The index of the one with this rank among them.
    #[inline]
    fn nth(&self, rank: usize) -> usize {
        self.roster.free.nth(rank)
    }

    #[inline]
    fn candidate(&self, index: usize) -> Candidate {
        self.roster.candidates[index]
    }

    /// Requests at `candidate` if it took this one as well. Counting the candidate makes an idle
    /// endpoint of weight 100 lighter than an idle one of weight 1.
    fn load(&self, candidate: Candidate) -> u64 {
        u64::from(self.in_flight[candidate.id.slot as usize]) + 1
    }

    /// Whether `a` is less loaded for its weight than `b`: `load(a) / a.weight < load(b) / b.weight`.
    /// A load is at most 2^32 and a weight below 2^30, so the products fit.
    fn compare(&self, a: Candidate, b: Candidate) -> core::cmp::Ordering {
        (self.load(a) * u64::from(b.weight)).cmp(&(self.load(b) * u64::from(a.weight)))
    }

    fn skips(&self, index: usize) -> bool {
        self.skip.iter().any(|&skipped| skipped as usize == index)
    }

    /// Index and candidate of those that are not left out.
    fn rest(&self) -> impl Iterator<Item = (usize, Candidate)> {
        self.roster.eligible().filter(|&(index, _)| !self.skips(index))
    }
}

/// An algorithm and its state.
#[derive(Debug)]
enum Selector {
    Random(random::Random),
    RoundRobin(round_robin::RoundRobin),
    LeastRequest(least_request::LeastRequest),
    P2c { choices: u32 },
    PeakEwma(peak_ewma::PeakEwma),
    JoinIdleQueue(join_idle_queue::JoinIdleQueue),
    Hashed(hashed::Hashed),
    Rendezvous,
    Jump(jump::Jump),
    Prequal(prequal::Prequal),
}

impl Selector {
    fn new(config: &config::Pool) -> Self {
        match config.algorithm {
            Algorithm::Random => Self::Random(random::Random::default()),
            Algorithm::RoundRobin => Self::RoundRobin(round_robin::RoundRobin::new(Rule::Smooth)),
            Algorithm::Tijdeman => Self::RoundRobin(round_robin::RoundRobin::new(Rule::Chairman)),
            Algorithm::LeastRequest => Self::LeastRequest(least_request::LeastRequest::default()),
            Algorithm::P2c => Self::P2c { choices: config.p2c.choices },
            Algorithm::PeakEwma => Self::PeakEwma(peak_ewma::PeakEwma::new(&config.peak_ewma)),
            Algorithm::JoinIdleQueue => Self::JoinIdleQueue(join_idle_queue::JoinIdleQueue::default()),
            Algorithm::RingHash => Self::Hashed(hashed::Hashed::ring(&config.ring_hash)),
            Algorithm::Maglev => Self::Hashed(hashed::Hashed::maglev(&config.maglev)),
            Algorithm::Rendezvous => Self::Rendezvous,
            Algorithm::JumpHash => Self::Jump(jump::Jump::default()),
            Algorithm::Prequal => Self::Prequal(prequal::Prequal::new(&config.prequal)),
        }
    }

    fn rebuild(&mut self, change: Change<'_>) {
        let Change { old, roster, members, loads, now } = change;
        match self {
            Self::Random(random) => random.rebuild(roster),
            Self::RoundRobin(round_robin) => round_robin.rebuild(old, roster, members),
            Self::LeastRequest(least_request) => least_request.rebuild(roster, loads),
            Self::PeakEwma(peak_ewma) => {
                roster.eligible().for_each(|(_, candidate)| peak_ewma.admit(candidate.id, now));
            }
            Self::JoinIdleQueue(queue) => queue.rebuild(roster, loads),
            Self::Hashed(hashed) => hashed.rebuild(roster, members, loads),
            Self::Jump(jump) => jump.rebuild(members),
            Self::Prequal(prequal) => {
                roster.eligible().for_each(|(_, candidate)| prequal.admit(candidate.id));
                prequal.forget_others(roster);
            }
            Self::P2c { .. } | Self::Rendezvous => {}
        }
    }

    /// A candidate has a free slot again.
    fn admit(&mut self, index: usize, candidate: Candidate, load: u32, now: Instant) {
        match self {
            Self::Random(random) => random.admit(index, candidate),
            Self::RoundRobin(round_robin) => round_robin.admit(index),
            Self::LeastRequest(least_request) => least_request.on_load(index, candidate, load),
            Self::PeakEwma(peak_ewma) => peak_ewma.admit(candidate.id, now),
            Self::JoinIdleQueue(queue) => queue.on_load(index, load),
            Self::Hashed(hashed) => hashed.admit(index, candidate, load),
            Self::Prequal(prequal) => prequal.admit(candidate.id),
            Self::P2c { .. } | Self::Jump(_) | Self::Rendezvous => {}
        }
    }

    /// A candidate is full; `roster` knows of it.
    fn remove(&mut self, index: usize, candidate: Candidate, roster: &Roster) {
        match self {
            Self::Random(random) => random.remove(index, candidate),
            Self::RoundRobin(round_robin) => round_robin.remove(index),
            Self::LeastRequest(least_request) => least_request.remove(index),
            Self::JoinIdleQueue(queue) => queue.remove(index),
            Self::Hashed(hashed) => hashed.remove(index, candidate),
            Self::Prequal(prequal) => prequal.forget_others(roster),
            Self::P2c { .. } | Self::PeakEwma(_) | Self::Jump(_) | Self::Rendezvous => {}
        }
    }

    /// Whether [`Selector::on_load`] does anything.
    #[inline]
    fn counts_loads(&self) -> bool {
        matches!(self, Self::LeastRequest(_) | Self::JoinIdleQueue(_) | Self::Hashed(_))
    }

    /// The index of the one picked; none only when there is no candidate.
    fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        match self {
            Self::Random(random) => random.pick(view, prng),
            Self::RoundRobin(round_robin) => round_robin.pick(view),
            Self::LeastRequest(least_request) => least_request.pick(view, prng),
            Self::P2c { choices } => p2c::pick(view, *choices, prng),
            Self::PeakEwma(peak_ewma) => peak_ewma.pick(view, prng),
            Self::JoinIdleQueue(queue) => queue.pick(view, prng),
            Self::Hashed(hashed) => hashed.pick(view, prng),
            Self::Rendezvous => rendezvous::pick(view, prng),
            Self::Jump(jump) => jump.pick(view, prng),
            Self::Prequal(prequal) => prequal.pick(view, prng),
        }
    }

    fn on_load(&mut self, index: usize, candidate: Candidate, load: u32) {
        match self {
            Self::LeastRequest(least_request) => least_request.on_load(index, candidate, load),
            Self::JoinIdleQueue(queue) => queue.on_load(index, load),
            Self::Hashed(hashed) => hashed.on_load(index, load),
            Self::Random(_)
            | Self::RoundRobin(_)
            | Self::P2c { .. }
            | Self::PeakEwma(_)
            | Self::Rendezvous
            | Self::Jump(_)
            | Self::Prequal(_) => {}
        }
    }

    fn observe(&mut self, id: EndpointId, sample: Sample, now: Instant) {
        match self {
            Self::PeakEwma(peak_ewma) => peak_ewma.observe(id, sample, now),
            Self::Prequal(prequal) => prequal.observe(id, sample, now),
            _ => {}
        }
    }
}

fn equal_weights(candidates: &[Candidate]) -> bool {
    candidates.windows(2).all(|pair| pair[0].weight == pair[1].weight)
}
