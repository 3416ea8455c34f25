//! Many runs: every case with every seed, on several threads.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use lb_core::time::nanos;

use super::{
    Error, Outcome, Series,
    scenario::{Case, Metric},
};

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseOutcome {
    /// What was run.
    pub case: Case,
    /// The runs, one for each seed, in the order of the seeds. Only the first keeps its series and marks.
    pub runs: Vec<Outcome>,
    /// All runs together, see [`Outcome::add`].
    pub pooled: Outcome,
}

impl CaseOutcome {
    /// A figure over all seeds: of the pooled requests or, for what happens once in a run, the median of the
    /// runs (one that never came counts as the largest).
    #[must_use]
    pub fn figure(&self, metric: Metric) -> Option<f64> {
        if !metric.is_of_a_run() {
            return metric.of(&self.pooled);
        }
        let mut figures: Vec<Option<f64>> = self.runs.iter().map(|run| metric.of(run)).collect();
        figures.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
        *figures.get(figures.len() / 2)?
    }
}

/// How far a batch is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Simulated nanoseconds of each run.
    runs: Vec<AtomicU64>,
    total: u64,
}

impl Progress {
    /// For these cases with so many seeds.
    #[must_use]
    pub fn new(cases: &[Case], seeds: usize) -> Self {
        let durations = cases.iter().map(|case| nanos(case.model.duration));
        let total = durations.fold(0u64, u64::saturating_add).saturating_mul(seeds as u64);
        Self { runs: (0..cases.len() * seeds).map(|_| AtomicU64::new(0)).collect(), total }
    }

    /// The share that is done, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let done: u64 = self.runs.iter().map(|run| run.load(Ordering::Relaxed)).sum();
        if self.total == 0 { 1.0 } else { (done as f64 / self.total as f64).min(1.0) }
    }
}

/// Runs all cases with all seeds on so many threads. The outcomes do not depend on the threads.
///
/// # Errors
/// The first case's that has one.
pub fn run(
    cases: &[Case],
    seeds: &[u64],
    threads: usize,
    progress: &Progress,
) -> Result<Vec<CaseOutcome>, Error> {
    let count = cases.len() * seeds.len();
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<Outcome, Error>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let ignored = AtomicU64::new(0);
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let (Some(slot), Some(case)) = (slots.get(place), cases.get(place / seeds.len().max(1))) else {
                return;
            };
            let at = progress.runs.get(place).unwrap_or(&ignored);
            let mut outcome = case.model.run_watched(seeds[place % seeds.len()], at);
            if !place.is_multiple_of(seeds.len())
                && let Ok(outcome) = &mut outcome
            {
                outcome.series = Series::default();
                outcome.marks.shrink_to_fit();
            }
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(outcome);
            }
        }
    };
    thread::scope(|scope| {
        (1..threads.clamp(1, count.max(1))).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let outcomes = slots.into_iter().map(|slot| slot.into_inner().ok().flatten());
    let lost = || Err(Error::Broken("a run was lost".into()));
    let mut outcomes = outcomes.map(|outcome| outcome.unwrap_or_else(lost));
    cases.iter().map(|case| gather(case, outcomes.by_ref().take(seeds.len()))).collect()
}

fn gather(case: &Case, runs: impl Iterator<Item = Result<Outcome, Error>>) -> Result<CaseOutcome, Error> {
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let mut pooled = runs.first().cloned().ok_or_else(|| Error::Model("there is no seed".into()))?;
    runs[1..].iter().for_each(|run| pooled.add(run));
    Ok(CaseOutcome { case: case.clone(), runs, pooled })
}
