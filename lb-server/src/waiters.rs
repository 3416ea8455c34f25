//! Requests that wait in a pool's queue, and how they are woken: on whichever thread a slot becomes free.

use std::{collections::HashMap, sync::Mutex, task::Waker};

use lb_core::pool::WaiterId;

use crate::snapshot::lock;

/// The wakers of a pool's waiters. Who waits registers first and asks the pool then, so that no grant falls in
/// between.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<WaiterId, Waker>>);

impl Waiters {
    /// Has `waker` woken when there is news for `id`.
    pub(crate) fn register(&self, id: WaiterId, waker: &Waker) {
        lock(&self.0).entry(id).and_modify(|known| known.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    /// Nobody waits under this id any longer.
    pub(crate) fn forget(&self, id: WaiterId) {
        lock(&self.0).remove(&id);
    }

    /// Wakes those that are registered. The others have not asked yet, and will.
    pub(crate) fn wake(&self, ids: &[WaiterId]) {
        for id in ids {
            let waker = lock(&self.0).remove(id);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
