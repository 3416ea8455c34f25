//! `lb-leaderboard`: writes the leaderboard; `cargo xtask leaderboard` builds and runs it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use lb_testkit::sim::{
    batch::{self, Progress},
    leaderboard::{Board, Facts, enter_all, page},
    scenario::Scenario,
};

const USAGE: &str = "Usage: lb-leaderboard SCENARIOS READINGS PAGE SEEDS DATE MACHINE
Runs all scenarios of the directory SCENARIOS with so many SEEDS and writes PAGE.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [scenarios, readings, out, seeds, date, machine] = &arguments[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Ok(seeds) = seeds.parse() else {
        eprintln!("SEEDS is not a number: {seeds:?}\n{USAGE}");
        return ExitCode::from(2);
    };
    match run(Path::new(scenarios), Path::new(readings), Path::new(out), seeds, date, machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    scenarios: &Path,
    readings: &Path,
    out: &Path,
    seeds: u64,
    date: &str,
    machine: &str,
) -> Result<(), String> {
    let started = Instant::now();
    let readings = read(readings)?;
    let mut boards = Vec::new();
    let mut requests = 0u64;
    for path in files(scenarios)? {
        let board = play(&path, seeds)?;
        let runs = board.outcomes.iter().flat_map(|outcome| &outcome.runs);
        requests += runs.map(|run| run.ledger.arrivals).sum::<u64>();
        eprintln!("{}: {:.0} s so far", board.file, started.elapsed().as_secs_f64());
        let verdicts = board.scenario.judge(&board.outcomes);
        verdicts.iter().filter(|verdict| !verdict.holds).for_each(|verdict| eprintln!("  {}", verdict.text));
        boards.push(board);
    }
    let facts = Facts {
        command: format!("cargo xtask leaderboard --seeds {seeds}"),
        date: date.into(),
        machine: format!(
            "{:.0} million requests in {:.0} s on {machine}",
            requests as f64 / 1e6,
            started.elapsed().as_secs_f64()
        ),
        seeds: (1, seeds),
    };
    fs::write(out, page(&boards, &facts, &readings)).map_err(|error| format!("{}: {error}", out.display()))
}

fn play(path: &Path, seeds: u64) -> Result<Board, String> {
    let name = path.display();
    let directory = path.parent().unwrap_or(Path::new(""));
    let open = |file: &str| fs::read_to_string(directory.join(file)).map_err(|error| error.to_string());
    let mut scenario = Scenario::read(&read(path)?, &open)
        .map_err(|problems| problems.in_file(&name.to_string()).to_string())?;
    enter_all(&mut scenario);
    let (cases, seeds) = (scenario.cases(), (1..=seeds).collect::<Vec<_>>());
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcomes = batch::run(&cases, &seeds, threads, &Progress::new(&cases, seeds.len()))
        .map_err(|error| format!("{name}: {error}"))?;
    let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Board { file, scenario, outcomes })
}

/// The scenarios, in the order of their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
