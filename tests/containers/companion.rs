//! `cargo xtask course --containers`: the companion with its backends from the compose file.

use std::{
    env, io,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::engine::{backend_image, run};

fn course(arguments: &[&str]) -> io::Result<Child> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--", "course", "--containers"])
        .args(arguments)
        .env("LB_RUN", run())
        .env("LB_BACKEND_IMAGE", backend_image())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// The containers that a companion has left: cargo becomes it, so its id is the child's.
fn left(companion: u32) -> io::Result<String> {
    let filter = format!("name=lb-course-{companion}_");
    let output = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_chapter_runs_with_its_cast_from_the_compose_file() -> io::Result<()> {
    let companion = course(&["7"])?;
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
    let mut companion = course(&["7", "--start", "exec sleep 1000"])?;
    let mut output = BufReader::new(companion.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("backends:") {
        line.clear();
        assert!(output.read_line(&mut line)? > 0, "it ended before its backends were up");
    }
    assert_ne!(left(companion.id())?, "", "no container has the name that is looked for");
    let pid = Pid::from_raw(companion.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::INT)?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    assert_eq!(companion.wait()?.code(), Some(130), "{rest}");
    assert_eq!(left(pid.as_raw_nonzero().get().cast_unsigned())?, "", "{rest}");
    Ok(())
}
