//! Scenarios: what to simulate, for which algorithms or configurations, and what is expected of them.

mod expect;
mod read;
#[cfg(test)]
mod tests;
mod values;

use std::time::Duration;

use lb_core::config::{self, Algorithm, Config, Problems, Valid};

pub use self::{
    expect::{Bound, Expectation, Metric, Verdict},
    values::{duration, duration_text},
};
use super::{Arrivals, Backend, Model, balancer::configured, batch::CaseOutcome};

/// Seeds that a scenario runs with unless it says otherwise.
const SEEDS: u32 = 5;

/// A scenario: one model in several variants and under several loads.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// The model; variants replace its pool, loads its rate.
    pub model: Model,
    /// What is compared; at least one.
    pub variants: Vec<Variant>,
    /// Rates of arrival as shares of the capacity; empty: the model's own rate.
    pub loads: Vec<f64>,
    /// How many seeds each case runs with.
    pub seeds: u32,
    /// What variants are ranked by; default: the 99th percentile.
    pub rank: Metric,
    /// What must come out.
    pub expectations: Vec<Expectation>,
}

/// A way to balance.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// What it is called: usually the algorithm.
    pub name: String,
    /// Its settings; the backends are those of the model.
    pub pool: config::Pool,
}

/// A variant under a load: what is run for each seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The variant's name.
    pub variant: String,
    /// The load, if the scenario has several.
    pub load: Option<f64>,
    /// What to run.
    pub model: Model,
}

impl Scenario {
    /// Reads a scenario in TOML. `open` gives the text of a file that the scenario names: a configuration,
    /// a trace.
    ///
    /// # Errors
    /// All problems at once, with positions.
    pub fn read(text: &str, open: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, Problems> {
        let scenario = config::reading::read(text, |table| read::scenario(table, open))?;
        // What must make sense together is the balancer's own to say.
        for variant in &scenario.variants {
            valid(&variant.pool, &scenario.model.backends)?;
        }
        Ok(scenario)
    }

    /// A scenario from a configuration of the balancer alone: its pool, each backend with one slot, and
    /// defaults for the rest.
    ///
    /// # Errors
    /// When the configuration has no such pool or route; with the names that there are.
    pub fn of_config(config: &Valid, what: Wanted<'_>) -> Result<Self, String> {
        let (pool, timeout) = what.find(config)?;
        let mut model = Model { pool: pool.clone(), ..Model::new(backends_of(pool)) };
        model.deadline = timeout.unwrap_or(model.deadline);
        Ok(Self {
            name: "simulation".into(),
            about: String::new(),
            variants: vec![Variant { name: "as configured".into(), pool: pool.clone() }],
            model,
            loads: Vec::new(),
            seeds: SEEDS,
            rank: Metric::Quantile(0.99),
            expectations: Vec::new(),
        })
    }

    /// Compares these algorithms, all else as it is.
    pub fn set_algorithms(&mut self, algorithms: &[(String, Algorithm)]) {
        let pool = self.model.pool.clone();
        let variant = |(name, algorithm): &(String, Algorithm)| Variant {
            name: name.clone(),
            pool: config::Pool { algorithm: *algorithm, ..pool.clone() },
        };
        self.variants = algorithms.iter().map(variant).collect();
    }

    /// Judges all expectations, in the order of the file.
    #[must_use]
    pub fn judge(&self, outcomes: &[CaseOutcome]) -> Vec<Verdict> {
        let of = |expectation: &Expectation| {
            let concerned = outcomes
                .iter()
                .filter(|outcome| expectation.concerns(&outcome.case.variant, outcome.case.load));
            concerned.map(|outcome| expectation.judge(outcome, outcomes)).collect::<Vec<_>>()
        };
        self.expectations.iter().flat_map(of).collect()
    }

    /// Everything that is to be run, variants under one load next to each other.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let loads = match self.loads.as_slice() {
            [] => vec![None],
            loads => loads.iter().copied().map(Some).collect(),
        };
        let case = |load: Option<f64>, variant: &Variant| {
            let mut model = Model { pool: variant.pool.clone(), ..self.model.clone() };
            if let Some(load) = load {
                let capacity = model.capacity();
                if let Arrivals::Open { rate, .. } = &mut model.arrivals {
                    *rate = load * capacity;
                }
            }
            Case { variant: variant.name.clone(), load: load.filter(|_| self.loads.len() > 1), model }
        };
        loads.iter().flat_map(|&load| self.variants.iter().map(move |variant| case(load, variant))).collect()
    }
}

/// Which part of a configuration is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The only pool, or that of the first route.
    First,
    /// The pool of this name.
    Pool(&'a str),
    /// The pool and the timeout of this route.
    Route(&'a str),
}

impl Wanted<'_> {
    /// The pool, and the timeout of its route.
    fn find(self, config: &Config) -> Result<(&config::Pool, Option<Duration>), String> {
        let listed = |names: Vec<&str>| names.join(", ");
        let (name, timeout) = match self {
            Self::Pool(name) => (name, None),
            Self::Route(name) => {
                let route = config.routes.iter().find(|route| route.name == name).ok_or_else(|| {
                    let names = config.routes.iter().map(|route| route.name.as_str()).collect();
                    format!("there is no route {name:?}, only {}", listed(names))
                })?;
                (route.pool.as_str(), route.timeout)
            }
            Self::First => match (config.routes.first(), config.pools.keys().next()) {
                (Some(route), _) => (route.pool.as_str(), route.timeout),
                (None, Some(name)) => (name.as_str(), None),
                (None, None) => return Err("the configuration has no pool".into()),
            },
        };
        let pool = config.pools.get(name).ok_or_else(|| {
            let names = config.pools.keys().map(String::as_str).collect();
            format!("there is no pool {name:?}, only {}", listed(names))
        })?;
        Ok((pool, timeout))
    }
}

/// The backends of a configuration, each with one slot.
fn backends_of(pool: &config::Pool) -> Vec<Backend> {
    let backend =
        |backend: &config::Backend| Backend { weight: backend.weight, ..Backend::new(backend.name.as_str()) };
    pool.backends.iter().map(backend).collect()
}

/// Whether the balancer itself would take these settings, with as many backends.
fn valid(pool: &config::Pool, backends: &[Backend]) -> Result<(), Problems> {
    let backends = (0..).zip(backends).map(|(index, backend)| configured(index, backend));
    let pool = config::Pool { backends: backends.collect(), ..pool.clone() };
    let listener = config::Listener::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config {
        listeners: vec![listener],
        routes: vec![config::Route::to("simulated")],
        pools: [("simulated".to_string(), pool)].into(),
        ..Config::default()
    };
    config.validate().map(drop)
}
