//! Whole files: what is accepted, what is said about the rest, and that nothing panics.

extern crate std;

mod generate;

use alloc::{format, string::String};

use proptest::prelude::*;

use super::*;
use crate::limits::{CONFIG_BYTES_MAX, PROBLEMS_MAX};

const PROBLEMS: &str = include_str!("tests/problems.txt");
const EXAMPLE: &str = include_str!("../../../lb.toml");
const MINIMAL: &str = "[[listener]]\nbind = \"0.0.0.0:8000\"\n[pool.mango]\nbackends = [\"10.0.0.1:80\"]\n\
                       [[route]]\npool = \"mango\"\n";

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
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/problems.txt"), &written)
            .unwrap();
        return;
    }
    for (number, (actual, expected)) in written.lines().zip(PROBLEMS.lines()).enumerate() {
        assert_eq!(actual, expected, "problems.txt:{}", number + 1);
    }
    assert_eq!(written.lines().count(), PROBLEMS.lines().count());
}

#[test]
fn a_minimal_file_has_all_defaults() {
    let config = Config::load(MINIMAL).unwrap().into_inner();
    let address = BackendAddress::Ip("10.0.0.1:80".parse().unwrap());
    let pool = Pool { backends: [Backend::at(address, "10.0.0.1:80")].into(), ..Pool::default() };
    let expected = Config {
        listeners: [Listener::at("0.0.0.0:8000".parse().unwrap())].into(),
        pools: [("mango".into(), pool)].into(),
        routes: [Route { name: "route-1".into(), ..Route::to("mango") }].into(),
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn the_example_is_valid_and_says_what_its_comments_say() {
    let config =
        Config::load(EXAMPLE).map_err(|problems| format!("\n{}", problems.in_file("lb.toml"))).unwrap();
    assert_eq!(config.listeners[0].limits, ListenerLimits::default());
    assert_eq!(config.listeners[0].timeouts, ListenerTimeouts::default());
    let mango = &config.pools["mango"];
    assert_eq!(mango.timeouts, PoolTimeouts::default());
    assert_eq!(mango.limits, PoolLimits::default());
    assert_eq!(mango.outlier, Outlier::default());
    assert_eq!(mango.retry, Retry::default());
    assert_eq!(config.routes[0].request.headers.remove, ["host"]);
    assert_eq!(config.routes[0].request.headers.append, [("x-via", "lb"), ("x-via", "mango")].map(owned));
    assert_eq!(config.routes[0].rate_limit.map(|limit| limit.burst), Some(2000));
}

/// What the operators' page shows is valid as it stands.
#[test]
fn the_examples_of_the_page_on_resilience_are_valid() {
    let page = include_str!("../../../docs/resilience.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 8);
    for example in examples {
        let file = completed("", example);
        Config::load(&file).map_err(|problems| format!("\n{}\n{file}", problems.in_file("page"))).unwrap();
    }
    let defaults = Config::load(&completed(
        "",
        "[pool.mango]\nbackends = [\"10.0.0.1:80\"]\nconcurrency = {}\nsticky = {}\n",
    ))
    .unwrap();
    let mango = &defaults.pools["mango"];
    assert_eq!(mango.concurrency, Some(Concurrency::default()));
    assert_eq!(mango.sticky, Some(Sticky::default()));
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.into(), value.into())
}

/// The problem of an unknown key lists those that are known, so that asking every section for one gives
/// all that there are.
#[test]
fn the_example_shows_every_key() {
    let file = "x = 1\n[access_log]\nx = 1\n[firewall]\nx = 1\n[[listener]]\nx = 1\ntimeouts = { x = 1 }\n\
                limits = { x = 1 }\n[pool.mango]\nx = 1\nbackends = [{ x = 1 }]\ntimeouts = { x = 1 }\n\
                limits = { x = 1 }\nhealth_check = { x = 1 }\noutlier = { x = 1 }\nretry = { x = 1 }\n\
                [pool.a]\nalgorithm = \"p2c\"\np2c = { x = 1 }\n\
                [pool.b]\nalgorithm = \"peak_ewma\"\npeak_ewma = { x = 1 }\n\
                [pool.c]\nalgorithm = \"ring_hash\"\nring_hash = { x = 1 }\nhash = { x = 1 }\n\
                [pool.d]\nalgorithm = \"maglev\"\nmaglev = { x = 1 }\n[[route]]\n\
                x = 1\nmatch = { x = 1 }\nrate_limit = { x = 1 }\nrequest = { x = 1 }\nresponse = { x = 1 }\n";
    let problems = Config::load(file).unwrap_err();
    let unknown = problems.list.iter().filter(|problem| problem.found == "an unknown key");
    let mut sections = 0;
    for problem in unknown {
        sections += 1;
        for key in problem.expected.trim_start_matches("one of ").split(", ") {
            let is_shown = [format!("{key} = "), format!("[{key}]"), format!("[{key}."), format!(".{key}]")]
                .iter()
                .any(|written| EXAMPLE.contains(written.as_str()));
            assert!(is_shown, "{key} of {}", problem.key);
        }
    }
    assert_eq!(sections, 23);
}

#[test]
fn what_may_be_written_in_several_forms_has_one() {
    let file = "[[listener]]\nbind = \"0.0.0.0:8000\"\ntrusted_proxies = [\"10.1.2.3/8\", \"::ffff:10.0.0.1\"]\n\
                [pool.mango]\nbackends = [\"Mango:80\", \"[::1]:80\"]\nhealth_check = {}\n[[route]]\npool = \"mango\"\n\
                match = { host = \"WWW.Mango.com.\", method = \"GET\", header = { X-A = \"B\" } }\n\
                request = { set_headers = { X-A = [\"1\", \"2\"] }, append_headers = { X-A = \"3\" } }\n";
    let config = Config::load(file).unwrap();
    let nets: Vec<IpNet> = ["10.0.0.0/8", "10.0.0.1/32"].iter().map(|net| net.parse().unwrap()).collect();
    assert_eq!(config.listeners[0].trusted_proxies, nets);
    let pool = &config.pools["mango"];
    assert_eq!(pool.backends[0].address, BackendAddress::Name { host: "mango".into(), port: 80 });
    assert_eq!(pool.backends[0].name, "Mango:80");
    assert_eq!(pool.health_check, Some(HealthCheck::default()));
    let route = &config.routes[0];
    assert_eq!(route.matches.host.as_deref(), Some("www.mango.com"));
    assert_eq!(route.matches.methods, ["GET"]);
    assert_eq!(route.matches.headers, [owned(("x-a", "B"))]);
    assert_eq!(route.request.headers.set, [owned(("x-a", "1"))]);
    assert_eq!(route.request.headers.append, [("x-a", "2"), ("x-a", "3")].map(owned));
}

#[test]
fn built_in_code_the_same_is_said_without_positions() {
    let mut config = Config::load(MINIMAL).unwrap().into_inner();
    config.routes.push(Route { timeout: Some(Duration::ZERO), ..Route::to("mnago") });
    config.pools.insert("empty".into(), Pool::default());
    let problems = config.validate().unwrap_err();
    let lines = "pool.empty.backends: found no backends, expected at least one\n\
                 route[1].match: found conditions that an earlier route has, so that this one is never reached \
                 (first in route[0].match), expected conditions of its own\n\
                 route[1].pool: found \"mnago\", expected one of the pools \"empty\", \"mango\"; did you mean \"mango\"?\n\
                 route[1].timeout: found 0s, expected a duration from 1ms to 720h";
    assert_eq!(format!("{problems}"), lines);
}

#[test]
fn problems_are_bounded_and_counted() {
    let mut file = String::from(MINIMAL);
    file.extend((0..5000).map(|number| format!("[pool.p{number}]\nbakends = []\n")));
    let problems = Config::load(&file).unwrap_err();
    assert_eq!((problems.list.len(), problems.omitted), (PROBLEMS_MAX, 5000 - PROBLEMS_MAX));
    assert!(format!("{}", problems.in_file("f")).ends_with("\nf: and 4900 more"));
}

#[test]
fn a_file_that_is_too_large_is_not_looked_at() {
    let problems = Config::load(&"#".repeat(CONFIG_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(format!("{problems}"), "found a file of 67108865 bytes, expected at most 64MiB");
}

/// Deep nests must neither exhaust the stack while they are read nor while they are dropped.
#[test]
fn deep_nests_are_harmless() {
    let key = ["a"; 15].join(".");
    let nest = format!("{}1{}", format!("{{ {key} = ").repeat(200), "}".repeat(200));
    for file in ["[".repeat(100_000), format!("a = {nest}"), format!("a = {}", "[".repeat(100_000))] {
        assert!(Config::load(&file).is_err());
    }
    for separator in [".", " . ", ".\"a.b\"."] {
        assert!(Config::load(&format!("{} = 1", ["a"; 100_000].join(separator))).is_err());
        assert!(Config::load(&format!("[{}]", ["a"; 100_000].join(separator))).is_err());
    }
}

/// Each key of the example, spoiled by itself, gives a problem in its line.
#[test]
fn an_unknown_key_is_found_in_its_line() {
    for (number, text) in EXAMPLE.lines().enumerate() {
        if !text.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        let spoil = |(at, text)| if at == number { format!("zz{text}\n") } else { format!("{text}\n") };
        let spoiled: String = EXAMPLE.lines().enumerate().map(spoil).collect();
        let problems = Config::load(&spoiled).unwrap_err();
        let is_in_line = |problem: &Problem| problem.position.is_some_and(|at| at.line == number + 1);
        assert!(problems.list.iter().any(is_in_line), "{problems}");
    }
}

/// The position that a problem has must be inside the file.
fn check_positions(file: &str, problems: &Problems) {
    let mut last = None;
    assert!(!problems.list.is_empty());
    for problem in &problems.list {
        let Some(position) = problem.position else { continue };
        let line = file.split('\n').nth(position.line - 1).expect("a line of the file");
        assert!(position.column <= line.chars().count() + 1, "{position} in {line:?}");
        assert!(last <= Some(position), "out of order: {problems}");
        last = Some(position);
    }
}

proptest! {
    // Each case is a whole file; PROPTEST_CASES still makes it more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// What a generator of valid configurations writes is read as what it had in mind.
    #[test]
    fn valid_files_are_read((file, expected) in generate::file()) {
        let config = Config::load(&file).map_err(|problems| TestCaseError::fail(format!("{problems}\n{file}")))?;
        prop_assert_eq!(&*config, &expected);
        prop_assert_eq!(config.clone().into_inner().validate(), Ok(config));
    }

    #[test]
    fn no_text_panics(file in any::<String>()) {
        if let Err(problems) = Config::load(&file) {
            check_positions(&file, &problems);
        }
    }

    /// Files that look like TOML for the most part.
    #[test]
    fn no_tokens_panic(tokens in prop::collection::vec(generate::token(), 0..60)) {
        let file = tokens.concat();
        if let Err(problems) = Config::load(&file) {
            check_positions(&file, &problems);
        }
    }

    /// The example with bytes cut out, doubled and replaced.
    #[test]
    fn no_mutation_panics(cuts in prop::collection::vec((0..EXAMPLE.len(), 0..40usize, generate::token()), 1..6)) {
        let mut file = String::from(EXAMPLE);
        for (at, length, token) in cuts {
            let end = (at + length).min(file.len());
            if file.is_char_boundary(at.min(end)) && file.is_char_boundary(end) {
                file.replace_range(at.min(end)..end, token);
            }
        }
        if let Err(problems) = Config::load(&file) {
            check_positions(&file, &problems);
        }
    }
}
