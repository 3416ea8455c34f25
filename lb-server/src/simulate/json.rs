//! The report as JSON, for other programs. Times are in nanoseconds.

use lb_testkit::sim::{CaseOutcome, Failure, Mark, Outcome, compare::Difference, scenario::Metric};
use serde_json::{Map, Value, json};

use super::{Report, table};

/// The figures of each case.
const FIGURES: [Metric; 11] = [
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

pub(super) fn text(report: &Report) -> String {
    let scenario = &report.scenario;
    let nanos = |time: std::time::Duration| lb_core::time::nanos(time);
    let loads = table::by_load(report);
    let cases = loads.iter().flat_map(|outcomes| {
        let best = table::ranked(report.rank, outcomes).first().copied();
        outcomes.iter().map(move |outcome| case(outcome, best, report.rank))
    });
    let verdicts = report.verdicts.iter();
    json!({
        "name": scenario.name,
        "about": scenario.about,
        "seeds": report.seeds,
        "duration": nanos(scenario.model.duration),
        "warmup": nanos(scenario.model.warmup),
        "slo": nanos(scenario.model.slo),
        "rank": report.rank.to_string(),
        "cases": cases.collect::<Vec<_>>(),
        "expectations":
            verdicts.map(|verdict| json!({ "holds": verdict.holds, "text": verdict.text })).collect::<Vec<_>>(),
    })
    .to_string()
}

fn case(outcome: &CaseOutcome, best: Option<&CaseOutcome>, rank: Metric) -> Value {
    let pooled = &outcome.pooled;
    let figures = FIGURES.iter().map(|&metric| (metric.to_string(), json!(outcome.figure(metric))));
    let errors =
        pooled.errors.iter().map(|(failure, count): (&Failure, _)| (failure.to_string(), json!(count)));
    let faults = (0..pooled.faults.len()).map(|place| {
        json!({
            "detected": outcome.figure(Metric::Detected(place)),
            "recovered": outcome.figure(Metric::Recovered(place)),
        })
    });
    let against = best.and_then(|best| Difference::between(outcome, best, rank)).map(|difference| {
        let (least, most) = difference.interval;
        json!({ "mean": difference.mean, "interval": [least, most], "real": difference.is_real() })
    });
    json!({
        "variant": outcome.case.variant,
        "load": outcome.case.load,
        "requests": pooled.requests,
        "figures": figures.collect::<Map<_, _>>(),
        "standard_deviation": pooled.latency.variance().sqrt(),
        "errors": errors.collect::<Map<_, _>>(),
        "against_best": against,
        "faults": faults.collect::<Vec<_>>(),
        "backends": (0..pooled.backends.len()).map(|place| backend(pooled, place)).collect::<Vec<_>>(),
        "marks": pooled.marks.iter().map(|change| mark(pooled, change)).collect::<Vec<_>>(),
    })
}

fn backend(outcome: &Outcome, place: usize) -> Value {
    let backend = &outcome.backends[place];
    json!({
        "name": &*backend.name,
        "tries": backend.tries,
        "share": outcome.share(place),
        "utilisation": outcome.utilisation(place),
        "most_at_once": backend.present_max,
    })
}

fn mark(outcome: &Outcome, mark: &Mark) -> Value {
    json!({
        "at": mark.at,
        "balancer": mark.balancer,
        "backend": &*outcome.backends[mark.backend as usize].name,
        "change": mark.change.to_string(),
    })
}
