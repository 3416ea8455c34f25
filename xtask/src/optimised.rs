//! What measures has to be cheaper than what it measures: the benchmark's load generator and its backend are in
//! this program. All other commands are there sooner when it is not optimised.

use std::{env, ffi::OsStr, os::unix::process::CommandExt, path::Path};

use crate::test::cargo_command;

/// The cargo profile for it.
const PROFILE: &str = "bench-tools";

/// Does this work in an optimised build of this program, unless it need not be one; gives whether it could.
pub(crate) fn unless(need_not: bool, work: impl FnOnce() -> bool) -> bool {
    if need_not || !env::current_exe().is_ok_and(|file| is_plain(&file)) {
        return work();
    }
    let mut cargo = cargo_command();
    cargo.args(["run", "--quiet", "--package", "xtask", "--profile", PROFILE, "--"]);
    // It takes this process's place, with its terminal and its signals.
    let error = cargo.args(env::args_os().skip(1)).exec();
    eprintln!("cannot run cargo: {error}");
    false
}

/// Whether a program is of the profile that cargo takes when it is told none.
fn is_plain(program: &Path) -> bool {
    program.parent().and_then(Path::file_name) == Some(OsStr::new("debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_in_the_path() {
        for (program, plain) in [
            ("/lb/target/debug/xtask", true),
            ("/lb/target/bench-tools/xtask", false),
            ("/lb/target/release/xtask", false),
            ("xtask", false),
        ] {
            assert_eq!(is_plain(Path::new(program)), plain, "{program}");
        }
    }
}
