//! A backend at work: slots with a queue, or slots that are shared.
//!
//! A station says when the next jobs are done, and keeps its account in exact integers. Work is in
//! nanoseconds at speed 1; a speed is in millionths.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use slab::Slab;

use super::model::Discipline;

/// Speed 1.
pub(super) const FULL_SPEED: u64 = 1_000_000;
/// The virtual time of a shared station counts in these parts of a nanosecond.
const PARTS: u128 = 1 << 20;

/// The place of a job in [`Jobs`].
pub(super) type JobId = u32;

/// All jobs of a run.
pub(super) type Jobs = Slab<Job>;

/// One try of a request, from its sending to the end of everything about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Whose: the request's place, and its try's serial, which tells whether it still waits for this one.
    pub(super) request: u32,
    pub(super) attempt: u64,
    pub(super) backend: u32,
    /// What the answer will say.
    pub(super) status: u16,
    /// When it reached the backend, and how many were there then.
    pub(super) entered: u64,
    pub(super) met: u32,
    /// When a connection must stand.
    pub(super) connect_by: u64,
    /// What it still needs, as of `since`, in nanoseconds at speed 1.
    pub(super) work: u64,
    pub(super) since: u64,
    /// When it got a slot; at a shared station, the virtual time at which it came.
    started: u128,
    /// Its place among those that run.
    place: u32,
    pub(super) state: State,
    /// Tells its announced completion from ones that no longer hold.
    serial: u64,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// On its way to the backend.
    Sent,
    /// Not at the backend any more, or not really: refused, failed at once, done.
    Away,
    Waiting,
    Running,
}

impl Job {
    pub(super) fn new(request: u32, attempt: u64, backend: u32, work: u64, connect_by: u64) -> Self {
        Self {
            request,
            attempt,
            backend,
            status: 200,
            entered: 0,
            met: 0,
            connect_by,
            work,
            since: 0,
            started: 0,
            place: 0,
            state: State::Sent,
            serial: 0,
        }
    }
}

/// A completion to be scheduled; [`Station::complete`] takes it when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: u64,
    /// The job; at a shared station it stands for all.
    pub(super) job: JobId,
    pub(super) serial: u64,
}

/// What a station did, in exact integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Requests that are there.
    pub present: u32,
    /// Area under `present`, in request nanoseconds.
    pub presence: u128,
    /// Area under the slots in use, in slot nanoseconds.
    pub busy: u128,
    /// What the station gave out: `busy`; at a shared station, in parts, all shares of the virtual time.
    pub given: u128,
    /// What the single requests got of that, added up as each of them left.
    pub got: u128,
    since: u64,
}

#[derive(Debug)]
pub(super) struct Station {
    slots: u32,
    speed: u64,
    pub(super) account: Account,
    /// Time by the number of requests that are there, in nanoseconds, from [`Station::watch`] on.
    pub(super) occupancy: Vec<u64>,
    watched: bool,
    kind: Kind,
    serials: u64,
}

#[derive(Debug)]
enum Kind {
    Fifo {
        /// Jobs that left meanwhile are skipped.
        queue: VecDeque<(JobId, u64)>,
        running: Vec<JobId>,
    },
    Shared {
        /// By the virtual time at which each is done; jobs that left meanwhile are skipped.
        jobs: BinaryHeap<Reverse<(u128, u64, JobId)>>,
        virtual_time: u128,
        /// The serial of the announced completion.
        announced: u64,
    },
}

/// More than a run has jobs, so that each serial is one station's.
const SERIALS_PER_STATION: u64 = 1 << 40;
/// Longer queues are one class of [`Station::occupancy`].
const OCCUPANCY_CLASSES: usize = 64;

impl Station {
    pub(super) fn new(index: u32, discipline: Discipline, slots: u32) -> Self {
        let kind = match discipline {
            Discipline::Fifo => Kind::Fifo { queue: VecDeque::new(), running: Vec::new() },
            Discipline::Sharing => Kind::Shared { jobs: BinaryHeap::new(), virtual_time: 0, announced: 0 },
        };
        Self {
            slots: slots.max(1),
            speed: FULL_SPEED,
            account: Account::default(),
            occupancy: vec![0; OCCUPANCY_CLASSES],
            watched: false,
            kind,
            serials: u64::from(index) * SERIALS_PER_STATION,
        }
    }

    /// Jobs that wait for a slot; at a shared station, those beyond the slots.
    pub(super) fn waiting(&self) -> u32 {
        self.account.present.saturating_sub(self.slots)
    }

    pub(super) fn free_slots(&self) -> u32 {
        self.slots.saturating_sub(self.account.present)
    }

    /// Begins or ends to measure the occupancy.
    pub(super) fn watch(&mut self, watched: bool, now: u64) {
        self.tally(now);
        self.watched = watched;
    }

    /// Brings the account up to date.
    #[inline]
    pub(super) fn tally(&mut self, now: u64) {
        let elapsed = now - self.account.since;
        if elapsed == 0 {
            return;
        }
        self.account.since = now;
        let present = self.account.present;
        if self.watched {
            self.occupancy[(present as usize).min(OCCUPANCY_CLASSES - 1)] += elapsed;
        }
        if present == 0 {
            return;
        }
        let busy = u128::from(elapsed) * u128::from(present.min(self.slots));
        self.account.presence += u128::from(elapsed) * u128::from(present);
        self.account.busy += busy;
        match &mut self.kind {
            Kind::Fifo { .. } => self.account.given += busy,
            Kind::Shared { virtual_time, .. } => {
                let all = busy * u128::from(self.speed) * PARTS / u128::from(FULL_SPEED);
                let each = all / u128::from(present);
                *virtual_time += each;
                self.account.given += each * u128::from(present);
            }
        }
    }

    /// A job comes in; gives a completion to schedule.
    #[inline]
    pub(super) fn enter(&mut self, id: JobId, jobs: &mut Jobs, now: u64) -> Option<Due> {
        self.tally(now);
        let job = &mut jobs[id as usize];
        job.met = self.account.present;
        job.entered = now;
        self.account.present += 1;
        self.serials += 1;
        job.serial = self.serials;
        match &mut self.kind {
            Kind::Fifo { queue, running } => {
                if running.len() < self.slots as usize {
                    self.start(id, jobs, now)
                } else {
                    job.state = State::Waiting;
                    queue.push_back((id, job.serial));
                    None
                }
            }
            Kind::Shared { jobs: heap, virtual_time, .. } => {
                job.state = State::Running;
                job.started = *virtual_time;
                heap.push(Reverse((*virtual_time + u128::from(job.work) * PARTS, job.serial, id)));
                self.announce(jobs, now)
            }
        }
    }

    /// A completion is due: gives the job that is done, which has left, and the next completion to
    /// schedule. None when the completion no longer holds.
    #[inline]
    pub(super) fn complete(&mut self, due: Due, jobs: &mut Jobs, now: u64) -> Option<(JobId, Option<Due>)> {
        let id = match &self.kind {
            Kind::Fifo { .. } => is_here(State::Running, due.serial, due.job, jobs).then_some(due.job)?,
            Kind::Shared { jobs: heap, announced, .. } => {
                let &Reverse((_, _, id)) = heap.peek().filter(|_| *announced == due.serial)?;
                id
            }
        };
        Some((id, self.leave(id, jobs, now)))
    }

    /// A job leaves, done or not; gives the next completion to schedule.
    pub(super) fn leave(&mut self, id: JobId, jobs: &mut Jobs, now: u64) -> Option<Due> {
        self.tally(now);
        self.account.present -= 1;
        let job = &mut jobs[id as usize];
        let state = std::mem::replace(&mut job.state, State::Away);
        match &mut self.kind {
            Kind::Fifo { running, .. } if state == State::Running => {
                self.account.got += u128::from(now) - job.started;
                let place = job.place as usize;
                running.swap_remove(place);
                if let Some(&moved) = running.get(place) {
                    jobs[moved as usize].place = place as u32;
                }
                self.start_next(jobs, now)
            }
            Kind::Fifo { .. } => None,
            Kind::Shared { virtual_time, .. } => {
                self.account.got += *virtual_time - job.started;
                self.announce(jobs, now)
            }
        }
    }

    /// Works at another speed (in millionths) from now on; completions to schedule go to `dues`.
    pub(super) fn set_speed(&mut self, speed: u64, jobs: &mut Jobs, now: u64, dues: &mut Vec<Due>) {
        if speed == self.speed {
            return;
        }
        self.tally(now);
        let old = std::mem::replace(&mut self.speed, speed);
        match &mut self.kind {
            Kind::Fifo { running, .. } => {
                for &id in &*running {
                    let job = &mut jobs[id as usize];
                    let done = u128::from(now - job.since) * u128::from(old) / u128::from(FULL_SPEED);
                    job.work = u64::try_from(u128::from(job.work).saturating_sub(done)).unwrap_or(0);
                    job.since = now;
                    self.serials += 1;
                    job.serial = self.serials;
                    dues.extend(finish(job.work, speed, now).map(|at| Due {
                        at,
                        job: id,
                        serial: job.serial,
                    }));
                }
            }
            Kind::Shared { .. } => dues.extend(self.announce(jobs, now)),
        }
    }

    /// All jobs that are here.
    pub(super) fn present(&self, jobs: &Jobs) -> Vec<JobId> {
        match &self.kind {
            Kind::Fifo { queue, running } => {
                let waits = |&&(id, serial): &&(JobId, u64)| is_here(State::Waiting, serial, id, jobs);
                let waiting = queue.iter().filter(waits).map(|&(id, _)| id);
                running.iter().copied().chain(waiting).collect()
            }
            Kind::Shared { jobs: heap, .. } => {
                let runs = |&(_, serial, id): &(u128, u64, JobId)| is_here(State::Running, serial, id, jobs);
                let mut present: Vec<_> = heap.iter().map(|&Reverse(entry)| entry).filter(runs).collect();
                present.sort_unstable();
                present.into_iter().map(|(_, _, id)| id).collect()
            }
        }
    }

    fn start_next(&mut self, jobs: &mut Jobs, now: u64) -> Option<Due> {
        let Kind::Fifo { queue, .. } = &mut self.kind else { return None };
        while let Some((id, serial)) = queue.pop_front() {
            if is_here(State::Waiting, serial, id, jobs) {
                return self.start(id, jobs, now);
            }
        }
        None
    }

    fn start(&mut self, id: JobId, jobs: &mut Jobs, now: u64) -> Option<Due> {
        let Kind::Fifo { running, .. } = &mut self.kind else { return None };
        let job = &mut jobs[id as usize];
        job.state = State::Running;
        job.started = now.into();
        job.since = now;
        job.place = running.len() as u32;
        running.push(id);
        finish(job.work, self.speed, now).map(|at| Due { at, job: id, serial: job.serial })
    }

    /// The completion that is next at a shared station.
    fn announce(&mut self, jobs: &Jobs, now: u64) -> Option<Due> {
        let Kind::Shared { jobs: heap, virtual_time, announced } = &mut self.kind else { return None };
        while heap.peek().is_some_and(|&Reverse((_, serial, id))| !is_here(State::Running, serial, id, jobs))
        {
            heap.pop();
        }
        self.serials += 1;
        *announced = self.serials;
        let &Reverse((done, _, job)) = heap.peek()?;
        let present = u128::from(self.account.present);
        let rate = u128::from(self.speed) * present.min(self.slots.into()) * PARTS;
        if rate == 0 {
            return None;
        }
        let left = done.saturating_sub(*virtual_time) * present * u128::from(FULL_SPEED);
        let wait = u64::try_from(left.div_ceil(rate)).unwrap_or(u64::MAX);
        Some(Due { at: now.saturating_add(wait), job, serial: *announced })
    }
}

/// Whether the job that had this serial at its station is still there, in this state. Places of jobs are
/// used again; a serial tells them apart.
#[inline]
fn is_here(state: State, serial: u64, id: JobId, jobs: &Jobs) -> bool {
    jobs.get(id as usize).is_some_and(|job| job.serial == serial && job.state == state)
}

/// When so much work is done at this speed; never at speed 0.
#[inline]
fn finish(work: u64, speed: u64, now: u64) -> Option<u64> {
    match speed {
        FULL_SPEED => Some(now.saturating_add(work)),
        0 => None,
        speed => {
            let wait = (u128::from(work) * u128::from(FULL_SPEED)).div_ceil(speed.into());
            Some(now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
        }
    }
}
