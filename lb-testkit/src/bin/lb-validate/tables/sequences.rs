//! Sequences that are known pick by pick.

use lb_core::{
    config::Algorithm,
    pool::{Ask, Outcome},
    time::Instant,
};

use super::balls::pool;
use crate::{
    cell::{Cell, Table},
    lab::Lab,
};

/// The first picks of an algorithm, as letters by backend.
fn letters(algorithm: Algorithm, weights: &[u32], count: usize) -> String {
    let mut pool = pool(algorithm, weights, 1);
    let names: Vec<_> = pool.endpoints().map(|endpoint| endpoint.endpoint).collect();
    let mut text = String::new();
    for _ in 0..count {
        let Some(ticket) = pool.pick(Ask::default(), Instant::ZERO) else { break };
        let place = names.iter().position(|&name| name == ticket.endpoint());
        text.push(place.map_or('?', |place| char::from(b'a' + place as u8)));
        pool.finish(ticket, Outcome::Success, Instant::ZERO);
    }
    text
}

/// Tijdeman's rule, and how far the smooth one strays.
pub(crate) fn least_deviation(_: &Lab) -> Table {
    let sets: [&[u32]; 4] =
        [&[5, 1, 1], &[7, 5, 3], &[10, 1], &[1, 101, 3, 3, 101, 1, 1, 1, 1, 101, 50, 101]];
    let mut cells = Vec::new();
    for weights in sets {
        let n = weights.len() as f64;
        let bound = 1.0 - 1.0 / (2.0 * n - 2.0);
        let (low, high) = deviations(Algorithm::Tijdeman, weights);
        let name =
            format!("tijdeman, {} weights from {} to {}", n, low_weight(weights), high_weight(weights));
        cells.push(Cell::within(name, 0.0, bound, high.max(-low)));
        let (low, high) = deviations(Algorithm::RoundRobin, weights);
        cells.push(Cell::within("round_robin with these: most ahead", 0.0, 1.0, high));
        cells.push(Cell::within("round_robin with these: most behind", 0.0, n - 1.0, -low));
    }
    Table {
        title: "Weighted round robin: deviation",
        about: "How far the picks of a backend are from its share w/W of all picks so far, over two periods. \
                `tijdeman` keeps within 1 - 1/(2n - 2), which no rule can better (Tijdeman 1980); smooth round robin \
                is never ahead by 1 but may fall behind by more, as it does with the last weights.",
        cells,
    }
}

fn low_weight(weights: &[u32]) -> u32 {
    weights.iter().copied().min().unwrap_or(0)
}

fn high_weight(weights: &[u32]) -> u32 {
    weights.iter().copied().max().unwrap_or(0)
}

/// The least and the greatest difference between picks and share of any backend, over two periods.
fn deviations(algorithm: Algorithm, weights: &[u32]) -> (f64, f64) {
    let total: u32 = weights.iter().sum();
    let mut counts = vec![0_u32; weights.len()];
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for (before, letter) in letters(algorithm, weights, 2 * total as usize).bytes().enumerate() {
        if let Some(count) = counts.get_mut(usize::from(letter.wrapping_sub(b'a'))) {
            *count += 1;
        }
        let picks = (before + 1) as f64;
        for (count, weight) in counts.iter().zip(weights) {
            let difference = f64::from(*count) - picks * f64::from(*weight) / f64::from(total);
            (low, high) = (low.min(difference), high.max(difference));
        }
    }
    (low, high)
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
            let got = letters(Algorithm::RoundRobin, weights, 2 * sequence.len());
            Cell::same(format!("weights {weights:?}, two periods"), sequence.repeat(2), got)
        })
        .collect();
    Table {
        title: "Smooth weighted round robin",
        about: "The picks of `round_robin` with weights, one period after the other, against those of nginx's rule.",
        cells,
    }
}
