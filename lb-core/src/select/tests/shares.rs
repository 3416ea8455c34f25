//! Shares of random picks.

use super::*;

proptest! {
    /// The table has exactly the weight of each, times the number of columns.
    #[test]
    fn the_alias_table_is_exact(weights in prop::collection::vec(1u32..=1_000_000_000, 1..40)) {
        let mut random = crate::select::random::Random::default();
        random.rebuild(&Roster::new(candidates(&weights), |_| false));
        let expected: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) * weights.len() as u64).collect();
        let units = random.units();
        prop_assert!(units.is_empty() || units == expected);
        prop_assert!(!units.is_empty() || equal_weights(&candidates(&weights)));
    }
}

/// The limit is that of p = 0.001 for up to 7 degrees of freedom.
#[rstest]
#[case::random(Algorithm::Random, &[1; 8], &[0; 8], &[], &[1; 8])]
#[case::random_by_weight(Algorithm::Random, &[1, 2, 3, 4], &[0; 4], &[], &[1, 2, 3, 4])]
#[case::extreme_weights(Algorithm::Random, &[1, 1_000_000, 3_000_000], &[0; 3], &[0], &[0, 1, 3])]
#[case::random_of_the_rest(Algorithm::Random, &[1, 2, 3, 94], &[0; 4], &[3], &[1, 2, 3, 0])]
#[case::ties(Algorithm::LeastRequest, &[2, 2, 2, 2, 2], &[0, 0, 0, 0, 9], &[], &[1, 1, 1, 1, 0])]
#[case::ties_by_weight(Algorithm::LeastRequest, &[1, 3, 2], &[0, 2, 1], &[], &[1, 3, 2])]
#[case::ties_of_the_rest(Algorithm::LeastRequest, &[1, 3, 2], &[0, 2, 1], &[1], &[1, 0, 2])]
#[case::p2c_ties(Algorithm::P2c, &[1; 5], &[3; 5], &[], &[1; 5])]
#[case::p2c_ranks(Algorithm::P2c, &[1; 4], &[0, 1, 2, 3], &[], &[3, 2, 1, 0])]
#[case::p2c_of_the_rest(Algorithm::P2c, &[1; 4], &[0, 1, 2, 3], &[0], &[0, 2, 1, 0])]
#[case::cold_ewma_ties(Algorithm::PeakEwma, &[1; 5], &[3; 5], &[], &[1; 5])]
#[case::cold_ewma_ranks(Algorithm::PeakEwma, &[1; 4], &[0, 1, 2, 3], &[], &[3, 2, 1, 0])]
#[case::idle_ones(Algorithm::JoinIdleQueue, &[1, 5, 1, 1], &[0, 0, 1, 0], &[], &[1, 1, 0, 1])]
#[case::idle_ones_of_the_rest(Algorithm::JoinIdleQueue, &[1; 4], &[0, 0, 1, 0], &[1], &[1, 0, 0, 1])]
#[case::nobody_idle(Algorithm::JoinIdleQueue, &[1; 4], &[1, 2, 3, 4], &[], &[3, 2, 1, 0])]
#[case::rendezvous(Algorithm::Rendezvous, &[1, 2, 3, 4], &[0; 4], &[], &[1, 2, 3, 4])]
#[case::rendezvous_of_the_rest(Algorithm::Rendezvous, &[1, 2, 3, 94], &[0; 4], &[3], &[1, 2, 3, 0])]
#[case::jump_hash(Algorithm::JumpHash, &[1, 2, 3, 4], &[0; 4], &[], &[1, 2, 3, 4])]
#[case::jump_hash_of_the_rest(Algorithm::JumpHash, &[1, 2, 3, 94], &[0; 4], &[3], &[1, 2, 3, 0])]
fn shares(
    #[case] algorithm: Algorithm,
    #[case] weights: &[u32],
    #[case] loads: &[u32],
    #[case] tried: &[usize],
    #[case] parts: &[u64],
) {
    let mut bench = Bench::new(algorithm, weights);
    bench.set_loads(loads);
    let tried: Vec<EndpointId> = tried.iter().copied().map(id).collect();
    let mut counts = vec![0; weights.len()];
    (0..24_000).for_each(|_| counts[bench.pick_but(&tried).unwrap()] += 1);
    let sum = chi_square(&counts, parts);
    assert!(sum < 24.3, "{counts:?} for {parts:?}: {sum}");
}

/// The power of d choices, checked against the published law of the maximum: with n balls in n bins and
/// two choices the fullest of 100 bins nearly always has 2 or 3 (0.4144 and 0.5840 with replacement, which
/// costs a little); with one choice it has 3 to 7.
#[rstest]
#[case(1, &[(3, 0.1261), (4, 0.5755), (5, 0.2460)], 0.04)]
#[case(2, &[(2, 0.43), (3, 0.57)], 0.04)]
fn balls_into_bins(#[case] choices: u32, #[case] law: &[(u32, f64)], #[case] tolerance: f64) {
    const RUNS: usize = 1500;
    let config = config::Pool { p2c: P2c { choices }, ..using(Algorithm::P2c) };
    let mut bench = Bench::with(&config, &[1; 100]);
    let mut fullest = [0; 16];
    for _ in 0..RUNS {
        bench.set_loads(&[0; 100]);
        for _ in 0..100 {
            let slot = bench.pick();
            bench.add_load(slot, 1);
        }
        fullest[*bench.in_flight.iter().max().unwrap() as usize] += 1;
    }
    for &(most, share) in law {
        let got = f64::from(fullest[most as usize]) / RUNS as f64;
        assert!((got - share).abs() < tolerance, "{most}: {got} for {share}");
    }
}
