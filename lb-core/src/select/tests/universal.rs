//! What holds for every algorithm, and where it is shown.
//!
//! | | property | test |
//! |---|---|---|
//! | U1 | only an eligible one is picked, and one that was not tried if there is any | [`only_the_eligible`] |
//! | U2 | of none, none is picked | [`few_endpoints`], [`only_the_eligible`] |
//! | U3 | of one, that one, and nothing is drawn for it | [`few_endpoints`] |
//! | U4 | equal seeds and equal events, equal picks, on every machine | `golden`, `pool::tests::saturation` |
//! | U5 | one of weight 0 is never picked | `pool::tests::what_takes_no_traffic_is_not_picked` |
//! | U6 | no place in the list has an advantage | [`equals_get_equal_shares`], [`the_order_of_the_list_gives_no_advantage`] |
//! | U7 | more load never means more picks | [`load_does_not_attract`] |
//! | U8 | a request that is given up at once leaves no trace | [`giving_up_leaves_no_trace`] |
//! | U9 | each beginning has one end, and counts never fall below 0 | `pool::tests::model` |
//! | U10 | nobody with a weight starves | [`nobody_starves`] |
//! | U11 | a change of the members touches nothing else | [`the_same_again_is_no_change`], `round`, `hashing`, `load` |

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

/// Endpoints keep their shares when the list is turned around, whatever their weights and loads. (Keys keep their
/// endpoints: see `hashing`.)
#[test]
fn the_order_of_the_list_gives_no_advantage() {
    let (weights, loads) = ([1, 3, 2, 2, 5], [2, 1, 1, 3, 4]);
    for config in all().iter().filter(|config| !config.algorithm.hashes()) {
        let shares = |turned_around: bool| {
            let mut bench = Bench::with(config, &weights);
            bench.set_loads(&loads);
            if turned_around {
                bench.prng = Prng::new(2);
                bench.become_(candidates(&weights).into_iter().rev().collect());
            }
            bench.counts(12_000)
        };
        let (counts, others) = (shares(false), shares(true));
        let term = |(&a, &b): (&usize, &usize)| (a as f64 - b as f64).powi(2) / ((a + b) as f64).max(1.0);
        let sum: f64 = counts.iter().zip(&others).map(term).sum();
        assert!(sum < 18.5, "{:?}: {counts:?} and {others:?}", config.algorithm);
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
