//! What is to happen: events in the order of `(time, sequence)`.
//!
//! Most events of a simulation come in the order in which they were scheduled among their like: timeouts and
//! the network a fixed delay after now, arrivals one after the other. A first-in first-out *lane* holds those of
//! a kind in O(1); only the rest needs the heap. Both give one order.

mod heap;

use std::collections::VecDeque;

use self::heap::{Entry, Heap, Key, NEVER};

/// Events of type `T` by the time, in nanoseconds, at which they are due.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: Heap<T>,
    lanes: Vec<Lane<T>>,
    /// No lane has an earlier event. The lane that had it when it was found stands beside it, and may have dropped
    /// it since.
    earliest: (Key, usize),
    sequence: u64,
    now: u64,
}

#[derive(Debug)]
struct Lane<T> {
    /// None: events say themselves when they come.
    delay: Option<u64>,
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
    pub(super) fn new() -> Self {
        Self { heap: Heap::new(), lanes: Vec::new(), earliest: (NEVER, 0), sequence: 0, now: 0 }
    }

    /// A lane for events that come `delay` after they are scheduled.
    pub(super) fn lane(&mut self, delay: u64) -> LaneId {
        let same = self.lanes.iter().position(|lane| lane.delay == Some(delay));
        same.map_or_else(|| self.add_lane(Some(delay)), LaneId)
    }

    /// A lane for events of which none comes before one that was scheduled earlier.
    pub(super) fn ordered_lane(&mut self) -> LaneId {
        self.add_lane(None)
    }

    fn add_lane(&mut self, delay: Option<u64>) -> LaneId {
        self.lanes.push(Lane { delay, entries: VecDeque::new() });
        LaneId(self.lanes.len() - 1)
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
        let delay = self.lanes[lane.0].delay.unwrap_or(0);
        let entry = Entry { key: self.next_key(self.now.saturating_add(delay)), what };
        self.line_up(lane, entry);
    }

    /// Schedules an event in an ordered lane.
    #[inline]
    pub(super) fn in_order(&mut self, lane: LaneId, at: u64, what: T) {
        let entry = Entry { key: self.next_key(at), what };
        debug_assert!(self.lanes[lane.0].entries.back().is_none_or(|last| last.key < entry.key));
        self.line_up(lane, entry);
    }

    #[inline]
    fn line_up(&mut self, lane: LaneId, entry: Entry<T>) {
        let entries = &mut self.lanes[lane.0].entries;
        // Behind another one it is not the earliest.
        if entries.is_empty() && entry.key < self.earliest.0 {
            self.earliest = (entry.key, lane.0);
        }
        entries.push_back(entry);
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
        let first = self.heap.first();
        while self.earliest.0 <= first && self.earliest.0 < NEVER {
            let (key, place) = self.earliest;
            let lane = &mut self.lanes[place];
            let entry = if lane.first() == key { lane.entries.pop_front() } else { None };
            self.look_for_earliest();
            if let Some(entry) = entry {
                return Some(self.go_on_to(entry));
            }
        }
        let entry = self.heap.take()?;
        Some(self.go_on_to(entry))
    }

    #[inline]
    fn go_on_to(&mut self, entry: Entry<T>) -> T {
        self.now = (entry.key >> 64) as u64;
        entry.what
    }

    #[inline]
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
        let mut queue = Queue::new();
        let lanes = [queue.lane(5), queue.lane(100), queue.lane(0)];
        let delays = [5, 100, 0];
        let ordered = queue.ordered_lane();
        let mut prng = Prng::new(1);
        let (mut scheduled, mut taken) = (Vec::new(), Vec::new());
        let mut last = 0;
        for id in 0..5000u64 {
            let now = queue.now();
            match prng.below(7) {
                lane @ 0..3 => {
                    queue.after(lanes[lane as usize], id);
                    scheduled.push((now + delays[lane as usize], id));
                }
                3 => {
                    last = now.max(last) + prng.below(9);
                    queue.in_order(ordered, last, id);
                    scheduled.push((last, id));
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
                taken.push((queue.now(), id));
            }
        }
        while let Some(id) = queue.pop() {
            taken.push((queue.now(), id));
        }
        scheduled.sort_unstable();
        assert_eq!(taken, scheduled);
    }

    #[test]
    fn lanes_of_one_delay_are_one_and_the_dead_are_dropped() {
        let mut queue = Queue::new();
        let (a, b) = (queue.lane(7), queue.lane(7));
        (0..4).for_each(|id| queue.after(if id % 2 == 0 { a } else { b }, id));
        queue.trim(a, |&id| id < 3);
        assert_eq!((queue.pop(), queue.now(), queue.pop()), (Some(3), 7, None));
    }

    /// The earliest event of all lanes is dropped: the next one is that of another lane, or of the heap.
    #[test]
    fn what_was_the_earliest_may_be_dropped() {
        let mut queue = Queue::new();
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
