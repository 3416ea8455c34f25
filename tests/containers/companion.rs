//! `cargo xtask course --containers`: the companion with its backends from the compose file.

use std::{
    env, io,
    process::{Command, Stdio},
};

use crate::engine::{backend_image, run};

/// Docker's list of what the compose projects of the course have left, by their prefix.
fn left() -> io::Result<String> {
    let filter = "name=lb-course-";
    let output = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", filter]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_chapter_runs_with_its_cast_from_the_compose_file() -> io::Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--", "course", "7", "--containers"])
        .env("LB_RUN", run())
        .env("LB_BACKEND_IMAGE", backend_image())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\n6 passed, 0 failed, 0 skipped\n"), "{text}");
    assert_eq!(left()?, "", "{text}");
    Ok(())
}
