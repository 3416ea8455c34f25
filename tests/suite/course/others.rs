//! Balancers of other makes under the chapters: the Python example, nginx, HAProxy. What comes of them
//! stands in the guide.

use lb_testkit::course::{Chapter, Peer, Report, StartCommand, Table, Tempo, not_offered};
use rstest::rstest;

use super::{has_python, workspace};

fn results() -> String {
    std::fs::read_to_string(workspace().join("docs/course/results.md")).expect("the page is there")
}

/// The page's line for this balancer is what came of it just now.
fn assert_told(name: &str, table: &Table) {
    let line = table.line(name).expect("it was judged");
    assert!(
        results().lines().any(|told| told == line),
        "`cargo xtask course 8 --write` brings docs/course/results.md up to date; it should have\n{line}"
    );
}

/// Runs these chapters at the same time, for each waits most of its time.
async fn judge<F>(name: &str, chapters: &[Chapter], judge: impl Fn(Chapter) -> F) -> (Table, Vec<Report>)
where
    F: Future<Output = std::io::Result<Report>> + Send + 'static,
{
    let runs: Vec<_> = chapters.iter().map(|&chapter| (chapter, tokio::spawn(judge(chapter)))).collect();
    let (mut table, mut reports) = (Table::default(), Vec::new());
    for (chapter, run) in runs {
        let report =
            run.await.expect("no panic").unwrap_or_else(|error| panic!("{name}, {chapter}: {error}"));
        table.add(name, chapter, report.counts());
        reports.push(report);
    }
    (table, reports)
}

#[rstest]
#[case(Peer::Nginx)]
#[case(Peer::HaProxy)]
#[tokio::test]
async fn a_peer_passes_what_it_offers(#[case] peer: Peer) {
    if peer.program().is_none() {
        eprintln!("not run: {} is not installed (Debian package {})", peer.name(), peer.package());
        return;
    }
    let run = move |chapter| async move { peer.judge(chapter, Tempo::default(), &mut |_| ()).await };
    let (table, reports) = judge(peer.name(), &peer.chapters(), run).await;
    for report in &reports {
        assert!(report.is_good(), "{}\n{report}", peer.name());
    }
    assert_told(peer.name(), &table);
}

#[test]
fn the_page_says_what_is_not_offered_and_that_lb_passes_all() {
    let page = results();
    assert!(page.contains(&not_offered()), "`cargo xtask course 8 --write`");
    assert!(page.contains("| lb | all | all | all | all | all | all | all |"), "{page}");
}

const EXAMPLE: &str = "docs/course/examples/balancer.py";

/// What is left to its reader, chapter by chapter.
const EXAMPLE_FAILS: [(Chapter, &[&str]); 7] = [
    (Chapter::Skeleton, &[]),
    (Chapter::Routing, &[]),
    (Chapter::Configuration, &[]),
    (Chapter::Health, &[]),
    (
        Chapter::Manipulating,
        &[
            "a_header_is_added",
            "a_header_is_removed",
            "a_parameter_is_added",
            "a_parameter_is_removed",
            "all_at_once",
            "other_parameters_stay",
            "a_path_is_replaced",
            "paths_answer_with_the_endpoint",
        ],
    ),
    (
        Chapter::Algorithms,
        &["round_robin_alternates", "weights_hold", "least_connections_spreads", "the_fewest_open_wins"],
    ),
    (Chapter::Firewall, &["addresses_are_rejected", "paths_are_rejected", "it_runs_before_the_choice"]),
];

#[tokio::test]
async fn the_python_example_passes_four_chapters_and_fails_what_it_should() {
    if !has_python() {
        return;
    }
    let path = workspace().join(EXAMPLE);
    let command = format!("exec python3 '{}'", path.display());
    let chapters = EXAMPLE_FAILS.map(|(chapter, _)| chapter);
    let run = move |chapter| {
        let command = command.clone();
        async move { StartCommand::judge(&command, chapter, Tempo::default(), &mut |_| ()).await }
    };
    let (table, reports) = judge("the Python example", &chapters, run).await;
    for ((chapter, expected), report) in EXAMPLE_FAILS.iter().zip(&reports) {
        assert_eq!(report.failed(), *expected, "{chapter}\n{report}");
        assert_eq!(report.counts().skipped, 0, "{report}");
    }
    assert_told("the Python example", &table);
}

#[test]
fn the_python_example_is_short_and_needs_nothing_else() {
    let text = std::fs::read_to_string(workspace().join(EXAMPLE)).expect("the example is there");
    assert!(text.lines().count() < 150);
    let imports = text.lines().filter_map(|line| line.strip_prefix("import ").or(line.strip_prefix("from ")));
    let modules: Vec<_> = imports.map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(modules, ["http.client", "json", "os", "random", "sys", "threading", "time", "http.server"]);
}
