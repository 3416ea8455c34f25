//! A hash ring: each member has points on it, and a key belongs to the first point at or after it
//! (Karger et al., "Consistent hashing and random trees", STOC 1997; in the form of ketama, 2007, with
//! many points for each member).
//!
//! A member has `points` for each unit of its weight, wherever they fall. Its points depend on nothing but
//! itself, so a change moves keys to it or from it only. The shares deviate from the weights by some
//! `1/sqrt(points)`.

use alloc::vec::Vec;

use super::Candidate;
use crate::{hash::mix, limits::RING_POINTS_MAX, slow_start};

#[derive(Debug)]
pub(super) struct Ring {
    points_per_weight: u32,
    /// Rising.
    points: Vec<u64>,
    /// The member of each point.
    owners: Vec<u32>,
}

impl Ring {
    pub(super) fn new(points_per_weight: u32) -> Self {
        Self { points_per_weight, points: Vec::new(), owners: Vec::new() }
    }

    /// O(p log p) for p points. More than [`RING_POINTS_MAX`] of them are made fewer in equal shares.
    pub(super) fn rebuild(&mut self, members: &[Candidate]) {
        let wanted = |member: &Candidate| {
            u64::from(member.weight) * u64::from(self.points_per_weight) / u64::from(slow_start::PARTS)
        };
        let total = members.iter().map(wanted).sum::<u64>().max(1);
        let most = total.min(RING_POINTS_MAX as u64);
        let mut points: Vec<(u64, u32)> = (0..)
            .zip(members)
            .flat_map(|(owner, member)| {
                let count = u128::from(wanted(member)) * u128::from(most) / u128::from(total);
                let point = move |nth: u64| (mix(member.identity.wrapping_add(mix(nth))), owner);
                (1..=(count as u64).max(1)).map(point)
            })
            .collect();
        points.sort_unstable();
        self.points = points.iter().map(|&(point, _)| point).collect();
        self.owners = points.iter().map(|&(_, owner)| owner).collect();
    }

    /// The member at each point.
    pub(super) fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// The first point of a key; those that follow go around the ring once. O(log p).
    pub(super) fn start(&self, key: u64) -> usize {
        self.points.partition_point(|&point| point < key)
    }
}
