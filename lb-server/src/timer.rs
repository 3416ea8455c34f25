//! Coarse deadlines for many connections: one wheel for each worker, no timer of the runtime's for
//! each request.
//!
//! A [`Timer`] is made once for each connection and set again and again. Moving a deadline into the
//! future, which is what nearly every request does, only stores a number: the wheel finds out when the
//! old slot comes up. Deadlines are kept to the tick above them (10 ms), never fire early, and fire at
//! most a tick late.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use lb_core::time::Instant;
use slab::Slab;
use tokio::sync::Notify;

use crate::clock::Clock;

const TICK_NANOS: u64 = 10_000_000;
/// Slots of the wheel: deadlines further away than 10 s are looked at once a turn.
const SLOTS: u64 = 1024;
const NEVER: u64 = u64::MAX;

/// A worker's deadlines. Driven by [`Wheel::run`].
pub(crate) struct Wheel {
    clock: Clock,
    inner: RefCell<Inner>,
    /// Told when a deadline comes before the one that the driver sleeps for.
    earlier: Notify,
}

struct Inner {
    entries: Slab<Entry>,
    slots: Vec<Vec<usize>>,
    /// Every tick up to this one has been handled.
    handled: u64,
    /// The tick that the driver sleeps for.
    asleep_until: u64,
}

struct Entry {
    /// When to fire, as a tick; `NEVER` when off.
    due: u64,
    /// The tick in whose slot this entry stands; `NEVER` when in none.
    queued: u64,
    fired: bool,
    /// Its timer is gone; the entry goes when its slot comes up.
    dropped: bool,
    waker: Option<Waker>,
}

impl Wheel {
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        let handled = clock.now().as_nanos() / TICK_NANOS;
        Rc::new(Self {
            clock,
            inner: RefCell::new(Inner {
                entries: Slab::new(),
                slots: vec![Vec::new(); SLOTS as usize],
                handled,
                asleep_until: NEVER,
            }),
            earlier: Notify::new(),
        })
    }

    /// A timer that is off.
    pub(crate) fn timer(self: &Rc<Self>) -> Timer {
        let key = self.inner.borrow_mut().entries.insert(Entry {
            due: NEVER,
            queued: NEVER,
            fired: false,
            dropped: false,
            waker: None,
        });
        Timer { wheel: Rc::clone(self), key }
    }

    /// Fires what is due, for ever. Sleeps as long as nothing is.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let now = self.clock.now().as_nanos();
            let next = self.inner.borrow_mut().advance(now / TICK_NANOS);
            if next == NEVER {
                self.earlier.notified().await;
                continue;
            }
            let wait = Duration::from_nanos((next * TICK_NANOS).saturating_sub(now));
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}

impl Inner {
    fn queue(&mut self, key: usize) {
        let entry = &mut self.entries[key];
        let tick = entry.due.clamp(self.handled + 1, self.handled + SLOTS - 1);
        entry.queued = tick;
        self.slots[(tick % SLOTS) as usize].push(key);
    }

    /// Handles all ticks up to `now`, and gives the next one that has anything in its slot.
    fn advance(&mut self, now: u64) -> u64 {
        // After a long pause each slot needs to be seen only once.
        let first = (self.handled + 1).max((now + 1).saturating_sub(SLOTS));
        for tick in first..=now {
            let mut keys = std::mem::take(&mut self.slots[(tick % SLOTS) as usize]);
            self.handled = tick;
            for key in keys.drain(..) {
                self.handle(key, tick);
            }
            let slot = &mut self.slots[(tick % SLOTS) as usize];
            if slot.is_empty() {
                *slot = keys;
            }
        }
        self.handled = self.handled.max(now);
        self.asleep_until = (self.handled + 1..self.handled + SLOTS)
            .find(|tick| !self.slots[(tick % SLOTS) as usize].is_empty())
            .unwrap_or(NEVER);
        self.asleep_until
    }

    fn handle(&mut self, key: usize, tick: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.queued > tick {
            return; // a second, earlier place of an entry that stands in this slot for a later turn
        }
        entry.queued = NEVER;
        if entry.dropped {
            self.entries.remove(key);
        } else if entry.due <= tick {
            entry.due = NEVER;
            entry.fired = true;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        } else if entry.due != NEVER {
            self.queue(key);
        }
    }
}

/// One deadline that can be moved. Off when made.
pub(crate) struct Timer {
    wheel: Rc<Wheel>,
    key: usize,
}

impl Timer {
    /// Fires at `at` instead of whenever it would have.
    pub(crate) fn set(&self, at: Instant) {
        let due = at.as_nanos().div_ceil(TICK_NANOS);
        let mut inner = self.wheel.inner.borrow_mut();
        let entry = &mut inner.entries[self.key];
        entry.due = due;
        entry.fired = false;
        if entry.queued <= due {
            return; // its slot comes first, and will find the new deadline
        }
        inner.queue(self.key);
        if inner.entries[self.key].queued < inner.asleep_until {
            self.wheel.earlier.notify_one();
        }
    }

    /// Does not fire any more.
    pub(crate) fn clear(&self) {
        let mut inner = self.wheel.inner.borrow_mut();
        let entry = &mut inner.entries[self.key];
        entry.due = NEVER;
        entry.fired = false;
    }

    /// Ready once the deadline that was last set has passed.
    pub(crate) fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.wheel.inner.borrow_mut();
        let entry = &mut inner.entries[self.key];
        if entry.fired {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut inner = self.wheel.inner.borrow_mut();
        let entry = &mut inner.entries[self.key];
        entry.waker = None;
        if entry.queued == NEVER {
            inner.entries.remove(self.key);
        } else {
            entry.dropped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(tick: u64) -> Instant {
        Instant::from_nanos(tick * TICK_NANOS)
    }

    fn fired(timer: &Timer) -> bool {
        timer.poll_fired(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_deadline_fires_at_its_tick_and_wakes() {
        let wheel = Wheel::new(Clock::start());
        let timer = wheel.timer();
        timer.set(Instant::from_nanos(5 * TICK_NANOS - 1));
        let woken = Arc::new(Woken::default());
        assert!(timer.poll_fired(&mut Context::from_waker(&Arc::clone(&woken).into())).is_pending());
        assert_eq!(wheel.inner.borrow_mut().advance(4), 5);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert_eq!(wheel.inner.borrow_mut().advance(5), NEVER);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(fired(&timer));
        timer.set(at(9));
        assert!(!fired(&timer), "set again, it waits again");
    }

    #[test]
    fn a_deadline_beyond_a_turn_of_the_wheel_waits_for_its_time() {
        let wheel = Wheel::new(Clock::start());
        let timer = wheel.timer();
        timer.set(at(3 * SLOTS));
        for tick in 1..3 * SLOTS {
            wheel.inner.borrow_mut().advance(tick);
            assert!(!fired(&timer), "tick {tick}");
        }
        wheel.inner.borrow_mut().advance(3 * SLOTS);
        assert!(fired(&timer));
    }

    #[test]
    fn a_dropped_timer_leaves_nothing_behind() {
        let wheel = Wheel::new(Clock::start());
        for due in [3, 2 * SLOTS, 7] {
            let timer = wheel.timer();
            timer.set(at(due));
        }
        drop(wheel.timer());
        wheel.inner.borrow_mut().advance(4 * SLOTS);
        let inner = wheel.inner.borrow();
        assert!(inner.entries.is_empty() && inner.slots.iter().all(Vec::is_empty));
    }

    proptest! {
        /// The oracle is a map from timer to deadline, looked through at every step.
        #[test]
        fn the_wheel_is_a_map_of_deadlines(
            steps in prop::collection::vec((0..6usize, 0..4u8, 0..3000u64), 1..200),
        ) {
            let wheel = Wheel::new(Clock::start());
            let mut timers: Vec<Timer> = (0..6).map(|_| wheel.timer()).collect();
            let mut expected: BTreeMap<usize, u64> = BTreeMap::new();
            let mut now = wheel.inner.borrow().handled;
            for (index, action, value) in steps {
                match action {
                    0 | 1 => {
                        timers[index].set(at(now + value));
                        expected.insert(index, now + value);
                    }
                    2 if value % 3 == 0 => {
                        timers[index] = wheel.timer();
                        expected.remove(&index);
                    }
                    2 => {
                        timers[index].clear();
                        expected.remove(&index);
                    }
                    _ => {
                        now += 1 + value % 700;
                        wheel.inner.borrow_mut().advance(now);
                        for (index, timer) in timers.iter().enumerate() {
                            let due = expected.get(&index).is_some_and(|due| *due <= now);
                            prop_assert_eq!(fired(timer), due, "timer {} at {}", index, now);
                        }
                    }
                }
            }
        }
    }
}
