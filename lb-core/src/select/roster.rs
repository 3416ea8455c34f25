//! The eligible endpoints as selectors index them.

use alloc::{vec, vec::Vec};

use super::Candidate;
use crate::{limits::TRIES_MAX, pool::EndpointId};

/// The eligible endpoints, dense, and where each of them stands.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) candidates: Vec<Candidate>,
    places: Places,
}

impl Roster {
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        Self { places: Places::of(&candidates), candidates }
    }

    /// The index of an endpoint; none if it may not be picked.
    pub(super) fn index(&self, id: EndpointId) -> Option<usize> {
        self.places.get(id)
    }

    /// Those of `tried` that are eligible, unless they are all: then nobody is left out.
    pub(super) fn skip(&self, tried: &[EndpointId]) -> Skip {
        let mut skip = Skip::default();
        tried.iter().filter_map(|&id| self.index(id)).for_each(|index| skip.insert(index as u32));
        if skip.count == self.candidates.len() { Skip::default() } else { skip }
    }
}

/// Where each endpoint stands in a list of candidates.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Option<(u32, u32)>>);

impl Places {
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let slots = candidates.iter().map(|candidate| candidate.id.slot as usize + 1).max().unwrap_or(0);
        let mut places = vec![None; slots];
        for (index, Candidate { id, .. }) in (0..).zip(candidates) {
            places[id.slot as usize] = Some((id.generation, index));
        }
        Self(places)
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<usize> {
        let (generation, index) = (*self.0.get(id.slot as usize)?)?;
        (generation == id.generation).then_some(index as usize)
    }
}

/// Indexes of candidates that are left out: at most one for each try of a request, in rising order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skip {
    indexes: [u32; TRIES_MAX as usize],
    count: usize,
}

impl Skip {
    pub(super) fn indexes(&self) -> &[u32] {
        &self.indexes[..self.count]
    }

    fn insert(&mut self, index: u32) {
        let Err(place) = self.indexes().binary_search(&index) else { return };
        if self.count < self.indexes.len() {
            self.indexes.copy_within(place..self.count, place + 1);
            self.indexes[place] = index;
            self.count += 1;
        }
    }
}
