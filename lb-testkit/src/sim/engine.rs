//! The engine: takes events in order and leads requests through balancers and backends.
//!
//! ```text
//! arrive -> send -> Exchange::next -> launch -> reach -> Station -> complete -> answer -> Exchange::on
//!            ^                          ^                                                     |
//!            +- the client tries again -+-------------- the balancer tries again -------------+-> conclude
//! ```
//!
//! Failures travel as events even where they take no time, so that nothing recurs without bound.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use lb_core::{
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
    fault::{self, Condition, Strike},
    measure::Measure,
    model::{Arrivals, Model},
    outcome::{Failure, Ledger, Outcome},
    queue::{LaneId, Queue},
    station::{Due, FULL_SPEED, Job, JobId, Jobs, State, Station},
};

/// Requests and tries that a run may hold at once; more would be a system that has run full for good.
pub const IN_SYSTEM_MAX: usize = 8_000_000;
/// How long after the last arrival a run may take to finish what is there, in nanoseconds.
const DRAIN_MAX: u64 = 3600 * 1_000_000_000;
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
    Done { backend: u32, job: JobId, serial: u64 },
    /// An answer reaches the balancer.
    Answer { job: JobId },
    /// A failure reaches the balancer.
    Fail { job: JobId, kind: FailureKind },
    /// A request in a balancer's queue has its turn, or its time is up.
    Turn { request: u32, waiter: WaiterId, attempt: u64 },
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
    /// Measuring begins.
    MeasureFrom,
    /// Measuring ends.
    MeasureTo,
}

/// A client's request, from its arrival to its end.
struct Request {
    exchange: Option<Exchange<Rc<RefCell<Pool>>>>,
    /// Unique in the run, as are the next two: they tell what belongs to it from what is over.
    id: u64,
    /// Its place in the queue of its balancer, while it has one.
    waiting: Option<WaiterId>,
    /// Of the attempt that is on.
    attempt: u64,
    /// Of the try that is on.
    try_: u64,
    /// The job of the try that is on.
    job: Option<JobId>,
    arrived: u64,
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
    strikes: Vec<Strike<'a>>,
    jobs: Jobs,
    requests: Slab<Request>,
    checks: Slab<Check>,
    arrivals: Process<'a>,
    prngs: Prngs,
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

/// Runs a model. `progress` is set to the simulated nanoseconds so far.
pub(super) fn run(model: &Model, seed: u64, progress: &AtomicU64) -> Result<Outcome, Error> {
    let mut run = Run::new(model, seed);
    run.begin();
    let mut events = 0u64;
    while let Some(what) = run.queue.pop() {
        run.happen(what);
        events += 1;
        if events % PROGRESS_EVENTS == 0 {
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
        let mut queue = Queue::new();
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
            strikes: fault::strikes(&model.faults, &mut fork(label::FAULTS)),
            jobs: Slab::new(),
            requests: Slab::new(),
            checks: Slab::new(),
            arrivals: Process::new(&model.arrivals, fork(label::ARRIVALS)),
            prngs: Prngs {
                service: fork(label::SERVICE),
                retried_service: fork(label::RETRIED_SERVICE),
                spread: fork(label::SPREAD),
                patience: fork(label::PATIENCE),
                thought: fork(label::THOUGHT),
                share: fork(label::SHARE),
            },
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
            (0..*users).for_each(|_| self.think());
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
            What::Done { backend, job, serial } => self.complete(backend, job, serial),
            What::Answer { job } => self.answer(job),
            What::Fail { job, kind } => self.fail(job, kind),
            What::Deadline { request, attempt } => {
                if self.requests.get(request as usize).is_some_and(|request| request.attempt == attempt) {
                    self.head_timeout(request);
                }
            }
            What::Turn { request, waiter, attempt } => {
                let waits = |request: &Request| (request.waiting, request.attempt) == (Some(waiter), attempt);
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
            What::MeasureFrom => self.measure.begin(&mut self.stations, self.queue.now()),
            What::MeasureTo => {
                self.exhausted = true;
                self.measure.end(&mut self.stations, self.queue.now());
            }
        }
    }

    /// Whether nothing is left to be done that counts.
    fn is_over(&self) -> bool {
        let now = self.queue.now();
        let drained = self.exhausted && self.requests.is_empty() && self.jobs.is_empty();
        now >= self.end && (drained || now > self.end.saturating_add(DRAIN_MAX))
    }

    fn check_bounds(&self) -> Result<(), Error> {
        let in_system = self.requests.len() + self.jobs.len();
        if in_system > IN_SYSTEM_MAX {
            return Err(Error::RunFull { at: self.queue.now(), in_system });
        }
        Ok(())
    }

    // Clients.

    fn expect_arrival(&mut self) {
        match self.arrivals.next(self.end) {
            Some(at) => self.queue.at(at, What::Arrive),
            None => self.exhausted = true,
        }
    }

    fn think(&mut self) {
        if let Arrivals::Closed { think, .. } = &self.model.arrivals {
            let at = self.queue.now().saturating_add(think.sample(&mut self.prngs.thought));
            if at < self.end {
                self.queue.at(at, What::User);
            }
        }
    }

    fn arrive(&mut self) {
        let now = self.queue.now();
        self.count_requests(now);
        self.ledger.arrivals += 1;
        let (bucket, measured) = self.measure.arrive(now);
        let id = self.serial();
        let request = self.requests.insert(Request {
            exchange: None,
            id,
            waiting: None,
            attempt: 0,
            try_: 0,
            job: None,
            arrived: now,
            work: self.model.service.sample(&mut self.prngs.service),
            attempts: 0,
            balancer: 0,
            bucket,
            measured,
        }) as u32;
        if let Some(patience) = &self.model.client.patience {
            let at = now.saturating_add(patience.sample(&mut self.prngs.patience));
            self.queue.at(at, What::Leave { request, id });
        }
        self.send(request);
    }

    /// A client's attempt.
    fn send(&mut self, index: u32) {
        let now = self.queue.now();
        let attempt = self.serial();
        let balancer = self.prngs.spread.below(self.balancers.len() as u64) as u32;
        let request = &mut self.requests[index as usize];
        request.attempt = attempt;
        request.attempts += 1;
        request.balancer = balancer;
        self.measure.attempt(request.measured);
        let facts = Facts {
            idempotent: self.model.idempotent,
            key: None,
            deadline: Instant::from_nanos(now.saturating_add(self.deadline)),
        };
        let pool = self.balancers[balancer as usize].pool.clone();
        match Exchange::begin(pool, facts, Instant::from_nanos(now)) {
            Ok(exchange) => {
                request.exchange = Some(exchange);
                self.arm(index, attempt);
                self.advance(index);
            }
            Err(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
        self.tend(balancer);
    }

    fn arm(&mut self, request: u32, attempt: u64) {
        let Self { queue, requests, lanes, .. } = self;
        let is_over = |request: u32, attempt: u64| {
            requests.get(request as usize).is_none_or(|request| request.attempt != attempt)
        };
        queue.trim(lanes.deadline, |what| match what {
            What::Deadline { request, attempt } => is_over(*request, *attempt),
            _ => false,
        });
        queue.after(lanes.deadline, What::Deadline { request, attempt });
        if let Some(lane) = lanes.client {
            queue.trim(lane, |what| match what {
                What::GiveUp { request, attempt } => is_over(*request, *attempt),
                _ => false,
            });
            queue.after(lane, What::GiveUp { request, attempt });
        }
    }

    /// The client goes; what is on for it is given up.
    fn drop_exchange(&mut self, index: u32) {
        let now = Instant::from_nanos(self.queue.now());
        self.orphan(index);
        self.unqueue(index);
        let request = &mut self.requests[index as usize];
        if let Some(exchange) = request.exchange.take() {
            exchange.finish(End::ClientLeft, now);
            let balancer = request.balancer;
            self.tend(balancer);
        }
    }

    fn end_attempt(&mut self, index: u32, failure: Failure) {
        let request = &mut self.requests[index as usize];
        request.exchange = None;
        request.attempt = 0;
        if request.attempts > self.model.client.retries {
            self.conclude(index, Err(failure));
        } else {
            let what = What::Send { request: index, id: request.id };
            self.queue.after(self.lanes.backoff, what);
        }
    }

    /// The request is over.
    fn conclude(&mut self, index: u32, result: Result<(), Failure>) {
        let now = self.queue.now();
        self.count_requests(now);
        let request = self.requests.remove(index as usize);
        let sojourn = now - request.arrived;
        self.ledger.sojourns += u128::from(sojourn);
        match result {
            Ok(()) => self.ledger.answered += 1,
            Err(Failure::Status(_)) => self.ledger.failed += 1,
            Err(Failure::Balancer(_)) => self.ledger.refused += 1,
            Err(Failure::ClientTimeout) => self.ledger.timed_out += 1,
            Err(Failure::Abandoned) => self.ledger.abandoned += 1,
        }
        self.measure.conclude(request.bucket, request.measured, sojourn, result);
        self.think();
    }

    fn count_requests(&mut self, now: u64) {
        self.ledger.presence += self.requests.len() as u128 * u128::from(now - self.counted);
        self.counted = now;
    }

    // Balancers.

    /// Does what the exchange says.
    fn advance(&mut self, index: u32) {
        let now = Instant::from_nanos(self.queue.now());
        self.unqueue(index);
        let Some(exchange) = &mut self.requests[index as usize].exchange else { return };
        match exchange.next(now) {
            Next::Try(attempt) => self.launch(index, attempt),
            Next::Wait(waiting) => self.enqueue(index, waiting),
            Next::Reply(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
    }

    fn enqueue(&mut self, index: u32, waiting: Waiting) {
        let request = &mut self.requests[index as usize];
        request.waiting = Some(waiting.id);
        let attempt = request.attempt;
        self.balancers[request.balancer as usize].waiters.insert(waiting.id, (index, attempt));
        self.queue.at(waiting.until.as_nanos(), What::Turn { request: index, waiter: waiting.id, attempt });
    }

    fn unqueue(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        if let Some(id) = request.waiting.take() {
            self.balancers[request.balancer as usize].waiters.remove(&id);
        }
    }

    fn launch(&mut self, index: u32, attempt: Attempt) {
        let now = self.queue.now();
        let backend = backend_at(attempt.addr);
        let try_ = self.serial();
        let request = &mut self.requests[index as usize];
        let is_first = request.attempts == 1 && request.try_ == 0;
        let work = match &self.model.backends[backend as usize].service {
            Some(own) => own.sample(&mut self.prngs.retried_service),
            None if is_first => request.work,
            None => self.model.service.sample(&mut self.prngs.retried_service),
        };
        let job = Job::new(index, try_, backend, work, attempt.connect_by.as_nanos());
        let job = self.jobs.insert(job) as JobId;
        request.try_ = try_;
        request.job = Some(job);
        self.ledger.tries += 1;
        self.measure.launch(request.measured, backend, now);
        if attempt.head_within.as_nanos() < u128::from(self.deadline) {
            let requests = &self.requests;
            self.queue.trim(self.lanes.head, |what| match what {
                What::HeadLate { request, try_ } => {
                    requests.get(*request as usize).is_none_or(|request| request.try_ != *try_)
                }
                _ => false,
            });
            self.queue.after(self.lanes.head, What::HeadLate { request: index, try_ });
        }
        if self.model.backends[backend as usize].latency.is_zero() {
            self.reach(job);
        } else {
            self.queue.after(self.lanes.network[backend as usize], What::Reach { job });
        }
    }

    fn answer(&mut self, id: JobId) {
        let job = self.jobs.remove(id as usize);
        if !self.is_awaited(&job) {
            self.ledger.wasted += 1;
            return;
        }
        let now = Instant::from_nanos(self.queue.now());
        let request = &mut self.requests[job.request as usize];
        let balancer = request.balancer;
        request.job = None;
        let Some(exchange) = &mut request.exchange else { return };
        match exchange.on(Event::Response { status: job.status, sent: Sent::Head }, now) {
            Step::Forward => {
                if let Some(exchange) = request.exchange.take() {
                    exchange.finish(End::Complete, now);
                }
                match job.status {
                    500.. => self.end_attempt(job.request, Failure::Status(job.status)),
                    _ => self.conclude(job.request, Ok(())),
                }
            }
            Step::Retry => self.advance(job.request),
            Step::Reply(reason) => self.end_attempt(job.request, Failure::Balancer(reason)),
        }
        self.tend(balancer);
    }

    fn fail(&mut self, id: JobId, kind: FailureKind) {
        let job = self.jobs.remove(id as usize);
        if self.is_awaited(&job) {
            self.requests[job.request as usize].job = None;
            self.on_failure(job.request, kind);
        }
    }

    fn head_timeout(&mut self, index: u32) {
        self.orphan(index);
        self.on_failure(index, FailureKind::HeadTimeout);
    }

    fn on_failure(&mut self, index: u32, kind: FailureKind) {
        let now = Instant::from_nanos(self.queue.now());
        let request = &mut self.requests[index as usize];
        let balancer = request.balancer;
        let Some(exchange) = &mut request.exchange else { return };
        let sent = match kind {
            FailureKind::Connect | FailureKind::ConnectTimeout => Sent::Nothing,
            _ => Sent::Head,
        };
        match exchange.on(Event::Failed(TryFailure { kind, sent, reused: false }), now) {
            Step::Forward => {}
            Step::Retry => self.advance(index),
            Step::Reply(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
        self.tend(balancer);
    }

    /// Lets a balancer do what is due.
    #[inline]
    fn tend(&mut self, balancer: u32) {
        let now = self.queue.now();
        self.balancers[balancer as usize].tend(balancer, now, &mut self.wishes);
        if let Some(at) = self.wishes.wake.take() {
            self.queue.at(at, What::Wake { balancer });
        }
        for check in self.wishes.checks.drain(..) {
            let latency = nanos(self.model.backends[check.backend as usize].latency);
            let index = self.checks.insert(check) as u32;
            self.queue.at(now + 2 * latency, What::Check { index });
        }
        for (waiter, request, attempt) in self.wishes.turns.drain(..) {
            self.queue.at(now, What::Turn { request, waiter, attempt });
        }
        for (backend, change) in self.wishes.changes.drain(..) {
            self.measure.notice(now, balancer, backend, change, &self.strikes);
        }
    }

    fn check(&mut self, index: u32) {
        let now = self.queue.now();
        let check = self.checks[index as usize];
        let balancer = &mut self.balancers[check.balancer as usize];
        match balancer.look(&check, &self.conditions[check.backend as usize], now) {
            Look::Again(at) => self.queue.at(at, What::Check { index }),
            Look::Done(result) => {
                self.checks.remove(index as usize);
                balancer.on_check(&check, result, now);
                self.tend(check.balancer);
            }
        }
    }

    // Backends.

    fn is_awaited(&self, job: &Job) -> bool {
        self.requests.get(job.request as usize).is_some_and(|request| request.try_ == job.attempt)
    }

    /// Nobody waits for the try that is on any more.
    fn orphan(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        request.try_ = u64::MAX;
        let Some(id) = request.job.take() else { return };
        if self.model.client.abandoned_work
            || matches!(self.jobs[id as usize].state, State::Sent | State::Away)
        {
            return;
        }
        self.cut_off(id);
        self.jobs.remove(id as usize);
    }

    /// Takes a try from its backend before it is done.
    fn cut_off(&mut self, id: JobId) {
        let now = self.queue.now();
        let (backend, entered) = (self.jobs[id as usize].backend, self.jobs[id as usize].entered);
        self.ledger.cut_off += 1;
        self.ledger.backend_sojourns += u128::from(now - entered);
        let due = self.stations[backend as usize].leave(id, &mut self.jobs, now);
        self.schedule(backend, due);
    }

    fn reach(&mut self, id: JobId) {
        self.jobs[id as usize].state = State::Away;
        let job = self.jobs[id as usize];
        let backend = &self.model.backends[job.backend as usize];
        let condition = &self.conditions[job.backend as usize];
        let station = &self.stations[job.backend as usize];
        let is_full = backend.connections.is_some_and(|most| station.account.present >= most);
        if !self.model.client.abandoned_work && !self.is_awaited(&job) {
            self.ledger.not_reached += 1;
            self.jobs.remove(id as usize);
        } else if condition.unreachable {
            self.ledger.not_reached += 1;
            self.queue.at(job.connect_by, What::Fail { job: id, kind: FailureKind::ConnectTimeout });
        } else if condition.refuses || is_full {
            self.ledger.not_reached += 1;
            let what = What::Fail { job: id, kind: FailureKind::Connect };
            self.queue.after(self.lanes.network[job.backend as usize], what);
        } else if let Some((status, after)) = self.answer_at_once(&job) {
            self.ledger.failed_at_once += 1;
            self.jobs[id as usize].status = status;
            let at = self.queue.now().saturating_add(after).saturating_add(nanos(backend.latency));
            self.queue.at(at, What::Answer { job: id });
        } else {
            self.serve(id);
        }
    }

    /// Status and delay of an error that takes no slot.
    fn answer_at_once(&mut self, job: &Job) -> Option<(u16, u64)> {
        let failing = self.conditions[job.backend as usize].failing;
        if let Some((status, after)) = failing.and_then(|failing| Some((failing.status, failing.after?)))
            && self.draws_failure(job)
        {
            return Some((status, after));
        }
        let full = self.model.backends[job.backend as usize].queue?;
        let station = &self.stations[job.backend as usize];
        (station.free_slots() == 0 && station.waiting() >= full).then_some((503, 0))
    }

    fn draws_failure(&mut self, job: &Job) -> bool {
        let share = self.conditions[job.backend as usize].failing.map_or(0, |failing| failing.share);
        share == u64::MAX || (share > 0 && self.prngs.share.next_u64() < share)
    }

    fn serve(&mut self, id: JobId) {
        let now = self.queue.now();
        let job = self.jobs[id as usize];
        let fails = self.conditions[job.backend as usize].failing.filter(|failing| failing.after.is_none());
        if let Some(failing) = fails
            && self.draws_failure(&job)
        {
            self.jobs[id as usize].status = failing.status;
        }
        let station = &mut self.stations[job.backend as usize];
        let due = station.enter(id, &mut self.jobs, now);
        self.measure.present(job.backend, station.account.present);
        self.schedule(job.backend, due);
    }

    fn complete(&mut self, backend: u32, job: JobId, serial: u64) {
        let now = self.queue.now();
        let due = Due { at: now, job, serial };
        let Some((id, next)) = self.stations[backend as usize].complete(due, &mut self.jobs, now) else {
            return;
        };
        self.schedule(backend, next);
        self.ledger.served += 1;
        self.ledger.backend_sojourns += u128::from(now - self.jobs[id as usize].entered);
        if self.model.backends[backend as usize].latency.is_zero() {
            self.answer(id);
        } else {
            self.queue.after(self.lanes.network[backend as usize], What::Answer { job: id });
        }
    }

    #[inline]
    fn schedule(&mut self, backend: u32, due: Option<Due>) {
        if let Some(Due { at, job, serial }) = due {
            self.queue.at(at, What::Done { backend, job, serial });
        }
    }

    fn strike(&mut self, index: u32) {
        let strike = &mut self.strikes[index as usize];
        let stepped = strike.step(self.queue.now());
        let backend = strike.backend as usize;
        if let Some(at) = stepped.next {
            self.queue.at(at, What::Strike { index });
        }
        if stepped.resets {
            self.reset(backend);
        }
        self.recondition(backend);
    }

    /// All that is at a backend breaks off.
    fn reset(&mut self, backend: usize) {
        for id in self.stations[backend].present(&self.jobs) {
            self.cut_off(id);
            let what = What::Fail { job: id, kind: FailureKind::Closed };
            self.queue.after(self.lanes.network[backend], what);
        }
    }

    /// Puts together what all faults do to a backend.
    fn recondition(&mut self, backend: usize) {
        let now = self.queue.now();
        let strikes = self.strikes.iter().filter(|strike| strike.backend as usize == backend);
        let condition = strikes.fold(Condition::GOOD, |all, strike| all.and(strike.condition));
        let own = Condition {
            speed: ((self.model.backends[backend].speed * FULL_SPEED as f64) as u64).max(1),
            ..Condition::GOOD
        };
        let old = std::mem::replace(&mut self.conditions[backend], condition.and(own));
        let speed = self.conditions[backend].speed;
        self.stations[backend].set_speed(speed, &mut self.jobs, now, &mut self.dues);
        for Due { at, job, serial } in self.dues.drain(..) {
            self.queue.at(at, What::Done { backend: backend as u32, job, serial });
        }
        if old.drained != condition.drained {
            for balancer in 0..self.balancers.len() {
                self.balancers[balancer].drain(&self.model.backends[backend], condition.drained, now);
                self.tend(balancer as u32);
            }
        }
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
        for (_, request) in &mut self.requests {
            self.ledger.left += 1;
            self.ledger.sojourns += u128::from(now - request.arrived);
            request.exchange = None;
        }
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
