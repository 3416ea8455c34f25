//! The server's own accept, proxy, forward, health and drain code on a simulated network, by seed. See
//! docs/sim-net.md.

mod backend;
mod client;
mod ledger;
mod plan;
mod resets;
mod stage;
mod sweep;

use rstest::rstest;

use crate::plan::{Plan, Theme};

/// A run that must hold.
fn check(plan: &Plan) -> stage::Outcome {
    let outcome = stage::run(plan);
    assert!(outcome.violations.is_empty(), "{outcome}\n{}", sweep::replay(plan.seed));
    outcome
}

/// The fixed handful: one of each kind, a few times.
#[rstest]
fn every_theme_holds(#[values(0, 1, 2, 3)] round: u64) {
    let themes = Theme::ALL.len() as u64;
    for seed in round * themes..(round + 1) * themes {
        check(&Plan::of(seed));
    }
}

/// Seeds that have found a defect.
///
/// - 802: an upload that had failed by the end of its early answer was asked for its outcome twice, and
///   the task that was to wait for it panicked.
///
/// Their plans are [`Plan::plain`] ones: seeds meant other runs then.
#[rstest]
#[case(Theme::ChecksAgainstTraffic, 802)]
fn regression(#[case] theme: Theme, #[case] seed: u64) {
    check(&Plan::plain(theme, seed));
}

/// Hidden randomness, or a clock that is not the simulation's, would show here.
#[test]
fn the_same_seed_is_the_same_run() {
    let mut events = 0;
    for seed in 0..Theme::ALL.len() as u64 {
        let (once, again) = (stage::run(&Plan::of(seed)), stage::run(&Plan::of(seed)));
        assert_eq!(once.trace.digest(), again.trace.digest(), "seed {seed}\n{once}\n{again}");
        assert_eq!((once.trace.events(), once.sums), (again.trace.events(), again.sums));
        events += once.trace.events();
    }
    assert!(events > 10_000, "{events} events are not much of a run");
}

/// Themes do what they are there for: a run in which nothing goes wrong would hold as well.
#[test]
fn what_is_meant_to_go_wrong_does() {
    let mut sums = [0; 8];
    for seed in 0..3 * Theme::ALL.len() as u64 {
        let outcome = stage::run(&Plan::of(seed)).sums;
        let seen = [
            outcome.refused,
            outcome.broken,
            outcome.retries as usize,
            outcome.changes,
            outcome.shed,
            outcome.queue,
            outcome.stuck,
            outcome.pipelined,
        ];
        sums.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
    }
    assert!(
        sums.iter().all(|sum| *sum > 1),
        "refused, broken, tried again, changes of health, shed, queued, stuck, pipelined: {sums:?}"
    );
}
