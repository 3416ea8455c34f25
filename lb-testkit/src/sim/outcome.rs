//! What a run gives: figures of the requests that are measured, and exact accounts of all.

use std::{collections::BTreeMap, fmt, sync::Arc};

use lb_core::{pool::Change, reason::Reason};

use super::{
    histogram::{Coarse, Histogram},
    station::Account,
};

/// Marks that a run keeps; further ones are counted.
pub const MARKS_MAX: usize = 2000;

/// What came of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The run's seed.
    pub seed: u64,
    /// How long requests were measured, in nanoseconds.
    pub window: u64,
    /// When the last thing was done, in nanoseconds.
    pub ended: u64,
    /// The exact accounts of the whole run.
    pub ledger: Ledger,
    /// Measured requests: those that came after the warm-up. All that follows is of these.
    pub requests: u64,
    /// Good answers: below 500, and in time for the objective.
    pub good: u64,
    /// From a request's arrival to its good or bad end, of requests that were answered below 500, in
    /// nanoseconds.
    pub latency: Histogram,
    /// Requests that were not answered below 500, by what they got instead.
    pub errors: BTreeMap<Failure, u64>,
    /// What clients sent: requests and their own retries.
    pub attempts: u64,
    /// What balancers sent to backends.
    pub tries: u64,
    /// The backends, in the order of the model.
    pub backends: Vec<BackendOutcome>,
    /// Backend time by the number of requests that a backend has (the last class: or more), in nanoseconds,
    /// added up over the backends.
    pub occupancy: Vec<u64>,
    /// How it went over time.
    pub series: Series,
    /// What balancers noticed of backends, in the order of time.
    pub marks: Vec<Mark>,
    /// Marks that were not kept.
    pub marks_lost: u64,
    /// The faults, in the order of the model.
    pub faults: Vec<FaultOutcome>,
}

impl Outcome {
    /// Requests answered below 500.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.latency.count()
    }

    /// The share of requests that were not answered below 500.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        ratio(self.requests - self.answered(), self.requests)
    }

    /// The share of requests that were answered well and in time.
    #[must_use]
    pub fn good_share(&self) -> f64 {
        ratio(self.good, self.requests)
    }

    /// Tries at backends for each request.
    #[must_use]
    pub fn amplification(&self) -> f64 {
        ratio(self.tries, self.requests)
    }

    /// The largest share of the tries that a backend got, times the number of backends: 1 is even.
    #[must_use]
    pub fn max_to_mean(&self) -> f64 {
        let most = self.backends.iter().map(|backend| backend.tries).max().unwrap_or(0);
        ratio(most * self.backends.len() as u64, self.tries)
    }

    /// The share of the tries that a backend got.
    #[must_use]
    pub fn share(&self, backend: usize) -> f64 {
        self.backends.get(backend).map_or(0.0, |backend| ratio(backend.tries, self.tries))
    }

    /// The share of a backend's slots that were in use.
    #[must_use]
    pub fn utilisation(&self, backend: usize) -> f64 {
        let of = |backend: &BackendOutcome| {
            backend.busy as f64 / (self.window as f64 * f64::from(backend.slots)).max(1.0)
        };
        self.backends.get(backend).map_or(0.0, of)
    }

    /// The time average of the requests that are at backends.
    #[must_use]
    pub fn mean_present(&self) -> f64 {
        let area: f64 =
            self.occupancy.iter().enumerate().map(|(present, &time)| present as f64 * time as f64).sum();
        area / (self.window as f64).max(1.0)
    }

    /// Adds another run's counts, for figures over several seeds. What belongs to one run (its series,
    /// marks, faults and ledger) stays that of the first.
    pub fn add(&mut self, other: &Self) {
        self.window += other.window;
        self.requests += other.requests;
        self.good += other.good;
        self.latency.add(&other.latency);
        for (&failure, count) in &other.errors {
            *self.errors.entry(failure).or_default() += count;
        }
        self.attempts += other.attempts;
        self.tries += other.tries;
        for (backend, more) in self.backends.iter_mut().zip(&other.backends) {
            backend.tries += more.tries;
            backend.busy += more.busy;
            backend.present_max = backend.present_max.max(more.present_max);
        }
        for (time, more) in self.occupancy.iter_mut().zip(&other.occupancy) {
            *time += more;
        }
    }
}

/// `part / whole`; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What a request got in place of a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// An answer of a backend, 500 to 599.
    Status(u16),
    /// An answer of the balancer.
    Balancer(Reason),
    /// None within the client's timeout, its retries included.
    ClientTimeout,
    /// None before the client lost its patience.
    Abandoned,
}

/// A stable lower-case word.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status_{status}"),
            Self::Balancer(reason) => f.write_str(reason.code()),
            Self::ClientTimeout => f.write_str("client_timeout"),
            Self::Abandoned => f.write_str("abandoned"),
        }
    }
}

/// A backend's part.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendOutcome {
    /// As in the model.
    pub name: Arc<str>,
    /// As in the model.
    pub slots: u32,
    /// Tries that balancers sent to it while requests were measured.
    pub tries: u64,
    /// Slot nanoseconds in use while requests were measured.
    pub busy: u128,
    /// Most requests that it had at once, in the whole run.
    pub present_max: u32,
    /// Its account over the whole run.
    pub account: Account,
}

/// Where every request and every try of a run went, in exact integers. [`Ledger::check`] says whether it
/// adds up; a run whose ledger does not is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Requests that came.
    pub arrivals: u64,
    /// Answered below 500.
    pub answered: u64,
    /// Answered by a backend with 500 or more.
    pub failed: u64,
    /// Answered by the balancer itself.
    pub refused: u64,
    /// Given up by the client after its timeout.
    pub timed_out: u64,
    /// Given up by the client for want of patience.
    pub abandoned: u64,
    /// Not over when the run was stopped, long after the last arrival.
    pub left: u64,
    /// All times from arrival to end, added up, in nanoseconds.
    pub sojourns: u128,
    /// Area under the number of requests that are in the system, in nanoseconds.
    pub presence: u128,
    /// Tries that balancers sent.
    pub tries: u64,
    /// Tries that ended before they were at a backend: refused, unreachable, or given up on the way.
    pub not_reached: u64,
    /// Tries that a backend answered with an error at once.
    pub failed_at_once: u64,
    /// Tries that were served to their end.
    pub served: u64,
    /// Tries that were given up, or reset, while at a backend.
    pub cut_off: u64,
    /// Those of `served` that nobody waited for any more.
    pub wasted: u64,
    /// All times of tries at backends, added up, in nanoseconds.
    pub backend_sojourns: u128,
    /// Area under the number of tries at backends, in nanoseconds.
    pub backend_presence: u128,
    /// What backends gave to tries, see [`Account::given`].
    pub given: u128,
    /// What tries got.
    pub got: u128,
    /// What balancers hold in flight at the end.
    pub held: u64,
}

impl Ledger {
    /// Whether all identities hold, as equalities of integers.
    ///
    /// - flow: what came is what ended and what is left; the same for tries;
    /// - Little's law: sojourns added up are the area under the number in the system, for the whole system
    ///   and at backends;
    /// - work: what backends gave is what requests got;
    /// - balancers hold nothing in flight when all is over.
    ///
    /// # Errors
    /// The first identity that is broken, with its two sides.
    pub fn check(&self) -> Result<(), String> {
        let ended = self.answered + self.failed + self.refused + self.timed_out + self.abandoned + self.left;
        let tries = self.not_reached + self.failed_at_once + self.served + self.cut_off;
        let sides: [(&str, u128, u128); 6] = [
            ("flow of requests: arrivals = ends + left", self.arrivals.into(), ended.into()),
            ("Little's law: sojourns = area under the number of requests", self.sojourns, self.presence),
            ("flow of tries: sent = ended", self.tries.into(), tries.into()),
            (
                "Little's law at backends: sojourns = area under the number of tries",
                self.backend_sojourns,
                self.backend_presence,
            ),
            ("work: given = got", self.given, self.got),
            ("balancers: in flight at the end = 0", self.held.into(), 0),
        ];
        match sides.iter().find(|(_, left, right)| left != right) {
            Some((name, left, right)) => Err(format!("{name}: {left} is not {right}")),
            None => Ok(()),
        }
    }
}

/// A run over time, in a bounded number of buckets of equal width. Requests count in the bucket in which
/// they came, warm-up included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Of a bucket, in nanoseconds.
    pub width: u64,
    /// From the start.
    pub buckets: Vec<Bucket>,
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Requests that came.
    pub requests: u64,
    /// Those answered below 500 within the objective.
    pub good: u64,
    /// Those not answered below 500.
    pub errors: u64,
    /// Latency of those answered below 500, in nanoseconds.
    pub latency: Coarse,
    /// Tries sent to each backend in this time.
    pub tries: Vec<u32>,
}

/// Something that a balancer noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, in nanoseconds.
    pub at: u64,
    /// Which balancer.
    pub balancer: u32,
    /// Which backend.
    pub backend: u32,
    /// What.
    pub change: Change,
}

/// A fault, and how it was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultOutcome {
    /// From when, in nanoseconds.
    pub from: u64,
    /// When it was over at the last backend; none: not before the end.
    pub until: Option<u64>,
    /// From its start to the first time that a balancer took a struck backend out, in nanoseconds.
    pub detected: Option<u64>,
    /// From its end until the share of good answers was back at what it was before, in nanoseconds, up to the
    /// width of a bucket; none: not seen.
    pub recovered: Option<u64>,
}

/// The share of good answers that counts as recovered, of that before a fault.
const RECOVERED: f64 = 0.95;
/// How many buckets in a row must be good again.
const RECOVERED_BUCKETS: usize = 3;

impl FaultOutcome {
    /// Finds out from the series when all was well again.
    pub(super) fn look_for_recovery(&mut self, series: &Series) {
        let Some(until) = self.until.filter(|_| series.width > 0) else { return };
        let place = |at: u64| (at / series.width) as usize;
        let share = |bucket: &Bucket| ratio(bucket.good, bucket.requests);
        let before = series.buckets.get(..place(self.from)).unwrap_or(&[]);
        let (good, all) =
            before.iter().fold((0, 0), |(good, all), bucket| (good + bucket.good, all + bucket.requests));
        let wanted = RECOVERED * ratio(good, all);
        let after = series.buckets.get(place(until)..).unwrap_or(&[]);
        let recovers =
            |buckets: &[Bucket]| buckets.iter().all(|bucket| bucket.requests == 0 || share(bucket) >= wanted);
        let found = after.windows(RECOVERED_BUCKETS).position(recovers);
        self.recovered = found.filter(|_| all > 0).map(|buckets| {
            let at = (place(until) + buckets) as u64 * series.width;
            at.saturating_sub(until)
        });
    }
}
