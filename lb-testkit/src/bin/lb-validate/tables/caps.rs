//! The balancer's own queue and caps.

use lb_core::config::{Algorithm, Queue};
use lb_testkit::{
    sim::{Arrivals, Law, Model},
    theory::queues,
};

use crate::{
    cell::{Cell, Table},
    lab::{Lab, UNIT, sojourn, units},
};

/// `servers` backends that take one request each, and room for `room` requests in all.
fn capped(lab: &Lab, servers: u32, room: u32, rho: f64) -> Model {
    // A loss system forgets fast: the warm-up of half a load does for any.
    let mut model = lab.model(Algorithm::Random, servers, 0.5);
    let per_unit = f64::from(servers) * rho;
    model.arrivals = Arrivals::poisson(per_unit * 1e9 / UNIT);
    model.duration = model.warmup + units(lab.requests as f64 / lab.seeds as f64 / per_unit);
    model.pool.max_in_flight = 1;
    model.pool.queue = Queue { length: room - servers, timeout: units(1e9) };
    model
}

/// M/M/c: every backend takes one request at a time, the others wait at the balancer.
pub(crate) fn central_queue(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (servers, rho) in [(2, 0.5), (2, 0.8), (10, 0.7), (10, 0.9)] {
        if !lab.runs(servers, rho) {
            continue;
        }
        let mut model = lab.model(Algorithm::Random, servers, rho);
        model.pool.max_in_flight = 1;
        model.pool.queue = Queue { length: 1_000_000, timeout: units(1e9) };
        let [mean, _, _, p99, _] = lab.run(&model, sojourn);
        let label = format!("c {servers}, rho {rho}");
        cells.push(Cell::estimate(format!("{label}: mean"), queues::mmc_mean(servers, rho), mean));
        let target = queues::mmc_quantile(servers, rho, 0.99);
        cells.push(Cell::biased(format!("{label}: p99"), target, p99));
    }
    Table {
        title: "M/M/c: the balancer's queue",
        about: "c backends with `max_in_flight = 1` and the pool's `queue`: one queue for all servers. No \
                algorithm that decides at once can do better with exponential services.",
        cells,
    }
}

/// Erlang's B formula, for three laws of service.
pub(crate) fn loss(lab: &Lab) -> Table {
    let laws = [
        ("fixed", Law::fixed(UNIT as u64)),
        ("exponential", Law::exponential(UNIT)),
        ("log-normal, cv 1", Law::log_normal(UNIT, 1.0)),
    ];
    let mut cells = Vec::new();
    for (servers, rho) in [(4, 0.8), (10, 0.8), (10, 1.2)] {
        for (name, law) in &laws {
            let mut model = capped(lab, servers, servers, rho);
            model.service = law.clone();
            let [refused] = lab.run(&model, |outcome| [outcome.error_share()]);
            let target = queues::erlang_b(servers, f64::from(servers) * rho);
            cells.push(Cell::estimate(format!("c {servers}, offered {rho}, {name}"), target, refused));
        }
    }
    Table {
        title: "Erlang B: caps without a queue",
        about: "c backends with `max_in_flight = 1` and no queue refuse the share of requests that Erlang's B \
                formula says, whatever the law of service.",
        cells,
    }
}

/// M/M/c/K: a bounded queue.
pub(crate) fn bounded_queue(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (servers, room, rho) in [(1, 5, 0.8), (4, 8, 0.9), (4, 8, 1.2), (10, 20, 1.5)] {
        let [refused, mean] = lab.run(&capped(lab, servers, room, rho), |outcome| {
            [outcome.error_share(), outcome.latency.mean() / UNIT]
        });
        let (target, target_mean) = queues::mmck(servers, room, rho);
        let label = format!("c {servers}, K {room}, offered {rho}");
        cells.push(Cell::estimate(format!("{label}: refused"), target, refused));
        cells.push(Cell::estimate(format!("{label}: mean of the others"), target_mean, mean));
    }
    Table {
        title: "M/M/c/K: a bounded queue",
        about: "c backends with `max_in_flight = 1` and a `queue` of K - c: what finds it full is refused.",
        cells,
    }
}
