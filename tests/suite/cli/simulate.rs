//! `lb simulate`: predictions from a configuration or a scenario; 0 when all that is expected holds, 1 for bad
//! files and failed expectations, 2 for wrong usage.

use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::lb_in;

const CONFIG: &str = "[[listener]]\nbind = \"127.0.0.1:0\"\n\
    [pool.web]\nalgorithm = \"p2c\"\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\", \"web.internal:80\"]\n\
    [pool.other]\nbackends = [\"10.0.0.9:80\"]\n\
    [[route]]\nname = \"main\"\npool = \"web\"\n";

const SCENARIO: &str = "name = \"small\"\nduration = \"5s\"\nseeds = 3\nalgorithms = [\"random\", \"p2c\"]\n\
    service = \"10ms\"\n[arrivals]\nload = 0.6\n[[backend]]\nname = \"b\"\ncount = 4\n\
    [[fault]]\nkind = \"down\"\nbackends = [\"b0\"]\nfrom = \"2s\"\nfor = \"1s\"\n";

/// A directory with files of these texts.
fn files(texts: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in texts {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    directory
}

const SHORT: [&str; 6] = ["--duration", "5s", "--seeds", "2", "--rate", "100"];

#[tokio::test]
async fn a_configuration_alone_is_enough() {
    let directory = files(&[("lb.toml", CONFIG)]);
    let arguments = [&["simulate", "-c", "lb.toml", "--service", "20ms"][..], &SHORT].concat();
    let (code, output, errors) = lb_in(directory.path(), &arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    for wanted in
        ["lb.toml", "3 backends", "100.0 requests/s", "as configured", "p99", "web.internal:80", "goodput"]
    {
        assert!(output.contains(wanted), "{wanted:?} is not in\n{output}");
    }
}

/// Same seed, same bytes; another seed, others.
#[tokio::test]
async fn equal_seeds_say_the_same() {
    let directory = files(&[("a.toml", SCENARIO)]);
    let run = async |seed: &str, format: &[&str]| {
        let arguments = [&["simulate", "a.toml", "--seed", seed][..], format].concat();
        let (code, output, _) = lb_in(directory.path(), &arguments).await;
        assert_eq!(code, 0);
        output
    };
    for format in [&[][..], &["--json"]] {
        let first = run("7", format).await;
        assert_eq!(first, run("7", format).await);
        assert_ne!(first, run("8", format).await);
    }
    let page = async |threads: &str| {
        run("7", &["--threads", threads, "--html", "page.html"]).await;
        std::fs::read_to_string(directory.path().join("page.html")).expect("a page")
    };
    assert_eq!(page("1").await, page("3").await);
}

#[tokio::test]
async fn algorithms_are_ranked() {
    let directory = files(&[("lb.toml", CONFIG)]);
    let arguments =
        [&["simulate", "--algorithm", "random,least_request", "--slots", "2", "--rank", "mean"][..], &SHORT]
            .concat();
    let (code, output, _) = lb_in(directory.path(), &arguments).await;
    assert_eq!(code, 0);
    assert!(output.contains("by mean, against "), "{output}");
    assert!(output.contains("too few seeds to say"), "{output}");
}

#[tokio::test]
async fn json_for_programs() {
    let directory = files(&[("a.toml", SCENARIO)]);
    let (code, output, _) = lb_in(directory.path(), &["simulate", "a.toml", "--json"]).await;
    assert_eq!(code, 0);
    let value: Value = serde_json::from_str(&output).expect("JSON");
    let cases = value["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 2);
    for case in cases {
        let backends = case["backends"].as_array().expect("backends");
        let shares: f64 = backends.iter().filter_map(|backend| backend["share"].as_f64()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        assert!(case["figures"]["p99"].as_f64() > case["figures"]["p50"].as_f64());
        assert!(case["faults"][0]["detected"].as_f64().is_some(), "{case}");
    }
}

/// One page that needs nothing else: no script, no address of anything, and as wide as a phone.
#[tokio::test]
async fn a_page_that_stands_alone() {
    let directory = files(&[("a.toml", &SCENARIO.replace("small", "<b>&\\\"small"))]);
    let (code, output, errors) = lb_in(directory.path(), &["simulate", "a.toml", "--html", "out.html"]).await;
    assert_eq!(code, 0, "{output}{errors}");
    let page = std::fs::read_to_string(directory.path().join("out.html")).expect("a page");
    for wanted in [
        "<!doctype html>",
        "name=\"viewport\"",
        "<svg viewBox",
        "&lt;b&gt;&amp;&quot;small",
        "class=\"fault\"",
        "ejected",
    ] {
        assert!(page.contains(wanted), "{wanted:?}");
    }
    for unwanted in ["<script", "http://", "https://", "url(", "<b>", "NaN", "inf"] {
        assert!(!page.contains(unwanted), "{unwanted:?}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

/// The page has what the other reports have: errors by reason, and each backend's part.
#[tokio::test]
async fn a_page_with_errors_and_backends() {
    let scenario = SCENARIO.replace("[\"b0\"]", "[\"b*\"]");
    let directory = files(&[("a.toml", &scenario)]);
    let arguments = ["simulate", "a.toml", "--json", "--html", "out.html"];
    let (code, output, errors) = lb_in(directory.path(), &arguments).await;
    assert_eq!(code, 0, "{output}{errors}");
    let page = std::fs::read_to_string(directory.path().join("out.html")).expect("a page");
    let value: Value = serde_json::from_str(&output).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!(page.matches("<details open>").count(), 2);
    for case in value["cases"].as_array().expect("cases") {
        let errors = case["errors"].as_object().expect("errors by reason");
        assert!(!errors.is_empty(), "{case}");
        for (reason, count) in errors {
            let share = 100.0 * number(count) / number(&case["requests"]);
            let row = format!("<tr><td>{reason}</td><td>{count}</td><td>{share:.2}%</td></tr>");
            assert!(page.contains(&row), "{row}");
        }
        for backend in case["backends"].as_array().expect("backends") {
            let [name, tries] = ["name", "tries"].map(|key| &backend[key]);
            let [share, used] = ["share", "utilisation"].map(|key| 100.0 * number(&backend[key]));
            let name = name.as_str().expect("a name");
            let row =
                format!("<tr><td>{name}</td><td>{tries}</td><td>{share:.2}%</td><td>{used:.1}%</td></tr>");
            assert!(page.contains(&row), "{row}");
        }
    }
}

/// Of many backends those with the most and the least tries are listed, folded up, and it is said how many are
/// not.
#[tokio::test]
async fn a_page_of_many_backends() {
    let directory = files(&[("a.toml", &SCENARIO.replace("count = 4", "count = 100"))]);
    let (code, ..) = lb_in(directory.path(), &["simulate", "a.toml", "--html", "out.html"]).await;
    assert_eq!(code, 0);
    let page = std::fs::read_to_string(directory.path().join("out.html")).expect("a page");
    assert_eq!(page.matches("<tr><td>b").count(), 2 * 24);
    assert_eq!(page.matches("<details>").count(), 2);
    assert!(page.contains("76 between are left out; --json has them"));
}

/// On a phone labels are as large as text has to be there, and rows are told apart by their names.
#[tokio::test]
async fn a_page_for_a_phone() {
    let directory = files(&[("lb.toml", CONFIG)]);
    let arguments = [&["simulate", "-c", "lb.toml", "--html", "out.html"][..], &SHORT].concat();
    let (code, output, errors) = lb_in(directory.path(), &arguments).await;
    assert_eq!(code, 0, "{output}{errors}");
    let page = std::fs::read_to_string(directory.path().join("out.html")).expect("a page");
    assert!(page.contains("@media(max-width:40rem){"));
    for name in [">….0.1:80<", ">….0.2:80<", ">…rnal:80<"] {
        assert!(page.contains(name), "{name:?}");
    }
}

#[tokio::test]
async fn expectations_decide() {
    let expect =
        |bound: &str| format!("{SCENARIO}[[expect]]\nabout = \"why\"\nmetric = \"errors\"\n{bound}\n");
    let directory =
        files(&[("good.toml", &expect("at_most = 0.5")), ("bad.toml", &expect("at_least = 0.9"))]);
    let (code, output, _) = lb_in(directory.path(), &["simulate", "good.toml"]).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.trim_end().ends_with("2 passed, 0 failed"), "{output}");
    let (code, output, _) = lb_in(directory.path(), &["simulate", "bad.toml"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("FAIL p2c: errors is") && output.contains("(why)"), "{output}");
}

/// Two configurations meet the same requests.
#[tokio::test]
async fn configurations_are_compared() {
    let other = CONFIG.replace("p2c", "random");
    let directory = files(&[("now.toml", CONFIG), ("then.toml", &other), ("scenario.toml", SCENARIO)]);
    let arguments = ["simulate", "--compare", "now.toml", "then.toml", "--load", "0.8", "--duration", "20s"];
    let (code, output, errors) = lb_in(directory.path(), &arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.contains("1. now.toml") && output.contains("2. then.toml"), "{output}");
    assert!(output.contains("10 seeds") && output.contains("[+"), "{output}");
    let same = ["simulate", "--compare", "now.toml", "now.toml", "--load", "0.8", "--duration", "5s"];
    let (_, output, _) = lb_in(directory.path(), &same).await;
    assert!(output.contains("within noise"), "{output}");
    let (code, _, errors) =
        lb_in(directory.path(), &["simulate", "--compare", "now.toml", "scenario.toml"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("differs from now.toml in more than how it balances"), "{errors}");
}

#[rstest]
#[case::no_file(&["simulate", "missing.toml"], "missing.toml: cannot read it")]
#[case::a_mistake(&["simulate", "bad.toml"], "bad.toml:1:1: durations: found an unknown key")]
#[case::no_such_pool(&["simulate", "-c", "lb.toml", "--pool", "x"], "there is no pool \"x\", only other, web")]
#[case::no_such_route(&["simulate", "-c", "lb.toml", "--route", "x"], "there is no route \"x\", only main")]
#[case::bad_config(&["simulate", "-c", "bad.toml"], "bad.toml:")]
#[case::no_place(&["simulate", "-c", "lb.toml", "--duration", "1s", "--html", "no/where.html"], "no/where.html: cannot write it")]
#[tokio::test]
async fn bad_files_are_1(#[case] arguments: &[&str], #[case] told: &str) {
    let directory = files(&[("lb.toml", CONFIG), ("bad.toml", "durations = 5\n")]);
    let (code, output, errors) = lb_in(directory.path(), arguments).await;
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains(told), "{errors}");
}

#[rstest]
#[case::not_a_time(&["--service", "20"], "--service")]
#[case::not_a_rate(&["--rate=-5"], "--rate")]
#[case::two_rates(&["--rate", "5", "--load", "0.5"], "--load")]
#[case::not_an_algorithm(&["--algorithm", "p3c"], "p2c")]
#[case::not_a_figure(&["--rank", "p98"], "p99")]
#[case::two_sources(&["scenario.toml"], "exclude each other")]
#[case::one_file_to_compare(&["--compare", "a.toml"], "--compare")]
#[case::no_time_left(&["--duration", "5s", "--warmup", "5s"], "nothing would be measured")]
#[tokio::test]
async fn wrong_usage_is_2(#[case] arguments: &[&str], #[case] told: &str) {
    let directory = files(&[("lb.toml", CONFIG), ("scenario.toml", SCENARIO)]);
    let arguments = [&["simulate", "-c", "lb.toml"][..], arguments].concat();
    let (code, output, errors) = lb_in(directory.path(), &arguments).await;
    assert_eq!((code, output.as_str()), (2, ""), "{errors}");
    assert!(errors.contains(told), "{errors}");
}
