//! Picks are the same on every machine and in every run: the digest of a long trace for each algorithm.

use alloc::{collections::VecDeque, format};

use super::*;
use crate::hash::hash;

/// Requests come and go, endpoints too, some requests avoid endpoints, and latencies are seen.
fn trace(config: &config::Pool) -> u64 {
    let weights = [1000, 2000, 3000, 1000, 5000, 1000, 1000];
    let mut bench = Bench::with(config, &weights);
    let mut world = Prng::new(99);
    let mut open = VecDeque::new();
    let mut slots = Vec::new();
    let mut answers = Prng::new(7);
    for step in 0..3000u64 {
        bench.now = at(7 * step);
        if step % 500 == 250 {
            let all = candidates(&weights);
            let gone = world.below(7) as usize;
            bench.become_with(all.iter().copied().filter(|one| one.id != id(gone)).collect(), all);
        }
        bench.key = (step % 3 > 0).then(|| mix(world.below(50)));
        let tried = id(world.below(7) as usize);
        let slot = bench.pick_but(if step % 11 == 0 { core::slice::from_ref(&tried) } else { &[] }).unwrap();
        slots.push(slot as u8);
        bench.add_load(slot, 1);
        open.push_back(slot);
        while let Some(probed) = bench.picker.poll_probe() {
            // Some do not know of probes.
            let answer = (probed.slot < 5).then(|| (answers.below(9) as u32, answers.below(1_000_000)));
            bench.picker.on_probe(probed, answer, &mut bench.prng, bench.now);
        }
        if open.len() > world.below(20) as usize {
            let slot = open.pop_front().unwrap();
            bench.add_load(slot, -1);
            let verdict =
                [Verdict::Answered, Verdict::Failed, Verdict::CutShort][world.below(30) as usize / 14];
            bench.observe(slot, 1 + world.below(100), verdict);
        }
    }
    hash(&slots)
}

#[test]
fn traces_are_pinned() {
    let digests: Vec<String> = all()
        .iter()
        .map(|config| {
            let digest = trace(config);
            assert_eq!(digest, trace(config), "twice the same");
            format!("{:?} {digest:016x}", config.algorithm)
        })
        .collect();
    let pinned = [
        "Random ccbff1c126302828",
        "RoundRobin 07143c39664b2ec5",
        "Tijdeman b272fd0febe0d5a4",
        "LeastRequest 9ea9d48d5c8ea047",
        "P2c 1fde9875963c260b",
        "PeakEwma 597a8abdc2d4e42d",
        "JoinIdleQueue 541a3ce539b32732",
        "RingHash 3534765255b53594",
        "Maglev 2a9cd4378b3e0851",
        "Rendezvous a41597f2201ab2fb",
        "JumpHash 076b7ac707e47bd9",
        "Prequal 13278c07b1700f2b",
        "P2c 5fa0349933aac3ec",
        "RingHash 7adbad17c1c086d3",
        "Maglev d50d3f7c2c04d8a0",
    ];
    assert_eq!(digests, pinned);
}
