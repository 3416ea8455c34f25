//! Sequences that are known pick by pick.

use lb_core::{
    config::Algorithm,
    pool::{Ask, Outcome},
    time::Instant,
};
use lb_testkit::theory::turns::{self, Strayed};

use super::balls::pool;
use crate::{
    cell::{Cell, Table},
    lab::Lab,
};

/// The first picks of an algorithm, as places of backends.
fn picks(algorithm: Algorithm, weights: &[u32], count: usize) -> Vec<usize> {
    let mut pool = pool(algorithm, weights, 1);
    let names: Vec<_> = pool.endpoints().map(|endpoint| endpoint.endpoint).collect();
    let mut pick = |_| {
        let ticket = pool.pick(Ask::default(), Instant::ZERO)?;
        let place = names.iter().position(|&name| name == ticket.endpoint());
        pool.finish(ticket, Outcome::Success, Instant::ZERO);
        place
    };
    (0..count).map_while(&mut pick).collect()
}

/// The same as letters.
fn letters(picks: &[usize]) -> String {
    picks.iter().map(|&place| char::from(b'a' + (place % 26) as u8)).collect()
}

/// How far an algorithm strays over two periods.
fn strayed(algorithm: Algorithm, weights: &[u32]) -> Strayed {
    turns::strayed(weights, &picks(algorithm, weights, 2 * weights.iter().sum::<u32>() as usize))
}

/// The bound of Tijdeman's rule.
fn chairman_bound(weights: &[u32]) -> f64 {
    1.0 - 1.0 / (2.0 * weights.len() as f64 - 2.0)
}

/// Tijdeman's rule, and how far the smooth one strays.
pub(crate) fn least_deviation(_: &Lab) -> Table {
    let sets: [&[u32]; 4] =
        [&[5, 1, 1], &[7, 5, 3], &[10, 1], &[1, 101, 3, 3, 101, 1, 1, 1, 1, 101, 50, 101]];
    let mut cells = Vec::new();
    for weights in sets {
        let n = weights.len() as f64;
        let chairman = strayed(Algorithm::Tijdeman, weights);
        let name =
            format!("tijdeman, {} weights from {} to {}", n, low_weight(weights), high_weight(weights));
        cells.push(Cell::within(name, 0.0, chairman_bound(weights), chairman.ahead.max(chairman.behind)));
        let smooth = strayed(Algorithm::RoundRobin, weights);
        cells.push(Cell::within("round_robin with these: most ahead", 0.0, 1.0, smooth.ahead));
        cells.push(Cell::within("round_robin with these: most behind", 0.0, n - 1.0, smooth.behind));
    }
    Table {
        title: "Weighted round robin: deviation",
        about: "How far the picks of a backend are from its share w/W of all picks so far, over two periods. \
                `tijdeman` keeps within 1 - 1/(2n - 2), which no rule can better (Tijdeman 1980); smooth round robin \
                is never ahead by 1 but may fall behind by more, as it does with the last weights.",
        cells,
    }
}

/// One heavy backend before as many light ones as its weight: where earliest deadline first strays.
pub(crate) fn earliest_deadline(_: &Lab) -> Table {
    let mut cells = Vec::new();
    for k in [10_u32, 100] {
        let weights: Vec<u32> = std::iter::once(k).chain((0..k).map(|_| 1)).collect();
        let label = |rule: &str, what: &str| format!("{rule}, weights {k} and {k} times 1: {what}");
        let deadlines = turns::strayed(&weights, &turns::earliest_deadline(&weights, 4 * k as usize));
        // The measures are sums of floats.
        let room = 1e-9;
        let half = f64::from(k - 1) / 2.0;
        cells.push(Cell::within(label("EDF", "most ahead"), half - room, half + room, deadlines.ahead));
        cells.push(Cell::within(label("EDF", "most apart"), 0.0, 1.0 + room, deadlines.apart));
        let smooth = strayed(Algorithm::RoundRobin, &weights);
        cells.push(Cell::within(label("round_robin", "most ahead"), 0.0, 1.0, smooth.ahead));
        let chairman = strayed(Algorithm::Tijdeman, &weights);
        let bound = chairman_bound(&weights);
        let most = chairman.ahead.max(chairman.behind);
        cells.push(Cell::within(label("tijdeman", "most ahead or behind"), 0.0, bound + room, most));
        // Two that are each within the bound are apart by no more than this.
        cells.push(Cell::within(label("tijdeman", "most apart"), 0.0, 2.0 * bound + room, chairman.apart));
    }
    let spread = |weights: &[u32]| {
        let period = weights.iter().sum::<u32>() as usize;
        (turns::earliest_deadline(weights, period), turns::earliest_deadline_in_floats(weights, period))
    };
    for (weights, exact, in_floats) in
        [(&[7, 5, 3][..], "abacbaabcabacba", "abacbaabcabaacb"), (&[10, 1], "aaaaaaaaaba", "aaaaaaaaaab")]
    {
        let (got_exact, got_in_floats) = spread(weights);
        cells.push(Cell::same(format!("EDF, weights {weights:?}"), exact, letters(&got_exact)));
        let name = format!("EDF in floating point, weights {weights:?}");
        cells.push(Cell::same(name, in_floats, letters(&got_in_floats)));
    }
    Table {
        title: "Earliest deadline first, for comparison",
        about: "Envoy and others deal by earliest deadline first (EDF): who is due 1/w after its last turn. `lb` has no \
                such algorithm; a reference of it, which gives the published sequences, shows what the others spare. \
                Two backends are never apart by more than a turn of the lighter one, but a heavy one before k light \
                ones is (k - 1)/2 turns ahead of its share; `round_robin` is never ahead by 1, `tijdeman` keeps within \
                its bound. In floating point, ties go by rounding errors; `lb` counts in integers.",
        cells,
    }
}

fn low_weight(weights: &[u32]) -> u32 {
    weights.iter().copied().min().unwrap_or(0)
}

fn high_weight(weights: &[u32]) -> u32 {
    weights.iter().copied().max().unwrap_or(0)
}

/// Smooth weighted round robin, as nginx deals.
pub(crate) fn smooth(_: &Lab) -> Table {
    let known: [(&[u32], &str); 8] = [
        (&[5, 1, 1], "aabacaa"),
        (&[2, 1], "aba"),
        (&[3, 1], "aaba"),
        (&[4, 2, 1], "abacaba"),
        (&[3, 2, 1], "abacba"),
        (&[7, 5, 3], "abcabacababacba"),
        (&[10, 1], "aaaaabaaaaa"),
        (&[5, 5, 1], "ababcababab"),
    ];
    let cells = known
        .into_iter()
        .map(|(weights, sequence)| {
            let got = letters(&picks(Algorithm::RoundRobin, weights, 2 * sequence.len()));
            Cell::same(format!("weights {weights:?}, two periods"), sequence.repeat(2), got)
        })
        .collect();
    Table {
        title: "Smooth weighted round robin",
        about: "The picks of `round_robin` with weights, one period after the other, against those of nginx's rule.",
        cells,
    }
}
