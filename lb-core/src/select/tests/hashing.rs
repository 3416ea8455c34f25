//! Consistent hashing: shares, disruption, bounds.

use super::{super::hashed::Hashed, *};

const KEYS: u64 = 4000;

fn owners(bench: &mut Bench) -> Vec<usize> {
    (0..KEYS).map(|key| bench.pick_for(key)).collect()
}

fn entries(bench: &Bench) -> alloc::collections::BTreeMap<u32, usize> {
    match &bench.picker.selector {
        Selector::Hashed(hashed) => hashed.entries(),
        _ => unreachable!(),
    }
}

fn hashing() -> impl Iterator<Item = config::Pool> {
    all().into_iter().filter(|config| config.algorithm.hashes())
}

/// The order of the file and the places of endpoints in memory mean nothing; but to jump hashing, which numbers them.
#[test]
fn keys_keep_their_endpoints_whatever_the_order() {
    for config in hashing().filter(|config| config.algorithm != Algorithm::JumpHash) {
        let weights = [1000, 2000, 1000, 3000, 1000];
        let mut bench = Bench::with(&config, &weights);
        let before = owners(&mut bench);
        let mut turned = candidates(&weights);
        turned.reverse();
        bench.become_(turned.clone());
        assert_eq!(owners(&mut bench), before, "{:?}", config.algorithm);
        let places = [4, 0, 3, 1, 2];
        for (candidate, &slot) in turned.iter_mut().zip(&places) {
            candidate.id = id(slot);
        }
        let mut bench = Bench::with(&config, &[]);
        bench.become_(turned);
        let moved: Vec<usize> = before.iter().map(|&owner| places[4 - owner]).collect();
        assert_eq!(owners(&mut bench), moved, "{:?}", config.algorithm);
    }
}

/// While an endpoint is down, only its keys go elsewhere: not all to one, and home again afterwards.
#[test]
fn only_the_keys_of_one_that_is_down_move() {
    for config in hashing() {
        let all = candidates(&[1000; 10]);
        let mut bench = Bench::with(&config, &[1000; 10]);
        let before = owners(&mut bench);
        bench.become_with(
            all.iter().copied().filter(|candidate| candidate.id != id(3)).collect(),
            all.clone(),
        );
        let during = owners(&mut bench);
        let mut heirs = [0; 10];
        for (&before, &during) in before.iter().zip(&during) {
            assert_ne!(during, 3);
            assert!(before == during || before == 3, "{:?}", config.algorithm);
            heirs[during] += usize::from(before == 3);
        }
        assert!(heirs.iter().all(|&heir| heir < KEYS as usize / 20), "{:?}: {heirs:?}", config.algorithm);
        bench.become_(all);
        assert_eq!(owners(&mut bench), before);
    }
}

/// Ring, rendezvous and, as it is the last one, jump: a member that leaves for good, or comes, moves its own keys
/// alone. Maglev moves a few more.
#[rstest]
#[case(Algorithm::RingHash, 0)]
#[case(Algorithm::Rendezvous, 0)]
#[case(Algorithm::JumpHash, 0)]
#[case(Algorithm::Maglev, 20)]
fn membership_moves_little(#[case] algorithm: Algorithm, #[case] others_permille: usize) {
    let mut bench = Bench::new(algorithm, &[1000; 10]);
    let before = owners(&mut bench);
    bench.become_(candidates(&[1000; 11]));
    let with_one_more = owners(&mut bench);
    let moved = |a: &[usize], b: &[usize], own: usize| {
        a.iter().zip(b).filter(|&(a, b)| a != b && *a != own && *b != own).count()
    };
    assert!(moved(&before, &with_one_more, 10) <= KEYS as usize * others_permille / 1000);
    let to_it = with_one_more.iter().filter(|&&owner| owner == 10).count();
    assert!((250..480).contains(&to_it), "{to_it} of {KEYS}, 1/11 or so");
    bench.become_(candidates(&[1000; 9]));
    assert!(moved(&before, &owners(&mut bench), 9) <= KEYS as usize * others_permille / 1000);
}

/// What stands in the place of another has its keys; what leaves from the middle moves the numbers of all after it,
/// and with them most of their keys.
#[test]
fn a_place_has_its_keys() {
    let mut bench = Bench::new(Algorithm::JumpHash, &[1000; 10]);
    let before = owners(&mut bench);
    let mut replaced = candidates(&[1000; 10]);
    replaced[4] = candidate(17, 1000);
    bench.become_(replaced);
    let after = owners(&mut bench);
    assert!(
        before.iter().zip(&after).all(|(&before, &after)| after == if before == 4 { 17 } else { before })
    );
    let mut fewer = candidates(&[1000; 10]);
    fewer.remove(4);
    bench.become_(fewer);
    let moved = before.iter().zip(owners(&mut bench)).filter(|&(&before, after)| before != after).count();
    assert!(moved > KEYS as usize / 2, "{moved} of {KEYS}");
}

/// A key that everybody drawn for it has declined goes by weight to those that are left, one in a thousand.
#[test]
fn what_jumps_too_often_is_placed_all_the_same() {
    let members = candidates(&[1000; 1000]);
    let mut bench = Bench::with(&using(Algorithm::JumpHash), &[]);
    bench.become_with(members[500..502].to_vec(), members);
    let mut counts = [0; 2];
    owners(&mut bench).into_iter().for_each(|owner| counts[owner - 500] += 1);
    assert!(chi_square(&counts, &[1, 1]) < 10.8, "{counts:?}");
}

/// Changing a weight moves keys to that endpoint or from it. With jump hashing there is a heavier one.
#[test]
fn a_weight_moves_keys_of_its_place() {
    let weights = [1000, 2000, 1000, 1000, 6000, 1000];
    let mut bench = Bench::new(Algorithm::JumpHash, &weights);
    let before = owners(&mut bench);
    let mut heavier = candidates(&weights);
    heavier[2].weight = 4000;
    bench.become_(heavier);
    let after = owners(&mut bench);
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 2));
    let share = after.iter().filter(|&&owner| owner == 2).count();
    assert!((960..1180).contains(&share), "{share} of {KEYS}, 4/15 or so");
}

/// Changing a weight moves keys to that endpoint or from it.
#[rstest]
#[case(Algorithm::RingHash)]
#[case(Algorithm::Rendezvous)]
fn a_weight_moves_keys_of_its_endpoint(#[case] algorithm: Algorithm) {
    let mut bench = Bench::new(algorithm, &[1000; 6]);
    let before = owners(&mut bench);
    let mut heavier = candidates(&[1000; 6]);
    heavier[2].weight = 3000;
    bench.become_(heavier);
    let after = owners(&mut bench);
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 2));
    let share = after.iter().filter(|&&owner| owner == 2).count();
    assert!((1300..1700).contains(&share), "{share} of {KEYS}, 3/8 or so");
}

/// `n * share` has a coefficient of variation of `sqrt((n - 1) / (n * V + 1))` with V points.
#[rstest]
#[case(1)]
#[case(10)]
#[case(160)]
fn shares_of_a_ring_spread_as_theory_says(#[case] points: u32) {
    const SEEDS: u64 = 60;
    const COUNT: usize = 10;
    let config =
        config::Pool { ring_hash: RingHash { points, balance_factor: None }, ..using(Algorithm::RingHash) };
    let mut squares = 0.0;
    for seed in 0..SEEDS {
        let members: Vec<Candidate> = candidates(&[1000; COUNT])
            .into_iter()
            .map(|member| Candidate { identity: mix(member.identity ^ mix(seed)), ..member })
            .collect();
        let mut bench = Bench::with(&config, &[]);
        bench.become_(members);
        let mut counts = [0.0; COUNT];
        (0..KEYS).for_each(|key| counts[bench.pick_for(key)] += 1.0);
        squares +=
            counts.map(|count: f64| (count * COUNT as f64 / KEYS as f64 - 1.0).powi(2)).iter().sum::<f64>();
    }
    let n = COUNT as f64;
    // The keys are a sample, which adds the variance of a multinomial draw.
    let expected = (n - 1.0) / (n * f64::from(points) + 1.0) + (n - 1.0) / KEYS as f64;
    let got = squares / (SEEDS as f64 * n);
    assert!((got / expected - 1.0).abs() < 0.3, "{} for {}", got.sqrt(), expected.sqrt());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// With equal weights: the floor or the ceiling of the mean. With others: one for everybody, and
    /// no more than one turn from its share.
    #[test]
    fn maglev_counts(
        weights in prop::collection::vec(1u32..20, 1..30), equal: bool, size in prop::sample::select(&[251u32, 1009, 4099][..]),
    ) {
        let weights: Vec<u32> = weights.iter().map(|&weight| if equal { 7 } else { weight }).collect();
        let config = config::Pool {
            maglev: Maglev { table_size: size, balance_factor: None },
            ..using(Algorithm::Maglev)
        };
        let bench = Bench::with(&config, &weights);
        let counts = entries(&bench);
        prop_assert_eq!(counts.values().sum::<usize>(), size as usize);
        let total: u32 = weights.iter().sum();
        for (slot, &weight) in weights.iter().enumerate() {
            let count = counts[&(slot as u32)];
            let share = f64::from(size) * f64::from(weight) / f64::from(total);
            if equal {
                let mean = size as usize / weights.len();
                prop_assert!(count == mean || count == mean + usize::from(!(size as usize).is_multiple_of(weights.len())));
            }
            prop_assert!(count >= 1 && (count as f64 - share).abs() <= 1.0 + f64::from(weight) * weights.len() as f64 / f64::from(total));
        }
    }

    /// With m in flight, nobody who is given another has more than `ceil(c * (m + 1) * w / W)` then, and
    /// there is always somebody. While nothing ends, that holds of everybody.
    #[test]
    fn loads_are_bounded(
        weights in prop::collection::vec(1u32..5, 2..12), percent in 101u32..300, maglev: bool, one_key: bool,
        steps in prop::collection::vec((any::<u64>(), any::<bool>()), 1..150), ends: bool,
    ) {
        let factor = Some(percent);
        let config = config::Pool {
            maglev: Maglev { table_size: 251, balance_factor: factor },
            ring_hash: RingHash { points: 20, balance_factor: factor },
            ..using(if maglev { Algorithm::Maglev } else { Algorithm::RingHash })
        };
        let mut bench = Bench::with(&config, &weights);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (key, end) in steps {
            let in_flight: u64 = bench.in_flight.iter().map(|&load| u64::from(load)).sum();
            let busy = (0..weights.len()).find(|&slot| bench.in_flight[slot] > 0);
            match busy {
                Some(slot) if end && ends => bench.add_load(slot, -1),
                _ => {
                    let slot = bench.pick_for(if one_key { 1 } else { key });
                    bench.add_load(slot, 1);
                    let bound = |slot: usize| {
                        (u64::from(percent) * (in_flight + 1) * u64::from(weights[slot])).div_ceil(100 * total)
                    };
                    prop_assert!(u64::from(bench.in_flight[slot]) <= bound(slot));
                    if !ends {
                        prop_assert!((0..weights.len()).all(|slot| u64::from(bench.in_flight[slot]) <= bound(slot)));
                    }
                }
            }
        }
    }
}

/// An endpoint that gets away from its bound only by what is left out is taken all the same.
#[test]
fn the_bound_gives_way_before_a_request_fails() {
    let config = config::Pool {
        ring_hash: RingHash { points: 20, balance_factor: Some(101) },
        ..using(Algorithm::RingHash)
    };
    let mut bench = Bench::with(&config, &[1, 1, 1]);
    bench.set_loads(&[9, 9, 0]);
    assert!((0..50).all(|key| bench.pick_for(key) == 2));
    assert!(matches!(bench.pick_but(&[id(2)]), Some(0 | 1)));
}

/// A request without a key goes anywhere; one with a key always to the same.
#[test]
fn without_a_key_picks_spread() {
    for config in hashing() {
        let mut bench = Bench::with(&config, &[1000; 5]);
        assert!(bench.counts(1000).iter().all(|&count| count > 100), "{:?}", config.algorithm);
        let first = bench.pick_for(7);
        assert!((0..100).all(|_| bench.pick() == first), "{:?}", config.algorithm);
    }
}

/// What a weight asks for beyond the limit on points is scaled down for all alike.
#[test]
fn a_ring_is_bounded() {
    let bench = Bench::new(Algorithm::RingHash, &[1_000_000_000, 500_000_000, 1000]);
    let entries = entries(&bench);
    let total: usize = entries.values().sum();
    assert!(total <= crate::limits::RING_POINTS_MAX + 3);
    assert!(entries[&2] == 1 && entries[&0].abs_diff(2 * entries[&1]) <= 2, "{entries:?}");
}

proptest! {
    /// Oracle: the walk. Few of many may be picked, some of these are left out, and some have more than their share.
    #[test]
    fn the_nearest_is_the_first_on_the_walk(
        count in 2usize..120, free in prop::collection::vec(any::<usize>(), 1..12), skipped: u16, keys: [u64; 8],
        loads in prop::collection::vec(0u32..4, 120), balance_factor in prop::option::of(101u32..300), ring: bool,
    ) {
        let mut hashed = if ring {
            Hashed::ring(&RingHash { points: 7, balance_factor })
        } else {
            Hashed::maglev(&Maglev { table_size: 251, balance_factor })
        };
        let members: Vec<Candidate> = (0..count).map(|slot| candidate(slot, 1000 + slot as u32 % 3 * 1000)).collect();
        let is_free = |index: usize| free.iter().any(|free| free % count == index);
        // Some members are down.
        let candidates = members.iter().copied().filter(|one| one.id.slot % 7 != 3 || is_free(one.id.slot as usize));
        let candidates: Vec<Candidate> = candidates.collect();
        let is_full: Vec<bool> = candidates.iter().map(|one| !is_free(one.id.slot as usize)).collect();
        let roster = Roster::new(candidates, |index| is_full[index]);
        hashed.rebuild(&roster, &members, &loads);
        let skip: Vec<u32> = (0..).zip(roster.free.iter()).filter(|(rank, _)| skipped >> rank & 1 == 1).map(|(_, index)| index as u32).collect();
        let skip = if skip.len() == roster.free.count() { &[] } else { &skip[..] };
        for key in keys {
            let view = View { roster: &roster, in_flight: &loads, skip, key: Some(key), now: at(0) };
            let start = hashed.start(key);
            let first = hashed.first_on_walk(view, start);
            prop_assert!(first.is_some());
            prop_assert_eq!(hashed.nearest(view, start), first);
        }
    }
}
