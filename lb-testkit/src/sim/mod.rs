//! A simulator: the balancer's own decisions, against modelled clients, networks and backends.
//!
//! It drives the very [`Pool`](lb_core::pool::Pool) and [`Exchange`](lb_core::exchange::Exchange) that serve
//! traffic, with their health checks, ejections, slow start and retry budgets, from a queue of discrete
//! events in the order of `(time, sequence)`, in integer nanoseconds. Equal models and seeds give equal
//! outcomes, bit by bit.
//!
//! A [`Model`] says what is simulated, [`Model::run`] gives an [`Outcome`]. Each run keeps a [`Ledger`] of all
//! requests and tries: Little's law, the conservation of flow and of work hold in it as equalities of
//! integers, or the run is an [`Error`].
//!
//! Randomness is a tree of generators: arrivals, works, faults and each balancer have their own, so that
//! runs of one seed differ only by what is compared (common random numbers).
//!
//! # What is left out
//! Bodies and connections cost nothing; a balancer's own time is none; the network delays but does not
//! lose; a check that is answered takes no slot.

mod arrivals;
mod balancer;
pub mod batch;
pub mod compare;
mod engine;
mod fault;
mod histogram;
mod keys;
mod law;
pub mod leaderboard;
mod measure;
mod model;
mod outcome;
mod probe;
mod queue;
pub mod scenario;
mod station;
#[cfg(test)]
mod tests;

use std::{fmt, sync::atomic::AtomicU64};

pub use self::{
    batch::CaseOutcome,
    engine::IN_SYSTEM_MAX,
    histogram::{Coarse, Histogram, LogLinear},
    law::Law,
    model::{Arrivals, Backend, Client, Discipline, Fault, Gaps, Keys, Model, Trouble},
    outcome::{BackendOutcome, Bucket, Failure, FaultOutcome, Ledger, MARKS_MAX, Mark, Outcome, Series},
    station::Account,
};

impl Model {
    /// Simulates. Equal models and seeds give equal outcomes.
    ///
    /// # Errors
    /// A model that makes no sense, a system that runs full without end, or (a defect of the simulator) a
    /// ledger that does not add up.
    pub fn run(&self, seed: u64) -> Result<Outcome, Error> {
        self.run_watched(seed, &AtomicU64::new(0))
    }

    /// The same; `progress` is set to the simulated nanoseconds as they go by, up to the duration.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_watched(&self, seed: u64, progress: &AtomicU64) -> Result<Outcome, Error> {
        self.check()?;
        engine::run(self, seed, progress)
    }

    /// The requests of a run with this seed: when each comes and how much work it brings at speed 1, both in
    /// nanoseconds. For what is to meet the same ones. A closed loop has none before it runs.
    #[must_use]
    pub fn requests(&self, seed: u64) -> Vec<(u64, u64)> {
        engine::requests(self, seed)
    }

    /// Looks for what makes no sense.
    fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::Model(what.into()));
        if self.backends.is_empty() || self.balancers == 0 {
            return wrong("there is no backend, or no balancer");
        }
        if let Err(name) = balancer::names_are_unique(&self.backends) {
            return Err(Error::Model(format!("two backends are called {name}")));
        }
        if self.backends.iter().any(|backend| !(backend.speed > 0.0 && backend.speed < 1e6)) {
            return wrong("the speed of a backend is not above 0 and below 1,000,000");
        }
        let known = |place: &u32| (*place as usize) < self.backends.len();
        if !self.faults.iter().all(|fault| fault.backends.iter().all(known)) {
            return wrong("a fault strikes a backend that is not there");
        }
        if self.duration.is_zero() || self.warmup >= self.duration {
            return wrong("nothing is measured: the warm-up is as long as the duration");
        }
        match &self.arrivals {
            Arrivals::Open { rate, .. } if !rate.is_finite() => wrong("the rate is not a number"),
            Arrivals::Trace(times) if !times.is_sorted() => wrong("the times of the trace do not rise"),
            _ => Ok(()),
        }
    }
}

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The model makes no sense.
    Model(String),
    /// More requests than [`IN_SYSTEM_MAX`] are in the system: it does not keep up.
    RunFull {
        /// When that was noticed, in nanoseconds.
        at: u64,
        /// Requests and tries.
        in_system: usize,
    },
    /// An identity that must hold does not: a defect of the simulator.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(what) => f.write_str(what),
            Self::RunFull { at, in_system } => write!(
                f,
                "{in_system} requests are in the system after {} s: it does not keep up",
                at / 1_000_000_000
            ),
            Self::Broken(what) => write!(f, "a defect of the simulator: {what}"),
        }
    }
}

impl std::error::Error for Error {}
