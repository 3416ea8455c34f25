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
