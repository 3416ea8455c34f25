//! What holds for every algorithm.

use super::*;

/// One endpoint: that one, at no draw. None: none.
#[test]
fn few_endpoints() {
    for config in all() {
        let mut bench = Bench::with(&config, &[3]);
        assert_eq!(bench.counts(5), [5]);
        assert_eq!(bench.prng.next_u64(), Prng::new(1).next_u64(), "{:?}", config.algorithm);
        bench.become_with(Vec::new(), candidates(&[3]));
        assert_eq!(bench.pick_but(&[]), None);
        bench.become_(candidates(&[1, 2]));
        assert!(bench.pick_but(&[id(0)]) == Some(1) && bench.pick_but(&[id(0), id(1)]).is_some());
    }
}

/// No index has an advantage: equal endpoints get equal shares. Of hashing algorithms this is true of
/// the expectation over identities only, which `hashing` looks at.
#[test]
fn equals_get_equal_shares() {
    const COUNT: usize = 6;
    for config in all().iter().filter(|config| !config.algorithm.hashes()) {
        let mut bench = Bench::with(config, &[4; COUNT]);
        bench.set_loads(&[1; COUNT]);
        let counts = bench.counts(12_000);
        let sum = chi_square(&counts, &[1; COUNT]);
        assert!(sum < 20.5, "{:?}: {counts:?}", config.algorithm);
    }
}

/// More load never means more picks.
#[test]
fn load_does_not_attract() {
    for config in all() {
        let picks = |load: u32| {
            let mut bench = Bench::with(&config, &[1, 2, 1, 1]);
            bench.set_loads(&[load, 2, 1, 0]);
            bench.counts(4000)[0]
        };
        let counts: Vec<usize> = (0..5).map(picks).collect();
        assert!(counts.windows(2).all(|pair| pair[1] <= pair[0] + 150), "{:?}: {counts:?}", config.algorithm);
    }
}

/// Everybody with a weight gets something, once there is something to share: 30 requests in flight.
#[test]
fn nobody_starves() {
    for config in all() {
        let mut bench = Bench::with(&config, &[1000, 2000, 3000, 2000, 1000, 1000, 1000]);
        let mut open = alloc::collections::VecDeque::new();
        let mut counts = [0; 7];
        for _ in 0..2000 {
            let slot = bench.pick();
            counts[slot] += 1;
            bench.add_load(slot, 1);
            open.push_back(slot);
            if open.len() > 30 {
                bench.add_load(open.pop_front().unwrap(), -1);
            }
        }
        assert!(counts.iter().all(|&count| count >= 50), "{:?}: {counts:?}", config.algorithm);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Only eligible ones are picked, whatever the members, and of those the ones that were not tried.
    #[test]
    fn only_the_eligible(
        weights in weights(), loads in prop::collection::vec(0u32..4, 9), tried in any::<[bool; 9]>(),
        down in any::<[bool; 9]>(), seed: u64, key: Option<u64>,
    ) {
        let members = candidates(&weights);
        let slots = || (0..weights.len()).filter(|&slot| !down[slot]);
        let fresh = slots().any(|slot| !tried[slot]);
        let ids: Vec<_> = (0..9).filter(|&slot| tried[slot]).map(id).collect();
        for config in all() {
            let mut bench = Bench::with(&config, &weights);
            (bench.prng, bench.key) = (Prng::new(seed), key);
            bench.set_loads(&loads);
            bench.become_with(slots().map(|slot| members[slot]).collect(), members.clone());
            for _ in 0..10 {
                match bench.pick_but(&ids) {
                    Some(slot) => prop_assert!(!down[slot] && (!tried[slot] || !fresh), "{:?}", config.algorithm),
                    None => prop_assert!(slots().next().is_none(), "{:?}", config.algorithm),
                }
            }
        }
    }

    /// A request that is begun and given up at once leaves no trace in what is picked next.
    #[test]
    fn giving_up_leaves_no_trace(
        weights in weights(), loads in prop::collection::vec(0u32..3, 9), given_up in prop::collection::vec(0usize..9, 0..6), seed: u64,
    ) {
        // What is idle is kept in the order in which it became so.
        for config in all().iter().filter(|config| config.algorithm != Algorithm::JoinIdleQueue) {
            let mut benches = [(); 2].map(|()| Bench::with(config, &weights));
            for bench in &mut benches {
                bench.prng = Prng::new(seed);
                bench.set_loads(&loads);
            }
            for &slot in &given_up {
                benches[0].add_load(slot, 1);
                benches[0].add_load(slot, -1);
                benches[0].observe(slot, 0, Verdict::CutShort);
            }
            let [left, right] = benches.each_mut().map(|bench| bench.letters(20));
            prop_assert_eq!(left, right, "{:?}", config.algorithm);
        }
    }

    /// A change to the same endpoints changes nothing: neither the round, nor what is known, nor the table.
    #[test]
    fn the_same_again_is_no_change(weights in weights(), loads in prop::collection::vec(0u32..3, 9), picks in 0usize..30, seed: u64) {
        for config in all().iter().filter(|config| config.algorithm != Algorithm::JoinIdleQueue) {
            let mut benches = [(); 2].map(|()| Bench::with(config, &weights));
            for bench in &mut benches {
                bench.prng = Prng::new(seed);
                bench.set_loads(&loads);
                bench.observe(0, 30, Verdict::Answered);
                (0..picks).for_each(|_| { bench.pick(); });
            }
            benches[0].become_(candidates(&weights));
            let [left, right] = benches.each_mut().map(|bench| bench.letters(20));
            prop_assert_eq!(left, right, "{:?}", config.algorithm);
        }
    }
}
