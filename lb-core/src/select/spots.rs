//! Where each member stands in a table of consistent hashing, member by member: for when next to all of those that a
//! walk through the table would meet are full.

use alloc::{vec, vec::Vec};

/// The places of each member in a table, rising.
#[derive(Debug)]
pub(super) struct Spots {
    /// Of all members, one after the other.
    places: Vec<u32>,
    /// Where those of each member begin, and at last the end of all.
    begins: Vec<u32>,
}

impl Spots {
    /// `owners` are the members at the places of a table, below `members`. O(places).
    pub(super) fn of(owners: &[u32], members: usize) -> Self {
        let mut begins = vec![0; members + 1];
        owners.iter().for_each(|&owner| begins[owner as usize + 1] += 1);
        for member in 1..begins.len() {
            begins[member] += begins[member - 1];
        }
        let (mut places, mut ends) = (vec![0; owners.len()], begins.clone());
        for (place, &owner) in (0..).zip(owners) {
            places[ends[owner as usize] as usize] = place;
            ends[owner as usize] += 1;
        }
        Self { places, begins }
    }

    /// How far a walk that begins at `start` goes until it meets `member`; none if it never does. O(log places).
    pub(super) fn distance(&self, member: usize, start: usize) -> Option<usize> {
        let own = &self.places[self.begins[member] as usize..self.begins[member + 1] as usize];
        let next = own.partition_point(|&place| (place as usize) < start);
        match own.get(next) {
            Some(&place) => Some(place as usize - start),
            None => own.first().map(|&place| place as usize + self.places.len() - start),
        }
    }
}
