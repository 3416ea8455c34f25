//! Any order of events against a model that only counts.

use alloc::{boxed::Box, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::config::{Maglev, RingHash};

/// One event. Numbers pick among what there is, modulo its count.
#[derive(Clone, Debug)]
enum Op {
    Pick { tried: usize },
    Finish { ticket: usize, outcome: usize },
    Wait { millis: u64 },
    Check { passes: bool },
    Surprise { endpoint: usize, passes: bool },
    State { backend: u16, state: usize },
    Reload { config: Box<config::Pool> },
    Resolve { ports: Vec<u16> },
}

const OUTCOMES: [Outcome; 8] = [
    Outcome::Success,
    Outcome::ServerError,
    Outcome::ConnectFailed,
    Outcome::Reset,
    Outcome::Timeout,
    Outcome::Invalid,
    Outcome::Cancelled,
    Outcome::Stale,
];
const STATES: [AdminState; 3] = [AdminState::Ready, AdminState::Drain, AdminState::Maint];

fn any_config() -> impl Strategy<Value = config::Pool> {
    let algorithm = prop::sample::select(&Algorithm::NAMED[..]).prop_map(|(_, algorithm)| algorithm);
    let backends = prop::collection::btree_map(1u16..8, (0u32..4, 0usize..6), 0..8);
    let outlier = (0u32..4, 0u32..=100);
    let check = prop::option::of((1u32..3, 1u32..3, any::<bool>()));
    (algorithm, backends, outlier, check, 0u64..5, any::<bool>()).prop_map(
        |(algorithm, backends, (consecutive_failures, max_ejected_percent), check, slow_start, name)| {
            let mut backends: Vec<Backend> = backends
                .into_iter()
                .map(|(port, (weight, state))| Backend {
                    weight,
                    state: STATES.get(state).copied().unwrap_or_default(),
                    ..backend(port)
                })
                .collect();
            backends.extend(name.then(|| named("kiwi")));
            let health_check = check.map(|(rise, fall, up)| HealthCheck {
                rise,
                fall,
                initial: if up { InitialHealth::Up } else { InitialHealth::Down },
                interval: Duration::from_secs(1),
                ..HealthCheck::default()
            });
            config::Pool {
                algorithm,
                backends,
                health_check,
                outlier: Outlier { consecutive_failures, max_ejected_percent, ..Outlier::default() },
                slow_start: config::SlowStart {
                    window: Duration::from_secs(slow_start),
                    ..config::SlowStart::default()
                },
                ring_hash: RingHash { points: 10, balance_factor: name.then_some(120) },
                maglev: Maglev { table_size: 251, balance_factor: name.then_some(120) },
                ..config::Pool::default()
            }
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0usize..8).prop_map(|tried| Op::Pick { tried }),
        20 => (any::<usize>(), 0usize..8).prop_map(|(ticket, outcome)| Op::Finish { ticket, outcome }),
        4 => (0u64..8000).prop_map(|millis| Op::Wait { millis }),
        6 => any::<bool>().prop_map(|passes| Op::Check { passes }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(endpoint, passes)| Op::Surprise { endpoint, passes }),
        2 => (1u16..8, 0usize..3).prop_map(|(backend, state)| Op::State { backend, state }),
        2 => any_config().prop_map(|config| Op::Reload { config: config.into() }),
        1 => prop::collection::vec(1u16..12, 0..4).prop_map(|ports| Op::Resolve { ports }),
    ]
}

struct Run {
    pool: Pool,
    now: Instant,
    tickets: Vec<Ticket>,
    checks: Vec<EndpointId>,
    /// Every endpoint that was ever picked, in order.
    picks: Vec<EndpointId>,
}

impl Run {
    fn new(config: &config::Pool, seed: u64) -> Self {
        let pool = Pool::new("fruit".into(), config, Prng::new(seed), Instant::ZERO);
        Self { pool, now: Instant::ZERO, tickets: Vec::new(), checks: Vec::new(), picks: Vec::new() }
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.now;
        match op {
            Op::Pick { tried } => self.pick(*tried)?,
            Op::Finish { ticket, outcome } if !self.tickets.is_empty() => {
                let ticket = self.tickets.swap_remove(ticket % self.tickets.len());
                self.pool.finish(ticket, OUTCOMES[*outcome], now);
            }
            Op::Finish { .. } => {}
            Op::Wait { millis } => {
                self.now = now + Duration::from_millis(*millis);
                self.pool.wake(self.now);
                if let Some(wake) = self.pool.next_wake() {
                    let check = self.pool.schedule.first().map(|&(at, _)| at);
                    prop_assert!(wake > self.now || check == Some(wake), "{wake:?} at {:?}", self.now);
                }
            }
            Op::Check { passes } => self.check(*passes)?,
            Op::Surprise { endpoint, passes } if !self.picks.is_empty() => {
                let id = self.picks[endpoint % self.picks.len()];
                self.pool.on_check(id, passes.then_some(()).ok_or(CheckFailure::Timeout), now);
            }
            Op::Surprise { .. } => {}
            Op::State { backend, state } => {
                self.pool.set_state(&format!("b{backend}"), STATES[*state], now);
            }
            Op::Reload { config } => self.pool.reconfigure(config, now),
            Op::Resolve { ports } => {
                let addresses: Vec<SocketAddr> = ports.iter().copied().map(addr).collect();
                self.pool.resolved("kiwi", 80, &addresses, now);
            }
        }
        self.assert_counts()
    }

    /// Only eligible ones are picked, the tried ones last, and none only when there is none.
    fn pick(&mut self, tried: usize) -> Result<(), TestCaseError> {
        self.pool.wake(self.now);
        let eligible: Vec<EndpointId> =
            self.pool.endpoints().filter(EndpointStatus::eligible).map(|status| status.endpoint).collect();
        let tried = &self.picks[self.picks.len().saturating_sub(tried)..];
        let fresh: Vec<EndpointId> = eligible.iter().copied().filter(|id| !tried.contains(id)).collect();
        match self.pool.pick(Ask { tried, key: None }, self.now) {
            None => prop_assert!(eligible.is_empty()),
            Some(ticket) => {
                let among = if fresh.is_empty() { &eligible } else { &fresh };
                prop_assert!(among.contains(&ticket.endpoint()));
                self.picks.push(ticket.endpoint());
                self.tickets.push(ticket);
            }
        }
        Ok(())
    }

    /// Makes the next check that is due, or answers the oldest one that is on.
    fn check(&mut self, passes: bool) -> Result<(), TestCaseError> {
        if let Some(check) = self.pool.poll_check(self.now) {
            let status = self.pool.endpoints().find(|status| status.endpoint == check.endpoint);
            prop_assert!(status.is_some_and(|status| status.state != AdminState::Maint));
            self.checks.push(check.endpoint);
        } else if !self.checks.is_empty() {
            let id = self.checks.remove(0);
            self.pool.on_check(id, passes.then_some(()).ok_or(CheckFailure::Connect), self.now);
        }
        Ok(())
    }

    fn assert_counts(&self) -> Result<(), TestCaseError> {
        let pool = &self.pool;
        prop_assert_eq!(pool.in_flight(), self.tickets.len() as u64);
        let (mut ejected, mut all) = (0, 0);
        for status in pool.endpoints() {
            let out = self.tickets.iter().filter(|ticket| ticket.endpoint() == status.endpoint).count();
            prop_assert_eq!(status.in_flight as usize, out);
            ejected += usize::from(status.ejected_until.is_some());
            all += 1;
        }
        prop_assert!(ejected * 100 <= all * pool.config().outlier.max_ejected_percent as usize);
        Ok(())
    }

    /// All tickets back: nothing is in flight, and no slot is lost.
    fn end(&mut self) -> Result<(), TestCaseError> {
        for ticket in core::mem::take(&mut self.tickets) {
            self.pool.finish(ticket, Outcome::Cancelled, self.now);
        }
        self.assert_counts()?;
        let members = (0..self.pool.slab.loads().len() as u32).filter_map(|slot| self.pool.slab.at(slot));
        prop_assert_eq!(members.count(), self.pool.endpoints().count());
        prop_assert!(self.pool.slab.loads().iter().all(|&load| load == 0));
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_the_counts_and_the_cap(
        config in any_config(), ops in prop::collection::vec(any_op(), 0..120), seed: u64,
    ) {
        let mut run = Run::new(&config, seed);
        let mut again = Run::new(&config, seed);
        for op in &ops {
            run.apply(op)?;
            again.apply(op)?;
        }
        prop_assert_eq!(&run.picks, &again.picks, "equal seeds and events, equal picks");
        let told = core::iter::from_fn(|| run.pool.poll_transition());
        let told_again = core::iter::from_fn(|| again.pool.poll_transition());
        prop_assert!(told.eq(told_again));
        run.end()?;
    }

    /// Weights hold exactly over a period, also right after others came and went.
    #[test]
    fn round_robin_by_weight_is_exact(weights in prop::collection::vec(1u32..9, 1..7), guest: bool) {
        let mut config = config(1..=weights.len() as u16);
        config.backends.iter_mut().zip(&weights).for_each(|(backend, &weight)| backend.weight = weight);
        let mut pool = pool(&config);
        if guest {
            let mut larger = config.clone();
            larger.backends.push(backend(99));
            pool.reconfigure(&larger, at(0));
            pool.reconfigure(&config, at(0));
        }
        let period = weights.iter().sum::<u32>() as usize;
        let ports = pool.ports(period * 2, at(0));
        for (port, &weight) in (1..).zip(&weights) {
            prop_assert_eq!(ports.iter().filter(|&&picked| picked == port).count(), weight as usize * 2);
        }
    }
}
