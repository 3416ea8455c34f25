//! Selection: which of the eligible endpoints takes the next request.
//!
//! A selector sees only endpoints that may be picked, in a dense list that is rebuilt when it changes.
//! `skip` names those that were tried already by the same request; the caller makes sure that it never
//! names all of them. Everything is integer arithmetic, so equal seeds give equal picks everywhere.

mod least_request;
mod p2c;
mod random;
mod round_robin;
#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};

use crate::{config::Algorithm, pool::EndpointId, prng::Prng};

/// An endpoint that may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: EndpointId,
    /// Effective weight, at least 1 and at most `WEIGHT_MAX * 1000`: below 2^30.
    pub(crate) weight: u32,
}

/// What a selector sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) candidates: &'a [Candidate],
    /// Requests in flight, by the slot of an endpoint.
    pub(crate) in_flight: &'a [u32],
    /// Endpoints to leave out.
    pub(crate) skip: &'a [EndpointId],
}

impl View<'_> {
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

    fn skips(&self, candidate: Candidate) -> bool {
        self.skip.contains(&candidate.id)
    }

    /// Index and candidate of those that are not left out.
    fn rest(&self) -> impl Iterator<Item = (usize, Candidate)> {
        self.candidates.iter().copied().enumerate().filter(|&(_, candidate)| !self.skips(candidate))
    }
}

/// An algorithm and its state.
#[derive(Debug)]
pub(crate) enum Selector {
    Random(random::Random),
    RoundRobin(round_robin::RoundRobin),
    LeastRequest,
    P2c,
}

impl Selector {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Random => Self::Random(random::Random::default()),
            Algorithm::RoundRobin => Self::RoundRobin(round_robin::RoundRobin::default()),
            Algorithm::LeastRequest => Self::LeastRequest,
            Algorithm::P2c => Self::P2c,
        }
    }

    /// Tells that the candidates are `new` from now on.
    pub(crate) fn rebuild(&mut self, old: &[Candidate], new: &[Candidate]) {
        match self {
            Self::Random(random) => random.rebuild(new),
            Self::RoundRobin(round_robin) => round_robin.rebuild(old, new),
            Self::LeastRequest | Self::P2c => {}
        }
    }

    /// The index of the one picked; none only when there is no candidate.
    pub(crate) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        match self {
            Self::Random(random) => random.pick(view, prng),
            Self::RoundRobin(round_robin) => round_robin.pick(view),
            Self::LeastRequest => least_request::pick(view, prng),
            Self::P2c => p2c::pick(view, prng),
        }
    }
}

fn equal_weights(candidates: &[Candidate]) -> bool {
    candidates.windows(2).all(|pair| pair[0].weight == pair[1].weight)
}

/// Where each endpoint stands in a list of candidates.
struct Places(Vec<Option<(u32, usize)>>);

impl Places {
    fn of(candidates: &[Candidate]) -> Self {
        let slots = candidates.iter().map(|candidate| candidate.id.slot as usize + 1).max().unwrap_or(0);
        let mut places = vec![None; slots];
        for (index, Candidate { id, .. }) in candidates.iter().enumerate() {
            places[id.slot as usize] = Some((id.generation, index));
        }
        Self(places)
    }

    fn get(&self, id: EndpointId) -> Option<usize> {
        let (generation, index) = (*self.0.get(id.slot as usize)?)?;
        (generation == id.generation).then_some(index)
    }
}
