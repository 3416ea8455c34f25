//! Round robin by both rules: sequences, deviations, periods.

use super::{super::credits::Credits, *};
use crate::limits::ROUND_PICKS_MAX;

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
    assert_eq!(bench.letters(sequence.len()), sequence, "the third period");
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
    assert_eq!(bench.letters(4), "bcda", "after the one that was taken last");
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

/// How far the counts of picks get from the shares, in parts of the sum of the weights.
fn deviations(bench: &mut Bench, weights: &[u32], picks: i64, mut check: impl FnMut(i64)) {
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut counts = vec![0i64; weights.len()];
    for t in 1..=picks {
        counts[bench.pick()] += 1;
        for (&count, &weight) in counts.iter().zip(weights) {
            check(count * total - t * i64::from(weight));
        }
    }
}

/// `|D| <= 1 - 1/(2n - 2)`, in the same parts.
fn assert_is_optimal(weights: &[u32]) {
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let parts = (2 * weights.len() as i64 - 2).max(1);
    let mut bench = Bench::new(Algorithm::Tijdeman, weights);
    deviations(&mut bench, weights, 2 * total + 1, |deviation| {
        assert!(
            deviation.abs() * parts <= total * (parts - 1).max(1),
            "{deviation} of {total} for {weights:?}"
        );
    });
}

/// All weights up to 6 of up to 4 endpoints.
#[test]
fn tijdeman_deviates_least() {
    for code in 0..6u32.pow(4) {
        let weights = [code % 6, code / 6 % 6, code / 36 % 6, code / 216].map(|weight| weight + 1);
        for count in 2..=4 {
            assert_is_optimal(&weights[..count]);
        }
    }
}

/// Weights, found by search, for which smooth round robin is a third of a turn worse than Tijdeman can be.
#[test]
fn smooth_round_robin_lets_light_endpoints_wait_and_tijdeman_does_not() {
    let weights = [1, 101, 3, 3, 101, 1, 1, 1, 1, 101, 50, 101];
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut worst = 0;
    deviations(&mut Bench::new(Algorithm::RoundRobin, &weights), &weights, total, |deviation| {
        worst = worst.min(deviation);
    });
    assert!(
        worst * 100 < -total * 134 && worst * 100 > -total * 135,
        "-1.342 by search, not {worst}/{total}"
    );
    assert_is_optimal(&weights);
}

#[rstest]
#[case::smooth(Algorithm::RoundRobin)]
#[case::chairman(Algorithm::Tijdeman)]
fn a_period_is_played_again(#[case] algorithm: Algorithm) {
    let plays = |bench: &Bench| match &bench.picker.selector {
        Selector::RoundRobin(round_robin) => round_robin.plays(),
        _ => false,
    };
    let mut bench = Bench::new(algorithm, &[3000, 2000, 1000]);
    bench.letters(5);
    assert!(!plays(&bench));
    bench.letters(1);
    assert!(plays(&bench), "3 + 2 + 1 picks are a period");
    bench.become_(candidates(&[3000, 2000, 1001]));
    assert!(!plays(&bench));

    let too_long = [ROUND_PICKS_MAX as u32, 1];
    let mut bench = Bench::new(algorithm, &too_long);
    bench.counts(ROUND_PICKS_MAX as usize + 2);
    assert!(!plays(&bench));
}

/// A retry takes a later turn; whose turn was passed has it next, and nobody has more or fewer.
#[test]
fn a_passed_turn_is_kept() {
    let mut bench = Bench::new(Algorithm::RoundRobin, &[2, 1, 1]);
    assert_eq!(bench.letters(8), "abcaabca");
    assert_eq!(bench.pick_but(&[id(0)]), Some(1));
    assert_eq!(bench.letters(3), "aca");
    assert_eq!(bench.letters(8), "abcaabca");
    // One that is avoided for ever loses turns, and all others go on.
    let without: String =
        (0..400).map(|_| char::from(b'a' + bench.pick_but(&[id(0)]).unwrap() as u8)).collect();
    assert_eq!(without.matches('b').count(), 200);
}

/// Credits as the rules are told: all that may be picked, looked at one by one, in fractions that are not rounded.
struct OneByOne {
    weights: Vec<i64>,
    credits: Vec<i64>,
}

impl OneByOne {
    fn pick(&mut self, rule: Rule, free: &[usize]) -> usize {
        let total: i64 = free.iter().map(|&index| self.weights[index]).sum();
        free.iter().for_each(|&index| self.credits[index] += self.weights[index]);
        let (credits, weights) = (&self.credits, &self.weights);
        let parts = i128::from(2 * free.len() as i64 - 2);
        let deadline = |&index: &usize| {
            let slack = i128::from(total) * (parts - 1) - i128::from(credits[index]) * parts;
            (slack.div_euclid(i128::from(weights[index]) * parts) + 1).max(0)
        };
        let is_behind = |index: &&usize| i128::from(credits[**index]) * parts >= i128::from(total);
        let chairman = free.iter().filter(is_behind).min_by_key(|&index| (deadline(index), *index));
        let most = || free.iter().max_by_key(|&&index| (credits[index], core::cmp::Reverse(index)));
        let best = match rule {
            Rule::Chairman if parts > 0 => chairman.or_else(most),
            _ => most(),
        };
        let best = *best.unwrap();
        self.credits[best] -= total;
        best
    }
}

proptest! {
    #[test]
    fn tijdeman_deviates_least_with_many(weights in prop::collection::vec(1u32..60, 2..14)) {
        assert_is_optimal(&weights);
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
            if let Some(credits) = round_robin.credits() {
                prop_assert_eq!(credits.iter().sum::<i64>(), 0);
                prop_assert_eq!(credits.len(), bench.candidates().len());
            }
        }
    }

    /// Oracle: the credits that each pick was reckoned with. Periods, changes and left-out endpoints included,
    /// the two never differ in what a change makes of them.
    #[test]
    fn a_played_period_keeps_the_books(
        weights in prop::collection::vec(1u32..6, 2..5), picks in 0usize..60, tried in 0usize..5, chairman: bool,
    ) {
        let algorithm = if chairman { Algorithm::Tijdeman } else { Algorithm::RoundRobin };
        let mut bench = Bench::new(algorithm, &weights);
        let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let mut counts = vec![0i64; weights.len()];
        bench.counts(total as usize); // now it plays, unless the weights are equal
        for t in 0..picks {
            let tried = [id(tried)];
            counts[bench.pick_but(if t % 3 == 0 { &tried } else { &[] }).unwrap()] += 1;
        }
        let Selector::RoundRobin(round_robin) = &bench.picker.selector else { unreachable!() };
        if let Some(credits) = round_robin.credits() {
            let expected: Vec<i64> =
                counts.iter().zip(&weights).map(|(count, &weight)| picks as i64 * i64::from(weight) - total * count).collect();
            prop_assert_eq!(credits, expected);
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

    /// Oracle: the rules, one endpoint after the other. Endpoints fill and free between picks, and some picks leave
    /// some out.
    #[test]
    fn credits_follow_the_rules_whoever_is_full(
        weights in prop::collection::vec(prop_oneof![1u32..4, Just(50u32), 1u32..1 << 29], 2..20), chairman: bool,
        steps in prop::collection::vec((any::<u32>(), any::<u32>()), 1..200),
    ) {
        let rule = if chairman { Rule::Chairman } else { Rule::Smooth };
        let count = weights.len();
        let mut roster = Roster::new(candidates(&weights), |_| false);
        let mut credits = Credits::new(&roster, &vec![0; count]);
        let weights = weights.iter().map(|&weight| weight.into()).collect();
        let mut oracle = OneByOne { weights, credits: vec![0; count] };
        for (crossing, skipped) in steps {
            let index = crossing as usize % count;
            if crossing >> 20 & 1 == 0 {
            } else if roster.free.contains(index) {
                roster.free.remove(index);
                credits.leave(index);
            } else {
                roster.free.insert(index);
                credits.join(index, credits.of(index));
            }
            // Every fourth pick leaves out half of them.
            let skips = |index: &usize| skipped >> 30 == 0 && skipped >> index & 1 == 1;
            let free: Vec<usize> = roster.free.iter().filter(|index| !skips(index)).collect();
            let skip: Vec<u32> = roster.free.iter().filter(skips).map(|index| index as u32).collect();
            if !free.is_empty() {
                prop_assert_eq!(credits.pick(rule, &skip), Some(oracle.pick(rule, &free)));
            }
            let all: Vec<i64> = (0..count).map(|index| credits.of(index)).collect();
            prop_assert_eq!(&all, &oracle.credits);
        }
    }
}
