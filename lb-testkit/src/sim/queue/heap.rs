//! A heap whose nodes have four children: half as deep as one of two, and the four stand side by side.
//!
//! What is taken leaves a hole at the top, which the next entry that comes fills: an event that schedules its
//! successor costs one way down, not two ways down and one up.

/// Orders entries: the time, then the sequence.
pub(super) type Key = u128;

/// Later than everything.
pub(super) const NEVER: Key = Key::MAX;

const CHILDREN: usize = 4;

/// Something with its place in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<T> {
    pub(super) key: Key,
    pub(super) what: T,
}

/// The entry with the least key comes first.
#[derive(Debug)]
pub(super) struct Heap<T> {
    entries: Vec<Entry<T>>,
    /// The first entry was taken already.
    is_hollow: bool,
}

impl<T: Copy> Heap<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), is_hollow: false }
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry<T>) {
        if self.is_hollow {
            self.is_hollow = false;
            self.sink(entry);
            return;
        }
        let mut place = self.entries.len();
        self.entries.push(entry);
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.entries[parent].key <= entry.key {
                break;
            }
            self.entries[place] = self.entries[parent];
            place = parent;
        }
        self.entries[place] = entry;
    }

    /// The least key; [`NEVER`] when there is none.
    #[inline]
    pub(super) fn first(&mut self) -> Key {
        if self.is_hollow {
            self.is_hollow = false;
            if let Some(last) = self.entries.pop()
                && !self.entries.is_empty()
            {
                self.sink(last);
            }
        }
        self.entries.first().map_or(NEVER, |entry| entry.key)
    }

    /// The entry with the least key.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Entry<T>> {
        self.first();
        let entry = self.entries.first().copied()?;
        self.is_hollow = true;
        Some(entry)
    }

    /// Puts an entry in place of the first, and lets it sink to where it belongs.
    #[inline]
    fn sink(&mut self, entry: Entry<T>) {
        let entries = self.entries.as_mut_slice();
        let mut place = 0;
        loop {
            let start = CHILDREN * place + 1;
            let child = match entries.get(start..) {
                Some([a, b, c, d, ..]) => {
                    let left = usize::from(b.key < a.key);
                    let right = 2 + usize::from(d.key < c.key);
                    let (left_key, right_key) = (a.key.min(b.key), c.key.min(d.key));
                    start + if right_key < left_key { right } else { left }
                }
                Some(few) => match (start..).zip(few).min_by_key(|(_, child)| child.key) {
                    Some((child, _)) => child,
                    None => break,
                },
                None => break,
            };
            if entries[child].key >= entry.key {
                break;
            }
            entries[place] = entries[child];
            place = child;
        }
        entries[place] = entry;
    }
}
