//! Consistent hashing: a table maps each key to an order of all members, and a request goes to the first
//! of them that may take it.
//!
//! Tables are made of the members, not of the eligible: while an endpoint is down its keys walk on to
//! those that follow in their order, all others stay where they are, and when it is back so are its keys.
//! They are made anew when the members or their weights change. A request without a key goes where a
//! random key would.
//!
//! With a bound (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018)
//! an endpoint that has more than its share of what is in flight is passed as well.

use alloc::vec::Vec;

use super::{Candidate, Roster, View, maglev, ring, roster::Places, spots::Spots};
use crate::{config, prng::Prng};

/// Consistent hashing by one of the tables.
#[derive(Debug)]
pub(crate) struct Hashed {
    table: Table,
    /// What the table was made of, by identity: the order of the file means nothing.
    members: Vec<Candidate>,
    /// The same in the order in which they came, so that being asked again costs no sorting.
    listed: Vec<Candidate>,
    /// Where each of them stands in `members`.
    places: Places,
    /// Where each of them stands in the table, once somebody asked.
    spots: Option<Spots>,
    bound: Option<Bound>,
}

#[derive(Debug)]
enum Table {
    Ring(ring::Ring),
    Maglev(maglev::Maglev),
}

impl Hashed {
    pub(super) fn ring(config: &config::RingHash) -> Self {
        Self::new(Table::Ring(ring::Ring::new(config.points)), config.balance_factor)
    }

    pub(super) fn maglev(config: &config::Maglev) -> Self {
        Self::new(Table::Maglev(maglev::Maglev::new(config.table_size)), config.balance_factor)
    }

    fn new(table: Table, balance_factor: Option<u32>) -> Self {
        let bound = |percent| Bound { percent, weight: 0, load: 0, loads: Vec::new() };
        Self {
            table,
            members: Vec::new(),
            listed: Vec::new(),
            places: Places::default(),
            spots: None,
            bound: balance_factor.map(bound),
        }
    }

    pub(super) fn rebuild(&mut self, roster: &Roster, members: &[Candidate], loads: &[u32]) {
        if let Some(bound) = &mut self.bound {
            bound.rebuild(roster, loads);
        }
        if members == self.listed {
            return;
        }
        self.listed = members.to_vec();
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| (member.identity, member.id));
        if members == self.members {
            return;
        }
        match &mut self.table {
            Table::Ring(ring) => ring.rebuild(&members),
            Table::Maglev(maglev) => maglev.rebuild(&members),
        }
        self.places = Places::of(&members);
        self.spots = None;
        self.members = members;
    }

    pub(super) fn on_load(&mut self, index: usize, load: u32) {
        if let Some(bound) = &mut self.bound {
            bound.on_load(index, load);
        }
    }

    /// One more may be picked. O(1).
    pub(super) fn admit(&mut self, index: usize, candidate: Candidate, load: u32) {
        if let Some(bound) = &mut self.bound {
            bound.on_load(index, load);
            bound.weight += u64::from(candidate.weight);
        }
    }

    /// One may not be picked any more: what it has in flight is not part of what is to be shared. O(1).
    pub(super) fn remove(&mut self, index: usize, candidate: Candidate) {
        if let Some(bound) = &mut self.bound {
            bound.on_load(index, 0);
            bound.weight -= u64::from(candidate.weight);
        }
    }

    /// The cost of finding the key's place, and of passing those that may not take the request: n/f of them in the
    /// mean if f of n may. Where f is below some `sqrt(n)` it is f times O(log n) instead.
    pub(super) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        let key = view.key.unwrap_or_else(|| prng.next_u64());
        let start = self.table.start(key);
        if 4 * view.count() * view.count() < self.members.len() {
            self.nearest(view, start)
        } else {
            self.first_on_walk(view, start)
        }
    }

    /// The first on the walk that is eligible, not left out and within the bound; if the bound leaves only
    /// those that are left out, the first that it would have kept back.
    pub(super) fn first_on_walk(&self, view: View<'_>, start: usize) -> Option<usize> {
        let (before, after) = self.table.owners().split_at(start);
        let mut over_bound = None;
        for &member in after.iter().chain(before) {
            let id = self.members.get(member as usize).map(|member| member.id);
            let Some(index) = id.and_then(|id| view.roster.index(id)) else { continue };
            if view.skips(index) {
                continue;
            }
            if self.allows(index, view) {
                return Some(index);
            }
            over_bound = over_bound.or(Some(index));
        }
        over_bound
    }

    /// The same, by asking each of the eligible how far from the walk's beginning it stands.
    pub(super) fn nearest(&mut self, view: View<'_>, start: usize) -> Option<usize> {
        if self.spots.is_none() {
            self.spots = Some(Spots::of(self.table.owners(), self.members.len()));
        }
        let spots = self.spots.as_ref()?;
        let rank = |(index, candidate): (usize, Candidate)| {
            let distance = spots.distance(self.places.get(candidate.id)?, start)?;
            Some((!self.allows(index, view), distance, index))
        };
        view.rest().filter_map(rank).min().map(|(_, _, index)| index)
    }

    fn allows(&self, index: usize, view: View<'_>) -> bool {
        self.bound.as_ref().is_none_or(|bound| bound.allows(index, view.candidate(index)))
    }
}

impl Table {
    /// The member at each place.
    fn owners(&self) -> &[u32] {
        match self {
            Self::Ring(ring) => ring.owners(),
            Self::Maglev(maglev) => maglev.entries(),
        }
    }

    /// The place at which the walk of a key begins; it goes through all places once.
    fn start(&self, key: u64) -> usize {
        match self {
            Self::Ring(ring) => ring.start(key),
            Self::Maglev(maglev) => maglev.start(key),
        }
    }
}

/// A bound on loads: with m requests in flight, a new one may make an endpoint's load at most
/// `ceil(c * (m + 1) * w_i / W)`. These bounds sum up to more than m, so one endpoint is always below its
/// own.
#[derive(Debug)]
struct Bound {
    /// c, in percent.
    percent: u32,
    /// W.
    weight: u64,
    /// m.
    load: u64,
    /// By candidate; 0 for those that may not be picked.
    loads: Vec<u32>,
}

impl Bound {
    fn rebuild(&mut self, roster: &Roster, loads: &[u32]) {
        self.loads.clear();
        self.loads.resize(roster.candidates.len(), 0);
        (self.load, self.weight) = (0, 0);
        for (index, candidate) in roster.eligible() {
            self.on_load(index, loads[candidate.id.slot as usize]);
            self.weight += u64::from(candidate.weight);
        }
    }

    fn on_load(&mut self, index: usize, load: u32) {
        self.load = self.load - u64::from(self.loads[index]) + u64::from(load);
        self.loads[index] = load;
    }

    /// An integer is below the ceiling of a number if it is below the number.
    fn allows(&self, index: usize, candidate: Candidate) -> bool {
        let bound = u128::from(self.percent) * u128::from(self.load + 1) * u128::from(candidate.weight);
        u128::from(self.loads[index]) * 100 * u128::from(self.weight) < bound
    }
}

#[cfg(test)]
impl Hashed {
    pub(super) fn start(&self, key: u64) -> usize {
        self.table.start(key)
    }

    /// How many entries of the table each member has, by slot.
    pub(super) fn entries(&self) -> alloc::collections::BTreeMap<u32, usize> {
        let mut entries = alloc::collections::BTreeMap::new();
        for &member in self.table.owners() {
            *entries.entry(self.members[member as usize].id.slot).or_default() += 1;
        }
        entries
    }
}
