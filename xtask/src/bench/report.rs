//! The results as Markdown.

use std::fmt::Write;

use super::{
    idle::Idle,
    measure::{Results, Sample, Series, Spread},
    scenario::Scenario,
    workers::{SPREADS, Workers},
};

/// Everything that a run found out, and what it ran on.
pub(super) struct Report<'a> {
    /// Pairs of what and which: versions, machine, date, command.
    pub(super) facts: &'a [(String, String)],
    pub(super) results: &'a [Results],
    pub(super) idle: &'a [Idle],
    pub(super) workers: &'a [Workers],
}

/// Whom lb is compared with, by the names of contenders.
const PEERS: [&str; 2] = ["nginx", "haproxy"];

impl Report<'_> {
    pub(super) fn markdown(&self, chart: Option<&str>) -> String {
        let mut out = String::from("# Side by side with the peers\n\n");
        out.push_str(
            "Written by `cargo xtask bench`. Each contender has one worker on one CPU of its own; the load \
             generator and the backend share another. Figures are medians of the rounds, with the lowest \
             and the highest in brackets; ratios are taken round by round. CPU is the user and system time \
             of the contender's processes for each completed request. Where a contender is not busy, the load \
             side is what limits requests/s, and CPU is the figure to look at.\n\n",
        );
        for (name, value) in self.facts {
            let _ = writeln!(out, "- {name}: {value}");
        }
        if let Some(chart) = chart {
            let _ = writeln!(out, "\n![CPU time for each request, nginx = 1]({chart})");
        }
        out.push_str(&self.summary());
        for results in self.results {
            out.push_str(&scenario(results));
        }
        if !self.idle.is_empty() {
            out.push_str(&idle(self.idle));
        }
        if !self.workers.is_empty() {
            out.push_str(&workers(self.workers));
        }
        out
    }

    /// lb over its peers, one line a scenario.
    fn summary(&self) -> String {
        let mut out = String::from("\n## lb over its peers\n\n");
        if self.results.is_empty() {
            return String::new();
        }
        out.push_str(&header(&[
            "scenario",
            "CPU / nginx",
            "CPU / HAProxy",
            "requests/s / nginx",
            "requests/s / HAProxy",
            "p99 / nginx",
            "p99 / HAProxy",
        ]));
        for results in self.results {
            let Some(lb) = results.of("lb") else { continue };
            let _ = write!(out, "| {} |", results.scenario.name());
            for figure in [Sample::cpu_us, |it: &Sample| it.requests_per_second, |it: &Sample| it.p99_us] {
                for peer in PEERS {
                    let ratio = results.of(peer).and_then(|peer| lb.ratio(peer, figure));
                    let _ = write!(out, " {} |", spread(ratio, 2));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// One scenario, one line a contender.
pub(super) fn scenario(results: &Results) -> String {
    let mut out = heading(results.scenario);
    out.push_str(&header(&[
        "contender",
        "requests/s",
        "CPU us/request",
        "of it user",
        "busy %",
        "p50 us",
        "p99 us",
        "peak MiB",
        "errors",
        "CPU / nginx",
        "CPU / HAProxy",
        "requests/s / nginx",
    ]));
    for series in results.series.iter().chain(&results.direct) {
        let direct = results.direct.as_ref().is_some_and(|direct| direct.name == series.name);
        let cpu = |text: String| if direct { "-".to_owned() } else { text };
        let over = |peer: &str, figure: fn(&Sample) -> f64| {
            spread(results.of(peer).and_then(|peer| series.ratio(peer, figure)), 2)
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            series.name,
            spread(series.spread(|it| it.requests_per_second), 0),
            cpu(spread(series.spread(Sample::cpu_us), 2)),
            cpu(series.spread(|it| it.user_us).map_or_else(dash, |user| format!("{:.2}", user.median))),
            cpu(series.spread(busy).map_or_else(dash, |busy| format!("{:.0}", busy.median))),
            spread(series.spread(|it| it.p50_us), 0),
            spread(series.spread(|it| it.p99_us), 0),
            cpu(format!("{:.1}", series.peak_kib as f64 / 1024.0)),
            series.errors(),
            cpu(over("nginx", Sample::cpu_us)),
            cpu(over("haproxy", Sample::cpu_us)),
            over("nginx", |it| it.requests_per_second),
        );
    }
    out.push_str(&unequal(&results.series));
    if let Some(direct) = &results.direct {
        out.push_str(&added(&results.series, direct));
    }
    out
}

/// How much of its CPU a contender used, in percent. Where that is little, requests/s tell more of the load
/// generator and the backend than of the contender.
fn busy(sample: &Sample) -> f64 {
    sample.cpu_us() * sample.requests_per_second / 1e4
}

/// Names the contenders that did not do quite the same work: that did not deal requests evenly to both
/// backends, or did not keep connections to them.
fn unequal(series: &[Series]) -> String {
    let mut out = String::new();
    let median = |series: &Series, figure: fn(&Sample) -> f64| series.spread(figure).map(|it| it.median);
    for series in series {
        if let Some(share) = median(series, |it| it.first_backend).filter(|share| (share - 0.5).abs() > 0.05)
        {
            let percent = share * 100.0;
            let _ =
                writeln!(out, "\n{} sent {percent:.0} % of the requests to the first backend.", series.name);
        }
        if let Some(reused) = median(series, |it| it.reused).filter(|&reused| reused < 0.99) {
            let percent = (1.0 - reused) * 100.0;
            let _ =
                writeln!(out, "\n{} opened a connection for {percent:.1} % of the requests.", series.name);
        }
    }
    out
}

/// What each contender adds to the latency of the backend alone.
fn added(series: &[Series], direct: &Series) -> String {
    let Some(alone) = direct.spread(|it| it.p50_us) else { return String::new() };
    let mut out = String::from("\nAdded latency (p50 beyond that without a proxy):");
    for series in series {
        if let Some(through) = series.spread(|it| it.p50_us) {
            let _ = write!(out, " {} {:.0} us;", series.name, through.median - alone.median);
        }
    }
    out.pop();
    out.push_str(".\n");
    out
}

/// Memory, one line a contender.
pub(super) fn idle(idle: &[Idle]) -> String {
    let mut out = heading(Scenario::Idle5000);
    out.push_str(&header(&[
        "contender",
        "connections",
        "KiB each, never used",
        "after one request",
        "after a burst",
        "without connections, MiB",
        "peak MiB",
        "errors",
    ]));
    for it in idle {
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
            it.name,
            it.connections,
            it.never_used,
            it.after_one,
            it.after_burst,
            it.empty_kib as f64 / 1024.0,
            it.peak_kib as f64 / 1024.0,
            it.errors,
        );
    }
    out
}

/// Two workers beside one, one line a contender.
pub(super) fn workers(workers: &[Workers]) -> String {
    let mut out = heading(Scenario::Workers2);
    out.push_str(
        "Here contenders may run on all CPUs, as the load generator and the backend do, so that requests/s \
         tell nothing. The last columns are the connections of each worker when so many are opened one \
         after the other.\n\n",
    );
    let columns = ["contender", "CPU us/request, one worker", "two workers", "two / one", "errors"];
    let spreads = SPREADS.map(|count| format!("of {count}"));
    out.push_str(&header(&columns.into_iter().chain(spreads.iter().map(String::as_str)).collect::<Vec<_>>()));
    for it in workers {
        let _ = write!(
            out,
            "| {} | {} | {} | {} | {} |",
            it.one.name,
            spread(it.one.spread(Sample::cpu_us), 2),
            spread(it.two.spread(Sample::cpu_us), 2),
            spread(it.two.ratio(&it.one, Sample::cpu_us), 2),
            it.one.errors() + it.two.errors(),
        );
        for counts in &it.spreads {
            let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
            let _ = write!(out, " {} |", counts.join(" + "));
        }
        out.push('\n');
    }
    out
}

fn heading(scenario: Scenario) -> String {
    format!("\n## {}: {}\n\n", scenario.name(), scenario.about())
}

/// The first two lines of a table.
fn header(columns: &[&str]) -> String {
    format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

fn dash() -> String {
    "-".to_owned()
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(dash, |Spread { median, min, max }| {
        format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_as_many_cells_as_columns() {
        let sample = Sample {
            completed: 10,
            requests_per_second: 1000.0,
            user_us: 3.0,
            system_us: 7.0,
            p50_us: 50.0,
            p99_us: 99.0,
            errors: 1,
            first_backend: 0.8,
            reused: 0.5,
        };
        let series = |name: &str| Series { name: name.into(), samples: vec![sample; 3], peak_kib: 2048 };
        let results = Results {
            scenario: Scenario::Single,
            series: vec![series("lb"), series("nginx")],
            direct: Some(series("no proxy")),
        };
        let idle = Idle {
            name: "lb".into(),
            connections: 5000,
            empty_kib: 4096,
            never_used: 1.0,
            after_one: 2.0,
            after_burst: 3.0,
            peak_kib: 8192,
            errors: 0,
        };
        let facts = [("date".to_owned(), "today".to_owned())];
        let workers = Workers {
            one: series("lb"),
            two: series("lb"),
            spreads: vec![vec![1, 1], vec![4, 4], vec![33, 31]],
        };
        let report = Report { facts: &facts, results: &[results], idle: &[idle], workers: &[workers] };
        let text = report.markdown(Some("cpu.svg"));
        let mut columns = 0;
        for line in text.lines() {
            let cells = line.matches('|').count();
            if line.starts_with('|') && columns > 0 {
                assert_eq!(cells, columns, "{line}");
            }
            columns = cells;
        }
        for part in [
            "80 % of the requests",
            "50.0 % of the requests",
            "lb 0 us",
            "| 1.00 (1.00..1.00) |",
            "| 33 + 31 |",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
