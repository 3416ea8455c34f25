//! `cargo xtask course --containers`: the companion with its backends from the compose file.

use std::{
    env, io,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use lb_testkit::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};

use crate::engine::{backend_image, run};

fn course(arguments: &[&str], run: Option<String>) -> io::Result<Child> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--package", "xtask", "--", "course", "--containers"])
        .args(arguments)
        .env("LB_BACKEND_IMAGE", backend_image())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    match run {
        Some(run) => command.env("LB_RUN", run),
        None => command.env_remove("LB_RUN"),
    };
    command.spawn()
}

/// Reads what it says until its backends are up; gives the rest of it.
fn backends_are_up(companion: &mut Child) -> io::Result<BufReader<ChildStdout>> {
    let mut output = BufReader::new(companion.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("backends:") {
        line.clear();
        assert!(output.read_line(&mut line)? > 0, "it ended before its backends were up");
    }
    assert_ne!(left(companion.id())?, "", "no container has the name that is looked for");
    Ok(output)
}

/// The containers that a companion has left: cargo becomes it, so its id is the child's.
fn left(companion: u32) -> io::Result<String> {
    let filter = format!("name=lb-course-{companion}_");
    let output = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_chapter_runs_with_its_cast_from_the_compose_file() -> io::Result<()> {
    let companion = course(&["7"], Some(run()))?;
    let id = companion.id();
    let output = companion.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\n6 passed, 0 failed, 0 skipped\n"), "{text}");
    assert_eq!(left(id)?, "", "{text}");
    Ok(())
}

#[test]
fn an_interruption_takes_the_containers_down() -> io::Result<()> {
    let mut companion = course(&["7", "--start", "exec sleep 1000"], Some(run()))?;
    let mut output = backends_are_up(&mut companion)?;
    let pid = Pid::from_raw(companion.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::INT)?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    assert_eq!(companion.wait()?.code(), Some(130), "{rest}");
    assert_eq!(left(pid.as_raw_nonzero().get().cast_unsigned())?, "", "{rest}");
    Ok(())
}

/// Outside a run of the tests: there the companion has a guard of its own.
#[test]
fn a_companion_that_is_killed_leaves_no_containers() -> io::Result<()> {
    let mut companion = course(&["7", "--start", "exec sleep 1000"], None)?;
    let _output = backends_are_up(&mut companion)?;
    companion.kill()?;
    companion.wait()?;
    let until = Instant::now() + DEADLINE;
    while !left(companion.id())?.is_empty() {
        assert!(Instant::now() < until, "still there: {}", left(companion.id())?);
        sleep(Duration::from_millis(100));
    }
    Ok(())
}
