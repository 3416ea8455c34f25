//! What is to happen: events in the order of `(time, sequence)`.
//!
//! Most events of a simulation come a fixed delay after now: timeouts, the network. Those that share a
//! delay come in the order in which they were scheduled, so a first-in first-out *lane* holds them in
//! O(1). Of arrivals there is only ever the next one, which has a place of its own. Only the rest needs the heap.
//! All of them give one order.

mod heap;

use std::collections::VecDeque;

use self::heap::{Entry, Heap, Key, NEVER};

/// Events of type `T` by the time, in nanoseconds, at which they are due.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: Heap<T>,
    lanes: Vec<Lane<T>>,
    /// The one event that has a place of its own, while it is scheduled.
    single: Entry<T>,
    /// No lane has an earlier event. The lane that had it when it was found stands beside it, and may have dropped
    /// it since.
    earliest: (Key, usize),
    sequence: u64,
    now: u64,
}

#[derive(Debug)]
struct Lane<T> {
    delay: u64,
    entries: VecDeque<Entry<T>>,
}

impl<T> Lane<T> {
    fn first(&self) -> Key {
        self.entries.front().map_or(NEVER, |entry| entry.key)
    }
}

/// A lane of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneId(usize);

impl<T: Copy> Queue<T> {
    /// `single` is what [`Queue::next_single`] schedules.
    pub(super) fn new(single: T) -> Self {
        Self {
            heap: Heap::new(),
            lanes: Vec::new(),
            single: Entry { key: NEVER, what: single },
            earliest: (NEVER, 0),
            sequence: 0,
            now: 0,
        }
    }

    /// A lane for events that come `delay` after they are scheduled.
    pub(super) fn lane(&mut self, delay: u64) -> LaneId {
        let place = self.lanes.iter().position(|lane| lane.delay == delay).unwrap_or_else(|| {
            self.lanes.push(Lane { delay, entries: VecDeque::new() });
            self.lanes.len() - 1
        });
        LaneId(place)
    }

    /// The time of the event that was taken last.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Schedules an event; what is due in the past comes now.
    #[inline]
    pub(super) fn at(&mut self, at: u64, what: T) {
        let entry = Entry { key: self.next_key(at), what };
        self.heap.push(entry);
    }

    /// Schedules an event that comes the lane's delay after now.
    #[inline]
    pub(super) fn after(&mut self, lane: LaneId, what: T) {
        let key = self.next_key(self.now.saturating_add(self.lanes[lane.0].delay));
        let entries = &mut self.lanes[lane.0].entries;
        // Behind another one it is not the earliest.
        if entries.is_empty() && key < self.earliest.0 {
            self.earliest = (key, lane.0);
        }
        entries.push_back(Entry { key, what });
    }

    /// Schedules the one event that has a place of its own; it is not scheduled now.
    #[inline]
    pub(super) fn next_single(&mut self, at: u64) {
        debug_assert_eq!(self.single.key, NEVER);
        self.single.key = self.next_key(at);
    }

    /// Drops the events at the front of a lane that have become `dead`, so that timeouts of what is over
    /// do not pile up.
    #[inline]
    pub(super) fn trim(&mut self, lane: LaneId, dead: impl Fn(&T) -> bool) {
        let entries = &mut self.lanes[lane.0].entries;
        while entries.front().is_some_and(|entry| dead(&entry.what)) {
            entries.pop_front();
        }
    }

    /// The next event; time goes on to it.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.heap.first().min(self.single.key);
        while self.earliest.0 <= first && self.earliest.0 < NEVER {
            let (key, place) = self.earliest;
            let lane = &mut self.lanes[place];
            let entry = if lane.first() == key { lane.entries.pop_front() } else { None };
            self.look_for_earliest();
            if let Some(entry) = entry {
                return Some(self.go_on_to(entry));
            }
        }
        if self.single.key == first && first < NEVER {
            let entry = self.single;
            self.single.key = NEVER;
            return Some(self.go_on_to(entry));
        }
        let entry = self.heap.take()?;
        Some(self.go_on_to(entry))
    }

    #[inline]
    fn go_on_to(&mut self, entry: Entry<T>) -> T {
        self.now = (entry.key >> 64) as u64;
        entry.what
    }

    fn look_for_earliest(&mut self) {
        self.earliest = (NEVER, 0);
        for (place, lane) in self.lanes.iter().enumerate() {
            let first = lane.first();
            if first < self.earliest.0 {
                self.earliest = (first, place);
            }
        }
    }

    #[inline]
    fn next_key(&mut self, at: u64) -> Key {
        self.sequence += 1;
        Key::from(at.max(self.now)) << 64 | Key::from(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use lb_core::prng::Prng;

    use super::*;

    /// Oracle: all events, sorted by time, then by the order in which they were scheduled.
    #[test]
    fn heap_and_lanes_give_one_order() {
        const SINGLE: u64 = 1 << 40;
        let mut queue = Queue::new(SINGLE);
        let lanes = [queue.lane(5), queue.lane(100), queue.lane(0)];
        let delays = [5, 100, 0];
        let mut prng = Prng::new(1);
        let (mut scheduled, mut taken) = (Vec::new(), Vec::new());
        let mut single = None;
        for id in 0..5000u64 {
            let now = queue.now();
            match prng.below(7) {
                lane @ 0..3 => {
                    queue.after(lanes[lane as usize], id);
                    scheduled.push((now + delays[lane as usize], id));
                }
                3 if single.is_none() => {
                    let at = now + prng.below(9);
                    queue.next_single(at);
                    scheduled.push((at, id));
                    single = Some(id);
                }
                _ => {
                    let at = now + prng.below(50);
                    queue.at(at, id);
                    scheduled.push((at, id));
                }
            }
            if prng.below(3) > 0
                && let Some(id) = queue.pop()
            {
                let id = if id == SINGLE { single.take().unwrap() } else { id };
                taken.push((queue.now(), id));
            }
        }
        while let Some(id) = queue.pop() {
            let id = if id == SINGLE { single.take().unwrap() } else { id };
            taken.push((queue.now(), id));
        }
        scheduled.sort_unstable();
        assert_eq!(taken, scheduled);
    }

    #[test]
    fn lanes_of_one_delay_are_one_and_the_dead_are_dropped() {
        let mut queue = Queue::new(9);
        let (a, b) = (queue.lane(7), queue.lane(7));
        (0..4).for_each(|id| queue.after(if id % 2 == 0 { a } else { b }, id));
        queue.trim(a, |&id| id < 3);
        assert_eq!((queue.pop(), queue.now(), queue.pop()), (Some(3), 7, None));
    }

    /// The earliest event of all lanes is dropped: the next one is that of another lane, or of the heap.
    #[test]
    fn what_was_the_earliest_may_be_dropped() {
        let mut queue = Queue::new('z');
        let (soon, late) = (queue.lane(5), queue.lane(9));
        queue.after(soon, 'a');
        queue.after(late, 'b');
        queue.at(7, 'c');
        queue.trim(soon, |_| true);
        queue.at(8, 'd');
        queue.after(soon, 'e');
        let order: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((order.as_str(), queue.now()), ("ecdb", 9));
    }
}
