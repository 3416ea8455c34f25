//! Single queues.

use lb_core::config::Algorithm;
use lb_testkit::{
    sim::{Backend, Discipline, Law},
    theory::queues,
};

use crate::{
    cell::{Cell, Table},
    lab::{Lab, QUANTILES, UNIT, mean, sojourn},
};

/// M/M/1: ten servers, and a Poisson stream that is split at random.
pub(crate) fn random_splitting(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for rho in [0.5, 0.7, 0.8, 0.9].into_iter().filter(|&rho| lab.runs(10, rho)) {
        let [mean, quantiles @ ..] = lab.run(&lab.model(Algorithm::Random, 10, rho), sojourn);
        cells.push(Cell::estimate(format!("rho {rho}: mean"), queues::mm1_mean(rho), mean));
        for ((p, name), estimate) in QUANTILES.into_iter().zip(quantiles) {
            cells.push(Cell::biased(format!("rho {rho}: {name}"), queues::mm1_quantile(rho, p), estimate));
        }
    }
    Table {
        title: "M/M/1: random",
        about: "`random` over ten backends of one slot, Poisson arrivals, exponential services: each backend is \
                M/M/1, with the sojourn exponential of mean 1/(1 - rho).",
        cells,
    }
}

/// M/M/c: one backend with c slots and a queue of its own.
pub(crate) fn slots(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (servers, rho) in [(2, 0.5), (2, 0.8), (10, 0.7), (10, 0.9), (100, 0.9)] {
        if !lab.runs(servers, rho) {
            continue;
        }
        let mut model = lab.model(Algorithm::Random, servers, rho);
        model.backends = Backend::several(1, servers);
        let [mean, quantiles @ ..] = lab.run(&model, sojourn);
        let label = format!("c {servers}, rho {rho}");
        cells.push(Cell::estimate(format!("{label}: mean"), queues::mmc_mean(servers, rho), mean));
        for ((p, name), estimate) in QUANTILES.into_iter().zip(quantiles) {
            let target = queues::mmc_quantile(servers, rho, p);
            cells.push(Cell::biased(format!("{label}: {name}"), target, estimate));
        }
    }
    Table {
        title: "M/M/c: one backend with c slots",
        about: "A single backend that works on c requests at once and queues the others: Erlang's C formula.",
        cells,
    }
}

/// M/G/1 by random splitting.
pub(crate) fn general_service(lab: &Lab) -> Table {
    let laws = [
        ("fixed", Law::fixed(UNIT as u64), 0.0),
        ("Erlang-4", Law::erlang(UNIT, 4), 0.25),
        ("hyper-exponential, cv² 4", Law::balanced_hyper_exponential(UNIT, 4.0), 4.0),
        ("log-normal, cv 1", Law::log_normal(UNIT, 1.0), 1.0),
    ];
    let mut cells = Vec::new();
    for (name, law, cv2) in laws {
        for rho in [0.5, 0.8] {
            let mut model = lab.model(Algorithm::Random, 10, rho);
            model.service = law.clone();
            let [mean] = lab.run(&model, mean);
            cells.push(Cell::estimate(format!("{name}, rho {rho}"), queues::mg1_mean(rho, cv2), mean));
        }
    }
    Table {
        title: "M/G/1: other services",
        about: "As the first table, with services that are not exponential: Pollaczek and Khinchine, \
                1 + rho (1 + cv²) / (2 (1 - rho)).",
        cells,
    }
}

/// M/G/1 with processor sharing: the law does not matter.
pub(crate) fn processor_sharing(lab: &Lab) -> Table {
    let laws = [
        ("fixed", Law::fixed(UNIT as u64)),
        ("exponential", Law::exponential(UNIT)),
        ("hyper-exponential, cv² 4", Law::balanced_hyper_exponential(UNIT, 4.0)),
    ];
    let mut cells = Vec::new();
    for (name, law) in laws {
        for rho in [0.5, 0.8] {
            let mut model = lab.model(Algorithm::Random, 10, rho);
            model.service = law.clone();
            model.backends.iter_mut().for_each(|backend| backend.discipline = Discipline::Sharing);
            let [mean] = lab.run(&model, mean);
            cells.push(Cell::estimate(format!("{name}, rho {rho}"), queues::ps_mean(rho), mean));
        }
    }
    Table {
        title: "M/G/1: processor sharing",
        about: "As above with backends that share one slot among all requests: 1/(1 - rho) for every law of \
                service.",
        cells,
    }
}
