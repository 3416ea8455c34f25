//! A figure that is known, next to what came out.

use crate::statistics::{Estimate, LEVEL_DEVIATIONS, chi_square_quantile, kolmogorov_smirnov};

/// Differences below this share of the target are not looked at: they are within what rounding to
/// nanoseconds and the cells of the histograms do.
const FLOOR: f64 = 0.003;

/// Figures about one thing.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// What is run, and where the targets come from.
    pub(crate) about: &'static str,
    pub(crate) cells: Vec<Cell>,
}

/// One figure.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) finding: Finding,
}

pub(crate) enum Finding {
    /// An estimate against a target.
    Near {
        target: f64,
        measured: f64,
        tolerance: f64,
        /// The difference in standard errors.
        z: f64,
        /// Whether the target is exact and the estimate without bias, so that z should be standard normal.
        is_clean: bool,
    },
    /// Something that is known exactly.
    Same { target: String, measured: String },
    /// A bound.
    Within { low: f64, high: f64, measured: f64 },
}

impl Cell {
    /// An estimate of something whose exact value is `target`.
    pub(crate) fn estimate(name: impl Into<String>, target: f64, estimate: Estimate) -> Self {
        Self::near(name.into(), target, estimate, true)
    }

    /// An estimate of something whose value is known up to `known_within`: a standard error, or a
    /// difference between what is run and what the formula is about.
    pub(crate) fn known_within(
        name: impl Into<String>,
        target: f64,
        known_within: f64,
        estimate: Estimate,
    ) -> Self {
        let error = estimate.error.hypot(known_within);
        Self::near(name.into(), target, Estimate { error, ..estimate }, false)
    }

    /// An estimate that is slightly biased, as quantiles of finite runs are.
    pub(crate) fn biased(name: impl Into<String>, target: f64, estimate: Estimate) -> Self {
        Self::near(name.into(), target, estimate, false)
    }

    fn near(name: String, target: f64, estimate: Estimate, is_clean: bool) -> Self {
        let tolerance = estimate.margin().max(FLOOR * target.abs());
        let z = estimate.score(target);
        Self { name, finding: Finding::Near { target, measured: estimate.mean, tolerance, z, is_clean } }
    }

    pub(crate) fn same(name: impl Into<String>, target: impl ToString, measured: impl ToString) -> Self {
        let finding = Finding::Same { target: target.to_string(), measured: measured.to_string() };
        Self { name: name.into(), finding }
    }

    pub(crate) fn within(name: impl Into<String>, low: f64, high: f64, measured: f64) -> Self {
        Self { name: name.into(), finding: Finding::Within { low, high, measured } }
    }

    pub(crate) fn passed(&self) -> bool {
        match &self.finding {
            Finding::Near { target, measured, tolerance, .. } => (measured - target).abs() <= *tolerance,
            Finding::Same { target, measured } => target == measured,
            Finding::Within { low, high, measured } => (low..=high).contains(&measured),
        }
    }
}

/// How many cells passed, and how many did not.
pub(crate) fn count(tables: &[Table]) -> (usize, usize) {
    let cells = || tables.iter().flat_map(|table| &table.cells);
    let passed = cells().filter(|cell| cell.passed()).count();
    (passed, cells().count() - passed)
}

/// The test of the tests: over all tables, the differences in standard errors should look like draws from
/// the standard normal distribution. A tolerance lets a small bias pass in each cell; this does not let it
/// pass in all of them.
pub(crate) fn scores(tables: &[Table]) -> Table {
    let z = |cell: &Cell| match cell.finding {
        Finding::Near { z, is_clean: true, .. } => Some(z),
        _ => None,
    };
    let scores: Vec<f64> = tables.iter().flat_map(|table| &table.cells).filter_map(z).collect();
    let n = scores.len().max(2) as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let sd = (scores.iter().map(|score| score * score).sum::<f64>() / n).sqrt();
    let room = LEVEL_DEVIATIONS;
    let bound = |z: f64| (chi_square_quantile(z, n) / n).sqrt();
    Table {
        title: "The scores themselves",
        about: "The scores z of all clean estimates above, as a sample: their mean against 0 ± 3.29/√n, their \
                root mean square against the quantiles of the chi-square distribution at one in a thousand, \
                and the probability of their distance from the normal distribution (Kolmogorov, Smirnov).",
        cells: vec![
            Cell::within(format!("mean of {n} scores"), -room / n.sqrt(), room / n.sqrt(), mean),
            Cell::within("root mean square", bound(-room), bound(room), sd),
            Cell::within("probability of the distance", 0.001, 1.0, kolmogorov_smirnov(&scores)),
        ],
    }
}
