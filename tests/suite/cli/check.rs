//! `lb check`: 0 for a good file, 1 with every problem at once.

use rstest::rstest;

use crate::support::{lb, lb_in};

const GOOD: &str = "[[listener]]\nbind = \"127.0.0.1:0\"\n\
                    [pool.a]\nbackends = [\"127.0.0.1:81\"]\n[pool.b]\nbackends = [\"127.0.0.1:82\"]\n\
                    [[route]]\npool = \"a\"\n";

const BAD: &str = "[[listener]]\nbind = \"127.0.0.1:99999\"\n\n[pool.mango]\nalgorithm = \"round_robbin\"\n\
                   backends = []\nweigth = 3\n\n[[route]]\npool = \"mangoo\"\n";

fn file(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("lb.toml"), text).expect("a file");
    directory
}

#[rstest]
#[case::command(&["check", "-c", "lb.toml"])]
#[case::option_first(&["-c", "lb.toml", "check"])]
#[case::long_option(&["check", "--config=lb.toml"])]
#[case::alias(&["-t", "-c", "lb.toml"])]
#[case::found_by_itself(&["check"])]
#[case::alias_found_by_itself(&["-t"])]
#[tokio::test]
async fn a_good_file(#[case] arguments: &[&str]) {
    let directory = file(GOOD);
    let (code, output, errors) = lb_in(directory.path(), arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    let told = output.trim_end();
    assert!(told.ends_with("lb.toml: valid (1 listener, 2 pools, 1 route)"), "{told}");
}

#[rstest]
#[case(&["check", "-c", "lb.toml"])]
#[case(&["-t", "-c", "lb.toml"])]
#[tokio::test]
async fn every_problem_at_once(#[case] arguments: &[&str]) {
    let directory = file(BAD);
    let (code, output, errors) = lb_in(directory.path(), arguments).await;
    assert_eq!((code, output.as_str()), (1, ""));
    for wanted in [
        "lb.toml:2:8: listener[0].bind: found \"127.0.0.1:99999\"",
        "lb.toml:5:13: pool.mango.algorithm: found \"round_robbin\"",
        "did you mean \"round_robin\"?",
        "lb.toml:6:12: pool.mango.backends",
        "lb.toml:7:1: pool.mango.weigth",
        "lb.toml:10:8: route[0].pool: found \"mangoo\"",
        "did you mean \"mango\"?",
        "lb.toml: 5 problems",
    ] {
        assert!(errors.contains(wanted), "{wanted:?} is not in\n{errors}");
    }
}

/// `lb run` with the same file says the same, and does not start.
#[tokio::test]
async fn run_says_the_same() {
    let directory = file(BAD);
    let checked = lb_in(directory.path(), &["check"]).await;
    let run = lb_in(directory.path(), &["run"]).await;
    assert_eq!(run, checked);
}

#[rstest]
#[case::syntax("[[listener]\n", "lb.toml:1:")]
#[case::empty("", "listener")]
#[case::not_text("\u{0}\u{1}", "lb.toml:1:")]
#[tokio::test]
async fn files_that_are_none(#[case] text: &str, #[case] wanted: &str) {
    let directory = file(text);
    let (code, _, errors) = lb_in(directory.path(), &["check"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains(wanted), "{errors}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in ["missing.toml", "."] {
        let (code, _, errors) = lb_in(directory.path(), &["check", "-c", path]).await;
        assert_eq!(code, 1);
        assert!(errors.starts_with(&format!("{path}: cannot read it: ")), "{errors}");
    }
    std::fs::write(directory.path().join("latin1.toml"), b"# \xe9\n").expect("a file");
    let (code, _, errors) = lb_in(directory.path(), &["check", "-c", "latin1.toml"]).await;
    assert_eq!(code, 1);
    assert!(errors.starts_with("latin1.toml: cannot read it: "), "{errors}");
}

#[tokio::test]
async fn no_file_at_all() {
    if std::path::Path::new("/etc/lb/lb.toml").exists() {
        return; // this machine has a balancer of its own
    }
    let directory = tempfile::tempdir().expect("a directory");
    for command in ["check", "run", "-t"] {
        let (code, _, errors) = lb_in(directory.path(), &[command]).await;
        assert_eq!(code, 1);
        assert!(errors.contains("/etc/lb/lb.toml") && errors.contains("--config"), "{errors}");
    }
}

/// The example that ships with the project.
#[tokio::test]
async fn the_example_is_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb.toml");
    let (code, output, errors) = lb(&["check", "-c", path]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("valid (1 listener, 6 pools, 5 routes)"), "{output}");
}
