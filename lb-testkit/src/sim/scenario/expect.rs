//! Expectations: what a scenario's figures must be, or how those of two variants compare.

use std::fmt;

use super::{
    super::{Outcome, batch::CaseOutcome},
    duration_text,
};

/// A figure of an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Mean latency of answers below 500.
    Mean,
    /// A quantile of it.
    Quantile(f64),
    /// The share of requests without an answer below 500.
    Errors,
    /// The share of requests answered well and within the objective.
    Goodput,
    /// Tries for each request.
    Amplification,
    /// What clients sent for each request.
    Attempts,
    /// The largest share of tries at a backend, divided by the mean one.
    MaxToMean,
    /// The share of tries at some backends, by their places from `first` to `last`.
    Share {
        /// The first place.
        first: usize,
        /// The last place.
        last: usize,
    },
    /// From the start of a fault (by its place) until a balancer took its backend out.
    Detected(usize),
    /// From the end of a fault until good answers were back.
    Recovered(usize),
    /// How often balancers took a backend out.
    Ejections,
}

impl Metric {
    /// The figures that variants may be ranked by, the usual one first.
    pub const RANKS: [(&'static str, Self); 8] = [
        ("p99", Self::Quantile(0.99)),
        ("mean", Self::Mean),
        ("p50", Self::Quantile(0.5)),
        ("p90", Self::Quantile(0.9)),
        ("p999", Self::Quantile(0.999)),
        ("goodput", Self::Goodput),
        ("errors", Self::Errors),
        ("amplification", Self::Amplification),
    ];

    /// Whether more of it is better.
    #[must_use]
    pub fn is_better_above(self) -> bool {
        self == Self::Goodput
    }

    /// The figure: nanoseconds, shares or ratios; none when it never came.
    #[must_use]
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        let fault = |place: usize| outcome.faults.get(place);
        Some(match self {
            Self::Mean => outcome.latency.mean(),
            Self::Quantile(q) => outcome.latency.quantile(q),
            Self::Errors => outcome.error_share(),
            Self::Goodput => outcome.good_share(),
            Self::Amplification => outcome.amplification(),
            Self::Attempts => outcome.attempts as f64 / (outcome.requests as f64).max(1.0),
            Self::MaxToMean => outcome.max_to_mean(),
            Self::Share { first, last } => (first..=last).map(|backend| outcome.share(backend)).sum(),
            Self::Detected(place) => fault(place)?.detected? as f64,
            Self::Recovered(place) => fault(place)?.recovered? as f64,
            Self::Ejections => outcome.ejections() as f64,
        })
    }

    /// Whether there is one figure a run, rather than one of all requests.
    #[must_use]
    pub fn is_of_a_run(self) -> bool {
        matches!(self, Self::Detected(_) | Self::Recovered(_) | Self::Ejections)
    }

    /// Whether its figures are nanoseconds.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::Mean | Self::Quantile(_) | Self::Detected(_) | Self::Recovered(_))
    }

    /// A figure as people read it.
    #[must_use]
    pub fn text(self, value: Option<f64>) -> String {
        match (value, self) {
            (None, _) => "never".into(),
            (Some(value), _) if self.is_time() => duration_text(value),
            (Some(value), Self::Errors | Self::Goodput | Self::Share { .. }) => percent(value),
            (Some(value), _) => format!("{value:.3}"),
        }
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 99.995 || percent == 0.0 => format!("{percent:.0}%"),
        percent if percent < 0.1 => format!("{percent:.3}%"),
        percent => format!("{percent:.2}%"),
    }
}

/// As scenarios call it.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            Self::Quantile(q) => {
                write!(f, "p{}", format!("{:.1}", q * 100.0).trim_end_matches(".0").replace('.', ""))
            }
            Self::Errors => f.write_str("errors"),
            Self::Goodput => f.write_str("goodput"),
            Self::Amplification => f.write_str("amplification"),
            Self::Attempts => f.write_str("attempts"),
            Self::MaxToMean => f.write_str("max_to_mean"),
            Self::Share { .. } => f.write_str("share"),
            Self::Detected(_) => f.write_str("detected"),
            Self::Recovered(_) => f.write_str("recovered"),
            Self::Ejections => f.write_str("ejections"),
        }
    }
}

/// `[[expect]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Why; for people.
    pub about: String,
    /// For these variants; empty: for all.
    pub variants: Vec<String>,
    /// Under this load; none: under all.
    pub load: Option<f64>,
    /// Of what.
    pub metric: Metric,
    /// From where to where.
    pub bound: Bound,
}

/// Where a figure must lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// Between two values, both included.
    Between(f64, f64),
    /// Between two multiples of another variant's figure.
    Relative {
        /// The other variant.
        than: String,
        /// Smallest multiple.
        least: f64,
        /// Largest multiple.
        most: f64,
    },
    /// It never comes.
    Never,
}

/// What came of an expectation for one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// A line that tells what was expected and what was found.
    pub text: String,
}

impl Expectation {
    /// Whether it is about this case.
    #[must_use]
    pub fn concerns(&self, variant: &str, load: Option<f64>) -> bool {
        let variant = self.variants.is_empty() || self.variants.iter().any(|name| name == variant);
        let load = self.load.is_none_or(|wanted| load.is_none_or(|load| (load - wanted).abs() < 1e-9));
        variant && load
    }

    /// Judges a case; `all` are those that it may be compared with, of the same load.
    #[must_use]
    pub fn judge(&self, outcome: &CaseOutcome, all: &[CaseOutcome]) -> Verdict {
        let (metric, variant, load) = (self.metric, &outcome.case.variant, outcome.case.load);
        let other =
            |name: &str| all.iter().find(|other| other.case.variant == *name && other.case.load == load);
        let found = outcome.figure(metric);
        let within = |least: f64, most: f64| found.is_some_and(|found| least <= found && found <= most);
        let (holds, expected) = match &self.bound {
            Bound::Never => (found.is_none(), "never".to_string()),
            Bound::Between(least, most) => (within(*least, *most), range(metric, *least, *most)),
            Bound::Relative { than, least, most } => {
                let base = other(than).and_then(|outcome| outcome.figure(metric));
                let holds = base.is_some_and(|base| within(least * base, most * base));
                let of = format!("of {than}'s {}", metric.text(base));
                let text = match (*least > 0.0, most.is_finite()) {
                    (false, _) => format!("at most {most} {of}"),
                    (true, false) => format!("at least {least} {of}"),
                    (true, true) => format!("{least} to {most} {of}"),
                };
                (holds, text)
            }
        };
        let word = if holds { "ok  " } else { "FAIL" };
        let about = if self.about.is_empty() { String::new() } else { format!(" ({})", self.about) };
        let load = load.map(|load| format!(" at load {load}")).unwrap_or_default();
        let text =
            format!("{word} {variant}{load}: {metric} is {}, expected {expected}{about}", metric.text(found));
        Verdict { holds, text }
    }
}

fn range(metric: Metric, least: f64, most: f64) -> String {
    let text = |value| metric.text(Some(value));
    match (least.is_finite(), most.is_finite()) {
        (false, _) => format!("at most {}", text(most)),
        (true, false) => format!("at least {}", text(least)),
        (true, true) => format!("{} to {}", text(least), text(most)),
    }
}
