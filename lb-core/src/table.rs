//! Lookup by bytes in constant time: what hosts, paths and their prefixes are found with.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::hash::hash;

/// A map from bytes, built once and then read by every request. Its keys come from the configuration,
/// so clients cannot degrade it: a lookup never visits more than the slots that these keys share.
#[derive(Clone, Debug)]
pub(crate) struct Table<V> {
    entries: Vec<Entry<V>>,
    /// Place in `entries` plus one, or 0; open addressing with linear probing, at most half full.
    slots: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u64,
    key: Box<[u8]>,
    value: V,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Vec::new() }
    }
}

impl<V> Table<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        if self.entries.is_empty() {
            return None;
        }
        self.find(hash(key), key).ok().map(|place| &self.entries[place].value)
    }

    /// The place of the key's entry, or else the free slot at which the search ended. There must be
    /// slots.
    fn find(&self, hash: u64, key: &[u8]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        // Truncation keeps the low bits, of which the mask takes those that it needs.
        let mut slot = hash as usize & mask;
        loop {
            let Some(place) = (self.slots[slot] as usize).checked_sub(1) else { return Err(slot) };
            let entry = &self.entries[place];
            if entry.hash == hash && *entry.key == *key {
                return Ok(place);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(4)];
        let mask = self.slots.len() - 1;
        for (number, entry) in (1..).zip(&self.entries) {
            let mut slot = entry.hash as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = number;
        }
    }
}

impl<V: Default> Table<V> {
    /// The key's value, put in if it is not there. Holds up to 2^32 − 1 keys, more than fit in memory
    /// with a configuration's bound on its bytes.
    pub(crate) fn entry(&mut self, key: &[u8]) -> &mut V {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(key);
        let place = self.find(hash, key).unwrap_or_else(|slot| {
            self.entries.push(Entry { hash, key: key.into(), value: V::default() });
            self.slots[slot] = self.entries.len() as u32;
            self.entries.len() - 1
        });
        &mut self.entries[place].value
    }
}

/// A map from path prefixes of whole segments. Keys begin with `/` and do not end with one; the root
/// is empty.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes<V> {
    table: Table<V>,
    /// Length of the longest key: longer prefixes of a path need not be looked up.
    longest: usize,
}

impl<V> Default for Prefixes<V> {
    fn default() -> Self {
        Self { table: Table::default(), longest: 0 }
    }
}

impl<V> Prefixes<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What `choose` makes of the first value that it takes, the longest prefix of `path` first. The
    /// path is in normal form; one that does not begin with `/` has no prefixes.
    pub(crate) fn walk<'a, T>(
        &'a self,
        path: &[u8],
        mut choose: impl FnMut(&'a V) -> Option<T>,
    ) -> Option<T> {
        if self.table.is_empty() || path.first() != Some(&b'/') {
            return None;
        }
        let mut end = path.strip_suffix(b"/").unwrap_or(path).len();
        if end > self.longest {
            end = parent(&path[..=self.longest]);
        }
        loop {
            let found = self.table.get(&path[..end]).and_then(&mut choose);
            if found.is_some() || end == 0 {
                return found;
            }
            end = parent(&path[..end]);
        }
    }

    pub(crate) fn covers(&self, path: &[u8]) -> bool {
        self.walk(path, |_| Some(())).is_some()
    }
}

impl<V: Default> Prefixes<V> {
    pub(crate) fn entry(&mut self, prefix: &[u8]) -> &mut V {
        let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
        self.longest = self.longest.max(prefix.len());
        self.table.entry(prefix)
    }
}

/// Where the last slash stands.
fn parent(path: &[u8]) -> usize {
    path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, format, string::String};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_is_a_map(keys in proptest::collection::vec("[a-c]{0,3}", 0..60), asked in "[a-d]{0,3}") {
            let (mut table, mut map) = (Table::<usize>::default(), BTreeMap::<String, usize>::new());
            for (number, key) in keys.iter().enumerate() {
                *table.entry(key.as_bytes()) += number;
                *map.entry(key.clone()).or_default() += number;
            }
            for key in keys.iter().chain([&asked]) {
                prop_assert_eq!(table.get(key.as_bytes()), map.get(key));
            }
        }

        #[test]
        fn a_walk_meets_all_prefixes_and_the_longest_first(
            keys in proptest::collection::btree_set("(/[ab]{1,2}){0,3}", 0..12), path in "(/[ab]{1,3}){0,5}/?",
        ) {
            let mut prefixes = Prefixes::<String>::default();
            for key in &keys {
                *prefixes.entry(key.as_bytes()) = key.clone();
            }
            let path = if path.is_empty() { "/" } else { &path };
            let mut met = Vec::new();
            let _: Option<()> = prefixes.walk(path.as_bytes(), |key| { met.push(key.clone()); None });
            let mut expected: Vec<String> =
                keys.iter().filter(|key| format!("{path}/").starts_with(&format!("{key}/"))).cloned().collect();
            expected.sort_by_key(|key| core::cmp::Reverse(key.len()));
            prop_assert_eq!(met, expected);
        }
    }
}
