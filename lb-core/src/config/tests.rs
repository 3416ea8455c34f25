//! Whole files: what is accepted, and what is said about the rest.

extern crate std;

use alloc::{format, string::String, string::ToString};

use super::*;

const PROBLEMS: &str = include_str!("tests/problems.txt");

/// `snippet` with the sections that a valid file needs and that it has not.
fn completed(title: &str, snippet: &str) -> String {
    let mut file = String::from(snippet);
    for (header, section) in [
        ("[listener]", "[[listener]]\nbind = \"0.0.0.0:8000\"\n"),
        ("[pool.mango", "[pool.mango]\nbackends = [\"10.0.0.1:80\"]\n"),
        ("[route]", "[[route]]\npool = \"mango\"\n"),
    ] {
        if !title.ends_with("alone") && !snippet.contains(header) {
            file.push_str(section);
        }
    }
    file
}

#[test]
fn problems() {
    let (head, cases) = PROBLEMS.split_once("=== ").unwrap();
    let mut written = String::from(head);
    for case in cases.split("=== ") {
        let (title, case) = case.split_once('\n').unwrap();
        let (snippet, _) = case.split_once("---\n").unwrap();
        let problems = Config::load(&completed(title, snippet)).expect_err(title);
        written.push_str(&format!("=== {title}\n{snippet}---\n{}\n\n", problems.in_file("lb.toml")));
    }
    if std::env::var_os("LB_BLESS").is_some() {
        std::fs::write(std::concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/problems.txt"), &written)
            .unwrap();
    }
    pretty(&written, PROBLEMS);
}

/// Compares line by line, so that a failure shows what differs and not two long texts.
fn pretty(actual: &str, expected: &str) {
    for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "problems.txt:{}", number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count());
}
