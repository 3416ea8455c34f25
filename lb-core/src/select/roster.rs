//! The endpoints of a tier as selectors index them.

use alloc::{vec, vec::Vec};

use super::{Candidate, ranks::Ranks};
use crate::{limits::TRIES_MAX, pool::EndpointId};

/// The endpoints that traffic goes to, dense, where each of them stands, and which of them have a free slot: only
/// those may be picked.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Full ones as well.
    pub(super) candidates: Vec<Candidate>,
    pub(super) free: Ranks,
    places: Places,
}

impl Roster {
    /// `is_full` tells of each candidate whether it may not be picked now.
    pub(super) fn new(candidates: Vec<Candidate>, is_full: impl Fn(usize) -> bool) -> Self {
        let free = Ranks::new(candidates.len(), (0..candidates.len()).filter(|&index| is_full(index)));
        Self { places: Places::of(&candidates), free, candidates }
    }

    /// The index of an endpoint; none if it may not be picked.
    pub(super) fn index(&self, id: EndpointId) -> Option<usize> {
        self.place(id).filter(|&index| self.free.contains(index))
    }

    /// The index of an endpoint, full or not.
    pub(super) fn place(&self, id: EndpointId) -> Option<usize> {
        self.places.get(id)
    }

    /// Those that may be picked, with their indexes.
    pub(super) fn eligible(&self) -> impl Iterator<Item = (usize, Candidate)> {
        self.free.iter().map(|index| (index, self.candidates[index]))
    }

    /// How many of `ids` may be picked, each counted once, and how many of them are full.
    pub(super) fn count(&self, ids: &[EndpointId]) -> (usize, usize) {
        let (mut free, mut full) = (0, 0);
        for (position, &id) in ids.iter().enumerate() {
            if let Some(index) = self.place(id).filter(|_| !ids[..position].contains(&id)) {
                let is_free = self.free.contains(index);
                free += usize::from(is_free);
                full += usize::from(!is_free);
            }
        }
        (free, full)
    }

    /// Those of `tried` that are eligible, unless they are all: then nobody is left out.
    pub(super) fn skip(&self, tried: &[EndpointId]) -> Skip {
        let mut skip = Skip::default();
        tried.iter().filter_map(|&id| self.index(id)).for_each(|index| skip.insert(index as u32));
        if skip.count == self.free.count() { Skip::default() } else { skip }
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
