//! The binary `lb` as a process: its output line by line, signals, its end; each wait under a deadline.

use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::OnceLock,
};

use lb_testkit::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Where the binary is; built first, in the profile that this test was built in.
pub(crate) fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("lb-server", "lb"))
}

/// Builds a binary of this workspace; gives where it is.
pub(crate) fn built(package: &str, name: &str) -> PathBuf {
    // target/PROFILE/deps/suite-HASH
    let directory = env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()))
        .expect("the test executable is in a target directory");
    let profile = match directory.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .args(["build", "--quiet", "--package", package, "--bin", name, "--profile", profile])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the binary {name} cannot be built");
    directory.join(name)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("LB_LOG").env_remove("APP").env_remove("ENDPOINT").kill_on_drop(true);
    command
}

/// Runs `lb` to its end: exit code, standard output, standard error.
pub(crate) async fn lb(arguments: &[&str]) -> (i32, String, String) {
    lb_in(Path::new("."), arguments).await
}

/// ... in this directory.
pub(crate) async fn lb_in(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let running = command(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let output = timeout(DEADLINE, running).await.expect("lb ends").expect("lb runs");
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).expect("lb writes UTF-8");
    (code(status), text(stdout), text(stderr))
}

/// The exit code; minus the signal for a process that was killed.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(1000))
}

/// A running `lb`.
pub(crate) struct Process {
    /// Holds its configuration, where it was given as text.
    directory: Option<tempfile::TempDir>,
    child: Child,
    input: Option<ChildStdin>,
    pub(crate) output: Lines<BufReader<ChildStdout>>,
    pub(crate) errors: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lb starts");
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Self {
            directory: None,
            child,
            input,
            output: BufReader::new(output.expect("piped")).lines(),
            errors: BufReader::new(errors.expect("piped")).lines(),
        }
    }

    /// `lb run` with this configuration; gives the address of its (first) listener, too.
    pub(crate) async fn run(toml: &str) -> (Self, SocketAddr) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lb.toml");
        std::fs::write(&path, toml).expect("a file");
        let mut process = Self::start(&["run", "--config", path.to_str().expect("UTF-8")]);
        process.directory = Some(directory);
        let line = process.tells("listening").await;
        let address = line.split("address=").nth(1).and_then(|address| address.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        (process, address)
    }

    /// Writes another configuration in place of the one that it runs.
    pub(crate) fn rewrite(&self, toml: &str) {
        let directory = self.directory.as_ref().expect("it was started from text");
        std::fs::write(directory.path().join("lb.toml"), toml).expect("a file");
    }

    /// TERM; it must end well. A client that keeps its end open is waited for, for two seconds.
    pub(crate) async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ends().await, 0);
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("lb runs")
    }

    /// Types a line.
    pub(crate) async fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("standard input is open");
        input.write_all(format!("{line}\n").as_bytes()).await.expect("lb reads");
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line of standard output with this in it.
    pub(crate) async fn says(&mut self, wanted: &str) -> String {
        find(&mut self.output, wanted).await
    }

    /// The next line of standard error with this in it.
    pub(crate) async fn tells(&mut self, wanted: &str) -> String {
        find(&mut self.errors, wanted).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("lb takes the signal");
    }

    /// Waits for its end: the exit code.
    pub(crate) async fn ends(&mut self) -> i32 {
        let status = timeout(DEADLINE, self.child.wait()).await.expect("lb ends").expect("lb is waited for");
        code(status)
    }
}

async fn find<R: tokio::io::AsyncBufRead + Unpin>(lines: &mut Lines<R>, wanted: &str) -> String {
    let mut before = Vec::new();
    let looking = async {
        while let Some(line) = lines.next_line().await.expect("UTF-8") {
            if line.contains(wanted) {
                return Some(line);
            }
            before.push(line);
        }
        None
    };
    let found = timeout(DEADLINE, looking).await.ok().flatten();
    found.unwrap_or_else(|| panic!("waited in vain for {wanted:?} after {before:#?}"))
}
