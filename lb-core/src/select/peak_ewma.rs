//! Peak EWMA: of d distinct endpoints drawn at random the one with the least latency times load, where a
//! latency is an exponentially weighted moving average that jumps up at once and comes down slowly
//! (Finagle's `PeakEwma`, 2015).
//!
//! What an endpoint costs is a function of what it was last told and of the time alone: reading it
//! changes nothing. In detail:
//!
//! - A latency above the cost replaces it; one below is averaged in, with the weight of the time since the
//!   last one. Without traffic the cost decays towards nothing, so that a slow endpoint is tried again.
//! - A failure counts as `error_latency` at least, and never lowers the cost: failing fast must not
//!   attract. A request that was given up counts only where it took longer than the cost.
//! - What nothing is known about costs as much as the dearest of those it is drawn with, so that cold
//!   endpoints are ranked by load, neither flooded nor tried one request at a time.
//! - An endpoint that got nothing for `reprobe` is taken when it is drawn: nobody starves.
//! - No endpoint gets more than d/n of the traffic, as with [`p2c`](super::p2c).

use alloc::vec::Vec;

use super::{Sample, Verdict, View, draw::Draw, fixed::Decay};
use crate::{
    config,
    limits::{CHOICES_MAX, LATENCY_SECONDS_MAX},
    pool::EndpointId,
    prng::Prng,
    time::{Duration, Instant, nanos},
};

const COST_NANOS_MAX: u64 = LATENCY_SECONDS_MAX * 1_000_000_000;

#[derive(Debug)]
pub(crate) struct PeakEwma {
    choices: u32,
    decay: Decay,
    error_nanos: u64,
    reprobe: Duration,
    /// By slot.
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    id: EndpointId,
    /// None before the first sample.
    cost: Option<Cost>,
    /// When it was picked last, or came.
    picked: Instant,
}

/// A cost as of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) nanos: u64,
    pub(super) stamp: Instant,
}

impl Cost {
    /// The cost at a later time: at least 1 ns.
    pub(super) fn at(self, decay: Decay, now: Instant) -> u64 {
        decay.apply(self.nanos, nanos(now.since(self.stamp))).max(1)
    }

    /// The cost after a latency that was seen at `now`.
    pub(super) fn after(self, latency_nanos: u64, decay: Decay, now: Instant) -> Self {
        let before = self.at(decay, now);
        // cost * w + latency * (1 - w), where w is what the time since the last sample leaves of 1.
        let share = latency_nanos - decay.apply(latency_nanos, nanos(now.since(self.stamp)));
        let nanos = if latency_nanos >= before { latency_nanos } else { before + share };
        Self { nanos, stamp: self.stamp.max(now) }
    }
}

/// One that was drawn.
#[derive(Clone, Copy, Debug, Default)]
struct Drawn {
    index: usize,
    /// None if nothing is known.
    cost: Option<u64>,
    is_due: bool,
}

impl PeakEwma {
    pub(super) fn new(config: &config::PeakEwma) -> Self {
        Self {
            choices: config.choices.min(CHOICES_MAX),
            decay: Decay::new(nanos(config.decay)),
            error_nanos: nanos(config.error_latency),
            reprobe: config.reprobe,
            states: Vec::new(),
        }
    }

    /// One more is eligible. What is known of an endpoint stays while it lives, eligible or not.
    pub(super) fn admit(&mut self, id: EndpointId, now: Instant) {
        let (slot, fresh) = (id.slot as usize, State { id, cost: None, picked: now });
        if self.states.len() <= slot {
            self.states.resize(slot + 1, fresh);
        }
        if self.states[slot].id != id {
            self.states[slot] = fresh;
        }
    }

    /// O(d).
    pub(super) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        let mut drawn = [Drawn::default(); CHOICES_MAX as usize];
        let mut draw = Draw::ranks(&view);
        let mut count = 0;
        while count < self.choices as usize
            && let Some(rank) = draw.next(prng)
        {
            drawn[count] = self.judge(view.nth(rank), &view);
            count += 1;
        }
        let best = best(&drawn[..count], &view, prng)?;
        self.states[view.candidate(best).id.slot as usize].picked = view.now;
        Some(best)
    }

    fn judge(&self, index: usize, view: &View<'_>) -> Drawn {
        let candidate = view.candidate(index);
        let state = &self.states[candidate.id.slot as usize];
        let is_idle = view.load(candidate) == 1;
        Drawn {
            index,
            cost: state.cost.map(|cost| cost.at(self.decay, view.now)),
            is_due: is_idle && state.cost.is_some() && view.now.since(state.picked) >= self.reprobe,
        }
    }

    /// O(1).
    pub(super) fn observe(&mut self, id: EndpointId, sample: Sample, now: Instant) {
        let Some(state) = self.states.get_mut(id.slot as usize).filter(|state| state.id == id) else {
            return;
        };
        let before = state.cost.map_or(0, |cost| cost.at(self.decay, now));
        let latency = sample.latency_nanos;
        let counted = match sample.verdict {
            Verdict::Answered => latency,
            Verdict::Failed => latency.max(self.error_nanos).max(before),
            Verdict::CutShort if latency > before => latency,
            Verdict::CutShort => return,
        };
        let counted = counted.clamp(1, COST_NANOS_MAX);
        let first = Cost { nanos: counted, stamp: now };
        state.cost = Some(state.cost.map_or(first, |cost| cost.after(counted, self.decay, now)));
    }
}

/// The cheapest; equals are drawn among.
fn best(drawn: &[Drawn], view: &View<'_>, prng: &mut Prng) -> Option<usize> {
    let unknown = drawn.iter().filter_map(|drawn| drawn.cost).max().unwrap_or(1);
    // A cost is below 2^42, a load at most 2^32 and a weight below 2^30.
    let price = |drawn: &Drawn| match drawn.is_due {
        true => 0,
        false => {
            let load = view.load(view.candidate(drawn.index));
            u128::from(drawn.cost.unwrap_or(unknown)) * u128::from(load)
        }
    };
    let weight = |drawn: &Drawn| u128::from(view.candidate(drawn.index).weight);
    let mut ties = 1;
    let best = drawn.iter().copied().reduce(|best, other| {
        match (price(&other) * weight(&best)).cmp(&(price(&best) * weight(&other))) {
            core::cmp::Ordering::Less => {
                ties = 1;
                other
            }
            core::cmp::Ordering::Greater => best,
            core::cmp::Ordering::Equal => {
                ties += 1;
                if prng.below(ties) + 1 == ties { other } else { best }
            }
        }
    });
    best.map(|drawn| drawn.index)
}

#[cfg(test)]
impl PeakEwma {
    pub(super) fn cost(&self, id: EndpointId, now: Instant) -> Option<u64> {
        self.states[id.slot as usize].cost.map(|cost| cost.at(self.decay, now))
    }
}
