//! Choosing by looking at queues.

use lb_core::config::Algorithm;
use lb_testkit::{
    sim::Outcome,
    theory::{
        chains::{self, Rule},
        choices, queues,
    },
};

use crate::{
    cell::{Cell, Table},
    lab::{Lab, QUANTILES, mean, sojourn},
};

/// Two backends: looking at two is looking at all.
pub(crate) fn shortest_of_two(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for rho in [0.5, 0.7, 0.8] {
        let target = choices::join_shortest_of_two_mean(rho);
        for (name, algorithm) in [("least_request", Algorithm::LeastRequest), ("p2c", Algorithm::P2c)] {
            let [mean] = lab.run(&lab.model(algorithm, 2, rho), mean);
            cells.push(Cell::estimate(format!("{name}, rho {rho}"), target, mean));
        }
    }
    Table {
        title: "The shorter of two queues",
        about: "Two backends. Join the shortest queue has no closed form; the target is the numerical solution of \
                its Markov chain. Two distinct choices among two are the same algorithm, so `p2c` must agree.",
        cells,
    }
}

/// Join the shortest queue, between its bounds and against an independent simulation.
pub(crate) fn shortest(lab: &Lab) -> Table {
    let known = [
        (4, [(0.5, 1.1585, 0.0004), (0.8, 1.9546, 0.0011), (0.9, 3.2506, 0.006)]),
        (10, [(0.5, 1.0244, 0.0002), (0.8, 1.3566, 0.0005), (0.9, 1.9173, 0.0024)]),
        (100, [(0.5, 1.0002, 0.0002), (0.8, 1.0058, 0.0002), (0.9, 1.0676, 0.0005)]),
    ];
    let mut cells = Vec::new();
    for (servers, row) in known {
        for (rho, target, error) in row.into_iter().filter(|row| lab.runs(servers, row.0)) {
            let [mean] = lab.run(&lab.model(Algorithm::LeastRequest, servers, rho), mean);
            let label = format!("n {servers}, rho {rho}");
            let low = queues::mmc_mean(servers, rho) - mean.margin();
            let high = choices::supermarket_mean(1, rho) + mean.margin();
            cells.push(Cell::within(format!("{label}: between M/M/n and M/M/1"), low, high, mean.mean));
            cells.push(Cell::known_within(label, target, error, mean));
        }
    }
    Table {
        title: "Join the shortest queue",
        about: "`least_request` over n backends. For n > 2 nothing closed is known: the mean lies between that of \
                one queue for all servers (M/M/n) and that of random splitting, and the targets are those of an \
                independent simulation with its own standard errors.",
        cells,
    }
}

/// P2C and the power of five choices over a thousand backends: as good as infinitely many.
pub(crate) fn supermarket(lab: &Lab) -> Table {
    /// Backends. What is left to infinitely many is of the order of 1/n.
    const SERVERS: u32 = 1000;
    let mut cells = Vec::new();
    for rho in [0.5, 0.7, 0.8, 0.9].into_iter().filter(|&rho| lab.runs(SERVERS, rho)) {
        let model = lab.model(Algorithm::P2c, SERVERS, rho);
        let [mean, p50, p90, p99, p999, longer] = lab.run(&model, |outcome| {
            let [mean, p50, p90, p99, p999] = sojourn(outcome);
            [mean, p50, p90, p99, p999, share_with_at_least(outcome, 3)]
        });
        let left_out = 1.0 / f64::from(SERVERS);
        let target = choices::supermarket_mean(2, rho);
        cells.push(Cell::known_within(format!("rho {rho}: mean"), target, left_out * target, mean));
        for ((p, name), estimate) in QUANTILES.into_iter().zip([p50, p90, p99, p999]) {
            let target = choices::supermarket_quantile(2, rho, p);
            cells.push(Cell::known_within(format!("rho {rho}: {name}"), target, left_out * target, estimate));
        }
        let target = choices::supermarket_share(2, rho, 3);
        cells.push(Cell::known_within(
            format!("rho {rho}: queues of 3 or more"),
            target,
            2.0 * left_out * target,
            longer,
        ));
    }
    Table {
        title: "The supermarket model: power of two choices",
        about: "`p2c` over 1,000 backends against the limit of infinitely many (Mitzenmacher 2001; Vvedenskaya, \
                Dobrushin, Karpelevich 1996): mean, quantiles of the sojourn, and the share of backends with three \
                or more requests. What is left to the limit is of the order of 1/n and part of the tolerance.",
        cells,
    }
}

/// The time average of the share of backends that have so many requests or more.
fn share_with_at_least(outcome: &Outcome, present: usize) -> f64 {
    let all: u64 = outcome.occupancy.iter().sum();
    let longer: u64 = outcome.occupancy.iter().skip(present).sum();
    longer as f64 / all.max(1) as f64
}

/// Mitzenmacher's own simulation of a hundred servers.
pub(crate) fn hundred(lab: &Lab) -> Table {
    // As printed; and the distance of an independent simulation of the same, with its standard error.
    let known = [
        (0.5, 1.2673, 0.0009),
        (0.7, 1.6202, 0.0009),
        (0.8, 1.9585, 0.0016),
        (0.9, 2.6454, 0.0041),
        (0.95, 3.4610, 0.0076),
    ];
    let mut cells = Vec::new();
    for (rho, target, error) in known.into_iter().filter(|row| lab.runs(100, row.0)) {
        let [mean] = lab.run(&lab.model(Algorithm::P2c, 100, rho), mean);
        cells.push(Cell::known_within(format!("d 2, rho {rho}"), target, error, mean));
    }
    Table {
        title: "The power of two choices among a hundred",
        about: "`p2c` over 100 backends against the simulation in Mitzenmacher's paper. Only distinct choices give \
                its figures: with replacement the mean at rho = 0.5 would be 1.2719.",
        cells,
    }
}

/// Few backends: where it matters most that the two choices are distinct.
pub(crate) fn few(lab: &Lab) -> Table {
    let known = [
        (4, 0.5, 1.3241, 1.4214),
        (4, 0.8, 2.3289, 2.5354),
        (10, 0.5, 1.2854, 1.3254),
        (10, 0.8, 2.0737, 2.1621),
    ];
    let mut cells = Vec::new();
    for (servers, rho, distinct, replaced) in known {
        let [mean] = lab.run(&lab.model(Algorithm::P2c, servers, rho), mean);
        let label = format!("n {servers}, rho {rho}");
        cells.push(Cell::within(format!("{label}: below what replacement gives"), 1.0, replaced, mean.mean));
        cells.push(Cell::known_within(label, distinct, 0.0005 * distinct, mean));
    }
    Table {
        title: "The power of two choices among few",
        about: "`p2c` over 4 and 10 backends against an independent simulation of distinct choices. Drawing one \
                backend twice costs 7 to 9 % of the mean with four backends.",
        cells,
    }
}

/// Five choices: Mitzenmacher's other column.
pub(crate) fn five(lab: &Lab) -> Table {
    let known = [
        (0.5, 1.0340, 0.0003),
        (0.7, 1.1766, 0.0005),
        (0.8, 1.3419, 0.0011),
        (0.9, 1.6714, 0.0036),
        (0.95, 2.0730, 0.009),
    ];
    let mut cells = Vec::new();
    for (rho, target, error) in known.into_iter().filter(|row| lab.runs(100, row.0)) {
        let mut model = lab.model(Algorithm::P2c, 100, rho);
        model.pool.p2c.choices = 5;
        let [mean] = lab.run(&model, mean);
        cells.push(Cell::known_within(format!("d 5, rho {rho}"), target, error, mean));
    }
    Table {
        title: "The power of five choices among a hundred",
        about: "`p2c` with `choices = 5` over 100 backends against the simulation in Mitzenmacher's paper.",
        cells,
    }
}

/// Join an idle queue: between the shortest queue and what is known of its simpler form.
pub(crate) fn idle_queue(lab: &Lab) -> Table {
    // Lower: join the shortest queue. Upper: random where none is idle. Both from an independent simulation.
    let known = [
        (10, 0.5, 1.0244, 1.0273),
        (10, 0.7, 1.1605, 1.1988),
        (10, 0.9, 1.9173, 2.4135),
        (100, 0.9, 1.0676, 1.0749),
    ];
    let mut cells = Vec::new();
    for (servers, rho, low, high) in known.into_iter().filter(|row| lab.runs(row.0, row.1)) {
        let [mean] = lab.run(&lab.model(Algorithm::JoinIdleQueue, servers, rho), mean);
        let room = mean.margin() + 0.003 * low;
        cells.push(Cell::within(format!("n {servers}, rho {rho}"), low - room, high + room, mean.mean));
    }
    Table {
        title: "Join an idle queue",
        about: "`join_idle_queue` takes an idle backend, and the less loaded of two where none is idle. The mean lies \
                between join the shortest queue and the published form (Lu et al. 2011), which picks at random then; \
                what it is exactly among few stands in the next table.",
        cells,
    }
}

/// Few backends, exactly.
pub(crate) fn small(lab: &Lab) -> Table {
    let shortest = |servers| Rule { choices: servers, takes_idle: false };
    let two = Rule { choices: 2, takes_idle: false };
    let idle_or_two = Rule { choices: 2, takes_idle: true };
    let systems = [
        ("least_request", Algorithm::LeastRequest, shortest(3), 3, 0.5),
        ("least_request", Algorithm::LeastRequest, shortest(3), 3, 0.8),
        ("least_request", Algorithm::LeastRequest, shortest(10), 10, 0.7),
        ("p2c", Algorithm::P2c, two, 3, 0.5),
        ("p2c", Algorithm::P2c, two, 3, 0.8),
        ("p2c", Algorithm::P2c, two, 10, 0.7),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 3, 0.5),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 3, 0.7),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 3, 0.9),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 4, 0.8),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 10, 0.5),
        ("join_idle_queue", Algorithm::JoinIdleQueue, idle_or_two, 10, 0.7),
    ];
    let mut cells = Vec::new();
    for (name, algorithm, rule, servers, rho) in systems {
        // The chain of ten takes a second to solve.
        if !lab.runs(servers, rho) || lab.is_fast && servers > 4 {
            continue;
        }
        let rest = chains::at_rest(servers, rho, rule);
        let [mean, waits] = lab.run(&lab.model(algorithm, servers, rho), |outcome| {
            [mean(outcome)[0], share_with_at_least(outcome, 2) / rho]
        });
        let label = format!("{name}, n {servers}, rho {rho}");
        cells.push(Cell::estimate(format!("{label}: mean"), rest.mean, mean));
        if rule.takes_idle {
            // Of the same runs as the mean, so no score of its own.
            let target = rest.finds_none_idle;
            cells.push(Cell::biased(format!("{label}: requests that find nobody idle"), target, waits));
        }
    }
    Table {
        title: "Few backends, exactly",
        about: "The chain of all queues, solved numerically: join the shortest queue, the shorter of two distinct ones, \
                and an idle one, else the shorter of two, which is what `join_idle_queue` does. Requests that find \
                nobody idle are seen in the queues: who waits behind somebody makes a queue of two or more, and each \
                of these ends with one service, so their share is P(queue >= 2) / rho.",
        cells,
    }
}

/// Slow servers: where two choices are stable and where they are not.
pub(crate) fn slow_servers(lab: &Lab) -> Table {
    let (servers, slow, speed) = (10, 5, 0.1);
    let capacity = f64::from(servers - slow) + f64::from(slow) * speed;
    let limit = choices::slow_servers_limit(servers, slow, speed, 2);
    let mut cells = Vec::new();
    for (factor, is_stable) in [(0.9, true), (1.1, false)] {
        let mut model = lab.model(Algorithm::P2c, servers, factor * limit * capacity / f64::from(servers));
        for backend in model.backends.iter_mut().take(slow as usize) {
            backend.speed = speed;
        }
        // The same load twice: without a drift the slow queues are as long over the longer run.
        let horizon = if lab.is_fast { 8_000.0 } else { 40_000.0 };
        let mut longest = |length: f64| {
            model.warmup = std::time::Duration::ZERO;
            model.duration = crate::lab::units(length);
            let most = |outcome: &Outcome| {
                let present = outcome.backends.iter().take(slow as usize).map(|backend| backend.present_max);
                [present.map(f64::from).sum::<f64>() / f64::from(slow)]
            };
            lab.run(&model, most)[0].mean
        };
        let growth = longest(2.0 * horizon) / longest(horizon);
        let (low, high) = if is_stable { (0.0, 1.4) } else { (1.6, 2.4) };
        let name = format!("growth of slow queues at {factor} of the limit, over twice the time");
        cells.push(Cell::within(name, low, high, growth));
    }
    Table {
        title: "Where unweighted choices break",
        about: "Ten backends, five of them ten times slower and no weights to say so. Two choices are stable up to \
                the load at which arrivals with two slow choices exceed what the slow ones can do (0.4091 of all \
                capacity). Below it the longest slow queue hardly grows with the length of the run; above, it \
                grows in proportion.",
        cells,
    }
}
