//! Retries: what they amplify, and when they kill.

use std::time::Duration;

use lb_core::config::{self, Algorithm};
use lb_testkit::{
    sim::{Backend, Client, Fault, Model, Outcome, Trouble},
    theory::policies,
};

use crate::{
    cell::{Cell, Table},
    lab::{Lab, units},
};

/// All backends fail this share of requests at once, from the start.
fn failing(share: f64, count: u32) -> Fault {
    Fault {
        backends: (0..count).collect(),
        from: Duration::ZERO,
        length: None,
        stagger: Duration::ZERO,
        trouble: Trouble::Fail { share, status: 503, after: None, seen_by_checks: false },
    }
}

fn with_retries(lab: &Lab, share: f64, retry: config::Retry) -> Model {
    let mut model = lab.model(Algorithm::Random, 10, 0.3);
    model.pool.retry = config::Retry { on_status: vec![503], ..retry };
    model.faults = vec![failing(share, 10)];
    model
}

/// Independent failures without a budget: geometric.
pub(crate) fn amplification(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (share, retries) in [(0.1, 2), (0.5, 1), (0.5, 3), (0.9, 3)] {
        let retry = config::Retry { tries: retries + 1, budget_percent: 100_000, ..config::Retry::default() };
        let model = with_retries(lab, share, retry);
        let [tries, errors] = lab.run(&model, |outcome| [outcome.amplification(), outcome.error_share()]);
        let label = format!("p {share}, {retries} retries");
        cells.push(Cell::estimate(format!("{label}: tries"), policies::attempts(share, retries), tries));
        let unanswered = share.powi(i32::try_from(retries).unwrap_or(i32::MAX) + 1);
        cells.push(Cell::estimate(format!("{label}: errors"), unanswered, errors));
    }
    Table {
        title: "Retries of independent failures",
        about: "Every backend answers a share p of requests with 503 at once, which `on_status` makes the balancer \
                try again, with a budget that does not bind: (1 - p^(R + 1)) / (1 - p) tries for each request, \
                p^(R + 1) of which fail for good.",
        cells,
    }
}

/// A total outage with the budget of a fifth.
pub(crate) fn outage(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for percent in [10, 20, 50] {
        let retry =
            config::Retry { tries: 4, budget_percent: percent, budget_floor: 0, ..config::Retry::default() };
        let [tries] = lab.run(&with_retries(lab, 1.0, retry), |outcome| [outcome.amplification()]);
        let bound = 1.0 + f64::from(percent) / 100.0;
        cells.push(Cell::within(format!("{percent} %"), bound * 0.997, bound * 1.003, tries.mean));
    }
    Table {
        title: "A total outage under a retry budget",
        about: "All requests fail, four tries are allowed, and the budget grants retries for a share b of requests: \
                1 + b tries for each request and no more (without a budget it would be 4).",
        cells,
    }
}

/// Retries that successes pay for.
pub(crate) fn funded_by_successes(lab: &Lab) -> Table {
    let (retries, share) = (3, 0.1);
    let mut cells = Vec::new();
    for p in [0.05, 0.2, 0.5, 0.9, 1.0] {
        let retry = config::Retry {
            tries: retries + 1,
            funded_by: config::FundedBy::Successes,
            budget_percent: (share * 100.0) as u32,
            budget_floor: 0,
            ..config::Retry::default()
        };
        let [tries] = lab.run(&with_retries(lab, p, retry), |outcome| [outcome.amplification()]);
        let target = policies::attempts_success_funded(p, retries, share);
        // Where failures are rarer than what is paid for, some still meet an empty purse.
        let unmet = if p < 0.1 { 0.002 } else { 0.0 };
        cells.push(if p < 1.0 {
            Cell::known_within(format!("p {p}: tries"), target, unmet, tries)
        } else {
            Cell::same(format!("p {p}: tries"), target, tries.mean)
        });
    }
    Table {
        title: "Retries that successes pay for",
        about: "Requests fail independently with probability p, and each success, of a retry as well, pays a tenth of a \
                retry: 1 + min(p + p² + p³, b (1 - p) / (1 - b (1 - p))) tries for each request with b = 0.1 (Brooker), \
                so that a total outage is not amplified at all.",
        cells,
    }
}

/// Impatient clients that try again: the collapsed state.
pub(crate) fn metastability(lab: &Lab) -> Table {
    /// Clients wait for this many services.
    const TIMEOUT: f64 = 10.0;
    const RETRIES: u32 = 3;
    let count = 20;
    let base = |rho: f64, horizon: f64| {
        let mut model = lab.model(Algorithm::Random, 1, rho);
        model.backends = Backend::several(1, 1);
        model.client = Client { timeout: Some(units(TIMEOUT)), retries: RETRIES, ..Client::default() };
        (model.warmup, model.duration) = (units(0.0), units(horizon));
        model
    };
    // Nothing is served for 200 services, soon after the start; judged long after.
    let outage = |mut model: Model, horizon: f64| {
        let fault = Fault { from: units(1000.0), length: Some(units(200.0)), ..failing(1.0, 1) };
        model.faults = vec![Fault { trouble: Trouble::Pause, ..fault }];
        (model.warmup, model.duration) = (units(horizon / 2.0), units(horizon));
        model
    };
    let with_budget = |mut model: Model| {
        model.client = Client::default();
        model.pool.timeouts.response_head = units(TIMEOUT);
        model.pool.retry = config::Retry {
            tries: RETRIES + 1,
            budget_percent: 20,
            budget_floor: 0,
            ..config::Retry::default()
        };
        model
    };
    let collapses = |model: &Model| {
        let sent = |outcome: &Outcome| outcome.attempts.max(outcome.tries) as f64 / outcome.requests as f64;
        let found = lab.sample(model, count, |outcome| sent(outcome) > 2.0);
        found.into_iter().filter(|&collapsed| collapsed).count()
    };
    let (collapsed_from, _) = policies::metastable_loads(TIMEOUT, RETRIES);
    let horizon = 10_000.0;
    let [attempts] = lab.run(&outage(base(0.3, horizon), horizon), |outcome| {
        [outcome.attempts as f64 / outcome.requests as f64]
    });
    let cells = vec![
        Cell::same("the collapsed state feeds itself from a load of", 0.25, collapsed_from),
        Cell::same("load 0.2, outage: collapses of 20", 0, collapses(&outage(base(0.2, horizon), horizon))),
        // Rare bursts of timeouts collapse it without an outage: an independent simulation saw 3 of 20 runs of
        // 100,000 services collapse, which makes 0.16 of 20 runs of 5,000, and more than 2 once in a thousand.
        Cell::within(
            "load 0.3, no outage, 5,000 services: collapses of 20",
            0.0,
            2.0,
            collapses(&base(0.3, 5000.0)) as f64,
        ),
        Cell::same("load 0.3, outage: collapses of 20", 20, collapses(&outage(base(0.3, horizon), horizon))),
        Cell::within("load 0.3, outage: attempts for each request", 3.99, 4.0, attempts.mean),
        Cell::same(
            "load 0.3, outage, the balancer retries with a budget of 20 %: collapses of 20",
            0,
            collapses(&outage(with_budget(base(0.3, horizon)), horizon)),
        ),
    ];
    Table {
        title: "Metastable failure",
        about: "One backend, clients that give up after ten services and try up to three more times at once, and a \
                backend that goes on with what was given up. Above a load of 1/(R + 1) an overload feeds itself: \
                after an outage of 200 services it never ends at a load of 0.3 and ends by itself at 0.2. When \
                the balancer retries in the clients' place, under a budget of 20 %, it always ends.",
        cells,
    }
}
