//! The report as text.

use std::fmt::Write;

use lb_testkit::sim::{
    Arrivals, CaseOutcome, Outcome,
    compare::{Difference, PAIRS_MIN},
    scenario::{Metric, duration_text},
};

use super::Report;

/// Backends that are listed; of more, those with the most and the least.
const BACKENDS_SHOWN: usize = 24;

/// The figures of the table.
const COLUMNS: [Metric; 11] = [
    Metric::Mean,
    Metric::Quantile(0.5),
    Metric::Quantile(0.9),
    Metric::Quantile(0.99),
    Metric::Quantile(0.999),
    Metric::Goodput,
    Metric::Errors,
    Metric::Amplification,
    Metric::MaxToMean,
    Metric::Detected(0),
    Metric::Recovered(0),
];

pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n", heading(report));
    for outcomes in by_load(report) {
        if let Some(load) = outcomes[0].case.load {
            text += &format!("\nload {load}\n");
        }
        text += "\n";
        text += &figures(report, &outcomes);
        text += &failures(&outcomes);
        text += &backends(&outcomes);
        if outcomes.len() > 1 {
            text += &ranking(report.rank, &outcomes);
        }
    }
    if !report.verdicts.is_empty() {
        text += "\nexpected:\n";
        report.verdicts.iter().for_each(|verdict| text += &format!("{}\n", verdict.text));
        let failed = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
        text += &format!("{} passed, {failed} failed\n", report.verdicts.len() - failed);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The cases of each load.
pub(super) fn by_load(report: &Report) -> Vec<Vec<&CaseOutcome>> {
    let outcomes: Vec<&CaseOutcome> = report.outcomes.iter().collect();
    outcomes.chunks(report.scenario.variants.len().max(1)).map(<[_]>::to_vec).collect()
}

pub(super) fn heading(report: &Report) -> String {
    let model = &report.scenario.model;
    let mut text = report.scenario.name.clone();
    if !report.scenario.about.is_empty() {
        let _ = write!(text, ": {}", report.scenario.about);
    }
    let slots: Vec<u32> = model.backends.iter().map(|backend| backend.slots).collect();
    let slots = match (slots.iter().min(), slots.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("{} each", counted(u64::from(*most), "slot")),
        (least, most) => format!("{} to {} slots each", least.unwrap_or(&0), most.unwrap_or(&0)),
    };
    let first = report.outcomes.first().map(|outcome| &outcome.case.model);
    let arrivals = match first.map(|model| &model.arrivals) {
        Some(Arrivals::Open { rate, .. }) if report.scenario.loads.len() < 2 => {
            let load = rate / model.capacity().max(f64::MIN_POSITIVE);
            format!("{rate:.1} requests/s, load {load:.2}")
        }
        Some(Arrivals::Open { .. }) | None => format!("capacity {:.1} requests/s", model.capacity()),
        Some(Arrivals::Bursts { every, size }) => {
            format!("{size} requests every {}", duration_text(every.as_nanos() as f64))
        }
        Some(Arrivals::Closed { users, .. }) => counted(u64::from(*users), "user"),
        Some(Arrivals::Trace(times)) => format!("a trace of {}", counted(times.len() as u64, "request")),
    };
    let _ = write!(
        text,
        "\n{}, {slots}, {}; {arrivals}; service {} on average, cv {:.2}\n\
         {} simulated, {} of them not measured; {} from {}; goodput is below 500 within {}",
        counted(model.backends.len() as u64, "backend"),
        counted(u64::from(model.balancers), "balancer"),
        duration_text(model.service.mean()),
        model.service.squared_cv().sqrt(),
        duration_text(model.duration.as_nanos() as f64),
        duration_text(model.warmup.as_nanos() as f64),
        counted(report.seeds.len() as u64, "seed"),
        report.seeds.first().unwrap_or(&0),
        duration_text(model.slo.as_nanos() as f64),
    );
    text
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The columns that say something here.
pub(super) fn columns(report: &Report) -> Vec<Metric> {
    let has_faults = !report.scenario.model.faults.is_empty();
    let fits = |metric: &Metric| has_faults || !matches!(metric, Metric::Detected(_) | Metric::Recovered(_));
    COLUMNS.into_iter().filter(fits).collect()
}

fn figures(report: &Report, outcomes: &[&CaseOutcome]) -> String {
    let columns = columns(report);
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(Metric::to_string));
    for outcome in outcomes {
        let mut row = vec![outcome.case.variant.clone()];
        row.extend(columns.iter().map(|&metric| metric.text(outcome.figure(metric))));
        rows.push(row);
    }
    aligned(&rows)
}

/// What requests got in place of good answers.
fn failures(outcomes: &[&CaseOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.pooled.errors.is_empty()) {
        let errors = outcome.pooled.errors.iter().map(|(failure, count)| format!("{failure} {count}"));
        let errors: Vec<String> = errors.collect();
        let _ = writeln!(
            text,
            "errors of {}: {} of {} requests",
            outcome.case.variant,
            errors.join(", "),
            outcome.pooled.requests
        );
    }
    text
}

/// The backends that are listed, and a note on others.
pub(super) fn shown(outcome: &Outcome) -> (Vec<usize>, Option<String>) {
    let count = outcome.backends.len();
    let mut places: Vec<usize> = (0..count).collect();
    if count <= BACKENDS_SHOWN {
        return (places, None);
    }
    places.sort_by_key(|&place| std::cmp::Reverse(outcome.backends[place].tries));
    let middle = BACKENDS_SHOWN / 2..count - BACKENDS_SHOWN / 2;
    let note = format!("{} between are left out; --json has them", middle.len());
    places.drain(middle);
    (places, Some(note))
}

/// Share of tries and utilisation of each backend.
fn backends(outcomes: &[&CaseOutcome]) -> String {
    let Some(first) = outcomes.first() else { return String::new() };
    let (places, left_out) = shown(&first.pooled);
    let note = left_out.map(|note| format!("({note})\n")).unwrap_or_default();
    let mut rows = vec![vec!["share / utilisation".to_string()]];
    rows[0].extend(outcomes.iter().map(|outcome| outcome.case.variant.clone()));
    for place in places {
        let mut row = vec![first.pooled.backends[place].name.to_string()];
        row.extend(outcomes.iter().map(|outcome| {
            let pooled = &outcome.pooled;
            format!("{:.2}% / {:.1}%", pooled.share(place) * 100.0, pooled.utilisation(place) * 100.0)
        }));
        rows.push(row);
    }
    format!("\n{}{note}", aligned(&rows))
}

/// The variants from best to worst, each against the best one.
fn ranking(rank: Metric, outcomes: &[&CaseOutcome]) -> String {
    let ranked = ranked(rank, outcomes);
    let Some(best) = ranked.first() else { return String::new() };
    let mut text =
        format!("\nby {rank}, against {} (95 % interval of the difference over seeds):\n", best.case.variant);
    let mut rows = Vec::new();
    for (place, outcome) in ranked.iter().enumerate() {
        let difference = if place == 0 { String::new() } else { against(rank, outcome, best) };
        let figure = rank.text(outcome.figure(rank));
        rows.push(vec![format!("{}. {}", place + 1, outcome.case.variant), figure, difference]);
    }
    text += &aligned(&rows);
    text
}

/// From best to worst.
pub(super) fn ranked<'a>(rank: Metric, outcomes: &[&'a CaseOutcome]) -> Vec<&'a CaseOutcome> {
    let more_is_better = rank.is_better_above();
    let badness = |outcome: &CaseOutcome| {
        let figure = outcome.figure(rank).unwrap_or(f64::INFINITY);
        if more_is_better { -figure } else { figure }
    };
    let mut ranked = outcomes.to_vec();
    ranked.sort_by(|a, b| badness(a).total_cmp(&badness(b)));
    ranked
}

/// How one case differs from another, in words.
pub(super) fn against(rank: Metric, outcome: &CaseOutcome, best: &CaseOutcome) -> String {
    let Some(difference) = Difference::between(outcome, best, rank) else {
        return "not to be compared".into();
    };
    let signed = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "+" };
        format!("{sign}{}", rank.text(Some(value.abs())))
    };
    let (least, most) = difference.interval;
    let word = match difference.is_real() {
        true => "",
        false if difference.pairs < PAIRS_MIN => ": too few seeds to say",
        false => ": within noise",
    };
    format!("{} [{}, {}]{word}", signed(difference.mean), signed(least), signed(most))
}

/// Columns of equal width, the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
