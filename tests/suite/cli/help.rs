//! Help reads well and says what there is; wrong usage is exit code 2.

use rstest::rstest;

use crate::support::lb;

#[rstest]
#[case::all(&["--help"], &["Usage: lb", "run", "check", "probe", "demo", "backend", "-c, --config", "Exit codes", "LB_LOG"])]
#[case::short(&["-h"], &["Usage: lb", "check"])]
#[case::help(&["help"], &["Usage: lb", "check"])]
#[case::run(&["run", "--help"], &["Usage: lb run", "--config", "HUP", "USR1", "TERM"])]
#[case::check(&["check", "--help"], &["Usage: lb check", "--config"])]
#[case::probe(&["probe", "--help"], &["Usage: lb probe", "[URL]", "--timeout", "Exit codes"])]
#[case::demo(&["demo", "--help"], &["Usage: lb demo", "--listen"])]
#[case::backend(&["backend", "--help"], &["Usage: lb backend", "--name", "--endpoint", "--listen", "APP"])]
#[case::version(&["--version"], &[concat!("lb ", env!("CARGO_PKG_VERSION"))])]
#[tokio::test]
async fn says_what_there_is(#[case] arguments: &[&str], #[case] wanted: &[&str]) {
    let (code, output, errors) = lb(arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    for wanted in wanted {
        assert!(output.contains(wanted), "{wanted:?} is not in\n{output}");
    }
}

#[rstest]
#[case::nothing(&[], "Usage: lb")]
#[case::unknown_command(&["rnu"], "rnu")]
#[case::unknown_option(&["run", "--confog", "x"], "--config")]
#[case::no_value(&["run", "--config"], "--config")]
#[case::no_time(&["probe", "--timeout", "0"], "--timeout")]
#[case::not_an_address(&["demo", "--listen", "nowhere"], "--listen")]
#[tokio::test]
async fn wrong_usage_is_2(#[case] arguments: &[&str], #[case] hint: &str) {
    let (code, output, errors) = lb(arguments).await;
    assert_eq!(code, 2, "{output}{errors}");
    assert!((output + &errors).contains(hint));
}
