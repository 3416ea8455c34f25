mod naive;

use rstest::rstest;

use self::naive::Naive;
use super::*;

const LISTEN: &str = "127.0.0.1:0";

/// Quick; but in the guide slow enough for a request to meet a stopped backend before a probe does.
fn tempo(chapter: Chapter) -> Tempo {
    let interval = if chapter == Chapter::Guide { 200 } else { 50 };
    let [interval, timeout, slack] = [interval, 500, 1000].map(Duration::from_millis);
    Tempo { interval, timeout, slack }
}

async fn stage(chapter: Chapter, defect: &'static str) -> Stage {
    let cast = Cast::start(chapter, Ports::Free).await.unwrap();
    let tempo = tempo(chapter);
    let config = chapter.config(LISTEN.parse().unwrap(), &cast, tempo);
    let balancer = Naive::start(&config, defect).await;
    Stage { tempo, ..Stage::new(balancer, cast) }
}

async fn run(chapter: Chapter, defect: &'static str) -> Report {
    chapter.run(&stage(chapter, defect).await).await
}

fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
    Counts { passed, failed, skipped, not_offered: 0 }
}

#[rstest]
#[case(Chapter::Skeleton)]
#[case(Chapter::Routing)]
#[case(Chapter::Configuration)]
#[case(Chapter::Manipulating)]
#[case(Chapter::Algorithms)]
#[case(Chapter::Firewall)]
#[tokio::test]
async fn a_naive_balancer_passes(#[case] chapter: Chapter) {
    let report = run(chapter, "").await;
    let skipped = if chapter == Chapter::Configuration { 4 } else { 0 };
    assert_eq!(report.counts(), counts(chapter.cases().len() - skipped, 0, skipped), "\n{report}");
}

/// The suites that wait for probes, with and without defects, all at once so that they wait together.
#[tokio::test]
async fn health_is_judged() {
    let expected: [(_, _, &[_]); 7] = [
        (Chapter::Health, "", &[]),
        (
            Chapter::Health,
            "any_status_is_healthy",
            &["another_status_is_not", "a_backend_that_recovers_is_picked_again"],
        ),
        (Chapter::Health, "no_probe_timeout", &["a_timeout_is_not"]),
        (Chapter::Health, "no_json", &["none_healthy_is_said_in_json"]),
        (Chapter::Guide, "", &[]),
        (Chapter::Guide, "no_retries", &["no_request_fails_meanwhile"]),
        (Chapter::Guide, "always_random", &["backends_greet_in_turns"]),
    ];
    let runs = expected.map(|(chapter, defect, cases)| (tokio::spawn(run(chapter, defect)), defect, cases));
    for (run, defect, cases) in runs {
        let report = run.await.unwrap();
        assert_eq!(report.failed(), cases, "{defect}\n{report}");
    }
}

#[tokio::test]
async fn missing_probes_are_noticed() {
    let missed = [
        (Chapter::Health, "each_backend_is_probed"),
        (Chapter::Health, "none_healthy_is_unavailable"),
        (Chapter::Health, "nobody_at_all_is_unavailable"),
        (Chapter::Guide, "health_is_probed"),
    ];
    let runs = missed.map(|(chapter, case)| {
        tokio::spawn(async move { chapter.case(case).unwrap().run(&stage(chapter, "no_probes").await).await })
    });
    for run in runs {
        let verdict = run.await.unwrap();
        assert!(matches!(verdict, Err(Miss::Failed(_))), "{verdict:?}");
    }
}

/// A suite that cannot fail teaches nothing: each defect is noticed by just the cases about it.
#[rstest]
#[case(Chapter::Routing, "case_matters", &["case_in_host_changes_nothing"])]
#[case(Chapter::Routing, "port_matters", &["an_implicit_host_counts", "a_port_in_host_changes_nothing"])]
#[case(Chapter::Routing, "paths_first", &["hosts_come_before_paths"])]
#[case(Chapter::Routing, "keeps_path", &["the_backend_sees_the_root"])]
#[case(Chapter::Routing, "always_first", &["the_choice_is_random"])]
#[case(Chapter::Routing, "no_404", &["an_unknown_host_is_not_found", "an_unknown_path_is_not_found"])]
#[case(Chapter::Configuration, "no_404", &["nothing_else_is_known"])]
#[case(Chapter::Configuration, "always_first", &["backends_come_from_the_file"])]
#[case(Chapter::Manipulating, "adds_no_header", &["a_header_is_added", "all_at_once"])]
#[case(Chapter::Manipulating, "keeps_host", &["a_header_is_removed", "all_at_once", "paths_answer_with_the_endpoint"])]
#[case(Chapter::Manipulating, "adds_no_query", &["a_parameter_is_added", "all_at_once"])]
#[case(Chapter::Manipulating, "keeps_query", &["a_parameter_is_removed", "other_parameters_stay"])]
#[case(Chapter::Manipulating, "reorders_query", &["other_parameters_stay"])]
#[case(Chapter::Manipulating, "keeps_path", &["a_path_is_replaced"])]
#[case(Chapter::Algorithms, "always_random",
    &["round_robin_alternates", "weights_hold", "least_connections_spreads", "the_fewest_open_wins"])]
#[case(Chapter::Algorithms, "always_round_robin", &["random_has_no_order", "the_fewest_open_wins"])]
#[case(Chapter::Firewall, "no_ip_rules", &["addresses_are_rejected"])]
#[case(Chapter::Firewall, "no_path_rules", &["paths_are_rejected", "it_runs_before_the_choice"])]
#[case(Chapter::Firewall, "one_firewall", &["rules_are_the_routes_own"])]
#[case(Chapter::Firewall, "firewall_late", &["it_runs_before_the_choice"])]
#[tokio::test]
async fn a_defect_is_noticed(#[case] chapter: Chapter, #[case] defect: &'static str, #[case] cases: &[&str]) {
    let report = run(chapter, defect).await;
    assert_eq!(report.failed(), cases, "\n{report}");
}

#[tokio::test]
async fn nobody_at_all_fails_with_words_not_with_a_panic() {
    let nobody = crate::Port::free().unwrap();
    for chapter in [Chapter::Skeleton, Chapter::Routing, Chapter::Manipulating, Chapter::Firewall] {
        let cast = Cast::start(chapter, Ports::Free).await.unwrap();
        let report = chapter.run(&Stage::new(nobody.addr(), cast)).await;
        assert_eq!(report.counts(), counts(0, chapter.cases().len(), 0), "\n{report}");
        assert!(report.to_string().contains("no answer: Connection refused"), "\n{report}");
    }
}

/// What is no HTTP, no whole head, or has no end: told as what it is, with a hint that fits, and in time.
#[rstest]
#[case::no_http(
    b"220 mail.test ready\r\n\r\n",
    "no answer: not an HTTP response: \"220 mail.test ready",
    "A response begins with"
)]
#[case::half(
    b"HTTP/1.1 200 OK\r\n\x1b[2J",
    "no answer: closed within a head, of which came ",
    "(a line like"
)]
#[case::nothing(b"", "no answer: closed instead of a response", "(a line like")]
#[case::endless(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no answer: it is not whole after 10s",
    "wait for what does not come"
)]
#[tokio::test]
async fn nonsense_is_told_as_what_it_is(
    #[case] answer: &'static [u8],
    #[case] got: &str,
    #[case] hint: &str,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(LISTEN).await.unwrap();
    let cast = Cast::start(Chapter::Skeleton, Ports::Free).await.unwrap();
    let stage = Stage::new(listener.local_addr().unwrap(), cast);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
            while answer.ends_with(b"chunked\r\n\r\n") && stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let report = Chapter::Skeleton.run(&stage).await.to_string();
    assert!(report.contains(got) && report.contains(hint), "\n{report}");
    assert!(!report.contains('\u{1b}'), "\n{report:?}");
}

#[test]
fn ids_and_names_are_unique_and_found() {
    for chapter in Chapter::ALL {
        assert_eq!(Chapter::with_id(chapter.id()), Some(chapter));
        for case in chapter.cases() {
            assert_eq!(case.chapter, chapter);
            assert!(std::ptr::eq(case, chapter.case(case.name).unwrap()), "{case:?}");
        }
    }
    assert_eq!(Chapter::Routing.to_string(), "chapter 2: routing by host and by path");
}

/// What starts a balancer is for other tests; here only what is made of it. `LINE` in the message is the
/// line with the mistake in the TOML file, or of the JSON file if the message names that one.
#[rstest]
#[case::good(Some(1), "lb.toml:LINE: algorithm algorythm pool backends", &[])]
#[case::reads_json(Some(1), "lb.json:LINE: algorithm algorythm pool backends", &[])]
#[case::serves(None, "", &["a_missing_file_stops_the_start", "a_broken_file_stops_the_start",
    "an_invalid_file_stops_the_start"])]
#[case::exits_with_zero(Some(0), "lb.toml:LINE: algorithm algorythm pool backends", &[
    "a_missing_file_stops_the_start", "a_broken_file_stops_the_start", "an_invalid_file_stops_the_start"])]
#[case::names_no_line(Some(1), "lb.toml: algorithm algorythm pool backends", &[
    "a_broken_file_stops_the_start", "an_invalid_file_stops_the_start"])]
#[case::names_no_key(Some(1), "lb.toml:LINE:", &["an_invalid_file_stops_the_start"])]
#[tokio::test]
async fn starts_are_judged(
    #[case] exit_code: Option<i32>,
    #[case] message: &'static str,
    #[case] cases: &[&str],
) {
    struct Fake(Option<i32>, &'static str);
    impl Launcher for Fake {
        fn launch<'a>(&'a self, listen: SocketAddr, file: FileGiven<'a>) -> Pending<'a> {
            Box::pin(async move {
                let (toml_file, json_file) = ("lb.toml".to_owned(), "lb.json".to_owned());
                let text = match file {
                    FileGiven::Missing => "",
                    FileGiven::Text(texts) if self.1.contains("json") => &texts.json,
                    FileGiven::Text(texts) => &texts.toml,
                };
                // Knows every mistake that the suite makes.
                let mistakes = [
                    "[[route]\n",
                    "\"route:",
                    "\"rendom\"",
                    "m = 5",
                    "\": 5",
                    "algorythm",
                    "\"mongo\"",
                    ".7:",
                ];
                let wrong = |line: &str| mistakes.iter().any(|mistake| format!("{line}\n").contains(mistake));
                let line = text.lines().position(wrong);
                let came = if let (None, FileGiven::Text(texts)) = (line, file) {
                    let listener = Naive::listen(&texts.toml, listen).await;
                    Came::Serves(Box::new(listener))
                } else if self.0.is_none() {
                    Came::Serves(Box::new(()))
                } else {
                    let line = line.map_or(0, |index| index + 1);
                    Came::Ended { exit_code: self.0, message: self.1.replace("LINE", &line.to_string()) }
                };
                Ok(Launched { toml_file, json_file, came })
            })
        }
    }
    let chapter = Chapter::Configuration;
    let cast = Cast::start(chapter, Ports::Free).await.unwrap();
    let balancer = Naive::start(&chapter.config(LISTEN.parse().unwrap(), &cast, Tempo::default()), "").await;
    let launcher: std::sync::Arc<dyn Launcher> = std::sync::Arc::new(Fake(exit_code, message));
    let report = chapter.run(&Stage { launcher: Some(launcher), ..Stage::new(balancer, cast) }).await;
    assert_eq!(report.failed(), cases, "\n{report}");
}

/// What is said not to be offered must not pass, and is then no failure.
#[tokio::test]
async fn not_offered_is_a_verdict_of_its_own() {
    let stage = stage(Chapter::Routing, "case_matters").await;
    let said = |case: &Case| match case.name {
        "case_in_host_changes_nothing" => Some("it has no lower case"),
        "a_host_reaches_mango" => Some("it has no mango"),
        _ => None,
    };
    let mut told = Vec::new();
    let report = Chapter::Routing.run_with(&stage, &said, &mut |line| told.push(line.to_string())).await;
    assert_eq!(report.counts(), Counts { passed: 10, failed: 1, skipped: 0, not_offered: 1 }, "{report}");
    assert_eq!(report.failed(), ["a_host_reaches_mango"]);
    let text = report.to_string();
    assert!(text.ends_with("10 passed, 1 failed, 0 skipped, 1 not offered"), "{text}");
    assert!(text.contains("n/o  case_in_host_changes_nothing"), "{text}");
    assert!(text.contains("not offered: it has no lower case"), "{text}");
    assert!(text.contains("take the case from the list"), "{text}");
    assert_eq!(told.len(), Chapter::Routing.cases().len());
}

/// Backends of which only the address is known: what they cannot do is skipped, and the rest is judged.
#[tokio::test]
async fn a_cast_elsewhere_is_asked_and_not_commanded() {
    let chapter = Chapter::Algorithms;
    let here = Cast::start(chapter, Ports::Free).await.unwrap();
    let at = |name: &str| here.get(name).map(Actor::addr);
    let elsewhere = Cast::elsewhere(chapter, at).await.unwrap();
    let config = chapter.config(LISTEN.parse().unwrap(), &elsewhere, tempo(chapter));
    let balancer = Naive::start(&config, "").await;
    let stage = Stage { tempo: tempo(chapter), ..Stage::new(balancer, elsewhere) };
    let report = chapter.run(&stage).await;
    assert_eq!(report.counts(), counts(4, 0, 2), "{report}");
    assert!(report.to_string().contains("this kind of backend cannot hold requests back"), "{report}");

    let nobody = Cast::elsewhere(chapter, |_| None).await.unwrap_err();
    assert_eq!(nobody.to_string(), "no address is given for mango1");
}

#[rstest]
#[case::https("https://127.0.0.1:1/", "plain HTTP")]
#[case::no_scheme("127.0.0.1:1", "begins with http://")]
#[case::no_port("http://127.0.0.1:99999", "a number from 1 to 65535")]
#[case::path("http://127.0.0.1:1/a", "a host and a port is all")]
#[case::empty("http://", "a host and a port is all")]
#[tokio::test]
async fn base_urls_are_checked(#[case] url: &str, #[case] words: &str) {
    let cast = Cast::start(Chapter::Skeleton, Ports::Free).await.unwrap();
    let error = super::run(Chapter::Skeleton, url, cast).await.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_base_url_may_have_a_name() {
    let hello = crate::Backend::text("hello").start().await.unwrap();
    let url = format!("http://localhost:{}/", hello.addr().port());
    let cast = Cast::start(Chapter::Skeleton, Ports::Free).await.unwrap();
    let report = super::run(Chapter::Skeleton, &url, cast).await.unwrap();
    assert!(report.is_good(), "{report}");
}
