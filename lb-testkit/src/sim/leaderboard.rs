//! The leaderboard: all algorithms in all scenarios that ship, ranked where a difference is more than noise.

mod page;

use lb_core::config::{self, Algorithm};

pub use self::page::{Board, Facts, page};
use super::{
    CaseOutcome,
    compare::Difference,
    scenario::{Metric, Scenario, Variant},
};

/// How many choices P2C is entered with, besides two.
const MORE_CHOICES: [u32; 2] = [3, 5];

/// Enters all algorithms into a scenario, besides its own variants: those that hash where requests have
/// keys, for without a key they are `random`. Algorithms take the scenario's own settings.
pub fn enter_all(scenario: &mut Scenario) {
    let pool = scenario.model.pool.clone();
    let has_keys = scenario.model.keys.is_some();
    let named = Algorithm::NAMED.iter().filter(|(_, algorithm)| has_keys || !algorithm.hashes());
    let mut variants: Vec<Variant> = named
        .map(|&(name, algorithm)| Variant {
            name: name.into(),
            pool: config::Pool { algorithm, ..pool.clone() },
        })
        .collect();
    variants.extend(MORE_CHOICES.map(|choices| Variant {
        name: format!("p2c, {choices} choices"),
        pool: config::Pool { algorithm: Algorithm::P2c, p2c: config::P2c { choices }, ..pool.clone() },
    }));
    let is_own = |variant: &Variant| {
        variant.name != "as configured" && Algorithm::NAMED.iter().all(|(name, _)| *name != variant.name)
    };
    variants.extend(std::mem::take(&mut scenario.variants).into_iter().filter(is_own));
    scenario.variants = variants;
}

/// A case's place under its load.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing<'a> {
    /// From 1 on; those that share one are tied.
    pub rank: usize,
    /// Whose.
    pub outcome: &'a CaseOutcome,
}

/// Ranks the cases of one load, the best first.
///
/// They are ordered by the mean over the seeds. Each is tied with the best one of the rank before it, unless the
/// bootstrap interval of their paired difference leaves 0 out ([`Difference::is_real`]). What has no figure
/// comes last.
#[must_use]
pub fn standings<'a>(outcomes: &[&'a CaseOutcome], metric: Metric) -> Vec<Standing<'a>> {
    let sign = if metric.is_better_above() { -1.0 } else { 1.0 };
    let place = |outcome: &CaseOutcome| mean(outcome, metric).map_or(f64::INFINITY, |(mean, _)| sign * mean);
    let mut ordered = outcomes.to_vec();
    ordered.sort_by(|a, b| place(a).total_cmp(&place(b)));
    let mut standings: Vec<Standing<'_>> = Vec::with_capacity(ordered.len());
    let mut head = 0;
    for (index, outcome) in ordered.into_iter().enumerate() {
        let differs = standings.get(head).is_some_and(|best: &Standing<'_>| {
            Difference::between(best.outcome, outcome, metric).is_none_or(|difference| difference.is_real())
        });
        if differs {
            head = index;
        }
        standings.push(Standing { rank: head + 1, outcome });
    }
    standings
}

/// The mean of a figure over the seeds, and the interval in which 95 % of its bootstrapped means lie; none when
/// it never came in one of them.
fn mean(outcome: &CaseOutcome, metric: Metric) -> Option<(f64, (f64, f64))> {
    let figures: Option<Vec<f64>> = outcome.runs.iter().map(|run| metric.of(run)).collect();
    Difference::of(&figures?).map(|figure| (figure.mean, figure.interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{batch, batch::Progress};

    pub(super) const SMALL: &str = r#"
        name = "small"
        about = "two backends, one slow"
        duration = "20s"
        algorithms = ["p2c"]
        service = { law = "exponential", mean = "20ms" }
        arrivals = { load = 0.5 }
        backend = [{ name = "fast" }, { name = "slow", speed = 0.5 }]
        [[variant]]
        name = "own"
        pool = { algorithm = "random" }
    "#;

    pub(super) fn scenario() -> Scenario {
        let mut scenario = Scenario::read(SMALL, &|_| Err(String::new())).unwrap();
        enter_all(&mut scenario);
        scenario
    }

    #[test]
    fn all_algorithms_take_part() {
        let names = |scenario: &Scenario| -> Vec<String> {
            scenario.variants.iter().map(|variant| variant.name.clone()).collect()
        };
        let mut scenario = scenario();
        let expected = "random round_robin tijdeman least_request p2c peak_ewma join_idle_queue prequal";
        assert_eq!(names(&scenario)[..8].join(" "), expected);
        assert_eq!(names(&scenario)[8..], ["p2c, 3 choices", "p2c, 5 choices", "own"]);
        scenario.model.keys = Some(crate::sim::Keys { count: 10, skew: 1.0 });
        enter_all(&mut scenario);
        assert!(names(&scenario).contains(&"maglev".to_string()));
    }

    /// Random and the variant that is random as well are one thing and must tie; least request is better than
    /// both.
    #[test]
    fn ranks_tell_what_differs_and_ties_what_does_not() {
        let scenario = scenario();
        let cases: Vec<_> = scenario.cases();
        let outcomes = batch::run(&cases, &[1, 2, 3, 4, 5, 6], 2, &Progress::default()).unwrap();
        let all: Vec<&CaseOutcome> = outcomes.iter().collect();
        let ranks = standings(&all, Metric::Mean);
        let rank_of =
            |name: &str| ranks.iter().find(|standing| standing.outcome.case.variant == name).unwrap().rank;
        assert_eq!(rank_of("random"), rank_of("own"));
        assert!(rank_of("least_request") < rank_of("random"));
        assert!(ranks.is_sorted_by_key(|standing| standing.rank) && ranks[0].rank == 1);
        // What is better above is ranked the other way round.
        let best = standings(&all, Metric::Goodput)[0].outcome;
        assert!(all.iter().all(|other| other.pooled.good_share() <= best.pooled.good_share()));
    }
}
