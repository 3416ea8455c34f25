//! Algorithms that look at loads and latencies.

use super::*;

#[rstest]
#[case::counts_the_candidate(&[1, 100], &[0, 0], 1)]
#[case::fewest(&[1, 1, 1], &[10, 5, 2], 2)]
#[case::by_weight(&[1, 3], &[1, 4], 1)]
#[case::extremes(&[1_000_000_000, 999_999_999], &[u32::MAX, u32::MAX], 0)]
fn least_request_takes_the_lightest(#[case] weights: &[u32], #[case] loads: &[u32], #[case] expected: usize) {
    let mut bench = Bench::new(Algorithm::LeastRequest, weights);
    bench.set_loads(loads);
    assert!((0..50).all(|_| bench.pick() == expected));
}

proptest! {
    /// Oracle: fractions compared as u128, one by one. Loads change one by one, so that the tournament is
    /// played in parts.
    #[test]
    fn least_request_is_the_minimum(
        weights in prop::collection::vec(1u32..=1_000_000_000, 2..12), loads in prop::collection::vec((0usize..12, any::<u32>()), 0..30),
        tried in 0usize..12, seed: u64,
    ) {
        let mut bench = Bench::new(Algorithm::LeastRequest, &weights);
        bench.prng = Prng::new(seed);
        for (slot, load) in loads {
            bench.set_load(slot, load);
            let picked = bench.pick_but(&[id(tried)]).unwrap();
            prop_assert_ne!(picked, tried);
            let load = |slot: usize| u128::from(bench.in_flight[slot]) + 1;
            for other in (0..weights.len()).filter(|&other| other != tried) {
                prop_assert!(load(picked) * u128::from(weights[other]) <= load(other) * u128::from(weights[picked]));
            }
        }
    }

    /// The most loaded are never picked as long as there are as many others as are drawn.
    #[test]
    fn choices_avoid_the_worst(loads in prop::collection::vec(0u32..50, 2..9), choices in 2u32..5, seed: u64) {
        let config = config::Pool { p2c: P2c { choices }, ..using(Algorithm::P2c) };
        let mut bench = Bench::with(&config, &vec![1; loads.len()]);
        bench.prng = Prng::new(seed);
        bench.set_loads(&loads);
        for _ in 0..20 {
            let picked = bench.pick();
            let lighter = loads.iter().filter(|&&load| load < loads[picked]).count();
            prop_assert!(loads.len() - lighter >= choices.min(loads.len() as u32) as usize, "others were drawn with it");
        }
    }

    /// Whatever the others cost, nobody has more than a share of d/n.
    #[test]
    fn no_share_is_above_d_of_n(count in 3usize..12, choices in 1u32..4, seed: u64, ewma: bool) {
        const PICKS: usize = 3000;
        let config = config::Pool {
            p2c: P2c { choices },
            peak_ewma: PeakEwma { choices, ..PeakEwma::default() },
            ..using(if ewma { Algorithm::PeakEwma } else { Algorithm::P2c })
        };
        let mut bench = Bench::with(&config, &vec![1; count]);
        bench.prng = Prng::new(seed);
        for slot in 1..count {
            bench.set_load(slot, 1000);
            bench.observe(slot, 1000, Verdict::Answered);
        }
        bench.observe(0, 1, Verdict::Answered);
        let expected = PICKS as f64 * f64::from(choices) / count as f64;
        let deviation = (bench.counts(PICKS)[0] as f64 - expected.min(PICKS as f64)).abs();
        prop_assert!(deviation <= 6.0 * expected.sqrt(), "{} from {}", deviation, expected);
    }

    /// An idle endpoint is taken wherever there is one.
    #[test]
    fn idle_first(steps in prop::collection::vec((0usize..6, 0u32..3), 0..60), tried in 0usize..6, seed: u64) {
        let mut bench = Bench::new(Algorithm::JoinIdleQueue, &[1, 2, 3, 1, 1, 1]);
        bench.prng = Prng::new(seed);
        for (slot, load) in steps {
            bench.set_load(slot, load);
            let picked = bench.pick_but(&[id(tried)]).unwrap();
            let idle = (0..6).filter(|&slot| slot != tried && bench.in_flight[slot] == 0).count();
            prop_assert!(picked != tried && (idle == 0 || bench.in_flight[picked] == 0));
        }
    }
}

fn cost(bench: &Bench, slot: usize) -> Option<u64> {
    match &bench.picker.selector {
        Selector::PeakEwma(ewma) => ewma.cost(id(slot), bench.now),
        _ => None,
    }
}

/// The values that Finagle's rule gives: half after ln 2 time constants; 100 * e^-0.1 + 20 * (1 - e^-0.1).
#[test]
fn latencies_jump_up_and_decay() {
    let mut bench = Bench::new(Algorithm::PeakEwma, &[1, 1]);
    assert_eq!(cost(&bench, 0), None);
    bench.observe(0, 100, Verdict::Answered);
    bench.now = at(6931);
    assert_eq!(cost(&bench, 0).unwrap() / 10_000, 5000, "50.00 ms");
    assert_eq!(cost(&bench, 0).unwrap() / 10_000, 5000, "reading changes nothing");
    bench.now = at(1000);
    bench.observe(0, 20, Verdict::Answered);
    assert_eq!(cost(&bench, 0).unwrap() / 1000, 92_386, "92.387 ms, rounded down");
    bench.observe(0, 95, Verdict::Answered);
    assert_eq!(cost(&bench, 0), Some(95_000_000), "a peak counts in full");
    bench.now = at(10_000_000);
    assert_eq!(cost(&bench, 0), Some(1), "never nothing");
    // Clocks of threads may disagree by a little.
    bench.observe(0, 7, Verdict::Answered);
    bench.now = at(9_999_999);
    bench.observe(0, 3, Verdict::Answered);
    assert_eq!(cost(&bench, 0), Some(7_000_000));
}

#[test]
fn failures_cost_and_never_save() {
    let mut bench = Bench::new(Algorithm::PeakEwma, &[1, 1]);
    bench.observe(0, 0, Verdict::Failed);
    assert_eq!(cost(&bench, 0), Some(1_000_000_000), "error_latency");
    bench.observe(0, 5000, Verdict::Failed);
    bench.observe(0, 1, Verdict::Failed);
    assert_eq!(cost(&bench, 0), Some(5_000_000_000));
    bench.observe(0, 1, Verdict::CutShort);
    assert_eq!(cost(&bench, 0), Some(5_000_000_000), "given up soon: nothing is known");
    bench.observe(0, 6000, Verdict::CutShort);
    assert_eq!(cost(&bench, 0), Some(6_000_000_000), "it takes longer than that");
    bench.observe(0, u64::MAX / 1_000_000, Verdict::Answered);
    assert_eq!(cost(&bench, 0), Some(3_600_000_000_000), "no more than an hour");
}

/// One fails at once, the other answers in 20 ms: no traffic but the look every 10 s goes to the first.
#[test]
fn a_black_hole_does_not_attract_and_is_looked_at_again() {
    let mut bench = Bench::new(Algorithm::PeakEwma, &[1, 1]);
    let mut counts = [0; 2];
    for second in 0..100 {
        for step in 0..50 {
            bench.now = at(second * 1000 + step * 20);
            let slot = bench.pick();
            counts[slot] += 1;
            let (millis, verdict) = [(0, Verdict::Failed), (20, Verdict::Answered)][slot];
            bench.observe(slot, millis, verdict);
        }
    }
    assert!((10..=13).contains(&counts[0]), "{counts:?}");
}

#[test]
fn what_is_known_of_latencies_outlives_a_change() {
    let mut bench = Bench::new(Algorithm::PeakEwma, &[1, 1]);
    bench.observe(1, 80, Verdict::Answered);
    bench.become_(candidates(&[1]));
    bench.observe(1, 90, Verdict::Answered);
    let mut back = candidates(&[1, 5, 1]);
    bench.become_(back.clone());
    assert_eq!((cost(&bench, 1), cost(&bench, 2)), (Some(90_000_000), None));
    back[1].id.generation = 1;
    bench.become_(back);
    bench.observe(1, 10, Verdict::Answered); // of the one that is gone
    let Selector::PeakEwma(ewma) = &bench.picker.selector else { unreachable!() };
    assert_eq!(ewma.cost(EndpointId { slot: 1, generation: 1 }, bench.now), None);
}
