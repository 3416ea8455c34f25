//! Measuring a run: figures of the requests that count, the run over time, and what balancers noticed.

use lb_core::{pool::Change, time::nanos};

use super::{
    fault::Strike,
    model::Model,
    outcome::{BackendOutcome, Bucket, Failure, FaultOutcome, Ledger, MARKS_MAX, Mark, Outcome, Series},
    station::Station,
};

/// Buckets of a run's course.
const BUCKETS: u64 = 120;

pub(super) struct Measure {
    warmup: u64,
    end: u64,
    slo: u64,
    outcome: Outcome,
    /// The bucket of the present.
    bucket: usize,
    /// When the next bucket begins.
    bucket_end: u64,
}

impl Measure {
    pub(super) fn new(model: &Model) -> Self {
        let (warmup, end) = (nanos(model.warmup), nanos(model.duration));
        let width = end.div_ceil(BUCKETS).max(1);
        let bucket = Bucket { tries: vec![0; model.backends.len()], ..Bucket::default() };
        let series = Series { width, buckets: vec![bucket; end.div_ceil(width).max(1) as usize] };
        let backends = model.backends.iter().map(|backend| BackendOutcome {
            name: backend.name.clone(),
            slots: backend.slots,
            tries: 0,
            busy: 0,
            present_max: 0,
            account: Default::default(),
        });
        let outcome = Outcome {
            seed: 0,
            window: end.saturating_sub(warmup),
            ended: 0,
            ledger: Ledger::default(),
            requests: 0,
            good: 0,
            latency: Default::default(),
            errors: Default::default(),
            attempts: 0,
            tries: 0,
            backends: backends.collect(),
            occupancy: Vec::new(),
            series,
            marks: Vec::new(),
            marks_lost: 0,
            faults: vec![FaultOutcome::default(); model.faults.len()],
        };
        Self { warmup, end, slo: nanos(model.slo), outcome, bucket: 0, bucket_end: width }
    }

    /// The bucket of now; time does not go backwards.
    #[inline]
    fn bucket_at(&mut self, now: u64) -> usize {
        while now >= self.bucket_end && self.bucket + 1 < self.outcome.series.buckets.len() {
            self.bucket += 1;
            self.bucket_end += self.outcome.series.width;
        }
        self.bucket
    }

    pub(super) fn begin(&mut self, stations: &mut [Station], now: u64) {
        for (station, backend) in stations.iter_mut().zip(&mut self.outcome.backends) {
            station.watch(true, now);
            backend.busy = station.account.busy;
        }
    }

    pub(super) fn end(&mut self, stations: &mut [Station], now: u64) {
        for (station, backend) in stations.iter_mut().zip(&mut self.outcome.backends) {
            station.watch(false, now);
            backend.busy = station.account.busy - backend.busy;
        }
    }

    /// A request comes: its bucket, and whether it is measured.
    #[inline]
    pub(super) fn arrive(&mut self, now: u64) -> (u32, bool) {
        let bucket = self.bucket_at(now);
        let measured = (self.warmup..self.end).contains(&now);
        self.outcome.series.buckets[bucket].requests += 1;
        self.outcome.requests += u64::from(measured);
        (bucket as u32, measured)
    }

    /// A client sends.
    #[inline]
    pub(super) fn attempt(&mut self, measured: bool) {
        self.outcome.attempts += u64::from(measured);
    }

    /// A balancer sends.
    #[inline]
    pub(super) fn launch(&mut self, measured: bool, backend: u32, now: u64) {
        let bucket = self.bucket_at(now);
        self.outcome.series.buckets[bucket].tries[backend as usize] += 1;
        self.outcome.tries += u64::from(measured);
        self.outcome.backends[backend as usize].tries += u64::from(measured);
    }

    /// So many requests are at a backend.
    #[inline]
    pub(super) fn present(&mut self, backend: usize, present: u32) {
        let most = &mut self.outcome.backends[backend].present_max;
        *most = (*most).max(present);
    }

    /// A request is over.
    #[inline]
    pub(super) fn conclude(
        &mut self,
        bucket: u32,
        measured: bool,
        sojourn: u64,
        result: Result<(), Failure>,
    ) {
        let bucket = &mut self.outcome.series.buckets[bucket as usize];
        match result {
            Ok(()) => {
                let good = u64::from(sojourn <= self.slo);
                bucket.latency.record(sojourn);
                bucket.good += good;
                if measured {
                    self.outcome.latency.record(sojourn);
                    self.outcome.good += good;
                }
            }
            Err(failure) => {
                bucket.errors += 1;
                if measured {
                    *self.outcome.errors.entry(failure).or_default() += 1;
                }
            }
        }
    }

    /// A balancer noticed something of a backend.
    pub(super) fn notice(
        &mut self,
        at: u64,
        balancer: u32,
        backend: u32,
        change: Change,
        strikes: &[Strike<'_>],
    ) {
        if matches!(change, Change::Ejected { .. } | Change::Down(_)) {
            for strike in strikes.iter().filter(|strike| strike.backend == backend && strike.from <= at) {
                let fault = &mut self.outcome.faults[strike.fault as usize];
                if at <= strike.until && fault.detected.is_none() {
                    fault.detected = Some(at - strike.from);
                }
            }
        }
        if self.outcome.marks.len() < MARKS_MAX {
            self.outcome.marks.push(Mark { at, balancer, backend, change });
        } else {
            self.outcome.marks_lost += 1;
        }
    }

    /// All is over.
    pub(super) fn outcome(
        self,
        seed: u64,
        now: u64,
        ledger: Ledger,
        stations: &[Station],
        strikes: &[Strike<'_>],
    ) -> Outcome {
        let mut outcome = Outcome { seed, ended: now, ledger, ..self.outcome };
        for (station, backend) in stations.iter().zip(&mut outcome.backends) {
            backend.account = station.account;
            outcome.occupancy.resize(station.occupancy.len(), 0);
            for (sum, time) in outcome.occupancy.iter_mut().zip(&station.occupancy) {
                *sum += time;
            }
        }
        for (index, fault) in (0..).zip(&mut outcome.faults) {
            let mine = || strikes.iter().filter(|strike| strike.fault == index);
            fault.from = mine().map(|strike| strike.from).min().unwrap_or(0);
            fault.until = mine().map(|strike| strike.until).max().filter(|&until| until < self.end);
            fault.look_for_recovery(&outcome.series);
        }
        outcome
    }
}
