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
