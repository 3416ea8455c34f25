//! A balancer of the simulation: a pool of lb-core with its checks and timers, as the server drives it.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc};

use lb_core::{
    config::{self, AdminState, BackendAddress},
    health::{self, CheckFailure},
    pool::{Change, EndpointId, Pool, ProbeAnswer, WaiterId},
    prng::Prng,
    time::{Instant, nanos},
};

use super::{
    fault::Condition,
    model::{Backend, Model},
    probe::{Probe, Stage},
};

/// Looks at a backend that stands still, in parts of the check's timeout.
const LOOKS_PER_CHECK: u64 = 20;

pub(super) struct Balancer {
    pub(super) pool: Rc<RefCell<Pool>>,
    /// The requests in its queue, with the serials of their waits.
    pub(super) waiters: BTreeMap<WaiterId, (u32, u64)>,
    /// When the next wake-up is scheduled.
    wake: u64,
}

/// A check that is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) balancer: u32,
    pub(super) backend: u32,
    endpoint: EndpointId,
    /// When it counts as failed.
    by: u64,
}

/// What a pool wants of the world.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Checks to make.
    pub(super) checks: Vec<Check>,
    /// Probes to send.
    pub(super) probes: Vec<Probe>,
    /// When to be woken, if that is not scheduled yet.
    pub(super) wake: Option<u64>,
    /// The requests of its queue that have news, with the serials of their waits.
    pub(super) turns: Vec<(u32, u64)>,
    /// What it noticed.
    pub(super) changes: Vec<(u32, Change)>,
}

/// What a look at a check came to.
pub(super) enum Look {
    Done(Result<(), CheckFailure>),
    /// Look again then.
    Again(u64),
}

impl Balancer {
    pub(super) fn new(model: &Model, prng: Prng) -> Self {
        let config = config::Pool {
            backends: (0..).zip(&model.backends).map(|(index, backend)| configured(index, backend)).collect(),
            ..model.pool.clone()
        };
        let pool = Pool::new("simulated".into(), &config, prng, Instant::ZERO);
        Self { pool: Rc::new(RefCell::new(pool)), waiters: BTreeMap::new(), wake: u64::MAX }
    }

    /// Whether there may be something to do: to be asked after each call to the pool.
    #[inline]
    pub(super) fn wants(&self) -> bool {
        self.pool.borrow().wants(Instant::from_nanos(self.wake))
    }

    /// Does what time asks for, and says what else is to be done.
    pub(super) fn serve(&mut self, index: u32, now: u64, wishes: &mut Wishes) {
        let mut pool = self.pool.borrow_mut();
        let at = Instant::from_nanos(now);
        if pool.next_wake().is_some_and(|due| due <= at) {
            pool.wake(at);
            while let Some(check) = pool.poll_check(at) {
                let by = pool.config().health_check.as_ref().map_or(0, |check| nanos(check.timeout));
                wishes.checks.push(Check {
                    balancer: index,
                    backend: backend_at(check.addr),
                    endpoint: check.endpoint,
                    by: now.saturating_add(by),
                });
            }
        }
        while let Some(probe) = pool.poll_probe() {
            wishes.probes.push(Probe {
                balancer: index,
                backend: backend_at(probe.addr),
                endpoint: probe.endpoint,
                by: now.saturating_add(nanos(pool.config().prequal.timeout)),
                stage: Stage::Sent,
            });
        }
        while let Some(id) = pool.poll_woken() {
            wishes.turns.extend(self.waiters.get(&id));
        }
        while let Some(transition) = pool.poll_transition() {
            wishes.changes.push((backend_at(transition.addr), transition.change));
        }
        if let Some(next) = pool.next_wake().map(Instant::as_nanos).filter(|&next| next < self.wake) {
            self.wake = next.max(now + 1);
            wishes.wake = Some(self.wake);
        }
    }

    /// The wake-up that was scheduled is there, unless an earlier one came in its place.
    pub(super) fn woken(&mut self, now: u64) {
        if now >= self.wake {
            self.wake = u64::MAX;
        }
    }

    /// Looks how a check does at a backend in this condition.
    pub(super) fn look(&self, check: &Check, condition: &Condition, now: u64) -> Look {
        let pool = self.pool.borrow();
        let Some(config) = pool.config().health_check.as_ref() else { return Look::Done(Ok(())) };
        if now >= check.by {
            return Look::Done(Err(CheckFailure::Timeout));
        }
        if condition.refuses {
            return Look::Done(Err(CheckFailure::Connect));
        }
        if condition.speed == 0 || condition.unreachable {
            let step = (nanos(config.timeout) / LOOKS_PER_CHECK).max(1);
            return Look::Again((now + step).min(check.by));
        }
        let usual = config.expect_status.first().map_or(200, |range| range.first);
        let failing = condition.failing.filter(|failing| failing.seen_by_checks);
        Look::Done(health::judge(config, failing.map_or(usual, |failing| failing.status)))
    }

    pub(super) fn on_check(&mut self, check: &Check, result: Result<(), CheckFailure>, now: u64) {
        self.pool.borrow_mut().on_check(check.endpoint, result, Instant::from_nanos(now));
    }

    pub(super) fn on_probe(&mut self, probe: &Probe, answer: Option<ProbeAnswer>, now: u64) {
        self.pool.borrow_mut().on_probe(probe.endpoint, answer, Instant::from_nanos(now));
    }

    /// An operator drains a backend, or makes it ready again.
    pub(super) fn drain(&mut self, backend: &Backend, drained: bool, now: u64) {
        let state = if drained { AdminState::Drain } else { AdminState::Ready };
        self.pool.borrow_mut().set_state(&backend.name, state, Instant::from_nanos(now));
    }
}

/// Where the backends are: at the addresses from here on.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 0, 0, 0]);

/// Backends get addresses of their own, which say their places in the model.
pub(super) fn configured(index: u32, backend: &Backend) -> config::Backend {
    let address = SocketAddr::from((FIRST_ADDRESS.wrapping_add(index).to_be_bytes(), 80));
    config::Backend {
        weight: backend.weight,
        priority: backend.priority,
        max_in_flight: backend.max_in_flight,
        ..config::Backend::at(BackendAddress::Ip(address), backend.name.to_string())
    }
}

/// The place of the backend with this address.
#[inline]
pub(super) fn backend_at(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => address.ip().to_bits().wrapping_sub(FIRST_ADDRESS),
        SocketAddr::V6(_) => u32::MAX,
    }
}

/// The error of a model whose backends cannot be told apart.
pub(super) fn names_are_unique(backends: &[Backend]) -> Result<(), Arc<str>> {
    let mut seen = std::collections::BTreeSet::new();
    match backends.iter().find(|backend| !seen.insert(&backend.name)) {
        Some(twice) => Err(twice.name.clone()),
        None => Ok(()),
    }
}
