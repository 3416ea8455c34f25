//! Any order of events against a model of the queue: everyone who waits ends exactly once, in order, no
//! endpoint has more than it may, and nothing is free that someone waits for.

use alloc::{boxed::Box, collections::BTreeMap};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{Concurrency, Queue},
    sticky::Signer,
};

#[derive(Clone, Debug)]
enum Op {
    /// A request, of the session of a backend if there is one of this port.
    Enter {
        port: u16,
        patience_ms: u64,
        tried: Vec<u16>,
    },
    /// Whoever was woken asks.
    Ask,
    Leave {
        which: usize,
    },
    Finish {
        which: usize,
        outcome: usize,
    },
    Wait {
        millis: u64,
    },
    Check {
        port: u16,
        passes: bool,
    },
    State {
        port: u16,
        state: usize,
    },
    Reload {
        config: Box<config::Pool>,
    },
}

const OUTCOMES: [Outcome; 3] = [Outcome::Success, Outcome::ConnectFailed, Outcome::Cancelled];
const STATES: [AdminState; 3] = [AdminState::Ready, AdminState::Drain, AdminState::Maint];

fn any_config() -> impl Strategy<Value = config::Pool> {
    let backends = prop::collection::btree_map(1u16..6, (0u32..3, 0u32..3, prop::option::of(1u32..3)), 0..5);
    let algorithm = prop::sample::select(
        &[Algorithm::Random, Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::P2c][..],
    );
    let concurrency = prop::option::weighted(0.3, (1u32..4, 0u32..4)).prop_map(|bounds| {
        bounds.map(|(min, more)| Concurrency {
            min,
            max: min + more,
            min_latency_requests: 2,
            ..Concurrency::default()
        })
    });
    (backends, algorithm, 1u32..3, 0u32..6, 0u32..3, concurrency).prop_map(
        |(backends, algorithm, max_in_flight, length, consecutive_failures, concurrency)| {
            let backends = backends.into_iter().map(|(port, (weight, priority, max_in_flight))| Backend {
                weight,
                priority,
                max_in_flight,
                ..backend(port)
            });
            checked(config::Pool {
                backends: backends.collect(),
                algorithm,
                max_in_flight,
                concurrency,
                queue: Queue { length, timeout: Duration::from_secs(2) },
                outlier: Outlier { consecutive_failures, max_ejected_percent: 100, ..Outlier::default() },
                ..config::Pool::default()
            })
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0u16..12, 1u64..3000, prop::option::of(prop::collection::vec(1u16..6, 1..4)))
            .prop_map(|(port, patience_ms, tried)| Op::Enter { port, patience_ms, tried: tried.unwrap_or_default() }),
        10 => Just(Op::Ask),
        4 => any::<usize>().prop_map(|which| Op::Leave { which }),
        20 => (any::<usize>(), 0usize..3).prop_map(|(which, outcome)| Op::Finish { which, outcome }),
        4 => (0u64..1500).prop_map(|millis| Op::Wait { millis }),
        3 => (1u16..6, any::<bool>()).prop_map(|(port, passes)| Op::Check { port, passes }),
        2 => (1u16..6, 0usize..3).prop_map(|(port, state)| Op::State { port, state }),
        2 => any_config().prop_map(|config| Op::Reload { config: config.into() }),
    ]
}

struct Run {
    pool: Pool,
    now: Instant,
    signer: Signer,
    tickets: Vec<Ticket>,
    /// Requests in flight after the event before.
    in_flight: BTreeMap<EndpointId, u32>,
    waiting: BTreeMap<WaiterId, Waits>,
}

/// One that waits.
#[derive(Debug)]
struct Waits {
    until: Instant,
    tried: Vec<EndpointId>,
    has_session: bool,
}

impl Run {
    fn new(config: &config::Pool) -> Self {
        let signer = Signer::new(b"0123456789abcdef", "fruit");
        let mut pool = pool(config);
        pool.set_signer(Some(signer.clone()), at(0));
        let (tickets, waiting, in_flight) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { pool, now: at(0), signer, tickets, in_flight, waiting }
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.now;
        match op {
            Op::Enter { port, patience_ms, tried } => self.enter(*port, *patience_ms, tried)?,
            Op::Ask => self.ask()?,
            Op::Leave { which } if !self.waiting.is_empty() => {
                let id = *self.waiting.keys().nth(which % self.waiting.len()).unwrap();
                self.waiting.remove(&id);
                self.pool.leave(id, now);
                prop_assert!(matches!(self.pool.turn(id, now), Turn::Over), "it left for good");
            }
            Op::Finish { which, outcome } if !self.tickets.is_empty() => {
                let mut ticket = self.tickets.swap_remove(which % self.tickets.len());
                if OUTCOMES[*outcome] == Outcome::Success {
                    self.pool.answered(&mut ticket, 200, now);
                }
                self.pool.finish(ticket, OUTCOMES[*outcome], now);
            }
            Op::Leave { .. } | Op::Finish { .. } => {}
            Op::Wait { millis } => {
                self.now = now + Duration::from_millis(*millis);
                self.pool.wake(self.now);
            }
            Op::Check { port, passes } => {
                let id = self.pool.endpoints().find(|status| status.addr.port() == *port);
                if let Some(status) = id {
                    let result = passes.then_some(()).ok_or(CheckFailure::Connect);
                    self.pool.on_check(status.endpoint, result, now);
                }
            }
            Op::State { port, state } => {
                self.pool.set_state(&format!("b{port}"), STATES[*state], now);
            }
            Op::Reload { config } => self.pool.reconfigure(config, now),
        }
        self.pool.wake(self.now);
        self.assert_work_is_conserved()
    }

    fn enter(&mut self, port: u16, patience_ms: u64, tried: &[u16]) -> Result<(), TestCaseError> {
        let session = (port < 6).then(|| self.signer.handle(addr(port)));
        let deadline = self.now + Duration::from_millis(patience_ms);
        let (before, room) = (self.pool.waiting(), self.pool.config().queue.length as usize);
        let among = |status: &EndpointStatus| tried.contains(&status.addr.port());
        let tried: Vec<EndpointId> =
            self.pool.endpoints().filter(among).map(|status| status.endpoint).collect();
        match self.pool.enter(Ask { key: None, tried: &tried }, session, deadline, self.now) {
            Entry::Ticket(ticket) => {
                let max = self.pool.slab.get(ticket.endpoint()).map_or(0, |member| member.max_in_flight);
                prop_assert!(self.pool.slab.in_flight(ticket.endpoint().slot) <= max, "within its cap");
                self.tickets.push(ticket);
            }
            Entry::Wait(id, until) => {
                prop_assert!(before < room, "bounded");
                prop_assert!(until <= deadline && until <= self.now + Duration::from_secs(2));
                prop_assert!(self.waiting.keys().all(|other| *other < id));
                self.waiting.insert(id, Waits { until, tried, has_session: session.is_some() });
            }
            Entry::Refused(Reason::QueueFull) => prop_assert!(before >= room),
            Entry::Refused(Reason::ConcurrencyLimit) => {
                prop_assert!(room == 0 && !self.pool.is_below_limit());
            }
            Entry::Refused(reason) => prop_assert_eq!(reason, Reason::NoHealthyBackend),
        }
        Ok(())
    }

    /// In the order of the queue, and each once.
    fn ask(&mut self) -> Result<(), TestCaseError> {
        let now = self.now;
        let woken: Vec<WaiterId> = core::iter::from_fn(|| self.pool.poll_woken()).collect();
        for id in woken {
            let Some(Waits { until, .. }) = self.waiting.remove(&id) else {
                return Err(TestCaseError::fail("woken, but does not wait"));
            };
            match self.pool.turn(id, now) {
                Turn::Granted(ticket) => self.tickets.push(ticket),
                Turn::Over => prop_assert!(until <= now, "before its time"),
                Turn::Waiting => return Err(TestCaseError::fail("woken for nothing")),
            }
            prop_assert!(matches!(self.pool.turn(id, now), Turn::Over), "once");
        }
        let late: Vec<WaiterId> =
            self.waiting.iter().filter(|(_, waits)| waits.until <= now).map(|(&id, _)| id).collect();
        for id in late {
            self.pool.leave(id, now);
            self.waiting.remove(&id);
        }
        Ok(())
    }

    /// Nothing is free that someone waits for who is not late.
    fn assert_work_is_conserved(&mut self) -> Result<(), TestCaseError> {
        let queued: Vec<WaiterId> = self
            .waiting
            .iter()
            .filter(|(id, waits)| waits.until > self.now && self.pool.queue.is_queued(**id))
            .map(|(&id, _)| id)
            .collect();
        let is_bound = |id: &WaiterId| self.pool.queue.bound_to(*id);
        // Seen from outside: who is eligible, and has fewer requests than it may have. With tiers, only those
        // that get traffic.
        let has_tiers = self.pool.tiers.count() > 1;
        let up = || {
            self.pool
                .members()
                .filter(|member| member.serves() && !member.ejected() && member.health.health() == Health::Up)
        };
        let is_free = |member: &&Member| self.pool.slab.in_flight(member.id.slot) < member.max_in_flight;
        // Above the adaptive limit nobody may go, wherever there is a slot.
        let may_go = self.pool.is_below_limit();
        for id in queued.iter().filter(|id| may_go && is_bound(id).is_none()) {
            let tried = &self.waiting[id].tried;
            let others = up().filter(|member| !tried.contains(&member.id)).collect::<Vec<_>>();
            let could_use = match others.is_empty() {
                true => up().any(|member| is_free(&member)),
                false => others.iter().any(is_free),
            };
            prop_assert!(has_tiers || !could_use, "a free slot and someone who could use it");
            prop_assert!(!self.pool.tiers.has_free_for(tried));
        }
        for endpoint in queued.iter().filter(|_| may_go).filter_map(is_bound) {
            let max = self.pool.slab.get(endpoint).map_or(0, |member| member.max_in_flight);
            prop_assert!(self.pool.slab.in_flight(endpoint.slot) >= max, "its own endpoint is free");
        }
        // First in, first out: of those who can use any endpoint, whoever was granted came before all who still wait.
        let is_plain = |id: &WaiterId| {
            self.waiting.get(id).is_some_and(|waits| waits.tried.is_empty() && !waits.has_session)
        };
        if let Some(first) = queued.iter().find(|id| is_plain(id)) {
            let granted: Vec<WaiterId> = self.pool.queue.granted().filter(is_plain).collect();
            prop_assert!(granted.iter().all(|id| id < first), "{:?} before {:?}", granted, first);
        }
        // What is above its cap since a reload lowered that only shrinks.
        let now = self.pool.members().map(|member| (member.id, self.pool.slab.in_flight(member.id.slot)));
        let now: BTreeMap<EndpointId, u32> = now.collect();
        for member in self.pool.members() {
            let before = self.in_flight.get(&member.id).copied().unwrap_or(0);
            prop_assert!(
                now[&member.id] <= member.max_in_flight.max(before),
                "{} of {}",
                now[&member.id],
                member.max_in_flight
            );
        }
        self.in_flight = now;
        let held = self.tickets.len() + self.pool.queue.granted_count();
        prop_assert_eq!(self.pool.in_flight(), held as u64);
        Ok(())
    }

    fn end(mut self) -> Result<(), TestCaseError> {
        for id in core::mem::take(&mut self.waiting).into_keys() {
            self.pool.leave(id, self.now);
        }
        for ticket in core::mem::take(&mut self.tickets) {
            self.pool.finish(ticket, Outcome::Cancelled, self.now);
        }
        prop_assert_eq!((self.pool.in_flight(), self.pool.waiting()), (0, 0));
        prop_assert_eq!(self.pool.poll_woken(), None);
        Ok(())
    }
}

proptest! {
    #[test]
    fn everyone_who_waits_ends_once_and_in_order(
        config in any_config(), ops in prop::collection::vec(any_op(), 0..120),
    ) {
        let mut run = Run::new(&config);
        for op in &ops {
            run.apply(op)?;
        }
        run.end()?;
    }
}
