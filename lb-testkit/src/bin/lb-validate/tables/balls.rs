//! Balls into bins: picks without an end, through the production pool.

use std::{collections::BTreeMap, net::Ipv4Addr};

use lb_core::{
    config::{self, Algorithm},
    pool::{Ask, Outcome, Pool},
    prng::Prng,
    time::Instant,
};
use lb_testkit::theory::choices;

use crate::{
    cell::{Cell, Table},
    lab::{Lab, over_threads},
    statistics::chi_square_tail,
};

/// The backend of this number, `b0` and so on.
pub(crate) fn backend(index: usize, weight: u32) -> config::Backend {
    let port = u16::try_from(index % 60_000).unwrap_or(0) + 1;
    let host = Ipv4Addr::from_bits(0x0a00_0000 + (index / 60_000) as u32);
    let address = config::BackendAddress::Ip((host, port).into());
    config::Backend { weight, ..config::Backend::at(address, format!("b{index}")) }
}

/// A pool of so many backends, without checks.
pub(crate) fn pool(algorithm: Algorithm, weights: &[u32], seed: u64) -> Pool {
    let backends = weights.iter().enumerate().map(|(index, &weight)| backend(index, weight)).collect();
    let config = config::Pool { algorithm, backends, ..config::Pool::default() };
    Pool::new("balls".into(), &config, Prng::new(seed), Instant::ZERO)
}

/// The fullest of as many bins as balls, over and over: how often it had so many.
fn fullest(lab: &Lab, algorithm: Algorithm, bins: usize, times: usize) -> BTreeMap<u32, u64> {
    let seeds = lab.take_seeds(times);
    let weights = vec![1; bins];
    let found = over_threads(times, |index| {
        let mut pool = pool(algorithm, &weights, seeds.start + index as u64);
        let tickets: Vec<_> = (0..bins).filter_map(|_| pool.pick(Ask::default(), Instant::ZERO)).collect();
        let most = pool.endpoints().map(|endpoint| endpoint.in_flight).max().unwrap_or(0);
        tickets.into_iter().for_each(|ticket| pool.finish(ticket, Outcome::Cancelled, Instant::ZERO));
        most
    });
    found.into_iter().fold(BTreeMap::new(), |mut counts, most| {
        *counts.entry(most).or_default() += 1;
        counts
    })
}

/// The probability of what was found if `expected` are the probabilities, by the chi-square of the classes
/// that five or more are expected in; the others are one class.
fn agreement(found: &BTreeMap<u32, u64>, expected: impl Fn(u32) -> f64, times: usize) -> f64 {
    let times = times as f64;
    let (mut sum, mut classes, mut other_found, mut other_expected) = (0.0, 0, times, times);
    for most in 0..200 {
        let wanted = expected(most) * times;
        if wanted < 5.0 {
            continue;
        }
        let got = found.get(&most).copied().unwrap_or(0) as f64;
        sum += (got - wanted).powi(2) / wanted;
        classes += 1;
        other_found -= got;
        other_expected -= wanted;
    }
    if other_expected > 1.0 {
        sum += (other_found - other_expected).powi(2) / other_expected;
        classes += 1;
    }
    chi_square_tail(sum, f64::from(classes - 1).max(1.0))
}

/// One choice: the exact distribution.
pub(crate) fn one_choice(lab: &Lab) -> Table {
    let times = if lab.is_fast { 400 } else { 10_000 };
    let mut cells = Vec::new();
    for bins in [10, 100, 1000] {
        let exact = choices::fullest_bin(bins);
        let found = fullest(lab, Algorithm::Random, bins as usize, times);
        let expected = |most: u32| exact.get(most as usize).copied().unwrap_or(0.0);
        let name = format!("n {bins}: probability of the chi-square");
        cells.push(Cell::within(name, 0.001, 1.0, agreement(&found, expected, times)));
    }
    Table {
        title: "Balls into bins: one choice",
        about: "n picks of `random` over n backends, none of which ends. The distribution of the fullest backend \
                is known exactly; the cell is the probability of a chi-square as large as the one found.",
        cells,
    }
}

/// Two choices: exponentially better.
pub(crate) fn two_choices(lab: &Lab) -> Table {
    let times = if lab.is_fast { 100 } else { 2000 };
    let known: [(usize, &[(u32, f64)]); 2] =
        [(1000, &[(3, 0.9922), (4, 0.0078)]), (10_000, &[(3, 0.9395), (4, 0.0605)])];
    let mut cells = Vec::new();
    for (bins, shares) in known {
        let times = if bins > 1000 { times / 4 } else { times };
        let found = fullest(lab, Algorithm::P2c, bins, times);
        let expected = |most: u32| shares.iter().find(|(k, _)| *k == most).map_or(0.0, |&(_, share)| share);
        let name = format!("n {bins}: probability of the chi-square");
        cells.push(Cell::within(name, 0.001, 1.0, agreement(&found, expected, times)));
    }
    Table {
        title: "Balls into bins: two choices",
        about: "The same with `p2c`: the fullest backend has ln ln n / ln 2 + O(1) (Azar, Broder, Karlin, Upfal \
                1999). The shares are those of an independent simulation.",
        cells,
    }
}
