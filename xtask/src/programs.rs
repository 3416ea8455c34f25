//! The tests as programs: several packages built by one call of cargo, and run one by one.
//!
//! What cargo makes of a dependency depends on all packages that it is asked for at once, for their wishes for
//! features add up. A call for each package would build most dependencies, and the workspace's own crates with
//! them, several times.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::test::{cargo_command, cargo_with, run_program};

/// What is asked of cargo.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) packages: Vec<&'static str>,
    pub(crate) features: Vec<String>,
    /// As arguments, such as `--lib`; all of them when it is empty.
    pub(crate) targets: Vec<&'static str>,
}

/// A program of tests.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    package: String,
    /// The name of its target.
    name: String,
    file: PathBuf,
    /// The directory of its package, where cargo would run it.
    directory: PathBuf,
}

/// All that a build has made.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    all: Vec<Program>,
    /// The allocator, as a static library.
    allocator: Option<PathBuf>,
}

impl Build {
    fn selection(&self) -> Vec<&str> {
        let packages = self.packages.iter().flat_map(|&package| ["--package", package]);
        packages.chain(self.features.iter().flat_map(|feature| ["--features", feature])).collect()
    }

    /// Builds the tests; nothing when that fails, which cargo has told.
    pub(crate) fn make(&self) -> Option<Programs> {
        let mut command = cargo_command();
        command.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]);
        command.args(self.selection()).args(&self.targets).stdout(Stdio::piped());
        let mut cargo = command.spawn().inspect_err(|error| eprintln!("cannot run cargo: {error}")).ok()?;
        let told = BufReader::new(cargo.stdout.take()?);
        let mut programs = Programs::default();
        for line in told.lines().map_while(Result::ok) {
            programs.hear(&line);
        }
        cargo.wait().is_ok_and(|status| status.success()).then_some(programs)
    }

    /// Runs the doc examples of the packages; gives whether they passed.
    pub(crate) fn examples(&self) -> bool {
        cargo_with(&[&["test", "--doc"], &self.selection()[..]].concat(), |command| command)
    }
}

/// The program that a message of cargo's tells of, if it is one of tests.
fn program(message: &Value) -> Option<Program> {
    let file = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    // path+file:///lb/lb-core#0.1.0, or path+file:///lb/tests#lb-tests@0.1.0
    let (place, version) = message["package_id"].as_str()?.rsplit_once('#')?;
    let package = match version.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next()?,
    };
    Some(Program {
        package: package.into(),
        name: message["target"]["name"].as_str()?.into(),
        file: file.into(),
        directory: directory.into(),
    })
}

/// The allocator's library, if the message tells of that.
fn allocator(message: &Value) -> Option<PathBuf> {
    let is_it = message["package_id"].as_str()?.contains("#tikv-jemalloc-sys@");
    let directory = message["out_dir"].as_str().filter(|_| is_it)?;
    Some(Path::new(directory).join("lib/libjemalloc_pic.a"))
}

impl Programs {
    fn hear(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str(message) else { return };
        self.all.extend(program(&message));
        if let Some(library) = allocator(&message) {
            self.allocator = Some(library);
        }
    }

    /// The allocator that was built for them, for those who need it once more.
    pub(crate) fn allocator(&self) -> Option<&Path> {
        self.allocator.as_deref().filter(|library| library.exists())
    }

    /// Runs those of a package, or the one with this name, as `prepare` leaves them; gives whether there were
    /// any, and all passed.
    pub(crate) fn run(
        &self,
        package: &str,
        name: Option<&str>,
        prepare: impl Fn(&mut Command) -> &mut Command,
    ) -> bool {
        let wanted = |it: &&Program| it.package == package && name.is_none_or(|name| it.name == name);
        let mut passed = Vec::new();
        for Program { package, name, file, directory } in self.all.iter().filter(wanted) {
            println!("\n--- {package}: {name} ({})", file.display());
            let mut command = Command::new(file);
            // As cargo would.
            command.current_dir(directory).env("CARGO_MANIFEST_DIR", directory);
            passed.push(run_program(prepare(&mut command)));
        }
        if passed.is_empty() {
            eprintln!("there are no tests of {package} {}", name.unwrap_or_default());
        }
        !passed.is_empty() && passed.into_iter().all(|passed| passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_tells() {
        let message = |id: &str, rest: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///lb/{id}",
                    "manifest_path":"/lb/x/Cargo.toml","target":{{"kind":["test"],"name":"t"}},{rest}}}"#
            )
        };
        let test = r#""profile":{"test":true},"executable":"/lb/target/debug/deps/t-1""#;
        let expected = |package: &str| {
            let (file, directory) = ("/lb/target/debug/deps/t-1".into(), "/lb/x".into());
            Some(Program { package: package.into(), name: "t".into(), file, directory })
        };
        let program = |message: &str| {
            let mut programs = Programs::default();
            programs.hear(message);
            programs.all.pop()
        };
        assert_eq!(program(&message("lb-core#0.1.0", test)), expected("lb-core"));
        assert_eq!(program(&message("tests#lb-tests@0.1.0", test)), expected("lb-tests"));
        for other in [
            r#""profile":{"test":false},"executable":"/lb/target/debug/lb""#,
            r#""profile":{"test":true},"executable":null"#,
            r#""profile":{}"#,
        ] {
            assert_eq!(program(&message("lb-core#0.1.0", other)), None, "{other}");
        }
        assert_eq!(program("running 3 tests"), None);
    }

    #[test]
    fn the_allocator_is_heard_of() {
        let mut programs = Programs::default();
        for (package, directory) in [("tikv-jemalloc-sys@0.7.1", "/lb/a"), ("libc@0.2", "/lb/b")] {
            programs.hear(&format!(
                r#"{{"reason":"build-script-executed","package_id":"registry+https://x#{package}","out_dir":"{directory}"}}"#
            ));
        }
        assert_eq!(programs.allocator.as_deref(), Some(Path::new("/lb/a/lib/libjemalloc_pic.a")));
        assert_eq!(programs.allocator(), None, "it is not there");
    }

    #[test]
    fn a_tier_without_tests_has_not_passed() {
        let program = |name: &str, file: &str| Program {
            package: "p".into(),
            name: name.into(),
            file: file.into(),
            directory: "/".into(),
        };
        let all = vec![program("good", "true"), program("bad", "false")];
        let programs = Programs { all, allocator: None };
        let run = |package: &str, name| programs.run(package, name, |command| command);
        assert!(run("p", Some("good")));
        for (package, name) in [("p", Some("bad")), ("p", None), ("p", Some("other")), ("q", None)] {
            assert!(!run(package, name), "{package} {name:?}");
        }
    }

    #[test]
    fn a_selection_has_all_packages_and_features() {
        let build = Build { packages: vec!["a", "b"], features: vec!["b/x".into()], targets: vec!["--lib"] };
        assert_eq!(build.selection(), ["--package", "a", "--package", "b", "--features", "b/x"]);
    }
}
