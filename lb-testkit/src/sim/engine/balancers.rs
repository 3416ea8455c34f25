//! Balancers: exchanges and what they say, pools and what they want.

use super::*;

impl Run<'_> {
    /// Does what the exchange says.
    pub(super) fn advance(&mut self, index: u32) {
        let now = Instant::from_nanos(self.queue.now());
        self.unqueue(index);
        let Some(exchange) = &mut self.exchanges[index as usize] else { return };
        let next = exchange.next(now);
        self.follow(index, next);
    }

    #[inline]
    pub(super) fn follow(&mut self, index: u32, next: Next) {
        match next {
            Next::Try(attempt) => self.launch(index, attempt),
            Next::Wait(waiting) => self.enqueue(index, waiting),
            Next::Reply(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
    }

    pub(super) fn enqueue(&mut self, index: u32, waiting: Waiting) {
        let wait = self.serial();
        let request = &mut self.requests[index as usize];
        request.waiting = Some((waiting.id, wait));
        self.balancers[request.balancer as usize].waiters.insert(waiting.id, (index, wait));
        self.queue.at(waiting.until.as_nanos(), What::Turn { request: index, wait });
    }

    pub(super) fn unqueue(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        if let Some((id, _)) = request.waiting.take() {
            self.balancers[request.balancer as usize].waiters.remove(&id);
        }
    }

    pub(super) fn launch(&mut self, index: u32, attempt: Attempt) {
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

    pub(super) fn answer(&mut self, id: JobId) {
        let Job { request: index, attempt, status, .. } = self.jobs[id as usize];
        self.jobs.remove(id as usize);
        let request = self.requests.get_mut(index as usize).filter(|request| request.try_ == attempt);
        let Some(request) = request else {
            self.ledger.wasted += 1;
            return;
        };
        let now = Instant::from_nanos(self.queue.now());
        let balancer = request.balancer;
        request.job = None;
        let place = &mut self.exchanges[index as usize];
        let Some(exchange) = place else { return };
        match exchange.on(Event::Response { status, sent: Sent::Head }, now) {
            Step::Forward => {
                exchange.end(End::Complete, now);
                *place = None;
                match status {
                    500.. => self.end_attempt(index, Failure::Status(status)),
                    _ => self.conclude(index, Ok(())),
                }
            }
            Step::Retry => self.advance(index),
            Step::Reply(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
        self.tend(balancer);
    }

    pub(super) fn fail(&mut self, id: JobId, kind: FailureKind) {
        let job = self.jobs.remove(id as usize);
        if self.is_awaited(&job) {
            self.requests[job.request as usize].job = None;
            self.on_failure(job.request, kind);
        }
    }

    pub(super) fn head_timeout(&mut self, index: u32) {
        self.orphan(index);
        self.on_failure(index, FailureKind::HeadTimeout);
    }

    pub(super) fn on_failure(&mut self, index: u32, kind: FailureKind) {
        let now = Instant::from_nanos(self.queue.now());
        let balancer = self.requests[index as usize].balancer;
        let Some(exchange) = &mut self.exchanges[index as usize] else { return };
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
    #[inline(always)]
    pub(super) fn tend(&mut self, balancer: u32) {
        if self.balancers[balancer as usize].wants() {
            self.grant(balancer);
        }
    }

    /// Schedules what a balancer wants.
    #[inline(never)]
    fn grant(&mut self, balancer: u32) {
        let now = self.queue.now();
        self.balancers[balancer as usize].serve(balancer, now, &mut self.wishes);
        if let Some(at) = self.wishes.wake.take() {
            self.queue.at(at, What::Wake { balancer });
        }
        for check in self.wishes.checks.drain(..) {
            let latency = nanos(self.model.backends[check.backend as usize].latency);
            let index = self.checks.insert(check) as u32;
            self.queue.at(now + 2 * latency, What::Check { index });
        }
        for probe in self.wishes.probes.drain(..) {
            let latency = nanos(self.model.backends[probe.backend as usize].latency);
            let index = self.probes.insert(probe) as u32;
            self.queue.at(now + latency, What::Probe { index });
        }
        for (request, wait) in self.wishes.turns.drain(..) {
            self.queue.at(now, What::Turn { request, wait });
        }
        for (backend, change) in self.wishes.changes.drain(..) {
            self.measure.notice(now, balancer, backend, change, &self.strikes);
        }
    }

    /// A probe goes on: at its backend it is answered or not, back at its balancer that is told.
    pub(super) fn probe(&mut self, index: u32) {
        let now = self.queue.now();
        let probe = &mut self.probes[index as usize];
        let backend = probe.backend as usize;
        match probe.stage {
            Stage::Sent => {
                let present = self.stations[backend].account.present;
                let answer = self.gauges[backend].answer(&self.conditions[backend], present);
                let back = now + nanos(self.model.backends[backend].latency);
                let answer = answer.filter(|_| back <= probe.by);
                probe.stage = Stage::Answered(answer);
                self.queue.at(if answer.is_some() { back } else { probe.by }, What::Probe { index });
            }
            Stage::Answered(answer) => {
                let probe = self.probes.remove(index as usize);
                self.balancers[probe.balancer as usize].on_probe(&probe, answer, now);
            }
        }
    }

    pub(super) fn check(&mut self, index: u32) {
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
}
