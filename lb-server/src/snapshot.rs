//! What the server runs at one moment: a compiled plan, the pools' state, and what the plan's texts
//! become in terms of the HTTP library. Requests take a snapshot at their start and keep it; a reload
//! puts a new one in its place.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderName, HeaderValue, header};
use lb_core::{
    config::{self, Valid},
    exchange::PoolHandle,
    limiter::Limiter,
    limits,
    plan::{Plan, PoolId, PoolPlan, RouteId},
    pool::{Pool, Transition, WaiterId},
    prng::Prng,
};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    observer::Observers,
    session_cookies::{SessionCookies, SessionKeys},
    upstream::write_field,
    waiters::Waiters,
};

/// A plan and all state that belongs to it.
pub(crate) struct Snapshot {
    pub(crate) plan: Plan,
    pools: Vec<SharedPool>,
    /// Of the pools with sticky sessions.
    sessions: Vec<Option<SessionCookies>>,
    routes: Vec<RouteEdits>,
    pub(crate) limiter: Arc<Mutex<Limiter>>,
}

impl Snapshot {
    /// The first snapshot of a server, or the one after `previous`: pools whose names stay keep their
    /// state, and so does the rate limiter.
    pub(crate) fn new(
        valid: &Valid,
        previous: Option<&Self>,
        clock: Clock,
        prng: &mut Prng,
        observers: &Observers,
        keys: &SessionKeys,
    ) -> Self {
        let plan = Plan::compile(valid);
        let mut kept: BTreeMap<&str, &SharedPool> = BTreeMap::new();
        for pool in previous.iter().flat_map(|previous| &previous.pools) {
            kept.insert(&pool.name, pool);
        }
        let now = clock.now();
        let pools: Vec<SharedPool> = plan
            .pools()
            .iter()
            .map(|planned| match kept.get(&*planned.name) {
                Some(&pool) => {
                    pool.with(|state| state.reconfigure(&planned.config, now));
                    pool.changed.notify_one();
                    SharedPool::clone(pool)
                }
                None => SharedPool(Arc::new(PoolCell {
                    name: Arc::clone(&planned.name),
                    state: Mutex::new(Pool::new(
                        Arc::clone(&planned.name),
                        &planned.config,
                        prng.fork(0),
                        now,
                    )),
                    changed: Notify::new(),
                    waiters: Waiters::default(),
                    observers: observers.clone(),
                })),
            })
            .collect();
        let cookies = |planned: &PoolPlan| {
            let sticky = planned.config.sticky.as_ref()?;
            Some(SessionCookies::new(sticky, keys.of(&planned.name)?, &planned.name))
        };
        let sessions: Vec<Option<SessionCookies>> = plan.pools().iter().map(cookies).collect();
        for (pool, cookies) in pools.iter().zip(&sessions) {
            pool.with(|state| state.set_signer(cookies.as_ref().map(|cookies| cookies.signer.clone()), now));
        }
        let routes = plan
            .routes()
            .iter()
            .map(|route| RouteEdits {
                request: HeaderEdits::compile(route.request.headers()),
                response: HeaderEdits::compile(&route.response),
            })
            .collect();
        let limiter = previous.map_or_else(
            || Arc::new(Mutex::new(Limiter::with_seed(limits::RATE_LIMIT_KEYS_MAX, prng.next_u64()))),
            |previous| Arc::clone(&previous.limiter),
        );
        Self { plan, pools, sessions, routes, limiter }
    }

    pub(crate) fn pool(&self, id: PoolId) -> &SharedPool {
        &self.pools[id.0 as usize]
    }

    /// The sticky sessions of a pool, if it has any.
    pub(crate) fn sessions(&self, id: PoolId) -> Option<&SessionCookies> {
        self.sessions[id.0 as usize].as_ref()
    }

    pub(crate) fn pools(&self) -> &[SharedPool] {
        &self.pools
    }

    pub(crate) fn edits(&self, id: RouteId) -> &RouteEdits {
        &self.routes[id.0 as usize]
    }
}

/// A pool that workers, checks and reloads share. Its lock is short and never held across an await.
#[derive(Clone)]
pub(crate) struct SharedPool(Arc<PoolCell>);

pub(crate) struct PoolCell {
    pub(crate) name: Arc<str>,
    state: Mutex<Pool>,
    /// Told when the pool's next wake may have moved.
    pub(crate) changed: Notify,
    /// Who waits for a slot.
    pub(crate) waiters: Waiters,
    observers: Observers,
}

impl std::ops::Deref for SharedPool {
    type Target = PoolCell;

    fn deref(&self) -> &PoolCell {
        &self.0
    }
}

impl PoolHandle for SharedPool {
    fn with<R>(&self, f: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pool = lock(&self.state);
        let result = f(&mut pool);
        if pool.has_probes() {
            self.changed.notify_one();
        }
        if pool.has_transitions() || pool.has_woken() {
            let transitions: Vec<Transition> = std::iter::from_fn(|| pool.poll_transition()).collect();
            let woken: Vec<WaiterId> = std::iter::from_fn(|| pool.poll_woken()).collect();
            drop(pool);
            self.waiters.wake(&woken);
            if !transitions.is_empty() {
                self.changed.notify_one();
            }
            for transition in &transitions {
                self.observers.transition(&self.name, transition);
            }
        }
        result
    }
}

/// Locks, also after another thread panicked while it held the lock: the data are counters and
/// verdicts that stay meaningful.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A route's header edits, ready for the HTTP library.
pub(crate) struct RouteEdits {
    pub(crate) request: HeaderEdits,
    pub(crate) response: HeaderEdits,
}

/// No edits: those of a request that has no route.
pub(crate) static NO_EDITS: HeaderEdits =
    HeaderEdits { dropped: Vec::new(), lengths: 0, added: Vec::new(), adds_date: false };

/// First remove, then set, then append.
pub(crate) struct HeaderEdits {
    /// The names, in lower case, of which a message's own fields are dropped: those that are removed or set.
    dropped: Vec<HeaderName>,
    /// A bit for the length of each of them, the last for all longer ones: it tells most other names apart.
    lengths: u64,
    /// The lines of what is set and appended, each with its end.
    added: Vec<u8>,
    /// A Date is among them.
    adds_date: bool,
}

impl HeaderEdits {
    pub(crate) fn compile(edits: &config::HeaderEdits) -> Self {
        // Names and values were validated by the same rules as the HTTP library's; what it still would
        // not take is left out rather than ending the server.
        let pair = |(name, value): &(String, String)| -> Option<(HeaderName, HeaderValue)> {
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        };
        let set: Vec<_> = edits.set.iter().filter_map(pair).collect();
        let mut dropped: Vec<HeaderName> = edits.remove.iter().filter_map(|name| name.parse().ok()).collect();
        dropped.extend(set.iter().map(|(name, _)| name.clone()));
        let lengths = dropped.iter().fold(0, |lengths, name| lengths | length_bit(name.as_str().len()));
        let (mut added, mut adds_date) = (Vec::new(), false);
        for (name, value) in set.into_iter().chain(edits.append.iter().filter_map(pair)) {
            adds_date |= name == header::DATE;
            write_field(&mut added, name.as_str(), value.as_bytes());
        }
        Self { dropped, lengths, added, adds_date }
    }

    /// Whether any field that a message brings may be dropped: nothing else need be asked where not.
    pub(crate) fn drops_any(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Whether the fields of this name, in any case, that a message brings are dropped.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name.len()) != 0
            && self.dropped.iter().any(|dropped| dropped.as_str().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The lines of the fields that are added, in their order.
    pub(crate) fn added(&self) -> &[u8] {
        &self.added
    }

    /// Whether a Date is added.
    pub(crate) fn adds_date(&self) -> bool {
        self.adds_date
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}
