//! Backends: what reaches them, what they answer, what goes wrong with them.

use super::*;

impl Run<'_> {
    pub(super) fn is_awaited(&self, job: &Job) -> bool {
        self.requests.get(job.request as usize).is_some_and(|request| request.try_ == job.attempt)
    }

    /// Nobody waits for the try that is on any more.
    pub(super) fn orphan(&mut self, index: u32) {
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
    pub(super) fn cut_off(&mut self, id: JobId) {
        let now = self.queue.now();
        let (backend, entered) = (self.jobs[id as usize].backend, self.jobs[id as usize].entered);
        self.ledger.cut_off += 1;
        self.ledger.backend_sojourns += u128::from(now - entered);
        let due = self.stations[backend as usize].leave(id, &mut self.jobs, now);
        self.schedule(due);
    }

    #[inline]
    pub(super) fn reach(&mut self, id: JobId) {
        let backend = self.jobs[id as usize].backend as usize;
        if self.just_serves[backend] {
            self.serve(id, backend);
        } else {
            self.reach_with_care(id);
        }
    }

    #[inline(never)]
    fn reach_with_care(&mut self, id: JobId) {
        let job = &mut self.jobs[id as usize];
        job.state = State::Away;
        let (place, connect_by) = (job.backend as usize, job.connect_by);
        let backend = &self.model.backends[place];
        let condition = &self.conditions[place];
        let station = &self.stations[place];
        let is_full = backend.connections.is_some_and(|most| station.account.present >= most);
        if !self.model.client.abandoned_work && !self.is_awaited(&self.jobs[id as usize]) {
            self.ledger.not_reached += 1;
            self.jobs.remove(id as usize);
        } else if condition.unreachable {
            self.ledger.not_reached += 1;
            self.queue.at(connect_by, What::Fail { job: id, kind: FailureKind::ConnectTimeout });
        } else if condition.refuses || is_full {
            self.ledger.not_reached += 1;
            let what = What::Fail { job: id, kind: FailureKind::Connect };
            self.queue.after(self.lanes.network[place], what);
        } else if let Some((status, after)) = self.answer_at_once(place) {
            self.ledger.failed_at_once += 1;
            self.jobs[id as usize].status = status;
            let at = self.queue.now().saturating_add(after).saturating_add(nanos(backend.latency));
            self.queue.at(at, What::Answer { job: id });
        } else {
            self.may_fail(id, place);
            self.serve(id, place);
        }
    }

    fn may_fail(&mut self, id: JobId, backend: usize) {
        if let Some(failing) = self.conditions[backend].failing
            && failing.after.is_none()
            && self.draws_failure(failing)
        {
            self.jobs[id as usize].status = failing.status;
        }
    }

    /// Status and delay of an error that takes no slot.
    fn answer_at_once(&mut self, backend: usize) -> Option<(u16, u64)> {
        if let Some(failing) = self.conditions[backend].failing
            && let Some(after) = failing.after
            && self.draws_failure(failing)
        {
            return Some((failing.status, after));
        }
        let full = self.model.backends[backend].queue?;
        let station = &self.stations[backend];
        (station.free_slots() == 0 && station.waiting() >= full).then_some((503, 0))
    }

    fn draws_failure(&mut self, failing: Failing) -> bool {
        let share = failing.share;
        share == u64::MAX || (share > 0 && self.prngs.share.next_u64() < share)
    }

    #[inline]
    fn serve(&mut self, id: JobId, backend: usize) {
        let now = self.queue.now();
        let station = &mut self.stations[backend];
        let due = station.enter(id, &mut self.jobs, now);
        self.measure.present(backend, station.account.present);
        self.schedule(due);
    }

    pub(super) fn complete(&mut self, job: JobId, serial: u64) {
        let now = self.queue.now();
        let due = Due { at: now, job, serial };
        let Some(backend) = self.jobs.get(job as usize).map(|job| job.backend) else { return };
        let Some((id, next)) = self.stations[backend as usize].complete(due, &mut self.jobs, now) else {
            return;
        };
        self.schedule(next);
        self.ledger.served += 1;
        let job = &self.jobs[id as usize];
        self.ledger.backend_sojourns += u128::from(now - job.entered);
        if let Some(gauge) = self.gauges.get_mut(backend as usize) {
            gauge.record(job.met, now - job.entered);
        }
        if self.model.backends[backend as usize].latency.is_zero() {
            self.answer(id);
        } else {
            self.queue.after(self.lanes.network[backend as usize], What::Answer { job: id });
        }
    }

    #[inline]
    pub(super) fn schedule(&mut self, due: Option<Due>) {
        if let Some(Due { at, job, serial }) = due {
            self.queue.at(at, What::Done { job, serial });
        }
    }

    pub(super) fn strike(&mut self, index: u32) {
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
    pub(super) fn reset(&mut self, backend: usize) {
        for id in self.stations[backend].present(&self.jobs) {
            self.cut_off(id);
            let what = What::Fail { job: id, kind: FailureKind::Closed };
            self.queue.after(self.lanes.network[backend], what);
        }
    }

    /// Puts together what all faults do to a backend.
    pub(super) fn recondition(&mut self, backend: usize) {
        let now = self.queue.now();
        let strikes = self.strikes.iter().filter(|strike| strike.backend as usize == backend);
        let condition = strikes.fold(Condition::GOOD, |all, strike| all.and(strike.condition));
        let own = Condition {
            speed: ((self.model.backends[backend].speed * FULL_SPEED as f64) as u64).max(1),
            ..Condition::GOOD
        };
        let old = std::mem::replace(&mut self.conditions[backend], condition.and(own));
        let Condition { speed, refuses, unreachable, failing, .. } = self.conditions[backend];
        let Backend { connections, queue, .. } = &self.model.backends[backend];
        self.just_serves[backend] = !(refuses || unreachable || failing.is_some())
            && connections.is_none()
            && queue.is_none()
            && self.model.client.abandoned_work;
        self.stations[backend].set_speed(speed, &mut self.jobs, now, &mut self.dues);
        for Due { at, job, serial } in self.dues.drain(..) {
            self.queue.at(at, What::Done { job, serial });
        }
        if old.drained != condition.drained {
            for balancer in 0..self.balancers.len() {
                self.balancers[balancer].drain(&self.model.backends[backend], condition.drained, now);
                self.tend(balancer as u32);
            }
        }
    }
}
