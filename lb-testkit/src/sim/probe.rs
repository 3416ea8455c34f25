//! Probes: what a modelled backend says of itself to balancers that ask.
//!
//! As in Prequal's paper (Wydrowski and others, NSDI 2024): the requests that are there, and the median of the
//! latest times of those that met about as many when they came.

use std::{collections::VecDeque, time::Duration};

use lb_core::pool::{EndpointId, ProbeAnswer};

use super::fault::Condition;

/// Completions that a backend remembers.
const REMEMBERED: usize = 64;
/// Of these as many as make the median: the newest.
const MEDIAN_OF: usize = 9;

/// A probe that is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) balancer: u32,
    pub(super) backend: u32,
    pub(super) endpoint: EndpointId,
    /// When it counts as unanswered.
    pub(super) by: u64,
    pub(super) stage: Stage,
}

/// How far a probe is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// On its way to the backend.
    Sent,
    /// On its way back, or waited for in vain.
    Answered(Option<ProbeAnswer>),
}

/// What a backend knows of its own latency.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The newest last: requests that were there when one came, and how long it took, in nanoseconds.
    done: VecDeque<(u32, u64)>,
}

impl Gauge {
    /// A request is done that met so many when it came.
    pub(super) fn record(&mut self, met: u32, nanos: u64) {
        if self.done.len() == REMEMBERED {
            self.done.pop_front();
        }
        self.done.push_back((met, nanos));
    }

    /// What a backend in this condition says; none when it does not answer in time.
    pub(super) fn answer(&self, condition: &Condition, present: u32) -> Option<ProbeAnswer> {
        let silent = condition.refuses || condition.unreachable || condition.speed == 0;
        if silent || condition.failing.is_some_and(|failing| failing.seen_by_checks) {
            return None;
        }
        Some(ProbeAnswer { in_flight: present, latency: Duration::from_nanos(self.latency(present)) })
    }

    /// The median of the newest times of requests that met a number as near to `present` as there are; 0
    /// where none was ever done.
    fn latency(&self, present: u32) -> u64 {
        let Some(nearest) = self.done.iter().map(|&(met, _)| met.abs_diff(present)).min() else { return 0 };
        let alike = self.done.iter().rev().filter(|&&(met, _)| met.abs_diff(present) == nearest);
        let mut times = [0; MEDIAN_OF];
        let mut count = 0;
        for (place, &(_, nanos)) in times.iter_mut().zip(alike) {
            *place = nanos;
            count += 1;
        }
        let times = &mut times[..count];
        times.sort_unstable();
        times[count / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_the_median_of_those_that_met_about_as_many() {
        let mut gauge = Gauge::default();
        let latency =
            |gauge: &Gauge, present| gauge.answer(&Condition::GOOD, present).unwrap().latency.as_nanos();
        assert_eq!(latency(&gauge, 3), 0);
        [(1, 10), (1, 30), (1, 20), (5, 90)].iter().for_each(|&(met, nanos)| gauge.record(met, nanos));
        assert_eq!((latency(&gauge, 0), latency(&gauge, 2), latency(&gauge, 9)), (20, 20, 90));
        // What is old is forgotten.
        (0..REMEMBERED).for_each(|_| gauge.record(2, 7));
        assert_eq!(latency(&gauge, 5), 7);
    }

    #[test]
    fn who_does_not_serve_does_not_answer() {
        let gauge = Gauge::default();
        let asked = |condition: Condition| gauge.answer(&condition, 4);
        assert_eq!(asked(Condition::GOOD).map(|answer| answer.in_flight), Some(4));
        assert_eq!(asked(Condition { speed: 0, ..Condition::GOOD }), None);
        assert_eq!(asked(Condition { refuses: true, ..Condition::GOOD }), None);
        assert_eq!(asked(Condition { unreachable: true, ..Condition::GOOD }), None);
    }
}
