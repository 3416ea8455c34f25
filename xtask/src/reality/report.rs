//! The page: prediction and reality side by side, and why where they differ.

use std::{fmt::Write, time::Duration};

use super::clients::Seen;

/// How far the prediction may be off at the median, and at the 99th percentile.
const TOLERANCES: [f64; 2] = [0.1, 0.2];
/// More late or failed requests than this share are a reason by themselves.
const DISTURBED: f64 = 0.005;

/// Quantiles of the latency, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Figures {
    fn both(self) -> [f64; 2] {
        [self.p50, self.p99]
    }
}

/// A run of both.
pub(super) struct Cell {
    pub(super) load: f64,
    pub(super) algorithm: &'static str,
    pub(super) predicted: Figures,
    pub(super) real: Figures,
    /// Predictions for other requests of the same kind.
    pub(super) others: Vec<Figures>,
    pub(super) seen: Seen,
}

/// What all runs have in common.
pub(super) struct Facts {
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) command: String,
    pub(super) backends: usize,
    pub(super) slots: u32,
    pub(super) service_ms: f64,
    pub(super) other_seeds: u64,
    pub(super) overhead: Duration,
}

impl Cell {
    /// How far the prediction is off, at the median and at the 99th percentile, as shares of reality.
    fn errors(&self) -> [f64; 2] {
        let pairs = self.predicted.both().into_iter().zip(self.real.both());
        let errors: Vec<f64> = pairs.map(|(predicted, real)| predicted / real - 1.0).collect();
        [errors[0], errors[1]]
    }

    /// Where figures of runs of this length lie, by the simulator.
    fn spread(&self, of: fn(&Figures) -> f64) -> (f64, f64) {
        let all = || self.others.iter().chain([&self.predicted]).map(of);
        (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max))
    }

    fn is_within(&self) -> bool {
        self.errors().iter().zip(TOLERANCES).all(|(error, tolerance)| error.abs() <= tolerance)
    }

    /// In a word whether it is within the tolerances; if not, what is known of why.
    fn verdict(&self) -> String {
        if self.is_within() {
            return "within".into();
        }
        let count = (self.seen.latencies.len() as f64 + self.seen.errors as f64).max(1.0);
        if self.seen.errors as f64 / count > DISTURBED {
            return format!("**off**: {} requests failed", self.seen.errors);
        }
        if self.seen.late as f64 / count > DISTURBED {
            let share = self.seen.late as f64 / count * 100.0;
            return format!("**off**: the machine was busy, {share:.1} % of the requests were sent late");
        }
        let within = |(least, most): (f64, f64), real: f64| least <= real && real <= most;
        let spread = [self.spread(|figures| figures.p50), self.spread(|figures| figures.p99)];
        if spread.into_iter().zip(self.real.both()).all(|(spread, real)| within(spread, real)) {
            return "**off**, but among what other seeds give: chance in a run of this length".into();
        }
        "**off**, and not by chance".into()
    }

    /// For the terminal.
    pub(super) fn line(&self) -> String {
        let [p50, p99] = self.errors().map(|error| error * 100.0);
        let (predicted, real) = (self.predicted, self.real);
        format!(
            "{:<15} load {:<4}  p50 {} predicted, {} real ({p50:+.1} %)  p99 {} predicted, {} real ({p99:+.1} %): {}",
            self.algorithm,
            self.load,
            ms(predicted.p50),
            ms(real.p50),
            ms(predicted.p99),
            ms(real.p99),
            self.verdict().replace('*', "")
        )
    }

    fn row(&self) -> String {
        let [p50, p99] = self.errors().map(|error| format!("{:+.1} %", error * 100.0));
        let range = |of| {
            let (least, most) = self.spread(of);
            format!("{} to {}", ms(least), ms(most))
        };
        let cells = [
            self.load.to_string(),
            self.algorithm.to_owned(),
            (self.seen.latencies.len() as u64 + self.seen.errors).to_string(),
            ms(self.predicted.p50),
            ms(self.real.p50),
            p50,
            ms(self.predicted.p99),
            ms(self.real.p99),
            p99,
            range(|figures| figures.p99),
            self.verdict(),
        ];
        format!("| {} |\n", cells.join(" | "))
    }
}

pub(super) fn page(facts: &Facts, cells: &[Cell]) -> String {
    let within = cells.iter().filter(|cell| cell.is_within()).count();
    let mut text = format!(
        "# Reality\n\n\
         The real `lb` with real backends, next to what `lb simulate` says of the same configuration. Written by \
         `{}` on {}; {}.\n\n\
         - {} backends with {} slots each, first come first served, that sleep for as long as a request says; \
         exponential with a mean of {} ms. lb with its defaults, one process; clients, lb and backends share \
         this machine over loopback.\n\
         - Requests are an open Poisson process. Both meet the same ones: the clients send at the simulator's \
         times, with the simulator's work. Latency counts from when a request was due, not from when it was \
         sent. What random draws lb makes is its own.\n\
         - The prediction includes a constant, measured before with requests of known work that never wait: lb and the \
         network add {} ms to each. The first tenth of each run is not measured.\n\
         - `others` is the range of the predicted p99 over {} further seeds: what a run of this length can tell.\n\
         - Within tolerance is 10 % at p50 and 20 % at p99: {within} of {} are.\n\n\
         | load | algorithm | requests | p50 predicted | real | error | p99 predicted | real | error | others | |\n\
         |--:|---|--:|--:|--:|--:|--:|--:|--:|---|---|\n",
        facts.command,
        facts.date,
        facts.machine,
        facts.backends,
        facts.slots,
        facts.service_ms,
        facts.overhead.as_micros() as f64 / 1e3,
        facts.other_seeds,
        cells.len(),
    );
    cells.iter().for_each(|cell| text += &cell.row());
    let _ = writeln!(
        text,
        "\nTimes are in milliseconds. Errors are those of the prediction, as shares of reality."
    );
    text
}

fn ms(nanos: f64) -> String {
    format!("{:.1}", nanos / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(p50: f64, p99: f64) -> Figures {
        Figures { p50: p50 * 1e6, p99: p99 * 1e6 }
    }

    fn cell(real: Figures) -> Cell {
        let seen = Seen { latencies: vec![1; 1000], ..Seen::default() };
        let predicted = figures(20.0, 100.0);
        Cell { load: 0.6, algorithm: "p2c", predicted, real, others: vec![figures(19.0, 135.0)], seen }
    }

    #[test]
    fn a_verdict_says_why() {
        assert_eq!(cell(figures(21.0, 118.0)).verdict(), "within");
        assert!(cell(figures(20.0, 130.0)).verdict().contains("chance in a run"));
        assert!(cell(figures(20.0, 140.0)).verdict().contains("not by chance"));
        assert!(cell(figures(30.0, 100.0)).verdict().contains("not by chance"));
        let mut late = cell(figures(30.0, 100.0));
        late.seen.late = 30;
        assert!(late.verdict().contains("3.0 % of the requests were sent late"), "{}", late.verdict());
        late.seen.errors = 30;
        assert!(late.verdict().contains("30 requests failed"));
    }

    #[test]
    fn the_page_has_a_row_for_each_run() {
        let facts = Facts {
            date: "2026-11-21".into(),
            machine: "a machine".into(),
            command: "cargo xtask reality".into(),
            backends: 8,
            slots: 4,
            service_ms: 20.0,
            other_seeds: 1,
            overhead: Duration::from_micros(430),
        };
        let page = page(&facts, &[cell(figures(20.0, 125.0)), cell(figures(25.0, 125.0))]);
        assert!(page.contains("network add 0.43 ms to each"), "{page}");
        assert!(page.contains("1 of 2 are"), "{page}");
        let row =
            "| 0.6 | p2c | 1000 | 20.0 | 20.0 | +0.0 % | 100.0 | 125.0 | -20.0 % | 100.0 to 135.0 | within |";
        assert!(page.contains(row), "{page}");
    }
}
