//! The report as JSON, for other programs. Times are in nanoseconds.

use std::fmt::Write;

use lb_testkit::sim::{CaseOutcome, Outcome, compare::Difference, scenario::Metric};

use super::{Report, table};

/// A value under construction: objects and arrays of what was written already.
fn object<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields = fields.into_iter().map(|(name, value)| format!("{}:{value}", string(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// JSON has no infinity.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".into() }
}

fn optional(value: Option<f64>) -> String {
    value.map_or("null".into(), number)
}

pub(super) fn text(report: &Report) -> String {
    let scenario = &report.scenario;
    let loads = table::by_load(report);
    let cases = loads.iter().flat_map(|outcomes| {
        let best = table::ranked(report.rank, outcomes).first().copied();
        outcomes.iter().map(move |outcome| case(outcome, best, report.rank))
    });
    let verdicts = report.verdicts.iter().map(|verdict| {
        object([("holds", verdict.holds.to_string()), ("text", string(verdict.text.trim_start()))])
    });
    object([
        ("name", string(&scenario.name)),
        ("about", string(&scenario.about)),
        ("seeds", array(report.seeds.iter().map(u64::to_string))),
        ("duration", scenario.model.duration.as_nanos().to_string()),
        ("warmup", scenario.model.warmup.as_nanos().to_string()),
        ("slo", scenario.model.slo.as_nanos().to_string()),
        ("rank", string(&report.rank.to_string())),
        ("cases", array(cases)),
        ("expectations", array(verdicts)),
    ])
}

fn case(outcome: &CaseOutcome, best: Option<&CaseOutcome>, rank: Metric) -> String {
    let figures = [
        Metric::Mean,
        Metric::Quantile(0.5),
        Metric::Quantile(0.9),
        Metric::Quantile(0.99),
        Metric::Quantile(0.999),
        Metric::Goodput,
        Metric::Errors,
        Metric::Amplification,
        Metric::Attempts,
        Metric::MaxToMean,
        Metric::Ejections,
    ];
    let names: Vec<String> = figures.iter().map(Metric::to_string).collect();
    let values = figures.iter().map(|&metric| optional(outcome.figure(metric)));
    let pooled = &outcome.pooled;
    let errors: Vec<(String, String)> =
        pooled.errors.iter().map(|(failure, count)| (failure.to_string(), count.to_string())).collect();
    let faults = (0..pooled.faults.len()).map(|place| {
        object([
            ("detected", optional(outcome.figure(Metric::Detected(place)))),
            ("recovered", optional(outcome.figure(Metric::Recovered(place)))),
        ])
    });
    let against = best.and_then(|best| Difference::between(outcome, best, rank)).map_or("null".into(), |difference| {
        object([
            ("mean", number(difference.mean)),
            ("interval", array([number(difference.interval.0), number(difference.interval.1)])),
            ("real", difference.is_real().to_string()),
        ])
    });
    object([
        ("variant", string(&outcome.case.variant)),
        ("load", optional(outcome.case.load)),
        ("requests", pooled.requests.to_string()),
        ("figures", object(names.iter().map(String::as_str).zip(values))),
        ("standard_deviation", number(pooled.latency.variance().sqrt())),
        ("errors", object(errors.iter().map(|(name, count)| (name.as_str(), count.clone())))),
        ("against_best", against),
        ("faults", array(faults)),
        ("backends", array((0..pooled.backends.len()).map(|place| backend(pooled, place)))),
        ("marks", array(pooled.marks.iter().map(|mark| {
            object([
                ("at", mark.at.to_string()),
                ("balancer", mark.balancer.to_string()),
                ("backend", string(&pooled.backends[mark.backend as usize].name)),
                ("change", string(&mark.change.to_string())),
            ])
        }))),
    ])
}

fn backend(outcome: &Outcome, place: usize) -> String {
    let backend = &outcome.backends[place];
    object([
        ("name", string(&backend.name)),
        ("tries", backend.tries.to_string()),
        ("share", number(outcome.share(place))),
        ("utilisation", number(outcome.utilisation(place))),
        ("most_at_once", backend.present_max.to_string()),
    ])
}
