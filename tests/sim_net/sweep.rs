//! Many seeds: what `cargo xtask sim-net` runs.

use std::{
    env, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use lb_testkit::sim_net::Trace;

use crate::{plan::Plan, stage};

/// The command that shows this run again.
pub(crate) fn replay(seed: u64) -> String {
    format!("replay: cargo xtask sim-net --seeds 1 --from {seed}")
}

fn variable(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// One in so many seeds is run twice.
const TWICE: u64 = 8;

/// A range of seeds, over all processors. The first that fails is shown and ends the sweep.
#[test]
#[ignore = "cargo xtask sim-net runs it"]
fn sweep() {
    let (from, seeds) = (variable("LB_SIM_FROM", 0), variable("LB_SIM_SEEDS", 100));
    let jobs = variable("LB_SIM_JOBS", thread::available_parallelism().map_or(1, |jobs| jobs.get() as u64));
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    if !holds(seed) {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                    let done = seed - from + 1;
                    if done.is_multiple_of(100) {
                        eprintln!("{done} of {seeds} seeds");
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "seed {failed} does not hold\n{}", replay(failed));
    eprintln!("{seeds} seeds from {from} hold");
}

fn holds(seed: u64) -> bool {
    let runs = catch_unwind(AssertUnwindSafe(|| {
        let plan = Plan::of(seed);
        let again = seed.is_multiple_of(TWICE).then(|| stage::run(&plan).trace.digest());
        (stage::run(&plan), again)
    }));
    let Ok((outcome, again)) = runs else {
        eprintln!("seed {seed} panics");
        return false;
    };
    let is_same = again.is_none_or(|again| again == outcome.trace.digest());
    if !is_same {
        eprintln!("seed {seed}: the same seed gave another run");
    }
    if !outcome.violations.is_empty() {
        eprintln!("{outcome}");
        match keep(seed, &outcome.trace) {
            Ok(file) => eprintln!("all events: {}", file.display()),
            Err(error) => eprintln!("the events cannot be kept: {error}"),
        }
    }
    is_same && outcome.violations.is_empty()
}

/// All of a trace, in a file for whoever looks for the reason.
fn keep(seed: u64, trace: &Trace) -> io::Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sim-net");
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("seed-{seed}.trace"));
    fs::write(&file, trace.lines().collect::<Vec<_>>().join("\n"))?;
    Ok(file)
}
