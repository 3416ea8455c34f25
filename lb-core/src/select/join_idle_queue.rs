//! Join-idle-queue: an idle endpoint at random, and where nobody is idle the less loaded of two (Lu, Xie,
//! Kliot, Geller, Larus, Greenberg, "Join-Idle-Queue", Performance Evaluation 68, 2011, which takes any
//! one then).
//!
//! Idle is what has no request of this balancer in flight. Weights act only where nobody is idle.

use alloc::{vec, vec::Vec};

use super::{Roster, View, draw::Draw, p2c};
use crate::prng::Prng;

#[derive(Debug, Default)]
pub(crate) struct JoinIdleQueue {
    /// Indexes of the idle candidates, in no order.
    idle: Vec<u32>,
    /// Where each candidate stands in `idle`.
    places: Vec<Option<u32>>,
}

impl JoinIdleQueue {
    pub(super) fn rebuild(&mut self, roster: &Roster, loads: &[u32]) {
        self.idle.clear();
        self.places = vec![None; roster.candidates.len()];
        for (index, candidate) in roster.eligible() {
            self.on_load(index, loads[candidate.id.slot as usize]);
        }
    }

    /// One may not be picked any more. O(1).
    pub(super) fn remove(&mut self, index: usize) {
        self.on_load(index, 1);
    }

    /// O(1).
    pub(super) fn on_load(&mut self, index: usize, load: u32) {
        match (self.places[index], load) {
            (None, 0) => {
                self.places[index] = Some(self.idle.len() as u32);
                self.idle.push(index as u32);
            }
            (Some(place), 1..) => {
                self.places[index] = None;
                self.idle.swap_remove(place as usize);
                if let Some(&moved) = self.idle.get(place as usize) {
                    self.places[moved as usize] = Some(place);
                }
            }
            _ => {}
        }
    }

    /// O(1).
    pub(super) fn pick(&self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        let mut left_out =
            view.skip.iter().filter_map(|&index| self.places[index as usize]).collect::<Vec<_>>();
        left_out.sort_unstable();
        match Draw::new(self.idle.len(), left_out).next(prng) {
            Some(place) => self.idle.get(place).map(|&index| index as usize),
            None => p2c::pick(view, 2, prng),
        }
    }
}
