//! Properties of all algorithms, and the known sequences of single ones.

use alloc::{string::String, vec};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const ALL: [Algorithm; 4] =
    [Algorithm::Random, Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::P2c];

fn id(slot: usize) -> EndpointId {
    EndpointId { slot: slot as u32, generation: 0 }
}

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    weights
        .iter()
        .enumerate()
        .map(|(slot, &weight)| Candidate { id: id(slot), weight, identity: 0 })
        .collect()
}

/// A picker with loads; picks do not change the loads.
struct Bench {
    picker: Picker,
    in_flight: Vec<u32>,
    prng: Prng,
}

impl Bench {
    fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
        let mut bench = Self { picker: Picker::new(algorithm), in_flight: vec![0; 64], prng: Prng::new(1) };
        bench.become_(candidates(weights));
        bench
    }

    fn become_(&mut self, new: Vec<Candidate>) {
        self.picker.rebuild(new.clone(), new, &self.in_flight);
    }

    fn candidates(&self) -> &[Candidate] {
        self.picker.eligible()
    }

    fn pick_but(&mut self, tried: &[EndpointId]) -> Option<usize> {
        let ask = Ask { key: None, tried };
        let id = self.picker.pick(&ask, &self.in_flight, &mut self.prng, Instant::ZERO)?;
        self.picker.roster.index(id)
    }

    fn pick(&mut self) -> usize {
        self.pick_but(&[]).unwrap()
    }

    fn letters(&mut self, count: usize) -> String {
        let mut letter = || {
            let index = self.pick();
            char::from(b'a' + self.candidates()[index].id.slot as u8)
        };
        (0..count).map(|_| letter()).collect()
    }

    fn counts(&mut self, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.candidates().len()];
        (0..picks).for_each(|_| counts[self.pick()] += 1);
        counts
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1u32..12, 1..9)
}

/// The sequences of nginx's smooth weighted round robin.
#[rstest]
#[case(&[5, 1, 1], "aabacaa")]
#[case(&[2, 1], "aba")]
#[case(&[3, 1], "aaba")]
#[case(&[4, 2, 1], "abacaba")]
#[case(&[3, 2, 1], "abacba")]
#[case(&[7, 5, 3], "abcabacababacba")]
#[case(&[10, 1], "aaaaabaaaaa")]
#[case(&[5, 5, 1], "ababcababab")]
#[case(&[1, 1], "abababab")]
#[case(&[9, 9, 9], "abcabc")]
#[case(&[4], "aaaa")]
fn round_robin_sequences(#[case] weights: &[u32], #[case] sequence: &str) {
    let mut bench = Bench::new(Algorithm::RoundRobin, weights);
    assert_eq!(bench.letters(sequence.len()), sequence);
    assert_eq!(bench.letters(sequence.len()), sequence, "the second period");
}

#[test]
fn the_round_goes_on_when_endpoints_come_and_go() {
    let mut bench = Bench::new(Algorithm::RoundRobin, &[1, 1, 1, 1]);
    let all = bench.candidates().to_vec();
    assert_eq!(bench.letters(2), "ab");
    bench.become_([all[0], all[1], all[3]].into());
    assert_eq!(bench.letters(2), "da");
    bench.become_(all.clone());
    assert_eq!(bench.letters(4), "bcda");
    bench.become_([all[0], all[1]].into());
    bench.become_(Vec::new());
    assert_eq!(bench.pick_but(&[]), None);
    bench.become_(all);
    assert_eq!(bench.letters(4), "abcd");
}

#[test]
fn a_successor_in_the_same_slot_is_a_stranger() {
    let old = candidates(&[1, 1]);
    let mut new = old.clone();
    new[1].id.generation = 1;
    assert_eq!(Places::of(&old).get(new[0].id), Some(0));
    assert_eq!(Places::of(&old).get(new[1].id), None);
}

/// The first of three was served when the weights change, to all but the same: the other two follow.
#[test]
fn the_cursor_becomes_credits() {
    let mut bench = Bench::new(Algorithm::RoundRobin, &[1000, 1000, 1000]);
    assert_eq!(bench.letters(1), "a");
    bench.become_(candidates(&[1000, 1000, 999]));
    assert_eq!(bench.letters(2), "bc");
    assert_eq!(bench.letters(1), "b");
    bench.become_(candidates(&[1000, 1000, 1000]));
    assert_eq!(bench.letters(1), "a");
}

#[rstest]
#[case::counts_the_candidate(&[1, 100], &[0, 0], 1)]
#[case::fewest(&[1, 1, 1], &[10, 5, 2], 2)]
#[case::by_weight(&[1, 3], &[1, 4], 1)]
#[case::extremes(&[1_000_000_000, 999_999_999], &[u32::MAX, u32::MAX], 0)]
fn least_request_takes_the_lightest(#[case] weights: &[u32], #[case] loads: &[u32], #[case] expected: usize) {
    let mut bench = Bench::new(Algorithm::LeastRequest, weights);
    bench.in_flight[..loads.len()].copy_from_slice(loads);
    assert!((0..50).all(|_| bench.pick() == expected));
}

/// Chi-square against the expected shares. The seed is fixed, so this passes always or never; the limit
/// is that of p = 0.001 for up to 7 degrees of freedom.
#[rstest]
#[case::random(Algorithm::Random, &[1, 1, 1, 1, 1, 1, 1, 1], &[0; 8], &[1, 1, 1, 1, 1, 1, 1, 1])]
#[case::random_by_weight(Algorithm::Random, &[1, 2, 3, 4], &[0; 4], &[1, 2, 3, 4])]
#[case::ties(Algorithm::LeastRequest, &[2, 2, 2, 2, 2], &[0, 0, 0, 0, 9], &[1, 1, 1, 1, 0])]
#[case::ties_by_weight(Algorithm::LeastRequest, &[1, 3, 2], &[0, 2, 1], &[1, 3, 2])]
#[case::p2c_ties(Algorithm::P2c, &[1, 1, 1, 1, 1], &[3; 5], &[1, 1, 1, 1, 1])]
#[case::p2c_ranks(Algorithm::P2c, &[1, 1, 1, 1], &[0, 1, 2, 3], &[3, 2, 1, 0])]
fn shares(
    #[case] algorithm: Algorithm,
    #[case] weights: &[u32],
    #[case] loads: &[u32],
    #[case] parts: &[usize],
) {
    const PICKS: usize = 24_000;
    let mut bench = Bench::new(algorithm, weights);
    bench.in_flight[..loads.len()].copy_from_slice(loads);
    let counts = bench.counts(PICKS);
    let total: usize = parts.iter().sum();
    let chi_square: f64 = counts
        .iter()
        .zip(parts)
        .map(|(&count, &part)| {
            let expected = (PICKS * part / total) as f64;
            if part == 0 { count as f64 * 1e9 } else { (count as f64 - expected).powi(2) / expected }
        })
        .sum();
    assert!(chi_square < 24.3, "{counts:?} for {parts:?}: {chi_square}");
}

#[test]
fn a_single_endpoint_costs_no_draw() {
    for algorithm in ALL {
        let mut bench = Bench::new(algorithm, &[3]);
        assert_eq!(bench.counts(5), [5]);
        assert_eq!(bench.prng.next_u64(), Prng::new(1).next_u64(), "{algorithm:?}");
    }
}

proptest! {
    #[test]
    fn skipped_ones_are_not_picked(
        weights in weights(), loads in prop::collection::vec(0u32..4, 9), skip in any::<[bool; 9]>(), seed: u64,
    ) {
        for algorithm in ALL {
            let mut bench = Bench::new(algorithm, &weights);
            bench.prng = Prng::new(seed);
            bench.in_flight[..9].copy_from_slice(&loads);
            let skip: Vec<_> = (0..9).filter(|&slot| skip[slot]).map(id).collect();
            let any = bench.candidates().iter().any(|candidate| !skip.contains(&candidate.id));
            for _ in 0..10 {
                match bench.pick_but(&skip) {
                    Some(index) => prop_assert!(!any || !skip.contains(&bench.candidates()[index].id)),
                    None => prop_assert!(false, "there is always one"),
                }
            }
        }
    }

    /// Theory: -(n - 1) < count - t * w / W < 1 at all times, and 0 at the end of a period.
    #[test]
    fn smooth_round_robin_deviates_little(weights in prop::collection::vec(1u32..120, 1..13)) {
        let mut bench = Bench::new(Algorithm::RoundRobin, &weights);
        let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let behind = (weights.len() as i64 - 1).max(1) * total;
        let mut counts = vec![0i64; weights.len()];
        for t in 1..=total {
            counts[bench.pick()] += 1;
            for (&count, &weight) in counts.iter().zip(&weights) {
                let deviation = count * total - t * i64::from(weight);
                prop_assert!(-behind < deviation && deviation < total, "{counts:?} of {weights:?}");
            }
        }
        prop_assert_eq!(counts, weights.iter().map(|&weight| i64::from(weight)).collect::<Vec<_>>());
    }

    /// Credits stay within the sum of the weights, and theirs is 0, whatever joins, leaves or is skipped.
    #[test]
    fn credits_balance(
        steps in prop::collection::vec((prop::collection::vec(0u32..9, 6), 0usize..8, 0usize..7), 1..12),
    ) {
        let mut bench = Bench::new(Algorithm::RoundRobin, &[1, 2]);
        for (weights, picks, skip) in steps {
            bench.become_(candidates(&weights).into_iter().filter(|candidate| candidate.weight > 0).collect());
            for _ in 0..picks {
                let picked = bench.pick_but(&[id(skip)]);
                prop_assert!(picked.is_some() || bench.candidates().is_empty());
            }
            let Selector::RoundRobin(round_robin) = &bench.picker.selector else { unreachable!() };
            let (credits, equal) = round_robin.credits();
            if !equal {
                prop_assert_eq!(credits.iter().sum::<i64>(), 0);
                prop_assert_eq!(credits.len(), bench.candidates().len());
            }
        }
    }

    /// Oracle: equal weights make smooth round robin and a walk around the ring the same thing.
    #[test]
    fn equal_weights_alternate(count in 1usize..9, picks in 0usize..40) {
        let mut bench = Bench::new(Algorithm::RoundRobin, &vec![7; count]);
        for t in 0..picks {
            prop_assert_eq!(bench.pick(), t % count);
        }
    }

    /// Oracle: fractions compared as u128, by sorting.
    #[test]
    fn least_request_is_the_minimum(
        weights in prop::collection::vec(1u32..=1_000_000_000, 1..9), loads: [u32; 9], seed: u64,
    ) {
        let mut bench = Bench::new(Algorithm::LeastRequest, &weights);
        bench.prng = Prng::new(seed);
        bench.in_flight[..9].copy_from_slice(&loads);
        let picked = bench.pick();
        let load = |index: usize| u128::from(loads[index]) + 1;
        for other in 0..weights.len() {
            prop_assert!(
                load(picked) * u128::from(weights[other]) <= load(other) * u128::from(weights[picked])
            );
        }
    }

    #[test]
    fn two_choices_are_distinct(count in 1usize..20, skip in 0usize..20, seed: u64) {
        let candidates = candidates(&vec![1; count]);
        let mut prng = Prng::new(seed);
        let roster = Roster::new(candidates);
        for tried in [&[][..], &[id(skip)]] {
            let skip = roster.skip(tried);
            let skip = skip.indexes();
            let view = View { roster: &roster, in_flight: &[0; 20], skip, key: None, now: Instant::ZERO };
            let left = view.rest().count();
            match p2c::draw(view, &mut prng) {
                Some((first, second)) => {
                    prop_assert!(first < count && second < count && (first != second || left == 1));
                }
                None => prop_assert_eq!(left, 0),
            }
        }
    }

    /// The more loaded of two equals is never drawn against the other; the most loaded never at all.
    #[test]
    fn two_choices_avoid_the_worst(loads in prop::collection::vec(0u32..50, 2..9), seed: u64) {
        let mut bench = Bench::new(Algorithm::P2c, &vec![1; loads.len()]);
        bench.prng = Prng::new(seed);
        bench.in_flight[..loads.len()].copy_from_slice(&loads);
        let worst = *loads.iter().max().unwrap();
        let alone = loads.iter().filter(|&&load| load == worst).count() == 1;
        for _ in 0..20 {
            let picked = bench.pick();
            prop_assert!(!(alone && loads[picked] == worst));
        }
    }
}
