//! Weighted turns: earliest deadline first, which most balancers deal by, and how far turns stray from their
//! shares.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

/// The first picks by earliest deadline first: each is due `1 / weight` after its last turn, whoever is due
/// first is taken, and of equals the one that was put in line first (Envoy's `edf_scheduler.h`; stride
/// scheduling, Waldspurger and Weihl 1995). In exact fractions.
#[must_use]
pub fn earliest_deadline(weights: &[u32], picks: usize) -> Vec<usize> {
    // The k-th turn of a weight w is due at k/w.
    let mut line: BinaryHeap<Due> = BinaryHeap::new();
    let put = |line: &mut BinaryHeap<Due>, turn: u64, who: usize, serial: usize| {
        line.push(Due { turn, weight: weights[who].into(), serial, who });
    };
    (0..weights.len()).for_each(|who| put(&mut line, 1, who, who));
    let mut next = |pick: usize| {
        let due = line.pop()?;
        put(&mut line, due.turn + 1, due.who, weights.len() + pick);
        Some(due.who)
    };
    (0..picks).map_while(&mut next).collect()
}

/// The same as it is done in practice, in floating-point numbers: sums of rounded `1 / weight`, which break
/// ties by their errors.
#[must_use]
pub fn earliest_deadline_in_floats(weights: &[u32], picks: usize) -> Vec<usize> {
    // Deadlines are positive, so their bits are in their order.
    let mut line: BTreeMap<(u64, usize), usize> = BTreeMap::new();
    let step = |who: usize| 1.0 / f64::from(weights[who]);
    (0..weights.len()).for_each(|who| _ = line.insert((step(who).to_bits(), who), who));
    let mut next = |pick: usize| {
        let ((now, _), who) = line.pop_first()?;
        line.insert(((f64::from_bits(now) + step(who)).to_bits(), weights.len() + pick), who);
        Some(who)
    };
    (0..picks).map_while(&mut next).collect()
}

/// A turn in the line: the least is the greatest, so that a heap gives it first.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    turn: u64,
    weight: u64,
    serial: usize,
    who: usize,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let times = (other.turn * self.weight).cmp(&(self.turn * other.weight));
        times.then_with(|| other.serial.cmp(&self.serial))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How far turns strayed, at their worst.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strayed {
    /// The most turns that anybody was ahead of its share `w / W` of all turns so far.
    pub ahead: f64,
    /// And behind.
    pub behind: f64,
    /// The greatest difference of two in turns for each unit of weight, in turns of the lighter one:
    /// `|x_i / w_i - x_j / w_j| * min(w_i, w_j)`.
    pub apart: f64,
}

/// Measures turns after each of them.
#[must_use]
pub fn strayed(weights: &[u32], picks: &[usize]) -> Strayed {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let mut counts = vec![0.0; weights.len()];
    let mut most = Strayed::default();
    for (place, &who) in picks.iter().enumerate() {
        counts[who] += 1.0;
        let turns = (place + 1) as f64;
        for (i, &count) in counts.iter().enumerate() {
            let ahead = count - turns * f64::from(weights[i]) / total;
            (most.ahead, most.behind) = (most.ahead.max(ahead), most.behind.max(-ahead));
            for (j, &other) in counts.iter().enumerate().skip(i + 1) {
                let (w, v) = (f64::from(weights[i]), f64::from(weights[j]));
                most.apart = most.apart.max((count / w - other / v).abs() * w.min(v));
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::{super::close, *};

    fn letters(picks: &[usize]) -> String {
        picks.iter().map(|&who| char::from(b'a' + who as u8)).collect()
    }

    /// One period each, in fractions and in floats: ties differ with some weights.
    #[test]
    fn known_sequences() {
        let table: [(&[u32], &str, &str); 8] = [
            (&[5, 1, 1], "aaaabca", "aaaabca"),
            (&[2, 1], "aba", "aba"),
            (&[3, 1], "aaba", "aaba"),
            (&[4, 2, 1], "abaacba", "abaacba"),
            (&[3, 2, 1], "abacba", "abacba"),
            (&[7, 5, 3], "abacbaabcabacba", "abacbaabcabaacb"),
            (&[10, 1], "aaaaaaaaaba", "aaaaaaaaaab"),
            (&[5, 5, 1], "ababababcab", "ababababcab"),
        ];
        for (weights, exact, in_floats) in table {
            assert_eq!(letters(&earliest_deadline(weights, exact.len())), exact, "{weights:?}");
            assert_eq!(letters(&earliest_deadline_in_floats(weights, exact.len())), in_floats, "{weights:?}");
        }
    }

    /// A heavy one of weight k before k light ones is (k - 1) / 2 turns ahead, when the light ones have had none.
    /// Nobody is more than a turn of the lighter one from another.
    #[test]
    fn deadlines_are_met_and_shares_are_not() {
        for k in [2, 10, 100] {
            let weights: Vec<u32> = std::iter::once(k).chain((0..k).map(|_| 1)).collect();
            let strayed = strayed(&weights, &earliest_deadline(&weights, 4 * k as usize));
            close(strayed.ahead, f64::from(k - 1) / 2.0, 1e-9);
            assert!(strayed.apart <= 1.0 + 1e-9, "{strayed:?}");
        }
    }
}
