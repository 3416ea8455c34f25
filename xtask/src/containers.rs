//! The tiers of `cargo xtask test` that need a container engine, and what sees to it that nothing stays.
//!
//! All that a run makes has the label `lb.run` with the run's name. A guard, a process of its own, holds the
//! reading end of a pipe whose writing end only this process and the tests have. When the last of them has
//! ended, in whatever way (success, failure, a panic, Ctrl-C, `kill -9`), the guard reads the pipe's end and
//! removes everything with that label.

use std::{
    collections::BTreeSet,
    env,
    io::{self, PipeWriter},
    os::unix::process::CommandExt,
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    images::{self, BACKEND, BALANCER, RUN_LABEL, docker, output},
    programs::Programs,
    test::{Outcome, Ran},
};

/// The tiers of this module.
pub(crate) const TIERS: [&str; 2] = ["containers", "compose"];
const ABOUT: [&str; 2] = [
    "the chapters against backends in containers; some are stopped, paused, killed",
    "docker/compose.yaml: the whole course in containers, the balancer too",
];

/// Whose tests they are, and what makes cargo build them.
pub(crate) const PACKAGE: &str = "lb-tests";
pub(crate) const FEATURE: &str = "lb-tests/containers";
const PROGRAM: &str = "containers";
pub(crate) const TARGETS: &[&str] = &["--test", PROGRAM];

/// The ways to run compose.
const COMPOSE_COMMANDS: [&[&str]; 2] = [&["docker-compose"], &["docker", "compose"]];
/// The engine may still be about to make what a killed process has asked for.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
const SWEEPS_MAX: usize = 10;

/// Leaves out those that are wanted, for this reason.
pub(crate) fn not_run(wanted: impl Fn(&str) -> bool, why: &str) -> Vec<Ran> {
    let all = TIERS.into_iter().zip(ABOUT).filter(|(name, _)| wanted(name));
    all.map(|(name, about)| Ran::not(name, about, why)).collect()
}

/// Leaves out those that are wanted, and says what there is instead of an engine.
pub(crate) fn without_engine(wanted: impl Fn(&str) -> bool) -> Vec<Ran> {
    let why = images::engine().err().unwrap_or_else(|| "it did not when this began".into());
    not_run(wanted, &format!("no container engine answers ({why})"))
}

/// Runs those tiers that are wanted, or says why not.
pub(crate) fn run(wanted: impl Fn(&str) -> bool, programs: &Programs) -> Vec<Ran> {
    if !TIERS.into_iter().any(&wanted) {
        return Vec::new();
    }
    let run = run_name();
    let guarded = match Guarded::start(&run) {
        Ok(guarded) => guarded,
        Err(error) => return not_run(wanted, &format!("no guard can be started: {error}")),
    };
    let [containers, compose] = TIERS.map(&wanted);
    let mut ran = vec![Ran::after("images", "those of lb and of the mock backend can be built", || {
        let built = images::build("dev", &run, Some(&run), programs.allocator());
        built.inspect_err(|message| eprintln!("{message}")).is_ok()
    })];
    if matches!(ran[0].outcome, Outcome::Failed) {
        ran.extend(not_run(wanted, "there are no images"));
        return ran;
    }
    if containers {
        let tests = || tests(programs, &run, &guarded, "", &["--skip", "compose::"]);
        ran.push(Ran::after(TIERS[0], ABOUT[0], tests));
    }
    let commands: Vec<_> = COMPOSE_COMMANDS
        .into_iter()
        .filter(|words| output(Command::new(words[0]).args(&words[1..]).arg("version")).is_ok())
        .map(|words| words.join(" "))
        .collect();
    if compose && commands.is_empty() {
        ran.push(Ran::not(TIERS[1], ABOUT[1], "there is neither docker-compose nor docker compose"));
    } else if compose {
        let tests = || tests(programs, &run, &guarded, &commands.join(","), &["compose::"]);
        ran.push(Ran::after(TIERS[1], ABOUT[1], tests));
    }
    ran.push(Ran::after("removal", "the tests have left no containers and no networks", || guarded.finish()));
    ran
}

/// Whose these containers are: it goes into labels, tags and names.
fn run_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("run-{}-{}", now.as_millis(), process::id())
}

fn tests(programs: &Programs, run: &str, guarded: &Guarded, compose: &str, arguments: &[&str]) -> bool {
    programs.run(PACKAGE, Some(PROGRAM), |command| {
        command
            .args(arguments)
            .env("LB_RUN", run)
            .env("LB_IMAGE", format!("{}:{run}", BALANCER.name))
            .env("LB_BACKEND_IMAGE", format!("{}:{run}", BACKEND.name))
            .env("LB_COMPOSE", compose)
            // Without it the guard would take them for ended when this process is.
            .stdin(guarded.lease.try_clone().map_or_else(|_| Stdio::null(), Stdio::from))
    })
}

/// The guard of a run, and the writing end of its pipe.
#[derive(Debug)]
pub(crate) struct Guarded {
    lease: PipeWriter,
    guard: Child,
}

impl Guarded {
    pub(crate) fn start(run: &str) -> io::Result<Self> {
        let (end, lease) = io::pipe()?;
        let guard = Command::new(env::current_exe()?)
            .args(["guard", run])
            .stdin(Stdio::from(end))
            .process_group(0) // a terminal's Ctrl-C is not for it
            .spawn()?;
        Ok(Self { lease, guard })
    }

    /// Lets the guard do its work; gives whether no test had left anything.
    fn finish(mut self) -> bool {
        drop(self.lease);
        self.guard.wait().is_ok_and(|status| status.success())
    }
}

/// `cargo xtask guard RUN`: waits until standard input ends, and removes what that run has left. Gives
/// whether there were no containers and no networks (the run's images are always removed here).
pub(crate) fn guard(run: &str) -> bool {
    // Whether it ends or breaks: nobody is left at the other end.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    let (mut containers, mut networks) = (0, 0);
    for _ in 0..SWEEPS_MAX {
        match sweep(run) {
            Ok([0, 0, 0]) => break,
            Ok(found) => (containers, networks) = (containers.max(found[0]), networks.max(found[1])),
            Err(message) => eprintln!("cannot look for what is left of {run}: {message}"),
        }
        thread::sleep(SWEEP_PAUSE);
    }
    if containers + networks > 0 {
        eprintln!("removed what was left of {run}: {containers} containers, {networks} networks");
    }
    containers + networks == 0
}

/// Removes containers, networks and images of this run; gives how many there were of each.
fn sweep(run: &str) -> Result<[usize; 3], String> {
    let kinds: [[&[&str]; 2]; 3] = [
        [&["ps", "--all"], &["rm", "--force", "--volumes"]],
        [&["network", "ls"], &["network", "rm"]],
        [&["image", "ls"], &["image", "rm", "--force"]],
    ];
    let filter = format!("label={RUN_LABEL}={run}");
    let mut counts = [0; 3];
    for ([list, remove], count) in kinds.into_iter().zip(&mut counts) {
        let listed = output(docker(list).args(["--quiet", "--no-trunc", "--filter", &filter]))?;
        let ids: BTreeSet<&str> = listed.lines().collect();
        *count = ids.len();
        if !ids.is_empty() {
            // It may be on its way out already; whether it is gone, the next sweep sees.
            let _ = output(docker(remove).args(ids));
        }
    }
    Ok(counts)
}
