//! Clients: when they come, what they send, when they give up, how it ends.

use super::*;

impl Run<'_> {
    pub(super) fn expect_arrival(&mut self) {
        match self.arrivals.next(self.end) {
            Some(at) => self.queue.next_single(at),
            None => self.exhausted = true,
        }
    }

    pub(super) fn think(&mut self, least: u64) {
        if let Arrivals::Closed { think, .. } = &self.model.arrivals {
            let at = self.queue.now().saturating_add(think.sample(&mut self.prngs.thought).max(least));
            if at < self.end {
                self.queue.at(at, What::User);
            }
        }
    }

    pub(super) fn arrive(&mut self) {
        let now = self.queue.now();
        self.count_requests(now);
        self.ledger.arrivals += 1;
        let (bucket, measured) = self.measure.arrive(now);
        let id = self.serial();
        let request = self.requests.insert(Request {
            id,
            waiting: None,
            attempt: 0,
            try_: 0,
            job: None,
            arrived: now,
            key: self.keys.as_mut().map(Draw::draw),
            work: self.model.service.sample(&mut self.prngs.service),
            attempts: 0,
            balancer: 0,
            bucket,
            measured,
        }) as u32;
        if self.exchanges.len() <= request as usize {
            self.exchanges.push(None);
        }
        if let Some(patience) = &self.model.client.patience {
            let at = now.saturating_add(patience.sample(&mut self.prngs.patience));
            self.queue.at(at, What::Leave { request, id });
        }
        self.send(request);
    }

    /// A client's attempt.
    pub(super) fn send(&mut self, index: u32) {
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
            key: request.key,
            deadline: Instant::from_nanos(now.saturating_add(self.deadline)),
        };
        let pool = self.balancers[balancer as usize].pool.clone();
        match Exchange::begin(pool, facts, Instant::from_nanos(now)) {
            Ok(mut exchange) => {
                let next = exchange.next(Instant::from_nanos(now));
                self.exchanges[index as usize] = Some(exchange);
                self.arm(index, attempt);
                self.follow(index, next);
            }
            Err(reason) => self.end_attempt(index, Failure::Balancer(reason)),
        }
        self.tend(balancer);
    }

    pub(super) fn arm(&mut self, request: u32, attempt: u64) {
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
    pub(super) fn drop_exchange(&mut self, index: u32) {
        let now = Instant::from_nanos(self.queue.now());
        self.orphan(index);
        self.unqueue(index);
        if let Some(exchange) = self.exchanges[index as usize].take() {
            exchange.finish(End::ClientLeft, now);
            self.tend(self.requests[index as usize].balancer);
        }
    }

    pub(super) fn end_attempt(&mut self, index: u32, failure: Failure) {
        self.exchanges[index as usize] = None;
        let request = &mut self.requests[index as usize];
        request.attempt = 0;
        if request.attempts > self.model.client.retries {
            self.conclude(index, Err(failure));
        } else {
            let what = What::Send { request: index, id: request.id };
            self.queue.after(self.lanes.backoff, what);
        }
    }

    /// The request is over.
    pub(super) fn conclude(&mut self, index: u32, result: Result<(), Failure>) {
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
        self.think(if sojourn == 0 { THOUGHT_NANOS_MIN } else { 0 });
    }

    pub(super) fn count_requests(&mut self, now: u64) {
        self.ledger.presence += self.requests.len() as u128 * u128::from(now - self.counted);
        self.counted = now;
    }
}
