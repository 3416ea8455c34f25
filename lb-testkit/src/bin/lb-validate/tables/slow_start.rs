//! Slow start: what a newcomer gets while it is one.

use lb_core::{
    config::{self, Algorithm},
    pool::{Ask, Change, Outcome as Ended, Pool},
    prng::Prng,
    time::{Duration, Instant},
};
use lb_testkit::{
    sim::{Arrivals, Fault, Outcome, Trouble},
    theory::policies,
};

use super::balls::backend;
use crate::{
    cell::{Cell, Table},
    lab::Lab,
    statistics::Estimate,
};

const WINDOW: Duration = Duration::from_secs(60);
/// The default.
const MIN: f64 = 0.1;
/// Weights are in parts of this.
const PARTS: f64 = 1000.0;
/// How often they are renewed while one of them grows.
const TICK: f64 = 0.1;

/// Envoy's formula, in whole parts as `lb` has it.
fn parts(seconds: f64, aggression: f64) -> f64 {
    let share = policies::slow_start_share(seconds / WINDOW.as_secs_f64(), aggression, MIN);
    (share * PARTS + 1e-9).floor()
}

fn slow(aggression: f64) -> config::SlowStart {
    config::SlowStart {
        window: WINDOW,
        aggression_percent: (aggression * 100.0) as u32,
        ..config::SlowStart::default()
    }
}

/// How often a newcomer is picked for each thousand picks of the other, so long after it came.
fn picks(aggression: f64, seconds: u64) -> f64 {
    let pool_of = |backends: std::ops::Range<usize>| config::Pool {
        algorithm: Algorithm::RoundRobin,
        slow_start: slow(aggression),
        backends: backends.map(|index| backend(index, 1)).collect(),
        ..config::Pool::default()
    };
    let came = Instant::from_nanos(7_000_000_000);
    let now = came + Duration::from_secs(seconds);
    let mut pool = Pool::new("slow".into(), &pool_of(0..1), Prng::new(1), Instant::ZERO);
    pool.reconfigure(&pool_of(0..2), came);
    pool.wake(now);
    // A whole period, whatever the weights have in common.
    let mut of_newcomer = 0.0;
    let mut of_other = 0.0;
    while of_other < PARTS {
        let Some(ticket) = pool.pick(Ask::default(), now) else { break };
        *(if ticket.name().as_ref() == "b1" { &mut of_newcomer } else { &mut of_other }) += 1.0;
        pool.finish(ticket, Ended::Success, now);
    }
    of_newcomer
}

/// The weight of a newcomer, and its share of the traffic of a simulated pool.
pub(crate) fn newcomer(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (aggression, seconds, envoy) in [
        (1.0, 0, 0.1),
        (1.0, 15, 0.25),
        (1.0, 30, 0.5),
        (1.0, 45, 0.75),
        (2.0, 6, 0.3162),
        (2.0, 15, 0.5),
        (2.0, 30, 0.5_f64.sqrt()),
        (0.5, 30, 0.25),
        (0.5, 45, 0.5625),
    ] {
        let name = format!("aggression {aggression}, after {seconds} s: picks for a thousand of the other");
        // The turns of the last of the thousand may stand on either side.
        let target = parts(seconds as f64, aggression);
        let got = picks(aggression, seconds);
        let is_as_printed = (target / PARTS - envoy).abs() < 1e-3;
        cells.push(Cell::within(
            name,
            target - 1.0,
            target + 1.0,
            if is_as_printed { got } else { f64::NAN },
        ));
    }
    for aggression in [1.0, 2.0, 0.5] {
        cells.push(share(lab, aggression));
    }
    Table {
        title: "Slow start",
        about: "The weight of a backend that came up t ago is max(10 %, (t / window)^(1 / aggression)) of its own: \
                Envoy's formula and the values it documents, with a window of 60 s. First the picks of weighted round \
                robin at one moment; then the share of the traffic that a simulated backend gets within a minute after \
                an outage, `random` by weight among ten, against the mean of w / (w + 9) over that time (weights are \
                renewed every 100 ms).",
        cells,
    }
}

/// One of ten backends is down at first; its share of what comes while it starts.
fn share(lab: &Lab, aggression: f64) -> Cell {
    let mut model = lab.model(Algorithm::Random, 10, 0.5);
    // Checks find it again within a second; the figures begin after that.
    let (outage, warmup, end) = (5.0, 6.5, 68.0);
    let rate = lab.requests as f64 / lab.seeds as f64 / (end - warmup);
    model.arrivals = Arrivals::poisson(rate);
    model.warmup = std::time::Duration::from_secs_f64(warmup);
    model.duration = std::time::Duration::from_secs_f64(end);
    model.pool.slow_start = slow(aggression);
    model.pool.health_check =
        Some(config::HealthCheck { interval: Duration::from_secs(1), ..config::HealthCheck::default() });
    model.faults = vec![Fault {
        backends: vec![0],
        from: Duration::ZERO,
        length: Some(std::time::Duration::from_secs_f64(outage)),
        stagger: Duration::ZERO,
        trouble: Trouble::Down,
    }];
    let found = lab.sample(&model, lab.seeds, |outcome: &Outcome| {
        let up = outcome.marks.iter().rfind(|mark| mark.change == Change::Up).map_or(0, |mark| mark.at);
        (outcome.share(0), expected_share(up as f64 / 1e9, warmup, end, aggression))
    });
    let mean = found.iter().map(|(_, expected)| expected).sum::<f64>() / found.len() as f64;
    // Each run has its own moment at which the backend was seen.
    let aligned = found.iter().map(|(share, expected)| share - expected + mean);
    Cell::estimate(format!("aggression {aggression}: share of ten"), mean, Estimate::of(aligned))
}

/// The mean of `w / (w + 9)` from `from` to `to` for a backend that came up at `up`, in seconds.
fn expected_share(up: f64, from: f64, to: f64, aggression: f64) -> f64 {
    let window = WINDOW.as_secs_f64();
    let mut sum = 0.0;
    let mut tick = 0;
    loop {
        let begins = up + f64::from(tick) * TICK;
        if begins >= to {
            return sum / (to - from);
        }
        let lasts = ((begins + TICK).min(to) - begins.max(from)).max(0.0);
        let elapsed = f64::from(tick) * TICK;
        let weight = if elapsed >= window { PARTS } else { parts(elapsed, aggression) };
        sum += lasts * weight / (weight + 9.0 * PARTS);
        tick += 1;
    }
}
