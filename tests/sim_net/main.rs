//! The server's own accept, proxy, forward, health and drain code on a simulated network, by seed. See
//! docs/sim-net.md.

mod backend;
mod client;
mod ledger;
mod plan;
mod resets;
mod stage;
mod sweep;

use lb_testkit::sim_net::Options;
use rstest::rstest;

use crate::plan::{Ask, Framing, Plan, Session, Theme};

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

/// A last answer that was read for longer than an ended connection is lingered on for was cut off by the reset that
/// follows when a connection is closed with the client's next request unread (seed 46695).
#[rstest]
#[case::served_directly(Ask { says_connection: true, ..Ask::get(1, 20_000) })]
#[case::by_the_library(Ask { method: "POST", upload: Some((100, false)), says_connection: true, ..Ask::get(1, 20_000) })]
#[case::until_the_end(Ask { is_10: true, framing: Framing::Close, ..Ask::get(1, 20_000) })]
fn a_last_answer_may_be_read_slowly(#[case] last: Ask) {
    let mut plan = Plan::plain(Theme::Calm, 0);
    plan.network = Options { seed: 0, latency_us: 10..=900, segment_bytes: 1..=1448, window_bytes: 1024 };
    (plan.backends, plan.clients, plan.route_ms, plan.body_idle_ms) = (1, 1, None, 5_000);
    let last = Ask { pace_bytes: Some(4), ..last };
    let behind = Ask { pipelined: true, think_ms: 5, ..Ask::get(2, 25) };
    plan.sessions = vec![Session { client: 0, start_ms: 0, keeps_cookies: false, asks: vec![last, behind] }];
    plan.faults = Vec::new();
    check(&plan);
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
