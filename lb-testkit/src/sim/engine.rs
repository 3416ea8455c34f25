//! The engine: takes events in order and leads requests through balancers and backends.
//!
//! ```text
//! arrive -> send -> Exchange::next -> launch -> reach -> Station -> complete -> answer -> Exchange::on
//!            ^                          ^                                                     |
//!            +- the client tries again -+-------------- the balancer tries again -------------+-> conclude
//! ```
//!
//! Failures travel as events even where they take no time, so that nothing recurs without bound.

mod backends;
mod balancers;
mod clients;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use lb_core::{
    config::Algorithm,
    exchange::{
        Attempt, End, Event, Exchange, Facts, Failure as TryFailure, FailureKind, Next, Sent, Step, Waiting,
    },
    pool::{Pool, WaiterId},
    prng::Prng,
    time::{Instant, nanos},
};
use slab::Slab;

use super::{
    Error,
    arrivals::Process,
    balancer::{Balancer, Check, Look, Wishes, backend_at},
    fault::{self, Condition, Failing, Strike},
    keys::Draw,
    measure::Measure,
    model::{Arrivals, Backend, Model},
    outcome::{Failure, Ledger, Outcome},
    probe::{Gauge, Probe, Stage},
    queue::{LaneId, Queue},
    station::{Due, FULL_SPEED, Job, JobId, Jobs, State, Station},
};

/// Requests and tries that a run may hold at once; more would be a system that has run full for good.
pub const IN_SYSTEM_MAX: usize = 8_000_000;
/// How long after the last arrival a run may take to finish what is there, in nanoseconds.
const DRAIN_MAX: u64 = 3600 * 1_000_000_000;
/// How long a user thinks at least whose request ended at once, in nanoseconds, so that time goes on.
const THOUGHT_NANOS_MIN: u64 = 1_000_000;
/// Events between two looks at the progress.
const PROGRESS_EVENTS: u64 = 1 << 14;

/// Labels of the generators, so that a draw more in one part does not disturb the others: runs of one seed
/// have the same arrivals, works and faults whatever the balancers do.
mod label {
    pub(super) const ARRIVALS: u64 = 1;
    pub(super) const SERVICE: u64 = 2;
    pub(super) const RETRIED_SERVICE: u64 = 3;
    pub(super) const FAULTS: u64 = 4;
    pub(super) const SPREAD: u64 = 5;
    pub(super) const PATIENCE: u64 = 6;
    pub(super) const THOUGHT: u64 = 7;
    pub(super) const SHARE: u64 = 8;
    pub(super) const KEYS: u64 = 9;
    pub(super) const BALANCER: u64 = 1 << 32;
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The arrival process brings a request.
    Arrive,
    /// A user of a closed loop has thought.
    User,
    /// A client sends its request, again.
    Send { request: u32, id: u64 },
    /// A try reaches its backend.
    Reach { job: JobId },
    /// A backend is done with a try.
    Done { job: JobId, serial: u64 },
    /// An answer reaches the balancer.
    Answer { job: JobId },
    /// A failure reaches the balancer.
    Fail { job: JobId, kind: FailureKind },
    /// A request in a balancer's queue has its turn, or its time is up.
    Turn { request: u32, wait: u64 },
    /// The exchange's deadline.
    Deadline { request: u32, attempt: u64 },
    /// The head of a response is overdue.
    HeadLate { request: u32, try_: u64 },
    /// A client gives up an attempt.
    GiveUp { request: u32, attempt: u64 },
    /// A client leaves for good.
    Leave { request: u32, id: u64 },
    /// A fault begins, changes or ends.
    Strike { index: u32 },
    /// A balancer wants to be woken.
    Wake { balancer: u32 },
    /// A health check is answered, or not.
    Check { index: u32 },
    /// A probe is at its backend, or its answer is back.
    Probe { index: u32 },
    /// Measuring begins.
    MeasureFrom,
    /// Measuring ends.
    MeasureTo,
}

/// A client's request, from its arrival to its end.
struct Request {
    /// Unique in the run, as are the serials below: they tell what belongs to it from what is over.
    id: u64,
    /// Its place in the queue of its balancer, while it has one, and the serial of the wait.
    waiting: Option<(WaiterId, u64)>,
    /// Of the attempt that is on.
    attempt: u64,
    /// Of the try that is on.
    try_: u64,
    /// The job of the try that is on.
    job: Option<JobId>,
    arrived: u64,
    key: Option<u64>,
    /// The first try's work, drawn at the arrival.
    work: u64,
    attempts: u32,
    balancer: u32,
    bucket: u32,
    measured: bool,
}

struct Run<'a> {
    model: &'a Model,
    queue: Queue<What>,
    balancers: Vec<Balancer>,
    stations: Vec<Station>,
    conditions: Vec<Condition>,
    /// Whether nothing but a slot stands between a backend and a try that reaches it.
    just_serves: Vec<bool>,
    strikes: Vec<Strike<'a>>,
    jobs: Jobs,
    requests: Slab<Request>,
    /// What the balancer knows of each request, by the same places: apart, so that what is large stays where it is.
    exchanges: Vec<Option<Exchange<Rc<RefCell<Pool>>>>>,
    checks: Slab<Check>,
    probes: Slab<Probe>,
    /// Of each backend; none where nobody probes.
    gauges: Vec<Gauge>,
    arrivals: Process<'a>,
    prngs: Prngs,
    keys: Option<Draw>,
    lanes: Lanes,
    serials: u64,
    deadline: u64,
    end: u64,
    /// Whether the arrival process has ended.
    exhausted: bool,
    ledger: Ledger,
    /// When the number of requests changed last.
    counted: u64,
    measure: Measure,
    wishes: Wishes,
    dues: Vec<Due>,
}

struct Prngs {
    service: Prng,
    retried_service: Prng,
    spread: Prng,
    patience: Prng,
    thought: Prng,
    share: Prng,
}

struct Lanes {
    deadline: LaneId,
    head: LaneId,
    client: Option<LaneId>,
    backoff: LaneId,
    /// By backend.
    network: Vec<LaneId>,
}

/// When requests come, and their work, drawn as a run draws them.
pub(super) fn requests(model: &Model, seed: u64) -> Vec<(u64, u64)> {
    let mut arrivals = Process::new(&model.arrivals, Prng::new(seed).fork(label::ARRIVALS));
    let mut service = Prng::new(seed).fork(label::SERVICE);
    let end = nanos(model.duration);
    std::iter::from_fn(|| Some((arrivals.next(end)?, model.service.sample(&mut service)))).collect()
}

/// A gauge for each backend where balancers probe, else none.
fn gauges(model: &Model) -> Vec<Gauge> {
    let probed = model.pool.algorithm == Algorithm::Prequal;
    model.backends.iter().filter(|_| probed).map(|_| Gauge::default()).collect()
}

/// Runs a model. `progress` is set to the simulated nanoseconds so far.
pub(super) fn run(model: &Model, seed: u64, progress: &AtomicU64) -> Result<Outcome, Error> {
    let mut run = Run::new(model, seed);
    run.begin();
    let mut events = 0u64;
    while let Some(what) = run.queue.pop() {
        run.happen(what);
        events += 1;
        if events.is_multiple_of(PROGRESS_EVENTS) {
            progress.store(run.queue.now(), Ordering::Relaxed);
            run.check_bounds()?;
        }
        if run.is_over() {
            break;
        }
    }
    progress.store(nanos(model.duration), Ordering::Relaxed);
    run.settle(seed)
}

impl<'a> Run<'a> {
    fn new(model: &'a Model, seed: u64) -> Self {
        let fork = |label| Prng::new(seed).fork(label);
        let mut queue = Queue::new(What::Arrive);
        let deadline = nanos(model.deadline);
        let lanes = Lanes {
            deadline: queue.lane(deadline),
            head: queue.lane(nanos(model.pool.timeouts.response_head)),
            client: model.client.timeout.map(|timeout| queue.lane(nanos(timeout))),
            backoff: queue.lane(nanos(model.client.backoff)),
            network: model.backends.iter().map(|backend| queue.lane(nanos(backend.latency))).collect(),
        };
        let stations = (0..).zip(&model.backends);
        Self {
            model,
            queue,
            balancers: (0..model.balancers)
                .map(|index| Balancer::new(model, fork(label::BALANCER + u64::from(index))))
                .collect(),
            stations: stations
                .map(|(index, backend)| Station::new(index, backend.discipline, backend.slots))
                .collect(),
            conditions: vec![Condition::GOOD; model.backends.len()],
            just_serves: vec![false; model.backends.len()],
            strikes: fault::strikes(&model.faults, &mut fork(label::FAULTS)),
            jobs: Slab::new(),
            requests: Slab::new(),
            exchanges: Vec::new(),
            checks: Slab::new(),
            probes: Slab::new(),
            gauges: gauges(model),
            arrivals: Process::new(&model.arrivals, fork(label::ARRIVALS)),
            prngs: Prngs {
                service: fork(label::SERVICE),
                retried_service: fork(label::RETRIED_SERVICE),
                spread: fork(label::SPREAD),
                patience: fork(label::PATIENCE),
                thought: fork(label::THOUGHT),
                share: fork(label::SHARE),
            },
            keys: model.keys.map(|keys| Draw::new(keys, fork(label::KEYS))),
            lanes,
            serials: 0,
            deadline,
            end: nanos(model.duration),
            exhausted: false,
            ledger: Ledger::default(),
            counted: 0,
            measure: Measure::new(model),
            wishes: Wishes::default(),
            dues: Vec::new(),
        }
    }

    fn begin(&mut self) {
        self.queue.at(nanos(self.model.warmup), What::MeasureFrom);
        self.queue.at(self.end, What::MeasureTo);
        for index in 0..self.strikes.len() {
            self.queue.at(self.strikes[index].from, What::Strike { index: index as u32 });
        }
        for backend in 0..self.model.backends.len() {
            self.recondition(backend);
        }
        for balancer in 0..self.model.balancers {
            self.tend(balancer);
        }
        if let Arrivals::Closed { users, .. } = &self.model.arrivals {
            self.exhausted = true;
            (0..*users).for_each(|_| self.think(0));
        } else {
            self.expect_arrival();
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive => {
                self.expect_arrival();
                self.arrive();
            }
            What::User => self.arrive(),
            What::Send { request, id } => {
                if self.requests.get(request as usize).is_some_and(|request| request.id == id) {
                    self.send(request);
                }
            }
            What::Reach { job } => self.reach(job),
            What::Done { job, serial } => self.complete(job, serial),
            What::Answer { job } => self.answer(job),
            What::Fail { job, kind } => self.fail(job, kind),
            What::Deadline { request, attempt } => {
                if self.requests.get(request as usize).is_some_and(|request| request.attempt == attempt) {
                    self.head_timeout(request);
                }
            }
            What::Turn { request, wait } => {
                let waits = |request: &Request| request.waiting.is_some_and(|(_, serial)| serial == wait);
                if self.requests.get(request as usize).is_some_and(waits) {
                    let balancer = self.requests[request as usize].balancer;
                    self.advance(request);
                    self.tend(balancer);
                }
            }
            What::HeadLate { request, try_ } => {
                if self.requests.get(request as usize).is_some_and(|request| request.try_ == try_) {
                    self.head_timeout(request);
                }
            }
            What::GiveUp { request, attempt } => {
                if self.requests.get(request as usize).is_some_and(|request| request.attempt == attempt) {
                    self.drop_exchange(request);
                    self.end_attempt(request, Failure::ClientTimeout);
                }
            }
            What::Leave { request, id } => {
                if self.requests.get(request as usize).is_some_and(|request| request.id == id) {
                    self.drop_exchange(request);
                    self.conclude(request, Err(Failure::Abandoned));
                }
            }
            What::Strike { index } => self.strike(index),
            What::Wake { balancer } => {
                self.balancers[balancer as usize].woken(self.queue.now());
                self.tend(balancer);
            }
            What::Check { index } => self.check(index),
            What::Probe { index } => self.probe(index),
            What::MeasureFrom => self.measure.begin(&mut self.stations, self.queue.now()),
            What::MeasureTo => {
                self.exhausted = true;
                self.measure.end(&mut self.stations, self.queue.now());
            }
        }
    }

    /// Whether nobody waits for anything any more. Backends may still work on what was given up.
    fn is_over(&self) -> bool {
        let now = self.queue.now();
        let drained = self.exhausted && self.requests.is_empty();
        now >= self.end && (drained || now > self.end.saturating_add(DRAIN_MAX))
    }

    fn check_bounds(&self) -> Result<(), Error> {
        let in_system = self.requests.len() + self.jobs.len();
        if in_system > IN_SYSTEM_MAX {
            return Err(Error::RunFull { at: self.queue.now(), in_system });
        }
        Ok(())
    }

    fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    /// Closes the accounts and looks whether they add up.
    fn settle(mut self, seed: u64) -> Result<Outcome, Error> {
        let now = self.queue.now();
        self.count_requests(now);
        for backend in 0..self.stations.len() {
            for id in self.stations[backend].present(&self.jobs) {
                self.cut_off(id);
            }
            self.stations[backend].tally(now);
        }
        let on_the_way = self.jobs.iter().filter(|(_, job)| job.state == State::Sent).count();
        self.ledger.not_reached += on_the_way as u64;
        for (_, request) in &self.requests {
            self.ledger.left += 1;
            self.ledger.sojourns += u128::from(now - request.arrived);
        }
        self.exchanges.clear();
        for balancer in &self.balancers {
            let pool = balancer.pool.borrow();
            self.ledger.held += pool.in_flight() + u64::from(pool.pending());
        }
        for station in &self.stations {
            self.ledger.backend_presence += station.account.presence;
            self.ledger.given += station.account.given;
            self.ledger.got += station.account.got;
        }
        self.ledger.check().map_err(Error::Broken)?;
        Ok(self.measure.outcome(seed, now, self.ledger, &self.stations, &self.strikes))
    }
}
