//! What is to happen: events in the order of `(time, sequence)`.
//!
//! Most events of a simulation come a fixed delay after now: timeouts, the network. Those that share a
//! delay come in the order in which they were scheduled, so a first-in first-out *lane* holds them in
//! O(1); only the rest needs the heap. Both give one order.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
};

/// Events of type `T` by the time, in nanoseconds, at which they are due.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    lanes: Vec<Lane<T>>,
    sequence: u64,
    now: u64,
}

#[derive(Debug)]
struct Lane<T> {
    delay: u64,
    entries: VecDeque<Entry<T>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    at: u64,
    sequence: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (u64, u64) {
        (self.at, self.sequence)
    }
}

/// The other way round, for the heap gives the greatest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

/// A lane of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneId(usize);

impl<T: Copy> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), lanes: Vec::new(), sequence: 0, now: 0 }
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
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Schedules an event; what is due in the past comes now.
    pub(super) fn at(&mut self, at: u64, what: T) {
        let entry = Entry { at: at.max(self.now), sequence: self.next_sequence(), what };
        self.heap.push(entry);
    }

    /// Schedules an event that comes the lane's delay after now.
    pub(super) fn after(&mut self, lane: LaneId, what: T) {
        let sequence = self.next_sequence();
        let lane = &mut self.lanes[lane.0];
        lane.entries.push_back(Entry { at: self.now.saturating_add(lane.delay), sequence, what });
    }

    /// Drops the events at the front of a lane that have become `dead`, so that timeouts of what is over
    /// do not pile up.
    pub(super) fn trim(&mut self, lane: LaneId, dead: impl Fn(&T) -> bool) {
        let entries = &mut self.lanes[lane.0].entries;
        while entries.front().is_some_and(|entry| dead(&entry.what)) {
            entries.pop_front();
        }
    }

    /// The next event; time goes on to it.
    pub(super) fn pop(&mut self) -> Option<T> {
        let mut best = self.heap.peek().map_or((u64::MAX, u64::MAX), Entry::key);
        let mut from = None;
        for (place, lane) in self.lanes.iter().enumerate() {
            if let Some(front) = lane.entries.front().filter(|front| front.key() < best) {
                (best, from) = (front.key(), Some(place));
            }
        }
        let entry = match from {
            Some(place) => self.lanes[place].entries.pop_front(),
            None => self.heap.pop(),
        }?;
        self.now = entry.at;
        Some(entry.what)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
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
        let mut prng = Prng::new(1);
        let (mut scheduled, mut taken) = (Vec::new(), Vec::new());
        for id in 0..5000u64 {
            let now = queue.now();
            match prng.below(5) {
                lane @ 0..3 => {
                    queue.after(lanes[lane as usize], id);
                    scheduled.push((now + delays[lane as usize], id));
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
}
