//! The harness for all algorithms; what each promises stands in the modules.

mod golden;
mod hashing;
mod load;
mod prequal;
mod round;
mod shares;
mod universal;

use alloc::{string::String, vec};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::{Maglev, P2c, PeakEwma, RingHash},
    hash::mix,
    time::Duration,
};

fn id(slot: usize) -> EndpointId {
    EndpointId { slot: slot as u32, generation: 0 }
}

fn candidate(slot: usize, weight: u32) -> Candidate {
    Candidate { id: id(slot), weight, identity: mix(slot as u64 + 1) }
}

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    weights.iter().enumerate().map(|(slot, &weight)| candidate(slot, weight)).collect()
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn using(algorithm: Algorithm) -> config::Pool {
    config::Pool { algorithm, ..config::Pool::default() }
}

/// Every algorithm, and those options that change its course.
fn all() -> Vec<config::Pool> {
    let small = Maglev { table_size: 251, balance_factor: None };
    let mut all: Vec<_> = Algorithm::NAMED.iter().map(|&(_, algorithm)| using(algorithm)).collect();
    all.iter_mut().for_each(|config| config.maglev = small);
    all.extend([
        config::Pool { p2c: P2c { choices: 5 }, ..using(Algorithm::P2c) },
        config::Pool {
            ring_hash: RingHash { points: 40, balance_factor: Some(125) },
            ..using(Algorithm::RingHash)
        },
        config::Pool { maglev: Maglev { balance_factor: Some(110), ..small }, ..using(Algorithm::Maglev) },
    ]);
    all
}

/// A picker with loads, which picks do not change by themselves.
struct Bench {
    picker: Picker,
    in_flight: Vec<u32>,
    prng: Prng,
    key: Option<u64>,
    now: Instant,
}

impl Bench {
    fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
        Self::with(&using(algorithm), weights)
    }

    fn with(config: &config::Pool, weights: &[u32]) -> Self {
        let mut bench = Self {
            picker: Picker::new(config),
            in_flight: vec![0; 1024],
            prng: Prng::new(1),
            key: None,
            now: at(0),
        };
        bench.become_(candidates(weights));
        bench
    }

    fn become_(&mut self, new: Vec<Candidate>) {
        self.become_with(new.clone(), new);
    }

    fn become_with(&mut self, eligible: Vec<Candidate>, members: Vec<Candidate>) {
        self.picker.rebuild(eligible, |_| false, members, &self.in_flight, self.now);
    }

    fn candidates(&self) -> &[Candidate] {
        &self.picker.roster.candidates
    }

    fn set_load(&mut self, slot: usize, load: u32) {
        self.in_flight[slot] = load;
        self.picker.on_load(id(slot), &self.in_flight);
    }

    fn set_loads(&mut self, loads: &[u32]) {
        loads.iter().enumerate().for_each(|(slot, &load)| self.set_load(slot, load));
    }

    fn add_load(&mut self, slot: usize, more: i32) {
        self.set_load(slot, self.in_flight[slot].checked_add_signed(more).unwrap());
    }

    /// The slot of the one picked.
    fn pick_but(&mut self, tried: &[EndpointId]) -> Option<usize> {
        let ask = Ask { key: self.key, tried };
        let id = self.picker.pick(&ask, &self.in_flight, &mut self.prng, self.now)?;
        Some(id.slot as usize)
    }

    fn pick(&mut self) -> usize {
        self.pick_but(&[]).unwrap()
    }

    fn pick_for(&mut self, key: u64) -> usize {
        self.key = Some(mix(key));
        self.pick()
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'a' + self.pick() as u8)).collect()
    }

    /// How often each of `slots` slots was picked.
    fn counts(&mut self, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.candidates().len()];
        (0..picks).for_each(|_| counts[self.pick()] += 1);
        counts
    }

    fn observe(&mut self, slot: usize, millis: u64, verdict: Verdict) {
        let sample = Sample { latency_nanos: millis * 1_000_000, verdict };
        self.picker.observe(id(slot), sample, self.now);
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1u32..12, 1..9)
}

/// Pearson's sum over what was counted and the parts that were to be expected. Seeds are fixed, so a test
/// of it passes always or never.
fn chi_square(counts: &[usize], parts: &[u64]) -> f64 {
    let (picks, total) = (counts.iter().sum::<usize>() as f64, parts.iter().sum::<u64>() as f64);
    let term = |(&count, &part): (&usize, &u64)| {
        let expected = picks * part as f64 / total;
        if part == 0 { count as f64 * 1e9 } else { (count as f64 - expected).powi(2) / expected }
    };
    counts.iter().zip(parts).map(term).sum()
}

#[test]
fn a_successor_in_the_same_slot_is_a_stranger() {
    let old = candidates(&[1, 1]);
    let mut new = old.clone();
    new[1].id.generation = 1;
    let roster = Roster::new(old, |_| false);
    assert_eq!(roster.index(new[0].id), Some(0));
    assert_eq!(roster.index(new[1].id), None);
}
