//! Reading scenarios: what is understood, what is refused, and that the files that ship say what they mean.

use std::{fs, path::PathBuf};

use rstest::rstest;

use super::{
    super::{
        Discipline, Gaps, Law, Trouble,
        batch::{self, Progress},
    },
    *,
};

fn no_files(name: &str) -> Result<String, String> {
    Err(format!("no file {name}"))
}

fn read(text: &str) -> Result<Scenario, Problems> {
    Scenario::read(text, &no_files)
}

const SMALL: &str = "arrivals = { rate = 50 }\n[[backend]]\n";

#[test]
fn the_least_that_is_one() {
    let scenario = read(SMALL).unwrap();
    let expected = Model { arrivals: Arrivals::poisson(50.0), ..Model::new(vec![Backend::new("b")]) };
    assert_eq!(scenario.model, expected);
    assert_eq!((scenario.cases().len(), scenario.seeds), (1, SEEDS));
}

#[test]
fn everything_is_read() {
    let text = r#"
        name = "all"
        about = "every key"
        duration = "10s"
        warmup = "1.5s"
        slo = "250us"
        deadline = "5s"
        idempotent = false
        balancers = 3
        seeds = 7
        algorithms = ["random", "p2c"]
        service = { law = "erlang", mean = "5ms", phases = 3 }
        client = { timeout = "1s", retries = 2, backoff = "10ms", patience = "3s", abandoned_work = false }
        keys = { count = 10, skew = 1.1 }
        [pool]
        retry = { tries = 2 }
        [arrivals]
        kind = "even"
        load = [0.5, 0.9]
        profile = [{ at = "1s", factor = 1 }, { at = "2s", factor = 1.5 }]
        [[backend]]
        name = "a"
        count = 2
        slots = 4
        weight = 3
        discipline = "sharing"
        speed = 0.5
        latency = "0.5ms"
        queue = 9
        connections = 20
        service = "7ms"
        [[backend]]
        name = "zone-1"
        [[fault]]
        kind = "fail"
        backends = ["a*", 2]
        from = "1s"
        for = "2s"
        stagger = "100ms"
        share = 0.5
        status = 503
        after = "1ms"
        seen_by_checks = true
        [[variant]]
        name = "mine"
        pool = { algorithm = "least_request" }
        [[expect]]
        about = "why"
        of = "mine"
        load = 0.9
        metric = "p99"
        at_least = "1ms"
        at_most = "2s"
        [[expect]]
        of = ["random", "p2c"]
        than = "mine"
        metric = "mean"
        at_most = 2
        [[expect]]
        metric = "recovered"
        never = true
    "#;
    let scenario = read(text).unwrap_or_else(|problems| panic!("{problems}"));
    let model = &scenario.model;
    let names: Vec<&str> = model.backends.iter().map(|backend| &*backend.name).collect();
    assert_eq!(names, ["a0", "a1", "zone-1"]);
    let a = &model.backends[1];
    assert_eq!((a.slots, a.weight, a.discipline, a.speed), (4, 3, Discipline::Sharing, 0.5));
    assert_eq!((a.queue, a.connections, &a.service), (Some(9), Some(20), &Some(Law::exponential(7e6))));
    assert_eq!(model.service, Law::erlang(5e6, 3));
    assert_eq!(model.client.patience, Some(Law::exponential(3e9)));
    assert_eq!(model.faults[0].backends, [0, 1, 2]);
    assert!(matches!(model.faults[0].trouble, Trouble::Fail { status: 503, seen_by_checks: true, .. }));
    assert!(
        matches!(&model.arrivals, Arrivals::Open { gaps: Gaps::Even, profile, .. } if profile.len() == 2)
    );
    let cases = scenario.cases();
    let named: Vec<_> = cases.iter().map(|case| (case.variant.as_str(), case.load)).collect();
    let both = |load| ["random", "p2c", "mine"].map(|name| (name, Some(load)));
    assert_eq!(named, [both(0.5), both(0.9)].concat());
    assert_eq!(cases[1].model.pool.retry.tries, 2);
    assert_eq!(
        scenario.expectations[1].bound,
        Bound::Relative { than: "mine".into(), least: 0.0, most: 2.0 }
    );
    assert_eq!(scenario.expectations[2].bound, Bound::Never);
}

/// Each mistake is told with its place, its key and what would be right.
#[rstest]
#[case::unknown_key(
    "durations = \"5s\"\n",
    r#"1:1: durations: found an unknown key"#,
    r#"did you mean "duration"?"#
)]
#[case::not_a_time("duration = \"5 s\"\n", "1:12: duration: found \"5 s\"", "a duration such as")]
#[case::a_number("slo = 5\n", "1:7: slo: found 5", "a duration such as")]
#[case::algorithm("algorithms = [\"p3c\"]\n", "1:15: algorithms[0]", r#"did you mean "p2c"?"#)]
#[case::warmup("warmup = \"60s\"\n", "1:10: warmup", "shorter than the duration")]
#[case::pool("pool = { retry = { tires = 3 } }\n", "pool.retry.tires", r#"did you mean "tries"?"#)]
#[case::backends_in_the_pool(
    "pool = { backends = [\"1.2.3.4:80\"] }\n",
    "pool.backends: found an unknown key",
    ""
)]
#[case::law("service = { law = \"weibull\", mean = \"1s\" }\n", "service.law", "log_normal")]
#[case::share(
    "fault = [{ kind = \"fail\", backends = [0], share = 1.5 }]\n",
    "fault[0].share",
    "from 0 to 1"
)]
#[case::place("fault = [{ kind = \"down\", backends = [1] }]\n", "fault[0].backends[0]", "from 0 to 0")]
#[case::name(
    "fault = [{ kind = \"down\", backends = [\"c\"] }]\n",
    "fault[0].backends[0]",
    "the name of a backend"
)]
#[case::kind("fault = [{ kind = \"dwon\", backends = [0] }]\n", "fault[0].kind", r#"did you mean "down"?"#)]
#[case::foreign_key(
    "fault = [{ kind = \"down\", backends = [0], factor = 2 }]\n",
    "fault[0].factor",
    "unknown key"
)]
#[case::variant("expect = [{ of = \"p2c\", metric = \"p99\" }]\n", "expect[0].of", "as configured")]
#[case::metric("expect = [{ metric = \"p98\" }]\n", "expect[0].metric", r#"did you mean "p90"?"#)]
#[case::config("config = \"missing.toml\"\n", "config", "no file missing.toml")]
#[case::syntax("name = \n", "1:", "")]
fn mistakes(#[case] line: &str, #[case] place: &str, #[case] hint: &str) {
    let problems = read(&format!("{line}{SMALL}")).unwrap_err().to_string();
    assert!(problems.contains(place) && problems.contains(hint), "{problems}");
}

#[test]
fn all_mistakes_at_once() {
    let problems = read("seeds = 0\nbalancers = \"3\"\n[arrivals]\nkind = \"poison\"\n").unwrap_err();
    let keys: Vec<&str> = problems.list.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["seeds", "balancers", "arrivals.rate", "arrivals.kind", "backend"], "{problems}");
}

/// What the balancer itself would refuse is refused.
#[test]
fn settings_that_make_no_sense_together() {
    let pool = "pool = { health_check = { interval = \"1s\", timeout = \"2s\" } }\n";
    assert_eq!(
        read(&format!("{pool}{SMALL}")).is_err(),
        Config::load(
            "listener = [{ bind = \"127.0.0.1:0\" }]\nroute = [{ pool = \"a\" }]\n\
             [pool.a]\nbackends = [\"127.0.0.1:81\"]\nhealth_check = { interval = \"1s\", timeout = \"2s\" }\n"
        )
        .is_err()
    );
    assert!(read(&format!("pool = {{ retry = {{ tries = 17 }} }}\n{SMALL}")).is_err());
}

const CONFIG: &str = r#"
    listener = [{ bind = "127.0.0.1:0" }]
    route = [{ name = "r", pool = "b", timeout = "3s" }]
    [pool.a]
    backends = ["10.0.0.1:80"]
    [pool.b]
    algorithm = "p2c"
    backends = ["10.0.0.1:80", { address = "web:80", name = "w", weight = 2 }, { address = "web:81", name = "x" }]
"#;

#[test]
fn a_configuration_brings_its_backends() {
    let open = |name: &str| if name == "lb.toml" { Ok(CONFIG.to_string()) } else { Err("no".to_string()) };
    let text = "config = \"lb.toml\"\narrivals = { rate = 50 }\nbackend = [{ slots = 8 }]\n";
    let scenario = Scenario::read(text, &open).unwrap_or_else(|problems| panic!("{problems}"));
    let backends = &scenario.model.backends;
    let seen: Vec<_> =
        backends.iter().map(|backend| (&*backend.name, backend.weight, backend.slots)).collect();
    assert_eq!(seen, [("10.0.0.1:80", 1, 8), ("w", 2, 8), ("x", 1, 8)]);
    assert_eq!((scenario.model.pool.algorithm, scenario.model.deadline.as_secs()), (Algorithm::P2c, 3));
    let other =
        Scenario::read("config = \"lb.toml\"\npool = \"a\"\narrivals = { rate = 5 }\n", &open).unwrap();
    assert_eq!((other.model.backends.len(), other.model.deadline.as_secs()), (1, 60));
    let missing = Scenario::read("config = \"lb.toml\"\npool = \"c\"\narrivals = { rate = 5 }\n", &open);
    assert!(missing.unwrap_err().to_string().contains("there is no pool \"c\", only a, b"));
    let config = Config::load(CONFIG).unwrap();
    assert!(Scenario::of_config(&config, Wanted::Route("x")).unwrap_err().contains("only r"));
    assert_eq!(Scenario::of_config(&config, Wanted::Route("r")).unwrap().model.backends.len(), 3);
}

#[test]
fn traces() {
    let read = |text: &str| {
        let text = text.to_string();
        let open = move |_: &str| Ok(text.clone());
        Scenario::read("arrivals = { kind = \"trace\", file = \"t\" }\n[[backend]]\n", &open)
    };
    let good = read("# when\n0.5\n\n0.5 # twice\n1.25\n").unwrap();
    assert_eq!(good.model.arrivals, Arrivals::Trace([500_000_000, 500_000_000, 1_250_000_000].into()));
    for (text, line) in [("1\n0.5\n", 2), ("x\n", 1), ("-1\n", 1), ("0\n1\n1e30\n", 3)] {
        let problems = read(text).unwrap_err().to_string();
        assert!(problems.contains(&format!("line {line} is not")), "{problems}");
    }
}

/// Expectations hold and fail as they should.
#[test]
fn expectations_are_judged() {
    let expect = |line: &str| {
        let text = format!(
            "algorithms = [\"random\", \"p2c\"]\nduration = \"5s\"\nseeds = 2\n{SMALL}\n[[expect]]\n{line}\n"
        );
        let scenario = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let (cases, seeds) = (scenario.cases(), [1, 2]);
        let outcomes = batch::run(&cases, &seeds, 2, &Progress::new(&cases, 2)).unwrap();
        scenario.judge(&outcomes).iter().map(|verdict| verdict.holds).collect::<Vec<_>>()
    };
    assert_eq!(expect("metric = \"errors\"\nat_most = 0"), [true, true]);
    assert_eq!(expect("metric = \"mean\"\nof = \"p2c\"\nat_most = \"1ms\""), [false]);
    assert_eq!(expect("metric = \"p50\"\nat_least = \"1ms\""), [true, true]);
    // One backend: both do the same.
    assert_eq!(
        expect("metric = \"mean\"\nof = \"p2c\"\nthan = \"random\"\nat_least = 1\nat_most = 1"),
        [true]
    );
    assert_eq!(expect("metric = \"mean\"\nof = \"p2c\"\nthan = \"random\"\nat_most = 0.5"), [false]);
    assert_eq!(expect("metric = \"recovered\"\nnever = true"), [true, true]);
    assert_eq!(expect("metric = \"recovered\"\nat_most = \"1s\""), [false, false]);
}

/// The outcomes of a batch do not depend on its threads, and are those of single runs.
#[test]
fn batches_are_many_runs() {
    let scenario = read(&format!("algorithms = [\"random\", \"p2c\"]\nduration = \"3s\"\n{SMALL}")).unwrap();
    let (cases, seeds) = (scenario.cases(), [3, 4, 5]);
    let progress = Progress::new(&cases, 3);
    let parallel = batch::run(&cases, &seeds, 4, &progress).unwrap();
    assert_eq!(progress.share(), 1.0);
    assert_eq!(parallel, batch::run(&cases, &seeds, 1, &Progress::new(&cases, 3)).unwrap());
    let single = cases[1].model.run(4).unwrap();
    assert_eq!(parallel[1].runs[1].latency, single.latency);
    assert_eq!(parallel[1].pooled.requests, parallel[1].runs.iter().map(|run| run.requests).sum::<u64>());
}

fn shipped() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

/// All scenarios that ship can be read, have expectations, and run (here at a hundredth of their length and
/// load; their expectations are for their full length).
#[test]
fn the_scenarios_that_ship() {
    let files = shipped();
    assert_eq!(files.len(), 14);
    for path in files {
        let scenario = read(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|problems| panic!("{}", problems.in_file(&path.display().to_string())));
        assert!(!scenario.expectations.is_empty(), "{}", path.display());
        for mut case in scenario.cases() {
            case.model.duration /= 100;
            case.model.warmup /= 100;
            for fault in &mut case.model.faults {
                fault.from /= 100;
                fault.stagger /= 100;
                fault.length = fault.length.map(|length| length / 100);
            }
            let outcome = case.model.run(1).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(outcome.ledger.arrivals > 0, "{}", path.display());
        }
    }
}

/// What the page about the simulator measures its speed with is what it says: a reader can do the same.
#[test]
fn the_model_that_speed_is_measured_with() {
    let page = include_str!("../../../../docs/simulate.md");
    assert!(page.contains("simulate docs/simulate-speed.toml --timing"));
    let scenario = read(include_str!("../../../../docs/simulate-speed.toml")).unwrap();
    let cases = scenario.cases();
    assert_eq!((cases.len(), scenario.seeds), (1, 1));
    let mut model = cases[0].model.clone();
    assert_eq!((model.backends.len(), model.service.mean()), (100, 1e6));
    model.duration /= 100;
    let outcome = model.run(1).unwrap();
    let expected = 0.9 * 100.0 * 1000.0 * model.duration.as_secs_f64();
    assert!(
        (outcome.ledger.arrivals as f64 - expected).abs() < 4.0 * expected.sqrt(),
        "{}",
        outcome.ledger.arrivals
    );
}
