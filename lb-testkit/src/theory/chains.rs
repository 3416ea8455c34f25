//! A few servers under a rule that looks at queues, exactly: the Markov chain of all queues, solved
//! numerically. There are no closed forms for these, and limits of infinitely many servers say little.

use std::{collections::BTreeMap, ops::Range};

/// What is left out is rarer than this.
const NEGLIGIBLE: f64 = 1e-10;
/// A probability that moves by less than this in a sweep is found.
const SETTLED: f64 = 1e-14;

/// How a Poisson stream is dealt out to servers with exponential services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A request joins the shortest of so many distinct queues drawn at random: as many as there are is join
    /// the shortest queue.
    pub choices: u32,
    /// But an idle server if there is one: join an idle queue.
    pub takes_idle: bool,
}

/// A system at rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// The mean sojourn.
    pub mean: f64,
    /// The share of servers with at least 0, 1, 2 and so on requests.
    pub shares: Vec<f64>,
    /// The probability that a request finds nobody idle.
    pub finds_none_idle: f64,
}

/// The lengths of all queues, the shortest first: by symmetry nothing else matters.
type Queues = Vec<u8>;

/// A system of `servers`, each loaded by `rho`. Costs a second for some ten servers at a load of 0.8, and grows
/// steeply.
#[must_use]
pub fn at_rest(servers: u32, rho: f64, rule: Rule) -> Rest {
    let n = servers as usize;
    // All queues grow together at worst: one level more is rarer by rho^n.
    let longest = (NEGLIGIBLE.ln() / (f64::from(servers) * rho.ln())).ceil() as u8 + 2;
    let chain = Chain::new(n, longest, rho * f64::from(servers), rule);
    let probabilities = chain.solve();
    let weighted = || chain.states.iter().zip(&probabilities);
    let with_at_least = |length: u8| -> f64 {
        let count = |state: &Queues| state.iter().filter(|&&queue| queue >= length).count() as f64;
        weighted().map(|(state, p)| count(state) * p).sum::<f64>() / n as f64
    };
    let shares: Vec<f64> = (0..=longest).map(with_at_least).collect();
    let busy = |state: &Queues| state.first().is_some_and(|&shortest| shortest > 0);
    Rest {
        mean: shares.iter().skip(1).sum::<f64>() / rho, // by Little's law
        finds_none_idle: weighted().filter(|(state, _)| busy(state)).map(|(_, p)| p).sum(),
        shares,
    }
}

struct Chain {
    /// By the requests in all of them.
    states: Vec<Queues>,
    /// Where the states of each number of requests stand.
    levels: Vec<Range<usize>>,
    /// What flows into each state: from where, at which rate.
    inflows: Vec<Vec<(u32, f64)>>,
    /// The rates of arrivals and of departures out of each.
    up: Vec<f64>,
    down: Vec<f64>,
}

impl Chain {
    fn new(servers: usize, longest: u8, rate: f64, rule: Rule) -> Self {
        let mut states = Vec::new();
        list(&mut vec![0; servers], 0, longest, &mut states);
        let total = |state: &Queues| state.iter().map(|&queue| usize::from(queue)).sum::<usize>();
        states.sort_by_key(|state| (total(state), state.clone()));
        let mut levels: Vec<Range<usize>> = Vec::new();
        for (place, state) in states.iter().enumerate() {
            match levels.get_mut(total(state)) {
                Some(level) => level.end = place + 1,
                None => levels.push(place..place + 1),
            }
        }
        let places: BTreeMap<&Queues, u32> =
            (0..).zip(&states).map(|(place, state)| (state, place)).collect();
        let joins = joins(servers, rule.choices);
        let mut chain = Self {
            inflows: vec![Vec::new(); states.len()],
            up: vec![0.0; states.len()],
            down: vec![0.0; states.len()],
            states: Vec::new(),
            levels,
        };
        for (from, state) in states.iter().enumerate() {
            let takes_idle = rule.takes_idle && state[0] == 0;
            for place in 0..servers {
                let joined = if takes_idle { f64::from(u8::from(place == 0)) } else { joins[place] };
                for (joins, rate) in [(true, rate * joined), (false, 1.0)] {
                    let is_possible = if joins { state[place] < longest } else { state[place] > 0 };
                    if !is_possible || rate == 0.0 {
                        continue;
                    }
                    let mut to = state.clone();
                    to[place] = if joins { to[place] + 1 } else { to[place] - 1 };
                    to.sort_unstable();
                    chain.inflows[places[&to] as usize].push((from as u32, rate));
                    *(if joins { &mut chain.up[from] } else { &mut chain.down[from] }) += rate;
                }
            }
        }
        drop(places);
        chain.states = states;
        chain
    }

    /// Sweeps of Gauss and Seidel, each followed by a correction of the levels: of requests present there are
    /// as many arrivals as departures one level up, which single sweeps are slow to find.
    fn solve(&self) -> Vec<f64> {
        let mut probabilities = vec![1.0 / self.states.len() as f64; self.states.len()];
        loop {
            let mut moved = 0.0_f64;
            for (place, inflow) in self.inflows.iter().enumerate() {
                let flow: f64 = inflow.iter().map(|&(from, rate)| probabilities[from as usize] * rate).sum();
                let new = flow / (self.up[place] + self.down[place]);
                moved = moved.max((new - probabilities[place]).abs());
                probabilities[place] = new;
            }
            let flow = |rates: &[f64], level: &Range<usize>, probabilities: &[f64]| -> f64 {
                level.clone().map(|place| rates[place] * probabilities[place]).sum()
            };
            let mut factor = 1.0;
            for pair in 0..self.levels.len() {
                if let Some(below) = pair.checked_sub(1) {
                    // The level below has been scaled already.
                    let arrivals = flow(&self.up, &self.levels[below], &probabilities);
                    let departures = flow(&self.down, &self.levels[pair], &probabilities);
                    factor = if departures > 0.0 { arrivals / departures } else { 0.0 };
                }
                self.levels[pair].clone().for_each(|place| probabilities[place] *= factor);
            }
            let total: f64 = probabilities.iter().sum();
            probabilities.iter_mut().for_each(|probability| *probability /= total);
            if moved < SETTLED {
                return probabilities;
            }
        }
    }
}

/// All queues of at most `longest` from the place on, the shortest first.
fn list(state: &mut Queues, place: usize, longest: u8, states: &mut Vec<Queues>) {
    if place == state.len() {
        states.push(state.clone());
        return;
    }
    let least = place.checked_sub(1).map_or(0, |before| state[before]);
    for length in least..=longest {
        state[place] = length;
        list(state, place + 1, longest, states);
    }
}

/// The probability of each place, the shortest first, to be the first of `choices` that are drawn. Equals are
/// alike, so their order does not matter.
fn joins(servers: usize, choices: u32) -> Vec<f64> {
    // That all drawn are among the last `rest` places.
    let all_among = |rest: usize| -> f64 {
        let term = |i: u32| (rest as f64 - f64::from(i)).max(0.0) / (servers as f64 - f64::from(i));
        (0..choices).map(term).product()
    };
    (0..servers).map(|place| all_among(servers - place) - all_among(servers - place - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{choices::join_shortest_of_two_mean, close, queues},
        *,
    };

    fn mean(servers: u32, rho: f64, choices: u32, takes_idle: bool) -> f64 {
        at_rest(servers, rho, Rule { choices, takes_idle }).mean
    }

    #[test]
    fn draws() {
        let table = [(3, 2, &[2.0 / 3.0, 1.0 / 3.0, 0.0][..]), (3, 3, &[1.0, 0.0, 0.0]), (4, 1, &[0.25; 4])];
        for (servers, choices, expected) in table {
            joins(servers, choices)
                .into_iter()
                .zip(expected)
                .for_each(|(got, &part)| close(got, part, 1e-12));
        }
    }

    /// One server is M/M/1; two with two choices are what was solved in another way.
    #[test]
    fn ends_that_are_known() {
        close(mean(1, 0.5, 1, false), queues::mm1_mean(0.5), 1e-7);
        for rho in [0.5, 0.8] {
            close(mean(2, rho, 2, false), join_shortest_of_two_mean(rho), 2e-6);
            close(mean(2, rho, 2, true), join_shortest_of_two_mean(rho), 2e-6);
        }
    }

    /// Simulations by others, with their standard errors: join the shortest queue, two choices, an idle
    /// queue and any one if there is none.
    #[test]
    fn simulations_agree() {
        for (servers, rho, choices, takes_idle, expected, error) in [
            (4, 0.5, 4, false, 1.1585, 0.0004),
            (4, 0.7, 4, false, 1.5123, 0.0007),
            (4, 0.8, 4, false, 1.9546, 0.0011),
            (4, 0.5, 2, false, 1.3241, 0.0005),
            (4, 0.8, 2, false, 2.3289, 0.0015),
            (10, 0.5, 10, false, 1.0244, 0.0002),
            (10, 0.5, 2, false, 1.2854, 0.0005),
            (10, 0.5, 1, true, 1.0273, 0.0003),
        ] {
            close(mean(servers, rho, choices, takes_idle), expected, 3.29 * error);
        }
    }

    /// Who joins a busy server found nobody idle, and whoever leaves somebody behind was joined by one such.
    #[test]
    fn what_finds_nobody_idle_waits() {
        let rest = at_rest(3, 0.7, Rule { choices: 2, takes_idle: true });
        close(rest.shares[1], 0.7, 1e-7);
        close(rest.finds_none_idle, rest.shares[2] / 0.7, 1e-7);
    }
}
