//! What happens to a Poisson stream that is dealt out without looking at queues.

use lb_core::config::Algorithm;
use lb_testkit::theory::queues;

use crate::{
    cell::{Cell, Table},
    lab::{Lab, mean, sojourn},
};

/// Round robin: E_n/M/1.
pub(crate) fn round_robin(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for servers in [2, 10, 100] {
        for rho in [0.5, 0.7, 0.8, 0.9].into_iter().filter(|&rho| lab.runs(servers, rho)) {
            let model = lab.model(Algorithm::RoundRobin, servers, rho);
            let [mean, _, _, p99, _] = lab.run(&model, sojourn);
            let label = format!("n {servers}, rho {rho}");
            cells.push(Cell::estimate(
                format!("{label}: mean"),
                queues::round_robin_mean(servers, rho),
                mean,
            ));
            let target = queues::round_robin_quantile(servers, rho, 0.99);
            cells.push(Cell::biased(format!("{label}: p99"), target, p99));
        }
    }
    Table {
        title: "Round robin: E_n/M/1",
        about: "`round_robin` over n backends makes the arrivals of each of them Erlang-n: the sojourn is \
                exponential with rate 1 - sigma, sigma the root of sigma = (n rho / (n rho + 1 - sigma))^n. \
                With n = 2 and rho = 0.5 the mean is the golden ratio.",
        cells,
    }
}

/// Eight backends of speed 1 and two of a quarter, with requests by weight.
pub(crate) fn unequal(lab: &Lab) -> Table {
    let weights = [4, 4, 4, 4, 4, 4, 4, 4, 1, 1];
    let speeds = weights.map(|weight| f64::from(weight) / 4.0);
    let capacity: f64 = speeds.iter().sum();
    let mut cells = Vec::new();
    for rho in [0.5, 0.7, 0.9].into_iter().filter(|&rho| lab.runs(10, rho)) {
        let mut model = lab.model(Algorithm::Random, 10, rho * capacity / 10.0);
        for ((backend, weight), speed) in model.backends.iter_mut().zip(weights).zip(speeds) {
            (backend.weight, backend.speed) = (weight, speed);
        }
        // The slow ones forget four times as slowly.
        let slow = lab.model(Algorithm::Random, 10, rho).warmup * 4;
        model.duration += slow;
        model.warmup += slow;
        let [mean] = lab.run(&model, mean);
        let target = queues::split_mean(rho * capacity, &speeds, &speeds).unwrap_or(f64::NAN);
        cells.push(Cell::estimate(format!("rho {rho}"), target, mean));
    }
    // The best split at half load leaves each server room in proportion to the root of its speed: 38 to 1.
    let rho = 0.5;
    let best = [38, 38, 38, 38, 38, 38, 38, 38, 1, 1];
    let mut model = lab.model(Algorithm::Random, 10, rho * capacity / 10.0);
    for ((backend, weight), speed) in model.backends.iter_mut().zip(best).zip(speeds) {
        (backend.weight, backend.speed) = (weight, speed);
    }
    let [mean] = lab.run(&model, mean);
    let target = queues::split_mean(rho * capacity, &best.map(f64::from), &speeds).unwrap_or(f64::NAN);
    cells.push(Cell::estimate(format!("rho {rho}, weights 38 and 1, the best there are"), target, mean));
    Table {
        title: "Weighted random over unequal servers",
        about: "Eight backends of speed 1 and two of speed 1/4, `random` with weights in proportion: each is \
                M/M/1 at the same utilisation. The best weights for the mean favour the fast ones more.",
        cells,
    }
}
