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

use super::{Candidate, Roster, View, maglev, ring};
use crate::{config, pool::EndpointId, prng::Prng};

/// Consistent hashing by one of the tables.
#[derive(Debug)]
pub(crate) struct Hashed {
    table: Table,
    /// What the table was made of, by identity: the order of the file means nothing.
    members: Vec<Candidate>,
    /// The same in the order in which they came, so that being asked again costs no sorting.
    listed: Vec<Candidate>,
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
        Self { table, members: Vec::new(), listed: Vec::new(), bound: balance_factor.map(bound) }
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

    /// The cost of finding the key's place, and of passing those that may not take the request.
    pub(super) fn pick(&self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        let key = view.key.unwrap_or_else(|| prng.next_u64());
        match &self.table {
            Table::Ring(ring) => self.first(view, ring.walk(key)),
            Table::Maglev(maglev) => self.first(view, maglev.walk(key)),
        }
    }

    /// The first on the walk that is eligible, not left out and within the bound; if the bound leaves only
    /// those that are left out, the first that it would have kept back.
    fn first(&self, view: View<'_>, walk: impl Iterator<Item = u32>) -> Option<usize> {
        let mut over_bound = None;
        for member in walk {
            let id = self.members.get(member as usize).map(|member| member.id);
            let Some(index) = id.and_then(|id: EndpointId| view.roster.index(id)) else { continue };
            if view.skips(index) {
                continue;
            }
            if self.bound.as_ref().is_none_or(|bound| bound.allows(index, view.candidate(index))) {
                return Some(index);
            }
            over_bound = over_bound.or(Some(index));
        }
        over_bound
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
    /// How many entries of the table each member has, by slot.
    pub(super) fn entries(&self) -> alloc::collections::BTreeMap<u32, usize> {
        let mut entries = alloc::collections::BTreeMap::new();
        let walk: Vec<u32> = match &self.table {
            Table::Ring(ring) => ring.walk(0).collect(),
            Table::Maglev(maglev) => maglev.walk(0).collect(),
        };
        for member in walk {
            *entries.entry(self.members[member as usize].id.slot).or_default() += 1;
        }
        entries
    }
}
