//! The leaderboard as a page of Markdown.

use std::fmt::Write;

use super::{
    super::{
        CaseOutcome,
        scenario::{Metric, Scenario},
    },
    mean, standings,
};

/// The figures of a table.
const COLUMNS: [(&str, Metric); 6] = [
    ("p50", Metric::Quantile(0.5)),
    ("p99", Metric::Quantile(0.99)),
    ("p99.9", Metric::Quantile(0.999)),
    ("goodput", Metric::Goodput),
    ("errors", Metric::Errors),
    ("max/mean", Metric::MaxToMean),
];

/// A scenario with what came of it.
#[derive(Debug)]
pub struct Board {
    /// The file's name without its ending.
    pub file: String,
    /// What was run, all algorithms entered.
    pub scenario: Scenario,
    /// As [`batch::run`](crate::sim::batch::run) gives them.
    pub outcomes: Vec<CaseOutcome>,
}

/// What the page says of the run as a whole.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What made it.
    pub command: String,
    /// When, as people write it.
    pub date: String,
    /// Of the machine and the time that it took.
    pub machine: String,
    /// The seeds, the first to the last.
    pub seeds: (u64, u64),
}

/// The page. `readings` is the text of a file of readings by people: under `## NAME` what they read in the
/// tables of the scenario of this file's name.
#[must_use]
pub fn page(boards: &[Board], facts: &Facts, readings: &str) -> String {
    let mut text = format!(
        "# Leaderboard\n\n\
         All algorithms in the scenarios of [`scenarios/`](../scenarios), simulated by the code that balances \
         (see [simulate.md](simulate.md)). Written by `{}` on {}, with seeds {} to {}; {}.\n\n\
         - All meet the same requests, seed by seed. A figure is the mean over the seeds; in brackets stands \
         where 95 % of its bootstrapped means lie, if that is more than a rounding.\n\
         - Ranked by the figure in bold. A rank begins where the bootstrap interval of the paired difference \
         from the best one of the rank before leaves 0 out; those that share a rank are tied.\n\
         - Latency is that of requests that were answered below 500. Goodput is the share of all requests that \
         was answered so within the objective (100 ms where the scenario says nothing else); `max/mean` is the \
         busiest backend's tries against the mean.\n\
         - Without a scenario's own settings, algorithms run with the balancer's defaults: 3 tries, ejection \
         after 5 failures in a row. Those that hash take part where requests have keys.\n\
         - What is said below a table was written by a person after the run that it names, and stands in \
         [leaderboard-readings.md](leaderboard-readings.md).\n",
        facts.command, facts.date, facts.seeds.0, facts.seeds.1, facts.machine
    );
    for board in boards {
        text += &section(board, reading(readings, &board.file));
    }
    text
}

fn section(board: &Board, reading: Option<&str>) -> String {
    let Board { file, scenario, outcomes } = board;
    let mut text = format!("\n## {}\n\n", scenario.name);
    let _ = writeln!(text, "[`{file}.toml`](../scenarios/{file}.toml): {}.", scenario.about);
    for outcomes in outcomes.chunks(scenario.variants.len().max(1)) {
        if let Some(load) = outcomes.first().and_then(|outcome| outcome.case.load) {
            let _ = write!(text, "\nLoad {load}:\n");
        }
        text += &table(&outcomes.iter().collect::<Vec<_>>(), scenario.rank);
    }
    let verdicts = scenario.judge(outcomes);
    let broken = verdicts.iter().filter(|verdict| !verdict.holds);
    let broken: Vec<&str> = broken.map(|verdict| verdict.text.trim_start_matches("FAIL ")).collect();
    let _ = match &broken[..] {
        [] => writeln!(text, "\nAll {} expectations of the file hold.", verdicts.len()),
        broken => {
            writeln!(text, "\nOf {} expectations these do not hold: {}.", verdicts.len(), broken.join("; "))
        }
    };
    if let Some(reading) = reading {
        let _ = write!(text, "\n{reading}\n");
    }
    text
}

fn table(outcomes: &[&CaseOutcome], rank: Metric) -> String {
    let bold = |name: &str, metric| if metric == rank { format!("**{name}**") } else { name.into() };
    let heads: Vec<String> = COLUMNS.iter().map(|&(name, metric)| bold(name, metric)).collect();
    let mut text = format!("\n| | | {} |\n|--:|---|{}\n", heads.join(" | "), "--:|".repeat(heads.len()));
    let standings = standings(outcomes, rank);
    for standing in &standings {
        let cells: Vec<String> = COLUMNS.iter().map(|&(_, metric)| cell(standing.outcome, metric)).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            standing.rank,
            standing.outcome.case.variant,
            cells.join(" | ")
        );
    }
    text
}

/// The mean, and its interval where its ends read otherwise.
fn cell(outcome: &CaseOutcome, metric: Metric) -> String {
    let Some((mean, (least, most))) = mean(outcome, metric) else { return "never".into() };
    let [mean, least, most] = [mean, least, most].map(|value| metric.text(Some(value)));
    if least == most { mean } else { format!("{mean} ({least}–{most})") }
}

/// What stands under `## file`, up to the next heading.
fn reading<'a>(readings: &'a str, file: &str) -> Option<&'a str> {
    let sections = readings.split("\n## ").skip(1);
    let mut found = sections.filter_map(|section| section.split_once('\n'));
    found.find(|(name, _)| name.trim() == file).map(|(_, text)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::scenario, *};
    use crate::sim::{batch, batch::Progress};

    #[test]
    fn readings_are_found_by_their_file() {
        let readings = "# Readings\n\n## 01-a\n\nOne.\n\nTwo.\n\n## 02-b\nThree.\n";
        assert_eq!(reading(readings, "01-a"), Some("One.\n\nTwo."));
        assert_eq!(reading(readings, "02-b"), Some("Three."));
        assert_eq!(reading(readings, "02"), None);
        assert_eq!(reading("", "02"), None);
    }

    /// Each entrant has one row with all figures, the ranked one is bold, and the reading stands below.
    #[test]
    fn a_page_has_a_table_and_a_reading() {
        let scenario = scenario();
        let outcomes = batch::run(&scenario.cases(), &[1, 2], 2, &Progress::default()).unwrap();
        let board = Board { file: "01-small".into(), scenario, outcomes };
        let facts = Facts {
            command: "cargo xtask leaderboard".into(),
            date: "2026-11-21".into(),
            machine: "a machine".into(),
            seeds: (1, 2),
        };
        let page = page(&[board], &facts, "\n## 01-small\n\nA reading.\n");
        assert!(
            page.contains("## small\n\n[`01-small.toml`](../scenarios/01-small.toml): two backends"),
            "{page}"
        );
        assert!(page.contains("| | | p50 | **p99** | p99.9 | goodput | errors | max/mean |\n"), "{page}");
        assert!(page.trim_end().ends_with("A reading."), "{page}");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(rows.len(), 11, "{page}");
        assert!(rows.iter().all(|row| row.matches('|').count() == 9), "{page}");
    }
}
